"""`rv_1d`: realised volatility of the last day.

Formula sqrt(mean(r^2) * 365 * 1440), r = ln(close / previous close) over the last 1440 closed minutes, no mean taken
off. Source: closed 1 m bars. Unit: fraction per year (0.6 = 60 %). Lag: the bar's close. Warm after 1440 returns in a
row; a missing minute makes it stale until it has left the window.

The sum is kept in whole numbers (`log_returns`), so adding and removing leaves no drift: the value depends on the
window and on nothing before it.
"""

from array import array
from math import sqrt

import numpy as np

from chimera.contracts.enums import DataQuality
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.log_returns import (
    MINUTE_MS,
    UNIT,
    run_starts,
    scaled_return,
    scaled_returns,
    sums_of_squares,
)
from chimera.domain.features.quality import FRESH, GAP, WARMING, Column, masked
from chimera.domain.market.bars import Floats, Times

WINDOW = 1440
_YEAR_MINUTES = 365 * 1440

SPEC = FactorSpec(
    factor_id="rv_1d",
    family="volatility",
    version="1",
    freq="1m",
    lag_ms=0,
    definition="sqrt(mean(logret(1m)^2,1440)*365*1440)",
    unit="fraction per year",
    deps=("mkt:kline",),
    range=(0.0, 50.0),
)


class RealizedVol1d:
    """A ring of returns. Feed closed 1 m bars in order; O(1) each."""

    __slots__ = ("_as_of_ms", "_at", "_broken", "_close", "_ring", "_run", "_sum")

    def __init__(self) -> None:
        self._ring = array("q", bytes(8 * WINDOW))
        self._at = 0
        self._sum = 0
        self._run = 0
        self._close = 0.0
        self._as_of_ms = -1
        self._broken = False

    def add(self, close: float, close_time: int) -> None:
        """Take one closed minute; `close` is positive and finite."""
        if close_time - self._as_of_ms != MINUTE_MS:
            # The return over a gap is not a return of one minute, and a window with a hole is not a day.
            self._broken = self._as_of_ms >= 0
            self._run = 0
        else:
            scaled = scaled_return(close, self._close)
            left = self._ring[self._at]
            self._sum += scaled * scaled - left * left
            self._ring[self._at] = scaled
            self._at = (self._at + 1) % WINDOW
            self._run += 1
        self._close = close
        self._as_of_ms = close_time

    @property
    def value(self) -> float | None:
        """None while fewer than 1440 returns stand in a row."""
        return sqrt(float(self._sum) / WINDOW * _YEAR_MINUTES) / UNIT if self._run >= WINDOW else None

    @property
    def lacks(self) -> DataQuality:
        """Why there is no value."""
        return DataQuality.GAP if self._broken else DataQuality.WARMING


def column(close_time: Times, close: Floats) -> Column:
    """The same for every bar of a series, ascending, positive and finite."""
    starts = run_starts(close_time)
    run = np.arange(len(close)) - starts
    sums = sums_of_squares(scaled_returns(close), np.minimum(run, WINDOW))
    codes = np.where(run >= WINDOW, FRESH, np.where(starts > 0, GAP, WARMING)).astype(np.int8)
    return masked(np.sqrt(sums / WINDOW * _YEAR_MINUTES) / UNIT, codes)
