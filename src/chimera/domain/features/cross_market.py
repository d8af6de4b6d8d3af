"""The factors that read two markets: one value a UTC day, shared by all instruments.

Owns the daily closes of USDT/TWD and BTCUSDT and what follows from them. Closed days only: a value at t0 reads days
that ended at or before t0, whatever has been fed since.
"""

from dataclasses import dataclass, field

from chimera.domain.features import btc_ret_d1, usdttwd_ret, xmkt_signal
from chimera.domain.features.daily_closes import DAY_MS, DailyCloses
from chimera.domain.features.sane import sane_bar
from chimera.domain.market.quotes import Bar

FACTOR_IDS = (
    usdttwd_ret.SPEC_D1.factor_id,
    usdttwd_ret.SPEC_D2.factor_id,
    btc_ret_d1.SPEC.factor_id,
    xmkt_signal.SPEC.factor_id,
)


@dataclass(frozen=True, slots=True)
class CrossView:
    """The cross-market factors of one UTC day. Do not change `values`: it is shared."""

    values: dict[str, float] = field(default_factory=dict)
    stale: tuple[str, ...] = FACTOR_IDS


class CrossMarket:
    """Feed USDT/TWD 60-minute bars and BTCUSDT bars (1 m or 1 h, one of them), ask for the view of a moment."""

    __slots__ = ("_btc", "_cache_key", "_min_move", "_usdttwd", "_view")

    def __init__(self, *, min_move: float) -> None:
        self._min_move = min_move
        self._usdttwd = DailyCloses()
        self._btc = DailyCloses()
        self._cache_key = (-1, -1, -1)
        self._view = CrossView()

    def on_usdttwd(self, bar: Bar) -> None:
        if sane_bar(bar):
            self._usdttwd.add(bar)

    def on_btc(self, bar: Bar) -> None:
        if sane_bar(bar):
            self._btc.add(bar)

    def set_min_move(self, min_move: float) -> None:
        """A new bundle says another `strategy.min_move`."""
        if min_move != self._min_move:
            self._min_move = min_move
            self._cache_key = (-1, -1, -1)

    def at(self, now_ms: int) -> CrossView:
        """The view at `now_ms`; computed again only when the day changed or a day's close arrived late."""
        key = (now_ms // DAY_MS, self._usdttwd.version, self._btc.version)
        if key != self._cache_key:
            self._view = self._evaluate(key[0])
            self._cache_key = key
        return self._view

    def _evaluate(self, today: int) -> CrossView:
        d2, d1, before = today - 1, today - 2, today - 3
        twd, btc = self._usdttwd, self._btc
        ret_d1 = _ret(twd.close(d1), twd.close(before))
        ret_d2 = _ret(twd.close(d2), twd.close(d1))
        btc_d1 = _ret(btc.close(d1), btc.close(before))
        values: dict[str, float] = {}
        for spec, value in ((usdttwd_ret.SPEC_D1, ret_d1), (usdttwd_ret.SPEC_D2, ret_d2), (btc_ret_d1.SPEC, btc_d1)):
            if value is not None and spec.in_range(value):
                values[spec.factor_id] = value
        if len(values) == 3 and ret_d1 is not None and ret_d2 is not None and btc_d1 is not None:
            values[xmkt_signal.SPEC.factor_id] = float(
                xmkt_signal.xmkt_signal(
                    xmkt_signal.move(ret_d1, twd.volume(d1), self._min_move),
                    xmkt_signal.move(ret_d2, twd.volume(d2), self._min_move),
                    xmkt_signal.move(btc_d1, btc.volume(d1), self._min_move),
                )
            )
        return CrossView(values, tuple(name for name in FACTOR_IDS if name not in values))


def _ret(close: float | None, close_before: float | None) -> float | None:
    return None if close is None or close_before is None else usdttwd_ret.day_return(close, close_before)
