"""Each bench runs, tiny, and says what it should. How long anything takes is not asserted."""

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from chimera.simulation.bench import BENCHES, BenchOptions, BenchRow, BenchVenue, show
from chimera.simulation.bench.crowd import STAGES
from chimera.simulation.bench.rows import Percentiles, row_of_runs

TINY = BenchOptions(
    days=0.1,
    runs=1,
    calls=8,
    rows=100,
    instruments=4,
    rates_per_s=(100,),
    entry_every=2,
    memory_days=1,
    events_s=0.5,
    signals=2_000,
    stored_signals=300,
    poll_ms=100,
    history_days=1,
    recon_orders=400,
    intents=10,
    kills=1,
    entries=1,
)


@pytest.fixture(scope="module")
def rows() -> dict[str, list[BenchRow]]:
    return {name: bench(TINY) for name, bench in BENCHES.items()}


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_yields_rows_that_programs_can_read(name: str, rows: dict[str, list[BenchRow]]) -> None:
    told = [json.loads(json.dumps(row.to_json())) for row in rows[name]]

    assert told
    assert len({row["case"] for row in told}) == len(told)
    for row in told:
        assert row["bench"] == name
        assert row["n"] >= 1
        assert set(row) - {"bench", "case", "n"}, f"{row['case']} says nothing"
        assert all(value >= 0 for figure, value in row.items() if figure not in ("bench", "case"))


def test_everything_that_differed_was_mended(rows: dict[str, list[BenchRow]]) -> None:
    assert [row.success_ratio for row in rows["reconcile"]] == [None, 1.0, None, None]


@pytest.mark.parametrize("name", ["decide", "orders", "tick-to-order"])
def test_every_call_and_every_event_ended_as_wanted(name: str, rows: dict[str, list[BenchRow]]) -> None:
    assert {row.case: row.success_ratio for row in rows[name]} == {row.case: 1.0 for row in rows[name]}


def test_the_same_way_is_measured_over_sockets(rows: dict[str, list[BenchRow]]) -> None:
    over_http = BENCHES["tick-to-order"](replace(TINY, venue=BenchVenue.HTTP))

    assert len(over_http) == len(rows["tick-to-order"]) == 2 * (1 + len(STAGES))
    assert all("over HTTP" in row.case for row in over_http)
    assert [row.success_ratio for row in over_http] == [1.0] * len(over_http)
    assert all(row.p50_ms is not None and row.p95_ms is not None for row in over_http)


def test_rows_are_a_table_for_people(rows: dict[str, list[BenchRow]]) -> None:
    written = StringIO()

    show("decide", rows["decide"], Console(file=written, width=200))

    assert "POST /decide open" in written.getvalue()
    assert "rss_mb" not in written.getvalue(), "a column that no row fills is left out"


def test_several_runs_become_the_median_of_each_figure() -> None:
    row = row_of_runs("b", "c", [[1_000_000], [5_000_000], [3_000_000]], asked=2)

    assert (row.p50_ms, row.success_ratio) == (3.0, 0.5)


def test_percentiles_are_values_that_were_measured() -> None:
    assert Percentiles.of([number * 1_000_000 for number in range(100, 0, -1)]) == Percentiles(
        p50_ms=51.0, p95_ms=96.0, p99_ms=100.0
    )
