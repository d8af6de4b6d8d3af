"""Which market data may enter a feature at all. A refused input is a gap: the factor that needed it turns stale."""

from math import inf

import numpy as np
from numpy.typing import NDArray

from chimera.domain.market.bars import BarSeries, Floats
from chimera.domain.market.quotes import INTERVAL_MS, Bar

PRICE_MIN = 1e-12
PRICE_MAX = 1e12
"""Beyond these a number is no price; within them no return and no square of one leaves a double."""


def sane_bar(bar: Bar) -> bool:
    """Possible, ordered prices, a volume that is not negative, and a beginning on the grid of its interval."""
    # NaN fails every comparison.
    return (
        bar.open_time % INTERVAL_MS[bar.interval] == 0
        and PRICE_MIN <= bar.low <= bar.high <= PRICE_MAX
        and bar.low <= bar.close <= bar.high
        and bar.low <= bar.open <= bar.high
        and 0.0 <= bar.volume < inf
    )


def sane_bars(series: BarSeries) -> BarSeries:
    """The rows of `series` that are."""
    low, high = series.low, series.high
    sane = (series.open_time % series.interval_ms == 0) & (low >= PRICE_MIN) & (low <= high) & (high <= PRICE_MAX)
    for price in (series.close, series.open):
        sane &= (low <= price) & (price <= high)
    sane &= (series.volume >= 0.0) & (series.volume < inf)
    if sane.all():
        return series
    return series.at(sane)


def sane_touch(bid: float, ask: float) -> bool:
    """False for a crossed book, for zero, for anything that is not finite. A locked book (bid = ask) is sane."""
    return 0.0 < bid <= ask < inf


def crossed_touch(bid: float, ask: float) -> bool:
    """Two prices that could be, the wrong way round."""
    return 0.0 < ask < bid < inf


def sane_touches(bid: Floats, ask: Floats) -> NDArray[np.bool_]:
    return (bid > 0.0) & (bid <= ask) & (ask < inf)


def crossed_touches(bid: Floats, ask: Floats) -> NDArray[np.bool_]:
    return (ask > 0.0) & (ask < bid) & (bid < inf)
