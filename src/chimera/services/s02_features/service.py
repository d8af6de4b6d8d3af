"""S2, the feature generator.

Consumes   mkt:ticker, mkt:depth, mkt:kline, mkt:funding of its instruments, mkt:kline of USDT/TWD; cfg:events
Produces   feat:events; feat:last; documents signals (as PENDING), factor_registry
Owns       what is believed of the market at a moment, and which of it is too old to decide anything
Never      uses an event later than t0; replaces a decision; invents a value for a bar or price that did not come
"""

from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FUNDING_NEXT
from chimera.contracts.messages import CfgEvent, DepthEvent, FundingEvent, KlineEvent, TickerEvent
from chimera.contracts.streams import CFG_EVENTS, MKT_DEPTH, MKT_FUNDING, MKT_KLINE, MKT_TICKER
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.feature_book import FeatureBook
from chimera.ports.world import World
from chimera.runtime.later import Later
from chimera.runtime.service import On, Service
from chimera.services.s02_features.handlers.active_config import ActiveConfig
from chimera.services.s02_features.handlers.bars import DAY_MS, Bars, FactorBars
from chimera.services.s02_features.handlers.emit import Emitter, StaleFactors
from chimera.services.s02_features.handlers.observe import Observe
from chimera.services.s02_features.handlers.register import Register
from chimera.services.s02_features.settings import Settings

FRESH_TICKS = 2.5
"""No price is called stale before the venue has missed so many ticks. Source: SERVICES S1."""


def build(world: World, settings: Settings) -> Service:
    env, clock, documents = settings.env, world.clock, world.documents
    cross = CrossMarket(min_move=settings.min_move)
    config = ActiveConfig(env=env, snapshots=world.snapshots, documents=documents, clock=clock, cross=cross)
    later: Later[InstrumentKey] = Later(clock)
    stale_factors = StaleFactors(metrics=world.metrics)
    age_ms_max = max(settings.feature_age_ms_max, int(FRESH_TICKS * world.venue.tick_interval_ms))
    minutes_ms, hours_ms = settings.minute_days * DAY_MS, settings.hour_days * DAY_MS
    register = Register(documents=documents, clock=clock)
    factor_bars = FactorBars(
        key=settings.factor_key,
        cross=cross,
        window_ms=settings.factor_days * DAY_MS,
        documents=documents,
        clock=clock,
    )

    emitters: dict[InstrumentKey, Emitter] = {}
    observers: dict[InstrumentKey, Observe] = {}
    bars: dict[InstrumentKey, Bars] = {}
    for key in settings.keys:
        book = FeatureBook(key.market, cross)
        emitter = emitters[key] = Emitter(
            env=env,
            key=key,
            book=book,
            config=config,
            emit_ms=settings.emit_ms,
            age_ms_max=age_ms_max,
            bus=world.bus,
            snapshots=world.snapshots,
            documents=documents,
            clock=clock,
            later=later,
            stale_factors=stale_factors,
        )
        observers[key] = Observe(book=book, emitter=emitter, depth_silent_ms=age_ms_max)
    for key in dict.fromkeys((*settings.keys, settings.lead_key)):
        traded = key in emitters
        bars[key] = Bars(
            key=key,
            book=emitters[key].book if traded else None,
            emitter=emitters[key] if traded else None,
            cross=cross if key == settings.lead_key else None,
            minutes_ms=minutes_ms,
            hours_ms=hours_ms,
            documents=documents,
            clock=clock,
        )

    async def start() -> None:
        await register.register()
        await config.start()
        await factor_bars.start()
        for key in bars:
            await bars[key].start()
        for key, observer in observers.items():
            if key.market is Market.FUT:
                await recall_funding(world, env, key, observer)

    async def serve(key: InstrumentKey) -> None:
        await emitters[key].on_due()

    async def run_later() -> None:
        await later.run(serve)

    consumes = [On(streams=(CFG_EVENTS.name(env),), payload=CfgEvent, handle=config.on_cfg_event, broadcast=True)]
    for key, observer in observers.items():
        consumes.append(On(streams=(MKT_TICKER.name(env, key),), payload=TickerEvent, handle=observer.on_ticker))
        consumes.append(On(streams=(MKT_DEPTH.name(env, key),), payload=DepthEvent, handle=observer.on_depth))
        if key.market is Market.FUT:
            consumes.append(On(streams=(MKT_FUNDING.name(env, key),), payload=FundingEvent, handle=observer.on_funding))
    for key in bars:
        consumes.append(On(streams=(MKT_KLINE.name(env, key),), payload=KlineEvent, handle=bars[key].on_kline))
    consumes.append(
        On(streams=(MKT_KLINE.name(env, settings.factor_key),), payload=KlineEvent, handle=factor_bars.on_kline)
    )
    return Service(
        id="s2",
        card=__doc__ or "",
        consumes=tuple(consumes),
        produces=("feat:events",),
        start=start,
        background=(run_later,),
    )


async def recall_funding(world: World, env: str, key: InstrumentKey, observer: Observe) -> None:
    """The next funding is told rarely: after a restart it is in the snapshot."""
    fields = await world.snapshots.get_hash(FUNDING_NEXT.name(env, key))
    if fields:
        await observer.on_funding(
            FundingEvent.model_validate(
                {
                    "ts": int(fields["ts"]),
                    "symbol": key.symbol,
                    "rate": Decimal(fields["rate"]),
                    "funding_time": int(fields["funding_time"]),
                    "kind": "NEXT",
                    "interval_h": int(fields["interval_h"]),
                }
            )
        )
