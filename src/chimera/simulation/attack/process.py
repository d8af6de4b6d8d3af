"""One service as a process of its own: it can die, hang, be cut off from anything, and wait for slow answers.

Owns what stands between the service and everything outside it. Each call out passes the gate twice, before and after it
was carried out, and at each passing the process may be killed: these are all the moments at which the world outside can
tell that it died.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any

from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.contracts.base import Document
from chimera.contracts.collections import FILLS, INTENTS, ORDERS, TRADES
from chimera.ports.bus import BusUnavailable
from chimera.ports.clock import Clock
from chimera.ports.documents import DocumentsUnavailable
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerAnswer, PeerCall, Peers, PeerUnavailable
from chimera.ports.state import StateUnavailable
from chimera.ports.venue import VenueUnavailable
from chimera.ports.world import World


class Side(StrEnum):
    """What a process talks to."""

    BUS = "bus"
    STATE = "state"
    DOCUMENTS = "documents"
    VENUE = "venue"
    PEERS = "peers"


def down(side: Side) -> DependencyDown:
    why = "cut off by the simulation"
    match side:
        case Side.BUS:
            return BusUnavailable(why)
        case Side.STATE:
            return StateUnavailable(why)
        case Side.DOCUMENTS:
            return DocumentsUnavailable(why)
        case Side.VENUE:
            return VenueUnavailable(why)
        case Side.PEERS:
            return PeerUnavailable("every", why)


@dataclass(slots=True, eq=False)
class Process:
    """`tell` hears of each call that leaves something behind, before and after it.

    `cut` are the sides that do not answer now; `slow_ms` is what each call to a side takes. `fuse` counts passings of
    the gate down to the one at which the process dies; None: it lives.
    """

    service_id: str
    life: int
    clock: Clock
    tell: Callable[["Process", str], None]
    died: Callable[["Process"], None]
    """Called once, at the moment of death."""
    cut: set[Side] = field(default_factory=set)
    slow_ms: dict[Side, int] = field(default_factory=dict)
    fuse: int | None = None
    is_dead: bool = False
    _goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    _answering: list["asyncio.Future[PeerAnswer]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._goes_on.set()

    @property
    def name(self) -> str:
        return f"{self.service_id}#{self.life}"

    @property
    def hangs(self) -> bool:
        return not self._goes_on.is_set()

    def die(self) -> None:
        """Nothing that it began goes on, and nobody gets an answer from it."""
        if self.is_dead:
            return
        self.is_dead = True
        self._goes_on.set()
        for asked in self._answering:
            asked.cancel()
        self.died(self)

    def hang(self) -> None:
        """As by SIGSTOP: nothing goes out, and nothing that comes back is seen, until it goes on."""
        self._goes_on.clear()

    def go_on(self) -> None:
        self._goes_on.set()

    async def answers(self, asked: "asyncio.Future[PeerAnswer]") -> PeerAnswer:
        """
        Raises:
            PeerUnavailable: it died meanwhile.
        """
        self._answering.append(asked)
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            if self.is_dead and asked.done():
                raise PeerUnavailable(self.service_id, "connection reset") from None
            raise
        finally:
            if asked.done():
                self._answering.remove(asked)
            else:
                # Who asked is gone; who answers does not know.
                asked.add_done_callback(self._answered)

    def _answered(self, asked: "asyncio.Future[PeerAnswer]") -> None:
        self._answering.remove(asked)
        with suppress(asyncio.CancelledError):
            asked.exception()

    async def before(self, side: Side, what: str | None) -> None:
        """`what` None: nothing that outlives the process."""
        await self.passes()
        if side in self.slow_ms:
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.slow_ms[side])
            await self.passes()
        if side in self.cut:
            raise down(side)
        if what is not None:
            self.tell(self, f"before {what}")
            await self.passes()

    async def after(self, what: str | None) -> None:
        if what is not None and not self.is_dead:
            self.tell(self, f"after {what}")
        await self.passes()

    async def passes(self) -> None:
        if not self._goes_on.is_set():
            await self._goes_on.wait()
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.fuse = None
                self.die()
        if self.is_dead:
            raise asyncio.CancelledError(f"{self.name} is dead")


class Through:
    """A port as one process sees it."""

    def __init__(self, inner: Any, process: Process, side: Side) -> None:
        self._inner = inner
        self._process = process
        self._side = side

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if isasyncgenfunction(call):
            through: Any = self._listening(call)
        elif iscoroutinefunction(call):
            through = self._calling(name, call)
        else:
            return call
        setattr(self, name, through)
        return through

    def _calling(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        process, side = self._process, self._side
        leaves_something = name in DUTIES[side] if side in DUTIES else False

        async def through(*args: Any, **kwargs: Any) -> Any:
            what = duty_of(side, name, args) if leaves_something else None
            await process.before(side, what)
            try:
                return await call(*args, **kwargs)
            finally:
                await process.after(what)

        return through

    def _listening(self, call: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        process, side = self._process, self._side

        async def through(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            await process.before(side, None)
            async for told in call(*args, **kwargs):
                await process.before(side, None)
                yield told

        return through


class PeersThrough:
    """Calls to other services: whoever dies while it answers has given no answer."""

    def __init__(self, inner: Peers, process: Process, of: Callable[[str], Process | None]) -> None:
        self._inner = inner
        self._process = process
        self._of = of

    async def call(self, call: PeerCall) -> PeerAnswer:
        await self._process.before(Side.PEERS, None)
        try:
            return await call_to(self._of(call.service), self._inner, call)
        finally:
            await self._process.passes()


async def call_to(target: Process | None, peers: Peers, call: PeerCall) -> PeerAnswer:
    """
    Raises:
        PeerUnavailable: nobody is there, or it died before it had answered.
    """
    if target is None or target.is_dead:
        raise PeerUnavailable(call.service, "connection refused")
    if Side.PEERS in target.cut:
        raise PeerUnavailable(call.service, "cut off by the simulation")
    return await target.answers(asyncio.ensure_future(peers.call(call)))


OUTLIVE = frozenset({INTENTS.name, ORDERS.name, FILLS.name, TRADES.name})
"""Writes to these collections carry a duty; snapshots and events carry none."""

DUTIES: dict[Side, frozenset[str]] = {
    Side.DOCUMENTS: frozenset({"insert", "put", "replace", "put_many"}),
    Side.VENUE: frozenset({"place", "place_oco", "cancel", "ensure_isolated", "transfer", "cancel_all_after"}),
}


def duty_of(side: Side, name: str, args: tuple[Any, ...]) -> str | None:
    """The name of a call that leaves something behind, by what it is about and never by an id; None for all others."""
    if side is Side.VENUE:
        return f"venue.{name} {_purpose(args)}".strip()
    written = [(put.collection, put.doc) for put in args[0]] if name == "put_many" else [args[:2]]
    kinds = [f"{collection.name} {_state(doc)}".strip() for collection, doc in written if collection.name in OUTLIVE]
    return f"documents.{name} {', '.join(dict.fromkeys(kinds))}" if kinds else None


def _purpose(args: tuple[Any, ...]) -> str:
    order = args[0]
    words = [str(word) for name in ("market", "side", "type") if (word := getattr(order, name, ""))]
    if getattr(order, "reduce_only", False):
        words.append("reduce-only")
    return " ".join(words)


def _state(document: Document) -> str:
    return str(getattr(document, "state", getattr(document, "status", "")))


def world_of(process: Process, world: World, of: Callable[[str], Process | None]) -> World:
    """`world` as `process` sees it."""

    def through(inner: Any, side: Side) -> Any:
        return Through(inner, process, side)

    return replace(
        world,
        randomness=world.randomness.fork(process.name),
        bus=through(world.bus, Side.BUS),
        snapshots=through(world.snapshots, Side.STATE),
        locks=through(world.locks, Side.STATE),
        idempotency=through(world.idempotency, Side.STATE),
        due=through(world.due, Side.STATE),
        reservations=through(world.reservations, Side.STATE),
        documents=through(world.documents, Side.DOCUMENTS),
        venue=through(world.venue, Side.VENUE),
        peers=PeersThrough(world.peers, process, of),
        metrics=PrometheusMetrics(),
    )
