"""The factors that read two markets: one value a UTC day, shared by all instruments.

Owns the daily closes of USDT/TWD and BTCUSDT and what follows from them. Closed days only: a value at t0 reads days
that ended at or before t0, whatever has been fed since.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from chimera.contracts.enums import DataQuality
from chimera.domain.features import btc_ret_d1, rho_usdttwd_14, usdttwd_ret, xmkt_signal
from chimera.domain.features.daily_closes import DAY_MS, DailyCloses, DayColumns
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.log_returns import UNIT, logs, scaled_return
from chimera.domain.features.quality import FRESH, Codes, Column
from chimera.domain.features.sane import sane_bar
from chimera.domain.market.bars import Floats, Times
from chimera.domain.market.quotes import Bar

SPECS = (*usdttwd_ret.SPECS, btc_ret_d1.SPEC, xmkt_signal.SPEC, rho_usdttwd_14.SPEC)
FACTOR_IDS = tuple(spec.factor_id for spec in SPECS)

_TWD_D1, _TWD_D2 = usdttwd_ret.SPECS
_BTC_D1, _SIGNAL, _RHO = btc_ret_d1.SPEC, xmkt_signal.SPEC, rho_usdttwd_14.SPEC
_RHO_DAYS = tuple(range(1, rho_usdttwd_14.RETURNS + 2))
"""How many days before today the closes are that the correlation reads, newest first."""


@dataclass(frozen=True, slots=True)
class CrossView:
    """The cross-market factors of one UTC day. Do not change `values` and `flags`: they are shared."""

    values: dict[str, float] = field(default_factory=dict)
    flags: dict[str, DataQuality] = field(default_factory=lambda: dict.fromkeys(FACTOR_IDS, DataQuality.SILENT))

    @property
    def stale(self) -> tuple[str, ...]:
        return tuple(self.flags)


class CrossMarket:
    """Feed USDT/TWD 60-minute bars and BTCUSDT bars (1 m or 1 h, one of them), ask for the view of a moment."""

    __slots__ = ("_btc", "_known", "_min_move", "_usdttwd", "_views")

    def __init__(self, *, min_move: float) -> None:
        self._min_move = min_move
        self._usdttwd = DailyCloses()
        self._btc = DailyCloses()
        self._known = (0, 0)
        self._views: dict[int, CrossView] = {}

    def on_usdttwd(self, bar: Bar) -> None:
        if sane_bar(bar):
            self._usdttwd.add(bar)

    def on_btc(self, bar: Bar) -> None:
        if sane_bar(bar):
            self._btc.add(bar)

    def absorb_btc(self, other: "CrossMarket") -> None:
        """Take over the BTCUSDT days of `other`, which read them once more: bars that came too late to be fed are in
        its days."""
        self._btc.absorb(other._btc)

    def set_min_move(self, min_move: float) -> None:
        """A new bundle says another `strategy.min_move`."""
        if min_move != self._min_move:
            self._min_move = min_move
            self._views = {}

    @property
    def first_ms(self) -> int | None:
        """When the first day had closed; None: no day has closed yet."""
        known = [day for day in (self._usdttwd.first_day, self._btc.first_day) if day >= 0]
        return (min(known) + 1) * DAY_MS if known else None

    @property
    def version(self) -> tuple[int, int]:
        """Another one whenever a day has closed."""
        return self._usdttwd.version, self._btc.version

    def at(self, now_ms: int) -> CrossView:
        """The view at `now_ms`; computed again only when the day changed or a day's close arrived late."""
        known = self.version
        if known != self._known:
            self._known = known
            self._views = {}
        today = now_ms // DAY_MS
        view = self._views.get(today)
        if view is None:
            view = self._views[today] = self._evaluate(today)
        return view

    def _evaluate(self, today: int) -> CrossView:
        d2, d1, before = today - 1, today - 2, today - 3
        twd, btc = self._usdttwd, self._btc
        values: dict[str, float] = {}
        flags: dict[str, DataQuality] = {}
        for spec, closes, newer, older in (
            (_TWD_D1, twd, d1, before),
            (_TWD_D2, twd, d2, d1),
            (_BTC_D1, btc, d1, before),
        ):
            close, close_before = closes.close(newer), closes.close(older)
            if close is None or close_before is None:
                flags[spec.factor_id] = self._lacks(closes, (newer, older), today)
            else:
                _settle(spec, usdttwd_ret.day_return(close, close_before), values, flags)
        missing = next((spec.factor_id for spec in (_TWD_D1, _TWD_D2, _BTC_D1) if spec.factor_id in flags), None)
        if missing is not None:
            flags[_SIGNAL.factor_id] = flags[missing]
        else:
            values[_SIGNAL.factor_id] = float(
                xmkt_signal.xmkt_signal(
                    xmkt_signal.move(values[_TWD_D1.factor_id], twd.volume(d1), self._min_move),
                    xmkt_signal.move(values[_TWD_D2.factor_id], twd.volume(d2), self._min_move),
                    xmkt_signal.move(values[_BTC_D1.factor_id], btc.volume(d1), self._min_move),
                )
            )
        days = [today - back for back in _RHO_DAYS]
        twd_returns, btc_returns = _daily_returns(twd, days), _daily_returns(btc, days)
        if twd_returns is None or btc_returns is None:
            flags[_RHO.factor_id] = self._lacks(twd if twd_returns is None else btc, days, today)
        else:
            _settle(_RHO, rho_usdttwd_14.pearson(twd_returns, btc_returns), values, flags)
        return CrossView(values, {name: flags[name] for name in FACTOR_IDS if name in flags})

    @staticmethod
    def _lacks(closes: DailyCloses, days: Sequence[int], today: int) -> DataQuality:
        """Why the first of `days` that has no close has none."""
        return next(why for day in days if (why := closes.lacks(day, today)) is not None)


