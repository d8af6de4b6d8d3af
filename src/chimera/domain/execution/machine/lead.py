"""What is to be done for an intent now: which machine leads it, and the one step that comes next.

entry     worked by slices, protected from the first fill on (FUT: bracket; SPOT: pair or guard)
exit      worked by slices, nothing behind it; SPOT frees first what rests for the same trade
resting   one stop or target, done when the exchange lists it
"""

from decimal import Decimal

from chimera.contracts.enums import ExecStyle, IntentState, LegRole, Market, OrderStatus, OrderType, Purpose, Refusal
from chimera.domain.execution.machine.bracket import bracket, ended, opens_no_more
from chimera.domain.execution.machine.flow import (
    ARMED,
    CLOSE_N,
    ENTRY_N,
    FREED,
    LEFT,
    SELL,
    WORKING,
    ArmPair,
    Draft,
    End,
    Event,
    Flow,
    Free,
    Place,
    Rearm,
    Settle,
    Step,
    absorb,
    is_shown,
)
from chimera.domain.execution.machine.guard import watch
from chimera.domain.execution.machine.work import work

_ZERO = Decimal(0)


def step(flow: Flow, event: Event) -> tuple[Flow, Step]:
    """Take in one event, and say what follows."""
    flow = absorb(flow, event)
    return flow, lead(flow)


def lead(flow: Flow) -> Step:
    draft = Draft.of(flow)
    if flow.execution.style is ExecStyle.RESTING:
        _rest(draft)
    elif flow.execution.style is ExecStyle.GUARD:
        watch(draft)
    elif flow.is_entry:
        _enter(draft)
    else:
        _leave(draft)
    return draft.done()


def _enter(draft: Draft) -> None:
    flow = draft.flow
    if flow.seen.forbidden is not None:
        draft.stop(flow.seen.forbidden)
    elif _stop_is_reached(flow):
        draft.stop("STOP_REACHED")
    elif flow.intent.market is Market.FUT:
        # Asked first: a slice that is due may be looked at together with the stop that has just ended it all.
        why = opens_no_more(flow)
        if why is not None:
            draft.stop(why)
    worked = work(draft)
    if flow.intent.market is Market.FUT:
        bracket(draft, worked=worked)
    elif worked:
        _after_buying(draft)


def _stop_is_reached(flow: Flow) -> bool:
    """SPOT: nothing of ours rests behind a buy that is still being worked, so its stop is watched here."""
    price = _spot_stop(flow)
    if flow.intent.market is not Market.SPOT or price is None or flow.seen.touch is None:
        return False
    return flow.seen.touch.mid <= price and any(True for _ in flow.legs(*WORKING))


def _spot_stop(flow: Flow) -> Decimal | None:
    """Where the stop of a spot buy stands while it is worked; a distance is kept from what has filled so far."""
    intent = flow.intent
    oco, wish, guard = intent.exec_policy.oco, intent.sl, intent.guard_stop
    if oco is not None and oco.enabled and oco.sl is not None:
        return oco.sl
    if guard is not None and guard.price is not None:
        return guard.price
    if wish is None or wish.price is not None or wish.distance is None:
        return None if wish is None else wish.price
    bought = flow.avg_price(*WORKING) or intent.entry_ref_price
    return None if bought is None else bought - wish.distance


def _after_buying(draft: Draft) -> None:
    """SPOT: what was received is protected by the exchange's pair or our guard, or sold; the call finds out which."""
    flow = draft.flow
    if flow.busy:
        return
    sell = draft.noted(SELL)
    if flow.filled(*WORKING) == 0 or draft.noted(ARMED) is not None:
        draft.end = ended(draft)
    elif sell is None:
        draft.call(ArmPair())
    else:
        _sell_off(draft, Decimal(str(sell.detail["qty"])), str(sell.detail["why"]))


def _sell_off(draft: Draft, qty: Decimal, why: str) -> None:
    """What nothing protects leaves at market."""
    flow = draft.flow
    legs = list(flow.legs(LegRole.CLOSE))
    if not legs:
        draft.stop(why)
        draft.file(
            LegRole.CLOSE,
            OrderType.MARKET,
            qty,
            side=flow.intent.side.opposite,
            purpose=Purpose.EXIT,
            first_n=CLOSE_N,
        )
        return
    leg, order = legs[-1]
    if order.status.is_final:
        draft.end = ended(draft)
    elif leg.n not in flow.unsent:
        draft.call(Place(leg.n))


def _leave(draft: Draft) -> None:
    flow = draft.flow
    if flow.intent.market is Market.SPOT and draft.noted(FREED) is None:
        draft.call(Free())
        return
    if not work(draft) or flow.busy:
        return
    if flow.intent.market is Market.SPOT and flow.intent.parent_id is not None and draft.noted(LEFT) is None:
        draft.call(Rearm())
        return
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
    if order.refusal is not None and order.refusal is not Refusal.NOT_ARRIVED:
        state = IntentState.REJECTED if order.status is OrderStatus.REJECTED else IntentState.FAILED
        draft.end = End(state, order.reason, order.filled_qty or _ZERO, order.avg_price)
    elif order.status is OrderStatus.CANCELED and not order.filled_qty:
        draft.end = End(IntentState.CANCELED, order.reason, _ZERO, None)
    elif is_shown(order):
        draft.end = End(IntentState.DONE, None, order.filled_qty or _ZERO, order.avg_price)
    else:
        draft.call(Settle(leg.n))
