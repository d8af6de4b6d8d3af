"""Intents of every kind through `POST /orders`, from the call to the first fill and to the end, on the system's clock.

Owns the house that it measures in: the exchange in process, S1 for the books and S4, on documents in memory or in a
file that is synced as in `up`. Ten intents are a round, each followed by the exit of what it opened:

    taker, maker, taker, sliced    futures entries with stop and target
    spot                           a buy with its pair

What waits for the market or for a slice's time is not ours: a maker's figures leave out the time from its order at the
exchange to the price that fills it, a sliced one's the time until its last slice is due. First the intents come one
after the other, which gives the times; then several at once on instruments of their own, which gives the rate. S6 does
not run: what is left of the protection after an exit is taken off as it would do it. Processor time is that of an
intent with all that goes on meanwhile: the exchange, S1, the other books. The reference is what no order can do
without: the exchange's own answer, and one synced document.
"""

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.simulated_venue.feed import Tick
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.blueprint import NoMarket
from chimera.app.worlds import EMBEDDED_STREAM_MAX, one_process_world
from chimera.contracts.base import Message
from chimera.contracts.collections import INTENTS, TRADES
from chimera.contracts.enums import IntentState, Market, OrderStatus, OrderType, Purpose, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import OrderResult
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.orders import NewOco, NewOrder, VenueOrder
from chimera.domain.market.quotes import BookTop, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.clock import Clock
from chimera.ports.peers import PeerCall
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.runtime.runner import Runner
from chimera.services.s01_exchange import service as s1
from chimera.services.s01_exchange.settings import Settings as ConnectorSettings
from chimera.services.s04_router import service as s4
from chimera.services.s04_router.settings import Settings as RouterSettings
from chimera.simulation.bench.crowd import (
    BEGIN_MS,
    ENV,
    HALF_SPREAD,
    HOUR_MS,
    LEVELS,
    MID,
    PLENTY,
    QUIET_MS,
    TOP_QTY,
    ended_trade,
    finely_listed,
    permit,
)
from chimera.simulation.bench.rows import BenchOptions, BenchRow, row_of_runs

NAME = "orders"
WORKERS = 8
QTY = Decimal(3)
STOP_DISTANCE = Decimal(2)
TARGET = Decimal(104)
SLICES = 3
GAP_MS = 20
TICK_EVERY_MS = 500
"""All books speak so often, or they would be too old to enter on."""
TAKE_MAKERS_AFTER_MS = 20
"""How long a maker's order rests before the price comes to it."""
DIP = 5 * HALF_SPREAD
END_WITHIN_MS = 5_000

EXIT = "exit"
SPOT = "spot"
MAKER = "maker"
SLICED = "sliced"
ROUND = ("taker", MAKER, "taker", SLICED, SPOT)

Body = dict[str, Any]


@dataclass(slots=True)
class _Told:
    """Of one intent, ns."""

    began_ns: int
    first_fill_ns: int = 0
    final_ns: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    last: OrderResult | None = None


@dataclass(frozen=True, slots=True)
class _Taken:
    """Of one intent that ended as it should: ns of ours, without what the market let it wait."""

    kind: str
    answer_ns: int
    first_fill_ns: int
    final_ns: int


class _CountedVenue(SimulatedVenue):
    """The simulated exchange, counting what arrives; a maker's order is told when it rests."""

    arrived: int
    resting: dict[str, int]

    async def place(self, order: NewOrder) -> VenueOrder:
        self.arrived += 1
        answer = await super().place(order)
        if order.type is OrderType.LIMIT:
            self.resting[order.client_order_id] = time.perf_counter_ns()
        return answer

    async def place_oco(self, oco: NewOco) -> Sequence[VenueOrder]:
        self.arrived += 2
        return await super().place_oco(oco)


