"""A market of many instruments that all have a signal, and S1 to S4 on it, on the system's own clock.

Owns the world that `decide` and `tick-to-order` measure in; the exchange is in process, or whatever `open_crowd` is
given. The services run with their own throttles and their own order of writes; only limits are raised, so that every
tick may lead to an order: risk budget, concurrency, entries a day, S4's last gate. S5, S6 and S11 do not run: what they
would have said (healthy, reconciled, nothing lost) stands in the state from the start, and what was opened is closed
again by `Crowd` as soon as its protection stands.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.simulated_venue.feed import OpenSide, Tick
from chimera.adapters.simulated_venue.host import ExchangeHost
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedFactorFeed, SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.worlds import EMBEDDED_STREAM_MAX, one_process_world
from chimera.contracts import ids
from chimera.contracts.base import Message
from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES, INTENTS, ORDERS, SIGNALS, TRADES
from chimera.contracts.documents import ConfigActive, Trade
from chimera.contracts.enums import BundleStatus, HealthLevel, Market, OrderType, Purpose, Side, TradeStatus
from chimera.contracts.flags import ExecutionFlags, TwapBucket
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import HEALTH_ROLLING, HEALTH_STATE, RECON_LAST_RUN, RISK_LIMITS
from chimera.contracts.messages import DepthEvent, FeatureEvent, FundingEvent, OrderResult
from chimera.contracts.settings import S3Settings, S4Settings
from chimera.domain.config.bundle import default_bundle, hash_of
from chimera.domain.execution.orders import NewOrder, VenueOrder
from chimera.domain.market.generator import FundingRate
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.listing import listed
from chimera.domain.market.quotes import Bar, BookTop, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.clock import Clock
from chimera.ports.venue import Venue
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.runtime.runner import Runner
from chimera.services.s01_exchange import service as s1
from chimera.services.s01_exchange.settings import Settings as ConnectorSettings
from chimera.services.s02_features import service as s2
from chimera.services.s02_features.settings import Settings as FeatureSettings
from chimera.services.s03_strategy import service as s3
from chimera.services.s03_strategy.history import STOP_OUT
from chimera.services.s03_strategy.settings import Settings as StrategySettings
from chimera.services.s04_router import service as s4
from chimera.services.s04_router.settings import Settings as RouterSettings

ENV = "dev"
RESTING = 20
"""Instruments that were stopped out and may not be entered yet: most ticks of a running system are of such."""
LEAD = InstrumentKey(Market.FUT, "BTCUSDT")
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
BEGIN_MS = 20_000 * DAY_MS + 2 * HOUR_MS
"""Two in the morning: far from a funding and from midnight."""

PLENTY = Decimal(1_000_000_000)
MID = Decimal(100)
HALF_SPREAD = Decimal("0.001")
TOP_QTY = Decimal(1_000)
LEVELS = 5
"""Of a book: a connector asks for more where there are fewer."""
RANGE_RATIO = 0.002
"""High and low of every hour around its price: what the average range, and with it the stop's distance, follows."""

HISTORY_MS = 5 * DAY_MS
"""BTCUSDT's hours, for the signal; the others need fewer."""
SHORT_HISTORY_MS = 20 * HOUR_MS

QUIET_MS = 600_000
"""An instrument may be silent so long: at a low rate each speaks rarely."""

SETTLE_MS = 200
WARM_EVERY_MS = 20

BEGIN = "begin"

STAGES = (
    "S1 book told",
    "S2 features told",
    "S3 decision on file",
    "S4 intent on file",
    "S4 order on file",
    "order at the exchange",
)
"""How far an entry is when that is done, in order."""

FUNDING_TOLD = "S1 funding told"

BOOK_TOLD, FEATURES_TOLD, DECISION_FILED, INTENT_FILED, ORDER_FILED, ARRIVED = STAGES


