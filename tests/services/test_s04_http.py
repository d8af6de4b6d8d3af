"""S4 as its callers see it: bodies as JSON, answers and problems as the contracts spell them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS, ORDERS, system_state
from chimera.contracts.documents import Halt, HaltsState, Pause, PausesState
from chimera.contracts.enums import Switch
from chimera.contracts.http import PROBLEM_TYPE_BASE
from chimera.contracts.keys import CLOCK_OFFSET, HEALTH_ROLLING, HEALTH_STATE, KILL_SWITCH, RECON_LAST_RUN
from chimera.domain.execution.orders import NewOrder
from chimera.ports.venue import OutcomeUnknown
from chimera.runtime.http import build_app
from chimera.services.s04_router.rulebook import LATELY_MS
from chimera.simulation.loop import run_virtual
from tests.domain.matching.venue import FUT as FUT_RULES
from tests.runtime.asgi import JSON, PROBLEM, Answer, ask
from tests.services.meddling import Meddled, meddled_floor
from tests.services.trading_floor import ENV, FUT, Floor

HOUSE = ("s10", "s1", "s4", "s5")


@dataclass
class Desk:
    """The router's own HTTP application on a trading floor."""

    floor: Floor
    app: Any

    @classmethod
    async def open(cls, *services: str, **how: Any) -> "Desk":
        return cls.on(await Floor.open(*(services or HOUSE), **how))

    @classmethod
    def on(cls, floor: Floor) -> "Desk":
        runner = floor.runners["s4"]
        return cls(floor, build_app(runner.service, runner.all_routes()))

    async def order(self, **body: Any) -> Answer:
        return await ask(self.app, "POST", "/orders", body)

    async def cancel(self, **body: Any) -> Answer:
        return await ask(self.app, "POST", "/cancel", body)

    async def entered(self, **changes: Any) -> Answer:
        answer = await self.order(**entry(**changes))
        await self.floor.settle(1_000)
        return answer


