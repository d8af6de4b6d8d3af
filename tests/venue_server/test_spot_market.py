"""What spot shows to anybody: its rules are those it applies, its bars end with the running one."""

import json
from decimal import Decimal
from itertools import pairwise

import pytest

from tests.venue_server.running import running_venue
from tests.venue_server.spot_staging import SpotStage, order_of, spot_stage

MINUTE_MS = 60_000


async def filters(at: SpotStage) -> dict[str, dict[str, str]]:
    [symbol] = (await at.shown("exchangeInfo", symbol="BTCUSDT"))["symbols"]
    return {each["filterType"]: each for each in symbol["filters"]}


async def test_the_rules_shown_are_the_rules_applied() -> None:
    async with spot_stage() as at:
        shown = await filters(at)
        tick, step = shown["PRICE_FILTER"]["tickSize"], shown["LOT_SIZE"]["stepSize"]
        least = Decimal(shown["NOTIONAL"]["minNotional"]) / 50_000
        grid = Decimal(step)

        fits = (least / grid).to_integral_value(rounding="ROUND_CEILING") * grid
        await at.order(price="50000", quantity=str(fits))
        for wrong, named in (
            ({"price": str(50_000 + Decimal(tick) / 10)}, "PRICE_FILTER"),
            ({"quantity": str(fits + grid / 10)}, "LOT_SIZE"),
            ({"quantity": str(fits - grid)}, "NOTIONAL"),
            ({"price": f"{60_000 * Decimal(shown['PERCENT_PRICE_BY_SIDE']['bidMultiplierDown']) - 1}"}, "PERCENT"),
        ):
            code, text = await at.refused("POST", "order", **order_of(**{"price": "50000", **wrong}))
            assert code == -1013
            assert text.startswith(f"Filter failure: {named}")


@pytest.mark.parametrize(
    ("params", "symbols"),
    [
        pytest.param({}, ["BTCUSDT"], id="all"),
        pytest.param({"symbol": "BTCUSDT"}, ["BTCUSDT"], id="one"),
        pytest.param({"symbols": '["BTCUSDT"]'}, ["BTCUSDT"], id="a list"),
        pytest.param({"permissions": "SPOT"}, ["BTCUSDT"], id="spot"),
        pytest.param({"permissions": '["MARGIN","LEVERAGED"]'}, [], id="what is not offered"),
        pytest.param({"symbolStatus": "HALT"}, [], id="halted"),
    ],
)
async def test_rules_are_shown_of_what_is_asked_for(params: dict[str, str], symbols: list[str]) -> None:
    async with spot_stage() as at:
        info = await at.shown("exchangeInfo", **params)

    assert [symbol["symbol"] for symbol in info["symbols"]] == symbols
    assert [(row["rateLimitType"], row["interval"], row["intervalNum"]) for row in info["rateLimits"]] == [
        ("REQUEST_WEIGHT", "MINUTE", 1),
        ("ORDERS", "SECOND", 10),
        ("ORDERS", "DAY", 1),
        ("RAW_REQUESTS", "MINUTE", 5),
    ]


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        pytest.param("exchangeInfo", {"symbol": "NOPE"}, -1121, id="unknown symbol"),
        pytest.param("exchangeInfo", {"symbols": '["NOPE"]'}, -1121, id="unknown in a list"),
        pytest.param("exchangeInfo", {"symbols": '["BTC'}, -1135, id="no list"),
        pytest.param("exchangeInfo", {"symbol": "BTCUSDT", "permissions": "SPOT"}, -1128, id="two questions"),
        pytest.param("ticker/price", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128, id="one and many"),
        pytest.param("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120, id="interval"),
        pytest.param("klines", {"symbol": "BTCUSDT"}, -1102, id="no interval"),
        pytest.param("depth", {}, -1102, id="no symbol"),
        pytest.param("depth", {"symbol": "BTCUSDT", "limit": "0"}, -1130, id="no rows"),
    ],
)
async def test_a_senseless_question_is_refused(path: str, params: dict[str, str], code: int) -> None:
    async with spot_stage() as at:
        reply = await at.venue.get(f"/api/v3/{path}", **params)

    assert (reply.status, reply.body["code"]) == (400, code)


