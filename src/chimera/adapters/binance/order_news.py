"""Which reports of an order are news.

Events come twice after a reconnect and while one connection replaces another, and those of different types in any
order. Owns what was told already: a fill is told once by its trade id; an order advances in the order of (time, filled
quantity, finality), never fills less than before, and what has ended stays so, whatever the clocks of two desks of the
exchange say. Pure; remembers a bounded number of orders and fills, the newest.

An order is dated to its creation where a report tells it, else to the oldest report: never to before it was there. It
may be older; the calls' own answers say so, and `KnownOrders` keeps the oldest date of all.

A conditional order has two lives: in the algo book, and as the regular order that its trigger makes, which has another
number and the same client id. Here they are one order; what the second life's events leave out is filled in from the
first. A trigger whose algo events never came is known by the order's original type.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from typing import TypeVar

from chimera.contracts.enums import Market, Side
from chimera.domain.execution.orders import OrderUpdated, VenueFill, VenueOrder

ORDERS_MAX = 5_000
FILLS_MAX = 20_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Newest(OrderedDict[K, V]):
    """A dict that forgets the entries longest untouched."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: K, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


class OrderNews:
    def __init__(self, orders_max: int = ORDERS_MAX, fills_max: int = FILLS_MAX) -> None:
        self._told: Newest[tuple[Market, str, str], VenueOrder] = Newest(orders_max)
        """By market, symbol and number; an order with an algo life is found by both of its numbers."""
        self._algo: Newest[tuple[str, str], VenueOrder] = Newest(orders_max)
        """The last report of the first life, by symbol and client id."""
        self._fills: Newest[tuple[Market, str, Side, int], None] = Newest(fills_max)

    def algo(self, order: VenueOrder) -> OrderUpdated | None:
        """A report from the algo book."""
        known = self._algo.get((order.symbol, order.client_order_id))
        if known is None or known.updated_at_ms <= order.updated_at_ms:
            self._algo.put((order.symbol, order.client_order_id), order)
        return self._judge(order, None)

    def regular(self, order: VenueOrder, fill: VenueFill | None) -> OrderUpdated | None:
        """A report of an order in the book, `fill` when a trade caused it."""
        if order.market is Market.FUT:
            order = self._second_life(order)
        return self._judge(order, fill)

    def _second_life(self, order: VenueOrder) -> VenueOrder:
        algo = self._algo.get((order.symbol, order.client_order_id))
        if algo is None or not (
            algo.venue_order_id == order.venue_order_id or (not algo.venue_order_id and not algo.status.is_final)
        ):
            return order
        return replace(
            order,
            type=algo.type,
            stop_price=algo.stop_price,
            conditional=True,
            triggered=True,
            close_position=algo.close_position,
            venue_algo_id=algo.venue_algo_id,
            working_type=algo.working_type,
            created_at_ms=algo.created_at_ms,
        )

    def _judge(self, order: VenueOrder, fill: VenueFill | None) -> OrderUpdated | None:
        names = [
            (order.market, order.symbol, name)
            for name in (order.venue_order_id, order.venue_algo_id and f"algo {order.venue_algo_id}")
            if name
        ]
        told = next((self._told[name] for name in names if name in self._told), None)
        if fill is not None:
            fill_name = (fill.market, fill.symbol, fill.side, fill.trade_id)
            if fill_name in self._fills:
                fill = None
            else:
                self._fills.put(fill_name, None)
        is_news = told is None or _advances(told, order)
        # Without a word of its creation it is as old as the oldest report of it.
        dates = [order.created_at_ms or order.updated_at_ms]
        if told is not None:
            dates.append(told.created_at_ms)
        newest = replace(order if told is None or is_news else told, created_at_ms=min(dates))
        for name in names:
            self._told.put(name, newest)
        if not is_news and fill is None:
            return None
        return OrderUpdated(fill.ts if fill is not None else newest.updated_at_ms, newest, fill)


def _advances(told: VenueOrder, order: VenueOrder) -> bool:
    if order.filled_qty < told.filled_qty:
        return False
    if told.status.is_final:
        return order.status.is_final and order.filled_qty > told.filled_qty
    return (order.updated_at_ms, order.filled_qty, order.status.is_final, order.triggered) > (
        told.updated_at_ms,
        told.filled_qty,
        told.status.is_final,
        told.triggered,
    )
