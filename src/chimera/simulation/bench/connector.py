"""What the Binance connector costs: processor time for an order call and for a market event, beside other clients.

The exchange's server runs as a process of its own, so what is measured here is the client alone: processor time of this
process, divided by what was done. The references run in the same run against the same server:

    hand-written HTTP      a request written and an answer read on a raw connection: what nobody can be below
    signed aiohttp         the same by the HTTP library that the connector uses
    ccxt                   the client that most others use; measured where it is installed (a development dependency)

`reconnects` closes every connection again and again, as fast as they come back, and tells the memory before and after.
"""

import asyncio
import gc
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from importlib.util import find_spec
from statistics import median
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
import psutil
import uvloop

from chimera.adapters.binance.hosts import local
from chimera.adapters.binance.market_streams import MarketStreams
from chimera.adapters.binance.signing import HmacSigner
from chimera.adapters.binance.venue import BinanceVenue, create_venue
from chimera.adapters.binance.ws import ConnectGate, SocketLimits
from chimera.adapters.chance import SystemRandomness
from chimera.adapters.clocks import LoopClock, wall_ms
from chimera.app.remote import LOCAL_KEY, LOCAL_SECRET
from chimera.contracts.enums import Market, OrderType, Side, TimeInForce
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import NewOrder
from chimera.simulation.bench.rows import BenchOptions, BenchRow
from chimera.simulation.bench.venue import FLOOD_TICKS_PER_MINUTE, SYMBOLS, request_of, served, until

NAME = "connector"
PRICE = "40000.0"
RECONNECTS = 360
KEYS = tuple(InstrumentKey(Market.FUT, symbol) for symbol in SYMBOLS.split(","))

Call = Callable[[int], Awaitable[None]]


def bench(options: BenchOptions) -> list[BenchRow]:
    rows: list[BenchRow] = []
    with served() as (port, _):
        rows += uvloop.run(_orders(port, options))
    with served("--ticks-per-minute", str(FLOOD_TICKS_PER_MINUTE)) as (port, _):
        rows += uvloop.run(_events(port, options))
    with served() as (port, _):
        rows.append(uvloop.run(_reconnects(port)))
    return rows


async def _orders(port: int, options: BenchOptions) -> list[BenchRow]:
    rows = []
    async with AsyncExitStack() as stack:
        venue = await _connector(port, stack)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stack.callback(writer.close)
        calls: list[tuple[str, Call]] = [
            ("order: hand-written HTTP", lambda number: _raw(reader, writer, number)),
            ("order: signed aiohttp", lambda number: _plain(session, port, number)),
            ("order: connector", lambda number: _ours(venue, number)),
        ]
        if find_spec("ccxt"):
            calls.append(("order: ccxt", await _ccxt(port, stack)))
        for case, call in calls:
            runs = [await _timed(call, options.calls, first) for first in _firsts(options)]
            rows.append(
                BenchRow(
                    bench=NAME,
                    case=case,
                    n=options.calls,
                    p50_ms=median(wall for wall, _ in runs),
                    cpu_us=median(cpu for _, cpu in runs),
                )
            )
    return rows


def _firsts(options: BenchOptions) -> range:
    return range(0, options.calls * options.runs, options.calls)


async def _timed(call: Call, count: int, first: int) -> tuple[float, float]:
    """Median wall ms, and processor µs, of one call."""
    walls = []
    cpu_before = time.process_time_ns()
    for number in range(first, first + count):
        began_ns = time.perf_counter_ns()
        await call(number)
        walls.append(time.perf_counter_ns() - began_ns)
    cpu_us = (time.process_time_ns() - cpu_before) / 1e3 / count
    return median(walls) / 1e6, cpu_us


def _params(name: str) -> dict[str, str]:
    return {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "IOC",
        "quantity": "0.010",
        "price": PRICE,
        "newClientOrderId": name,
    }


async def _raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(request_of("POST", _params(f"raw-{number}"), wall_ms()))
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    orjson.loads(await reader.readexactly(length))
    assert head[9:12] == b"200", head


