"""One intent as its machine sees it, and what the machine asks for.

The machine is a comparison of what is with what should be: its state is the plan and the orders on file, and each of
these only ever grows. So it does not matter in which order, how often or how late something is told: what is on file at
last is the same, and so is what is asked for. Pure: the driver reads, writes and calls.

    absorb    an event into the state, monotone
    lead      the state to a step: what is to be written, called and waited for
    step      both
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from chimera.contracts.documents import Execution, Leg, Note, Order
from chimera.contracts.enums import (
    ExecStyle,
    IntentState,
    LegRole,
    Market,
    OrderStatus,
    OrderType,
    Purpose,
    Regime,
    Side,
    TimeInForce,
)
from chimera.contracts.ids import child_order_id
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.cost import Book, CostModel
from chimera.domain.execution.liquidity import Limits as LiquidityLimits
from chimera.domain.execution.orders import NewOrder
from chimera.domain.market.instrument import Instrument

ENTRY_N, STOP_N, TARGET_N, CLOSE_N, LIST_N = 0, 1, 2, 3, 4
"""Numbers of the first order of each kind; whatever follows takes the next free one from 5 on."""

WORKING = (LegRole.QUOTE, LegRole.TAKE)
"""Roles that work the intent's own quantity."""
LEAVING = (LegRole.STOP, LegRole.TARGET, LegRole.RUNG, LegRole.CLOSE)
"""Roles that leave what it opened."""

