"""Every fault at every step of every flow.

Owns what a step is, the run of a flow that one fault strikes at one step, and the table. An orderly run of each flow
says at which steps each fault can occur; what can occur is then brought about, and the invariants are asked.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from chimera.adapters.clocks import LoopClock
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.contracts.collections import INTENTS
from chimera.contracts.documents import KillSwitchState
from chimera.contracts.enums import HealthLevel, Market, OrderStatus, OrderType, Severity, Side, Switch
from chimera.contracts.http.breaker import BreakerRequest
from chimera.contracts.keys import HEALTH_STATE, KILL_SWITCH
from chimera.contracts.messages import AlertEvent
from chimera.domain.execution.orders import AccountChange, NewOco, NewOrder, OrderUpdated
from chimera.domain.matching.faults import SPECS, Asked, Fault, FaultKind, FaultPlan, Reach
from chimera.ports.bus import BusUnavailable
from chimera.ports.peers import PeerUnavailable
from chimera.ports.world import World
from chimera.runtime.kill_switch import KILL_SWITCH_STATE
from chimera.simulation.checkers.stops_listed import stops_in_time
from chimera.simulation.loop import run_virtual
from tests.prove.faults import BRIEF_MS, ROWS, House, cannot_reach, fits, only
from tests.prove.flows import FLOWS, entry
from tests.prove.timeline import DOWN_MS, HOUSE, Fuse, Progress, Timeline, until_blown
from tests.services.small_world import Switchable
from tests.services.trading_floor import ENV, Floor, tick

LIVENESS_MS = 90_000
"""After the last step everything is healed, and this long it may take until the books agree."""

AHEAD_MS = 3_600_000
BEHIND_MS = 1_300


class Point(StrEnum):
    """A step of a flow, as a column of the table."""

    ACCEPT = "accept"
    MARGIN = "prepare margin"
    SEND_ENTRY = "send entry"
    FILL = "fill"
    SEND_STOP = "send stop"
    LIST_STOP = "list stop"
    SEND_TARGET = "send target"
    REPLACE_STOP = "replace stop"
    CANCEL = "cancel"
    EXIT = "exit"
    OCO_PLACE = "oco place"
    PAIR_RESTS = "pair rests"
    OCO_FILL = "oco leg fill"
    GUARD = "guard sells"


EVENTS = (Point.FILL, Point.LIST_STOP, Point.PAIR_RESTS, Point.OCO_FILL)
"""What the exchange tells, not what it is asked."""

GUARD_SELLS = re.compile(r"-g\d")


def point_of_order(new: NewOrder, timeline: Timeline) -> Point:
    if GUARD_SELLS.search(new.client_order_id):
        return Point.GUARD
    leaves = new.reduce_only or (new.market is Market.SPOT and new.side is Side.SELL)
    if not leaves:
        return Point.SEND_ENTRY
    if new.type is OrderType.STOP_MARKET:
        stops = [order for order in timeline.exchange.open_conditional() if order.type is OrderType.STOP_MARKET]
        return Point.REPLACE_STOP if stops else Point.SEND_STOP
    return Point.SEND_TARGET if new.type is OrderType.TAKE_PROFIT_MARKET else Point.EXIT


def points_of_change(change: AccountChange) -> Iterator[Point]:
    if not isinstance(change, OrderUpdated):
        return
    order = change.order
    leaves = order.reduce_only or (order.market is Market.SPOT and order.side is Side.SELL)
    if change.fill is not None and not leaves:
        yield Point.FILL
    if change.fill is not None and order.order_list_id is not None:
        yield Point.OCO_FILL
    if order.order_list_id is not None and order.stop_price is not None and order.status is OrderStatus.NEW:
        yield Point.PAIR_RESTS
    if order.type is OrderType.STOP_MARKET and order.status is OrderStatus.NEW and not order.triggered:
        yield Point.LIST_STOP


class WatchedPlan(FaultPlan):
    """A plan that says of every call that it came, before it bends it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Callable[[Asked], None] = lambda _: None
        self.heard: Callable[[str], None] = lambda _: None

    def on_call(self, asked: Asked, now_ms: int) -> Fault | None:
        self.seen(asked)
        return super().on_call(asked, now_ms)

    def on_event(self, reach: Reach, name: str, market: Market | None, symbol: str, now_ms: int) -> Fault | None:
        self.heard(name)
        return super().on_event(reach, name, market, symbol, now_ms)


