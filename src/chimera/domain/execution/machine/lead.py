"""What is to be done for an intent now: which machine leads it, and the one step that comes next.

    entry     worked by slices, protected from the first fill on (FUT: bracket; SPOT: pair or guard)
    exit      worked by slices, nothing behind it; SPOT frees first what rests for the same trade
    resting   one stop or target, done when the exchange lists it
"""

from decimal import Decimal

from chimera.contracts.enums import ExecStyle, IntentState, LegRole, Market, OrderStatus
from chimera.domain.execution.machine.bracket import bracket, ended
from chimera.domain.execution.machine.flow import (
    ENTRY_N,
    FREE,
    PAIR,
    WORKING,
    ArmPair,
    Draft,
    End,
    Event,
    Flow,
    Free,
    Settle,
    Step,
    absorb,
    is_shown,
)
from chimera.domain.execution.machine.work import work

_ZERO = Decimal(0)

FREED = "FREED"
ARMED = "ARMED"
"""Notes by which a call is known to have come to its end for good."""


def step(flow: Flow, event: Event) -> tuple[Flow, Step]:
    """Take in one event, and say what follows."""
    flow = absorb(flow, event)
    return flow, lead(flow)


def lead(flow: Flow) -> Step:
    draft = Draft.of(flow)
    if flow.execution.style is ExecStyle.RESTING:
        _rest(draft)
    elif flow.is_entry:
        _enter(draft)
    else:
        _leave(draft)
    return draft.done()


def _enter(draft: Draft) -> None:
    flow = draft.flow
    if flow.seen.forbidden is not None:
        draft.stop(flow.seen.forbidden)
    worked = work(draft)
    if flow.intent.market is Market.FUT:
        bracket(draft, worked=worked)
    elif worked:
        _after_buying(draft)


def _after_buying(draft: Draft) -> None:
    """SPOT: what was received is protected by the exchange's pair, by our guard, or sold; the call finds out which."""
    flow = draft.flow
    if flow.busy:
        return
    if flow.filled(*WORKING) == 0 or has_note(flow, ARMED):
        draft.end = ended(draft)
        return
    if PAIR not in flow.busy:
        draft.calls.append(ArmPair())


def _leave(draft: Draft) -> None:
    flow = draft.flow
    if flow.intent.market is Market.SPOT and not has_note(flow, FREED):
        if FREE not in flow.busy:
            draft.calls.append(Free())
        return
    if work(draft) and not flow.busy:
        draft.end = ended(draft)


def _rest(draft: Draft) -> None:
    """A stop or target by itself: whoever ordered it leads the trade."""
    flow, intent = draft.flow, draft.flow.intent
    legs = list(flow.legs(LegRole.REST))
    if not legs:
        if flow.execution.stopped is not None:
            draft.end = End(IntentState.CANCELED, flow.execution.stopped, flow.filled(), None)
            return
        draft.file(
            LegRole.REST,
            intent.type,
            flow.instrument.ceil_qty(intent.qty) if intent.reduce_only else intent.qty,
            side=intent.side,
            purpose=intent.purpose,
            first_n=ENTRY_N,
            stop_price=intent.price,
            reduce_only=intent.reduce_only,
        )
        return
    leg, order = legs[-1]
    if leg.n in flow.busy or leg.n in flow.unsent:
        return
    if order.refusal is not None:
        state = IntentState.REJECTED if order.status is OrderStatus.REJECTED else IntentState.FAILED
        draft.end = End(state, order.reason, order.filled_qty or _ZERO, order.avg_price)
    elif order.status is OrderStatus.CANCELED and not order.filled_qty:
        draft.end = End(IntentState.CANCELED, order.reason, _ZERO, None)
    elif is_shown(order):
        draft.end = End(IntentState.DONE, None, order.filled_qty or _ZERO, order.avg_price)
    else:
        draft.calls.append(Settle(leg.n))


def has_note(flow: Flow, what: str) -> bool:
    return any(note.what == what for note in flow.execution.notes)
