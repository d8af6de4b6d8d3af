"""What both order markets ask alike: single orders, whose fills are whose, and what an order may carry.

Owns nothing that differs by market but its name: paths and weights are told by `OrderCalls`, and everything else is in
`futures` and `spot`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from chimera.adapters.binance.budget import Priority
from chimera.adapters.binance.errors import NOT_REQUIRED
from chimera.adapters.binance.history import ASKED_ONE_BY_ONE, ORDERS_MAX, Rows, orders_between
from chimera.adapters.binance.hosts import Site
from chimera.adapters.binance.known import KnownOrders
from chimera.adapters.binance.rest import Rest, Security, understood
from chimera.adapters.binance.signing import Param
from chimera.contracts.enums import Market, OrderType
from chimera.domain.execution.orders import NewOrder, SelfTrade, VenueOrder
from chimera.ports.venue import Refused, UnknownOrder, VenueUnavailable

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCalls:
    """Where a market is asked for an order, and for those from a number on."""

    site: Site
    market: Market
    one_path: str
    one_weight: int
    many_path: str
    many_weight: int
    read: Callable[[Any], VenueOrder]


class MarketCalls:
    def __init__(self, rest: Rest, known: KnownOrders, calls: OrderCalls) -> None:
        self._rest = rest
        self._known = known
        self._calls = calls

    async def _one(self, symbol: str, by: Mapping[str, Param]) -> VenueOrder:
        calls = self._calls
        row = await self._signed_get(
            calls.one_path, {"symbol": symbol, **by}, weight=calls.one_weight, priority=Priority.PROTECTIVE
        )
        return self._known.see(understood(calls.read, row))

    async def _or_as_it_is(self, canceled: VenueOrder) -> VenueOrder:
        """Asked for once more: the answer to a cancel says not since when the order was there, and whoever looks for
        its fills needs that."""
        try:
            return await self._one(canceled.symbol, {"orderId": int(canceled.venue_order_id)})
        except (VenueUnavailable, Refused) as error:
            log.warning("a canceled order cannot be asked for", order=canceled.client_order_id, why=str(error))
            return canceled

    async def _names_of(self, symbol: str, order_ids: Sequence[int]) -> Mapping[int, str]:
        """Our names for the exchange's numbers, which are in order."""
        calls = self._calls
        unseen = [number for number in order_ids if self._known.client_id(calls.market, symbol, str(number)) is None]
        if len(unseen) > ASKED_ONE_BY_ONE:

            async def page(from_id: int) -> Rows:
                rows: Rows = await self._signed_get(
                    calls.many_path,
                    {"symbol": symbol, "orderId": from_id, "limit": ORDERS_MAX},
                    weight=calls.many_weight,
                    priority=Priority.PROTECTIVE,
                )
                return rows

            for rows in await orders_between(page, unseen[0], unseen[-1]):
                for order in understood(lambda rows: [calls.read(row) for row in rows], rows):
                    self._known.see(order)
        return {number: await self._client_id(symbol, number) for number in order_ids}

    async def _client_id(self, symbol: str, order_id: int) -> str:
        known = self._known.client_id(self._calls.market, symbol, str(order_id))
        if known is not None:
            return known
        try:
            return (await self._one(symbol, {"orderId": order_id})).client_order_id
        except UnknownOrder:
            return f"venue-{order_id}"

    async def _get(self, path: str, params: Mapping[str, Param] | None = None, *, weight: int) -> Any:
        return await self._rest.call(self._calls.site, "GET", path, params or {}, weight=weight, priority=Priority.DATA)

    async def _signed_get(
        self,
        path: str,
        params: Mapping[str, Param] | None = None,
        *,
        weight: int,
        priority: Priority = Priority.ENTRY,
    ) -> Any:
        return await self._rest.call(
            self._calls.site, "GET", path, params or {}, security=Security.SIGNED, weight=weight, priority=priority
        )

    def _now_ms(self) -> int:
        return self._rest.clocks[self._calls.site].now_ms()


def size_of(order: NewOrder) -> dict[str, Param]:
    """
    Raises:
        Refused: it is sized in quote, and the exchange does that for spot market orders without a quantity only.
    """
    if order.quote_qty is None:
        return {"quantity": order.qty}
    if order.market is not Market.SPOT or order.type is not OrderType.MARKET or order.qty:
        raise Refused(
            NOT_REQUIRED,
            f"{order.client_order_id}: a quote quantity is for spot MARKET orders without a quantity; give a quantity"
            " instead",
        )
    return {"quoteOrderQty": order.quote_qty}


def self_trade_of(order: NewOrder) -> dict[str, Param]:
    """Left out where it is what is asked for unless one says otherwise."""
    return {} if order.stp is SelfTrade.EXPIRE_MAKER else {"selfTradePreventionMode": order.stp.value}
