"""Spot orders through the exchange's REST: what is answered, what is refused, what is counted."""

from decimal import Decimal
from typing import Any

import pytest

from chimera.venue_server.limits import LimitRules
from tests.venue_server.running import Reply, RunningVenue, running_venue
from tests.venue_server.spot_staging import order_of, spot_stage

ORDER = "/api/v3/order"
BTC = "BTCUSDT"


async def best(venue: RunningVenue) -> tuple[Decimal, Decimal]:
    """Best bid and ask."""
    top = (await venue.get("/api/v3/ticker/bookTicker", symbol=BTC)).body
    return Decimal(top["bidPrice"]), Decimal(top["askPrice"])


async def buy_btc(venue: RunningVenue, qty: str = "0.01") -> Any:
    reply = await venue.signed("POST", ORDER, symbol=BTC, side="BUY", type="MARKET", quantity=qty)
    assert reply.status == 200, reply.body
    return reply.body


async def free(venue: RunningVenue, asset: str) -> Decimal:
    account = (await venue.signed("GET", "/api/v3/account")).body
    return next(Decimal(row["free"]) for row in account["balances"] if row["asset"] == asset)


async def limit(venue: RunningVenue, side: str, price: Decimal, qty: str = "0.001", **more: Any) -> Reply:
    return await venue.signed(
        "POST",
        ORDER,
        symbol=BTC,
        side=side,
        type="LIMIT",
        timeInForce=more.pop("timeInForce", "GTC"),
        price=f"{price:.2f}",
        quantity=qty,
        **more,
    )


async def test_a_market_order_is_answered_with_its_fills_and_the_fee_is_taken_from_what_is_received() -> None:
    async with running_venue() as venue:
        order = await buy_btc(venue, "0.01")
        free_btc = await free(venue, "BTC")

        assert order["status"] == "FILLED"
        assert order["price"] == "0.00000000"
        assert order["origQty"] == order["executedQty"] == "0.01000000"
        assert type(order["orderId"]) is int
        assert order["orderListId"] == -1
        assert order["transactTime"] == order["workingTime"]
        worth = sum(Decimal(fill["price"]) * Decimal(fill["qty"]) for fill in order["fills"])
        assert Decimal(order["cummulativeQuoteQty"]) == worth
        assert {fill["commissionAsset"] for fill in order["fills"]} == {"BTC"}
        fee = sum(Decimal(fill["commission"]) for fill in order["fills"])
        assert fee == Decimal("0.00001")
        assert free_btc == Decimal("0.01") - fee


async def test_selling_all_that_was_bought_fails_because_the_fee_is_gone() -> None:
    async with running_venue() as venue:
        await buy_btc(venue, "0.01")

        reply = await venue.signed("POST", ORDER, symbol=BTC, side="SELL", type="MARKET", quantity="0.01")

        assert (reply.status, reply.body["code"]) == (400, -2010)
        assert reply.body["msg"] == "Account has insufficient balance for requested action."


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        pytest.param("ACK", {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}, id="ACK is short"),
        pytest.param(
            "RESULT",
            {
                "symbol",
                "orderId",
                "orderListId",
                "clientOrderId",
                "transactTime",
                "price",
                "origQty",
                "executedQty",
                "origQuoteOrderQty",
                "cummulativeQuoteQty",
                "status",
                "timeInForce",
                "type",
                "side",
                "workingTime",
                "selfTradePreventionMode",
            },
            id="RESULT tells the state",
        ),
    ],
)
async def test_the_answer_has_the_form_that_was_asked_for(kind: str, keys: set[str]) -> None:
    async with running_venue() as venue:
        bid, _ = await best(venue)

        reply = await limit(venue, "BUY", bid * Decimal("0.9"), "0.001", newOrderRespType=kind)

        assert set(reply.body) == keys


async def test_a_resting_order_is_found_listed_cancelled_and_then_unknown() -> None:
    async with running_venue() as venue:
        bid, _ = await best(venue)
        placed = (await limit(venue, "BUY", bid * Decimal("0.9"), newClientOrderId="mine-1")).body
        found = (await venue.signed("GET", ORDER, symbol=BTC, origClientOrderId="mine-1")).body
        listed = (await venue.signed("GET", "/api/v3/openOrders", symbol=BTC)).body
        canceled = (
            await venue.signed("DELETE", ORDER, symbol=BTC, orderId=placed["orderId"], newClientOrderId="bye")
        ).body
        again = await venue.signed("DELETE", ORDER, symbol=BTC, orderId=placed["orderId"])
        after = (await venue.signed("GET", ORDER, symbol=BTC, orderId=placed["orderId"])).body

        assert placed["status"] == "NEW"
        assert placed["fills"] == []
        assert found["orderId"] == placed["orderId"]
        assert found["isWorking"] is True
        assert found["stopPrice"] == found["icebergQty"] == "0.00000000"
        assert [order["clientOrderId"] for order in listed] == ["mine-1"]
        assert (canceled["origClientOrderId"], canceled["clientOrderId"]) == ("mine-1", "bye")
        assert canceled["status"] == after["status"] == "CANCELED"
        assert (again.status, again.body) == (400, {"code": -2011, "msg": "Unknown order sent."})


