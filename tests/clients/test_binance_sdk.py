"""Binance's own SDKs for USDT-M futures and for spot against our exchange: REST, streams and spot's WebSocket API.

Only their addresses are changed. They stamp requests with the machine's time and follow no server's clock, so market
time is the machine's here. They read every answer into a model of its documents; what does not fit is only logged, and
fails the test.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from chimera.venue_server.limits import LimitRules
from tests.clients.markets import Markets, ed25519_key, open_markets
from tests.venue_server.running import KEY, SECRET

D = Decimal
BTC = {"symbol": "BTCUSDT"}
HOUR_MS = 3_600_000
NOT_UNDERSTOOD = ("did not match the declared types", "Failed to parse", "Unknown user data event", "Error in")
THEIR_OWN_MISTAKE = "Failed to parse listenKeyExpired"


@pytest.fixture(autouse=True)
def _every_answer_fits(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING):
        yield
    said = [record.getMessage() for record in caplog.get_records("call")]
    lost = [text for text in said if any(each in text for each in NOT_UNDERSTOOD)]
    assert [text for text in lost if not text.startswith(THEIR_OWN_MISTAKE)] == []


@pytest.fixture
async def markets() -> AsyncIterator[Markets]:
    async with open_markets(start_ms=None) as opened:
        yield opened


def credentials(markets: Markets, kind: str = "hmac") -> dict[str, str]:
    if kind == "hmac":
        return {"api_key": KEY, "api_secret": SECRET}
    name, pem = ed25519_key(markets)
    return {"api_key": name, "private_key": pem}


def futures_sdk(markets: Markets, **given: str) -> Any:
    from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketStreams
    from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
        DerivativesTradingUsdsFutures,
    )

    return DerivativesTradingUsdsFutures(
        config_rest_api=ConfigurationRestAPI(
            **(given or credentials(markets)), base_path=markets.venue.url, timeout=10_000
        ),
        # It adds the group and "stream" by itself.
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=markets.venue.ws),
    )


def spot_sdk(markets: Markets, **given: str) -> Any:
    from binance_common.configuration import (
        ConfigurationRestAPI,
        ConfigurationWebSocketAPI,
        ConfigurationWebSocketStreams,
    )
    from binance_sdk_spot.spot import Spot

    given = given or credentials(markets)
    return Spot(
        config_rest_api=ConfigurationRestAPI(**given, base_path=markets.venue.url, timeout=10_000),
        config_ws_api=ConfigurationWebSocketAPI(**given, stream_url=f"{markets.venue.ws}/ws-api/v3"),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=markets.venue.ws),
    )


async def ask(call: Callable[..., Any], **params: Any) -> Any:
    """Their REST blocks: the answer's data, asked for in a thread."""
    return (await asyncio.to_thread(call, **params)).data()


@pytest.fixture
def futures(markets: Markets) -> Any:
    return futures_sdk(markets).rest_api


@pytest.fixture
def spot(markets: Markets) -> Any:
    return spot_sdk(markets).rest_api


async def refused(call: Callable[..., Any], **params: Any) -> tuple[int, str]:
    from binance_common.errors import BadRequestError

    with pytest.raises(BadRequestError) as told:
        await ask(call, **params)
    return told.value.status_code, told.value.error_message


# --- what anybody may ask


async def test_both_tell_the_time_and_the_rules(futures: Any, spot: Any, markets: Markets) -> None:
    times = (await ask(futures.check_server_time)).server_time, (await ask(spot.time)).server_time
    futures_rules = next(row for row in (await ask(futures.exchange_information)).symbols if row.symbol == "BTCUSDT")
    [spot_rules] = (await ask(spot.exchange_info, **BTC)).symbols

    assert all(abs(told - markets.venue.now_ms) < 1_000 for told in times)
    assert (futures_rules.contract_type, futures_rules.status) == ("PERPETUAL", "TRADING")
    filters = {row.filter_type: row for row in futures_rules.filters}
    assert (filters["PRICE_FILTER"].tick_size, filters["LOT_SIZE"].step_size) == ("0.10", "0.001")
    assert (spot_rules.status, spot_rules.oco_allowed) == ("TRADING", True)
    kinds = {row.actual_instance.filter_type: row.actual_instance for row in spot_rules.filters}
    assert (D(kinds["PRICE_FILTER"].tick_size), D(kinds["LOT_SIZE"].step_size)) == (D("0.01"), D("0.00001"))


