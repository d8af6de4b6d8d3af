"""The matching's values in the words of USDT-M futures: statuses, types, printed decimals, order payloads.

Decimals are printed as recorded: prices with the tick's digits, quantities with the step's, quote amounts with both
together, money with eight. Lists of open orders leave zeros bare, and the algo list prints as Java prints a double.
"""

from decimal import Decimal
from typing import Any

from chimera.contracts import ids
from chimera.contracts.enums import Market, OrderStatus, OrderType
from chimera.domain.execution.orders import VenueOrder
from chimera.domain.market.instrument import Instrument
from chimera.venue_server.numbers import digits

EIGHT = Decimal("0.00000001")
ZERO = Decimal(0)

EXPIRED_REASONS = frozenset(
    {"UNFILLED_IOC_QUANTITY_EXPIRED", "UNFILLED_FOK_ORDER_EXPIRED", "INSUFFICIENT_LIQUIDITY", "INSUFFICIENT_MARGIN"}
)
"""Ends by which the exchange says EXPIRED; every other end of a canceled order is CANCELED."""

IN_MATCH = "EXPIRED_IN_MATCH"

FORGOTTEN_MS = 3 * 86_400_000
OLD_MS = 90 * 86_400_000

REGULAR_TYPE = {
    OrderType.STOP_MARKET: "MARKET",
    OrderType.TAKE_PROFIT_MARKET: "MARKET",
    OrderType.STOP_LOSS_LIMIT: "LIMIT",
    OrderType.TAKE_PROFIT_LIMIT: "LIMIT",
}
"""What a conditional becomes in the regular book."""

ALGO_TYPE = {
    OrderType.STOP_MARKET: "STOP_MARKET",
    OrderType.TAKE_PROFIT_MARKET: "TAKE_PROFIT_MARKET",
    OrderType.STOP_LOSS_LIMIT: "STOP",
    OrderType.TAKE_PROFIT_LIMIT: "TAKE_PROFIT",
}


class Print:
    """How one symbol's numbers are printed; made once, asked for every order."""

    __slots__ = (
        "_average",
        "_price",
        "_qty",
        "_quote",
        "no_price",
        "no_qty",
        "no_quote",
        "price_places",
        "qty_places",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.price_places, self.qty_places = digits(instrument.tick_size), digits(instrument.step_size)
        self._price = Decimal(1).scaleb(-self.price_places)
        self._qty = Decimal(1).scaleb(-self.qty_places)
        self._quote = self._price * self._qty
        self._average = Decimal(1).scaleb(-max(5, self.price_places + 1))
        self.no_price = format(ZERO.quantize(self._price), "f")
        self.no_qty = format(ZERO.quantize(self._qty), "f")
        self.no_quote = format(ZERO.quantize(self._quote), "f")

    def price(self, price: Decimal | None) -> str:
        return padded(price, self._price) if price else self.no_price

    def rate(self, price: float) -> str:
        """A bar's price, which is a float on the tick."""
        return format(price, f".{self.price_places}f")

    def volume(self, volume: float) -> str:
        """A bar's volume, likewise."""
        return format(volume, f".{self.qty_places}f")

    def turnover(self, amount: float) -> str:
        return format(amount, f".{self.price_places + self.qty_places}f")

    def qty(self, qty: Decimal) -> str:
        return padded(qty, self._qty) if qty else self.no_qty

    def quote(self, amount: Decimal) -> str:
        return padded(amount, self._quote) if amount else self.no_quote

    def average(self, order: VenueOrder) -> str:
        """The average price of the fills."""
        if not order.filled_qty:
            return self.no_price
        return format((order.filled_quote / order.filled_qty).quantize(self._average), "f")


def padded(number: Decimal, unit: Decimal) -> str:
    """With the digits of `unit` and, where it has more, its own: what came about under finer rules stays what it is."""
    coarse = number.quantize(unit)
    return format(coarse if coarse == number else number.normalize(), "f")


def money(amount: Decimal) -> str:
    """Eight digits."""
    return format(amount.quantize(EIGHT), "f")


def bare(amount: Decimal) -> str:
    """Without trailing zeros: `0`, `12.5`."""
    return format(amount.normalize(), "f") if amount else "0"


def bare_money(amount: Decimal) -> str:
    """Eight digits, but zero is `0`."""
    return money(amount) if amount else "0"


def java_double(number: Decimal) -> str:
    """As Java's Double.toString: at least one digit behind the point, an exponent below 0.001 and from 10,000,000."""
    if not number:
        return "0.0"
    sign, figures, exponent = number.normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, figures))
    power = exponent + len(text) - 1
    lead = "-" if sign else ""
    if -4 < power < 7:
        plain = format(abs(number).normalize(), "f")
        return f"{lead}{plain}" if "." in plain else f"{lead}{plain}.0"
    return f"{lead}{text[0]}.{text[1:] or '0'}E{power}"


