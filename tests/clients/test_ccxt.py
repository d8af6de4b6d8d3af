"""ccxt against our exchange: its futures and its spot class, over REST and over its own WebSockets.

Only its addresses are changed. What its tables of errors make of a code depends on the host's name, so refusals are
shown to it a second time as if they came from the exchange's own host.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from chimera.adapters.binance import parse_futures, parse_spot
from chimera.adapters.binance.signing import HmacSigner, encoded, signed, ws_signed
from chimera.contracts.enums import Market, OrderStatus
from chimera.venue_server.limits import LimitRules
from chimera.venue_server.streams.names import Group
from tests.clients.markets import TICK_SIZES, Markets, ed25519_key, open_markets
from tests.venue_server.running import KEY, SECRET

FUT, SPOT = "BTC/USDT:USDT", "BTC/USDT"
SYMBOLS = [pytest.param(FUT, id="futures"), pytest.param(SPOT, id="spot")]
HOUR_MS = 3_600_000


@dataclass(slots=True)
class Trader:
    client: Any
    symbol: str
    markets: Markets
    tick: Decimal

    @property
    def on_futures(self) -> bool:
        return self.symbol == FUT

    @property
    def ask(self) -> Decimal:
        return self.markets.last + self.tick

    @property
    def fee_ratio(self) -> Decimal:
        return Decimal("0.0005") if self.on_futures else Decimal("0.001")

    async def order(self, kind: str, side: str, amount: float, price: float | None = None, **params: Any) -> Any:
        return await self.client.create_order(self.symbol, kind, side, amount, price, params)

    def at_the_exchange(self, path: str) -> type[Exception]:
        """What the client makes of the refusal it had last, when it comes from the exchange's own host."""
        host = "fapi.binance.com/fapi" if self.on_futures else "api.binance.com/api"
        body = self.client.last_http_response
        import ccxt

        with pytest.raises(ccxt.BaseError) as told:
            self.client.handle_errors(
                400, "Bad Request", f"https://{host}/{path}", "", {}, body, self.client.parse_json(body), {}, {}
            )
        return told.type

    async def listen_to_account(self) -> None:
        await self.client.authenticate({"type": "future" if self.on_futures else "spot"})

    async def heard(self) -> None:
        """Until the exchange has the client among those whom it tells of the account."""
        group = Group.PRIVATE if self.on_futures else Group.API
        await self.markets.until(lambda: any(each.group is group for each in self.markets.venue.venue.hub.connections))


def redirect(addresses: dict[str, Any], root: str) -> None:
    """Every address in there keeps its path and gets our host."""
    for name, address in addresses.items():
        if isinstance(address, dict):
            redirect(address, root)
        elif "://" in address:
            parts = urlsplit(address)
            base = root.replace("http", "ws", 1) if parts.scheme.startswith("ws") else root
            addresses[name] = base + parts.path


@asynccontextmanager
async def client_of(
    markets: Markets, symbol: str, key: str = KEY, secret: str = SECRET, **options: Any
) -> AsyncIterator[Any]:
    import ccxt.pro  # half a second, and only here

    made = (ccxt.pro.binanceusdm if symbol == FUT else ccxt.pro.binance)(
        {
            "apiKey": key,
            "secret": secret,
            "enableRateLimit": False,  # its own limiter takes 0.2 s an order
            "timeout_on_exit": 0,
            "options": {
                "adjustForTimeDifference": True,
                # What it would ask besides exchangeInfo is of margin trading and withdrawals.
                "fetchCurrencies": False,
                "fetchMargins": False,
                "fetchMarkets": {"types": ["linear" if symbol == FUT else "spot"]},
                **options,
            },
        }
    )
    redirect(made.urls["api"], markets.venue.url)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def trading(markets: Markets, symbol: str) -> AsyncIterator[Trader]:
    async with client_of(markets, symbol) as client:
        await client.load_markets()
        yield Trader(client, symbol, markets, TICK_SIZES[Market.FUT if symbol == FUT else Market.SPOT])


@pytest.fixture(params=SYMBOLS)
async def trader(request: pytest.FixtureRequest, markets: Markets) -> AsyncIterator[Trader]:
    async with trading(markets, request.param) as made:
        yield made


@pytest.fixture
async def futures(markets: Markets) -> AsyncIterator[Trader]:
    async with trading(markets, FUT) as made:
        yield made


@pytest.fixture
async def spot(markets: Markets) -> AsyncIterator[Trader]:
    async with trading(markets, SPOT) as made:
        yield made


