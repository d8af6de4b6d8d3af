from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from chimera.adapters.binance.budget import Priority
from chimera.adapters.binance.hosts import TESTNET, Site, local
from chimera.adapters.binance.signing import HmacSigner
from chimera.adapters.binance.venue import FEES_ASKED_AGAIN_MS, FEES_HOLD_MS, BinanceVenue, create_venue, rank_of
from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.state import MemorySnapshots
from chimera.contracts.enums import Market, OrderStatus, OrderType, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import NewOco, NewOrder, SelfTrade
from chimera.ports.venue import DuplicateOrder, OutcomeUnknown, Refused, UnknownOrder, VenueUnavailable
from tests.ports.hand_clock import HandClock

from .canned import Answer, Asked, Canned, refused
from .conftest import START_MS

BTC = InstrumentKey(Market.SPOT, "BTCUSDT")
ORDER, OCO = "/api/v3/order", "/api/v3/orderList/oco"
SIGNING = {"recvWindow", "timestamp", "signature"}


def new(**change: Any) -> NewOrder:
    fields: dict[str, Any] = {
        "client_order_id": "a-1",
        "market": Market.SPOT,
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "type": OrderType.LIMIT_MAKER,
        "qty": Decimal("0.5"),
        "price": Decimal("74000.10"),
    }
    return NewOrder(**{**fields, **change})


def pair(**change: Any) -> NewOco:
    fields: dict[str, Any] = {
        "list_client_id": "l-1",
        "symbol": "BTCUSDT",
        "side": Side.SELL,
        "qty": Decimal("0.5"),
        "target_client_id": "t-1",
        "target_price": Decimal(76000),
        "stop_client_id": "s-1",
        "stop_price": Decimal(73000),
    }
    return NewOco(**{**fields, **change})


def row(client_order_id: str = "a-1", order_id: int = 5, **change: Any) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "orderId": order_id,
        "orderListId": -1,
        "clientOrderId": client_order_id,
        "transactTime": START_MS,
        "price": "74000.10000000",
        "origQty": "0.50000000",
        "executedQty": "0.00000000",
        "cummulativeQuoteQty": "0.00000000",
        "status": "NEW",
        "timeInForce": "GTC",
        "type": "LIMIT_MAKER",
        "side": "BUY",
        "workingTime": START_MS,
        **change,
    }


def told(asked: Asked) -> dict[str, str]:
    return {name: value for name, value in asked.params.items() if name not in SIGNING}


@pytest.mark.parametrize(
    ("order", "params"),
    [
        pytest.param(new(), {"type": "LIMIT_MAKER", "price": "74000.1"}, id="post-only"),
        pytest.param(
            new(type=OrderType.LIMIT), {"type": "LIMIT", "price": "74000.1", "timeInForce": "GTC"}, id="limit"
        ),
        pytest.param(new(type=OrderType.MARKET, price=None), {"type": "MARKET"}, id="market"),
        pytest.param(
            new(type=OrderType.STOP_LOSS, price=None, stop_price=Decimal(73000)),
            {"type": "STOP_LOSS", "stopPrice": "73000"},
            id="market stop",
        ),
        pytest.param(
            new(type=OrderType.STOP_LOSS_LIMIT, stop_price=Decimal(73000)),
            {"type": "STOP_LOSS_LIMIT", "stopPrice": "73000", "price": "74000.1", "timeInForce": "GTC"},
            id="limit stop",
        ),
    ],
)
async def test_an_order_is_spelt_as_the_exchange_wants_it(
    venue: BinanceVenue, exchange: Canned, order: NewOrder, params: dict[str, str]
) -> None:
    exchange.say(f"POST {ORDER}", row())

    placed = await venue.place(order)

    assert told(exchange.asked[0]) == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "quantity": "0.5",
        "newClientOrderId": "a-1",
        "newOrderRespType": "RESULT",
        **params,
    }
    assert (placed.venue_order_id, placed.status, placed.created_at_ms) == ("5", OrderStatus.NEW, START_MS)


