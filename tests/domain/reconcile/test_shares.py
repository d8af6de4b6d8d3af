"""Whose a shared position is: the parts add up, and each convention holds."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.reconcile.shares import Moved, Whose, shares

D = Decimal


def moved(order_id: str, whose: Whose, qty: str) -> Moved:
    return Moved(order_id=order_id, whose=whose, qty=D(qty))


@pytest.mark.parametrize(
    ("theirs", "fills", "ours_after", "theirs_after", "others"),
    [
        pytest.param("4", [("e", Whose.ENTRY, "-10")], "-6", "0", {"e": D(4)}, id="an entry nets what is held first"),
        pytest.param("15", [("e", Whose.ENTRY, "-10")], "0", "5", {"e": D(10)}, id="all of it where more is held"),
        pytest.param("4", [("e", Whose.ENTRY, "10")], "10", "4", {"e": D(0)}, id="nothing on the same side"),
        pytest.param(
            "4",
            [("e", Whose.ENTRY, "10"), ("x", Whose.EXIT, "-10")],
            "0",
            "4",
            {"e": D(0), "x": D(0)},
            id="an exit closes the trade",
        ),
        pytest.param(
            "10",
            [("e", Whose.ENTRY, "10"), ("p", Whose.STRANGERS, "-15")],
            "5",
            "0",
            {"e": D(0), "p": D(10)},
            id="a stranger closes their own first",
        ),
        pytest.param(
            "0",
            [("e", Whose.ENTRY, "10"), ("p", Whose.STRANGERS, "-12")],
            "0",
            "-2",
            {"e": D(0), "p": D(2)},
            id="and opens what is left",
        ),
    ],
)
def test_who_closes_what(
    theirs: str, fills: list[tuple[str, Whose, str]], ours_after: str, theirs_after: str, others: dict[str, D]
) -> None:
    found = shares(D(theirs), [moved(*fill) for fill in fills])

    assert (found.ours, found.theirs) == (D(ours_after), D(theirs_after))
    assert found.others == others


quantities = st.integers(-50, 50).filter(bool).map(lambda steps: D(steps) / 1000)
fills = st.lists(st.builds(Moved, order_id=st.sampled_from("abcd"), whose=st.sampled_from(Whose), qty=quantities))


@given(quantities, fills)
def test_the_parts_add_up_to_the_position_and_to_each_order(theirs: Decimal, fills: list[Moved]) -> None:
    found = shares(theirs, fills)

    assert found.ours + found.theirs == theirs + sum((fill.qty for fill in fills), D(0))
    for name in {fill.order_id for fill in fills}:
        filled = sum((abs(fill.qty) for fill in fills if fill.order_id == name), D(0))
        assert found.trades[name] + found.others[name] == filled


@given(quantities, fills)
def test_nobody_holds_against_the_other_while_only_strangers_and_entries_trade(
    theirs: Decimal, fills: list[Moved]
) -> None:
    found = shares(theirs, [fill for fill in fills if fill.whose is not Whose.EXIT])

    assert found.ours * found.theirs >= 0
