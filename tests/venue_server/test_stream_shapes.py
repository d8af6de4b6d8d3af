"""Pushed events have the recorded keys and JSON types; documents are asked where nothing was recorded.

Where examples differ from the exchange's own page, the difference stands here beside its reason.
"""

from dataclasses import replace
from typing import Any

import pytest

from chimera.adapters.simulated_venue.feed import Tick
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from tests.venue_server.listening import listening
from tests.venue_server.running import BEGINS_MS, running_venue
from tests.venue_server.shapes import differences, payload
from tests.venue_server.test_market_streams import liquidate

RECORDED = "recorded-fapi-2026-09"
FUTURES = "official-connector-js-examples/usds-futures/websocket-streams"
SPOT = "official-connector-js-examples/spot/websocket-streams"

SPOT_EXAMPLES_LACK = {
    "aggTrade": {"p", "q"},
    "bookTicker": {"b", "B", "a", "A"},
    "kline": {"k.o", "k.c", "k.h", "k.l", "k.v", "k.q", "k.V", "k.Q", "k.B"},
    "miniTicker": {"c", "o", "h", "l", "v", "q"},
    "ticker": {"p", "P", "w", "x", "c", "Q", "b", "B", "a", "A", "o", "h", "l", "v", "q"},
    "trade": {"p", "q"},
}
"""The examples of the spot connector leave every decimal out; the exchange's own page has them."""


def told_beyond(name: str) -> set[str]:
    return {f".{key} extra" for key in SPOT_EXAMPLES_LACK.get(name, set())}


async def first(path: str, wanted: str, speed: float = 1.0) -> Any:
    async with running_venue(speed=speed) as venue, listening(venue, path) as socket:
        return await socket.until(lambda told: _is(told, wanted))


def _is(told: Any, wanted: str) -> bool:
    if isinstance(told, list):
        return bool(wanted == "array")
    inner = told.get("data", told)
    return wanted in ("any", inner.get("e") if isinstance(inner, dict) else "")


@pytest.mark.parametrize(
    ("path", "wanted", "recorded"),
    [
        pytest.param("/market/stream?streams=btcusdt@kline_1m", "kline", "ws-kline-inprogress-1.json", id="kline"),
        pytest.param("/market/ws/btcusdt@kline_1m", "kline", "ws-kline-raw-noenvelope.json", id="kline raw"),
        pytest.param("/market/stream?streams=ethusdt@markPrice@1s", "markPriceUpdate", "ws-markPrice.json", id="mark"),
    ],
)
async def test_futures_market_events_are_as_recorded(path: str, wanted: str, recorded: str) -> None:
    theirs = payload(f"{RECORDED}/{recorded}")

    assert differences(await first(path, wanted), theirs) == set()


async def test_a_closed_bar_is_as_recorded() -> None:
    theirs = payload(f"{RECORDED}/ws-kline-closed.json")
    async with (
        running_venue(speed=200) as venue,
        listening(venue, "/market/stream?streams=btcusdt@kline_1m") as socket,
    ):
        ours = await socket.until(lambda told: told["data"]["k"]["x"])

    assert differences(ours, theirs) == set()


async def test_control_answers_are_as_recorded() -> None:
    async with running_venue() as venue, listening(venue, "/market/ws") as socket:
        subscribed = await socket.ask("SUBSCRIBE", "btcusdt@kline_1m", "ethusdt@markPrice@1s", request_id=1)
        listed = await socket.ask("LIST_SUBSCRIPTIONS", request_id=2)
        wrong = await socket.ask("NOT_A_METHOD", request_id=4)

    assert subscribed == payload(f"{RECORDED}/ws-subscribeAck.json")
    assert listed == payload(f"{RECORDED}/ws-listSubscriptionsReply.json")
    assert wrong == payload(f"{RECORDED}/ws-controlError.json")


async def test_conditional_orders_are_told_as_recorded() -> None:
    async with running_venue(still=True) as venue:
        key = (await venue.signed("POST", "/fapi/v1/listenKey")).body["listenKey"]
        async with listening(venue, f"/private/ws?listenKey={key}&events=ALGO_UPDATE") as socket:
            await socket.ask("LIST_SUBSCRIPTIONS")
            bid = venue.venue.floor.host.books[InstrumentKey(Market.FUT, "BTCUSDT")].bid
            stop = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}
            stop |= {"quantity": "0.01", "workingType": "MARK_PRICE", "clientAlgoId": "shape"}
            await venue.signed("POST", "/fapi/v1/algoOrder", **stop, triggerPrice=bid - 500)
            placed = await socket.event("ALGO_UPDATE")
            await venue.signed("DELETE", "/fapi/v1/algoOrder", clientAlgoId="shape")
            canceled = await socket.event("ALGO_UPDATE")

    assert differences(placed, payload(f"{RECORDED}/ws-ALGO_UPDATE-new.json")) == set()
    assert differences(canceled, payload(f"{RECORDED}/ws-ALGO_UPDATE-canceled.json")) == set()
    assert list(placed["o"]) == list(payload(f"{RECORDED}/ws-ALGO_UPDATE-new.json")["o"])


