"""`zscore_ret_1h_24h`: how unusual the last hour's return is for the last day.

Formula: z-score of `ret_1h` among its values at each UTC minute close of the window, itself included (`windows`).
Source: closed 1 m bars. Unit: standard deviations. Lag: the bar's close. Among 1440 values no z-score is beyond 38.
"""

from chimera.domain.features.factor import FactorSpec

SPEC = FactorSpec(
    factor_id="zscore_ret_1h_24h",
    family="momentum",
    version="1",
    freq="1m",
    lag_ms=0,
    definition="zscore(ret_1h,24h)",
    unit="standard deviations",
    deps=("ret_1h",),
    range=(-40.0, 40.0),
)
