"""Every factor that S2 offers, in the order of the pages."""

from chimera.domain.features import (
    atr_1m_14,
    atr_14,
    btc_ret_d1,
    depth_top1_usdt,
    funding_next,
    mid,
    ret,
    rho_usdttwd_14,
    rv_1d,
    rv_pctile_30d,
    spread_bps,
    usdttwd_ret,
    xmkt_signal,
    zscore_ret_1h_24h,
)
from chimera.domain.features.factor import FactorSpec

PLAIN: tuple[FactorSpec, ...] = (
    mid.SPEC,
    spread_bps.SPEC,
    depth_top1_usdt.SPEC,
    funding_next.SPEC,
    atr_14.SPEC,
    rv_1d.SPEC,
    *usdttwd_ret.SPECS,
    btc_ret_d1.SPEC,
    xmkt_signal.SPEC,
    rho_usdttwd_14.SPEC,
    atr_1m_14.SPEC,
    *ret.SPECS,
)
"""Made of the market's data."""

BUILT_IN: tuple[FactorSpec, ...] = (rv_pctile_30d.SPEC, zscore_ret_1h_24h.SPEC)
"""Made of other factors, as `derived` says; a registered factor of a person's own is one more of these."""

FACTORS: tuple[FactorSpec, ...] = PLAIN + BUILT_IN
FACTOR_IDS: tuple[str, ...] = tuple(spec.factor_id for spec in FACTORS)
