"""Account changes in the words of the spot user stream: executionReport, outboundAccountPosition, balanceUpdate,
listStatus, without the envelope of whoever carries them.

Owns their order: the reports of what happened to orders, what it did to their list, then to balances.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from chimera.contracts.enums import Market
from chimera.domain.execution.orders import (
    AccountChange,
    Balance,
    BalancesChanged,
    ListUpdated,
    OrderUpdated,
    VenueFill,
    VenueOrderList,
)
from chimera.venue_server.floor import Floor
from chimera.venue_server.spot.words import (
    eight,
    expiry_reason,
    list_number,
    status_word,
    waiting,
    working_time,
)

ZERO = Decimal(0)
MOVED = frozenset({"TRANSFER", "DEPOSIT", "WITHDRAW"})

Event = dict[str, Any]


class SpotWords:
    """Remembers what every wallet held, so that a movement can be told as one."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._held = {each.asset: each.free + each.locked for each in floor.exchange.balances(Market.SPOT)}
        self._reports = 0

    def of(self, changes: Sequence[AccountChange]) -> list[Event]:
        """The events of one request or tick, in the order in which they leave."""
        now_ms = self._floor.now_ms()
        events: list[Event] = []
        for change in changes:
            match change:
                case OrderUpdated(order=order):
                    if order.market is Market.SPOT:
                        events.append(self._report(change, now_ms))
                case ListUpdated(order_list=order_list):
                    events.append(_list_status(order_list, now_ms))
                case BalancesChanged(ts=ts, cause=cause, balances=balances):
                    mine = [balance for balance in balances if balance.market is Market.SPOT]
                    if mine:
                        events += self._balances(ts, cause, mine, now_ms)
        return events

    def _report(self, change: OrderUpdated, now_ms: int) -> Event:
        order, fill = change.order, change.fill
        status = status_word(order)
        canceling = self._floor.cancel_ids.get(order.venue_order_id, "") if status == "CANCELED" else ""
        self._reports += 1
        report: Event = {
            "e": "executionReport",
            "E": now_ms,
            "s": order.symbol,
            "c": canceling or order.client_order_id,
            "S": order.side.value,
            "o": order.type.value,
            "f": order.time_in_force.value,
            "q": eight(order.qty),
            "p": eight(order.price or ZERO),
            "P": eight(order.stop_price or ZERO),
            "F": eight(ZERO),
            "g": list_number(order),
            "C": order.client_order_id if canceling else "",
            "x": _execution(fill, status),
            "X": status,
            "r": "NONE",
            "i": int(order.venue_order_id),
            "l": eight(fill.qty if fill else ZERO),
            "z": eight(order.filled_qty),
            "L": eight(fill.price if fill else ZERO),
            "n": eight(fill.fee) if fill else "0",
            "N": fill.fee_asset if fill else None,
            "T": order.updated_at_ms,
            "t": fill.trade_id if fill else -1,
            "I": self._reports,
            "w": not waiting(order) and not order.status.is_final,
            "m": fill.maker if fill else False,
            "M": False,
            "O": order.created_at_ms,
            "Z": eight(order.filled_quote),
            "Y": eight(fill.price * fill.qty if fill else ZERO),
            "Q": eight(order.quote_qty or ZERO),
        }
        if not waiting(order):
            report["W"] = working_time(order)
        report["V"] = order.stp.value
        expired = expiry_reason(order)
        if expired is not None:
            report["eR"] = expired
        return report

    def _balances(self, ts: int, cause: str, balances: list[Balance], now_ms: int) -> Iterator[Event]:
        for balance in balances:
            held = balance.free + balance.locked
            moved = held - self._held.get(balance.asset, ZERO)
            self._held[balance.asset] = held
            if cause in MOVED and moved:
                yield {"e": "balanceUpdate", "E": now_ms, "a": balance.asset, "d": eight(moved), "T": ts}
        yield {
            "e": "outboundAccountPosition",
            "E": now_ms,
            "u": ts,
            "B": [{"a": each.asset, "f": eight(each.free), "l": eight(each.locked)} for each in balances],
        }


def _list_status(order_list: VenueOrderList, now_ms: int) -> Event:
    """The stop leg stands first."""
    symbol = order_list.symbol
    return {
        "e": "listStatus",
        "E": now_ms,
        "s": symbol,
        "g": int(order_list.list_id),
        "c": order_list.contingency,
        "l": order_list.status,
        "L": "EXECUTING" if order_list.status == "EXEC_STARTED" else order_list.status,
        "r": "NONE",
        "C": order_list.list_client_id,
        "T": order_list.updated_at_ms,
        "O": [
            {"s": symbol, "i": int(leg.venue_order_id), "c": leg.client_order_id} for leg in reversed(order_list.orders)
        ],
    }


def _execution(fill: VenueFill | None, status: str) -> str:
    if fill is not None:
        return "TRADE"
    if status == "EXPIRED_IN_MATCH":
        return "TRADE_PREVENTION"
    return status if status in ("CANCELED", "EXPIRED", "REJECTED") else "NEW"