async def test_futures_only_types_are_refused_before_they_are_sent(venue: BinanceVenue, exchange: Canned) -> None:
    with pytest.raises(Refused, match="STOP_MARKET"):
        await venue.place(new(type=OrderType.STOP_MARKET))

    assert not exchange.asked


@pytest.mark.parametrize(
    ("change", "legs"),
    [
        pytest.param(
            {},
            {
                "side": "SELL",
                "aboveType": "LIMIT_MAKER",
                "abovePrice": "76000",
                "aboveClientOrderId": "t-1",
                "belowType": "STOP_LOSS",
                "belowStopPrice": "73000",
                "belowClientOrderId": "s-1",
            },
            id="sell with a market stop",
        ),
        pytest.param(
            {"stop_limit_price": Decimal(72900)},
            {
                "side": "SELL",
                "aboveType": "LIMIT_MAKER",
                "abovePrice": "76000",
                "aboveClientOrderId": "t-1",
                "belowType": "STOP_LOSS_LIMIT",
                "belowStopPrice": "73000",
                "belowPrice": "72900",
                "belowTimeInForce": "GTC",
                "belowClientOrderId": "s-1",
            },
            id="sell with a limit stop",
        ),
        pytest.param(
            {"side": Side.BUY, "target_price": Decimal(73000), "stop_price": Decimal(76000)},
            {
                "side": "BUY",
                "belowType": "LIMIT_MAKER",
                "belowPrice": "73000",
                "belowClientOrderId": "t-1",
                "aboveType": "STOP_LOSS",
                "aboveStopPrice": "76000",
                "aboveClientOrderId": "s-1",
            },
            id="buy mirrored",
        ),
    ],
)
async def test_a_list_has_its_profit_and_its_loss_on_the_right_sides(
    venue: BinanceVenue, exchange: Canned, change: dict[str, Any], legs: dict[str, str]
) -> None:
    stop = row("s-1", 6, orderListId=9, type="STOP_LOSS", stopPrice="73000", workingTime=-1)
    exchange.say(f"POST {OCO}", {"orderListId": 9, "orderReports": [stop, row("t-1", 7, orderListId=9)]})

    target_leg, stop_leg = await venue.place_oco(pair(**change))

    assert told(exchange.asked[0]) == {
        "symbol": "BTCUSDT",
        "quantity": "0.5",
        "listClientOrderId": "l-1",
        "newOrderRespType": "RESULT",
        **legs,
    }
    assert (target_leg.client_order_id, stop_leg.client_order_id) == ("t-1", "s-1")
    assert target_leg.order_list_id == stop_leg.order_list_id == "9"
    assert not stop_leg.triggered


async def test_a_list_sent_twice_is_told_as_that(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"POST {OCO}", refused(-2010, "Duplicate order sent."))

    with pytest.raises(DuplicateOrder):
        await venue.place_oco(pair())


async def test_canceling_a_leg_answers_for_that_leg(venue: BinanceVenue, exchange: Canned) -> None:
    def report(client_order_id: str, order_id: int) -> dict[str, Any]:
        return row("of-the-cancel", order_id, origClientOrderId=client_order_id, orderListId=9, status="CANCELED")

    exchange.say(f"DELETE {ORDER}", {"orderListId": 9, "orderReports": [report("t-1", 7), report("s-1", 6)]})

    canceled = await venue.cancel(BTC, "s-1", conditional=False)

    assert (canceled.client_order_id, canceled.venue_order_id) == ("s-1", "6")
    assert canceled.status is OrderStatus.CANCELED


async def test_a_cancel_that_answers_for_another_order_is_settled_by_asking(
    venue: BinanceVenue, exchange: Canned
) -> None:
    exchange.say(f"DELETE {ORDER}", row("x", origClientOrderId="other", status="CANCELED"))

    with pytest.raises(OutcomeUnknown):
        await venue.cancel(BTC, "s-1", conditional=False)


async def test_an_unknown_order_is_unknown(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"GET {ORDER}", refused(-2013, "Order does not exist."))
    exchange.say(f"DELETE {ORDER}", refused(-2011, "Unknown order sent."))

    with pytest.raises(UnknownOrder):
        await venue.order(BTC, "a-1", conditional=False)
    with pytest.raises(UnknownOrder):
        await venue.cancel(BTC, "a-1", conditional=False)


