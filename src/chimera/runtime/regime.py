"""The regime of the market now, for whoever adds to a position or waits as a maker.

Owns how silence is judged: what is absent, unreadable or has expired is EXTREME, the regime that forbids most.
"""

from chimera.contracts.enums import Regime
from chimera.contracts.keys import REGIME_STATE
from chimera.ports.clock import Clock
from chimera.ports.state import Snapshots


async def regime_now(snapshots: Snapshots, clock: Clock, env: str) -> Regime:
    """
    Raises:
        DependencyDown: the store did not answer; whoever cannot wait takes EXTREME.
    """
    fields = await snapshots.get_hash(REGIME_STATE.name(env))
    try:
        state, expires_at = Regime(fields["state"]), int(fields["expires_at"])
    except (KeyError, ValueError):
        return Regime.EXTREME
    return state if clock.now_ms() < expires_at else Regime.EXTREME
