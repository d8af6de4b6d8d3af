"""`003` sections 11 and 14: edges of `/orders` and `/cancel`, no slice left out, results that are the documents, and
a restart after which the intent's id tells everything.
"""

from typing import Any

import pytest

from chimera.contracts.collections import FILLS, INTENTS, ORDERS
from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import IntentState, OrderStatus, Routing
from chimera.contracts.http import CancelRequest
from chimera.contracts.messages import OrderResult
from chimera.simulation.checkers import slices_add_up
from chimera.simulation.checkers.results_told import untold, untrue
from chimera.simulation.loop import run_virtual
from tests.prove.flows import FLOWS, entry, regime_is_normal, reserve
from tests.prove.timeline import DOWN_MS, HOUSE, Fuse, Timeline
from tests.services.trading_floor import SPOT, Floor


async def begin() -> tuple[Timeline, Floor]:
    timeline = Timeline.open()
    timeline.prepare = regime_is_normal
    floor = await timeline.live(Fuse(None))
    await floor.start(*HOUSE, price="60000")
    return timeline, floor


async def record_of(timeline: Timeline, name: str = "E1") -> IntentRecord:
    record = await timeline.documents.get(INTENTS, name)
    assert record is not None, f"{name} is not on file"
    return record


@pytest.mark.parametrize("flow", ["maker filled", "maker then taker"])
def test_a_maker_order_fills_in_its_window_or_is_taken_after_it(flow: str) -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await FLOWS[flow].steps[0](timeline, floor)
        record = await record_of(timeline)
        fills = [fill for fill in timeline.evidence().on_file(FILLS) if fill.intent_id == "E1"]
        assert (record.state, record.filled_qty) == (IntentState.DONE, record.intent.qty)
        assert all(fill.slippage_bps is not None for fill in fills)
        assert any(fill.maker for fill in fills) is (flow == "maker filled")
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("tp", ["60500", pytest.param("600000", id="refused")])
def test_a_pair_shows_its_legs_and_where_one_is_refused_a_guard_watches(tp: str) -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        intent = entry(floor, "E1", key=SPOT, tp=tp)
        await reserve(floor, intent)
        await floor.call("s4", "POST", "/orders", intent)
        await floor.settle(3_000)
        again = await floor.call("s4", "POST", "/orders", intent)
        guard = await timeline.documents.get(INTENTS, "E1-GUARD-1")
        if tp == "60500":
            assert len(again.body["oco_legs"]) == 2
        else:
            assert guard is not None
        assert (guard is None) == (len(floor.resting()) == 2)
        await floor.move("59000")
        assert floor.resting() == {}
        assert timeline.unclosed() == []
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({"qty": "0.0005"}, 400, id="a quantity off the step"),
        pytest.param({"qty": "0.0015"}, 400, id="between two steps"),
        pytest.param({"qty": "0.001"}, 200, id="the least there is"),
        pytest.param({"reduce_only": True}, 422, id="an entry that only reduces"),
    ],
)
def test_the_rules_of_quantities(changes: dict[str, Any], status: int) -> None:
    async def scenario() -> None:
        _, floor = await begin()
        answer = await floor.call("s4", "POST", "/orders", entry(floor, "E1", **changes))
        assert answer.status == status, answer.body
        await floor.stop()

    run_virtual(scenario())


def test_cancel_knows_nothing_is_too_late_and_is_said_twice() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        unknown = await floor.call("s4", "POST", "/cancel", CancelRequest(client_order_id="s3-btc-nobody"))
        await FLOWS["taker"].steps[0](timeline, floor)
        filled = await floor.call("s4", "POST", "/cancel", CancelRequest(client_order_id="s3-btc-e1"))
        [target] = [name for name, (kind, _, _) in floor.resting().items() if kind == "TAKE_PROFIT_MARKET"]
        taken = [await floor.call("s4", "POST", "/cancel", CancelRequest(client_order_id=target)) for _ in range(2)]
        assert (unknown.status, filled.status) == (404, 409)
        assert [answer.status for answer in taken] == [200, 200]
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("flow", ["TWAP", "maker and TWAP", "spot TWAP"])
def test_slices_sum_up_and_none_is_left_out(flow: str) -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await FLOWS[flow].steps[0](timeline, floor)
        record = await record_of(timeline)
        assert record.execution is not None
        assert len(record.execution.slices) == 3
        assert sum(part.qty for part in record.execution.slices) == record.intent.qty == record.filled_qty
        assert slices_add_up.check(timeline.evidence()) == []
        await floor.stop()

    run_virtual(scenario())


def test_results_are_the_documents() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        for step in FLOWS["ladder"].steps:
            await step(timeline, floor)
        results = floor.messages(OrderResult)
        evidence = timeline.evidence()
        assert len(results) > 10
        assert untrue(evidence, results) == []
        assert untold(evidence, results, since_ms=0) == []
        await floor.stop()

    run_virtual(scenario())


def test_after_a_restart_the_same_intent_answers_what_became_of_it() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        intent = entry(floor, "E1", qty="0.024", slices=3, routing=Routing.DIRECT_TAKER)
        await reserve(floor, intent)
        await floor.call("s4", "POST", "/orders", intent)
        await floor.stop()
        died_ms = timeline.clock.now_ms()
        await timeline.clock.sleep_until_ms(died_ms + DOWN_MS)
        floor = await timeline.live(Fuse(None))
        await floor.start(*HOUSE)
        await floor.settle(10_000)

        again = await floor.call("s4", "POST", "/orders", intent)

        record = await record_of(timeline)
        orders = [order for order in timeline.evidence().on_file(ORDERS) if order.order_id in record.order_ids]
        assert record.state.is_final
        assert again.status == 200
        assert again.body["filled_qty"] == float(record.filled_qty) > 0
        assert all(order.status is not OrderStatus.NEW for order in orders if order.is_entry)
        assert timeline.findings() == {} or set(timeline.findings()) == {"I2 over time"}
        await floor.stop()

    run_virtual(scenario())
