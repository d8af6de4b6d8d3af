"""Every factor that S2 offers, in the order of the pages."""

from chimera.domain.features import (
    atr_14,
    btc_ret_d1,
    depth_top1_usdt,
    funding_next,
    mid,
    rv_1d,
    spread_bps,
    usdttwd_ret,
    xmkt_signal,
)
from chimera.domain.features.factor import FactorSpec

FACTORS: tuple[FactorSpec, ...] = (
    mid.SPEC,
    spread_bps.SPEC,
    depth_top1_usdt.SPEC,
    funding_next.SPEC,
    atr_14.SPEC,
    rv_1d.SPEC,
    *usdttwd_ret.SPECS,
    btc_ret_d1.SPEC,
    xmkt_signal.SPEC,
)
FACTOR_IDS: tuple[str, ...] = tuple(spec.factor_id for spec in FACTORS)
