"""The house as it stands in a cluster: each service a process of its own, and a supervisor that starts what died.

Owns who lives, and what each blow does to them. The exchange, the documents, the bus and the state outlive every
process; what they lose is done to them here as well.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from chimera.adapters.memory.state import (
    MemoryDueQueue,
    MemoryIdempotency,
    MemoryReservations,
    MemorySnapshots,
)
from chimera.app.registry import DECIDING, SERVICES, Settings, build_all
from chimera.ports.peers import PeerAnswer, PeerCall, PeerUnavailable
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.runtime.runner import Runner
from chimera.simulation.attack.disk import Disk
from chimera.simulation.attack.plan import DOWN_SIDES, Befalls, Blow
from chimera.simulation.attack.process import Process, Side, call_to, world_of
from chimera.simulation.attack.stores import CountedBus, CountedLocks
from chimera.simulation.attack.story import Story

RESTART_MS = 1_000
"""What a supervisor waits before it starts again what died."""


@dataclass(slots=True, kw_only=True)
class Stores:
    """What outlives every process beside the exchange."""

    bus: CountedBus
    snapshots: MemorySnapshots
    locks: CountedLocks
    idempotency: MemoryIdempotency
    due: MemoryDueQueue
    reservations: MemoryReservations
    disk: Disk
    on_wiped: Callable[[], None]

    def wipe_state(self) -> None:
        self.on_wiped()
        for each in (self.snapshots, self.locks, self.idempotency, self.due, self.reservations):
            each.wipe()


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbed:
    """A time in which a service, or all of them (`service` empty), could not do what they are for."""

    service: str
    from_ms: int
    to_ms: int


@dataclass(slots=True)
class _Home:
    process: Process
    runner: Runner
    living: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Town:
    """`disturbed`: by blows alone, in the order in which they began."""

    world: World
    settings: Settings
    stores: Stores
    peers: LocalPeers
    story: Story
    watch: Callable[[Process, str], None]
    homes: dict[str, _Home] = field(default_factory=dict)
    ghosts: list[_Home] = field(default_factory=list)
    """Processes whose place another took."""
    lives: dict[str, int] = field(default_factory=dict)
    disturbed: list[Disturbed] = field(default_factory=list)
    _down_ms: dict[str, int] = field(default_factory=dict)
    """How long the next dead stays so; otherwise `RESTART_MS`."""
    _doing: list[asyncio.Task[None]] = field(default_factory=list)
    healing: bool = False

    async def start(self) -> None:
        for service_id in SERVICES:
            self.begin(service_id)

    def begin(self, service_id: str) -> None:
        """A new process; it starts by itself and waits for whom it needs."""
        life = self.lives[service_id] = self.lives.get(service_id, 0) + 1
        process = Process(service_id, life, self.world.clock, self.watch, self._died)
        service = build_all(world_of(process, self.world, self.of), self.settings)[service_id]
        runner = Runner(
            service,
            world_of(process, self.world, self.of),
            self.settings.env,
            consumer_name=str(life),
            claim_every_ms=self.settings.pace.claim_ms,
            closed_until_started=service_id in DECIDING,
        )
        home = self.homes[service_id] = _Home(process, runner)
        self.peers.add(service_id, runner.all_routes())
        self.story.add("town", f"{process.name} starts")
        home.living = self._task(runner.start(), f"{process.name} starts")

    def of(self, service_id: str) -> Process | None:
        home = self.homes.get(service_id)
        return home.process if home is not None else None

    def processes(self) -> Iterator[Process]:
        for home in self.homes.values():
            yield home.process

    async def stop(self) -> None:
        self.healing = True
        for task in self._doing:
            task.cancel()
        for home in (*reversed(self.homes.values()), *self.ghosts):
            home.process.is_dead = True
            await _end(home)

    async def call(self, service: str, method: str, path: str, body: object = None) -> PeerAnswer | None:
        """As a person or a program outside would; None: no answer, so that nobody knows what became of it."""
        try:
            answer = await call_to(
                self.of(service), self.peers, PeerCall(service, method, path, body=body, actor="hand")
            )
        except PeerUnavailable as unavailable:
            self.story.add("hand", f"{method} {service}{path}", body, unavailable)
            return None
        self.story.add("hand", f"{method} {service}{path}", body, answer.status, answer.body)
        return answer

    async def all_ready(self) -> bool:
        for service_id, home in self.homes.items():
            if home.process.is_dead or home.living is None or not home.living.done():
                return False
            answer = await self.peers.call(PeerCall(service_id, "GET", "/ready", actor="hand"))
            if answer.status != 200:
                return False
        return True

    # --- blows

    def strike(self, blow: Blow) -> bool:
        """False: nothing is done while all heals."""
        if self.healing:
            return False
        now_ms = self.world.clock.now_ms()
        self.story.add("blow", str(blow))
        match blow.kind:
            case Befalls.KILLED:
                self._down_ms[blow.service] = blow.lasts_ms
                self.homes[blow.service].process.fuse = blow.amount
                return True  # It counts from the moment of death.
            case Befalls.MACHINE_KILLED | Befalls.POWER_CUT:
                for service_id, home in self.homes.items():
                    self._down_ms[service_id] = blow.lasts_ms
                    home.process.die()
                if blow.kind is Befalls.POWER_CUT:
                    self.stores.disk.lose()
                # One machine: the bus and the state were in it.
                self.stores.bus.wipe()
                self.stores.wipe_state()
            case Befalls.HUNG:
                process = self.homes[blow.service].process
                process.hang()
                self._later(blow.lasts_ms, process.go_on)
            case Befalls.ZOMBIE:
                old = self.homes[blow.service]
                old.process.hang()
                self.ghosts.append(old)
                self.begin(blow.service)
                self._later(blow.lasts_ms, old.process.go_on)
            case Befalls.CUT_OFF:
                assert blow.side is not None
                self._cut([self.homes[blow.service].process], blow.side, blow.lasts_ms)
            case Befalls.SLOW:
                assert blow.side is not None
                self._slow(self.homes[blow.service].process, blow.side, blow.amount, blow.lasts_ms)
            case Befalls.BUS_DOWN | Befalls.STATE_DOWN | Befalls.DOCUMENTS_DOWN | Befalls.PARTED:
                self._cut(tuple(self.processes()), DOWN_SIDES[blow.kind], blow.lasts_ms)
            case Befalls.BUS_WIPED:
                self.stores.bus.wipe()
            case Befalls.STATE_WIPED:
                self.stores.wipe_state()
            case Befalls.BUS_FAILED_OVER:
                self.stores.bus.fail_over(entries=blow.amount, deliveries=blow.amount)
            case Befalls.BUS_TRIMMED:
                self.stores.bus.trim(blow.amount)
            case Befalls.POISONED:
                self._task(self._poison(blow.amount), "poison")
            case Befalls.MACHINE_SLEPT:
                for process in self.processes():
                    process.hang()
                    self._later(blow.lasts_ms, process.go_on)
        self.disturbed.append(Disturbed(service=blow.service, from_ms=now_ms, to_ms=now_ms + blow.lasts_ms))
        return True

    async def _poison(self, number: int) -> None:
        self.story.add("blow", f"gibberish on {await self.stores.bus.poison(number)}")

    def heal(self) -> None:
        """Everything that was taken is given back; who is dead comes back by itself, and of two the older one goes."""
        self.healing = True
        for ghost in self.ghosts:
            ghost.process.die()
        for home in (*self.homes.values(), *self.ghosts):
            process = home.process
            process.fuse = None
            process.cut.clear()
            process.slow_ms.clear()
            process.go_on()

    def harm(self) -> None:
        """From now on blows strike again."""
        self.healing = False

    def _cut(self, processes: Sequence[Process], side: Side, lasts_ms: int) -> None:
        for process in processes:
            process.cut.add(side)

        def join() -> None:
            for process in processes:
                process.cut.discard(side)

        self._later(lasts_ms, join)

    def _slow(self, process: Process, side: Side, each_ms: int, lasts_ms: int) -> None:
        process.slow_ms[side] = each_ms
        self._later(lasts_ms, lambda: process.slow_ms.pop(side, None))

    def _later(self, after_ms: int, do: Callable[[], object]) -> None:
        self.world.clock.call_at_ms(self.world.clock.now_ms() + after_ms, lambda: _ignored(do()))

    def _died(self, process: Process) -> None:
        home = next(each for each in (*self.homes.values(), *self.ghosts) if each.process is process)
        down_ms = self._down_ms.pop(process.service_id, RESTART_MS)
        now_ms = self.world.clock.now_ms()
        self.story.add("town", f"{process.name} dies, for {down_ms} ms")
        self.disturbed.append(Disturbed(service=process.service_id, from_ms=now_ms, to_ms=now_ms + down_ms))
        self._task(self._bury(home, now_ms + down_ms), f"{process.name} is buried")

    async def _bury(self, home: _Home, again_ms: int) -> None:
        await _end(home)
        if home in self.ghosts:
            self.ghosts.remove(home)
            return
        await self.world.clock.sleep_until_ms(again_ms)
        if self.homes[home.process.service_id] is home:
            self.begin(home.process.service_id)

    def _task(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        self._doing = [task for task in self._doing if not task.done()]
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._doing.append(task)
        return task


async def _end(home: _Home) -> None:
    """Its tasks are cancelled; whatever they still want to do ends at the gate."""
    if home.living is not None and not home.living.done():
        home.living.cancel()
        await asyncio.gather(home.living, return_exceptions=True)
    with suppress(asyncio.CancelledError):
        await home.runner.stop()


def _ignored(_: object) -> None:
    pass
