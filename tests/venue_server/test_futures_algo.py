"""The algo book of futures: what waits there, what it becomes when its price is reached, and how it ends."""

from decimal import Decimal
from typing import Any

import pytest

from tests.venue_server.staging import Stage, stage, stop_of

D = Decimal
BTC = {"symbol": "BTCUSDT"}


async def asked(at: Stage, order: Any) -> Any:
    return await at.done("GET", "v1/algoOrder", algoId=order["algoId"])


async def bought(at: Stage, qty: str = "0.1") -> None:
    await at.order(type="MARKET", quantity=qty)


async def test_numbers_are_printed_as_recorded() -> None:
    async with stage() as at:
        placed = await at.stop(triggerPrice="59000.5", quantity="0.001")
        listed = (await at.done("GET", "v1/openAlgoOrders", **BTC))[0]

    assert (placed["quantity"], placed["triggerPrice"], placed["price"]) == ("0.001", "59000.50", "0.00")
    assert (listed["quantity"], listed["triggerPrice"], listed["price"]) == ("0.001", "59000.5", "0.0")
    assert (placed["icebergQuantity"], listed["icebergQuantity"]) == (None, None)
    assert isinstance(placed["algoId"], int)


async def test_the_list_of_open_ones_prints_at_least_one_digit_behind_the_point() -> None:
    async with stage() as at:
        at.show("2.0", symbol="ETHUSDT")  # any price: conditionals are not margined
        await at.stop(symbol="ETHUSDT", triggerPrice="1.50", quantity="20", reduceOnly="true")
        listed = (await at.done("GET", "v1/openAlgoOrders", symbol="ETHUSDT"))[0]

    assert (listed["quantity"], listed["triggerPrice"], listed["actualQty"]) == ("20.0", "1.5", "0.0")


async def test_a_stop_becomes_a_market_order_of_its_own_number_and_the_same_client_id() -> None:
    async with stage() as at:
        await bought(at)
        stop = await at.stop(triggerPrice="59000", clientAlgoId="sl", reduceOnly="true", workingType="MARK_PRICE")

        at.show("59500.00", mark="58990.00")

        algo = await asked(at, stop)
        order = await at.done("GET", "v1/order", **BTC, origClientOrderId="sl")
        fill = (await at.done("GET", "v1/userTrades", **BTC, orderId=order["orderId"]))[0]
        assert (algo["algoStatus"], algo["actualOrderId"]) == ("FINISHED", str(order["orderId"]))
        assert (algo["actualPrice"], algo["actualQty"], algo["actualType"]) == ("59499.90000", "0.100", "MARKET")
        assert algo["triggerTime"] > 0
        assert (order["type"], order["origType"], order["status"]) == ("MARKET", "STOP_MARKET", "FILLED")
        assert order["orderId"] != stop["algoId"] or fill["side"] == "SELL"
        assert await at.done("GET", "v1/openAlgoOrders") == []
        assert await at.done("GET", "v3/positionRisk") == []


async def test_the_default_trigger_is_the_last_price_not_the_mark() -> None:
    async with stage() as at:
        await bought(at)
        stop = await at.stop(triggerPrice="59000")

        at.show("59500.00", mark="58990.00")
        assert (await asked(at, stop))["algoStatus"] == "NEW"

        at.show("58990.00", mark="59500.00")
        assert (await asked(at, stop))["algoStatus"] == "FINISHED"


async def test_a_stop_limit_rests_as_a_limit_order_once_triggered() -> None:
    async with stage() as at:
        await bought(at)
        stop = await at.stop(type="STOP", triggerPrice="59000", price="59200", clientAlgoId="sl")

        at.show("58990.00")
        algo = await asked(at, stop)
        order = (await at.done("GET", "v1/openOrders", **BTC))[0]

        assert (algo["algoStatus"], algo["actualType"]) == ("TRIGGERED", "LIMIT")
        assert (order["type"], order["origType"], order["price"], order["clientOrderId"]) == (
            "LIMIT",
            "STOP",
            "59200.00",
            "sl",
        )
        code, _ = await at.refused("DELETE", "v1/algoOrder", algoId=stop["algoId"])
        await at.done("DELETE", "v1/order", **BTC, orderId=order["orderId"])
        assert (code, (await asked(at, stop))["algoStatus"]) == (-2011, "FINISHED")


