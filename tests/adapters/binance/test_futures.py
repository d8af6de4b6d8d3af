from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from chimera.adapters.binance.futures import LEVERAGE_HOLDS_MS
from chimera.adapters.binance.hosts import Site, local
from chimera.adapters.binance.signing import HmacSigner
from chimera.adapters.binance.venue import BinanceVenue
from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import IncomeKind, NewOrder
from chimera.ports.venue import OutcomeUnknown, RateLimited, Refused, UnknownOrder, VenueUnavailable
from tests.ports.hand_clock import HandClock

from .canned import Answer, Asked, Canned, refused
from .conftest import START_MS

BTC = InstrumentKey(Market.FUT, "BTCUSDT")
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
OPEN, OPEN_ALGO = "/fapi/v1/openOrders", "/fapi/v1/openAlgoOrders"
NOT_FOUND = refused(-2013, "Order does not exist.")
UNKNOWN = refused(-2011, "Unknown order sent.")
SIGNING = {"recvWindow", "timestamp", "signature"}


def new(client_order_id: str = "a-1", **change: Any) -> NewOrder:
    fields: dict[str, Any] = {
        "client_order_id": client_order_id,
        "market": Market.FUT,
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "type": OrderType.MARKET,
        "qty": Decimal("0.010"),
    }
    return NewOrder(**{**fields, **change})


def stop(client_order_id: str = "s-1", **change: Any) -> NewOrder:
    return new(
        client_order_id,
        **{
            "side": Side.SELL,
            "type": OrderType.STOP_MARKET,
            "stop_price": Decimal("74457.10"),
            "reduce_only": True,
            **change,
        },
    )


def order_row(client_order_id: str = "a-1", order_id: int = 11, **change: Any) -> dict[str, Any]:
    """As answered to a POST: without a time of creation and without an average price."""
    return {
        "orderId": order_id,
        "symbol": "BTCUSDT",
        "status": "NEW",
        "clientOrderId": client_order_id,
        "price": "0.00",
        "origQty": "0.010",
        "executedQty": "0.000",
        "cumQty": "0.000",
        "timeInForce": "GTC",
        "type": "MARKET",
        "reduceOnly": False,
        "closePosition": False,
        "side": "BUY",
        "positionSide": "BOTH",
        "stopPrice": "0.00",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": "MARKET",
        "updateTime": START_MS,
        **change,
    }


def algo_row(client_order_id: str = "s-1", algo_id: int = 900, **change: Any) -> dict[str, Any]:
    return {
        "algoId": algo_id,
        "clientAlgoId": client_order_id,
        "algoType": "CONDITIONAL",
        "orderType": "STOP_MARKET",
        "symbol": "BTCUSDT",
        "side": "SELL",
        "positionSide": "BOTH",
        "timeInForce": "GTC",
        "quantity": "0.010",
        "algoStatus": "NEW",
        "triggerPrice": "74457.10",
        "price": "0.00",
        "icebergQuantity": None,
        "workingType": "MARK_PRICE",
        "closePosition": False,
        "reduceOnly": True,
        "createTime": START_MS,
        "updateTime": START_MS,
        "triggerTime": 0,
        **change,
    }


def trade_row(trade_id: int, ts: int, order_id: int = 11) -> dict[str, Any]:
    return {
        "buyer": True,
        "commission": "0.05",
        "commissionAsset": "USDT",
        "id": trade_id,
        "maker": False,
        "orderId": order_id,
        "price": "75000.00",
        "qty": "0.010",
        "quoteQty": "750",
        "realizedPnl": "-1.25",
        "side": "BUY",
        "symbol": "BTCUSDT",
        "time": ts,
    }


# --- placing


