"""How often S5 asks, what for, and what it makes of answers that fail, lag or contradict each other."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS, ORDERS, STRATEGY_EVENTS
from chimera.contracts.documents import Order
from chimera.contracts.enums import IntentState, Market, OrderStatus, OrderType, Purpose, Side
from chimera.contracts.messages import AlertEvent
from chimera.domain.matching.faults import Fault, FaultKind, FaultPlan
from chimera.ports.documents import Query
from chimera.ports.venue import VenueUnavailable
from chimera.runtime.runner import Runner
from chimera.services.s05_reconciler import service as s5
from chimera.services.s05_reconciler.settings import Settings as ReconcilerSettings
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, meddled_floor, wrapped
from tests.services.test_s05_reconciler import actions, quiet, reconcile
from tests.services.trading_floor import ENV, FUT, SPOT, Floor

D = Decimal
WEIGHTS = {
    "open_orders": 2 + 6,  # both futures books, 1 each, and the spot list
    "positions": 5,
    "fills": 13,  # 5 on futures, 20 on spot
    "balances": 5 + 20,
    "order": 4,
    "transfers": 1,
    "income": 30,
}
"""Of one call on a floor of one futures and one spot instrument, at most. Source: docs/binance.md."""


class Counting:
    """An exchange that counts what it is asked."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if name in WEIGHTS:
            self.asked[name] += 1
        return getattr(self._inner, name)


async def on_file(floor: Floor, name: str, **more: Any) -> Order:
    """An order that was written and never sent, or never told of again."""
    now_ms = floor.world.clock.now_ms()
    given = {
        "order_id": name,
        "client_order_id": name,
        "market": Market.FUT,
        "symbol": "BTCUSDT",
        "side": Side.SELL,
        "type": OrderType.LIMIT,
        "reduce_only": True,
        "quantity": D("0.010"),
        "price": D(63_000),
        "status": OrderStatus.NEW,
        "rcu_rev": 1,
        "created_at": now_ms,
        "sent_at": now_ms,
        "updated_at": now_ms,
        "intent_id": f"GONE-{name}",
        "purpose": Purpose.EXIT,
        "filled_qty": D(0),
    }
    order = Order(**(given | more))
    await floor.world.documents.put(ORDERS, order)
    return order


async def status_of(floor: Floor, name: str) -> tuple[OrderStatus, str | None]:
    order = await floor.world.documents.get(ORDERS, name)
    assert order is not None
    return order.status, order.reason


async def fixes(floor: Floor) -> list[dict[str, Any]]:
    events = await floor.world.documents.find(
        Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", "RECONCILE_FIX"),))
    )
    return [event.detail or {} for event in events]


async def floor_that_counts_refreshes() -> tuple[Floor, list[str]]:
    """A floor, and what S5 asks of its colleagues."""
    floor = await Floor.open("s10", "s1", "s4", "s6")
    world = floor.world
    floor.world = wrapped(world, peers=Meddled)
    peers: Any = floor.world.peers
    asked: list[str] = []

    async def noted(call: Any, peer_call: Any) -> Any:
        asked.append(peer_call.path)
        return await call(peer_call)

    peers.instead["call"] = noted
    await floor.start("s5")
    floor.world = world
    return floor, asked


def test_a_quiet_account_is_looked_at_at_the_pace_of_each_part_and_costs_little() -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10", "s1", "s4", "s6")
        world = floor.world
        floor.world = wrapped(world, venue=Counting)
        await floor.start("s5")
        counting: Any = floor.world.venue
        floor.world = world
        await floor.enter()
        await floor.settle(60_000)
        counting.asked.clear()
        await floor.settle(600_000)

        asked = counting.asked
        assert 55 <= asked["open_orders"] <= 75
        assert 15 <= asked["positions"] <= 25
        assert 18 <= asked["fills"] <= 24
        assert 9 <= asked["balances"] <= 12
        assert (asked["order"], asked["income"]) == (0, 0)
        weight_a_minute = sum(count * WEIGHTS[name] for name, count in asked.items()) / 10
        assert weight_a_minute < 0.1 * 2_400
        await floor.stop()

    run_virtual(scenario())


def test_each_look_keeps_the_pace_that_is_set() -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10", "s1", "s4", "s6")
        counting = Counting(floor.world.venue)
        world = wrapped(floor.world, venue=lambda _: counting)
        settings = ReconcilerSettings(
            env=ENV, keys=(FUT, SPOT), in_flight_ms=60_000, orders_ms=60_000, positions_ms=60_000, balances_ms=300_000
        )
        runner = Runner(s5.build(world, settings), world, ENV)
        await runner.start()
        await floor.settle(30_000)
        counting.asked.clear()
        await floor.settle(600_000)

        assert 9 <= counting.asked["open_orders"] <= 14
        assert counting.asked["balances"] <= 3
        await runner.stop()
        await floor.stop()

    run_virtual(scenario())