@pytest.mark.parametrize("interval", ["1m", "15m", "1h", "1d"])
async def test_bars_join_and_the_last_is_still_open(interval: str) -> None:
    async with running_venue() as venue:
        bars = (await venue.get("/api/v3/klines", symbol="BTCUSDT", interval=interval, limit=4)).body

        assert len(bars) == 4
        assert all(before[6] + 1 == after[0] for before, after in pairwise(bars))
        assert bars[-1][0] <= venue.now_ms <= bars[-1][6]
        for bar in bars:
            assert Decimal(bar[3]) <= min(Decimal(bar[1]), Decimal(bar[4]))
            assert Decimal(bar[2]) >= max(Decimal(bar[1]), Decimal(bar[4]))


async def test_bars_are_asked_for_by_time() -> None:
    async with running_venue() as venue:
        start_ms = venue.now_ms // MINUTE_MS * MINUTE_MS - 10 * MINUTE_MS
        span = {"startTime": start_ms, "endTime": start_ms + 2 * MINUTE_MS}
        bars = (await venue.get("/api/v3/klines", symbol="BTCUSDT", interval="1m", **span)).body

    assert [bar[0] for bar in bars] == [start_ms, start_ms + MINUTE_MS, start_ms + 2 * MINUTE_MS]


async def test_book_tickers_prices_and_depth_tell_of_one_book() -> None:
    async with spot_stage() as at:
        one = await at.shown("ticker/bookTicker", symbol="BTCUSDT")
        every = await at.shown("ticker/bookTicker")
        named = await at.shown("ticker/bookTicker", symbols=json.dumps(["BTCUSDT"]))
        price = await at.shown("ticker/price", symbol="BTCUSDT")
        depth = await at.shown("depth", symbol="BTCUSDT", limit=2)

    assert every == named == [one]
    assert price == {"symbol": "BTCUSDT", "price": "60000.00000000"}
    assert depth["bids"][0] == [one["bidPrice"], one["bidQty"]] == ["59999.99000000", "5.00000000"]
    assert depth["asks"][0] == [one["askPrice"], one["askQty"]]
    assert len(depth["bids"]) == len(depth["asks"]) == 2


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        pytest.param("depth", {"limit": 100}, 5, id="depth 100"),
        pytest.param("depth", {"limit": 500}, 25, id="depth 500"),
        pytest.param("depth", {"limit": 5000}, 250, id="depth 5000"),
        pytest.param("ticker/bookTicker", {}, 2, id="one ticker"),
        pytest.param("exchangeInfo", {}, 20, id="rules"),
        pytest.param("trades", {}, 25, id="trades"),
    ],
)
async def test_questions_weigh_what_the_documents_say(path: str, params: dict[str, int], weight: int) -> None:
    async with spot_stage() as at:
        reply = await at.venue.get(f"/api/v3/{path}", symbol="BTCUSDT", **params)

    assert reply.headers["x-mbx-used-weight-1m"] == str(weight)


async def test_public_trades_are_numbered_upwards_and_grouped_one_by_one() -> None:
    async with spot_stage() as at:
        trades = await at.shown("trades", symbol="BTCUSDT", limit=5)
        grouped = await at.shown("aggTrades", symbol="BTCUSDT", limit=5)
        later = await at.shown("aggTrades", symbol="BTCUSDT", fromId=grouped[-1]["a"])

    numbers = [trade["id"] for trade in trades]
    assert numbers == sorted(set(numbers))
    assert [(each["a"], each["p"]) for each in grouped] == [(trade["id"], trade["price"]) for trade in trades]
    assert later == grouped[-1:]


async def test_clients_that_ask_for_margin_pairs_learn_that_there_are_none() -> None:
    async with spot_stage() as at:
        at.venue.extra_headers["X-MBX-APIKEY"] = at.venue.key
        pairs = await at.venue.get("/sapi/v1/margin/allPairs")

    assert (pairs.status, pairs.body) == (200, [])


async def test_a_clock_that_is_wrong_on_purpose_shows_no_bar_of_the_future() -> None:
    async with running_venue(still=True) as venue:
        host = venue.venue.hosted.host
        venue.venue.floor.offset_ms = 3 * 3_600_000
        spot = (await venue.get("/api/v3/klines", symbol="BTCUSDT", interval="1m")).body
        factor = (await venue.get("/api/v3/k", market="usdttwd", period=60)).body

        assert spot[-1][0] <= host.clock.now_ms()
        assert factor[-1][0] * 1_000 <= host.clock.now_ms()
