"""Spot order lists: two orders of which one ends the other, in the old form and the new.

Owns how a list is read and what is said of it: placed, asked for, cancelled. Which legs a list may have is the
matching's. The stop leg is named first, as the exchange does. Source: the exchange's rest-api page, 2026-07.
"""

from typing import Any

from chimera.contracts.enums import Market, OrderType, Side, TimeInForce
from chimera.domain.execution.orders import ListLeg, NewOrderList, VenueOrderList
from chimera.domain.matching import refusals
from chimera.domain.matching.records import TRIGGERED_TYPES
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Route, Security, Site
from chimera.venue_server.floor import Floor
from chimera.venue_server.spot import reading, words
from chimera.venue_server.spot.cancels import settle_cancel

SPOT = Market.SPOT
ICEBERG = "Iceberg orders are not supported for this symbol."
TRAILING = "Trailing stop orders are not supported for this symbol."
PEGGED = "Pegged orders are not supported for this symbol."

SHARED = ("symbol", "side", "quantity", "listClientOrderId", "newOrderRespType", "selfTradePreventionMode")
LEG = [
    "Type",
    "ClientOrderId",
    "Price",
    "StopPrice",
    "TimeInForce",
    "IcebergQty",
    "TrailingDelta",
    "StrategyId",
    "StrategyType",
    "PegPriceType",
    "PegOffsetType",
    "PegOffsetValue",
]
PARAMETERS = frozenset(SHARED) | {where + name for where in ("above", "below") for name in LEG}
OLD_PARAMETERS = frozenset(SHARED) | frozenset(
    [
        "price",
        "limitClientOrderId",
        "limitIcebergQty",
        "limitStrategyId",
        "limitStrategyType",
        "trailingDelta",
        "stopPrice",
        "stopClientOrderId",
        "stopLimitPrice",
        "stopLimitTimeInForce",
        "stopIcebergQty",
        "stopStrategyId",
        "stopStrategyType",
    ]
)
CANCEL_PARAMETERS = ("symbol", "orderListId", "listClientOrderId", "newClientOrderId")


