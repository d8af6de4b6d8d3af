"""How many market events one core turns into features, and what an instrument costs in memory.

    book        the domain's book alone: a tick is a ticker and a depth event, as S1 sends them
    snapshot    the features of a moment, on a warm book
    ticks       S2 on the memory bus: what S1 publishes is read, kept, told and stored. `cpu_us` of a tick with nobody
                reading and with S2 reading: what S2 takes lies between; `rate_per_s` ticks a second would fill one core
    memory      of an instrument in a warm book
    table       the same factors over a whole history at once; `rate_per_s` is rows of minutes

A warm book has a month of minutes behind it, those of the crowd a day. Ten ticks a second is the most that S1 lets
through (`S1_THROTTLE_MS`).
"""

import gc
import time
import tracemalloc
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from math import sin
from statistics import median

import numpy as np
import uvloop

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.blueprint import still_venue
from chimera.app.worlds import one_process_world
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import DepthEvent, TickerEvent
from chimera.contracts.streams import MKT_DEPTH, MKT_TICKER
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.feature_book import FeatureBook
from chimera.domain.features.table import FeatureHistory, feature_table
from chimera.domain.market.bars import BarSeries
from chimera.domain.market.quotes import Bar
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.runtime.runner import Runner
from chimera.services.s02_features import service as s2
from chimera.services.s02_features.settings import Settings
from chimera.simulation.bench.rows import BenchOptions, BenchRow

NAME = "features"
ENV = "dev"
CROWD = 300
TICKS_PER_S = 10
MINUTE_MS = 60_000
DAY_MS = 86_400_000
BOOKS_WEIGHED = 3
BEGIN_MS = 20_000 * DAY_MS
AGE_MS_MAX = 5_000
MIN_MOVE = 0.0005
SPEED_MAX = 60.0
NS_PER_US = 1e3
NS_PER_S = 1e9
BYTES_PER_MB = 1_000_000


