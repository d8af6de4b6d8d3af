"""`funding_next`: the rate of the next settlement, per 8 hours whatever the symbol's own interval is.

Formula rate * 8 / interval_h. Source: funding events of kind NEXT. Unit: fraction of notional per 8 h, positive when
longs pay. No lag. It stops being "next" when its funding time has passed.
"""

import numpy as np

from chimera.domain.features.factor import FactorSpec
from chimera.domain.market.bars import Floats, Times

SPEC = FactorSpec(
    factor_id="funding_next",
    family="funding",
    version="1",
    freq="tick",
    lag_ms=0,
    definition="rate*8/interval_h",
    unit="fraction of notional per 8 h",
    deps=("mkt:funding",),
    range=(-0.5, 0.5),
)

MAX_AGE_MS = 36_000_000
"""10 h, as long as `funding:next` lives: a venue that says a rate once per interval is not silent."""


def funding_next(rate: float, interval_h: int) -> float:
    """Raises ZeroDivisionError for interval_h = 0."""
    return rate * 8.0 / interval_h


def column(rate: Floats, interval_h: Times) -> Floats:
    """`funding_next` of every row; infinite where the interval is no positive number of hours."""
    return np.where(interval_h > 0, rate * 8.0 / np.maximum(interval_h, 1), np.inf)
