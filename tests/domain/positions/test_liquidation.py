"""Binance's own examples, and what the formula must mean."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Side
from chimera.domain.positions.liquidation import inside_buffer, liquidation_price

D = Decimal

WALLET = D("1535443.01")
ETH = {"qty": D("3683.979"), "entry_price": D("1456.84"), "maint_margin_ratio": D("0.10"), "cum": D("135365.00")}
BTC = {"qty": D("109.488"), "entry_price": D("32481.980"), "maint_margin_ratio": D("0.025"), "cum": D("16300.000")}


@pytest.mark.parametrize(
    ("position", "other_pnl", "other_maintenance", "price"),
    [
        pytest.param(ETH, D(0), D(0), D("1114.78"), id="isolated ETH"),
        pytest.param(BTC, D(0), D(0), D("18778.73"), id="isolated BTC"),
        pytest.param(ETH, D("-56354.57"), D("71200.81144"), D("1153.26"), id="cross ETH"),
        pytest.param(BTC, D("-448192.89"), D("356512.508"), D("26316.89"), id="cross BTC"),
    ],
)
def test_the_exchanges_own_examples_reproduce(
    position: dict[str, D], other_pnl: D, other_maintenance: D, price: D
) -> None:
    found = liquidation_price(
        side=Side.BUY,
        wallet_usdt=WALLET,
        other_pnl_usdt=other_pnl,
        other_maint_margin_usdt=other_maintenance,
        **position,
    )

    assert found.quantize(D("0.01")) == price


@pytest.mark.parametrize(
    ("side", "price"),
    [pytest.param(Side.BUY, D("57228.92"), id="long"), pytest.param(Side.SELL, D("62749.00"), id="short")],
)
def test_a_twenty_times_levered_bitcoin(side: Side, price: D) -> None:
    found = liquidation_price(
        side=side,
        qty=D("0.1"),
        entry_price=D(60000),
        wallet_usdt=D(300),
        maint_margin_ratio=D("0.004"),
        cum=D(0),
    )

    assert found.quantize(D("0.01")) == price


@given(
    side=st.sampled_from(Side),
    entry=st.decimals("0.01", "100000", places=2),
    qty=st.decimals("0.001", "1000", places=3),
    leverage=st.integers(2, 100),
)
def test_at_the_liquidation_price_the_balance_is_the_maintenance_margin(
    side: Side, entry: D, qty: D, leverage: int
) -> None:
    wallet, ratio = qty * entry / leverage, D("0.004")

    price = liquidation_price(
        side=side, qty=qty, entry_price=entry, wallet_usdt=wallet, maint_margin_ratio=ratio, cum=D(0)
    )

    balance = wallet + side.sign * qty * (price - entry)
    assert abs(balance - qty * price * ratio) < D("1e-12") * max(wallet, D(1))


@pytest.mark.parametrize(
    ("price", "inside"),
    [
        pytest.param("97", False, id="far from liquidation"),
        pytest.param("96.25", False, id="exactly a quarter of the way"),
        pytest.param("96.24", True, id="less than a quarter"),
        pytest.param("94", True, id="beyond liquidation"),
    ],
)
def test_the_buffer_is_a_quarter_of_the_way_to_liquidation(price: str, inside: bool) -> None:
    assert inside_buffer(price=D(price), entry_price=D(100), liquidation=D(95), ratio=D("0.25")) is inside
    mirrored = D(200) - D(price)
    assert inside_buffer(price=mirrored, entry_price=D(100), liquidation=D(105), ratio=D("0.25")) is inside
