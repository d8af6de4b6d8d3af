"""python-binance against our exchange: its asynchronous client, its WebSocket API and its stream sockets.

Only its addresses are changed. Its readers look up whether they shall end when something comes, or else after their
time is out, which is made shorter here.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from tests.clients.markets import PATIENCE_S, Markets, ed25519_key
from tests.venue_server.running import KEY, SECRET

D = Decimal
BTC = {"symbol": "BTCUSDT"}
HOUR_MS = 3_600_000
READER_S = 0.5


@asynccontextmanager
async def client_of(markets: Markets, key: str = KEY, **secret: str) -> AsyncIterator[Any]:
    from binance import AsyncClient  # half a second, and only here

    http, ws = markets.venue.url, markets.venue.ws

    class Client(AsyncClient):
        API_URL = f"{http}/api"
        MARGIN_API_URL = f"{http}/sapi"
        FUTURES_URL = f"{http}/fapi"
        FUTURES_DATA_URL = f"{http}/futures/data"
        WS_API_URL = f"{ws}/ws-api/v3"

    made = await Client.create(key, **(secret or {"api_secret": SECRET}))
    made.ws_api.TIMEOUT = READER_S
    try:
        yield made
    finally:
        await made.close_connection()


@pytest.fixture
async def client(markets: Markets) -> AsyncIterator[Any]:
    async with client_of(markets) as made:
        yield made


@pytest.fixture
def sockets(client: Any, markets: Markets) -> Any:
    from binance import BinanceSocketManager

    class Sockets(BinanceSocketManager):
        STREAM_URL = f"{markets.venue.ws}/"
        FSTREAM_URL = f"{markets.venue.ws}/"

    return Sockets(client)


@asynccontextmanager
async def opened(socket: Any) -> AsyncIterator[Any]:
    socket.TIMEOUT = READER_S
    async with socket:
        yield socket


async def told_by(socket: Any, last: Callable[[Any], bool]) -> list[Any]:
    """What came, until one that is the last; `e` error is what the client makes of trouble with the connection."""
    told: list[Any] = []
    async with asyncio.timeout(PATIENCE_S):
        while not (told and last(told[-1])):
            told.append(await socket.recv())
            assert told[-1].get("e") != "error", told[-1]
    return told


def orders_of(client: Any, market: str) -> dict[str, Any]:
    """The same seven calls of either market."""
    if market == "spot":
        return {
            "place": client.create_order,
            "get": client.get_order,
            "cancel": client.cancel_order,
            "open": client.get_open_orders,
            "all": client.get_all_orders,
            "trades": client.get_my_trades,
            "maker": {"type": "LIMIT_MAKER"},
        }
    return {
        "place": client.futures_create_order,
        "get": client.futures_get_order,
        "cancel": client.futures_cancel_order,
        "open": client.futures_get_open_orders,
        "all": client.futures_get_all_orders,
        "trades": client.futures_account_trades,
        "maker": {"type": "LIMIT", "timeInForce": "GTX"},
    }


EITHER = pytest.mark.parametrize("market", ["futures", "spot"])


# --- what anybody may ask


async def test_its_clock_follows_the_exchanges(client: Any, markets: Markets) -> None:
    futures, spot = await client.futures_time(), await client.get_server_time()

    assert abs(futures["serverTime"] - markets.venue.now_ms) < 1_000
    assert abs(spot["serverTime"] - markets.venue.now_ms) < 1_000
    assert (await client.get_asset_balance("USDT"))["free"] == "10000.00000000"


async def test_a_clock_that_is_off_is_refused(client: Any) -> None:
    from binance.exceptions import BinanceAPIException

    for off_ms, text in ((-20_000, "outside of the recvWindow"), (20_000, "ahead of the server's time")):
        client.timestamp_offset += off_ms
        for ask in (client.get_account, client.futures_account):
            with pytest.raises(BinanceAPIException, match=text) as refused:
                await ask()
            assert (refused.value.code, refused.value.status_code) == (-1021, 400)
        client.timestamp_offset -= off_ms


async def test_it_learns_the_rules(client: Any) -> None:
    spot = await client.get_symbol_info("BTCUSDT")
    futures = next(row for row in (await client.futures_exchange_info())["symbols"] if row["symbol"] == "BTCUSDT")

    for rules, tick, step in ((spot, "0.01", "0.00001"), (futures, "0.1", "0.001")):
        filters = {row["filterType"]: row for row in rules["filters"]}
        assert D(filters["PRICE_FILTER"]["tickSize"]) == D(tick)
        assert D(filters["LOT_SIZE"]["stepSize"]) == D(step)
        assert (rules["status"], rules["baseAsset"], rules["quoteAsset"]) == ("TRADING", "BTC", "USDT")
    assert spot["ocoAllowed"] is True
    assert (futures["contractType"], futures["marginAsset"]) == ("PERPETUAL", "USDT")


async def test_it_reads_books_and_prices(client: Any, markets: Markets) -> None:
    spot, futures = await client.get_order_book(**BTC, limit=5), await client.futures_order_book(**BTC, limit=5)
    spot_best, futures_best = await client.get_orderbook_ticker(**BTC), await client.futures_orderbook_ticker(**BTC)
    mark = await client.futures_mark_price(**BTC)

    assert spot["bids"][0] == ["59999.99000000", "5.00000000"]
    assert spot["asks"][0] == ["60000.01000000", "5.00000000"]
    assert futures["bids"][0] == ["59999.90", "5.000"]
    assert futures["asks"][0] == ["60000.10", "5.000"]
    assert [len(book[side]) for book in (spot, futures) for side in ("bids", "asks")] == [5, 5, 5, 5]
    assert (spot_best["bidPrice"], futures_best["askPrice"]) == ("59999.99000000", "60000.10")
    assert D(mark["markPrice"]) == 60_000


@EITHER
async def test_it_reads_klines_and_finds_where_history_begins(client: Any, markets: Markets, market: str) -> None:
    recent = client.get_klines if market == "spot" else client.futures_klines
    historical = client.get_historical_klines if market == "spot" else client.futures_historical_klines
    hour_ms = markets.venue.now_ms // HOUR_MS * HOUR_MS

    newest = await recent(**BTC, interval="1h", limit=3)
    # It asks for the first bar ever before it asks for those that are wanted.
    since = await historical("BTCUSDT", "1h", str(hour_ms - 3 * HOUR_MS))
    first = await historical("BTCUSDT", "1d", "1 Jan, 2020 UTC", str(hour_ms), limit=1_000)

    assert [row[0] for row in newest] == [hour_ms - 2 * HOUR_MS, hour_ms - HOUR_MS, hour_ms]
    assert [row[0] for row in since] == [hour_ms - HOUR_MS * ago for ago in (3, 2, 1, 0)]
    assert since[1:] == newest
    assert D(newest[-1][4]) == 60_000
    days = [row[0] for row in first]
    assert len(days) > 30
    assert all(after - before == 24 * HOUR_MS for before, after in pairwise(days))


# --- orders


async def test_a_spot_market_order_tells_its_fills(client: Any) -> None:
    placed = await client.order_market_buy(**BTC, quantity="0.05", newClientOrderId="buy-1")
    order = await client.get_order(**BTC, origClientOrderId="buy-1")
    [trade] = await client.get_my_trades(**BTC)

    assert (placed["status"], placed["executedQty"]) == ("FILLED", "0.05000000")
    [fill] = placed["fills"]
    assert (fill["price"], fill["qty"]) == ("60000.01000000", "0.05000000")
    assert (fill["commission"], fill["commissionAsset"]) == ("0.00005000", "BTC")
    assert (order["orderId"], order["status"]) == (placed["orderId"], "FILLED")
    assert order["cummulativeQuoteQty"] == "3000.00050000"
    assert (trade["orderId"], trade["id"], trade["price"]) == (placed["orderId"], fill["tradeId"], fill["price"])
    assert (await client.get_asset_balance("BTC"))["free"] == "0.04995000"
    assert (await client.get_asset_balance("USDT"))["free"] == "6999.99950000"


async def test_a_futures_market_order_is_acknowledged_and_told_when_asked(client: Any) -> None:
    acknowledged = await client.futures_create_order(
        **BTC, side="BUY", type="MARKET", quantity="0.05", newClientOrderId="buy-1"
    )
    result = await client.futures_market_sell_order(**BTC, quantity="0.02", newOrderRespType="RESULT")
    order = await client.futures_get_order(**BTC, origClientOrderId="buy-1")
    trades = await client.futures_account_trades(**BTC)

    assert (acknowledged["status"], acknowledged["executedQty"]) == ("NEW", "0.000")
    assert (result["status"], result["executedQty"]) == ("FILLED", "0.020")
    assert "avgPrice" not in acknowledged.keys() | result.keys()  # since 2026-07-15 only the question tells it
    assert (order["orderId"], order["status"]) == (acknowledged["orderId"], "FILLED")
    assert order["avgPrice"] == "60000.10000"
    assert [(row["side"], row["price"], row["qty"]) for row in trades] == [
        ("BUY", "60000.10", "0.050"),
        ("SELL", "59999.90", "0.020"),
    ]
    assert D(trades[1]["realizedPnl"]) == D("-0.2") * D("0.02")
    assert D(trades[0]["commission"]) == D("60000.10") * D("0.05") * D("0.0005")


@EITHER
async def test_a_post_only_order_rests_and_is_cancelled(client: Any, market: str) -> None:
    use = orders_of(client, market)

    placed = await use["place"](
        **BTC, side="BUY", quantity="0.01", price="59000", newClientOrderId="rest-1", **use["maker"]
    )
    [resting] = await use["open"](**BTC)
    ended = await use["cancel"](**BTC, origClientOrderId="rest-1")

    assert (placed["orderId"], placed["clientOrderId"]) == (resting["orderId"], "rest-1")
    assert (resting["status"], resting["type"]) == ("NEW", use["maker"]["type"])
    assert (D(resting["price"]), D(resting["origQty"]), D(resting["executedQty"])) == (59_000, D("0.01"), 0)
    assert (ended["orderId"], ended["status"]) == (placed["orderId"], "CANCELED")
    # Only spot cancels have a name of their own.
    assert ended["origClientOrderId" if market == "spot" else "clientOrderId"] == "rest-1"
    assert await use["open"](**BTC) == []
    assert [row["status"] for row in await use["all"](**BTC)] == ["CANCELED"]


@pytest.mark.parametrize(
    ("market", "call", "params", "code", "text"),
    [
        pytest.param("futures", "place", {"price": "60100"}, -5022, "Post Only order", id="futures would take"),
        pytest.param("spot", "place", {"price": "60100"}, -2010, "immediately match", id="spot would take"),
        pytest.param("futures", "place", {"quantity": "90"}, -2019, "Margin is insufficient", id="no margin"),
        pytest.param("spot", "place", {"quantity": "9"}, -2010, "insufficient balance", id="no money"),
        pytest.param("futures", "place", {"quantity": "0.0105"}, -1111, "Precision", id="futures step"),
        pytest.param("spot", "place", {"quantity": "0.010000001"}, -1111, "too much precision", id="spot step"),
        pytest.param("futures", "place", {"price": "59000.05"}, -4014, "tick", id="futures tick"),
        pytest.param("spot", "place", {"price": "59000.005"}, -1013, "PRICE_FILTER", id="spot tick"),
        pytest.param("futures", "place", {"quantity": "0.001", "price": "40000"}, -4164, "notional", id="too little"),
        pytest.param("spot", "place", {"quantity": "0.00001"}, -1013, "NOTIONAL", id="spot too little"),
        pytest.param("futures", "place", {"symbol": "NOPEUSDT"}, -1121, "Invalid symbol", id="futures symbol"),
        pytest.param("spot", "place", {"symbol": "NOPEUSDT"}, -1121, "Invalid symbol", id="spot symbol"),
        pytest.param("futures", "get", {"orderId": 4711}, -2013, "does not exist", id="futures unknown"),
        pytest.param("spot", "get", {"orderId": 4711}, -2013, "does not exist", id="spot unknown"),
        pytest.param("futures", "cancel", {"orderId": 4711}, -2011, "Unknown order", id="futures nothing to cancel"),
        pytest.param("spot", "cancel", {"orderId": 4711}, -2011, "Unknown order", id="spot nothing to cancel"),
    ],
)
async def test_refusals_have_the_exchanges_code(
    client: Any, market: str, call: str, params: dict[str, Any], code: int, text: str
) -> None:
    from binance.exceptions import BinanceAPIException

    use = orders_of(client, market)
    order = {"side": "BUY", "quantity": "0.01", "price": "59000", **use["maker"]} if call == "place" else {}

    with pytest.raises(BinanceAPIException, match=text) as refused:
        await use[call](**{**BTC, **order, **params})

    assert (refused.value.code, refused.value.status_code) == (code, 400)
    assert await use["all"](**BTC) == []


@EITHER
async def test_a_wrong_secret_is_refused(markets: Markets, market: str) -> None:
    from binance.exceptions import BinanceAPIException

    async with client_of(markets, api_secret="another") as client:
        with pytest.raises(BinanceAPIException) as refused:
            await orders_of(client, market)["open"](**BTC)

    assert (refused.value.code, refused.value.status_code) == (-1022, 400)


async def test_an_ed25519_key_signs_as_well(markets: Markets) -> None:
    name, pem = ed25519_key(markets)
    limit = {**BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "59000"}
    async with client_of(markets, name, private_key=pem) as client:
        placed = [await orders_of(client, market)["place"](**limit) for market in ("futures", "spot")]
        listed = await client.ws_get_open_orders(**BTC)

    assert [order["status"] for order in placed] == ["NEW", "NEW"]
    assert [order["orderId"] for order in listed] == [placed[1]["orderId"]]


# --- futures


async def test_a_stop_goes_to_the_algo_book_and_is_cancelled(client: Any) -> None:
    await client.futures_create_order(**BTC, side="BUY", type="MARKET", quantity="0.05")
    # It sends conditional types to algoOrder by itself, and calls the stop price what that wants.
    placed = await client.futures_create_order(
        **BTC,
        side="SELL",
        type="STOP_MARKET",
        quantity="0.05",
        stopPrice="59000",
        reduceOnly="true",
        clientAlgoId="stop-1",
    )
    [listed] = await client.futures_get_open_algo_orders(**BTC)
    found = await client.futures_get_algo_order(clientAlgoId="stop-1")
    ended = await client.futures_cancel_algo_order(clientAlgoId="stop-1")

    for each in (placed, listed, found):
        assert (each["algoId"], each["clientAlgoId"]) == (placed["algoId"], "stop-1")
        assert (each["orderType"], each["algoStatus"], each["reduceOnly"]) == ("STOP_MARKET", "NEW", True)
        assert (D(each["triggerPrice"]), D(each["quantity"])) == (59_000, D("0.05"))
    assert ended == {"algoId": placed["algoId"], "clientAlgoId": "stop-1", "code": "200", "msg": "success"}
    assert await client.futures_get_open_algo_orders(**BTC) == []


async def test_a_stop_that_triggers_closes_the_position(client: Any, markets: Markets) -> None:
    await client.futures_create_order(**BTC, side="BUY", type="MARKET", quantity="0.05")
    stop = {"side": "SELL", "type": "STOP_MARKET", "stopPrice": "59000", "closePosition": "true"}
    await client.futures_create_order(**BTC, **stop, clientAlgoId="stop-1")

    markets.show("58990")

    algo = await client.futures_get_algo_order(clientAlgoId="stop-1")
    made = await client.futures_get_order(**BTC, origClientOrderId="stop-1")
    assert algo["algoStatus"] == "FINISHED"
    assert (algo["actualOrderId"], D(algo["actualQty"])) == (str(made["orderId"]), D("0.05"))
    assert (made["type"], made["origType"], made["status"]) == ("MARKET", "STOP_MARKET", "FILLED")
    assert (made["avgPrice"], made["executedQty"]) == ("58989.90000", "0.050")
    assert await client.futures_position_information(**BTC) == []


async def test_leverage_margin_type_position_and_balance(client: Any) -> None:
    from binance.exceptions import BinanceAPIException

    leverage = await client.futures_change_leverage(**BTC, leverage=10)
    with pytest.raises(BinanceAPIException) as refused:
        await client.futures_change_margin_type(**BTC, marginType="ISOLATED")
    crossed = await client.futures_change_margin_type(symbol="ETHUSDT", marginType="CROSSED")
    await client.futures_create_order(**BTC, side="BUY", type="MARKET", quantity="0.05")
    [position] = await client.futures_position_information(**BTC)
    [config] = await client.futures_symbol_config(**BTC)
    [balance] = await client.futures_account_balance()
    account = await client.futures_account()
    mode = await client.futures_get_position_mode()

    assert (leverage["symbol"], leverage["leverage"]) == ("BTCUSDT", 10)
    assert refused.value.code == -4046
    assert crossed == {"code": 200, "msg": "success"}
    assert (position["positionAmt"], position["entryPrice"], position["markPrice"][:8]) == (
        "0.050",
        "60000.1",
        "60000.00",
    )
    assert D(position["isolatedWallet"]) == D("300.0005")
    assert (config["marginType"], config["leverage"]) == ("ISOLATED", 10)
    assert D(balance["balance"]) == 10_000 - D("60000.1") * D("0.05") * D("0.0005")
    assert D(account["totalWalletBalance"]) == D(balance["balance"])
    assert D(account["availableBalance"]) == D(balance["availableBalance"]) == D(balance["balance"]) - D("300.0005")
    assert mode == {"dualSidePosition": False}


async def test_income_lists_the_fee_of_a_trade(client: Any) -> None:
    await client.futures_create_order(**BTC, side="BUY", type="MARKET", quantity="0.05")

    [paid] = await client.futures_income_history(incomeType="COMMISSION")
    [trade] = await client.futures_account_trades(**BTC)

    assert (paid["symbol"], paid["asset"], paid["tradeId"]) == ("BTCUSDT", "USDT", str(trade["id"]))
    assert D(paid["income"]) == -D(trade["commission"])


async def test_a_batch_is_placed_and_cancelled(client: Any) -> None:
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}

    placed = await client.futures_place_batch_order(
        batchOrders=[{**order, "price": "59000"}, {**order, "price": "58000"}, {**order, "price": "58000.05"}]
    )
    ended = await client.futures_cancel_orders(**BTC, orderidlist=[row["orderId"] for row in placed[:2]])

    assert [D(row["price"]) for row in placed[:2]] == [59_000, 58_000]
    assert placed[2]["code"] == -4014
    assert [(row["orderId"], row["status"]) for row in ended] == [(row["orderId"], "CANCELED") for row in placed[:2]]


# --- spot order lists and the wallet

OCO = {
    **BTC,
    "side": "SELL",
    "quantity": "0.02",
    "listClientOrderId": "list-1",
    "aboveType": "LIMIT_MAKER",
    "abovePrice": "61000",
    "aboveClientOrderId": "target-1",
    "belowType": "STOP_LOSS",
    "belowStopPrice": "59000",
    "belowClientOrderId": "stop-1",
}


@pytest.mark.parametrize("over", ["rest", "websocket api"])
async def test_an_oco_is_placed_shown_and_its_stop_ends_the_target(client: Any, markets: Markets, over: str) -> None:
    place = client.create_oco_order if over == "rest" else client.ws_create_oco_order
    await client.order_market_buy(**BTC, quantity="0.05")

    placed = await place(**OCO)
    [listed] = await client.get_open_oco_orders()
    markets.show("58990")
    rows = {row["clientOrderId"]: row for row in await client.get_all_orders(**BTC)}

    assert (placed["contingencyType"], placed["listOrderStatus"]) == ("OCO", "EXECUTING")
    assert (placed["listClientOrderId"], listed["orderListId"]) == ("list-1", placed["orderListId"])
    assert {report["clientOrderId"]: report["type"] for report in placed["orderReports"]} == {
        "target-1": "LIMIT_MAKER",
        "stop-1": "STOP_LOSS",
    }
    assert (rows["target-1"]["status"], rows["stop-1"]["status"]) == ("EXPIRED", "FILLED")
    assert D(rows["stop-1"]["cummulativeQuoteQty"]) == D("58989.99") * D("0.02")
    assert await client.get_open_oco_orders() == []


async def test_an_oco_is_cancelled_over_the_websocket_api(client: Any) -> None:
    await client.order_market_buy(**BTC, quantity="0.05")
    placed = await client.create_oco_order(**OCO)

    ended = await client.ws_cancel_oco_order(**BTC, orderListId=placed["orderListId"])

    assert (ended["orderListId"], ended["listOrderStatus"]) == (placed["orderListId"], "ALL_DONE")
    assert {report["status"] for report in ended["orderReports"]} == {"CANCELED"}
    assert await client.get_open_orders(**BTC) == []


async def test_money_moves_between_the_wallets(client: Any) -> None:
    moved = await client.make_universal_transfer(type="MAIN_UMFUTURE", asset="USDT", amount="1500")

    history = await client.query_universal_transfer_history(type="MAIN_UMFUTURE")
    assert [(row["tranId"], row["amount"], row["status"]) for row in history["rows"]] == [
        (moved["tranId"], "1500", "CONFIRMED")
    ]
    assert (await client.get_asset_balance("USDT"))["free"] == "8500.00000000"
    assert D((await client.futures_account_balance())[0]["balance"]) == 11_500
    permissions = await client.get_account_api_permissions()
    assert (permissions["enableFutures"], permissions["enableWithdrawals"]) == (True, False)


async def test_spot_trades_over_the_websocket_api(client: Any) -> None:
    from binance.exceptions import BinanceAPIException

    limit = {**BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "59000"}
    placed = await client.ws_create_order(**limit, newClientOrderId="rest-1")
    found = await client.ws_get_order(**BTC, origClientOrderId="rest-1")
    ended = await client.ws_cancel_order(**BTC, origClientOrderId="rest-1")
    with pytest.raises(BinanceAPIException) as refused:
        await client.ws_create_order(**BTC, side="BUY", type="LIMIT_MAKER", quantity="0.01", price="60100")
    account = await client.ws_get_account()

    assert placed["clientOrderId"] == found["clientOrderId"] == ended["origClientOrderId"] == "rest-1"
    assert (found["status"], ended["status"]) == ("NEW", "CANCELED")
    assert "immediately match" in str(refused.value)
    assert {row["asset"]: row["free"] for row in account["balances"]}["USDT"] == "10000.00000000"


# --- streams


@pytest.mark.parametrize(
    ("name", "last_price"),
    [
        pytest.param("kline_socket", lambda told: told["k"]["c"], id="spot kline"),
        pytest.param("trade_socket", lambda told: told["p"], id="spot trade"),
        pytest.param("aggtrade_socket", lambda told: told["p"], id="spot aggregated trade"),
        pytest.param("symbol_book_ticker_socket", lambda told: D(told["b"]) + D("0.01"), id="spot best prices"),
        pytest.param("symbol_ticker_socket", lambda told: told["c"], id="spot day"),
        pytest.param("symbol_miniticker_socket", lambda told: told["c"], id="spot small day"),
        pytest.param("depth_socket", lambda told: D(told["a"][-1][0]) // 1, id="spot depth"),
        pytest.param("kline_futures_socket", lambda told: told["k"]["c"], id="futures kline"),
        pytest.param("aggtrade_futures_socket", lambda told: told["data"]["p"], id="futures aggregated trade"),
        pytest.param("symbol_mark_price_socket", lambda told: told["data"]["p"], id="futures mark price"),
        pytest.param(
            "symbol_ticker_futures_socket", lambda told: D(told["data"]["b"]) + D("0.1"), id="futures best prices"
        ),
        pytest.param("individual_symbol_ticker_futures_socket", lambda told: told["data"]["c"], id="futures day"),
        pytest.param("futures_depth_socket", lambda told: D(told["data"]["a"][0][0]) - D("0.1"), id="futures depth"),
    ],
)
async def test_it_hears_the_market(
    sockets: Any, markets: Markets, name: str, last_price: Callable[[Any], Decimal | str]
) -> None:
    async with opened(getattr(sockets, name)("BTCUSDT")) as socket:
        told = await markets.rising(socket.recv())

    assert (told.get("data", told).get("s") or told["ps"]) == "BTCUSDT"
    assert markets.was_shown(last_price(told))


async def test_it_hears_several_streams_on_one_socket(sockets: Any, markets: Markets) -> None:
    names = {"btcusdt@bookTicker", "btcusdt@depth@100ms"}
    heard: dict[str, Any] = {}
    async with opened(sockets.futures_multiplex_socket(sorted(names), category="public")) as socket:
        while heard.keys() < names:
            told = await markets.rising(socket.recv())
            heard[told["stream"]] = told["data"]

    assert markets.was_shown(D(heard["btcusdt@bookTicker"]["b"]) + D("0.1"))
    assert heard["btcusdt@depth@100ms"]["e"] == "depthUpdate"


async def test_a_stream_asked_of_the_wrong_group_stays_silent(sockets: Any, markets: Markets) -> None:
    # bookTicker belongs to the public group; the socket stands, and only the market group's stream is heard.
    names = ["btcusdt@bookTicker", "btcusdt@aggTrade"]
    async with opened(sockets.futures_multiplex_socket(names, category="market")) as socket:
        heard = [await markets.rising(socket.recv()) for _ in range(5)]

    assert {told["stream"] for told in heard} == {"btcusdt@aggTrade"}


@EITHER
async def test_its_depth_cache_holds_the_exchanges_best_prices(
    client: Any, sockets: Any, markets: Markets, market: str
) -> None:
    from binance.ws.depthcache import DepthCacheManager, FuturesDepthCacheManager

    if market == "spot":
        manager = DepthCacheManager(client, symbol="BTCUSDT", bm=sockets, ws_interval=100)
    else:
        manager = FuturesDepthCacheManager(client, symbol="BTCUSDT", bm=sockets)
    caching = await manager.__aenter__()
    try:
        # Slower than the paces of the two streams, so that every change is told.
        heard = [await markets.rising(caching.recv(), every_s=0.3) for _ in range(2)][-1]
        best = await (client.get_order_book if market == "spot" else client.futures_order_book)(**BTC, limit=10)
    finally:
        await markets.rising(caching.__aexit__(None, None, None))  # its reader ends with what it hears next

    # Its caches never drop what fell out of sight: only the best levels mean something.
    assert heard.get_bids()[:10] == [[float(price), float(qty)] for price, qty in best["bids"]]
    assert [row for row in heard.get_asks() if row[0] >= float(best["asks"][0][0])][:10] == [
        [float(price), float(qty)] for price, qty in best["asks"]
    ]


async def test_it_hears_its_spot_orders_fills_and_money(client: Any, sockets: Any) -> None:
    async with opened(sockets.user_socket()) as socket:
        await client.create_order(
            **BTC, side="BUY", type="LIMIT_MAKER", quantity="0.01", price="59000", newClientOrderId="rest-1"
        )
        await client.cancel_order(**BTC, origClientOrderId="rest-1", newClientOrderId="no-more-1")
        bought = await client.order_market_buy(**BTC, quantity="0.05", newClientOrderId="buy-1")
        told = await told_by(
            socket,
            lambda event: (
                event["e"] == "outboundAccountPosition" and any(D(row["f"]) and row["a"] == "BTC" for row in event["B"])
            ),
        )

    reports = [event for event in told if event["e"] == "executionReport"]
    assert [(event["c"], event["C"], event["x"], event["X"]) for event in reports] == [
        ("rest-1", "", "NEW", "NEW"),
        ("no-more-1", "rest-1", "CANCELED", "CANCELED"),
        ("buy-1", "", "NEW", "NEW"),
        ("buy-1", "", "TRADE", "FILLED"),
    ]
    fill, [taken] = reports[-1], bought["fills"]
    assert (fill["i"], fill["t"]) == (bought["orderId"], taken["tradeId"])
    assert (fill["L"], fill["l"], fill["n"], fill["N"]) == ("60000.01000000", "0.05000000", "0.00005000", "BTC")
    assert {row["a"]: row["f"] for row in told[-1]["B"]} == {"BTC": "0.04995000", "USDT": "6999.99950000"}


async def test_it_hears_its_futures_orders_fills_money_and_stops(client: Any, sockets: Any, markets: Markets) -> None:
    async with opened(sockets.futures_user_socket()) as socket:
        bought = await client.futures_create_order(
            **BTC, side="BUY", type="MARKET", quantity="0.05", newClientOrderId="buy-1"
        )
        stop = {"side": "SELL", "type": "STOP_MARKET", "quantity": "0.05", "stopPrice": "59000"}
        stopped = await client.futures_create_order(**BTC, **stop, reduceOnly="true", clientAlgoId="stop-1")
        markets.show("58990")
        told = await told_by(socket, lambda event: event["e"] == "ALGO_UPDATE" and event["o"]["X"] == "FINISHED")

    made = await client.futures_get_order(**BTC, origClientOrderId="stop-1")
    updates = [event["o"] for event in told if event["e"] == "ORDER_TRADE_UPDATE"]
    assert [(order["c"], order["i"], order["x"], order["X"]) for order in updates] == [
        ("buy-1", bought["orderId"], "NEW", "NEW"),
        ("buy-1", bought["orderId"], "TRADE", "FILLED"),
        ("stop-1", made["orderId"], "NEW", "NEW"),
        ("stop-1", made["orderId"], "TRADE", "FILLED"),
    ]
    fills = [order for order in updates if order["x"] == "TRADE"]
    assert [(D(order["L"]), D(order["l"])) for order in fills] == [(D("60000.1"), D("0.05")), (D("58989.9"), D("0.05"))]
    trades = await client.futures_account_trades(**BTC)
    assert [(order["t"], D(order["n"]), D(order["rp"])) for order in fills] == [
        (row["id"], D(row["commission"]), D(row["realizedPnl"])) for row in trades
    ]
    algo = [event["o"] for event in told if event["e"] == "ALGO_UPDATE"]
    assert [order["X"] for order in algo] == ["NEW", "TRIGGERING", "TRIGGERED", "FINISHED"]
    assert {(order["aid"], order["caid"]) for order in algo} == {(stopped["algoId"], "stop-1")}
    assert str(algo[-1]["ai"]) == str(made["orderId"])
    money = [event["a"] for event in told if event["e"] == "ACCOUNT_UPDATE"]
    assert [[D(row["pa"]) for row in each["P"]] for each in money] == [[D("0.05")], [0]]
    [balance] = await client.futures_account_balance()
    assert D(money[-1]["B"][0]["wb"]) == D(balance["balance"])


# --- the blocking client


async def test_its_blocking_client_trades_as_well(markets: Markets) -> None:
    from binance import Client

    class Blocking(Client):
        API_URL = f"{markets.venue.url}/api"
        FUTURES_URL = f"{markets.venue.url}/fapi"

    def trade() -> tuple[Any, Any]:
        client = Blocking(KEY, SECRET)
        try:
            client.timestamp_offset = client.get_server_time()["serverTime"] - int(time.time() * 1_000)
            return client.get_account(), client.futures_account_balance()
        finally:
            client.close_connection()
            client.loop.close()  # it makes one in every thread, and leaves it

    account, balances = await asyncio.to_thread(trade)

    assert {row["asset"]: row["free"] for row in account["balances"]}["USDT"] == "10000.00000000"
    assert balances[0]["balance"] == "10000.00000000"
