"""What their stream events say, in our words. Pure; unknown fields and unknown events are not our business.

    bar_of, mark_of, ticker_of          the market
    futures_order, algo_order, spot_order, spot_balances        the account

An event that cannot be true raises BadEvent. Bars are judged as bars and prices as prices; whether a price is likely is
judged by whoever knows the one before. Source: the "WebSocket market streams" and "user data streams" pages of both
products and the recorded payloads; on futures `er` stands in no two documents alike and is read as a hint only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from chimera.adapters.binance import words
from chimera.adapters.binance.refused import BadEvent
from chimera.contracts import ids
from chimera.contracts.enums import Market, OrderStatus, OrderType, TimeInForce
from chimera.domain.execution.orders import Balance, VenueFill, VenueOrder
from chimera.domain.market.quotes import INTERVAL_MS, Bar, MarkPrice

Event = Mapping[str, Any]

ZERO = Decimal(0)
INFINITY = float("inf")
MINUTE_MS = INTERVAL_MS["1m"]
USDT_FUTURES = 1
"""`st` of a symbol of ours; 2 is coin-margined and travels in the same streams since 2026-06-30."""
LIQUIDATION = "LIQUIDATION"
_TRADES = frozenset({"TRADE", "CALCULATED"})
_SPOT_STOPS = frozenset(
    {OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}
)
_EXPIRY = {
    "1": "EXPIRED_IN_MATCH",
    "2": "UNFILLED_IOC_QUANTITY_EXPIRED",
    "3": "EXPIRED_IN_MATCH",
    "4": "REDUCE_ONLY_REJECT",
    "5": "ACCOUNT_LIQUIDATED",
    "6": "GTE_CONDITION_UNSATISFIED",
    "7": "SYMBOL_DELISTED",
}
"""Futures `er`, of an order that expired."""
_EXPIRED_BY_TIME = {
    TimeInForce.IOC: "UNFILLED_IOC_QUANTITY_EXPIRED",
    TimeInForce.FOK: "UNFILLED_FOK_ORDER_EXPIRED",
}


# --- the market


@dataclass(slots=True)
class Ticker:
    """Best prices as on the wire, already known to be numbers, positive and not crossed."""

    update_id: int
    ts: int
    bid: str
    bid_qty: str
    ask: str
    ask_qty: str
    mid: float


def ticker_of(data: Event, now_ms: int) -> Ticker:
    """Spot does not say when: there `ts` is when we heard it."""
    bid, ask = data["b"], data["a"]
    best_bid, best_ask = float(bid), float(ask)
    if not 0.0 < best_bid < INFINITY or not 0.0 < best_ask < INFINITY:
        raise BadEvent("a price is not positive")
    if best_bid >= best_ask:
        raise BadEvent("crossed")
    if not 0.0 < float(data["B"]) < INFINITY or not 0.0 < float(data["A"]) < INFINITY:
        raise BadEvent("a quantity is not positive")
    return Ticker(int(data["u"]), data.get("E") or now_ms, bid, data["B"], ask, data["A"], (best_bid + best_ask) / 2)


def price_of(text: str) -> float:
    """A price that was traded."""
    price = float(text)
    if not 0.0 < price < INFINITY:
        raise BadEvent("a price is not positive")
    return price


def bar_of(market: Market, symbol: str, k: Event) -> Bar:
    """A closed one-minute bar; whether it is closed says `k["x"]`."""
    if k["i"] != "1m":
        raise BadEvent("not a bar of one minute")
    bar = Bar(
        market,
        symbol,
        "1m",
        int(k["t"]),
        float(k["o"]),
        float(k["h"]),
        float(k["l"]),
        float(k["c"]),
        float(k["v"]),
    )
    if bar.open_time % MINUTE_MS or bar.open_time <= 0:
        raise BadEvent("a bar does not begin with a minute")
    if not 0.0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high < INFINITY:
        raise BadEvent("a bar's prices contradict each other")
    if not 0.0 <= bar.volume < INFINITY:
        raise BadEvent("a volume is negative")
    return bar


def mark_of(data: Event, interval_h: int) -> MarkPrice:
    rate, funding_time = float(data["r"]), int(data["T"])
    if not -1.0 < rate < 1.0:
        raise BadEvent("a funding rate is no ratio")
    if funding_time <= 0:
        raise BadEvent("T is missing")
    return MarkPrice(int(data["E"]), data["s"], number(data, "p", above=ZERO), rate, funding_time, interval_h)


def is_ours(data: Event) -> bool:
    """False for coin-margined symbols, which share streams and account events with ours."""
    return bool(data.get("st", USDT_FUTURES) == USDT_FUTURES and data.get("fs", "UM") == "UM")


# --- the account


def futures_order(event: Event) -> tuple[VenueOrder, VenueFill | None]:
    """ORDER_TRADE_UPDATE. `created_at_ms` is 0 unless the event says that the order is new. The exchange's own orders
    are named by `ids.told_apart`."""
    o = event["o"]
    ts = int(o.get("T") or event.get("T") or event["E"])
    venue_order_id, status_word = str(o["i"]), text(o, "X")
    client_order_id = ids.told_apart(text(o, "c"), venue_order_id)
    kind_word = o.get("ot") or text(o, "o")
    conditional = kind_word in words.FUT_ALGO_WORDS
    time_in_force = words.tif_of(o.get("f"))
    if ids.is_of_the_exchange(client_order_id):
        reason: str | None = LIQUIDATION
    elif status_word == "EXPIRED":
        reason = _EXPIRY.get(str(o.get("er"))) or _EXPIRED_BY_TIME.get(time_in_force) or "EXPIRED"
    else:
        reason = words.reason_of(status_word)
    order = VenueOrder(
        client_order_id=client_order_id,
        venue_order_id=venue_order_id,
        market=Market.FUT,
        symbol=text(o, "s"),
        side=words.side_of(o["S"]),
        type=words.fut_type_of(kind_word),
        status=words.status_of(status_word),
        qty=number(o, "q", least=ZERO),
        filled_qty=number(o, "z", least=ZERO),
        price=_price(o.get("p")),
        stop_price=_price(o.get("sp")) if conditional else None,
        reduce_only=bool(o.get("R", False)),
        conditional=conditional,
        created_at_ms=ts if o.get("x") == "NEW" else 0,
        updated_at_ms=ts,
        close_position=bool(o.get("cp", False)),
        triggered=conditional,
        reason=reason,
        working_type=words.working_type_of(o.get("wt")),
        time_in_force=time_in_force,
    )
    return order, _fill(order, o, ts, fee_asset="USDT", realized=number(o, "rp") if o.get("rp") else ZERO)


def algo_order(event: Event) -> VenueOrder:
    """ALGO_UPDATE: a conditional order before, at and after its trigger.

    FINISHED says that the order which the trigger made has ended; how, its executed quantity tells.
    """
    o = event["o"]
    ts = int(event.get("T") or event["E"])
    word, qty = text(o, "X"), number(o, "q", least=ZERO)
    filled_qty = number(o, "aq", least=ZERO) if o.get("aq") else ZERO
    venue_order_id = str(o.get("ai") or "")
    if word == "FINISHED":
        status = OrderStatus.FILLED if filled_qty > 0 and filled_qty >= qty else OrderStatus.CANCELED
    elif word in words.ALGO_STATUSES:
        status = words.ALGO_STATUSES[word]
    else:
        raise BadEvent("X is an unknown word")
    reason = None
    if status in (OrderStatus.CANCELED, OrderStatus.REJECTED):
        reason = o.get("rm") or ("USER" if word == "CANCELED" else word)
    return VenueOrder(
        client_order_id=text(o, "caid"),
        venue_order_id="" if venue_order_id == "0" else venue_order_id,
        market=Market.FUT,
        symbol=text(o, "s"),
        side=words.side_of(o["S"]),
        type=words.fut_type_of(text(o, "o")),
        status=status,
        qty=qty,
        filled_qty=filled_qty,
        price=_price(o.get("p")),
        stop_price=_price(o.get("tp")),
        reduce_only=bool(o.get("R", False)),
        conditional=True,
        created_at_ms=ts if word == "NEW" else 0,
        updated_at_ms=ts,
        close_position=bool(o.get("cp", False)),
        triggered=word in words.ALGO_TRIGGERED,
        venue_algo_id=str(o["aid"]),
        reason=reason,
        working_type=words.working_type_of(o.get("wt")),
        time_in_force=words.tif_of(o.get("f")),
    )


def spot_order(event: Event) -> tuple[VenueOrder, VenueFill | None]:
    """executionReport. A canceled order is named by `C`: `c` is then the cancel request's own id."""
    status_word = text(event, "X")
    original = event.get("C")
    ts = int(event.get("T") or event["E"])
    kind = words.spot_type_of(text(event, "o"))
    filled_qty = number(event, "z", least=ZERO)
    told = event.get("r") if status_word == "REJECTED" else event.get("eR")
    list_id = event.get("g", -1)
    order = VenueOrder(
        client_order_id=original if original and original != "null" else text(event, "c"),
        venue_order_id=str(event["i"]),
        market=Market.SPOT,
        symbol=text(event, "s"),
        side=words.side_of(event["S"]),
        type=kind,
        status=words.status_of(status_word),
        qty=number(event, "q", least=ZERO),
        filled_qty=filled_qty,
        price=_price(event.get("p")),
        stop_price=_price(event.get("P")),
        reduce_only=False,
        conditional=False,
        created_at_ms=int(event.get("O") or 0),
        updated_at_ms=ts,
        triggered=kind in _SPOT_STOPS and (filled_qty > 0 or bool(event.get("w"))),
        order_list_id=None if list_id in (-1, None) else str(list_id),
        reason=words.reason_of(status_word, str(told) if told is not None else None),
        time_in_force=words.tif_of(event.get("f")),
    )
    return order, _fill(order, event, ts, fee_asset="", realized=ZERO)


