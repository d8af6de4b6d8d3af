"""Market streams: what is pushed agrees with what may be asked, and with itself."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from chimera.adapters.simulated_venue.feed import Tick
from chimera.contracts.enums import Market, OrderType, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import NewOrder
from chimera.venue_server.streams.names import Group
from tests.venue_server.listening import listening
from tests.venue_server.running import BEGINS_MS, RunningVenue, running_venue

D = Decimal


async def test_the_best_prices_are_those_of_rest() -> None:
    async with running_venue() as venue, listening(venue, "/public/ws/btcusdt@bookTicker") as socket:
        told = await socket.event("bookTicker")
        asked = (await venue.get("/fapi/v1/ticker/bookTicker", symbol="BTCUSDT")).body

    assert asked["time"] == told["T"] == told["u"]
    assert (told["b"], told["B"], told["a"], told["A"]) == tuple(
        asked[name] for name in ("bidPrice", "bidQty", "askPrice", "askQty")
    )
    assert told["E"] >= told["T"]


async def test_a_book_that_does_not_move_is_not_told_again() -> None:
    async with running_venue(still=True) as venue, listening(venue, "/public/ws/btcusdt@bookTicker") as socket:
        await socket.ask("LIST_SUBSCRIPTIONS")
        host = venue.venue.hosted.host
        book = host.books[InstrumentKey(Market.FUT, "BTCUSDT")]
        host.apply(Tick(book.ts + 250, (replace(book, ts=book.ts + 250),), (), ()))
        host.apply(Tick(book.ts + 500, (replace(book, ts=book.ts + 500),), (), ()))
        await socket.ask("LIST_SUBSCRIPTIONS", request_id=2)

    assert [told["u"] for told in socket.said if "e" in told] == [book.ts + 250]


@pytest.mark.parametrize(
    ("socket_path", "path"),
    [
        pytest.param("/market/ws/btcusdt@aggTrade", "/fapi/v1/aggTrades", id="futures"),
        pytest.param("/ws/btcusdt@aggTrade", "/api/v3/aggTrades", id="spot"),
    ],
)
async def test_trades_are_those_of_rest_one_after_the_other(socket_path: str, path: str) -> None:
    async with running_venue() as venue, listening(venue, socket_path) as socket:
        told = [await socket.event("aggTrade") for _ in range(4)]
        asked = (await venue.get(path, symbol="BTCUSDT", limit=100)).body

    rows = {row["a"]: row for row in asked}
    assert [after["a"] - before["a"] for before, after in pairwise(told)] == [1, 1, 1]
    for trade in told:
        row = rows[trade["a"]]
        assert all(trade[name] == row[name] for name in ("p", "q", "f", "l", "T", "m"))


async def test_our_own_trades_are_public_at_once_and_numbered_in_between() -> None:
    async with running_venue(still=True) as venue, listening(venue, "/market/ws/btcusdt@aggTrade") as socket:
        await socket.ask("LIST_SUBSCRIPTIONS")
        order = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.01"}
        await venue.signed("POST", "/fapi/v1/order", **order)
        await socket.ask("LIST_SUBSCRIPTIONS", request_id=2)
        host = venue.venue.hosted.host
        book = host.books[InstrumentKey(Market.FUT, "BTCUSDT")]
        host.apply(Tick(book.ts + 250, (replace(book, ts=book.ts + 250),), (), ()))
        await socket.ask("LIST_SUBSCRIPTIONS", request_id=3)
        asked = (await venue.get("/fapi/v1/aggTrades", symbol="BTCUSDT")).body
        fill = (await venue.signed("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")).body[0]

    own, later = (told for told in socket.said if "e" in told)
    assert (own["p"], own["q"], own["T"]) == (fill["price"], fill["qty"], fill["time"])
    assert own["m"] is True  # who sells to the book meets a buyer that rested
    assert [row["a"] for row in asked][-2:] == [own["a"], later["a"]]
    assert asked[-3]["a"] + 2 == own["a"] + 1 == later["a"]


async def test_trades_go_on_with_their_numbers_after_a_restart(tmp_path: Path) -> None:
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    async with running_venue(still=True, state=tmp_path) as venue:
        assert (await venue.signed("POST", "/fapi/v1/order", **order)).status == 200
        before = (await venue.get("/fapi/v1/aggTrades", symbol="BTCUSDT")).body[-1]["a"]
    async with running_venue(still=True, state=tmp_path) as venue:
        host = venue.venue.hosted.host
        book = host.books[InstrumentKey(Market.FUT, "BTCUSDT")]
        host.apply(Tick(book.ts + 250, (replace(book, ts=book.ts + 250),), (), ()))
        after = (await venue.get("/fapi/v1/aggTrades", symbol="BTCUSDT")).body[-1]["a"]

    assert after == before + 1


@pytest.mark.parametrize("path", ["/ws/btcusdt@trade", "/public/ws/btcusdt@trade"])
async def test_every_tick_has_a_trade(path: str) -> None:
    async with running_venue() as venue, listening(venue, path) as socket:
        first, second = await socket.event("trade"), await socket.event("trade")

    assert second["t"] == first["t"] + 1
    assert second["T"] > first["T"]


@pytest.mark.parametrize(
    ("socket_path", "path", "interval"),
    [
        pytest.param("/market/ws/btcusdt@kline_1m", "/fapi/v1/klines", "1m", id="futures 1m"),
        pytest.param("/market/ws/btcusdt@kline_5m", "/fapi/v1/klines", "5m", id="futures 5m"),
        pytest.param("/market/ws/btcusdt@kline_15m", "/fapi/v1/klines", "15m", id="futures 15m"),
        pytest.param("/ws/btcusdt@kline_1m", "/api/v3/klines", "1m", id="spot 1m"),
        pytest.param("/ws/btcusdt@kline_3m", "/api/v3/klines", "3m", id="spot 3m"),
    ],
)
async def test_a_bar_moves_and_is_closed_once_as_rest_has_it(socket_path: str, path: str, interval: str) -> None:
    async with running_venue(speed=400) as venue, listening(venue, socket_path) as socket:
        closed: list[Any] = []
        while len(closed) < 3:
            told = await socket.event("kline")
            if told["k"]["x"]:
                closed.append(told)
        await socket.event("kline")
        asked = (await venue.get(path, symbol="BTCUSDT", interval=interval, limit=20)).body

    bars = [told["k"] for told in closed]
    rows = {row[0]: row for row in asked}
    for before, after in pairwise(bars):
        assert after["t"] == before["T"] + 1
    for bar in bars:
        names = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")
        assert [bar[name] for name in names] == rows[bar["t"]][:12]
    for told in socket.said:
        bar = told["k"]
        assert D(bar["l"]) <= min(D(bar["o"]), D(bar["c"])) <= max(D(bar["o"]), D(bar["c"])) <= D(bar["h"])
        assert told["E"] > bar["T"] if bar["x"] else bar["t"] <= told["E"]
    opened = [told["k"]["t"] for told in socket.said]
    assert opened == sorted(opened), "no bar goes on after its successor has begun"


async def test_the_continuous_bars_of_a_perpetual_are_its_bars() -> None:
    names = "btcusdt@kline_1m/btcusdt_perpetual@continuousKline_1m/btcusdt_quarter@continuousKline_1m"
    async with running_venue() as venue, listening(venue, f"/market/ws/{names}") as socket:
        bar, continuous = await socket.event("kline"), await socket.event("continuous_kline")

    assert (continuous["ps"], continuous["ct"]) == ("BTCUSDT", "PERPETUAL")
    assert continuous["k"] == {name: value for name, value in bar["k"].items() if name != "s"}
    assert all(told.get("ct", "PERPETUAL") == "PERPETUAL" for told in socket.said)


async def test_the_open_bar_of_an_hour_holds_what_has_passed_of_it() -> None:
    async with running_venue(speed=400) as venue, listening(venue, "/market/ws/btcusdt@kline_1h") as socket:
        first = (await socket.event("kline"))["k"]
        while (later := (await socket.event("kline"))["k"])["T"] == first["T"] and later["n"] < first["n"] + 500:
            pass
        asked = (await venue.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=2)).body

    assert first["n"] > 0
    if later["t"] == first["t"]:
        assert D(later["h"]) >= D(first["h"])
        assert D(later["l"]) <= D(first["l"])
        assert later["o"] == first["o"] == next(row[1] for row in asked if row[0] == first["t"])


async def test_marks_come_at_their_pace_and_as_rest_has_them() -> None:
    streams = "btcusdt@markPrice@1s/btcusdt@markPrice/!markPrice@arr@1s"
    async with running_venue(still=True) as venue, listening(venue, f"/market/stream?streams={streams}") as socket:
        await socket.ask("LIST_SUBSCRIPTIONS")
        host = venue.venue.hosted.host
        marks = tuple(host.marks.values())
        for ts in range(BEGINS_MS + 250, BEGINS_MS + 3_250, 250):
            host.apply(Tick(ts, (), tuple(replace(mark, ts=ts) for mark in marks), ()))
        await socket.ask("LIST_SUBSCRIPTIONS", request_id=2)
        asked = (await venue.get("/fapi/v1/premiumIndex", symbol="BTCUSDT")).body

    told = [each for each in socket.said if "stream" in each]
    fast, slow, every = ([each["data"] for each in told if each["stream"] == name] for name in streams.split("/"))
    assert [len(fast), len(slow), len(every)] == [4, 2, 4]
    assert [row["s"] for row in every[0]] == ["BTCUSDT", "ETHUSDT"]
    assert every[0][0] == fast[0]
    assert (fast[0]["p"], fast[0]["i"], fast[0]["r"], fast[0]["T"]) == tuple(
        asked[name] for name in ("markPrice", "indexPrice", "lastFundingRate", "nextFundingTime")
    )


async def test_the_day_is_told_once_a_second() -> None:
    streams = "btcusdt@ticker/btcusdt@miniTicker/!miniTicker@arr"
    async with running_venue() as venue, listening(venue, f"/market/ws/{streams}") as socket:
        day = await socket.event("24hrTicker")
        mini = await socket.until(lambda told: isinstance(told, dict) and told["e"] == "24hrMiniTicker")
        every = await socket.until(lambda told: isinstance(told, list))

    assert D(day["l"]) <= D(day["c"]) <= D(day["h"])
    assert mini["s"] == "BTCUSDT"
    assert {row["s"] for row in every} == {"BTCUSDT", "ETHUSDT"}


async def test_partial_depth_is_the_top_of_the_book() -> None:
    async with running_venue() as venue, listening(venue, "/public/ws/btcusdt@depth5/btcusdt@bookTicker") as socket:
        depth = await socket.event("depthUpdate")
        ticker = await socket.event("bookTicker")
        again = await socket.event("depthUpdate")
    async with running_venue() as venue, listening(venue, "/ws/btcusdt@depth10@100ms") as socket:
        spot = await socket.next()

    assert len(depth["b"]) == len(depth["a"]) == 5
    assert ticker["u"] == depth["u"] == again["pu"]
    assert [depth["b"][0], depth["a"][0]] == [[ticker["b"], ticker["B"]], [ticker["a"], ticker["A"]]]
    assert spot.keys() == {"lastUpdateId", "bids", "asks"}
    assert len(spot["bids"]) == len(spot["asks"]) == 10


async def test_a_liquidation_is_told_to_everybody() -> None:
    streams = "btcusdt@forceOrder/!forceOrder@arr/ethusdt@forceOrder"
    async with running_venue(still=True) as venue, listening(venue, f"/market/stream?streams={streams}") as socket:
        await socket.ask("LIST_SUBSCRIPTIONS")
        liquidate(venue)
        await socket.ask("LIST_SUBSCRIPTIONS", request_id=2)

    told = [each for each in socket.said if "stream" in each]
    assert sorted(each["stream"] for each in told) == ["!forceOrder@arr", "btcusdt@forceOrder"]
    order = told[0]["data"]["o"]
    assert (order["s"], order["S"], order["X"], order["z"]) == ("BTCUSDT", "SELL", "FILLED", "1.000")


async def test_a_halted_contract_is_told() -> None:
    async with running_venue(still=True) as venue, listening(venue, "/market/ws/!contractInfo") as socket:
        await socket.ask("LIST_SUBSCRIPTIONS")
        exchange, host = venue.venue.floor.exchange, venue.venue.hosted.host
        halted = replace(exchange.instrument(Market.FUT, "ETHUSDT"), status="BREAK")
        exchange.replace_instrument(halted)
        for _ in range(2):
            host.apply(Tick(BEGINS_MS, (), (), ()))
        await socket.ask("LIST_SUBSCRIPTIONS", request_id=2)

    (told,) = [told for told in socket.said if "e" in told]
    assert (told["s"], told["cs"]) == ("ETHUSDT", "BREAK")
    assert [row["bs"] for row in told["bks"]] == [bracket.bracket for bracket in halted.brackets]


async def test_an_event_is_written_once_for_all_who_listen() -> None:
    async with running_venue(still=True) as venue:
        hub = venue.venue.hub
        heard: list[tuple[str, str]] = []

        class Ear:
            combined = False

            def hear(self, stream: str, text: str) -> None:
                heard.append((stream, text))

            def hear_spoilt(self, stream: str, event: str) -> None:
                raise AssertionError("nothing goes wrong here")

        ears = [Ear(), Ear()]
        for ear in ears:
            hub.market.listen(Group.PUBLIC, "btcusdt@bookTicker", ear)
        host = venue.venue.hosted.host
        book = host.books[InstrumentKey(Market.FUT, "BTCUSDT")]
        host.apply(Tick(book.ts + 250, (replace(book, ts=book.ts + 250),), (), ()))

    (_, first), (_, second) = heard
    assert first is second
    assert orjson.loads(first)["u"] == book.ts + 250


def liquidate(venue: RunningVenue) -> None:
    """A long of 1 BTC at a leverage of 20, and a mark a tenth lower."""
    floor = venue.venue.floor
    order = NewOrder(
        client_order_id="long", market=Market.FUT, symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, qty=D(1)
    )
    _, changes = floor.exchange.place(order, floor.clock.now_ms())
    floor.settle(changes)
    mark = floor.mark("BTCUSDT")
    lower = (mark.mark * D("0.9")).quantize(D("0.10"))
    floor.host.apply(Tick(mark.ts + 250, (), (replace(mark, ts=mark.ts + 250, mark=lower),), ()))