# --- what anybody may ask


async def test_it_learns_the_rules_of_futures(futures: Trader) -> None:
    rules = futures.client.market(FUT)

    assert set(futures.client.symbols) == {FUT, "ETH/USDT:USDT"}
    assert (rules["id"], rules["linear"], rules["swap"], rules["active"]) == ("BTCUSDT", True, True, True)
    assert (rules["precision"]["amount"], rules["precision"]["price"]) == (0.001, 0.1)
    assert (rules["limits"]["amount"], rules["limits"]["cost"]["min"]) == ({"min": 0.001, "max": 1000.0}, 50.0)
    assert rules["limits"]["market"]["max"] == 120.0


async def test_it_learns_the_rules_of_spot(spot: Trader) -> None:
    rules = spot.client.market(SPOT)

    assert spot.client.symbols == [SPOT]
    assert (rules["id"], rules["spot"], rules["active"]) == ("BTCUSDT", True, True)
    assert (rules["precision"]["amount"], rules["precision"]["price"]) == (0.00001, 0.01)
    assert (rules["limits"]["amount"]["min"], rules["limits"]["cost"]["min"]) == (0.00001, 5.0)


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_a_clock_that_is_off_is_refused_until_it_follows_the_exchanges(markets: Markets, symbol: str) -> None:
    async with client_of(markets, symbol, adjustForTimeDifference=False) as client:
        await client.load_markets()

        with pytest.raises(Exception, match="-1021"):
            await client.fetch_balance()
        await client.load_time_difference()

        assert abs(client.nonce() - markets.venue.now_ms) < 1_000
        assert (await client.fetch_balance())["USDT"]["total"] == 10_000


async def test_it_reads_the_book(trader: Trader) -> None:
    book = await trader.client.fetch_order_book(trader.symbol, 5)

    assert [Decimal(str(price)) for price, _ in book["bids"]] == [60_000 - trader.tick * step for step in range(1, 6)]
    assert [Decimal(str(price)) for price, _ in book["asks"]] == [60_000 + trader.tick * step for step in range(1, 6)]
    assert {qty for _, qty in book["bids"] + book["asks"]} == {5.0}
    assert book["nonce"] > 0


