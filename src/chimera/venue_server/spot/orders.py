"""Spot orders: placed, tried, looked up, cancelled.

Owns the order in which a request is read (mandatory parameters by type, enums, numbers) and which of the three answer
types is given. What an order may do is the matching's. A cancel of one leg of an order list ends the list and answers
with it. Source: the exchange's rest-api page, 2026-07.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from chimera.contracts.enums import Market, OrderStatus, OrderType, TimeInForce
from chimera.domain.execution.orders import AccountChange, NewOrder, OrderUpdated, VenueOrder
from chimera.domain.matching import refusals
from chimera.domain.matching.records import TRIGGERED_TYPES
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Route, Security, Site
from chimera.venue_server.floor import Floor
from chimera.venue_server.spot import reading, words
from chimera.venue_server.spot.account import commission_of_order
from chimera.venue_server.spot.cancels import settle_cancel

SPOT = Market.SPOT

PARAMETERS = frozenset(
    [
        "symbol",
        "side",
        "type",
        "timeInForce",
        "quantity",
        "quoteOrderQty",
        "price",
        "newClientOrderId",
        "strategyId",
        "strategyType",
        "stopPrice",
        "trailingDelta",
        "icebergQty",
        "newOrderRespType",
        "selfTradePreventionMode",
        "pegPriceType",
        "pegOffsetValue",
        "pegOffsetType",
    ]
)
CANCEL_PARAMETERS = ("symbol", "orderId", "origClientOrderId", "newClientOrderId", "cancelRestrictions")

NOT_OFFERED = {
    "icebergQty": "Iceberg orders are not supported for this symbol.",
    "trailingDelta": "Trailing stop orders are not supported for this symbol.",
    "pegPriceType": "Pegged orders are not supported for this symbol.",
}
RESTRICTIONS = {"ONLY_NEW": OrderStatus.NEW, "ONLY_PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED}


def order_routes(floor: Floor, names: words.Names) -> list[Route]:
    orders = SpotOrders(floor, names)
    spot, trade, signed = Site.SPOT, Security.TRADE, Security.SIGNED
    path = "/api/v3/order"
    return [
        Route(
            method="POST",
            path=path,
            handler=reading.only(orders.place, PARAMETERS),
            name="order.place",
            site=spot,
            security=trade,
            orders=1,
        ),
        Route(
            method="POST",
            path=f"{path}/test",
            handler=reading.only(orders.test, PARAMETERS | {"computeCommissionRates"}),
            name="order.test",
            site=spot,
            security=trade,
            weight=lambda call: 20 if call.flag("computeCommissionRates") else 1,
        ),
        Route(
            method="GET",
            path=path,
            handler=reading.only(orders.query, ("symbol", "orderId", "origClientOrderId")),
            name="order.get",
            site=spot,
            security=signed,
            weight=4,
        ),
        Route(
            method="DELETE",
            path=path,
            handler=reading.only(orders.cancel, CANCEL_PARAMETERS),
            name="order.cancel",
            site=spot,
            security=trade,
        ),
        Route(
            method="GET",
            path="/api/v3/openOrders",
            handler=orders.open,
            name="openOrders.get",
            site=spot,
            security=signed,
            weight=lambda call: 6 if call.maybe("symbol") else 80,
        ),
        Route(
            method="DELETE",
            path="/api/v3/openOrders",
            handler=reading.only(orders.cancel_all, ("symbol",)),
            name="openOrders.cancel",
            site=spot,
            security=trade,
        ),
        Route(
            method="GET",
            path="/api/v3/allOrders",
            handler=orders.all,
            name="allOrders.get",
            site=spot,
            security=signed,
            weight=20,
        ),
    ]


class SpotOrders:
    def __init__(self, floor: Floor, names: words.Names) -> None:
        self._floor = floor
        self._names = names
        floor.host.on_changes.append(self._uncount_filled)

    def place(self, call: Call) -> Any:
        new = self._read(call)
        kind = reading.answer_type_of(call, _answer_default(new.type))
        order, changes = self._floor.exchange.place(new, self._floor.clock.now_ms())
        self._floor.settle(changes)
        self._floor.limits.give_back(call.address, Site.SPOT, 1, self._floor.real_ms())
        fills = self._floor.exchange.fills_of(SPOT, order.symbol, order.venue_order_id)
        return words.answer(kind, order, fills)

    def test(self, call: Call) -> Any:
        new = self._read(call)
        reading.answer_type_of(call, _answer_default(new.type))
        self._floor.exchange.check(new, self._floor.clock.now_ms())
        if not call.flag("computeCommissionRates"):
            return {}
        return commission_of_order(self._floor)

    def query(self, call: Call) -> Any:
        order = self._named(call)
        if order is None:
            raise Refusal(-2013, "Order does not exist.")
        return words.queried(order)

    def cancel(self, call: Call) -> Any:
        restriction = call.maybe("cancelRestrictions")
        if restriction is not None and restriction not in RESTRICTIONS:
            raise Refusal(-1145, "Invalid cancelRestrictions")
        order = self._named(call)
        if order is None or order.status.is_final:
            raise refusals.unknown_to_cancel()
        if restriction is not None and order.status is not RESTRICTIONS[restriction]:
            raise Refusal(-2011, "Order was not canceled due to cancel restrictions.")
        cancel_id = self._cancel_id(call)
        listed = self._in_open_list(order)
        ended, changes = self._floor.exchange.cancel(
            SPOT, order.symbol, order.client_order_id, self._floor.clock.now_ms()
        )
        settle_cancel(self._floor, changes, cancel_id)
        self._floor.limits.give_back(call.address, Site.SPOT, 1, self._floor.real_ms())
        if listed and ended.order_list_id is not None:
            return self._canceled_list(ended.order_list_id, cancel_id)
        return words.canceled(ended, cancel_id)

    def open(self, call: Call) -> Any:
        symbol = call.maybe("symbol")
        if symbol is not None:
            self._floor.instrument(SPOT, symbol)
        return [words.queried(order) for order in self._floor.exchange.open_orders(SPOT, symbol)]

    def cancel_all(self, call: Call) -> Any:
        symbol = self._symbol(call)
        orders = self._floor.exchange.open_orders(SPOT, symbol)
        if not orders:
            raise refusals.unknown_to_cancel()
        cancel_id = self._cancel_id(call)
        in_lists = {order.venue_order_id for order in orders if self._in_open_list(order)}
        changes = self._floor.exchange.cancel_all(SPOT, symbol, self._floor.clock.now_ms())
        settle_cancel(self._floor, changes, cancel_id)
        self._floor.limits.give_back(call.address, Site.SPOT, 1, self._floor.real_ms())
        answer: list[Any] = []
        told: set[str] = set()
        for order in orders:
            if order.order_list_id is None or order.venue_order_id not in in_lists:
                ended = self._floor.exchange.order_by_number(SPOT, symbol, order.venue_order_id)
                assert ended is not None
                answer.append(words.canceled(ended, cancel_id))
            elif order.order_list_id not in told:  # both legs are answered in one list
                told.add(order.order_list_id)
                answer.append(self._canceled_list(order.order_list_id, cancel_id))
        return answer

    def all(self, call: Call) -> Any:
        symbol = self._symbol(call)
        start_ms, end_ms = reading.span_of(call)
        from_number = call.maybe_whole("orderId")
        rows = [
            order
            for order in self._floor.exchange.orders(SPOT, symbol, start_ms or 0)
            if (end_ms is None or order.created_at_ms <= end_ms)
            and (from_number is None or int(order.venue_order_id) >= from_number)
        ]
        oldest_first = start_ms is not None or from_number is not None
        found = reading.page(rows, reading.limit_of(call), from_first=oldest_first)
        return [words.queried(order) for order in found]

    # --- inside

    def _read(self, call: Call) -> NewOrder:
        """
        Raises:
            Refusal: the first thing that is wrong with the request, before the matching sees it.
        """
        symbol = call.text("symbol")
        side = reading.side_of(call)
        kind = reading.type_of(call, "type")
        self._floor.instrument(SPOT, symbol)
        for name, text in NOT_OFFERED.items():
            if call.maybe(name) is not None:
                raise Refusal(-1013, text)
        time_in_force = TimeInForce.GTC
        if kind in reading.TIMED:
            time_in_force = reading.time_in_force_of(call, "timeInForce")
        else:
            reading.refuse_sent(call, "timeInForce")
        qty, quote_qty = _read_qty(call, kind)
        if kind not in reading.PRICED:
            reading.refuse_sent(call, "price")
        if kind not in TRIGGERED_TYPES:
            reading.refuse_sent(call, "stopPrice")
        if call.maybe("strategyType") is not None and call.whole("strategyType") < 1_000_000:
            raise Refusal(-1134, "strategyType was less than 1000000.")
        return NewOrder(
            client_order_id=call.maybe("newClientOrderId") or self._names.next(call.now_ms),
            market=SPOT,
            symbol=symbol,
            side=side,
            type=kind,
            qty=qty,
            price=reading.positive(call, "price", "price") if kind in reading.PRICED else None,
            stop_price=reading.positive(call, "stopPrice", "stopPrice") if kind in TRIGGERED_TYPES else None,
            time_in_force=time_in_force,
            quote_qty=quote_qty,
            stp=reading.self_trade_of(call),
        )

    def _named(self, call: Call) -> VenueOrder | None:
        """The order that the call means, open or not.

        Raises:
            Refusal: -1102 without an id, -2039 when the two ids are not of one order.
        """
        symbol = self._symbol(call)
        number, client_id = call.maybe_whole("orderId"), call.maybe("origClientOrderId")
        if number is None:
            if client_id is None:
                raise reading.either_missing("origClientOrderId", "orderId")
            return self._floor.exchange.order(SPOT, symbol, client_id)
        order = self._floor.exchange.order_by_number(SPOT, symbol, str(number))
        if order is not None and client_id is not None and order.client_order_id != client_id:
            raise Refusal(-2039, "Client order ID is not correct for this order ID.")
        return order

    def _in_open_list(self, order: VenueOrder) -> bool:
        """False also for what a done list has left: that is an order like any other."""
        if order.order_list_id is None:
            return False
        found = self._floor.exchange.order_list(list_id=order.order_list_id)
        return found is not None and found.status != "ALL_DONE"

    def _canceled_list(self, list_id: str, cancel_id: str) -> Any:
        found = self._floor.exchange.order_list(list_id=list_id)
        assert found is not None, f"an order names list {list_id}, which nobody knows"
        return words.list_canceled(found, cancel_id)

    def _symbol(self, call: Call) -> str:
        return self._floor.instrument(SPOT, call.text("symbol")).symbol

    def _cancel_id(self, call: Call) -> str:
        return call.maybe("newClientOrderId") or self._names.next(call.now_ms)

    def _uncount_filled(self, changes: Sequence[AccountChange]) -> None:
        """An order that trades for the first time no longer counts as unfilled."""
        for change in changes:
            if isinstance(change, OrderUpdated) and change.fill is not None and change.order.market is SPOT:
                fills = self._floor.exchange.fills_of(SPOT, change.order.symbol, change.order.venue_order_id)
                if fills[0].trade_id == change.fill.trade_id:
                    self._floor.limits.filled(Site.SPOT, 1)


def _read_qty(call: Call, kind: OrderType) -> tuple[Decimal, Decimal | None]:
    """Quantity and quote quantity, of which a market order has either."""
    if kind is not OrderType.MARKET:
        reading.refuse_sent(call, "quoteOrderQty")
    if call.maybe("quoteOrderQty") is None:
        if kind is OrderType.MARKET and call.maybe("quantity") is None:
            raise reading.either_missing("quantity", "quoteOrderQty")
        return reading.positive(call, "quantity", "quantity"), None
    reading.refuse_sent(call, "quantity")
    return Decimal(0), reading.positive(call, "quoteOrderQty", "quote order qty")


def _answer_default(kind: OrderType) -> str:
    return "FULL" if kind in (OrderType.LIMIT, OrderType.MARKET) else "ACK"
