"""S12 · Gateway.

Consumes  nothing yet: page and status read documents, and the calls of the other services
Produces  ops:events, alerts
Owns      system_state kill_switch and pauses, the key kill_switch, approvals, users, sessions
Never     decides, sends an order, or lets a change pass that nobody asked for by name
"""

from collections.abc import Callable

from chimera.ports.world import World
from chimera.runtime.audits import Audits
from chimera.runtime.kill_switch import KillSwitch, no_file
from chimera.runtime.restraints import Restraints
from chimera.runtime.service import Every, Service
from chimera.runtime.telling import Teller
from chimera.services.s12_gateway.api import routes
from chimera.services.s12_gateway.handlers.approvals import Approve
from chimera.services.s12_gateway.handlers.kill_switch import TurnKillSwitch
from chimera.services.s12_gateway.handlers.orders import ListOrders
from chimera.services.s12_gateway.handlers.positions import WorkPositions
from chimera.services.s12_gateway.handlers.restrained import TellRestraints
from chimera.services.s12_gateway.handlers.restraints import SetRestraints
from chimera.services.s12_gateway.handlers.status import TellStatus
from chimera.services.s12_gateway.handlers.treasury import MoveMoney
from chimera.services.s12_gateway.page.history import TradeHistory
from chimera.services.s12_gateway.settings import GatewaySettings


def build(world: World, settings: GatewaySettings, *, kill_file: Callable[[], bool] = no_file) -> Service:
    teller = Teller(source="s12", env=settings.env, bus=world.bus, documents=world.documents, clock=world.clock)
    kill_switch = TurnKillSwitch(
        documents=world.documents,
        snapshots=world.snapshots,
        bus=world.bus,
        clock=world.clock,
        teller=teller,
        env=settings.env,
        file_present=kill_file,
    )
    restraints = SetRestraints(documents=world.documents, clock=world.clock, teller=teller)
    restrained = TellRestraints(world=world, kill_switch=kill_switch, env=settings.env)
    status = TellStatus(
        world=world,
        restrained=restrained,
        restraints=Restraints(
            env=settings.env,
            snapshots=world.snapshots,
            documents=world.documents,
            clock=world.clock,
            kill_switch=KillSwitch(
                snapshots=world.snapshots,
                documents=world.documents,
                clock=world.clock,
                env=settings.env,
                file_present=kill_file,
            ),
        ),
        closed=TradeHistory(world.documents, world.clock),
        env=settings.env,
    )
    treasury = MoveMoney(documents=world.documents, peers=world.peers, clock=world.clock, teller=teller)
    approve = Approve(
        documents=world.documents,
        snapshots=world.snapshots,
        clock=world.clock,
        randomness=world.randomness.fork("s12/approvals"),
        teller=teller,
        env=settings.env,
    )
    audits = Audits(teller=teller)
    positions = WorkPositions(
        documents=world.documents, peers=world.peers, clock=world.clock, audits=audits, kill_switch=kill_switch
    )
    orders = ListOrders(documents=world.documents, clock=world.clock)
    return Service(
        id="s12",
        card=__doc__ or "",
        timers=(
            Every(name="kill-switch-in-step", interval_ms=settings.in_step_ms, run=kill_switch.keep_in_step),
            Every(name="audits-owed", interval_ms=settings.in_step_ms, run=audits.pay),
            Every(name="approvals-expire", interval_ms=settings.in_step_ms, run=approve.expire),
        ),
        routes=routes(kill_switch, restraints, restrained, status, treasury, approve, positions, orders),
        produces=("ops:events", "alerts"),
        start=kill_switch.keep_in_step,
    )