@pytest.mark.parametrize(
    ("path", "wanted", "example"),
    [
        pytest.param("/market/ws/btcusdt@aggTrade", "aggTrade", "aggregateTradeStreams", id="aggTrade"),
        pytest.param("/public/ws/!bookTicker", "bookTicker", "allBookTickersStream", id="!bookTicker"),
        pytest.param("/public/ws/btcusdt@bookTicker", "bookTicker", "individualSymbolBookTickerStreams", id="b"),
        pytest.param(
            "/public/ws/btcusdt@depth@100ms",
            "depthUpdate",
            "diffBookDepthStreams",
            id="depth",
        ),
        pytest.param("/public/ws/btcusdt@depth5", "depthUpdate", "partialBookDepthStreams", id="depth5"),
        pytest.param("/market/ws/btcusdt@kline_5m", "kline", "klineCandlestickStreams", id="kline"),
        pytest.param(
            "/market/ws/btcusdt_perpetual@continuousKline_5m",
            "continuous_kline",
            "continuousContractKlineCandlestickStreams",
            id="continuousKline",
        ),
        pytest.param("/market/ws/btcusdt@markPrice", "markPriceUpdate", "markPriceStream", id="markPrice"),
        pytest.param("/market/ws/!markPrice@arr@1s", "array", "markPriceStreamForAllMarket", id="!markPrice"),
        pytest.param("/market/ws/btcusdt@ticker", "24hrTicker", "individualSymbolTickerStreams", id="ticker"),
        pytest.param("/market/ws/!ticker@arr", "array", "allMarketTickersStreams", id="!ticker"),
        pytest.param("/market/ws/btcusdt@miniTicker", "24hrMiniTicker", "individualSymbolMiniTickerStream", id="m"),
        pytest.param("/market/ws/!miniTicker@arr", "array", "allMarketMiniTickersStream", id="!miniTicker"),
    ],
)
async def test_futures_market_events_are_as_documented(path: str, wanted: str, example: str) -> None:
    theirs = payload(f"{FUTURES}/{example}.json")

    assert differences(await first(path, wanted, speed=10), theirs) == set()


@pytest.mark.parametrize(
    ("path", "wanted", "example"),
    [
        pytest.param("/ws/btcusdt@aggTrade", "aggTrade", "aggTrade", id="aggTrade"),
        pytest.param("/ws/btcusdt@trade", "trade", "trade", id="trade"),
        pytest.param("/ws/btcusdt@bookTicker", "any", "bookTicker", id="bookTicker"),
        pytest.param("/ws/btcusdt@depth@100ms", "depthUpdate", "diffBookDepth", id="depth"),
        pytest.param("/ws/btcusdt@depth5@100ms", "any", "partialBookDepth", id="depth5"),
        pytest.param("/ws/btcusdt@kline_1m", "kline", "kline", id="kline"),
        pytest.param("/ws/btcusdt@miniTicker", "24hrMiniTicker", "miniTicker", id="miniTicker"),
        pytest.param("/ws/btcusdt@ticker", "24hrTicker", "ticker", id="ticker"),
    ],
)
async def test_spot_market_events_are_as_documented(path: str, wanted: str, example: str) -> None:
    theirs = payload(f"{SPOT}/{example}.json")

    assert differences(await first(path, wanted, speed=10), theirs) == told_beyond(example)


async def test_liquidations_and_contracts_are_as_documented() -> None:
    streams = "!forceOrder@arr/!contractInfo"
    async with running_venue(still=True) as venue, listening(venue, f"/market/ws/{streams}") as socket:
        await socket.ask("LIST_SUBSCRIPTIONS")
        exchange = venue.venue.floor.exchange
        liquidate(venue)
        exchange.replace_instrument(replace(exchange.instrument(Market.FUT, "ETHUSDT"), status="BREAK"))
        venue.venue.hosted.host.apply(Tick(BEGINS_MS + 500, (), (), ()))
        forced = await socket.event("forceOrder")
        contract = await socket.event("contractInfo")

    assert differences(forced, payload(f"{FUTURES}/allMarketLiquidationOrderStreams.json")) == set()
    fraction = {".bks[].cf is float not int"}  # a sum that is not whole
    assert differences(contract, payload(f"{FUTURES}/contractInfoStream.json")) <= fraction