def entry(**changes: Any) -> dict[str, Any]:
    """A sound futures entry; a change to None leaves the field out."""
    body = {
        "intent_id": "E1",
        "market": "FUT",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "qty": 0.01,
        "sl": {"type": "STOP_MARKET", "price": 59400},
        "tp": {"type": "TAKE_PROFIT_MARKET", "price": 60500},
        "client_order_id": "s3-btc-1",
        "leverage": 20,
        "exec_policy": {"routing": "DIRECT_TAKER"},
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


def spot_entry(**changes: Any) -> dict[str, Any]:
    oco = {"type": "OCO", "tp_price": 60600, "sl_price": 59400, "routing": "DIRECT_TAKER"}
    return entry(
        **{"market": "SPOT", "qty": 0.001, "sl": None, "tp": None, "leverage": None, "exec_policy": oco} | changes
    )


def exit_order(**changes: Any) -> dict[str, Any]:
    return entry(
        **{
            "intent_id": "X1",
            "intent": "EXIT",
            "side": "SELL",
            "sl": None,
            "tp": None,
            "leverage": None,
            "reduce_only": True,
            "client_order_id": "s3-btc-x",
        }
        | changes
    )


def stop_order(**changes: Any) -> dict[str, Any]:
    return exit_order(
        **{"intent_id": "S1", "client_order_id": "s3-btc-s", "type": "STOP_MARKET", "price": 59500} | changes
    )


def kind_of(answer: Answer) -> str:
    """The stable last part of a problem's type; a problem it must be."""
    assert answer.content_type == PROBLEM, answer
    assert answer.body["status"] == answer.status
    return str(answer.body["type"]).removeprefix(PROBLEM_TYPE_BASE)


# --- what is malformed, and what makes no sense


@pytest.mark.parametrize(
    ("raw", "field", "value"),
    [
        pytest.param(b"", "body", None, id="nothing"),
        pytest.param(b"{", "body", None, id="no JSON"),
        pytest.param(b"[1, 2]", "body", None, id="no object"),
        pytest.param(b'{"qty": NaN}', "body", None, id="not a number"),
        pytest.param(b"[" * 100_000, "body", None, id="nested beyond reading"),
        pytest.param(b'{"intent_id": "a", "market": "FUT", "symbol": "BTCUSDT", "qty": 1}', "side", None, id="missing"),
        pytest.param(
            b'{"intent_id": "a", "market": "FUT", "symbol": "BTCUSDT", "side": "BUY", "qty": -1}', "qty", -1, id="sign"
        ),
        pytest.param(
            b'{"intent_id": "a", "market": "FUT", "symbol": "BTCUSDT", "side": "LONG", "qty": 1}',
            "side",
            "LONG",
            id="no such word",
        ),
    ],
)
def test_a_malformed_body_is_400_and_names_field_value_and_remedy(raw: bytes, field: str, value: Any) -> None:
    async def scenario() -> None:
        desk = await Desk.open()

        answer = await ask(desk.app, "POST", "/orders", raw=raw)

        assert answer.status == 400
        assert kind_of(answer) == "malformed-body"
        assert field in answer.body["detail"]
        if field != "body":
            (problem,) = answer.body["errors"]
            assert (problem["field"], problem.get("value")) == (field, value)
            assert problem["remedy"] in answer.body["detail"]
        await desk.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("body", "status", "kind", "says"),
    [
        pytest.param(entry(symbol="DOGEUSDT"), 400, "unknown-symbol", "DOGEUSDT", id="unknown symbol"),
        pytest.param(entry(qty=0.0001), 400, "qty-below-step", "0.001", id="below one step"),
        pytest.param(entry(qty=0.0105), 400, "qty-off-step", "nearest below is 0.010", id="off the step"),
        pytest.param(entry(qty=121), 422, "qty-above-max", "send at most 120", id="more than one stop can cover"),
        pytest.param(entry(sl={"price": 59400.05}), 400, "price-off-tick", "sl.price", id="stop off the tick"),
        pytest.param(entry(tp={"price": 60500.33}), 400, "price-off-tick", "tp.price", id="target off the tick"),
        pytest.param(
            spot_entry(exec_policy={"type": "OCO", "tp_price": 60600.001, "sl_price": 59400}),
            400,
            "price-off-tick",
            "exec_policy.oco.tp",
            id="pair off the tick",
        ),
        pytest.param(spot_entry(qty=0.00005), 422, "below-min-notional", "at least 5", id="below the notional"),
        pytest.param(entry(sl=None), 422, "entry-without-stop", "sl.price or sl.distance", id="no stop"),
        pytest.param(entry(sl={"price": 60500}), 422, "stop-on-wrong-side", "60500", id="stop above a long"),
        pytest.param(
            spot_entry(exec_policy={"type": "OCO", "tp_price": 59500, "sl_price": 59400}),
            422,
            "target-on-wrong-side",
            "exec_policy.oco.tp 59500",
            id="spot target below the price",
        ),
        pytest.param(
            spot_entry(exec_policy={"type": "OCO", "tp_price": 60600, "sl_price": 60500}),
            422,
            "stop-on-wrong-side",
            "exec_policy.oco.sl 60500",
            id="spot stop above the price",
        ),
        pytest.param(spot_entry(exec_policy=None), 422, "entry-without-stop", "exec_policy.oco", id="no pair"),
        pytest.param(entry(intent="ADD"), 422, "no-such-trade", "names the trade", id="an addition to nothing"),
        pytest.param(
            spot_entry(intent="ADD"), 422, "not-offered", "send another ENTRY", id="an addition to a spot trade"
        ),
        pytest.param(entry(leverage=21), 422, "leverage-too-high", "exceeds 20", id="leverage above the cap"),
        pytest.param(
            entry(sl={"price": 57000}), 422, "stop-beyond-liquidation", "liquidation", id="stop never reached"
        ),
        pytest.param(
            entry(side="SELL", sl={"distance": 3000}, tp=None),
            422,
            "stop-beyond-liquidation",
            "liquidation",
            id="a short's stop never reached",
        ),
        pytest.param(entry(sl={"distance": 70000}), 422, "stop-cannot-work", "above 0", id="stop below zero"),
        pytest.param(entry(sl={"distance": 0.1}), 422, "stop-cannot-work", "2 ticks", id="stop within the spread"),
        pytest.param(
            entry(sl={"price": 59400, "distance": 600}), 422, "stop-told-twice", "exclude", id="two stops at once"
        ),
        pytest.param(entry(tp={"price": 59500}), 422, "target-on-wrong-side", "59500", id="target below a long"),
        pytest.param(entry(reduce_only=True), 422, "nothing-to-reduce", "no position", id="reduces nothing"),
        pytest.param(spot_entry(side="SELL"), 422, "spot-sell-entry", "EXIT", id="spot entered by selling"),
        pytest.param(exit_order(), 422, "nothing-to-reduce", "no position", id="exit of nothing"),
        pytest.param(stop_order(), 422, "nothing-to-reduce", "no position", id="stop of nothing"),
    ],
)
def test_what_the_instrument_or_good_sense_forbids_is_refused_by_name(
    body: dict[str, Any], status: int, kind: str, says: str
) -> None:
    async def scenario() -> None:
        desk = await Desk.open()

        answer = await desk.order(**body)

        assert (answer.status, kind_of(answer)) == (status, kind)
        assert says in answer.body["detail"]
        assert await desk.floor.world.documents.count(INTENTS) == 0
        assert await desk.floor.world.documents.count(ORDERS) == 0
        await desk.floor.stop()

    run_virtual(scenario())


