"""The factors of one instrument, kept up to date event by event, and a snapshot of them at a moment.

Owns which observation a snapshot may use (never one later than t0) and when a factor is too old. What a factor means
stands in its own module. Nothing here waits, reads a clock or raises on bad data: bad data makes a factor stale.

    on_ticker, on_depth, on_bar, on_funding    O(1)
    snapshot                                   a few µs, on every tick
"""

from collections import deque
from dataclasses import dataclass
from math import inf

from chimera.contracts.enums import Market
from chimera.domain.features import (
    atr_14,
    depth_top1_usdt,
    funding_next,
    mid,
    rv_1d,
    spread_bps,
)
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.sane import sane_bar, sane_touch
from chimera.domain.market.bars import BarRoller
from chimera.domain.market.quotes import INTERVAL_MS, Bar

KLINE_GRACE_MS = 90_000
"""A kline stream that has been silent for this long is reopened (S1); until then its bars are on time."""

_NEVER = -1
_Touch = tuple[int, float, float, bool]
_Depth = tuple[int, float, bool]
_Funding = tuple[int, float, int, bool]


@dataclass(frozen=True, slots=True)
class FeatureSnapshot:
    """Every fresh factor at `t0`. A factor is either in `values` or in `stale`, never in both, never in neither."""

    values: dict[str, float]
    stale: tuple[str, ...]
    t0: int


class FeatureBook:
    """All factors of one instrument. Events of one source come in order of time; an older one is ignored.

    The last two observations of a quick source are kept: a clock that runs a little behind the venue's would otherwise
    find only an observation from its future, and have none.
    """

    __slots__ = (
        "_atr",
        "_cross",
        "_depth",
        "_depth_before",
        "_funding",
        "_funding_before",
        "_has_funding",
        "_hours",
        "_last_hour_open",
        "_last_minute_open",
        "_rv",
        "_touch",
        "_touch_before",
        "_waiting_bars",
    )

    def __init__(self, market: Market, cross: CrossMarket) -> None:
        self._cross = cross
        self._has_funding = market is Market.FUT
        self._touch: _Touch = (_NEVER, 0.0, 0.0, False)
        self._touch_before = self._touch
        self._depth: _Depth = (_NEVER, 0.0, False)
        self._depth_before = self._depth
        self._funding: _Funding = (_NEVER, 0.0, 0, False)
        self._funding_before = self._funding
        self._waiting_bars: deque[Bar] = deque()
        self._hours = BarRoller("1m", "1h")
        self._atr = atr_14.Atr14()
        self._rv = rv_1d.RealizedVol1d()
        self._last_minute_open = _NEVER
        self._last_hour_open = _NEVER

    def on_ticker(self, ts: int, bid: float, ask: float) -> None:
        newest = self._touch
        if ts < newest[0]:
            return
        if ts > newest[0]:
            self._touch_before = newest
        if sane_touch(bid, ask):
            middle = mid.mid(bid, ask)
            spread = spread_bps.spread_bps(bid, ask)
            self._touch = (ts, middle, spread, mid.SPEC.in_range(middle) and spread_bps.SPEC.in_range(spread))
        else:
            self._touch = (ts, 0.0, 0.0, False)

    def on_depth(self, ts: int, bid: float, ask: float, bid_qty: float, ask_qty: float) -> None:
        """The best level of either side; it is a touch as well."""
        self.on_ticker(ts, bid, ask)
        newest = self._depth
        if ts < newest[0]:
            return
        if ts > newest[0]:
            self._depth_before = newest
        if sane_touch(bid, ask) and 0.0 <= bid_qty < inf and 0.0 <= ask_qty < inf:
            depth = depth_top1_usdt.depth_top1_usdt(bid, ask, bid_qty, ask_qty)
            self._depth = (ts, depth, depth_top1_usdt.SPEC.in_range(depth))
        else:
            self._depth = (ts, 0.0, False)

    def on_funding(self, ts: int, rate: float, interval_h: int, funding_time: int) -> None:
        """What the next settlement will cost, as the venue says it: per its own interval."""
        newest = self._funding
        if ts < newest[0]:
            return
        if ts > newest[0]:
            self._funding_before = newest
        scaled = funding_next.funding_next(rate, interval_h) if interval_h > 0 else inf
        self._funding = (ts, scaled, funding_time, funding_next.SPEC.in_range(scaled))

    def on_bar(self, bar: Bar) -> None:
        """A closed 1 m or 1 h bar. It is used from its close on, so it waits here until a snapshot is that late."""
        self._waiting_bars.append(bar)

    def snapshot(self, now_ms: int, max_age_ms: int) -> FeatureSnapshot:
        """The factors at t0 = `now_ms`; a quick source older than `max_age_ms` is stale. `now_ms` never goes back."""
        if self._waiting_bars:
            self._take_bars(now_ms)
        values: dict[str, float] = {}
        stale: list[str] = []

        touch = self._touch
        if touch[0] > now_ms:
            touch = self._touch_before
        if touch[3] and touch[0] <= now_ms <= touch[0] + max_age_ms:
            values["mid"] = touch[1]
            values["spread_bps"] = touch[2]
        else:
            stale.append("mid")
            stale.append("spread_bps")

        depth = self._depth
        if depth[0] > now_ms:
            depth = self._depth_before
        if depth[2] and depth[0] <= now_ms <= depth[0] + max_age_ms:
            values["depth_top1_usdt"] = depth[1]
        else:
            stale.append("depth_top1_usdt")

        if self._has_funding:
            funding = self._funding
            if funding[0] > now_ms:
                funding = self._funding_before
            if (
                funding[3]
                and funding[0] <= now_ms <= funding[0] + funding_next.MAX_AGE_MS
                # The venue names the next settlement within moments of the last one; until then this rate is the best.
                and now_ms <= funding[2] + max_age_ms
            ):
                values["funding_next"] = funding[1]
            else:
                stale.append("funding_next")

        atr = self._atr.value
        if (
            atr is not None
            and now_ms <= self._atr.as_of_ms + INTERVAL_MS["1h"] + KLINE_GRACE_MS
            and atr_14.SPEC.in_range(atr)
        ):
            values["atr_14"] = atr
        else:
            stale.append("atr_14")

        rv = self._rv.value
        if (
            rv is not None
            and now_ms <= self._rv.as_of_ms + rv_1d.MINUTE_MS + KLINE_GRACE_MS
            and rv_1d.SPEC.in_range(rv)
        ):
            values["rv_1d"] = rv
        else:
            stale.append("rv_1d")

        cross = self._cross.at(now_ms)
        values.update(cross.values)
        stale.extend(cross.stale)
        return FeatureSnapshot(values, tuple(stale), now_ms)

    def _take_bars(self, now_ms: int) -> None:
        bars = self._waiting_bars
        while bars and bars[0].close_time <= now_ms:
            bar = bars.popleft()
            if not sane_bar(bar):
                continue
            if bar.interval == "1m":
                self._take_minute(bar)
            elif bar.interval == "1h":
                self._take_hour(bar)

    def _take_minute(self, bar: Bar) -> None:
        if bar.open_time <= self._last_minute_open:
            return
        self._last_minute_open = bar.open_time
        self._rv.add(bar.close, bar.close_time)
        hour = self._hours.add(bar)
        if hour is not None:
            self._take_hour(hour)

    def _take_hour(self, bar: Bar) -> None:
        # The hour may come twice: as the venue's own bar and as the sixtieth minute.
        if bar.open_time <= self._last_hour_open:
            return
        self._last_hour_open = bar.open_time
        self._atr.add(bar.high, bar.low, bar.close, bar.close_time)