# --- the regular book


def status_of(order: VenueOrder) -> str:
    if order.status is not OrderStatus.CANCELED:
        return order.status.value
    if order.reason == IN_MATCH:
        return IN_MATCH
    return "EXPIRED" if order.reason in EXPIRED_REASONS else "CANCELED"


def type_of(order: VenueOrder) -> str:
    return REGULAR_TYPE.get(order.type, order.type.value)


def original_type_of(order: VenueOrder) -> str:
    return algo_type_of(order) if order.conditional else order.type.value


def in_regular_book(order: VenueOrder | None) -> bool:
    """A conditional is there once it has triggered, unless the matching refused what it became."""
    if order is None or order.market is not Market.FUT:
        return False
    return not order.conditional or (order.triggered and order.status is not OrderStatus.REJECTED)


def forgotten(order: VenueOrder, now_ms: int) -> bool:
    """The exchange no longer tells of it: three days old and ended without a fill, or ninety days old and ended."""
    age_ms = now_ms - order.created_at_ms
    if age_ms <= FORGOTTEN_MS or not order.status.is_final:
        return False
    return age_ms > OLD_MS or not order.filled_qty


def created_at_ms(order: VenueOrder) -> int:
    """In the regular book."""
    return order.triggered_at_ms or order.created_at_ms


def stp_of(order: VenueOrder) -> str:
    return order.stp.value


def placed(order: VenueOrder, out: Print) -> dict[str, Any]:
    """The answer to POST, PUT and DELETE /order: without the fills' price since 2026-07-15."""
    executed = out.qty(order.filled_qty)
    return {
        "orderId": int(order.venue_order_id),
        "symbol": order.symbol,
        "status": status_of(order),
        "clientOrderId": ids.as_told(order.client_order_id, order.venue_order_id),
        "price": out.price(order.price),
        "origQty": out.qty(order.qty),
        "executedQty": executed,
        "cumQty": executed,
        "timeInForce": order.time_in_force.value,
        "type": type_of(order),
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side.value,
        "positionSide": "BOTH",
        "stopPrice": out.price(order.stop_price),
        "workingType": order.working_type.value if order.conditional else "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": original_type_of(order),
        "priceMatch": "NONE",
        "selfTradePreventionMode": stp_of(order),
        "goodTillDate": 0,
        "updateTime": order.updated_at_ms,
    }


def accepted(order: VenueOrder, out: Print) -> dict[str, Any]:
    """The same for newOrderRespType ACK: what was known before the matching began."""
    answer = placed(order, out)
    answer["status"] = "NEW"
    answer["executedQty"] = answer["cumQty"] = out.no_qty
    answer["updateTime"] = order.created_at_ms
    return answer


def queried(order: VenueOrder, out: Print) -> dict[str, Any]:
    """GET /order, openOrder and allOrders."""
    return {
        "orderId": int(order.venue_order_id),
        "symbol": order.symbol,
        "status": status_of(order),
        "clientOrderId": ids.as_told(order.client_order_id, order.venue_order_id),
        "price": out.price(order.price),
        "avgPrice": out.average(order),
        "origQty": out.qty(order.qty),
        "executedQty": out.qty(order.filled_qty),
        "cumQuote": out.quote(order.filled_quote),
        "timeInForce": order.time_in_force.value,
        "type": type_of(order),
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side.value,
        "positionSide": "BOTH",
        "stopPrice": out.price(order.stop_price),
        "workingType": order.working_type.value if order.conditional else "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": original_type_of(order),
        "priceMatch": "NONE",
        "selfTradePreventionMode": stp_of(order),
        "goodTillDate": 0,
        "time": created_at_ms(order),
        "updateTime": order.updated_at_ms,
    }


def forced(order: VenueOrder, out: Print) -> dict[str, Any]:
    """GET /forceOrders."""
    answer = queried(order, out)
    for name in ("priceProtect", "priceMatch", "selfTradePreventionMode", "goodTillDate"):
        del answer[name]
    return answer


def listed(order: VenueOrder, out: Print) -> dict[str, Any]:
    """GET /openOrders: zeros are bare there, and it knows of a strategy."""
    answer = queried(order, out)
    for name, number in (
        ("avgPrice", order.filled_qty),
        ("executedQty", order.filled_qty),
        ("price", order.price),
        ("stopPrice", order.stop_price),
    ):
        if not number:
            answer[name] = "0"
    updated = answer.pop("updateTime")
    answer["strategyType"] = ""
    answer["updateTime"] = updated
    return answer


# --- the algo book


