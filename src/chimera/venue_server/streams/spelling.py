"""How market data is written: prices and quantities with the places of the rules."""

from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.domain.market.instrument import Instrument

SPOT_PLACES = 8


def digits(number: Decimal) -> int:
    """Behind the point, as written: 2 for 0.10."""
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


class Spelling:
    """Of one instrument. Spot writes eight places everywhere, futures those of tick and step."""

    __slots__ = ("_price", "_qty", "_value")

    def __init__(self, instrument: Instrument) -> None:
        spot = instrument.market is Market.SPOT
        price = SPOT_PLACES if spot else digits(instrument.tick_size)
        qty = SPOT_PLACES if spot else digits(instrument.step_size)
        self._price, self._qty = f".{price}f", f".{qty}f"
        self._value = f".{SPOT_PLACES if spot else price + qty}f"

    def price(self, number: Decimal | float) -> str:
        return format(number, self._price)

    def qty(self, number: Decimal | float) -> str:
        return format(number, self._qty)

    def value(self, number: Decimal | float) -> str:
        """Price times quantity."""
        return format(number, self._value)
