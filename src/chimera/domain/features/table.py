"""Every factor at many moments at once, from whole histories: the column form of `FeatureBook`.

Owns which bar, price or sample a moment reads, and when that is too old: the same rules as the book's, which a property
test holds it to. What a factor means stands in its own module, beside what the book does. For research, for a recompute
and for whatever compares live with history.

A moment reads what is at or before it. Here an event is known from its own time on; live it comes a little later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chimera.contracts.enums import DataQuality, Market
from chimera.domain.features import (
    atr_1m_14,
    atr_14,
    cross_market,
    depth_top1_usdt,
    funding_next,
    mid,
    outlier,
    ret,
    rv_1d,
    spread_bps,
    windows,
)
from chimera.domain.features.daily_closes import DAY_MS, DayColumns
from chimera.domain.features.derived import Source, Step, plan
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.log_returns import MINUTE_MS
from chimera.domain.features.quality import (
    CROSSED,
    FRESH,
    GAP,
    KLINE_GRACE_MS,
    OUTLIER,
    RANGE,
    SILENT,
    WARMING,
    Codes,
    Column,
    fresh,
    masked,
    quality_of,
)
from chimera.domain.features.registry import PLAIN
from chimera.domain.features.sane import crossed_touches, sane_bars, sane_touches
from chimera.domain.market.bars import BarSeries, Floats, Times, aggregate, concat, empty

HOUR_MS = 3_600_000
_MINUTE_FRESH_MS = MINUTE_MS + KLINE_GRACE_MS
_HOUR_FRESH_MS = HOUR_MS + KLINE_GRACE_MS
_SOURCES: Mapping[str, Source] = {spec.factor_id: Source(spec.freq) for spec in PLAIN}

Rows = NDArray[np.int64]
"""Row numbers, -1 where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quotes:
    """What depth events said, one row each, ascending in `ts` (epoch ms). Of equal times the later row counts."""

    ts: Times
    bid: Floats
    ask: Floats
    bid_qty: Floats
    ask_qty: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fundings:
    """What the venue said of the next settlement, one row each, ascending in `ts`. `rate` is for `interval_h` hours."""

    ts: Times
    rate: Floats
    interval_h: Times
    funding_time: Times


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureHistory:
    """What was seen of one instrument, and of the two markets whose days all instruments share.

    Attributes:
        minutes: 1 m bars of the instrument.
        hours: 1 h bars of it, from before the minutes. An hour whose minutes are all there counts as they make it.
        twd: USDT/TWD, 60-minute bars.
        lead: The market that stands against it (BTCUSDT), 1 m or 1 h bars.
    """

    market: Market
    minutes: BarSeries
    hours: BarSeries | None = None
    twd: BarSeries | None = None
    lead: BarSeries | None = None
    quotes: Quotes | None = None
    fundings: Fundings | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """One column a factor, one row a moment of `at`. NaN where stale; `codes` then say why (`quality.quality_of`)."""

    at: Times
    values: Mapping[str, Floats]
    codes: Mapping[str, Codes]

    def row(self, number: int) -> tuple[dict[str, float], dict[str, DataQuality]]:
        """What a snapshot of that moment says: values of the fresh factors, and why the others are stale."""
        flags = {name: flag for name, codes in self.codes.items() if (flag := quality_of(int(codes[number])))}
        return {name: float(column[number]) for name, column in self.values.items() if name not in flags}, flags


def feature_table(
    history: FeatureHistory,
    at: Times,
    *,
    max_age_ms: int,
    min_move: float,
    derived: Sequence[FactorSpec] = (),
    outlier_sigmas: float = outlier.OUTLIER_SIGMAS,
) -> FeatureTable:
    """The built-in factors and `derived` at every moment of `at`, epoch ms, ascending.

    Args:
        max_age_ms: A quick source older than this is stale, as for `FeatureBook.snapshot`.
        min_move: `strategy.min_move`, as for `CrossMarket`.

    Raises:
        ValueError: times that do not ascend.
        DefinitionError: one of `derived` cannot be computed.
    """
    _check(history, at)
    steps = [
        step for step in plan(derived) if history.market is Market.FUT or step.plain != funding_next.SPEC.factor_id
    ]
    # What cannot be computed is marked as such, not warned of.
    with np.errstate(all="ignore"):
        past = _Past(history, max_age_ms=max_age_ms, min_move=min_move, outlier_sigmas=outlier_sigmas)
        columns = past.ticks(at) | past.bars(at) | past.days(at)
        samples = _Samples(past, at)
        for step in steps:
            columns[step.name] = samples.add(step, columns[step.of])
    wanted = [spec.factor_id for spec in PLAIN if spec.factor_id in columns]
    wanted += [step.name for step in steps if step.spec is not None]
    return FeatureTable(at, {name: columns[name][0] for name in wanted}, {name: columns[name][1] for name in wanted})


