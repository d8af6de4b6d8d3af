"""I6: no new entry reaches the exchange while entries are forbidden: kill switch, RED, OPEN breaker, skew, no
reconciliation.

Whoever forbade it says from when to when; what an order was is on our file, and when it came the exchange says.
"""

from collections.abc import Sequence

from chimera.contracts.collections import ORDERS
from chimera.simulation.checkers.evidence import Evidence

Span = tuple[str, int, int]
"""Why entries were forbidden, from when, to when: the exchange's clock."""


def forbidden_entries(evidence: Evidence, spans: Sequence[Span]) -> list[str]:
    entries = {order.order_id for order in evidence.on_file(ORDERS) if order.is_entry}
    return [
        f"entry {order.client_order_id} came {order.created_at_ms - from_ms} ms into {why}"
        for order in evidence.orders
        for why, from_ms, to_ms in spans
        if order.client_order_id in entries and from_ms < order.created_at_ms < to_ms
    ]