@dataclass(frozen=True, slots=True)
class History:
    """A market that has a past and no course of its own. BTCUSDT fell; with a `signal` USDT/TWD rose on both closed
    days, which makes `xmkt_signal` +1, else it stood still, which makes it 0."""

    signal: bool

    @property
    def tick_interval_ms(self) -> int:
        return 1

    def next_after(self, ts: int, open_side: OpenSide) -> Tick | None:
        return None

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        if interval != "1h":
            return ()
        history_ms = HISTORY_MS if key == LEAD else SHORT_HISTORY_MS
        return _hours(key, start_ms, end_ms, history_ms, day_move=-0.01)

    def factor_bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return _hours(
            InstrumentKey(Market.SPOT, "USDTTWD"), start_ms, end_ms, HISTORY_MS, day_move=0.01 if self.signal else 0.0
        )

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> Sequence[FundingRate]:
        return ()


def _hours(key: InstrumentKey, start_ms: int, end_ms: int, history_ms: int, *, day_move: float) -> list[Bar]:
    first_ms = max(start_ms, BEGIN_MS - history_ms)
    first_ms += -first_ms % HOUR_MS
    today = BEGIN_MS // DAY_MS
    bars = []
    for open_ms in range(first_ms, end_ms - HOUR_MS + 1, HOUR_MS):
        price = float(MID) * (1.0 + day_move) ** (open_ms // DAY_MS - today)
        high, low = price * (1.0 + RANGE_RATIO), price * (1.0 - RANGE_RATIO)
        bars.append(Bar(key.market, key.symbol, "1h", open_ms, price, high, low, price, 1_000.0))
    return bars


@dataclass(slots=True)
class Stopwatch:
    """When an entry reached each stage, ns. One entry of a symbol at a time; what was not started is not timed."""

    running: dict[str, dict[str, int]] = field(default_factory=dict)

    def start(self, symbol: str) -> None:
        self.running[symbol] = {BEGIN: time.perf_counter_ns()}

    def mark(self, symbol: str, stage: str) -> None:
        marks = self.running.get(symbol)
        if marks is not None:
            marks.setdefault(stage, time.perf_counter_ns())

    def on_message(self, stream: str, message: Message) -> None:
        if isinstance(message, DepthEvent):
            self.mark(message.symbol, BOOK_TOLD)
        elif isinstance(message, FeatureEvent):
            self.mark(message.symbol, FEATURES_TOLD)
        elif isinstance(message, FundingEvent):
            self.mark(message.symbol, FUNDING_TOLD)

    def on_document(self, collection: str, key: str, body: str) -> None:
        """An intent's key is `SIG-<t0>-FUT-<symbol>-ENTRY-<k>`, an entry's order id `s3-<base>-<t0>-<hash>`."""
        if collection == SIGNALS.name:
            self.mark(key.split("-")[3], DECISION_FILED)
        elif collection == INTENTS.name:
            self.mark(key.split("-")[3], INTENT_FILED)
        elif collection == ORDERS.name:
            self.mark(f"{key.split('-')[1].upper()}USDT", ORDER_FILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What an exchange for the crowd is made of. It marks an entry as ARRIVED: an order that is not reduce-only.

    Its market moves when `ExchangeHost.apply` is called, and never by itself.
    """

    rules: ExchangeRules
    feed: History
    clock: Clock
    watch: Stopwatch

    def exchange(self) -> Exchange:
        return Exchange(self.rules, spot_balances={"USDT": PLENTY}, fut_balances={"USDT": PLENTY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The exchange, and how the services reach it. `echo_ms` is as in `Crowd`."""

    host: ExchangeHost
    venue: Venue
    echo_ms: int = 0


OpenExchange = Callable[[Ground], AbstractAsyncContextManager[Opened]]


@asynccontextmanager
async def in_process(ground: Ground) -> AsyncIterator[Opened]:
    venue = _WatchedVenue(
        exchange=ground.exchange(), rules=ground.rules, feed=ground.feed, clock=ground.clock, journal=NoJournal()
    )
    venue.watch = ground.watch
    yield Opened(host=venue, venue=venue)


class _WatchedVenue(SimulatedVenue):
    """The simulated exchange, telling when an entry arrives."""

    watch: Stopwatch

    async def place(self, order: NewOrder) -> VenueOrder:
        if not order.reduce_only:
            self.watch.mark(order.symbol, ARRIVED)
        return await super().place(order)


@dataclass(slots=True)
class Crowd:
    """The running services and the market around them. Use `open_crowd`.

    `keys` are free whenever a tick comes, so that it enters; `resting` were stopped out, so that theirs never does.
    """

    world: World
    host: ExchangeHost
    keys: tuple[InstrumentKey, ...]
    resting: tuple[InstrumentKey, ...]
    peers: LocalPeers
    runners: dict[str, Runner]
    watch: Stopwatch
    closed: int = 0
    """Entries that have ended, filled and protected or refused, and whose instrument is free again."""
    echo_ms: int = 0
    """How long after an entry the exchange still tells what it did to the book, which would enter a free one again."""
    _ended: "asyncio.Queue[tuple[int, OrderResult]]" = field(default_factory=asyncio.Queue)
    _up: set[InstrumentKey] = field(default_factory=set)

    def book(self, key: InstrumentKey) -> Tick:
        """A best price of one instrument, not the same as the last."""
        now_ms = self.world.clock.now_ms()
        self._up ^= {key}
        mid = MID + HALF_SPREAD if key in self._up else MID
        steps = [HALF_SPREAD * number for number in range(1, LEVELS + 1)]
        top = BookTop(
            ts=now_ms,
            market=key.market,
            symbol=key.symbol,
            bids=tuple((mid - step, TOP_QTY) for step in steps),
            asks=tuple((mid + step, TOP_QTY) for step in steps),
            last=mid,
        )
        return Tick(ts=now_ms, books=(top,), marks=(), bars=())

    def marks(self) -> Tick:
        """Mark and funding of every instrument, without a book: nothing is decided on them."""
        now_ms = self.world.clock.now_ms()
        following = (now_ms // (8 * HOUR_MS) + 1) * 8 * HOUR_MS
        return Tick(
            ts=now_ms,
            books=(),
            marks=tuple(
                MarkPrice(now_ms, key.symbol, MID, 0.0001, following, 8) for key in (*self.keys, *self.resting)
            ),
            bars=(),
        )

    @property
    def is_heard(self) -> bool:
        """Whether S1 has told the funding of all, and a book of those that rest, since each was started."""
        running = self.watch.running
        return all(FUNDING_TOLD in marks for marks in running.values()) and all(
            BOOK_TOLD in running[key.symbol] for key in self.resting
        )

    async def until(self, at_ms: int) -> None:
        await self.world.clock.sleep_until_ms(at_ms)

    async def until_closed(self, entries: int, within_ms: int = 10_000) -> None:
        """Wait until so many entries have ended since the start, for `within_ms` at most."""
        deadline_ms = self.world.clock.now_ms() + within_ms
        while self.closed < entries and self.world.clock.now_ms() < deadline_ms:
            await self.until(self.world.clock.now_ms() + 10)

    def on_message(self, stream: str, message: Message) -> None:
        self.watch.on_message(stream, message)
        if isinstance(message, OrderResult) and message.final and message.purpose is Purpose.ENTRY:
            self._ended.put_nowait((self.world.clock.now_ms() + self.echo_ms, message))

    async def close_positions(self) -> None:
        """Close what was opened as soon as its entry has ended, so that its instrument can be entered again. For ever.

        The stop and the target are cancelled as S6 would; the position goes behind the services' back.
        """
        while True:
            free_ms, result = await self._ended.get()
            await self.until(free_ms)
            now_ms = self.world.clock.now_ms()
            self.host.settle(self.host.exchange.cancel_all(Market.FUT, result.symbol, now_ms, conditional=True))
            self._close_position(result.symbol)
            # As S6 would: an entry that is done and no trade yet is under way.
            ended = ended_trade(
                result.cmd_id, InstrumentKey(Market.FUT, result.symbol), self.world.clock.now_ms(), Purpose.EXIT.value
            )
            await self.world.documents.put(TRADES, ended)
            await self.world.reservations.release(result.cmd_id)
            self.closed += 1

    def _close_position(self, symbol: str) -> None:
        exchange = self.host.exchange
        for position in exchange.positions():
            if position.symbol == symbol:
                exchange.place(
                    NewOrder(
                        client_order_id=f"close-{self.closed}",
                        market=Market.FUT,
                        symbol=symbol,
                        side=Side.SELL if position.qty > 0 else Side.BUY,
                        type=OrderType.MARKET,
                        qty=abs(position.qty),
                        reduce_only=True,
                    ),
                    self.world.clock.now_ms(),
                )
        exchange.drain_rows()


@asynccontextmanager
async def open_crowd(
    instruments: int, *, durable: bool, signal: bool, open_exchange: OpenExchange = in_process
) -> AsyncIterator[Crowd]:
    """
    Args:
        durable: documents in a file, written by a thread of its own, orders and intents with an fsync, as in `up`; else
            in memory, in the loop.
        signal: every tick of a flat instrument enters; else only a hint does.
    """
    with tempfile.TemporaryDirectory(prefix="chimera-bench-") as folder:
        watch = Stopwatch()
        path = Path(folder) / "documents.sqlite"
        documents = (
            SqliteDocuments.in_thread(path, observe=watch.on_document)
            if durable
            else SqliteDocuments.in_loop(observe=watch.on_document)
        )
        keys = (LEAD, *(InstrumentKey(Market.FUT, f"B{number:04}USDT") for number in range(1, instruments)))
        resting = tuple(InstrumentKey(Market.FUT, f"R{number:04}USDT") for number in range(RESTING))
        ground = Ground(
            rules=ExchangeRules(instruments=tuple(map(finely_listed, keys + resting)), conditionals_max=10_000),
            feed=History(signal),
            clock=LoopClock(BEGIN_MS),
            watch=watch,
        )
        try:
            async with open_exchange(ground) as opened:
                crowd = await _build(ground, opened, keys, resting, documents)
                closing = asyncio.get_running_loop().create_task(crowd.close_positions(), name="close")
                try:
                    await _start(crowd, signal)
                    yield crowd
                finally:
                    for runner in reversed(crowd.runners.values()):
                        await runner.stop()
                    closing.cancel()
                    await asyncio.gather(closing, return_exceptions=True)
        finally:
            await documents.close()


def finely_listed(key: InstrumentKey) -> Instrument:
    """As the exchange lists it, on a grid that is fine enough for our prices."""
    return replace(listed(key), tick_size=min(listed(key).tick_size, HALF_SPREAD))


async def _build(
    ground: Ground,
    opened: Opened,
    keys: tuple[InstrumentKey, ...],
    resting: tuple[InstrumentKey, ...],
    documents: SqliteDocuments,
) -> Crowd:
    every = keys + resting
    clock = ground.clock
    peers = LocalPeers()
    told: list[Crowd] = []
    world = one_process_world(
        clock=clock,
        randomness=SeededRandomness(7),
        documents=documents,
        venue=opened.venue,
        factor_feed=SimulatedFactorFeed(ground.feed, clock),
        objects=MemoryObjects(),
        peers=peers,
        bus=MemoryBus(
            clock, maxlen_max=EMBEDDED_STREAM_MAX, observe=lambda stream, message: told[0].on_message(stream, message)
        ),
    )
    await permit(world, every, resting, taking=True)
    services = {
        "s1": s1.build(
            world,
            ConnectorSettings(env=ENV, keys=every, minute_days=1, hour_days=6, day_days=1, stall_ms=QUIET_MS),
        ),
        "s2": s2.build(world, FeatureSettings(env=ENV, keys=every)),
        "s4": s4.build(
            world,
            RouterSettings(
                env=ENV,
                keys=every,
                variables=S4Settings(
                    gate_notional_usdt_max=PLENTY, gate_day_notional_usdt_max=PLENTY, gate_orders_per_s_max=1_000
                ),
            ),
        ),
        "s3": s3.build(
            world,
            StrategySettings(env=ENV, keys=every, variables=S3Settings(symbols=tuple(key.symbol for key in keys))),
        ),
    }
    runners = {service_id: Runner(service, world, ENV) for service_id, service in services.items()}
    for service_id, runner in runners.items():
        peers.add(service_id, runner.all_routes())
    crowd = Crowd(world, opened.host, keys, resting, peers, runners, ground.watch, echo_ms=opened.echo_ms)
    told.append(crowd)
    return crowd


async def permit(
    world: World, keys: tuple[InstrumentKey, ...], resting: tuple[InstrumentKey, ...], *, taking: bool
) -> None:
    """What the services that do not run would have said, and a bundle that lets every instrument be entered. `taking`:
    no order is offered as maker or sliced, where it would wait for the market or for its time."""
    now_ms = world.clock.now_ms()
    later = str(now_ms + DAY_MS)
    await world.snapshots.set(HEALTH_STATE.name(ENV), HealthLevel.GREEN.value)
    await world.snapshots.set_hash(HEALTH_ROLLING.name(ENV), {"updated_at": later})
    await world.snapshots.set(RECON_LAST_RUN.name(ENV), later)
    await world.snapshots.set_hash(RISK_LIMITS.name(ENV), {"daily_loss_usdt": "0", "drawdown_ratio": "0"})
    for key in resting:
        await world.documents.put(TRADES, ended_trade(f"rests-{key.symbol}", key, now_ms, STOP_OUT))
    bundle = default_bundle(now_ms)
    flags = bundle.flags
    bundle = bundle.but(
        flags=flags.but(
            strategy=flags.strategy.but(
                markets={key.symbol: (Market.FUT,) for key in keys}, max_entries_per_signal=100
            ),
            risk=flags.risk.but(
                budget=flags.risk.budget.but(fut_margin_usdt_max=PLENTY), concurrent_entries_per_market=100
            ),
            execution=_taking(flags.execution) if taking else flags.execution,
        ),
        status=BundleStatus.ACTIVE,
    )
    bundle = bundle.but(hash=hash_of(bundle))
    await world.documents.put(CONFIG_BUNDLES, bundle)
    await world.documents.put(
        CONFIG_ACTIVE,
        ConfigActive(
            key=ids.CONFIG_ACTIVE_KEY,
            rev=bundle.rev or 1,
            bundle_id=bundle.bundle_id,
            activated_at=now_ms,
            seq=1,
            hash=bundle.hash,
        ),
    )


def _taking(execution: ExecutionFlags) -> ExecutionFlags:
    routing = execution.routing
    whole = TwapBucket(range=(Decimal(0), PLENTY), slices=1, min_slice_usdt=Decimal(0))
    maker_wait, twap = routing.maker_wait.but(spread_bp_gate=0.0), routing.twap.but(buckets=(whole,))
    return execution.but(routing=routing.but(maker_wait=maker_wait, twap=twap))


def ended_trade(trade_id: str, key: InstrumentKey, now_ms: int, reason: str) -> Trade:
    return Trade(
        trade_id=trade_id,
        market=key.market,
        symbol=key.symbol,
        side=Side.BUY,
        status=TradeStatus.CLOSED,
        qty_opened=Decimal(1),
        qty_open=Decimal(0),
        entry_price_avg=MID,
        realized_pnl_usdt=Decimal(-1),
        fees_usdt=Decimal(0),
        funding_usdt=Decimal(0),
        config_rev=1,
        opened_at=now_ms - HOUR_MS,
        closed_at=now_ms,
        reason=reason,
        updated_at=now_ms,
    )


async def _start(crowd: Crowd, signal: bool) -> None:
    """Services, marks, then a tick of each instrument: with a signal each is entered once, every path was walked."""
    for runner in crowd.runners.values():
        await runner.start()
    clock, watch = crowd.world.clock, crowd.watch
    for key in (*crowd.resting, *crowd.keys):
        watch.start(key.symbol)
    # Streams over a network take their time to be there; what was said before is not heard.
    while not crowd.is_heard:
        crowd.host.apply(crowd.marks())
        for key in crowd.resting:
            crowd.host.apply(crowd.book(key))
        await crowd.until(clock.now_ms() + SETTLE_MS)
    watch.running = {}
    for key in crowd.keys:
        await crowd.until(clock.now_ms() + WARM_EVERY_MS)
        crowd.host.apply(crowd.book(key))
    if signal:
        await crowd.until_closed(len(crowd.keys))
    await crowd.until(clock.now_ms() + SETTLE_MS)
