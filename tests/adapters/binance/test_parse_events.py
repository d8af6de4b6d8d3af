import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from chimera.adapters.binance.parse_events import (
    algo_order,
    bar_of,
    futures_order,
    mark_of,
    spot_order,
    ticker_of,
)
from chimera.adapters.binance.refused import BadEvent
from chimera.contracts.enums import Market, OrderStatus, OrderType, TimeInForce, WorkingType
from chimera.domain.market.quotes import Bar, MarkPrice


def recorded(*path: str) -> Any:
    shared = os.environ.get("CHIMERA_SHARED")
    if shared is None:
        pytest.skip("CHIMERA_SHARED is not set: recorded payloads are not at hand, none was read")
    return orjson.loads((Path(shared).joinpath("payloads", *path)).read_bytes())


def test_the_recorded_closed_bar() -> None:
    data = recorded("recorded-fapi-2026-09", "ws-kline-closed.json")["data"]

    assert bar_of(Market.FUT, data["s"], data["k"]) == Bar(
        Market.FUT, "BTCUSDT", "1m", 1789117320000, 77332.0, 77366.2, 77324.2, 77334.0, 4.6853
    )


@pytest.mark.parametrize("name", ["ws-kline-inprogress-1.json", "ws-kline-inprogress-2.json"])
def test_recorded_open_bars_say_that_they_are_open(name: str) -> None:
    assert recorded("recorded-fapi-2026-09", name)["data"]["k"]["x"] is False


def test_the_recorded_mark() -> None:
    data = recorded("recorded-fapi-2026-09", "ws-markPrice.json")["data"]

    assert mark_of(data, 8) == MarkPrice(
        1789117371000, "ETHUSDT", Decimal("2475.24000000"), 0.00007346, 1789142400000, 8
    )


def test_the_recorded_stop_from_its_placement_to_its_end() -> None:
    new = algo_order(recorded("recorded-fapi-2026-09", "ws-ALGO_UPDATE-new.json"))
    canceled = algo_order(recorded("recorded-fapi-2026-09", "ws-ALGO_UPDATE-canceled.json"))

    assert new.client_order_id == canceled.client_order_id == "pulsetrade-test-1789363069217-pr"
    assert new.venue_algo_id == "1000000204743716"
    assert (new.type, new.stop_price, new.price) == (OrderType.STOP_MARKET, Decimal("74457.1"), None)
    assert (new.qty, new.filled_qty, new.venue_order_id) == (Decimal("0.0007"), Decimal(0), "")
    assert (new.working_type, new.conditional, new.triggered) == (WorkingType.MARK_PRICE, True, False)
    assert (new.status, new.created_at_ms, new.reason) == (OrderStatus.NEW, 1789363069186, None)
    assert (canceled.status, canceled.updated_at_ms, canceled.reason) == (
        OrderStatus.CANCELED,
        1789363071983,
        "USER",
    )


def test_the_documented_best_prices() -> None:
    data = recorded(
        "official-connector-js-examples",
        "usds-futures",
        "websocket-streams",
        "individualSymbolBookTickerStreams.json",
    )

    ticker = ticker_of(data, 0)

    assert (ticker.update_id, ticker.ts) == (400900217, 1568014460893)
    assert (ticker.bid, ticker.bid_qty, ticker.ask, ticker.ask_qty) == (
        "25.35190000",
        "31.21000000",
        "25.36520000",
        "40.66000000",
    )


FILLED_STOP = {
    "e": "ORDER_TRADE_UPDATE",
    "E": 1765429857032,
    "T": 1765429857030,
    "o": {"s": "BTCUSDT", "c": "stop", "S": "SELL", "o": "MARKET", "f": "GTC", "q": "0.003", "p": "0", "ap": "89000"}
    | {"sp": "0", "x": "TRADE", "X": "FILLED", "i": 12, "l": "0.003", "z": "0.003", "L": "89000.1", "N": "BNB"}
    | {"n": "1.5E-4", "T": 1765429857030, "t": 44, "m": False, "R": True, "wt": "CONTRACT_PRICE", "ot": "MARKET"}
    | {"ps": "BOTH", "cp": False, "rp": "-3.25", "V": "EXPIRE_MAKER", "si": 0, "ss": 0, "gtd": 0},
}