async def test_an_order_nobody_knows_does_not_exist() -> None:
    async with running_venue() as venue:
        by_id = await venue.signed("GET", ORDER, symbol=BTC, orderId=99)
        by_name = await venue.signed("GET", ORDER, symbol=BTC, origClientOrderId="never")
        unnamed = await venue.signed("GET", ORDER, symbol=BTC)

        assert by_id.body == by_name.body == {"code": -2013, "msg": "Order does not exist."}
        assert unnamed.body["code"] == -1102
        assert unnamed.body["msg"] == "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"


async def test_two_ids_of_different_orders_are_refused() -> None:
    async with running_venue() as venue:
        bid, _ = await best(venue)
        first = (await limit(venue, "BUY", bid * Decimal("0.9"), newClientOrderId="a")).body
        await limit(venue, "BUY", bid * Decimal("0.9"), newClientOrderId="b")

        reply = await venue.signed("GET", ORDER, symbol=BTC, orderId=first["orderId"], origClientOrderId="b")

        assert reply.body["code"] == -2039


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        pytest.param({"symbol": "NOPEUSDT"}, -1121, "Invalid symbol.", id="symbol"),
        pytest.param({"side": "LONG"}, -1117, "Invalid side.", id="side"),
        pytest.param({"type": "STOP"}, -1116, "Invalid orderType.", id="type"),
        pytest.param({"timeInForce": "GTX"}, -1115, "Invalid timeInForce.", id="time in force"),
        pytest.param({"timeInForce": None}, -1102, "Mandatory parameter 'timeInForce'", id="missing time in force"),
        pytest.param({"price": None}, -1102, "Mandatory parameter 'price'", id="missing price"),
        pytest.param({"quantity": "1e-3"}, -1100, "Illegal characters found in parameter 'quantity'", id="exponent"),
        pytest.param({"quantity": "-1"}, -1100, "Illegal characters found in parameter 'quantity'", id="negative"),
        pytest.param({"quantity": "0.000000001"}, -1111, "Parameter 'quantity' has too much precision.", id="places"),
        pytest.param({"quantity": "0"}, -1013, "Invalid quantity.", id="nothing"),
        pytest.param({"quantity": "0.0010005"}, -1013, "Filter failure: LOT_SIZE", id="off step"),
        pytest.param({"quantity": "0.00001"}, -1013, "Filter failure: NOTIONAL", id="too little money"),
        pytest.param({"price": "50000.001"}, -1013, "Filter failure: PRICE_FILTER", id="off tick"),
        pytest.param({"price": "1.00"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE", id="far from the market"),
        pytest.param({"stopPrice": "1"}, -1106, "Parameter 'stopPrice' sent when not required.", id="stop price"),
        pytest.param({"quantity": "1"}, -2010, "Account has insufficient balance for requested action.", id="money"),
        pytest.param({"newClientOrderId": "ä"}, -1100, "Illegal characters found in parameter", id="client id"),
        pytest.param({"icebergQty": "0.0001"}, -1013, "Iceberg orders are not supported", id="iceberg"),
        pytest.param({"reduceOnly": "true"}, -1104, "Not all sent parameters were read", id="what spot does not know"),
        pytest.param({"newOrderRespType": "SHORT"}, -1130, "Data sent for parameter", id="answer type"),
    ],
)
async def test_what_is_wrong_is_named_as_the_exchange_names_it(
    params: dict[str, str | None], code: int, text: str
) -> None:
    async with running_venue() as venue:
        bid, _ = await best(venue)
        good: dict[str, str | None] = {
            "symbol": BTC,
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "price": f"{bid * Decimal('0.9'):.2f}",
            "quantity": "0.001",
        }

        reply = await venue.signed("POST", ORDER, **{**good, **params})
        tried = await venue.signed("POST", f"{ORDER}/test", **{**good, **params})

        assert (reply.status, reply.body["code"]) == (400, code)
        assert text in reply.body["msg"]
        assert tried.body == reply.body


