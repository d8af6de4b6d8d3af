"""What the parameters of futures requests mean, and the refusals for those that mean nothing.

Choices where the exchange has more: positions are one-way, so `positionSide` is BOTH; `priceMatch` is NONE; GTD and RPI
are no times in force.
"""

from collections.abc import Callable
from typing import Any

from chimera.contracts.enums import Side, TimeInForce, WorkingType
from chimera.domain.execution.orders import SelfTrade
from chimera.domain.matching import refusals
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Route, Security, Site, Weight

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
PAGE_DEFAULT = 500
PAGE_MAX = 1_000

SIDES = {side.value: side for side in Side}
TIMES = {time.value: time for time in TimeInForce}
WORKING_TYPES = {working.value: working for working in WorkingType}
CONDITIONAL_TYPES = frozenset({"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"})
SELF_TRADES = {mode.value: mode for mode in SelfTrade}


def only_algo() -> Refusal:
    return Refusal(
        -4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
    )


def unknown_order() -> Refusal:
    return Refusal(-2013, "Order does not exist.")


def neither(first: str, second: str) -> Refusal:
    return Refusal(-1102, f"Param '{first}' or '{second}' must be sent, but both were empty/null!")


def side(call: Call) -> Side:
    found = SIDES.get(call.text("side"))
    if found is None:
        raise Refusal(-1117, "Invalid side.")
    return found


def time_in_force(call: Call) -> TimeInForce:
    found = TIMES.get(call.text("timeInForce"))
    if found is None:
        raise refusals.bad_time_in_force()
    return found


def working_type(call: Call) -> WorkingType:
    text = call.params.get("workingType") or WorkingType.CONTRACT_PRICE.value
    found = WORKING_TYPES.get(text)
    if found is None:
        raise Refusal(-4031, f"Invalid parameter working type: {text}")
    return found


def full_answer(call: Call) -> bool:
    """True for newOrderRespType RESULT; ACK is the default."""
    text = call.params.get("newOrderRespType") or "ACK"
    if text not in ("ACK", "RESULT"):
        raise Refusal(-1136, "Invalid newOrderRespType.")
    return text == "RESULT"


def self_trade(call: Call, default: SelfTrade) -> SelfTrade:
    text = call.params.get("selfTradePreventionMode")
    if not text:
        return default
    found = SELF_TRADES.get(text)
    if found is None:
        raise Refusal(-5039, "Invalid self trade prevention mode")
    return found


def refuse_two_sided(call: Call) -> None:
    text = call.params.get("positionSide")
    if text and text != "BOTH":
        if text not in ("LONG", "SHORT"):
            raise Refusal(-4060, "Invalid position side.")
        raise Refusal(-4061, "Order's position side does not match user's setting.")


def refuse_price_match(call: Call) -> None:
    if (call.params.get("priceMatch") or "NONE") != "NONE":
        raise Refusal(-5037, "Invalid price match")


def refuse_sent(call: Call, *names: str) -> None:
    for name in names:
        if call.params.get(name):
            raise refusals.not_required(name)


def page_size(call: Call, default: int = PAGE_DEFAULT, most: int = PAGE_MAX) -> int:
    limit = call.whole("limit", default)
    if not 1 <= limit <= most:
        raise refusals.bad_parameter("limit")
    return limit


def week(call: Call, now_ms: int) -> tuple[int, int]:
    """startTime and endTime of a question that covers at most seven days, and the last seven by default.

    Raises:
        Refusal: -1023 backwards, -4165 longer.
    """
    start_ms, end_ms = call.maybe_whole("startTime"), call.maybe_whole("endTime")
    if start_ms is None:
        end_ms = now_ms if end_ms is None else end_ms
        return end_ms - WEEK_MS, end_ms
    if end_ms is None:
        return start_ms, start_ms + WEEK_MS
    if start_ms > end_ms:
        raise Refusal(-1023, "Start time is greater than end time.")
    if end_ms - start_ms > WEEK_MS:
        raise Refusal(-4165, "Maximum time interval is 7 days")
    return start_ms, end_ms


def route(
    method: str,
    path: str,
    handler: Callable[[Call], Any],
    name: str,
    weight: Weight = 1,
    *,
    orders: int = 0,
    orders_long: int | None = None,
    security: Security = Security.SIGNED,
) -> Route:
    return Route(
        method=method,
        path=path,
        handler=handler,
        name=name,
        site=Site.FUTURES,
        weight=weight,
        orders=orders,
        orders_long=orders_long,
        security=security,
    )


def one_or_all(one: int, every: int) -> Weight:
    """The weight with a symbol, and without."""
    return lambda call: one if call.params.get("symbol") else every
