"""How spot reads a request: enums, numbers, spans of time, pages. Each refusal in the exchange's own words."""

import re
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from chimera.contracts.enums import OrderType, Side, TimeInForce
from chimera.domain.execution.orders import SelfTrade
from chimera.domain.matching import refusals
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Handler

NUMBER = re.compile(r"([0-9]{1,20})(\.[0-9]{1,20})?")
PLACES = 8
DAY_MS = 86_400_000
ROWS_MAX = 1_000
ROWS_DEFAULT = 500
TYPES = {
    each.value: each
    for each in (
        OrderType.LIMIT,
        OrderType.LIMIT_MAKER,
        OrderType.MARKET,
        OrderType.STOP_LOSS,
        OrderType.STOP_LOSS_LIMIT,
        OrderType.TAKE_PROFIT,
        OrderType.TAKE_PROFIT_LIMIT,
    )
}
TIMES = {each.value: each for each in (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)}
TIMED = frozenset({OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
PRICED = TIMED | {OrderType.LIMIT_MAKER}

EVERY_REQUEST = frozenset({"timestamp", "recvWindow", "signature", "apiKey", "returnRateLimits"})
"""The last two over the WebSocket."""

T = TypeVar("T")


def only(handler: Handler, names: Collection[str]) -> Handler:
    """`handler` for requests that send nothing else than `names` and what every request may carry.

    Raises:
        Refusal: -1104, something else was sent: the exchange refuses what it does not read.
    """
    known = frozenset(names) | EVERY_REQUEST

    def read(call: Call) -> Any:
        sent = len(call.params)
        if not known.issuperset(call.params):
            count = len(known.intersection(call.params))
            text = f"Not all sent parameters were read; read '{count}' parameter(s) but was sent '{sent}'."
            raise Refusal(-1104, text)
        return handler(call)

    return read


def strict_number(call: Call, name: str) -> Decimal:
    """Digits and a point, at most eight places: no sign, no exponent.

    Raises:
        Refusal: -1102 when it is missing, -1100 for other characters, -1111 for more places.
    """
    text = call.text(name)
    if NUMBER.fullmatch(text) is None:
        legal = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
        raise Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
    if "." in text and len(text.split(".")[1].rstrip("0")) > PLACES:
        raise Refusal(-1111, f"Parameter '{name}' has too much precision.")
    return Decimal(text)


def positive(call: Call, name: str, what: str) -> Decimal:
    """
    Raises:
        Refusal: as `strict_number`, and -1013 for zero.
    """
    number = strict_number(call, name)
    if number <= 0:
        raise Refusal(-1013, f"Invalid {what}.")
    return number


def side_of(call: Call) -> Side:
    try:
        return Side(call.text("side"))
    except ValueError:
        raise Refusal(-1117, "Invalid side.") from None


def type_of(call: Call, name: str) -> OrderType:
    kind = TYPES.get(call.text(name))
    if kind is None:
        raise refusals.bad_type()
    return kind


def time_in_force_of(call: Call, name: str) -> TimeInForce:
    time_in_force = TIMES.get(call.text(name))
    if time_in_force is None:
        raise refusals.bad_time_in_force()
    return time_in_force


def self_trade_of(call: Call) -> SelfTrade:
    """What gives way where the order would meet one of the account's own."""
    try:
        return SelfTrade(call.maybe("selfTradePreventionMode") or SelfTrade.EXPIRE_MAKER)
    except ValueError:
        raise refusals.bad_parameter("selfTradePreventionMode") from None


def answer_type_of(call: Call, default: str) -> str:
    asked = call.maybe("newOrderRespType") or default
    if asked not in ("ACK", "RESULT", "FULL"):
        raise refusals.bad_parameter("newOrderRespType")
    return asked


def refuse_sent(call: Call, *names: str) -> None:
    """
    Raises:
        Refusal: -1106, one of the parameters is there.
    """
    for name in names:
        if call.maybe(name) is not None:
            raise refusals.not_required(name)


def either_missing(first: str, second: str) -> Refusal:
    return Refusal(-1102, f"Param '{first}' or '{second}' must be sent, but both were empty/null!")


def span_of(call: Call) -> tuple[int | None, int | None]:
    """startTime and endTime, inclusive.

    Raises:
        Refusal: -1127, more than a day between them.
    """
    start_ms, end_ms = call.maybe_whole("startTime"), call.maybe_whole("endTime")
    if start_ms is not None and end_ms is not None and end_ms - start_ms > DAY_MS:
        raise Refusal(-1127, "More than 24 hours between startTime and endTime.")
    return start_ms, end_ms


def limit_of(call: Call, default: int = ROWS_DEFAULT, largest: int = ROWS_MAX) -> int:
    limit = call.whole("limit", default)
    if limit < 1:
        raise refusals.bad_parameter("limit")
    return min(limit, largest)


def page(rows: Sequence[T], limit: int, *, from_first: bool) -> Sequence[T]:
    """The first `limit` rows where the question says from where on, else the newest; the oldest first either way."""
    return rows[:limit] if from_first else rows[-limit:]
