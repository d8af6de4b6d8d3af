"""The exchange as S4 uses it: behind the last gate, and every call counted for the breaker.

Owns the order of the two: what the gate stops never reached the exchange and says nothing of it, so it is not counted.
"""

from dataclasses import dataclass

from chimera.contracts.settings import S4Settings
from chimera.domain.execution.breaker import Breaker
from chimera.domain.execution.last_gate import LastGate
from chimera.ports.world import World
from chimera.runtime.telling import Teller
from chimera.services.s04_router.breaker import BreakerKeeper, CountedVenue, policy_of
from chimera.services.s04_router.gated_venue import GatedVenue, gate_of
from chimera.services.s04_router.market import Market


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """`venue` is the only exchange that anything of S4 may know. `gate` must be told of the day's entries at a start
    (`remember`), `keeper` be loaded before anything is sent and watch in the background."""

    venue: GatedVenue
    gate: LastGate
    keeper: BreakerKeeper


def guarded(world: World, *, env: str, variables: S4Settings, market: Market, teller: Teller) -> Guarded:
    keeper = BreakerKeeper(
        env=env,
        breaker=Breaker(policy_of(variables, world.clock)),
        documents=world.documents,
        snapshots=world.snapshots,
        metrics=world.metrics,
        teller=teller,
        clock=world.clock,
    )
    gate = gate_of(variables)
    counted = CountedVenue(world.venue, keeper)
    return Guarded(
        venue=GatedVenue(counted, gate=gate, mid_of=market.mid, clock=world.clock, teller=teller),
        gate=gate,
        keeper=keeper,
    )
