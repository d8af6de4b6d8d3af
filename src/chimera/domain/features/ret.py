"""`ret_1h`, `ret_24h`: how far the price has come in an hour, in a day.

Formula close / close 60 (1440) minutes before - 1. Source: closed 1 m bars. Unit: fraction. Lag: the bar's close.
Exactly so far apart: where the minute then is missing, there is no return now. What is missing in between is no matter.
"""

from array import array
from math import nan

import numpy as np

from chimera.contracts.enums import DataQuality
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.log_returns import MINUTE_MS
from chimera.domain.features.quality import FRESH, GAP, WARMING, Column, masked
from chimera.domain.market.bars import Floats, Times

MINUTES_1H = 60
MINUTES_24H = 1440
_KEPT = MINUTES_24H + 1

SPEC_1H, SPEC_24H = (
    FactorSpec(
        factor_id=f"ret_{name}",
        family="momentum",
        version="1",
        freq="1m",
        lag_ms=0,
        definition=f"ret({name})",
        unit="fraction",
        deps=("mkt:kline",),
        range=(-0.99, high),
    )
    for name, high in (("1h", 10.0), ("24h", 100.0))
)
SPECS = (SPEC_1H, SPEC_24H)


def simple_return(close: float, close_before: float) -> float:
    """Both positive."""
    return close / close_before - 1.0


class Closes:
    """The closes of the last day by their minute. Feed closed 1 m bars in order; O(1) each, a gap costs its minutes."""

    __slots__ = ("_closes", "_first", "_newest")

    def __init__(self) -> None:
        self._closes = array("d", [nan]) * _KEPT
        self._first = -1
        self._newest = -1

    def add(self, close: float, close_time: int) -> None:
        minute = close_time // MINUTE_MS
        if self._first < 0:
            self._first = minute
        else:
            for missing in range(max(self._newest + 1, minute - MINUTES_24H), minute):
                self._closes[missing % _KEPT] = nan
        self._closes[minute % _KEPT] = close
        self._newest = minute

    def since(self, minutes: int) -> float:
        """The return over the last `minutes`, NaN where it has no beginning."""
        newest = self._newest
        return simple_return(self._closes[newest % _KEPT], self._closes[(newest - minutes) % _KEPT])

    def lacks(self, minutes: int) -> DataQuality:
        """Why there is no return over the last `minutes`."""
        return DataQuality.WARMING if self._newest - minutes < self._first else DataQuality.GAP


def column(close_time: Times, close: Floats, minutes: int) -> Column:
    """The return over `minutes` for every bar of a series, ascending."""
    if len(close) == 0:
        return np.empty(0), np.empty(0, dtype=np.int8)
    begun = close_time - minutes * MINUTE_MS
    row = np.minimum(np.searchsorted(close_time, begun), len(close) - 1)
    codes = np.where(close_time[row] == begun, FRESH, np.where(begun < close_time[0], WARMING, GAP)).astype(np.int8)
    return masked(close / close[row] - 1.0, codes)
