"""The exchange's own worked examples of liquidation prices, and the shape of ours around them."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.market.instrument import Bracket
from chimera.domain.matching.margin import (
    isolated_liquidation_price,
    maintenance_margin,
    notional_max,
)

D = Decimal

TIERS = tuple(
    Bracket(
        bracket=number,
        initial_leverage=leverage,
        notional_floor=D(floor),
        notional_cap=D(cap),
        maint_margin_ratio=D(ratio),
        cum=D(cum),
    )
    for number, leverage, floor, cap, ratio, cum in (
        (1, 125, 0, 50_000, "0.004", 0),
        (2, 100, 50_000, 600_000, "0.005", 50),
        (3, 50, 600_000, 3_000_000, "0.01", 3_050),
        (4, 20, 3_000_000, 12_000_000, "0.025", 48_050),
    )
)


@pytest.mark.parametrize(
    ("wallet", "cum", "qty", "entry", "ratio", "expected"),
    [
        pytest.param("1535443.01", "135365", "3683.979", "1456.84", "0.10", "1114.78", id="isolated ETH"),
        pytest.param("1535443.01", "16300", "109.488", "32481.98", "0.025", "18778.73", id="isolated BTC"),
        pytest.param("300", "0", "0.1", "60000", "0.004", "57228.92", id="20x long"),
        pytest.param("300", "0", "-0.1", "60000", "0.004", "62749.00", id="20x short"),
    ],
)
def test_one_tier_reproduces_the_published_liquidation_prices(
    wallet: str, cum: str, qty: str, entry: str, ratio: str, expected: str
) -> None:
    tier = replace(TIERS[0], notional_cap=D("1e12"), maint_margin_ratio=D(ratio), cum=D(cum))

    price = isolated_liquidation_price(
        wallet_usdt=D(wallet), qty=D(qty), cost_usdt=abs(D(qty)) * D(entry), brackets=(tier,)
    )

    assert price.quantize(D("0.01")) == D(expected)


@given(
    qty=st.decimals("0.001", "150", places=3),
    entry=st.decimals("100", "70000", places=1),
    margin=st.decimals("0.005", "0.9", places=3),
    long=st.booleans(),
)
def test_at_the_liquidation_price_balance_equals_maintenance_in_the_tier_that_holds_there(
    qty: D, entry: D, margin: D, long: bool
) -> None:
    signed = qty if long else -qty
    wallet = qty * entry * margin

    price = isolated_liquidation_price(wallet_usdt=wallet, qty=signed, cost_usdt=qty * entry, brackets=TIERS)

    balance = wallet + signed * (price - entry)
    assert abs(balance - maintenance_margin(qty * price, TIERS)) < D("1e-12")


def test_a_fully_paid_long_is_never_liquidated() -> None:
    assert isolated_liquidation_price(wallet_usdt=D(7_000), qty=D("0.1"), cost_usdt=D(6_000), brackets=TIERS) == 0


@pytest.mark.parametrize(
    ("leverage", "expected"),
    [
        pytest.param(125, 50_000, id="the highest leverage carries the first tier"),
        pytest.param(20, 12_000_000, id="a lower one carries all that allow it"),
        pytest.param(126, 0, id="beyond every tier carries nothing"),
    ],
)
def test_leverage_bounds_the_position(leverage: int, expected: int) -> None:
    assert notional_max(TIERS, leverage) == expected