async def test_both_show_book_prices_and_bars(futures: Any, spot: Any) -> None:
    for api, tick, book, bars, trades in (
        (futures, D("0.1"), "order_book", "kline_candlestick_data", "compressed_aggregate_trades_list"),
        (spot, D("0.01"), "depth", "klines", "agg_trades"),
    ):
        depth = await ask(getattr(api, book), **BTC, limit=5)
        rows = await ask(getattr(api, bars), **BTC, interval="1h", limit=3)
        traded = await ask(getattr(api, trades), **BTC)

        assert [D(price) for price, _ in depth.bids] == [60_000 - tick * step for step in range(1, 6)]
        assert [D(price) for price, _ in depth.asks] == [60_000 + tick * step for step in range(1, 6)]
        assert [after[0] - before[0] for before, after in pairwise(rows)] == [HOUR_MS, HOUR_MS]
        assert all(row[6] == row[0] + HOUR_MS - 1 and D(row[3]) <= D(row[4]) <= D(row[2]) for row in rows)
        assert D(traded[-1].p) == 60_000

    mark = (await ask(futures.mark_price, **BTC)).actual_instance
    best = (await ask(futures.symbol_order_book_ticker, **BTC)).actual_instance
    assert (D(mark.mark_price), D(best.bid_price), D(best.ask_price)) == (60_000, D("59999.9"), D("60000.1"))
    best = (await ask(spot.ticker_book_ticker, **BTC)).actual_instance
    assert (D(best.bid_price), D(best.ask_price)) == (D("59999.99"), D("60000.01"))


# --- futures


async def test_a_futures_market_order_is_told_with_its_trade(futures: Any) -> None:
    placed = await ask(
        futures.new_order,
        **BTC,
        side="BUY",
        type="MARKET",
        quantity=0.05,
        new_client_order_id="buy-1",
        new_order_resp_type="RESULT",
    )
    order = await ask(futures.query_order, **BTC, orig_client_order_id="buy-1")
    [trade] = await ask(futures.account_trade_list, **BTC)
    [listed] = await ask(futures.all_orders, **BTC)

    assert (placed.client_order_id, placed.status, placed.executed_qty) == ("buy-1", "FILLED", "0.050")
    assert (order.order_id, order.status, order.avg_price) == (placed.order_id, "FILLED", "60000.10000")
    assert (order.cum_quote, listed.avg_price) == ("3000.00500", "60000.10000")
    assert (trade.order_id, trade.price, trade.qty, trade.maker) == (placed.order_id, "60000.10", "0.050", False)
    assert D(trade.commission) == D("60000.1") * D("0.05") * D("0.0005")


async def test_a_futures_post_only_order_rests_is_amended_and_cancelled(futures: Any) -> None:
    limit = {**BTC, "side": "BUY", "type": "LIMIT", "quantity": 0.01, "time_in_force": "GTX"}

    placed = await ask(futures.new_order, **limit, price=59_000.0, new_client_order_id="rest-1")
    amended = await ask(
        futures.modify_order, **BTC, side="BUY", orig_client_order_id="rest-1", quantity=0.02, price=58_500.0
    )
    [resting] = await ask(futures.current_all_open_orders, **BTC)
    ended = await ask(futures.cancel_order, **BTC, orig_client_order_id="rest-1")

    assert placed.order_id == amended.order_id == resting.order_id == ended.order_id
    assert (placed.status, placed.time_in_force, placed.price) == ("NEW", "GTX", "59000.00")
    assert (resting.price, resting.orig_qty, resting.status) == ("58500.00", "0.020", "NEW")
    assert ended.status == "CANCELED"
    assert await ask(futures.current_all_open_orders, **BTC) == []


