"""How the exchange rounds money: to eight places, in a stated direction.

What is booked (a fee, a margin, a part of a cost) is cut down; what is locked for it beforehand is rounded up. So a
lock always covers the sum of its parts: floor(a) + ceil(b) <= ceil(a + b).
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

EIGHT = Decimal("0.00000001")
ZERO = Decimal(0)

AVERAGE = Context(prec=15)
"""Averages are shown with fifteen significant digits, which survive a JSON number."""


def floor8(amount: Decimal) -> Decimal:
    """Towards minus infinity: what the account receives is never rounded up."""
    return amount.quantize(EIGHT, ROUND_FLOOR)


def ceil8(amount: Decimal) -> Decimal:
    """Towards plus infinity: what must be there beforehand."""
    return amount.quantize(EIGHT, ROUND_CEILING)


def average(total: Decimal, count: Decimal) -> Decimal:
    """`total / count` to fifteen significant digits, half to even. `count` is not zero."""
    return AVERAGE.divide(total, count)