def algo_type_of(order: VenueOrder) -> str:
    if order.callback_ratio is not None:
        return "TRAILING_STOP_MARKET"
    return ALGO_TYPE[order.type]


def algo_status_of(order: VenueOrder) -> str:
    """NEW until the trigger; then TRIGGERED while the regular order lives and FINISHED when it has ended."""
    if order.status is OrderStatus.REJECTED:
        return "REJECTED"
    if order.triggered:
        return "FINISHED" if order.status.is_final else "TRIGGERED"
    return status_of(order)


def algo_placed(order: VenueOrder, out: Print, *, price_protect: bool) -> dict[str, Any]:
    """The answer to POST /algoOrder."""
    answer = {
        **_algo_head(order, order.time_in_force.value),
        "quantity": out.qty(order.qty),
        "algoStatus": "NEW",
        "triggerPrice": out.price(order.stop_price),
        "price": out.price(order.price),
        "icebergQuantity": None,
        **_algo_tail(order, price_protect),
    }
    if algo_type_of(order) == "TRAILING_STOP_MARKET":
        answer.update(_trailing(order, out))
    answer.update(
        {
            "createTime": order.created_at_ms,
            "updateTime": order.created_at_ms,
            "triggerTime": 0,
            "goodTillDate": 0,
        }
    )
    return answer


def algo_queried(order: VenueOrder, out: Print, *, price_protect: bool, legs: bool = False) -> dict[str, Any]:
    """GET /algoOrder; with `legs`, which always are none, GET /allAlgoOrders."""
    answer = {
        **_algo_head(order, order.time_in_force.value),
        "quantity": out.qty(order.qty),
        "algoStatus": algo_status_of(order),
        "actualOrderId": actual_order_id(order),
        "actualPrice": out.average(order) if order.filled_qty else out.no_quote,
    }
    if order.triggered:
        answer["actualType"] = type_of(order)
        answer["actualQty"] = out.qty(order.filled_qty)
    answer["triggerPrice"] = out.price(order.stop_price)
    answer["price"] = out.price(order.price)
    answer["icebergQuantity"] = None
    if legs:
        answer.update(
            tpTriggerPrice=out.no_price, tpPrice=out.no_price, slTriggerPrice=out.no_price, slPrice=out.no_price
        )
    answer["tpOrderType"] = ""
    answer.update(_algo_tail(order, price_protect))
    if algo_type_of(order) == "TRAILING_STOP_MARKET":
        answer.update(_trailing(order, out))
    answer.update(_algo_times(order))
    return answer


def algo_listed(order: VenueOrder, *, price_protect: bool) -> dict[str, Any]:
    """GET /openAlgoOrders: numbers went through a Java double."""
    answer = {
        **_algo_head(order, order.time_in_force.value),
        "quantity": java_double(order.qty),
        "algoStatus": algo_status_of(order),
        "actualOrderId": actual_order_id(order),
        "actualQty": java_double(order.filled_qty),
        "triggerPrice": java_double(order.stop_price or ZERO),
        "price": java_double(order.price or ZERO),
        "icebergQuantity": None,
        **_algo_tail(order, price_protect),
    }
    if algo_type_of(order) == "TRAILING_STOP_MARKET":
        answer["activatePrice"] = java_double(order.activate_price or ZERO)
        answer["callbackRate"] = java_double((order.callback_ratio or ZERO) * 100)
    answer.update(_algo_times(order))
    return answer


def actual_order_id(order: VenueOrder) -> str:
    """Of the regular order that the conditional became; empty before."""
    return order.venue_order_id if in_regular_book(order) else ""


def _algo_head(order: VenueOrder, time_in_force: str) -> dict[str, Any]:
    return {
        "algoId": int(order.venue_algo_id or 0),
        "clientAlgoId": order.client_order_id,
        "algoType": "CONDITIONAL",
        "orderType": algo_type_of(order),
        "symbol": order.symbol,
        "side": order.side.value,
        "positionSide": "BOTH",
        "timeInForce": time_in_force,
    }


def _algo_tail(order: VenueOrder, price_protect: bool) -> dict[str, Any]:
    return {
        "selfTradePreventionMode": stp_of(order),
        "workingType": order.working_type.value,
        "priceMatch": "NONE",
        "closePosition": order.close_position,
        "priceProtect": price_protect,
        "reduceOnly": order.reduce_only,
    }


def _algo_times(order: VenueOrder) -> dict[str, Any]:
    return {
        "createTime": order.created_at_ms,
        "updateTime": order.updated_at_ms,
        "triggerTime": order.triggered_at_ms,
        "goodTillDate": 0,
    }


def _trailing(order: VenueOrder, out: Print) -> dict[str, Any]:
    return {
        "activatePrice": out.price(order.activate_price),
        "callbackRate": bare((order.callback_ratio or ZERO) * 100),
    }
