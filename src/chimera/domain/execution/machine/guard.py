"""A stop that we watch ourselves: SPOT, where the exchange holds none, or may hold one that a gap jumps over.

Owns when it triggers, what it waits for, and its end. It sells only after what else rests for the same trade was taken
back and its fills were counted, so that all of it together sells exactly what there is. Source: SERVICES S4, SPOT OCO.
"""

from decimal import Decimal

from chimera.contracts.documents import Order
from chimera.contracts.enums import IntentState
from chimera.domain.execution.machine.bracket import ended
from chimera.domain.execution.machine.flow import FREED, LEFT, TRIGGERED, WORKING, Draft, End, Free, Rearm
from chimera.domain.execution.machine.work import work

RESOLVED = "OCO_RESOLVED"
"""Why a guard ended without selling: the pair that it stood behind has sold everything."""

_ZERO = Decimal(0)


def watch(draft: Draft) -> None:
    flow = draft.flow
    if draft.noted(TRIGGERED) is not None:
        if draft.noted(FREED) is None:
            draft.call(Free())
        elif work(draft) and not flow.busy:
            if flow.intent.parent_id is not None and draft.noted(LEFT) is None:
                # Refused, or filled in part: what is left is watched on, and so sold as soon as that can be done.
                draft.call(Rearm())
            else:
                draft.end = ended(draft)
        return
    if flow.execution.stopped is not None:
        if not any(True for _ in flow.legs(*WORKING)):
            draft.end = End(IntentState.CANCELED, flow.execution.stopped, _ZERO, None)
        return
    if flow.others and left_of(flow.others) < flow.instrument.step_size:
        draft.end = End(IntentState.DONE, RESOLVED, _ZERO, None)
        return
    draft.wake_at(flow.seen.now_ms + flow.limits.look_ms)
    if not flow.seen.looked:
        draft.look = True
        return
    if flow.seen.touch is not None:
        why = trigger(draft, flow.seen.touch.mid)
        if why is not None:
            draft.note(TRIGGERED, why=why, mid=float(flow.seen.touch.mid))


def trigger(draft: Draft, mid: Decimal) -> str | None:
    """Why the guard must act at this mid, or None. A stop stands before a target."""
    intent = draft.flow.intent
    stop = intent.guard_stop.price if intent.guard_stop is not None else None
    target = intent.tp.price if intent.tp is not None else None
    if stop is not None and mid <= stop:
        return f"mid {mid} at or below the stop {stop}"
    if target is not None and mid >= target:
        return f"mid {mid} at or above the target {target}"
    return None


def left_of(pair: tuple[Order, ...]) -> Decimal:
    """What the pair has not sold yet of its own quantity: that of a guard armed later is less what it had sold by then.
    Each leg is for the whole."""
    whole = max(order.quantity or _ZERO for order in pair)
    return whole - sum((order.filled_qty or _ZERO for order in pair), _ZERO)
