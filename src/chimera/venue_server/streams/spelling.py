"""How market data is written: prices and quantities with the places of the rules."""

from collections.abc import Iterable
from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Level
from chimera.venue_server.numbers import digits

SPOT_PLACES = 8
REMEMBERED_MAX = 4_096


class Spelling:
    """Of one instrument. Spot writes eight places everywhere, futures those of tick and step.

    Decimals that were written a moment ago are not formatted again: levels of a book come back tick after tick.
    """

    __slots__ = ("_price", "_prices", "_qty", "_qtys", "_value", "no_qty")

    def __init__(self, instrument: Instrument) -> None:
        spot = instrument.market is Market.SPOT
        price = SPOT_PLACES if spot else digits(instrument.tick_size)
        qty = SPOT_PLACES if spot else digits(instrument.step_size)
        self._price, self._qty = f".{price}f", f".{qty}f"
        self._value = f".{SPOT_PLACES if spot else price + qty}f"
        self._prices: dict[Decimal, str] = {}
        self._qtys: dict[Decimal, str] = {}
        self.no_qty = format(Decimal(0), self._qty)

    def price(self, number: Decimal | float) -> str:
        return format(number, self._price)

    def qty(self, number: Decimal | float) -> str:
        return format(number, self._qty)

    def value(self, number: Decimal | float) -> str:
        """Price times quantity."""
        return format(number, self._value)

    def levels(self, levels: Iterable[Level]) -> list[tuple[str, str]]:
        prices, qtys = self._prices, self._qtys
        if len(prices) > REMEMBERED_MAX or len(qtys) > REMEMBERED_MAX:
            prices.clear()
            qtys.clear()
        rows = []
        for price, qty in levels:
            price_text, qty_text = prices.get(price), qtys.get(qty)
            if price_text is None:
                price_text = prices[price] = format(price, self._price)
            if qty_text is None:
                qty_text = qtys[qty] = format(qty, self._qty)
            rows.append((price_text, qty_text))
        return rows
