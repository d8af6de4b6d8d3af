"""A small exchange, the calls that talk to it and the machine, as one value that can be explored exhaustively.

`State` is everything that is: what is on file, what the process has in memory, what is on the wire, what the exchange
holds, and how much bad luck is left. `moves` names every thing that may happen next; whatever happens, the machine is
asked at once, as the driver does. A move is fair where it only delivers what is due; all others are bad luck (a lost
answer, a kill, a person who meddles) or the market's, and each kind of bad luck may strike a bounded number of times.

The exchange here knows one position, one price and orders of whole units. Its answers by id are right once nothing is
on the wire any more, which is what the lookup lag is for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from chimera.contracts.documents import Execution, Note, Order
from chimera.contracts.enums import ExecStyle, LegRole, OrderStatus, OrderType, Refusal
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.machine.flow import (
    ARMED,
    FREE,
    FREED,
    LEAVING,
    LEFT,
    PAIR,
    REARM,
    SELL,
    TRIGGERED,
    WORKING,
    ArmPair,
    Call,
    Cancel,
    End,
    File,
    Flow,
    Free,
    Limits,
    Looked,
    Place,
    Rearm,
    Restarted,
    Seen,
    Settle,
    Step,
    Stopped,
    Told,
    Touch,
    absorb,
    is_shown,
)
from chimera.domain.execution.machine.lead import lead
from chimera.domain.execution.machine.work import TAKEN_BACK
from chimera.domain.market.instrument import Instrument

PRICE = Decimal(60_000)
TOUCH = Touch(bid=PRICE, ask=PRICE, spread_bps=1.0, depth_top1_usdt=1e6)
FALLEN = replace(TOUCH, bid=PRICE - 1_000, ask=PRICE - 1_000)
OF_NO_LEG = (PAIR, FREE, REARM)
KEPT_NOTES = (ARMED, FREED, SELL, LEFT, TRIGGERED, TAKEN_BACK)
ENTRY_TRIES = EXIT_TRIES = STOP_ATTEMPTS = CLOSE_TRIES = 2

TAKES = (LegRole.TAKE, LegRole.CLOSE, LegRole.RUNG)
LISTED = (LegRole.STOP, LegRole.TARGET, LegRole.REST)


class Luck(StrEnum):
    """What may go wrong, each as often as a scenario allows."""

    LOST = "lost"
    """A request or an answer, and nobody can know which."""
    UNSERVED = "unserved"
    UNLISTED = "unlisted"
    """The exchange holds a stop and does not show it in time."""
    RESTART = "restart"
    STOPPED = "stopped"
    """A person cancels the intent."""
    FORBIDDEN = "forbidden"
    """The kill switch."""
    TRIGGER = "trigger"
    """The price reaches a stop or a target."""
    TAKEN_AWAY = "taken away"
    """Somebody cancels one of our orders at the exchange."""
    EMPTY = "empty"
    """A market order meets an empty book and ends short."""
    FUNDS = "FUNDS"
    WOULD_TAKE = "WOULD_TAKE"
    WOULD_TRIGGER = "WOULD_TRIGGER"
    OTHER = "OTHER"
    POOR = "poor"
    """SPOT: less is there to sell than was wanted, or no pair can be had."""


class Held(NamedTuple):
    """One order at the exchange, and everything that it ever said of it."""

    role: LegRole
    slice: int
    qty: Decimal
    filled: Decimal = Decimal(0)
    status: OrderStatus = OrderStatus.NEW
    history: tuple[tuple[OrderStatus, Decimal], ...] = ((OrderStatus.NEW, Decimal(0)),)
    accepted: int = 1

    @property
    def is_live(self) -> bool:
        return not self.status.is_final

    def now(self, status: OrderStatus, filled: Decimal) -> "Held":
        return self._replace(status=status, filled=filled, history=(*self.history, (status, filled)))


class Phase(StrEnum):
    MEET = "MEET"
    """Asked for once before it is sent: an earlier process may have sent it."""
    SEND = "SEND"
    SENT = "SENT"
    ASK = "ASK"
    WAIT = "WAIT"
    LIST = "LIST"
    CANCEL = "CANCEL"
    SPOT = "SPOT"


class Under(NamedTuple):
    """One call under way."""

    n: int
    phase: Phase
    tries: int = 0
    settles: bool = False
    """Whether an order that never arrived is given up instead of sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is explored. `luck` bounds how often each thing goes wrong."""

    intent: OrderIntent
    execution: Execution
    instrument: Instrument
    unit: Decimal
    limits: Limits = field(default_factory=Limits)
    luck: dict[Luck, int] = field(default_factory=dict)
    initial_qty: Decimal = Decimal(0)
    """What is open before the intent begins; an exit needs something to leave."""
    late: bool = False
    """Whether the machine may look late, at several changes at once; else it looks after each."""

    @property
    def limits_still(self) -> Limits:
        """Nothing but a deadline makes time pass: that the world is looked at more often adds no state."""
        return replace(self.limits, look_ms=LOOK_MS)


LOOK_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    execution: Execution
    orders: tuple[tuple[int, Order], ...] = ()
    venue: tuple[tuple[int, Held], ...] = ()
    refused: tuple[tuple[int, Refusal | None], ...] = ()
    """What a request was refused for, until its answer came; None: the id is open already."""
    flights: frozenset[int] = frozenset()
    calls: tuple[Under, ...] = ()
    unsent: frozenset[int] = frozenset()
    now_ms: int = 1_000_000
    wake_ms: int | None = None
    luck: tuple[tuple[Luck, int], ...] = ()
    forbidden: str | None = None
    restarted: bool = False
    fallen: bool = False
    """The price has passed the guard's stop."""
    dirty: bool = False
    """Something changed since the machine looked."""
    end: End | None = None

    def key(self) -> Any:
        """Two states of one key go on alike: times count from now."""
        execution = self.execution
        return (
            execution.stopped,
            tuple((part.number, part.qty, max(0, part.due_at - self.now_ms)) for part in execution.slices),
            tuple((leg.n, leg.role, leg.slice) for leg in execution.legs),
            tuple(note.what for note in execution.notes if note.what in KEPT_NOTES),
            tuple(
                (
                    n,
                    order.status,
                    order.filled_qty,
                    order.quantity,
                    order.refusal,
                    is_shown(order),
                    min(10_000, self.now_ms - order.created_at),
                    min(10_000, self.now_ms - (order.updated_at or 0)) if order.status.is_final else 0,
                )
                for n, order in self.orders
            ),
            self.venue,
            self.refused,
            self.flights,
            self.calls,
            self.unsent,
            None if self.wake_ms is None else self.wake_ms - self.now_ms,
            self.luck,
            self.forbidden,
            self.restarted,
            self.fallen,
            self.dirty,
            self.end,
        )

    def order(self, n: int) -> Order:
        return next(order for at, order in self.orders if at == n)

    def held(self, n: int) -> Held | None:
        return next((held for at, held in self.venue if at == n), None)

    def role(self, n: int) -> LegRole:
        return next(leg.role for leg in self.execution.legs if leg.n == n)

    def left(self, luck: Luck) -> int:
        return next((left for kind, left in self.luck if kind is luck), 0)

    def spend(self, luck: Luck) -> "State":
        return replace(self, luck=tuple((kind, left - (kind is luck)) for kind, left in self.luck))

    def with_order(self, n: int, order: Order) -> "State":
        return replace(self, orders=tuple((at, order if at == n else old) for at, old in self.orders))

    def with_held(self, n: int, held: Held) -> "State":
        if self.held(n) is None:
            return replace(self, venue=(*self.venue, (n, held)))
        return replace(self, venue=tuple((at, held if at == n else old) for at, old in self.venue))

    def with_call(self, call: Under) -> "State":
        return replace(self, calls=tuple(call if each.n == call.n else each for each in self.calls))

    def without_call(self, n: int) -> "State":
        return replace(self, calls=tuple(each for each in self.calls if each.n != n))