class Watched:
    """The exchange in whose calls the steps of a flow are recognised."""

    def __init__(self, venue: SimulatedVenue, watch: "Watch") -> None:
        self._venue = venue
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    async def place(self, order: NewOrder) -> Any:
        self._watch.pending = point_of_order(order, self._watch.timeline)
        return await self._venue.place(order)

    async def place_oco(self, oco: NewOco) -> Any:
        self._watch.pending = Point.OCO_PLACE
        return await self._venue.place_oco(oco)

    async def cancel(self, *args: Any, **kwargs: Any) -> Any:
        self._watch.pending = Point.CANCEL
        return await self._venue.cancel(*args, **kwargs)

    async def ensure_isolated(self, *args: Any) -> Any:
        self._watch.pending = Point.MARGIN
        return await self._venue.ensure_isolated(*args)


class Watching(Fuse):
    """A fuse that sees intents being accepted as well."""

    def __init__(self, watch: "Watch") -> None:
        super().__init__(None)
        self._watch = watch

    def step(self, label: str) -> None:
        self.alive()
        if self.armed and label.startswith("before insert intents"):
            self._watch.at(Point.ACCEPT, None)
        self.alive()


@dataclass(slots=True)
class Watch:
    """Tells `at` of every step, with the call where it is one."""

    timeline: Timeline
    plan: WatchedPlan
    at: Callable[[Point, Asked | None], None]
    pending: Point | None = None

    def wrap(self, venue: SimulatedVenue) -> Any:
        venue.on_changes.insert(0, self._changed)
        self.plan.seen = self._seen
        return Watched(venue, self)

    def _seen(self, asked: Asked) -> None:
        point, self.pending = self.pending, None
        if point is not None:
            self.at(point, asked)

    def _changed(self, changes: Sequence[AccountChange]) -> None:
        for change in changes:
            for point in points_of_change(change):
                self.at(point, None)


# --- what can occur


Cell = tuple[str, str, Point]
"""Flow, row by name, step."""


@dataclass(slots=True)
class Orderly:
    """A run without faults: the first time of each step, and why a row means nothing there (None: it does)."""

    reasons: dict[tuple[str, Point], str | None] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)


def orderly(flow: str) -> Orderly:
    return run_virtual(_orderly(flow))


async def _orderly(name: str) -> Orderly:
    flow = FLOWS[name]
    timeline = Timeline.of(flow)
    timeline.plan = plan = WatchedPlan()
    found = Orderly()
    later: dict[Point, list[Asked]] = {}
    events: dict[Point, set[str]] = {}

    def at(point: Point, asked: Asked | None) -> None:
        if point in found.points:
            return
        found.points.append(point)
        later[point], events[point] = [], set()
        for row in ROWS:
            found.reasons[row.name, point] = cannot_reach(row, asked, timeline.exchange)

    watch = Watch(timeline, plan, at)
    fuse = Watching(watch)
    floor = await timeline.live(fuse, watch.wrap)
    await floor.start(*HOUSE, price=str(timeline.price))
    fuse.armed = True
    see = plan.seen

    def seen(asked: Asked) -> None:
        see(asked)
        for calls in later.values():
            calls.append(asked)

    def heard(event: str) -> None:
        for names in events.values():
            names.add(event)

    plan.seen, plan.heard = seen, heard
    await Progress(timeline, flow.steps).go_on(floor)
    await floor.stop()
    for row in ROWS:
        if row.plan is None:
            continue
        spec = SPECS[row.plan]
        for point in found.points:
            if found.reasons[row.name, point] is not None:
                continue
            if (
                spec.calls
                and spec.reach in (Reach.CALL, Reach.EXCHANGE)
                and not any(fits(row, asked) for asked in later[point])
            ):
                found.reasons[row.name, point] = f"{only(row)}, and none comes any more"
            if spec.reach is Reach.MARKET and not any(fnmatchcase(each, spec.calls) for each in events[point]):
                found.reasons[row.name, point] = f"it bends only {spec.calls}, of which this market has none"
    return found