def test_a_futures_fill() -> None:
    order, fill = futures_order(FILLED_STOP)

    assert fill is not None
    assert (fill.trade_id, fill.price, fill.qty) == (44, Decimal("89000.1"), Decimal("0.003"))
    assert (fill.fee, fill.fee_asset, fill.realized_pnl_usdt) == (Decimal("0.00015"), "BNB", Decimal("-3.25"))
    assert (order.status, order.price, order.stop_price, order.reduce_only) == (OrderStatus.FILLED, None, None, True)
    assert order.created_at_ms == 0


def changed(event: dict[str, Any], **more: Any) -> dict[str, Any]:
    return event | {"o": event["o"] | more}


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        pytest.param(changed(FILLED_STOP, X="CANCELED", x="CANCELED"), "USER", id="canceled"),
        pytest.param(
            changed(FILLED_STOP, X="EXPIRED", x="EXPIRED", f="IOC"), "UNFILLED_IOC_QUANTITY_EXPIRED", id="IOC"
        ),
        pytest.param(changed(FILLED_STOP, X="EXPIRED", x="EXPIRED", f="FOK"), "UNFILLED_FOK_ORDER_EXPIRED", id="FOK"),
        pytest.param(changed(FILLED_STOP, X="EXPIRED", x="EXPIRED", f="GTX"), "EXPIRED", id="post-only"),
        pytest.param(changed(FILLED_STOP, X="EXPIRED", x="EXPIRED", er="4"), "REDUCE_ONLY_REJECT", id="said"),
        pytest.param(changed(FILLED_STOP, X="EXPIRED_IN_MATCH", x="EXPIRED"), "EXPIRED_IN_MATCH", id="own order"),
        pytest.param(changed(FILLED_STOP, c="autoclose-1"), "LIQUIDATION", id="liquidation"),
        pytest.param(changed(FILLED_STOP, c="adl_autoclose"), "LIQUIDATION", id="deleveraged"),
    ],
)
def test_why_a_futures_order_ended(event: dict[str, Any], reason: str) -> None:
    order, fill = futures_order(event)

    assert order.reason == reason
    assert order.status in (OrderStatus.CANCELED, OrderStatus.FILLED)
    assert (fill is None) is (order.status is OrderStatus.CANCELED)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        pytest.param("adl_autoclose", "adl_autoclose-12", id="one name for all of a kind"),
        pytest.param("adl_autoclose-7", "adl_autoclose-7", id="a suffix of its own"),
        pytest.param("autoclose-1596107620040000020", "autoclose-1596107620040000020", id="liquidation"),
        pytest.param("settlement_autoclose-7", "settlement_autoclose-7", id="settlement"),
        pytest.param("my_adl_autoclose", "my_adl_autoclose", id="somebody's own"),
    ],
)
def test_an_order_of_the_exchanges_own_is_told_from_the_next(told: str, name: str) -> None:
    order, fill = futures_order(changed(FILLED_STOP, c=told))

    assert fill is not None
    assert (order.client_order_id, fill.client_order_id) == (name, name)


@pytest.mark.parametrize("word", ["NEW", "NEW_ADL", "NEW_INSURANCE"])
def test_an_order_that_takes_over_a_position_is_one_that_may_fill_yet(word: str) -> None:
    order, fill = futures_order(changed(FILLED_STOP, c="autoclose-1", X=word, x="CALCULATED", t=0, l="0", z="0"))

    assert (order.status, order.filled_qty, fill) == (OrderStatus.NEW, Decimal(0), None)


@pytest.mark.parametrize(
    ("more", "fee", "asset"),
    [
        pytest.param({"n": None, "N": None}, "0", "USDT", id="null"),
        pytest.param({"n": "0", "N": "USDT"}, "0", "USDT", id="0"),
        pytest.param({"n": "-0.01", "N": "USDT"}, "-0.01", "USDT", id="a rebate"),
    ],
)
def test_a_fee_may_be_left_out(more: dict[str, Any], fee: str, asset: str) -> None:
    _, fill = futures_order(changed(FILLED_STOP, **more))

    assert fill is not None
    assert (fill.fee, fill.fee_asset) == (Decimal(fee), asset)


