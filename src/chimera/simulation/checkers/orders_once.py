"""I1: the exchange holds one order for a client order id, and one entry for an intent, of no more than was intended.

An entry that is worked in several orders has each of them in its plan, and never two at once.
"""

from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise

from chimera.contracts.collections import INTENTS, ORDERS
from chimera.contracts.documents import IntentRecord
from chimera.domain.matching.records import OrderRecord
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.slices_add_up import WORKING, leg_name


def check(evidence: Evidence) -> list[str]:
    findings = []
    times = Counter((order.market, order.symbol, order.client_order_id) for order in evidence.orders)
    for (market, symbol, name), count in sorted(times.items()):
        if count > 1:
            findings.append(f"the exchange holds {count} orders named {name} in {market} {symbol}")
    entries: dict[str, list[str]] = defaultdict(list)
    for order in evidence.on_file(ORDERS):
        if order.is_entry and order.intent_id is not None:
            entries[order.intent_id].append(order.order_id)
    filled: dict[str, Decimal] = defaultdict(Decimal)
    for record in evidence.orders:
        filled[record.client_order_id] += record.filled_qty
    there: dict[str, list[OrderRecord]] = defaultdict(list)
    for record in evidence.orders:
        there[record.client_order_id].append(record)
    for intent in evidence.on_file(INTENTS):
        if not intent.purpose.is_new_entry:
            continue
        names = sorted({intent.intent.client_order_id, *entries[intent.intent_id]})
        sent = [name for name in names if name in there]
        planned = _planned(intent)
        if len(sent) > 1 and not planned.issuperset(sent):
            findings.append(f"intent {intent.intent_id} has {len(sent)} entries at the exchange: {', '.join(sent)}")
        findings += _at_once(intent.intent_id, [at for name in sent for at in there[name]])
        opened = sum((filled[name] for name in sent), Decimal(0))
        if opened > intent.intent.qty:
            findings.append(f"intent {intent.intent_id} opened {opened} and was meant for {intent.intent.qty}")
    return findings


def _planned(intent: IntentRecord) -> set[str]:
    """Names of the orders that work the intent by its plan."""
    if intent.execution is None:
        return set()
    return {leg_name(intent, leg) for leg in intent.execution.legs if leg.role in WORKING}


def _at_once(intent_id: str, orders: list[OrderRecord]) -> list[str]:
    """Pairs of which the second came while the first was still there."""
    orders = sorted(orders, key=lambda order: order.no)
    return [
        f"intent {intent_id}: {after.client_order_id} came while {before.client_order_id} was still there"
        for before, after in pairwise(orders)
        if not before.status.is_final or after.created_at_ms < before.updated_at_ms
    ]
