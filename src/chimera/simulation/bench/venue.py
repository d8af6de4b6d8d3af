"""What `chimera venue` sustains: orders a second and market events a second, and what of one core they take.

The server is a process of its own; the client is this one and speaks raw HTTP on kept connections, signed beforehand,
so that as little as possible of the other core is its own. `rate_per_s` is what was reached; `per core` is what the
server's own CPU time says it could do with a whole core: the two together tell a slow server from a slow client.
"""

import asyncio
import hashlib
import hmac
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from urllib.parse import urlencode

import aiohttp
import psutil
import uvloop

from chimera.app.remote import LOCAL_KEY, LOCAL_SECRET
from chimera.simulation.bench.ports import free_port
from chimera.simulation.bench.rows import BenchOptions, BenchRow, Percentiles

NAME = "venue"
CONNECTIONS = 8
SYMBOLS = "BTCUSDT,ETHUSDT,SOLUSDT"
OPENS_WITHIN_S = 30.0
FLOOD_TICKS_PER_MINUTE = 60_000
"""A thousand ticks a second, each with a book, a depth change, a trade and a mark of every instrument."""

EVENTS = "market events, one client, all streams"
CPU_STEP_S = 0.01
"""The kernel counts the time of another process in steps of this; a run that is too short for one is no faster."""


class NoServer(Exception):
    """The exchange's process did not open."""


