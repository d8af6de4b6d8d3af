"""`xmkt_signal`: the lead of USDT/TWD over BTCUSDT, once a UTC day.

Formula: USDT/TWD moved the same way on the two last closed days D1 then D2, and BTCUSDT the other way on D1: the
direction of USDT/TWD (+1 or -1), else 0. A move smaller than `min_move` and a day without volume are no move.
Source: the three daily returns. Unit: direction. Lag: none after the bars that close D2.
"""

import numpy as np

from chimera.domain.features.factor import FactorSpec
from chimera.domain.market.bars import Floats

SPEC = FactorSpec(
    factor_id="xmkt_signal",
    family="cross_market",
    version="1",
    freq="1d",
    lag_ms=0,
    definition="lead(usdttwd_ret_d1,usdttwd_ret_d2,btc_ret_d1)",
    unit="direction",
    deps=("usdttwd_ret_d1", "usdttwd_ret_d2", "btc_ret_d1"),
    range=(-1.0, 1.0),
)


def move(day_return: float, volume: float, min_move: float) -> int:
    """-1, 0 or +1. A move of exactly `min_move` counts."""
    if not volume > 0.0 or abs(day_return) < min_move:
        return 0
    return 1 if day_return > 0.0 else -1


def xmkt_signal(usdttwd_d1: int, usdttwd_d2: int, btc_d1: int) -> int:
    """From the three moves (-1, 0, +1) to the signal."""
    if usdttwd_d1 != 0 and usdttwd_d1 == usdttwd_d2 and btc_d1 == -usdttwd_d1:
        return usdttwd_d1
    return 0


def moves(day_return: Floats, volume: Floats, min_move: float) -> Floats:
    """`move` of every row."""
    still = ~(volume > 0.0) | (np.abs(day_return) < min_move)
    return np.where(still, 0.0, np.where(day_return > 0.0, 1.0, -1.0))


def column(usdttwd_d1: Floats, usdttwd_d2: Floats, btc_d1: Floats) -> Floats:
    """`xmkt_signal` of every row."""
    leads = (usdttwd_d1 != 0.0) & (usdttwd_d1 == usdttwd_d2) & (btc_d1 == -usdttwd_d1)
    return np.where(leads, usdttwd_d1, 0.0)
