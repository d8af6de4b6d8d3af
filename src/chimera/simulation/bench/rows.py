"""What a bench says: rows of figures, for people as a table and for programs as one object a line.

Owns the words of a row and how several runs become one figure (the median of each). Measures nothing itself.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

NS_PER_MS = 1e6


class BenchVenue(StrEnum):
    SIM = "sim"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """How much is measured. The first three are a person's to choose; the rest makes a bench small in a test.

    Attributes:
        days: Virtual days of one run of `sim`; of `memory` at least `memory_days`.
        profile: `sim` also prints where the time goes, on stderr.
        venue: Of `tick-to-order`: in process, or over sockets.
        runs: Every figure is the median of so many runs.
        calls: Consecutive decisions of one run of `decide`, orders of one of `venue`.
        rows: Moments of a table that is decided at once, in `decide`.
        instruments: Entries of one run of `tick-to-order`, each of another symbol.
        history_days: Of minutes that a warm book of `features` has behind it.
        rates_per_s: Events a second in `tick-to-order`.
        events_s: Seconds of one run over market events.
        signals: Of `dryrun`, in columns. `stored_signals`: of one run from documents.
        poll_ms: How often the readers of `config` look by themselves.
        recon_orders: Of one comparison in `reconcile`, each with a fill.
        intents: Of one run of `orders`.
        kills: Of `recovery`, with so many `entries` before each.
        entry_every: One event in so many leads to an entry there; the others are of symbols that may not be entered.
    """

    days: float = 3.0
    profile: bool = False
    venue: BenchVenue = BenchVenue.SIM
    runs: int = 3
    calls: int = 1_000
    rows: int = 1_000_000
    instruments: int = 120
    rates_per_s: tuple[int, ...] = (50, 200)
    entry_every: int = 5
    memory_days: int = 30
    history_days: int = 31
    events_s: float = 5.0
    signals: int = 1_000_000
    stored_signals: int = 50_000
    poll_ms: int = 5_000
    recon_orders: int = 10_000
    intents: int = 1_000
    kills: int = 10
    entries: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One case. A figure that does not apply is None and is left out. `n` counts what one run measured."""

    bench: str
    case: str
    n: int
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None
    rate_per_s: float | None = None
    success_ratio: float | None = None
    rss_mb: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, taken_ns: Sequence[int]) -> "Percentiles":
        """Of one run. Nearest rank; at least one value."""
        ordered = sorted(taken_ns)

        def at(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / NS_PER_MS

        return cls(p50_ms=at(0.50), p95_ms=at(0.95), p99_ms=at(0.99))


def row_of_runs(bench: str, case: str, runs: Sequence[Sequence[int]], *, asked: int) -> BenchRow:
    """One row from the durations of several runs, each in ns. `asked`: how many one run tried; some may have failed."""
    each = [Percentiles.of(run) for run in runs if run]
    return BenchRow(
        bench=bench,
        case=case,
        n=asked,
        p50_ms=median(one.p50_ms for one in each) if each else None,
        p95_ms=median(one.p95_ms for one in each) if each else None,
        p99_ms=median(one.p99_ms for one in each) if each else None,
        success_ratio=median(len(run) / asked for run in runs),
    )


def show(name: str, rows: Sequence[BenchRow], console: Console) -> None:
    """The rows as a table; columns that no row fills are left out."""
    figures = ("p50_ms", "p95_ms", "p99_ms", "cpu_us", "rate_per_s", "success_ratio", "rss_mb")
    used = [figure for figure in figures if any(getattr(row, figure) is not None for row in rows)]
    table = Table(title=f"chimera bench {name}", title_justify="left")
    table.add_column("case")
    for column in ("n", *used):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(row.case, str(row.n), *(_shown(getattr(row, figure)) for figure in used))
    console.print(table)


def _shown(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.4g}"
