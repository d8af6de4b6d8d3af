"""One intent as this process leads it: what is on file, and what is under way."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts.documents import Execution, IntentRecord, Leg, Note, Order, StrategyEvent, WorkSlice
from chimera.contracts.enums import OrderType, TimeInForce
from chimera.domain.execution.machine.flow import Alarm, Limits, leg_name
from chimera.domain.execution.orders import NewOrder
from chimera.services.s04_router.ledger import Ledger


def _nobody() -> None:
    """Nobody leads it yet."""


@dataclass(slots=True, kw_only=True)
class Run:
    """`busy` and `unsent` are the machine's words. `dirty` says that something changed since the last look."""

    record: IntentRecord
    execution: Execution | None
    restored: bool = False
    limits: Limits | None = None
    busy: set[int] = field(default_factory=set)
    unsent: set[int] = field(default_factory=set)
    news: dict[int, NewOrder] = field(default_factory=dict)
    dirty: bool = True
    stop_wanted: str | None = None
    """Why somebody outside asked that nothing more be opened; on file with the next step."""
    asked_ms: dict[int, int] = field(default_factory=dict)
    """When a resting order was last looked up."""
    measured: bool = False
    listed_ms: int | None = None
    """When a stop of it was first seen listed."""
    covered: bool = False
    """How long what filled had no stop is in the measures."""
    counted: bool = False
    """What it took is in the measures of the day."""
    prepared: bool = False
    """Margin type and leverage were made what the first order needs."""
    broken: set[str] = field(default_factory=set)
    """What has failed by a bug of ours, so that it is logged in full once."""
    others: tuple[Order, ...] | None = None
    unwatch: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    """What a person must be told and could not be yet."""
    told: list[Note] = field(default_factory=list)
    """How calls that belong to no leg have ended; on file with the next step."""
    ends: list[StrategyEvent] = field(default_factory=list)
    """What is told of its end, on file together with it."""
    wake: Callable[[], None] = _nobody
    """Has it looked at again, so that what was `told` comes on file."""
    merged: int = 0
    """How many of these the present step has taken in."""

    @property
    def intent_id(self) -> str:
        return self.record.intent_id

    def name_of(self, n: int) -> str:
        return leg_name(self.record.intent.client_order_id, n)

    def leg(self, n: int) -> Leg:
        assert self.execution is not None
        return next(leg for leg in self.execution.legs if leg.n == n)

    def why(self, what: str) -> object:
        """What a note of the machine says of its reason."""
        notes = self.execution.notes if self.execution is not None else ()
        return next((note.detail.get("why") for note in notes if note.what == what), None)

    def sellable(self, execution: Execution) -> tuple[WorkSlice, ...]:
        """SPOT: what of an exit there is to sell, as soon as that is known; empty before."""
        for note in self.told:
            if "sellable" in note.detail:
                return (execution.slices[0].but(qty=Decimal(note.detail["sellable"])),)
        return ()

    async def orders(self, ledger: Ledger) -> dict[int, Order]:
        found = {}
        for leg in self.execution.legs if self.execution is not None else ():
            name = self.name_of(leg.n)
            order = ledger.present(name) or await ledger.order(name)
            if order is not None:
                found[leg.n] = order
        return found

    def new_order(self, n: int, order: Order) -> NewOrder:
        """What was put on file, as it is sent. After a restart it is read from the file, which has all but the time in
        force: nothing that needs it is sent any more then."""
        known = self.news.get(n)
        if known is not None:
            return known
        assert order.quantity is not None
        return NewOrder(
            client_order_id=order.order_id,
            market=order.market,
            symbol=order.symbol,
            side=order.side,
            type=order.type,
            qty=order.quantity,
            price=order.price,
            stop_price=order.stop_price,
            time_in_force=TimeInForce.IOC if order.type is OrderType.LIMIT else TimeInForce.GTC,
            reduce_only=bool(order.reduce_only),
        )
