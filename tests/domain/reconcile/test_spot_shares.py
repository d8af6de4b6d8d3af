"""Whose coins a person sold by hand."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.reconcile.spot_shares import SpotMoved, spot_shares

D = Decimal
Fill = tuple[str | None, bool, str]


def moved(*fills: tuple[str | None, str]) -> list[SpotMoved]:
    """Of a trade by name, of a stranger ('web'), or of a trade that has ended (None)."""
    return [
        SpotMoved(
            fill_id=f"F{number}",
            qty=D(qty),
            trade_id=None if whose in (None, "web") else whose,
            strangers=whose == "web",
        )
        for number, (whose, qty) in enumerate(fills)
    ]


@pytest.mark.parametrize(
    ("before", "fills", "held", "others", "closed"),
    [
        pytest.param("0", [("A", "2"), ("web", "-2")], "0", "0", {"F1": "2"}, id="all of it is sold by hand"),
        pytest.param("3", [("A", "2"), ("web", "-2")], "2", "1", {}, id="their own first"),
        pytest.param("1", [("A", "2"), ("web", "-2")], "1", "0", {"F1": "1"}, id="their own, then ours"),
        pytest.param(
            "0", [("A", "2"), ("web", "-2"), ("web", "5")], "0", "5", {"F1": "2"}, id="what is bought later is theirs"
        ),
        pytest.param(
            "0", [("A", "2"), ("web", "5"), ("web", "-5")], "2", "0", {}, id="what was bought before is theirs"
        ),
        pytest.param("1", [("A", "2"), ("A", "-2.5")], "0", "0.5", {}, id="an exit that takes dust along"),
        pytest.param("0", [("A", "2"), ("A", "-1"), ("web", "-1")], "0", "0", {"F2": "1"}, id="the rest by hand"),
        pytest.param("1", [("A", "2"), (None, "-1"), ("web", "-1")], "1", "0", {"F2": "1"}, id="an ended trade's own"),
        pytest.param("-1", [("A", "2"), ("web", "-1")], "1", "0", {"F1": "1"}, id="more has left than was sold"),
    ],
)
def test_what_a_person_sells_is_their_own_first(
    before: str, fills: list[tuple[str | None, str]], held: str, others: str, closed: dict[str, str]
) -> None:
    found = spot_shares(D(before), moved(*fills), {"A": {}})

    assert (found.held, found.others) == ({"A": D(held)}, D(others))
    assert found.closed_by == {"A": {name: D(qty) for name, qty in closed.items()}}


def test_of_several_trades_the_oldest_is_closed_first() -> None:
    found = spot_shares(D(0), moved(("A", "2"), ("B", "3"), ("web", "-4")), {"A": {}, "B": {}})

    assert found.held == {"A": 0, "B": D(1)}
    assert found.closed_by == {"A": {"F2": D(2)}, "B": {"F2": D(2)}}


def test_what_is_on_file_as_closed_stays_closed_when_coins_come() -> None:
    """A deposit of 5 after the sale looks as if it had been there before."""
    fills = moved(("A", "2"), ("web", "-2"))

    assert spot_shares(D(5), fills, {"A": {"F1": D(1)}}).closed_by == {"A": {"F1": D(1)}}
    assert spot_shares(D(5), fills, {"A": {}}).closed_by == {"A": {}}


QTY = st.integers(min_value=1, max_value=9).map(D)
STEPS = st.lists(st.tuples(st.sampled_from(["A", "B", "web"]), st.sampled_from([1, -1]), QTY), max_size=12)


@given(before=QTY, steps=STEPS)
def test_no_coin_is_counted_twice_and_looking_again_changes_nothing(
    before: Decimal, steps: list[tuple[str, int, Decimal]]
) -> None:
    wallet, bought, fills = before, {"A": D(0), "B": D(0)}, list[tuple[str | None, str]]()
    for whose, sign, wanted in steps:
        qty = wanted if sign > 0 else min(wanted, wallet, bought.get(whose, wallet))
        if qty <= 0:
            continue
        wallet += sign * qty
        if whose in bought:
            bought[whose] += sign * qty
        fills.append((whose, str(sign * qty)))

    found = spot_shares(before, moved(*fills), {"A": {}, "B": {}})
    again = spot_shares(before, moved(*fills), found.closed_by)

    assert again == found
    assert all(qty >= 0 for qty in found.held.values())
    for name, held in found.held.items():
        assert held <= bought[name]
    assert sum(found.held.values()) + found.others >= wallet
    if not any(whose == "web" and D(qty) < 0 for whose, qty in fills):
        assert found.held == bought
        assert sum(found.held.values()) + found.others == wallet