def test_an_order_whose_end_nobody_told_is_booked_within_ten_seconds() -> None:
    async def scenario() -> None:
        plan = FaultPlan()
        floor = await Floor.open(faults=plan)
        await floor.enter()
        await floor.settle(40_000)
        [target] = [name for name, (kind, _, _) in floor.resting().items() if kind == "TAKE_PROFIT_MARKET"]
        plan.arm(Fault(kind=FaultKind.EVENTS_LOST, duration_ms=500))
        await floor.venue.cancel(FUT, target, conditional=True)
        before = await status_of(floor, target)
        await floor.settle(11_000)

        assert (before[0], (await status_of(floor, target))[0]) == (OrderStatus.NEW, OrderStatus.CANCELED)
        told = await fixes(floor)
        assert [(each["action"], each["subject"]) for each in told] == [("ORDER_BOOKED", target)]
        assert (told[0]["before"]["status"], told[0]["after"]["status"]) == ("NEW", "CANCELED")
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_an_order_that_the_exchange_has_never_heard_of_is_ended_once_that_is_definite() -> None:
    async def scenario() -> None:
        floor, asked = await floor_that_counts_refreshes()
        await on_file(floor, "s3-btc-never")
        too_young = await reconcile(floor)
        young = await status_of(floor, "s3-btc-never")
        assert "/orders/refresh" not in asked
        await floor.settle(3_000)
        await floor.settle(3_000)

        assert actions(too_young) == []
        assert young == (OrderStatus.NEW, None)
        assert await status_of(floor, "s3-btc-never") == (OrderStatus.CANCELED, "NOT_AT_EXCHANGE")
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_a_question_that_fails_ends_no_order() -> None:
    async def down(order: Any, *args: Any, **more: Any) -> Any:
        raise VenueUnavailable("no answer")

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        venue: Any = floor.world.venue
        await floor.settle(5_000)
        await on_file(floor, "s3-btc-never")
        venue.instead["order"] = down
        await floor.settle(30_000)
        meanwhile = await status_of(floor, "s3-btc-never")
        assert await fixes(floor) == []
        health = (await floor.call("s5", "GET", "/health")).body
        status = (await floor.call("s5", "GET", "/status")).body
        venue.instead.clear()
        await floor.settle(5_000)

        assert meanwhile == (OrderStatus.NEW, None)
        assert (status["reconciled"], status["status"]) == (False, "FAILED")
        assert "no answer" in status["detail"]
        assert (health["status"], health["checks"]["reconciled"]) == ("DEGRADED", "DEGRADED")
        assert "no answer" in health["checks"]["why"]
        assert [alert.code for alert in floor.messages(AlertEvent)].count("RECON_FAILED") == 1
        assert await status_of(floor, "s3-btc-never") == (OrderStatus.CANCELED, "NOT_AT_EXCHANGE")
        assert "detail" not in (await floor.call("s5", "GET", "/status")).body
        assert (await floor.call("s5", "GET", "/health")).body["status"] == "OK"
        await floor.stop()

    run_virtual(scenario())


def test_an_order_that_an_unfinished_intent_means_to_send_is_left_to_it() -> None:
    async def scenario() -> None:
        floor, asked = await floor_that_counts_refreshes()
        await floor.enter()
        record = await floor.world.documents.get(INTENTS, "E1")
        assert record is not None
        await floor.stop("s4")
        intent = record.intent.but(intent_id="E9", client_order_id="s3-btc-e9")
        working = record.but(intent_id="E9", intent=intent, state=IntentState.WORKING)
        await floor.world.documents.put(INTENTS, working)
        await on_file(floor, "s3-btc-e9", intent_id="E9", purpose=Purpose.ENTRY)
        await floor.settle(20_000)

        assert (await status_of(floor, "s3-btc-e9"))[0] is OrderStatus.NEW
        assert "/orders/refresh" not in asked
        await floor.stop()

    run_virtual(scenario())