@pytest.mark.parametrize(
    ("order", "path", "params"),
    [
        pytest.param(
            new(),
            ORDER,
            {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "MARKET",
                "quantity": "0.01",
                "newClientOrderId": "a-1",
                "newOrderRespType": "RESULT",
            },
            id="market",
        ),
        pytest.param(
            new(
                type=OrderType.LIMIT,
                price=Decimal("74260.4"),
                time_in_force=TimeInForce.GTX,
                reduce_only=True,
                side=Side.SELL,
            ),
            ORDER,
            {
                "symbol": "BTCUSDT",
                "side": "SELL",
                "type": "LIMIT",
                "quantity": "0.01",
                "reduceOnly": "true",
                "price": "74260.4",
                "timeInForce": "GTX",
                "newClientOrderId": "a-1",
                "newOrderRespType": "RESULT",
            },
            id="post-only",
        ),
        pytest.param(
            stop(),
            ALGO,
            {
                "algoType": "CONDITIONAL",
                "symbol": "BTCUSDT",
                "side": "SELL",
                "type": "STOP_MARKET",
                "quantity": "0.01",
                "reduceOnly": "true",
                "workingType": "MARK_PRICE",
                "triggerPrice": "74457.1",
                "clientAlgoId": "s-1",
            },
            id="stop",
        ),
        pytest.param(
            stop(close_position=True, type=OrderType.TAKE_PROFIT_MARKET),
            ALGO,
            {
                "algoType": "CONDITIONAL",
                "symbol": "BTCUSDT",
                "side": "SELL",
                "type": "TAKE_PROFIT_MARKET",
                "closePosition": "true",
                "workingType": "MARK_PRICE",
                "triggerPrice": "74457.1",
                "clientAlgoId": "s-1",
            },
            id="target that closes the position",
        ),
        pytest.param(
            stop(stop_price=None, callback_ratio=Decimal("0.01"), activate_price=Decimal(76000)),
            ALGO,
            {
                "algoType": "CONDITIONAL",
                "symbol": "BTCUSDT",
                "side": "SELL",
                "type": "TRAILING_STOP_MARKET",
                "quantity": "0.01",
                "reduceOnly": "true",
                "workingType": "MARK_PRICE",
                "callbackRate": "1",
                "activatePrice": "76000",
                "clientAlgoId": "s-1",
            },
            id="trailing stop",
        ),
        pytest.param(
            stop(type=OrderType.STOP_LOSS_LIMIT, price=Decimal(74000)),
            ALGO,
            {
                "algoType": "CONDITIONAL",
                "symbol": "BTCUSDT",
                "side": "SELL",
                "type": "STOP",
                "quantity": "0.01",
                "reduceOnly": "true",
                "price": "74000",
                "timeInForce": "GTC",
                "workingType": "MARK_PRICE",
                "triggerPrice": "74457.1",
                "clientAlgoId": "s-1",
            },
            id="stop that becomes a limit order",
        ),
    ],
)
async def test_an_order_is_spelt_as_the_exchange_wants_it(
    venue: BinanceVenue, exchange: Canned, order: NewOrder, path: str, params: dict[str, str]
) -> None:
    exchange.say(f"POST {ORDER}", order_row())
    exchange.say(f"POST {ALGO}", algo_row())

    await venue.place(order)

    (asked,) = exchange.asked
    assert (asked.method, asked.path) == ("POST", path)
    assert {name: told for name, told in asked.params.items() if name not in SIGNING} == params


async def test_a_filled_market_order_says_how_much_and_not_at_what_price(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"POST {ORDER}", order_row(status="FILLED", executedQty="0.010"))

    placed = await venue.place(new())

    assert (placed.status, placed.filled_qty, placed.venue_order_id) == (OrderStatus.FILLED, Decimal("0.010"), "11")


async def test_an_answer_that_makes_no_sense_leaves_the_outcome_unknown(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"POST {ORDER}", {"orderId": 11, "surprise": True})

    with pytest.raises(OutcomeUnknown, match="cannot be understood"):
        await venue.place(new())


async def test_a_type_that_futures_lack_is_refused_before_it_is_sent(venue: BinanceVenue, exchange: Canned) -> None:
    with pytest.raises(Refused, match="OCO_PARENT"):
        await venue.place(new(type=OrderType.OCO_PARENT))

    assert not exchange.asked


# --- asking for one order


async def test_a_waiting_stop_is_found_in_the_algo_book(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"GET {ALGO}", algo_row())

    found = await venue.order(BTC, "s-1", conditional=True)

    assert (found.venue_algo_id, found.venue_order_id, found.triggered) == ("900", "", False)
    assert exchange.asked[0].params["clientAlgoId"] == "s-1"


