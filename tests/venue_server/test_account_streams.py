"""Account streams: what a request or a tick does to the account, in the exchange's words and order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from chimera.adapters.simulated_venue.feed import Tick
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.venue_server.streams.futures_account import FuturesWords
from tests.venue_server.listening import Listening, listening
from tests.venue_server.running import RunningVenue, running_venue

D = Decimal
FUT = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")


class Account:
    """A still market, its account, and what its streams said as (stream, event)."""

    def __init__(self, venue: RunningVenue, socket: Listening) -> None:
        self.venue = venue
        self.socket = socket
        self.spot: list[Any] = []
        venue.venue.hub.spot_account.subscribe(lambda event: self.spot.append(orjson.loads(event)))

    @property
    def bid(self) -> Decimal:
        return self.venue.venue.floor.host.books[FUT].bid

    async def futures(self, method: str, path: str, **params: Any) -> Any:
        reply = await self.venue.signed(method, path, **params)
        assert reply.status == 200, reply.body
        return reply.body

    async def order(self, **params: Any) -> Any:
        given = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", **params}
        if given["type"] == "LIMIT":
            given.setdefault("timeInForce", "GTC")
        return await self.futures("POST", "/fapi/v1/order", **given)

    async def spot_order(self, **params: Any) -> Any:
        given = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", **params}
        return await self.futures("POST", "/api/v3/order", **given)

    async def told(self) -> list[Any]:
        """The futures events since the last call."""
        await self.socket.ask("LIST_SUBSCRIPTIONS", request_id="end")
        events = [each for each in self.socket.said if "e" in each]
        self.socket.said.clear()
        return events

    def told_spot(self) -> list[Any]:
        events, self.spot[:] = list(self.spot), []
        return events

    def mark(self, price: Decimal, later_ms: int = 250) -> None:
        host = self.venue.venue.floor.host
        mark = host.marks["BTCUSDT"]
        host.apply(Tick(mark.ts + later_ms, (), (replace(mark, ts=mark.ts + later_ms, mark=price),), ()))


@asynccontextmanager
async def account(events: str = "") -> AsyncIterator[Account]:
    async with running_venue(still=True) as venue:
        key = (await venue.signed("POST", "/fapi/v1/listenKey")).body["listenKey"]
        path = f"/private/ws?listenKey={key}" + (f"&events={events}" if events else "")
        async with listening(venue, path) as socket:
            await socket.ask("LIST_SUBSCRIPTIONS")
            socket.said.clear()
            yield Account(venue, socket)


def kinds(events: list[Any]) -> list[str]:
    """`ORDER_TRADE_UPDATE NEW`, `ACCOUNT_UPDATE ORDER`, …"""
    said = []
    for event in events:
        name = event["e"]
        detail = ""
        if name == "ACCOUNT_UPDATE":
            detail = event["a"]["m"]
        elif name == "ORDER_TRADE_UPDATE":
            detail = event["o"]["x"]
        elif name == "ALGO_UPDATE":
            detail = event["o"]["X"]
        elif name == "executionReport":
            detail = event["x"]
        elif name == "listStatus":
            detail = event["l"]
        said.append(f"{name} {detail}".strip())
    return said


# --- futures


async def test_a_market_order_is_told_in_the_recorded_order() -> None:
    async with account() as mine:
        placed = await mine.order(newClientOrderId="mine")
        events = await mine.told()
        trades = await mine.futures("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
        balance = (await mine.futures("GET", "/fapi/v3/balance"))[0]

    assert kinds(events) == [
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE NEW",
        "ACCOUNT_UPDATE ORDER",
        "ORDER_TRADE_UPDATE TRADE",
    ]
    lite, new, update, traded = events
    order, trade = traded["o"], trades[0]
    assert lite["t"] == order["t"] == trade["id"]
    assert lite["i"] == new["o"]["i"] == order["i"] == placed["orderId"]
    assert lite["c"] == order["c"] == "mine"
    assert (order["X"], order["z"], order["l"], order["N"], order["m"]) == ("FILLED", "0.01", "0.01", "USDT", False)
    assert (D(order["L"]), D(order["n"])) == (D(trade["price"]), D(trade["commission"]))
    assert D(update["a"]["B"][0]["wb"]) == D(balance["balance"])
    position = update["a"]["P"][0]
    assert (position["s"], position["pa"], position["ps"], position["mt"]) == ("BTCUSDT", "0.01", "BOTH", "isolated")
    assert D(position["ep"]) == D(order["ap"])


async def test_an_order_that_rests_moves_no_wallet_and_sums_its_side() -> None:
    async with account() as mine:
        for number in (1, 2):
            await mine.order(type="LIMIT", price=str(mine.bid - 100), newClientOrderId=f"rests-{number}")
        await mine.futures("DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="rests-1")
        events = await mine.told()
        value = (mine.bid - 100) * D("0.01")

    assert kinds(events) == ["ORDER_TRADE_UPDATE NEW", "ORDER_TRADE_UPDATE NEW", "ORDER_TRADE_UPDATE CANCELED"]
    assert [D(event["o"]["b"]) for event in events] == [value, 2 * value, value]
    assert {event["o"]["a"] for event in events} == {"0"}


async def test_what_expires_at_once_says_why() -> None:
    async with account() as mine:
        await mine.order(type="LIMIT", price=str(mine.bid - 100), timeInForce="IOC")
        events = await mine.told()

    assert kinds(events) == ["ORDER_TRADE_UPDATE NEW", "ORDER_TRADE_UPDATE EXPIRED"]
    assert (events[1]["o"]["X"], events[1]["o"]["er"]) == ("EXPIRED", "2")


async def test_an_amended_order_is_told_as_amended() -> None:
    async with account() as mine:
        price = mine.bid - 100
        placed = await mine.order(type="LIMIT", price=str(price))
        await mine.futures(
            "PUT",
            "/fapi/v1/order",
            symbol="BTCUSDT",
            orderId=placed["orderId"],
            side="BUY",
            quantity="0.02",
            price=str(price - 10),
        )
        events = await mine.told()

    assert kinds(events) == ["ORDER_TRADE_UPDATE NEW", "ORDER_TRADE_UPDATE AMENDMENT"]
    assert (events[1]["o"]["q"], D(events[1]["o"]["p"])) == ("0.02", price - 10)


async def test_a_stop_lives_in_the_algo_book_and_then_as_a_new_order() -> None:
    async with account() as mine:
        await mine.order()
        await mine.told()
        stop = await mine.futures(
            "POST",
            "/fapi/v1/algoOrder",
            algoType="CONDITIONAL",
            symbol="BTCUSDT",
            side="SELL",
            type="STOP_MARKET",
            triggerPrice=str(mine.bid - 300),
            quantity="0.01",
            reduceOnly="true",
            workingType="MARK_PRICE",
            clientAlgoId="stop",
        )
        placed = await mine.told()
        mine.mark(mine.bid - 400)
        events = await mine.told()
        asked = await mine.futures("GET", "/fapi/v1/algoOrder", clientAlgoId="stop")

    assert kinds(placed) == ["ALGO_UPDATE NEW"]
    waiting = placed[0]["o"]
    assert waiting["aid"] == stop["algoId"]
    assert waiting["ai"] == ""
    assert not {"ap", "aq", "act", "rm"} & waiting.keys()
    assert kinds(events) == [
        "TRADE_LITE",
        "ALGO_UPDATE TRIGGERING",
        "ALGO_UPDATE TRIGGERED",
        "ORDER_TRADE_UPDATE NEW",
        "ACCOUNT_UPDATE ORDER",
        "ORDER_TRADE_UPDATE TRADE",
        "ALGO_UPDATE FINISHED",
    ]
    triggered, order, finished = events[2]["o"], events[5]["o"], events[6]["o"]
    assert triggered["ai"] == finished["ai"] == str(order["i"]) == asked["actualOrderId"]
    assert order["c"] == "stop"
    assert (order["o"], order["ot"], order["R"]) == ("MARKET", "STOP_MARKET", True)
    assert (finished["aq"], D(finished["ap"]), finished["act"]) == ("0.01", D(order["ap"]), "MARKET")
    assert events[4]["a"]["P"][0]["pa"] == "0"
    assert D(events[4]["a"]["P"][0]["cr"]) == D(order["rp"]) != 0


async def test_a_stop_with_nothing_to_reduce_is_rejected_with_the_reason() -> None:
    async with account() as mine:
        await mine.futures(
            "POST",
            "/fapi/v1/algoOrder",
            algoType="CONDITIONAL",
            symbol="BTCUSDT",
            side="SELL",
            type="STOP_MARKET",
            triggerPrice=str(mine.bid - 300),
            quantity="0.01",
            reduceOnly="true",
            workingType="MARK_PRICE",
        )
        mine.mark(mine.bid - 400)
        events = await mine.told()

    assert kinds(events) == ["ALGO_UPDATE NEW", "ALGO_UPDATE TRIGGERING", "ALGO_UPDATE REJECTED"]
    assert events[2]["o"]["rm"] == "ReduceOnly Order is rejected."


async def test_a_canceled_stop_is_told_once() -> None:
    async with account() as mine:
        await mine.futures(
            "POST",
            "/fapi/v1/algoOrder",
            algoType="CONDITIONAL",
            symbol="BTCUSDT",
            side="SELL",
            type="STOP_MARKET",
            triggerPrice=str(mine.bid - 300),
            closePosition="true",
            clientAlgoId="whole",
        )
        await mine.futures("DELETE", "/fapi/v1/algoOrder", clientAlgoId="whole")
        events = await mine.told()

    assert kinds(events) == ["ALGO_UPDATE NEW", "ALGO_UPDATE CANCELED"]
    assert [(event["o"]["f"], event["o"]["q"], event["o"]["cp"]) for event in events] == [("GTE_GTC", "0", True)] * 2


async def test_funding_is_an_account_update_of_its_symbol_and_no_order() -> None:
    async with account() as mine:
        await mine.order()
        await mine.told()
        host = mine.venue.venue.floor.host
        exchange = mine.venue.venue.floor.exchange
        mark = host.marks["BTCUSDT"]
        changes = exchange.on_mark(replace(mark, ts=mark.funding_time), mark.funding_time)
        mine.venue.venue.floor.settle(changes)
        events = await mine.told()
        paid = exchange.income()[-1].amount

    assert kinds(events) == ["ACCOUNT_UPDATE FUNDING_FEE"]
    update = events[0]["a"]
    assert update["S"] == "BTCUSDT"
    assert D(update["B"][0]["bc"]) == paid != 0
    assert [position["s"] for position in update["P"]] == ["BTCUSDT"]


async def test_a_transfer_is_told_on_both_sides() -> None:
    async with account() as mine:
        await mine.futures("POST", "/sapi/v1/asset/transfer", type="MAIN_UMFUTURE", asset="USDT", amount="100")
        into, out_of = await mine.told(), mine.told_spot()

    assert kinds(into) == ["ACCOUNT_UPDATE DEPOSIT"]
    assert into[0]["a"]["B"][0]["bc"] == "100"
    assert into[0]["a"]["P"] == []
    assert kinds(out_of) == ["balanceUpdate", "outboundAccountPosition"]
    assert (out_of[0]["a"], out_of[0]["d"]) == ("USDT", "-100.00000000")


async def test_settings_are_told() -> None:
    async with account() as mine:
        await mine.futures("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=25)
        events = await mine.told()

    assert kinds(events) == ["ACCOUNT_CONFIG_UPDATE"]
    assert events[0]["ac"] == {"s": "BTCUSDT", "l": 25}


async def test_a_position_near_its_end_is_called_and_then_liquidated() -> None:
    async with account() as mine:
        await mine.order(quantity="1")
        await mine.told()
        liquidation = mine.venue.venue.floor.exchange.positions()[0].liquidation_price
        mine.mark((liquidation + 40).quantize(D("0.10")))
        called = await mine.told()
        mine.mark((liquidation - 10).quantize(D("0.10")), 500)
        events = await mine.told()

    assert kinds(called) == ["MARGIN_CALL"]
    assert called[0]["p"][0]["s"] == "BTCUSDT"
    assert kinds(events)[:4] == [
        "TRADE_LITE",
        "ORDER_TRADE_UPDATE NEW",
        "ACCOUNT_UPDATE ORDER",
        "ORDER_TRADE_UPDATE TRADE",
    ]
    assert events[1]["o"]["c"].startswith("autoclose-")
    assert events[2]["a"]["P"][0]["pa"] == "0"


async def test_an_adl_is_told_by_the_name_that_all_of_them_have() -> None:
    async with account() as mine:
        await mine.order()
        await mine.told()
        await mine.order(side="SELL", reduceOnly="true", newClientOrderId="adl_autoclose")
        events = await mine.told()

    named = [each.get("c") or each["o"]["c"] for each in events if each["e"] in ("TRADE_LITE", "ORDER_TRADE_UPDATE")]
    assert named == ["adl_autoclose"] * 3


async def test_only_the_events_that_were_asked_for_come() -> None:
    async with account(events="ORDER_TRADE_UPDATE/ACCOUNT_UPDATE") as mine:
        await mine.order()
        events = await mine.told()

    assert kinds(events) == ["ORDER_TRADE_UPDATE NEW", "ACCOUNT_UPDATE ORDER", "ORDER_TRADE_UPDATE TRADE"]


@pytest.mark.parametrize("path", ["/private/ws/{key}", "/private/stream?streams={key}", "/private/stream"])
async def test_a_listen_key_may_stand_anywhere_in_the_url_or_be_subscribed(path: str) -> None:
    async with account() as mine:
        key = next(iter(next(iter(mine.venue.venue.hub.connections)).keys))
        async with listening(mine.venue, path.format(key=key)) as other:
            if "key" not in path:
                await other.ask("SUBSCRIBE", key, request_id="a-b-c")
            listed = await other.ask("LIST_SUBSCRIPTIONS")
            await mine.order()
            told = await other.until(lambda told: "result" not in told)

    assert listed["result"] == [key]
    if "stream" in path:
        assert told["stream"] == key
        told = told["data"]
    assert told["e"] == "TRADE_LITE"


async def test_a_closed_key_is_told_to_have_expired_and_says_nothing_more() -> None:
    async with account() as mine:
        await mine.venue.signed("DELETE", "/fapi/v1/listenKey")
        await mine.order()
        events = await mine.told()

    assert kinds(events) == ["listenKeyExpired"]
    assert events[0].keys() == {"e", "E", "listenKey"}


async def test_a_restarted_exchange_goes_on_where_it_was(tmp_path: Any) -> None:
    """What was told before a restart is not told as new after it."""
    async with running_venue(still=True, state=tmp_path) as venue:
        bid = venue.venue.floor.host.books[FUT].bid
        reply = await venue.signed(
            "POST",
            "/fapi/v1/order",
            symbol="BTCUSDT",
            side="BUY",
            type="LIMIT",
            timeInForce="GTC",
            quantity="0.01",
            price=str(bid - 100),
        )
        assert reply.status == 200
    async with running_venue(still=True, state=tmp_path) as venue:
        words = FuturesWords(venue.venue.floor)
        exchange = venue.venue.floor.exchange
        changes = exchange.cancel_all(Market.FUT, "BTCUSDT", venue.venue.floor.clock.now_ms())
        events = words.of(changes)

    assert kinds(events) == ["ORDER_TRADE_UPDATE CANCELED"]
    assert events[0]["o"]["b"] == "0"


# --- spot


async def test_a_spot_order_is_reported_before_its_balances() -> None:
    async with account() as mine:
        placed = await mine.spot_order(newClientOrderId="spot")
        events = mine.told_spot()
        trades = await mine.futures("GET", "/api/v3/myTrades", symbol="BTCUSDT")
        held = await mine.futures("GET", "/api/v3/account")

    assert kinds(events) == ["executionReport NEW", "executionReport TRADE", "outboundAccountPosition"]
    report, trade = events[1], trades[0]
    assert report["i"] == placed["orderId"]
    assert report["t"] == trade["id"]
    assert (report["L"], report["n"], report["N"]) == (trade["price"], trade["commission"], trade["commissionAsset"])
    assert (report["X"], report["Z"]) == ("FILLED", placed["cummulativeQuoteQty"])
    balances = {row["asset"]: (row["free"], row["locked"]) for row in held["balances"]}
    assert {row["a"]: (row["f"], row["l"]) for row in events[2]["B"]} == {
        asset: balances[asset] for asset in ("BTC", "USDT")
    }


async def test_a_canceled_spot_order_carries_both_ids() -> None:
    async with account() as mine:
        price = str(mine.venue.venue.floor.host.books[SPOT].bid - 100)
        await mine.spot_order(type="LIMIT", timeInForce="GTC", price=price, newClientOrderId="rests")
        canceled = await mine.futures("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="rests")
        events = mine.told_spot()

    report = events[2]
    assert kinds(events)[2] == "executionReport CANCELED"
    assert (report["C"], report["c"]) == ("rests", canceled["clientOrderId"])
    assert (events[0]["C"], events[0]["w"], report["w"]) == ("", True, False)


async def test_an_order_list_is_told_when_it_begins_and_when_it_is_done() -> None:
    async with account() as mine:
        await mine.spot_order(quantity="0.02")
        mine.told_spot()
        book = mine.venue.venue.floor.host.books[SPOT]
        placed = await mine.futures(
            "POST",
            "/api/v3/orderList/oco",
            symbol="BTCUSDT",
            side="SELL",
            quantity="0.01",
            aboveType="LIMIT_MAKER",
            abovePrice=str(book.ask + 500),
            belowType="STOP_LOSS_LIMIT",
            belowStopPrice=str(book.bid - 500),
            belowPrice=str(book.bid - 510),
            belowTimeInForce="GTC",
            listClientOrderId="list",
        )
        begun = mine.told_spot()
        lower = replace(book, ts=book.ts + 250, last=book.bid - 501)
        mine.venue.venue.floor.host.apply(Tick(lower.ts, (lower,), (), ()))
        done = mine.told_spot()

    assert kinds(begun) == [
        "executionReport NEW",
        "executionReport NEW",
        "listStatus EXEC_STARTED",
        "outboundAccountPosition",
    ]
    assert (begun[2]["g"], begun[2]["C"]) == (placed["orderListId"], "list")
    assert {row["i"] for row in begun[2]["O"]} == {row["orderId"] for row in placed["orders"]}
    waiting = next(report for report in begun[:2] if report["o"] == "STOP_LOSS_LIMIT")
    assert not waiting["w"]
    assert "W" not in waiting
    expired = next(event for event in done if event["e"] == "executionReport" and event["X"] == "EXPIRED")
    assert (expired["o"], expired["eR"]) == ("LIMIT_MAKER", "OCO_TRIGGER")
    assert "listStatus ALL_DONE" in kinds(done)
    assert kinds(done)[-1] == "outboundAccountPosition"


async def test_who_has_unsubscribed_hears_nothing() -> None:
    async with account() as mine:
        heard: list[bytes] = []
        unsubscribe = mine.venue.venue.hub.futures_account.subscribe(heard.append)
        await mine.order()
        count = len(heard)
        unsubscribe()
        unsubscribe()
        await mine.order()

    assert count == len(heard) == 4