async def test_fills_are_searched_day_by_day_and_read_on_by_number(venue: BinanceVenue, exchange: Canned) -> None:
    day_ms = 86_400_000

    def serve(asked: Asked) -> Answer:
        if "fromId" in asked.params:
            return Answer([])
        start_ms, end_ms = int(asked.params["startTime"]), int(asked.params["endTime"])
        assert end_ms - start_ms < day_ms
        trade_at_ms = START_MS - day_ms
        trade = {
            "symbol": "BTCUSDT",
            "id": 8,
            "orderId": 5,
            "price": "74000",
            "qty": "0.5",
            "commission": "0.0005",
            "commissionAsset": "BTC",
            "time": trade_at_ms,
            "isBuyer": True,
            "isMaker": True,
        }
        return Answer([trade] if start_ms <= trade_at_ms <= end_ms else [])

    exchange.say("GET /api/v3/myTrades", serve)
    exchange.say(f"GET {ORDER}", {**row(), "time": START_MS})

    (fill,) = await venue.fills(BTC, START_MS - 5 * day_ms)

    assert (fill.client_order_id, fill.fee, fill.fee_asset, fill.maker) == ("a-1", Decimal("0.0005"), "BTC", True)
    assert exchange.of("GET /api/v3/myTrades")[-1].params["fromId"] == "9"


async def test_a_market_order_may_be_sized_in_quote(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"POST {ORDER}", row())

    await venue.place(new(type=OrderType.MARKET, price=None, qty=Decimal(0), quote_qty=Decimal("250.50")))

    assert exchange.asked[0].params["quoteOrderQty"] == "250.5"
    assert "quantity" not in exchange.asked[0].params


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(new(quote_qty=Decimal(250), qty=Decimal(0)), id="not a market order"),
        pytest.param(new(type=OrderType.MARKET, price=None, quote_qty=Decimal(250)), id="with a quantity too"),
        pytest.param(new(market=Market.FUT, type=OrderType.MARKET, price=None, quote_qty=Decimal(250)), id="futures"),
        pytest.param(
            new(market=Market.FUT, type=OrderType.STOP_MARKET, close_position=True, quote_qty=Decimal(250)),
            id="futures, whatever is held",
        ),
    ],
)
async def test_a_size_in_quote_that_cannot_be_sent_is_refused_before(
    venue: BinanceVenue, exchange: Canned, order: NewOrder
) -> None:
    with pytest.raises(Refused, match="a-1: a quote quantity is for spot MARKET orders"):
        await venue.place(order)

    assert exchange.asked == []


@pytest.mark.parametrize(
    ("path", "order"),
    [
        pytest.param(ORDER, new(), id="spot"),
        pytest.param("/fapi/v1/order", new(market=Market.FUT, type=OrderType.LIMIT), id="futures"),
        pytest.param(
            "/fapi/v1/algoOrder",
            new(market=Market.FUT, type=OrderType.STOP_MARKET, stop_price=Decimal(70000)),
            id="futures, conditional",
        ),
    ],
)
async def test_what_gives_way_to_oneself_is_said_where_it_is_not_the_usual(
    venue: BinanceVenue, exchange: Canned, path: str, order: NewOrder
) -> None:
    exchange.say(f"POST {path}", refused(-4164, "too small"))

    for mode in (SelfTrade.EXPIRE_MAKER, SelfTrade.EXPIRE_BOTH, SelfTrade.NONE):
        with pytest.raises(Refused):
            await venue.place(replace(order, stp=mode))

    told_modes = [asked.params.get("selfTradePreventionMode") for asked in exchange.asked]
    assert told_modes == [None, "EXPIRE_BOTH", "NONE"]


