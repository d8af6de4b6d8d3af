"""The regime of the market now, for whoever adds to a position or waits as a maker.

Owns how silence is judged: what is absent, unreadable or has expired is EXTREME, the regime that forbids most.
"""

import math
from typing import NamedTuple

from chimera.contracts.enums import Regime
from chimera.contracts.keys import REGIME_STATE
from chimera.ports.clock import Clock
from chimera.ports.state import Snapshots


class RegimeNow(NamedTuple):
    """`rv_pctile` is where volatility stands among the last 30 days, 0 to 1; None: not known."""

    regime: Regime
    rv_pctile: float | None


async def regime_state(snapshots: Snapshots, clock: Clock, env: str) -> RegimeNow:
    """
    Raises:
        DependencyDown: the store did not answer; whoever cannot wait takes EXTREME.
    """
    fields = await snapshots.get_hash(REGIME_STATE.name(env))
    try:
        state, expires_at = Regime(fields["state"]), int(fields["expires_at"])
    except (KeyError, ValueError):
        return RegimeNow(Regime.EXTREME, None)
    if clock.now_ms() >= expires_at:
        return RegimeNow(Regime.EXTREME, None)
    return RegimeNow(state, _fraction(fields.get("rv_pctile", "")))


async def regime_now(snapshots: Snapshots, clock: Clock, env: str) -> Regime:
    """
    Raises:
        DependencyDown: the store did not answer; whoever cannot wait takes EXTREME.
    """
    return (await regime_state(snapshots, clock, env)).regime


def _fraction(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