async def test_futures_refusals_carry_code_and_text(futures: Any) -> None:
    limit = {**BTC, "side": "BUY", "type": "LIMIT", "quantity": 0.01, "time_in_force": "GTX"}

    assert (await refused(futures.new_order, **limit, price=60_100.0))[0] == -5022
    assert await refused(futures.new_order, **{**limit, "quantity": 90.0}, price=59_000.0) == (
        -2019,
        "Margin is insufficient.",
    )
    assert await refused(futures.query_order, **BTC, order_id=4711) == (-2013, "Order does not exist.")
    assert await refused(futures.cancel_order, **BTC, order_id=4711) == (-2011, "Unknown order sent.")
    assert await refused(futures.cancel_algo_order, client_algo_id="none") == (-2011, "Unknown order sent.")
    stop = {"algo_type": "CONDITIONAL", **BTC, "side": "SELL", "type": "STOP_MARKET", "quantity": 0.05}
    assert (await refused(futures.new_algo_order, **stop, trigger_price=61_000.0))[0] == -2021
    # Its own list of types is only a hint: conditional ones belong to the algo endpoint.
    assert (await refused(futures.new_order, **BTC, side="SELL", type="STOP_MARKET", quantity=0.05))[0] == -4120
    assert (await ask(futures.all_orders, **BTC)) == []


async def test_a_stop_lives_in_the_algo_book_and_triggers(futures: Any, markets: Markets) -> None:
    await ask(futures.new_order, **BTC, side="BUY", type="MARKET", quantity=0.05)
    stop = {
        "algo_type": "CONDITIONAL",
        **BTC,
        "side": "SELL",
        "type": "STOP_MARKET",
        "quantity": 0.05,
        "reduce_only": "true",
        "working_type": "MARK_PRICE",
    }
    first = await ask(futures.new_algo_order, **stop, trigger_price=58_000.0, client_algo_id="stop-1")
    second = await ask(futures.new_algo_order, **stop, trigger_price=59_000.0, client_algo_id="stop-2")
    listed = await ask(futures.current_all_algo_open_orders, **BTC)
    found = await ask(futures.query_algo_order, client_algo_id="stop-1")
    ended = await ask(futures.cancel_algo_order, client_algo_id="stop-1")
    markets.show("58990")
    triggered = await ask(futures.query_algo_order, algo_id=second.algo_id)
    made = await ask(futures.query_order, **BTC, orig_client_order_id="stop-2")

    assert (first.algo_status, first.order_type, D(first.trigger_price)) == ("NEW", "STOP_MARKET", 58_000)
    assert {(row.client_algo_id, D(row.trigger_price), D(row.quantity)) for row in listed} == {
        ("stop-1", D(58_000), D("0.05")),
        ("stop-2", D(59_000), D("0.05")),
    }
    assert (found.algo_id, found.algo_status, found.reduce_only) == (first.algo_id, "NEW", True)
    assert (ended.algo_id, ended.client_algo_id, ended.code) == (first.algo_id, "stop-1", "200")
    assert (triggered.algo_status, triggered.actual_order_id) == ("FINISHED", str(made.order_id))
    assert (made.status, made.orig_type, made.avg_price) == ("FILLED", "STOP_MARKET", "58989.90000")
    assert await ask(futures.position_information_v3, **BTC) == []


