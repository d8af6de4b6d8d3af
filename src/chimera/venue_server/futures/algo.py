"""The algo book of futures over REST: stops, targets and trailing stops until their price is reached.

An algo order is found without its symbol. What it becomes when it triggers is a regular order under a number of its
own, and the same client id.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from chimera.contracts.enums import Market, OrderType, TimeInForce
from chimera.domain.execution.orders import NewOrder, SelfTrade, VenueOrder
from chimera.domain.matching import refusals
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Route, Security
from chimera.venue_server.floor import Floor
from chimera.venue_server.futures import reading, words
from chimera.venue_server.futures.listen_keys import drawn_id
from chimera.venue_server.futures.orders import DONE
from chimera.venue_server.futures.prints import Prints
from chimera.venue_server.futures.reading import one_or_all, route

FUT = Market.FUT

TYPES = {
    "STOP": OrderType.STOP_LOSS_LIMIT,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT": OrderType.TAKE_PROFIT_LIMIT,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
    "TRAILING_STOP_MARKET": OrderType.STOP_MARKET,
}
LIMITED = frozenset({OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})


def algo_routes(floor: Floor, prints: Prints) -> list[Route]:
    algo = FuturesAlgo(floor, prints)
    trade = Security.TRADE
    return [
        route("POST", "/fapi/v1/algoOrder", algo.place, "algo.place", 0, orders=1, security=trade),
        route("GET", "/fapi/v1/algoOrder", algo.ask, "algo"),
        route("DELETE", "/fapi/v1/algoOrder", algo.cancel, "algo.cancel", security=trade),
        route("GET", "/fapi/v1/openAlgoOrders", algo.open_orders, "openAlgoOrders", one_or_all(1, 40)),
        route("GET", "/fapi/v1/allAlgoOrders", algo.all_orders, "allAlgoOrders", 5),
        route("DELETE", "/fapi/v1/algoOpenOrders", algo.cancel_all, "algoOpenOrders.cancel", security=trade),
    ]


class FuturesAlgo:
    def __init__(self, floor: Floor, prints: Prints) -> None:
        self._floor = floor
        self._prints = prints
        self._drawn = 0
        self._protected: set[int] = set()
        """Algo ids that asked for priceProtect. It is echoed, and forgotten with the process: marks here follow the
        last price too closely for it to ever matter."""

    def place(self, call: Call) -> Any:
        reading.full_answer(call)
        new, price_protect = self._read(call)
        order, changes = self._floor.exchange.place(new, self._floor.clock.now_ms())
        if price_protect:
            self._protected.add(int(order.venue_algo_id or 0))
        self._floor.settle(changes)
        return words.algo_placed(order, self._prints.of(order.symbol), price_protect=price_protect)

    def ask(self, call: Call) -> Any:
        order = self._find(call)
        if order is None or words.forgotten(order, self._floor.clock.now_ms()):
            raise reading.unknown_order()
        return words.algo_queried(order, self._prints.of(order.symbol), price_protect=self._protects(order))

    def cancel(self, call: Call) -> Any:
        order = self._find(call)
        if order is None or order.venue_algo_id is None:
            raise refusals.unknown_to_cancel()
        _, changes = self._floor.exchange.cancel_algo(order.symbol, order.venue_algo_id, self._floor.clock.now_ms())
        self._floor.settle(changes)
        return {
            "algoId": int(order.venue_algo_id),
            "clientAlgoId": order.client_order_id,
            "code": "200",
            "msg": "success",
        }

    def open_orders(self, call: Call) -> Any:
        symbol = call.maybe("symbol")
        if symbol is not None:
            self._prints.of(symbol)
        _refuse_other_algos(call)
        algo_id = call.maybe("algoId")
        return [
            words.algo_listed(order, price_protect=self._protects(order))
            for order in self._floor.exchange.open_conditional(symbol)
            if algo_id is None or order.venue_algo_id == algo_id
        ]

    def all_orders(self, call: Call) -> Any:
        symbol = call.text("symbol")
        out = self._prints.of(symbol)
        limit = reading.page_size(call)
        first_id = call.maybe_whole("algoId")
        now_ms = self._floor.clock.now_ms()
        start_ms, end_ms = reading.week(call, now_ms)
        found = [
            order
            for order in self._floor.exchange.orders(FUT, symbol, start_ms)
            if order.conditional
            and start_ms <= order.created_at_ms <= end_ms
            and (first_id is None or int(order.venue_algo_id or 0) >= first_id)
            and not words.forgotten(order, now_ms)
        ]
        forwards = first_id is not None or call.maybe("startTime") is not None
        return [
            words.algo_queried(order, out, price_protect=self._protects(order), legs=True)
            for order in (found[:limit] if forwards else found[-limit:])
        ]

    def cancel_all(self, call: Call) -> Any:
        symbol = call.text("symbol")
        self._prints.of(symbol)
        exchange = self._floor.exchange
        self._floor.settle(exchange.cancel_all(FUT, symbol, self._floor.clock.now_ms(), conditional=True))
        return DONE

    # --- inside

    def _read(self, call: Call) -> tuple[NewOrder, bool]:
        """
        Raises:
            Refusal: the request makes no sense whatever the book holds.
        """
        call.text("algoType")
        _refuse_other_algos(call)
        symbol = call.text("symbol")
        self._prints.of(symbol)
        side = reading.side(call)
        kind = call.text("type")
        type_ = TYPES.get(kind)
        if type_ is None:
            raise refusals.bad_type()
        trailing = kind == "TRAILING_STOP_MARKET"
        reading.refuse_two_sided(call)
        reading.refuse_price_match(call)
        reading.refuse_sent(call, "goodTillDate")
        price: Decimal | None = None
        time_in_force = TimeInForce.GTC
        if type_ in LIMITED:
            price = call.number("price")
            if call.maybe("timeInForce"):
                time_in_force = reading.time_in_force(call)
        else:
            reading.refuse_sent(call, "price")
            if (call.maybe("timeInForce") or "GTC") not in ("GTC", "GTE_GTC"):
                raise refusals.bad_time_in_force()
        if trailing:
            if call.maybe("triggerPrice"):
                raise refusals.would_trigger(FUT)
        else:
            reading.refuse_sent(call, "activatePrice", "callbackRate")
        close_position = call.flag("closePosition")
        new = NewOrder(
            client_order_id=call.params.get("clientAlgoId") or self._draw(),
            market=FUT,
            symbol=symbol,
            side=side,
            type=type_,
            qty=call.maybe_number("quantity") or Decimal(0) if close_position else call.number("quantity"),
            price=price,
            stop_price=None if trailing else call.number("triggerPrice"),
            time_in_force=time_in_force,
            reduce_only=call.flag("reduceOnly"),
            close_position=close_position,
            working_type=reading.working_type(call),
            callback_ratio=call.number("callbackRate") / 100 if trailing else None,
            activate_price=call.maybe_number("activatePrice"),
            stp=reading.self_trade(call, SelfTrade.EXPIRE_MAKER),
        )
        return new, call.flag("priceProtect")

    def _draw(self) -> str:
        self._drawn += 1
        return drawn_id(f"algo/{self._floor.clock.now_ms()}/{self._drawn}")

    def _find(self, call: Call) -> VenueOrder | None:
        """By algoId, which prevails, or clientAlgoId: the open one where several had it, else the newest.

        Raises:
            Refusal: -1102, neither was sent.
        """
        algo_id, client_id = call.maybe_whole("algoId"), call.maybe("clientAlgoId")
        if algo_id is None and client_id is None:
            raise reading.neither("algoId", "clientAlgoId")
        exchange = self._floor.exchange
        found: VenueOrder | None = None
        for symbol in self._symbols():
            if algo_id is not None:
                order = exchange.order_by_algo_id(symbol, str(algo_id))
            else:
                order = exchange.algo_order(symbol, client_id or "")
            if order is None:
                continue
            if words.algo_status_of(order) == "NEW":
                return order
            if found is None or order.created_at_ms > found.created_at_ms:
                found = order
        return found

    def _symbols(self) -> Iterator[str]:
        return (instrument.symbol for instrument in self._floor.instruments(FUT))

    def _protects(self, order: VenueOrder) -> bool:
        return int(order.venue_algo_id or 0) in self._protected


def _refuse_other_algos(call: Call) -> None:
    if (call.maybe("algoType") or "CONDITIONAL") != "CONDITIONAL":
        raise Refusal(-1130, "Data sent for parameter 'algoType' is not valid.")
