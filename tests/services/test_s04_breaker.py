"""S4's breaker before the simulated exchange: what is counted, kept, told, and outlives a restart."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.state import MemorySnapshots
from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.base import Message
from chimera.contracts.collections import STRATEGY_EVENTS
from chimera.contracts.enums import BreakerState, Market, OrderType, Side
from chimera.contracts.keys import ROUTER_BREAKER, ROUTER_RATE
from chimera.contracts.messages import AlertEvent, AuditEvent
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.breaker import Breaker, Policy
from chimera.domain.execution.orders import NewOrder
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.faults import Fault, FaultKind, FaultPlan
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.documents import DocumentsUnavailable, Query
from chimera.ports.state import StateUnavailable
from chimera.ports.venue import OutcomeUnknown, RateLimited, Refused, Venue, VenueError, VenueUnavailable
from chimera.runtime.http import answer
from chimera.runtime.service import Reply, Request
from chimera.runtime.telling import Teller
from chimera.services.s04_router.breaker import STATE, STATE_KEY, BreakerKeeper, CountedVenue
from chimera.services.s04_router.venue_through import VenueThrough
from chimera.simulation.loop import run_virtual
from tests.domain.matching.venue import FUT as FUT_RULES
from tests.domain.matching.venue import SPOT as SPOT_RULES
from tests.services.small_world import Switchable
from tests.services.trading_floor import BEGIN_MS, FUT, StillMarket, tick

ENV = "dev"
OPEN_MS = 300_000
CLOSED, OPEN, HALF = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF


@dataclass
class Desk:
    """The stores outlive `restart`; the keeper does not."""

    clock: LoopClock
    plan: FaultPlan
    exchange: SimulatedVenue
    documents: Switchable
    snapshots: Switchable
    bus: MemoryBus
    told: list[Message]
    metrics: PrometheusMetrics = field(default_factory=PrometheusMetrics)
    keeper: BreakerKeeper = field(init=False)
    venue: CountedVenue = field(init=False)
    watching: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls) -> "Desk":
        clock, plan, told = LoopClock(BEGIN_MS), FaultPlan(), list[Message]()
        rules = ExchangeRules(instruments=(FUT_RULES, SPOT_RULES))
        balances = {"USDT": Decimal(10_000)}
        exchange = SimulatedVenue(
            exchange=Exchange(rules, spot_balances=balances, fut_balances=balances),
            rules=rules,
            feed=StillMarket(),
            clock=clock,
            journal=NoJournal(),
            faults=plan,
        )
        exchange.apply(tick(Decimal(60_000), clock.now_ms()))
        bus = MemoryBus(clock, observe=lambda _, message: told.append(message))
        documents = Switchable(SqliteDocuments.in_loop(), DocumentsUnavailable)
        desk = cls(clock, plan, exchange, documents, Switchable(MemorySnapshots(clock), StateUnavailable), bus, told)
        await desk.restart()
        return desk

    async def restart(self) -> None:
        await self.stop()
        documents: Any = self.documents
        snapshots: Any = self.snapshots
        self.keeper = BreakerKeeper(
            env=ENV,
            breaker=Breaker(Policy()),
            documents=documents,
            snapshots=snapshots,
            metrics=self.metrics,
            teller=Teller(source="s4", env=ENV, bus=self.bus, documents=documents, clock=self.clock),
            clock=self.clock,
        )
        self.venue = CountedVenue(self.exchange, self.keeper)
        await self.keeper.load()
        self.watching = asyncio.get_running_loop().create_task(self.keeper.watch())

    async def stop(self) -> None:
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.gather(self.watching, return_exceptions=True)

    async def passes(self, ms: int = 100) -> None:
        await self.clock.sleep_until_ms(self.clock.now_ms() + ms)

    async def ask(self, times: int = 1) -> None:
        for _ in range(times):
            with suppress(VenueError):
                await self.venue.open_orders((FUT,))

    async def fail(self, times: int) -> None:
        self.plan.arm(Fault(kind=FaultKind.REQUEST_LOST, count=times))
        await self.ask(times)

    async def post(self, path: str, body: Any, actor: str = "anna") -> Reply:
        (route,) = (each for each in self.keeper.routes() if each.path == path)
        return await answer(route, Request(body=body, actor=actor))

    async def key(self) -> Any:
        return await self.snapshots.inner.get_hash(ROUTER_BREAKER.name(ENV))

    async def rate(self) -> dict[str, int]:
        fields = await self.snapshots.inner.get_hash(ROUTER_RATE.name(ENV, FUT))
        return {name: int(value) for name, value in fields.items()}

    def alerts(self) -> list[AlertEvent]:
        return [each for each in self.told if isinstance(each, AlertEvent)]

    def audits(self) -> list[AuditEvent]:
        return [each for each in self.told if isinstance(each, AuditEvent)]

    def gauge(self, name: str) -> float:
        (line,) = (each for each in self.metrics.render().splitlines() if each.startswith(f"chimera_{name} "))
        return float(line.rpartition(" ")[2])


@asynccontextmanager
async def desk_of() -> AsyncIterator[Desk]:
    desk = await Desk.open()
    try:
        yield desk
    finally:
        await desk.stop()


Scenario = Callable[[Desk], Awaitable[None]]


def played(scenario: Scenario) -> None:
    async def play() -> None:
        async with desk_of() as desk:
            await scenario(desk)

    run_virtual(play())


def order(name: str, qty: str = "0.001") -> NewOrder:
    return NewOrder(
        client_order_id=name,
        market=Market.FUT,
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.MARKET,
        qty=Decimal(qty),
    )


def test_failing_calls_open_it_and_everybody_is_told() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.ask(7)
        assert not desk.keeper.forbids()

        await desk.fail(3)

        assert desk.keeper.forbids()
        await desk.passes()
        record = await desk.documents.get(STATE, STATE_KEY)
        assert (record.state, record.opened_at, record.by) == (OPEN, BEGIN_MS, "errors")
        assert await desk.key() == {"state": "OPEN", "opened_at": str(BEGIN_MS), "error_rate": "0.3000"}
        assert desk.gauge("cb_state") == 2
        (alert,) = desk.alerts()
        assert (alert.code, alert.message) == (
            AlertCode.CB_OPEN,
            "no new entries for some minutes, then it tries again: the breaker was opened by errors:"
            " 3 of 10 calls failed. Exits, stops and cancels pass",
        )
        (event,) = await desk.documents.find(
            Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", "CIRCUIT_BREAK"),))
        )
        assert event.ts == BEGIN_MS
        assert event.detail == {
            "subject": "breaker",
            "by": "errors",
            "why": "3 of 10 calls failed",
            "error_ratio": 0.3,
        }

    played(scenario)


def test_it_tries_again_by_itself_and_closes_after_three_good_calls() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.fail(10)
        await desk.passes(OPEN_MS + 100)

        assert (await desk.key())["state"] == "HALF"
        assert not desk.keeper.forbids()
        await desk.ask(3)
        await desk.passes()

        assert desk.keeper.state is CLOSED
        assert await desk.key() == {"state": "CLOSED", "opened_at": "0", "error_rate": "0.0000"}
        assert desk.gauge("cb_state") == 0
        assert len(desk.alerts()) == 1

    played(scenario)


def test_a_bad_call_at_half_opens_it_again_and_tells_again() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.fail(10)
        await desk.passes(OPEN_MS)
        await desk.fail(1)
        await desk.passes()

        assert desk.keeper.state is OPEN
        assert len(desk.alerts()) == 2

    played(scenario)


@pytest.mark.parametrize("wait_ms", [100, OPEN_MS])
def test_a_restart_does_not_let_entries_out(wait_ms: int) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.fail(10)
        await desk.passes(wait_ms)
        stood = desk.keeper.state
        await desk.snapshots.inner.delete(ROUTER_BREAKER.name(ENV))

        await desk.restart()

        assert desk.keeper.state is stood
        assert desk.keeper.forbids() is (stood is OPEN)
        assert (await desk.key())["state"] == stood.value

    played(scenario)


def test_what_cannot_be_written_holds_entries_back_all_the_same_and_is_written_later() -> None:
    async def scenario(desk: Desk) -> None:
        desk.documents.down = True
        await desk.fail(10)
        await desk.passes()
        assert desk.keeper.forbids()
        assert desk.alerts() == []

        desk.documents.down, desk.snapshots.down = False, True
        await desk.passes(2_000)
        assert (await desk.documents.get(STATE, STATE_KEY)).state is OPEN

        desk.snapshots.down = False
        await desk.passes(2_000)
        assert (await desk.key())["state"] == "OPEN"
        assert len(desk.alerts()) == 1

    played(scenario)


def test_a_start_that_cannot_learn_how_it_stood_fails() -> None:
    async def scenario(desk: Desk) -> None:
        desk.documents.down = True
        with pytest.raises(DocumentsUnavailable):
            await desk.restart()

    played(scenario)


def test_a_person_opens_it_and_it_stays_open_through_time_and_restart() -> None:
    async def scenario(desk: Desk) -> None:
        reply = await desk.post("/breaker/open", {"reason": "maintenance was announced"})
        assert reply.status == 200
        body: Any = reply.body
        assert (body.state, body.by, body.reason, body.until) == (OPEN, "anna", "maintenance was announced", None)

        await desk.ask(20)
        await desk.passes(3 * OPEN_MS)
        await desk.restart()

        assert desk.keeper.forbids()
        assert "until a person closes it" in desk.alerts()[0].message
        (audit,) = desk.audits()
        assert (audit.actor, audit.action, audit.subject) == ("anna", "BREAKER_OPEN", "breaker")
        assert (audit.before["state"], audit.after["state"]) == ("CLOSED", "OPEN")

    played(scenario)


def test_a_person_closes_it_at_once_whoever_opened_it() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.fail(10)
        await desk.passes()

        reply = await desk.post("/breaker/close", {"reason": "it was our router"}, actor="ben")

        assert reply.status == 200
        assert not desk.keeper.forbids()
        await desk.fail(1)
        assert not desk.keeper.forbids()
        (audit,) = desk.audits()
        assert (audit.actor, audit.action, audit.after["reason"]) == ("ben", "BREAKER_CLOSE", "it was our router")
        await desk.restart()
        assert desk.keeper.state is CLOSED

    played(scenario)


def test_a_closing_that_cannot_be_kept_did_not_happen() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.fail(10)
        await desk.passes()
        desk.documents.down = True

        assert (await desk.post("/breaker/close", {"reason": "x"})).status == 503
        assert desk.keeper.forbids()

    played(scenario)


def test_an_opening_that_cannot_be_kept_happens_all_the_same() -> None:
    async def scenario(desk: Desk) -> None:
        desk.documents.down = True
        assert (await desk.post("/breaker/open", {"reason": "x"})).status == 503
        assert desk.keeper.forbids()

        desk.documents.down = False
        await desk.passes(2_000)
        assert (await desk.documents.get(STATE, STATE_KEY)).by == "anna"

    played(scenario)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/breaker/close", {"reason": "x"}, 409),
        ("/breaker/open", {}, 400),
        ("/breaker/open", {"reason": ""}, 400),
        ("/breaker/open", {"reason": "x", "ttl": 5}, 400),
        ("/breaker/open", None, 400),
    ],
)
def test_what_makes_no_sense_changes_nothing(path: str, body: Any, status: int) -> None:
    async def scenario(desk: Desk) -> None:
        assert (await desk.post(path, body)).status == status
        assert desk.keeper.state is CLOSED
        assert desk.audits() == []
        present: Any = (await desk.post("/breaker", None)).body
        assert (present.state, present.by, present.calls) == (CLOSED, None, 0)

    played(scenario)


def test_each_kind_of_failure_is_counted_where_it_belongs() -> None:
    async def scenario(desk: Desk) -> None:
        desk.plan.arm(Fault(kind=FaultKind.ANSWER_5XX, calls="order.place"))
        with pytest.raises(OutcomeUnknown):
            await desk.venue.place(order("a"))
        desk.plan.arm(Fault(kind=FaultKind.REFUSED_503, calls="order.place"))
        with pytest.raises(VenueUnavailable):
            await desk.venue.place(order("b"))
        desk.plan.arm(Fault(kind=FaultKind.RATE_429, calls="*"))
        with pytest.raises(RateLimited):
            await desk.venue.fills(FUT, 0)
        with pytest.raises(Refused):
            await desk.venue.place(order("c", qty="100"))
        await desk.venue.place(order("d"))
        await desk.passes(20_000)

        assert await desk.rate() == {
            "429": 1,
            "5xx": 2,
            "submit_err_4xx": 1,
            "submit_err_5xx": 2,
            "window_start_ms": BEGIN_MS - BEGIN_MS % 60_000,
        }
        assert desk.gauge("order_submit_error_rate") == 0.75
        tally = desk.keeper.breaker.tally(desk.clock.now_ms())
        assert (tally.calls, tally.errors) == (5, 3)

    played(scenario)


def test_a_new_window_counts_from_nothing() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.fail(2)
        await desk.passes(70_000)
        await desk.fail(1)
        await desk.passes(20_000)

        assert (await desk.rate())["5xx"] == 1

    played(scenario)


def test_what_we_cancel_ourselves_is_nobodys_failure() -> None:
    async def scenario(desk: Desk) -> None:
        desk.plan.arm(Fault(kind=FaultKind.LATE, calls="*", count=12, params={"delay_ms": 10_000}))
        loop = asyncio.get_running_loop()
        calls = [loop.create_task(desk.venue.open_orders((FUT,))) for _ in range(12)]
        await desk.passes()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

        assert desk.keeper.breaker.tally(desk.clock.now_ms()).calls == 0

    played(scenario)


def test_prices_and_times_are_not_counted() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.venue.server_time_ms()
        await desk.venue.instruments()
        await desk.venue.book(FUT)

        assert desk.keeper.breaker.tally(desk.clock.now_ms()).calls == 0

    played(scenario)


UNCOUNTED = {
    "server_time_ms",
    "instruments",
    "taker_fee_ratio",
    "maker_fee_ratio",
    "book",
    "mark",
    "klines",
    "market_events",
    "account_events",
    "transfers",
    "cancel_all_after",
    "name",
    "capabilities",
    "tick_interval_ms",
}


def test_nobody_can_forget_to_count_or_to_hand_on() -> None:
    port = {name for name in vars(Venue) if not name.startswith("_")}

    assert port == {name for name in vars(VenueThrough) if not name.startswith("_")}
    assert {name for name in vars(CountedVenue) if not name.startswith("_")} == port - UNCOUNTED
    for name in port:
        asked, handed = getattr(Venue, name), getattr(VenueThrough, name)
        if inspect.isfunction(asked):
            assert inspect.signature(asked) == inspect.signature(handed), name
