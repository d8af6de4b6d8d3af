"""How long a post-only order may rest before the rest of it is taken.

Owns the order of precedence and every bound: what the caller asked for, else the curve or table that was promoted, else
the route file, else the bundle's base with the regime's adjustment; health shortens all of them, and nothing exceeds
S4_MAKER_MAX_WAIT_MS. Pure. Source: SERVICES S4, 003 5.1, 004 1.1.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from chimera.contracts.enums import Regime
from chimera.contracts.flags import MakerWaitFlags
from chimera.domain.execution.route import Route, RouteTable


class WaitSource(StrEnum):
    """Who said how long."""

    ASKED = "ASKED"
    CURVES = "CURVES"
    FILE = "FILE"
    FLAGS = "FLAGS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """`wait_ms` 0: there is no time to rest at all."""

    wait_ms: int
    source: WaitSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What the wait depends on. `cut_ms` is what the health level takes off (`domain.health.restraints`)."""

    notional_usdt: Decimal
    spread_bps: float | None
    depth_top1_usdt: float | None
    regime: Regime
    cut_ms: int = 0


def maker_wait(
    market: Market,
    flags: MakerWaitFlags,
    *,
    cap_ms: int,
    curves: Route | None = None,
    file: Route | None = None,
    asked_ms: int | None = None,
) -> Wait:
    """
    Args:
        cap_ms: S4_MAKER_MAX_WAIT_MS.
        curves: of `router:curves:INSTR`.
        file: of S4_ROUTE_TABLE_PATH.
        asked_ms: `exec_policy.maker_wait_ms` of the intent.
    """
    said, source = _said(market, flags, curves, file, asked_ms)
    # Bounded before it is whole: a steep curve may say more than an int is worth.
    return Wait(wait_ms=round(max(0.0, min(said - market.cut_ms, float(cap_ms)))), source=source)


def _said(
    market: Market, flags: MakerWaitFlags, curves: Route | None, file: Route | None, asked_ms: int | None
) -> tuple[float, WaitSource]:
    if asked_ms is not None:
        return float(asked_ms), WaitSource.ASKED
    for route, source in ((curves, WaitSource.CURVES), (file, WaitSource.FILE)):
        wait_ms = _by_route(route, market)
        if wait_ms is not None:
            return wait_ms, source
    return float(flags.base_ms + _adjustment_ms(market.regime, flags)), WaitSource.FLAGS


def _by_route(route: Route | None, market: Market) -> float | None:
    """None: there is none, or its curve cannot be worked out from this book."""
    if route is None:
        return None
    if isinstance(route, RouteTable):
        return float(route.row_for(market.notional_usdt).maker_wait_ms)
    return route.wait_ms(market.spread_bps, market.depth_top1_usdt)


def _adjustment_ms(regime: Regime, flags: MakerWaitFlags) -> int:
    match regime:
        case Regime.FROZEN:
            return flags.regime_adjust_ms.low
        case Regime.NORMAL:
            return flags.regime_adjust_ms.medium
        case Regime.EXTREME:
            return flags.regime_adjust_ms.high
