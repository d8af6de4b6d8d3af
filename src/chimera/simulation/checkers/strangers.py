"""What somebody else did at our account: a person by hand, another program. It is on no file of ours, and is no error.

Owns telling it from what is ours and is missing. The exchange has one position and one wallet for all, so that what is
asked of the documents alone is asked net of these, by the exchange's own fills.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS, ORDERS, TRADES
from chimera.contracts.documents import Order
from chimera.contracts.enums import Market, TradeStatus
from chimera.domain.execution.orders import VenueFill
from chimera.domain.reconcile.shares import Moved, Shares, Whose, shares
from chimera.simulation.checkers.evidence import Evidence

OUR_PREFIX = "s3"
_ZERO = Decimal(0)


def not_strangers(evidence: Evidence, id_prefix: str = OUR_PREFIX) -> Callable[[str], bool]:
    """Whether an order of this name should be on file: we named it, we meant to send it, or the exchange itself closed
    a position by it."""
    named = {name for intent in evidence.on_file(INTENTS) for name in intent.order_ids}
    return lambda name: name in named or ids.is_ours(name, id_prefix) or ids.is_of_the_exchange(name)


def fills_of_strangers(evidence: Evidence) -> Iterator[VenueFill]:
    """Of orders that are on no file and should not be: a close of ours by hand is on file, adopted."""
    on_file = {order.order_id for order in evidence.on_file(ORDERS)}
    expected = not_strangers(evidence)
    for fill in evidence.fills:
        if fill.client_order_id not in on_file and not expected(fill.client_order_id):
            yield fill


def shares_of(evidence: Evidence) -> Mapping[str, Shares]:
    """Futures symbol to whose the position is, by all fills that the exchange ever had."""
    orders = {order.order_id: order for order in evidence.on_file(ORDERS)}
    expected = not_strangers(evidence)
    moved: dict[str, list[Moved]] = defaultdict(list)
    for fill in evidence.fills:
        if fill.market is Market.FUT:
            whose = _whose(orders.get(fill.client_order_id), expected(fill.client_order_id))
            moved[fill.symbol].append(Moved(fill_id=fill.fill_id, whose=whose, qty=fill.side.sign * fill.qty))
    return {symbol: shares(_ZERO, fills) for symbol, fills in moved.items()}


def _whose(order: Order | None, expected: bool) -> Whose:
    if order is None:
        return Whose.EXIT if expected else Whose.STRANGERS
    if order.is_strangers:
        return Whose.STRANGERS
    return Whose.ENTRY if order.is_entry else Whose.EXIT


def unshared(evidence: Evidence) -> list[str]:
    """What the trades' orders say that strangers closed of them, and that they closed of strangers', is what the
    exchange's fills say. Of trades that are open: one that has ended is not looked at any more."""
    entries = {order.order_id: order for order in evidence.on_file(ORDERS) if order.is_entry}
    still_open = {trade.trade_id for trade in evidence.on_file(TRADES) if trade.status is not TradeStatus.CLOSED}
    found = shares_of(evidence)
    parts = {fill_id: qty for each in found.values() for fill_id, qty in each.trades.items()}
    netted: dict[str, Decimal] = defaultdict(Decimal)
    for fill in evidence.fills:
        if fill.client_order_id in entries and fill.market is Market.FUT:
            netted[fill.client_order_id] += fill.qty - parts[fill.fill_id]
    findings = []
    for name, order in entries.items():
        if order.intent_id not in still_open or order.market is not Market.FUT:
            continue
        if (order.foreign_qty or _ZERO) != netted[name]:
            findings.append(
                f"entry {name} closed {order.foreign_qty or _ZERO} of somebody else's on file,"
                f" {netted[name]} by the exchange's fills"
            )
        for fill_id, qty in (order.closed_by or {}).items():
            if qty != parts.get(fill_id):
                findings.append(
                    f"fill {fill_id} closed {qty} of a trade on file, {parts.get(fill_id)} by the exchange's fills"
                )
    return findings