def _settle(spec: FactorSpec, value: float | None, values: dict[str, float], flags: dict[str, DataQuality]) -> None:
    if value is not None and spec.in_range(value):
        values[spec.factor_id] = value
    else:
        flags[spec.factor_id] = DataQuality.RANGE


def _daily_returns(closes: DailyCloses, days: Sequence[int]) -> list[int] | None:
    """Newest first, one less than `days`; None where a day has no close."""
    prices = [close for day in days if (close := closes.close(day)) is not None]
    if len(prices) < len(days):
        return None
    return [scaled_return(close, before) for close, before in pairwise(prices)]


def columns(today: Times, twd: DayColumns, btc: DayColumns, *, min_move: float) -> dict[str, Column]:
    """The same factors for every UTC day number of `today`, from whole histories of days."""
    d2, d1, before = today - 1, today - 2, today - 3
    found: dict[str, Column] = {}
    for spec, closes, newer, older in ((_TWD_D1, twd, d1, before), (_TWD_D2, twd, d2, d1), (_BTC_D1, btc, d1, before)):
        lacks = _first_of(closes.lacks(newer, today), closes.lacks(older, today))
        ret = usdttwd_ret.column(closes.at(closes.close, newer), closes.at(closes.close, older))
        found[spec.factor_id] = spec.column_in_range(ret, lacks)
    (twd_d1, code_d1), (twd_d2, code_d2), (btc_d1, code_btc) = (found[s.factor_id] for s in (_TWD_D1, _TWD_D2, _BTC_D1))
    signal = xmkt_signal.column(
        xmkt_signal.moves(twd_d1, twd.at(twd.volume, d1), min_move),
        xmkt_signal.moves(twd_d2, twd.at(twd.volume, d2), min_move),
        xmkt_signal.moves(btc_d1, btc.at(btc.volume, d1), min_move),
    )
    found[_SIGNAL.factor_id] = _SIGNAL.column_in_range(signal, _first_of(code_d1, code_d2, code_btc))
    lacks = _first_of(*(closes.lacks(today - back, today) for closes in (twd, btc) for back in _RHO_DAYS))
    found[_RHO.factor_id] = _RHO.column_in_range(_rho(today, twd, btc), lacks)
    return found


def _rho(today: Times, twd: DayColumns, btc: DayColumns) -> Floats:
    if len(twd.close) == 0 or len(btc.close) == 0 or len(today) == 0:
        return np.full(len(today), np.nan)
    first = max(twd.first_day, btc.first_day)
    days = np.arange(first, max(first, int(today.max())) + 1, dtype=np.int64)
    scaled = []
    for closes in (twd, btc):
        ratios = closes.at(closes.close, days) / closes.at(closes.close, days - 1)
        # Where a day is missing the number does not matter: the day's code says that it is.
        scaled.append(np.rint(logs(np.nan_to_num(ratios, nan=1.0)) * UNIT).astype(np.int64).astype(object))
    rho = rho_usdttwd_14.column(scaled[0], scaled[1])
    rows = today - 1 - first
    return np.where(rows >= 0, rho[np.clip(rows, 0, len(rho) - 1)], np.nan)


def _first_of(*codes: Codes) -> Codes:
    """Row by row the first code that is not 0."""
    found = codes[0]
    for code in codes[1:]:
        found = np.where(found == FRESH, code, found)
    return found
