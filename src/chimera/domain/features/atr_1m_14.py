"""`atr_1m_14`: how far the price travels in a minute, smoothed.

Formula: `true_range`. Source: closed 1 m bars. Unit: quote currency. Lag: the bar's close. Warm after 14 true ranges in
a row: the range over a missing minute is no minute's, so the average starts anew behind a gap and is stale until then.
"""

from itertools import pairwise

import numpy as np

from chimera.contracts.enums import DataQuality
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.log_returns import MINUTE_MS, run_starts
from chimera.domain.features.quality import FRESH, GAP, WARMING, Column
from chimera.domain.features.true_range import AverageTrueRange, averages
from chimera.domain.market.bars import Floats, Times

SPEC = FactorSpec(
    factor_id="atr_1m_14",
    family="volatility",
    version="1",
    freq="1m",
    lag_ms=0,
    definition="ema(tr(1m),14)",
    unit="quote currency",
    deps=("mkt:kline",),
    range=(0.0, 1e9),
)


class Atr1m14(AverageTrueRange):
    """Feed closed 1 m bars in order; O(1) each."""

    __slots__ = ("_as_of_ms", "_broken")

    def __init__(self) -> None:
        super().__init__()
        self._as_of_ms = -1
        self._broken = False

    def add_minute(self, high: float, low: float, close: float, close_time: int) -> None:
        if close_time - self._as_of_ms != MINUTE_MS:
            self._broken = self._as_of_ms >= 0
            self.restart()
        self.add(high, low, close)
        self._as_of_ms = close_time

    @property
    def lacks(self) -> DataQuality:
        """Why there is no value."""
        return DataQuality.GAP if self._broken else DataQuality.WARMING


def column(close_time: Times, high: Floats, low: Floats, close: Floats) -> Column:
    """The same for every bar of a series, ascending. One step a gap."""
    starts = run_starts(close_time)
    bounds = [*np.unique(starts).tolist(), len(close)]
    parts = [averages(high[a:b], low[a:b], close[a:b]) for a, b in pairwise(bounds)]
    values = np.concatenate([np.empty(0), *parts])
    return values, np.where(np.isnan(values), np.where(starts > 0, GAP, WARMING), FRESH).astype(np.int8)