async def test_names_of_many_orders_are_read_from_the_list_while_only_stops_may_ask(
    venue: BinanceVenue, exchange: Canned
) -> None:
    venue.budget.limit(Site.SPOT, 60_000)
    fill = {"price": "74000", "qty": "0.5", "commission": "0.0005", "commissionAsset": "BTC", "isBuyer": True}
    numbers = range(1, 9)
    exchange.say(
        "GET /api/v3/myTrades",
        [
            {**fill, "symbol": "BTCUSDT", "id": number, "orderId": number, "time": START_MS, "isMaker": True}
            for number in numbers
        ],
    )
    exchange.say("GET /api/v3/allOrders", [{**row(f"a-{number}", number), "time": START_MS} for number in numbers])

    fills = await venue.fills(BTC, START_MS)

    assert [fill.client_order_id for fill in fills] == [f"a-{number}" for number in numbers]


async def test_fees_are_the_accounts_own_and_asked_for_once(venue: BinanceVenue, exchange: Canned) -> None:
    def part(maker: str, taker: str, buyer: str, seller: str) -> dict[str, str]:
        return {"maker": maker, "taker": taker, "buyer": buyer, "seller": seller}

    exchange.say(
        "GET /api/v3/account/commission",
        {
            "symbol": "BTCUSDT",
            "standardCommission": part("0.0008", "0.0009", "0", "0"),
            "specialCommission": part("0", "0", "0", "0"),
            "taxCommission": part("0.0001", "0.0001", "0", "0.0002"),
            "discount": {"enabledForAccount": True},
        },
    )
    exchange.say(
        "GET /fapi/v1/commissionRate",
        {"symbol": "BTCUSDT", "makerCommissionRate": "0.00018", "takerCommissionRate": "0.0004"},
    )

    assert await venue.taker_fee_ratio(Market.SPOT) == Decimal("0.0012")
    assert await venue.maker_fee_ratio(Market.SPOT) == Decimal("0.0011")
    assert await venue.taker_fee_ratio(Market.FUT) == Decimal("0.0004")
    assert await venue.maker_fee_ratio(Market.FUT) == Decimal("0.00018")
    assert len(exchange.asked) == 2


@pytest.mark.parametrize(
    "failed",
    [
        pytest.param(Answer(raw=b"<html>down</html>", status=503), id="down"),
        pytest.param(refused(-1003, "Too many requests.", 429, Retry_After="60"), id="429"),
        pytest.param(refused(-2015, "Invalid API-key, IP, or permissions for action.", 401), id="refused"),
    ],
)
async def test_fees_that_cannot_be_asked_are_the_last_known_else_the_published_ones(
    exchange: Canned, session: aiohttp.ClientSession, failed: Answer
) -> None:
    """A stop is computed with them: it must not wait for them again and again, nor fail."""
    clock = HandClock(at_ms=START_MS)
    signer = HmacSigner("the-key", "the-secret")
    venue = BinanceVenue(
        name="canned",
        hosts=local(exchange.root),
        clock=clock,
        session=session,
        snapshots=None,
        signer_futures=signer,
    )
    path = "GET /fapi/v1/commissionRate"
    own = {"symbol": "BTCUSDT", "makerCommissionRate": "0.00018", "takerCommissionRate": "0.0004"}
    exchange.say(path, failed, own, failed)

    with capture_logs() as logs:
        assert [await venue.taker_fee_ratio(Market.FUT) for _ in range(3)] == [Decimal("0.0005")] * 3
        asked_while_down = len(exchange.of(path))
        await clock.advance(FEES_ASKED_AGAIN_MS)
        assert await venue.taker_fee_ratio(Market.FUT) == Decimal("0.0004")
        for _ in range(2):
            await clock.advance(FEES_HOLD_MS)
            assert await venue.taker_fee_ratio(Market.FUT) == Decimal("0.0004")

    assert asked_while_down == 1
    assert [each["taken"] for each in logs if each["event"] == "fees cannot be asked for"] == ["0.0005", "0.0004"]


# --- the wallet


