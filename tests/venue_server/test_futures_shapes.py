"""Our answers have the keys and JSON types of recorded ones: real recordings first, then the documents' examples.

From the recordings nothing differs; each difference from the documents is named with its reason.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.venue_server.shapes import differences, payload
from tests.venue_server.staging import Stage, order_of, stage

R = "recorded-fapi-2026-09"
D = "official-connector-js-examples/usds-futures/rest-api"

HEDGED = {"activatePrice", "priceRate"}
"""The documents show trailing orders in the regular book: since 2025-12-09 those live in the algo book."""

Ask = Callable[[Stage], Awaitable[Any]]


async def order_new(at: Stage) -> Any:
    return await at.order(price="59000")


async def order_canceled(at: Stage) -> Any:
    order = await at.order(price="59000")
    return await at.done("DELETE", "v1/order", symbol="BTCUSDT", orderId=order["orderId"])


async def order_queried(at: Stage) -> Any:
    order = await at.order(price="59000")
    return await at.done("GET", "v1/order", symbol="BTCUSDT", orderId=order["orderId"])


async def open_order(at: Stage) -> Any:
    order = await at.order(price="59000")
    return await at.done("GET", "v1/openOrder", symbol="BTCUSDT", orderId=order["orderId"])


async def order_amended(at: Stage) -> Any:
    order = await at.order(price="59000")
    return await at.done(
        "PUT",
        "v1/order",
        symbol="BTCUSDT",
        side="BUY",
        orderId=order["orderId"],
        quantity="0.2",
        price="59001",
        modifyId=7,
    )


async def orders_amended(at: Stage) -> Any:
    order = await at.order(price="59000")
    change = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "orderId": order["orderId"],
        "quantity": "0.2",
        "price": "59001",
        "modifyId": 7,
    }
    return await at.done("PUT", "v1/batchOrders", batchOrders=json.dumps([change]))


async def orders_placed(at: Stage) -> Any:
    return await at.done("POST", "v1/batchOrders", batchOrders=json.dumps([order_of(price="59000")]))


async def orders_canceled(at: Stage) -> Any:
    order = await at.order(price="59000")
    return await at.done("DELETE", "v1/batchOrders", symbol="BTCUSDT", orderIdList=json.dumps([order["orderId"]]))


async def order_tested(at: Stage) -> Any:
    return await at.done("POST", "v1/order/test", **order_of(price="59000"))


async def open_orders(at: Stage) -> Any:
    await at.order(price="59000")
    return await at.done("GET", "v1/openOrders", symbol="BTCUSDT")


async def all_orders(at: Stage) -> Any:
    await at.order(price="59000")
    return await at.done("GET", "v1/allOrders", symbol="BTCUSDT")


async def algo_placed(at: Stage) -> Any:
    return await at.stop(triggerPrice="59000")


async def trailing_placed(at: Stage) -> Any:
    return await at.stop(type="TRAILING_STOP_MARKET", callbackRate="1")


async def algo_open(at: Stage) -> Any:
    await at.stop(triggerPrice="59000")
    return await at.done("GET", "v1/openAlgoOrders")


async def algo_queried(at: Stage) -> Any:
    order = await at.stop(triggerPrice="59000")
    return await at.done("GET", "v1/algoOrder", algoId=order["algoId"])


async def algo_triggered(at: Stage) -> Any:
    await at.order(type="MARKET", price=None)
    order = await at.stop(triggerPrice="59000")
    at.show("58990.00")
    return await at.done("GET", "v1/algoOrder", algoId=order["algoId"])


async def algo_all(at: Stage) -> Any:
    await at.stop(triggerPrice="59000")
    return await at.done("GET", "v1/allAlgoOrders", symbol="BTCUSDT")


async def algo_canceled(at: Stage) -> Any:
    order = await at.stop(triggerPrice="59000")
    return await at.done("DELETE", "v1/algoOrder", clientAlgoId=order["clientAlgoId"])


async def algo_queried_canceled(at: Stage) -> Any:
    order = await at.stop(triggerPrice="59000")
    await at.done("DELETE", "v1/algoOrder", algoId=order["algoId"])
    return await at.done("GET", "v1/algoOrder", algoId=order["algoId"])


async def liquidated(at: Stage) -> Any:
    await at.order(type="MARKET")
    at.show("50000.00")
    return await at.done("GET", "v1/forceOrders", **BTC)


async def margin_added(at: Stage) -> Any:
    await at.order(type="MARKET")
    return await at.done("POST", "v1/positionMargin", symbol="BTCUSDT", amount="10", type=1)


async def margin_history(at: Stage) -> Any:
    await margin_added(at)
    return await at.done("GET", "v1/positionMargin/history", symbol="BTCUSDT")


def refused(method: str, path: str, **params: Any) -> Ask:
    async def ask(at: Stage) -> Any:
        return (await at.api(method, path, **params)).body

    return ask


def just(method: str, path: str, *, bought: bool = False, **params: Any) -> Ask:
    """The answer to one request; with `bought`, after a position was opened at the market."""

    async def ask(at: Stage) -> Any:
        if bought:
            await at.order(type="MARKET")
        return await at.done(method, path, **params)

    return ask


BTC = {"symbol": "BTCUSDT"}

RECORDED: dict[str, Ask] = {
    "order-new": order_new,
    "order-canceled": order_canceled,
    "order-query": order_queried,
    "openOrders": open_orders,
    "cancelAll": just("DELETE", "v1/allOpenOrders", **BTC),
    "algo-placed": algo_placed,
    "algo-openAlgoOrders-scientific-notation": algo_open,
    "algo-query-still-new-after-cancel": algo_queried,
    "algo-query-canceled-1.2s-later": algo_queried_canceled,
    "algo-cancelAck": algo_canceled,
    "leverage": just("POST", "v1/leverage", **BTC, leverage=20),
    "account-v2": just("GET", "v2/account", bought=True),
    "positionRisk-v2-oneway": just("GET", "v2/positionRisk", bought=True),
    "rest-klines": just("GET", "v1/klines", **BTC, interval="1m", limit=2),
    "exchangeInfo-mainnet-2026-09-11": just("GET", "v1/exchangeInfo"),
    "exchangeInfo-testnet-2026-09-11": just("GET", "v1/exchangeInfo"),
    "error-marginTypeNoChange-4046": refused("POST", "v1/marginType", **BTC, marginType="ISOLATED"),
    "error-orderNotFound-2013": refused("GET", "v1/order", **BTC, orderId=123456),
    "error-orderTypeNotSupported-4120": refused("POST", "v1/order", **order_of(type="STOP_MARKET")),
}

TRAILING = {f"{where}.{key} missing": "trailing orders live in the algo book" for where in ("", "[]") for key in HEDGED}
ICEBERG = {
    f"{where}.icebergQuantity is NoneType not str": "recorded as null; the documents write the word"
    for where in ("", "[]")
}
BATCH_ERROR = {f"[].{key} missing": "the documents show an error in the same element" for key in ("code", "msg")}
NEVER_DRAWN = {f"[].{key} missing": "recorded answers have none of them" for key in ("actualPrice", "tpOrderType")} | {
    f"[].{leg}{part} missing": "recorded answers have none of them"
    for leg in ("tp", "sl")
    for part in ("TriggerPrice", "Price")
}

DOCUMENTED: dict[str, tuple[Ask, dict[str, str]]] = {
    "newOrder": (order_new, {}),
    "testOrder": (order_tested, {}),
    "cancelOrder": (order_canceled, {}),
    "modifyOrder": (order_amended, {}),
    "modifyMultipleOrders": (orders_amended, {}),
    "placeMultipleOrders": (orders_placed, {}),
    "cancelMultipleOrders": (orders_canceled, {}),
    "queryOrder": (order_queried, {}),
    "queryCurrentOpenOrder": (open_order, {}),
    "currentAllOpenOrders": (open_orders, {"[].strategyType extra": "recorded so"}),
    "allOrders": (all_orders, {}),
    "usersForceOrders": (liquidated, {}),
    "cancelAllOpenOrders": (just("DELETE", "v1/allOpenOrders", **BTC), {}),
    "autoCancelAllOpenOrders": (just("POST", "v1/countdownCancelAll", **BTC, countdownTime=0), {}),
    "newAlgoOrder": (trailing_placed, {}),
    "queryAlgoOrder": (algo_triggered, {}),
    "queryAllAlgoOrders": (algo_all, {}),
    "currentAllAlgoOpenOrders": (algo_open, {"[].actualQty extra": "recorded so"}),
    "cancelAlgoOrder": (algo_canceled, {}),
    "cancelAllAlgoOpenOrders": (just("DELETE", "v1/algoOpenOrders", **BTC), {}),
    "accountInformationV2": (
        just("GET", "v2/account", bought=True),
        {f".positions[].{key} extra": "recorded so" for key in ("breakEvenPrice", "notional", "isolatedWallet")},
    ),
    "accountInformationV3": (just("GET", "v3/account", bought=True), {}),
    "futuresAccountBalanceV2": (just("GET", "v2/balance"), {}),
    "futuresAccountBalanceV3": (just("GET", "v3/balance"), {}),
    "positionInformationV2": (
        just("GET", "v2/positionRisk", bought=True),
        {f"[].{key} extra": "recorded so" for key in ("isolated", "adlQuantile")},
    ),
    "positionInformationV3": (just("GET", "v3/positionRisk", bought=True), {}),
    "accountTradeList": (just("GET", "v1/userTrades", bought=True, **BTC), {}),
    "getIncomeHistory": (just("GET", "v1/income", bought=True), {}),
    "userCommissionRate": (just("GET", "v1/commissionRate", **BTC), {}),
    "changeInitialLeverage": (just("POST", "v1/leverage", **BTC, leverage=10), {}),
    "changeMarginType": (just("POST", "v1/marginType", **BTC, marginType="CROSSED"), {}),
    "changePositionMode": (just("POST", "v1/positionSide/dual", dualSidePosition="true"), {}),
    "getCurrentPositionMode": (just("GET", "v1/positionSide/dual"), {}),
    "changeMultiAssetsMode": (just("POST", "v1/multiAssetsMargin", multiAssetsMargin="true"), {}),
    "getCurrentMultiAssetsMode": (just("GET", "v1/multiAssetsMargin"), {}),
    "modifyIsolatedPositionMargin": (
        margin_added,
        {".amount is float not int": "the example is a whole number; amounts have a fraction"},
    ),
    "getPositionMarginChangeHistory": (margin_history, {}),
    "notionalAndLeverageBrackets": (
        just("GET", "v1/leverageBracket"),
        {"[].notionalCoef missing": "only where the account has one of its own"},
    ),
    "symbolConfiguration": (just("GET", "v1/symbolConfig"), {}),
    "futuresAccountConfiguration": (just("GET", "v1/accountConfig"), {}),
    "futuresTradingQuantitativeRulesIndicators": (
        just("GET", "v1/apiTradingStatus"),
        {
            f".indicators.{key} missing": "nobody breaks the trading rules here"
            for key in ("BTCUSDT", "ETHUSDT", "ACCOUNT")
        },
    ),
    "queryUserRateLimit": (just("GET", "v1/rateLimit/order"), {}),
    "getBnbBurnStatus": (just("GET", "v1/feeBurn"), {}),
    "startUserDataStream": (just("POST", "v1/listenKey"), {}),
    "checkServerTime": (just("GET", "v1/time"), {}),
    "orderBook": (just("GET", "v1/depth", **BTC), {}),
    "klineCandlestickData": (just("GET", "v1/klines", **BTC, interval="1m", limit=2), {}),
    "markPriceKlineCandlestickData": (just("GET", "v1/markPriceKlines", **BTC, interval="1m", limit=2), {}),
    "markPrice": (just("GET", "v1/premiumIndex", **BTC), {}),
    "getFundingRateHistory": (just("GET", "v1/fundingRate", **BTC), {}),
    "getFundingRateInfo": (just("GET", "v1/fundingInfo"), {}),
    "symbolOrderBookTicker": (just("GET", "v1/ticker/bookTicker", **BTC), {}),
    "symbolPriceTicker": (just("GET", "v1/ticker/price", **BTC), {}),
    "symbolPriceTickerV2": (just("GET", "v2/ticker/price", **BTC), {}),
    "ticker24hrPriceChangeStatistics": (just("GET", "v1/ticker/24hr", **BTC), {}),
    "compressedAggregateTradesList": (just("GET", "v1/aggTrades", **BTC), {}),
    "recentTradesList": (just("GET", "v1/trades", **BTC), {}),
}


def shared_reasons(name: str) -> dict[str, str]:
    """What holds for several examples of the documents."""
    reasons: dict[str, str] = {}
    if "priceRate" in str(payload(f"{D}/{name}.json")):
        reasons |= TRAILING
    if "icebergQuantity" in str(payload(f"{D}/{name}.json")):
        reasons |= ICEBERG
    if name.endswith("MultipleOrders"):
        reasons |= BATCH_ERROR
    if name == "currentAllAlgoOpenOrders":
        reasons |= NEVER_DRAWN
    return reasons


@pytest.mark.parametrize("name", RECORDED)
async def test_an_answer_has_the_shape_of_a_recorded_one(name: str) -> None:
    theirs = payload(f"{R}/{name}.json")

    async with stage() as at:
        ours = await RECORDED[name](at)

    assert differences(ours, theirs) == set()
    if name.startswith("error") or name == "cancelAll":
        assert ours == theirs


@pytest.mark.parametrize("name", DOCUMENTED)
async def test_an_answer_has_the_shape_of_the_documents_example(name: str) -> None:
    ask, known = DOCUMENTED[name]
    theirs = payload(f"{D}/{name}.json")

    async with stage() as at:
        ours = await ask(at)

    found = differences(ours, theirs)
    assert found - set(shared_reasons(name)) == set(known)
