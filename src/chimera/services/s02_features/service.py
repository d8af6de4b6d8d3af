"""S2, the feature generator.

Consumes   mkt:ticker, mkt:depth, mkt:kline, mkt:funding of its instruments, mkt:kline of USDT/TWD; cfg:events
Produces   feat:events, alerts; feat:last, regime:market:state; documents signals (as PENDING, and their features once
           more when a person asks), factor_registry, strategy_events
Owns       what is believed of the market at a moment, and which of it is too old to decide anything; the day's regime
Never      uses an event later than t0; replaces a decision; invents a value for a bar or price that did not come
"""

from decimal import Decimal
from operator import attrgetter

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FUNDING_NEXT
from chimera.contracts.messages import CfgEvent, DepthEvent, FundingEvent, KlineEvent, TickerEvent
from chimera.contracts.streams import CFG_EVENTS, MKT_DEPTH, MKT_FUNDING, MKT_KLINE, MKT_TICKER
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.feature_book import FeatureBook
from chimera.domain.features.registry import FACTORS
from chimera.ports.world import World
from chimera.runtime.later import Later
from chimera.runtime.service import Every, Gather, On, Service
from chimera.runtime.telling import Teller
from chimera.services.s02_features.api import Api
from chimera.services.s02_features.desk import Desk
from chimera.services.s02_features.handlers.active_config import ActiveConfig
from chimera.services.s02_features.handlers.bars import DAY_MS, MINUTE_MS, Bars, FactorBars
from chimera.services.s02_features.handlers.emit import Emitter, StaleFactors
from chimera.services.s02_features.handlers.factors import Factors
from chimera.services.s02_features.handlers.history import History
from chimera.services.s02_features.handlers.observe import Observe
from chimera.services.s02_features.handlers.recompute import Recompute
from chimera.services.s02_features.handlers.regime import Regimes
from chimera.services.s02_features.handlers.register import Register
from chimera.services.s02_features.settings import Settings

LOOK_BACK_MS = 600_000
"""Market time: where a past was not on file, it is looked for again this often."""

KEEP_REGIME_MS = 5_000
"""Our own work: a store that lost the day's regime is told it again so soon."""

FRESH_TICKS = 2.5
"""No price is called stale before the venue has missed so many ticks. Source: SERVICES S1."""


def build(world: World, settings: Settings) -> Service:
    env, clock, documents = settings.env, world.clock, world.documents
    cross = CrossMarket(min_move=settings.min_move)
    teller = Teller(source="s2", env=env, bus=world.bus, documents=documents, clock=clock)
    config = ActiveConfig(
        env=env, snapshots=world.snapshots, documents=documents, clock=clock, cross=cross, teller=teller
    )
    later: Later[InstrumentKey] = Later(clock)
    stale_factors = StaleFactors(metrics=world.metrics)
    age_ms_max = max(settings.feature_age_ms_max, int(FRESH_TICKS * world.venue.tick_interval_ms))
    history = History(documents=documents, clock=clock)
    register = Register(documents=documents, clock=clock)
    factor_bars = FactorBars(
        key=settings.factor_key,
        cross=cross,
        window_ms=settings.factor_days * DAY_MS,
        history=history,
        clock=clock,
    )
    regimes = Regimes(
        env=env,
        frozen_below=settings.regime_frozen_below,
        extreme_above=settings.regime_extreme_above,
        grace_ms=settings.regime_grace_ms,
        config=config,
        snapshots=world.snapshots,
        clock=clock,
        metrics=world.metrics,
    )

    def new_book(market: Market, derived: tuple[FactorSpec, ...] = ()) -> FeatureBook:
        return FeatureBook(market, cross, derived, outlier_sigmas=settings.outlier_sigma)

    factors = Factors(config=config, register=register, clock=clock)
    emitters: dict[InstrumentKey, Emitter] = {}
    observers: dict[InstrumentKey, Observe] = {}
    bars: dict[InstrumentKey, Bars] = {}
    for key in dict.fromkeys((*settings.keys, settings.lead_key)):
        desk = Desk(key=key, book=new_book(key.market))
        if key in settings.keys:
            emitters[key] = Emitter(
                env=env,
                desk=desk,
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
            observers[key] = Observe(desk=desk, emitter=emitters[key], depth_silent_ms=age_ms_max)
        bars[key] = Bars(
            desk=desk,
            derived=lambda: factors.derived,
            new_book=new_book,
            emitter=emitters.get(key),
            cross=cross if key == settings.lead_key else None,
            regimes=regimes if key == settings.lead_key else None,
            minutes_ms=settings.minute_days * DAY_MS,
            hours_ms=settings.hour_days * DAY_MS,
            history=history,
            clock=clock,
        )
    factors.bars = bars

    api = Api(
        recompute=Recompute(
            settings=settings,
            history=history,
            documents=documents,
            compute=world.compute,
            clock=clock,
            teller=teller,
        ),
        symbols=tuple(key.symbol for key in settings.keys),
        days_max=settings.recompute_days_max,
    )

    async def start() -> None:
        await register.register(FACTORS)
        await config.start()
        await factors.start()
        await factor_bars.start()
        for key in bars:
            await bars[key].start()
        for key, observer in observers.items():
            if key.market is Market.FUT:
                await recall_funding(world, env, key, observer)

    async def look_back() -> None:
        for each in bars.values():
            await each.look_back()

    async def serve(key: InstrumentKey) -> None:
        await emitters[key].on_due()

    async def run_later() -> None:
        await later.run(serve)

    # No more often than features are told; what holds at the end of a minute is a sample, and never passed over.
    newest = (
        Gather(within_ms=settings.emit_ms, border_ms=MINUTE_MS, moment=attrgetter("ts")) if settings.emit_ms else None
    )
    consumes = [On(streams=(CFG_EVENTS.name(env),), payload=CfgEvent, handle=config.on_cfg_event, broadcast=True)]
    for key, observer in observers.items():
        for prices, payload, handle in (
            (MKT_TICKER, TickerEvent, observer.on_ticker),
            (MKT_DEPTH, DepthEvent, observer.on_depth),
        ):
            consumes.append(On(streams=(prices.name(env, key),), payload=payload, handle=handle, gather=newest))
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
        routes=api.routes(),
        produces=("feat:events", "alerts"),
        start=start,
        timers=(
            Every(name="look-back", interval_ms=LOOK_BACK_MS, run=look_back, market_time=True),
            Every(name="keep-regime", interval_ms=KEEP_REGIME_MS, run=regimes.keep),
        ),
        background=(run_later, factors.follow),
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