async def test_a_stop_that_the_query_does_not_know_yet_is_found_in_the_list(
    venue: BinanceVenue, exchange: Canned
) -> None:
    exchange.say(f"GET {ALGO}", NOT_FOUND)
    exchange.say(f"GET {OPEN_ALGO}", [algo_row("other"), algo_row()])

    found = await venue.order(BTC, "s-1", conditional=True)

    assert found.venue_algo_id == "900"


async def test_a_triggered_stop_carries_both_of_its_numbers(venue: BinanceVenue, exchange: Canned) -> None:
    triggered = algo_row(algoStatus="FINISHED", actualOrderId="77", actualQty="0.010", triggerTime=START_MS + 9)
    made = order_row("s-1", 77, side="SELL", status="FILLED", executedQty="0.010", updateTime=START_MS + 10)
    exchange.say(f"GET {ALGO}", triggered)
    exchange.say(f"GET {ORDER}", {**made, "time": START_MS + 10, "avgPrice": "74450", "cumQuote": "744.50"})

    found = await venue.order(BTC, "s-1", conditional=True)

    assert (found.venue_algo_id, found.venue_order_id) == ("900", "77")
    assert (found.conditional, found.triggered, found.type) == (True, True, OrderType.STOP_MARKET)
    assert (found.status, found.stop_price, found.reduce_only) == (OrderStatus.FILLED, Decimal("74457.10"), True)
    assert (found.created_at_ms, found.filled_quote) == (START_MS, Decimal("744.50"))
    assert exchange.of(f"GET {ORDER}")[0].params["orderId"] == "77"


async def test_what_a_trigger_made_is_found_when_the_algo_book_has_forgotten(
    venue: BinanceVenue, exchange: Canned
) -> None:
    exchange.say(f"GET {ALGO}", NOT_FOUND)
    exchange.say(f"GET {OPEN_ALGO}", [])
    exchange.say(f"GET {ORDER}", {**order_row("s-1", 77), "time": START_MS})

    found = await venue.order(BTC, "s-1", conditional=True)

    assert found.venue_order_id == "77"
    assert exchange.of(f"GET {ORDER}")[0].params["origClientOrderId"] == "s-1"


def asked_by(exchange: Canned) -> list[str]:
    return [asked.params.get("orderId") or asked.params["origClientOrderId"] for asked in exchange.of(f"GET {ORDER}")]


async def test_an_order_that_shares_its_name_is_asked_for_by_its_number(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"GET {ORDER}", {**order_row("adl_autoclose", 77, status="FILLED"), "time": START_MS})

    found = await venue.order(BTC, "adl_autoclose-77", conditional=False)

    assert (found.client_order_id, found.venue_order_id) == ("adl_autoclose-77", "77")
    assert asked_by(exchange) == ["77"]


@pytest.mark.parametrize(
    "numbered",
    [
        pytest.param(NOT_FOUND, id="no order has this number"),
        pytest.param({**order_row("a-1", 1723), "time": START_MS}, id="another order has this number"),
    ],
)
async def test_a_number_in_a_name_may_be_the_exchanges_own(
    venue: BinanceVenue, exchange: Canned, numbered: Any
) -> None:
    exchange.say(f"GET {ORDER}", numbered, {**order_row("autoclose-1723", 77), "time": START_MS})

    found = await venue.order(BTC, "autoclose-1723", conditional=False)

    assert (found.client_order_id, found.venue_order_id) == ("autoclose-1723", "77")
    assert asked_by(exchange) == ["1723", "autoclose-1723"]


