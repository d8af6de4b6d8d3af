"""The factors of one instrument, kept up to date event by event, and a snapshot of them at a moment.

Owns which observation a snapshot may use (never one later than t0) and when a factor is too old. What a factor means
stands in its own module. Nothing here waits, reads a clock or raises on bad data: bad data makes a factor stale.

    on_ticker, on_depth, on_bar, on_funding    O(1)
    snapshot                                   a few µs, on every tick

Why a factor is stale is looked at in this order: its source is silent, what it needs has not come or is broken, it is
out of range, it is an outlier. An outlier among the bars makes every factor of bars stale, and whatever is made of
them, until the next bar that is none; an outlying price makes the book's factors stale.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from typing import TypeVar

from chimera.contracts.enums import DataQuality, Market
from chimera.domain.features import (
    atr_1m_14,
    atr_14,
    depth_top1_usdt,
    funding_next,
    mid,
    ret,
    rv_1d,
    spread_bps,
)
from chimera.domain.features.cross_market import CrossMarket, CrossView
from chimera.domain.features.daily_closes import DAY_MS
from chimera.domain.features.derived import Source, plan
from chimera.domain.features.derived_nodes import NOT_DUE, Node, Reading, WindowNode, build
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.outlier import OUTLIER_SIGMAS, LastHour
from chimera.domain.features.quality import KLINE_GRACE_MS
from chimera.domain.features.registry import PLAIN
from chimera.domain.features.sane import crossed_touch, sane_bar, sane_touch
from chimera.domain.market.bars import BarRoller
from chimera.domain.market.quotes import Bar

MINUTE_MS = 60_000
HOUR_MS = 3_600_000

_NEVER = -1
_CROSSED, _GAP, _OUTLIER, _RANGE, _SILENT, _WARMING = (
    DataQuality.CROSSED,
    DataQuality.GAP,
    DataQuality.OUTLIER,
    DataQuality.RANGE,
    DataQuality.SILENT,
    DataQuality.WARMING,
)
_Touch = tuple[int, float, float, DataQuality | None]
_Depth = tuple[int, float, DataQuality | None]
_Funding = tuple[int, float, int, DataQuality | None]
_NO_TOUCH: _Touch = (_NEVER, 0.0, 0.0, _SILENT)
_NO_DEPTH: _Depth = (_NEVER, 0.0, _SILENT)
_NO_FUNDING: _Funding = (_NEVER, 0.0, 0, _SILENT)

_MINUTES_REMEMBERED = 4_096
"""Of ticks that samples are still to be taken of; a snapshot takes them, and comes every second."""


@dataclass(frozen=True, slots=True)
class FeatureSnapshot:
    """Every fresh factor at `t0`. A factor is either in `values` or in `stale`, never in both, never in neither.

    `flags` says why each stale factor is; do not change it, snapshots share it.
    """

    values: dict[str, float]
    stale: tuple[str, ...]
    t0: int
    flags: Mapping[str, DataQuality] = field(default_factory=dict)


class FeatureBook:
    """All factors of one instrument. Events of one source come in order of time; an older one is ignored.

    The last two observations of a quick source are kept: a clock that runs a little behind the venue's would otherwise
    find only an observation from its future, and have none.

    Args:
        derived: Factors beyond the built-in ones whose definition `derived` can read.
        outlier_sigmas: How many sigmas of the last hour are too many.

    Raises:
        DefinitionError: one of `derived` cannot be computed.
    """

    __slots__ = (
        "_atr",
        "_atr_1m",
        "_closes",
        "_cross",
        "_day_taps",
        "_depth",
        "_depth_before",
        "_depths",
        "_derived_quick",
        "_derived_slow",
        "_funding",
        "_funding_before",
        "_fundings",
        "_has_funding",
        "_hour_as_of_ms",
        "_hour_taps",
        "_hours",
        "_last_hour",
        "_minute_as_of_ms",
        "_minute_reads",
        "_minute_taps",
        "_rv",
        "_slow_flags",
        "_slow_stale",
        "_slow_until_ms",
        "_slow_values",
        "_slow_view",
        "_taps",
        "_tick_next",
        "_tick_taps",
        "_touch",
        "_touch_before",
        "_touches",
        "_waiting_hours",
        "_waiting_minutes",
    )

    def __init__(
        self,
        market: Market,
        cross: CrossMarket,
        derived: Sequence[FactorSpec] = (),
        *,
        outlier_sigmas: float = OUTLIER_SIGMAS,
    ) -> None:
        self._cross = cross
        self._has_funding = market is Market.FUT
        self._touch = self._touch_before = _NO_TOUCH
        self._depth = self._depth_before = _NO_DEPTH
        self._funding = self._funding_before = _NO_FUNDING
        self._waiting_minutes: deque[Bar] = deque()
        self._waiting_hours: deque[Bar] = deque()
        self._hours = BarRoller("1m", "1h")
        self._atr = atr_14.Atr14()
        self._atr_1m = atr_1m_14.Atr1m14()
        self._rv = rv_1d.RealizedVol1d()
        self._closes = ret.Closes()
        self._last_hour = LastHour(outlier_sigmas)
        self._minute_as_of_ms = _NEVER
        self._hour_as_of_ms = _NEVER
        self._minute_reads: dict[str, Callable[[], Reading]] = {
            rv_1d.SPEC.factor_id: self._read_rv,
            atr_1m_14.SPEC.factor_id: self._read_atr_1m,
            ret.SPEC_1H.factor_id: self._read_ret_1h,
            ret.SPEC_24H.factor_id: self._read_ret_24h,
        }
        self._slow_values: dict[str, float] = {}
        self._slow_flags: dict[str, DataQuality] = {}
        self._slow_stale: tuple[str, ...] = ()
        self._slow_until_ms = _NEVER
        self._slow_view: CrossView | None = None
        self._build_derived(derived)

    def _build_derived(self, derived: Sequence[FactorSpec]) -> None:
        steps = [s for s in plan(derived) if self._has_funding or s.plain != funding_next.SPEC.factor_id]
        nodes = build(steps)
        self._derived_quick = tuple(node for node in nodes.values() if node.step.is_quick)
        self._derived_slow = tuple(node for node in nodes.values() if not node.step.is_quick)
        taps: dict[Source, dict[str, list[Node]]] = {source: {} for source in Source}
        for node in nodes.values():
            if node.step.of == node.step.plain and (node.above or isinstance(node, WindowNode)):
                taps[node.step.source].setdefault(node.step.plain, []).append(node)
        self._taps = {name: tuple(above) for by_name in taps.values() for name, above in by_name.items()}
        by_source = {source: tuple((n, tuple(above)) for n, above in by.items()) for source, by in taps.items()}
        self._minute_taps = tuple((self._minute_reads[name], above) for name, above in by_source[Source.MINUTE])
        self._hour_taps = tuple(node for _, above in by_source[Source.HOUR] for node in above)
        self._day_taps = tuple(_DayTap(name, node) for name, above in by_source[Source.DAY] for node in above)
        self._tick_taps = tuple((name, above, _SOURCE_OF_TICKS[name]) for name, above in by_source[Source.TICK])
        self._tick_next = 0
        sampled = {source for _, _, source in self._tick_taps}
        needs_touch = bool(sampled & {"touch", "depth"})
        self._touches: deque[_Touch] | None = deque(maxlen=_MINUTES_REMEMBERED) if needs_touch else None
        self._depths: deque[_Depth] | None = deque(maxlen=_MINUTES_REMEMBERED) if "depth" in sampled else None
        self._fundings: deque[_Funding] | None = deque(maxlen=_MINUTES_REMEMBERED) if "funding" in sampled else None

    def on_ticker(self, ts: int, bid: float, ask: float) -> None:
        newest = self._touch
        if ts < newest[0]:
            return
        if ts > newest[0]:
            self._touch_before = newest
        if sane_touch(bid, ask):
            middle = mid.mid(bid, ask)
            spread = spread_bps.spread_bps(bid, ask)
            possible = mid.SPEC.in_range(middle) and spread_bps.SPEC.in_range(spread)
            self._touch = (ts, middle, spread, None if possible else _RANGE)
        else:
            self._touch = (ts, 0.0, 0.0, _CROSSED if crossed_touch(bid, ask) else _RANGE)
        if self._touches is not None:
            self._note_minute(ts)
            _note(self._touches, self._touch)

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
            self._depth = (ts, depth, None if depth_top1_usdt.SPEC.in_range(depth) else _RANGE)
        else:
            self._depth = (ts, 0.0, _CROSSED if crossed_touch(bid, ask) else _RANGE)
        if self._depths is not None:
            _note(self._depths, self._depth)

    def on_funding(self, ts: int, rate: float, interval_h: int, funding_time: int) -> None:
        """What the next settlement will cost, as the venue says it: per its own interval."""
        newest = self._funding
        if ts < newest[0]:
            return
        if ts > newest[0]:
            self._funding_before = newest
        scaled = funding_next.funding_next(rate, interval_h) if interval_h > 0 else inf
        self._funding = (ts, scaled, funding_time, None if funding_next.SPEC.in_range(scaled) else _RANGE)
        if self._fundings is not None:
            self._note_minute(ts)
            _note(self._fundings, self._funding)

    def on_bar(self, bar: Bar) -> None:
        """A closed 1 m or 1 h bar. It is used from its close on, so it waits here until a snapshot is that late.

        Those of one interval come in order of time. Months of hours and then months of minutes may be given before the
        first snapshot: they are taken as they closed.
        """
        if bar.interval == "1m":
            self._waiting_minutes.append(bar)
        elif bar.interval == "1h":
            self._waiting_hours.append(bar)

    def seed_samples(self, factor_id: str, samples: Iterable[tuple[int, float]]) -> None:
        """What `factor_id` was before this book began, from signals on file: (t, value), oldest first.

        `t` is the UTC minute close, epoch ms, that the value stands for. They fill the windows of what is derived from
        the factor. Points that a window has settled already, and values that cannot be, are passed over. Call it before
        the first event of the factor's source.

        Raises:
            ValueError: a `t` within a minute, or a factor that is not of the market's data alone.
        """
        spec = next((spec for spec in PLAIN if spec.factor_id == factor_id), None)
        if spec is None:
            raise ValueError(f"factor_id {factor_id!r} is not made of market data; seed what it is made of")
        for t, value in samples:
            if t % MINUTE_MS:
                raise ValueError(f"samples of {factor_id}: t {t} is within a minute; give the minute's close, epoch ms")
            if spec.in_range(value):
                for node in self._taps.get(factor_id, ()):
                    node.sample(t, value, None)
        self._slow_until_ms = _NEVER

    def snapshot(self, now_ms: int, max_age_ms: int) -> FeatureSnapshot:
        """The factors at t0 = `now_ms`; a quick source older than `max_age_ms` is stale. `now_ms` never goes back."""
        if self._waiting_minutes or self._waiting_hours:
            self._take_bars(now_ms, max_age_ms)
        if self._tick_taps and 0 < self._tick_next <= now_ms:
            self._sample_ticks(now_ms, max_age_ms)
        view = self._cross.at(now_ms)
        if self._day_taps:
            self._sample_days(now_ms)
        if now_ms > self._slow_until_ms or view is not self._slow_view:
            self._look(now_ms, view)

        touch = self._touch
        if touch[0] > now_ms:
            touch = self._touch_before
        depth = self._depth
        if depth[0] > now_ms:
            depth = self._depth_before
        funding = self._funding
        if funding[0] > now_ms:
            funding = self._funding_before
        values: dict[str, float] = {}
        flags: dict[str, DataQuality] = {}
        self._look_at_ticks(now_ms, max_age_ms, touch, depth, funding, values, flags)
        if self._derived_quick:
            _read_all(self._derived_quick, now_ms, values, flags)
        values.update(self._slow_values)
        if not flags:
            return FeatureSnapshot(values, self._slow_stale, now_ms, self._slow_flags)
        flags.update(self._slow_flags)
        return FeatureSnapshot(values, tuple(flags), now_ms, flags)

    def _look_at_ticks(
        self,
        now_ms: int,
        max_age_ms: int,
        touch: _Touch,
        depth: _Depth,
        funding: _Funding,
        values: dict[str, float],
        flags: dict[str, DataQuality],
    ) -> None:
        """Writes the quick factors, made of the newest observations up to `now_ms`."""
        flag = touch[3] if now_ms <= touch[0] + max_age_ms else _SILENT
        if flag is None:
            last_hour = self._last_hour
            if last_hour.low <= touch[1] <= last_hour.high or now_ms > self._minute_as_of_ms + _MINUTE_FRESH_MS:
                values["mid"] = touch[1]
                values["spread_bps"] = touch[2]
            else:
                flag = _OUTLIER
        if flag is not None:
            flags["mid"] = flags["spread_bps"] = flag

        why = depth[2] if now_ms <= depth[0] + max_age_ms else _SILENT
        if why is None and flag is _OUTLIER:
            why = _OUTLIER
        if why is None:
            values["depth_top1_usdt"] = depth[1]
        else:
            flags["depth_top1_usdt"] = why

        if self._has_funding:
            # The venue names the next settlement within moments of the last one; until then this rate is the best.
            heard = now_ms <= funding[0] + funding_next.MAX_AGE_MS and now_ms <= funding[2] + max_age_ms
            why = funding[3] if heard else _SILENT
            if why is None:
                values["funding_next"] = funding[1]
            else:
                flags["funding_next"] = why

    def _look(self, now_ms: int, view: CrossView) -> None:
        """Looks at all that moves with bars and days, and for how long that will hold."""
        values: dict[str, float] = {}
        flags: dict[str, DataQuality] = {}
        until_ms = NOT_DUE
        for node in self._derived_slow:
            if isinstance(node, WindowNode):
                node.advance(now_ms)
                until_ms = min(until_ms, node.due_ms - 1)
                if now_ms <= node.fresh_until_ms:
                    until_ms = min(until_ms, node.fresh_until_ms)

        minutes_until_ms, hours_until_ms = (
            self._minute_as_of_ms + _MINUTE_FRESH_MS,
            self._hour_as_of_ms + _HOUR_FRESH_MS,
        )
        has_minutes, has_hours = now_ms <= minutes_until_ms, now_ms <= hours_until_ms
        if has_minutes:
            until_ms = min(until_ms, minutes_until_ms)
        if has_hours:
            until_ms = min(until_ms, hours_until_ms)
            reading = self._unless_outlier(self._read_atr())
        elif has_minutes:
            # The minutes come, but they make no hour.
            reading = (nan, _WARMING if self._atr.value is None else _GAP)
        else:
            reading = (nan, _SILENT)
        _write(atr_14.SPEC.factor_id, reading, values, flags)
        for name, read in self._minute_reads.items():
            _write(name, self._unless_outlier(read()) if has_minutes else (nan, _SILENT), values, flags)
        values.update(view.values)
        flags.update(view.flags)
        _read_all(self._derived_slow, now_ms, values, flags, self._unless_outlier)

        self._slow_values, self._slow_flags, self._slow_stale = values, flags, tuple(flags)
        self._slow_until_ms, self._slow_view = until_ms, view

    def _unless_outlier(self, reading: Reading) -> Reading:
        """Of a factor that is made of bars."""
        return (nan, _OUTLIER) if reading[1] is None and self._last_hour.outlier else reading

    def _read_atr(self) -> Reading:
        return _reading(atr_14.SPEC, self._atr.value, _WARMING)

    def _read_rv(self) -> Reading:
        return _reading(rv_1d.SPEC, self._rv.value, self._rv.lacks)

    def _read_atr_1m(self) -> Reading:
        return _reading(atr_1m_14.SPEC, self._atr_1m.value, self._atr_1m.lacks)

    def _read_ret_1h(self) -> Reading:
        return self._read_ret(ret.SPEC_1H, ret.MINUTES_1H)

    def _read_ret_24h(self) -> Reading:
        return self._read_ret(ret.SPEC_24H, ret.MINUTES_24H)

    def _read_ret(self, spec: FactorSpec, minutes: int) -> Reading:
        since = self._closes.since(minutes)
        return (nan, self._closes.lacks(minutes)) if since != since else _reading(spec, since, _GAP)

    def _take_bars(self, now_ms: int, max_age_ms: int) -> None:
        minutes, hours = self._waiting_minutes, self._waiting_hours
        while True:
            # Of an hour and the minute that ends it the minute comes first: a whole hour of minutes is that hour.
            is_hour = bool(hours) and not (minutes and minutes[0].close_time <= hours[0].close_time)
            waiting = hours if is_hour else minutes
            if not waiting or waiting[0].close_time > now_ms:
                return
            bar = waiting.popleft()
            if sane_bar(bar):
                if self._tick_taps and 0 < self._tick_next < bar.close_time:
                    # What was sampled before this bar closed did not know it.
                    self._sample_ticks(bar.close_time - 1, max_age_ms)
                if is_hour:
                    self._take_hour(bar)
                else:
                    self._take_minute(bar)

    def _take_minute(self, bar: Bar) -> None:
        close_time, close = bar.close_time, bar.close
        if close_time <= self._minute_as_of_ms:
            return
        self._minute_as_of_ms = close_time
        self._slow_until_ms = _NEVER
        self._last_hour.add(close, close_time)
        self._rv.add(close, close_time)
        self._closes.add(close, close_time)
        self._atr_1m.add_minute(bar.high, bar.low, close, close_time)
        for read, above in self._minute_taps:
            value, flag = self._unless_outlier(read())
            for node in above:
                node.offer(close_time, value, flag, MINUTE_MS)
        hour = self._hours.add(bar)
        if hour is not None:
            self._take_hour(hour)

    def _take_hour(self, bar: Bar) -> None:
        # The hour may come twice: as the venue's own bar and as the sixtieth minute.
        close_time = bar.close_time
        if close_time <= self._hour_as_of_ms:
            return
        self._hour_as_of_ms = close_time
        self._slow_until_ms = _NEVER
        self._atr.add(bar.high, bar.low, bar.close)
        if self._hour_taps:
            value, flag = self._read_atr()
            for node in self._hour_taps:
                node.offer(close_time, value, flag, HOUR_MS)

    def _note_minute(self, ts: int) -> None:
        if self._tick_next == 0:
            self._tick_next = _minute_close(ts)

    def _sample_ticks(self, until_ms: int, max_age_ms: int) -> None:
        """Samples the quick factors at every minute close that is due, as they were then."""
        t = self._tick_next
        while t <= until_ms:
            touch = _as_of(self._touches, t, _NO_TOUCH)
            depth = _as_of(self._depths, t, _NO_DEPTH)
            funding = _as_of(self._fundings, t, _NO_FUNDING)
            values: dict[str, float] = {}
            flags: dict[str, DataQuality] = {}
            self._look_at_ticks(t, max_age_ms, touch, depth, funding, values, flags)
            heard = {"touch": touch[0], "depth": depth[0], "funding": funding[0]}
            for name, above, source in self._tick_taps:
                if heard[source] != _NEVER:
                    for node in above:
                        node.sample(t, values.get(name, nan), flags.get(name))
            t += MINUTE_MS
        self._tick_next = t
        self._slow_until_ms = _NEVER

    def _sample_days(self, now_ms: int) -> None:
        first_ms = self._cross.first_ms
        if first_ms is not None:
            for tap in self._day_taps:
                if tap.take(self._cross, now_ms, first_ms):
                    self._slow_until_ms = _NEVER


class _DayTap:
    """Samples of one factor of days for one node.

    What is stale today may still come: it is waited for until the day's last point, so that a close that is told late
    is in time for all samples of its day. When one comes later still, or the days are read from file after the first
    snapshot, the samples are taken anew: they are a function of the days that are known.
    """

    __slots__ = ("_grid_ms", "_lacked", "_name", "_next", "_node")

    def __init__(self, name: str, node: Node) -> None:
        self._name = name
        self._node = node
        self._grid_ms = node.step.grid_ms if node.step.kind is not None else MINUTE_MS
        self._next = _NEVER
        self._lacked: tuple[int, int] | None = None
        """What was known when a sample was passed over; None: none was."""

    def take(self, cross: CrossMarket, now_ms: int, first_ms: int) -> bool:
        """Every grid point that is due, from `first_ms` on, as far back as it matters. True when there was one."""
        if self._lacked is not None and self._lacked != cross.version:
            self._node.forget()
            self._next, self._lacked = _NEVER, None
        if self._next == _NEVER:
            lookback_day = (now_ms - self._node.step.lookback_ms) // DAY_MS - 2
            self._next = max(first_ms, lookback_day * DAY_MS)
        began = self._next
        while self._next <= now_ms:
            t = self._next
            view = cross.at(t)
            value = view.values.get(self._name)
            if value is not None:
                self._node.sample(t, value, None)
            elif (t + self._grid_ms) % DAY_MS == 0:
                self._lacked = cross.version
                self._node.sample(t, nan, view.flags[self._name])
            elif now_ms < (t // DAY_MS + 1) * DAY_MS - self._grid_ms:
                break
            self._next = t + self._grid_ms
        return self._next != began


_MINUTE_FRESH_MS = MINUTE_MS + KLINE_GRACE_MS
_HOUR_FRESH_MS = HOUR_MS + KLINE_GRACE_MS

_SOURCE_OF_TICKS = {
    mid.SPEC.factor_id: "touch",
    spread_bps.SPEC.factor_id: "touch",
    depth_top1_usdt.SPEC.factor_id: "depth",
    funding_next.SPEC.factor_id: "funding",
}
_Observation = TypeVar("_Observation", _Touch, _Depth, _Funding)


def _minute_close(ts: int) -> int:
    """The first whole minute at or after `ts`."""
    return -(-ts // MINUTE_MS) * MINUTE_MS


def _note(remembered: deque[_Observation], newest: _Observation) -> None:
    """Of each minute only the last observation is ever sampled."""
    if remembered and _minute_close(remembered[-1][0]) == _minute_close(newest[0]):
        remembered[-1] = newest
    else:
        remembered.append(newest)


def _as_of(remembered: deque[_Observation] | None, t: int, none: _Observation) -> _Observation:
    """The newest observation up to `t`; what is older is forgotten, since `t` grows."""
    if remembered is None:
        return none
    while len(remembered) > 1 and remembered[1][0] <= t:
        remembered.popleft()
    return remembered[0] if remembered and remembered[0][0] <= t else none


def _reading(spec: FactorSpec, value: float | None, lacks: DataQuality) -> Reading:
    if value is None:
        return nan, lacks
    return (value, None) if spec.in_range(value) else (nan, _RANGE)


def _write(name: str, reading: Reading, values: dict[str, float], flags: dict[str, DataQuality]) -> None:
    value, flag = reading
    if flag is None:
        values[name] = value
    else:
        flags[name] = flag


def _unchanged(reading: Reading) -> Reading:
    return reading


def _read_all(
    nodes: Sequence[Node],
    now_ms: int,
    values: dict[str, float],
    flags: dict[str, DataQuality],
    believe: Callable[[Reading], Reading] = _unchanged,
) -> None:
    """Writes the factors of `nodes`; those that are only a part of another one are read and not written."""
    parts: dict[str, Reading] = {}
    for node in nodes:
        step = node.step
        of = step.of
        below = parts[of] if of in parts else (values.get(of, nan), flags.get(of))
        reading = node.read(now_ms, below)
        if step.source.is_kline:
            reading = believe(reading)
        if step.spec is None:
            parts[step.name] = reading
        else:
            _write(step.name, reading, values, flags)
