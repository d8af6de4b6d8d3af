"""How the exchange prints numbers, and for how long it tells of an order."""

from decimal import Decimal

import pytest

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side
from chimera.domain.execution.orders import VenueOrder
from chimera.venue_server.futures.words import bare, forgotten, java_double, money

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("number", "printed"),
    [
        ("0.0007", "7.0E-4"),
        ("0.001", "0.001"),
        ("0.00012", "1.2E-4"),
        ("0", "0.0"),
        ("0.0", "0.0"),
        ("20", "20.0"),
        ("74457.10", "74457.1"),
        ("9999999.5", "9999999.5"),
        ("10000000", "1.0E7"),
        ("123456789", "1.23456789E8"),
        ("-0.5", "-0.5"),
        ("-0.0005", "-5.0E-4"),
    ],
)
def test_a_java_double_has_an_exponent_where_java_gives_it_one(number: str, printed: str) -> None:
    assert java_double(Decimal(number)) == printed


@pytest.mark.parametrize(("number", "printed"), [("0.00", "0"), ("1E+3", "1000"), ("12.50", "12.5")])
def test_bare_numbers_have_no_trailing_zeros(number: str, printed: str) -> None:
    assert bare(Decimal(number)) == printed


def test_money_has_eight_digits() -> None:
    assert money(Decimal("-0.5")) == "-0.50000000"


@pytest.mark.parametrize(
    ("status", "filled", "days", "gone"),
    [
        pytest.param(OrderStatus.CANCELED, "0", 2, False, id="three days after an end without a fill"),
        pytest.param(OrderStatus.CANCELED, "0", 4, True, id="and no longer"),
        pytest.param(OrderStatus.CANCELED, "0.1", 4, False, id="with a fill ninety days"),
        pytest.param(OrderStatus.FILLED, "1", 91, True, id="and no longer either"),
        pytest.param(OrderStatus.NEW, "0", 91, False, id="open for ever"),
    ],
)
def test_the_exchange_forgets_orders(status: OrderStatus, filled: str, days: int, gone: bool) -> None:
    order = VenueOrder(
        client_order_id="mine",
        venue_order_id="1",
        market=Market.FUT,
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.LIMIT,
        status=status,
        qty=Decimal(1),
        filled_qty=Decimal(filled),
        price=Decimal(60_000),
        stop_price=None,
        reduce_only=False,
        conditional=False,
        created_at_ms=0,
        updated_at_ms=0,
    )

    assert forgotten(order, days * DAY_MS) is gone
