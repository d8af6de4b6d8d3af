"""How many virtual days the whole system walks in a second of ours, and what memory it takes over a month.

Start-up and the loading of history are left out: the clock runs from the first market hour to the last.
"""

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table

from chimera.adapters.simulated_venue.ticker import Ticker
from chimera.app.simulated_market import Market, MarketPlan, keys_for
from chimera.contracts.enums import Market as MarketKind
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.listing import listed
from chimera.domain.matching.rules import ExchangeRules
from chimera.runtime.garbage import rarely_collected
from chimera.simulation.bench.rows import BenchOptions, BenchRow
from chimera.simulation.loop import run_virtual
from chimera.simulation.simulator import Setup, simulate

SYMBOLS = ("BTCUSDT", "ETHUSDT")
TWO_FUTURES = tuple(InstrumentKey(MarketKind.FUT, symbol) for symbol in SYMBOLS)
TICKS_PER_MINUTE = 4
SEED = 7
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
BEGIN_MS = 20_000 * DAY_MS
MARKED_DAYS = (1, 10, 20, 30)
BYTES_PER_MB = 1_000_000
PROFILE_ROWS = 40


@dataclass(slots=True)
class _Course:
    """What one run looked like from outside, told by the simulator each market hour."""

    hours: list[tuple[int, int]] = field(default_factory=list)
    """(market ms, our ns)."""
    rss_mb: dict[int, float] = field(default_factory=dict)
    """By day, at its end."""
    documents_mb: float = 0.0
    """What is on file at the end; 0 without a file."""

    def tell(self, at_ms: int) -> None:
        self.hours.append((at_ms, time.perf_counter_ns()))
        day, rest_ms = divmod(at_ms - BEGIN_MS, DAY_MS)
        if rest_ms == 0 and day in MARKED_DAYS:
            self.rss_mb[day] = rss_mb()

    @property
    def days_per_s(self) -> float:
        (first_ms, first_ns), (last_ms, last_ns) = self.hours[0], self.hours[-1]
        return (last_ms - first_ms) / DAY_MS / ((last_ns - first_ns) / 1e9)


def rss_mb() -> float:
    return float(psutil.Process().memory_info().rss) / BYTES_PER_MB


def bench_sim(options: BenchOptions) -> list[BenchRow]:
    """`rate_per_s` is virtual days per second of ours."""
    cases = (
        ("virtual days per second, 2 instruments (BTCUSDT and ETHUSDT futures)", TWO_FUTURES),
        ("virtual days per second, 3 instruments (and BTCUSDT spot, the default)", keys_for(SYMBOLS)),
    )
    rows = []
    for case, keys in cases:
        courses = [_run(keys, options.days) for _ in range(options.runs)]
        rate_per_s = median(course.days_per_s for course in courses)
        rows.append(BenchRow(bench="sim", case=case, n=options.runs, rate_per_s=rate_per_s, rss_mb=rss_mb()))
    if options.profile:
        _show_profile(lambda: _run(TWO_FUTURES, options.days))
    return rows


def bench_memory(options: BenchOptions) -> list[BenchRow]:
    """Resident memory at the end of a day, the same run going on with its documents in a file, as the embedded world
    and a replay have them. How large the file has become stands in a row of its own."""
    days = max(options.days, options.memory_days)
    with tempfile.TemporaryDirectory(prefix="chimera-bench-") as folder:
        course = _run(TWO_FUTURES, days, Path(folder) / "documents.sqlite")
    rows = [
        BenchRow(bench="memory", case=f"2 instruments, day {day}", n=1, rss_mb=at_end)
        for day, at_end in course.rss_mb.items()
    ]
    return [*rows, BenchRow(bench="memory", case="the documents' file, at the end", n=1, rss_mb=course.documents_mb)]


def _run(keys: Sequence[InstrumentKey], days: float, documents_file: Path | None = None) -> _Course:
    end_ms = BEGIN_MS + max(2 * HOUR_MS, int(days * DAY_MS) // HOUR_MS * HOUR_MS)
    plan = MarketPlan.ending_at(SYMBOLS, seed=SEED, start_ms=BEGIN_MS, end_ms=end_ms, targets={})
    market = Market.build(plan, None, ticks_per_minute=TICKS_PER_MINUTE, end_ms=end_ms)
    instruments = tuple(listed(key) for key in keys)
    course = _Course()
    setup = Setup(
        feed=Ticker(market.source, instruments, seed=SEED, ticks_per_minute=TICKS_PER_MINUTE, end_ms=end_ms),
        rules=ExchangeRules(instruments=instruments),
        start_ms=BEGIN_MS,
        end_ms=end_ms,
        seed=SEED,
        progress=course.tell,
        documents_file=documents_file,
    )

    async def run() -> None:
        ended = await simulate(setup)
        await ended.documents.close()

    with rarely_collected():
        run_virtual(run())
    if documents_file is not None:
        course.documents_mb = documents_file.stat().st_size / BYTES_PER_MB
    return course


def _show_profile(run: Callable[[], object]) -> None:
    """Our own functions by the time spent in them and below, on stderr: the rows alone are the bench's output."""
    profile = cProfile.Profile()
    profile.runcall(run)
    table = Table(title="where the time goes (a profiled run, slower by half)", title_justify="left")
    for column in ("cumulative s", "own s", "calls"):
        table.add_column(column, justify="right")
    table.add_column("function")
    ours = [
        (cumulative_s, own_s, calls, _place(Path(file), line, name))
        for (file, line, name), (_, calls, own_s, cumulative_s, _) in _stats_of(profile).items()
        if "chimera" in Path(file).parts
    ]
    for cumulative_s, own_s, calls, place in sorted(ours, reverse=True)[:PROFILE_ROWS]:
        table.add_row(f"{cumulative_s:.3f}", f"{own_s:.3f}", str(calls), place)
    Console(stderr=True).print(table)


_Stat = tuple[int, int, float, float, dict[object, object]]
"""(calls without recursion, calls, own s, cumulative s, callers)."""


def _stats_of(profile: cProfile.Profile) -> dict[tuple[str, int, str], _Stat]:
    return dict(vars(pstats.Stats(profile))["stats"])


def _place(file: Path, line: int, name: str) -> str:
    parts = file.parts
    inside = parts[len(parts) - 1 - parts[::-1].index("chimera") + 1 :]
    return f"{'/'.join(inside)}:{line} {name}"
