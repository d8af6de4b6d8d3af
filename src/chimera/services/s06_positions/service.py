"""S6, the keeper of positions.

Consumes   ord:result (every change of every order), mkt:funding (what was settled), cfg:events
Produces   pos:events, alerts; documents trades, positions_snapshots, strategy_events, equity peak and halts
Owns       a trade from its first fill to flat: its stop and targets once the entry intent is final, its end, its
           result and the release of its risk budget; the account's daily loss and drawdown
Never      opens anything; moves a stop away from profit; cancels a stop before its successor is listed
"""

from collections.abc import Mapping
from decimal import Decimal

from chimera.contracts.collections import INSTRUMENT_REGISTRY
from chimera.contracts.enums import Market, ServiceHealth
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import FundingEvent, OrderResult
from chimera.contracts.streams import MKT_FUNDING, ORD_RESULT
from chimera.domain.config.lint import lint
from chimera.domain.market.instrument import Instrument
from chimera.ports.errors import DependencyDown
from chimera.ports.world import World
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.instruments import instrument_of
from chimera.runtime.service import Every, On, Service
from chimera.runtime.telling import Teller
from chimera.services.s06_positions.api import Api
from chimera.services.s06_positions.handlers.limits import Limits
from chimera.services.s06_positions.handlers.manage import Manage
from chimera.services.s06_positions.handlers.ordering import Ordering
from chimera.services.s06_positions.handlers.refresh import Refresh
from chimera.services.s06_positions.handlers.show import Show
from chimera.services.s06_positions.market import Market as MarketView
from chimera.services.s06_positions.memory import Memory
from chimera.services.s06_positions.policy import Policies
from chimera.services.s06_positions.settings import Settings


class NotListed(DependencyDown):
    """S1 has not registered an instrument yet: S6 waits for it."""

    def __init__(self, key: InstrumentKey) -> None:
        super().__init__("the instrument registry", f"{key} is not registered yet")


def build(world: World, settings: Settings) -> Service:
    env = settings.env
    instruments: dict[InstrumentKey, Instrument] = {}
    fee_ratios: dict[Market, Decimal] = {}
    teller = Teller(source="s6", env=env, bus=world.bus, documents=world.documents, clock=world.clock)
    watch = ConfigWatch(world, env, service="s6", check=lint, poll_ms=settings.config_poll_ms)
    market = MarketView(env=env, snapshots=world.snapshots)
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
    manage = Manage(
        settings=settings,
        documents=world.documents,
        refresh=refresh,
        ordering=Ordering(documents=world.documents, peers=world.peers, clock=world.clock),
        market=market,
        show=Show(settings=settings, documents=world.documents, snapshots=world.snapshots, clock=world.clock),
        limits=limits,
        memory=memory,
        clock=world.clock,
        teller=teller,
    )

    async def start() -> None:
        """The configuration and the instruments' rules first, then what is open. Orders wait for the first tick."""
        await watch.start()
        for key in settings.keys:
            listed = await world.documents.get(INSTRUMENT_REGISTRY, key.doc_key)
            if listed is None:
                raise NotListed(key)
            instruments[key] = instrument_of(listed)
            fees = watch.current().flags.execution.routing.fees
            fee_ratios[key.market] = listed.taker_fee_ratio or fees.taker_bp / 10_000
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
            watch.consume(),
        ),
        timers=(
            Every(name="limits", interval_ms=settings.limits_ms, run=limits.check),
            Every(name="heal", interval_ms=settings.heal_ms, run=manage.heal),
            watch.every(),
        ),
        routes=Api(manage=manage, memory=memory, keys=settings.keys, now_ms=world.clock.now_ms).routes(),
        produces=("pos:events", "alerts"),
        start=start,
        background=(manage.follow,),
        checks=checks,
        ready=lambda: watch.loaded and bool(instruments),
    )