def spot_balances(event: Event) -> tuple[Balance, ...]:
    """outboundAccountPosition: what the assets that were touched amount to now."""
    return tuple(
        Balance(market=Market.SPOT, asset=text(each, "a"), free=number(each, "f"), locked=number(each, "l", least=ZERO))
        for each in event["B"]
    )


def _fill(order: VenueOrder, o: Event, ts: int, *, fee_asset: str, realized: Decimal) -> VenueFill | None:
    """None where nothing was traded, and for a liquidation that names no trade: the trade list tells those."""
    if o.get("x") not in _TRADES or int(o.get("t") or 0) <= 0:
        return None
    return VenueFill(
        market=order.market,
        symbol=order.symbol,
        side=order.side,
        trade_id=int(o["t"]),
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        price=number(o, "L", above=ZERO),
        qty=number(o, "l", above=ZERO),
        fee=number(o, "n") if o.get("n") else ZERO,
        fee_asset=o.get("N") or fee_asset,
        maker=bool(o.get("m", False)),
        realized_pnl_usdt=realized,
        ts=ts,
    )


def text(data: Event, name: str) -> str:
    value = data[name]
    if not isinstance(value, str) or not value:
        raise BadEvent(f"{name} is no text")
    return value


def number(data: Event, name: str, *, above: Decimal | None = None, least: Decimal | None = None) -> Decimal:
    """Exact, as written; scientific notation is a number."""
    value = data[name]
    try:
        exact = Decimal(value if isinstance(value, str) else str(value))
    except InvalidOperation:
        raise BadEvent(f"{name} is no number") from None
    if not exact.is_finite():
        raise BadEvent(f"{name} is no number")
    if above is not None and exact <= above:
        raise BadEvent(f"{name} is not above {above}")
    if least is not None and exact < least:
        raise BadEvent(f"{name} is below {least}")
    return exact


def _price(value: Any) -> Decimal | None:
    """0 and nothing mean that there is none."""
    if value in (None, ""):
        return None
    price = number({"price": value}, "price", least=ZERO)
    return price if price else None
