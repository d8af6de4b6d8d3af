"""USDT-M futures: `/fapi`."""

from chimera.venue_server.calls import Route
from chimera.venue_server.floor import Floor
from chimera.venue_server.futures.market import market_routes


def futures_routes(floor: Floor) -> list[Route]:
    return [*market_routes(floor)]
