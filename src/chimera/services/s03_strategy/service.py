"""S3, the strategy engine.

Consumes   feat:events (to decide), ord:result (to release), cfg:events (to swap its configuration)
Produces   sig:events, ord:cmd (the second road to S4), alerts; decisions on `signals`, strategy_events
Owns       the decision to enter, its reasons, and the reservation of risk budget until something is open
Never      opens without a durable decision and a reservation; counts silence of S4 as a refusal; adds or closes
"""

from collections.abc import Callable, Mapping

from chimera.contracts.enums import ServiceHealth
from chimera.contracts.keys import CFG_ACTIVE_REV
from chimera.contracts.messages import FeatureEvent, OrderResult
from chimera.contracts.streams import CFG_EVENTS, FEAT_EVENTS, ORD_RESULT
from chimera.domain.config.lint import lint
from chimera.ports.errors import DependencyDown
from chimera.ports.world import World
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.instruments import Registered
from chimera.runtime.kill_switch import KillSwitch, no_file
from chimera.runtime.restraints import Restraints
from chimera.runtime.service import Every, On, Service
from chimera.runtime.telling import Teller
from chimera.services.s03_strategy.api import Api
from chimera.services.s03_strategy.handlers.budget import Budget
from chimera.services.s03_strategy.handlers.buffer import Buffer
from chimera.services.s03_strategy.handlers.decide import Decide
from chimera.services.s03_strategy.handlers.emit import Emit
from chimera.services.s03_strategy.handlers.facts import Gather
from chimera.services.s03_strategy.handlers.score import Scorer
from chimera.services.s03_strategy.history import History
from chimera.services.s03_strategy.plans import Plans
from chimera.services.s03_strategy.settings import Settings


def build(world: World, settings: Settings, *, kill_file: Callable[[], bool] = no_file) -> Service:
    env = settings.env
    teller = Teller(source="s3", env=env, bus=world.bus, documents=world.documents, clock=world.clock)
    watch = ConfigWatch(world, env, service="s3", check=lint, poll_ms=settings.config_poll_ms)
    registered = Registered(
        keys=settings.keys,
        documents=world.documents,
        fee_default=lambda: watch.current().flags.execution.routing.fees.taker_bp / 10_000,
    )
    instruments, fee_ratios = registered.instruments, registered.taker_fee_ratios
    scorer = Scorer(
        watch=watch,
        documents=world.documents,
        objects=world.objects,
        models=world.models,
        clock=world.clock,
        randomness=world.randomness.fork("s3/models"),
        teller=teller,
    )
    watch.when_swapped(scorer.look)
    plans = Plans(settings=settings, watch=watch, scorer=scorer, instruments=instruments)
    history = History(documents=world.documents)
    restraints = Restraints(
        env=env,
        snapshots=world.snapshots,
        documents=world.documents,
        clock=world.clock,
        kill_switch=KillSwitch(
            snapshots=world.snapshots, documents=world.documents, clock=world.clock, env=env, file_present=kill_file
        ),
    )
    gather = Gather(
        settings=settings,
        instruments=instruments,
        fee_ratios=fee_ratios,
        documents=world.documents,
        snapshots=world.snapshots,
        reservations=world.reservations,
        restraints=restraints,
        history=history,
        clock=world.clock,
    )
    emit = Emit(
        env=env,
        mode=settings.variables.emit,
        peers=world.peers,
        bus=world.bus,
        reservations=world.reservations,
        metrics=world.metrics,
        teller=teller,
    )
    buffer = Buffer(instruments=instruments, watch=watch, documents=world.documents, teller=teller)
    decide = Decide(
        settings=settings,
        instruments=instruments,
        plans=plans,
        scorer=scorer,
        gather=gather,
        history=history,
        emit=emit,
        buffer=buffer,
        documents=world.documents,
        snapshots=world.snapshots,
        reservations=world.reservations,
        locks=world.locks,
        bus=world.bus,
        clock=world.clock,
        metrics=world.metrics,
        teller=teller,
    )
    budget = Budget(
        documents=world.documents,
        reservations=world.reservations,
        fee_ratios=fee_ratios,
        peers=world.peers,
        emit=emit,
        history=history,
        look_again=decide.look_again,
        keys=settings.keys,
        clock=world.clock,
        teller=teller,
    )

    async def start() -> None:
        await watch.start()
        await registered.load()
        await budget.start()

    async def checks() -> Mapping[str, str]:
        loaded = watch.loaded
        return {
            "redis": await redis(),
            "config_rev": str(watch.current().rev) if loaded else "none",
            "rules_loaded": str(plans.rules_loaded),
            "model": scorer.health(),
        }

    async def redis() -> str:
        """Whatever stands behind bus and fast state."""
        try:
            await world.snapshots.get(CFG_ACTIVE_REV.name(env))
            await world.bus.last_id(CFG_EVENTS.name(env))
        except DependencyDown:
            return ServiceHealth.DOWN.value
        return ServiceHealth.OK.value

    return Service(
        id="s3",
        card=__doc__ or "",
        consumes=(
            On(
                streams=tuple(FEAT_EVENTS.name(env, key) for key in settings.keys),
                payload=FeatureEvent,
                handle=decide.on_features,
            ),
            On(
                streams=tuple(ORD_RESULT.name(env, key) for key in settings.keys),
                payload=OrderResult,
                handle=budget.on_result,
            ),
            watch.consume(),
        ),
        timers=(
            watch.every(),
            Every(
                name="heartbeat",
                interval_ms=max(settings.variables.heartbeat_ms, settings.feature_age_ms_max),
                run=decide.heartbeat,
            ),
            Every(name="heal", interval_ms=settings.heal_ms, run=budget.repair),
            Every(name="rules", interval_ms=settings.heal_ms, run=registered.load),
        ),
        routes=Api(decide=decide, reservations=world.reservations).routes(),
        produces=("sig:events", "ord:cmd", "alerts"),
        start=start,
        stop=scorer.stop,
        background=(scorer.keep,),
        checks=checks,
        ready=lambda: watch.loaded and bool(instruments),
        ready_when="configuration and instruments",
    )
