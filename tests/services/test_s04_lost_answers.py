"""What the store committed and could not answer for: it is led, once, and its end is told."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS, ORDERS, STRATEGY_EVENTS
from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import EventKind, IntentState, Market, OrderStatus, Side, Switch, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import GUARD_STOP, KILL_SWITCH
from chimera.contracts.messages import OrderResult, RouterEvent
from chimera.contracts.order_intent import ENTRY_TTL_MS
from chimera.ports.documents import DocumentsUnavailable, Put, Query
from chimera.services.s04_router.handlers.unled import DOUBT_MS, LOOK_MS
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, meddled_floor
from tests.services.test_s04_router import entry, intent_of, last_words
from tests.services.test_s05_spot_stops import HELD, at_the_exchange, enter_guarded, guards, sold
from tests.services.trading_floor import ENV, FUT, SPOT, Floor

MARKETS = [pytest.param(FUT, id="FUT"), pytest.param(SPOT, id="SPOT")]
SOON_MS = 2_000
GONE = DocumentsUnavailable("the connection was reset")


async def house(*services: str) -> Floor:
    return await meddled_floor(*(services or ("s4", "s5", "s6")), documents=Meddled)


def loses_insert(floor: Floor, word: str) -> list[str]:
    """The first intent with `word` in its id is filed, and whoever filed it is told that it failed. Returns its id."""
    hit: list[str] = []
    documents: Any = floor.world.documents

    async def insert(real: Any, collection: Any, document: Any) -> Any:
        answer = await real(collection, document)
        if collection is INTENTS and word in document.intent_id and not hit:
            hit.append(document.intent_id)
            raise GONE
        return answer

    documents.instead["insert"] = insert
    return hit


def loses_end(floor: Floor, intent_id: str) -> list[IntentRecord]:
    """The intent's end is written, and whoever wrote it is told that it was not. Returns what was written."""
    hit: list[IntentRecord] = []
    documents: Any = floor.world.documents

    async def put_many(real: Any, puts: list[Put[Any]]) -> None:
        await real(puts)
        for put in puts:
            if put.collection is INTENTS and put.doc.intent_id == intent_id and put.doc.state.is_final and not hit:
                hit.append(put.doc)
                raise GONE

    documents.instead["put_many"] = put_many
    return hit


async def told_events(floor: Floor, kind: EventKind, subject: str) -> int:
    found = await floor.world.documents.find(
        Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", kind.value),))
    )
    return len([event for event in found if (event.detail or {})["subject"] == subject])


# --- an insert