async def test_a_try_places_nothing_and_tells_the_fees_on_request() -> None:
    async with running_venue() as venue:
        params = {"symbol": BTC, "side": "BUY", "type": "MARKET", "quantity": "0.001"}
        plain = await venue.signed("POST", f"{ORDER}/test", **params)
        asked = await venue.signed("POST", f"{ORDER}/test", **params, computeCommissionRates="true")
        orders = await venue.signed("GET", "/api/v3/allOrders", symbol=BTC)

        assert plain.body == {}
        assert asked.body["standardCommissionForOrder"] == {"maker": "0.00100000", "taker": "0.00100000"}
        assert orders.body == []


async def test_post_only_never_takes() -> None:
    async with running_venue() as venue:
        _, ask = await best(venue)

        def maker(price: Decimal) -> dict[str, str]:
            return {
                "symbol": BTC,
                "side": "BUY",
                "type": "LIMIT_MAKER",
                "price": f"{price:.2f}",
                "quantity": "0.001",
            }

        crossing = await venue.signed("POST", ORDER, **maker(ask + 10))
        resting = await venue.signed("POST", ORDER, **maker(ask * Decimal("0.95")))

        assert crossing.body == {"code": -2010, "msg": "Order would immediately match and take."}
        assert resting.status == 200
        assert "status" not in resting.body, "LIMIT_MAKER is answered with ACK unless asked otherwise"


@pytest.mark.parametrize(
    ("time_in_force", "reason"),
    [
        pytest.param("IOC", "UNFILLED_IOC_QUANTITY_EXPIRED", id="IOC"),
        pytest.param("FOK", "UNFILLED_FOK_ORDER_EXPIRED", id="FOK"),
    ],
)
async def test_what_cannot_fill_at_once_expires_with_its_reason(time_in_force: str, reason: str) -> None:
    async with running_venue() as venue:
        bid, _ = await best(venue)

        order = (await limit(venue, "BUY", bid * Decimal("0.9"), timeInForce=time_in_force)).body
        found = (await venue.signed("GET", ORDER, symbol=BTC, orderId=order["orderId"])).body

        assert order["status"] == found["status"] == "EXPIRED"
        assert found["expiryReason"] == reason


@pytest.mark.parametrize(
    ("kind", "factor", "priced"),
    [
        pytest.param("STOP_LOSS", "0.95", False, id="stop"),
        pytest.param("STOP_LOSS_LIMIT", "0.95", True, id="stop limit"),
        pytest.param("TAKE_PROFIT", "1.05", False, id="target"),
        pytest.param("TAKE_PROFIT_LIMIT", "1.05", True, id="target limit"),
    ],
)
async def test_conditional_orders_wait_outside_the_book(kind: str, factor: str, priced: bool) -> None:
    async with running_venue() as venue:
        await buy_btc(venue, "0.01")
        bid, _ = await best(venue)
        stop = f"{bid * Decimal(factor):.2f}"
        more = {"price": stop, "timeInForce": "GTC"} if priced else {}

        placed = await venue.signed(
            "POST", ORDER, symbol=BTC, side="SELL", type=kind, quantity="0.005", stopPrice=stop, **more
        )
        found = (await venue.signed("GET", ORDER, symbol=BTC, orderId=placed.body["orderId"])).body
        wrong_side = await venue.signed(
            "POST", ORDER, symbol=BTC, side="BUY", type=kind, quantity="0.005", stopPrice=stop, **more
        )

        assert set(placed.body) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
        assert (found["status"], found["isWorking"], found["workingTime"]) == ("NEW", False, -1)
        assert Decimal(found["stopPrice"]) == Decimal(stop)
        assert wrong_side.body == {"code": -2010, "msg": "Order would trigger immediately."}


async def test_an_open_client_id_is_taken_and_free_again_after_the_end() -> None:
    async with running_venue() as venue:
        bid, _ = await best(venue)
        first = await limit(venue, "BUY", bid * Decimal("0.9"), newClientOrderId="same")
        second = await limit(venue, "BUY", bid * Decimal("0.9"), newClientOrderId="same")
        await venue.signed("DELETE", ORDER, symbol=BTC, origClientOrderId="same")
        third = await limit(venue, "BUY", bid * Decimal("0.9"), newClientOrderId="same")

        assert (first.status, third.status) == (200, 200)
        assert second.body == {"code": -2010, "msg": "Duplicate order sent."}
        assert third.body["orderId"] > first.body["orderId"]


