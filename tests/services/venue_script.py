"""An exchange that says what a test tells it to, and a world around it: for services that only listen.

Trading is not offered: tests that trade take the simulated venue.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.compute import ComputeInLoop
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.memory.state import (
    MemoryDueQueue,
    MemoryIdempotency,
    MemoryLocks,
    MemoryReservations,
    MemorySnapshots,
)
from chimera.adapters.onnx_models import OnnxModels
from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.adapters.quiet_notifier import QuietNotifier
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.base import Message
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import AccountChange, Balance, Income
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import INTERVAL_MS, Bar, BookTop, MarketEvent, MarkPrice
from chimera.ports.bus import BusUnavailable
from chimera.ports.clock import Clock
from chimera.ports.peers import PeerAnswer, PeerCall, PeerUnavailable
from chimera.ports.venue import VenueUnavailable
from chimera.ports.world import World
from tests.domain.builders import BTC_FUT, BTC_SPOT

FUT = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")
DAY = 86_400_000
HOUR = 3_600_000
MINUTE = 60_000
NOON = 20_000 * DAY + 12 * HOUR
"""When most tests begin."""


def top(ts: int, bid: str = "65000.0", ask: str = "65000.1", *, key: InstrumentKey = FUT, qty: str = "2") -> BookTop:
    size, tick = Decimal(qty), Decimal("0.1")
    return BookTop(
        ts,
        key.market,
        key.symbol,
        tuple((Decimal(bid) - tick * level, size) for level in range(4)),
        tuple((Decimal(ask) + tick * level, size) for level in range(4)),
        Decimal(bid),
    )


def minute(open_time: int, close: float = 65_000.0, *, key: InstrumentKey = FUT, interval: str = "1m") -> Bar:
    return Bar(key.market, key.symbol, interval, open_time, close, close + 5.0, close - 5.0, close, 3.0)


def mark(ts: int, *, rate: float = 0.0001, funding_time: int = NOON + 4 * HOUR, price: str = "65001") -> MarkPrice:
    return MarkPrice(ts, FUT.symbol, Decimal(price), rate, funding_time, 8)


class Stream:
    """Batches that a test puts in and one reader takes out."""

    def __init__(self) -> None:
        self._batches: deque[Sequence[Any]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, *events: Any) -> None:
        self._batches.append(events)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> AsyncIterator[Sequence[Any]]:
        while True:
            while self._batches:
                yield self._batches.popleft()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


class ScriptedVenue:
    name = "script"

    def __init__(self, clock: Clock, *, tick_interval_ms: int = 0) -> None:
        self.clock = clock
        self.tick_interval_ms = tick_interval_ms
        self.market = Stream()
        self.account = Stream()
        self.history: list[Bar] = []
        self.held: list[Balance] = [Balance(market=Market.FUT, asset="USDT", free=Decimal(1_000), locked=Decimal(0))]
        self.ledger: list[Income] = []
        self.listed: list[Instrument] = [BTC_FUT, BTC_SPOT]
        self.offset_ms = 0
        self.down = False
        self.fails: VenueUnavailable | None = None
        self.klines_asked: list[tuple[str, int, int]] = []

    def close_bars(self, key: InstrumentKey, interval: str, since_ms: int, until_ms: int) -> None:
        """Make history: every bar that closes in (since, until]."""
        length = INTERVAL_MS[interval]
        first = since_ms - since_ms % length
        self.history += [
            minute(at, 65_000.0 + (at // length) % 50, key=key, interval=interval)
            for at in range(first, until_ms - length + 1, length)
        ]

    async def taker_fee_ratio(self, market: Market) -> Decimal:
        return Decimal("0.0005") if market is Market.FUT else Decimal("0.001")

    async def maker_fee_ratio(self, market: Market) -> Decimal:
        return Decimal("0.0002") if market is Market.FUT else Decimal("0.001")

    async def server_time_ms(self) -> int:
        self._answer()
        return self.clock.now_ms() + self.offset_ms

    async def instruments(self) -> Sequence[Instrument]:
        return self.listed

    async def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        self._answer()
        self.klines_asked.append((interval, start_ms, end_ms))
        return sorted(
            (
                bar
                for bar in self.history
                if (bar.market, bar.symbol, bar.interval) == (key.market, key.symbol, interval)
                and start_ms <= bar.open_time < end_ms
                and bar.close_time <= self.clock.now_ms()
            ),
            key=lambda bar: bar.open_time,
        )

    def market_events(self, keys: Sequence[InstrumentKey]) -> AsyncIterator[Sequence[MarketEvent]]:
        return self.market.read()

    def account_events(self) -> AsyncIterator[Sequence[AccountChange]]:
        return self.account.read()

    async def balances(self) -> Sequence[Balance]:
        self._answer()
        return list(self.held)

    async def income(self, since_ms: int) -> Sequence[Income]:
        self._answer()
        return [line for line in self.ledger if line.ts >= since_ms]

    def _answer(self) -> None:
        if self.down:
            raise VenueUnavailable("the script says so")
        if self.fails is not None:
            raise self.fails


class ScriptedFeed:
    symbol = "USDTTWD"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.closes: dict[int, float] = {}
        """By open time."""
        self.answers_at_ms = 0
        self.fails: Exception | None = None

    async def bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        if self.clock.now_ms() < self.answers_at_ms:
            await self.clock.sleep_until_ms(self.answers_at_ms)
        if self.fails is not None:
            raise self.fails
        return [
            Bar(Market.SPOT, self.symbol, "1h", at, close, close, close, close, 10.0)
            for at, close in sorted(self.closes.items())
            if start_ms <= at < end_ms and at + HOUR <= self.clock.now_ms()
        ]


class RefusingBus(MemoryBus):
    """A bus that refuses the next message of one kind."""

    refuse: type[Message] | None = None

    async def publish(self, stream: str, message: Message) -> str:
        if type(message) is self.refuse:
            self.refuse = None
            raise BusUnavailable("the script says so")
        return await super().publish(stream, message)


class NoPeers:
    async def call(self, call: PeerCall) -> PeerAnswer:
        raise PeerUnavailable(call.service, "this world has one service")


class Told:
    """Everything that was published, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Message]] = []

    def __call__(self, stream: str, message: Message) -> None:
        self.all.append((stream, message))

    def of(self, kind: type[Message]) -> list[Any]:
        return [message for _, message in self.all if type(message) is kind]


def scripted_world(
    told: Told,
    *,
    start_ms: int = NOON,
    documents: SqliteDocuments | None = None,
    feed: bool = False,
    tick_interval_ms: int = 0,
    speed: float = 1.0,
) -> tuple[World, ScriptedVenue]:
    clock = LoopClock(start_ms, speed)
    venue = ScriptedVenue(clock, tick_interval_ms=tick_interval_ms)
    world = World(
        clock=clock,
        randomness=SeededRandomness(1),
        bus=RefusingBus(clock, observe=told),
        snapshots=MemorySnapshots(clock),
        locks=MemoryLocks(clock),
        idempotency=MemoryIdempotency(clock),
        due=MemoryDueQueue(),
        reservations=MemoryReservations(),
        documents=documents or SqliteDocuments.in_loop(),
        venue=venue,
        factor_feed=ScriptedFeed(clock) if feed else None,
        objects=MemoryObjects(),
        peers=NoPeers(),
        notifier=QuietNotifier(),
        metrics=PrometheusMetrics(),
        compute=ComputeInLoop(),
        models=OnnxModels(in_thread=False),
    )
    return world, venue


async def pass_ms(world: World, duration_ms: int) -> None:
    await world.clock.sleep_until_ms(world.clock.now_ms() + duration_ms)