@dataclass(slots=True)
class _House:
    world: World
    venue: _CountedVenue
    keys: tuple[InstrumentKey, ...]
    spot: tuple[InstrumentKey, ...]
    peers: LocalPeers
    told: dict[str, _Told] = field(default_factory=dict)
    count: int = 0

    def on_message(self, stream: str, message: Message) -> None:
        if not isinstance(message, OrderResult):
            return
        told = self.told.get(message.cmd_id)
        if told is None:
            return
        if message.fills and not told.first_fill_ns:
            told.first_fill_ns = time.perf_counter_ns()
        if message.final:
            told.final_ns, told.last = time.perf_counter_ns(), message
            told.ended.set()

    def tick(self, keys: Sequence[InstrumentKey], mid: Decimal = MID) -> None:
        self.venue.apply(_tick(keys, self.world.clock.now_ms(), mid))

    async def go_on(self) -> None:
        """The books speak in turn, a few at a time, or the answers would wait for all of them. For ever."""
        every = (*self.keys, *self.spot)
        for key in cycle(every):
            await self.world.clock.sleep_until_ms(self.world.clock.now_ms() + TICK_EVERY_MS // len(every))
            self.tick((key,))

    async def opened_and_left(self, kind: str, worker: int) -> list[_Taken]:
        """One entry of a kind, and its exit. Returns: what ended as it should."""
        of = self.spot if kind == SPOT else self.keys
        key = of[worker % len(of)]
        self.count += 1
        name = f"{self.count:07}"
        entry = f"BENCH-{name}"
        found = [await self._carried_out(kind, key, _entry(kind, key, entry, name))]
        held = self.told[entry].last
        qty = QTY if held is None or not held.intent_filled_qty else held.intent_filled_qty
        leave = _order(key, f"{entry}-X", f"{name}x", Side.SELL, qty, intent="EXIT", parent_id=entry, reduce_only=True)
        found.append(await self._carried_out(EXIT, key, leave))
        if key.market is Market.FUT:
            now_ms = self.world.clock.now_ms()
            self.venue.settle(self.venue.exchange.cancel_all(Market.FUT, key.symbol, now_ms, conditional=True))
            await self.world.documents.put(TRADES, ended_trade(entry, key, now_ms, Purpose.EXIT.value))
        for intent in (entry, f"{entry}-X"):
            del self.told[intent]
        return [each for each in found if each is not None]

    async def _carried_out(self, kind: str, key: InstrumentKey, body: Body) -> _Taken | None:
        intent_id = str(body["intent_id"])
        told = self.told[intent_id] = _Told(time.perf_counter_ns())
        market = asyncio.ensure_future(self._come_to(key, str(body["client_order_id"]))) if kind == MAKER else None
        answer = await self.peers.call(PeerCall("s4", "POST", "/orders", body=body, actor="bench"))
        answer_ns = time.perf_counter_ns() - told.began_ns
        try:
            if answer.ok:
                clock = self.world.clock
                deadline = clock.call_at_ms(clock.now_ms() + END_WITHIN_MS, told.ended.set)
                await told.ended.wait()
                deadline.cancel()
        finally:
            rested_ns = 0
            if market is not None:
                market.cancel()
                (waited,) = await asyncio.gather(market, return_exceptions=True)
                rested_ns = waited if isinstance(waited, int) else 0
        if kind == MAKER and not rested_ns:
            return None
        last = told.last
        if last is None or last.status is not OrderStatus.FILLED or not told.first_fill_ns:
            return None
        waits_ns = rested_ns
        if kind == SLICED:
            record = await self.world.documents.get(INTENTS, intent_id)
            assert record is not None
            assert record.execution is not None
            waits_ns = (record.execution.slices[-1].due_at - record.execution.slices[0].due_at) * 1_000_000
        return _Taken(
            kind,
            answer_ns - (waits_ns if answer_ns > waits_ns else 0),
            told.first_fill_ns - told.began_ns - rested_ns,
            told.final_ns - told.began_ns - waits_ns,
        )

    async def _come_to(self, key: InstrumentKey, client_order_id: str) -> int:
        """Let the price come to a maker's order once it has rested a little, and go back. Returns: how long it rested,
        ns."""
        clock = self.world.clock
        while (name := next((each for each in self.venue.resting if each.startswith(client_order_id)), None)) is None:
            await clock.sleep_until_ms(clock.now_ms() + 1)
        await clock.sleep_until_ms(clock.now_ms() + TAKE_MAKERS_AFTER_MS)
        rested_ns = time.perf_counter_ns() - self.venue.resting.pop(name)
        self.tick((key,), MID - DIP)
        self.tick((key,))
        return rested_ns


def _tick(keys: Sequence[InstrumentKey], now_ms: int, mid: Decimal) -> Tick:
    steps = [HALF_SPREAD * number for number in range(1, LEVELS + 1)]
    bids = tuple((mid - step, TOP_QTY) for step in steps)
    asks = tuple((mid + step, TOP_QTY) for step in steps)
    following = (now_ms // (8 * HOUR_MS) + 1) * 8 * HOUR_MS
    return Tick(
        ts=now_ms,
        books=tuple(BookTop(now_ms, key.market, key.symbol, bids, asks, mid) for key in keys),
        marks=tuple(
            MarkPrice(now_ms, key.symbol, MID, 0.0001, following, 8) for key in keys if key.market is Market.FUT
        ),
        bars=(),
    )


def _entry(kind: str, key: InstrumentKey, intent_id: str, name: str) -> Body:
    policy: Body = {"routing": "DIRECT_TAKER"}
    more: Body = {}
    if kind == SPOT:
        policy["oco"] = {"enabled": True, "tp": float(TARGET), "sl": float(MID - STOP_DISTANCE)}
    else:
        more = {"sl": {"distance": float(STOP_DISTANCE)}, "tp": {"price": float(TARGET)}, "leverage": 20}
    if kind == MAKER:
        policy["routing"] = "AUTO"
    if kind == SLICED:
        policy["twap"] = {"enabled": True, "slices": SLICES, "gap_ms": GAP_MS, "jitter_ms": 0, "min_slice_usdt": 0}
    return _order(key, intent_id, name, Side.BUY, QTY, intent="ENTRY", exec_policy=policy, **more)


def _order(key: InstrumentKey, intent_id: str, name: str, side: Side, qty: Decimal, **more: Any) -> Body:
    return {
        "intent_id": intent_id,
        "client_order_id": f"s3-{name}",
        "market": key.market.value,
        "symbol": key.symbol,
        "side": side.value,
        "qty": float(qty),
        **more,
    }


def bench(options: BenchOptions) -> list[BenchRow]:
    rows: list[BenchRow] = []
    for durable in (False, True):
        rows += uvloop.run(_measure(options, durable))
    return rows


async def _measure(options: BenchOptions, durable: bool) -> list[BenchRow]:
    where = "durable" if durable else "in memory"
    one_by_one: list[list[_Taken]] = []
    rates: list[float] = []
    cpu_us: list[float] = []
    ended: list[float] = []
    references: dict[str, list[list[int]]] = defaultdict(list)
    kinds = list(islice(cycle(ROUND), max(1, options.intents // 2)))
    async with _open(durable) as house:
        for kind in ROUND:
            await house.opened_and_left(kind, 0)
        for _ in range(options.runs):
            began_ns = time.process_time_ns()
            one_by_one.append([taken for kind in kinds for taken in await house.opened_and_left(kind, 0)])
            cpu_us.append((time.process_time_ns() - began_ns) / 1_000 / (2 * len(kinds)))
            rate, share = await _at_once(house, kinds)
            rates.append(rate)
            ended.append(share)
            references["the exchange's own answer"].append(await _bare_places(house.world.clock, options.intents))
            references["one synced document"].append(await _bare_writes(house, options.intents))
    rows = []
    for kind in dict.fromkeys((*ROUND, EXIT)):
        asked = len(kinds) if kind == EXIT else kinds.count(kind)
        of_kind = [[each for each in run if each.kind == kind] for run in one_by_one]
        for what in ("answer", "first_fill", "final"):
            figures = [[max(0, getattr(each, f"{what}_ns")) for each in run] for run in of_kind]
            rows.append(row_of_runs(NAME, f"{kind} {where}, to {what.replace('_', ' ')}", figures, asked=asked))
    every = [[each.final_ns for each in run] for run in one_by_one]
    rows.append(
        replace(
            row_of_runs(NAME, f"all {where}, to final", every, asked=2 * len(kinds)),
            cpu_us=median(cpu_us),
        )
    )
    rows.append(
        BenchRow(
            bench=NAME,
            case=f"{WORKERS} at once {where}, orders at the exchange",
            n=2 * len(kinds),
            rate_per_s=median(rates),
            success_ratio=median(ended),
        )
    )
    for case, runs in references.items():
        rows.append(row_of_runs(NAME, f"reference {where}: {case}", runs, asked=options.intents))
    return rows


async def _at_once(house: _House, kinds: Sequence[str]) -> tuple[float, float]:
    """Returns: orders a second that reached the exchange, and the share of intents that ended as they should."""
    waiting = list(kinds)
    taken: list[_Taken] = []

    async def work(worker: int) -> None:
        while waiting:
            taken.extend(await house.opened_and_left(waiting.pop(), worker))

    arrived, began_ns = house.venue.arrived, time.perf_counter_ns()
    await asyncio.gather(*(work(worker) for worker in range(WORKERS)))
    seconds = (time.perf_counter_ns() - began_ns) / 1e9
    return (house.venue.arrived - arrived) / seconds, len(taken) / (2 * len(kinds))


async def _bare_places(clock: Clock, calls: int) -> list[int]:
    """An exchange alone, and nobody who hears of it."""
    key, taken_ns = InstrumentKey(Market.FUT, "B0000USDT"), []
    venue = _exchange(clock, (key,))
    venue.apply(_tick((key,), clock.now_ms(), MID))
    for number in range(calls // 2 * 2):
        order = NewOrder(
            client_order_id=f"bare-{number}",
            market=key.market,
            symbol=key.symbol,
            side=Side.SELL if number % 2 else Side.BUY,
            type=OrderType.MARKET,
            qty=QTY,
        )
        began_ns = time.perf_counter_ns()
        await venue.place(order)
        taken_ns.append(time.perf_counter_ns() - began_ns)
    return taken_ns


async def _bare_writes(house: _House, calls: int) -> list[int]:
    """A document as long as an intent's, again and again."""
    documents = house.world.documents
    record = await documents.get(INTENTS, "BENCH-0000001")
    assert record is not None
    assert record.state is IntentState.DONE, record
    taken_ns = []
    for _ in range(calls):
        began_ns = time.perf_counter_ns()
        await documents.put(INTENTS, record)
        taken_ns.append(time.perf_counter_ns() - began_ns)
    return taken_ns


def _exchange(clock: Clock, keys: tuple[InstrumentKey, ...]) -> _CountedVenue:
    rules = ExchangeRules(instruments=tuple(map(finely_listed, keys)), conditionals_max=10_000)
    venue = _CountedVenue(
        exchange=Exchange(rules, spot_balances={"USDT": PLENTY}, fut_balances={"USDT": PLENTY}),
        rules=rules,
        feed=NoMarket(),
        clock=clock,
        journal=NoJournal(),
    )
    venue.arrived, venue.resting = 0, {}
    return venue


@asynccontextmanager
async def _open(durable: bool) -> AsyncIterator[_House]:
    with tempfile.TemporaryDirectory(prefix="chimera-bench-") as folder:
        documents = (
            SqliteDocuments.in_thread(Path(folder) / "documents.sqlite") if durable else SqliteDocuments.in_loop()
        )
        keys = tuple(InstrumentKey(Market.FUT, f"B{number:04}USDT") for number in range(WORKERS))
        spot = tuple(InstrumentKey(Market.SPOT, f"B{number:04}USDT") for number in range(WORKERS))
        clock, peers = LoopClock(BEGIN_MS), LocalPeers()
        venue = _exchange(clock, keys + spot)
        opened: list[_House] = []
        world = one_process_world(
            clock=clock,
            randomness=SeededRandomness(7),
            documents=documents,
            venue=venue,
            factor_feed=None,
            objects=MemoryObjects(),
            peers=peers,
            bus=MemoryBus(
                clock,
                maxlen_max=EMBEDDED_STREAM_MAX,
                observe=lambda stream, message: opened[0].on_message(stream, message),
            ),
        )
        house = _House(world, venue, keys, spot, peers)
        opened.append(house)
        await permit(world, keys, (), taking=False)
        caps = S4Settings(gate_notional_usdt_max=PLENTY, gate_day_notional_usdt_max=PLENTY, gate_orders_per_s_max=1_000)
        services = {
            "s1": s1.build(world, ConnectorSettings(env=ENV, keys=keys + spot, stall_ms=QUIET_MS)),
            "s4": s4.build(world, RouterSettings(env=ENV, keys=keys + spot, variables=caps)),
        }
        runners = {service_id: Runner(service, world, ENV) for service_id, service in services.items()}
        for service_id, runner in runners.items():
            peers.add(service_id, runner.all_routes())
        market: asyncio.Task[None] | None = None
        try:
            for runner in runners.values():
                await runner.start()
                house.tick(keys + spot)
            market = asyncio.get_running_loop().create_task(house.go_on(), name="market")
            await clock.sleep_until_ms(clock.now_ms() + 2 * TICK_EVERY_MS)
            yield house
        finally:
            if market is not None:
                market.cancel()
                await asyncio.gather(market, return_exceptions=True)
            for runner in reversed(runners.values()):
                await runner.stop()
            await documents.close()
