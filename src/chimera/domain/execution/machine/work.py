"""Working an intent's own quantity: slices one after the other, each quoted first or taken at once.

Owns what follows from how an order ended: quoted again, taken, made smaller, cut in two, given up. A rest is reckoned
only when everything before it has ended for certain, so that the sum of what is ordered never exceeds the slice.
Source: SERVICES S4.
"""

from decimal import Decimal

from chimera.contracts.documents import Leg, Order, WorkSlice
from chimera.contracts.enums import (
    ExecStyle,
    LegRole,
    Market,
    OrderStatus,
    OrderType,
    Refusal,
    Side,
    TakerFallback,
    TimeInForce,
)
from chimera.domain.execution.downsize import GiveUp, Want, downsized
from chimera.domain.execution.liquidity import Fail, Go, Halve, LookAgain, Slice, look
from chimera.domain.execution.machine.flow import ENTRY_N, WORKING, Cancel, Draft, Place, Settle, Touch, is_shown

_ZERO = Decimal(0)

TAKEN_BACK = "TAKEN_BACK"
EXPIRED = ("EXPIRED", "UNFILLED")
"""How the exchange's reasons begin for what it has ended by itself."""

GIVES_UP = (Refusal.NOT_SERVED, Refusal.NOT_ARRIVED, Refusal.OTHER, Refusal.NOTHING_TO_REDUCE)
"""After these nothing more of the intent is sent."""


def work(draft: Draft) -> bool:
    """Lead the slices on. True: nothing of them is at the exchange, and nothing more will be."""
    flow = draft.flow
    live = [(leg, order) for leg, order in flow.legs(*WORKING) if not order.status.is_final]
    if live:
        for leg, order in live:
            _lead(draft, leg, order)
        return False
    if draft.execution.stopped is not None:
        return True
    number = _at(draft)
    while number is not None:
        part = next(each for each in draft.execution.slices if each.number == number)
        if not _over(draft, part):
            return draft.execution.stopped is not None
        number = _after(draft, number)
    return True


def rest_of(draft: Draft, part: WorkSlice) -> Decimal:
    filled = sum(
        (order.filled_qty or _ZERO for leg, order in draft.flow.legs(*WORKING) if leg.slice == part.number), _ZERO
    )
    return part.qty - filled


def _at(draft: Draft) -> int | None:
    """The slice that was worked last, or the first."""
    last = [leg.slice for leg in draft.execution.legs if leg.role in WORKING]
    if last:
        return last[-1]
    return draft.execution.slices[0].number if draft.execution.slices else None


def _after(draft: Draft, number: int) -> int | None:
    numbers = [part.number for part in draft.execution.slices]
    place = numbers.index(number) + 1
    return numbers[place] if place < len(numbers) else None


def _lead(draft: Draft, leg: Leg, order: Order) -> None:
    """An order that has not ended."""
    flow = draft.flow
    if leg.n in flow.busy or leg.n in flow.unsent:
        # What is on its way is waited for; what was just put on file is sent by who put it there.
        return
    if leg.role is LegRole.TAKE or not is_shown(order):
        # One that may never have arrived is sent again where it makes the position smaller, and given up elsewhere.
        draft.call(Settle(leg.n) if flow.is_entry else Place(leg.n))
        return
    if draft.execution.stopped is not None:
        draft.call(Cancel(leg.n))
        return
    if flow.is_entry:
        draft.look = True
        draft.wake_at(flow.seen.now_ms + flow.limits.look_ms)
    if draft.execution.style is ExecStyle.LIMIT:
        _limit_is_patient(draft, leg, order)
        return
    part = next(each for each in draft.execution.slices if each.number == leg.slice)
    ends_ms = _window_ends_ms(draft, part)
    if flow.seen.now_ms >= ends_ms:
        _take_back(draft, leg)
    else:
        draft.wake_at(ends_ms)


def _take_back(draft: Draft, leg: Leg) -> None:
    """Our own cancel stands on file before it is sent: any other is somebody else's."""
    if not _is_taken_back(draft, leg):
        draft.note(TAKEN_BACK, n=leg.n)
    draft.call(Cancel(leg.n))


def _is_taken_back(draft: Draft, leg: Leg) -> bool:
    return any(note.what == TAKEN_BACK and note.detail["n"] == leg.n for note in draft.execution.notes)