# --- a fault, brought about


@dataclass(slots=True)
class Struck:
    """`hit`: the fault came about. `wrong` None: everything holds."""

    cell: Cell
    hit: bool = False
    wrong: str | None = None


def strike(cell: Cell) -> Struck:
    return run_virtual(_strike(cell))


async def _strike(cell: Cell) -> Struck:
    return await _Striking(cell).run()


class _Striking:
    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.struck = Struck(cell)
        self.flow = FLOWS[cell[0]]
        self.row = next(row for row in ROWS if row.name == cell[1])
        self.point = cell[2]
        self.timeline = Timeline.of(self.flow)
        self.plan = self.timeline.plan = WatchedPlan()
        self.timeline.house = self._house
        self.watch = Watch(self.timeline, self.plan, self._at)
        self.fuse = Watching(self.watch)
        self.floor: Floor | None = None
        self.links: list[Switchable] = []
        self.doing: list[asyncio.Future[None]] = []
        self.struck_ms = 0
        self.offset_ms = 0

    def _house(self, world: World) -> World:
        peers = Switchable(world.peers, lambda why: PeerUnavailable("every", why))
        bus = Switchable(world.bus, BusUnavailable)
        self.links = [peers, bus]
        self.own_clock = LoopClock(self.timeline.clock.now_ms() + self.offset_ms)
        clock = self.own_clock if self.row.house in (House.CLOCK_AHEAD, House.CLOCK_BEHIND) else world.clock
        return replace(world, peers=peers, bus=bus, clock=clock)

    def _at(self, point: Point, asked: Asked | None) -> None:
        if point is not self.point or self.struck_ms:
            return
        self.struck_ms = now_ms = self.timeline.clock.now_ms()
        if self.row.house is not None:
            self.struck.hit = True
            self._do(self.row.house)
        elif asked is None and SPECS[self.row.plan].reach in (Reach.EXCHANGE, Reach.SOCKETS):
            # The exchange is in the middle of telling: what else happens to it comes right after.
            self.timeline.clock.call_at_ms(now_ms, lambda: self._arm())
        else:
            self._arm()

    def _arm(self) -> None:
        self.plan.arm(self.row.fault(self.timeline.clock.now_ms()))

    def _do(self, house: House) -> None:
        match house:
            case House.CLOCK_AHEAD:
                self.own_clock.advance(AHEAD_MS)
                self.timeline.skipped.append((self.struck_ms, self.struck_ms + AHEAD_MS))
            case House.CLOCK_BEHIND:
                self.offset_ms = -BEHIND_MS
                self._die()
            case House.PARTED:
                for link in self.links:
                    link.down = True
                self._later(self._join())
            case House.KILL_PULLED:
                self._later(self._pull())
            case House.TURNED_RED:
                self._later(self._turn_red())
            case House.BREAKER_OPENED:
                self._later(self._open_the_breaker())
            case House.RUNAWAY:
                self._later(self._run_away())
            case House.ALL_AT_ONCE:
                self._later(self._all_at_once())
            case House.KILLED:
                self._die()

    def _die(self) -> None:
        self.fuse.steps.append(self.point)
        self.fuse.blown.set()

    def _later(self, doing: Coroutine[Any, Any, None]) -> None:
        self.doing.append(asyncio.ensure_future(doing))

    async def _join(self) -> None:
        await self.timeline.clock.sleep_until_ms(self.struck_ms + BRIEF_MS)
        for link in self.links:
            link.down = False

    async def _pull(self) -> None:
        assert self.floor is not None
        await self.timeline.documents.put(
            KILL_SWITCH_STATE, KillSwitchState(state=Switch.ON, actor="test", updated_at=self.struck_ms)
        )
        await self.floor.world.snapshots.set(KILL_SWITCH.name(ENV), Switch.ON.value)

    async def _turn_red(self) -> None:
        assert self.floor is not None
        await self.floor.world.snapshots.set(HEALTH_STATE.name(ENV), HealthLevel.RED.value)

    async def _open_the_breaker(self) -> None:
        assert self.floor is not None
        await self.floor.call("s4", "POST", "/breaker/open", BreakerRequest(reason="the matrix"))

    async def _run_away(self) -> None:
        floor = self.floor
        assert floor is not None
        sides = ({}, {"side": Side.SELL, "sl": "60600", "tp": "59500"})
        await asyncio.gather(
            *(floor.call("s4", "POST", "/orders", entry(floor, f"R{k}", **sides[k % 2])) for k in range(40))
        )

    async def _all_at_once(self) -> None:
        floor = self.floor
        assert floor is not None
        position = next(iter(self.timeline.exchange.positions()), None)
        low = position is None or position.qty > 0
        self.timeline.price = floor.price = Decimal(59_000 if low else 61_000)
        closing = asyncio.ensure_future(
            floor.call("s6", "POST", "/positions/close", {"market": "FUT", "symbol": "BTCUSDT"})
        )
        await self._pull()
        floor.venue.apply(tick(self.timeline.price, self.timeline.clock.now_ms()))
        await closing

    # --- the run

    async def run(self) -> Struck:
        timeline = self.timeline
        self.floor = floor = await timeline.live(self.fuse, self.watch.wrap)
        await floor.start(*HOUSE, price=str(timeline.price))
        begun = Progress(timeline, self.flow.steps)
        self.fuse.armed = True
        await until_blown(self.fuse, begun.go_on(floor))
        if self.fuse.blown.is_set():
            died_at_ms = timeline.clock.now_ms()
            await floor.stop()
            await timeline.clock.sleep_until_ms(died_at_ms + DOWN_MS)
            self.floor = floor = await timeline.live(Fuse(None))
            timeline.downtimes.append((died_at_ms, timeline.clock.now_ms()))
            await floor.start(*HOUSE)
            await begun.go_on(floor)
        await asyncio.gather(*self.doing)
        await self._heal(floor)
        await self._judge(floor)
        await floor.stop()
        return self.struck

    async def _heal(self, floor: Floor) -> None:
        if self.row.plan is not None:
            self.struck.hit = self.plan.hits().get(self.row.plan, 0) > 0
        self.plan.disarm()
        if self.row.house is House.RUNAWAY:
            await floor.call("s6", "POST", "/positions/flatten", {})
        if self.row.house is House.PARTED:
            # Who was told that there is nothing, or heard nothing, asks again.
            await self.flow.steps[-1](self.timeline, floor)
        await floor.settle(LIVENESS_MS)

    async def _judge(self, floor: Floor) -> None:
        timeline = self.timeline
        evidence = timeline.evidence()
        late: list[str] = []
        if self.row.plan in REFUSES_SERVICE:
            refused = (self.struck_ms, self.struck_ms + self._refused_ms())
            late = stops_in_time(evidence, timeline.downtimes)
            timeline.downtimes.append(refused)
            if self._told_of(*refused):
                late = []
        if self.row.plan is FaultKind.HUMAN_ORDER:
            # What a stranger opens beside an entry or add under way is told from ours, and covered, when that ended.
            ends = [each.updated_at for each in evidence.on_file(INTENTS) if each.purpose.is_new_entry]
            timeline.downtimes.append((self.struck_ms, max([self.struck_ms, *ends])))
        wrong = timeline.findings()
        if late:
            wrong["I2 without an alert"] = late
        if self.row.plan is FaultKind.FILTERS_CHANGED:
            # Rules that became coarser keep the rest of a slice from being ordered.
            wrong["I7"] = [each for each in wrong.get("I7", []) if "ended with" not in each]
            wrong = {name: found for name, found in wrong.items() if found}
        if self.row.house is House.PARTED:
            # The bus was down: whoever reads it asks the documents.
            wrong.pop("I13 untold", None)
        if left := self._left(floor):
            wrong["the end"] = left
        if wrong:
            self.struck.wrong = f"{' / '.join(self.cell)}: {wrong}"

    def _told_of(self, from_ms: int, to_ms: int) -> bool:
        """Whether people were alarmed while service was refused."""
        return any(
            isinstance(each.message, AlertEvent)
            and each.message.severity in (Severity.ERROR, Severity.FATAL)
            and from_ms <= each.message.ts <= to_ms
            for each in self.timeline.told
        )

    def _refused_ms(self) -> int:
        waits = {FaultKind.RATE_429: ("retry_after_s", 1_000), FaultKind.BAN_418: ("ban_s", 1_000)}
        assert self.row.plan is not None
        name, unit = waits.get(self.row.plan, ("", 0))
        told_ms = int(self.row.params.get(name, 0)) * unit if name else self.row.lasts_ms
        return told_ms + WHILE_MS

    def _left(self, floor: Floor) -> list[str]:
        """What should not be there any more: open trades, and but for a stranger's, positions and orders."""
        left = [f"trade {name} is open on file" for name in self.timeline.unclosed()]
        if self.row.plan is FaultKind.HUMAN_ORDER:
            return left
        left += [f"position {each.qty} {each.symbol}" for each in self.timeline.exchange.positions()]
        return left + [f"order {name} {what}" for name, what in floor.resting().items()]