async def test_fills_are_given_to_each_of_the_orders_that_share_a_name(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say("GET /fapi/v1/userTrades", [trade_row(1, START_MS, 77), trade_row(2, START_MS + 1, 78)])
    exchange.say(
        f"GET {ORDER}",
        lambda asked: Answer({**order_row("adl_autoclose", int(asked.params["orderId"])), "time": START_MS}),
    )

    fills = await venue.fills(BTC, START_MS)

    assert [fill.client_order_id for fill in fills] == ["adl_autoclose-77", "adl_autoclose-78"]


async def test_an_order_with_a_status_of_older_documents_does_not_hide_the_others(
    venue: BinanceVenue, exchange: Canned
) -> None:
    exchange.say(f"GET {OPEN_ALGO}", [])
    rows = [order_row("autoclose-5", 5, status="NEW_INSURANCE"), order_row("adl_autoclose", 6, status="NEW_ADL")]
    exchange.say(f"GET {OPEN}", [{**row, "time": START_MS} for row in (*rows, order_row())])

    listed = await venue.open_orders([BTC])

    assert [order.client_order_id for order in listed if order.market is Market.FUT] == [
        "autoclose-5",
        "adl_autoclose-6",
        "a-1",
    ]
    assert {order.status for order in listed} == {OrderStatus.NEW}


async def test_a_trigger_whose_order_is_not_listed_yet_is_not_lost(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"GET {ALGO}", algo_row(algoStatus="TRIGGERED", actualOrderId="77"))
    exchange.say(f"GET {ORDER}", NOT_FOUND)

    found = await venue.order(BTC, "s-1", conditional=True)

    assert (found.status, found.triggered, found.venue_order_id) == (OrderStatus.NEW, True, "77")


@pytest.mark.parametrize("conditional", [True, False])
async def test_only_what_no_book_knows_is_unknown(venue: BinanceVenue, exchange: Canned, conditional: bool) -> None:
    exchange.say(f"GET {ALGO}", NOT_FOUND)
    exchange.say(f"GET {OPEN_ALGO}", [])
    exchange.say(f"GET {ORDER}", NOT_FOUND)

    with pytest.raises(UnknownOrder):
        await venue.order(BTC, "a-1", conditional=conditional)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(lost=True), id="cut off"),
        pytest.param(Answer(raw=b"<html>", status=502), id="gateway"),
        pytest.param(refused(-1007, "Timeout", 408), id="timeout"),
        pytest.param(refused(-2015, "Invalid API-key, IP, or permissions for action.", 401), id="key refused"),
    ],
)
async def test_a_question_that_failed_is_no_answer(venue: BinanceVenue, exchange: Canned, answer: Answer) -> None:
    for call in (f"GET {ALGO}", f"GET {ORDER}", f"GET {OPEN}", f"GET {OPEN_ALGO}", "GET /fapi/v3/positionRisk"):
        exchange.say(call, answer)

    for asking in (
        venue.order(BTC, "a-1", conditional=False),
        venue.order(BTC, "a-1", conditional=True),
        venue.open_orders(),
        venue.positions(),
    ):
        with pytest.raises(VenueUnavailable):
            await asking


