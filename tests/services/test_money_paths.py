"""What cost money, or might have, when the services were read against each other: each once, to stay mended."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS, ORDERS, STRATEGY_EVENTS, Collection, system_state
from chimera.contracts.documents import HaltsState
from chimera.contracts.enums import Market, OrderType, PositionEventKind, Side, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import PositionEvent
from chimera.domain.execution.orders import NewOrder, VenueOrder
from chimera.ports.documents import DocumentsUnavailable, Put
from chimera.ports.venue import Refused
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, meddled_floor
from tests.services.trading_floor import FUT, HOUR_MS, SPOT, Floor

D = Decimal
HALTS = system_state(HaltsState)


class PickyVenue:
    """The simulated exchange, which refuses the orders that a test does not like."""

    def __init__(self, venue: Any, dislikes: Callable[[NewOrder], bool]) -> None:
        self._venue = venue
        self._dislikes = dislikes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    async def place(self, order: NewOrder) -> VenueOrder:
        if self._dislikes(order):
            raise Refused(-4000, "not this one")
        placed: VenueOrder = await self._venue.place(order)
        return placed


async def picky_floor(dislikes: Callable[[NewOrder], bool]) -> Floor:
    floor = await Floor.open("s10", "s1")
    floor.world = replace(floor.world, venue=PickyVenue(floor.venue, dislikes))
    await floor.start("s4", "s5", "s6")
    return floor


def test_a_target_that_is_refused_again_and_again_does_not_hold_up_the_stop() -> None:
    async def scenario() -> None:
        floor = await picky_floor(lambda order: order.type is OrderType.TAKE_PROFIT_MARKET)
        await floor.enter(tp=None)
        await floor.settle(200_000)
        refused = await floor.world.documents.count(INTENTS)

        await floor.move("60240", settle_ms=4_000)

        assert refused < 15
        assert (await floor.trade()).tier == 1
        assert [event.kind for event in floor.messages(PositionEvent)].count(PositionEventKind.STOP_MOVE) == 1
        assert [what[0] for what in floor.resting().values()] == ["STOP_MARKET"]
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_that_is_taken_away_while_a_better_one_is_refused_is_back_at_once() -> None:
    async def scenario() -> None:
        tightened: list[bool] = [False]
        floor = await picky_floor(
            lambda order: order.type is OrderType.STOP_MARKET and not tightened[0] and (order.stop_price or 0) > 60_000
        )
        await floor.enter(tp="63000")
        await floor.move("60300", settle_ms=200_000)
        assert (await floor.trade()).tier == 0

        tightened[0] = True
        stop = (await floor.trade()).stop_order_id
        await floor.call("s4", "POST", "/cancel", {"order_id": stop})
        await floor.settle(2_000)

        assert [what[0] for what in floor.resting().values()].count("STOP_MARKET") == 1
        await floor.stop()

    run_virtual(scenario())


def test_a_loss_that_a_person_accepted_one_day_buys_no_larger_one_the_next() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(sl="59400", tp=None)
        await floor.move("59390")
        await floor.settle(6_000)
        assert await halts_of(floor) == ["DAILY_LOSS"]

        await floor.world.documents.put(HALTS, HaltsState(halts={}, updated_at=floor.world.clock.now_ms()))
        await floor.settle(60_000)
        assert await halts_of(floor) == []

        await floor.settle(23 * HOUR_MS)
        await floor.healthy()
        await floor.settle(1_000)
        await floor.enter("E2", sl="58790", tp=None)
        await floor.move("58780")
        await floor.settle(6_000)
        assert await halts_of(floor) == ["DAILY_LOSS"]
        await floor.stop()

    run_virtual(scenario())


def test_an_accepted_intent_is_driven_although_its_record_could_not_be_written() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", documents=Meddled)
        documents: Any = floor.world.documents

        async def no_events(put: Any, collection: Collection[Any], doc: Any) -> str:
            if collection is STRATEGY_EVENTS:
                raise DocumentsUnavailable("for the test")
            revision: str = await put(collection, doc)
            return revision

        documents.instead["put"] = no_events
        answer = await floor.enter()
        documents.instead.clear()
        await floor.settle()

        assert answer.status == 503
        assert floor.position_qty() == D("0.010")
        assert [what[0] for what in floor.resting().values()].count("STOP_MARKET") == 1
        await floor.stop()

    run_virtual(scenario())


def test_a_position_whose_entry_is_stuck_gets_its_stop_from_the_reconciler() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)

        async def broken(place: Any, order: NewOrder) -> Any:
            if order.client_order_id == "s3-btc-e1-1":
                raise RuntimeError("a bug, for the test")
            return await place(order)

        venue: Any = floor.world.venue
        venue.instead["place"] = broken
        await floor.enter(tp=None)
        await floor.settle(120_000)

        assert floor.position_qty() == D("0.010")
        assert [what[:2] for what in floor.resting().values()] == [("STOP_MARKET", D("0.010"))]
        await floor.stop()

    run_virtual(scenario())


def test_a_pair_that_sold_while_the_documents_were_down_is_not_sent_a_second_time() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", documents=Meddled)
        await floor.stop("s5")
        await floor.venue.place(
            NewOrder(
                client_order_id="web_1",
                market=Market.SPOT,
                symbol="BTCUSDT",
                side=Side.BUY,
                type=OrderType.MARKET,
                qty=D("0.00500"),
            )
        )
        documents: Any = floor.world.documents

        async def legs_not_booked(put_many: Any, puts: Sequence[Put[Any]]) -> None:
            if any(put.collection is ORDERS and put.doc.order_id != "s3-btc-e1" for put in puts):
                raise DocumentsUnavailable("for the test")
            await put_many(puts)

        documents.instead["put_many"] = legs_not_booked
        await floor.enter(key=SPOT, qty="0.00100", tp="61000", sl="59000")
        await floor.move("58900")
        documents.instead.clear()
        await floor.settle(60_000)

        sold = sum(fill.qty for fill in floor.venue.exchange.fills(Market.SPOT, "BTCUSDT") if fill.side is Side.SELL)
        assert sold == D("0.00099")
        assert floor.resting() == {}
        assert (await floor.trade()).status is TradeStatus.CLOSED
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("key", "more"),
    [
        pytest.param(FUT, {"type": "STOP_MARKET", "price": 61_000, "sl": {"price": 59_000}}, id="entry at a trigger"),
        pytest.param(SPOT, {"sl": {"price": 59_000}}, id="spot stop without its pair"),
        pytest.param(FUT, {"intent": "EXIT", "purpose": "GUARD"}, id="a guard by itself"),
        pytest.param(SPOT, {"intent": "ADD"}, id="an addition on spot"),
    ],
)
def test_what_is_not_offered_is_refused_and_not_done_in_another_way(key: InstrumentKey, more: dict[str, Any]) -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        answer = await floor.call(
            "s4",
            "POST",
            "/orders",
            {"intent_id": "E1", "market": key.market, "symbol": key.symbol, "side": "BUY", "qty": 0.002} | more,
        )
        assert (answer.status, answer.body["type"]) == (422, "urn:chimera:problem:not-offered"), answer.body
        assert floor.venue.exchange.fills(key.market, key.symbol) == ()
        await floor.stop()

    run_virtual(scenario())


async def halts_of(floor: Floor) -> list[str]:
    halts = await floor.world.documents.get(HALTS, "halts")
    return [] if halts is None else sorted(halts.halts)