async def test_a_trailing_stop_follows_the_price_up_and_sells_on_the_way_down() -> None:
    async with stage() as at:
        await bought(at)
        trailing = await at.stop(type="TRAILING_STOP_MARKET", callbackRate="1", reduceOnly="true")
        assert (trailing["orderType"], trailing["callbackRate"]) == ("TRAILING_STOP_MARKET", "1")

        for last in ("61000.00", "60500.00"):
            at.show(last)
        assert (await asked(at, trailing))["algoStatus"] == "NEW"

        at.show("60390.00")
        assert (await asked(at, trailing))["algoStatus"] == "FINISHED"


async def test_close_position_sells_all_there_is() -> None:
    async with stage() as at:
        await bought(at, "0.2")
        stop = await at.stop(triggerPrice="59000", closePosition="true")
        assert (stop["closePosition"], stop["quantity"]) == (True, "0.000")

        at.show("58990.00")

        assert (await asked(at, stop))["actualQty"] == "0.200"
        assert await at.done("GET", "v3/positionRisk") == []


async def test_a_reduce_only_stop_without_a_position_is_rejected_when_it_triggers() -> None:
    async with stage() as at:
        stop = await at.stop(triggerPrice="59000", reduceOnly="true", clientAlgoId="orphan")

        at.show("58990.00")

        algo = await asked(at, stop)
        assert (algo["algoStatus"], algo["actualOrderId"]) == ("REJECTED", "")
        assert (await at.refused("GET", "v1/order", **BTC, origClientOrderId="orphan"))[0] == -2013


@pytest.mark.parametrize("name", ["algoId", "clientAlgoId"])
async def test_an_algo_order_is_canceled_and_asked_for_without_its_symbol(name: str) -> None:
    async with stage() as at:
        stop = await at.stop(triggerPrice="59000", clientAlgoId="sl")

        canceled = await at.done("DELETE", "v1/algoOrder", **{name: stop[name]})

        assert canceled == {"algoId": stop["algoId"], "clientAlgoId": "sl", "code": "200", "msg": "success"}
        assert (await at.done("GET", "v1/algoOrder", **{name: stop[name]}))["algoStatus"] == "CANCELED"
        assert await at.refused("DELETE", "v1/algoOrder", **{name: stop[name]}) == (-2011, "Unknown order sent.")


async def test_an_unknown_algo_order_does_not_exist() -> None:
    async with stage() as at:
        assert await at.refused("GET", "v1/algoOrder", algoId=99) == (-2013, "Order does not exist.")
        assert (await at.refused("GET", "v1/algoOrder"))[0] == -1102


async def test_the_two_books_do_not_know_each_others_orders() -> None:
    async with stage() as at:
        await at.stop(triggerPrice="59000", clientAlgoId="sl")
        await at.order(price="59000", newClientOrderId="entry")

        assert (await at.refused("GET", "v1/order", **BTC, origClientOrderId="sl"))[0] == -2013
        assert (await at.refused("DELETE", "v1/order", **BTC, origClientOrderId="sl"))[0] == -2011
        assert (await at.refused("GET", "v1/algoOrder", clientAlgoId="entry"))[0] == -2013
        assert [order["clientOrderId"] for order in await at.done("GET", "v1/allOrders", **BTC)] == ["entry"]

        await at.done("DELETE", "v1/algoOpenOrders", **BTC)
        assert await at.done("GET", "v1/openAlgoOrders") == []
        assert len(await at.done("GET", "v1/openOrders")) == 1