async def test_a_transfer_is_sent_once(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say("POST /sapi/v1/asset/transfer", {"tranId": 13526853623}, Answer(lost=True))

    number = await venue.transfer(Market.SPOT, Market.FUT, Decimal("50.5"))
    with pytest.raises(OutcomeUnknown):
        await venue.transfer(Market.FUT, Market.SPOT, Decimal("50.5"))

    first, second = exchange.asked
    assert number == 13526853623
    assert told(first) == {"type": "MAIN_UMFUTURE", "asset": "USDT", "amount": "50.5"}
    assert told(second)["type"] == "UMFUTURE_MAIN"


async def test_transfers_of_both_directions_are_listed_to_the_last_page(venue: BinanceVenue, exchange: Canned) -> None:
    def serve(asked: Asked) -> Answer:
        if asked.params["type"] == "UMFUTURE_MAIN":
            return Answer({"total": 0})
        page, size = int(asked.params["current"]), int(asked.params["size"])
        rows = [
            {
                "asset": "USDT",
                "amount": "1",
                "type": "MAIN_UMFUTURE",
                "status": "CONFIRMED",
                "tranId": number,
                "timestamp": START_MS - number,
            }
            for number in range(1, 131)
        ]
        return Answer({"total": len(rows), "rows": rows[(page - 1) * size : page * size]})

    exchange.say("GET /sapi/v1/asset/transfer", serve)

    moved = await venue.transfers(START_MS - 100_000)

    assert [each.tran_id for each in moved] == list(range(130, 0, -1))
    assert (moved[0].source, moved[0].target) == (Market.SPOT, Market.FUT)


async def test_transfers_are_not_asked_for_from_before_the_exchange_s_six_months(
    venue: BinanceVenue, exchange: Canned
) -> None:
    exchange.say("GET /sapi/v1/asset/transfer", Answer({"total": 0}))

    await venue.transfers(START_MS - 400 * 86_400_000)

    assert {int(asked.params["startTime"]) // 60_000 for asked in exchange.asked} == {
        (START_MS - 179 * 86_400_000) // 60_000
    }


async def test_an_environment_without_a_wallet_says_so(exchange: Canned) -> None:
    signer = HmacSigner("the-key", "the-secret")
    clock = LoopClock(START_MS)
    venue = create_venue(
        name="testnet",
        hosts=TESTNET,
        clock=clock,
        randomness=SeededRandomness(1),
        snapshots=MemorySnapshots(clock),
        signer_futures=signer,
        signer_spot=signer,
    )

    with pytest.raises(Refused, match="no wallet"):
        await venue.transfer(Market.SPOT, Market.FUT, Decimal(1))
    with pytest.raises(Refused, match="no wallet"):
        await venue.wallet.restrictions()
    await venue.close()

    assert not venue.capabilities.transfers


async def test_a_firewall_before_the_wallet_is_a_refusal(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say("POST /sapi/v1/asset/transfer", Answer(raw=b"<html>403 Forbidden</html>", status=403))

    with pytest.raises(Refused):
        await venue.transfer(Market.SPOT, Market.FUT, Decimal(1))


# --- the whole


@pytest.mark.parametrize(
    ("order", "rank"),
    [
        pytest.param(new(), Priority.ENTRY, id="spot buy"),
        pytest.param(new(side=Side.SELL), Priority.PROTECTIVE, id="spot sell closes"),
        pytest.param(new(market=Market.FUT, type=OrderType.MARKET), Priority.ENTRY, id="futures entry"),
        pytest.param(new(market=Market.FUT, reduce_only=True), Priority.PROTECTIVE, id="reduce-only"),
        pytest.param(
            new(market=Market.FUT, type=OrderType.STOP_MARKET, close_position=True),
            Priority.PROTECTIVE,
            id="stop for the position",
        ),
    ],
)
def test_what_protects_goes_first(order: NewOrder, rank: Priority) -> None:
    assert rank_of(order) is rank


def exchange_info(exchange: Canned) -> None:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
        {"filterType": "MIN_NOTIONAL", "notional": "50"},
        {"filterType": "NOTIONAL", "minNotional": "5"},
        {"filterType": "PERCENT_PRICE", "multiplierUp": "1.05", "multiplierDown": "0.95"},
    ]
    symbol = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": filters}
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 5000}]
    perpetual = {**symbol, "contractType": "PERPETUAL", "marginAsset": "USDT"}
    exchange.say("GET /fapi/v1/exchangeInfo", {"rateLimits": limits, "symbols": [perpetual]})
    exchange.say("GET /api/v3/exchangeInfo", {"rateLimits": limits, "symbols": [symbol]})
    exchange.say("GET /fapi/v1/fundingInfo", [{"symbol": "BTCUSDT", "fundingIntervalHours": 4}])
    exchange.say(
        "GET /fapi/v1/leverageBracket",
        [
            {
                "symbol": "BTCUSDT",
                "brackets": [
                    {
                        "bracket": 1,
                        "initialLeverage": 125,
                        "notionalCap": 300000,
                        "notionalFloor": 0,
                        "maintMarginRatio": 0.004,
                        "cum": 0.0,
                    }
                ],
            }
        ],
    )


