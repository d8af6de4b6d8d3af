"""`rv_pctile_30d`: where the volatility of the last day stands among those of the last 30 days.

Formula: mid-rank of `rv_1d` among its values at each UTC hour close of the window, itself included (`windows`). Source:
closed 1 m bars. Unit: share, 0 to 1. Lag: the hour's close. The daily regime is read from it.
"""

from chimera.domain.features.factor import FactorSpec

SPEC = FactorSpec(
    factor_id="rv_pctile_30d",
    family="volatility",
    version="1",
    freq="1h",
    lag_ms=0,
    definition="pctile(rv_1d,30d)",
    unit="share",
    deps=("rv_1d",),
    range=(0.0, 1.0),
)