def _check(history: FeatureHistory, at: Times) -> None:
    series = {"minutes": history.minutes, "hours": history.hours, "twd": history.twd, "lead": history.lead}
    times = {f"{name}.open_time": bars.open_time for name, bars in series.items() if bars is not None}
    for name, column in times.items():
        _ascending(name, column, strictly=True)
    if history.quotes is not None:
        _ascending("quotes.ts", history.quotes.ts, strictly=False)
    if history.fundings is not None:
        _ascending("fundings.ts", history.fundings.ts, strictly=False)
    _ascending("at", at, strictly=False)


def _ascending(name: str, times: Times, *, strictly: bool) -> None:
    steps = np.diff(times)
    wrong = np.flatnonzero(steps <= 0 if strictly else steps < 0)
    if len(wrong) > 0:
        row = int(wrong[0]) + 1
        raise ValueError(
            f"{name}[{row}] = {times[row]} comes after {times[row - 1]}; sort the rows by time and drop repeated ones"
        )


def _as_of(times: Times, at: Times) -> Rows:
    """The newest row at or before each moment."""
    return np.asarray(np.searchsorted(times, at, "right") - 1, dtype=np.int64)


def _floats(column: Floats, rows: Rows, missing: float = np.nan) -> Floats:
    if len(column) == 0:
        return np.full(len(rows), missing)
    return np.where(rows >= 0, column[np.maximum(rows, 0)], missing)


def _codes(column: Codes, rows: Rows, missing: int) -> Codes:
    if len(column) == 0:
        return np.full(len(rows), missing, dtype=np.int8)
    return np.where(rows >= 0, column[np.maximum(rows, 0)], missing).astype(np.int8)


def _is_fresh(times: Times, rows: Rows, at: Times, max_age_ms: int) -> NDArray[np.bool_]:
    if len(times) == 0:
        return np.zeros(len(at), dtype=np.bool_)
    return np.asarray((rows >= 0) & (at <= times[np.maximum(rows, 0)] + max_age_ms), dtype=np.bool_)