NOTES_MAX = 60

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """Top of book. `depth_top1_usdt` is the thinner side's, None where it is not known."""

    bid: Decimal
    ask: Decimal
    spread_bps: float
    depth_top1_usdt: float | None = None

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2

    def book(self, qty: Decimal, regime: Regime) -> Book:
        """What an order of `qty` meets."""
        return Book(
            notional_usdt=float(qty * self.mid),
            spread_bps=self.spread_bps,
            depth_top1_usdt=self.depth_top1_usdt,
            regime=regime,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The world at one moment. `forbidden` says why no new entry may be opened; `looked` whether that and the book
    were asked for at all. `free_usdt` is what the wallet has for an entry, None where nobody knows."""

    now_ms: int
    looked: bool = False
    touch: Touch | None = None
    forbidden: str | None = None
    free_usdt: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Numbers that a person may change, as they stand for this intent. Times in ms of market time.

    Attributes:
        liquidity: Into which book a slice of an entry may be sent; None: into any.
        cost: What taking is expected to cost; `regime` goes with it.
        limit_rest_ms: How long the rest of a limit entry may rest once a part of it has filled.
        quotes_max: How often a quote that would have taken is quoted again.
        look_ms: How often the world is looked at while something rests that must not outlive a change.
        funds_tries, funds_retry_ms: How often an order is made smaller that cannot be paid, and the first wait between.
        min_slice_usdt: Nothing is made smaller than this.
        fee_ratio: The taker's.
        first_rung_share: Of the position that the first target closes; None: there is none.
        stops_max: How often a stop that somebody took away while the entry is worked is put back.
    """

    liquidity: LiquidityLimits | None = None
    cost: CostModel | None = None
    regime: Regime = Regime.EXTREME
    limit_rest_ms: int = 60_000
    quotes_max: int = 3
    look_ms: int = 250
    funds_tries: int = 5
    funds_retry_ms: int = 200
    min_slice_usdt: Decimal = _ZERO
    fee_ratio: Decimal = _ZERO
    first_rung_share: Decimal | None = None
    leverage: int = 1
    stops_max: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One intent. `orders` are those on file, by the number of their leg. `busy` has the numbers of legs with a call
    under way, `unsent` those that were put on file by this process and not sent yet: any other that the exchange has
    not shown may be there or not, and is asked for. `free_usdt` is what SPOT may spend, None where nobody knows.
    `received` is what SPOT buys brought, net of fees in the base asset."""

    intent: OrderIntent
    execution: Execution
    orders: Mapping[int, Order]
    instrument: Instrument
    limits: Limits
    seen: Seen
    busy: frozenset[int] = frozenset()
    unsent: frozenset[int] = frozenset()
    others: tuple[Order, ...] = ()

    def legs(self, *roles: LegRole) -> Iterator[tuple[Leg, Order]]:
        """In the order in which they were put on file."""
        for leg in self.execution.legs:
            order = self.orders.get(leg.n)
            if order is not None and (not roles or leg.role in roles):
                yield leg, order

    def filled(self, *roles: LegRole) -> Decimal:
        return sum((order.filled_qty or _ZERO for _, order in self.legs(*roles)), _ZERO)

    def avg_price(self, *roles: LegRole) -> Decimal | None:
        """Volume-weighted over what filled; None before the first fill."""
        qty = quote = _ZERO
        for _, order in self.legs(*roles):
            if order.filled_qty and order.avg_price is not None:
                qty += order.filled_qty
                quote += order.filled_qty * order.avg_price
        return quote / qty if qty else None

    @property
    def is_entry(self) -> bool:
        return self.intent.purpose.is_new_entry


PAIR, FREE, REARM = -1, -2, -3
"""What `busy` holds for the calls that belong to no leg."""


@dataclass(frozen=True, slots=True)
class File:
    """An order that is to be on file before anything else happens with it."""

    leg: Leg
    new: NewOrder
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Place:
    """Send what is on file, under its own name, and find out what became of it."""

    n: int


@dataclass(frozen=True, slots=True)
class Settle:
    """Find out what became of an order that may be at the exchange, without sending anything."""

    n: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Have it taken back, and know its end."""

    n: int


@dataclass(frozen=True, slots=True)
class ArmPair:
    """SPOT: protect what was received, by the exchange's own pair if it can be had."""

    n: int = PAIR


@dataclass(frozen=True, slots=True)
class Free:
    """SPOT: have what this trade still rests on the book taken back, and know its end."""

    n: int = FREE


@dataclass(frozen=True, slots=True)
class Rearm:
    """SPOT: protect again what an exit has left of its trade."""

    n: int = REARM


@dataclass(frozen=True, slots=True)
class Ask:
    """Look an order up that rests: what it fills must not wait for a stream that says nothing."""

    n: int


Call = Place | Settle | Cancel | ArmPair | Free | Rearm | Ask


@dataclass(frozen=True, slots=True)
class End:
    """The intent's end; `filled_qty` and `avg_price` of what it was to work."""

    state: IntentState
    reason: str | None
    filled_qty: Decimal
    avg_price: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A position that could not be protected: a person is told."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done, in this order: write `execution` and `files` together, raise `alarms`, make `calls`, wait for
    a change or until `wake_ms`, or end. `look`: the machine needs the book and what forbids entries to go on."""

    execution: Execution
    files: tuple[File, ...] = ()
    calls: tuple[Call, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    wake_ms: int | None = None
    look: bool = False
    end: End | None = None


@dataclass(slots=True)
class Draft:
    """A step in the making."""

    flow: Flow
    execution: Execution
    files: list[File] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    wake_ms: int | None = None
    look: bool = False
    end: End | None = None

    @classmethod
    def of(cls, flow: Flow) -> "Draft":
        return cls(flow, flow.execution)

    def done(self) -> Step:
        return Step(
            execution=self.execution,
            files=tuple(self.files),
            calls=tuple(self.calls),
            alarms=tuple(self.alarms),
            wake_ms=self.wake_ms,
            look=self.look,
            end=self.end,
        )

    def wake_at(self, ms: int) -> None:
        self.wake_ms = ms if self.wake_ms is None else min(self.wake_ms, ms)

    def note(self, what: str, **detail: object) -> None:
        """For the timeline; the oldest but the plan give way."""
        notes = (*self.execution.notes, Note(ts=self.flow.seen.now_ms, what=what, detail=detail))
        if len(notes) > NOTES_MAX:
            notes = (notes[0], *notes[-NOTES_MAX + 1 :])
        self.execution = self.execution.but(notes=notes)

    def noted(self, what: str) -> Note | None:
        return next((note for note in self.execution.notes if note.what == what), None)

    def stop(self, why: str) -> None:
        """Open nothing more."""
        if self.execution.stopped is None:
            self.execution = self.execution.but(stopped=why)
            self.note("STOPPED", why=why)

    def call(self, call: Call) -> None:
        """Unless something is under way with it already."""
        if call.n not in self.flow.busy:
            self.calls.append(call)

    def file(
        self,
        role: LegRole,
        type: OrderType,
        qty: Decimal,
        *,
        side: Side,
        purpose: Purpose,
        first_n: int | None = None,
        slice: int = 0,
        price: Decimal | None = None,
        stop_price: Decimal | None = None,
        time_in_force: TimeInForce = TimeInForce.GTC,
        reduce_only: bool = False,
    ) -> int:
        """Put an order on file; it is sent in the same step. `first_n` is its number where that is still free."""
        used = {leg.n for leg in self.execution.legs}
        n = first_n if first_n is not None and first_n not in used else max(LIST_N, *used, LIST_N) + 1
        leg = Leg(n=n, role=role, slice=slice)
        intent = self.flow.intent
        new = NewOrder(
            client_order_id=leg_name(intent.client_order_id, n),
            market=intent.market,
            symbol=intent.symbol,
            side=side,
            type=type,
            qty=qty,
            price=price,
            stop_price=stop_price,
            time_in_force=time_in_force,
            reduce_only=reduce_only and intent.market is Market.FUT,
        )
        self.execution = self.execution.but(legs=(*self.execution.legs, leg))
        self.files.append(File(leg, new, purpose))
        self.calls.append(Place(n))
        return n


def leg_name(client_order_id: str, n: int) -> str:
    """The client order id of leg `n`."""
    return client_order_id if n == ENTRY_N else child_order_id(client_order_id, n)


def is_shown(order: Order) -> bool:
    """Whether the exchange has shown it, in whichever book it belongs to."""
    return order.is_listed or order.status.is_final


# --- events, for whoever tells the machine what happened instead of reading the files


@dataclass(frozen=True, slots=True)
class Told:
    """What the exchange says of one order now: its status, and all that it has filled."""

    n: int
    order: Order


@dataclass(frozen=True, slots=True)
class Called:
    """A call that belongs to leg `n` has come to its end."""

    n: int


@dataclass(frozen=True, slots=True)
class Looked:
    seen: Seen


@dataclass(frozen=True, slots=True)
class Restarted:
    """The process was killed and is back: what was under way is not known."""


@dataclass(frozen=True, slots=True)
class Stopped:
    why: str


Event = Told | Called | Looked | Restarted | Stopped


def absorb(flow: Flow, event: Event) -> Flow:
    """`flow` and what `event` adds to it. Telling twice, late or in another order changes nothing."""
    match event:
        case Told(n, order):
            return replace(flow, orders={**flow.orders, n: further(flow.orders.get(n), order)})
        case Called(n):
            return replace(flow, busy=flow.busy - {n})
        case Looked(seen):
            return replace(flow, seen=seen)
        case Stopped(why):
            return flow if flow.execution.stopped else replace(flow, execution=flow.execution.but(stopped=why))
        case Restarted():
            stopped = flow.execution.stopped or (RESTART if ends_with_its_process(flow) else None)
            return replace(flow, busy=frozenset(), unsent=frozenset(), execution=flow.execution.but(stopped=stopped))


FREED, ARMED, SELL, TRIGGERED, LEFT, UNSOLD = "FREED", "ARMED", "SELL", "TRIGGERED", "LEFT", "UNSOLD"
"""Notes by which a machine or a call says what is settled for good: nothing of the trade rests any more; what was
bought is protected; `qty` of it cannot be, and is sold; the guard acts; what an exit left is protected again;
a guard cannot sell, and a person was told so."""

RESTART = "RESTART"
"""Why an intent that was unfinished when the process ended sends nothing more of its own."""


def ends_with_its_process(flow: Flow) -> bool:
    """Entries: the market they were meant for is gone. Stops and targets by themselves: whoever wanted them orders them
    anew, if they are still wanted. Source: CONTRACTS 1.3."""
    return flow.is_entry or flow.execution.style is ExecStyle.RESTING


def further(known: Order | None, told: Order) -> Order:
    """Of two tellings of one order the one that knows more: the larger filled quantity, then the final one."""
    if known is None:
        return told
    if (known.filled_qty or _ZERO) > (told.filled_qty or _ZERO):
        told, known = known, told
    if (known.filled_qty or _ZERO) == (told.filled_qty or _ZERO) and known.status.is_final:
        told, known = known, told
    status = told.status
    if not status.is_final and known.status.is_final:
        # The end was told first, and the last fill after it.
        full = told.quantity is not None and (told.filled_qty or _ZERO) >= told.quantity
        status = OrderStatus.FILLED if full else known.status
    return told.but(
        status=status,
        venue_order_id=told.venue_order_id or known.venue_order_id,
        venue_algo_id=told.venue_algo_id or known.venue_algo_id,
        refusal=told.refusal or known.refusal,
        reason=told.reason or known.reason,
    )
