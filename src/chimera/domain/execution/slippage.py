"""What a fill cost against the market we saw, and what a market order would cost.

Owns three figures: the average price of fills, their slippage, and the estimate made before sending. All positive is
worse. Source: SERVICES S4.
"""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from chimera.contracts.enums import Side


def vwap(fills: Sequence[tuple[Decimal, Decimal]]) -> Decimal:
    """Volume-weighted average price of `fills`, in quote currency.

    Args:
        fills: (price, qty) pairs, at least one, qty > 0, any order.

    Raises:
        ValueError: no fills. An average of nothing is a caller's bug upstream.
    """
    if not fills:
        raise ValueError("vwap of no fills")
    total_qty = sum((qty for _, qty in fills), Decimal(0))
    return sum((price * qty for price, qty in fills), Decimal(0)) / total_qty


def slippage_bps(side: Side, vwap: Decimal, mid_at_send: Decimal) -> float:
    """Cost of the fill against the mid we saw when sending; positive is worse."""
    return side.sign * float((vwap - mid_at_send) / mid_at_send) * 1e4


def estimate_bps(*, spread_bps: float | None, depth_top1_usdt: float | None, notional_usdt: float) -> float | None:
    """What a market order of `notional_usdt` is expected to cost against the mid; None where the book is not known.

    Half the spread for what the first level holds, and as much again for each further such level that it needs: a book
    is assumed to be no thinner below its top (decided; a fitted cost curve replaces this where one exists).
    """
    if spread_bps is None or depth_top1_usdt is None or not depth_top1_usdt > 0.0:
        return None
    return spread_bps / 2.0 * max(1.0, notional_usdt / depth_top1_usdt)


def estimate_bps_of_columns(
    *, spread_bps: NDArray[np.float64], depth_top1_usdt: NDArray[np.float64], notional_usdt: float
) -> NDArray[np.float64]:
    """`estimate_bps` of every row; NaN where the book is not known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.maximum(1.0, notional_usdt / depth_top1_usdt)
        estimate: NDArray[np.float64] = np.where(depth_top1_usdt > 0.0, spread_bps / 2.0 * levels, np.nan)
    return estimate
