"""I7: the slices of an entry sum up to what was planned, none is worked twice, and what filled is what was told.

Plan and legs are on our file; what each leg filled the exchange says.
"""

from collections import defaultdict
from decimal import Decimal

from chimera.contracts.collections import INTENTS, ORDERS
from chimera.contracts.documents import Execution, IntentRecord, Leg, Order
from chimera.contracts.enums import ExecStyle, IntentState, LegRole, Market
from chimera.contracts.ids import child_order_id
from chimera.domain.matching.records import OrderRecord
from chimera.simulation.checkers.evidence import Evidence

WORKING = (LegRole.QUOTE, LegRole.TAKE)
WHOLE = (ExecStyle.TAKER, ExecStyle.MAKER)
"""Styles that leave nothing of a slice unless the market does."""
_ZERO = Decimal(0)


def check(evidence: Evidence) -> list[str]:
    there = {(order.market, order.client_order_id): order for order in evidence.orders}
    orders = {order.order_id: order for order in evidence.on_file(ORDERS)}
    findings = []
    for record in evidence.on_file(INTENTS):
        if record.execution is not None and record.purpose.is_new_entry:
            findings += _of_intent(record, orders, there)
    return findings


def _of_intent(
    record: IntentRecord, orders: dict[str, Order], there: dict[tuple[Market, str], OrderRecord]
) -> list[str]:
    execution = record.execution
    assert execution is not None
    findings = []
    planned = sum((part.qty for part in execution.slices), _ZERO)
    smaller = any(note.what == "DOWNSIZED" or note.detail.get("smaller") for note in execution.notes)
    if execution.slices and (planned > record.intent.qty or (planned < record.intent.qty and not smaller)):
        findings.append(f"intent {record.intent_id}: slices sum up to {planned} of {record.intent.qty}")
    filled: dict[int, Decimal] = defaultdict(Decimal)
    names = list(record.order_ids)
    for leg in execution.legs:
        if leg.role not in WORKING:
            continue
        name = leg_name(record, leg)
        if name not in names:
            findings.append(f"intent {record.intent_id}: leg {name} is not among its orders")
        sent = there.get((record.market, name))
        filled[leg.slice] += sent.filled_qty if sent is not None else _ZERO
    parts = {part.number: part.qty for part in execution.slices}
    for number, qty in filled.items():
        if qty > parts.get(number, _ZERO):
            findings.append(f"intent {record.intent_id}: slice {number} of {parts.get(number)} filled {qty}")
    total = sum(filled.values(), _ZERO)
    if record.state.is_final and total != record.filled_qty:
        findings.append(f"intent {record.intent_id} filled {record.filled_qty} on file, {total} at the exchange")
    if record.state is IntentState.DONE and execution.style in WHOLE and execution.stopped is None:
        findings += _left_out(record, execution, filled, orders)
    return findings


def _left_out(
    record: IntentRecord, execution: Execution, filled: dict[int, Decimal], orders: dict[str, Order]
) -> list[str]:
    """Slices that were never worked, or given up although their last order was filled."""
    findings = []
    for part in execution.slices:
        names = [leg_name(record, leg) for leg in execution.legs if leg.role in WORKING and leg.slice == part.number]
        last = orders.get(names[-1]) if names else None
        ended_short = last is not None and (last.filled_qty or _ZERO) < (last.quantity or _ZERO)
        rest = part.qty - filled[part.number]
        if rest > 0 and not ended_short:
            findings.append(
                f"intent {record.intent_id}: slice {part.number} of {part.qty} ended with {filled[part.number]}"
            )
    return findings


def leg_name(record: IntentRecord, leg: Leg) -> str:
    return record.intent.client_order_id if leg.n == 0 else child_order_id(record.intent.client_order_id, leg.n)
