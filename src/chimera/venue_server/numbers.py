"""How numbers are written, whatever they count."""

from decimal import Decimal


def exponent_of(number: Decimal) -> int:
    """Of a finite number's last digit: -2 for 0.10."""
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


def digits(number: Decimal) -> int:
    """Behind the point, as written: 2 for 0.10."""
    return max(0, -exponent_of(number))


def short(number: Decimal) -> str:
    """Without exponent and without zeros behind the point: `5`, `0.2`."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