def bench(options: BenchOptions) -> list[BenchRow]:
    crowd = max(2, min(CROWD, options.instruments * 5 // 2))
    ticks = options.calls * 20
    return [
        *_book_rows(crowd, ticks, options),
        *uvloop.run(_service_rows(crowd, options)),
        *_memory_rows(min(crowd, BOOKS_WEIGHED), options.history_days),
        _table_row(options),
    ]


# --- the book alone


def _book_rows(crowd: int, ticks: int, options: BenchOptions) -> list[BenchRow]:
    rows = []
    for symbols in (1, crowd):
        books = [_book() for _ in range(symbols)]
        for book in books:
            _warm(book, days=1)
        rows.append(_timed(f"book, ticks of {symbols} instruments", ticks, options.runs, partial(_tick, books, ticks)))
        rows.append(_timed(f"book, bars of {symbols} instruments", ticks, options.runs, partial(_bars, books, ticks)))
    book = _book()
    _warm(book, days=options.history_days)
    now_ms = BEGIN_MS + options.history_days * DAY_MS
    book.on_depth(now_ms, 65_000.0, 65_000.1, 2.0, 3.0)

    def look(_: int) -> None:
        for _ in range(ticks):
            book.snapshot(now_ms, AGE_MS_MAX)

    rows.append(_timed("snapshot of a warm book", ticks, options.runs, look))
    return rows


def _timed(case: str, count: int, runs: int, do: Callable[[int], None]) -> BenchRow:
    taken_ns = []
    for run in range(runs):
        began_ns = time.process_time_ns()
        do(run)
        taken_ns.append(time.process_time_ns() - began_ns)
    each_ns = max(1.0, median(taken_ns) / count)
    return BenchRow(bench=NAME, case=case, n=count, cpu_us=each_ns / NS_PER_US, rate_per_s=NS_PER_S / each_ns)


def _book() -> FeatureBook:
    return FeatureBook(Market.FUT, CrossMarket(min_move=MIN_MOVE))


def _warm(book: FeatureBook, *, days: int) -> None:
    for number in range(days * 1_440):
        bar = _bar(BEGIN_MS + number * MINUTE_MS)
        book.on_bar(bar)
        book.snapshot(bar.close_time, 0)


def _bar(open_time: int) -> Bar:
    number = open_time // MINUTE_MS
    close = 65_000.0 + 500.0 * sin(number / 97.0) + number * 37 % 113
    return Bar(Market.FUT, "BTCUSDT", "1m", open_time, close, close + 5.0, close - 5.0, close, 3.0)


def _tick(books: Sequence[FeatureBook], ticks: int, run: int) -> None:
    """Each tick of another instrument; each instrument's come ten a second."""
    since = run * ticks
    for number in range(since, since + ticks):
        book = books[number % len(books)]
        ts = BEGIN_MS + DAY_MS + number // len(books) * (1_000 // TICKS_PER_S)
        bid = 65_000.0 + number % 50 * 0.1
        book.on_ticker(ts, bid, bid + 0.1)
        book.on_depth(ts, bid, bid + 0.1, 2.0, 3.0)


def _bars(books: Sequence[FeatureBook], bars: int, run: int) -> None:
    since = run * bars
    for number in range(since, since + bars):
        bar = _bar(BEGIN_MS + DAY_MS + number // len(books) * MINUTE_MS)
        book = books[number % len(books)]
        book.on_bar(bar)
        book.snapshot(bar.close_time, AGE_MS_MAX)


# --- the service


async def _service_rows(crowd: int, options: BenchOptions) -> list[BenchRow]:
    rows = []
    for symbols in (1, crowd):
        keys = tuple(InstrumentKey(Market.FUT, f"B{number:03}USDT") for number in range(symbols))
        # What S2 costs is what lies between the two: subtracted, a lone instrument's would drown in the noise.
        for serve, words in ((False, "nobody reads"), (True, "S2 reads")):
            taken_ns, sent = [], 0
            for _ in range(options.runs):
                each_ns, sent = await _publish(keys, options.events_s, serve=serve)
                taken_ns.append(each_ns / sent)
            rows.append(
                BenchRow(
                    bench=NAME,
                    case=f"ticks of {symbols} instruments, {TICKS_PER_S} a second, {words}",
                    n=sent,
                    cpu_us=median(taken_ns) / NS_PER_US,
                    rate_per_s=NS_PER_S / median(taken_ns),
                )
            )
    return rows


async def _publish(keys: Sequence[InstrumentKey], seconds: float, *, serve: bool) -> tuple[int, int]:
    """The processor time (ns) of so many seconds, and how many ticks were sent in them."""
    # A lone instrument is sped up: fifty ticks would drown in what the machine does besides.
    speed = min(SPEED_MAX, max(1.0, SPEED_MAX / len(keys)))
    clock = LoopClock(BEGIN_MS, speed)
    venue, factor_feed = still_venue(clock)
    world = one_process_world(
        clock=clock,
        randomness=SeededRandomness(0),
        documents=SqliteDocuments.in_loop(),
        venue=venue,
        factor_feed=factor_feed,
        objects=MemoryObjects(),
        peers=LocalPeers(),
    )
    runner = Runner(
        service=s2.build(world, Settings(env=ENV, keys=tuple(keys), lead_key=keys[0])), world=world, env=ENV
    )
    if serve:
        await runner.start()
    streams = [(key, MKT_TICKER.name(ENV, key), MKT_DEPTH.name(ENV, key)) for key in keys]
    rounds = max(1, round(seconds * speed * TICKS_PER_S))
    began_ms, began_ns = clock.now_ms(), time.process_time_ns()
    for number in range(rounds):
        await clock.sleep_until_ms(began_ms + number * 1_000 // TICKS_PER_S)
        await _send(world, streams, number)
    await clock.sleep_until_ms(began_ms + rounds * 1_000 // TICKS_PER_S)
    taken_ns = time.process_time_ns() - began_ns
    if serve:
        await runner.stop()
    return taken_ns, rounds * len(keys)


async def _send(world: World, streams: Sequence[tuple[InstrumentKey, str, str]], number: int) -> None:
    ts = world.clock.now_ms()
    bid = Decimal(650_000 + number % 50) / 10
    ask = bid + Decimal("0.1")
    for key, ticker, depth in streams:
        await world.bus.publish(
            ticker, TickerEvent(ts=ts, market=key.market, symbol=key.symbol, last=bid, bid=bid, ask=ask)
        )
        await world.bus.publish(
            depth,
            DepthEvent(
                ts=ts, market=key.market, symbol=key.symbol, best_bid=(bid, Decimal(2)), best_ask=(ask, Decimal(3))
            ),
        )


# --- memory


def _memory_rows(books: int, days: int) -> list[BenchRow]:
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = []
    for _ in range(books):
        kept.append(_book())
        _warm(kept[-1], days=days)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    each_mb = (after - before) / len(kept) / BYTES_PER_MB
    return [BenchRow(bench=NAME, case=f"memory of an instrument's warm book, {days} days", n=len(kept), rss_mb=each_mb)]


# --- a whole history at once


def _table_row(options: BenchOptions) -> BenchRow:
    count = options.history_days * 1_440
    bars = [_bar(BEGIN_MS + number * MINUTE_MS) for number in range(count)]
    minutes = BarSeries(
        interval="1m",
        open_time=np.array([bar.open_time for bar in bars], dtype=np.int64),
        open=np.array([bar.open for bar in bars]),
        high=np.array([bar.high for bar in bars]),
        low=np.array([bar.low for bar in bars]),
        close=np.array([bar.close for bar in bars]),
        volume=np.array([bar.volume for bar in bars]),
    )
    history = FeatureHistory(market=Market.FUT, minutes=minutes, lead=minutes)
    at = minutes.open_time + MINUTE_MS

    def fill(_: int) -> None:
        feature_table(history, at, max_age_ms=AGE_MS_MAX, min_move=MIN_MOVE)

    return _timed(f"table of {options.history_days} days", count, options.runs, fill)
