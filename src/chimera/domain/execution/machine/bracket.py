"""The stop that follows every fill of a futures entry, and the first target behind it.

Owns the protection of an entry until its intent is final: one stop for all that is open, a new one listed before an old
one goes, the position closed at market where none can be listed, and nothing left behind where it is flat. Source:
SERVICES S4, FUT.
"""

from collections.abc import Sequence
from decimal import Decimal

from chimera.contracts.documents import Leg, Order
from chimera.contracts.enums import IntentState, LegRole, OrderStatus, OrderType, Purpose, Refusal
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.exact import average
from chimera.domain.execution.machine.flow import (
    CLOSE_N,
    LEAVING,
    RESTART,
    STOP_N,
    TARGET_N,
    WORKING,
    Alarm,
    Cancel,
    Draft,
    End,
    Flow,
    Place,
    Settle,
    is_shown,
)
from chimera.domain.execution.protect import (
    AtDistance,
    AtPrice,
    NetProfit,
    NetRatio,
    Protection,
    StopWish,
    TargetWish,
    protect_futures,
)
from chimera.domain.positions.stops import is_tighter

_ZERO = Decimal(0)

CLOSE_AGAIN_MS, CLOSE_AGAIN_MAX_MS = 500, 15_000
CLOSE_TRIES = 20
"""After a close that found nobody to sell to: so often in a row at the first pace, then later, as each try stays on
file and has an id that must not grow too long."""

VENUE_UNAVAILABLE = "VENUE_UNAVAILABLE"
"""Why an intent failed of which the exchange has taken nothing, because it did not serve us."""

NOTHING_TO_SELL = "NOTHING_TO_SELL"
"""Why an exit ended for which nothing was left: something else of the trade was faster."""

UNSENT = {
    RESTART: IntentState.CANCELED,
    NOTHING_TO_SELL: IntentState.CANCELED,
    VENUE_UNAVAILABLE: IntentState.FAILED,
}
"""How an intent ends of which nothing was ever sent; REJECTED for any other reason."""

LegOrder = tuple[Leg, Order]


def stop_wish(intent: OrderIntent) -> StopWish:
    assert intent.sl is not None
    if intent.sl.price is not None:
        return AtPrice(intent.sl.price)
    assert intent.sl.distance is not None
    return AtDistance(intent.sl.distance)


def target_wish(intent: OrderIntent) -> TargetWish | None:
    target = intent.tp
    if target is None:
        return None
    if target.price is not None:
        return AtPrice(target.price)
    if target.ratio is not None:
        return NetRatio(target.ratio)
    return NetProfit(target.value) if target.value is not None else None


def bracket(draft: Draft, *, worked: bool) -> None:
    """Protect what is open of the entry. `worked`: its own quantity is settled."""
    flow = draft.flow
    opened = flow.filled(*WORKING)
    open_qty = opened - flow.filled(*LEAVING)
    if open_qty <= 0:
        _flat(draft, worked=worked)
        return
    if any(True for _ in flow.legs(LegRole.CLOSE)):
        _closing(draft, worked=worked)
        return
    wanted = _wanted(draft, opened)
    stops = list(flow.legs(LegRole.STOP))
    covered = _cover(draft, stops, open_qty, wanted.stop_price, worked=worked)
    if not (worked and covered):
        return
    if _target(draft, wanted) and not flow.busy:
        draft.end = _end(draft, IntentState.DONE, draft.execution.stopped)


def opens_no_more(flow: Flow) -> str | None:
    """Why nothing more of an entry may be opened, as far as what protects it decides that; None: it may."""
    draft = Draft.of(flow)
    bracket(draft, worked=False)
    return draft.execution.stopped


def _wanted(draft: Draft, opened: Decimal) -> Protection:
    flow = draft.flow
    avg_price = flow.avg_price(*WORKING)
    assert avg_price is not None
    return protect_futures(
        flow.instrument,
        side=flow.intent.side,
        avg_price=average(avg_price),
        filled_qty=opened,
        leverage=flow.limits.leverage,
        fee_ratio=flow.limits.fee_ratio,
        stop=stop_wish(flow.intent),
        target=target_wish(flow.intent),
        first_rung_share=flow.limits.first_rung_share,
    )


