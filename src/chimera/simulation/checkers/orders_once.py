"""I1: the exchange holds one order for a client order id, and one entry for an intent, of no more than was intended."""

from collections import Counter, defaultdict
from decimal import Decimal

from chimera.contracts.collections import INTENTS, ORDERS
from chimera.simulation.checkers.evidence import Evidence


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
    there = {record.client_order_id for record in evidence.orders}
    for intent in evidence.on_file(INTENTS):
        if not intent.purpose.is_new_entry:
            continue
        names = sorted({intent.intent.client_order_id, *entries[intent.intent_id]})
        sent = [name for name in names if name in there]
        if len(sent) > 1:
            findings.append(f"intent {intent.intent_id} has {len(sent)} entries at the exchange: {', '.join(sent)}")
        opened = sum((filled[name] for name in sent), Decimal(0))
        if opened > intent.intent.qty:
            findings.append(f"intent {intent.intent_id} opened {opened} and was meant for {intent.intent.qty}")
    return findings
