"""`atr_14`: how far the price travels in an hour, smoothed.

Formula: `true_range`. Source: closed 1 h bars (or 60 closed 1 m bars). Unit: quote currency. Lag: the bar's close. Warm
after 14 true ranges. A missing hour widens the next true range and is not invented.

The weight of the first true range falls by 13/15 each hour, so after the 45 days of warm-up nothing of it is left in a
double: a recompute from stored bars ends in the same bits as the live value did.
"""

import numpy as np

from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.quality import FRESH, WARMING, Column
from chimera.domain.features.true_range import AverageTrueRange, averages
from chimera.domain.market.bars import Floats

SPEC = FactorSpec(
    factor_id="atr_14",
    family="volatility",
    version="1",
    freq="1h",
    lag_ms=0,
    definition="ema(tr(1h),14)",
    unit="quote currency",
    deps=("mkt:kline",),
    range=(0.0, 1e9),
)


class Atr14(AverageTrueRange):
    """Feed closed hours in order; O(1) each."""

    __slots__ = ()


def column(high: Floats, low: Floats, close: Floats) -> Column:
    """The same for every hour of a series, ascending."""
    values = averages(high, low, close)
    return values, np.where(np.isnan(values), WARMING, FRESH).astype(np.int8)
