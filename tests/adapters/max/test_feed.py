import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from chimera.adapters.clocks import LoopClock
from chimera.adapters.max.feed import MaxFactorFeed
from chimera.contracts.enums import Market
from chimera.domain.market.quotes import Bar
from chimera.ports.venue import RateLimited, VenueUnavailable
from tests.loopback import free_ports

HOUR_MS = 3_600_000
T0 = 1_769_904_000_000


def row(hour: int, close: float = 31.0, volume: float = 5.0) -> list[float]:
    return [(T0 + hour * HOUR_MS) // 1_000, 31.0, 32.0, 30.0, close, volume]


def hours(bars: Sequence[Bar]) -> list[int]:
    return [(bar.open_time - T0) // HOUR_MS for bar in bars]


class Max:
    """MAX as far as k-lines go; `answer` replaces what it would say."""

    def __init__(self) -> None:
        self.rows = [row(hour) for hour in range(48)]
        self.most = 10_000
        self.asked: list[dict[str, str]] = []
        self.answer: web.Response | None = None

    async def k(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        if self.answer is not None:
            return self.answer
        since, limit = int(request.query["timestamp"]), min(self.most, int(request.query["limit"]))
        rows = [each for each in self.rows if each[0] >= since][:limit]
        return web.Response(body=orjson.dumps(rows), content_type="application/json")


@pytest.fixture
def exchange() -> Max:
    return Max()


@pytest.fixture
async def feed(exchange: Max) -> AsyncIterator[MaxFactorFeed]:
    port = free_ports()
    app = web.Application()
    app.router.add_get("/api/v3/k", exchange.k)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aiohttp.ClientSession() as session:
        # It is half past the hour 10.
        clock = LoopClock(T0 + 10 * HOUR_MS + HOUR_MS // 2)
        yield MaxFactorFeed(base_url=f"http://127.0.0.1:{port}/", session=session, clock=clock)
    await runner.cleanup()


async def test_closed_bars_are_told_oldest_first(feed: MaxFactorFeed, exchange: Max) -> None:
    bars = await feed.bars("1h", T0, T0 + 3 * HOUR_MS)

    assert bars[0] == Bar(Market.SPOT, "USDTTWD", "1h", T0, 31.0, 32.0, 30.0, 31.0, 5.0)
    assert hours(bars) == [0, 1, 2]
    assert exchange.asked == [{"market": "usdttwd", "period": "60", "limit": "3", "timestamp": str(T0 // 1_000)}]


async def test_the_hour_that_is_still_open_is_not_told(feed: MaxFactorFeed) -> None:
    assert hours(await feed.bars("1h", T0 + 8 * HOUR_MS, T0 + 30 * HOUR_MS)) == [8, 9]


async def test_a_start_within_an_hour_begins_with_the_next(feed: MaxFactorFeed) -> None:
    assert hours(await feed.bars("1h", T0 + 1, T0 + 3 * HOUR_MS)) == [1, 2]


async def test_more_than_one_answer_holds_is_asked_for_in_turns(feed: MaxFactorFeed, exchange: Max) -> None:
    exchange.most = 4

    assert hours(await feed.bars("1h", T0, T0 + 10 * HOUR_MS)) == list(range(10))
    assert len(exchange.asked) == 3


async def test_hours_without_trades_are_flat(feed: MaxFactorFeed, exchange: Max) -> None:
    exchange.rows = [row(0), row(1, close=31.5), row(4)]

    bars = await feed.bars("1h", T0, T0 + 8 * HOUR_MS)

    assert hours(bars) == [0, 1, 2, 3, 4]
    assert {(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars[2:4]} == {(31.5, 31.5, 31.5, 31.5, 0)}


async def test_nothing_is_asked_where_nothing_has_closed(feed: MaxFactorFeed, exchange: Max) -> None:
    assert await feed.bars("1h", T0 + 10 * HOUR_MS, T0 + 11 * HOUR_MS) == []
    assert exchange.asked == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param({"status": 500, "text": "<html>"}, VenueUnavailable, id="server error"),
        pytest.param({"status": 403, "text": "not from your country"}, VenueUnavailable, id="refused"),
        pytest.param({"status": 429}, RateLimited, id="too many"),
        pytest.param({"text": "<html>maintenance</html>"}, VenueUnavailable, id="no JSON"),
        pytest.param({"text": '{"error": 1}'}, VenueUnavailable, id="no list"),
        pytest.param({"text": "[[1769904000, 31, 32, 30, 0, 1]]"}, VenueUnavailable, id="price of 0"),
        pytest.param({"text": "[[1769904000, 31, 30, 30, 31, 1]]"}, VenueUnavailable, id="high below open"),
        pytest.param({"text": "[[1769904000, 31, 32, 30, 31, -1]]"}, VenueUnavailable, id="negative volume"),
        pytest.param({"text": "[[1769904000, 31, 32]]"}, VenueUnavailable, id="short row"),
    ],
)
async def test_what_is_no_answer_raises(feed: MaxFactorFeed, exchange: Max, answer: Any, error: type) -> None:
    exchange.answer = web.Response(**answer)

    with pytest.raises(error):
        await feed.bars("1h", T0, T0 + 3 * HOUR_MS)


async def test_how_long_to_wait_is_told(feed: MaxFactorFeed, exchange: Max) -> None:
    exchange.answer = web.Response(status=429, headers={"Retry-After": "7"})

    with pytest.raises(RateLimited) as limited:
        await feed.bars("1h", T0, T0 + 3 * HOUR_MS)

    assert limited.value.retry_after_ms == 7_000


async def test_nobody_there_is_unavailable() -> None:
    async with aiohttp.ClientSession() as session:
        feed = MaxFactorFeed(base_url=f"http://127.0.0.1:{free_ports()}", session=session, clock=LoopClock(T0))

        with pytest.raises(VenueUnavailable):
            await feed.bars("1h", T0 - 3 * HOUR_MS, T0)


async def test_recorded_bars_are_read(feed: MaxFactorFeed, exchange: Max) -> None:
    shared = os.environ.get("CHIMERA_SHARED")
    if shared is None:
        pytest.skip("CHIMERA_SHARED is not set: recorded bars are not at hand, none was read")
    [recorded, *_] = orjson.loads(
        (Path(shared) / "payloads" / "max-exchange" / "bbgo-TestExchange_QueryKLines.json").read_bytes()
    )
    exchange.answer = web.Response(text=recorded["response"]["body"])

    bars = await feed.bars("1h", T0, T0 + 5 * HOUR_MS)

    assert hours(bars) == [0, 1, 2, 3, 4]
    assert (bars[0].open, bars[0].close, bars[1].volume) == (81055.54, 78540.65, 0)