def _limit_is_patient(draft: Draft, leg: Leg, order: Order) -> None:
    """An entry that rests has all the time there is, until a part has filled: what is open then has its stop, but
    nobody leads it on before the intent has ended, so the rest of it is given up after a while."""
    flow = draft.flow
    if not flow.is_entry or not order.filled_qty:
        return
    if draft.execution.filled_from is None:
        draft.execution = draft.execution.but(filled_from=flow.seen.now_ms)
    ends_ms = (draft.execution.filled_from or 0) + flow.limits.limit_rest_ms
    if flow.seen.now_ms >= ends_ms:
        _take_back(draft, leg)
    else:
        draft.wake_at(ends_ms)


def _window_ends_ms(draft: Draft, part: WorkSlice) -> int:
    """When a quote of the slice is taken back: at the end of the wait, or of the cap where most of it has filled."""
    execution = draft.execution
    began_ms = min(order.created_at for leg, order in draft.flow.legs(LegRole.QUOTE) if leg.slice == part.number)
    filled = part.qty - rest_of(draft, part)
    most = part.qty > 0 and float(filled / part.qty) >= execution.need_fill_ratio > 0
    return began_ms + (execution.maker_cap_ms if most else execution.maker_wait_ms)


def _over(draft: Draft, part: WorkSlice) -> bool:
    """True when nothing more is to be done for a slice whose orders have all ended; else the next order is filed, or
    waited for."""
    orders = [(leg, order) for leg, order in draft.flow.legs(*WORKING) if leg.slice == part.number]
    rest = rest_of(draft, part)
    if not orders:
        _begin(draft, part)
        return False
    leg, last = orders[-1]
    if last.refusal in GIVES_UP:
        draft.stop(last.reason or str(last.refusal))
        return False
    if last.refusal is Refusal.FUNDS:
        return _pay_less(draft, part, leg, last, sum(order.refusal is Refusal.FUNDS for _, order in orders))
    if draft.flow.is_entry and _taken_away(draft, leg, last):
        draft.stop("CANCELED_ELSEWHERE")
        return False
    if not _can_be_ordered(draft, rest):
        return True
    if leg.role is LegRole.QUOTE:
        return _after_quote(draft, part, last, rest, sum(leg.role is LegRole.QUOTE for leg, _ in orders))
    immediate = last.type is OrderType.LIMIT
    if immediate and last.status is OrderStatus.CANCELED:
        _take(draft, part, rest)
        return False
    # A market order that ended short met an empty book, or was made smaller: that was the slice.
    return True


def _after_quote(draft: Draft, part: WorkSlice, last: Order, rest: Decimal, quotes: int) -> bool:
    execution = draft.execution
    again = last.refusal is Refusal.WOULD_TAKE and quotes <= draft.flow.limits.quotes_max
    if again and draft.flow.seen.now_ms < _window_ends_ms(draft, part):
        if draft.flow.seen.touch is None:
            draft.look = True
            draft.wake_at(draft.flow.seen.now_ms + draft.flow.limits.look_ms)
            return False
        _quote(draft, part, rest, draft.flow.seen.touch)
        return False
    if execution.style is not ExecStyle.MAKER:
        return True
    if draft.flow.is_entry and not draft.flow.seen.looked:
        draft.look = True
        return False
    touch = draft.flow.seen.touch
    if draft.flow.is_entry and touch is None:
        draft.stop("NO_MARKET_DATA")
        return False
    if execution.fallback is TakerFallback.AFTER_CANCEL and touch is not None:
        _take(draft, part, rest, price=_one_tick_through(draft, touch))
    else:
        _take(draft, part, rest)
    return False


def _taken_away(draft: Draft, leg: Leg, order: Order) -> bool:
    """Whether somebody else canceled a quote: who does that wants neither the rest of it at market nor another."""
    expired = (order.reason or "").startswith(EXPIRED)
    canceled = order.status is OrderStatus.CANCELED and order.refusal is None and not expired
    return leg.role is LegRole.QUOTE and canceled and not _is_taken_back(draft, leg)