def test_many_orders_are_asked_for_a_few_at_a_time_and_each_in_its_turn() -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10", "s1", "s4", "s6")
        world = floor.world
        floor.world = wrapped(world, venue=Meddled)
        venue: Any = floor.world.venue
        asked: list[tuple[int, str]] = []

        async def noted(order: Any, key: Any, name: str, **more: Any) -> Any:
            asked.append((world.clock.now_ms(), name))
            return await order(key, name, **more)

        venue.instead["order"] = noted
        names = [f"s3-btc-many-{number:02}" for number in range(25)]
        orders = {}
        for name in names:
            await floor.by_hand(name, Side.BUY, "0.010", type=OrderType.LIMIT, price=D(59_000))
            orders[name] = await floor.venue.cancel(FUT, name, conditional=False)
        await floor.settle(5_000)
        for name in names:
            await on_file(floor, name, venue_order_id=orders[name].venue_order_id, created_at=1, sent_at=1)
        service = s5.build(floor.world, ReconcilerSettings(env=ENV, keys=(FUT, SPOT)))
        runner = Runner(replace(service, background=(), consumes=()), floor.world, ENV)
        floor.peers.add("s5", runner.all_routes())
        await runner.start()
        for _ in range(2):
            await reconcile(floor)

        times = [at_ms for at_ms, name in asked if name in names]
        assert [name for _, name in asked] == names
        assert all(later - earlier >= 100 for earlier, later in pairwise(times))
        assert times[10] - times[9] >= 500
        for name in names:
            assert (await status_of(floor, name))[0] is OrderStatus.CANCELED
        await quiet(floor)
        await runner.stop()
        await floor.stop()

    run_virtual(scenario())


def test_a_lookup_that_lags_makes_neither_a_second_order_nor_an_alarm() -> None:
    async def scenario() -> None:
        plan = FaultPlan([Fault(kind=FaultKind.ALGO_LOOKUP_LAG, duration_ms=3_600_000)])
        floor = await Floor.open(faults=plan)
        await floor.enter()
        for _ in range(5):
            await reconcile(floor)
            await floor.settle(700)
        [stop] = [name for name, (kind, _, _) in floor.resting().items() if kind == "STOP_MARKET"]
        await floor.venue.cancel(FUT, stop, conditional=True)
        await floor.settle(2_000)
        stops = [name for name, (kind, _, _) in floor.resting().items() if kind == "STOP_MARKET"]
        await floor.settle(60_000)

        assert len(stops) == 1
        assert [name for name, (kind, _, _) in floor.resting().items() if kind == "STOP_MARKET"] == stops
        assert [alert.code for alert in floor.messages(AlertEvent) if alert.code == "STOP_NOT_PLACED"] == []
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("what", ["positions", "open_orders", "fills", "balances"])
def test_an_answer_that_contradicts_the_others_once_changes_nothing(what: str) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        venue: Any = floor.world.venue
        await floor.enter()
        await floor.settle(70_000)
        before = floor.resting(), floor.position_qty(), await floor.trade()
        lies = [2]

        async def nothing(call: Any, *args: Any, **more: Any) -> Any:
            if lies[0]:
                lies[0] -= 1
                return ()
            return await call(*args, **more)

        venue.instead[what] = nothing
        await floor.settle(130_000)

        assert lies == [0]
        assert (floor.resting(), floor.position_qty(), await floor.trade()) == before
        told = {alert.code for alert in floor.messages(AlertEvent)}
        assert told.isdisjoint({"RECON_FIXED", "STOP_NOT_PLACED", "LIQUIDATION"})
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("what", ["positions", "open_orders", "fills", "balances"])
def test_a_question_without_an_answer_takes_the_leave_to_enter_and_nothing_else(what: str) -> None:
    async def down(call: Any, *args: Any, **more: Any) -> Any:
        raise VenueUnavailable("no answer")

    async def scenario() -> None:
        floor = await Floor.open("s10", "s1", "s4", "s6")
        world = floor.world
        floor.world = wrapped(world, venue=Meddled)
        venue: Any = floor.world.venue
        await floor.start("s5")
        floor.world = world
        await floor.enter()
        await floor.settle(5_000)
        before = floor.resting(), floor.position_qty()
        venue.instead[what] = down
        await floor.settle(70_000)
        refused = await floor.enter("E2", side=Side.SELL, sl="60600", tp=None, key=FUT)
        status = (await floor.call("s5", "GET", "/status")).body
        venue.instead.clear()
        await floor.settle(5_000)

        assert (floor.resting(), floor.position_qty()) == before
        assert (refused.status, refused.body["cause"]) == (409, "NOT_RECONCILED")
        assert (status["reconciled"], "no answer" in status["detail"]) == (False, True)
        assert (await floor.call("s5", "GET", "/status")).body["reconciled"]
        await floor.stop()

    run_virtual(scenario())