async def test_leverage_margin_type_positions_and_balances(futures: Any) -> None:
    leverage = await ask(futures.change_initial_leverage, **BTC, leverage=10)
    crossed = await ask(futures.change_margin_type, symbol="ETHUSDT", margin_type="CROSSED")
    again = await refused(futures.change_margin_type, symbol="ETHUSDT", margin_type="CROSSED")
    await ask(futures.new_order, **BTC, side="BUY", type="MARKET", quantity=0.05)
    moved = await ask(futures.modify_isolated_position_margin, **BTC, amount=10.0, type=1)
    [position] = await ask(futures.position_information_v3, **BTC)
    [older] = [row for row in await ask(futures.position_information_v2, **BTC) if row.symbol == "BTCUSDT"]
    [balance] = await ask(futures.futures_account_balance_v3)
    accounts = await ask(futures.account_information_v2), await ask(futures.account_information_v3)
    configs = {row.symbol: row for row in await ask(futures.symbol_configuration)}
    [paid] = await ask(futures.get_income_history, income_type="COMMISSION")

    assert (leverage.symbol, leverage.leverage) == ("BTCUSDT", 10)
    assert (crossed.code, crossed.msg, again) == (200, "success", (-4046, "No need to change margin type."))
    assert (moved.code, moved.amount) == (200, 10.0)
    assert (position.position_amt, position.entry_price, D(position.isolated_wallet)) == (
        "0.050",
        "60000.1",
        D("310.0005"),
    )
    assert (older.leverage, older.margin_type, older.liquidation_price) == (
        "10",
        "isolated",
        position.liquidation_price,
    )
    fee = D("60000.1") * D("0.05") * D("0.0005")
    assert D(paid.income) == -fee
    assert D(balance.balance) == 10_000 - fee
    assert D(balance.available_balance) == 10_000 - fee - D("310.0005")
    assert {account.total_wallet_balance for account in accounts} == {balance.balance}
    assert (configs["BTCUSDT"].margin_type, configs["BTCUSDT"].leverage) == ("ISOLATED", 10)
    assert configs["ETHUSDT"].margin_type == "CROSSED"
    assert (await ask(futures.get_current_position_mode)).dual_side_position is False


# --- spot


async def test_a_spot_market_order_tells_its_fills(spot: Any) -> None:
    placed = await ask(spot.new_order, **BTC, side="BUY", type="MARKET", quantity=0.05, new_client_order_id="buy-1")
    order = await ask(spot.get_order, **BTC, orig_client_order_id="buy-1")
    [trade] = await ask(spot.my_trades, **BTC)
    balances = {row.asset: (row.free, row.locked) for row in (await ask(spot.get_account)).balances}

    [fill] = placed.fills
    assert (placed.status, placed.executed_qty) == ("FILLED", "0.05000000")
    assert (fill.price, fill.qty, fill.commission, fill.commission_asset) == (
        "60000.01000000",
        "0.05000000",
        "0.00005000",
        "BTC",
    )
    assert (order.order_id, order.cummulative_quote_qty) == (placed.order_id, "3000.00050000")
    assert (trade.order_id, trade.price, trade.is_buyer, trade.is_maker) == (placed.order_id, fill.price, True, False)
    assert balances == {"BTC": ("0.04995000", "0.00000000"), "USDT": ("6999.99950000", "0.00000000")}


async def test_a_spot_post_only_order_rests_and_is_cancelled(spot: Any) -> None:
    maker = {**BTC, "side": "BUY", "type": "LIMIT_MAKER", "quantity": 0.01}

    placed = await ask(spot.new_order, **maker, price=59_000.0, new_client_order_id="rest-1")
    [resting] = await ask(spot.get_open_orders, **BTC)
    ended = await ask(spot.delete_order, **BTC, orig_client_order_id="rest-1")

    assert placed.order_id == resting.order_id == ended.order_id
    assert (resting.client_order_id, resting.status, resting.price) == ("rest-1", "NEW", "59000.00000000")
    assert (ended.orig_client_order_id, ended.status) == ("rest-1", "CANCELED")
    assert await ask(spot.get_open_orders, **BTC) == []


