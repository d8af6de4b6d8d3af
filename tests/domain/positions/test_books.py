"""Ladder, weighted average cost and what counts against the budget."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.positions.budget import futures_usage, spot_reservation, spot_usage
from chimera.domain.positions.ladder import rung_qty
from chimera.domain.positions.wac import Holding, buy, sell
from tests.domain.builders import BTC_FUT as BTC

D = Decimal

HALF = D("0.5")


@pytest.mark.parametrize(
    ("open_qty", "closed"),
    [
        pytest.param("0.006", "0.003", id="half"),
        pytest.param("0.005", "0.002", id="half, floored to step"),
        pytest.param("0.002", "0.001", id="one step each"),
        pytest.param("0.001", "0.001", id="half would be below one step: all of it"),
    ],
)
def test_a_rung_closes_half_or_all_of_it(open_qty: str, closed: str) -> None:
    assert rung_qty(BTC, D(open_qty), HALF) == D(closed)


@given(steps=st.integers(1, 100_000), share=st.decimals("0.01", "1", places=2))
def test_a_rung_never_closes_more_than_is_open_and_never_leaves_less_than_a_step(steps: int, share: D) -> None:
    open_qty = steps * BTC.step_size

    part = rung_qty(BTC, open_qty, share)

    assert 0 < part <= open_qty
    assert BTC.qty_on_step(part)
    assert part == open_qty or open_qty - part >= BTC.step_size


def test_the_cost_of_two_buys_is_their_weighted_average() -> None:
    first = buy(Holding(D("0.2"), D(30_000)), price=D(33_000), qty=D("0.1"), fee_qty=D(0))

    assert first.holding == Holding(D("0.3"), D(31_000))


def test_a_fee_in_the_base_asset_lessens_what_is_held_and_is_expensed() -> None:
    booked = buy(Holding(), price=D(60_000), qty=D("0.001"), fee_qty=D("0.000001"))

    assert booked.holding == Holding(D("0.000999"), D(60_000))
    assert booked.fee_usdt == D("0.06")
    assert booked.pnl_usdt == D("-0.06")


def test_a_fee_in_another_asset_lessens_nothing_that_is_held() -> None:
    booked = buy(Holding(), price=D(60_000), qty=D("0.001"), fee_qty=D(0), fee_usdt=D("0.045"))

    assert booked.holding == Holding(D("0.001"), D(60_000))
    assert booked.pnl_usdt == D("-0.045")


def test_selling_everything_clears_the_cost() -> None:
    booked = sell(Holding(D("0.3"), D(31_000)), price=D(32_000), qty=D("0.3"), fee_usdt=D("9.6"))

    assert booked.holding == Holding()
    assert booked.pnl_usdt == D("290.4")


def test_selling_more_than_is_held_is_an_error_upstream() -> None:
    with pytest.raises(ValueError, match=r"sold 0\.4 of 0\.3 held"):
        sell(Holding(D("0.3"), D(31_000)), price=D(32_000), qty=D("0.4"), fee_usdt=D(0))


@given(
    buys=st.lists(
        st.tuples(st.decimals("1", "100000", places=2), st.decimals("0.001", "10", places=3)), min_size=1, max_size=10
    ),
    exit_price=st.decimals("1", "100000", places=2),
)
def test_after_everything_is_sold_the_result_is_the_change_of_cash(buys: list[tuple[D, D]], exit_price: D) -> None:
    holding, cash, pnl = Holding(), D(0), D(0)
    for price, qty in buys:
        booked = buy(holding, price=price, qty=qty, fee_qty=qty * D("0.001"))
        holding, cash, pnl = booked.holding, cash - price * qty, pnl + booked.pnl_usdt

    fee = D("0.5")
    sold = sell(holding, price=exit_price, qty=holding.qty, fee_usdt=fee)

    cash += exit_price * holding.qty - fee
    assert abs(pnl + sold.pnl_usdt - cash) < D("0.000001")


def test_a_position_counts_its_margin_and_its_entry_fee() -> None:
    usage = futures_usage(qty=D("0.006"), entry_price=D(65_400), leverage=20, fee_ratio=D("0.0005"))

    assert usage == D("19.62") + D("0.1962")


def test_spot_counts_its_cost_and_while_opening_its_fee() -> None:
    assert spot_reservation(qty=D("0.001"), price=D(50_000), fee_ratio=D("0.001")) == D("50.05")
    assert spot_usage(qty=D("0.001"), wac=D(50_000)) == D(50)


def test_what_is_reserved_is_never_rounded_down() -> None:
    assert spot_usage(qty=D("0.000000003"), wac=D("1.5")) == D("0.00000001")
