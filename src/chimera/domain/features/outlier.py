"""What is too far from the last hour to be believed.

Sigma is the root mean square of the last 60 log returns of closed minutes in a row (no mean taken off, as in `rv_1d`),
of 30 at least. A bar is an outlier when its return is beyond `sigmas` of the hour before it; a price when it is further
from the last close than `sigmas`. An outlier enters sigma like any return: a market that has moved for good is believed
again from the next minute on.
"""

from array import array
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

from chimera.domain.features.log_returns import (
    MINUTE_MS,
    UNIT,
    run_starts,
    scaled_return,
    scaled_returns,
    sums_of_squares,
)
from chimera.domain.market.bars import Floats, Times

OUTLIER_SIGMAS = 10.0
"""Source: SERVICES S2."""
SIGMA_MIN = 5e-4
"""In an hour that stood still a single step of the price would be beyond any sigma, and the first news after a quiet
hour beyond ten. 5e-4 a minute is 36 % a year, a calm day; a move within 0.5 % is always believed."""

WINDOW = 60
RETURNS_MIN = 30


class LastHour:
    """Feed closed 1 m bars in order; O(1) each. `low` and `high` bound the prices that are believed now."""

    __slots__ = ("_as_of_ms", "_at", "_close", "_ring", "_run", "_sigma", "_sigmas", "_sum", "high", "low", "outlier")

    def __init__(self, sigmas: float = OUTLIER_SIGMAS) -> None:
        self._sigmas = sigmas
        self._ring = array("q", bytes(8 * WINDOW))
        self._at = 0
        self._sum = 0
        self._run = 0
        self._close = 0.0
        self._as_of_ms = -1
        self._sigma = inf
        self.low = -inf
        self.high = inf
        self.outlier = False
        """Whether the newest bar is one."""

    def add(self, close: float, close_time: int) -> None:
        if close_time - self._as_of_ms != MINUTE_MS:
            self._run = 0
            self._sum = 0
            self._at = 0
            self.outlier = False
        else:
            scaled = scaled_return(close, self._close)
            self.outlier = abs(scaled) / UNIT > self._sigmas * self._sigma
            if self._run >= WINDOW:
                left = self._ring[self._at]
                self._sum -= left * left
            self._sum += scaled * scaled
            self._ring[self._at] = scaled
            self._at = (self._at + 1) % WINDOW
            self._run += 1
        self._close = close
        self._as_of_ms = close_time
        if self._run < RETURNS_MIN:
            self._sigma, self.low, self.high = inf, -inf, inf
        else:
            self._sigma = max(sqrt(float(self._sum) / min(self._run, WINDOW)) / UNIT, SIGMA_MIN)
            reach = self._sigmas * self._sigma
            self.low = close * (1.0 - reach)
            self.high = close * (1.0 + reach)


def column(close_time: Times, close: Floats, sigmas: float) -> tuple[NDArray[np.bool_], Floats, Floats]:
    """The same for every bar of a series: whether it is an outlier, the lowest and the highest price believed."""
    run = np.arange(len(close)) - run_starts(close_time)
    counts = np.minimum(run, WINDOW)
    scaled = scaled_returns(close)
    sums = sums_of_squares(scaled, counts)
    sigma = np.maximum(np.sqrt(sums / np.maximum(counts, 1)) / UNIT, SIGMA_MIN)
    sigma = np.where(run >= RETURNS_MIN, sigma, np.inf)
    outlier = np.zeros(len(close), dtype=np.bool_)
    outlier[1:] = (run[1:] > 0) & (np.abs(scaled[1:]) / UNIT > sigmas * sigma[:-1])
    with np.errstate(invalid="ignore"):
        reach = sigmas * sigma
    return outlier, close * (1.0 - reach), close * (1.0 + reach)
