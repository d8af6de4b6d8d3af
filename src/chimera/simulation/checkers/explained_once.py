"""I14: every change at the exchange has exactly one record that explains it: order by intent, fill by order, funding
and transfer by their documents.
"""

from collections import Counter

from chimera.contracts.collections import FILLS, FUNDING_RECORDS, INTENTS, ORDERS
from chimera.domain.execution.orders import IncomeKind
from chimera.simulation.checkers.evidence import Evidence


def check(evidence: Evidence) -> list[str]:
    findings = []
    intents = {record.intent_id: record for record in evidence.on_file(INTENTS)}
    claims = Counter(name for record in intents.values() for name in set(record.order_ids))
    orders = {order.order_id: order for order in evidence.on_file(ORDERS)}
    for name, count in sorted(claims.items()):
        if count > 1:
            findings.append(f"order {name} is claimed by {count} intents")
    for sent in evidence.orders:
        order = orders.get(sent.client_order_id)
        if order is None or order.is_strangers or order.intent_id is None:
            continue
        owner = intents.get(order.intent_id)
        if owner is not None and order.order_id not in owner.order_ids:
            findings.append(f"order {order.order_id} belongs to {order.intent_id}, which does not name it")
    for fill in evidence.on_file(FILLS):
        if fill.order_id not in orders:
            findings.append(f"fill {fill.fill_id} is of {fill.order_id}, which is not on file")
    settled = Counter((each.symbol, each.amount) for each in evidence.incomes if each.kind is IncomeKind.FUNDING_FEE)
    booked = Counter((each.symbol, each.amount_usdt) for each in evidence.on_file(FUNDING_RECORDS))
    findings += [
        f"funding of {amount} USDT on {symbol} is on file more often than it was paid"
        for symbol, amount in booked - settled
    ]
    return findings