class Move(NamedTuple):
    name: str
    fair: bool
    after: State


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Model:
    scenario: Scenario

    # --- what is asked of it

    def begin(self) -> State:
        scenario = self.scenario
        luck = tuple(sorted(scenario.luck.items()))
        return self._lead(State(execution=scenario.execution, luck=luck))

    def moves(self, state: State) -> Iterator[Move]:
        """Everything that may happen next, and what it leads to."""
        for name, fair, after in self._raw(state):
            _never_back(state, after)
            yield Move(name, fair, self._settle_calls(after, state))

    def _raw(self, state: State) -> Iterator[tuple[str, bool, State]]:
        yield from self._of_the_exchange(state)
        if state.end is not None:
            return
        yield from self._tellings(state)
        if state.dirty:
            yield "the machine looks", True, replace(state, dirty=False)
        for call in state.calls:
            yield from self._of_call(state, call)
        yield from self._of_the_world(state)

    def open_qty(self, state: State) -> Decimal:
        """At the exchange, counted in the direction of the position."""
        into = sum((held.filled for _, held in state.venue if held.role in WORKING), Decimal(0))
        out = sum((held.filled for _, held in state.venue if held.role in (*LEAVING, LegRole.REST)), Decimal(0))
        if not self._is_entry:
            return self.scenario.initial_qty - into - out
        return self.scenario.initial_qty + into - out

    @property
    def _is_entry(self) -> bool:
        return self.scenario.intent.purpose.is_new_entry

    def _reduces(self, role: LegRole) -> bool:
        return role not in WORKING or not self._is_entry

    # --- the machine, as the driver asks it

    def flow(self, state: State, seen: Seen | None = None) -> Flow:
        scenario = self.scenario
        return Flow(
            intent=scenario.intent,
            execution=state.execution,
            orders=dict(state.orders),
            instrument=scenario.instrument,
            limits=scenario.limits_still,
            seen=seen or Seen(now_ms=state.now_ms),
            busy=frozenset(call.n for call in state.calls),
            unsent=state.unsent,
        )

    def _lead(self, state: State) -> State:
        """Ask until it waits or has ended; write, then begin the calls."""
        while state.end is None:
            flow = self.flow(state)
            step = lead(flow)
            if step.look:
                touch = FALLEN if state.fallen else TOUCH
                seen = Seen(now_ms=state.now_ms, looked=True, touch=touch, forbidden=state.forbidden)
                flow = absorb(flow, Looked(seen))
                step = lead(flow)
            self._check_step(state, step)
            moved = step.execution != state.execution or bool(step.files)
            state = replace(
                state,
                execution=step.execution,
                orders=(*state.orders, *((file.leg.n, self._filed(state, file)) for file in step.files)),
                unsent=state.unsent | {file.leg.n for file in step.files},
                wake_ms=step.wake_ms if step.wake_ms is None or step.wake_ms < state.now_ms + LOOK_MS else None,
                end=step.end,
            )
            for call in step.calls:
                state = self._begin_call(state, call)
            if step.end is not None or not moved or step.calls:
                break
        self._check(state)
        return state

    def _filed(self, state: State, file: File) -> Order:
        new = file.new
        return Order(
            order_id=new.client_order_id,
            market=new.market,
            symbol=new.symbol,
            side=new.side,
            type=new.type,
            reduce_only=new.reduce_only,
            quantity=new.qty,
            price=new.price,
            stop_price=new.stop_price,
            status=OrderStatus.NEW,
            rcu_rev=1,
            created_at=state.now_ms,
            intent_id=self.scenario.intent.intent_id,
            purpose=file.purpose,
            filled_qty=Decimal(0),
            updated_at=state.now_ms,
        )

    # --- calls, by the manners of S4's `Calls`

    def _begin_call(self, state: State, call: Call) -> State:
        if any(each.n == call.n for each in state.calls):
            return state
        under: Under
        match call:
            case Place(n):
                fresh, role = n in state.unsent, state.role(n)
                state = replace(state, unsent=state.unsent - {n})
                if fresh:
                    under = Under(n, Phase.SEND)
                elif role is LegRole.REST:
                    under = Under(n, Phase.ASK, settles=True)
                else:
                    under = Under(n, Phase.MEET if role in LISTED else Phase.ASK)
            case Settle(n):
                under = Under(n, Phase.WAIT if is_shown(state.order(n)) else Phase.ASK, settles=True)
            case Cancel(n):
                under = Under(n, Phase.CANCEL)
            case ArmPair() | Free() | Rearm():
                under = Under(call.n, Phase.SPOT)
        return replace(state, calls=(*state.calls, under))

    def _of_call(self, state: State, call: Under) -> Iterator[tuple[str, bool, State]]:
        match call.phase:
            case Phase.SEND:
                yield from self._sending(state, call)
            case Phase.SENT:
                yield from self._answers(state, call)
            case Phase.ASK | Phase.MEET:
                yield from self._asking(state, call)
            case Phase.LIST:
                yield from self._listing(state, call)
            case Phase.CANCEL:
                yield from self._canceling(state, call)
            case Phase.SPOT:
                yield from self._spot(state, call)
            case Phase.WAIT:
                return

    def _sending(self, state: State, call: Under) -> Iterator[tuple[str, bool, State]]:
        n, role = call.n, state.role(call.n)
        if role in (LegRole.STOP, LegRole.TARGET) and self.open_qty(state) <= 0:
            yield f"find nothing open for {n}", True, self._lose(state, n, Refusal.NOTHING_TO_REDUCE)
            if role is LegRole.TARGET:
                return
        yield (
            f"send {n}",
            True,
            replace(state, flights=state.flights | {n}).with_call(call._replace(phase=Phase.SENT)),
        )
        if state.left(Luck.UNSERVED):
            yield f"{n} is not served", False, self._again(state.spend(Luck.UNSERVED), call)

    def _again(self, state: State, call: Under) -> State:
        """It was definitely not taken: another try, or none."""
        role, tries = state.role(call.n), call.tries + 1
        tries_max = {LegRole.STOP: STOP_ATTEMPTS, LegRole.REST: STOP_ATTEMPTS, LegRole.QUOTE: 1, LegRole.TARGET: 1}
        most = tries_max.get(role, ENTRY_TRIES if self._is_entry else EXIT_TRIES)
        if role in (LegRole.STOP, LegRole.REST) and tries < most:
            # A stop may have done its work unseen, and the exchange takes the id of an ended order again.
            return state.with_call(call._replace(phase=Phase.MEET, tries=tries))
        if role in (LegRole.CLOSE, LegRole.RUNG) or tries < most:
            return state.with_call(call._replace(phase=Phase.SEND, tries=min(tries, most)))
        if role in (LegRole.STOP, LegRole.REST):
            return self._give_up_unlisted(state, call.n)
        return self._lose(state, call.n, Refusal.NOT_SERVED)

    def _answers(self, state: State, call: Under) -> Iterator[tuple[str, bool, State]]:
        n = call.n
        if state.left(Luck.LOST):
            # A lost answer, or one that is late: the request itself may still be on its way.
            yield f"the answer of {n} is lost", False, self._unsure(state.spend(Luck.LOST), call)
        if n in state.flights:
            return
        refused = dict(state.refused)
        if n in refused:
            why = refused.pop(n)
            after = replace(state, refused=tuple(refused.items()))
            yield f"answer {n}", True, self._unsure(after, call) if why is None else self._refuse(after, call, why)
        elif state.held(n) is not None:
            yield f"answer {n}", True, self._taken(self._acknowledged(state, n), call)

    def _unsure(self, state: State, call: Under) -> State:
        settled_by_asking = state.role(call.n) not in (LegRole.STOP, LegRole.REST)
        return state.with_call(call._replace(phase=Phase.ASK if settled_by_asking else Phase.LIST))

    def _acknowledged(self, state: State, n: int) -> State:
        order = state.order(n)
        if order.is_conditional or order.venue_order_id:
            return state
        return state.with_order(n, order.but(venue_order_id=f"v{n}"))

    def _taken(self, state: State, call: Under) -> State:
        role = state.role(call.n)
        if role in TAKES:
            return state.with_call(call._replace(phase=Phase.WAIT))
        return state.with_call(call._replace(phase=Phase.LIST)) if role in LISTED else state.without_call(call.n)

    def _refuse(self, state: State, call: Under, why: Refusal) -> State:
        n = call.n
        closing = why is Refusal.NOTHING_TO_REDUCE and state.role(n) in (LegRole.CLOSE, LegRole.RUNG)
        if closing and self.open_qty(state) > 0 and call.tries + 1 < CLOSE_TRIES:
            return state.with_call(call._replace(phase=Phase.SEND, tries=call.tries + 1))
        order = state.order(n)
        if not order.status.is_final:
            ended = order.but(status=OrderStatus.REJECTED, refusal=why, reason=why.value, updated_at=state.now_ms)
            state = state.with_order(n, ended)
        return state.without_call(n)

    def _lose(self, state: State, n: int, why: Refusal) -> State:
        order = state.order(n)
        if not order.status.is_final:
            ended = order.but(status=OrderStatus.CANCELED, refusal=why, reason=why.value, updated_at=state.now_ms)
            state = state.with_order(n, ended)
        return state.without_call(n)

    def _give_up_unlisted(self, state: State, n: int) -> State:
        held = state.held(n)
        if held is not None and held.is_live:
            state = state.with_held(n, held.now(OrderStatus.CANCELED, held.filled))
        return self._lose(replace(state, flights=state.flights - {n}), n, Refusal.NOT_LISTED)

    def _asking(self, state: State, call: Under) -> Iterator[tuple[str, bool, State]]:
        n, held = call.n, state.held(call.n)
        if held is not None:
            known = self._told(state, n, held.status, held.filled)
            met = known.without_call(n) if call.phase is Phase.MEET else self._taken(known, call)
            yield f"find {n}", True, met
        elif n not in state.flights:
            absent = replace(state, refused=tuple((at, why) for at, why in state.refused if at != n))
            if call.phase is Phase.MEET:
                yield f"find no {n}", True, absent.with_call(call._replace(phase=Phase.SEND))
            elif call.settles:
                yield f"find no {n}", True, self._lose(absent, n, Refusal.NOT_ARRIVED)
            elif state.role(n) in TAKES and not (self._is_entry and state.role(n) is LegRole.TAKE):
                yield f"find no {n}", True, absent.with_call(call._replace(phase=Phase.SEND))
            else:
                yield f"find no {n}", True, self._lose(absent, n, Refusal.NOT_SERVED)

    def _listing(self, state: State, call: Under) -> Iterator[tuple[str, bool, State]]:
        """Not shown within the time; whoever is told first ends the wait (`_settle_calls`)."""
        n, held = call.n, state.held(call.n)
        refused = dict(state.refused)
        if n in refused and refused[n] is not None:
            # The late answer of a stop that nobody waits for any more is not heard.
            refused.pop(n)
            yield f"late answer of {n}", True, replace(state, refused=tuple(refused.items()))
        there = held is not None or n in state.flights
        if there and not state.left(Luck.UNLISTED):
            return
        after = state.spend(Luck.UNLISTED) if there else state
        yield f"{n} is not listed", not there, self._again(after, call)

    def _canceling(self, state: State, call: Under) -> Iterator[tuple[str, bool, State]]:
        n, held = call.n, state.held(call.n)
        if held is None:
            if n not in state.flights:
                yield f"cancel {n} finds none", True, self._lose(state, n, Refusal.NOT_ARRIVED)
        elif held.is_live:
            yield f"cancel {n}", True, state.with_held(n, held.now(OrderStatus.CANCELED, held.filled))

    def _spot(self, state: State, call: Under) -> Iterator[tuple[str, bool, State]]:
        def note(state: State, what: str, **detail: object) -> State:
            notes = (*state.execution.notes, Note(ts=state.now_ms, what=what, detail=detail))
            return replace(state, execution=state.execution.but(notes=notes)).without_call(call.n)

        if call.n == REARM:
            yield "arm again", True, note(state, LEFT)
            return
        if call.n == FREE:
            yield "free", True, note(state, FREED)
            if state.left(Luck.POOR):
                less = note(state.spend(Luck.POOR), FREED)
                parts = (less.execution.slices[0].but(qty=self.scenario.unit),)
                yield "free less", False, replace(less, execution=less.execution.but(slices=parts))
            return
        assert call.n == PAIR
        yield "arm", True, note(state, ARMED)
        if state.left(Luck.POOR):
            qty = self.flow(state).filled(*WORKING)
            yield "no pair", False, note(state.spend(Luck.POOR), SELL, qty=str(qty), why="OCO_REFUSED")

    # --- the exchange

    def _of_the_exchange(self, state: State) -> Iterator[tuple[str, bool, State]]:
        for n in sorted(state.flights):
            yield from self._arriving(state, n)
        for n, held in state.venue:
            if held.is_live:
                yield from self._filling(state, n, held)
                if held.role in (LegRole.STOP, LegRole.QUOTE) and state.left(Luck.TAKEN_AWAY):
                    gone = held.now(OrderStatus.CANCELED, held.filled)
                    yield f"take {n} away", False, state.spend(Luck.TAKEN_AWAY).with_held(n, gone)

    def _arriving(self, state: State, n: int) -> Iterator[tuple[str, bool, State]]:
        order, role, held = state.order(n), state.role(n), state.held(n)
        landed = replace(state, flights=state.flights - {n})
        if state.left(Luck.LOST):
            yield f"request {n} is lost", False, self._request_lost(landed.spend(Luck.LOST), n)
        if held is not None and held.is_live:
            # The exchange refuses an id that is open, and accepts one again that has ended.
            yield f"{n} arrives again", True, replace(landed, refused=(*landed.refused, (n, None)))
            return
        if self._reduces(role) and not order.is_conditional and self._is_fut and self.open_qty(state) <= 0:
            yield f"{n} arrives", True, replace(landed, refused=(*landed.refused, (n, Refusal.NOTHING_TO_REDUCE)))
            return
        assert order.quantity is not None
        slice = next(leg.slice for leg in state.execution.legs if leg.n == n)
        accepted = Held(role=role, slice=slice, qty=order.quantity)
        if held is not None:
            accepted = accepted._replace(accepted=held.accepted + 1)
        yield f"{n} arrives", True, landed.with_held(n, accepted)
        for luck in self._refusals(role):
            if state.left(luck):
                why = Refusal(luck.value)
                yield f"{n} is refused {why}", False, replace(landed.spend(luck), refused=(*landed.refused, (n, why)))

    def _request_lost(self, state: State, n: int) -> State:
        call = next((each for each in state.calls if each.n == n and each.phase is Phase.SENT), None)
        return state if call is None else self._unsure(state, call)

    @property
    def _is_fut(self) -> bool:
        return self.scenario.intent.market.value == "FUT"

    def _refusals(self, role: LegRole) -> tuple[Luck, ...]:
        if role in WORKING:
            return (Luck.FUNDS, Luck.OTHER, *((Luck.WOULD_TAKE,) if role is LegRole.QUOTE else ()))
        if role in LISTED:
            return (Luck.WOULD_TRIGGER, Luck.OTHER)
        return (Luck.OTHER,)

    def _filling(self, state: State, n: int, held: Held) -> Iterator[tuple[str, bool, State]]:
        open_qty = self.open_qty(state)
        left = held.qty - held.filled
        most = min(left, max(Decimal(0), open_qty)) if self._reduces(held.role) and self._is_fut else left
        if held.role in LISTED:
            if state.left(Luck.TRIGGER):
                full = most == left
                status = OrderStatus.FILLED if full else OrderStatus.CANCELED
                yield (
                    f"trigger {n}",
                    False,
                    state.spend(Luck.TRIGGER).with_held(n, held.now(status, held.filled + most)),
                )
            return
        fair = held.role in TAKES or self.scenario.execution.style is ExecStyle.LIMIT
        for qty in dict.fromkeys((min(self.scenario.unit, most), most)):
            if qty <= 0:
                continue
            filled = held.filled + qty
            status = OrderStatus.FILLED if filled == held.qty else OrderStatus.PARTIALLY_FILLED
            yield f"fill {n} {qty}", fair, state.with_held(n, held.now(status, filled))
        if held.role in TAKES:
            # A reduce-only order that finds nothing to reduce ends; so does one whose book is empty.
            gone = held.now(OrderStatus.CANCELED, held.filled)
            if most <= 0:
                yield f"{n} ends", True, state.with_held(n, gone)
            elif state.left(Luck.EMPTY):
                yield f"{n} ends short", False, state.spend(Luck.EMPTY).with_held(n, gone)
            elif state.order(n).type is OrderType.LIMIT:
                # Immediate or cancel.
                yield f"{n} ends short", True, state.with_held(n, gone)

    # --- tellings, in any order and as often as it likes

    def _tellings(self, state: State) -> Iterator[tuple[str, bool, State]]:
        for n, held in state.venue:
            order = state.order(n)
            for at, (status, filled) in enumerate(dict.fromkeys(held.history)):
                if (order.status, order.filled_qty) == (status, filled) and is_shown(order):
                    continue
                after = self._told(state, n, status, filled)
                if after != state:
                    yield f"tell {n} {status} {filled} ({at})", True, after

    def _told(self, state: State, n: int, status: OrderStatus, filled: Decimal) -> State:
        order = state.order(n)
        told = order.but(
            status=status,
            filled_qty=filled,
            avg_price=PRICE if filled else None,
            venue_order_id=f"v{n}",
            venue_algo_id=f"a{n}" if order.is_conditional else None,
            reason=None,
            refusal=None,
            updated_at=state.now_ms,
        )
        booked = absorb(self.flow(state), Told(n, told)).orders[n]
        # The ledger never keeps a refusal of what filled.
        return state.with_order(n, booked.but(refusal=None) if booked.filled_qty else booked)

    def _of_the_world(self, state: State) -> Iterator[tuple[str, bool, State]]:
        if state.wake_ms is not None and state.wake_ms > state.now_ms:
            yield "time passes", True, replace(state, now_ms=state.wake_ms)
        if self.scenario.execution.style is ExecStyle.GUARD and not state.fallen:
            yield "the price falls", True, replace(state, fallen=True)
        if state.left(Luck.RESTART):
            yield "restart", False, self._absorbed(state.spend(Luck.RESTART), Restarted())
        if state.left(Luck.STOPPED) and state.execution.stopped is None:
            yield "a person cancels", False, self._absorbed(state.spend(Luck.STOPPED), Stopped("CANCELED"))
        if state.left(Luck.FORBIDDEN) and state.forbidden is None:
            yield "kill switch", False, replace(state.spend(Luck.FORBIDDEN), forbidden="KILL_SWITCH")

    def _absorbed(self, state: State, event: Restarted | Stopped) -> State:
        flow = absorb(self.flow(state), event)
        calls = tuple(each for each in state.calls if each.n in flow.busy)
        restarted = state.restarted or isinstance(event, Restarted)
        return replace(state, execution=flow.execution, unsent=flow.unsent, calls=calls, restarted=restarted)

    def _settle_calls(self, state: State, before: State) -> State:
        """Calls that have what they waited for end; then the machine is asked."""
        for call in state.calls:
            if call.n not in OF_NO_LEG and call.phase is Phase.SENT and is_shown(state.order(call.n)):
                state = self._taken(state, call)
        for call in state.calls:
            if call.n in OF_NO_LEG:
                continue
            order = state.order(call.n)
            final, shown = order.status.is_final, is_shown(order)
            over = {
                Phase.WAIT: final,
                Phase.CANCEL: final,
                Phase.LIST: final or shown,
                Phase.SEND: final,
                Phase.MEET: final,
            }.get(call.phase, False)
            if over:
                state = state.without_call(call.n)
        if state.end is not None or self._nobody_was_told(state, before):
            self._check(state)
            return state
        if self.scenario.late and not (before.dirty and not state.dirty):
            state = replace(state, dirty=True)
            self._check(state)
            return state
        return self._lead(state)

    def _nobody_was_told(self, state: State, before: State) -> bool:
        """Nothing changed that the machine reads."""
        return (
            state.execution == before.execution
            and state.orders == before.orders
            and state.unsent == before.unsent
            and state.now_ms == before.now_ms
            and state.forbidden == before.forbidden
            and state.fallen == before.fallen
            and state.dirty == before.dirty
            and {each.n for each in state.calls} == {each.n for each in before.calls}
        )

    # --- what must hold

    def _check_step(self, state: State, step: Step) -> None:
        if self._is_entry and (state.execution.stopped is not None or step.execution.stopped is not None):
            more = [file for file in step.files if file.leg.role in WORKING]
            _must(not more, f"after {step.execution.stopped} there is filed {more}")
        known = {leg.n for leg in state.execution.legs}
        _must(all(file.leg.n not in known for file in step.files), "an id is given twice")

    def _check(self, state: State) -> None:
        self._check_quantities(state)
        for n, held in state.venue:
            _must(held.accepted == 1, f"the exchange took {n} {held.accepted} times")
        if self._is_entry and state.restarted:
            late = [each for each in state.calls if each.phase is Phase.SEND and state.role(each.n) in WORKING]
            _must(not late, f"after a restart an entry is sent: {late}")
        if state.end is not None:
            self._check_end(state, state.end)
        elif self._is_fut and self._is_entry and not state.dirty:
            self._check_covered(state)

    def _check_quantities(self, state: State) -> None:
        parts = state.execution.slices
        notes = {note.what for note in state.execution.notes}
        if not notes & {"DOWNSIZED", FREED}:
            _must(sum(part.qty for part in parts) == self.scenario.intent.qty, "the slices are not the whole")
        for part in parts:
            ordered = Decimal(0)
            for leg in state.execution.legs:
                if leg.role not in WORKING or leg.slice != part.number:
                    continue
                held = state.held(leg.n)
                if held is not None:
                    ordered += held.qty if held.is_live else held.filled
                if leg.n in state.flights and (held is None or not held.is_live):
                    quantity = state.order(leg.n).quantity
                    assert quantity is not None
                    ordered += quantity
            _must(ordered <= part.qty, f"slice {part.number} of {part.qty} has {ordered} ordered")

    def _check_covered(self, state: State) -> None:
        flow = self.flow(state)
        if flow.filled(*WORKING) <= flow.filled(*LEAVING):
            return
        covered = any(
            not order.status.is_final if leg.role is LegRole.STOP else True
            for leg, order in flow.legs(LegRole.STOP, LegRole.CLOSE)
        )
        # The exchange said that nothing is open: whoever closed it, its fill is only not told yet.
        closed = any(order.refusal is Refusal.NOTHING_TO_REDUCE for _, order in flow.legs(LegRole.STOP))
        _must(covered or closed, "what is open has neither a stop nor a close on file")

    def _check_end(self, state: State, end: End) -> None:
        _must(not state.calls, f"it ended with {state.calls} under way")
        flow = self.flow(state)
        again = lead(flow)
        _must(
            again.end == end and not again.files and not again.calls, "asked again, the ended intent does not end alike"
        )
        if self.scenario.execution.style is ExecStyle.RESTING:
            return
        live = [n for n, held in state.venue if held.role in WORKING and held.is_live]
        _must(not live, f"it ended and {live} rest")
        _must(not any(state.role(n) in WORKING for n in state.flights), "it ended and an order is on its way")
        filled = sum((held.filled for _, held in state.venue if held.role in WORKING), Decimal(0))
        _must(filled == end.filled_qty, f"it ended with {end.filled_qty}, and {filled} have filled")
        if self._is_fut and self._is_entry:
            self._check_protected(state)

    def _check_protected(self, state: State) -> None:
        """What was open when it ended, the exchange's stop covers, unless that was touched since or a person knows."""
        open_qty = self.open_qty(state)
        stops = [held for _, held in state.venue if held.role is LegRole.STOP]
        meddled = any(held.status is OrderStatus.CANCELED and not held.filled for held in stops)
        close_failed = any(order.refusal is not None for leg, order in self.flow(state).legs(LegRole.CLOSE))
        if open_qty > 0:
            covered = sum((held.qty - held.filled for held in stops if held.is_live), Decimal(0))
            _must(covered >= open_qty or meddled or close_failed, f"{open_qty} are open and {covered} covered")
        elif self.flow(state).filled(*WORKING) <= self.flow(state).filled(*LEAVING):
            rests = [n for n, held in state.venue if held.role in LEAVING and held.is_live]
            _must(not rests, f"it is flat, and {rests} rest")


