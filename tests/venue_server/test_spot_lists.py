"""Spot order lists: two orders of which one ends the other, in the old form and the new."""

from decimal import Decimal
from typing import Any

import pytest

from tests.venue_server.spot_staging import SpotStage, oco_of, spot_stage

D = Decimal
OLD = {
    "symbol": "BTCUSDT",
    "side": "SELL",
    "quantity": "0.05",
    "price": "66000",
    "stopPrice": "54000",
    "stopLimitPrice": "53900",
    "stopLimitTimeInForce": "GTC",
    "listClientOrderId": "both",
    "limitClientOrderId": "target",
    "stopClientOrderId": "stop",
}


async def states(at: SpotStage) -> dict[str, tuple[str, str | None]]:
    """Status and reason of every order by client id."""
    orders = await at.done("GET", "allOrders", symbol="BTCUSDT")
    return {order["clientOrderId"]: (order["status"], order.get("expiryReason")) for order in orders}


async def test_both_forms_say_the_same_of_the_same_list() -> None:
    async with spot_stage() as at:
        await at.buy()
        old = await at.done("POST", "order/oco", **OLD)
        await at.done("DELETE", "orderList", symbol="BTCUSDT", orderListId=old["orderListId"])
        new = await at.oco(
            belowType="STOP_LOSS_LIMIT",
            belowPrice="53900",
            belowTimeInForce="GTC",
            listClientOrderId="both",
            aboveClientOrderId="target",
            belowClientOrderId="stop",
        )

        def without_numbers(answer: Any) -> Any:
            numbered = {"orderListId", "orderId", "transactionTime", "transactTime", "workingTime"}
            if isinstance(answer, dict):
                return {name: without_numbers(value) for name, value in answer.items() if name not in numbered}
            return [without_numbers(each) for each in answer] if isinstance(answer, list) else answer

        assert without_numbers(old) == without_numbers(new)
        assert (new["contingencyType"], new["listStatusType"], new["listOrderStatus"]) == (
            "OCO",
            "EXEC_STARTED",
            "EXECUTING",
        )
        assert [order["clientOrderId"] for order in new["orders"]] == ["stop", "target"]
        stop, target = new["orderReports"]
        assert (stop["type"], stop["workingTime"], stop["stopPrice"]) == ("STOP_LOSS_LIMIT", -1, "54000.00000000")
        assert (target["type"], target["orderListId"]) == ("LIMIT_MAKER", new["orderListId"])
        assert target["workingTime"] == target["transactTime"]


async def test_a_list_locks_once() -> None:
    async with spot_stage() as at:
        await at.buy("0.06")
        await at.oco()

        assert (await at.locked())["BTC"] == D("0.05")


async def test_the_target_that_fills_expires_the_stop() -> None:
    async with spot_stage() as at:
        await at.buy()
        placed = await at.oco(aboveClientOrderId="target", belowClientOrderId="stop")
        at.show("66001")
        listed = await at.done("GET", "orderList", orderListId=placed["orderListId"])

        found = await states(at)
        assert found["target"] == ("FILLED", None)
        assert found["stop"] == ("EXPIRED", "OCO_TRIGGER")
        assert (listed["listStatusType"], listed["listOrderStatus"]) == ("ALL_DONE", "ALL_DONE")
        assert await at.done("GET", "openOrderList") == []


async def test_the_stop_that_triggers_expires_the_target_and_sells() -> None:
    async with spot_stage() as at:
        await at.buy()
        await at.oco(aboveClientOrderId="target", belowClientOrderId="stop")
        before = (await at.free())["USDT"]
        at.show("53999")

        found = await states(at)
        assert found["target"] == ("EXPIRED", "OCO_TRIGGER")
        assert found["stop"] == ("FILLED", None)
        got = (await at.free())["USDT"] - before
        worth = D("0.05") * D("53998.99")
        assert got == worth - (worth * D("0.001")).quantize(D("0.00000001"), "ROUND_FLOOR"), "less the fee, in quote"


async def test_a_stop_limit_that_price_jumps_over_rests_alone() -> None:
    async with spot_stage() as at:
        await at.buy()
        placed = await at.oco(
            belowType="STOP_LOSS_LIMIT",
            belowPrice="53900",
            belowTimeInForce="GTC",
            aboveClientOrderId="target",
            belowClientOrderId="stop",
        )
        at.show("53000")
        listed = await at.done("GET", "orderList", orderListId=placed["orderListId"])
        stop = await at.done("GET", "order", symbol="BTCUSDT", origClientOrderId="stop")

        assert (await states(at))["target"] == ("EXPIRED", "OCO_TRIGGER")
        assert (stop["status"], stop["isWorking"]) == ("NEW", True)
        assert stop["workingTime"] > 0
        assert listed["listOrderStatus"] == "ALL_DONE"
        assert await at.refused("DELETE", "orderList", symbol="BTCUSDT", orderListId=placed["orderListId"]) == (
            -2011,
            "Unknown order sent.",
        )
        canceled = await at.done("DELETE", "order", symbol="BTCUSDT", origClientOrderId="stop")
        assert (canceled["status"], canceled["origClientOrderId"]) == ("CANCELED", "stop"), "an order of its own now"