def test_an_exit_on_the_side_of_the_position_reduces_nothing() -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered()

        answer = await desk.order(**exit_order(side="BUY"))

        assert (answer.status, kind_of(answer)) == (422, "nothing-to-reduce")
        assert "the position is 0.01" in answer.body["detail"]
        await desk.floor.stop()

    run_virtual(scenario())


# --- one trade on an instrument, and exits of what is open


def test_only_one_of_two_entries_that_come_together_is_taken() -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        other = entry(intent_id="E2", client_order_id="s3-btc-2", side="SELL", sl={"distance": 600}, tp=None)

        answers = await asyncio.gather(desk.order(**entry()), desk.order(**other))

        assert sorted(answer.status for answer in answers) == [200, 409]
        assert await desk.floor.world.documents.count(INTENTS) == 1
        await desk.floor.stop()

    run_virtual(scenario())


def test_an_entry_on_an_open_position_is_refused_until_it_is_closed() -> None:
    async def scenario() -> None:
        desk = await Desk.open(*HOUSE, "s6")
        await desk.entered()
        await desk.floor.settle(1_000)
        second = entry(intent_id="E2", client_order_id="s3-btc-2")

        refused = await desk.order(**second)
        other = await desk.order(**spot_entry(intent_id="E3", client_order_id="s3-btc-3"))
        left = await desk.order(**exit_order(parent_id="E1"))
        await desk.floor.settle(1_000)
        again = await desk.order(**second)

        assert (refused.status, kind_of(refused)) == (409, "position-open")
        assert "E1" in refused.body["detail"]
        assert (other.status, left.status, again.status) == (200, 200, 200)
        await desk.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("parent", ["s3-btc-1", "NOPE", "E0"], ids=["an order's id", "nobody", "a trade that ended"])
def test_an_exit_names_an_open_trade_or_none(parent: str) -> None:
    async def scenario() -> None:
        desk = await Desk.open(*HOUSE, "s6")
        await desk.order(**entry(intent_id="E0", client_order_id="s3-btc-0"))
        await desk.floor.settle(1_000)
        await desk.order(**exit_order(intent_id="X0", client_order_id="s3-btc-x0", parent_id="E0"))
        await desk.floor.settle(1_000)
        await desk.entered()
        await desk.floor.settle(1_000)

        refused = await desk.order(**exit_order(parent_id=parent))
        nameless = await desk.order(**exit_order())

        assert (refused.status, kind_of(refused)) == (422, "no-such-trade")
        assert parent in refused.body["detail"]
        assert nameless.status == 200
        await desk.floor.stop()

    run_virtual(scenario())


# --- what is forbidden now


async def pull(floor: Floor) -> None:
    await floor.world.snapshots.set(KILL_SWITCH.name(ENV), Switch.ON.value)


async def pause(floor: Floor) -> None:
    state = PausesState(pauses={"FUT": Pause(at=1, actor="ada")}, updated_at=1)
    await floor.world.documents.put(system_state(PausesState), state)
    await floor.settle(1_100)


async def halt(floor: Floor) -> None:
    state = HaltsState(halts={"DAILY_LOSS": Halt(at=1, reason="too much")}, updated_at=1)
    await floor.world.documents.put(system_state(HaltsState), state)
    await floor.settle(1_100)


async def redden(floor: Floor) -> None:
    await floor.world.snapshots.set(HEALTH_STATE.name(ENV), "RED")


async def silence_health(floor: Floor) -> None:
    long_ago = floor.world.clock.now_ms() - 200_000
    await floor.world.snapshots.set_hash(HEALTH_ROLLING.name(ENV), {"updated_at": str(long_ago)})


