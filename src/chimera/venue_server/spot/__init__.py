"""Spot: `/api`.

market       what anybody may ask: time, rules, prices
orders       placed, tried, looked up, cancelled
lists        two orders of which one ends the other
account      balances, trades, fees, order counts
ws_api       the same requests over a WebSocket, and the account's events
words        how it is spelled    reading  how a request is read    cancels  what an end is told with
"""

from chimera.venue_server.calls import Route
from chimera.venue_server.floor import Floor
from chimera.venue_server.spot.account import account_routes
from chimera.venue_server.spot.lists import list_routes
from chimera.venue_server.spot.market import market_routes
from chimera.venue_server.spot.orders import order_routes
from chimera.venue_server.spot.words import Names


def spot_routes(floor: Floor) -> list[Route]:
    names = Names()
    return [
        *market_routes(floor),
        *order_routes(floor, names),
        *list_routes(floor, names),
        *account_routes(floor),
    ]
