"""`usdttwd_ret_d1`, `usdttwd_ret_d2`: how USDT/TWD moved on the two last closed UTC days, D1 before D2.

Formula close / previous day's close - 1. Source: 60-minute bars of MAX, a day closed by the bar that ends at midnight
UTC. Unit: fraction. Lag: none after that bar. Needs three closed days in a row.
"""

from chimera.domain.features.factor import FactorSpec
from chimera.domain.market.bars import Floats

SPECS = tuple(
    FactorSpec(
        factor_id=f"usdttwd_ret_{day}",
        family="cross_market",
        version="1",
        freq="1d",
        lag_ms=0,
        definition=f"ret(usdttwd,1d,{day})",
        unit="fraction",
        deps=("max:kline:60m",),
        range=(-0.5, 0.5),
    )
    for day in ("d1", "d2")
)
SPEC_D1, SPEC_D2 = SPECS


def day_return(close: float, close_before: float) -> float:
    """Both positive."""
    return close / close_before - 1.0


def column(close: Floats, close_before: Floats) -> Floats:
    """`day_return` of every row."""
    return close / close_before - 1.0