class _Past:
    """The history as columns of plain factors, a row an event, and any moments' view of them."""

    def __init__(self, history: FeatureHistory, *, max_age_ms: int, min_move: float, outlier_sigmas: float) -> None:
        self._max_age_ms = max_age_ms
        self._min_move = min_move
        self._has_funding = history.market is Market.FUT
        minutes = sane_bars(history.minutes)
        self.minute_close = minutes.open_time + MINUTE_MS
        self._outlier, self._low, self._high = outlier.column(self.minute_close, minutes.close, outlier_sigmas)
        self.by_minute = {
            spec.factor_id: self._unless_outlier(spec.column_in_range(*column))
            for spec, column in (
                (rv_1d.SPEC, rv_1d.column(self.minute_close, minutes.close)),
                (
                    atr_1m_14.SPEC,
                    atr_1m_14.column(self.minute_close, minutes.high, minutes.low, minutes.close),
                ),
                (ret.SPEC_1H, ret.column(self.minute_close, minutes.close, ret.MINUTES_1H)),
                (ret.SPEC_24H, ret.column(self.minute_close, minutes.close, ret.MINUTES_24H)),
            )
        }
        hours = _hours(history, minutes)
        self.hour_close = hours.open_time + HOUR_MS
        self._atr = atr_14.column(hours.high, hours.low, hours.close)
        self.by_hour = {atr_14.SPEC.factor_id: atr_14.SPEC.column_in_range(*self._atr)}
        self._twd, self._lead = DayColumns.of(history.twd), DayColumns.of(history.lead)
        self._read_quotes(history.quotes)
        self._read_fundings(history.fundings)

    def _read_quotes(self, quotes: Quotes | None) -> None:
        none = np.empty(0)
        said = quotes or Quotes(ts=np.empty(0, dtype=np.int64), bid=none, ask=none, bid_qty=none, ask_qty=none)
        self._quote_ts = said.ts
        sane = sane_touches(said.bid, said.ask)
        # What is not sane is computed with 1 and marked.
        bid, ask = np.where(sane, said.bid, 1.0), np.where(sane, said.ask, 1.0)
        broken = np.where(crossed_touches(said.bid, said.ask), CROSSED, RANGE)
        codes = np.where(sane, FRESH, broken).astype(np.int8)
        middle = mid.SPEC.column_in_range(mid.column(bid, ask), codes)
        spread = spread_bps.SPEC.column_in_range(spread_bps.column(bid, ask), middle[1])
        self._mid, self._spread, self._touch_codes = masked(middle[0], spread[1])[0], spread[0], spread[1]
        countable = (said.bid_qty >= 0.0) & (said.bid_qty < np.inf) & (said.ask_qty >= 0.0) & (said.ask_qty < np.inf)
        codes = np.where((codes == FRESH) & ~countable, RANGE, codes).astype(np.int8)
        bid_qty, ask_qty = np.where(countable, said.bid_qty, 0.0), np.where(countable, said.ask_qty, 0.0)
        depth = depth_top1_usdt.column(bid, ask, bid_qty, ask_qty)
        self._depth = depth_top1_usdt.SPEC.column_in_range(depth, codes)

    def _read_fundings(self, fundings: Fundings | None) -> None:
        no_times = np.empty(0, dtype=np.int64)
        said = fundings or Fundings(ts=no_times, rate=np.empty(0), interval_h=no_times, funding_time=no_times)
        self._funding_ts, self._funding_time = said.ts, said.funding_time
        scaled = funding_next.column(said.rate, said.interval_h)
        self._funding = funding_next.SPEC.column_in_range(scaled, fresh(len(said.ts)))

    def ticks(self, at: Times) -> dict[str, Column]:
        rows = _as_of(self._quote_ts, at)
        heard = _is_fresh(self._quote_ts, rows, at, self._max_age_ms)
        codes = np.where(heard, _codes(self._touch_codes, rows, SILENT), SILENT).astype(np.int8)
        middle = _floats(self._mid, rows)
        minute = _as_of(self.minute_close, at)
        has_minutes = _is_fresh(self.minute_close, minute, at, _MINUTE_FRESH_MS)
        believed = (_floats(self._low, minute) <= middle) & (middle <= _floats(self._high, minute))
        is_outlier = (codes == FRESH) & has_minutes & ~believed
        codes = np.where(is_outlier, OUTLIER, codes).astype(np.int8)
        depth, depth_codes = self._depth
        why = np.where(heard, _codes(depth_codes, rows, SILENT), SILENT)
        why = np.where((why == FRESH) & is_outlier, OUTLIER, why).astype(np.int8)
        found = {
            mid.SPEC.factor_id: masked(middle, codes),
            spread_bps.SPEC.factor_id: masked(_floats(self._spread, rows), codes),
            depth_top1_usdt.SPEC.factor_id: masked(_floats(depth, rows), why),
        }
        if self._has_funding:
            rows = _as_of(self._funding_ts, at)
            heard = _is_fresh(self._funding_ts, rows, at, funding_next.MAX_AGE_MS)
            heard &= _is_fresh(self._funding_time, rows, at, self._max_age_ms)
            values, why = self._funding
            found[funding_next.SPEC.factor_id] = masked(
                _floats(values, rows), np.where(heard, _codes(why, rows, SILENT), SILENT).astype(np.int8)
            )
        return found

    def first_tick_ms(self, factor_id: str) -> int | None:
        """When the source of a quick factor was first heard."""
        times = self._funding_ts if factor_id == funding_next.SPEC.factor_id else self._quote_ts
        return int(times[0]) if len(times) > 0 else None

    def bars(self, at: Times) -> dict[str, Column]:
        minute, hour = _as_of(self.minute_close, at), _as_of(self.hour_close, at)
        has_minutes = _is_fresh(self.minute_close, minute, at, _MINUTE_FRESH_MS)
        has_hours = _is_fresh(self.hour_close, hour, at, _HOUR_FRESH_MS)
        found = {}
        for name, (values, codes) in self.by_hour.items():
            known = self._unless_outlier_at(minute, _codes(codes, hour, SILENT))
            is_warm = _codes(self._atr[1], hour, WARMING) == FRESH
            missing = np.where(has_minutes, np.where(is_warm, GAP, WARMING), SILENT)
            found[name] = masked(_floats(values, hour), np.where(has_hours, known, missing).astype(np.int8))
        for name, (values, codes) in self.by_minute.items():
            known = _codes(codes, minute, SILENT)
            found[name] = masked(_floats(values, minute), np.where(has_minutes, known, SILENT).astype(np.int8))
        return found

    def unless_outlier(self, at: Times, codes: Codes) -> Codes:
        """What the newest bar's being an outlier makes of a factor of bars."""
        return self._unless_outlier_at(_as_of(self.minute_close, at), codes)

    def _unless_outlier_at(self, minute: Rows, codes: Codes) -> Codes:
        if len(self._outlier) == 0:
            return codes
        is_outlier = (minute >= 0) & self._outlier[np.maximum(minute, 0)]
        return np.where((codes == FRESH) & is_outlier, OUTLIER, codes).astype(np.int8)

    def _unless_outlier(self, column: Column) -> Column:
        codes = np.where((column[1] == FRESH) & self._outlier, OUTLIER, column[1]).astype(np.int8)
        return masked(column[0], codes)

    def days(self, at: Times) -> dict[str, Column]:
        today, row = np.unique(at // DAY_MS, return_inverse=True)
        columns = cross_market.columns(today, self._twd, self._lead, min_move=self._min_move)
        return {name: (values[row], codes[row]) for name, (values, codes) in columns.items()}

    @property
    def first_day_ms(self) -> int | None:
        """As `CrossMarket.first_ms`."""
        known = [days.first_day for days in (self._twd, self._lead) if len(days.close) > 0]
        return (min(known) + 1) * DAY_MS if known else None


def _hours(history: FeatureHistory, minutes: BarSeries) -> BarSeries:
    given = sane_bars(history.hours) if history.hours is not None else empty("1h")
    made = aggregate(minutes, "1h")
    both = concat([made, given])
    # Of equal times `unique` names the first, which is the one that the minutes make.
    _, rows = np.unique(both.open_time, return_index=True)
    return both.at(rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """A factor's samples. Row i is grid point number `first + i`; where it is not settled there is no sample, and the
    point before it stays the newest."""

    first: int
    settled: NDArray[np.bool_]
    values: Floats
    codes: Codes

    def per_hour(self) -> "_Grid":
        """Of minutes those at a full hour."""
        first = -(-self.first // 60)
        rows = slice(first * 60 - self.first, None, 60)
        return _Grid(first, self.settled[rows], self.values[rows], self.codes[rows])

    def per_minute(self) -> "_Grid":
        """Of hours each for its sixty minutes."""
        return _Grid(
            self.first * 60, np.repeat(self.settled, 60), np.repeat(self.values, 60), np.repeat(self.codes, 60)
        )


class _Samples:
    """The derived factors: which moments of a factor are samples, and what a window makes of them.

    The rules are those of `derived_nodes`.
    """

    def __init__(self, past: _Past, at: Times) -> None:
        self._past = past
        self._at = at
        self._end_ms = int(at[-1]) if len(at) > 0 else 0
        self._steps: dict[str, Step] = {}
        self._grids: dict[str, _Grid] = {}

    def add(self, step: Step, below: Column) -> Column:
        """The step at every moment; `below` is what it is made of, there."""
        self._steps[step.name] = step
        if step.kind is None:
            return _absolute(step, below)
        size, warm = step.size, windows.warm_samples(step.window_ms)
        grid = self._of(step.of, step.grid_ms)
        samples = np.where(grid.settled, grid.values, np.nan)
        codes = np.where(np.isnan(samples), grid.codes, FRESH)
        codes = np.where((codes == FRESH) & (windows.counts(samples, size) < warm), WARMING, codes)
        places = windows.column(step.kind, samples, size, grid.settled & (codes == FRESH))
        low, high = step.spec.range if step.spec is not None else (-np.inf, np.inf)
        is_wrong = (codes == FRESH) & ~((places >= low) & (places <= high))
        codes = np.where(is_wrong, RANGE, codes).astype(np.int8)
        made = self._grids[step.name] = _Grid(grid.first, grid.settled, *masked(places, codes))
        return self._read(step, made)

    def _read(self, step: Step, grid: _Grid) -> Column:
        at, length = self._at, len(grid.settled)
        points = np.minimum(at // step.grid_ms - grid.first, length - 1)
        newest = np.maximum.accumulate(np.where(grid.settled, np.arange(length), -1))
        rows = np.where(points >= 0, newest[np.maximum(points, 0)], -1) if length > 0 else np.full(len(at), -1)
        is_late = at > (grid.first + rows + 1) * step.grid_ms + KLINE_GRACE_MS
        codes = np.where(is_late, SILENT, _codes(grid.codes, rows, SILENT))
        codes = np.where(rows < 0, WARMING, codes).astype(np.int8)
        if step.source.is_kline:
            codes = self._past.unless_outlier(at, codes)
        return masked(_floats(grid.values, rows), codes)

    def _of(self, name: str, grid_ms: int) -> _Grid:
        """The samples of a factor on a grid."""
        step = self._steps.get(name)
        if step is None:
            return self._of_plain(name, grid_ms)
        if step.kind is None:
            grid = self._of(step.of, grid_ms)
            return _Grid(grid.first, grid.settled, *_absolute(step, (grid.values, grid.codes)))
        return _on_grid(self._grids[name], step.grid_ms, grid_ms)

    def _of_plain(self, name: str, grid_ms: int) -> _Grid:
        past = self._past
        match _SOURCES[name]:
            case Source.MINUTE:
                return _on_grid(self._of_bars(past.minute_close, past.by_minute[name], MINUTE_MS), MINUTE_MS, grid_ms)
            case Source.HOUR:
                return _on_grid(self._of_bars(past.hour_close, past.by_hour[name], HOUR_MS), HOUR_MS, grid_ms)
            case Source.TICK:
                first_ms = past.first_tick_ms(name)
                points = self._points(first_ms, grid_ms)
                values, codes = past.ticks(points * grid_ms)[name]
                return _Grid(_first(points), np.ones(len(points), dtype=np.bool_), values, codes)
            case Source.DAY:
                points = self._points(past.first_day_ms, grid_ms)
                values, codes = past.days(points * grid_ms)[name]
                is_last = (points + 1) * grid_ms % DAY_MS == 0
                return _Grid(_first(points), (codes == FRESH) | is_last, values, codes)

    def _points(self, first_ms: int | None, grid_ms: int) -> Times:
        """The grid points from `first_ms` to the last moment."""
        if first_ms is None:
            return np.empty(0, dtype=np.int64)
        return np.arange(-(-first_ms // grid_ms), self._end_ms // grid_ms + 1, dtype=np.int64)

    def _of_bars(self, close_time: Times, column: Column, length_ms: int) -> _Grid:
        if len(close_time) == 0:
            return _Grid(0, np.zeros(0, dtype=np.bool_), np.empty(0), np.empty(0, dtype=np.int8))
        first, last = int(close_time[0]) // length_ms, int(close_time[-1]) // length_ms
        rows = close_time // length_ms - first
        settled = np.zeros(last - first + 1, dtype=np.bool_)
        values, codes = np.full(len(settled), np.nan), fresh(len(settled))
        settled[rows], values[rows], codes[rows] = True, column[0], column[1]
        return _Grid(first, settled, values, codes)


def _first(points: Times) -> int:
    return int(points[0]) if len(points) > 0 else 0


def _on_grid(grid: _Grid, has_ms: int, grid_ms: int) -> _Grid:
    if has_ms == grid_ms:
        return grid
    return grid.per_hour() if has_ms < grid_ms else grid.per_minute()


def _absolute(step: Step, below: Column) -> Column:
    sizes = np.abs(below[0])
    return (sizes, below[1]) if step.spec is None else step.spec.column_in_range(sizes, below[1])
