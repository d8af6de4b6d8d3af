"""`000` section F, the edges that the router answers for: an exchange that refuses to serve, a stream that is cut while
a guard watches, an order told twice, an order taken back."""

from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS, ORDERS
from chimera.contracts.enums import BreakerState, IntentState, OrderStatus
from chimera.contracts.keys import MKT_SNAP
from chimera.contracts.messages import AlertEvent
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.orders import NewOrder
from chimera.domain.matching.faults import Fault, FaultKind, FaultPlan
from chimera.ports.venue import OutcomeUnknown, RateLimited
from chimera.simulation.loop import run_virtual
from tests.runtime.asgi import ask
from tests.services.meddling import Meddled, meddled_floor
from tests.services.test_s04_http import Desk, entry, kind_of
from tests.services.trading_floor import ENV, SPOT, Floor

D = Decimal
HOUSE = ("s10", "s1", "s4", "s5", "s6")
BEYOND = "600000"
"""A target that the exchange refuses, so that there is no pair and a guard watches."""


class Counted(Meddled):
    """Writes down what is offered to the exchange."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.sent: list[str] = []
        self.instead["place"] = self._place

    async def _place(self, call: Any, order: NewOrder) -> Any:
        self.sent.append(order.client_order_id)
        return await call(order)


def alerts(floor: Floor, code: AlertCode) -> list[AlertEvent]:
    return [alert for alert in floor.messages(AlertEvent) if alert.code == code]


async def breaker(desk: Desk) -> str:
    return str((await ask(desk.app, "GET", "/breaker")).body["state"])


# --- an exchange that answers 429 or 5xx


@pytest.mark.parametrize("kind", [FaultKind.RATE_429, FaultKind.REFUSED_503], ids=["429", "503, not done"])
def test_an_entry_that_the_exchange_does_not_serve_once_is_tried_again_and_filled(kind: FaultKind) -> None:
    async def scenario() -> None:
        plan = FaultPlan()
        desk = await Desk.open(faults=plan)
        plan.arm(Fault(kind=kind, calls="order.place", count=1))

        answer = await desk.order(**entry())
        await desk.floor.settle(5_000)

        assert plan.hits()[kind] == 1
        assert (answer.status, answer.body["result"]) == (200, "OK")
        record = await desk.floor.world.documents.get(INTENTS, "E1")
        assert record is not None
        assert (record.state, record.filled_qty) == (IntentState.DONE, D("0.01"))
        assert desk.floor.position_qty() == D("0.010")
        await desk.floor.stop()

    run_virtual(scenario())


def test_a_5xx_whose_outcome_is_unknown_is_asked_for_and_never_bought_twice() -> None:
    async def scenario() -> None:
        plan = FaultPlan()
        desk = await Desk.open(faults=plan)
        plan.arm(Fault(kind=FaultKind.ANSWER_5XX, calls="order.place", count=1))

        await desk.order(**entry())
        await desk.floor.settle(10_000)

        assert plan.hits()[FaultKind.ANSWER_5XX] == 1
        record = await desk.floor.world.documents.get(INTENTS, "E1")
        assert record is not None
        assert record.state.is_final
        assert desk.floor.position_qty() == (record.filled_qty or 0)
        assert abs(desk.floor.position_qty()) <= D("0.010")
        await desk.floor.stop()

    run_virtual(scenario())


def test_an_exchange_that_goes_on_refusing_is_answered_by_fail_and_alert_and_opens_the_breaker() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Counted)
        desk, venue = Desk.on(floor), floor.world.venue
        assert isinstance(venue, Counted)
        served = venue.instead["place"]
        statuses: list[int] = []

        async def refuses(call: Any, order: NewOrder) -> Any:
            venue.sent.append(order.client_order_id)
            raise RateLimited("HTTP 429", 100)

        venue.instead["place"] = refuses
        for number in range(12):
            body = entry(intent_id=f"E{number}", client_order_id=f"s3-btc-{number}")
            statuses.append((await desk.order(**body)).status)
            await floor.settle(1_000)

        assert statuses[0] == 503, "nothing was done, and the caller is told so"
        assert venue.sent.count("s3-btc-0") == 2, "it was tried again"
        assert statuses[-1] == 409, "the breaker holds entries back"
        assert await breaker(desk) == BreakerState.OPEN
        assert alerts(floor, AlertCode.CB_OPEN)
        assert floor.position_qty() == 0
        refused = await desk.order(**entry(intent_id="E99", client_order_id="s3-btc-99"))
        assert (refused.status, kind_of(refused)) == (409, "breaker-open")

        venue.instead["place"] = served
        await floor.settle(400_000)
        again = await desk.order(**entry(intent_id="E100", client_order_id="s3-btc-100"))
        assert again.status == 200, again
        await floor.stop()

    run_virtual(scenario())


def test_an_exit_that_the_exchange_does_not_serve_ends_as_fail_with_an_alert() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Counted)
        desk, venue = Desk.on(floor), floor.world.venue
        assert isinstance(venue, Counted)
        await desk.entered()
        venue.sent.clear()

        async def refuses(call: Any, order: NewOrder) -> Any:
            venue.sent.append(order.client_order_id)
            raise RateLimited("HTTP 429", 100)

        venue.instead["place"] = refuses
        leave = entry(intent_id="X1", intent="EXIT", side="SELL", reduce_only=True, client_order_id="s3-btc-x")
        for name in ("sl", "tp", "leverage"):
            leave.pop(name)
        await desk.order(**leave)
        await floor.settle(30_000)

        record = await floor.world.documents.get(INTENTS, "X1")
        assert record is not None
        assert (record.state, record.filled_qty or 0) == (IntentState.FAILED, 0)
        assert set(venue.sent) == {"s3-btc-x"}, "under its own name each time"
        assert len(venue.sent) > 1
        assert alerts(floor, AlertCode.ORDER_RETRY_EXHAUSTED)
        assert floor.resting()["s3-btc-1-1"][0] == "STOP_MARKET", "the stop still covers it"
        await floor.stop()

    run_virtual(scenario())


# --- a stream that is cut while a guard watches


def test_with_the_stream_cut_a_guard_polls_and_sells_at_its_stop_once() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Counted)
        venue = floor.world.venue
        assert isinstance(venue, Counted)
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")
        asked = 0

        async def book(call: Any, key: Any) -> Any:
            nonlocal asked
            asked += 1
            return await call(key)

        venue.instead["book"] = book
        await floor.settle(5_000)
        assert asked == 0, "while S1 tells of the market nobody asks"

        await floor.stop("s1")
        await floor.world.snapshots.delete(MKT_SNAP.name(ENV, SPOT))
        before = list(venue.sent)
        await floor.settle(10_000)
        assert asked >= 10, "it polls"
        assert venue.sent == before

        await floor.move("59390", settle_ms=10_000)
        assert len(venue.sent) == len(before) + 1
        sold = await floor.world.documents.get(ORDERS, venue.sent[-1])
        assert sold is not None
        assert (sold.status, sold.side, sold.filled_qty) == (OrderStatus.FILLED, "SELL", D("0.00099"))
        guard = await floor.world.documents.get(INTENTS, "E1-GUARD-1")
        assert guard is not None
        assert guard.state is IntentState.DONE
        await floor.stop()

    run_virtual(scenario())


# --- told twice


def test_the_same_client_order_id_again_is_answered_the_same_and_nothing_is_sent() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Counted)
        desk, venue = Desk.on(floor), floor.world.venue
        assert isinstance(venue, Counted)

        first = await desk.entered()
        sent = list(venue.sent)
        second = await desk.entered()
        other = await desk.order(**entry(intent_id="E2"))
        changed = await desk.order(**entry(qty=0.02))

        assert (first.status, second.status, second.body) == (200, 200, first.body)
        assert (other.status, kind_of(other)) == (409, "client-order-id-taken")
        assert (changed.status, kind_of(changed)) == (409, "intent-conflict")
        assert venue.sent == sent
        assert floor.position_qty() == D("0.010")
        await floor.stop()

    run_virtual(scenario())


def test_the_same_order_sent_again_after_a_lost_answer_buys_once() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Counted)
        desk, venue = Desk.on(floor), floor.world.venue
        assert isinstance(venue, Counted)

        async def loses(call: Any, order: NewOrder) -> Any:
            venue.sent.append(order.client_order_id)
            await call(order)
            raise OutcomeUnknown("HTTP 504")

        venue.instead["place"] = loses
        await desk.order(**entry())
        again = await desk.entered()
        await floor.settle(5_000)

        assert again.status == 200
        assert venue.sent.count("s3-btc-1") == 1
        assert floor.position_qty() == D("0.010")
        await floor.stop()

    run_virtual(scenario())


# --- taken back


def test_a_cancel_is_404_for_nobodys_order_409_for_a_filled_one_and_200_again_and_again() -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered()

        unknown = await desk.cancel(order_id="nobody")
        filled = await desk.cancel(order_id="s3-btc-1")
        first = await desk.cancel(order_id="s3-btc-1-2", reason="MANUAL")
        second = await desk.cancel(order_id="s3-btc-1-2", reason="MANUAL")

        assert (unknown.status, kind_of(unknown)) == (404, "unknown-order")
        assert (filled.status, kind_of(filled)) == (409, "already-filled")
        assert (first.status, first.body["status"]) == (200, "CANCELED")
        assert (second.status, second.body["status"]) == (200, "CANCELED")
        assert first.body["canceled_ids"] == second.body["canceled_ids"] == ["s3-btc-1-2"]
        assert list(desk.floor.resting()) == ["s3-btc-1-1"]
        assert desk.floor.position_qty() == D("0.010"), "what filled stays"
        await desk.floor.stop()

    run_virtual(scenario())
