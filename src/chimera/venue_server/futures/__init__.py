"""USDT-M futures: `/fapi`.

market   what anybody may see            orders   the regular book
account  money, positions, settings      algo     the book of conditionals
words    the matching's values as the exchange spells them
prints   per symbol, how decimals are printed
reading  what parameters mean, and which mean nothing
listen_keys    who may listen to the private streams, and until when
"""

from chimera.venue_server.calls import Route
from chimera.venue_server.floor import Floor
from chimera.venue_server.futures.account import account_routes
from chimera.venue_server.futures.algo import algo_routes
from chimera.venue_server.futures.listen_keys import ListenKeys
from chimera.venue_server.futures.market import market_routes
from chimera.venue_server.futures.orders import order_routes
from chimera.venue_server.futures.prints import Prints


def futures_routes(floor: Floor, listen_keys: ListenKeys) -> list[Route]:
    prints = Prints(floor)
    return [
        *market_routes(floor, prints),
        *order_routes(floor, prints),
        *algo_routes(floor, prints),
        *account_routes(floor, prints, listen_keys),
    ]