@pytest.mark.parametrize("key", MARKETS)
def test_an_exit_whose_filing_was_not_answered_for_is_carried_out(key: InstrumentKey) -> None:
    async def scenario() -> None:
        floor = await house()
        await floor.enter(key=key)
        lost = loses_insert(floor, "EXIT")
        await floor.call("s6", "POST", "/positions/close", {"market": key.market.value, "symbol": key.symbol})
        await floor.settle(SOON_MS)

        assert lost == ["E1-EXIT-1"]
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert floor.resting() == {}
        assert [word.final for word in last_words(floor, "E1-EXIT-1")] == [True]
        assert await told_events(floor, EventKind.ROUTER_ORDER_ACCEPTED, "E1-EXIT-1") == 1
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_whose_filing_was_not_answered_for_is_placed() -> None:
    async def scenario() -> None:
        floor = await house()
        await floor.enter()
        lost = loses_insert(floor, "-SL-")
        for name, (kind, _, _) in floor.resting().items():
            if kind == "STOP_MARKET":
                await floor.venue.cancel(FUT, name, conditional=True)
        await floor.settle(SOON_MS)

        assert lost == ["E1-SL-1"]
        assert sorted(kind for kind, _, _ in floor.resting().values()) == ["STOP_MARKET", "TAKE_PROFIT_MARKET"]
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_whose_filing_was_not_answered_for_watches_and_is_shown() -> None:
    async def scenario() -> None:
        floor = await house()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        lost = loses_insert(floor, "GUARD")
        await at_the_exchange(floor)
        await floor.settle(SOON_MS)

        assert lost == ["E1-GUARD-1"]
        shown = await floor.world.snapshots.get_hash(GUARD_STOP.name(ENV, SPOT, "E1"))
        assert (shown["armed"], shown["stop_price"], shown["qty"]) == ("1", "59400", str(HELD))
        assert await told_events(floor, EventKind.GUARD_ARMED, "E1-GUARD-1") == 1
        await floor.move("59300")

        assert sold(floor) == HELD
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert len(await guards(floor)) == 1
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("key", MARKETS)
def test_an_entry_whose_filing_was_not_answered_for_is_entered_once_whoever_asks_again(key: InstrumentKey) -> None:
    async def scenario() -> None:
        floor = await house()
        lost = loses_insert(floor, "E1")
        told = await floor.enter(key=key)
        record = await intent_of(floor, "E1")
        again = await floor.call("s4", "POST", "/orders", record.intent)
        once_more = await floor.call("s4", "POST", "/orders", record.intent)
        await floor.settle(LOOK_MS + SOON_MS)

        assert (lost, told.status) == (["E1"], 503)
        assert (again.status, again.body["status"], again.body) == (200, "FILLED", once_more.body)
        assert len(last_words(floor, "E1")) == 1
        assert await told_events(floor, EventKind.ROUTER_ORDER_ACCEPTED, "E1") == 1
        fills = floor.venue.exchange.fills(key.market, key.symbol)
        assert sum(fill.qty for fill in fills) == record.intent.qty
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_that_is_asked_for_again_at_once_is_led_by_who_was_first() -> None:
    async def scenario() -> None:
        floor = await house()
        loses_insert(floor, "E1")
        intent = entry(floor)
        told = await floor.call("s4", "POST", "/orders", intent)
        again = await floor.call("s4", "POST", "/orders", intent)
        await floor.settle()

        assert (told.status, again.status) == (503, 200)
        assert await told_events(floor, EventKind.ROUTER_ORDER_ACCEPTED, "E1") == 1
        assert floor.position_qty() == intent.qty
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("again", "expires"),
    [
        pytest.param(False, False, id="found by the look"),
        pytest.param(True, False, id="asked for again"),
        pytest.param(False, True, id="with a time of its own"),
    ],
)
def test_an_entry_that_was_not_led_for_too_long_ends_as_after_a_restart(again: bool, expires: bool) -> None:
    async def scenario() -> None:
        floor = await house()
        loses_insert(floor, "E1")
        documents: Any = floor.world.documents
        until_ms = floor.world.clock.now_ms() + ENTRY_TTL_MS + 1_000

        async def get(real: Any, collection: Any, key: str) -> Any:
            found = await real(collection, key)
            if collection is INTENTS and found is not None and floor.world.clock.now_ms() < until_ms:
                raise GONE
            return found

        documents.instead["get"] = get
        intent = entry(floor, **({} if expires else {"expires_at": None}))
        told = await floor.call("s4", "POST", "/orders", intent)
        await floor.world.clock.sleep_until_ms(until_ms)
        if again:
            await floor.call("s4", "POST", "/orders", intent)
        await floor.settle()

        record = await intent_of(floor, "E1")
        assert told.status == 503
        assert (record.state, record.reason) == (IntentState.CANCELED, "RESTART")
        assert [word.final for word in last_words(floor, "E1")] == [True]
        assert floor.position_qty() == 0
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_that_is_found_under_the_kill_switch_is_not_sent() -> None:
    async def scenario() -> None:
        floor = await house()
        lost = loses_insert(floor, "E1")
        await floor.call("s4", "POST", "/orders", entry(floor))
        await floor.world.snapshots.set(KILL_SWITCH.name(ENV), Switch.ON.value)
        await floor.settle()

        record = await intent_of(floor, "E1")
        assert lost == ["E1"]
        assert (record.state, record.reason) == (IntentState.REJECTED, "KILL_SWITCH")
        assert floor.position_qty() == 0
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    "after_ms", [pytest.param(20_000, id="while it is doubted"), pytest.param(DOUBT_MS + 10_000, id="long after")]
)
def test_an_exit_that_is_filed_after_its_caller_gave_up_is_carried_out(after_ms: int) -> None:
    """As by a request that the store takes up late."""

    async def scenario() -> None:
        floor = await house("s4", "s5")
        await floor.enter()
        documents: Any = floor.world.documents
        late: list[asyncio.Task[None]] = []

        async def insert(real: Any, collection: Any, document: Any) -> Any:
            if collection is not INTENTS or late:
                return await real(collection, document)

            async def writes() -> None:
                await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + after_ms)
                await real(collection, document)

            late.append(asyncio.ensure_future(writes()))
            raise GONE

        documents.instead["insert"] = insert
        told = await floor.call("s4", "POST", "/orders", close(floor))
        await floor.settle(after_ms - 1_000)
        held = floor.position_qty()
        await floor.settle(LOOK_MS + 2 * SOON_MS)

        assert told.status == 503
        assert (held, floor.position_qty()) == (entry(floor).qty, 0)
        assert (await intent_of(floor, "X1")).state is IntentState.DONE
        assert len(last_words(floor, "X1")) == 1
        await floor.stop()

    run_virtual(scenario())


