"""S1, the exchange connectors.

Consumes   the exchange's market and account streams; the foreign factor feed; no stream of ours
Produces   mkt:ticker, mkt:depth, mkt:kline, mkt:funding, acct:events, alerts; documents klines, factor_bars,
           balances_snapshots, funding_records, instrument_registry, treasury_transfers; mkt:snap, funding:next, wallet,
           clock:offset_ms; treasury:transfers
Owns       what the exchange said: prices, bars, balances, settled funding, its rules and its clock; money on its way
           between our wallets
Never      decides anything; loses or repeats a bar, a settlement or a transfer; tells an older price after a newer one
"""

from collections.abc import Mapping

from chimera.contracts.enums import Market, ServiceHealth
from chimera.contracts.http.exchange import TransferAnswer, TransferRequest
from chimera.ports.venue import VenueError
from chimera.ports.world import World
from chimera.runtime.service import Every, Route, Service
from chimera.runtime.telling import Teller
from chimera.services.s01_exchange.handlers.account import Account
from chimera.services.s01_exchange.handlers.clock_offset import ClockOffset
from chimera.services.s01_exchange.handlers.factor import FactorBars
from chimera.services.s01_exchange.handlers.instruments import Instruments
from chimera.services.s01_exchange.handlers.klines import DAY_MS, Klines
from chimera.services.s01_exchange.handlers.market import (
    MarketListener,
    book_stream,
    kline_stream,
    mark_stream,
)
from chimera.services.s01_exchange.handlers.marks import Marks
from chimera.services.s01_exchange.handlers.silence import Silence
from chimera.services.s01_exchange.handlers.ticks import Ticks
from chimera.services.s01_exchange.handlers.treasury import Treasury
from chimera.services.s01_exchange.settings import Settings

MINUTE_MS = 60_000
SILENT_TICKS = 2.5
"""No stream is called silent before it has missed so many of the venue's ticks. Source: SERVICES S1."""


def build(world: World, settings: Settings) -> Service:
    env, keys, clock = settings.env, settings.keys, world.clock
    symbols = tuple(key.symbol for key in keys if key.market is Market.FUT)
    teller = Teller(source="s1", env=env, bus=world.bus, documents=world.documents, clock=clock)
    ticks = Ticks(
        env=env,
        keys=keys,
        throttle_ms=settings.throttle_ms,
        bus=world.bus,
        snapshots=world.snapshots,
        clock=clock,
    )
    marks = Marks(env=env, bus=world.bus, snapshots=world.snapshots, ticks=ticks)
    klines = Klines(
        env=env,
        keys=keys,
        windows=(
            ("1m", settings.minute_days * DAY_MS),
            ("1h", settings.hour_days * DAY_MS),
            ("1d", settings.day_days * DAY_MS),
        ),
        ready_ms=min(settings.minute_days, settings.ready_days) * DAY_MS,
        pause_ms=settings.history_pause_ms,
        venue=world.venue,
        documents=world.documents,
        bus=world.bus,
        clock=clock,
    )
    tick_ms = int(SILENT_TICKS * world.venue.tick_interval_ms)
    silent_ms = max(clock.work_ms(settings.stall_ms), tick_ms)
    slow_silent_ms = max(clock.work_ms(settings.kline_stall_ms), tick_ms, settings.kline_stall_ms)
    silence = Silence(
        limits_ms={book_stream(key): silent_ms for key in keys}
        | {kline_stream(key): slow_silent_ms for key in keys}
        | {mark_stream(symbol): slow_silent_ms for symbol in symbols},
        clock=clock,
        metrics=world.metrics,
        teller=teller,
    )
    market = MarketListener(
        keys=keys, venue=world.venue, clock=clock, ticks=ticks, marks=marks, klines=klines, silence=silence
    )
    account = Account(
        env=env,
        symbols=frozenset(symbols),
        snapshot_ms=settings.snapshot_ms,
        venue=world.venue,
        documents=world.documents,
        bus=world.bus,
        snapshots=world.snapshots,
        clock=clock,
        marks=marks,
        teller=teller,
    )
    offset = ClockOffset(
        env=env,
        skew_ms_max=settings.clock_skew_ms_max,
        venue=world.venue,
        snapshots=world.snapshots,
        clock=clock,
        metrics=world.metrics,
        teller=teller,
    )
    instruments = Instruments(keys=keys, venue=world.venue, documents=world.documents, clock=clock)
    treasury = Treasury(
        env=env,
        owner=f"s1-{world.randomness.fork('s1/treasury').token_hex(8)}",
        variables=settings.variables,
        venue=world.venue,
        documents=world.documents,
        locks=world.locks,
        bus=world.bus,
        clock=clock,
        teller=teller,
    )
    factor = (
        FactorBars(
            env=env,
            window_ms=settings.factor_days * DAY_MS,
            feed=world.factor_feed,
            documents=world.documents,
            bus=world.bus,
            clock=clock,
        )
        if world.factor_feed is not None
        else None
    )

    async def start() -> None:
        await instruments.register()
        await offset.measure()
        await klines.start()
        await account.start()
        await treasury.start()

    async def each_minute() -> None:
        world.metrics.gauge("s1_mkt_throughput", ticks.take_told() * 1_000 / MINUTE_MS)
        await offset.measure()

    async def checks() -> Mapping[str, str]:
        try:
            await world.venue.server_time_ms()
        except VenueError:
            return {"exch": ServiceHealth.DOWN.value}
        return {"exch": ServiceHealth.OK.value}

    return Service(
        id="s1",
        card=__doc__ or "",
        timers=(
            Every(name="balances", interval_ms=settings.balances_ms, run=account.poll),
            Every(name="clock", interval_ms=MINUTE_MS, run=each_minute, market_time=True),
            Every(name="rules", interval_ms=settings.rules_ms, run=instruments.renew),
        ),
        routes=(
            Route(
                method="POST",
                path="/xchg/treasury/transfer",
                handle=treasury.transfer,
                summary="Move USDT between the two wallets, once however often the same transfer is asked for.",
                body=TransferRequest,
                answer=TransferAnswer,
                errors=(409, 503),
            ),
        ),
        produces=(
            "mkt:ticker",
            "mkt:depth",
            "mkt:kline",
            "mkt:funding",
            "acct:events",
            "treasury:transfers",
            "ops:events",
            "alerts",
        ),
        start=start,
        background=(market.listen, klines.keep_history, ticks.flush, account.listen, silence.watch, treasury.follow)
        + ((factor.follow,) if factor is not None else ()),
        checks=checks,
    )
