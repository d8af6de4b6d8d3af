"""What moved a wallet: ours, theirs, and what is left."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Market, Side
from chimera.domain.reconcile.money import Cause, Moved, changes, moved_by_fill

D = Decimal
WALLETS = ("FUT USDT", "SPOT USDT", "SPOT BTC")
amounts = st.decimals(min_value=-1_000, max_value=1_000, places=8)
movements = st.lists(
    st.builds(
        lambda wallet, amount, cause: Moved(wallet=wallet, amount=amount, cause=cause),
        st.sampled_from(WALLETS),
        amounts,
        st.sampled_from([None, *Cause]),
    ),
    max_size=12,
)
holdings = st.dictionaries(st.sampled_from(WALLETS), amounts)


def after_all(held: dict[str, Decimal], moved: list[Moved]) -> dict[str, Decimal]:
    result = dict(held)
    for each in moved:
        result[each.wallet] = result.get(each.wallet, D(0)) + each.amount
    return result


@given(holdings, movements)
def test_what_is_all_accounted_for_leaves_nothing_unexplained(held: dict[str, Decimal], moved: list[Moved]) -> None:
    found = changes(held, after_all(held, moved), moved, least=D(0))

    assert all(change.unexplained == 0 for change in found)
    assert changes(held, after_all(held, moved), [each for each in moved if each.cause is None], least=D(0)) or not any(
        change.causes and sum(change.causes.values()) for change in found
    )


@given(holdings, movements, st.sampled_from(WALLETS), amounts.filter(bool))
def test_what_came_or_went_besides_is_left_to_the_last_digit(
    held: dict[str, Decimal], moved: list[Moved], wallet: str, more: Decimal
) -> None:
    there = after_all(held, moved)
    there[wallet] = there.get(wallet, D(0)) + more

    found = {change.wallet: change.unexplained for change in changes(held, there, moved, least=D(0))}

    assert {name: rest for name, rest in found.items() if rest} == {wallet: more}


def test_a_difference_below_the_least_is_none() -> None:
    assert changes({"FUT USDT": D(10)}, {"FUT USDT": D("10.01")}, (), least=D("0.01")) == []
    assert len(changes({"FUT USDT": D(10)}, {"FUT USDT": D("10.02")}, (), least=D("0.01"))) == 1


def test_what_one_fill_does_to_the_wallets() -> None:
    spot = moved_by_fill(Market.SPOT, Side.BUY, D(100), D(2), D("0.002"), "BTC", D(0), "BTC", "USDT")
    futures = moved_by_fill(Market.FUT, Side.SELL, D(100), D(2), D("0.1"), "USDT", D(7), "BTC", "USDT")

    assert after_all({}, spot) == {"SPOT USDT": D(-200), "SPOT BTC": D("1.998")}
    assert after_all({}, futures) == {"FUT USDT": D("6.9")}
