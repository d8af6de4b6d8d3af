"""`mid`: the middle of the best bid and the best ask.

Formula (bid + ask) / 2. Source: newest of ticker and depth. Unit: quote currency. No lag.
"""

from chimera.domain.features.factor import FactorSpec
from chimera.domain.market.bars import Floats

SPEC = FactorSpec(
    factor_id="mid",
    family="book",
    version="1",
    freq="tick",
    lag_ms=0,
    definition="(bid+ask)/2",
    unit="quote currency",
    deps=("mkt:ticker", "mkt:depth"),
    range=(1e-9, 1e9),
)


def mid(bid: float, ask: float) -> float:
    return (bid + ask) / 2.0


def column(bid: Floats, ask: Floats) -> Floats:
    """`mid` of every row."""
    return (bid + ask) / 2.0