def _never_back(before: State, after: State) -> None:
    for (n, old), (_, new) in zip(before.orders, after.orders, strict=False):
        if new is not old:
            _must((new.filled_qty or 0) >= (old.filled_qty or 0), f"{n} has filled less than it had")
            _must(new.status.is_final or not old.status.is_final, f"{n} had ended and is open again")


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


# --- exploring


class Explored(NamedTuple):
    states: int
    moves: int
    ends: dict[tuple[str, str | None, Decimal], int]
    """How often it ended so: state, reason, filled quantity."""
    whole: bool
    """Nothing more can be reached."""


STATES_MAX = 3_000_000
"""More than any flow may have that is to be explored to its end."""


def explore(scenario: Scenario, *, cut_at: int = STATES_MAX + 1) -> Explored:
    """Every state that can be reached, each checked; and from each, by fair moves alone, an end.

    `cut_at`: after so many, those that take the fewest moves, it is cut off: whether they come to an end is then not
    asked.

    Raises:
        Broken: an invariant does not hold, or a state from which it never ends; with the way there.
    """
    model = Model(scenario)
    first = model.begin()
    found: dict[Any, int] = {first.key(): 0}
    came: list[tuple[int, str]] = [(-1, "begin")]
    fair_into: list[list[int]] = [[]]
    ended: list[int] = []
    ends: dict[tuple[str, str | None, Decimal], int] = {}
    front = [(0, first)]
    moved = 0
    while front and len(came) < cut_at:
        following = []
        for number, state in front:
            if state.end is not None:
                ended.append(number)
                of = (state.end.state.value, state.end.reason, state.end.filled_qty)
                ends[of] = ends.get(of, 0) + 1
            try:
                for move in model.moves(state):
                    moved += 1
                    key = move.after.key()
                    known = found.get(key)
                    if known is None:
                        known = found[key] = len(came)
                        came.append((number, move.name))
                        fair_into.append([])
                        following.append((known, move.after))
                    if move.fair and known != number:
                        fair_into[known].append(number)
            except AssertionError as broken:
                raise Broken(f"{broken}; after: {' > '.join(_way(came, number))}") from broken
            assert len(came) <= STATES_MAX, f"more than {STATES_MAX} states"
        front = following
    if not front:
        _all_end(ended, fair_into, came)
    return Explored(len(came), moved, ends, whole=not front)


def _all_end(ended: list[int], fair_into: list[list[int]], came: list[tuple[int, str]]) -> None:
    reaches = set(ended)
    stack = list(ended)
    while stack:
        for earlier in fair_into[stack.pop()]:
            if earlier not in reaches:
                reaches.add(earlier)
                stack.append(earlier)
    stuck = next((number for number in range(len(came)) if number not in reaches), None)
    if stuck is not None:
        raise Broken(f"it never ends; after: {' > '.join(_way(came, stuck))}")


def _way(came: list[tuple[int, str]], number: int) -> list[str]:
    way = []
    while number >= 0:
        number, name = came[number]
        way.append(name)
    return way[::-1]