def _cover(draft: Draft, stops: Sequence[LegOrder], open_qty: Decimal, price: Decimal, *, worked: bool) -> bool:
    """One stop for `open_qty`. True: it is listed, and it is the only one."""
    side = draft.flow.intent.side
    live = [(leg, order) for leg, order in stops if not order.status.is_final]
    listed = [(leg, order) for leg, order in live if is_shown(order)]
    unlisted = [(leg, order) for leg, order in live if not is_shown(order)]
    for leg, _ in unlisted:
        # One that was on its way when the process ended is sent again under its own name if nobody lists it.
        if leg.n not in draft.flow.unsent:
            draft.call(Place(leg.n))
    # A stop of an entry that still fills never gives way, whatever the average does.
    for _, order in stops:
        if order.is_listed and order.stop_price is not None and is_tighter(side, order.stop_price, price):
            price = order.stop_price
    holds = next(((leg, order) for leg, order in listed if _holds(draft, order, open_qty)), None)
    if holds is not None:
        others = [leg for leg, order in listed if leg.n != holds[0].n]
        for leg in others:
            draft.call(Cancel(leg.n))
        return not others and not unlisted
    if unlisted:
        return False
    if _must_close(draft, stops):
        return False
    draft.file(
        LegRole.STOP,
        OrderType.STOP_MARKET,
        open_qty,
        side=side.opposite,
        purpose=Purpose.SL,
        first_n=STOP_N,
        stop_price=price,
        reduce_only=True,
    )
    return False


def _holds(draft: Draft, order: Order, open_qty: Decimal) -> bool:
    """Whether a listed stop covers exactly what is open; the exchange's steps may have made it a little larger."""
    qty = (order.quantity or _ZERO) - (order.filled_qty or _ZERO)
    return qty in (open_qty, draft.flow.instrument.ceil_qty(open_qty))


def _must_close(draft: Draft, stops: Sequence[LegOrder]) -> bool:
    """True where the newest stop could not be listed: what is open is closed."""
    if not stops:
        return False
    _, newest = stops[-1]
    # One that gave way to a larger or smaller one was for another quantity.
    taken_away = sum(
        order.status is OrderStatus.CANCELED and order.refusal is None and order.quantity == newest.quantity
        for _, order in stops
    )
    if newest.refusal is None and taken_away <= draft.flow.limits.stops_max:
        return False
    if newest.refusal is Refusal.NOTHING_TO_REDUCE:
        # Whoever closed it, nothing is open that a stop could cover.
        draft.stop("NOTHING_OPEN")
        _end_uncovered(draft)
        return True
    why = f"STOP_{newest.refusal or 'TAKEN_AWAY'} {newest.reason or ''}".strip()
    if newest.refusal is Refusal.NOT_LISTED:
        why = "STOP_NOT_LISTED"
    elif newest.refusal is Refusal.WOULD_TRIGGER:
        why = "STOP_WOULD_TRIGGER"
    close(draft, why)
    return True


def close(draft: Draft, why: str) -> None:
    """What is open leaves at market, and nothing more is opened."""
    flow = draft.flow
    qty = flow.filled(*WORKING) - flow.filled(*LEAVING)
    draft.stop(why)
    if not any(True for _ in flow.legs(LegRole.CLOSE)):
        # Once, however often it takes until somebody buys.
        draft.alarms.append(Alarm(text=f"{flow.intent.instrument} has no stop ({why}); closing {qty} at market"))
    draft.file(
        LegRole.CLOSE,
        OrderType.MARKET,
        qty,
        side=flow.intent.side.opposite,
        purpose=Purpose.EXIT,
        first_n=CLOSE_N,
        reduce_only=True,
    )


def _end_uncovered(draft: Draft) -> None:
    live = any(not order.status.is_final for _, order in draft.flow.legs(*WORKING))
    if not live and not draft.flow.busy:
        draft.end = _end(draft, IntentState.DONE, None)


