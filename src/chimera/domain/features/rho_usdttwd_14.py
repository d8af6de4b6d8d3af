"""`rho_usdttwd_14`: how closely BTCUSDT goes with USDT/TWD, over a fortnight.

Formula: Pearson's correlation of the last 14 daily log returns of USDT/TWD and BTCUSDT. Source: closed UTC days, as
`usdttwd_ret` and `btc_ret_d1`. Unit: correlation, -1 to +1. Lag: none after the bars that close the last day. Needs 15
closed days in a row of both; where one of them did not move at all it is undefined.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from chimera.domain.features.factor import FactorSpec

RETURNS = 14

SPEC = FactorSpec(
    factor_id="rho_usdttwd_14",
    family="cross_market",
    version="1",
    freq="1d",
    lag_ms=0,
    definition="pearson(logret(usdttwd,1d),logret(btcusdt,1d),14)",
    unit="correlation",
    deps=("max:kline:60m", "mkt:kline"),
    range=(-1.0, 1.0),
)


def pearson(xs: Sequence[int], ys: Sequence[int]) -> float | None:
    """Of pairs of whole numbers, exact until the last step. None where one of them is all the same."""
    n = len(xs)
    sum_x, sum_y = sum(xs), sum(ys)
    shared = n * sum(x * y for x, y in zip(xs, ys, strict=True)) - sum_x * sum_y
    spread = (n * sum(x * x for x in xs) - sum_x * sum_x) * (n * sum(y * y for y in ys) - sum_y * sum_y)
    return None if spread == 0 else _within_one(float(shared) / sqrt(float(spread)))


def _within_one(rho: float) -> float:
    # The exact value is within; the last rounding may step over by one bit.
    return max(-1.0, min(1.0, rho))


def column(xs: NDArray[np.object_], ys: NDArray[np.object_]) -> NDArray[np.float64]:
    """Row i: of the 14 pairs up to row i; NaN for the first 13 rows and where undefined. Whole numbers of any size."""
    rho = np.full(len(xs), np.nan)
    if len(xs) >= RETURNS:
        sum_x, sum_y, xx, yy, xy = (_rolling(part) for part in (xs, ys, xs * xs, ys * ys, xs * ys))
        shared = np.asarray(RETURNS * xy - sum_x * sum_y, dtype=np.float64)
        spread = np.asarray((RETURNS * xx - sum_x**2) * (RETURNS * yy - sum_y**2), dtype=np.float64)
        moved = spread > 0.0
        rho[RETURNS - 1 :][moved] = np.clip(shared[moved] / np.sqrt(spread[moved]), -1.0, 1.0)
    return rho


def _rolling(values: NDArray[np.object_]) -> NDArray[np.object_]:
    total = np.concatenate([np.zeros(1, dtype=object), np.cumsum(values)])
    return np.asarray(total[RETURNS:] - total[:-RETURNS], dtype=object)
