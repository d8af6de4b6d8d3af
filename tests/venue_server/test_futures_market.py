"""What futures show to anybody."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from tests.venue_server.running import RunningVenue, running_venue
from tests.venue_server.staging import stage

D = Decimal
BTC = {"symbol": "BTCUSDT"}
MINUTE_MS = 60_000
DAY_MS = 86_400_000


async def get(venue: RunningVenue, path: str, **params: Any) -> Any:
    reply = await venue.get(f"/fapi/{path}", **params)
    assert reply.status == 200, reply.body
    return reply.body


async def weight(venue: RunningVenue, path: str, **params: Any) -> int:
    used = "x-mbx-used-weight-1m"
    before = int((await venue.get("/fapi/v1/ping")).headers[used])
    return int((await venue.get(f"/fapi/{path}", **params)).headers[used]) - before


async def test_rules_are_those_that_the_matching_keeps() -> None:
    async with running_venue() as venue:
        info = await get(venue, "v1/exchangeInfo")
        symbol = next(each for each in info["symbols"] if each["symbol"] == "BTCUSDT")
        filters = {each["filterType"]: each for each in symbol["filters"]}

    assert (filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]) == ("0.10", "0.001")
    assert filters["MIN_NOTIONAL"]["notional"] == "50"
    assert filters["PERCENT_PRICE"]["multiplierUp"] == "1.0500"
    assert (symbol["status"], symbol["contractType"], symbol["pricePrecision"]) == ("TRADING", "PERPETUAL", 2)
    assert {limit["rateLimitType"]: limit["limit"] for limit in info["rateLimits"][:1]} == {"REQUEST_WEIGHT": 2_400}


async def test_depth_bookticker_and_price_show_the_same_book() -> None:
    async with stage() as at:
        depth = await get(at.venue, "v1/depth", **BTC, limit=5)
        ticker = await get(at.venue, "v1/ticker/bookTicker", **BTC)
        price = await get(at.venue, "v2/ticker/price", **BTC)
        every = await get(at.venue, "v1/ticker/bookTicker")

    assert depth["bids"][0] == [ticker["bidPrice"], ticker["bidQty"]] == ["59999.90", "5.000"]
    assert depth["asks"][0] == [ticker["askPrice"], ticker["askQty"]] == ["60000.10", "5.000"]
    assert depth["lastUpdateId"] == depth["T"] == ticker["time"]
    assert price["price"] == "60000.00"
    assert [each["symbol"] for each in every] == ["BTCUSDT", "ETHUSDT"]


async def test_the_mark_and_the_next_funding_are_shown() -> None:
    async with stage() as at:
        at.show("60000.00", mark="60010.50")
        shown = await get(at.venue, "v1/premiumIndex", **BTC)

    assert (shown["markPrice"], shown["lastFundingRate"]) == ("60010.50000000", "0.00010000")
    assert shown["nextFundingTime"] % (8 * 3_600_000) == 0


@pytest.mark.parametrize(
    "interval", ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w"]
)
async def test_bars_follow_each_other_and_the_last_is_open(interval: str) -> None:
    async with running_venue() as venue:
        now_ms = venue.now_ms
        bars = await get(venue, "v1/klines", **BTC, interval=interval, limit=4)

    length_ms = bars[-1][6] + 1 - bars[-1][0]
    assert bars[-1][0] <= now_ms <= bars[-1][6]
    for earlier, later in pairwise(bars):
        assert later[0] - earlier[0] == length_ms
        assert earlier[6] == later[0] - 1
    for _, opened, high, low, closed, volume, *_ in bars:
        assert D(low) <= min(D(opened), D(closed)) <= max(D(opened), D(closed)) <= D(high)
        assert D(volume) > 0


async def test_long_bars_are_made_of_the_short_ones() -> None:
    async with running_venue() as venue:
        week = (await get(venue, "v1/klines", **BTC, interval="1w", limit=2))[0]
        days = await get(venue, "v1/klines", **BTC, interval="1d", startTime=week[0], endTime=week[6])
        month = (await get(venue, "v1/klines", **BTC, interval="1M", limit=1))[0]

    assert len(days) == 7
    assert (days[0][1], days[-1][4]) == (week[1], week[4])
    assert max(D(day[2]) for day in days) == D(week[2])
    assert sum(D(day[5]) for day in days) == pytest.approx(D(week[5]))
    assert week[0] // DAY_MS % 7 == 4  # 1970-01-01 was a Thursday
    assert (month[6] + 1 - month[0]) // DAY_MS == 30  # September


async def test_a_start_gives_the_first_bars_and_none_the_last() -> None:
    async with running_venue() as venue:
        start_ms = venue.now_ms // MINUTE_MS * MINUTE_MS - 100 * MINUTE_MS

        first = await get(venue, "v1/klines", **BTC, interval="1m", startTime=start_ms, limit=3)
        until = await get(venue, "v1/klines", **BTC, interval="1m", endTime=start_ms, limit=2)
        odd = await get(venue, "v1/klines", **BTC, interval="1m", startTime=start_ms + 1, limit=1)
        mark = await get(venue, "v1/markPriceKlines", **BTC, interval="1m", startTime=start_ms, limit=3)

    assert [bar[0] for bar in first] == [start_ms, start_ms + MINUTE_MS, start_ms + 2 * MINUTE_MS]
    assert [bar[0] for bar in until] == [start_ms - MINUTE_MS, start_ms]
    assert odd[0][0] == start_ms + MINUTE_MS
    assert [bar[0] for bar in mark] == [bar[0] for bar in first]
    assert mark[0][5] == "0"


@pytest.mark.parametrize("interval", ["1m", "1h", "1d", "1w"])
async def test_a_start_before_the_market_began_gives_its_first_bars(interval: str) -> None:
    async with running_venue() as venue:
        first = await get(venue, "v1/klines", **BTC, interval=interval, startTime=0, limit=3)
        again = await get(venue, "v1/klines", **BTC, interval=interval, startTime=first[0][0], limit=3)
        earlier = await get(venue, "v1/klines", **BTC, interval=interval, startTime=first[0][0] - DAY_MS, limit=3)
        none = await get(venue, "v1/klines", **BTC, interval=interval, startTime=0, endTime=first[0][0] - 1, limit=3)

    assert len(first) == 3
    assert first == again == earlier
    assert none == []


async def test_the_open_bar_is_what_has_been_traded_since_it_opened() -> None:
    async with stage() as at:
        for last in ("60100.00", "59800.00", "59900.00"):
            at.show(last)
        bar = (await get(at.venue, "v1/klines", **BTC, interval="1m", limit=1))[0]
        trades = await get(at.venue, "v1/aggTrades", **BTC)

    assert (bar[2], bar[4]) >= ("60100.00", "59900.00")
    assert bar[4] == "59900.00"
    assert [trade["p"] for trade in trades[-3:]] == ["60100.00", "59800.00", "59900.00"]


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        pytest.param("v1/klines", {"interval": "7m"}, -1120, id="interval"),
        pytest.param("v1/klines", {"interval": "1s"}, -1120, id="seconds are of spot"),
        pytest.param("v1/klines", {}, -1102, id="no interval"),
        pytest.param("v1/klines", {"interval": "1m", "limit": 1_501}, -1130, id="too many bars"),
        pytest.param("v1/klines", {"interval": "1m", "startTime": 2, "endTime": 1}, -1023, id="backwards"),
        pytest.param("v1/klines", {"interval": "1m", "startTime": "then"}, -1100, id="no time"),
        pytest.param("v1/depth", {"limit": 7}, -4021, id="depth limit"),
        pytest.param("v1/depth", {"symbol": "NOPE"}, -1121, id="unknown symbol"),
        pytest.param("v1/depth", {"symbol": None}, -1102, id="no symbol"),
        pytest.param("v1/premiumIndex", {"symbol": "NOPE"}, -1121, id="unknown perpetual"),
        pytest.param("v1/aggTrades", {"startTime": 1, "endTime": 3_600_002}, -1127, id="more than an hour"),
    ],
)
async def test_a_senseless_question_is_refused(path: str, params: dict[str, Any], code: int) -> None:
    async with running_venue() as venue:
        reply = await venue.get(f"/fapi/{path}", **{**BTC, **params})

    assert (reply.status, reply.body["code"]) == (400, code)


async def test_weights_follow_the_limit_and_the_symbol() -> None:
    async with running_venue() as venue:
        klines = {
            limit: await weight(venue, "v1/klines", **BTC, interval="1m", limit=limit)
            for limit in (99, 100, 499, 500, 1_000, 1_001)
        }
        depth = {limit: await weight(venue, "v1/depth", **BTC, limit=limit) for limit in (5, 50, 100, 500, 1_000)}
        others = [
            await weight(venue, "v1/premiumIndex", **BTC),
            await weight(venue, "v1/premiumIndex"),
            await weight(venue, "v1/ticker/bookTicker", **BTC),
            await weight(venue, "v1/ticker/bookTicker"),
            await weight(venue, "v1/aggTrades", **BTC),
        ]

    assert klines == {99: 1, 100: 2, 499: 2, 500: 5, 1_000: 5, 1_001: 10}
    assert depth == {5: 2, 50: 2, 100: 5, 500: 10, 1_000: 20}
    assert others == [1, 10, 2, 5, 20]


async def test_fundings_are_past_ascending_and_have_a_limit_of_their_own() -> None:
    async with running_venue() as venue:
        reply = await venue.get("/fapi/v1/fundingRate", **BTC, limit=5)
        every = await get(venue, "v1/fundingRate", limit=1_000)
        first = await get(venue, "v1/fundingRate", **BTC, startTime=reply.body[1]["fundingTime"], limit=2)
        info = await get(venue, "v1/fundingInfo")

    times = [row["fundingTime"] for row in reply.body]
    assert len(times) == 5
    assert times == sorted(times)
    assert times[-1] <= venue.now_ms < times[-1] + 8 * 3_600_000
    assert "x-mbx-used-weight-1m" not in reply.headers
    assert {row["symbol"] for row in every} == {"BTCUSDT", "ETHUSDT"}
    assert [row["fundingTime"] for row in first] == times[1:3]
    assert D(reply.body[0]["markPrice"]) > 0
    assert {row["fundingIntervalHours"] for row in info} == {8}


async def test_trades_are_paged_by_id_and_time() -> None:
    async with stage() as at:
        for last in ("60100.00", "60200.00", "60300.00"):
            at.show(last)
        trades = await get(at.venue, "v1/aggTrades", **BTC)
        from_second = await get(at.venue, "v1/aggTrades", **BTC, fromId=trades[1]["a"], limit=1)
        recent = await get(at.venue, "v1/trades", **BTC, limit=1)

    assert [trade["a"] for trade in trades] == sorted(trade["a"] for trade in trades)
    assert from_second[0]["a"] == trades[1]["a"]
    assert recent[0]["price"] == "60300.00"


async def test_a_day_is_summed_up() -> None:
    async with stage() as at:
        day = await get(at.venue, "v1/ticker/24hr", **BTC)
        every = await get(at.venue, "v1/ticker/24hr")

    assert day["lastPrice"] == "60000.00"
    assert D(day["lowPrice"]) <= 60_000 <= D(day["highPrice"]) + 10_000
    assert D(day["priceChange"]) == D("60000.00") - D(day["openPrice"])
    assert [each["symbol"] for each in every] == ["BTCUSDT", "ETHUSDT"]