@contextmanager
def served(*words: str) -> Iterator[tuple[int, psutil.Process]]:
    """`chimera venue` with these options: its port and its process."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "chimera", "venue", "--port", str(port), "--symbols", SYMBOLS),
            *("--limit-scale", "1000000", "--fut-usdt", "100000000", *words),
        ],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        _wait(port, process)
        yield port, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    from http.client import HTTPConnection

    until_s = time.perf_counter() + OPENS_WITHIN_S
    while time.perf_counter() < until_s:
        if process.poll() is not None:
            raise NoServer(f"the exchange ended with {process.returncode}")
        connection = HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/fapi/v1/time")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pause(0.05)
        finally:
            connection.close()
    raise NoServer(f"the exchange did not open within {OPENS_WITHIN_S:g} s")


def pause(seconds: float) -> None:
    """In a process that only waits for others."""
    import threading

    threading.Event().wait(seconds)


def bench(options: BenchOptions) -> list[BenchRow]:
    rows: list[BenchRow] = []
    with served() as (port, process):
        for case, connections in (("order, one connection", 1), (f"orders, {CONNECTIONS} connections", CONNECTIONS)):
            runs = [uvloop.run(_orders(port, process, connections, options.calls)) for _ in range(options.runs)]
            rows += _order_rows(case, runs, options.calls)
    with served("--ticks-per-minute", str(FLOOD_TICKS_PER_MINUTE)) as (port, process):
        events = [uvloop.run(_events(port, process, options.events_s)) for _ in range(options.runs)]
    rows.append(
        BenchRow(
            bench=NAME,
            case=EVENTS,
            n=int(median(count for count, _, _ in events)),
            rate_per_s=median(count / wall_s for count, wall_s, _ in events),
        )
    )
    rows.append(
        BenchRow(
            bench=NAME,
            case=f"{EVENTS}: … per core",
            n=int(median(count for count, _, _ in events)),
            rate_per_s=median(count / max(cpu_s, CPU_STEP_S) for count, _, cpu_s in events),
        )
    )
    return rows


Run = tuple[list[int], float, float]
"""Durations in ns, wall seconds, CPU seconds of the server."""


def _order_rows(case: str, runs: list[Run], asked: int) -> list[BenchRow]:
    each = [Percentiles.of(taken) for taken, _, _ in runs]
    return [
        BenchRow(
            bench=NAME,
            case=case,
            n=asked,
            p50_ms=median(one.p50_ms for one in each),
            p95_ms=median(one.p95_ms for one in each),
            p99_ms=median(one.p99_ms for one in each),
            rate_per_s=median(len(taken) / wall_s for taken, wall_s, _ in runs),
            success_ratio=median(len(taken) / asked for taken, _, _ in runs),
        ),
        BenchRow(
            bench=NAME,
            case=f"{case}: … per core",
            n=asked,
            rate_per_s=median(len(taken) / max(cpu_s, CPU_STEP_S) for taken, _, cpu_s in runs),
        ),
    ]


async def _orders(port: int, process: psutil.Process, connections: int, count: int) -> Run:
    """Post-only orders far from the market, each canceled again; only the order is timed."""
    began_ms = await _server_ms(port)
    began_ns = time.perf_counter_ns()
    cpu_before = sum(process.cpu_times()[:2])
    done = await asyncio.gather(
        *(_trader(port, began_ms, began_ns, number, count // connections) for number in range(connections))
    )
    wall_s = (time.perf_counter_ns() - began_ns) / 1e9
    cpu_s = sum(process.cpu_times()[:2]) - cpu_before
    taken = [each for trader in done for each in trader]
    # Half of the calls were cancels: they are part of the wall time and of the work.
    return taken, wall_s / 2, cpu_s / 2


async def _trader(port: int, began_ms: int, began_ns: int, number: int, count: int) -> list[int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = []
    for at in range(count):
        now_ms = began_ms + (time.perf_counter_ns() - began_ns) // 1_000_000
        name = f"b-{began_ns % 10**9}-{number}-{at}"
        order = {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTX",
            "quantity": "0.010",
            "price": "40000.0",
            "newClientOrderId": name,
        }
        request = request_of("POST", order, now_ms)
        sent_ns = time.perf_counter_ns()
        writer.write(request)
        status = await _status(reader)
        took_ns = time.perf_counter_ns() - sent_ns
        if status == 200:
            taken.append(took_ns)
        writer.write(request_of("DELETE", {"symbol": "BTCUSDT", "origClientOrderId": name}, now_ms))
        await _status(reader)
    writer.close()
    return taken


def request_of(method: str, params: dict[str, str], now_ms: int) -> bytes:
    text = urlencode(params) + f"&recvWindow=60000&timestamp={now_ms}"
    signature = hmac.new(LOCAL_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    return (
        f"{method} /fapi/v1/order?{text}&signature={signature} HTTP/1.1\r\nhost: localhost\r\n"
        f"x-mbx-apikey: {LOCAL_KEY}\r\ncontent-length: 0\r\n\r\n"
    ).encode()


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head[9:12])


async def _server_ms(port: int) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/fapi/v1/time") as answer:
        told = await answer.json()
        return int(told["serverTime"])


async def _events(port: int, process: psutil.Process, seconds: float) -> tuple[int, float, float]:
    """Messages received, wall seconds, CPU seconds of the server."""
    symbols = [symbol.lower() for symbol in SYMBOLS.split(",")]
    paths = tuple(
        f"/{group}/stream?streams=" + "/".join(f"{symbol}@{stream}" for symbol in symbols for stream in streams)
        for group, streams in (("public", ("bookTicker", "depth@0ms")), ("market", ("aggTrade", "kline_1m")))
    )
    counts = [0, 0]
    async with aiohttp.ClientSession() as session:

        async def listen(index: int) -> None:
            async with session.ws_connect(f"ws://127.0.0.1:{port}{paths[index]}", max_msg_size=0) as socket:
                async for _ in socket:
                    counts[index] += 1

        tasks = [asyncio.ensure_future(listen(index)) for index in range(len(paths))]
        loop = asyncio.get_running_loop()
        await until(loop.time() + 1.0)
        before, cpu_before, began_ns = sum(counts), sum(process.cpu_times()[:2]), time.perf_counter_ns()
        await until(loop.time() + seconds)
        count, wall_s = sum(counts) - before, (time.perf_counter_ns() - began_ns) / 1e9
        cpu_s = sum(process.cpu_times()[:2]) - cpu_before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return count, wall_s, cpu_s


async def until(loop_s: float) -> None:
    loop = asyncio.get_running_loop()
    passed: asyncio.Future[None] = loop.create_future()
    loop.call_at(loop_s, passed.set_result, None)
    await passed
