"""What is downloaded is what the exchange had, each part once, and `replay` reads it."""

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web

from chimera.adapters.kline_files import load_klines
from chimera.adapters.market_files import Kind, Part, parts, reaches_ms, write
from chimera.app.download import DownloadOptions, DownloadProblem, DownloadReport, download
from chimera.app.sides import UpProblem
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.days import day_ms
from tests.loopback import free_ports
from tests.venue_server.running import BEGINS_MS, running_venue

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
FIRST = day_ms("2025-05-04")
NOW = FIRST + 3 * DAY + 90 * MINUTE + 30_000
FUT = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")


def bar(open_ms: int) -> list[Any]:
    """A minute as the exchange writes it; its prices are none that a float holds exactly."""
    number = open_ms // MINUTE % 1_000
    price = f"94{number:03}.10"
    low, high, close = f"94{number:03}.00", f"94{number:03}.30", f"94{number:03}.20"
    return [open_ms, price, high, low, close, "12.345", open_ms + MINUTE - 1, "1163042.7", 321, "6.1", "5740.1", "0"]


@dataclass
class Canned:
    """An exchange with one symbol, BTCUSDT, since FIRST. `asked` are the calls for data."""

    url: str = ""
    now_ms: int = NOW
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    fail: Callable[[str], web.Response | None] = lambda path: None
    without: frozenset[int] = frozenset()
    """Minutes that it does not have."""

    def calls(self, of: str) -> int:
        return sum(path.endswith(of) for path, _ in self.asked)

    async def answer(self, request: web.Request) -> web.Response:
        path, query = request.path, dict(request.query)
        if path.endswith("/time"):
            return web.json_response({"serverTime": self.now_ms})
        if path == "/admin/venue":
            return web.json_response({"code": 404, "msg": "no such path"}, status=404)
        if path.endswith("/exchangeInfo"):
            if query.get("symbol", "BTCUSDT") != "BTCUSDT":
                return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
            return web.json_response({"symbols": [{"symbol": "BTCUSDT", "onboardDate": FIRST}]})
        failure = self.fail(path)
        if failure is not None:
            return failure
        self.asked.append((path, query))
        start, end = int(query.get("startTime", 0)), int(query.get("endTime", 1 << 60))
        limit = int(query["limit"])
        if path.endswith("/klines"):
            opens = range(max(FIRST, -(-start // MINUTE) * MINUTE), min(end, self.now_ms) + 1, MINUTE)
            return web.json_response([bar(at) for at in opens if at not in self.without][:limit])
        if path.endswith("/fundingRate"):
            times = range(max(FIRST, start), min(end, self.now_ms) + 1)
            settled = [at for at in range(FIRST, self.now_ms, 8 * HOUR) if at in times]
            return web.json_response([funding(at) for at in settled][:limit])
        if path.endswith("/aggTrades"):
            numbers = range(1, (self.now_ms - FIRST) // 10_000)
            if "fromId" in query:
                found = [trade(number) for number in numbers if number >= int(query["fromId"])]
            else:
                assert end - start < HOUR
                found = [trade(number) for number in numbers if start <= FIRST + number * 10_000 <= end]
            return web.json_response(found[:limit])
        assert path == "/api/v3/k"
        hours = range(int(query["timestamp"]), self.now_ms // 1_000, 3_600)
        return web.json_response([[at, 32.1, 32.4, 32.0, 32.2, 1000.5] for at in hours][:limit])


def funding(at_ms: int) -> dict[str, Any]:
    return {"symbol": "BTCUSDT", "fundingTime": at_ms, "fundingRate": "0.00010000", "markPrice": "94123.40000000"}


def trade(number: int) -> dict[str, Any]:
    ts = FIRST + number * 10_000
    return {"a": number, "p": "94000.10", "q": "0.003", "f": number, "l": number, "T": ts, "m": number % 2 == 0}


@asynccontextmanager
async def canned(**how: Any) -> AsyncIterator[Canned]:
    exchange = Canned(**how)
    app = web.Application()
    app.router.add_get("/{path:.*}", exchange.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_ports()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    exchange.url = f"http://127.0.0.1:{port}"
    try:
        yield exchange
    finally:
        await runner.cleanup()


async def fetch(url: str, out: Path, how: dict[str, Any] | None = None, **more: Any) -> DownloadReport:
    told: dict[str, Any] = {
        "venue": url,
        "symbols": ("BTCUSDT",),
        "markets": ("FUT",),
        "what": ("klines",),
        "start": "2025-05-04",
        "end": "2025-05-06",
        "out": out,
    }
    return await download(DownloadOptions(**(told | (how or {}))), quiet=True, **more)


def names(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


async def test_all_kinds_arrive_as_the_exchange_has_them_and_are_read_back(tmp_path: Path) -> None:
    async with canned() as exchange:
        report = await fetch(
            exchange.url,
            tmp_path,
            {"what": ("klines", "funding", "trades", "twd"), "markets": ("FUT", "SPOT")},
        )

    assert names(tmp_path) == [
        "futures/BTCUSDT-1m-2025-05-04.parquet",
        "futures/BTCUSDT-1m-2025-05-05.parquet",
        "futures/BTCUSDT-aggTrades-2025-05-04.parquet",
        "futures/BTCUSDT-aggTrades-2025-05-05.parquet",
        "futures/BTCUSDT-fundingRate-2025-05.parquet",
        "max/USDTTWD-1h-2025-05.parquet",
        "spot/BTCUSDT-1m-2025-05-04.parquet",
        "spot/BTCUSDT-1m-2025-05-05.parquet",
        "spot/BTCUSDT-aggTrades-2025-05-04.parquet",
        "spot/BTCUSDT-aggTrades-2025-05-05.parquet",
    ]
    assert (report.parts, report.fetched) == (10, 10)
    loaded = load_klines(tmp_path, ("BTCUSDT",))
    wanted = [bar(at) for at in range(FIRST, FIRST + 2 * DAY, MINUTE)]
    for key in (FUT, SPOT):
        bars = loaded.bars[key]
        assert bars.open_time.tolist() == [row[0] for row in wanted]
        for name, at in (("open", 1), ("high", 2), ("low", 3), ("close", 4), ("volume", 5)):
            assert getattr(bars, name).tolist() == [float(row[at]) for row in wanted], name
    rates = loaded.fundings["BTCUSDT"]
    assert [rate.ts for rate in rates] == list(range(FIRST, NOW, 8 * HOUR))
    assert {(rate.rate, rate.interval_h) for rate in rates} == {(0.0001, 8)}
    assert loaded.twd is not None
    assert loaded.twd.start_ms == day_ms("2025-05-01")
    assert any("BTCUSDT-aggTrades-2025-05-04.parquet" in note for note in loaded.notes)
    trades = pl.read_parquet(tmp_path / "futures/BTCUSDT-aggTrades-2025-05-05.parquet")
    assert trades["agg_trade_id"].to_list() == list(range(8_640, 17_280))
    assert trades["is_buyer_maker"].to_list()[:2] == [True, False]


async def test_what_is_finished_is_not_fetched_again(tmp_path: Path) -> None:
    everything = {"what": ("klines", "funding", "trades", "twd")}
    async with canned() as exchange:
        await fetch(exchange.url, tmp_path, everything)
        exchange.asked.clear()

        again = await fetch(exchange.url, tmp_path, everything)

        assert exchange.asked == []
        assert (again.parts, again.fetched) == (6, 0)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="removed"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-20]), id="cut off"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
    ],
)
async def test_a_damaged_part_is_fetched_again_and_no_other(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    async with canned() as exchange:
        await fetch(exchange.url, tmp_path)
        whole = (tmp_path / "futures/BTCUSDT-1m-2025-05-05.parquet").read_bytes()
        damage(tmp_path / "futures/BTCUSDT-1m-2025-05-05.parquet")
        (tmp_path / "futures/BTCUSDT-1m-2025-05-05.parquet.part").write_bytes(b"left by a kill")
        exchange.asked.clear()

        report = await fetch(exchange.url, tmp_path)

    assert (report.parts, report.fetched) == (2, 1)
    assert {query["startTime"][:5] for _, query in exchange.asked} == {str(FIRST + DAY)[:5]}
    assert (tmp_path / "futures/BTCUSDT-1m-2025-05-05.parquet").read_bytes() == whole
    assert len(names(tmp_path)) == 2


async def test_the_running_day_holds_closed_bars_and_grows_with_the_next_run(tmp_path: Path) -> None:
    running = tmp_path / "futures/BTCUSDT-1m-2025-05-07.parquet"
    async with canned() as exchange:
        await fetch(exchange.url, tmp_path, {"end": None})
        assert len(pl.read_parquet(running)) == 90
        exchange.now_ms += 60 * MINUTE
        exchange.asked.clear()

        report = await fetch(exchange.url, tmp_path, {"end": None})

    assert (report.parts, report.fetched) == (4, 1)
    assert len(pl.read_parquet(running)) == 150
    assert load_klines(tmp_path, ("BTCUSDT",)).bars[FUT].open_time[-1] == FIRST + 3 * DAY + 149 * MINUTE


async def test_somebody_s_own_file_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "futures/BTCUSDT-1m-2025-05-04.parquet"
    theirs.parent.mkdir()
    pl.DataFrame({"theirs": [1]}).write_parquet(theirs)
    async with canned() as exchange:
        await fetch(exchange.url, tmp_path)

    assert pl.read_parquet(theirs)["theirs"].to_list() == [1]


async def test_limits_and_failures_are_waited_out(tmp_path: Path) -> None:
    answers = [
        web.json_response({"code": -1003, "msg": "Too many requests."}, status=429, headers={"Retry-After": "1"}),
        web.Response(text="<html>busy</html>", status=502),
    ]
    async with canned(fail=lambda path: answers.pop() if answers else None) as exchange:
        report = await fetch(exchange.url, tmp_path)

    assert (report.parts, report.fetched) == (2, 2)


async def test_the_limits_of_an_exchange_are_kept(tmp_path: Path) -> None:
    async with canned() as exchange:
        await fetch(exchange.url, tmp_path)

    asked = [int(query["limit"]) for path, query in exchange.asked if path.endswith("/klines")]
    assert asked == [1_000, 440, 1_000, 440]


async def test_a_gap_of_the_exchange_is_noted(tmp_path: Path) -> None:
    lost = frozenset(range(FIRST + HOUR, FIRST + 2 * HOUR, MINUTE))
    async with canned(without=lost) as exchange:
        report = await fetch(exchange.url, tmp_path)

    assert report.notes == [
        "BTCUSDT klines FUT: 60 minutes of 2025-05-04 are not there at the exchange; replay needs a period without gaps"
    ]
    assert len(pl.read_parquet(tmp_path / "futures/BTCUSDT-1m-2025-05-04.parquet")) == 1_380


@pytest.mark.parametrize(
    ("how", "says"),
    [
        pytest.param({"symbols": ("BTCUSDTT",)}, "did you mean BTCUSDT?", id="a misspelt symbol"),
        pytest.param({"symbols": ("DOGEUSDT",)}, "lists no DOGEUSDT in FUT", id="an unknown symbol"),
        pytest.param({"start": "2024-01-01", "end": "2024-01-03"}, "(listed since 2025-05-04)", id="before it began"),
        pytest.param({"start": "2031-01-01", "end": None}, "lies in the future", id="in the future"),
        pytest.param({"start": "2025-05-04", "end": "2025-05-04"}, "the day after the last one", id="no day"),
        pytest.param({"start": "4.5.2025"}, "write it as 2025-05-04", id="another way to write a day"),
        pytest.param({"what": ("candles",)}, "klines, funding, trades, twd", id="an unknown kind"),
        pytest.param({"what": ()}, "names nothing", id="no kind"),
        pytest.param({"markets": ("MOON",)}, "no market", id="an unknown market"),
        pytest.param({"what": ("funding",), "markets": ("SPOT",)}, "spot pays none", id="funding of spot"),
        pytest.param({"venue": "sim"}, "nothing to download", id="an exchange without a past"),
    ],
)
async def test_what_cannot_be_had_is_said_with_a_remedy(tmp_path: Path, how: dict[str, Any], says: str) -> None:
    async with canned() as exchange:
        with pytest.raises(DownloadProblem) as problem:
            await fetch(exchange.url, tmp_path, how)

    assert says in str(problem.value)
    assert names(tmp_path) == []


async def test_days_before_the_listing_are_left_out(tmp_path: Path) -> None:
    async with canned() as exchange:
        report = await fetch(exchange.url, tmp_path, {"start": "2025-05-03"})

    assert names(tmp_path) == ["futures/BTCUSDT-1m-2025-05-04.parquet", "futures/BTCUSDT-1m-2025-05-05.parquet"]
    assert report.notes == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(lambda: web.Response(text="<html>", status=503), "cannot be reached", id="no service"),
        pytest.param(
            lambda: web.json_response({"code": -1003, "msg": "banned"}, status=418, headers={"Retry-After": "7200"}),
            "for 120 minutes",
            id="banned",
        ),
        pytest.param(lambda: web.json_response([["x"] * 12]), "what nobody expects", id="nonsense"),
    ],
)
async def test_what_stops_a_download_keeps_what_is_finished(
    tmp_path: Path, answer: Callable[[], web.Response], says: str
) -> None:
    async with canned() as exchange:
        exchange.fail = lambda path: answer() if exchange.calls("/klines") >= 2 else None
        with pytest.raises(DownloadProblem) as problem:
            await fetch(exchange.url, tmp_path, tries=2)
        assert says in str(problem.value)
        assert "what is finished is kept" in str(problem.value)
        assert names(tmp_path) == ["futures/BTCUSDT-1m-2025-05-04.parquet"]
        exchange.fail = lambda path: None

        assert (await fetch(exchange.url, tmp_path)).fetched == 1


async def test_an_address_where_nobody_answers_is_named(tmp_path: Path) -> None:
    with pytest.raises(UpProblem, match="does not answer"):
        await fetch(f"http://127.0.0.1:{free_ports()}", tmp_path)


async def test_a_full_disk_is_named(tmp_path: Path) -> None:
    def full(part: Part, table: pl.DataFrame, until_ms: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with canned() as exchange:
        with pytest.raises(DownloadProblem, match="the disk is full") as problem:
            await fetch(exchange.url, tmp_path, save=full)

    assert "--out" in str(problem.value)


async def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("not a folder")
    async with canned() as exchange:
        with pytest.raises(DownloadProblem, match="cannot be written"):
            await fetch(exchange.url, tmp_path / "out")


def test_a_write_that_fails_leaves_the_old_part_and_nothing_else(tmp_path: Path) -> None:
    [part] = parts(tmp_path, Kind.KLINES, Market.FUT, "BTCUSDT", FIRST, FIRST + DAY)
    write(part, pl.DataFrame({"open_time": [1]}), FIRST + HOUR)
    old = part.path.read_bytes()

    class Broken(pl.DataFrame):
        def write_parquet(self, file: Any, **how: Any) -> None:
            file.write(b"half")
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        write(part, Broken(), part.end_ms)

    assert part.path.read_bytes() == old
    assert reaches_ms(part.path) == FIRST + HOUR
    assert names(tmp_path) == ["futures/BTCUSDT-1m-2025-05-04.parquet"]


def test_months_are_whole_and_follow_each_other_over_a_year(tmp_path: Path) -> None:
    found = list(parts(tmp_path, Kind.FUNDING, Market.FUT, "BTCUSDT", day_ms("2024-11-30"), day_ms("2025-01-02")))

    assert [part.path.stem for part in found] == [
        f"BTCUSDT-fundingRate-{month}" for month in ("2024-11", "2024-12", "2025-01")
    ]
    assert [part.end_ms for part in found] == [day_ms("2024-12-01"), day_ms("2025-01-01"), day_ms("2025-02-01")]
    assert [part.start_ms for part in found][1:] == [part.end_ms for part in found][:-1]


async def test_our_own_exchange_s_past_is_read_back_as_it_was(tmp_path: Path) -> None:
    first_ms = (BEGINS_MS // DAY - 3) * DAY
    start, end = (datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d") for ms in (first_ms, first_ms + 2 * DAY))
    async with running_venue(still=True) as venue:
        await fetch(
            venue.url,
            tmp_path,
            {"start": start, "end": end, "what": ("klines", "funding", "twd"), "markets": ("FUT", "SPOT")},
        )
        feed = venue.venue.floor.host.feed
        source = {key: feed.klines(key, "1m", first_ms, first_ms + 2 * DAY) for key in (FUT, SPOT)}
        settled = feed.fundings("BTCUSDT", first_ms, first_ms + 2 * DAY)

    loaded = load_klines(tmp_path, ("BTCUSDT",))
    for key, bars in source.items():
        read = loaded.bars[key]
        assert read.open_time.tolist() == [each.open_time for each in bars]
        assert len(bars) == 2 * 1_440
        for name in ("open", "high", "low", "close", "volume"):
            # The exchange writes prices and volumes with so many digits.
            assert getattr(read, name).tolist() == pytest.approx([getattr(each, name) for each in bars], rel=1e-4), name
    read_rates = [rate for rate in loaded.fundings["BTCUSDT"] if first_ms <= rate.ts < first_ms + 2 * DAY]
    assert [(rate.ts, rate.rate) for rate in read_rates] == [
        (each.ts, pytest.approx(each.rate, abs=1e-8)) for each in settled
    ]
    assert loaded.twd is not None
