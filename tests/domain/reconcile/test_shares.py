"""Whose a shared position is: the parts add up, and each convention holds."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.reconcile.shares import Moved, Whose, shares

D = Decimal


def moved(fill_id: str, whose: Whose, qty: str) -> Moved:
    return Moved(fill_id=fill_id, whose=whose, qty=D(qty))


@pytest.mark.parametrize(
    ("theirs", "fills", "ours_after", "theirs_after", "ours"),
    [
        pytest.param("4", [("e", Whose.ENTRY, "-10")], "-6", "0", {"e": D(6)}, id="an entry nets what is held first"),
        pytest.param("15", [("e", Whose.ENTRY, "-10")], "0", "5", {"e": D(0)}, id="all of it where more is held"),
        pytest.param("4", [("e", Whose.ENTRY, "10")], "10", "4", {"e": D(10)}, id="nothing on the same side"),
        pytest.param(
            "4",
            [("e", Whose.ENTRY, "10"), ("x", Whose.EXIT, "-10")],
            "0",
            "4",
            {"e": D(10), "x": D(10)},
            id="an exit closes the trade",
        ),
        pytest.param(
            "10",
            [("e", Whose.ENTRY, "10"), ("p", Whose.STRANGERS, "-15")],
            "5",
            "0",
            {"e": D(10), "p": D(5)},
            id="a stranger closes their own first",
        ),
        pytest.param(
            "0",
            [("e", Whose.ENTRY, "10"), ("p", Whose.STRANGERS, "-12")],
            "0",
            "-2",
            {"e": D(10), "p": D(10)},
            id="and opens what is left",
        ),
    ],
)
def test_who_closes_what(
    theirs: str, fills: list[tuple[str, Whose, str]], ours_after: str, theirs_after: str, ours: dict[str, D]
) -> None:
    found = shares(D(theirs), [moved(*fill) for fill in fills])

    assert (found.ours, found.theirs) == (D(ours_after), D(theirs_after))
    assert found.trades == ours


quantities = st.integers(-50, 50).filter(bool).map(lambda steps: D(steps) / 1000)
fills = st.lists(st.builds(Moved, fill_id=st.uuids().map(str), whose=st.sampled_from(Whose), qty=quantities))


@given(quantities, fills)
def test_the_parts_add_up_to_the_position(theirs: Decimal, fills: list[Moved]) -> None:
    found = shares(theirs, fills)

    assert found.ours + found.theirs == theirs + sum((fill.qty for fill in fills), D(0))
    assert all(0 <= found.trades[fill.fill_id] <= abs(fill.qty) for fill in fills)


@given(quantities, fills)
def test_nobody_holds_against_the_other_while_only_strangers_and_entries_trade(
    theirs: Decimal, fills: list[Moved]
) -> None:
    found = shares(theirs, [fill for fill in fills if fill.whose is not Whose.EXIT])

    assert found.ours * found.theirs >= 0
