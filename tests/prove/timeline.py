"""Lives that may be cut short at any step: what outlives a process, the fuse that kills it, and the run of one life.

A step is the moment before or after something that outlives the process: a document written, a request that the
exchange carried out. After a kill everything in memory is gone, the market goes on, and the house starts again on the
same documents and the same exchange.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
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
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.base import Message
from chimera.contracts.collections import FILLS, INTENTS, ORDERS, TRADES
from chimera.contracts.enums import TradeStatus
from chimera.contracts.messages import OrderResult
from chimera.domain.market.instrument import Instrument
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.faults import FaultPlan
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.documents import Put
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.simulation.attack.restrained import Restrained
from chimera.simulation.checkers import check_evidence
from chimera.simulation.checkers.entries_allowed import forbidden_entries
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.results_told import untold, untrue
from chimera.simulation.checkers.spot_stops import watched_in_time
from chimera.simulation.checkers.stops_listed import Downtime, stops_in_time
from chimera.simulation.loop import run_virtual
from tests.domain.matching.venue import FUT as FUT_RULES
from tests.domain.matching.venue import SPOT as SPOT_RULES
from tests.prove.flows import Flow, Step, nothing
from tests.services.trading_floor import BEGIN_MS, ENV, Floor, StillMarket, tick

HOUSE = ("s10", "s1", "s4", "s5", "s6")
REQUESTS = ("place", "place_oco", "cancel", "ensure_isolated")
WRITES = ("insert", "put", "replace", "put_many")
OUTLIVE = (INTENTS.name, ORDERS.name, FILLS.name, TRADES.name)
"""Writes to these collections are steps; snapshots and events carry no duty."""

DOWN_MS = 5_000
QUIET_MS = 10_000


class Fuse:
    """Counts steps and kills at the `at`-th; from then on nothing gets through to the world outside."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.armed = False
        self.steps: list[str] = []
        self.blown = asyncio.Event()

    def alive(self) -> None:
        if self.blown.is_set():
            raise asyncio.CancelledError("dead")

    def step(self, label: str) -> None:
        self.alive()
        if not self.armed:
            return
        self.steps.append(label)
        if len(self.steps) == self.at:
            self.blown.set()
            raise asyncio.CancelledError(label)