async def forget_reconciliation(floor: Floor) -> None:
    await floor.world.snapshots.delete(RECON_LAST_RUN.name(ENV))


async def skew(floor: Floor) -> None:
    await floor.world.snapshots.set(CLOCK_OFFSET.name(ENV), "1001")


RESTRAINTS = [
    pytest.param(pull, "KILL_SWITCH", id="kill switch"),
    pytest.param(pause, "PAUSED", id="pause"),
    pytest.param(halt, "HALTED", id="halt"),
    pytest.param(redden, "HEALTH_RED", id="RED"),
    pytest.param(silence_health, "HEALTH_RED", id="health unknown for too long"),
    pytest.param(forget_reconciliation, "NOT_RECONCILED", id="not reconciled"),
    pytest.param(skew, "CLOCK_SKEW", id="skew"),
]


@pytest.mark.parametrize(("restrain", "cause"), RESTRAINTS)
def test_an_entry_is_409_with_its_cause_and_exits_and_stops_still_pass(
    restrain: Callable[[Floor], Awaitable[None]], cause: str
) -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered()
        await restrain(desk.floor)

        refused = await desk.order(**entry(intent_id="E2", client_order_id="s3-btc-2"))
        stopped = await desk.order(**stop_order())
        left = await desk.order(**exit_order(qty=0.004))
        canceled = await desk.cancel(order_id="s3-btc-1-2")

        assert (refused.status, refused.body["cause"]) == (409, cause)
        assert kind_of(refused) == cause.lower().replace("_", "-")
        assert await desk.floor.world.documents.get(INTENTS, "E2") is None
        assert (stopped.status, stopped.body["result"]) == (200, "OK")
        assert desk.floor.resting()["s3-btc-s"][0] == "STOP_MARKET"
        assert (left.status, left.body["status"], left.body["filled_qty"]) == (200, "FILLED", 0.004)
        assert canceled.status == 200
        await desk.floor.stop()

    run_virtual(scenario())


def test_an_entry_that_came_too_late_is_answered_and_not_sent() -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        long_ago = desk.floor.world.clock.now_ms() - 5_001

        answer = await desk.order(**entry(ts=long_ago))

        assert (answer.status, answer.body["result"]) == (200, "FAIL")
        assert (answer.body["status"], answer.body["message"]) == ("REJECTED", "EXPIRED")
        assert await desk.floor.world.documents.count(INTENTS) == 0
        assert desk.floor.position_qty() == 0
        await desk.floor.stop()

    run_virtual(scenario())


# --- once


def test_the_same_intent_again_answers_the_same_and_sends_nothing() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        desk = Desk.on(floor)
        sent: list[str] = []

        async def place(call: Any, order: NewOrder) -> Any:
            sent.append(order.client_order_id)
            return await call(order)

        floor.world.venue.instead["place"] = place

        first = await desk.entered()
        await floor.settle(20_000)
        second = await desk.order(**entry(ts=floor.world.clock.now_ms()))

        assert first.content_type == JSON
        assert (first.status, first.body) == (200, second.body)
        assert first.body["order_ids"] == ["s3-btc-1", "s3-btc-1-1", "s3-btc-1-2"]
        assert sent == first.body["order_ids"]
        assert floor.position_qty() * 1000 == 10
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(entry(qty=0.02), "intent-conflict", id="another body under the same intent"),
        pytest.param(entry(intent_id="E2"), "client-order-id-taken", id="the same order id under another intent"),
        pytest.param(entry(intent_id="E2", client_order_id="s3-btc-1-1"), "client-order-id-taken", id="a child's id"),
    ],
)
def test_what_contradicts_an_accepted_intent_is_409(body: dict[str, Any], kind: str) -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered()

        answer = await desk.order(**body)

        assert (answer.status, kind_of(answer)) == (409, kind)
        assert await desk.floor.world.documents.count(INTENTS) == 1
        await desk.floor.stop()

    run_virtual(scenario())


def test_an_intent_can_be_asked_for() -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered()

        known = await ask(desk.app, "GET", "/orders/E1")
        unknown = await ask(desk.app, "GET", "/orders/E2")

        assert (known.status, known.body["state"], known.body["filled_qty"]) == (200, "DONE", 0.01)
        assert [(order["order_id"], order["status"]) for order in known.body["orders"]] == [
            ("s3-btc-1", "FILLED"),
            ("s3-btc-1-1", "NEW"),
            ("s3-btc-1-2", "NEW"),
        ]
        assert (unknown.status, kind_of(unknown)) == (404, "unknown-intent")
        await desk.floor.stop()

    run_virtual(scenario())


