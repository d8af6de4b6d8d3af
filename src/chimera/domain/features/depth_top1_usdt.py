"""`depth_top1_usdt`: how much money rests at the thinner of the two best levels.

Formula min(bid_qty * bid, ask_qty * ask). Source: depth. Unit: USDT. No lag.
"""

import numpy as np

from chimera.domain.features.factor import FactorSpec
from chimera.domain.market.bars import Floats

SPEC = FactorSpec(
    factor_id="depth_top1_usdt",
    family="book",
    version="1",
    freq="tick",
    lag_ms=0,
    definition="min(bid_qty*bid,ask_qty*ask)",
    unit="USDT",
    deps=("mkt:depth",),
    range=(0.0, 1e12),
)


def depth_top1_usdt(bid: float, ask: float, bid_qty: float, ask_qty: float) -> float:
    return min(bid_qty * bid, ask_qty * ask)


def column(bid: Floats, ask: Floats, bid_qty: Floats, ask_qty: Floats) -> Floats:
    """`depth_top1_usdt` of every row."""
    return np.minimum(bid_qty * bid, ask_qty * ask)
