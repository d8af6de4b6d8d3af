"""The average of true ranges that both `atr_14` and `atr_1m_14` are.

ATR_t = a*TR_t + (1-a)*ATR_{t-1}, a = 2/(14+1), TR = max(high, previous close) - min(low, previous close). The first
true range starts the average; it is warm after 14.
"""

from itertools import accumulate

import numpy as np

from chimera.domain.market.bars import Floats

PERIOD = 14
_A = 2.0 / (PERIOD + 1)


def atr_next(atr: float, true_range: float) -> float:
    return _A * true_range + (1.0 - _A) * atr


class AverageTrueRange:
    """The running average. Feed bars in order; ~0.3 µs each."""

    __slots__ = ("_atr", "_close", "_count")

    def __init__(self) -> None:
        self._atr = 0.0
        self._close = 0.0
        self._count = 0

    def add(self, high: float, low: float, close: float) -> None:
        if self._close > 0.0:
            true_range = max(high, self._close) - min(low, self._close)
            self._atr = true_range if self._count == 0 else atr_next(self._atr, true_range)
            self._count += 1
        self._close = close

    def restart(self) -> None:
        self._close = 0.0
        self._count = 0

    @property
    def value(self) -> float | None:
        """None until 14 true ranges are in."""
        return self._atr if self._count >= PERIOD else None


def averages(high: Floats, low: Floats, close: Floats) -> Floats:
    """The same for every bar of a series without a restart in it; NaN while not warm.

    A fold in C over the bars: an average of averages has no other order that ends in the same bits, and `pctile` would
    see a difference in the last one as a change of rank.
    """
    values = np.full(len(close), np.nan)
    if len(close) > PERIOD:
        true_ranges = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
        values[PERIOD:] = list(accumulate(true_ranges.tolist(), atr_next))[PERIOD - 1 :]
    return values
