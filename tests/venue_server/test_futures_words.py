"""How the exchange prints numbers."""

from decimal import Decimal

import pytest

from chimera.venue_server.futures.words import bare, java_double, money


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