def _closing(draft: Draft, *, worked: bool) -> None:
    flow = draft.flow
    for leg, order in flow.legs(LegRole.CLOSE):
        if not order.status.is_final:
            if leg.n not in flow.unsent:
                draft.call(Place(leg.n))
            return
    if not worked:
        return
    # It ended short: it was refused, the book was empty, or what was on its way has filled since.
    closes = [order for _, order in flow.legs(LegRole.CLOSE)]
    last = closes[-1]
    if last.refusal is None:
        pause_ms = min(CLOSE_AGAIN_MAX_MS, CLOSE_AGAIN_MS << min(10, max(0, len(closes) - CLOSE_TRIES)))
        again_ms = (last.updated_at or last.created_at) + pause_ms
        if not last.filled_qty and flow.seen.now_ms < again_ms:
            draft.wake_at(again_ms)
            return
        close(draft, draft.execution.stopped or "CLOSING")
        return
    if worked and not flow.busy:
        draft.end = _end(draft, IntentState.DONE, draft.execution.stopped)


def _flat(draft: Draft, *, worked: bool) -> None:
    """Nothing is open: not yet, or not any more. What still rests of it goes."""
    flow = draft.flow
    if flow.filled(*WORKING) > 0:
        draft.stop("EXITED")
        for leg, order in flow.legs(*LEAVING):
            if not order.status.is_final and leg.n not in flow.unsent:
                draft.call(Cancel(leg.n) if is_shown(order) else Settle(leg.n))
    live = [order for _, order in flow.legs() if not order.status.is_final]
    if not worked or live or flow.busy or draft.calls:
        return
    draft.end = ended(draft)


def _target(draft: Draft, wanted: Protection) -> bool:
    """The first target, once the stop holds. True: it rests, or it cannot."""
    flow = draft.flow
    if wanted.target_price is None:
        return True
    targets = list(flow.legs(LegRole.TARGET))
    if not targets:
        draft.file(
            LegRole.TARGET,
            OrderType.TAKE_PROFIT_MARKET,
            wanted.target_qty,
            side=flow.intent.side.opposite,
            purpose=Purpose.TP,
            first_n=TARGET_N,
            stop_price=wanted.target_price,
            reduce_only=True,
        )
        return False
    leg, order = targets[-1]
    if not order.status.is_final and not is_shown(order):
        if leg.n not in flow.unsent:
            draft.call(Place(leg.n))
        return False
    if order.refusal is Refusal.WOULD_TRIGGER:
        return _rung(draft, order)
    # One that cannot be placed costs an exit by price, not safety: S6 sees it missing and decides.
    return True


def _rung(draft: Draft, target: Order) -> bool:
    """The price ran through the target before it could rest: the rung is taken now."""
    flow = draft.flow
    rungs = list(flow.legs(LegRole.RUNG))
    if not rungs:
        assert target.quantity is not None
        draft.file(
            LegRole.RUNG,
            OrderType.MARKET,
            target.quantity,
            side=flow.intent.side.opposite,
            purpose=Purpose.TP,
            first_n=CLOSE_N,
            reduce_only=True,
        )
        return False
    leg, order = rungs[-1]
    if not order.status.is_final:
        if leg.n not in flow.unsent:
            draft.call(Place(leg.n))
        return False
    return True


def ended(draft: Draft) -> End:
    """How an intent ends of whose own quantity nothing more is under way."""
    flow, stopped = draft.flow, draft.execution.stopped
    filled = flow.filled(*WORKING)
    if filled > 0:
        return _end(draft, IntentState.DONE, None if stopped == "EXITED" else stopped)
    orders = list(flow.legs(*WORKING))
    last = orders[-1][1] if orders else None
    if last is not None and last.refusal is Refusal.NOT_SERVED:
        return _end(draft, IntentState.FAILED, VENUE_UNAVAILABLE)
    if last is not None and last.status is OrderStatus.REJECTED:
        return _end(draft, IntentState.REJECTED, last.reason)
    if last is None:
        return _end(draft, UNSENT.get(stopped or "", IntentState.REJECTED), stopped)
    return _end(draft, IntentState.CANCELED, stopped or last.reason or last.status.value)


def _end(draft: Draft, state: IntentState, reason: str | None) -> End:
    flow = draft.flow
    price = flow.avg_price(*WORKING)
    return End(state, reason, flow.filled(*WORKING), average(price) if price is not None else None)
