"""Who told whom what, and what the exchange did: one run, moment by moment.

Owns the lines. They are kept as they come and made into text only when somebody reads them, since a day has a million.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from chimera.contracts.base import Contract, Message
from chimera.domain.execution.orders import BalancesChanged, OrderUpdated, VenueFill, VenueOrder
from chimera.ports.clock import Clock

QUIET_STREAMS = ("mkt:", "feat:", "factor:", "sig:")
"""Streams of prices and figures, which are the market and no deed."""

TOLD = {
    "intents": ("state", "purpose", "filled_qty", "reason", "parent_id"),
    "orders": ("status", "purpose", "side", "type", "quantity", "filled_qty", "stop_price", "reason"),
    "fills": ("order_id", "side", "qty", "price"),
    "trades": ("status", "side", "qty_opened", "qty_open", "realised_pnl_usdt", "exit_reason"),
    "strategy_events": ("kind", "detail"),
    "system_state": None,
}
"""Of which collections a write is told, and what of it; None: everything."""

TOLD_CHARS_MAX = 300


@dataclass(slots=True)
class Line:
    ts: int
    who: str
    what: str
    details: tuple[Any, ...]

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.ts / 1_000, UTC).strftime("%m-%d %H:%M:%S.%f")[:-3]
        told = "  ".join(shown(each) for each in self.details)
        return f"{when}  {self.who:<9} {self.what}  {told[:TOLD_CHARS_MAX]}".rstrip()


@dataclass(slots=True)
class Story:
    """`kept` False: nothing is kept, as most runs need none."""

    clock: Clock
    kept: bool
    lines: list[Line] = field(default_factory=list)

    def add(self, who: str, what: str, *details: Any) -> None:
        if self.kept:
            self.lines.append(Line(self.clock.now_ms(), who, what, details))

    def on_message(self, stream: str, message: Message) -> None:
        if self.kept and not stream.partition(":")[2].startswith(QUIET_STREAMS):
            self.lines.append(Line(self.clock.now_ms(), "bus", stream, (message,)))

    def on_document(self, collection: str, key: str, body: str) -> None:
        if self.kept and collection in TOLD:
            self.lines.append(
                Line(self.clock.now_ms(), "documents", f"{collection}/{key}", (Written(collection, body),))
            )

    def on_venue(self, kind: str, change: object) -> None:
        if self.kept:
            self.lines.append(Line(self.clock.now_ms(), "exchange", kind, (change,)))

    def about(self, words: tuple[str, ...]) -> Iterator[str]:
        """The lines in which one of `words` occurs, and every blow and death; without words all."""
        for line in self.lines:
            text = str(line)
            if not words or line.who in ("blow", "town") or any(word in text for word in words):
                yield text


@dataclass(frozen=True, slots=True)
class Written:
    """A document as it was put on file; `body` empty: removed."""

    collection: str
    body: str

    def __str__(self) -> str:
        wanted = TOLD[self.collection]
        if not self.body or wanted is None:
            return self.body or "removed"
        document = json.loads(self.body)
        return "  ".join(f"{name}={document[name]}" for name in wanted if document.get(name) is not None)


def shown(value: Any) -> str:
    match value:
        case Contract():
            return json.dumps(value.to_dict(), default=str, separators=(",", ":"))
        case OrderUpdated():
            return _order(value.order) + (f"  filled {_fill(value.fill)}" if value.fill is not None else "")
        case BalancesChanged():
            held = ", ".join(f"{each.market} {each.asset} {each.free + each.locked}" for each in value.balances)
            return f"{value.cause}: {held}"
        case Decimal() | Written():
            return str(value)
        case str():
            return value
        case _:
            return repr(value)


def _order(order: VenueOrder) -> str:
    words = [order.client_order_id, order.market, order.symbol, order.side, order.type, str(order.qty)]
    if order.stop_price:
        words.append(f"at {order.stop_price}")
    if order.price:
        words.append(f"limit {order.price}")
    if order.reduce_only:
        words.append("reduce-only")
    return " ".join([*words, f"is {order.status}, {order.filled_qty} filled"])


def _fill(fill: VenueFill) -> str:
    return f"{fill.qty} at {fill.price}"
