"""What somebody else did at our account: a person by hand, another program. It is on no file of ours, and is no error.

Owns telling it from what is ours and is missing. The exchange has one position and one wallet for all, so that what is
asked of the documents alone is asked net of these.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, INTENTS, ORDERS, TRADES
from chimera.contracts.enums import Market
from chimera.domain.execution.orders import VenueFill
from chimera.simulation.checkers.evidence import Evidence

OUR_PREFIX = "s3"
MANUAL = "MANUAL"
"""`orders.reason` of what a person sent and S5 took on file."""
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
    """Orders on file that are no trade's: stops of what a person holds, and what a person sold of it."""
    trades = evidence.on_file(TRADES)
    in_trades = {fill.order_id for trade in trades for fill in trade.entries}
    in_trades |= {exit.order_id for trade in trades for exit in trade.exits}
    return frozenset(
        order.order_id
        for order in evidence.on_file(ORDERS)
        if order.order_id not in in_trades and (order.is_nobodys_stop or order.reason == MANUAL)
    )


def held_by_strangers(evidence: Evidence) -> Mapping[str, Decimal]:
    """Symbol to what of the futures position no trade of ours should hold, signed."""
    held: dict[str, Decimal] = defaultdict(Decimal)
    for theirs in fills_of_strangers(evidence):
        if theirs.market is Market.FUT:
            held[theirs.symbol] += theirs.side.sign * theirs.qty
    beside = beside_trades(evidence)
    for ours in evidence.on_file(FILLS):
        if ours.market is Market.FUT and ours.side is not None:
            part = ours.qty if ours.order_id in beside else ours.netted_qty or _ZERO
            held[ours.symbol] += ours.side.sign * part
    for trade in evidence.on_file(TRADES):
        if trade.market is Market.FUT:
            # A person who sells more than the trade held has opened something.
            sold = sum((exit.qty for exit in trade.exits), _ZERO)
            held[trade.symbol] -= trade.side.sign * max(_ZERO, sold - trade.qty_opened)
    return held