def _begin(draft: Draft, part: WorkSlice) -> None:
    """The first order of a slice, when it is due and the book is fit for it."""
    flow, now_ms = draft.flow, draft.flow.seen.now_ms
    if now_ms < part.due_at:
        draft.wake_at(part.due_at)
        if flow.is_entry:
            draft.look = True
            draft.wake_at(now_ms + flow.limits.look_ms)
        return
    style = draft.execution.style
    if not flow.is_entry:
        # Exits never wait.
        touch, instrument = flow.seen.touch, flow.instrument
        most = instrument.floor_qty(instrument.max_qty if style is ExecStyle.LIMIT else instrument.market_max_qty)
        if part.qty > most > 0:
            _split(draft, part, most, "above what one order may have")
            part = next(each for each in draft.execution.slices if each.number == part.number)
        if style is ExecStyle.LIMIT:
            _limit(draft, part)
        elif style in (ExecStyle.MAKER, ExecStyle.POST_ONLY) and touch is not None:
            _quote(draft, part, part.qty, touch)
        else:
            _take(draft, part, part.qty)
        return
    if not flow.seen.looked:
        draft.look = True
        return
    if flow.seen.touch is None:
        draft.stop("NO_MARKET_DATA")
        return
    if style is ExecStyle.LIMIT:
        _limit(draft, part)
        return
    if _fit(draft, part, flow.seen.touch):
        part = next(each for each in draft.execution.slices if each.number == part.number)
        if style is ExecStyle.TAKER:
            _take(draft, part, part.qty)
        else:
            _quote(draft, part, part.qty, flow.seen.touch)


def _fit(draft: Draft, part: WorkSlice, touch: Touch) -> bool:
    """Whether the slice may be sent now. A book that is too wide or too thin is waited for, then the slice is cut."""
    flow, limits = draft.flow, draft.flow.limits
    if limits.liquidity is None or limits.cost is None:
        return True
    since_ms = draft.execution.probed_from
    found = look(
        Slice(
            qty=part.qty,
            price=touch.ask if flow.intent.side is Side.BUY else touch.bid,
            instrument=flow.instrument,
        ),
        touch.book(part.qty, limits.regime),
        limits.cost,
        limits.liquidity,
        waited_ms=0 if since_ms is None else flow.seen.now_ms - since_ms,
    )
    match found:
        case Go(_):
            if since_ms is not None:
                draft.execution = draft.execution.but(probed_from=None)
            return True
        case LookAgain(at_waited_ms, why):
            if since_ms is None:
                draft.execution = draft.execution.but(probed_from=flow.seen.now_ms)
                draft.note("DELAYED", slice=part.number, why=why)
            draft.look = True
            draft.wake_at((flow.seen.now_ms if since_ms is None else since_ms) + at_waited_ms)
        case Halve(qty, why):
            _split(draft, part, qty, why)
            draft.wake_at(flow.seen.now_ms + limits.liquidity.recheck_ms)
        case Fail(reason):
            draft.stop(reason)
    return False


def _split(draft: Draft, part: WorkSlice, qty: Decimal, why: str) -> None:
    """The slice becomes `qty`, and what is left of it one of its own right after."""
    parts = list(draft.execution.slices)
    place = next(at for at, each in enumerate(parts) if each.number == part.number)
    number = max(each.number for each in parts) + 1
    parts[place : place + 1] = [
        part.but(qty=qty),
        WorkSlice(number=number, qty=part.qty - qty, due_at=part.due_at),
    ]
    draft.execution = draft.execution.but(slices=tuple(parts))
    draft.note("HALVED", slice=part.number, qty=float(qty), why=why)