async def test_cancelling_all_of_nothing_is_refused_and_of_two_names_both() -> None:
    async with running_venue() as venue:
        bid, _ = await best(venue)
        nothing = await venue.signed("DELETE", "/api/v3/openOrders", symbol=BTC)
        for name in ("a", "b"):
            await limit(venue, "BUY", bid * Decimal("0.9"), newClientOrderId=name)
        both = await venue.signed("DELETE", "/api/v3/openOrders", symbol=BTC)

        assert nothing.body == {"code": -2011, "msg": "Unknown order sent."}
        assert [row["origClientOrderId"] for row in both.body] == ["a", "b"]
        assert {row["status"] for row in both.body} == {"CANCELED"}


async def test_a_cancel_may_be_restricted_to_orders_that_have_not_traded() -> None:
    async with running_venue() as venue:
        bid, _ = await best(venue)
        placed = (await limit(venue, "BUY", bid * Decimal("0.9"))).body
        params = {"symbol": BTC, "orderId": placed["orderId"]}
        partly = await venue.signed("DELETE", ORDER, **params, cancelRestrictions="ONLY_PARTIALLY_FILLED")
        wrong = await venue.signed("DELETE", ORDER, **params, cancelRestrictions="NEVER")
        fresh = await venue.signed("DELETE", ORDER, **params, cancelRestrictions="ONLY_NEW")

        assert partly.body == {"code": -2011, "msg": "Order was not canceled due to cancel restrictions."}
        assert wrong.body == {"code": -1145, "msg": "Invalid cancelRestrictions"}
        assert fresh.status == 200


async def test_orders_and_trades_are_paged_from_the_end_or_from_where_they_are_asked() -> None:
    async with running_venue() as venue:
        numbers = [(await buy_btc(venue, "0.001"))["orderId"] for _ in range(3)]
        newest = (await venue.signed("GET", "/api/v3/allOrders", symbol=BTC, limit=2)).body
        from_first = (await venue.signed("GET", "/api/v3/allOrders", symbol=BTC, orderId=numbers[1], limit=1)).body
        trades = (await venue.signed("GET", "/api/v3/myTrades", symbol=BTC)).body
        of_one = (await venue.signed("GET", "/api/v3/myTrades", symbol=BTC, orderId=numbers[2])).body
        later = (await venue.signed("GET", "/api/v3/myTrades", symbol=BTC, fromId=trades[1]["id"])).body
        long = await venue.signed("GET", "/api/v3/myTrades", symbol=BTC, startTime=1, endTime=90_000_000)

        assert [order["orderId"] for order in newest] == numbers[1:]
        assert [order["orderId"] for order in from_first] == [numbers[1]]
        assert {trade["orderId"] for trade in trades} == set(numbers)
        assert {trade["orderId"] for trade in of_one} == {numbers[2]}
        assert later == trades[1:]
        assert long.body == {"code": -1127, "msg": "More than 24 hours between startTime and endTime."}
        assert trades[0]["isBuyer"] is True
        assert trades[0]["isMaker"] is False
        assert trades[0]["commissionAsset"] == "BTC"


async def test_orders_that_succeed_weigh_nothing_and_those_that_fail_weigh() -> None:
    async with running_venue(limits=LimitRules(spot_weight=1_000)) as venue:
        bid, _ = await best(venue)
        before = int((await venue.get("/api/v3/ping")).headers["x-mbx-used-weight-1m"])
        good = await limit(venue, "BUY", bid * Decimal("0.9"), newClientOrderId="x")
        gone = await venue.signed("DELETE", ORDER, symbol=BTC, origClientOrderId="x")
        bad = await limit(venue, "BUY", Decimal(1))

        assert int(good.headers["x-mbx-used-weight-1m"]) == before
        assert int(gone.headers["x-mbx-used-weight-1m"]) == before
        assert int(bad.headers["x-mbx-used-weight-1m"]) == before + 1


async def test_an_order_counts_until_it_trades() -> None:
    async with running_venue(limits=LimitRules(spot_orders_10s=3)) as venue:
        bid, _ = await best(venue)
        rested = await limit(venue, "BUY", bid * Decimal("0.9"))
        for _ in range(5):
            await buy_btc(venue, "0.001")
        counts = (await venue.signed("GET", "/api/v3/rateLimit/order")).body

        assert rested.headers["x-mbx-order-count-10s"] == "1"
        assert [(row["interval"], row["intervalNum"]) for row in counts] == [("SECOND", 10), ("DAY", 1)]
        assert counts[1]["count"] == 1

        replies = [await limit(venue, "BUY", bid * Decimal("0.9")) for _ in range(7)]
        full = next(reply for reply in replies if reply.status == 429)
        assert full.body["code"] == -1015
        assert int(full.headers["retry-after"]) >= 1