async def test_it_reads_klines(trader: Trader) -> None:
    trader.markets.show("60500")

    bars = await trader.client.fetch_ohlcv(trader.symbol, "1h", limit=5)

    now_ms = trader.markets.venue.now_ms
    assert [bar[0] for bar in bars] == [now_ms // HOUR_MS * HOUR_MS - HOUR_MS * ago for ago in (4, 3, 2, 1, 0)]
    assert bars[-1][4] == 60_500
    assert all(low <= min(opened, closed) <= max(opened, closed) <= high for _, opened, high, low, closed, _ in bars)
    assert all(bar[5] > 0 for bar in bars)


# --- orders


async def test_a_market_order_fills_at_the_ask_and_pays_the_takers_fee(trader: Trader) -> None:
    placed = await trader.order("market", "buy", 0.05, clientOrderId="buy-1")
    order = await trader.client.fetch_order(placed["id"], trader.symbol)
    trades = await trader.client.fetch_my_trades(trader.symbol)

    assert (placed["clientOrderId"], placed["status"], placed["filled"]) == ("buy-1", "closed", 0.05)
    assert (order["clientOrderId"], order["status"], order["type"]) == ("buy-1", "closed", "market")
    assert (order["filled"], order["remaining"]) == (0.05, 0.0)
    assert Decimal(str(order["average"])) == trader.ask
    [trade] = trades
    assert (trade["order"], trade["side"], trade["takerOrMaker"]) == (placed["id"], "buy", "taker")
    assert (Decimal(str(trade["price"])), trade["amount"]) == (trader.ask, 0.05)
    fee = trader.ask * Decimal("0.05") * trader.fee_ratio if trader.on_futures else Decimal("0.05") * trader.fee_ratio
    assert Decimal(str(trade["fee"]["cost"])) == fee
    assert trade["fee"]["currency"] == ("USDT" if trader.on_futures else "BTC")


async def test_a_post_only_order_rests_and_is_cancelled(trader: Trader) -> None:
    placed = await trader.order("limit", "buy", 0.01, 59_000, postOnly=True, clientOrderId="rest-1")
    [resting] = await trader.client.fetch_open_orders(trader.symbol)
    ended = await trader.client.cancel_order(placed["id"], trader.symbol)

    assert placed["status"] == "open"
    assert (resting["id"], resting["clientOrderId"], resting["price"]) == (placed["id"], "rest-1", 59_000)
    assert (resting["postOnly"], resting["filled"], resting["remaining"]) == (True, 0.0, 0.01)
    assert (ended["id"], ended["status"], ended["filled"]) == (placed["id"], "canceled", 0.0)
    assert await trader.client.fetch_open_orders(trader.symbol) == []
    assert (await trader.client.fetch_order(placed["id"], trader.symbol))["status"] == "canceled"


async def test_a_resting_order_is_found_and_cancelled_under_its_client_id(trader: Trader) -> None:
    # Every mark that an id may have: a colon and a slash are encoded on the way, and signed as they travel.
    name = "a.b:c/d_e-1"
    await trader.order("limit", "buy", 0.01, 59_000, clientOrderId=name)

    found = await trader.client.fetch_order(None, trader.symbol, {"origClientOrderId": name})
    await trader.client.cancel_order(None, trader.symbol, {"origClientOrderId": name})

    assert (found["clientOrderId"], found["status"]) == (name, "open")
    assert await trader.client.fetch_open_orders(trader.symbol) == []


async def test_a_resting_order_that_the_market_reaches_fills_at_its_price_as_maker(trader: Trader) -> None:
    placed = await trader.order("limit", "buy", 0.01, 59_000)

    trader.markets.show("58990")

    order = await trader.client.fetch_order(placed["id"], trader.symbol)
    [trade] = await trader.client.fetch_my_trades(trader.symbol)
    assert (order["status"], order["filled"], order["average"]) == ("closed", 0.01, 59_000)
    assert (trade["order"], trade["price"], trade["takerOrMaker"]) == (placed["id"], 59_000, "maker")


async def test_a_post_only_order_that_would_take_is_refused(trader: Trader) -> None:
    import ccxt

    with pytest.raises(ccxt.InvalidOrder):
        await trader.order("limit", "buy", 0.01, 60_100, postOnly=True)

    meant = ccxt.OrderNotFillable if trader.on_futures else ccxt.OrderImmediatelyFillable
    assert trader.at_the_exchange("v1/order") is meant
    assert await trader.client.fetch_orders(trader.symbol) == []


async def test_more_than_the_account_can_pay_is_refused(trader: Trader) -> None:
    import ccxt

    with pytest.raises(ccxt.ExchangeError, match="-2019" if trader.on_futures else "insufficient balance"):
        await trader.order("limit", "buy", 50, 59_000)

    assert trader.at_the_exchange("v1/order") is ccxt.InsufficientFunds


async def test_an_unknown_order_is_not_found(trader: Trader) -> None:
    import ccxt

    with pytest.raises(ccxt.OrderNotFound, match="-2013"):
        await trader.client.fetch_order("123456", trader.symbol)
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        await trader.client.cancel_order("123456", trader.symbol)


async def test_orders_below_the_smallest_notional_and_beside_the_step_are_refused(trader: Trader) -> None:
    import ccxt

    with pytest.raises(ccxt.ExchangeError, match="-4164" if trader.on_futures else "NOTIONAL"):
        await trader.order("limit", "buy", 0.001 if trader.on_futures else 0.00002, 40_000)
    # The unified call rounds by itself, the plain one sends what it is given.
    plain = trader.client.fapiPrivatePostOrder if trader.on_futures else trader.client.privatePostOrder
    with pytest.raises(ccxt.ExchangeError, match="-1111"):
        await plain(
            {
                "symbol": "BTCUSDT",
                "side": "BUY",
                "type": "LIMIT",
                "timeInForce": "GTC",
                "quantity": "0.0100000001",
                "price": "59000",
            }
        )


async def test_what_remains_open_is_cancelled_at_once(trader: Trader) -> None:
    for price in (59_000, 58_000, 57_000):
        await trader.order("limit", "buy", 0.01, price)

    await trader.client.cancel_all_orders(trader.symbol)

    assert {order["status"] for order in await trader.client.fetch_orders(trader.symbol)} == {"canceled"}
    assert await trader.client.fetch_open_orders(trader.symbol) == []


# --- keys and limits


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_an_ed25519_key_signs_as_well(markets: Markets, symbol: str) -> None:
    async with client_of(markets, symbol, *ed25519_key(markets)) as client:
        await client.load_markets()
        placed = await client.create_order(symbol, "limit", "buy", 0.01, 59_000)
        [resting] = await client.fetch_open_orders(symbol)
        if symbol == SPOT:
            await client.authenticate({"type": "spot"})  # signed over the WebSocket API

    assert (resting["id"], resting["status"]) == (placed["id"], "open")


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_a_wrong_secret_is_refused(markets: Markets, symbol: str) -> None:
    import ccxt

    async with client_of(markets, symbol, secret="another") as client:
        await client.load_markets()
        with pytest.raises(ccxt.AuthenticationError, match="-1022"):
            await client.fetch_open_orders(symbol)


async def test_too_many_requests_are_refused() -> None:
    import ccxt

    async with open_markets(limits=LimitRules(spot_weight=100)) as markets, client_of(markets, SPOT) as client:
        await client.load_markets()

        with pytest.raises(ccxt.DDoSProtection, match="429"):
            await asyncio.gather(*(client.fetch_order_book(SPOT, 500) for _ in range(20)))


# --- futures


async def stop_of(futures: Trader, price: float, name: str, **params: Any) -> Any:
    """A stop that sells 0.05 of a position at the market."""
    given = {"stopPrice": price, "reduceOnly": True, "workingType": "MARK_PRICE", "clientOrderId": name, **params}
    return await futures.order("STOP_MARKET", "sell", 0.05, None, **given)


async def test_a_stop_waits_in_the_algo_book_and_is_cancelled(futures: Trader) -> None:
    await futures.order("market", "buy", 0.05)
    placed = await stop_of(futures, 59_000, "stop-1")
    [waiting] = await futures.client.fetch_open_orders(FUT, params={"trigger": True})
    found = await futures.client.fetch_order(None, FUT, {"trigger": True, "clientOrderId": "stop-1"})
    regular = await futures.client.fetch_open_orders(FUT)
    ended = await futures.client.cancel_order(None, FUT, {"trigger": True, "clientOrderId": "stop-1"})

    for each in (placed, waiting, found):
        assert (each["id"], each["clientOrderId"], each["status"]) == (placed["id"], "stop-1", "open")
        assert (each["triggerPrice"], each["amount"], each["reduceOnly"]) == (59_000, 0.05, True)
    assert regular == []
    assert ended["info"]["clientAlgoId"] == "stop-1"
    assert await futures.client.fetch_open_orders(FUT, params={"trigger": True}) == []


async def test_a_stop_that_triggers_closes_the_position_under_its_own_id(futures: Trader) -> None:
    await futures.order("market", "buy", 0.05)
    await stop_of(futures, 59_000, "stop-1")

    futures.markets.show("58990")

    algo = await futures.client.fetch_order(None, FUT, {"trigger": True, "clientOrderId": "stop-1"})
    made = await futures.client.fetch_order(None, FUT, {"origClientOrderId": "stop-1"})
    assert algo["status"] == "closed"
    assert algo["info"]["actualOrderId"] == made["id"]
    assert (made["status"], made["side"], made["filled"], made["average"]) == ("closed", "sell", 0.05, 58_989.9)
    assert await futures.client.fetch_positions([FUT]) == []
    trades = await futures.client.fetch_my_trades(FUT)
    assert Decimal(trades[-1]["info"]["realizedPnl"]) == (Decimal("58989.9") - Decimal("60000.1")) * Decimal("0.05")


async def test_a_stop_on_the_wrong_side_is_refused(futures: Trader) -> None:
    import ccxt

    with pytest.raises(ccxt.ExchangeError, match="-2021"):
        await stop_of(futures, 61_000, "stop-1")
    assert futures.at_the_exchange("v1/algoOrder") is ccxt.OrderImmediatelyFillable


async def test_a_trailing_stop_follows_the_price_and_sells_below_its_peak(futures: Trader) -> None:
    await futures.order("market", "buy", 0.05)
    await futures.order("TRAILING_STOP_MARKET", "sell", 0.05, callbackRate=1, reduceOnly=True, clientOrderId="trail-1")

    futures.markets.show("61000")
    futures.markets.show("60380")

    made = await futures.client.fetch_order(None, FUT, {"origClientOrderId": "trail-1"})
    assert (made["status"], made["filled"], made["average"]) == ("closed", 0.05, 60_379.9)


async def test_leverage_and_margin_mode_are_set_and_shown(futures: Trader) -> None:
    client = futures.client

    leverage = await client.set_leverage(10, FUT)
    crossed = await client.set_margin_mode("cross", FUT)
    shown_crossed = await client.fetch_margin_mode(FUT)
    isolated = await client.set_margin_mode("isolated", FUT)
    again = await client.set_margin_mode("isolated", FUT)

    assert (leverage["symbol"], leverage["leverage"]) == ("BTCUSDT", 10)
    assert crossed["code"] == isolated["code"] == 200
    assert shown_crossed["marginMode"] == "cross"
    assert again["code"] == -4046  # which it takes as done
    shown = await client.fetch_leverage(FUT)
    assert (shown["marginMode"], shown["longLeverage"], shown["shortLeverage"]) == ("isolated", 10, 10)


async def test_position_and_balance_agree_with_the_trade(futures: Trader) -> None:
    await futures.client.set_leverage(10, FUT)
    await futures.order("market", "buy", 0.05)
    futures.markets.show("61000")

    [position] = await futures.client.fetch_positions([FUT])
    balance = (await futures.client.fetch_balance())["USDT"]

    assert (position["side"], position["contracts"], position["entryPrice"]) == ("long", 0.05, 60_000.1)
    assert (position["markPrice"], position["unrealizedPnl"], position["notional"]) == (61_000, 49.995, 3_050)
    assert (position["marginMode"], position["hedged"]) == ("isolated", False)
    assert position["liquidationPrice"] == pytest.approx(54_216.96, abs=0.01)
    fee = 60_000.1 * 0.05 * 0.0005
    assert balance["total"] == pytest.approx(10_000 - fee + 49.995, abs=1e-6)
    assert balance["free"] == pytest.approx(10_000 - fee - 300.0005, abs=1e-6)


async def test_margin_is_added_to_a_position_and_taken_back(futures: Trader) -> None:
    await futures.order("market", "buy", 0.05)

    added = await futures.client.add_margin(FUT, 20)
    reduced = await futures.client.reduce_margin(FUT, 5)

    assert (added["type"], added["amount"], reduced["type"], reduced["amount"]) == ("add", 20, "reduce", 5)
    [position] = await futures.client.fetch_positions([FUT])
    assert Decimal(position["info"]["isolatedWallet"]) == Decimal("60000.1") * Decimal("0.05") / 20 + 15


async def test_an_order_is_amended_in_its_place(futures: Trader) -> None:
    placed = await futures.order("limit", "buy", 0.01, 59_000)

    amended = await futures.client.edit_order(placed["id"], FUT, "limit", "buy", 0.02, 58_500)

    [order] = await futures.client.fetch_open_orders(FUT)
    assert amended["id"] == order["id"] == placed["id"]
    assert (order["amount"], order["price"]) == (0.02, 58_500)


async def test_a_batch_answers_order_by_order(futures: Trader) -> None:
    entry = {"symbol": FUT, "type": "limit", "side": "buy", "amount": 0.01}
    refused = {**entry, "price": 60_100, "params": {"postOnly": True}}

    placed = await futures.client.create_orders([{**entry, "price": 59_000}, refused, {**entry, "price": 58_000}])

    # It sorts what it reads by time, and a refusal has none.
    assert [order["status"] for order in placed] == ["rejected", "open", "open"]
    assert [order["price"] for order in placed[1:]] == [59_000, 58_000]
    assert placed[0]["info"]["code"] == -5022
    assert {order["price"] for order in await futures.client.fetch_open_orders(FUT)} == {59_000, 58_000}


# --- spot order lists

OCO = {
    "symbol": "BTCUSDT",
    "side": "SELL",
    "quantity": "0.02",
    "listClientOrderId": "list-1",
}
NEW_OCO = {
    **OCO,
    "aboveType": "LIMIT_MAKER",
    "abovePrice": "61000",
    "aboveClientOrderId": "target-1",
    "belowType": "STOP_LOSS_LIMIT",
    "belowStopPrice": "59000",
    "belowPrice": "58900",
    "belowTimeInForce": "GTC",
    "belowClientOrderId": "stop-1",
}
OLD_OCO = {
    **OCO,
    "price": "61000",
    "limitClientOrderId": "target-1",
    "stopPrice": "59000",
    "stopLimitPrice": "58900",
    "stopLimitTimeInForce": "GTC",
    "stopClientOrderId": "stop-1",
}
FORMS = [pytest.param("new", id="new form"), pytest.param("old", id="old form")]


async def oco_of(spot: Trader, form: str) -> Any:
    """Sell 0.02 of 0.05 bought: at 61,000, or from 59,000 down at 58,900."""
    await spot.order("market", "buy", 0.05)
    if form == "new":
        return await spot.client.privatePostOrderListOco(dict(NEW_OCO))
    return await spot.client.privatePostOrderOco(dict(OLD_OCO))


async def states(spot: Trader) -> dict[str, tuple[str, float]]:
    return {
        order["clientOrderId"]: (order["status"], order["filled"])
        for order in await spot.client.fetch_orders(SPOT)
        if order["type"] != "market"
    }


@pytest.mark.parametrize("form", FORMS)
async def test_an_oco_has_two_legs_and_one_cancel(spot: Trader, form: str) -> None:
    placed = await oco_of(spot, form)
    resting = await spot.client.fetch_open_orders(SPOT)
    ended = await spot.client.privateDeleteOrderList({"symbol": "BTCUSDT", "listClientOrderId": "list-1"})

    assert (placed["contingencyType"], placed["listOrderStatus"]) == ("OCO", "EXECUTING")
    assert placed["listClientOrderId"] == "list-1"
    assert {order["clientOrderId"]: (order["price"], order["triggerPrice"], order["amount"]) for order in resting} == {
        "target-1": (61_000, None, 0.02),
        "stop-1": (58_900, 59_000, 0.02),
    }
    assert ended["listOrderStatus"] == "ALL_DONE"
    assert await states(spot) == {"target-1": ("canceled", 0.0), "stop-1": ("canceled", 0.0)}


@pytest.mark.parametrize("form", FORMS)
async def test_the_leg_that_is_reached_ends_the_other(spot: Trader, form: str) -> None:
    await oco_of(spot, form)

    spot.markets.show("58950")

    assert await states(spot) == {"target-1": ("expired", 0.0), "stop-1": ("closed", 0.02)}
    assert (await spot.client.fetch_balance())["BTC"] == {"free": 0.02995, "used": 0.0, "total": 0.02995}


async def test_an_oco_with_its_prices_the_wrong_way_round_is_refused(spot: Trader) -> None:
    import ccxt

    await spot.order("market", "buy", 0.05)

    with pytest.raises(ccxt.ExchangeError, match="-2010"):
        await spot.client.privatePostOrderListOco({**NEW_OCO, "belowStopPrice": "60500", "belowPrice": "60400"})
    assert await spot.client.fetch_open_orders(SPOT) == []


async def test_money_moves_between_the_wallets(spot: Trader, futures: Trader) -> None:
    moved = await spot.client.transfer("USDT", 1_500, "spot", "linear")

    assert (await spot.client.fetch_balance())["USDT"]["total"] == 8_500
    assert (await futures.client.fetch_balance())["USDT"]["total"] == 11_500
    [shown] = await spot.client.fetch_transfers("USDT", params={"fromAccount": "spot", "toAccount": "linear"})
    assert (shown["id"], shown["amount"], shown["status"]) == (moved["id"], 1_500, "ok")


# --- streams


async def test_its_local_book_becomes_the_exchanges(trader: Trader) -> None:
    for _ in range(6):
        # Differences are told every 100 ms: what is shown more slowly is told one by one.
        heard = await trader.markets.rising(trader.client.watch_order_book(trader.symbol), every_s=0.12)

    asked = await trader.client.fetch_order_book(trader.symbol)
    assert (heard["bids"], heard["asks"], heard["nonce"]) == (asked["bids"], asked["asks"], asked["nonce"])


async def test_it_hears_best_prices_trades_and_days(trader: Trader) -> None:
    client, markets, symbol = trader.client, trader.markets, trader.symbol

    best = (await markets.rising(client.watch_bids_asks([symbol])))[symbol]
    trades = await markets.rising(client.watch_trades(symbol))
    day = await markets.rising(client.watch_ticker(symbol))

    assert markets.was_shown(Decimal(str(best["bid"])) + trader.tick)
    assert Decimal(str(best["ask"])) - Decimal(str(best["bid"])) == 2 * trader.tick
    assert trades
    assert all(markets.was_shown(trade["price"]) for trade in trades)
    assert markets.was_shown(day["last"])


async def test_the_bar_it_hears_is_the_bar_it_may_ask_for(trader: Trader) -> None:
    [[opened_ms, *heard]] = await trader.markets.rising(trader.client.watch_ohlcv(trader.symbol, "1m"))
    asked = {bar[0]: bar[1:] for bar in await trader.client.fetch_ohlcv(trader.symbol, "1m", limit=3)}

    assert heard[0] == asked[opened_ms][0]
    assert trader.markets.was_shown(heard[3])
    assert heard[1] <= asked[opened_ms][1]
    assert heard[4] <= asked[opened_ms][4]


async def test_it_hears_mark_prices(futures: Trader) -> None:
    heard = await futures.markets.rising(futures.client.watch_mark_price(FUT))

    assert heard["symbol"] == FUT
    assert futures.markets.was_shown(heard["markPrice"])


@asynccontextmanager
async def hearing(trader: Trader) -> AsyncIterator[tuple[dict[tuple[str, str], Any], dict[str, Any], list[Any]]]:
    """Orders by id and status, trades by order, balances: as its own watchers tell them."""
    orders: dict[tuple[str, str], Any] = {}
    trades: dict[str, Any] = {}
    balances: list[Any] = []

    async def follow_orders() -> None:
        while True:
            for order in await trader.client.watch_orders(trader.symbol):
                orders[order["clientOrderId"], order["status"]] = dict(order)

    async def follow_trades() -> None:
        while True:
            for trade in await trader.client.watch_my_trades(trader.symbol):
                trades[trade["order"]] = dict(trade)

    async def follow_balances() -> None:
        while True:
            balances.append(dict(await trader.client.watch_balance()))

    await trader.listen_to_account()
    tasks = [asyncio.create_task(work) for work in (follow_orders(), follow_trades(), follow_balances())]
    await trader.heard()
    try:
        yield orders, trades, balances
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


async def test_it_hears_its_orders_fills_and_money(trader: Trader) -> None:
    async with hearing(trader) as (orders, trades, balances):
        resting = await trader.order("limit", "buy", 0.01, 59_000, clientOrderId="rest-1")
        await trader.markets.until(lambda: ("rest-1", "open") in orders)
        await trader.client.cancel_order(resting["id"], trader.symbol)
        await trader.markets.until(lambda: ("rest-1", "canceled") in orders)
        taken = await trader.order("market", "buy", 0.05, clientOrderId="take-1")
        await trader.markets.until(lambda: ("take-1", "closed") in orders and taken["id"] in trades)
        await trader.markets.until(lambda: bool(balances) and balances[-1]["USDT"]["total"] != 10_000)

    told = orders["rest-1", "open"]
    assert (told["id"], told["price"], told["amount"], told["filled"]) == (resting["id"], 59_000, 0.01, 0.0)
    told = orders["take-1", "closed"]
    assert (told["id"], told["filled"], Decimal(str(told["average"]))) == (taken["id"], 0.05, trader.ask)
    trade = trades[taken["id"]]
    [asked] = await trader.client.fetch_my_trades(trader.symbol)
    for name in ("id", "order", "price", "amount", "side", "takerOrMaker", "timestamp", "fee"):
        assert trade[name] == asked[name], name
    asked_balance = await trader.client.fetch_balance()
    if trader.on_futures:  # the event tells the wallet, the question adds what is not realised yet
        assert balances[-1]["USDT"]["total"] == float(asked_balance["info"]["totalWalletBalance"])
    else:
        assert balances[-1]["USDT"]["total"] == asked_balance["USDT"]["total"]
        assert balances[-1]["BTC"]["total"] == asked_balance["BTC"]["total"] == 0.04995


async def test_it_hears_that_a_stop_closed_the_position(futures: Trader) -> None:
    await futures.order("market", "buy", 0.05)
    async with hearing(futures) as (orders, trades, _):
        await stop_of(futures, 59_000, "stop-1")
        futures.markets.show("58990")
        made = await futures.client.fetch_order(None, FUT, {"origClientOrderId": "stop-1"})
        await futures.markets.until(lambda: made["id"] in trades and ("stop-1", "closed") in orders)

    trade = trades[made["id"]]
    assert (trade["side"], trade["amount"], trade["price"]) == ("sell", 0.05, 58_989.9)
    told = orders["stop-1", "closed"]
    assert (told["side"], told["filled"], told["average"]) == ("sell", 0.05, 58_989.9)


# --- ccxt as the judge of our connector


def test_rest_requests_are_signed_as_it_signs_them() -> None:
    import ccxt

    client = ccxt.binanceusdm({"apiKey": KEY, "secret": SECRET})
    params = {"symbol": "BTCUSDT", "newClientOrderId": "a.b:c/d_e-1", "quantity": "0.050", "recvWindow": 5_000}
    theirs = client.sign("order", "fapiPrivate", "POST", {**params, "timestamp": 1_790_000_000_000})

    signer = HmacSigner(KEY, SECRET)
    theirs_signed, _, signature = theirs["body"].rpartition("&signature=")
    # It has an order of its own, which the exchange does not mind: what is signed is what is sent.
    ours = encoded(dict(parse_qsl(theirs_signed)))
    assert ours == theirs_signed
    assert signer.sign(ours) == signature
    body = signed(
        {name: value for name, value in params.items() if name != "recvWindow"},
        signer,
        timestamp_ms=1_790_000_000_000,
        recv_window_ms=5_000,
    )
    assert dict(parse_qsl(body)).keys() == dict(parse_qsl(theirs["body"])).keys()


async def test_socket_requests_are_signed_as_it_signs_them(markets: Markets) -> None:
    params = {"symbol": "BTCUSDT", "side": "BUY", "quantity": "0.050"}
    ours = ws_signed(params, HmacSigner(KEY, SECRET), timestamp_ms=1_790_000_000_000, recv_window_ms=5_000)

    async with client_of(markets, SPOT, recvWindow=5_000) as client:
        theirs = client.sign_params({**params, "timestamp": 1_790_000_000_000})

    assert theirs["signature"] == ours["signature"]


STATUS = {
    "open": {OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED},
    "closed": {OrderStatus.FILLED},
    "canceled": {OrderStatus.CANCELED},
    "expired": {OrderStatus.CANCELED},
}


async def test_our_connector_reads_in_an_order_what_it_reads(trader: Trader) -> None:
    resting = await trader.order("limit", "buy", 0.01, 59_000)
    ended = await trader.order("limit", "buy", 0.01, 58_000)
    await trader.client.cancel_order(ended["id"], trader.symbol)
    await trader.order("market", "buy", 0.05)
    await trader.order("limit", "buy", 1, 59_990 if trader.on_futures else 59_900, timeInForce="IOC")
    await trader.order("limit", "buy", 0.01, 59_500)
    trader.markets.show("59490")

    parse = parse_futures.order_of if trader.on_futures else parse_spot.order_of
    rows = await trader.client.fetch_orders(trader.symbol)

    assert len(rows) == 5
    assert {row["status"] for row in rows} == {"open", "canceled", "closed", "expired"}
    assert rows[0]["id"] == resting["id"]
    for theirs in rows:
        ours = parse(theirs["info"])
        assert (ours.venue_order_id, ours.client_order_id) == (theirs["id"], theirs["clientOrderId"])
        assert ours.status in STATUS[theirs["status"]]
        assert (ours.side.value.lower(), float(ours.qty)) == (theirs["side"], theirs["amount"])
        assert float(ours.filled_qty) == theirs["filled"]
        assert float(ours.filled_quote) == pytest.approx(theirs["cost"] or 0)
        if theirs["type"] == "limit":
            assert ours.price is not None
            assert float(ours.price) == theirs["price"]


async def test_our_connector_reads_in_a_stop_what_it_reads(futures: Trader) -> None:
    await futures.order("market", "buy", 0.05)
    await stop_of(futures, 59_000, "stop-1")
    await stop_of(futures, 58_000, "stop-2")

    for theirs in await futures.client.fetch_open_orders(FUT, params={"trigger": True}):
        ours = parse_futures.algo_order_of(theirs["info"])
        assert (ours.venue_algo_id, ours.client_order_id) == (theirs["id"], theirs["clientOrderId"])
        assert (ours.status, float(ours.qty), ours.reduce_only) == (OrderStatus.NEW, theirs["amount"], True)
        assert ours.stop_price is not None
        assert float(ours.stop_price) == theirs["triggerPrice"]


async def test_our_connector_reads_in_a_trade_what_it_reads(trader: Trader) -> None:
    await trader.order("market", "buy", 0.05)
    await trader.order("market", "sell", 0.02)

    parse = parse_futures.fill_of if trader.on_futures else parse_spot.fill_of
    rows = await trader.client.fetch_my_trades(trader.symbol)

    assert [row["side"] for row in rows] == ["buy", "sell"]
    for theirs in rows:
        ours = parse(theirs["info"], "any")
        assert (str(ours.trade_id), ours.venue_order_id, ours.ts) == (
            theirs["id"],
            theirs["order"],
            theirs["timestamp"],
        )
        assert (ours.side.value.lower(), float(ours.price), float(ours.qty)) == (
            theirs["side"],
            theirs["price"],
            theirs["amount"],
        )
        assert (float(ours.fee), ours.fee_asset) == (theirs["fee"]["cost"], theirs["fee"]["currency"])
        assert ours.maker is (theirs["takerOrMaker"] == "maker")
