"""Log returns as whole numbers, in units of 1e-12: sums of them, and of their squares, are exact.

A rolling sum of floats keeps what has left the window as an error; of whole numbers nothing is left. Both forms of a
factor read the same numbers from here, bit for bit.
"""

from math import log

import numpy as np

from chimera.domain.market.bars import Floats, Times

UNIT = 1e12
"""A return of 1.0 in our units. Finer than any tick of a price, and 64 bits hold every return that floats can make."""

MINUTE_MS = 60_000


def scaled_return(close: float, close_before: float) -> int:
    """Both positive and finite."""
    return round(log(close / close_before) * UNIT)


_log = np.frompyfunc(log, 1, 1)


def logs(ratios: Floats) -> Floats:
    """Natural logarithms by the same function as live: numpy's own differs from it in the last bit."""
    return np.asarray(_log(ratios), dtype=np.float64)


def scaled_returns(close: Floats) -> Times:
    """Row i: the return from row i - 1 to row i. Row 0 is 0."""
    scaled = np.zeros(len(close), dtype=np.int64)
    if len(close) > 1:
        scaled[1:] = np.rint(logs(close[1:] / close[:-1]) * UNIT).astype(np.int64)
    return scaled


def run_starts(close_time: Times) -> Times:
    """Row i: the first row of the bars that stand in a row, a minute apart, up to i."""
    rows = np.arange(len(close_time), dtype=np.int64)
    begins = np.ones(len(close_time), dtype=np.bool_)
    begins[1:] = np.diff(close_time) != MINUTE_MS
    return np.maximum.accumulate(np.where(begins, rows, 0))


def sums_of_squares(scaled: Times, counts: Times) -> Floats:
    """Row i: the sum of the squares of the `counts[i]` newest returns up to row i, exact and then rounded once."""
    total = np.concatenate([np.zeros(1, dtype=object), np.cumsum(scaled.astype(object) ** 2)])
    rows = np.arange(1, len(scaled) + 1)
    return np.asarray(total[rows] - total[rows - counts], dtype=np.float64)
