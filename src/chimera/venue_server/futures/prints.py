"""Each symbol's way of printing, and with it the first question of every request: is the symbol listed."""

from chimera.contracts.enums import Market
from chimera.domain.market.instrument import Instrument
from chimera.venue_server.floor import Floor
from chimera.venue_server.futures.words import Print


class Prints:
    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._known: dict[str, tuple[Instrument, Print]] = {}

    def of(self, symbol: str) -> Print:
        """
        Raises:
            Refusal: -1121.
        """
        instrument = self._floor.instrument(Market.FUT, symbol)
        known = self._known.get(symbol)
        if known is None or known[0] is not instrument:  # rules may change while the exchange runs
            known = self._known[symbol] = instrument, Print(instrument)
        return known[1]