# --- the exchange is away, or says no


@pytest.mark.parametrize("twice", [False, True], ids=["once", "and the repeat too"])
def test_an_exchange_that_does_not_serve_us_is_503_and_nothing_is_sent_later(twice: bool) -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        desk.floor.venue.set_down("maintenance")

        answer = await desk.order(**entry())
        if twice:
            desk.floor.venue.set_down(None)
            await desk.floor.settle(2_000)
            answer = await desk.order(**entry())

        assert (answer.status, kind_of(answer)) == (503, "exchange-unreachable")
        assert "another intent_id" in answer.body["detail"]
        desk.floor.venue.set_down(None)
        await desk.floor.settle(10_000)
        assert desk.floor.position_qty() == 0
        await desk.floor.stop()

    run_virtual(scenario())


def test_a_refusal_of_the_exchange_is_200_fail_with_its_code() -> None:
    async def scenario() -> None:
        desk = await Desk.open(usdt="0.1")

        answer = await desk.order(**entry())

        assert (answer.status, answer.body["result"], answer.body["status"]) == (200, "FAIL", "REJECTED")
        assert "-2019" in answer.body["message"]
        await desk.floor.stop()

    run_virtual(scenario())


def test_an_answer_that_takes_longer_is_accepted_and_can_be_asked_for() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        desk = Desk.on(floor)

        async def place(call: Any, order: NewOrder) -> Any:
            await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 700)
            return await call(order)

        floor.world.venue.instead["place"] = place

        began_ms = floor.world.clock.now_ms()
        answer = await desk.order(**entry())
        waited_ms = floor.world.clock.now_ms() - began_ms
        await floor.settle(5_000)

        assert (answer.status, answer.body["result"], answer.body["status"]) == (200, "OK", "ACCEPTED")
        assert waited_ms == 500
        assert (await ask(desk.app, "GET", "/orders/E1")).body["state"] == "DONE"
        await floor.stop()

    run_virtual(scenario())


# --- taking back


def test_canceling_twice_is_canceling_once() -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered()

        first = await desk.cancel(order_id="s3-btc-1-2", reason="REBALANCE")
        second = await desk.cancel(client_order_id="s3-btc-1-2")

        assert (first.status, first.body["status"], first.body["canceled_ids"]) == (200, "CANCELED", ["s3-btc-1-2"])
        assert (second.status, second.body["canceled_ids"]) == (200, ["s3-btc-1-2"])
        assert list(desk.floor.resting()) == ["s3-btc-1-1"]
        await desk.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        pytest.param({"order_id": "nobody"}, 404, "unknown-order", id="unknown order"),
        pytest.param({"intent_id": "nobody"}, 404, "unknown-intent", id="unknown intent"),
        pytest.param({"order_id": "s3-btc-1"}, 409, "already-filled", id="filled"),
        pytest.param({}, 400, "malformed-body", id="nothing named"),
    ],
)
def test_what_cannot_be_taken_back_is_said_by_name(body: dict[str, Any], status: int, kind: str) -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered()

        answer = await desk.cancel(**body)

        assert (answer.status, kind_of(answer)) == (status, kind)
        assert len(desk.floor.resting()) == 2
        await desk.floor.stop()

    run_virtual(scenario())


def test_an_intent_is_taken_back_whole_and_again_with_the_same_answer() -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered()

        first = await desk.cancel(intent_id="E1")
        second = await desk.cancel(intent_id="E1")

        for answer in (first, second):
            assert (answer.status, sorted(answer.body["canceled_ids"])) == (200, ["s3-btc-1-1", "s3-btc-1-2"])
        await desk.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("leg", ["s3-btc-1-1", "s3-btc-1-2"], ids=["the stop", "the target"])
def test_one_leg_of_a_pair_takes_the_other_with_it(leg: str) -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered(**spot_entry())
        assert len(desk.floor.resting()) == 2

        answer = await desk.cancel(order_id=leg, cascade_oco=True)

        assert sorted(answer.body["canceled_ids"]) == ["s3-btc-1-1", "s3-btc-1-2"]
        assert desk.floor.resting() == {}
        await desk.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("named", [{"intent_id": "E1"}, {"order_id": "s3-btc-1-1"}], ids=["intent", "stop"])