async def _plain(session: aiohttp.ClientSession, port: int, number: int) -> None:
    text = urlencode(_params(f"plain-{number}")) + f"&recvWindow=60000&timestamp={wall_ms()}"
    signature = hmac.new(LOCAL_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    url = f"http://127.0.0.1:{port}/fapi/v1/order?{text}&signature={signature}"
    async with session.post(url, headers={"X-MBX-APIKEY": LOCAL_KEY}) as answer:
        orjson.loads(await answer.read())
        assert answer.status == 200, answer


async def _ours(venue: BinanceVenue, number: int) -> None:
    await venue.place(
        NewOrder(
            client_order_id=f"ours-{number}",
            market=Market.FUT,
            symbol="BTCUSDT",
            side=Side.BUY,
            type=OrderType.LIMIT,
            qty=Decimal("0.010"),
            price=Decimal(PRICE),
            time_in_force=TimeInForce.IOC,
        )
    )


async def _connector(port: int, stack: AsyncExitStack) -> BinanceVenue:
    signer = HmacSigner(LOCAL_KEY, LOCAL_SECRET)
    venue = create_venue(
        name="bench",
        hosts=local(f"http://127.0.0.1:{port}"),
        clock=LoopClock(wall_ms()),
        randomness=SystemRandomness(),
        snapshots=None,
        signer_futures=signer,
        signer_spot=signer,
    )
    stack.push_async_callback(venue.close)
    await venue.open()
    await venue.instruments()  # and with them the limits, which this server has raised
    return venue


async def _ccxt(port: int, stack: AsyncExitStack) -> Call:
    exchange = _ccxt_client(port)
    stack.push_async_callback(exchange.close)
    await exchange.load_markets()

    async def call(number: int) -> None:
        await exchange.create_order(
            "BTC/USDT:USDT",
            "limit",
            "buy",
            0.010,
            float(PRICE),
            {"clientOrderId": f"ccxt-{number}", "timeInForce": "IOC", "recvWindow": 60_000},
        )

    return call


def _ccxt_client(port: int) -> Any:
    import ccxt.pro

    exchange = ccxt.pro.binanceusdm(
        {
            "apiKey": LOCAL_KEY,
            "secret": LOCAL_SECRET,
            "enableRateLimit": False,
            "options": {"fetchCurrencies": False, "fetchMargins": False},
        }
    )
    exchange.urls["api"] = _moved(exchange.urls["api"], port)
    return exchange


def _moved(urls: Any, port: int) -> Any:
    """Every address of the client on this machine, paths kept."""
    if isinstance(urls, dict):
        return {name: _moved(url, port) for name, url in urls.items()}
    scheme, _, rest = str(urls).partition("://")
    path = rest.partition("/")[2]
    return f"{'ws' if scheme.startswith('ws') else 'http'}://127.0.0.1:{port}/{path}"


async def _events(port: int, options: BenchOptions) -> list[BenchRow]:
    rows = []
    runs = [await _our_events(port, options.events_s) for _ in range(options.runs)]
    rows.append(_event_row("market event: connector", runs))
    if find_spec("ccxt"):
        runs = [await _ccxt_events(port, options.events_s) for _ in range(options.runs)]
        rows.append(_event_row("market event: ccxt", runs))
    return rows


def _event_row(case: str, runs: Sequence[tuple[int, float, float]]) -> BenchRow:
    return BenchRow(
        bench=NAME,
        case=case,
        n=int(median(count for count, _, _ in runs)),
        cpu_us=median(cpu_s * 1e6 / max(count, 1) for count, _, cpu_s in runs),
        rate_per_s=median(count / wall_s for count, wall_s, _ in runs),
    )


async def _our_events(port: int, seconds: float) -> tuple[int, float, float]:
    """Raw events heard, wall and processor seconds. The tops that leave are coalesced; what is counted came in."""
    async with AsyncExitStack() as stack:
        venue = await _connector(port, stack)
        streams = venue.market_source
        assert isinstance(streams, MarketStreams)

        async def read() -> None:
            async for _ in streams.events(KEYS):
                pass

        return await _count(read, lambda: streams.heard, seconds)


async def _ccxt_events(port: int, seconds: float) -> tuple[int, float, float]:
    """The same streams: best prices and depth of the same instruments."""
    async with AsyncExitStack() as stack:
        exchange = _ccxt_client(port)
        stack.push_async_callback(exchange.close)
        await exchange.load_markets()
        heard = 0
        handle = exchange.handle_message

        def counted(client: Any, message: Any) -> None:
            nonlocal heard
            heard += 1
            handle(client, message)

        exchange.handle_message = counted
        symbols = [f"{key.symbol.removesuffix('USDT')}/USDT:USDT" for key in KEYS]

        async def read() -> None:
            async def tops() -> None:
                while True:
                    await exchange.watch_bids_asks(symbols)

            async def books() -> None:
                while True:
                    await exchange.watch_order_book_for_symbols(symbols)

            await asyncio.gather(tops(), books())

        return await _count(read, lambda: heard, seconds)


async def _count(
    read: Callable[[], Awaitable[None]], heard: Callable[[], int], seconds: float
) -> tuple[int, float, float]:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(read())
    try:
        await until(loop.time() + 2.0)
        before, cpu_before, began_ns = heard(), time.process_time_ns(), time.perf_counter_ns()
        await until(loop.time() + seconds)
        count = heard() - before
        return count, (time.perf_counter_ns() - began_ns) / 1e9, (time.process_time_ns() - cpu_before) / 1e9
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _reconnects(port: int) -> BenchRow:
    """RSS after so many reconnects of every market connection, and how much more than before the last nine tenths."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        venue = await _connector(port, stack)
        clock = venue.rest.clock
        streams = MarketStreams(
            futures_ws=f"ws://127.0.0.1:{port}",
            spot_ws="",
            session=session,
            clock=clock,
            randomness=SystemRandomness(),
            gate=ConnectGate(clock, most=100_000),
            snapshot=venue.depth,
            klines=venue.klines,
            last_price=venue.last_price,
            interval_h=venue.futures.interval_h,
            limits=SocketLimits(backoff_first_ms=1, backoff_max_ms=2, overlap_ms=1),
        )

        async def read() -> None:
            async for _ in streams.events(KEYS):
                pass

        task = asyncio.ensure_future(read())
        process, loop = psutil.Process(), asyncio.get_running_loop()
        began_ns, early_mb = time.perf_counter_ns(), 0.0
        for number in range(RECONNECTS):
            async with session.post(
                f"http://127.0.0.1:{port}/admin/faults",
                data=orjson.dumps({"kind": "STREAM_CLOSED", "in_ms": 0, "params": {"streams": "market"}}),
            ) as answer:
                assert answer.status == 200, await answer.text()
            await until(loop.time() + 0.05)
            if number == RECONNECTS // 10:
                gc.collect()
                early_mb = process.memory_info().rss / 1e6
        wall_s = (time.perf_counter_ns() - began_ns) / 1e9
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        gc.collect()
        rss_mb = process.memory_info().rss / 1e6
        return BenchRow(
            bench=NAME,
            case=f"{RECONNECTS} reconnects; {rss_mb - early_mb:+.1f} MB since the first tenth",
            n=RECONNECTS,
            rate_per_s=RECONNECTS / wall_s,
            rss_mb=rss_mb,
        )
