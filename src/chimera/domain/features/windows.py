"""Where a sample stands among the samples of a window: `pctile` and `zscore`, both forms.

A window holds one sample for each point of a UTC grid, or none where there was no value. What it gives depends on the
samples in it and on nothing that has left: order is kept by bisection, sums in whole numbers that hold every bit of the
samples. So a recompute from stored bars ends in the same bits as the live value.

    pctile    mid-rank of the newest sample, (smaller + half of the equal ones) / all, itself included
    zscore    (newest - mean) / population standard deviation; undefined where all samples are equal
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from enum import StrEnum
from math import ceil, ldexp, nan, sqrt
from typing import Final, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from chimera.domain.market.bars import Floats

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000

WINDOW_MS_MIN = 10 * MINUTE_MS
"""A place among fewer than ten is no statistic."""
MINUTE_GRID_MS_MAX = DAY_MS
WINDOW_MS_MAX = 60 * DAY_MS
"""Together with the grids: no window holds more than 1440 samples, 12 kB (or 24, in order)."""

WARM_SHARE: Final = 0.9
"""How much of a window must be there. All of it would make one lost minute blind a month; much less, and a window whose
first week is missing would pass for a month."""

SAMPLE_ABS_MAX = 1e15
"""Samples are at most this far from 0, so that their squares, summed in whole numbers, still fit a double."""
_SCALE = 160
"""Samples count in units of 2^-160, so a double above 1e-32 is a whole number of them."""

_ROWS_AT_ONCE = 512
"""Windows compared in one step of the column form: 6 MB of doubles at 1440 samples each."""


class WindowKind(StrEnum):
    PCTILE = "pctile"
    ZSCORE = "zscore"


def grid_ms(window_ms: int) -> int:
    """Up to 24 h the closes of UTC minutes, beyond those of UTC hours."""
    return MINUTE_MS if window_ms <= MINUTE_GRID_MS_MAX else HOUR_MS


def warm_samples(window_ms: int) -> int:
    """How many samples make a window warm."""
    # The product may end a hair above a whole number.
    return ceil(WARM_SHARE * (window_ms // grid_ms(window_ms)) - 1e-9)


class Tally(Protocol):
    """What a kind of window keeps of its samples."""

    count: int

    def add(self, sample: float) -> None: ...

    def remove(self, sample: float) -> None: ...

    def place(self, sample: float) -> float:
        """Of a sample that is in the window; NaN where undefined."""
        ...


class Ranks:
    """Samples in order: a step is a bisection and a move of at most 12 kB."""

    __slots__ = ("_ordered", "count")

    def __init__(self) -> None:
        self._ordered = array("d")
        self.count = 0

    def add(self, sample: float) -> None:
        insort(self._ordered, sample)
        self.count += 1

    def remove(self, sample: float) -> None:
        del self._ordered[bisect_left(self._ordered, sample)]
        self.count -= 1

    def place(self, sample: float) -> float:
        return (bisect_left(self._ordered, sample) + bisect_right(self._ordered, sample)) / 2 / self.count


class Moments:
    """Sums of samples and of their squares, exact."""

    __slots__ = ("_squares", "_sum", "count")

    def __init__(self) -> None:
        self._sum = 0
        self._squares = 0
        self.count = 0

    def add(self, sample: float) -> None:
        scaled = int(ldexp(sample, _SCALE))
        self._sum += scaled
        self._squares += scaled * scaled
        self.count += 1

    def remove(self, sample: float) -> None:
        scaled = int(ldexp(sample, _SCALE))
        self._sum -= scaled
        self._squares -= scaled * scaled
        self.count -= 1

    def place(self, sample: float) -> float:
        spread = self.count * self._squares - self._sum * self._sum
        if spread == 0:
            return nan
        return float(self.count * int(ldexp(sample, _SCALE)) - self._sum) / sqrt(float(spread))


_TALLIES: dict[WindowKind, type[Ranks] | type[Moments]] = {WindowKind.PCTILE: Ranks, WindowKind.ZSCORE: Moments}


class SampleWindow:
    """The samples of the last `size` points of a grid, numbered. Points come in order; one left out has no sample."""

    __slots__ = ("_newest", "_ring", "_size", "_tally")

    def __init__(self, kind: WindowKind, size: int) -> None:
        self._ring = array("d", [nan]) * size
        self._size = size
        self._newest = -1
        self._tally: Tally = _TALLIES[kind]()

    @property
    def count(self) -> int:
        return self._tally.count

    def add(self, point: int, sample: float) -> None:
        """The sample at grid point number `point`, later than any before; NaN for none."""
        ring, size, tally = self._ring, self._size, self._tally
        for passed in range(max(self._newest + 1, point - size + 1), point + 1):
            slot = passed % size
            left = ring[slot]
            if left == left:
                tally.remove(left)
                ring[slot] = nan
        if sample == sample:
            ring[point % size] = sample
            tally.add(sample)
        self._newest = point

    def place(self) -> float:
        """Of the newest sample, which must not be NaN. NaN where undefined."""
        return self._tally.place(self._ring[self._newest % self._size])


_whole = np.frompyfunc(int, 1, 1)


def whole_numbers(values: Floats) -> NDArray[np.object_]:
    """Whole doubles as numbers of any size."""
    return np.asarray(_whole(values), dtype=object)


def counts(samples: Floats, size: int) -> NDArray[np.int64]:
    """Row i: how many of the `size` points up to i have a sample. `samples` has one row a grid point, NaN for none."""
    total = np.concatenate([[0], np.cumsum(~np.isnan(samples))])
    rows = np.arange(1, len(samples) + 1)
    return np.asarray(total[rows] - total[np.maximum(rows - size, 0)], dtype=np.int64)


def column(kind: WindowKind, samples: Floats, size: int, wanted: NDArray[np.bool_]) -> Floats:
    """Row i: the place of sample i in the window of the `size` points up to i; NaN where not `wanted` or undefined.

    `samples` has one row a grid point, NaN for none; a wanted row has a sample.
    """
    places = np.full(len(samples), np.nan)
    rows = np.flatnonzero(wanted)
    if len(rows) > 0:
        places[rows] = (_pctiles if kind is WindowKind.PCTILE else _zscores)(samples, size, rows)
    return places


def _pctiles(samples: Floats, size: int, rows: NDArray[np.intp]) -> Floats:
    padded = np.concatenate([np.full(size - 1, np.nan), samples])
    windows = sliding_window_view(padded, size)
    twice_ranks = np.empty(len(rows), dtype=np.int64)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[first : first + _ROWS_AT_ONCE]
        window, newest = windows[part], samples[part, None]
        # NaN is neither smaller nor equal.
        below, not_above = np.count_nonzero(window < newest, axis=1), np.count_nonzero(window <= newest, axis=1)
        twice_ranks[first : first + _ROWS_AT_ONCE] = below + not_above
    return twice_ranks / 2 / counts(samples, size)[rows]


def _zscores(samples: Floats, size: int, rows: NDArray[np.intp]) -> Floats:
    scaled = whole_numbers(np.ldexp(np.nan_to_num(samples, nan=0.0), _SCALE))
    none = np.zeros(1, dtype=object)
    sums, squares = np.concatenate([none, np.cumsum(scaled)]), np.concatenate([none, np.cumsum(scaled * scaled)])
    after = rows + 1
    before = np.maximum(after - size, 0)
    count = counts(samples, size)[rows].astype(object)
    total = sums[after] - sums[before]
    spread = np.asarray(count * (squares[after] - squares[before]) - total * total, dtype=np.float64)
    distance = np.asarray(count * scaled[rows] - total, dtype=np.float64)
    moved = spread > 0.0
    places = np.full(len(rows), np.nan)
    places[moved] = distance[moved] / np.sqrt(spread[moved])
    return places