REFUSES_SERVICE = frozenset(
    {
        FaultKind.OUTAGE,
        FaultKind.SYMBOL_HALTED,
        FaultKind.BAN_418,
        FaultKind.RATE_429,
        FaultKind.KEY_REVOKED,
        FaultKind.IP_CHANGED,
    }
)
"""While one of these lasts, I2 asks for an alert and not for a stop."""

WHILE_MS = 1_500
"""After service is refused no longer: whoever waited asks again at least this often."""


# --- the cells, and the table


def all_cells(runs: Mapping[str, Orderly]) -> list[Cell]:
    """Whatever can occur."""
    return [
        (flow, row, point) for flow, run in runs.items() for (row, point), why in run.reasons.items() if why is None
    ]


def quick_cells(runs: Mapping[str, Orderly]) -> list[Cell]:
    """Each fault at two of its cells, as flows and steps take turns."""
    by_row: dict[str, list[Cell]] = {}
    for cell in all_cells(runs):
        by_row.setdefault(cell[1], []).append(cell)
    chosen: list[Cell] = []
    for turn, cells in enumerate(by_row.values()):
        chosen += [cells[turn * 7 % len(cells)], cells[(turn * 11 + len(cells) // 2) % len(cells)]]
    return list(dict.fromkeys(chosen))


@dataclass(slots=True)
class Tally:
    """One cell of the table. `why` not: the rules' reasons where the fault can occur in no flow."""

    ran: int = 0
    wrong: int = 0
    can: int = 0
    why_not: set[str] = field(default_factory=set)


Table = dict[tuple[str, Point], Tally]


def table(runs: Mapping[str, Orderly], struck: Iterable[Struck]) -> Table:
    found: Table = {}
    for run in runs.values():
        for (row, point), why in run.reasons.items():
            tally = found.setdefault((row, point), Tally())
            if why is None:
                tally.can += 1
            else:
                tally.why_not.add(why)
    for each in struck:
        tally = found[each.cell[1], each.cell[2]]
        tally.ran += each.hit
        tally.wrong += each.wrong is not None
    return found


def unexplained(cells: Table) -> list[str]:
    """Cells that can neither occur nor are excused by a rule."""
    return [
        f"{row.name} / {point}"
        for row in ROWS
        for point in Point
        if (tally := cells.get((row.name, point))) is None or not (tally.can or tally.why_not)
    ]


def unreached(cells: Table) -> list[str]:
    """Cells that can occur and never did."""
    return [f"{row} / {point}" for (row, point), tally in cells.items() if tally.can and not tally.ran]
