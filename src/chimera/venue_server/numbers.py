"""How numbers are written, whatever they count."""

from decimal import Decimal


def digits(number: Decimal) -> int:
    """Behind the point, as written: 2 for 0.10."""
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def short(number: Decimal) -> str:
    """Without exponent and without zeros behind the point: `5`, `0.2`."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
