"""What somebody else did at our account: a person by hand, another program. It is on no file of ours, and is no error.

Owns telling it from what is ours and is missing. The exchange has one position and one wallet for all, so that what is
asked of the documents alone is asked net of these, by the exchange's own fills.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS, ORDERS, TRADES
from chimera.contracts.documents import MANUAL, Order
from chimera.contracts.enums import Market
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


def beside_trades(evidence: Evidence) -> frozenset[str]:
    """Orders on file that are no trade's: stops of what a person holds."""
    return frozenset(order.order_id for order in evidence.on_file(ORDERS) if _is_beside(order))


def _is_beside(order: Order) -> bool:
    return order.is_nobodys_stop and order.parent_id is None


def shares_of(evidence: Evidence) -> Mapping[str, Shares]:
    """Futures symbol to whose the position is, by all fills that the exchange ever had."""
    orders = {order.order_id: order for order in evidence.on_file(ORDERS)}
    expected = not_strangers(evidence)
    moved: dict[str, list[Moved]] = defaultdict(list)
    for fill in evidence.fills:
        if fill.market is Market.FUT:
            whose = _whose(orders.get(fill.client_order_id), expected(fill.client_order_id))
            qty = fill.side.sign * fill.qty
            moved[fill.symbol].append(Moved(order_id=fill.client_order_id, whose=whose, qty=qty))
    return {symbol: shares(_ZERO, fills) for symbol, fills in moved.items()}


def _whose(order: Order | None, expected: bool) -> Whose:
    if order is None:
        return Whose.EXIT if expected else Whose.STRANGERS
    if _is_strangers(order):
        return Whose.STRANGERS
    return Whose.ENTRY if _is_entry(order) else Whose.EXIT


def unshared(evidence: Evidence) -> list[str]:
    """What the trades' books say that strangers closed of them, and that entries closed of strangers', is what the
    exchange's fills say. Strangers' orders that are no trade's are not asked for: where a person sold and bought back
    before anybody could look, both may stay theirs."""
    closed: dict[str, Decimal] = defaultdict(Decimal)
    for trade in evidence.on_file(TRADES):
        for exit in trade.exits:
            closed[exit.order_id] += exit.qty
    orders = {order.order_id: order for order in evidence.on_file(ORDERS)}
    findings = []
    for found in shares_of(evidence).values():
        for name, own_qty in found.trades.items():
            order = orders.get(name)
            if order is None:
                continue
            if _is_entry(order) and (order.foreign_qty or _ZERO) != found.others[name]:
                findings.append(
                    f"entry {name} closed {order.foreign_qty or _ZERO} of somebody else's on file,"
                    f" {found.others[name]} by the exchange's fills"
                )
            if _is_strangers(order) and order.parent_id is not None and closed[name] != own_qty:
                findings.append(
                    f"order {name} closed {closed[name]} of a trade on file, {own_qty} by the exchange's fills"
                )
    return findings


def _is_strangers(order: Order) -> bool:
    return order.reason == MANUAL or order.is_nobodys_stop


def _is_entry(order: Order) -> bool:
    return order.purpose is not None and order.purpose.is_new_entry