def _pay_less(draft: Draft, part: WorkSlice, leg: Leg, last: Order, tries: int) -> bool:
    """Refused for lack of funds: as much as can be paid, down to the smallest slice. True: the slice is given up."""
    flow, limits = draft.flow, draft.flow.limits
    if not flow.is_entry:
        # What is to be sold is not there: somebody moved it, or an order that is not ours holds it.
        draft.stop(last.reason or str(last.refusal))
        return False
    if not flow.seen.looked:
        draft.look = True
        return False
    touch = flow.seen.touch
    price = flow.intent.entry_ref_price if touch is None else touch.ask if flow.intent.side is Side.BUY else touch.bid
    if price is None:
        draft.stop("NO_MARKET_DATA")
        return False
    assert last.quantity is not None
    want = Want(
        qty=last.quantity,
        price=price,
        fee_ratio=limits.fee_ratio,
        leverage=limits.leverage if flow.intent.market is Market.FUT else 1,
        instrument=flow.instrument,
        min_slice_usdt=limits.min_slice_usdt,
    )
    found = downsized(
        want, flow.seen.free_usdt, refusals=tries, tries_max=limits.funds_tries, retry_ms=limits.funds_retry_ms
    )
    if isinstance(found, GiveUp):
        draft.stop(f"{found.reason}: {last.reason}")
        return False
    again_ms = (last.updated_at or last.created_at) + found.after_ms
    if flow.seen.now_ms < again_ms:
        draft.wake_at(again_ms)
        return False
    qty = found.qty
    part = part.but(qty=part.qty - rest_of(draft, part) + qty)
    draft.execution = draft.execution.but(
        slices=tuple(part if each.number == part.number else each for each in draft.execution.slices)
    )
    draft.note("DOWNSIZED", slice=part.number, before=float(last.quantity), qty=float(qty))
    if leg.role is LegRole.QUOTE and flow.seen.touch is not None and draft.execution.style is not ExecStyle.LIMIT:
        _quote(draft, part, qty, flow.seen.touch)
    elif leg.role is LegRole.QUOTE and draft.execution.style is ExecStyle.LIMIT:
        _limit(draft, part, qty)
    else:
        _take(draft, part, qty)
    return False


def _can_be_ordered(draft: Draft, rest: Decimal) -> bool:
    """A rest off the exchange's smallest order ends the slice with what filled."""
    instrument, intent = draft.flow.instrument, draft.flow.intent
    qty = instrument.floor_qty(rest)
    if qty <= 0 or qty < instrument.min_qty:
        return False
    if intent.market is Market.FUT and intent.reduce_only:
        return True
    price = draft.flow.seen.touch.mid if draft.flow.seen.touch is not None else draft.flow.avg_price(*WORKING)
    price = price or intent.price or intent.entry_ref_price
    return price is None or qty * price >= instrument.min_notional


def _quote(draft: Draft, part: WorkSlice, qty: Decimal, touch: Touch) -> None:
    """Post-only at our own side of the touch."""
    intent = draft.flow.intent
    spot = intent.market is Market.SPOT
    draft.file(
        LegRole.QUOTE,
        OrderType.LIMIT_MAKER if spot else OrderType.LIMIT,
        qty,
        side=intent.side,
        purpose=intent.purpose,
        first_n=ENTRY_N,
        slice=part.number,
        price=touch.bid if intent.side is Side.BUY else touch.ask,
        time_in_force=TimeInForce.GTC if spot else TimeInForce.GTX,
        reduce_only=intent.reduce_only,
    )


def _limit(draft: Draft, part: WorkSlice, qty: Decimal | None = None) -> None:
    """At the price that was named."""
    intent = draft.flow.intent
    post_only = intent.type is OrderType.LIMIT_MAKER
    spot = intent.market is Market.SPOT
    draft.file(
        LegRole.QUOTE,
        OrderType.LIMIT_MAKER if post_only and spot else OrderType.LIMIT,
        part.qty if qty is None else qty,
        side=intent.side,
        purpose=intent.purpose,
        first_n=ENTRY_N,
        slice=part.number,
        price=intent.price,
        time_in_force=TimeInForce.GTX if post_only and not spot else TimeInForce.GTC,
        reduce_only=intent.reduce_only,
    )


def _take(draft: Draft, part: WorkSlice, qty: Decimal, *, price: Decimal | None = None) -> None:
    """At market, or up to `price` and no further."""
    intent = draft.flow.intent
    draft.file(
        LegRole.TAKE,
        OrderType.MARKET if price is None else OrderType.LIMIT,
        draft.flow.instrument.floor_qty(qty) if not intent.reduce_only else qty,
        side=intent.side,
        purpose=intent.purpose,
        first_n=ENTRY_N,
        slice=part.number,
        price=price,
        time_in_force=TimeInForce.GTC if price is None else TimeInForce.IOC,
        reduce_only=intent.reduce_only,
    )


def _one_tick_through(draft: Draft, touch: Touch) -> Decimal:
    tick = draft.flow.instrument.tick_size
    return touch.ask + tick if draft.flow.intent.side is Side.BUY else touch.bid - tick
