"""S5, the reconciler.

Consumes   recon:cmd (compare now), ord:result (something moved: look closely next time)
Produces   recon:result, alerts; system_state recon, the key recon:last_run_ts, strategy_events
Owns       whether our records are the exchange's: until they are, nothing new may be entered
Never      believes that silence means flat; touches somebody else's order; cancels the last stop of a position
"""

from collections.abc import Mapping

from chimera.contracts.enums import ServiceHealth
from chimera.contracts.messages import OrderResult, ReconcileCmd
from chimera.contracts.streams import ORD_RESULT, RECON_CMD
from chimera.ports.world import World
from chimera.runtime.service import On, Service
from chimera.runtime.telling import Teller
from chimera.services.s05_reconciler.api import Api
from chimera.services.s05_reconciler.atr import Atr
from chimera.services.s05_reconciler.handlers.balances import Balances
from chimera.services.s05_reconciler.handlers.fills import Fills
from chimera.services.s05_reconciler.handlers.orders import Orders
from chimera.services.s05_reconciler.handlers.positions import Positions
from chimera.services.s05_reconciler.handlers.recognise import Recognise
from chimera.services.s05_reconciler.handlers.reconcile import Reconcile
from chimera.services.s05_reconciler.handlers.sharing import Sharing
from chimera.services.s05_reconciler.handlers.spot_held import SpotHeld
from chimera.services.s05_reconciler.handlers.spot_stops import SpotStops
from chimera.services.s05_reconciler.settings import Settings


def build(world: World, settings: Settings) -> Service:
    env = settings.env
    documents, venue, clock = world.documents, world.venue, world.clock
    teller = Teller(source="s5", env=env, bus=world.bus, documents=documents, clock=clock)
    fills = Fills(settings=settings, documents=documents, venue=venue, peers=world.peers, clock=clock, teller=teller)
    sharing = Sharing(settings=settings, documents=documents, venue=venue, peers=world.peers, fills=fills, clock=clock)
    reconcile = Reconcile(
        settings=settings,
        documents=documents,
        snapshots=world.snapshots,
        venue=venue,
        bus=world.bus,
        clock=clock,
        randomness=world.randomness.fork("s5"),
        metrics=world.metrics,
        teller=teller,
        fills=fills,
        orders=Orders(
            settings=settings,
            documents=documents,
            venue=venue,
            peers=world.peers,
            fills=fills,
            clock=clock,
            teller=teller,
        ),
        recognise=Recognise(settings=settings, documents=documents, clock=clock, teller=teller),
        spot_stops=SpotStops(documents=documents, peers=world.peers, teller=teller),
        balances=Balances(settings=settings, documents=documents, venue=venue, clock=clock, teller=teller),
        positions=Positions(
            settings=settings,
            documents=documents,
            atr=Atr(env=env, documents=documents, snapshots=world.snapshots, venue=venue, clock=clock),
            venue=venue,
            peers=world.peers,
            fills=fills,
            sharing=sharing,
            clock=clock,
            teller=teller,
        ),
        spot_held=SpotHeld(
            settings=settings,
            documents=documents,
            venue=venue,
            peers=world.peers,
            fills=fills,
            sharing=sharing,
            clock=clock,
            teller=teller,
        ),
    )

    async def checks() -> Mapping[str, str]:
        why = reconcile.why_not
        return {"reconciled": "YES"} if why is None else {"reconciled": ServiceHealth.DEGRADED.value, "why": why}

    return Service(
        id="s5",
        card=__doc__ or "",
        consumes=(
            On(streams=(RECON_CMD.name(env),), payload=ReconcileCmd, handle=reconcile.on_cmd),
            On(
                streams=tuple(ORD_RESULT.name(env, key) for key in settings.keys),
                payload=OrderResult,
                handle=reconcile.on_result,
            ),
        ),
        routes=Api(
            reconcile=reconcile, symbols=tuple(key.symbol for key in settings.keys), now_ms=world.clock.now_ms
        ).routes(),
        produces=("recon:result", "alerts"),
        start=reconcile.start,
        # Not in start(): the exchange may be down for long, and nothing else may wait for it.
        background=(reconcile.keep,),
        checks=checks,
        ready=lambda: reconcile.reconciled,
        ready_when="reconciliation with the exchange",
    )
