"""Orders that were seen: what an answer leaves out is filled in from here.

Trades name the exchange's number of their order only, cancels of algo orders name nothing but ids, and the order that a
trigger made does not say what triggered it. Bounded: the orders longest untouched are forgotten, and asked for again.
"""

from dataclasses import replace

from chimera.adapters.binance.order_news import Newest
from chimera.adapters.binance.parse_futures import merged
from chimera.contracts.enums import Market
from chimera.domain.execution.orders import VenueOrder

KNOWN_MAX = 20_000


class KnownOrders:
    __slots__ = ("_by_client", "_client_ids")

    def __init__(self, most: int = KNOWN_MAX) -> None:
        self._by_client: Newest[tuple[Market, str, str], VenueOrder] = Newest(most)
        self._client_ids: Newest[tuple[Market, str, str], str] = Newest(most)

    def see(self, order: VenueOrder) -> VenueOrder:
        """Remember a report, and return it with what earlier ones knew: its creation, and the algo order behind it."""
        name = (order.market, order.symbol, order.client_order_id)
        known = self._by_client.get(name)
        if known is not None and _same(known, order):
            if known.conditional and not order.venue_algo_id:
                order = merged(known, order)
            elif known.created_at_ms < order.created_at_ms:
                order = replace(order, created_at_ms=known.created_at_ms)
        self._by_client.put(name, order)
        if order.venue_order_id:
            self._client_ids.put((order.market, order.symbol, order.venue_order_id), order.client_order_id)
        return order

    def get(self, market: Market, symbol: str, client_order_id: str) -> VenueOrder | None:
        return self._by_client.get((market, symbol, client_order_id))

    def client_id(self, market: Market, symbol: str, venue_order_id: str) -> str | None:
        return self._client_ids.get((market, symbol, venue_order_id))


def _same(known: VenueOrder, order: VenueOrder) -> bool:
    """A client id may be used again once its order has ended: then it names another one."""
    if known.venue_algo_id and order.venue_algo_id:
        return known.venue_algo_id == order.venue_algo_id
    if known.venue_order_id and order.venue_order_id:
        return known.venue_order_id == order.venue_order_id
    return True
