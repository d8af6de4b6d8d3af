"""The server itself: it answers, signs are checked, limits bite, the account survives a restart."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import polars as pl
import pytest

from chimera.adapters.kline_files import KlineFileError
from chimera.app.hosted_exchange import MarketEnded
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.venue_server.calls import Answer, Call, Route
from chimera.venue_server.futures import words
from chimera.venue_server.limits import LimitRules
from chimera.venue_server.server import VenueOptions, VenueProblem, open_exchange
from tests.venue_server.running import BEGINS_MS, running_venue
from tests.venue_server.staging import order_of, stage


async def test_both_sites_tell_the_time_of_the_market() -> None:
    async with running_venue() as venue:
        futures = await venue.get("/fapi/v1/time")
        spot = await venue.get("/api/v3/time")

        assert futures.status == spot.status == 200
        assert 0 <= futures.body["serverTime"] - BEGINS_MS < 60_000
        assert futures.headers["server"] == "Tengine"
        assert futures.headers["x-mbx-used-weight-1m"] == "1"
        assert spot.headers["content-type"] == "application/json;charset=UTF-8"


async def test_the_clock_goes_on_where_it_stood(tmp_path: Path) -> None:
    async with running_venue(state=tmp_path, speed=60) as venue:
        first = (await venue.get("/fapi/v1/time")).body["serverTime"]

    async with running_venue(state=tmp_path, speed=60) as venue:
        again = (await venue.get("/fapi/v1/time")).body["serverTime"]

    assert first <= again < first + 600_000


async def test_a_path_that_nobody_serves_is_404_and_a_wrong_method_405() -> None:
    async with running_venue() as venue:
        assert (await venue.get("/fapi/v1/nothing")).status == 404
        assert (await venue.call("POST", "/fapi/v1/time")).status == 405


async def test_too_many_requests_are_429_and_those_who_go_on_are_banned() -> None:
    async with running_venue(limits=LimitRules(futures_weight=5)) as venue:
        statuses = [(await venue.get("/fapi/v1/ping")).status for _ in range(20)]
        banned = await venue.get("/fapi/v1/ping")

    assert statuses[:5] == [200] * 5
    assert statuses[5:15] == [429] * 10
    assert statuses[15:] == [418] * 5
    assert banned.body["code"] == -1003
    assert 100 < int(banned.headers["retry-after"]) <= 120


async def test_klines_make_the_market_and_it_ends_where_they_end(tmp_path: Path) -> None:
    minutes = 4 * 1_440
    price = 60_000.0 + np.arange(minutes) % 50
    first_ms = 1_746_403_200_000
    pl.DataFrame(
        {
            "date": pl.Series(first_ms + 60_000 * np.arange(minutes)).cast(pl.Datetime("ms", "UTC")),
            "open": price,
            "high": price + 5.0,
            "low": price - 5.0,
            "close": price + 1.0,
            "volume": np.full(minutes, 12.0),
        }
    ).write_ipc(tmp_path / "BTC_USDT_USDT-1m-futures.feather")
    options = VenueOptions(symbols=("BTCUSDT",), klines=tmp_path)

    hosted, _ = open_exchange(options, tmp_path / "state")

    host = hosted.host
    host.show_again(hosted.shown_until_ms)
    begins_ms = first_ms + 2 * 86_400_000
    assert 0 <= host.clock.now_ms() - begins_ms < 60_000
    assert 59_990 < host.books[InstrumentKey(Market.FUT, "BTCUSDT")].last < 60_060
    (bar,) = host.feed.klines(InstrumentKey(Market.FUT, "BTCUSDT"), "1m", begins_ms - 60_000, begins_ms)
    assert (bar.open, bar.close) == (60_000.0 + (2 * 1_440 - 1) % 50, 60_001.0 + (2 * 1_440 - 1) % 50)
    last_ms = first_ms + 60_000 * minutes
    parts: list[Coroutine[Any, Any, None]] = []
    replace(hosted, shown_until_ms=last_ms).open_market(lambda _, part: parts.append(part))
    moved, kept = parts
    kept.close()
    with pytest.raises(MarketEnded, match=r"history ends.*another --state"):
        await moved
    hosted.close()


def test_a_market_that_the_klines_do_not_reach_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()

    with pytest.raises(KlineFileError, match="BTCUSDT"):
        asyncio.run(_open(VenueOptions(symbols=("BTCUSDT",), klines=tmp_path / "k"), tmp_path / "state"))


async def _open(options: VenueOptions, folder: Path) -> None:
    open_exchange(options, folder)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"quantity": "1e30"}, id="quantity beyond all digits"),
        pytest.param({"price": "1e30"}, id="price beyond all digits"),
        pytest.param({"price": "1e-30"}, id="price below all digits"),
    ],
)
@pytest.mark.parametrize("path", ["/fapi/v1/order", "/api/v3/order"])
async def test_a_number_that_no_exchange_can_hold_is_refused(path: str, wrong: dict[str, str]) -> None:
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "9"}
    async with running_venue(still=True) as venue:
        reply = await venue.signed("POST", path, **{**order, **wrong})

    assert (reply.status, reply.body["code"]) == (400, -1100)


async def test_a_time_that_no_calendar_has_is_refused() -> None:
    async with running_venue() as venue:
        reply = await venue.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1M", startTime=10**17)

    assert (reply.status, reply.body["code"]) == (400, -1100)


async def test_a_signature_of_other_letters_is_only_wrong() -> None:
    async with running_venue() as venue:
        venue.extra_headers["X-MBX-APIKEY"] = venue.key
        reply = await venue.get("/fapi/v3/balance", timestamp=venue.now_ms, signature="ü")

    assert (reply.status, reply.body["code"]) == (400, -1022)


async def test_what_fails_after_the_account_changed_is_told_as_unknown_and_its_fault_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no word for it")

    monkeypatch.setattr(words, "placed", fails)
    async with stage() as at:
        ended: list[Answer] = []
        after = at.venue.venue.floor.faults.after

        async def watched(call: Call, route: Route, answer: Answer) -> Answer:
            ended.append(answer)
            return await after(call, route, answer)

        monkeypatch.setattr(at.venue.venue.floor.faults, "after", watched)
        reply = await at.api("POST", "v1/order", **order_of(price="50000"))
        (kept,) = await at.done("GET", "v1/openOrders")
        told = at.venue.venue.hosted.journal.state()

    assert (reply.status, reply.body["code"]) == (500, -1000)
    assert kept["origQty"] == "0.100"
    assert len(told["order"]) == 1
    assert [answer.status for answer in ended] == [500, 200]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="a client"),
        pytest.param({"Host": "localhost:1"}, 200, id="by name"),
        pytest.param({"Host": "[::1]:1"}, 200, id="by the other loopback"),
        pytest.param({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200, id="the exchange named as origin"),
        pytest.param({"Sec-Fetch-Site": "none"}, 200, id="typed into a browser"),
        pytest.param({"Origin": "https://example.com"}, 403, id="a page"),
        pytest.param({"Origin": "null"}, 403, id="a page of nowhere"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, 403, id="a page's image"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, 403, id="a page on another port"),
        pytest.param({"Host": "example.com"}, 403, id="a name that leads here"),
        pytest.param({"Host": "localhost.example.com:9900"}, 403, id="a name that looks like here"),
        pytest.param(
            {"Host": "example.com:1", "Origin": "http://example.com:1"}, 403, id="a page behind a name that leads here"
        ),
    ],
)
async def test_web_pages_are_not_served(headers: dict[str, str], status: int) -> None:
    async with running_venue() as venue:
        venue.extra_headers.update(headers)
        asked = await venue.get("/fapi/v1/time")
        try:
            async with venue.session.ws_connect(f"{venue.ws}/ws/btcusdt@bookTicker", headers=headers):
                handshake = 200
        except aiohttp.WSServerHandshakeError as refused:
            handshake = refused.status

    assert (asked.status, handshake) == (status, status)


async def test_the_window_of_a_request_is_real_time_at_any_speed() -> None:
    async with running_venue(speed=10) as venue:

        async def sent(real_ms: int) -> int:
            asked = await venue.signed("GET", "/fapi/v3/balance", timestamp=venue.now_ms + real_ms * 10)
            return asked.status

        assert [await sent(real_ms) for real_ms in (900, -3_000, 3_000, -60_000)] == [200, 200, 400, 400]


@pytest.mark.parametrize("error", [None, OSError("no more files")])
async def test_without_its_doors_the_exchange_stops_and_says_why(error: OSError | None) -> None:
    async def doors() -> None:
        if error is not None:
            raise error

    async with running_venue() as venue:
        task = asyncio.get_running_loop().create_task(doors(), name="http venue")
        task.add_done_callback(venue.venue.doors_closed)
        with pytest.raises(VenueProblem, match="http venue"):
            await venue.venue.until_broken(asyncio.Event())


async def test_added_keys_and_listen_keys_outlive_a_restart(tmp_path: Path) -> None:
    async with running_venue(state=tmp_path) as venue:
        listen_key = (await venue.signed("POST", "/fapi/v1/listenKey")).body["listenKey"]
        added = {"action": "add", "key": "second", "secret": "its-secret", "trades_spot": False, "ips": ["127.0.0.1"]}
        async with venue.session.post(f"{venue.url}/admin/keys", json=added) as response:
            assert response.status == 200
        before = venue.venue.floor.keys.all

    async with running_venue(state=tmp_path) as venue:
        kept = await venue.signed("PUT", "/fapi/v1/listenKey")
        venue.key, venue.secret = "second", "its-secret"
        asked = await venue.signed("GET", "/fapi/v3/balance")
        after = venue.venue.floor.keys.all

    assert (kept.status, kept.body["listenKey"], asked.status) == (200, listen_key, 200)
    assert after == before
