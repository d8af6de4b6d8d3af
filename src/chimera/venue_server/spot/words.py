"""How spot spells things: numbers, orders, fills, order lists. REST, WebSocket API and account events say the same.

Owns the translation from the matching's values to the exchange's JSON. Every amount has eight places. A cancel has an
id of its own: it stands where the order's was, and the order's moves to `origClientOrderId`. Source: the exchange's
rest-api and enums pages, 2026-07.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from chimera.contracts.enums import OrderStatus
from chimera.domain.execution.orders import VenueFill, VenueOrder, VenueOrderList
from chimera.domain.matching.records import TRIGGERED_TYPES, EndReason
from chimera.venue_server.futures.listen_keys import drawn_id

_CANCELED = frozenset({EndReason.USER.value})
_REASONS = {
    EndReason.OCO_TRIGGER.value: "OCO_TRIGGER",
    EndReason.IOC.value: "UNFILLED_IOC_QUANTITY_EXPIRED",
    EndReason.FOK.value: "UNFILLED_FOK_ORDER_EXPIRED",
    EndReason.LIQUIDITY.value: "INSUFFICIENT_LIQUIDITY",
    EndReason.BALANCE.value: "REJECTED",
}


def eight(number: Decimal) -> str:
    return f"{number:.8f}"


def status_word(order: VenueOrder) -> str:
    """The exchange's own status: what ended by its rules is EXPIRED, and only what somebody asked for is CANCELED."""
    if order.status is not OrderStatus.CANCELED or order.reason in _CANCELED:
        return order.status.value
    return "EXPIRED_IN_MATCH" if order.reason == EndReason.SELF_TRADE else "EXPIRED"


def expiry_reason(order: VenueOrder) -> str | None:
    """None for what has not expired, and for what met its own account: that is in the status."""
    if status_word(order) != "EXPIRED":
        return None
    return _REASONS.get(order.reason or "", "EXCHANGE_CANCELED")


def waiting(order: VenueOrder) -> bool:
    """True for a stop whose price was never reached: it never was in the book."""
    return order.type in TRIGGERED_TYPES and not order.triggered


def working_time(order: VenueOrder) -> int:
    """When the order came into the book; -1 where it never did."""
    return -1 if waiting(order) else order.triggered_at_ms or order.created_at_ms


def list_number(order: VenueOrder) -> int:
    return int(order.order_list_id) if order.order_list_id is not None else -1


class Names:
    """Ids for those who gave none: derived from the moment and a count."""

    def __init__(self) -> None:
        self._given = 0

    def next(self, now_ms: int) -> str:
        self._given += 1
        return drawn_id(f"spot/{now_ms}/{self._given}")


# --- orders


def ack(order: VenueOrder) -> dict[str, Any]:
    return {
        "symbol": order.symbol,
        "orderId": int(order.venue_order_id),
        "orderListId": list_number(order),
        "clientOrderId": order.client_order_id,
        "transactTime": order.updated_at_ms,
    }


def result(order: VenueOrder) -> dict[str, Any]:
    return {
        **ack(order),
        **_amounts(order),
        **_stop(order),
        "workingTime": working_time(order),
        "selfTradePreventionMode": order.stp.value,
        **_expiry(order),
    }


def answer(kind: str, order: VenueOrder, fills: Sequence[VenueFill]) -> dict[str, Any]:
    """To a placement; `kind` is ACK, RESULT or FULL."""
    if kind == "ACK":
        return ack(order)
    if kind == "RESULT":
        return result(order)
    return {**result(order), "fills": [_taken(fill) for fill in fills]}


def canceled(order: VenueOrder, cancel_id: str) -> dict[str, Any]:
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_order_id,
        "orderId": int(order.venue_order_id),
        "orderListId": list_number(order),
        "clientOrderId": cancel_id,
        "transactTime": order.updated_at_ms,
        **_amounts(order),
        **_stop(order),
        "selfTradePreventionMode": order.stp.value,
    }


def queried(order: VenueOrder) -> dict[str, Any]:
    return {
        "symbol": order.symbol,
        "orderId": int(order.venue_order_id),
        "orderListId": list_number(order),
        "clientOrderId": order.client_order_id,
        **_amounts(order),
        "stopPrice": eight(order.stop_price or Decimal(0)),
        "icebergQty": eight(Decimal(0)),
        "time": order.created_at_ms,
        "updateTime": order.updated_at_ms,
        "isWorking": not waiting(order),
        "workingTime": working_time(order),
        "selfTradePreventionMode": order.stp.value,
        **_expiry(order),
    }


def traded(fill: VenueFill, order_list_id: int) -> dict[str, Any]:
    """One line of the account's trades."""
    return {
        "symbol": fill.symbol,
        "id": fill.trade_id,
        "orderId": int(fill.venue_order_id),
        "orderListId": order_list_id,
        "price": eight(fill.price),
        "qty": eight(fill.qty),
        "quoteQty": eight(fill.price * fill.qty),
        "commission": eight(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": fill.ts,
        "isBuyer": fill.side.value == "BUY",
        "isMaker": fill.maker,
        "isBestMatch": True,
    }


def _amounts(order: VenueOrder) -> dict[str, Any]:
    return {
        "price": eight(order.price or Decimal(0)),
        "origQty": eight(order.qty),
        "executedQty": eight(order.filled_qty),
        "origQuoteOrderQty": eight(order.quote_qty or Decimal(0)),
        "cummulativeQuoteQty": eight(order.filled_quote),
        "status": status_word(order),
        "timeInForce": order.time_in_force.value,
        "type": order.type.value,
        "side": order.side.value,
    }


def _stop(order: VenueOrder) -> dict[str, Any]:
    return {"stopPrice": eight(order.stop_price)} if order.stop_price is not None else {}


def _expiry(order: VenueOrder) -> dict[str, Any]:
    reason = expiry_reason(order)
    return {"expiryReason": reason} if reason is not None else {}


def _taken(fill: VenueFill) -> dict[str, Any]:
    return {
        "price": eight(fill.price),
        "qty": eight(fill.qty),
        "commission": eight(fill.fee),
        "commissionAsset": fill.fee_asset,
        "tradeId": fill.trade_id,
    }


# --- order lists


def listed(found: VenueOrderList) -> dict[str, Any]:
    done = found.status == "ALL_DONE"
    return {
        "orderListId": int(found.list_id),
        "contingencyType": found.contingency,
        "listStatusType": found.status,
        "listOrderStatus": "ALL_DONE" if done else "EXECUTING",
        "listClientOrderId": found.list_client_id,
        "transactionTime": found.updated_at_ms,
        "symbol": found.symbol,
        "orders": [
            {"symbol": leg.symbol, "orderId": int(leg.venue_order_id), "clientOrderId": leg.client_order_id}
            for leg in stop_first(found)
        ],
    }


def list_placed(kind: str, found: VenueOrderList) -> dict[str, Any]:
    return {**listed(found), "orderReports": [answer(kind, leg, ()) for leg in stop_first(found)]}


def list_canceled(found: VenueOrderList, cancel_id: str) -> dict[str, Any]:
    return {**listed(found), "orderReports": [canceled(leg, cancel_id) for leg in stop_first(found)]}


def stop_first(found: VenueOrderList) -> tuple[VenueOrder, VenueOrder]:
    profit, loss = found.orders
    return loss, profit
