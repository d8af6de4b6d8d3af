"""Whose coins a person sold by hand."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.documents import CountedUntil, SpotSettled
from chimera.domain.reconcile.spot_shares import SpotMoved, SpotShares, spot_shares

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


def possible(
    wallet: Decimal, steps: list[tuple[str, int, Decimal]], bought: dict[str, Decimal] | None = None
) -> tuple[Decimal, dict[str, Decimal], list[tuple[str | None, str]]]:
    """The wallet, what each trade's own orders left of it, and the fills: nobody sells what is not there."""
    bought, fills = dict(bought or {"A": D(0), "B": D(0)}), list[tuple[str | None, str]]()
    for whose, sign, wanted in steps:
        qty = wanted if sign > 0 else min(wanted, wallet, bought.get(whose, wallet))
        if qty <= 0:
            continue
        wallet += sign * qty
        if whose in bought:
            bought[whose] += sign * qty
        fills.append((whose, str(sign * qty)))
    return wallet, bought, fills


@given(before=QTY, steps=STEPS)
def test_no_coin_is_counted_twice_and_looking_again_changes_nothing(
    before: Decimal, steps: list[tuple[str, int, Decimal]]
) -> None:
    wallet, bought, fills = possible(before, steps)

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


def settled_by(found: SpotShares) -> SpotSettled:
    return SpotSettled(until=CountedUntil(), held=dict(found.held), others=found.others, short=found.short)


def then(fills: list[SpotMoved], number: int) -> list[SpotMoved]:
    """The same fills, when the first `number` of them are settled."""
    return [replace(fill, settled=place < number) for place, fill in enumerate(fills)]


BOTH: dict[str, dict[str, Decimal]] = {"A": {}, "B": {}}


@pytest.mark.parametrize(
    ("left", "later", "held", "others", "short"),
    [
        pytest.param("4.5", [], "2", "0.5", "0", id="a withdrawal of their own"),
        pytest.param("4.5", ["0.1"], "2", "0.6", "0", id="and a little bought"),
        pytest.param("6", [], "2", "0", "1", id="more than their own was withdrawn"),
        pytest.param("6", ["4"], "2", "3", "0", id="and bought again before anybody looked"),
        pytest.param("4.5", ["-1"], "1.5", "0", "0", id="a sale after it takes ours"),
        pytest.param("4.5", ["-4", "4"], "2", "0.5", "0", id="sold, bought and withdrawn while nobody looked"),
        pytest.param("-9", ["-13"], "2", "1", "0", id="a deposit, sold"),
    ],
)
def test_what_was_settled_as_theirs_stays_theirs_when_coins_leave(
    left: str, later: list[str], held: str, others: str, short: str
) -> None:
    """Of 5 others held all along, 4 were sold and bought again."""
    old = moved(("A", "2"), ("web", "-4"), ("web", "4"))
    first = spot_shares(D(5), old, {"A": {}})
    assert (first.held, first.others, first.short) == ({"A": D(2)}, D(5), D(0))
    fills = moved(("A", "2"), ("web", "-4"), ("web", "4"), *(("web", qty) for qty in later))

    found = spot_shares(D(5) - D(left), then(fills, 3), {"A": {}}, settled_by(first))

    assert (found.held, found.others, found.short) == ({"A": D(held)}, D(others), D(short))
    assert "F1" not in found.closed_by["A"]


def test_what_a_person_buys_and_sells_beside_withdrawn_coins_is_their_own_whenever_anybody_looks() -> None:
    history = [("A", "2"), *[("web", "3"), ("web", "-3")] * 3]
    found = spot_shares(D(-1), moved(*history[:1]), {"A": {}})
    for number in range(2, len(history) + 1):
        fills = then(moved(*history[:number]), number - 1)
        found = spot_shares(D(-1), fills, found.closed_by, settled_by(found))
        assert (found.held, found.short) == ({"A": D(2)}, D(1))


def test_the_coins_of_a_trade_that_has_ended_since_leave_with_its_own_exit() -> None:
    """They do not stand for those of the other trade that are missing."""
    settled = SpotSettled(until=CountedUntil(), held={"A": D(2), "B": D(3)}, others=D(1), short=D(2))
    fills = then(moved((None, "2"), ("B", "3"), (None, "-2"), ("web", "-1")), 2)

    found = spot_shares(D(-1), fills, {"B": {}}, settled)

    assert (found.held, found.others, found.short) == ({"B": D(3)}, D(0), D(2))


def test_coins_that_come_back_are_the_trade_s_again() -> None:
    settled = SpotSettled(until=CountedUntil(), held={"A": D(2)}, others=D(0), short=D(1))

    back = spot_shares(D(0), then(moved(("A", "2")), 1), {"A": {}}, settled)
    sold = spot_shares(D(0), then(moved(("A", "2"), ("web", "-1")), 1), {"A": {}}, settled)

    assert (back.held, back.others, back.short) == ({"A": D(2)}, D(0), D(0))
    assert (sold.held, sold.others, sold.short) == ({"A": D(1)}, D(0), D(0))


@given(before=st.integers(min_value=-5, max_value=9).map(D), steps=STEPS, parts=st.lists(st.integers(0, 12)))
def test_as_long_as_fills_alone_move_the_wallet_it_does_not_matter_when_anybody_looks(
    before: Decimal, steps: list[tuple[str, int, Decimal]], parts: list[int]
) -> None:
    _, _, fills = possible(max(D(0), before), steps)
    whole = spot_shares(before, moved(*fills), BOTH)

    settled: SpotSettled | None = None
    on_file = BOTH
    seen = 0
    for number in sorted(min(part, len(fills)) for part in [*parts, len(fills)]):
        found = spot_shares(before, then(moved(*fills[:number]), seen if settled else 0), on_file, settled)
        settled, on_file, seen = settled_by(found), {**found.closed_by}, number

    assert found == whole


@given(before=QTY, steps=STEPS, came=st.integers(min_value=-30, max_value=30).map(D), later=STEPS)
def test_whatever_comes_and_leaves_what_was_settled_is_not_judged_anew(
    before: Decimal, steps: list[tuple[str, int, Decimal]], came: Decimal, later: list[tuple[str, int, Decimal]]
) -> None:
    wallet, bought, old = possible(before, steps)
    first = spot_shares(before, moved(*old), BOTH)
    came = max(came, -wallet)
    wallet, _, new = possible(wallet + came, later, {name: min(qty, first.held[name]) for name, qty in bought.items()})
    fills = moved(*old, *new)

    found = spot_shares(before + came, then(fills, len(old)), first.closed_by, settled_by(first))
    again = spot_shares(before + came, then(fills, len(fills)), found.closed_by, settled_by(found))

    names = {fill.fill_id for fill in fills[: len(old)]}
    for trade_id, closed in found.closed_by.items():
        assert {name: qty for name, qty in closed.items() if name in names} == first.closed_by[trade_id]
    assert again == found
    assert all(qty >= 0 for qty in found.held.values())
    assert sum(found.held.values()) + found.others - found.short == wallet
    if not any(whose == "web" and D(qty) < 0 for whose, qty in new):
        assert [*found.closed_by.values()] == [*first.closed_by.values()]