async def test_spot_refusals_carry_code_and_text(spot: Any) -> None:
    maker = {**BTC, "side": "BUY", "type": "LIMIT_MAKER", "quantity": 0.01}

    assert await refused(spot.new_order, **maker, price=60_100.0) == (-2010, "Order would immediately match and take.")
    assert await refused(spot.new_order, **{**maker, "quantity": 9.0}, price=59_000.0) == (
        -2010,
        "Account has insufficient balance for requested action.",
    )
    assert await refused(spot.get_order, **BTC, order_id=4711) == (-2013, "Order does not exist.")
    assert await refused(spot.delete_order, **BTC, order_id=4711) == (-2011, "Unknown order sent.")
    assert await refused(spot.new_order, **maker, price=59_000.005) == (-1013, "Filter failure: PRICE_FILTER")
    assert await ask(spot.all_orders, **BTC) == []


OCO = {**BTC, "side": "SELL", "quantity": 0.02, "list_client_order_id": "list-1"}
NEW_OCO = {
    **OCO,
    "above_type": "LIMIT_MAKER",
    "above_price": 61_000.0,
    "above_client_order_id": "target-1",
    "below_type": "STOP_LOSS_LIMIT",
    "below_stop_price": 59_000.0,
    "below_price": 58_900.0,
    "below_time_in_force": "GTC",
    "below_client_order_id": "stop-1",
}
OLD_OCO = {
    **OCO,
    "price": 61_000.0,
    "limit_client_order_id": "target-1",
    "stop_price": 59_000.0,
    "stop_limit_price": 58_900.0,
    "stop_limit_time_in_force": "GTC",
    "stop_client_order_id": "stop-1",
}


@pytest.mark.parametrize("form", ["new", "old"])
async def test_an_oco_is_listed_and_its_stop_ends_the_target(spot: Any, markets: Markets, form: str) -> None:
    await ask(spot.new_order, **BTC, side="BUY", type="MARKET", quantity=0.05)

    placed = await (ask(spot.order_list_oco, **NEW_OCO) if form == "new" else ask(spot.order_oco, **OLD_OCO))
    [listed] = await ask(spot.open_order_list)
    markets.show("58950")
    orders = {row.client_order_id: row for row in await ask(spot.all_orders, **BTC)}
    done = await ask(spot.get_order_list, orig_client_order_id="list-1")

    assert (placed.contingency_type, placed.list_order_status) == ("OCO", "EXECUTING")
    assert {(row.client_order_id, row.type) for row in placed.order_reports} == {
        ("target-1", "LIMIT_MAKER"),
        ("stop-1", "STOP_LOSS_LIMIT"),
    }
    assert placed.order_list_id == listed.order_list_id == done.order_list_id
    assert (orders["target-1"].status, orders["stop-1"].status) == ("EXPIRED", "FILLED")
    assert done.list_order_status == "ALL_DONE"


async def test_an_oco_is_cancelled_as_one(spot: Any) -> None:
    await ask(spot.new_order, **BTC, side="BUY", type="MARKET", quantity=0.05)
    await ask(spot.order_list_oco, **NEW_OCO)

    ended = await ask(spot.delete_order_list, **BTC, list_client_order_id="list-1")

    assert ended.list_order_status == "ALL_DONE"
    assert {(row.orig_client_order_id, row.status) for row in ended.order_reports} == {
        ("target-1", "CANCELED"),
        ("stop-1", "CANCELED"),
    }
    assert await ask(spot.get_open_orders, **BTC) == []


# --- keys and limits


async def test_an_ed25519_key_signs_as_well(markets: Markets) -> None:
    given = credentials(markets, "ed25519")
    futures, spot = futures_sdk(markets, **given).rest_api, spot_sdk(markets, **given).rest_api

    limit = {**BTC, "side": "BUY", "type": "LIMIT", "quantity": 0.01, "price": 59_000.0, "time_in_force": "GTC"}
    placed = await ask(futures.new_order, **limit), await ask(spot.new_order, **limit)

    assert [order.status for order in placed] == ["NEW", "NEW"]
    assert (await refused(futures_sdk(markets, api_key=KEY, api_secret="another").rest_api.new_order, **limit))[
        0
    ] == -1022


