"""GET /orders: what was ordered lately, and what of it still rests at the exchange. Reads, and keeps nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from chimera.contracts.collections import ORDERS
from chimera.contracts.documents import Order
from chimera.contracts.enums import OrderStatus
from chimera.contracts.http.gateway import OrderRow, OrdersAnswer, OrdersQuery
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.runtime.service import Reply, Request

OPEN = tuple(status for status in OrderStatus if not status.is_final)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOrders:
    documents: Documents
    clock: Clock

    async def show(self, request: Request) -> Reply:
        wanted: OrdersQuery = request.query
        orders = (
            await open_orders(self.documents, wanted.limit)
            if wanted.open
            else await self.documents.find(
                Query(collection=ORDERS, index="by_time", descending=True, limit=wanted.limit)
            )
        )
        return Reply(OrdersAnswer(orders=tuple(map(_row, orders)), ts=self.clock.now_ms()))


async def open_orders(documents: Documents, limit: int) -> Sequence[Order]:
    """Those that have not ended, the newest first."""
    found: list[Order] = []
    for status in OPEN:
        found += await documents.find(
            Query(collection=ORDERS, index="by_status", equal=(("status", status.value),), descending=True, limit=limit)
        )
    return sorted(found, key=lambda order: (-order.created_at, order.order_id))[:limit]


def _row(order: Order) -> OrderRow:
    return OrderRow(
        order_id=order.order_id,
        intent_id=order.intent_id,
        parent_id=order.parent_id,
        market=order.market,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        purpose=order.purpose,
        status=order.status,
        quantity=order.quantity,
        filled_qty=order.filled_qty,
        price=order.price,
        stop_price=order.stop_price,
        avg_price=order.avg_price,
        reason=order.reason,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )
