"""I13: what was published of orders is what stands on file, and of every order that ended its end was published.

Owns the comparison of `ord:result` with the documents. What was published is handed in, house by house: the stream of a
house ends with it, and its successor publishes only what it changed itself.
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from chimera.contracts.collections import FILLS, INTENTS, ORDERS
from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import OrderStatus
from chimera.contracts.messages import OrderResult
from chimera.simulation.checkers.evidence import Evidence

_ZERO = Decimal(0)


def untrue(evidence: Evidence, told: Sequence[OrderResult]) -> list[str]:
    """What was published and is not so: a quantity beyond the order's, a fill or an end that is on no file."""
    orders = {order.order_id: order for order in evidence.on_file(ORDERS)}
    fills = {fill.fill_id: fill for fill in evidence.on_file(FILLS)}
    intents = {record.intent_id: record for record in evidence.on_file(INTENTS)}
    last = {result.client_order_id: result for result in told if not result.final}
    findings = []
    for result in told:
        if result.final:
            findings += _last_word(result, intents.get(result.cmd_id))
            continue
        order = orders.get(result.client_order_id)
        if order is None:
            if result.filled_qty:
                findings.append(f"{result.client_order_id} was told to have filled and is not on file")
            continue
        if (result.filled_qty or _ZERO) > (order.filled_qty or _ZERO):
            findings.append(f"{order.order_id} filled {order.filled_qty} on file, {result.filled_qty} as told")
        if last[order.order_id] is result and result.status.is_final and result.status is not order.status:
            findings.append(f"{order.order_id} is {order.status} on file and was told to be {result.status}")
        for part in result.fills:
            fill = fills.get(part.fill_id or "")
            if fill is None or (fill.price, fill.qty, fill.order_id) != (part.price, part.qty, order.order_id):
                findings.append(f"fill {part.fill_id} of {order.order_id} was told and is not so on file")
    return findings


def _last_word(result: OrderResult, record: IntentRecord | None) -> list[str]:
    """The end of an intent, told in its own figures. One that was refused at the door is on no file."""
    if record is None:
        return (
            [] if result.status is OrderStatus.REJECTED else [f"the end of {result.cmd_id} was told: it is on no file"]
        )
    if not record.state.is_final:
        return [f"the end of {result.cmd_id} was told, and on file it is {record.state}"]
    if (result.intent_filled_qty or _ZERO) != record.filled_qty:
        return [f"{result.cmd_id} filled {record.filled_qty} on file, {result.intent_filled_qty} as told"]
    return []


def untold(evidence: Evidence, told: Sequence[OrderResult], *, since_ms: int) -> list[str]:
    """Ends of what was put on file after `since_ms`, of which nothing was published; fills that were not told once."""
    ends = {(result.client_order_id, result.status) for result in told}
    intents_told = {result.cmd_id for result in told if result.final}
    times: dict[str, int] = defaultdict(int)
    for result in told:
        for part in result.fills:
            times[part.fill_id or ""] += 1
    findings = [
        f"{order.order_id} is {order.status} and nobody was told"
        for order in evidence.on_file(ORDERS)
        if order.status.is_final and order.created_at > since_ms and (order.order_id, order.status) not in ends
    ]
    findings += [
        f"{record.intent_id} is {record.state} and nobody was told"
        for record in evidence.on_file(INTENTS)
        if record.state.is_final and record.created_at > since_ms and record.intent_id not in intents_told
    ]
    recent = {order.order_id for order in evidence.on_file(ORDERS) if order.created_at > since_ms}
    findings += [
        f"fill {fill.fill_id} of {fill.order_id} was told {times[fill.fill_id]} times"
        for fill in evidence.on_file(FILLS)
        if fill.order_id in recent and times[fill.fill_id] != 1
    ]
    return findings