async def test_a_key_that_nobody_knows_is_unauthorized(markets: Markets) -> None:
    from binance_common.errors import UnauthorizedError

    stranger = {"api_key": "nobody's", "api_secret": "none"}

    for call in (
        futures_sdk(markets, **stranger).rest_api.futures_account_balance_v3,
        spot_sdk(markets, **stranger).rest_api.get_account,
    ):
        with pytest.raises(UnauthorizedError) as told:
            await ask(call)
        assert told.value.status_code == -2015


async def test_too_many_requests_are_told_with_the_wait() -> None:
    from binance_common.errors import RateLimitBanError, TooManyRequestsError

    async with open_markets(start_ms=None, limits=LimitRules(futures_weight=50)) as markets:
        futures = futures_sdk(markets).rest_api

        async def go_on(despite: type[Exception] | tuple[()] = ()) -> None:
            for _ in range(500):
                with suppress(despite):
                    await ask(futures.order_book, **BTC, limit=1_000)

        answer = await asyncio.to_thread(futures.order_book, **BTC, limit=1_000)
        with pytest.raises(TooManyRequestsError) as told:
            await go_on()
        with pytest.raises(RateLimitBanError) as banned:
            await go_on(despite=TooManyRequestsError)

    assert [(limit.rateLimitType, limit.interval, limit.count) for limit in answer.rate_limits] == [
        ("REQUEST_WEIGHT", "MINUTE", 20)
    ]
    assert told.value.status_code == -1003
    assert told.value.retry_after is not None
    assert 0 < told.value.retry_after <= 60
    assert banned.value.retry_after is not None
    assert banned.value.retry_after >= told.value.retry_after


# --- streams


@dataclass(slots=True)
class Heard:
    by: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    async def listen(self, name: str, stream: Awaitable[Any]) -> None:
        (await stream).on("message", self.by[name].append)


@asynccontextmanager
async def streaming(sdk: Any) -> AsyncIterator[Any]:
    streams = sdk.websocket_streams
    await streams.create_connection()
    try:
        yield streams
    finally:
        await streams.close_connection()


async def until_heard(markets: Markets, heard: Heard) -> None:
    async def all_have() -> None:
        while not all(heard.by.values()):
            await asyncio.sleep(0.01)

    await markets.rising(all_have(), every_s=0.12)


async def test_it_hears_the_futures_market(markets: Markets) -> None:
    heard = Heard()
    async with streaming(futures_sdk(markets)) as streams:
        # Each subscription waits for half a second before it asks: they wait together.
        await asyncio.gather(
            heard.listen("trade", streams.aggregate_trade_streams(**BTC)),
            heard.listen("bar", streams.kline_candlestick_streams(**BTC, interval="1m")),
            heard.listen(
                "continuous bar",
                # It lowers the case of symbols only, and stream names are in lower case.
                streams.continuous_contract_kline_candlestick_streams(
                    pair="btcusdt", contract_type="perpetual", interval="1m"
                ),
            ),
            heard.listen("mark", streams.mark_price_stream(**BTC, update_speed="1s")),
            heard.listen("day", streams.individual_symbol_ticker_streams(**BTC)),
            heard.listen("best", streams.individual_symbol_book_ticker_streams(**BTC)),
            heard.listen("depth", streams.diff_book_depth_streams(**BTC, update_speed="100ms")),
            heard.listen("levels", streams.partial_book_depth_streams(**BTC, levels=5, update_speed="100ms")),
        )
        listed = await streams.list_subscribe()
        await until_heard(markets, heard)

    told = {name: events[-1] for name, events in heard.by.items()}
    assert {event.s for name, event in told.items() if name != "continuous bar"} == {"BTCUSDT"}
    assert (told["continuous bar"].ps, told["continuous bar"].ct) == ("BTCUSDT", "PERPETUAL")
    assert all(
        markets.was_shown(price)
        for price in (
            told["trade"].p,
            told["bar"].k.c,
            told["continuous bar"].k.c,
            told["mark"].p,
            told["day"].c,
            D(told["best"].b) + D("0.1"),
            D(told["levels"].a[0][0]) - D("0.1"),
        )
    )
    chain = heard.by["depth"]
    assert all(after.pu == before.u for before, after in pairwise(chain))
    assert "btcusdt@kline_1m" in listed["result"]  # of the market group, which it connects to first