def test_a_triggered_order_is_known_by_its_original_type() -> None:
    order, _ = futures_order(changed(FILLED_STOP, ot="STOP_MARKET", sp="89010"))

    assert (order.type, order.conditional, order.triggered) == (OrderType.STOP_MARKET, True, True)
    assert order.stop_price == Decimal(89010)


@pytest.mark.parametrize(("word", "status"), [("3", OrderStatus.FILLED), ("1", OrderStatus.CANCELED)])
def test_a_finished_algo_order_tells_how_by_what_it_filled(word: str, status: OrderStatus) -> None:
    event = {
        "e": "ALGO_UPDATE",
        "E": 9,
        "T": 8,
        "o": {"caid": "stop", "aid": 5, "o": "STOP_MARKET", "s": "BTCUSDT", "S": "SELL", "f": "GTE_GTC", "q": "3"}
        | {"X": "FINISHED", "ai": "99", "ap": "89", "aq": word, "tp": "90", "p": "0", "wt": "MARK_PRICE", "cp": False},
    }

    order = algo_order(event)

    assert (order.status, order.filled_qty, order.venue_order_id) == (status, Decimal(word), "99")
    assert (order.time_in_force, order.triggered) == (TimeInForce.GTC, True)


EXECUTION = {
    "e": "executionReport",
    "E": 1499405658658,
    "s": "ETHBTC",
    "c": "cancel-request",
    "S": "SELL",
    "o": "STOP_LOSS_LIMIT",
    "f": "GTC",
    "q": "1.00000000",
    "p": "0.10264410",
    "P": "0.11000000",
    "g": 17,
    "C": "the-original",
    "x": "CANCELED",
    "X": "CANCELED",
    "r": "NONE",
    "i": 4293153,
    "l": "0.00000000",
    "z": "0.00000000",
    "L": "0.00000000",
    "n": "0",
    "N": None,
    "T": 1499405658657,
    "t": -1,
    "w": False,
    "m": False,
    "O": 1499405600000,
}


def test_a_canceled_spot_order_is_named_by_its_original_id() -> None:
    order, fill = spot_order(EXECUTION)

    assert (order.client_order_id, order.reason, order.order_list_id) == ("the-original", "USER", "17")
    assert (order.price, order.stop_price, order.triggered) == (Decimal("0.10264410"), Decimal("0.11"), False)
    assert (order.created_at_ms, order.updated_at_ms) == (1499405600000, 1499405658657)
    assert fill is None


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param({"X": "EXPIRED", "x": "EXPIRED", "eR": "OCO_TRIGGER"}, "OCO_TRIGGER", id="the other leg"),
        pytest.param({"X": "EXPIRED", "x": "EXPIRED"}, "EXPIRED", id="not said"),
        pytest.param({"X": "REJECTED", "x": "REJECTED", "r": "INSUFFICIENT_BALANCES"}, "INSUFFICIENT_BALANCES", id="r"),
        pytest.param({"X": "NEW", "x": "NEW"}, None, id="open"),
    ],
)
def test_why_a_spot_order_ended(more: dict[str, Any], reason: str | None) -> None:
    order, _ = spot_order(EXECUTION | {"C": "", "c": "ours"} | more)

    assert (order.client_order_id, order.reason) == ("ours", reason)


def test_a_spot_stop_is_triggered_once_it_is_in_the_book() -> None:
    order, _ = spot_order(EXECUTION | {"X": "NEW", "x": "NEW", "w": True})

    assert order.triggered


@pytest.mark.parametrize("missing", ["s", "S", "q", "z", "X", "i", "o"])
def test_an_order_without_what_makes_one_is_refused(missing: str) -> None:
    event = {key: value for key, value in EXECUTION.items() if key != missing}

    with pytest.raises((KeyError, BadEvent)):
        spot_order(event)
