"""Crossing from estimates to owed amounts, once and by name, and the places money is kept to.

Owns nothing but the crossing: rounding to an exchange's grid belongs to `Instrument`.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal

EIGHT_PLACES = Decimal("1e-8")
_FIFTEEN_DIGITS = Context(prec=15, rounding=ROUND_HALF_EVEN)


def exact(estimate: float) -> Decimal:
    """An estimate as the decimal that a person reads: 0.1 becomes 0.1. At most 15 significant digits survive.

    Raises:
        ValueError: NaN or infinity. Nothing is owed of that.
    """
    value = Decimal(repr(estimate))
    if not value.is_finite():
        raise ValueError(f"{estimate!r} is not an amount")
    return _FIFTEEN_DIGITS.plus(value)


def money(amount: Decimal) -> Decimal:
    """To 8 places, half to even."""
    return amount.quantize(EIGHT_PLACES, ROUND_HALF_EVEN)


def money_up(amount: Decimal) -> Decimal:
    """To 8 places, never less: what is reserved."""
    return amount.quantize(EIGHT_PLACES, ROUND_CEILING)


def money_down(amount: Decimal) -> Decimal:
    """To 8 places, never more: a distance that bounds a loss."""
    return amount.quantize(EIGHT_PLACES, ROUND_FLOOR)


def average(amount: Decimal) -> Decimal:
    """An average kept to 15 significant digits, which survive a JSON number."""
    return _FIFTEEN_DIGITS.plus(amount)