async def test_it_hears_the_spot_market(markets: Markets) -> None:
    heard = Heard()
    async with streaming(spot_sdk(markets)) as streams:
        # Five, because spot cuts whoever says more than five things a second.
        await asyncio.gather(
            heard.listen("trade", streams.trade(**BTC)),
            heard.listen("bar", streams.kline(**BTC, interval="1m")),
            heard.listen("best", streams.book_ticker(**BTC)),
            heard.listen("depth", streams.diff_book_depth(**BTC, update_speed="100ms")),
            heard.listen("levels", streams.partial_book_depth(**BTC, levels=5, update_speed="100ms")),
        )
        await until_heard(markets, heard)

    told = {name: events[-1] for name, events in heard.by.items()}
    assert {told[name].s for name in ("trade", "bar", "best", "depth")} == {"BTCUSDT"}
    assert all(
        markets.was_shown(price)
        for price in (
            told["trade"].p,
            told["bar"].k.c,
            D(told["best"].b) + D("0.01"),
            D(told["levels"].asks[0][0]) - D("0.01"),
        )
    )
    chain = heard.by["depth"]
    assert all(before.u + 1 == after.U for before, after in pairwise(chain))


def status_of(event: Any) -> str | None:
    """Of the order that an event is about."""
    return getattr(getattr(event.actual_instance, "o", None), "X", None)


async def test_it_hears_its_futures_orders_fills_and_stops(markets: Markets) -> None:
    sdk, heard = futures_sdk(markets), Heard()
    rest = sdk.rest_api
    async with streaming(sdk) as streams:
        listen_key = (await ask(rest.start_user_data_stream)).listen_key
        await heard.listen("account", streams.user_data(listen_key))
        bought = await ask(rest.new_order, **BTC, side="BUY", type="MARKET", quantity=0.05, new_client_order_id="buy-1")
        await ask(
            rest.new_algo_order,
            algo_type="CONDITIONAL",
            **BTC,
            side="SELL",
            type="STOP_MARKET",
            quantity=0.05,
            trigger_price=59_000.0,
            reduce_only="true",
            client_algo_id="stop-1",
        )
        markets.show("58990")
        await markets.until(lambda: any(status_of(event) == "FINISHED" for event in heard.by["account"]))

    events = [event.actual_instance for event in heard.by["account"]]
    updates = [event.o for event in events if type(event).__name__ == "OrderTradeUpdate"]
    assert [(order.c, order.x, order.X) for order in updates] == [
        ("buy-1", "NEW", "NEW"),
        ("buy-1", "TRADE", "FILLED"),
        ("stop-1", "NEW", "NEW"),
        ("stop-1", "TRADE", "FILLED"),
    ]
    trades = await ask(rest.account_trade_list, **BTC)
    assert [(row.id, row.order_id, D(row.price), D(row.commission)) for row in trades] == [
        (order.t, order.i, D(order.L), D(order.n)) for order in updates if order.x == "TRADE"
    ]
    assert updates[1].i == bought.order_id
    algo = [event.o for event in events if type(event).__name__ == "AlgoUpdate"]
    assert [order.X for order in algo] == ["NEW", "TRIGGERING", "TRIGGERED", "FINISHED"]
    assert (algo[-1].caid, algo[-1].ai, D(algo[-1].ap)) == ("stop-1", str(trades[1].order_id), D("58989.9"))
    money = [event.a for event in events if type(event).__name__ == "AccountUpdate"]
    assert [D(each.P[0].pa) for each in money] == [D("0.05"), 0]
    assert money[-1].B[0].wb == f"{D((await ask(rest.futures_account_balance_v3))[0].balance).normalize():f}"