async def test_a_key_that_may_not_trade_may_look_and_not_place() -> None:
    async with running_venue() as venue:
        venue.venue.floor.keys.change(venue.key, trades_spot=False)
        looked = await venue.signed("GET", "/api/v3/account")
        placed = await venue.signed("POST", ORDER, symbol=BTC, side="BUY", type="MARKET", quantity="0.001")

        assert looked.status == 200
        assert (placed.status, placed.body["code"]) == (401, -2015)


async def test_the_account_leaves_out_what_it_does_not_hold_on_request() -> None:
    async with running_venue() as venue:
        all_of_them = (await venue.signed("GET", "/api/v3/account")).body["balances"]
        held = (await venue.signed("GET", "/api/v3/account", omitZeroBalances="true")).body["balances"]

        assert [row["asset"] for row in all_of_them] == ["BTC", "USDT"]
        assert held == [{"asset": "USDT", "free": "10000.00000000", "locked": "0.00000000"}]


async def test_a_market_order_may_name_the_money_instead_of_the_quantity() -> None:
    async with spot_stage() as at:
        bought = await at.order(type="MARKET", quantity=None, quoteOrderQty="1000")
        sold = await at.order(side="SELL", type="MARKET", quantity=None, quoteOrderQty="500")

        assert (bought["status"], bought["origQuoteOrderQty"]) == ("FILLED", "1000.00000000")
        assert Decimal("999") < Decimal(bought["cummulativeQuoteQty"]) <= 1000
        assert bought["origQty"] == bought["executedQty"]
        assert Decimal("499") < Decimal(sold["cummulativeQuoteQty"]) <= 500
        assert {fill["commissionAsset"] for fill in sold["fills"]} == {"USDT"}
        both = await at.refused("POST", "order", **order_of(type="MARKET", quoteOrderQty="1000"))
        neither = await at.refused("POST", "order", **order_of(type="MARKET", quantity=None))
        little = await at.refused("POST", "order", **order_of(type="MARKET", quantity=None, quoteOrderQty="1"))
        assert both == (-1106, "Parameter 'quantity' sent when not required.")
        assert neither[0] == -1102
        assert little == (-1013, "Filter failure: NOTIONAL")


@pytest.mark.parametrize(
    ("kind", "trigger", "shown"),
    [
        pytest.param("STOP_LOSS", "54000", "53999", id="stop"),
        pytest.param("STOP_LOSS_LIMIT", "54000", "53999", id="stop limit"),
        pytest.param("TAKE_PROFIT", "66000", "66001", id="target"),
        pytest.param("TAKE_PROFIT_LIMIT", "66000", "66001", id="target limit"),
    ],
)
async def test_conditional_orders_trade_when_their_price_comes(kind: str, trigger: str, shown: str) -> None:
    async with spot_stage() as at:
        await at.buy()
        price = {"price": "53000"} if kind.endswith("LIMIT") else {}
        placed = await at.order(side="SELL", type=kind, stopPrice=trigger, **price)
        at.show(shown)
        found = await at.done("GET", "order", symbol="BTCUSDT", orderId=placed["orderId"])

        assert (found["status"], found["isWorking"]) == ("FILLED", True)
        assert found["workingTime"] >= found["time"]
        assert found["stopPrice"] == f"{trigger}.00000000"


@pytest.mark.parametrize(
    ("mode", "taker", "maker"),
    [
        pytest.param("EXPIRE_TAKER", "EXPIRED_IN_MATCH", "NEW", id="taker"),
        pytest.param("EXPIRE_MAKER", "PARTIALLY_FILLED", "EXPIRED_IN_MATCH", id="maker"),
        pytest.param("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH", id="both"),
    ],
)
async def test_where_an_order_meets_its_own_account_the_one_gives_way_that_was_named(
    mode: str, taker: str, maker: str
) -> None:
    async with spot_stage() as at:
        await at.buy()
        at.show("60000", qty="0.001")
        await at.order(side="SELL", price="60000.02", newClientOrderId="own")
        crossing = await at.order(price="60000.02", selfTradePreventionMode=mode)
        own = await at.done("GET", "order", symbol="BTCUSDT", origClientOrderId="own")

        assert crossing["selfTradePreventionMode"] == mode
        assert (crossing["status"], own["status"]) == (taker, maker)
        assert "expiryReason" not in own
        shrug = order_of(price="50000", selfTradePreventionMode="SHRUG")
        assert (await at.refused("POST", "order", **shrug))[0] == -1130