def list_routes(floor: Floor, names: words.Names) -> list[Route]:
    lists = SpotLists(floor, names)
    spot, trade, signed = Site.SPOT, Security.TRADE, Security.SIGNED
    return [
        Route(
            method="POST",
            path="/api/v3/order/oco",
            handler=reading.only(lists.place_old, OLD_PARAMETERS),
            name="orderList.place",
            site=spot,
            security=trade,
            orders=2,
        ),
        Route(
            method="POST",
            path="/api/v3/orderList/oco",
            handler=reading.only(lists.place, PARAMETERS),
            name="orderList.place",
            site=spot,
            security=trade,
            orders=2,
        ),
        Route(
            method="DELETE",
            path="/api/v3/orderList",
            handler=reading.only(lists.cancel, CANCEL_PARAMETERS),
            name="orderList.cancel",
            site=spot,
            security=trade,
        ),
        Route(
            method="GET",
            path="/api/v3/orderList",
            handler=reading.only(lists.query, ("orderListId", "origClientOrderId")),
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


class SpotLists:
    def __init__(self, floor: Floor, names: words.Names) -> None:
        self._floor = floor
        self._names = names

    # --- requests

    def place(self, call: Call) -> Any:
        new = NewOrderList(
            symbol=call.text("symbol"),
            side=reading.side_of(call),
            qty=reading.positive(call, "quantity", "quantity"),
            above=self._leg(call, "above"),
            below=self._leg(call, "below"),
            list_client_id=self._named(call, "listClientOrderId"),
            stp=reading.self_trade_of(call),
        )
        return self._place(call, new)

    def place_old(self, call: Call) -> Any:
        """The deprecated form: a limit maker and a stop, whose sides follow from the order's."""
        for name, text in (("limitIcebergQty", ICEBERG), ("stopIcebergQty", ICEBERG), ("trailingDelta", TRAILING)):
            _refuse_not_offered(call, name, text)
        symbol, side = call.text("symbol"), reading.side_of(call)
        qty = reading.positive(call, "quantity", "quantity")
        target = ListLeg(
            client_order_id=self._named(call, "limitClientOrderId"),
            type=OrderType.LIMIT_MAKER,
            price=reading.positive(call, "price", "price"),
        )
        stop_id, stop_price = self._named(call, "stopClientOrderId"), reading.positive(call, "stopPrice", "stopPrice")
        if call.maybe("stopLimitPrice") is None:
            reading.refuse_sent(call, "stopLimitTimeInForce")
            stop = ListLeg(client_order_id=stop_id, type=OrderType.STOP_LOSS, stop_price=stop_price)
        else:
            stop = ListLeg(
                client_order_id=stop_id,
                type=OrderType.STOP_LOSS_LIMIT,
                price=reading.positive(call, "stopLimitPrice", "price"),
                stop_price=stop_price,
                time_in_force=reading.time_in_force_of(call, "stopLimitTimeInForce"),
            )
        above, below = (target, stop) if side is Side.SELL else (stop, target)
        new = NewOrderList(
            symbol=symbol,
            side=side,
            qty=qty,
            above=above,
            below=below,
            list_client_id=self._named(call, "listClientOrderId"),
            stp=reading.self_trade_of(call),
        )
        return self._place(call, new)

    def cancel(self, call: Call) -> Any:
        symbol = self._floor.instrument(SPOT, call.text("symbol")).symbol
        found = self._asked(call, "listClientOrderId")
        if found is None or found.status == "ALL_DONE":
            raise refusals.unknown_to_cancel()
        ended, changes = self._floor.exchange.cancel_order_list(
            symbol, self._floor.clock.now_ms(), list_id=found.list_id
        )
        cancel_id = call.maybe("newClientOrderId") or self._names.next(call.now_ms)
        settle_cancel(self._floor, changes, cancel_id)
        self._floor.limits.give_back(call.address, Site.SPOT, 1, self._floor.real_ms())
        return words.list_canceled(ended, cancel_id)

    # --- questions

    def query(self, call: Call) -> Any:
        found = self._asked(call, "origClientOrderId")
        if found is None:
            raise Refusal(-2018, "Order list does not exist.")
        return words.listed(found)

    def open(self, call: Call) -> Any:
        return [words.listed(found) for found in self._floor.exchange.open_order_lists()]

    def all(self, call: Call) -> Any:
        start_ms, end_ms = reading.span_of(call)
        from_number = call.maybe_whole("fromId")
        if from_number is not None:
            reading.refuse_sent(call, "startTime", "endTime")
        rows = [
            found
            for found in self._floor.exchange.order_lists()
            if (from_number is None or int(found.list_id) >= from_number)
            and (start_ms is None or found.created_at_ms >= start_ms)
            and (end_ms is None or found.created_at_ms <= end_ms)
        ]
        from_first = start_ms is not None or from_number is not None
        return [words.listed(found) for found in reading.page(rows, reading.limit_of(call), from_first=from_first)]

    # --- inside

    def _place(self, call: Call, new: NewOrderList) -> Any:
        kind = reading.answer_type_of(call, "RESULT")
        placed, changes = self._floor.exchange.place_list(new, self._floor.clock.now_ms())
        self._floor.settle(changes)
        self._floor.limits.give_back(call.address, Site.SPOT, 1, self._floor.real_ms())
        return words.list_placed(kind, placed)

    def _leg(self, call: Call, where: str) -> ListLeg:
        for suffix, text in (("IcebergQty", ICEBERG), ("TrailingDelta", TRAILING), ("PegPriceType", PEGGED)):
            _refuse_not_offered(call, where + suffix, text)
        kind = reading.type_of(call, f"{where}Type")
        priced, timed, triggered = kind in reading.PRICED, kind in reading.TIMED, kind in TRIGGERED_TYPES
        for name, needed in (("Price", priced), ("StopPrice", triggered), ("TimeInForce", timed)):
            if not needed:
                reading.refuse_sent(call, where + name)
        return ListLeg(
            client_order_id=self._named(call, f"{where}ClientOrderId"),
            type=kind,
            price=reading.positive(call, f"{where}Price", "price") if priced else None,
            stop_price=reading.positive(call, f"{where}StopPrice", "stopPrice") if triggered else None,
            time_in_force=reading.time_in_force_of(call, f"{where}TimeInForce") if timed else TimeInForce.GTC,
        )

    def _asked(self, call: Call, client_id_name: str) -> VenueOrderList | None:
        """The list that the call means: by its number, and then its client id must fit too where it was sent.

        Raises:
            Refusal: -1102, neither was sent.
        """
        number, client_id = call.maybe_whole("orderListId"), call.maybe(client_id_name)
        if number is None and client_id is None:
            raise reading.either_missing("orderListId", client_id_name)
        if number is None:
            return self._floor.exchange.order_list(list_client_id=client_id)
        found = self._floor.exchange.order_list(list_id=str(number))
        if found is not None and client_id not in (None, found.list_client_id):
            return None
        return found

    def _named(self, call: Call, name: str) -> str:
        return call.maybe(name) or self._names.next(call.now_ms)


def _refuse_not_offered(call: Call, name: str, text: str) -> None:
    if call.maybe(name) is not None:
        raise Refusal(-1013, text)
