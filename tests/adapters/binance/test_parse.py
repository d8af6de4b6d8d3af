"""Every recorded answer and every example of the documents that we ask for can be read."""

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chimera.adapters.binance import parse_futures as fut
from chimera.adapters.binance import parse_spot as spot
from chimera.adapters.binance.errors import kind_of
from chimera.adapters.binance.hosts import Site
from chimera.adapters.binance.wallet import restrictions_of
from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, WorkingType
from chimera.domain.execution.orders import IncomeKind
from chimera.ports.venue import Refused, UnknownOrder

RECORDED = "recorded-fapi-2026-09"
FUT_EXAMPLES = "official-connector-js-examples/usds-futures/rest-api"
SPOT_EXAMPLES = "official-connector-js-examples/spot/rest-api"
WALLET_EXAMPLES = "official-connector-js-examples/wallet"


def payload(folder: str, name: str) -> Any:
    shared = os.environ.get("CHIMERA_SHARED")
    if shared is None:
        pytest.skip("CHIMERA_SHARED is not set: the exchange's recorded answers are not at hand, nothing was read")
    return json.loads((Path(shared) / "payloads" / folder / f"{name}.json").read_text())


def each(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda rows: [read(row) for row in rows]


def symbols(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda info: [read(row) for row in info["symbols"]]


def bars(market: Market) -> Callable[[Any], Any]:
    return each(lambda row: fut.bar_of(market, "BTCUSDT", "1m", row))


def failure(answer: Any) -> Any:
    return kind_of(Site.FUTURES, 400, answer["code"], answer["msg"])


def fut_instrument(row: Any) -> Any:
    return fut.instrument_of(row, fut.cautious_brackets_of(row), 8)


@pytest.mark.parametrize(
    ("folder", "name", "read"),
    [
        pytest.param(folder, name, read, id=f"{folder.rpartition('/')[0] or folder}: {name}")
        for folder, name, read in [
            (RECORDED, "algo-openAlgoOrders-scientific-notation", each(fut.algo_order_of)),
            (RECORDED, "algo-placed", fut.algo_order_of),
            (RECORDED, "algo-query-canceled-1.2s-later", fut.algo_order_of),
            (RECORDED, "algo-query-still-new-after-cancel", fut.algo_order_of),
            (RECORDED, "openOrders", each(fut.order_of)),
            (RECORDED, "order-canceled", fut.order_of),
            (RECORDED, "order-new", fut.order_of),
            (RECORDED, "order-query", fut.order_of),
            (RECORDED, "positionRisk-v2-oneway", each(lambda row: fut.position_of(row, 20))),
            (RECORDED, "rest-klines", bars(Market.FUT)),
            (RECORDED, "exchangeInfo-mainnet-2026-09-11", symbols(fut_instrument)),
            (RECORDED, "exchangeInfo-testnet-2026-09-11", symbols(fut_instrument)),
            (RECORDED, "error-marginTypeNoChange-4046", failure),
            (RECORDED, "error-orderNotFound-2013", failure),
            (RECORDED, "error-orderTypeNotSupported-4120", failure),
            (FUT_EXAMPLES, "queryOrder", fut.order_of),
            (FUT_EXAMPLES, "newOrder", fut.order_of),
            (FUT_EXAMPLES, "cancelOrder", fut.order_of),
            (FUT_EXAMPLES, "currentAllOpenOrders", each(fut.order_of)),
            (FUT_EXAMPLES, "newAlgoOrder", fut.algo_order_of),
            (FUT_EXAMPLES, "queryAlgoOrder", fut.algo_order_of),
            (FUT_EXAMPLES, "currentAllAlgoOpenOrders", each(fut.algo_order_of)),
            (FUT_EXAMPLES, "accountTradeList", each(lambda row: fut.fill_of(row, "a-1"))),
            (FUT_EXAMPLES, "futuresAccountBalanceV3", each(fut.balance_of)),
            (FUT_EXAMPLES, "positionInformationV3", each(lambda row: fut.position_of(row, 20))),
            (FUT_EXAMPLES, "notionalAndLeverageBrackets", each(fut.brackets_of)),
            (FUT_EXAMPLES, "getIncomeHistory", each(fut.income_of)),
            (FUT_EXAMPLES, "markPrice", lambda row: fut.mark_of(row, 8)),
            (FUT_EXAMPLES, "orderBook", lambda row: fut.book_of(Market.FUT, "BTCUSDT", row, Decimal(1), 0)),
            (FUT_EXAMPLES, "exchangeInformation", symbols(fut_instrument)),
            (SPOT_EXAMPLES, "newOrder", spot.order_of),
            (SPOT_EXAMPLES, "getOrder", spot.order_of),
            (SPOT_EXAMPLES, "deleteOrder", spot.order_of),
            (SPOT_EXAMPLES, "getOpenOrders", each(spot.order_of)),
            (SPOT_EXAMPLES, "orderListOco", lambda answer: [spot.order_of(row) for row in answer["orderReports"]]),
            (SPOT_EXAMPLES, "deleteOrderList", lambda answer: [spot.order_of(row) for row in answer["orderReports"]]),
            (SPOT_EXAMPLES, "myTrades", each(lambda row: spot.fill_of(row, "a-1"))),
            (SPOT_EXAMPLES, "getAccount", lambda answer: [spot.balance_of(row) for row in answer["balances"]]),
            (SPOT_EXAMPLES, "depth", lambda row: fut.book_of(Market.SPOT, "BTCUSDT", row, Decimal(1), 0)),
            (SPOT_EXAMPLES, "exchangeInfo", symbols(spot.instrument_of)),
            (
                WALLET_EXAMPLES,
                "queryUserUniversalTransferHistory",
                lambda answer: [spot.transfer_of(row) for row in answer["rows"]],
            ),
        ]
    ],
)
def test_an_answer_is_read(folder: str, name: str, read: Callable[[Any], Any]) -> None:
    assert read(payload(folder, name)) is not None


def test_a_recorded_stop_is_read_field_by_field() -> None:
    (stop,) = map(fut.algo_order_of, payload(RECORDED, "algo-openAlgoOrders-scientific-notation"))

    assert stop.conditional
    assert not stop.triggered
    assert (stop.client_order_id, stop.venue_algo_id, stop.venue_order_id) == (
        "pulsetrade-test-1789363069217-pr",
        "1000000204743716",
        "",
    )
    assert (stop.type, stop.side, stop.status) == (OrderType.STOP_MARKET, Side.SELL, OrderStatus.NEW)
    assert (stop.qty, stop.stop_price, stop.price) == (Decimal("0.0007"), Decimal("74457.1"), None)
    assert stop.working_type is WorkingType.MARK_PRICE
    assert stop.created_at_ms == stop.updated_at_ms == 1789363069186


def test_a_recorded_limit_order_is_read_field_by_field() -> None:
    order = fut.order_of(payload(RECORDED, "order-canceled"))

    assert not order.conditional
    assert (order.venue_order_id, order.type, order.status) == ("28580357696", OrderType.LIMIT, OrderStatus.CANCELED)
    assert (order.price, order.qty, order.filled_qty, order.stop_price) == (
        Decimal("74260.40"),
        Decimal("0.0008"),
        Decimal(0),
        None,
    )
    assert order.reason == "USER"


def test_recorded_instruments_have_the_recorded_rules() -> None:
    rows = payload(RECORDED, "exchangeInfo-mainnet-2026-09-11")["symbols"]

    bitcoin = fut_instrument(next(row for row in rows if row["symbol"] == "BTCUSDT"))

    assert (bitcoin.tick_size, bitcoin.step_size, bitcoin.market_max_qty) == (
        Decimal("0.10"),
        Decimal("0.001"),
        Decimal(120),
    )
    assert (bitcoin.min_notional, bitcoin.percent_up, bitcoin.percent_down) == (
        Decimal(50),
        Decimal("1.05"),
        Decimal("0.95"),
    )
    assert (bitcoin.max_leverage, bitcoin.liquidation_fee_ratio) == (20, Decimal("0.0125"))
    assert bitcoin.brackets[0].maint_margin_ratio == Decimal("0.025")


def test_recorded_wallets_add_up() -> None:
    for row in payload(RECORDED, "account-v2")["assets"]:
        balance = fut.balance_of({**row, "balance": row["walletBalance"]})

        assert balance.free + balance.locked == Decimal(row["walletBalance"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("error-marginTypeNoChange-4046", Refused), ("error-orderNotFound-2013", UnknownOrder)],
)
def test_recorded_failures_mean_what_they_should(name: str, kind: type[Refused]) -> None:
    assert failure(payload(RECORDED, name)) is kind


BRACKET_ROW = {
    "symbol": "BTCUSDT",
    "brackets": [
        {
            "bracket": 2,
            "initialLeverage": 100,
            "notionalCap": 600000,
            "notionalFloor": 300000,
            "maintMarginRatio": 0.005,
            "cum": 300.0,
        },
        {
            "bracket": 1,
            "initialLeverage": 125,
            "notionalCap": 300000,
            "notionalFloor": 0,
            "maintMarginRatio": 0.004,
            "cum": 0.0,
        },
    ],
}


def test_leverage_tiers_are_sorted_and_exact() -> None:
    low, high = fut.brackets_of(BRACKET_ROW)

    assert (low.bracket, low.notional_floor, low.maint_margin_ratio) == (1, Decimal(0), Decimal("0.004"))
    assert (high.cum, high.notional_cap, high.maint_margin_ratio) == (Decimal(300), Decimal(600_000), Decimal("0.005"))


@pytest.mark.parametrize(
    ("wallet", "available", "free", "locked"),
    [
        pytest.param("1000.5", "1000.5", "1000.5", "0", id="nothing open"),
        pytest.param("1000.5", "880.1", "880.1", "120.4", id="isolated and order margin"),
        pytest.param("1000.5", "1010", "1000.5", "0", id="a cross profit is not money"),
        pytest.param("10", "-5", "-5", "15", id="more locked than there is"),
    ],
)
def test_free_and_locked_are_the_wallet(wallet: str, available: str, free: str, locked: str) -> None:
    balance = fut.balance_of({"asset": "USDT", "balance": wallet, "availableBalance": available})

    assert (balance.free, balance.locked) == (Decimal(free), Decimal(locked))


def test_income_that_nobody_knows_came_from_outside_of_trading() -> None:
    row = {
        "symbol": "",
        "incomeType": "WELCOME_BONUS",
        "income": "5",
        "asset": "USDT",
        "info": "",
        "time": 1,
        "tranId": 7,
    }

    income = fut.income_of(row)

    assert (income.kind, income.detail) == (IncomeKind.TRANSFER, "WELCOME_BONUS")


@pytest.mark.parametrize(
    ("status", "qty", "done", "expected"),
    [
        pytest.param("NEW", "1", "0", OrderStatus.NEW, id="waits"),
        pytest.param("TRIGGERING", "1", "0", OrderStatus.NEW, id="is being triggered"),
        pytest.param("FINISHED", "1", "1", OrderStatus.FILLED, id="finished and filled"),
        pytest.param("FINISHED", "1", "0.4", OrderStatus.CANCELED, id="finished in part"),
        pytest.param("CANCELED", "1", "1", OrderStatus.CANCELED, id="canceled, whatever the quantity says"),
        pytest.param("EXPIRED", "1", "", OrderStatus.CANCELED, id="expired"),
        pytest.param("REJECTED", "1", "", OrderStatus.REJECTED, id="rejected at its trigger"),
    ],
)
def test_how_an_algo_order_stands(status: str, qty: str, done: str, expected: OrderStatus) -> None:
    row = {
        "algoId": 1,
        "clientAlgoId": "a-1",
        "orderType": "STOP_MARKET",
        "symbol": "BTCUSDT",
        "side": "SELL",
        "quantity": qty,
        "algoStatus": status,
        "actualQty": done,
        "createTime": 1,
        "updateTime": 2,
    }

    order = fut.algo_order_of(row)

    assert order.status is expected
    assert (order.reason is not None) == (expected in (OrderStatus.CANCELED, OrderStatus.REJECTED))


def test_a_status_that_is_new_to_us_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="'MELTED'"):
        fut.order_of(
            {
                "type": "LIMIT",
                "updateTime": 1,
                "clientOrderId": "a",
                "orderId": 1,
                "symbol": "BTCUSDT",
                "side": "BUY",
                "status": "MELTED",
            }
        )


def test_a_canceled_spot_order_keeps_the_name_that_we_gave_it() -> None:
    row = {
        "symbol": "BTCUSDT",
        "origClientOrderId": "a-1",
        "orderId": 4,
        "orderListId": 7,
        "clientOrderId": "cancel-of-it",
        "transactTime": 10,
        "price": "2.0",
        "origQty": "1.0",
        "executedQty": "0.5",
        "cummulativeQuoteQty": "1.0",
        "status": "EXPIRED",
        "expiryReason": "OCO_TRIGGER",
        "timeInForce": "GTC",
        "type": "STOP_LOSS_LIMIT",
        "side": "SELL",
        "stopPrice": "1.9",
    }

    order = spot.order_of(row)

    assert (order.client_order_id, order.order_list_id) == ("a-1", "7")
    assert (order.status, order.reason) == (OrderStatus.CANCELED, "OCO_TRIGGER")
    assert order.filled_quote == Decimal("1.0")
    assert not order.triggered


def test_spot_rules_take_the_tighter_price_limit_and_the_step_that_holds() -> None:
    row = {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "filters": [
            {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
            {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000", "stepSize": "0.00001000"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0", "maxQty": "116.5", "stepSize": "0.00000000"},
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": "2",
                "bidMultiplierDown": "0.2",
                "askMultiplierUp": "5",
                "askMultiplierDown": "0.5",
            },
        ],
    }

    rules = spot.instrument_of(row)

    assert rules is not None
    assert (rules.market_step, rules.market_max_qty) == (Decimal("0.00001"), Decimal("116.5"))
    assert (rules.percent_up, rules.percent_down, rules.min_notional) == (Decimal(2), Decimal("0.5"), Decimal(5))
    assert spot.instrument_of({**row, "quoteAsset": "FDUSD"}) is None
    assert spot.instrument_of({**row, "filters": row["filters"][:1]}) is None


@pytest.mark.parametrize(
    ("change", "known"),
    [
        pytest.param({}, True, id="confirmed"),
        pytest.param({"status": "PENDING"}, True, id="on its way counts"),
        pytest.param({"status": "FAILED"}, False, id="failed does not"),
        pytest.param({"type": "MAIN_MARGIN"}, False, id="another wallet"),
    ],
)
def test_which_transfers_count(change: dict[str, str], known: bool) -> None:
    row = {
        "asset": "USDT",
        "amount": "1",
        "type": "MAIN_UMFUTURE",
        "status": "CONFIRMED",
        "tranId": 1,
        "timestamp": 2,
        **change,
    }

    assert (spot.transfer_of(row) is not None) is known


def test_a_permission_that_is_not_named_is_not_given() -> None:
    answer = {"ipRestrict": True, "enableWithdrawals": False, "enableFutures": True, "enableReading": True}

    found = restrictions_of(answer)

    assert found.futures
    assert found.ip_restricted
    assert not found.withdrawals
    assert not found.spot_trading
    assert found.expires_at_ms is None