def close(floor: Floor) -> Any:
    return entry(
        floor,
        "X1",
        side="SELL",
        intent="EXIT",
        purpose="EXIT",
        parent_id="E1",
        reduce_only=True,
        sl=None,
        leverage=None,
        expires_at=None,
    )


def test_an_exit_whose_caller_went_away_while_it_was_filed_is_carried_out() -> None:
    async def scenario() -> None:
        floor = await house("s4", "s5")
        await floor.enter()
        documents: Any = floor.world.documents

        async def insert(real: Any, collection: Any, document: Any) -> Any:
            answer = await real(collection, document)
            if collection is INTENTS:
                await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 500)
            return answer

        documents.instead["insert"] = insert
        asked = asyncio.ensure_future(floor.call("s4", "POST", "/orders", close(floor)))
        await floor.settle(200)
        asked.cancel()
        await floor.settle(SOON_MS)

        assert asked.cancelled()
        assert floor.position_qty() == 0
        assert len(last_words(floor, "X1")) == 1
        await floor.stop()

    run_virtual(scenario())


def test_what_is_being_filed_is_left_to_who_files_it() -> None:
    """The store has it, and takes longer to say so than anybody looks: its filing is told of once, by its caller."""

    async def scenario() -> None:
        floor = await house()
        documents: Any = floor.world.documents
        led_ms: list[int] = []

        async def insert(real: Any, collection: Any, document: Any) -> Any:
            answer = await real(collection, document)
            if collection is INTENTS:
                await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + LOOK_MS + 5_000)
                led_ms.append(floor.world.clock.now_ms())
            return answer

        documents.instead["insert"] = insert
        asked = asyncio.ensure_future(floor.call("s4", "POST", "/orders", entry(floor, expires_at=None)))
        await floor.settle(LOOK_MS + 4_000)
        before = (await intent_of(floor, "E1")).state
        await floor.settle(SOON_MS)

        assert before is IntentState.ACCEPTED
        assert (await asked).status == 200
        assert led_ms
        assert (await intent_of(floor, "E1")).state is IntentState.DONE
        await floor.stop()

    run_virtual(scenario())


# --- what a person sold


@pytest.mark.parametrize("of", ["web_1", "s3-btc-e1"], ids=["his order", "its share in our trade"])
def test_what_a_person_sold_counts_though_writing_it_down_was_not_answered_for(of: str) -> None:
    async def scenario() -> None:
        floor = await house()
        await enter_guarded(floor)
        documents: Any = floor.world.documents
        lost: list[str] = []

        async def put_many(real: Any, puts: list[Put[Any]]) -> None:
            await real(puts)
            for put in puts:
                if put.collection is ORDERS and put.doc.order_id == of and not lost:
                    lost.append(put.doc.order_id)
                    raise GONE

        documents.instead["put_many"] = put_many
        await floor.by_hand("web_1", Side.SELL, str(HELD), market=Market.SPOT)
        await floor.settle(20_000)

        assert lost == [of]
        assert (await floor.trade()).status is TradeStatus.CLOSED
        [guard] = await guards(floor)
        assert (guard.state, guard.reason) == (IntentState.CANCELED, "SOLD_BY_HAND")
        told = [each for each in floor.messages(OrderResult) if each.client_order_id == "web_1"]
        assert [each.status for each in told if each.status.is_final] == [OrderStatus.FILLED]
        assert sum(len(each.fills) for each in told) == 1
        await floor.move("59000", settle_ms=10_000)
        assert [each.intent_id for each in await guards(floor)] == ["E1-GUARD-1"]
        await floor.stop()

    run_virtual(scenario())


