"""Every fault of the table at every step of the flows where it can occur; after each of them all invariants hold.

Here a quick cut: each fault twice, in flows and at steps that take turns. `make prove` does every cell.
"""

import pytest

from chimera.services.s04_router.handlers import outlook
from tests.prove.faults import NUMBERS, ROWS
from tests.prove.flows import FLOWS
from tests.prove.matrix import Orderly, Point, all_cells, orderly, quick_cells, strike, table, unexplained

QUICK_FLOWS = ("taker", "maker and TWAP", "ladder", "flatten", "spot pair", "guard")


@pytest.fixture(scope="module")
def runs() -> dict[str, Orderly]:
    return {name: orderly(name) for name in FLOWS}


def test_every_fault_has_a_row() -> None:
    assert {row.number for row in ROWS} == NUMBERS
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_flows_take_every_step(runs: dict[str, Orderly]) -> None:
    assert {point for run in runs.values() for point in run.points} == set(Point)


def test_where_a_fault_cannot_occur_a_rule_says_why(runs: dict[str, Orderly]) -> None:
    assert unexplained(table(runs, [])) == []
    reachable = {row for _, row, _ in all_cells(runs)}
    never = {row.number for row in ROWS if row.name not in reachable}
    # Bytes of a batch or of a book's differences, transfers and bars: none of them passes here.
    assert never == {24, 25, 33, 36}


@pytest.mark.timeout(900)
def test_a_fault_at_a_step_breaks_nothing(runs: dict[str, Orderly]) -> None:
    cells = quick_cells({name: runs[name] for name in QUICK_FLOWS})

    struck = [strike(cell) for cell in cells]

    assert [each.wrong for each in struck if each.wrong] == []
    assert [each.cell for each in struck if not each.hit] == []
    assert {row for _, row, _ in cells} == {row for _, row, _ in all_cells(runs)}


@pytest.mark.parametrize("row", ["67 KILL_PULLED", "67 TURNED_RED", "67 BREAKER_OPENED"])
def test_a_slice_that_leaves_while_entries_are_forbidden_would_be_seen(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = ("TWAP", row, Point.FILL)
    assert strike(cell).wrong is None
    monkeypatch.setattr(outlook, "forbidden", lambda _: None)

    wrong = strike(cell).wrong

    assert wrong is not None
    assert "'I6'" in wrong