async def test_it_hears_that_its_listen_key_has_ended(markets: Markets) -> None:
    sdk, heard = futures_sdk(markets), Heard()
    async with streaming(sdk) as streams:
        listen_key = (await ask(sdk.rest_api.start_user_data_stream)).listen_key
        await heard.listen("account", streams.user_data(listen_key))
        await ask(sdk.rest_api.close_user_data_stream)
        await markets.until(lambda: bool(heard.by["account"]))

    # As it came: the exchange writes this one time as text, and their model wants a number.
    [event] = [each.actual_instance for each in heard.by["account"]]
    assert (event["e"], event["listenKey"]) == ("listenKeyExpired", listen_key)
    assert abs(int(event["E"]) - markets.venue.now_ms) < 60_000


# --- spot's WebSocket API


@asynccontextmanager
async def socket_api(sdk: Any) -> AsyncIterator[Any]:
    api = sdk.websocket_api
    await api.create_connection()
    try:
        yield api
    finally:
        await api.close_connection()


@pytest.mark.parametrize("key", ["hmac", "ed25519"])
async def test_it_trades_and_hears_its_fills_over_the_websocket_api(markets: Markets, key: str) -> None:
    heard: list[Any] = []
    async with socket_api(spot_sdk(markets, **credentials(markets, key))) as api:
        if key == "ed25519":
            session = (await api.session_logon()).data().result
            subscribed = await api.user_data_stream_subscribe()
            assert session.api_key == "ed25519-key"
        else:
            subscribed = await api.user_data_stream_subscribe_signature()
        subscribed.stream.on("message", lambda event: heard.append(event.actual_instance))
        maker = {**BTC, "side": "BUY", "type": "LIMIT_MAKER", "quantity": 0.01}
        resting = (await api.order_place(**maker, price=59_000.0, new_client_order_id="rest-1")).data().result
        status = (await api.order_status(**BTC, orig_client_order_id="rest-1")).data().result
        ended = (await api.order_cancel(**BTC, orig_client_order_id="rest-1")).data().result
        taking = (await api.order_place(**maker, price=60_100.0)).data()
        bought = await api.order_place(**BTC, side="BUY", type="MARKET", quantity=0.05, new_client_order_id="buy-1")
        listed = (await api.order_list_place_oco(**NEW_OCO)).data().result
        await markets.until(lambda: any(type(event).__name__ == "ListStatus" for event in heard))
        account = (await api.account_status()).data().result

    assert resting.order_id == status.order_id == ended.order_id
    assert (status.status, ended.status, ended.orig_client_order_id) == ("NEW", "CANCELED", "rest-1")
    assert taking == {"error": {"code": -2010, "msg": "Order would immediately match and take."}}
    reports = [event for event in heard if type(event).__name__ == "ExecutionReport"]
    assert [(event.C or event.c, event.x, event.X) for event in reports] == [
        ("rest-1", "NEW", "NEW"),
        ("rest-1", "CANCELED", "CANCELED"),
        ("buy-1", "NEW", "NEW"),
        ("buy-1", "TRADE", "FILLED"),
        ("target-1", "NEW", "NEW"),
        ("stop-1", "NEW", "NEW"),
    ]
    [fill] = bought.data().result.fills
    assert (reports[3].t, reports[3].L, reports[3].l) == (fill.trade_id, fill.price, fill.qty)
    assert (reports[3].n, reports[3].N) == ("0.00005000", "BTC")
    [status_of_list] = [event for event in heard if type(event).__name__ == "ListStatus"]
    assert (status_of_list.g, status_of_list.C, status_of_list.L) == (listed.order_list_id, "list-1", "EXECUTING")
    assert {row.asset: (row.free, row.locked) for row in account.balances} == {
        "BTC": ("0.02995000", "0.02000000"),
        "USDT": ("6999.99950000", "0.00000000"),
    }
    assert {(limit.rateLimitType, limit.interval) for limit in bought.rate_limits} == {
        ("ORDERS", "SECOND"),
        ("ORDERS", "DAY"),
        ("REQUEST_WEIGHT", "MINUTE"),
    }
