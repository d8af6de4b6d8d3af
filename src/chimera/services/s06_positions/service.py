"""S6, the keeper of positions.

Consumes   ord:result (every change of every order), mkt:funding (what was settled), treasury:transfers, cfg:events
Produces   pos:events, alerts, ops:events (what a person told it), recon:cmd (an exit found nothing to sell); documents
           trades, positions_snapshots, strategy_events, treasury_transfers (proposed), equity peak and halts
Owns       a trade from its first fill to flat: its stop and targets once the entry intent is final, its growth, its
           end, its result and the release of its risk budget; the account's daily loss and drawdown; what a wallet
           that runs short asks of the other
Never      opens a trade; moves a stop away from profit, unless a person does; cancels a stop before its successor is
           listed
"""

from collections.abc import Mapping

from chimera.contracts.enums import Market, ServiceHealth
from chimera.contracts.messages import FundingEvent, OrderResult, TransferEvent
from chimera.contracts.streams import MKT_FUNDING, ORD_RESULT, TREASURY_TRANSFERS
from chimera.domain.config.lint import lint
from chimera.ports.world import World
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.instruments import Registered
from chimera.runtime.kill_switch import KillSwitch, no_file
from chimera.runtime.restraints import Restraints
from chimera.runtime.service import Every, On, Service
from chimera.runtime.telling import Teller
from chimera.services.s06_positions.api import Api
from chimera.services.s06_positions.exposures import Exposures
from chimera.services.s06_positions.handlers.adding import Adding
from chimera.services.s06_positions.handlers.limits import Limits
from chimera.services.s06_positions.handlers.manage import Manage
from chimera.services.s06_positions.handlers.ordering import Ordering
from chimera.services.s06_positions.handlers.person import Person
from chimera.services.s06_positions.handlers.refresh import Refresh
from chimera.services.s06_positions.handlers.show import Show
from chimera.services.s06_positions.handlers.stagnation import Stagnation
from chimera.services.s06_positions.handlers.treasury import Treasury
from chimera.services.s06_positions.market import Market as MarketView
from chimera.services.s06_positions.memory import Memory
from chimera.services.s06_positions.policy import Policies
from chimera.services.s06_positions.settings import Settings


def build(world: World, settings: Settings) -> Service:
    env = settings.env
    teller = Teller(source="s6", env=env, bus=world.bus, documents=world.documents, clock=world.clock)
    watch = ConfigWatch(world, env, service="s6", check=lint, poll_ms=settings.config_poll_ms)
    registered = Registered(
        keys=settings.keys,
        documents=world.documents,
        fee_default=lambda: watch.current().flags.execution.routing.fees.taker_bp / 10_000,
    )
    instruments, fee_ratios = registered.instruments, registered.taker_fee_ratios
    market = MarketView(env=env, snapshots=world.snapshots, clock=world.clock)
    memory = Memory()
    refresh = Refresh(
        settings=settings,
        instruments=instruments,
        fee_ratios=fee_ratios,
        documents=world.documents,
        reservations=world.reservations,
        policies=Policies(documents=world.documents, watch=watch),
        bus=world.bus,
        clock=world.clock,
        memory=memory,
    )
    limits = Limits(
        settings=settings,
        documents=world.documents,
        snapshots=world.snapshots,
        market=market,
        memory=memory,
        watch=watch,
        clock=world.clock,
        teller=teller,
    )
    ordering = Ordering(documents=world.documents, peers=world.peers, clock=world.clock)
    exposures = Exposures(env=env, keys=settings.keys, snapshots=world.snapshots, memory=memory)
    adding = Adding(
        env=env,
        ordering=ordering,
        exposures=exposures,
        restraints=Restraints(
            env=env,
            snapshots=world.snapshots,
            documents=world.documents,
            clock=world.clock,
            kill_switch=KillSwitch(
                snapshots=world.snapshots,
                documents=world.documents,
                clock=world.clock,
                env=env,
                # The file is S4's to look at, before every send.
                file_present=no_file,
            ),
        ),
        snapshots=world.snapshots,
        reservations=world.reservations,
        watch=watch,
        clock=world.clock,
    )
    manage = Manage(
        settings=settings,
        documents=world.documents,
        refresh=refresh,
        ordering=ordering,
        adding=adding,
        market=market,
        show=Show(
            settings=settings,
            documents=world.documents,
            snapshots=world.snapshots,
            exposures=exposures,
            clock=world.clock,
        ),
        stagnation=Stagnation(documents=world.documents, refresh=refresh, memory=memory, clock=world.clock),
        limits=limits,
        memory=memory,
        bus=world.bus,
        clock=world.clock,
        teller=teller,
    )

    person = Person(
        keys=settings.keys,
        documents=world.documents,
        refresh=refresh,
        manage=manage,
        ordering=ordering,
        market=market,
        memory=memory,
        clock=world.clock,
        teller=teller,
    )
    api = Api(
        manage=manage,
        person=person,
        memory=memory,
        documents=world.documents,
        exposures=exposures,
        market=market,
        watch=watch,
        keys=settings.keys,
        now_ms=world.clock.now_ms,
    )

    treasury = Treasury(
        settings=settings,
        owner=f"s6-{world.randomness.fork('s6/treasury').token_hex(8)}",
        documents=world.documents,
        snapshots=world.snapshots,
        reservations=world.reservations,
        locks=world.locks,
        peers=world.peers,
        watch=watch,
        clock=world.clock,
        teller=teller,
    )

    async def start() -> None:
        """The configuration and the instruments' rules first, then what is open. Orders wait for the first tick."""
        await watch.start()
        await registered.load()
        await limits.start()
        await manage.start()
        # At once, or every entry of the first seconds is refused because the day's loss is not known.
        await limits.check()

    async def checks() -> Mapping[str, str]:
        return {
            "redis": ServiceHealth.OK.value,
            "config_rev": str(watch.current().rev) if watch.loaded else "none",
            "open_trades": str(len(memory.open_trades())),
        }

    return Service(
        id="s6",
        card=__doc__ or "",
        consumes=(
            On(
                streams=tuple(ORD_RESULT.name(env, key) for key in settings.keys),
                payload=OrderResult,
                handle=manage.on_result,
            ),
            On(
                streams=tuple(MKT_FUNDING.name(env, key) for key in settings.keys if key.market is Market.FUT),
                payload=FundingEvent,
                handle=manage.on_funding,
            ),
            On(streams=(TREASURY_TRANSFERS.name(env),), payload=TransferEvent, handle=treasury.on_transfer),
            watch.consume(),
        ),
        timers=(
            Every(name="limits", interval_ms=settings.limits_ms, run=limits.check),
            Every(name="treasury", interval_ms=settings.treasury_ms, run=treasury.check),
            Every(name="heal", interval_ms=settings.heal_ms, run=manage.heal),
            Every(name="rules", interval_ms=settings.heal_ms, run=registered.load),
            watch.every(),
        ),
        routes=api.routes(),
        produces=("pos:events", "recon:cmd", "alerts", "ops:events"),
        start=start,
        background=(manage.follow,),
        checks=checks,
        ready=lambda: watch.loaded and bool(instruments),
    )
