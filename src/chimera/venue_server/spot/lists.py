"""Spot order lists: two orders of which one ends the other, in the old form and the new.

Owns which legs a list may have and what is said of a list: placed, asked for, cancelled. The stop leg is named first,
as the exchange does. Source: the exchange's rest-api and errors pages, 2026-07.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chimera.contracts.enums import Market, OrderType, Side, TimeInForce
from chimera.domain.execution.orders import NewOco, VenueOrder
from chimera.domain.matching import refusals
from chimera.domain.matching.records import STOP_LIKE, TRIGGERED_TYPES, ListRecord
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Route, Security, Site
from chimera.venue_server.floor import Floor
from chimera.venue_server.spot import reading, words
from chimera.venue_server.spot.cancels import settle_cancel

SPOT = Market.SPOT
LEG_TYPES = {
    each.value: each
    for each in (
        OrderType.LIMIT_MAKER,
        OrderType.STOP_LOSS,
        OrderType.STOP_LOSS_LIMIT,
        OrderType.TAKE_PROFIT,
        OrderType.TAKE_PROFIT_LIMIT,
    )
}
NOT_OFFERED = (
    ("IcebergQty", "Iceberg orders are not supported for this symbol."),
    ("TrailingDelta", "Trailing stop orders are not supported for this symbol."),
    ("PegPriceType", "Pegged orders are not supported for this symbol."),
)


def list_routes(lists: "SpotLists") -> list[Route]:
    spot, trade, signed = Site.SPOT, Security.TRADE, Security.SIGNED
    return [
        Route(
            method="POST",
            path="/api/v3/order/oco",
            handler=lists.place_old,
            name="orderList.place",
            site=spot,
            security=trade,
            orders=2,
        ),
        Route(
            method="POST",
            path="/api/v3/orderList/oco",
            handler=lists.place,
            name="orderList.place",
            site=spot,
            security=trade,
            orders=2,
        ),
        Route(
            method="DELETE",
            path="/api/v3/orderList",
            handler=lists.cancel,
            name="orderList.cancel",
            site=spot,
            security=trade,
        ),
        Route(
            method="GET",
            path="/api/v3/orderList",
            handler=lists.query,
            name="orderList.get",
            site=spot,
            security=signed,
            weight=4,
        ),
        Route(
            method="GET",
            path="/api/v3/openOrderList",
            handler=lists.open,
            name="openOrderList.get",
            site=spot,
            security=signed,
            weight=6,
        ),
        Route(
            method="GET",
            path="/api/v3/allOrderList",
            handler=lists.all,
            name="allOrderList.get",
            site=spot,
            security=signed,
            weight=20,
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Leg:
    """`where`: above or below, as the request calls it."""

    where: str
    type: OrderType
    price: Decimal | None
    stop_price: Decimal | None
    time_in_force: TimeInForce
    client_order_id: str


class SpotLists:
    def __init__(self, floor: Floor, names: words.Names) -> None:
        self._floor = floor
        self._names = names

    # --- requests

    def place(self, call: Call) -> Any:
        symbol, side = call.text("symbol"), reading.side_of(call)
        qty = reading.positive(call, "quantity", "quantity")
        above, below = self._leg(call, "above"), self._leg(call, "below")
        self._floor.instrument(SPOT, symbol)
        _refuse_wrong_sides(side, above, below)
        return self._place(call, symbol, side, qty, above, below)

    def place_old(self, call: Call) -> Any:
        """The deprecated form: a limit maker and a stop, whose sides follow from the order's."""
        symbol, side = call.text("symbol"), reading.side_of(call)
        qty = reading.positive(call, "quantity", "quantity")
        for name in ("limitIcebergQty", "stopIcebergQty", "trailingDelta"):
            _refuse_not_offered(call, name)
        limit_price = call.maybe("stopLimitPrice")
        if limit_price is None:
            reading.refuse_sent(call, "stopLimitTimeInForce")
        target = _Leg(
            where="above" if side is Side.SELL else "below",
            type=OrderType.LIMIT_MAKER,
            price=reading.positive(call, "price", "price"),
            stop_price=None,
            time_in_force=TimeInForce.GTC,
            client_order_id=self._named(call, "limitClientOrderId"),
        )
        stop = _Leg(
            where="below" if side is Side.SELL else "above",
            type=OrderType.STOP_LOSS if limit_price is None else OrderType.STOP_LOSS_LIMIT,
            price=None if limit_price is None else reading.positive(call, "stopLimitPrice", "price"),
            stop_price=reading.positive(call, "stopPrice", "stopPrice"),
            time_in_force=TimeInForce.GTC
            if limit_price is None
            else reading.time_in_force_of(call, "stopLimitTimeInForce"),
            client_order_id=self._named(call, "stopClientOrderId"),
        )
        self._floor.instrument(SPOT, symbol)
        above, below = (target, stop) if side is Side.SELL else (stop, target)
        return self._place(call, symbol, side, qty, above, below)

    def cancel(self, call: Call) -> Any:
        symbol = self._floor.instrument(SPOT, call.text("symbol")).symbol
        number, client_id = call.maybe_whole("orderListId"), call.maybe("listClientOrderId")
        if number is None and client_id is None:
            raise reading.either_missing("orderListId", "listClientOrderId")
        found = self._find(number, client_id)
        if found is None or found.symbol != symbol or self._done(found):
            raise refusals.unknown_to_cancel()
        if client_id is not None and found.list_client_id != client_id:
            raise refusals.unknown_to_cancel()
        cancel_id = call.maybe("newClientOrderId") or self._names.next(call.now_ms)
        _, changes = self._floor.exchange.cancel_list(symbol, found.list_client_id, self._floor.clock.now_ms())
        settle_cancel(self._floor, changes, cancel_id)
        self._floor.limits.give_back(call.address, Site.SPOT, 1, self._floor.real_ms())
        return self.canceled(str(found.list_id), cancel_id)

    # --- questions

    def query(self, call: Call) -> Any:
        number, client_id = call.maybe_whole("orderListId"), call.maybe("origClientOrderId")
        if number is None and client_id is None:
            raise reading.either_missing("orderListId", "origClientOrderId")
        found = self._find(number, client_id)
        if found is None:
            raise Refusal(-2018, "Order list does not exist.")
        return self._listed(found)

    def open(self, call: Call) -> Any:
        return [self._listed(found) for found in self._all() if not self._done(found)]

    def all(self, call: Call) -> Any:
        start_ms, end_ms = reading.span_of(call)
        from_number = call.maybe_whole("fromId")
        if from_number is not None:
            reading.refuse_sent(call, "startTime", "endTime")
        rows = [
            found
            for found in self._all()
            if (from_number is None or found.list_id >= from_number)
            and (start_ms is None or found.created_at_ms >= start_ms)
            and (end_ms is None or found.created_at_ms <= end_ms)
        ]
        from_first = start_ms is not None or from_number is not None
        return [self._listed(found) for found in reading.page(rows, reading.limit_of(call), from_first=from_first)]

    # --- for those who cancel a leg

    def canceled(self, list_id: str, cancel_id: str) -> dict[str, Any]:
        """A list after its end, with what became of its legs."""
        found = self._find(int(list_id), None)
        assert found is not None, f"list {list_id} has orders and is unknown"
        reports = [words.canceled(leg, cancel_id) for leg in self._legs(found)]
        return {**self._listed(found), "orderReports": reports}

    # --- inside

    def _place(self, call: Call, symbol: str, side: Side, qty: Decimal, above: _Leg, below: _Leg) -> Any:
        kind = reading.answer_type_of(call, "RESULT")
        target, stop = (above, below) if side is Side.SELL else (below, above)
        if target.type is not OrderType.LIMIT_MAKER or target.price is None or stop.stop_price is None:
            raise Refusal(-1158, "Order type not supported in OCO.")
        _, changes = self._floor.exchange.place_oco(
            NewOco(
                list_client_id=self._named(call, "listClientOrderId"),
                symbol=symbol,
                side=side,
                qty=qty,
                target_client_id=target.client_order_id,
                target_price=target.price,
                stop_client_id=stop.client_order_id,
                stop_price=stop.stop_price,
                stop_limit_price=stop.price,
            ),
            self._floor.clock.now_ms(),
        )
        self._floor.settle(changes)
        self._floor.limits.give_back(call.address, Site.SPOT, 1, self._floor.real_ms())
        placed = self._all()[-1]
        reports = [words.answer(kind, leg, ()) for leg in self._legs(placed)]
        return {**self._listed(placed), "orderReports": reports}

    def _leg(self, call: Call, where: str) -> _Leg:
        for suffix, _ in NOT_OFFERED:
            _refuse_not_offered(call, where + suffix)
        kind = LEG_TYPES.get(call.text(f"{where}Type"))
        if kind is None:
            raise Refusal(-1158, "Order type not supported in OCO.")
        price = stop_price = None
        time_in_force = TimeInForce.GTC
        if kind in reading.PRICED:
            price = reading.positive(call, f"{where}Price", "price")
        else:
            reading.refuse_sent(call, f"{where}Price")
        if kind in TRIGGERED_TYPES:
            stop_price = reading.positive(call, f"{where}StopPrice", "stopPrice")
        else:
            reading.refuse_sent(call, f"{where}StopPrice")
        if kind in reading.TIMED:
            time_in_force = reading.time_in_force_of(call, f"{where}TimeInForce")
        else:
            reading.refuse_sent(call, f"{where}TimeInForce")
        return _Leg(where, kind, price, stop_price, time_in_force, self._named(call, f"{where}ClientOrderId"))

    def _named(self, call: Call, name: str) -> str:
        return call.maybe(name) or self._names.next(call.now_ms)

    def _all(self) -> tuple[ListRecord, ...]:
        lists = [
            found
            for instrument in self._floor.instruments(SPOT)
            for found in self._floor.exchange.order_lists(instrument.symbol)
        ]
        return tuple(sorted(lists, key=lambda found: found.list_id))

    def _find(self, number: int | None, client_id: str | None) -> ListRecord | None:
        """By its number, else the newest of this client id."""
        for found in reversed(self._all()):
            if found.list_id == number if number is not None else found.list_client_id == client_id:
                return found
        return None

    def _legs(self, found: ListRecord) -> Sequence[VenueOrder]:
        """The stop leg first."""
        orders = self._floor.exchange.orders(SPOT, found.symbol)
        legs = [order for order in orders if order.order_list_id == str(found.list_id)]
        return sorted(legs, key=lambda leg: leg.type not in STOP_LIKE)

    def _done(self, found: ListRecord) -> bool:
        """The first fill or trigger ends the list: what remains is a single order."""
        return any(leg.status.is_final for leg in self._legs(found))

    def _listed(self, found: ListRecord) -> dict[str, Any]:
        legs = self._legs(found)
        ts = max(leg.updated_at_ms for leg in legs)
        return words.listed(str(found.list_id), found.list_client_id, found.symbol, ts, legs, done=self._done(found))


def _refuse_not_offered(call: Call, name: str) -> None:
    if call.maybe(name) is not None:
        text = next(text for suffix, text in NOT_OFFERED if name.lower().endswith(suffix.lower()))
        raise Refusal(-1013, text)


def _refuse_wrong_sides(side: Side, above: _Leg, below: _Leg) -> None:
    if above.type is below.type is OrderType.LIMIT_MAKER:
        raise Refusal(-1168, "At least one OCO order must be contingent.")
    buying = side is Side.BUY
    target, stop = (below, above) if buying else (above, below)
    if stop.type is OrderType.LIMIT_MAKER:
        if buying:
            raise Refusal(-1165, "A limit order in a buy OCO must be below.")
        raise Refusal(-1166, "A limit order in a sell OCO must be above.")
    if target.type in STOP_LIKE:
        if buying:
            raise Refusal(-1196, "A stop loss order in a buy OCO must be above.")
        raise Refusal(-1197, "A stop loss order in a sell OCO must be below.")
    if stop.type not in STOP_LIKE:
        if buying:
            raise Refusal(-1198, "A take profit order in a buy OCO must be below.")
        raise Refusal(-1199, "A take profit order in a sell OCO must be above.")