class Cut:
    """The exchange, or the documents, as a process sees them that may die before or after any of its calls."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name not in REQUESTS and name not in WRITES:
            return call
        return self._in_steps(name, call)

    def _in_steps(self, name: str, call: Callable[..., Awaitable[Any]]) -> Any:
        async def cut(*args: Any, **kwargs: Any) -> Any:
            what = f"{name} {subject_of(name, args)}"
            if name in WRITES and not _outlives(name, args):
                self._fuse.alive()
                return await call(*args, **kwargs)
            self._fuse.step(f"before {what}")
            try:
                if name == "put_many":
                    await self._one_by_one(args[0])
                    return None
                return await call(*args, **kwargs)
            finally:
                self._fuse.step(f"after {what}")

        return cut

    async def _one_by_one(self, puts: Sequence[Put[Any]]) -> None:
        """The port promises their order and no more, so a kill may come between two of them."""
        for number, put in enumerate(puts):
            if number:
                self._fuse.step(f"between puts, {put.collection.name}")
            await self._inner.put_many([put])


def _outlives(name: str, args: tuple[Any, ...]) -> bool:
    if name == "put_many":
        return any(put.collection.name in OUTLIVE for put in args[0])
    return args[0].name in OUTLIVE


def _state(document: Any) -> str:
    return str(getattr(document, "state", getattr(document, "status", "")))


def subject_of(name: str, args: tuple[Any, ...]) -> str:
    if name in WRITES:
        written = [(put.collection, put.doc) for put in args[0]] if name == "put_many" else [args[:2]]
        states = [f"{collection.name} {_state(document)}".strip() for collection, document in written]
        return ", ".join(dict.fromkeys(states))
    return str(getattr(args[0], "client_order_id", getattr(args[0], "list_client_id", args[-1])))


@dataclass(frozen=True, slots=True)
class Told:
    """What was published, and by which house, counted from 1."""

    life: int
    stream: str
    message: Message


@dataclass(slots=True)
class Timeline:
    """What outlives every process: the exchange, the documents, time. One house at a time lives on it."""

    clock: LoopClock
    exchange: Exchange
    rules: ExchangeRules
    bodies: dict[str, dict[str, str]]
    documents: SqliteDocuments
    restrained: Restrained
    price: Decimal = Decimal(60_000)
    downtimes: list[Downtime] = field(default_factory=list)
    skipped: list[Downtime] = field(default_factory=list)
    """Times over which our own clock jumped: what we dated ourselves, as guards, is late by as much."""
    told: list[Told] = field(default_factory=list)
    lives: int = 0
    prepare: Callable[[Floor], Awaitable[None]] = nothing
    plan: FaultPlan | None = None
    house: Callable[[World], World] = lambda world: world
    """What stands between a new house and the world."""

    @classmethod
    def of(cls, flow: Flow) -> "Timeline":
        """The world that `flow` is lived in."""
        spot = replace(SPOT_RULES, stop_loss_market=flow.spot_stop_at_market)
        timeline = cls.open(spot_usdt=flow.spot_usdt, fut_usdt=flow.fut_usdt, instruments=(FUT_RULES, spot))
        timeline.prepare = flow.prepare
        return timeline

    @classmethod
    def open(
        cls,
        *,
        spot_usdt: str = "5000",
        fut_usdt: str = "5000",
        instruments: tuple[Instrument, ...] = (FUT_RULES, SPOT_RULES),
    ) -> "Timeline":
        bodies: dict[str, dict[str, str]] = {}

        def keep(collection: str, key: str, body: str) -> None:
            bodies.setdefault(collection, {})[key] = body

        rules = ExchangeRules(instruments=instruments)
        clock = LoopClock(BEGIN_MS)
        return cls(
            clock=clock,
            restrained=Restrained(clock, ENV),
            exchange=Exchange(
                rules, spot_balances={"USDT": Decimal(spot_usdt)}, fut_balances={"USDT": Decimal(fut_usdt)}
            ),
            rules=rules,
            bodies=bodies,
            documents=SqliteDocuments.in_loop(observe=keep),
        )

    async def live(self, fuse: Fuse, wrap: Callable[[SimulatedVenue], Any] | None = None) -> Floor:
        """A new house, its memory empty. The market stands at `price` before anybody asks."""
        venue = SimulatedVenue(
            exchange=self.exchange,
            rules=self.rules,
            feed=StillMarket(),
            clock=self.clock,
            journal=NoJournal(),
            faults=self.plan,
        )
        peers = LocalPeers()
        self.lives += 1
        life, told = self.lives, []

        def hears(stream: str, message: Message) -> None:
            if not fuse.blown.is_set():
                told.append((stream, message))
                self.told.append(Told(life, stream, message))

        world = World(
            clock=self.clock,
            randomness=SeededRandomness(7),
            bus=MemoryBus(self.clock, observe=hears),
            snapshots=self.restrained.watched(MemorySnapshots(self.clock)),
            locks=MemoryLocks(self.clock),
            idempotency=MemoryIdempotency(self.clock),
            due=MemoryDueQueue(),
            reservations=MemoryReservations(),
            documents=Cut(self.documents, fuse),
            venue=Cut(wrap(venue) if wrap else venue, fuse),
            factor_feed=None,
            objects=MemoryObjects(),
            peers=peers,
            notifier=QuietNotifier(),
            metrics=PrometheusMetrics(),
            compute=ComputeInLoop(),
            models=OnnxModels(in_thread=False),
        )
        world = self.house(world)
        floor = Floor(world, venue, peers, told, price=self.price)
        venue.apply(tick(self.price, self.clock.now_ms()))
        await floor.healthy()
        await self.prepare(floor)
        return floor

    def evidence(self) -> Evidence:
        return Evidence.of(self.exchange.export_state(), self.bodies, self.clock.now_ms())

    def unclosed(self) -> list[str]:
        trades = self.evidence().on_file(TRADES)
        return [trade.trade_id for trade in trades if trade.status is not TradeStatus.CLOSED]

    def check(self, where: str) -> None:
        found = self.findings()
        assert not found, f"{where}: {found}"

    def findings(self) -> dict[str, list[str]]:
        """Invariant to what breaks it, for those that are broken now."""
        evidence = self.evidence()
        found = {name: findings for name, findings in check_evidence(evidence).items() if findings}
        late = stops_in_time(evidence, self.downtimes)
        if late:
            found["I2 over time"] = late
        if bare := watched_in_time(evidence, [*self.downtimes, *self.skipped]):
            found["I2 spot over time"] = bare
        if forbidden := forbidden_entries(evidence, list(self.restrained.so_far())):
            found["I6"] = forbidden
        results = [each.message for each in self.told if isinstance(each.message, OrderResult)]
        if wrong := untrue(evidence, results):
            found["I13"] = wrong
        last_up_ms = max((up_ms for _, up_ms in self.downtimes), default=0)
        if silent := untold(evidence, results, since_ms=last_up_ms):
            found["I13 untold"] = silent
        return found


Wrap = Callable[[SimulatedVenue], Any]


def unchanged(venue: SimulatedVenue) -> Any:
    return venue


async def run_cut(
    flow: Flow,
    at: int | None,
    while_down: str | None = None,
    at_again: int | None = None,
    wrap: Wrap = unchanged,
) -> list[str]:
    """Live `flow`, killed at step `at` (and once more, `at_again` steps after the restart). Returns the steps taken."""
    timeline = Timeline.of(flow)
    fuse = Fuse(at)
    floor = await timeline.live(fuse, wrap)
    await floor.start(*HOUSE, price=str(timeline.price))
    begun = Progress(timeline, flow.steps)
    fuse.armed = True
    await until_blown(fuse, begun.go_on(floor))
    steps = fuse.steps
    for again in (at_again, None):
        if not fuse.blown.is_set():
            break
        died_at_ms = timeline.clock.now_ms()
        where = f"killed {fuse.steps[-1]} ({len(steps)}/{again})"
        await floor.stop()
        await timeline.clock.sleep_until_ms(died_at_ms + DOWN_MS)
        timeline.price = Decimal(while_down) if while_down else timeline.price
        fuse = Fuse(again)
        fuse.armed = True
        floor = await timeline.live(fuse)
        timeline.downtimes.append((died_at_ms, timeline.clock.now_ms()))
        await until_blown(fuse, begun.come_back(floor, where))
    timeline.check(f"at the end of {len(steps)} steps")
    assert not floor.venue.exchange.positions(), f"still open after {len(steps)} steps"
    assert not floor.resting(), f"still resting after {len(steps)} steps: {floor.resting()}"
    assert timeline.unclosed() == [], f"trades open on file after {len(steps)} steps"
    await floor.stop()
    return steps


@dataclass(slots=True)
class Progress:
    """How much of a life has been lived. A step that was cut is asked for again, as by a client without an answer."""

    timeline: Timeline
    life: Sequence[Step]
    done: int = 0

    async def go_on(self, floor: Floor) -> None:
        for step in self.life[self.done :]:
            await step(self.timeline, floor)
            self.done += 1
        await floor.settle(QUIET_MS)

    async def come_back(self, floor: Floor, where: str) -> None:
        await floor.start(*HOUSE)
        await floor.settle(QUIET_MS)
        self.timeline.check(f"{where}, after the restart")
        await self.go_on(floor)


async def until_blown(fuse: Fuse, living: Coroutine[Any, Any, None]) -> None:
    """Until it is through, or dead: a kill may strike any task of the house, not only the one that asked."""
    task = asyncio.ensure_future(living)
    death = asyncio.ensure_future(fuse.blown.wait())
    await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
    death.cancel()
    if fuse.blown.is_set():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    else:
        await task


def sweep(runs: Iterable[Coroutine[Any, Any, Any]]) -> list[str]:
    """What went wrong in any of the runs."""
    wrong = []
    for run in runs:
        try:
            run_virtual(run)
        except AssertionError as broken:
            wrong.append(str(broken))
    return wrong
