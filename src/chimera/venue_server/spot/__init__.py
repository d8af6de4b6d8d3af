"""Spot: `/api`."""

from chimera.venue_server.calls import Route
from chimera.venue_server.floor import Floor
from chimera.venue_server.spot.market import market_routes


def spot_routes(floor: Floor) -> list[Route]:
    return [*market_routes(floor)]