def test_escalating_sells_the_rest_at_market_once(named: dict[str, str]) -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered()
        await desk.floor.move("60500")
        assert desk.floor.position_qty() * 1000 == 5

        first = await desk.cancel(**named, escalate=True)
        second = await desk.cancel(**named, escalate=True)
        await desk.floor.settle()

        assert (first.status, second.status) == (200, 200)
        assert desk.floor.position_qty() == 0
        assert await desk.floor.world.documents.count(INTENTS) == 2
        await desk.floor.stop()

    run_virtual(scenario())


def test_what_the_pair_has_sold_is_not_sold_again_by_escalating() -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered(**spot_entry())
        await desk.floor.move("60700")
        assert desk.floor.resting() == {}

        await desk.cancel(intent_id="E1", escalate=True)
        await desk.floor.settle()

        assert await desk.floor.world.documents.count(INTENTS) == 1
        await desk.floor.stop()

    run_virtual(scenario())


def test_a_cancel_whose_answer_was_lost_is_asked_for_again_and_not_believed() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        desk = Desk.on(floor)
        await desk.entered()
        asked: list[str] = []

        async def cancel(call: Any, key: Any, client_order_id: str, *, conditional: bool) -> Any:
            asked.append(client_order_id)
            if len(asked) < 3:
                raise OutcomeUnknown("the connection was reset")
            return await call(key, client_order_id, conditional=conditional)

        floor.world.venue.instead["cancel"] = cancel

        answer = await desk.cancel(order_id="s3-btc-1-2")

        assert (answer.status, answer.body["canceled_ids"]) == (200, ["s3-btc-1-2"])
        assert "s3-btc-1-2" not in floor.resting()
        await floor.stop()

    run_virtual(scenario())


def test_a_cancel_that_never_gets_through_is_503_and_the_order_stays_open_on_file() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        desk = Desk.on(floor)
        await desk.entered()

        async def cancel(call: Any, key: Any, client_order_id: str, *, conditional: bool) -> Any:
            raise OutcomeUnknown("the connection was reset")

        floor.world.venue.instead["cancel"] = cancel

        answer = await desk.cancel(order_id="s3-btc-1-2")

        assert (answer.status, kind_of(answer)) == (503, "not-canceled")
        on_file = await floor.world.documents.get(ORDERS, "s3-btc-1-2")
        assert on_file is not None
        assert on_file.status == "NEW"
        assert "s3-btc-1-2" in floor.resting()
        await floor.stop()

    run_virtual(scenario())


def test_a_cancel_while_the_exchange_is_away_is_503() -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.entered()
        desk.floor.venue.set_down("maintenance")

        answer = await desk.cancel(order_id="s3-btc-1-2")

        assert (answer.status, kind_of(answer)) == (503, "dependency-down")
        desk.floor.venue.set_down(None)
        assert "s3-btc-1-2" in desk.floor.resting()
        await desk.floor.stop()

    run_virtual(scenario())


# --- health


def test_health_names_what_it_looked_at() -> None:
    async def scenario() -> None:
        desk = await Desk.open()

        well = await ask(desk.app, "GET", "/health")
        desk.floor.venue.set_down("maintenance")
        ill = await ask(desk.app, "GET", "/health")

        assert well.body["status"] == "OK"
        assert set(well.body["checks"]) >= {"redis", "arango", "exch", "cb_state", "route_rev"}
        assert (ill.body["status"], ill.body["checks"]["exch"]) == ("DOWN", "DOWN")
        await desk.floor.stop()

    run_virtual(scenario())


def test_a_lookup_of_an_order_that_nobody_knows_is_404() -> None:
    async def scenario() -> None:
        desk = await Desk.open()

        wanted = {"market": "FUT", "symbol": FUT.symbol, "client_order_id": "nobody"}
        answer = await ask(desk.app, "POST", "/orders/lookup", wanted)

        assert (answer.status, kind_of(answer)) == (404, "unknown-order")
        await desk.floor.stop()

    run_virtual(scenario())


# --- the exchange changes its grid


def regrid(floor: Floor, *, tick: str = "0.1", step: str = "0.001") -> None:
    """As the exchange does it, from now on and for everybody."""
    rules = replace(
        FUT_RULES, tick_size=Decimal(tick), step_size=Decimal(step), min_qty=Decimal(step), market_step=Decimal(step)
    )
    floor.venue.exchange.replace_instrument(rules)


