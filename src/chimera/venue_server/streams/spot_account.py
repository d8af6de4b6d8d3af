"""Account changes in the words of the spot user stream: executionReport, outboundAccountPosition, balanceUpdate,
listStatus, without the envelope of whoever carries them.

Owns their order: the reports of what happened to orders, what it did to their list, then to balances.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from chimera.contracts.enums import Market
from chimera.domain.execution.orders import AccountChange, Balance, BalancesChanged, OrderUpdated, VenueFill, VenueOrder
from chimera.domain.matching.records import STOP_LIKE
from chimera.venue_server.floor import Floor
from chimera.venue_server.spot.words import (
    SELF_TRADE_USUAL,
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


@dataclass(slots=True)
class _List:
    client_id: str
    begun: bool
    done: bool = False
    legs: dict[str, VenueOrder] = field(default_factory=dict)


class SpotWords:
    """Remembers what every wallet held, so that a movement can be told as one."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._held = {each.asset: each.free + each.locked for each in floor.exchange.balances(Market.SPOT)}
        self._reports = 0
        self._lists: dict[str, _List] = {}
        for order in floor.exchange.open_orders(Market.SPOT):
            if order.order_list_id is not None:
                self._remember(order, begun=True)

    def of(self, changes: Sequence[AccountChange]) -> list[Event]:
        """The events of one request or tick, in the order in which they leave."""
        now_ms = self._floor.now_ms()
        events: list[Event] = []
        touched: dict[str, None] = {}
        for change in changes:
            match change:
                case OrderUpdated(order=order):
                    if order.market is Market.SPOT:
                        events.append(self._report(change, now_ms))
                        if order.order_list_id is not None:
                            self._remember(order, begun=False)
                            touched[order.order_list_id] = None
                case BalancesChanged(ts=ts, cause=cause, balances=balances):
                    mine = [balance for balance in balances if balance.market is Market.SPOT]
                    if mine:
                        events += self._listed(list(touched), now_ms)
                        touched = {}
                        events += self._balances(ts, cause, mine, now_ms)
        events += self._listed(list(touched), now_ms)
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
            "Q": eight(ZERO),
        }
        if not waiting(order):
            report["W"] = working_time(order)
        report["V"] = SELF_TRADE_USUAL
        expired = expiry_reason(order)
        if expired is not None:
            report["eR"] = expired
        return report

    def _listed(self, touched: list[str], now_ms: int) -> Iterator[Event]:
        """A list is told of when it begins, and when the first of its legs has ended."""
        for number in touched:
            found = self._lists[number]
            legs = sorted(found.legs.values(), key=lambda leg: leg.type not in STOP_LIKE)
            if not found.begun:
                found.begun = True
                yield self._list_status(number, found.client_id, legs, "EXEC_STARTED", now_ms)
            if not found.done and any(leg.status.is_final for leg in legs):
                found.done = True
                yield self._list_status(number, found.client_id, legs, "ALL_DONE", now_ms)
            if all(leg.status.is_final for leg in legs):
                del self._lists[number]

    def _remember(self, order: VenueOrder, *, begun: bool) -> None:
        number = order.order_list_id
        assert number is not None
        if number not in self._lists:
            known = self._floor.exchange.order_lists(order.symbol)
            client_id = next((each.list_client_id for each in reversed(known) if str(each.list_id) == number), "")
            self._lists[number] = _List(client_id, begun=begun)
        self._lists[number].legs[order.venue_order_id] = order

    def _list_status(self, number: str, client_id: str, legs: Sequence[VenueOrder], word: str, now_ms: int) -> Event:
        return {
            "e": "listStatus",
            "E": now_ms,
            "s": legs[0].symbol,
            "g": int(number),
            "c": "OCO",
            "l": word,
            "L": "EXECUTING" if word == "EXEC_STARTED" else word,
            "r": "NONE",
            "C": client_id,
            "T": max(leg.updated_at_ms for leg in legs),
            "O": [{"s": leg.symbol, "i": int(leg.venue_order_id), "c": leg.client_order_id} for leg in legs],
        }

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


def _execution(fill: VenueFill | None, status: str) -> str:
    if fill is not None:
        return "TRADE"
    if status == "EXPIRED_IN_MATCH":
        return "TRADE_PREVENTION"
    return status if status in ("CANCELED", "EXPIRED", "REJECTED") else "NEW"
