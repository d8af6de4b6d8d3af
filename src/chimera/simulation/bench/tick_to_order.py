"""From a book event at the exchange to the order's arrival there, in one process on the system's clock.

The exchange is in process, or behind its server and the connector (`--venue http`): the event then leaves through the
server's stream and the order comes back as a signed call, over sockets of this machine and all on one loop.

One event in `entry_every` is of an instrument that has a signal and is flat, so that it leads to an entry: S1 tells the
book, S2 the features, S3 decides, files and hands over, S4 files and sends. The clock starts when the exchange pushes
the event and stops when it is called with the order. The other events, the orders' fills, their stops and targets and
the closing afterwards are not in the figure, but they run on the same loop, and at a high rate an event waits for them.
"""

from collections.abc import Sequence
from itertools import pairwise

import uvloop

from chimera.simulation.bench.crowd import ARRIVED, BEGIN, STAGES, Crowd, in_process, open_crowd
from chimera.simulation.bench.over_http import over_http
from chimera.simulation.bench.rows import BenchOptions, BenchRow, BenchVenue, row_of_runs

NAME = "tick-to-order"
MS_PER_S = 1_000

Marks = dict[str, int]


def bench(options: BenchOptions) -> list[BenchRow]:
    rows: list[BenchRow] = []
    for durable in (False, True):
        rows += uvloop.run(_measure(options, durable))
    return rows


async def _measure(options: BenchOptions, durable: bool) -> list[BenchRow]:
    rows: list[BenchRow] = []
    where = "durable" if durable else "in memory"
    open_exchange = in_process
    if options.venue is BenchVenue.HTTP:
        where += ", over HTTP"
        open_exchange = over_http
    async with open_crowd(options.instruments, durable=durable, signal=True, open_exchange=open_exchange) as crowd:
        for rate_per_s in options.rates_per_s:
            runs = [await _one_run(crowd, rate_per_s, options.entry_every) for _ in range(options.runs)]
            rows += _rows(f"{rate_per_s}/s {where}", runs, asked=len(crowd.keys))
    return rows


async def _one_run(crowd: Crowd, rate_per_s: int, entry_every: int) -> list[Marks]:
    """Each instrument entered once, events evenly spaced. Returns: the stages of every entry that was sent."""
    clock, watch = crowd.world.clock, crowd.watch
    closed_before = crowd.closed
    began_ms = clock.now_ms()
    for number in range(len(crowd.keys) * entry_every):
        await crowd.until(began_ms + number * MS_PER_S // rate_per_s)
        if number % entry_every:
            crowd.host.apply(crowd.book(crowd.resting[number % len(crowd.resting)]))
            continue
        key = crowd.keys[number // entry_every]
        tick = crowd.book(key)
        watch.start(key.symbol)
        crowd.host.apply(tick)
    await crowd.until_closed(closed_before + len(crowd.keys))
    marks = [each for each in watch.running.values() if ARRIVED in each]
    watch.running = {}
    # S2 tells an instrument once a second at most: the next run begins after that.
    await crowd.until(clock.now_ms() + 2 * MS_PER_S)
    return marks


def _rows(case: str, runs: Sequence[Sequence[Marks]], *, asked: int) -> list[BenchRow]:
    rows = [row_of_runs(NAME, case, [[each[ARRIVED] - each[BEGIN] for each in run] for run in runs], asked=asked)]
    for before, stage in pairwise((BEGIN, *STAGES)):
        taken = [[each[stage] - each[before] for each in run if stage in each and before in each] for run in runs]
        rows.append(row_of_runs(NAME, f"{case}: … {stage}", taken, asked=asked))
    return rows
