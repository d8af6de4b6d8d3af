"""`btc_ret_d1`: how BTCUSDT moved on D1, the closed UTC day before the last one.

Formula close / previous day's close - 1. Source: closed BTCUSDT bars, a day closed by the bar that ends at midnight
UTC. Unit: fraction. Lag: none after that bar.
"""

from chimera.domain.features.factor import FactorSpec

SPEC = FactorSpec(
    factor_id="btc_ret_d1",
    family="cross_market",
    version="1",
    freq="1d",
    lag_ms=0,
    definition="ret(btcusdt,1d,d1)",
    unit="fraction",
    deps=("mkt:kline",),
    range=(-0.9, 9.0),
)