async def test_the_parts_say_what_was_refused(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say("GET /fapi/v1/accountConfig", refused(-2015, "Invalid API-key, IP, or permissions for action.", 401))

    with pytest.raises(Refused) as caught:
        await venue.futures.account_config()

    assert caught.value.code == -2015


async def test_a_plain_order_may_turn_out_to_be_a_stop(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"GET {ORDER}", NOT_FOUND)
    exchange.say(f"GET {ALGO}", algo_row())

    found = await venue.order(BTC, "s-1", conditional=False)

    assert found.conditional


# --- canceling


async def test_a_canceled_stop_is_told_as_it_was(venue: BinanceVenue, exchange: Canned) -> None:
    """The answer names ids only, and the query says NEW for a second longer."""
    exchange.say(f"POST {ALGO}", algo_row())
    exchange.say(f"DELETE {ALGO}", {"algoId": 900, "clientAlgoId": "s-1", "code": "200", "msg": "success"})
    await venue.place(stop())

    canceled = await venue.cancel(BTC, "s-1", conditional=True)

    assert (canceled.status, canceled.filled_qty, canceled.venue_algo_id) == (OrderStatus.CANCELED, Decimal(0), "900")
    assert canceled.updated_at_ms >= START_MS
    assert not exchange.of(f"GET {ALGO}")


async def test_a_canceled_stop_of_an_earlier_life_is_asked_for(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"DELETE {ALGO}", {"algoId": 900, "clientAlgoId": "s-1", "code": "200", "msg": "success"})
    exchange.say(f"GET {ALGO}", NOT_FOUND, algo_row())

    canceled = await venue.cancel(BTC, "s-1", conditional=True)

    assert (canceled.status, canceled.qty) == (OrderStatus.CANCELED, Decimal("0.010"))


async def test_a_cancel_that_nobody_can_describe_is_settled_by_asking_later(
    venue: BinanceVenue, exchange: Canned
) -> None:
    exchange.say(f"DELETE {ALGO}", {"algoId": 900, "clientAlgoId": "s-1", "code": "200", "msg": "success"})
    exchange.say(f"GET {ALGO}", NOT_FOUND)

    with pytest.raises(OutcomeUnknown):
        await venue.cancel(BTC, "s-1", conditional=True)


@pytest.mark.parametrize(
    "answer",
    [pytest.param(UNKNOWN, id="gone"), pytest.param(refused(-4117, "stop order is triggering"), id="too late")],
)
async def test_a_stop_that_cannot_be_canceled_any_more_is_looked_for_in_the_regular_book(
    venue: BinanceVenue, exchange: Canned, answer: Answer
) -> None:
    exchange.say(f"DELETE {ALGO}", answer)
    exchange.say(f"DELETE {ORDER}", UNKNOWN)

    with pytest.raises(UnknownOrder):
        await venue.cancel(BTC, "s-1", conditional=True)

    assert exchange.of(f"DELETE {ORDER}")[0].params["origClientOrderId"] == "s-1"


async def test_a_cancel_whose_answer_is_lost_has_an_unknown_outcome(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"DELETE {ORDER}", refused(-1006, "An unexpected response was received", 400))

    with pytest.raises(OutcomeUnknown):
        await venue.cancel(BTC, "a-1", conditional=False)


async def test_a_canceled_order_knows_when_it_was_placed(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"POST {ORDER}", order_row())
    exchange.say(f"DELETE {ORDER}", order_row(status="CANCELED", executedQty="0.004", updateTime=START_MS + 600_000))
    await venue.place(new())

    canceled = await venue.cancel(BTC, "a-1", conditional=False)

    assert (canceled.created_at_ms, canceled.updated_at_ms) == (START_MS, START_MS + 600_000)
    assert (canceled.status, canceled.filled_qty) == (OrderStatus.CANCELED, Decimal("0.004"))


async def test_a_canceled_order_of_an_earlier_life_is_asked_when_it_was_placed(
    venue: BinanceVenue, exchange: Canned
) -> None:
    after = order_row(status="CANCELED", executedQty="0.004", updateTime=START_MS + 600_000)
    exchange.say(f"DELETE {ORDER}", after)
    exchange.say(f"GET {ORDER}", {**after, "time": START_MS})

    canceled = await venue.cancel(BTC, "a-1", conditional=False)

    assert canceled.created_at_ms == START_MS


# --- lists


async def test_both_books_of_both_markets_are_listed(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"GET {OPEN}", [{**order_row("a-1"), "time": START_MS}])
    exchange.say(f"GET {OPEN_ALGO}", [algo_row(quantity="7.0E-4", price="0.0")])
    exchange.say("GET /api/v3/openOrders", [])

    orders = await venue.open_orders()

    assert [order.client_order_id for order in orders] == ["a-1", "s-1"]
    assert orders[1].qty == Decimal("0.0007")
    assert [order.conditional for order in orders] == [False, True]


async def test_an_order_that_was_triggered_between_two_lists_is_listed_once(
    venue: BinanceVenue, exchange: Canned
) -> None:
    exchange.say(f"GET {OPEN_ALGO}", [algo_row(orderType="STOP", price="74000")])
    exchange.say(
        f"GET {OPEN}", [{**order_row("s-1", 77, type="LIMIT", origType="LIMIT", side="SELL"), "time": START_MS + 5}]
    )
    exchange.say("GET /api/v3/openOrders", [])

    (order,) = await venue.open_orders()

    assert (order.venue_order_id, order.venue_algo_id, order.triggered) == ("77", "900", True)


# --- the account


def position_row(symbol: str, amount: str, **change: Any) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "positionSide": "BOTH",
        "positionAmt": amount,
        "entryPrice": "75000.0",
        "breakEvenPrice": "75030",
        "markPrice": "74900.00",
        "unRealizedProfit": "1.00",
        "liquidationPrice": "78000",
        "isolatedMargin": "38.5",
        "notional": "-749",
        "isolatedWallet": "37.5",
        "updateTime": START_MS,
        **change,
    }