async def test_instruments_of_both_markets_with_their_tiers_intervals_and_limits(
    venue: BinanceVenue, exchange: Canned
) -> None:
    exchange_info(exchange)

    perpetual, pair_of_spot = await venue.instruments()

    assert (perpetual.market, perpetual.max_leverage, perpetual.funding_interval_h) == (Market.FUT, 125, 4)
    assert (pair_of_spot.market, pair_of_spot.brackets, pair_of_spot.min_notional) == (Market.SPOT, (), Decimal(5))
    assert venue.futures.interval_h("BTCUSDT") == 4
    assert venue.futures.interval_h("ETHUSDT") == 8


async def test_without_keys_the_market_is_served_and_the_account_is_not(exchange: Canned) -> None:
    exchange_info(exchange)
    exchange.say("GET /fapi/v1/time", {"serverTime": START_MS})
    exchange.say("GET /api/v3/time", {"serverTime": START_MS})
    clock = LoopClock(START_MS)
    venue = create_venue(
        name="paper",
        hosts=local(exchange.root),
        clock=clock,
        randomness=SeededRandomness(1),
        snapshots=MemorySnapshots(clock),
    )
    await venue.open()

    perpetual, _ = await venue.instruments()
    fee = await venue.taker_fee_ratio(Market.FUT)
    with pytest.raises(VenueUnavailable, match="needs an API key"):
        await venue.balances()
    with pytest.raises(Refused, match="needs an API key"):
        await venue.place(new())
    await venue.close()

    assert (perpetual.max_leverage, perpetual.brackets[0].maint_margin_ratio) == (20, Decimal("0.025"))
    assert fee == Decimal("0.0005")
    assert venue.account_source is None


async def test_an_exchange_that_cannot_be_reached_says_so_at_the_start(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say("GET /fapi/v1/time", Answer(raw=b"<html>down</html>", status=503))

    with pytest.raises(VenueUnavailable):
        await venue.open()


async def test_books_and_marks_are_read(venue: BinanceVenue, exchange: Canned) -> None:
    depth = {"lastUpdateId": 9, "bids": [["74000.1", "2"]], "asks": [["74000.2", "3"]]}
    exchange.say("GET /fapi/v1/depth", {**depth, "E": START_MS + 2, "T": START_MS + 1})
    exchange.say("GET /fapi/v1/ticker/price", {"symbol": "BTCUSDT", "price": "74000.1"})
    exchange.say("GET /api/v3/depth", depth, {**depth, "asks": []})
    exchange.say("GET /api/v3/ticker/price", {"symbol": "BTCUSDT", "price": "74000.2"})
    exchange.say("GET /fapi/v1/fundingInfo", [])
    exchange.say(
        "GET /fapi/v1/premiumIndex",
        {
            "symbol": "BTCUSDT",
            "markPrice": "74000.15",
            "lastFundingRate": "0.0001",
            "nextFundingTime": START_MS + 60_000,
            "time": START_MS,
        },
    )

    futures = await venue.book(InstrumentKey(Market.FUT, "BTCUSDT"))
    spot = await venue.book(BTC)
    with pytest.raises(VenueUnavailable, match="no book"):
        await venue.book(BTC)
    mark = await venue.mark("BTCUSDT")

    assert (futures.ts, futures.bid, futures.ask, futures.last) == (
        START_MS + 1,
        Decimal("74000.1"),
        Decimal("74000.2"),
        Decimal("74000.1"),
    )
    assert spot.ts >= START_MS
    assert (mark.mark, mark.funding_rate, mark.interval_h) == (Decimal("74000.15"), 0.0001, 8)
