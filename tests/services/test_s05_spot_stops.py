"""No open spot trade stays without a stop: whoever takes its pair or its guard away, a guard stands in its place."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS
from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import IntentState, Market, OrderType, Purpose, Side, TradeStatus
from chimera.contracts.messages.orders import GuardStop
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.orders import NewOrder
from chimera.domain.matching.faults import Fault, FaultKind, FaultPlan
from chimera.ports.documents import Query
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.ports.venue import Refused, VenueUnavailable
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, floor_without_market_stops, meddled_floor, wrapped
from tests.services.test_s05_recognised import alerts, detail, fixes
from tests.services.test_s05_reconciler import quiet, reconcile
from tests.services.trading_floor import SPOT, Floor

D = Decimal
HELD = D("0.00999")
"""What 0.010 leaves after the fee and the floor to step."""
WITHIN_MS = 2_000


async def guards(floor: Floor) -> list[IntentRecord]:
    found: list[IntentRecord] = []
    while (record := await floor.world.documents.get(INTENTS, f"E1-GUARD-{len(found) + 1}")) is not None:
        found.append(record)
    return found


def sold(floor: Floor) -> Decimal:
    fills = floor.venue.exchange.fills(Market.SPOT, "BTCUSDT")
    return sum((fill.qty for fill in fills if fill.side is Side.SELL), D(0))


def leg(floor: Floor, kind: str) -> str:
    return next(name for name, (each, _, _) in floor.resting().items() if each == kind)


async def enter_guarded(floor: Floor) -> None:
    intent = OrderIntent(
        intent_id="E1",
        client_order_id="s3-btc-e1",
        ts=floor.world.clock.now_ms(),
        market=Market.SPOT,
        symbol="BTCUSDT",
        side=Side.BUY,
        intent="ENTRY",
        purpose=Purpose.ENTRY,
        qty=D("0.010"),
        guard_stop=GuardStop(enable=True, price=D(59_400)),
    )
    answer = await floor.call("s4", "POST", "/orders", intent)
    assert answer.ok, answer.body
    await floor.settle()


async def at_the_exchange(floor: Floor) -> None:
    await floor.venue.cancel(SPOT, leg(floor, "STOP_LOSS"), conditional=False)


async def by_its_target(floor: Floor) -> None:
    answer = await floor.call("s4", "POST", "/cancel", {"order_id": leg(floor, "LIMIT_MAKER")})
    assert answer.ok, answer.body


async def by_its_intent(floor: Floor) -> None:
    answer = await floor.call("s4", "POST", "/cancel", {"intent_id": "E1"})
    assert answer.ok, answer.body


@pytest.mark.parametrize(
    ("takes_away", "somebodys"),
    [
        pytest.param(at_the_exchange, True, id="a person at the exchange"),
        pytest.param(by_its_target, False, id="a cancel of the target, which takes the stop too"),
        pytest.param(by_its_intent, False, id="a cancel of the entry's intent"),
    ],
)
def test_a_pair_that_is_taken_away_gives_way_to_a_guard_at_its_prices(
    takes_away: Callable[[Floor], Awaitable[None]], somebodys: bool
) -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await takes_away(floor)
        await floor.settle(WITHIN_MS)

        [guard] = await guards(floor)
        assert guard.state is IntentState.ACCEPTED
        assert guard.intent.guard_stop is not None
        assert guard.intent.tp is not None
        assert (guard.intent.qty, guard.intent.guard_stop.price, guard.intent.tp.price) == (HELD, 59_400, 60_500)
        told = await fixes(floor, "STOP_PLACED")
        assert [detail(each)["subject"] for each in told] == ["E1-GUARD-1"]
        assert len(await fixes(floor, "STOP_CANCELED_BY_SOMEBODY")) == somebodys
        [text] = alerts(floor, "RECON_FIXED")
        assert ("somebody canceled" in text) is somebodys
        assert "E1-GUARD-1 watches 0.00999 at 59400" in text
        await floor.settle(70_000)
        await quiet(floor)

        await floor.move("59300")

        assert sold(floor) == HELD
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert len(await fixes(floor, "STOP_PLACED")) == 1
        await floor.stop()

    run_virtual(scenario())


def test_the_guard_that_took_over_takes_the_target_too() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await at_the_exchange(floor)
        await floor.settle(WITHIN_MS)
        await floor.move("60600")

        assert sold(floor) == HELD
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_that_is_canceled_is_followed_by_another() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await enter_guarded(floor)
        answer = await floor.call("s4", "POST", "/cancel", {"intent_id": "E1-GUARD-1"})
        assert answer.ok, answer.body
        await floor.settle(WITHIN_MS)

        first, second = await guards(floor)
        assert (first.state, second.state) == (IntentState.CANCELED, IntentState.ACCEPTED)
        [text] = alerts(floor, "RECON_FIXED")
        assert "E1-GUARD-1 watched E1 and ended (CANCELED MANUAL)" in text
        await quiet(floor)
        await floor.move("59300")
        assert sold(floor) == HELD
        await floor.stop()

    run_virtual(scenario())


def test_a_pair_that_went_while_we_were_down_is_replaced_at_the_start() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await floor.stop("s6", "s5", "s4")
        await at_the_exchange(floor)
        await floor.settle(5_000)
        await floor.start("s4", "s5", "s6")
        await floor.settle(WITHIN_MS)

        assert [each.state for each in await guards(floor)] == [IntentState.ACCEPTED]
        assert len(await fixes(floor, "STOP_CANCELED_BY_SOMEBODY")) == 1
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_a_pair_that_went_while_the_account_stream_was_deaf_is_found_by_the_look_at_orders() -> None:
    async def scenario() -> None:
        plan = FaultPlan()
        floor = await Floor.open(faults=plan)
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await floor.settle(20_000)
        plan.arm(Fault(kind=FaultKind.EVENTS_LOST, at_ms=floor.world.clock.now_ms(), duration_ms=3_000))
        await at_the_exchange(floor)
        await floor.settle(3_000)
        await floor.settle(11_000)

        assert [each.state for each in await guards(floor)] == [IntentState.ACCEPTED]
        await floor.stop()

    run_virtual(scenario())


def test_without_the_guardian_what_lost_its_pair_is_sold_at_once() -> None:
    """S4_OCO_GUARDIAN=false."""

    async def scenario() -> None:
        floor = await Floor.open(variables=S4Settings(oco_guardian=False))
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await at_the_exchange(floor)
        await floor.settle(WITHIN_MS)

        assert sold(floor) == HELD
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert await guards(floor) == []
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_a_sale_that_found_nothing_is_not_tried_for_ever() -> None:
    """Without the guardian, of a trade whose coins a person has sold by hand."""

    async def scenario() -> None:
        floor = await Floor.open(variables=S4Settings(oco_guardian=False))
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await floor.stop("s6", "s5")
        await at_the_exchange(floor)
        await floor.venue.place(
            NewOrder(
                client_order_id="web_1",
                market=Market.SPOT,
                symbol="BTCUSDT",
                side=Side.SELL,
                type=OrderType.MARKET,
                qty=HELD,
            )
        )
        await floor.settle(1_000)

        told = []
        for _ in range(3):
            told.append(await floor.call("s4", "POST", "/orders/guard", {"intent_id": "E1"}))
            await floor.settle(3_000)

        assert [each.body.get("guard_id") for each in told] == ["E1-UNGUARDED-1", None, None]
        assert "found nothing to sell: NOTHING_TO_SELL" in told[-1].body["message"]
        assert await floor.world.documents.get(INTENTS, "E1-UNGUARDED-2") is None
        assert sold(floor) == HELD
        await floor.stop()

    run_virtual(scenario())


def test_an_exit_that_takes_the_pair_back_itself_leaves_nothing_to_repair() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        answer = await floor.call("s6", "POST", "/positions/close", {"market": "SPOT", "symbol": "BTCUSDT"})
        assert answer.ok, answer.body
        await floor.settle(70_000)

        assert sold(floor) == HELD
        assert await guards(floor) == []
        assert await fixes(floor) == []
        assert alerts(floor, "RECON_FIXED") == []
        await floor.stop()

    run_virtual(scenario())


def test_a_pair_that_sold_leaves_nothing_to_repair() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await floor.move("60600", settle_ms=70_000)

        assert sold(floor) == HELD
        assert await fixes(floor) == []
        await floor.stop()

    run_virtual(scenario())


def test_where_nobody_can_arm_a_guard_a_person_is_told_once_and_it_is_tried_on() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        call = floor.peers.call
        refused = True

        async def without_guards(what: PeerCall) -> PeerAnswer:
            return PeerAnswer(503, {"detail": "no"}) if refused and what.path == "/orders/guard" else await call(what)

        peers: Any = Meddled(floor.peers)
        peers.instead["call"] = lambda real, what: without_guards(what)
        floor.world = replace(floor.world, peers=peers)
        await floor.stop("s5")
        await floor.start("s5")
        await floor.settle(5_000)
        await at_the_exchange(floor)
        await floor.settle(10_000)

        [text] = alerts(floor, "STOP_NOT_PLACED")
        assert "0.00999 of E1 without a stop" in text
        assert await guards(floor) == []
        assert (await floor.call("s5", "GET", "/status")).body["reconciled"] is False

        refused = False
        await floor.settle(WITHIN_MS)

        assert [each.state for each in await guards(floor)] == [IntentState.ACCEPTED]
        assert (await floor.call("s5", "GET", "/status")).body["reconciled"] is True
        assert len(await fixes(floor, "STOP_PLACED")) == 1
        await floor.stop()

    run_virtual(scenario())


def test_an_exchange_that_cannot_be_asked_does_not_hold_up_a_guard() -> None:
    """The stream told that the pair has gone: what else the comparison needs to know must not be waited for."""

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        venue: Any = floor.world.venue
        await floor.enter(key=SPOT, sl="59400", tp="60500")

        async def is_down(real: Any, *args: Any, **more: Any) -> Any:
            raise VenueUnavailable("away")

        for name in ("open_orders", "positions", "balances", "fills"):
            venue.instead[name] = is_down
        await at_the_exchange(floor)
        await floor.settle(WITHIN_MS)

        assert [each.state for each in await guards(floor)] == [IntentState.ACCEPTED]
        assert (await floor.call("s5", "GET", "/status")).body["reconciled"] is False
        await floor.stop()

    run_virtual(scenario())


def test_behind_a_stop_limit_there_is_always_a_guard() -> None:
    async def scenario() -> None:
        floor = await floor_without_market_stops("s4", "s5", "s6")
        await floor.enter(key=SPOT, tp="60600", sl="59400")
        await floor.call("s4", "POST", "/cancel", {"intent_id": "E1-GUARD-1"})
        await floor.settle(WITHIN_MS)

        first, second = await guards(floor)
        assert (first.state, second.state) == (IntentState.CANCELED, IntentState.ACCEPTED)
        assert second.intent.guard_stop == first.intent.guard_stop
        assert len(floor.resting()) == 2
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_the_router_arms_nothing_where_something_protects_or_nothing_is_left() -> None:
    async def scenario() -> None:
        floor = await Floor.open()

        async def ask(intent_id: str) -> PeerAnswer:
            return await floor.call("s4", "POST", "/orders/guard", {"intent_id": intent_id})

        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await floor.enter("F1")
        await floor.stop("s5")
        resting = await ask("E1")
        assert ("guard_id" not in resting.body, "rests" in resting.body["message"]) == (True, True)
        assert ((await ask("F1")).status, (await ask("nobody")).status) == (404, 404)

        await at_the_exchange(floor)
        await floor.settle(100)
        armed, again = await ask("E1"), await ask("E1")
        assert armed.body["guard_id"] == "E1-GUARD-1"
        assert "guard_id" not in again.body

        await floor.move("59300")
        assert sold(floor) == HELD
        assert "nothing that can be sold is left" in (await ask("E1")).body["message"]
        assert len(await guards(floor)) == 1
        await floor.stop()

    run_virtual(scenario())


def test_a_repair_that_was_cut_after_it_was_told_is_told_once() -> None:
    """The events are written before the guard is armed: the next look finds them on file, and arms."""

    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        call = floor.peers.call

        async def dies(what: PeerCall) -> PeerAnswer:
            if what.path == "/orders/guard":
                await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 10**9)
            return await call(what)

        peers: Any = Meddled(floor.peers)
        peers.instead["call"] = lambda real, what: dies(what)
        world = floor.world
        floor.world = replace(world, peers=peers)
        await floor.stop("s5")
        await floor.start("s5")
        await floor.settle(5_000)
        await at_the_exchange(floor)
        await floor.settle(2_000)
        before = await floor.world.documents.find(
            Query(
                collection=INTENTS,
                index="by_instr",
                equal=(("market", "SPOT"), ("symbol", "BTCUSDT"), ("state", "ACCEPTED")),
            )
        )
        assert (len(await fixes(floor)), before) == (2, [])
        await floor.stop("s5")
        floor.world = world
        await floor.start("s5")
        await floor.settle(5_000)

        assert len(await guards(floor)) == 1
        assert sorted(detail(each)["action"] for each in await fixes(floor)) == [
            "STOP_CANCELED_BY_SOMEBODY",
            "STOP_PLACED",
        ]
        await reconcile(floor)
        await floor.stop()

    run_virtual(scenario())


async def fills_in_part(floor: Floor, depth: str) -> None:
    """The target, by what is there at its price; then the market is deep again, and the price where it was."""
    floor.depth = D(depth)
    await floor.move("60501", settle_ms=500)
    floor.price, floor.depth = D(60_400), None
    await floor.settle(WITHIN_MS)


@pytest.mark.parametrize("depth", ["0.002", "0.028"], ids=["a little", "more than half"])
@pytest.mark.parametrize("then", ["60600", "59300"], ids=["the rest at the target", "the stop"])
def test_a_target_that_fills_in_part_loses_its_stop_and_a_guard_stands_beside_it(depth: str, then: str) -> None:
    """The exchange cancels the stop of a pair with the first fill of its target."""

    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await fills_in_part(floor, depth)
        left = HELD - sold(floor)
        assert 0 < left < HELD
        assert [kind for kind, _, _ in floor.resting().values()] == ["LIMIT_MAKER"]

        [guard] = await guards(floor)
        assert guard.intent.guard_stop is not None
        assert (guard.state, guard.intent.qty, guard.intent.guard_stop.price, guard.intent.tp) == (
            IntentState.ACCEPTED,
            left,
            59_400,
            None,
        )
        [text] = alerts(floor, "RECON_FIXED")
        assert "the target of E1 has sold a part" in text
        await floor.settle(70_000)
        await quiet(floor)
        await floor.move(then, settle_ms=10_000)

        assert sold(floor) == HELD
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert floor.resting() == {}
        assert [each.state for each in await guards(floor)] == [IntentState.DONE]
        await floor.stop()

    run_virtual(scenario())


def test_after_an_exit_of_a_part_the_rest_of_a_pair_that_sold_most_is_watched_by_one_guard() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await fills_in_part(floor, "0.028")
        exit = OrderIntent(
            intent_id="X1",
            parent_id="E1",
            client_order_id="s3-btc-x1",
            ts=floor.world.clock.now_ms(),
            market=Market.SPOT,
            symbol="BTCUSDT",
            side=Side.SELL,
            intent="EXIT",
            purpose=Purpose.EXIT,
            qty=D("0.00100"),
        )
        assert (await floor.call("s4", "POST", "/orders", exit)).ok
        await floor.settle(60_000)

        first, second = await guards(floor)
        assert (first.state, second.state) == (IntentState.CANCELED, IntentState.ACCEPTED)
        assert second.intent.qty == HELD - sold(floor)
        await floor.move("59300", settle_ms=10_000)
        assert sold(floor) == HELD
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    "why", [Refused(-1013, "Market is closed."), VenueUnavailable("gone")], ids=["refused", "not served"]
)
def test_without_the_guardian_a_sale_that_was_not_taken_is_sent_again_and_told(why: Exception) -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10", "s1", variables=S4Settings(oco_guardian=False))
        floor.world = wrapped(floor.world, venue=Meddled)
        await floor.start("s4", "s5", "s6")
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        venue: Any = floor.world.venue

        async def sells_nothing(place: Any, order: NewOrder) -> Any:
            if order.side is Side.SELL:
                raise why
            return await place(order)

        venue.instead["place"] = sells_nothing
        await at_the_exchange(floor)
        await floor.settle(120_000)
        assert sold(floor) == 0
        assert len(alerts(floor, "STOP_NOT_PLACED")) == 1
        tried = await unguarded(floor)
        assert 2 <= tried <= 12
        venue.instead.clear()
        await floor.settle(70_000)

        assert sold(floor) == HELD
        assert await unguarded(floor) == tried + 1
        await floor.settle(70_000)
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


async def unguarded(floor: Floor) -> int:
    number = 0
    while await floor.world.documents.get(INTENTS, f"E1-UNGUARDED-{number + 1}") is not None:
        number += 1
    return number


def test_a_guard_that_was_written_while_somebody_sold_stands_down_at_once() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", documents=Meddled)
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await floor.stop("s5")
        await at_the_exchange(floor)
        await floor.settle(200)
        documents: Any = floor.world.documents

        async def meanwhile_all_is_sold(insert: Any, collection: Any, doc: Any) -> Any:
            if collection is INTENTS and doc.purpose is Purpose.GUARD:
                documents.instead.clear()
                assert (await floor.call("s6", "POST", "/positions/close", {"market": "SPOT", "symbol": "BTCUSDT"})).ok
                await floor.settle(3_000)
            return await insert(collection, doc)

        documents.instead["insert"] = meanwhile_all_is_sold
        answer = await floor.call("s4", "POST", "/orders/guard", {"intent_id": "E1"})
        await floor.settle(WITHIN_MS)

        assert "nothing that can be sold is left" in answer.body["message"]
        assert [each.state for each in await guards(floor)] == [IntentState.CANCELED]
        assert sold(floor) == HELD
        await floor.stop()

    run_virtual(scenario())