async def test_an_order_stays_known_though_a_conditional_has_taken_over_its_client_id() -> None:
    async with stage() as at:
        order = await at.order(type="MARKET", newClientOrderId="same")
        stop = await at.stop(triggerPrice="59000", clientAlgoId="same")

        assert (await at.done("GET", "v1/order", **BTC, origClientOrderId="same"))["orderId"] == order["orderId"]
        assert (await at.done("GET", "v1/algoOrder", clientAlgoId="same"))["algoId"] == stop["algoId"]

        at.show("58990.00")
        triggered = await at.done("GET", "v1/order", **BTC, origClientOrderId="same")
        assert triggered["origType"] == "STOP_MARKET"


async def test_pages_of_all_algo_orders_follow_each_other() -> None:
    async with stage() as at:
        ids = [(await at.stop(triggerPrice="59000"))["algoId"] for _ in range(4)]
        await at.done("DELETE", "v1/algoOrder", algoId=ids[0])

        async def page(**params: Any) -> list[int]:
            return [order["algoId"] for order in await at.done("GET", "v1/allAlgoOrders", **BTC, **params)]

        assert await page() == ids
        assert await page(limit=1) == ids[3:]
        assert await page(algoId=ids[1], limit=2) == ids[1:3]
        assert [order["algoId"] for order in await at.done("GET", "v1/openAlgoOrders", algoId=ids[2])] == [ids[2]]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        pytest.param({"algoType": None}, -1102, id="no algo type"),
        pytest.param({"algoType": "TWAP"}, -1130, id="another algo"),
        pytest.param({"type": "LIMIT"}, -1116, id="a type of the regular book"),
        pytest.param({"side": "UP"}, -1117, id="side"),
        pytest.param({"triggerPrice": None}, -1102, id="no trigger price"),
        pytest.param({"triggerPrice": "59000.05"}, -4014, id="trigger off the tick"),
        pytest.param({"triggerPrice": "61000"}, -2021, id="reached already"),
        pytest.param({"price": "59000"}, -1106, id="price of a market stop"),
        pytest.param({"type": "STOP"}, -1102, id="no price of a limit stop"),
        pytest.param({"quantity": None}, -1102, id="no quantity"),
        pytest.param({"workingType": "INDEX"}, -4031, id="working type"),
        pytest.param({"closePosition": "true", "quantity": "0.1"}, -4137, id="a quantity with closePosition"),
        pytest.param(
            {"closePosition": "true", "quantity": None, "reduceOnly": "true"}, -4138, id="reduceOnly with closePosition"
        ),
        pytest.param({"callbackRate": "1"}, -1106, id="callback of a stop that does not trail"),
        pytest.param(
            {"type": "TRAILING_STOP_MARKET", "callbackRate": "1"}, -2021, id="trigger price of a trailing stop"
        ),
        pytest.param({"type": "TRAILING_STOP_MARKET", "triggerPrice": None}, -1102, id="no callback rate"),
        pytest.param({"positionSide": "LONG"}, -4061, id="hedged"),
        pytest.param({"clientAlgoId": "no spaces"}, -4015, id="client id"),
    ],
)
async def test_what_makes_no_sense_is_refused(params: dict[str, Any], code: int) -> None:
    async with stage() as at:
        assert (await at.refused("POST", "v1/algoOrder", **stop_of(**{"triggerPrice": "59000", **params})))[0] == code

        assert await at.done("GET", "v1/openAlgoOrders") == []


async def test_a_client_id_is_taken_once_among_open_orders_of_both_books() -> None:
    async with stage() as at:
        await at.stop(triggerPrice="59000", clientAlgoId="same")

        assert (await at.refused("POST", "v1/algoOrder", **stop_of(triggerPrice="58000", clientAlgoId="same")))[
            0
        ] == -4116


async def test_an_algo_order_weighs_nothing_and_counts_as_an_order() -> None:
    async with stage() as at:
        placed = await at.api("POST", "v1/algoOrder", **stop_of(triggerPrice="59000"))
        every = await at.api("GET", "v1/openAlgoOrders")

    assert placed.headers["x-mbx-used-weight-1m"] == "0"
    assert placed.headers["x-mbx-order-count-10s"] == "1"
    assert every.headers["x-mbx-used-weight-1m"] == "40"