@pytest.mark.parametrize("leg", ["target", "stop"])
async def test_cancelling_one_leg_cancels_both_and_answers_with_the_list(leg: str) -> None:
    async with spot_stage() as at:
        await at.buy()
        await at.oco(listClientOrderId="both", aboveClientOrderId="target", belowClientOrderId="stop")
        answer = await at.done("DELETE", "order", symbol="BTCUSDT", origClientOrderId=leg, newClientOrderId="bye")

        assert (answer["listClientOrderId"], answer["listOrderStatus"]) == ("both", "ALL_DONE")
        assert [report["origClientOrderId"] for report in answer["orderReports"]] == ["stop", "target"]
        assert {(report["clientOrderId"], report["status"]) for report in answer["orderReports"]} == {
            ("bye", "CANCELED")
        }
        assert (await at.locked())["BTC"] == 0


async def test_cancelling_everything_names_a_list_once() -> None:
    async with spot_stage() as at:
        await at.buy()
        await at.order(price="50000", newClientOrderId="alone")
        await at.oco(listClientOrderId="both")
        answer = await at.done("DELETE", "openOrders", symbol="BTCUSDT")

        assert [row.get("origClientOrderId") or row["listClientOrderId"] for row in answer] == ["alone", "both"]


async def test_a_list_is_cancelled_by_its_own_id_and_then_unknown() -> None:
    async with spot_stage() as at:
        await at.buy()
        await at.oco(listClientOrderId="both")
        ended = await at.done("DELETE", "orderList", symbol="BTCUSDT", listClientOrderId="both")

        assert {report["status"] for report in ended["orderReports"]} == {"CANCELED"}
        assert await at.refused("DELETE", "orderList", symbol="BTCUSDT", listClientOrderId="both") == (
            -2011,
            "Unknown order sent.",
        )
        assert await at.refused("GET", "orderList", orderListId=99) == (-2018, "Order list does not exist.")
        assert (await at.refused("GET", "orderList"))[0] == -1102


async def test_lists_are_told_of_all_and_of_those_that_are_open() -> None:
    async with spot_stage() as at:
        await at.buy()
        first = await at.oco(quantity="0.01")
        second = await at.oco(quantity="0.01")
        await at.done("DELETE", "orderList", symbol="BTCUSDT", orderListId=first["orderListId"])

        numbers = [row["orderListId"] for row in await at.done("GET", "allOrderList")]
        assert numbers == [first["orderListId"], second["orderListId"]]
        assert [row["orderListId"] for row in await at.done("GET", "openOrderList")] == numbers[1:]
        later = await at.done("GET", "allOrderList", fromId=numbers[1])
        assert [row["orderListId"] for row in later] == numbers[1:]


async def test_a_buying_list_stands_the_other_way_round() -> None:
    async with spot_stage() as at:
        placed = await at.oco(
            side="BUY",
            aboveType="STOP_LOSS_LIMIT",
            abovePrice="66100",
            aboveStopPrice="66000",
            aboveTimeInForce="GTC",
            belowType="LIMIT_MAKER",
            belowPrice="54000",
            belowStopPrice=None,
            aboveClientOrderId="stop",
            belowClientOrderId="target",
        )

        assert [order["clientOrderId"] for order in placed["orders"]] == ["stop", "target"]
        assert (await at.locked())["USDT"] == D("0.05") * 66100


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"aboveType": "MARKET", "abovePrice": None}, -1158, id="a type that no list has"),
        pytest.param({"aboveType": "ICE"}, -1116, id="no type at all"),
        pytest.param(
            {"belowType": "LIMIT_MAKER", "belowPrice": "54000", "belowStopPrice": None}, -1168, id="two limits"
        ),
        pytest.param({"side": "BUY"}, -1165, id="limit of a buy above"),
        pytest.param(
            {"aboveType": "STOP_LOSS", "abovePrice": None, "aboveStopPrice": "66000"}, -1197, id="stop of a sell above"
        ),
        pytest.param({"belowType": "TAKE_PROFIT"}, -1199, id="target of a sell below"),
        pytest.param({"abovePrice": None}, -1102, id="no price"),
        pytest.param({"belowStopPrice": None}, -1102, id="no stop price"),
        pytest.param({"belowPrice": "1"}, -1106, id="a price for a market stop"),
        pytest.param({"belowTimeInForce": "GTC"}, -1106, id="a time in force for a market stop"),
        pytest.param({"aboveIcebergQty": "0.01"}, -1013, id="iceberg"),
        pytest.param({"abovePrice": "59000", "belowStopPrice": "58000"}, -2010, id="prices on one side"),
        pytest.param({"quantity": "5"}, -2010, id="money"),
    ],
)
async def test_a_wrong_list_is_refused_and_leaves_nothing(change: dict[str, str | None], code: int) -> None:
    async with spot_stage() as at:
        await at.buy()

        assert (await at.refused("POST", "orderList/oco", **oco_of(**change)))[0] == code
        assert await at.done("GET", "openOrders", symbol="BTCUSDT") == []


async def test_a_list_counts_two_orders() -> None:
    async with spot_stage() as at:
        await at.buy()
        before = (await at.done("GET", "rateLimit/order"))[1]["count"]
        await at.oco()

        assert (await at.done("GET", "rateLimit/order"))[1]["count"] == before + 2
