"""The regular book of futures: what is answered, what fills, what is refused, and how."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.enums import Market
from chimera.domain.matching.records import OrderRecord
from tests.venue_server.running import running_venue
from tests.venue_server.staging import Stage, order_of, stage

D = Decimal
BTC = {"symbol": "BTCUSDT"}


async def asked(at: Stage, order: Any) -> Any:
    return await at.done("GET", "v1/order", **BTC, orderId=order["orderId"])


# --- answers


async def test_numbers_are_printed_with_the_digits_of_tick_and_step() -> None:
    async with stage() as at:
        order = await at.order(price="59000", quantity="0.1")
        found = await asked(at, order)
        listed = (await at.done("GET", "v1/openOrders", **BTC))[0]

    assert isinstance(order["orderId"], int)
    assert (order["price"], order["origQty"], order["executedQty"], order["stopPrice"]) == (
        "59000.00",
        "0.100",
        "0.000",
        "0.00",
    )
    assert (found["avgPrice"], found["cumQuote"]) == ("0.00", "0.00000")
    assert (listed["avgPrice"], listed["executedQty"], listed["stopPrice"]) == ("0", "0", "0")


async def test_ack_says_new_whatever_became_of_the_order() -> None:
    async with stage() as at:
        order = await at.order(type="MARKET")

        assert (order["status"], order["executedQty"], order["cumQty"]) == ("NEW", "0.000", "0.000")
        assert (await asked(at, order))["status"] == "FILLED"


async def test_result_says_what_became_of_the_order_but_not_its_price() -> None:
    async with stage() as at:
        order = await at.order(type="MARKET", newOrderRespType="RESULT")
        found = await asked(at, order)

    assert (order["status"], order["executedQty"]) == ("FILLED", "0.100")
    assert not {"avgPrice", "cumQuote"} & order.keys()
    assert (found["avgPrice"], found["cumQuote"]) == ("60000.10000", "6000.01000")


async def test_an_average_is_that_of_all_fills() -> None:
    async with stage() as at:
        at.show("60000.00", qty="0.05")
        order = await at.order(type="MARKET")
        fills = await at.done("GET", "v1/userTrades", **BTC, orderId=order["orderId"])
        found = await asked(at, order)

    assert [(fill["price"], fill["qty"]) for fill in fills] == [("60000.10", "0.050"), ("60000.20", "0.050")]
    assert found["avgPrice"] == "60000.15000"
    assert D(found["cumQuote"]) == sum(D(fill["quoteQty"]) for fill in fills)


async def test_parameters_may_stand_in_the_body() -> None:
    async with stage() as at:
        reply = await at.api("POST", "v1/order", in_body=True, **order_of(price="59000"))

    assert reply.status == 200


async def test_a_client_id_is_drawn_where_none_is_given() -> None:
    async with stage() as at:
        drawn = [(await at.order(price="59000"))["clientOrderId"] for _ in range(3)]

    assert len(set(drawn)) == 3
    assert all(len(name) == 22 and name.isalnum() for name in drawn)


# --- resting, filling, ending


async def test_a_limit_order_rests_until_the_market_reaches_it() -> None:
    async with stage() as at:
        order = await at.order(price="59000", newClientOrderId="mine")
        at.show("58990.00")
        found = await at.done("GET", "v1/order", **BTC, origClientOrderId="mine")
        fill = (await at.done("GET", "v1/userTrades", **BTC))[0]

    assert (found["status"], found["avgPrice"]) == ("FILLED", "59000.00000")
    assert (fill["orderId"], fill["maker"], fill["commission"]) == (order["orderId"], True, "1.18000000")


@pytest.mark.parametrize(
    ("params", "status", "filled"),
    [
        pytest.param({"timeInForce": "IOC", "price": "60000.1"}, "EXPIRED", "0.050", id="IOC takes what is there"),
        pytest.param({"timeInForce": "IOC", "price": "59000"}, "EXPIRED", "0.000", id="IOC finds nothing"),
        pytest.param({"timeInForce": "FOK", "price": "60000.2"}, "FILLED", "0.100", id="FOK takes all"),
        pytest.param({"timeInForce": "GTX", "price": "60000"}, "NEW", "0.000", id="GTX rests"),
        pytest.param({"timeInForce": "GTC", "price": "60000.1"}, "PARTIALLY_FILLED", "0.050", id="GTC rests the rest"),
    ],
)
async def test_a_time_in_force_is_kept(params: dict[str, str], status: str, filled: str) -> None:
    async with stage() as at:
        at.show("60000.00", qty="0.05")
        order = await at.order(**params, newOrderRespType="RESULT")

    assert (order["status"], order["executedQty"]) == (status, filled)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        pytest.param({"timeInForce": "FOK", "price": "60000.1"}, -5021, id="FOK that cannot fill"),
        pytest.param({"timeInForce": "GTX", "price": "60000.1"}, -5022, id="GTX that would take"),
        pytest.param({"price": "59000", "reduceOnly": "true"}, -2022, id="nothing to reduce"),
        pytest.param({"price": "59000", "quantity": "10"}, -2019, id="too little margin"),
        pytest.param({"price": "59000.05"}, -4014, id="off the tick"),
        pytest.param({"price": "59000", "quantity": "0.0001"}, -1111, id="too precise"),
        pytest.param({"price": "59000", "quantity": "0"}, -4003, id="nothing"),
        pytest.param({"price": "59000", "quantity": "2000"}, -4005, id="too much"),
        pytest.param({"price": "64000"}, -4016, id="far above the mark"),
        pytest.param({"price": "59000", "side": "SELL", "quantity": "0.01"}, None, id="a short is allowed"),
        pytest.param({"price": "56000", "side": "SELL"}, -4024, id="far below the mark"),
    ],
)
async def test_the_exchange_refuses_what_breaks_its_rules(params: dict[str, str], code: int | None) -> None:
    async with stage() as at:
        at.show("60000.00", qty="0.05")
        reply = await at.api("POST", "v1/order", **order_of(**params))
        orders = await at.done("GET", "v1/allOrders", **BTC)

    assert (reply.status, reply.body.get("code")) == ((200, None) if code is None else (400, code))
    assert len(orders) == (1 if code is None else 0)


async def test_a_small_order_is_told_the_least_notional() -> None:
    async with stage() as at:
        code, text = await at.refused("POST", "v1/order", **order_of(type="MARKET", symbol="ETHUSDT", quantity="0.001"))

    assert (code, text) == (-4164, "Order's notional must be no smaller than 20 (unless you choose reduce only)")


async def test_a_reduce_only_order_closes_no_more_than_there_is() -> None:
    async with stage() as at:
        await at.order(type="MARKET")
        sold = await at.order(side="SELL", type="MARKET", quantity="0.3", reduceOnly="true", newOrderRespType="RESULT")
        positions = await at.done("GET", "v3/positionRisk")

    assert (sold["status"], sold["executedQty"], sold["reduceOnly"]) == ("FILLED", "0.100", True)
    assert positions == []


async def test_a_client_id_is_refused_while_an_order_of_it_is_open_and_taken_afterwards() -> None:
    async with stage() as at:
        await at.order(price="59000", newClientOrderId="mine")

        assert await at.refused("POST", "v1/order", **order_of(price="58000", newClientOrderId="mine")) == (
            -4116,
            "ClientOrderId is duplicated.",
        )

        await at.done("DELETE", "v1/order", **BTC, origClientOrderId="mine")
        await at.order(price="58000", newClientOrderId="mine")


# --- parameters


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        pytest.param({"symbol": "NOPEUSDT"}, -1121, "Invalid symbol.", id="unknown symbol"),
        pytest.param({"side": "HOLD"}, -1117, "Invalid side.", id="side"),
        pytest.param({"type": "ICEBERG"}, -1116, "Invalid orderType.", id="type"),
        pytest.param({"timeInForce": "GTD"}, -1115, "Invalid timeInForce.", id="time in force that is not offered"),
        pytest.param({"newOrderRespType": "FULL"}, -1136, "Invalid newOrderRespType.", id="answer type of spot"),
        pytest.param(
            {"positionSide": "LONG"}, -4061, "Order's position side does not match user's setting.", id="hedged"
        ),
        pytest.param({"newClientOrderId": "no spaces"}, -4015, "Client order id is not valid.", id="client id"),
        pytest.param({"selfTradePreventionMode": "SOMETIMES"}, -5039, "Invalid self trade prevention mode", id="stp"),
        pytest.param(
            {"type": "MARKET"}, -1106, "Parameter 'price' sent when not required.", id="price of a market order"
        ),
        pytest.param(
            {"price": "cheap"},
            -1100,
            r"Illegal characters found in parameter 'price'; legal range is '^([0-9]{1,20})(\.[0-9]{1,20})?$'.",
            id="no number",
        ),
        *[
            pytest.param(
                {name: None},
                -1102,
                f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.",
                id=f"no {name}",
            )
            for name in ("symbol", "side", "type", "quantity", "price", "timeInForce")
        ],
    ],
)
async def test_parameters_that_mean_nothing_are_named(params: dict[str, Any], code: int, text: str) -> None:
    async with stage() as at:
        given = {**order_of(price="59000"), **params}
        if given["type"] == "MARKET":
            del given["timeInForce"]

        assert await at.refused("POST", "v1/order", **given) == (code, text)


@pytest.mark.parametrize("kind", ["STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"])
async def test_conditional_types_are_sent_to_the_algo_book(kind: str) -> None:
    async with stage() as at:
        reply = await at.api("POST", "v1/order", **order_of(type=kind, stopPrice="59000"))

    assert reply.status == 400
    assert reply.body == {
        "code": -4120,
        "msg": "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
    }


async def test_a_test_order_is_checked_and_not_placed() -> None:
    async with stage() as at:
        answer = await at.done("POST", "v1/order/test", **order_of(price="59000"))
        code, _ = await at.refused("POST", "v1/order/test", **order_of(price="59000.05"))

        assert await at.done("GET", "v1/allOrders", **BTC) == []

    assert (answer["status"], answer["price"], code) == ("NEW", "59000.00", -4014)


@pytest.mark.parametrize(
    ("params", "resting", "taking"),
    [
        pytest.param({}, "EXPIRED_IN_MATCH", "FILLED", id="the one in the book by default"),
        pytest.param({"selfTradePreventionMode": "EXPIRE_TAKER"}, "NEW", "EXPIRED_IN_MATCH", id="the new one"),
        pytest.param({"selfTradePreventionMode": "EXPIRE_BOTH"}, "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH", id="both"),
    ],
)
async def test_an_order_that_meets_one_of_ours_ends_as_asked(params: dict[str, str], resting: str, taking: str) -> None:
    async with stage() as at:
        at.show("60000.00", qty="0.05")
        own = await at.order(side="SELL", price="60000.1", quantity="0.1")
        order = await at.order(type="MARKET", newOrderRespType="RESULT", **params)

        assert ((await asked(at, own))["status"], order["status"]) == (resting, taking)
        assert order["selfTradePreventionMode"] == params.get("selfTradePreventionMode", "EXPIRE_MAKER")


# --- cancel, ask, amend


@pytest.mark.parametrize("name", ["orderId", "origClientOrderId"])
async def test_an_order_is_canceled_under_both_of_its_names(name: str) -> None:
    async with stage() as at:
        order = await at.order(price="59000", newClientOrderId="mine")
        named = {name: order["orderId"] if name == "orderId" else "mine"}

        canceled = await at.done("DELETE", "v1/order", **BTC, **named)

        assert (canceled["status"], canceled["orderId"]) == ("CANCELED", order["orderId"])
        assert (await at.done("GET", "v1/order", **BTC, **named))["status"] == "CANCELED"
        assert await at.refused("DELETE", "v1/order", **BTC, **named) == (-2011, "Unknown order sent.")
        assert await at.refused("GET", "v1/openOrder", **BTC, **named) == (-2013, "Order does not exist.")


async def test_the_number_wins_over_the_client_id() -> None:
    async with stage() as at:
        first = await at.order(price="59000", newClientOrderId="first")
        await at.order(price="59000", newClientOrderId="second")

        canceled = await at.done("DELETE", "v1/order", **BTC, orderId=first["orderId"], origClientOrderId="second")

    assert canceled["clientOrderId"] == "first"


async def test_without_a_name_nothing_is_asked_or_canceled() -> None:
    async with stage() as at:
        for method in ("GET", "DELETE"):
            code, text = await at.refused(method, "v1/order", **BTC)
            assert (code, text) == (
                -1102,
                "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!",
            )


async def test_all_regular_orders_are_canceled_and_no_conditional() -> None:
    async with stage() as at:
        for price in ("59000", "58000"):
            await at.order(price=price)
        await at.stop(triggerPrice="57000")

        await at.done("DELETE", "v1/allOpenOrders", **BTC)

        assert await at.done("GET", "v1/openOrders") == []
        assert len(await at.done("GET", "v1/openAlgoOrders")) == 1


async def test_an_amended_order_keeps_its_number_and_says_what_it_was_told() -> None:
    async with stage() as at:
        order = await at.order(price="59000")
        amended = await at.done(
            "PUT", "v1/order", **BTC, orderId=order["orderId"], side="BUY", quantity="0.2", price="58000", modifyId=42
        )
        same = {**BTC, "orderId": order["orderId"], "side": "BUY", "quantity": "0.2", "price": "58000"}

        assert (amended["orderId"], amended["price"], amended["origQty"], amended["modifyId"]) == (
            order["orderId"],
            "58000.00",
            "0.200",
            42,
        )
        assert await at.refused("PUT", "v1/order", **same) == (-5027, "No need to modify the order.")
        assert (await at.refused("PUT", "v1/order", **{**same, "orderId": 999}))[0] == -2013


async def test_a_countdown_cancels_what_rests_when_nobody_renews_it() -> None:
    async with running_venue(speed=20) as venue:
        at = Stage(venue)
        book = await at.done("GET", "v1/ticker/bookTicker", **BTC)
        low = D(book["bidPrice"]) * D("0.96") // 1
        first = await at.order(price=str(low))

        answer = await at.done("POST", "v1/countdownCancelAll", **BTC, countdownTime=2_000)
        clock = venue.venue.floor.clock
        await clock.sleep_until_ms(clock.now_ms() + 2_500)

        assert answer == {"symbol": "BTCUSDT", "countdownTime": "2000"}
        assert (await asked(at, first))["status"] == "CANCELED"


# --- several at once


async def test_a_batch_answers_each_order_for_itself() -> None:
    async with stage() as at:
        answers = await at.done(
            "POST",
            "v1/batchOrders",
            batchOrders=json.dumps(
                [
                    order_of(price="59000", newClientOrderId="one"),
                    order_of(price="59000.05"),
                    order_of(price=58000, quantity=0.2, reduceOnly=False),
                    order_of(type="STOP_MARKET"),
                ]
            ),
        )

    assert [answer.get("code") for answer in answers] == [None, -4014, None, -4120]
    assert (answers[0]["clientOrderId"], answers[2]["origQty"]) == ("one", "0.200")


async def test_a_batch_has_at_most_five_orders_and_is_a_list() -> None:
    async with stage() as at:
        six = json.dumps([order_of(price="59000")] * 6)

        assert (await at.refused("POST", "v1/batchOrders", batchOrders=six))[0] == -4082
        assert (await at.refused("POST", "v1/batchOrders", batchOrders="{}"))[0] == -1130
        assert (await at.refused("POST", "v1/batchOrders", batchOrders="[1]"))[0] == -1130
        assert (await at.refused("POST", "v1/batchOrders", batchOrders="[nonsense"))[0] == -1130


async def test_several_are_canceled_and_each_is_answered() -> None:
    async with stage() as at:
        order = await at.order(price="59000", newClientOrderId="mine")
        by_id = await at.done("DELETE", "v1/batchOrders", **BTC, orderIdList=json.dumps([order["orderId"], 999]))
        by_name = await at.done("DELETE", "v1/batchOrders", **BTC, origClientOrderIdList=json.dumps(["mine"]))

        lower = await at.done("DELETE", "v1/batchOrders", **BTC, orderidlist="[999]")

    assert by_id[0]["status"] == "CANCELED"
    assert lower == by_id[1:]
    assert by_id[1] == by_name[0] == {"code": -2011, "msg": "Unknown order sent."}


async def test_pages_of_all_orders_follow_each_other() -> None:
    async with stage() as at:
        ids = [(await at.order(price="59000"))["orderId"] for _ in range(5)]

        async def page(**params: Any) -> list[int]:
            return [order["orderId"] for order in await at.done("GET", "v1/allOrders", **BTC, **params)]

        assert await page() == ids
        assert await page(limit=2) == ids[3:]
        assert await page(orderId=ids[1], limit=2) == ids[1:3]
        assert await page(startTime=0, endTime=1) == []
        assert (await at.refused("GET", "v1/allOrders", **BTC, startTime=0, endTime=8 * 86_400_000))[0] == -4165
        assert (await at.refused("GET", "v1/allOrders", **BTC, limit=1_001))[0] == -1130


async def test_requests_weigh_and_orders_count_what_the_exchange_says() -> None:
    async with stage() as at:
        placed = await at.api("POST", "v1/order", **order_of(price="59000"))
        one = await at.api("GET", "v1/openOrders", **BTC)
        every = await at.api("GET", "v1/openOrders")
        batch = await at.api("POST", "v1/batchOrders", batchOrders=json.dumps([order_of(price="59000")]))

    used = "x-mbx-used-weight-1m"
    assert [placed.headers[used], one.headers[used], every.headers[used]] == ["0", "1", "41"]
    assert placed.headers["x-mbx-order-count-10s"] == placed.headers["x-mbx-order-count-1m"] == "1"
    assert batch.headers[used] == "46"
    assert (batch.headers["x-mbx-order-count-10s"], batch.headers["x-mbx-order-count-1m"]) == ("6", "2")


async def test_what_was_ordered_is_there_after_a_restart(tmp_path: Any) -> None:
    async with running_venue(state=tmp_path) as venue:
        at = Stage(venue)
        price = D((await at.done("GET", "v1/ticker/bookTicker", **BTC))["bidPrice"]) * D("0.97") // 1
        order = await at.order(price=str(price), newClientOrderId="mine")

    async with running_venue(state=tmp_path) as venue:
        found = await Stage(venue).done("GET", "v1/openOrder", **BTC, origClientOrderId="mine")

    assert (found["orderId"], found["status"]) == (order["orderId"], "NEW")


async def test_a_coarser_step_hides_nothing_of_what_is_held() -> None:
    async with stage() as at:
        await at.order(type="MARKET", quantity="0.101")
        exchange = at.venue.venue.floor.exchange
        fine = exchange.instrument(Market.FUT, "BTCUSDT")
        coarse = Decimal("0.01")
        exchange.replace_instrument(replace(fine, step_size=coarse, market_step=coarse, min_qty=coarse))
        (position,) = await at.done("GET", "v3/positionRisk", symbol="BTCUSDT")
        (order,) = await at.done("GET", "v1/allOrders", symbol="BTCUSDT")
        (trade,) = await at.done("GET", "v1/userTrades", symbol="BTCUSDT")

    assert (position["positionAmt"], order["executedQty"], trade["qty"]) == ("0.101", "0.101", "0.101")


async def test_history_makes_views_only_of_what_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as at:
        await at.order(price="50000")
        await at.stop(triggerPrice="50000")
        seen: list[OrderRecord] = []
        view = OrderRecord.view
        monkeypatch.setattr(OrderRecord, "view", lambda record: seen.append(record) or view(record))
        later_ms = at.venue.now_ms + 60_000
        for path in ("allOrders", "allAlgoOrders"):
            assert await at.done("GET", f"v1/{path}", **BTC, startTime=later_ms) == []

    assert seen == []
