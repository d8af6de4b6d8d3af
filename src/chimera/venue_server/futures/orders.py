"""The regular book of futures over REST: place, ask, amend, cancel, singly and in batches.

Conditional types are refused here: they belong to the algo book. What is answered to a new order is by default what was
known before the matching began (ACK); who wants to know what became of it asks for RESULT, or asks later.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from chimera.contracts import ids
from chimera.contracts.enums import Market, OrderStatus, OrderType, TimeInForce
from chimera.domain.execution.orders import NewOrder, SelfTrade, VenueOrder
from chimera.domain.matching import refusals
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Route, Security
from chimera.venue_server.floor import Floor
from chimera.venue_server.futures import reading, words
from chimera.venue_server.futures.listen_keys import drawn_id
from chimera.venue_server.futures.prints import Prints
from chimera.venue_server.futures.reading import one_or_all, route

A = TypeVar("A")

FUT = Market.FUT
BATCH_MAX = 5
CANCEL_BATCH_MAX = 10
FORCED_DEFAULT = 50
FORCED_MAX = 100
FORCED = {"LIQUIDATION": ids.LIQUIDATION_PREFIX, "ADL": ids.ADL_PREFIX}
"""By `autoCloseType`: what the names begin with."""
TYPES = {"LIMIT": OrderType.LIMIT, "MARKET": OrderType.MARKET}
DONE = {"code": 200, "msg": "The operation of cancel all open order is done."}


def order_routes(floor: Floor, prints: Prints) -> list[Route]:
    orders = FuturesOrders(floor, prints)
    trade = Security.TRADE
    return [
        route("POST", "/fapi/v1/order", orders.place, "order.place", 0, orders=1, security=trade),
        route("POST", "/fapi/v1/order/test", orders.test, "order.test", 1, security=trade),
        route("GET", "/fapi/v1/order", orders.ask, "order"),
        route("PUT", "/fapi/v1/order", orders.amend, "order.amend", 0, orders=1, security=trade),
        route("DELETE", "/fapi/v1/order", orders.cancel, "order.cancel", security=trade),
        route(
            "POST",
            "/fapi/v1/batchOrders",
            orders.place_batch,
            "batch.place",
            5,
            orders=5,
            orders_long=1,
            security=trade,
        ),
        route(
            "PUT", "/fapi/v1/batchOrders", orders.amend_batch, "batch.amend", 5, orders=5, orders_long=1, security=trade
        ),
        route("DELETE", "/fapi/v1/batchOrders", orders.cancel_batch, "batch.cancel", security=trade),
        route("GET", "/fapi/v1/openOrder", orders.ask_open, "openOrder"),
        route("GET", "/fapi/v1/openOrders", orders.open_orders, "openOrders", one_or_all(1, 40)),
        route("GET", "/fapi/v1/allOrders", orders.all_orders, "allOrders", one_or_all(5, 40)),
        route("GET", "/fapi/v1/forceOrders", orders.forced, "forceOrders", one_or_all(20, 50)),
        route("DELETE", "/fapi/v1/allOpenOrders", orders.cancel_all, "allOpenOrders.cancel", security=trade),
        route("POST", "/fapi/v1/countdownCancelAll", orders.count_down, "countdown", 10, security=trade),
    ]


class FuturesOrders:
    def __init__(self, floor: Floor, prints: Prints) -> None:
        self._floor = floor
        self._prints = prints
        self._drawn = 0

    # --- one order

    def place(self, call: Call) -> Any:
        return self._place(call, SelfTrade.EXPIRE_MAKER)

    def test(self, call: Call) -> Any:
        order = self._read(call, SelfTrade.EXPIRE_MAKER)
        now_ms = self._floor.clock.now_ms()
        self._floor.exchange.check(order, now_ms)
        out = self._prints.of(order.symbol)
        answer = words.placed(_untouched(order, now_ms), out)
        answer.update(avgPrice=out.no_price, cumQuote=out.no_quote)
        return answer

    def ask(self, call: Call) -> Any:
        order = self._find(call)
        return words.queried(order, self._prints.of(order.symbol))

    def amend(self, call: Call) -> Any:
        return self._amend(call)

    def cancel(self, call: Call) -> Any:
        symbol = call.text("symbol")
        out = self._prints.of(symbol)
        order_id, client_id = _named(call)
        return words.placed(self._cancel(symbol, order_id, client_id), out)

    def ask_open(self, call: Call) -> Any:
        order = self._find(call)
        if order.status.is_final:
            raise reading.unknown_order()
        return words.queried(order, self._prints.of(order.symbol))

    # --- several

    def place_batch(self, call: Call) -> Any:
        return self._each(call, lambda single: self._place(single, SelfTrade.NONE))

    def amend_batch(self, call: Call) -> Any:
        return self._each(call, self._amend)

    def cancel_batch(self, call: Call) -> Any:
        symbol = call.text("symbol")
        out = self._prints.of(symbol)
        names: list[tuple[str | None, str | None]] = []
        sent = {name.lower(): name for name, value in call.params.items() if value}  # clients write them either way
        if "orderidlist" in sent:
            names = [(str(order_id), None) for order_id in _json_list(call, sent["orderidlist"])]
        elif "origclientorderidlist" in sent:
            names = [(None, str(client_id)) for client_id in _json_list(call, sent["origclientorderidlist"])]
        else:
            raise reading.neither("orderIdList", "origClientOrderIdList")
        if not 1 <= len(names) <= CANCEL_BATCH_MAX:
            raise Refusal(-4032, "Exceed maximum cancel order size.")

        return _answers(names, lambda name: words.placed(self._cancel(symbol, *name), out))

    def open_orders(self, call: Call) -> Any:
        symbol = call.maybe("symbol")
        if symbol is not None:
            self._prints.of(symbol)
        orders = self._floor.exchange.open_orders(FUT, symbol)
        return [words.listed(order, self._prints.of(order.symbol)) for order in orders]

    def all_orders(self, call: Call) -> Any:
        symbol = call.maybe("symbol")
        if symbol is not None:
            self._prints.of(symbol)
        limit = reading.page_size(call)
        first_id = call.maybe_whole("orderId")
        now_ms = self._floor.clock.now_ms()
        start_ms, end_ms = reading.week(call, now_ms)
        found = [
            order
            for order in self._floor.exchange.booked_orders(symbol, start_ms)
            if words.in_regular_book(order)
            and start_ms <= words.created_at_ms(order) <= end_ms
            and (first_id is None or int(order.venue_order_id) >= first_id)
            and not words.forgotten(order, now_ms)
        ]
        found.sort(key=lambda order: int(order.venue_order_id))
        forwards = first_id is not None or call.maybe("startTime") is not None
        return [
            words.queried(order, self._prints.of(order.symbol))
            for order in (found[:limit] if forwards else found[-limit:])
        ]

    def forced(self, call: Call) -> Any:
        """What the exchange itself ordered to end positions of ours."""
        symbol = call.maybe("symbol")
        if symbol is not None:
            self._prints.of(symbol)
        limit = reading.page_size(call, FORCED_DEFAULT, FORCED_MAX)
        start_ms, end_ms = reading.week(call, self._floor.clock.now_ms())
        asked = call.maybe("autoCloseType")
        if asked is not None and asked not in FORCED:
            raise refusals.bad_parameter("autoCloseType")
        prefixes = tuple(prefix for kind, prefix in FORCED.items() if asked in (None, kind))
        found = [
            words.forced(order, self._prints.of(order.symbol))
            for order in self._floor.exchange.orders(FUT, symbol, start_ms)
            if order.client_order_id.startswith(prefixes) and order.created_at_ms <= end_ms
        ]
        return found[-limit:]

    def cancel_all(self, call: Call) -> Any:
        symbol = call.text("symbol")
        self._prints.of(symbol)
        self._floor.settle(self._floor.exchange.cancel_all(FUT, symbol, self._floor.clock.now_ms()))
        return DONE

    def count_down(self, call: Call) -> Any:
        symbol = call.text("symbol")
        self._prints.of(symbol)
        countdown_ms = call.whole("countdownTime")
        now_ms = self._floor.clock.now_ms()
        self._floor.exchange.set_countdown(symbol, countdown_ms, now_ms)
        self._floor.settle(())
        if countdown_ms:
            self._floor.host.look_at_ms(now_ms + countdown_ms)
        return {"symbol": symbol, "countdownTime": str(countdown_ms)}

    # --- inside

    def _place(self, call: Call, self_trade: SelfTrade) -> Any:
        full = reading.full_answer(call)
        new = self._read(call, self_trade)
        order, changes = self._floor.exchange.place(new, self._floor.clock.now_ms())
        self._floor.settle(changes)
        out = self._prints.of(order.symbol)
        return words.placed(order, out) if full else words.accepted(order, out)

    def _read(self, call: Call, self_trade: SelfTrade) -> NewOrder:
        symbol = call.text("symbol")
        self._prints.of(symbol)
        side = reading.side(call)
        kind = call.text("type")
        type_ = TYPES.get(kind)
        if type_ is None:
            raise reading.only_algo() if kind in reading.CONDITIONAL_TYPES else refusals.bad_type()
        reading.refuse_two_sided(call)
        reading.refuse_price_match(call)
        reading.refuse_sent(call, "stopPrice", "activationPrice", "activatePrice", "callbackRate", "goodTillDate")
        price: Decimal | None = None
        time_in_force = TimeInForce.GTC
        if type_ is OrderType.LIMIT:
            time_in_force = reading.time_in_force(call)
            price = call.number("price")
        else:
            reading.refuse_sent(call, "timeInForce", "price")
        close_position = call.flag("closePosition")
        return NewOrder(
            client_order_id=call.params.get("newClientOrderId") or self._draw(),
            market=FUT,
            symbol=symbol,
            side=side,
            type=type_,
            qty=call.maybe_number("quantity") or Decimal(0) if close_position else call.number("quantity"),
            price=price,
            time_in_force=time_in_force,
            reduce_only=call.flag("reduceOnly"),
            close_position=close_position,
            stp=reading.self_trade(call, self_trade),
        )

    def _draw(self) -> str:
        self._drawn += 1
        return drawn_id(f"order/{self._floor.clock.now_ms()}/{self._drawn}")

    def _amend(self, call: Call) -> Any:
        symbol = call.text("symbol")
        out = self._prints.of(symbol)
        order_id, client_id = _named(call)
        side = reading.side(call)
        reading.refuse_price_match(call)
        modify_id = call.maybe_whole("modifyId")
        order, changes = self._floor.exchange.amend(
            symbol,
            self._floor.clock.now_ms(),
            side=side,
            qty=call.number("quantity"),
            price=call.number("price"),
            venue_order_id=order_id,
            client_order_id=client_id,
        )
        self._floor.settle(changes)
        answer = words.placed(order, out)
        answer["pair"] = symbol
        if modify_id is not None:
            answer["modifyId"] = modify_id
        return answer

    def _cancel(self, symbol: str, order_id: str | None, client_id: str | None) -> VenueOrder:
        exchange, now_ms = self._floor.exchange, self._floor.clock.now_ms()
        if order_id is not None:
            order, changes = exchange.cancel_number(FUT, symbol, order_id, now_ms)
        else:
            order, changes = exchange.cancel(FUT, symbol, client_id or "", now_ms)
        self._floor.settle(changes)
        return order

    def _find(self, call: Call) -> VenueOrder:
        """
        Raises:
            Refusal: -2013, never known or forgotten.
        """
        symbol = call.text("symbol")
        self._prints.of(symbol)
        order_id, client_id = _named(call)
        exchange = self._floor.exchange
        if order_id is not None:
            order = exchange.order_by_number(FUT, symbol, order_id)
        else:
            order = exchange.regular_order(FUT, symbol, client_id or "")
        if order is None or not words.in_regular_book(order) or words.forgotten(order, self._floor.clock.now_ms()):
            raise reading.unknown_order()
        return order

    def _each(self, call: Call, do: Callable[[Call], Any]) -> list[Any]:
        """One answer for each of `batchOrders`, a refusal being one too."""
        entries = _json_list(call, "batchOrders")
        if not 1 <= len(entries) <= BATCH_MAX:
            raise Refusal(-4082, f"Invalid number of batch place orders: {len(entries)}")
        singles = []
        for entry in entries:
            if not isinstance(entry, dict):
                raise refusals.bad_parameter("batchOrders")
            singles.append(replace(call, params={name: _text(value) for name, value in entry.items()}))
        return _answers(singles, do)


def _answers(asked: Iterable[A], do: Callable[[A], Any]) -> list[Any]:
    answers: list[Any] = []
    for each in asked:
        try:
            answer = do(each)
        except Refusal as refusal:
            answer = {"code": refusal.code, "msg": refusal.text}
        answers.append(answer)
    return answers


def _named(call: Call) -> tuple[str | None, str | None]:
    """orderId and origClientOrderId; the former prevails.

    Raises:
        Refusal: -1102, neither was sent.
    """
    order_id = call.maybe_whole("orderId")
    client_id = call.maybe("origClientOrderId")
    if order_id is None and client_id is None:
        raise reading.neither("origClientOrderId", "orderId")
    return (str(order_id) if order_id is not None else None), client_id


def _untouched(new: NewOrder, now_ms: int) -> VenueOrder:
    """The order as it would stand before any matching; a test has no number."""
    return VenueOrder(
        client_order_id=new.client_order_id,
        venue_order_id="0",
        market=new.market,
        symbol=new.symbol,
        side=new.side,
        type=new.type,
        status=OrderStatus.NEW,
        qty=new.qty,
        filled_qty=Decimal(0),
        price=new.price,
        stop_price=None,
        reduce_only=new.reduce_only,
        conditional=False,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
        time_in_force=new.time_in_force,
        stp=new.stp,
    )


def _json_list(call: Call, name: str) -> list[Any]:
    """
    Raises:
        Refusal: -1102 when it is missing, -1130 when it is no JSON list.
    """
    try:
        value = json.loads(call.text(name), parse_float=str, parse_int=str)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise refusals.bad_parameter(name)
    return value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
