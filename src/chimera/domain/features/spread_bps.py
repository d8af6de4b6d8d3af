"""`spread_bps`: what the best bid and the best ask are apart.

Formula (ask - bid) / mid * 1e4. Source: newest of ticker and depth. Unit: basis points, 0 when the book is locked. No
lag. Above 1000 the book is broken rather than wide.
"""

from chimera.domain.features.factor import FactorSpec
from chimera.domain.market.bars import Floats

SPEC = FactorSpec(
    factor_id="spread_bps",
    family="book",
    version="1",
    freq="tick",
    lag_ms=0,
    definition="(ask-bid)/mid*1e4",
    unit="bps",
    deps=("mkt:ticker", "mkt:depth"),
    range=(0.0, 1000.0),
)


def spread_bps(bid: float, ask: float) -> float:
    return (ask - bid) / ((bid + ask) / 2.0) * 1e4


def column(bid: Floats, ask: Floats) -> Floats:
    """`spread_bps` of every row."""
    return (ask - bid) / ((bid + ask) / 2.0) * 1e4
