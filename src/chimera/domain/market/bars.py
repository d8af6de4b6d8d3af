"""Many bars at once, and longer bars from shorter ones.

Owns the column form of a series of bars (`BarSeries`) and the two ways to aggregate: vectorised for history,
incremental for a live stream. Both give the same numbers to the last bit, and for both a bucket with a missing part is
no bar at all: half an hour must never pass for an hour.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.quotes import INTERVAL_MS, Bar

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BarSeries:
    """Bars of one instrument and interval as columns of equal length, ascending in `open_time` (epoch ms).

    Gaps are allowed here; who forbids them is the reader of files. Treat the arrays as read-only: they are shared.
    """

    interval: str
    open_time: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.open_time)

    @property
    def interval_ms(self) -> int:
        return INTERVAL_MS[self.interval]

    @property
    def start_ms(self) -> int:
        """Open time of the first bar. The series must not be empty."""
        return int(self.open_time[0])

    @property
    def end_ms(self) -> int:
        """The first ms after the last bar. The series must not be empty."""
        return int(self.open_time[-1]) + self.interval_ms

    def within(self, start_ms: int, end_ms: int) -> "BarSeries":
        """The bars that open at or after `start_ms` and are closed at `end_ms`."""
        first = int(np.searchsorted(self.open_time, start_ms, "left"))
        last = int(np.searchsorted(self.open_time, end_ms - self.interval_ms, "right"))
        return self.rows(first, max(first, last))

    def rows(self, first: int, last: int) -> "BarSeries":
        """Rows [first, last) without copying."""
        return BarSeries(
            interval=self.interval,
            open_time=self.open_time[first:last],
            open=self.open[first:last],
            high=self.high[first:last],
            low=self.low[first:last],
            close=self.close[first:last],
            volume=self.volume[first:last],
        )

    def at(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "BarSeries":
        """A copy of some rows, by their numbers in ascending order or by a mask."""
        return BarSeries(
            interval=self.interval,
            open_time=self.open_time[rows],
            open=self.open[rows],
            high=self.high[rows],
            low=self.low[rows],
            close=self.close[rows],
            volume=self.volume[rows],
        )

    def to_bars(self, key: InstrumentKey) -> list[Bar]:
        """As values of plain Python numbers, oldest first."""
        market, symbol, interval = key.market, key.symbol, self.interval
        columns = (self.open_time, self.open, self.high, self.low, self.close, self.volume)
        return [Bar(market, symbol, interval, *row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def empty(interval: str) -> BarSeries:
    none = np.empty(0)
    return BarSeries(
        interval=interval,
        open_time=np.empty(0, dtype=np.int64),
        open=none,
        high=none,
        low=none,
        close=none,
        volume=none,
    )


def concat(parts: Sequence[BarSeries]) -> BarSeries:
    """One series from parts of one interval in order of time, at least one part."""
    if len(parts) == 1:
        return parts[0]
    return BarSeries(
        interval=parts[0].interval,
        open_time=np.concatenate([part.open_time for part in parts]),
        open=np.concatenate([part.open for part in parts]),
        high=np.concatenate([part.high for part in parts]),
        low=np.concatenate([part.low for part in parts]),
        close=np.concatenate([part.close for part in parts]),
        volume=np.concatenate([part.volume for part in parts]),
    )


def bars_per(source: str, target: str) -> int:
    """How many `source` bars make one `target` bar.

    Raises:
        ValueError: an interval that is unknown, or that is no multiple of the other.
    """
    for name in (source, target):
        if name not in INTERVAL_MS:
            raise ValueError(f"interval {name!r} is not one of {', '.join(INTERVAL_MS)}")
    count, rest = divmod(INTERVAL_MS[target], INTERVAL_MS[source])
    if rest or count == 0:
        raise ValueError(f"{target} bars cannot be made of {source} bars")
    return count


def aggregate(series: BarSeries, interval: str) -> BarSeries:
    """Longer bars aligned to the epoch; buckets that are not complete are left out.

    Raises:
        ValueError: `interval` is no multiple of the series' own.
    """
    count = bars_per(series.interval, interval)
    if count == 1:
        return series
    length_ms = INTERVAL_MS[interval]
    times = series.open_time
    if len(times) < count:
        return empty(interval)
    # A complete bucket starts on the grid and its last part is exactly count - 1 rows further on.
    starts = np.flatnonzero(times[: len(times) - count + 1] % length_ms == 0)
    starts = starts[times[starts + count - 1] - times[starts] == length_ms - series.interval_ms]
    if len(starts) == 0:
        return empty(interval)
    rows = starts[:, None] + np.arange(count)
    return BarSeries(
        interval=interval,
        open_time=times[starts],
        open=series.open[starts],
        high=series.high[rows].max(axis=1),
        low=series.low[rows].min(axis=1),
        close=series.close[starts + count - 1],
        # Added one after the other, as the incremental way does; numpy's own sum adds in pairs and differs in the end.
        volume=np.cumsum(series.volume[rows], axis=1)[:, -1],
    )


class BarRoller:
    """Feed closed bars of one instrument in order; the one that completes a longer bar gives it."""

    __slots__ = (
        "_close",
        "_count",
        "_high",
        "_interval",
        "_length_ms",
        "_low",
        "_needed",
        "_open",
        "_start",
        "_volume",
    )

    def __init__(self, source: str, interval: str) -> None:
        self._interval = interval
        self._needed = bars_per(source, interval)
        self._length_ms = INTERVAL_MS[interval]
        self._start = -1
        self._count = 0
        self._open = self._high = self._low = self._close = self._volume = 0.0

    def add(self, bar: Bar) -> Bar | None:
        start = bar.open_time - bar.open_time % self._length_ms
        if start != self._start:
            self._start = start
            self._count = 0
            self._volume = 0.0
            self._open, self._high, self._low = bar.open, bar.high, bar.low
        self._high = max(self._high, bar.high)
        self._low = min(self._low, bar.low)
        self._close = bar.close
        self._volume += bar.volume
        self._count += 1
        if self._count < self._needed:
            return None
        return Bar(
            bar.market,
            bar.symbol,
            self._interval,
            start,
            self._open,
            self._high,
            self._low,
            self._close,
            self._volume,
        )