# --- an end


@pytest.mark.parametrize("key", MARKETS)
def test_the_end_of_an_entry_that_was_not_answered_for_is_told(key: InstrumentKey) -> None:
    async def scenario() -> None:
        floor = await house()
        lost = loses_end(floor, "E1")
        answer = await floor.enter(key=key)

        [record] = lost
        [word] = last_words(floor, "E1")
        assert (record.state, word.intent_filled_qty) == (IntentState.DONE, record.filled_qty)
        assert answer.body["status"] == "FILLED"
        assert await told_events(floor, EventKind.ROUTER_ORDER_EXECUTED, "E1") == 1
        assert is_shown(floor, EventKind.ROUTER_ORDER_EXECUTED, "E1")
        assert (await floor.trade()).status is TradeStatus.ACTIVE
        await floor.stop()

    run_virtual(scenario())


def is_shown(floor: Floor, kind: EventKind, intent_id: str) -> bool:
    told: list[RouterEvent] = floor.messages(RouterEvent)
    return [each.intent_id for each in told if each.kind is kind] == [intent_id]


@pytest.mark.parametrize(
    ("market", "ends"),
    [
        pytest.param(FUT, "E1-EXIT-1", id="a futures exit"),
        pytest.param(SPOT, "E1-EXIT-1", id="a spot exit"),
    ],
)
def test_the_end_of_an_exit_that_was_not_answered_for_is_told(market: InstrumentKey, ends: str) -> None:
    async def scenario() -> None:
        floor = await house()
        await floor.enter(key=market)
        lost = loses_end(floor, ends)
        await floor.call("s6", "POST", "/positions/close", {"market": market.market.value, "symbol": market.symbol})
        await floor.settle()

        assert [record.intent_id for record in lost] == [ends]
        assert len(last_words(floor, ends)) == 1
        assert (await floor.trade()).status is TradeStatus.CLOSED
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_whose_end_was_not_answered_for_is_over() -> None:
    """A person cancels it: the next one follows, and is the one that watches."""

    async def scenario() -> None:
        floor = await house()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        await at_the_exchange(floor)
        await floor.settle(SOON_MS)
        lost = loses_end(floor, "E1-GUARD-1")
        await floor.call("s4", "POST", "/cancel", {"intent_id": "E1-GUARD-1"})
        await floor.settle(SOON_MS)

        assert [record.state for record in lost] == [IntentState.CANCELED]
        assert len(last_words(floor, "E1-GUARD-1")) == 1
        assert [each.state for each in await guards(floor)] == [IntentState.CANCELED, IntentState.ACCEPTED]
        await floor.move("59300")
        assert sold(floor) == HELD
        await floor.stop()

    run_virtual(scenario())


def test_an_end_that_is_not_on_file_is_not_told() -> None:
    """The store took nothing: only when it has, anybody hears."""

    async def scenario() -> None:
        floor = await house()
        documents: Any = floor.world.documents
        told_before: list[int] = []

        async def put_many(real: Callable[..., Any], puts: list[Put[Any]]) -> None:
            ends = any(put.collection is INTENTS and put.doc.state.is_final for put in puts)
            if ends and len(told_before) < 3:
                told_before.append(len([each for each in floor.messages(OrderResult) if each.final]))
                raise GONE
            await real(puts)

        documents.instead["put_many"] = put_many
        await floor.enter()
        await floor.settle()

        assert told_before == [0, 0, 0]
        assert len(last_words(floor, "E1")) == 1
        await floor.stop()

    run_virtual(scenario())