async def regridded(*, tick: str = "0.1", step: str = "0.001") -> Desk:
    """A position of 0.012 and its stop and target, then other rules, which the router knows by now."""
    desk = await Desk.open()
    await desk.entered(qty=0.012)
    regrid(desk.floor, tick=tick, step=step)
    await desk.floor.settle(70_000)
    return desk


def test_a_stop_on_the_grid_of_a_moment_ago_is_placed_on_the_present_one_and_answered_again_the_same() -> None:
    async def scenario() -> None:
        desk = await regridded(tick="0.2", step="0.004")
        asked = stop_order(qty=0.011, price=59500.7)

        first = await desk.order(**asked)
        second = await desk.order(**asked)
        other = await desk.order(**asked | {"price": 59500.8, "qty": 0.012})

        assert (first.status, first.body["result"]) == (200, "OK")
        assert desk.floor.resting()["s3-btc-s"] == ("STOP_MARKET", Decimal("0.012"), Decimal("59500.8"))
        on_file = await desk.floor.world.documents.get(ORDERS, "s3-btc-s")
        assert on_file is not None
        assert (on_file.quantity, on_file.stop_price) == (Decimal("0.012"), Decimal("59500.8"))
        assert (second.status, second.body) == (200, first.body)
        assert (other.status, kind_of(other)) == (409, "intent-conflict")
        await desk.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(("asked", "filled"), [(0.005, 0.008), (0.001, 0.004)], ids=["off the step", "below one step"])
def test_an_exit_by_the_steps_of_a_moment_ago_closes_at_least_what_was_asked(asked: float, filled: float) -> None:
    async def scenario() -> None:
        desk = await regridded(step="0.004")

        answer = await desk.order(**exit_order(qty=asked))

        assert (answer.status, answer.body["status"], answer.body["filled_qty"]) == (200, "FILLED", filled)
        assert desk.floor.position_qty() == Decimal("0.012") - Decimal(str(filled))
        await desk.floor.stop()

    run_virtual(scenario())


def test_an_order_on_a_grid_that_became_finer_is_taken_as_soon_as_another_knows() -> None:
    async def scenario() -> None:
        desk = await Desk.open()
        await desk.floor.settle(3_000)
        regrid(desk.floor, tick="0.05", step="0.0005")

        answer = await desk.entered(qty=0.0105, sl={"price": 59400.05}, tp=None)

        assert (answer.status, answer.body["filled_qty"]) == (200, 0.0105)
        assert desk.floor.resting()["s3-btc-1-1"] == ("STOP_MARKET", Decimal("0.0105"), Decimal("59400.05"))
        await desk.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        pytest.param(
            entry(qty=0.012, sl={"price": 59400.7}), "price-off-tick", "nearest is 59400.8", id="an entry's stop"
        ),
        pytest.param(entry(qty=0.013), "qty-off-step", "nearest below is 0.012", id="an entry"),
        pytest.param(exit_order(qty=0.005, reduce_only=False), "qty-off-step", "nearest below is 0.004", id="no cut"),
    ],
)
def test_what_the_exchange_would_not_cut_to_the_position_is_refused_off_the_present_grid(
    body: dict[str, Any], kind: str, says: str
) -> None:
    async def scenario() -> None:
        desk = await regridded(tick="0.2", step="0.004")

        answer = await desk.order(**body | {"intent_id": "E2", "client_order_id": "s3-btc-2"})

        assert (answer.status, kind_of(answer)) == (400, kind)
        assert says in answer.body["detail"]
        await desk.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(stop_order(qty=0.012, price=59500.7), "price-off-tick", id="a stop"),
        pytest.param(exit_order(qty=0.005), "qty-off-step", id="an exit"),
        pytest.param(exit_order(qty=0.001), "qty-below-step", id="an exit below one step"),
    ],
)
def test_long_after_the_change_an_exit_off_the_grid_is_refused_again(body: dict[str, Any], kind: str) -> None:
    async def scenario() -> None:
        desk = await regridded(tick="0.2", step="0.004")
        await desk.floor.settle(LATELY_MS)

        answer = await desk.order(**body)

        assert (answer.status, kind_of(answer)) == (400, kind)
        await desk.floor.stop()

    run_virtual(scenario())
