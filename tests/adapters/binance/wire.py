"""The whole wire path: our server with faults armed over HTTP, and the connector as the system opens it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypeVar

import orjson
from pydantic import SecretStr

from chimera.adapters.binance.rest import TIMEOUT_MS
from chimera.adapters.binance.venue import BinanceVenue
from chimera.adapters.binance.ws import SocketLimits
from chimera.app.remote import reach
from chimera.contracts.enums import OrderType
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.orders import NewOrder, StreamReset
from chimera.domain.market.quotes import Bar, MarkPrice
from chimera.domain.matching.faults import FaultKind
from chimera.runtime.waiting import DeadlinePassed, until
from chimera.venue_server.streams.connection import Connection
from chimera.venue_server.streams.names import Group
from tests.ports.test_venue import FUT, SPOT, Desk, order
from tests.venue_server.running import KEY, SECRET, RunningVenue, running_venue

T = TypeVar("T")
Test = TypeVar("Test", bound=Callable[..., Coroutine[Any, Any, None]])

QUICK = SocketLimits(
    open_ms=3_000,
    ack_ms=3_000,
    stall_ms=60_000,
    overlap_ms=50,
    backoff_first_ms=50,
    backoff_max_ms=400,
)
"""Reconnecting is a matter of moments; silence is not noticed unless a test wants that."""
COUNTED = 10**9
WITHIN_S = 20.0

SHOWN: dict[FaultKind, list[Callable[..., Any]]] = {}
"""Which tests show what the connector does about a fault."""


def shows(*kinds: FaultKind) -> Callable[[Test], Test]:
    def note(test: Test) -> Test:
        for kind in kinds:
            SHOWN.setdefault(kind, []).append(test)
        return test

    return note


@dataclass(slots=True, kw_only=True)
class Wire(Desk):
    """A market that stands at 60000 until the test moves it. `hits`: what the faults armed here have met."""

    running: RunningVenue
    connector: BinanceVenue
    armed: dict[int, FaultKind] = field(default_factory=dict)
    hits: dict[FaultKind, int] = field(default_factory=dict)

    async def arm(self, kind: FaultKind, **fields: Any) -> int:
        """Over HTTP, as whoever runs the exchange does."""
        told = await self._admin("POST", "faults", {"kind": kind.value, **fields})
        number = int(told["ids"][0])
        self.armed[number] = kind
        return number

    async def disarm(self, number: int) -> None:
        await self.look()
        await self._admin("DELETE", f"faults?id={number}")

    async def look(self) -> None:
        """Bring `hits` up to date."""
        for row in (await self._admin("GET", "faults"))["faults"]:
            kind = FaultKind(row["kind"])
            self.hits[kind] = max(self.hits.get(kind, 0), int(row["hits"]))

    async def counting(self, calls: str = "*") -> "Counter":
        """Of the calls that reach the exchange from now on. A fault that never comes to pass counts them."""
        told = await self._admin("POST", "faults", {"kind": "LATE", "calls": calls, "nth": COUNTED})
        return Counter(self, int(told["ids"][0]))

    async def seen(self, number: int) -> int:
        rows = (await self._admin("GET", "faults"))["faults"]
        return next(int(row["seen"]) for row in rows if row["id"] == number)

    async def ledger(self) -> Any:
        return await self._admin("GET", "ledger")

    async def _admin(self, method: str, path: str, body: Any = None) -> Any:
        async with self.running.session.request(method, f"{self.running.url}/admin/{path}", json=body) as response:
            answer = orjson.loads(await response.read())
            assert response.status == 200, answer
            return answer

    # --- what is told

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not is_so():
                self._more.clear()
                await self._more.wait()

    @property
    def resets(self) -> int:
        return sum(isinstance(each, StreamReset) for each in self.told)

    @property
    def bars(self) -> list[Bar]:
        return [each for each in self.shown if isinstance(each, Bar)]

    @property
    def marks(self) -> list[MarkPrice]:
        return [each for each in self.shown if isinstance(each, MarkPrice)]

    def sockets(self, *groups: Group) -> set[Connection]:
        """Open now; of all groups unless some are named."""
        return {each for each in self.running.venue.hub.connections if not groups or each.group in groups}

    # --- time

    async def pass_ms(self, real_ms: int) -> None:
        await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(real_ms))

    async def eventually(self, ask: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        """Until the answer is yes."""
        async with asyncio.timeout(WITHIN_S):
            while not await ask():
                await asyncio.sleep(0.05)

    async def within(self, real_ms: int, work: Coroutine[Any, Any, T]) -> T | None:
        """What it answers, None when that takes longer."""
        try:
            return await until(self.clock, self.clock.now_ms() + self.clock.work_ms(real_ms), work)
        except DeadlinePassed:
            return None

    @asynccontextmanager
    async def moving(self, every_ms: int = 50) -> AsyncIterator[None]:
        """The market ticks around where it stands, as one does."""

        async def move() -> None:
            step = 0
            while True:
                step += 1
                self.price(f"{60_000 + step % 7}.0")
                await asyncio.sleep(every_ms / 1_000)

        task = asyncio.get_running_loop().create_task(move())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@dataclass(slots=True)
class Counter:
    _wire: Wire
    _number: int

    async def read(self) -> int:
        return await self._wire.seen(self._number)


@asynccontextmanager
async def wired(
    *,
    limits: SocketLimits = QUICK,
    timeout_ms: int = TIMEOUT_MS,
    speed: float = 1.0,
    still: bool = True,
    never: frozenset[FaultKind] = frozenset(),
) -> AsyncIterator[Wire]:
    """A fault that was armed and met nothing fails the test; those of `never` are to meet nothing."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(running_venue(still=still, speed=speed))
        keys = S4Settings(binance_key=SecretStr(KEY), binance_secret=SecretStr(SECRET))
        reached = await reach(running.url, None, keys, stack, timeout_ms=timeout_ms, limits=limits)
        wire = Wire(reached.venue, running.venue.hosted.host, reached.clock, running=running, connector=reached.venue)
        if still:
            wire.price("60000.0")
        stack.push_async_callback(wire.close)
        yield wire
        await wire.look()
        unmet = {kind for kind in wire.armed.values() if not wire.hits.get(kind)}
        assert unmet == never, f"armed and never met: {unmet}"


def resting(name: str, key: InstrumentKey = FUT, price: str = "59000", qty: str = "0.01") -> NewOrder:
    return order(name, qty, key=key, type=OrderType.LIMIT, price=Decimal(price))


def quick(**limits: int) -> SocketLimits:
    return replace(QUICK, **limits)


BOTH: Sequence[InstrumentKey] = (FUT, SPOT)