CONFIG = {"symbol": "BTCUSDT", "marginType": "ISOLATED", "leverage": 20, "maxNotionalValue": "1"}


async def test_positions_carry_their_leverage_and_flat_ones_are_left_out(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say("GET /fapi/v3/positionRisk", [position_row("BTCUSDT", "-0.010"), position_row("ETHUSDT", "0.000")])
    exchange.say("GET /fapi/v1/symbolConfig", [CONFIG])

    (position,) = await venue.positions()
    await venue.positions()

    assert (position.symbol, position.qty, position.leverage) == ("BTCUSDT", Decimal("-0.010"), 20)
    assert (position.isolated_wallet_usdt, position.liquidation_price) == (Decimal("37.5"), Decimal(78000))
    assert len(exchange.of("GET /fapi/v1/symbolConfig")) == 1


async def test_a_position_is_told_while_only_stops_may_ask(venue: BinanceVenue, exchange: Canned) -> None:
    venue.budget.limit(Site.FUTURES, 60_000)
    exchange.say("GET /fapi/v3/positionRisk", [position_row("BTCUSDT", "-0.010")])
    exchange.say("GET /fapi/v1/symbolConfig", [CONFIG])

    (position,) = await venue.positions()

    assert position.leverage == 20


@pytest.mark.parametrize(
    ("known", "margin", "leverage"),
    [pytest.param(True, "149.8", 20, id="last known"), pytest.param(False, "149.8", 5, id="as its margin shows")],
)
async def test_a_position_whose_leverage_cannot_be_asked_is_told(
    exchange: Canned, session: aiohttp.ClientSession, known: bool, margin: str, leverage: int
) -> None:
    clock = HandClock(at_ms=START_MS)
    signer = HmacSigner("the-key", "the-secret")
    venue = BinanceVenue(
        name="canned", hosts=local(exchange.root), clock=clock, session=session, snapshots=None, signer_futures=signer
    )
    exchange.say("GET /fapi/v3/positionRisk", [position_row("BTCUSDT", "-0.010", positionInitialMargin=margin)])
    down = Answer(raw=b"<html>down</html>", status=502)
    if known:
        exchange.say("GET /fapi/v1/symbolConfig", [CONFIG], down)
        await venue.positions()
        await clock.advance(LEVERAGE_HOLDS_MS)
    else:
        exchange.say("GET /fapi/v1/symbolConfig", down)

    (position,) = await venue.positions()

    assert position.leverage == leverage


async def test_balances_of_both_markets_and_what_is_gone_is_told_as_nothing(
    venue: BinanceVenue, exchange: Canned
) -> None:
    def fut(asset: str, wallet: str, free: str) -> dict[str, str]:
        return {"asset": asset, "balance": wallet, "availableBalance": free}

    exchange.say("GET /fapi/v3/balance", [fut("USDT", "100", "60"), fut("BNB", "0", "0")])
    exchange.say(
        "GET /api/v3/account",
        {"balances": [{"asset": "BTC", "free": "0.5", "locked": "0.1"}]},
        {"balances": []},
    )

    first = {(each.market, each.asset): (each.free, each.locked) for each in await venue.balances()}
    second = {(each.market, each.asset): each.free for each in await venue.balances()}

    assert first == {
        (Market.FUT, "USDT"): (Decimal(60), Decimal(40)),
        (Market.SPOT, "USDT"): (Decimal(0), Decimal(0)),
        (Market.SPOT, "BTC"): (Decimal("0.5"), Decimal("0.1")),
    }
    assert second[Market.SPOT, "BTC"] == 0
    assert exchange.of("GET /api/v3/account")[0].params["omitZeroBalances"] == "true"


@pytest.mark.parametrize("site", [Site.FUTURES, Site.SPOT])
async def test_balances_are_not_polled_through_a_429(venue: BinanceVenue, exchange: Canned, site: Site) -> None:
    """That leads to the ban under which no stop can be placed."""
    exchange.say("GET /fapi/v3/balance", [])
    venue.budget.limit(site, 60_000)

    with pytest.raises(RateLimited):
        await venue.balances()

    assert all(asked.path == "/fapi/v3/balance" for asked in exchange.asked)
    assert len(exchange.asked) == (0 if site is Site.FUTURES else 1)


async def test_isolated_margin_that_is_set_already_is_success(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say("POST /fapi/v1/marginType", refused(-4046, "No need to change margin type."))
    exchange.say("POST /fapi/v1/leverage", {"symbol": "BTCUSDT", "leverage": 20, "maxNotionalValue": "1"})

    await venue.ensure_isolated("BTCUSDT", 20)

    assert [asked.path for asked in exchange.asked] == ["/fapi/v1/marginType", "/fapi/v1/leverage"]
    assert exchange.asked[0].params["marginType"] == "ISOLATED"


@pytest.mark.parametrize("code", [-4047, -4048, -4168])
async def test_a_margin_type_that_cannot_be_changed_is_told(venue: BinanceVenue, exchange: Canned, code: int) -> None:
    exchange.say("POST /fapi/v1/marginType", refused(code, "no"))

    with pytest.raises(Refused) as caught:
        await venue.ensure_isolated("BTCUSDT", 20)

    assert caught.value.code == code
    assert len(exchange.asked) == 1


@pytest.mark.parametrize("countdown_ms", [120_000, 0])
async def test_the_dead_man_switch_is_asked_for_as_it_is_documented(
    venue: BinanceVenue, exchange: Canned, countdown_ms: int
) -> None:
    exchange.say("POST /fapi/v1/countdownCancelAll", {"symbol": "BTCUSDT", "countdownTime": str(countdown_ms)})

    await venue.cancel_all_after("BTCUSDT", countdown_ms)

    (asked,) = exchange.asked
    assert (asked.params["symbol"], asked.params["countdownTime"]) == ("BTCUSDT", str(countdown_ms))


async def test_a_dead_man_switch_that_is_not_there_is_refused(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say("POST /fapi/v1/countdownCancelAll", refused(-1102, "Mandatory parameter was not sent."))

    with pytest.raises(Refused) as caught:
        await venue.cancel_all_after("BTCUSDT", 1_000)

    assert caught.value.code == -1102


async def test_modes_that_are_set_already_are_success(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say("POST /fapi/v1/positionSide/dual", refused(-4059, "No need to change position side."))
    exchange.say("POST /fapi/v1/multiAssetsMargin", refused(-4171, "does not need to be adjusted"))
    exchange.say("GET /fapi/v1/positionSide/dual", {"dualSidePosition": True})
    exchange.say("GET /fapi/v1/multiAssetsMargin", {"multiAssetsMargin": False})

    await venue.futures.set_one_way()
    await venue.futures.set_single_asset()
    modes = await venue.futures.modes()

    assert modes.hedge
    assert not modes.multi_assets


# --- history


async def test_fills_are_named_by_the_orders_that_were_seen(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"POST {ORDER}", order_row("a-1", 11))
    exchange.say(f"GET {ORDER}", {**order_row("manual", 12), "time": START_MS})
    exchange.say("GET /fapi/v1/userTrades", [trade_row(1, START_MS + 1, 11), trade_row(2, START_MS + 2, 12)])
    await venue.place(new())

    fills = await venue.fills(BTC, START_MS)

    assert [(fill.trade_id, fill.client_order_id) for fill in fills] == [(1, "a-1"), (2, "manual")]
    assert (fills[0].fee, fills[0].realized_pnl_usdt) == (Decimal("0.05"), Decimal("-1.25"))
    assert [asked.params["orderId"] for asked in exchange.of(f"GET {ORDER}")] == ["12"]


async def test_fills_are_read_to_the_last_page_once_each(venue: BinanceVenue, exchange: Canned) -> None:
    day_ms = 86_400_000
    since_ms = START_MS - 20 * day_ms
    trades = [trade_row(number, since_ms + 9 * day_ms + number) for number in range(1, 2_301)]

    def serve(asked: Asked) -> Answer:
        told = asked.params
        if "fromId" in told:
            assert "startTime" not in told
            rows = [row for row in trades if row["id"] >= int(told["fromId"])]
        else:
            start_ms, end_ms = int(told["startTime"]), int(told["endTime"])
            assert end_ms - start_ms < 7 * day_ms
            rows = [row for row in trades if start_ms <= row["time"] <= end_ms]
        return Answer(rows[: int(told["limit"])])

    exchange.say("GET /fapi/v1/userTrades", serve)
    exchange.say(f"GET {ORDER}", {**order_row("a-1", 11), "time": START_MS})

    fills = await venue.fills(BTC, since_ms)

    assert [fill.trade_id for fill in fills] == list(range(1, 2_301))


async def test_names_of_many_orders_are_read_from_the_list(venue: BinanceVenue, exchange: Canned) -> None:
    """While only stops may ask, too: what a position is follows from its fills."""
    venue.budget.limit(Site.FUTURES, 60_000)
    exchange.say("GET /fapi/v1/userTrades", [trade_row(number, START_MS + number, number) for number in range(1, 9)])
    orders = [{**order_row(f"a-{number}", number), "time": START_MS} for number in range(1, 8)]
    exchange.say("GET /fapi/v1/allOrders", orders)
    exchange.say(f"GET {ORDER}", NOT_FOUND)

    fills = await venue.fills(BTC, START_MS)

    assert [fill.client_order_id for fill in fills] == [f"a-{number}" for number in range(1, 8)] + ["venue-8"]
    assert exchange.of("GET /fapi/v1/allOrders")[0].params["orderId"] == "1"
    assert len(exchange.of(f"GET {ORDER}")) == 1


async def test_income_is_read_to_the_last_page_once_each(venue: BinanceVenue, exchange: Canned) -> None:
    rows = [
        {
            "symbol": "BTCUSDT",
            "incomeType": "COMMISSION" if number % 2 else "REALIZED_PNL",
            "income": "-0.1",
            "asset": "USDT",
            "info": "",
            "time": START_MS - 90_000 + min(number, 500),
            # The same number under both kinds, as the exchange gives them.
            "tranId": number // 2,
        }
        for number in range(2_700)
    ]

    def serve(asked: Asked) -> Answer:
        start_ms, end_ms, page = (int(asked.params[name]) for name in ("startTime", "endTime", "page"))
        assert end_ms - start_ms < 7 * 86_400_000
        found = [row for row in rows if start_ms <= row["time"] <= end_ms]
        return Answer(found[(page - 1) * 1_000 : page * 1_000])

    exchange.say("GET /fapi/v1/income", serve)

    income = await venue.income(START_MS - 20 * 86_400_000)

    assert len(income) == len(rows)
    assert [each.ts for each in income] == sorted(each.ts for each in income)
    assert {each.kind for each in income} == {IncomeKind.COMMISSION, IncomeKind.REALIZED_PNL}


async def test_only_closed_bars_are_told_however_many_calls_that_takes(venue: BinanceVenue, exchange: Canned) -> None:
    minute_ms = 60_000
    first_ms = START_MS - 1_200 * minute_ms

    def serve(asked: Asked) -> Answer:
        start_ms, end_ms = int(asked.params["startTime"]), int(asked.params["endTime"])
        opens = [first_ms + number * minute_ms for number in range(1_201)]
        rows = [
            [open_ms, "1.0", "2.0", "0.5", "1.5", "10", open_ms + minute_ms - 1, "15", 3, "5", "7", "0"]
            for open_ms in opens
            if start_ms <= open_ms <= end_ms
        ]
        return Answer(rows[: int(asked.params["limit"])])

    exchange.say("GET /fapi/v1/klines", serve)

    bars = await venue.klines(BTC, "1m", first_ms, START_MS + minute_ms)

    assert [bar.open_time for bar in bars] == [first_ms + number * minute_ms for number in range(1_200)]
    assert (bars[0].open, bars[0].high, bars[0].low, bars[0].close, bars[0].volume) == (1.0, 2.0, 0.5, 1.5, 10.0)
