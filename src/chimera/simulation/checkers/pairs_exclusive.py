"""I3: of the two orders of a spot pair the legs fill exactly the quantity once, and the other is gone within 2 s.

Asks the exchange's rows alone: what the exchange holds, another program may have sent.
"""

from collections import defaultdict

from chimera.domain.matching.records import OrderRecord
from chimera.simulation.checkers.evidence import Evidence

WITHIN_MS = 2_000
"""Of venue time. Source: SERVICES, I3."""


def check(evidence: Evidence) -> list[str]:
    pairs: dict[str, list[OrderRecord]] = defaultdict(list)
    for order in evidence.orders:
        if order.order_list_id is not None:
            pairs[order.order_list_id].append(order)
    return [finding for name, legs in sorted(pairs.items()) for finding in _of_pair(name, legs, evidence.now_ms)]


def _of_pair(name: str, legs: list[OrderRecord], now_ms: int) -> list[str]:
    findings = []
    qty = max(leg.qty for leg in legs)
    filled = [leg for leg in legs if leg.filled_qty]
    sold = sum(leg.filled_qty for leg in filled)
    if sold > qty:
        findings.append(f"pair {name} of {qty} filled {sold}")
    if len(filled) > 1:
        findings.append(f"pair {name} filled both legs: {', '.join(leg.client_order_id for leg in filled)}")
    if not filled:
        return findings
    won_ms = filled[0].updated_at_ms
    for leg in legs:
        if leg is filled[0]:
            continue
        gone_ms = leg.updated_at_ms if leg.status.is_final else now_ms
        late_ms = gone_ms - won_ms
        if late_ms > WITHIN_MS:
            findings.append(f"pair {name}: {leg.client_order_id} was still there {late_ms} ms after the other filled")
    return findings
