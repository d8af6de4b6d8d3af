"""The adapters of each port, one factory each. A new adapter is a new line in a fixture's `params`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from chimera.adapters.local_objects import LocalObjects
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.memory.state import (
    MemoryDueQueue,
    MemoryIdempotency,
    MemoryLocks,
    MemoryReservations,
    MemorySnapshots,
)
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.ports.bus import Bus
from chimera.ports.documents import Documents
from chimera.ports.objects import Objects
from chimera.ports.state import DueQueue, Idempotency, Locks, Reservations, Snapshots

from .hand_clock import HandClock

PassMs = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BusCase:
    """`pass_ms` lets our own work's time pass, as the adapter measures it.

    Every stream keeps at least `kept_min` entries and never more than `kept_max`.
    """

    bus: Bus
    pass_ms: PassMs
    kept_min: int
    kept_max: int


@dataclass(frozen=True, slots=True)
class StateCase:
    snapshots: Snapshots
    locks: Locks
    idempotency: Idempotency
    due: DueQueue
    reservations: Reservations
    pass_ms: PassMs


def memory_bus() -> BusCase:
    clock = HandClock()
    return BusCase(MemoryBus(clock, maxlen_max=100), clock.advance, kept_min=100, kept_max=200)


def memory_state() -> StateCase:
    clock = HandClock()
    return StateCase(
        MemorySnapshots(clock),
        MemoryLocks(clock),
        MemoryIdempotency(clock),
        MemoryDueQueue(),
        MemoryReservations(),
        clock.advance,
    )


@pytest.fixture(params=[pytest.param(memory_bus, id="memory")])
def bus_case(request: pytest.FixtureRequest) -> BusCase:
    case: BusCase = request.param()
    return case


@pytest.fixture
def bus(bus_case: BusCase) -> Bus:
    return bus_case.bus


@pytest.fixture(params=[pytest.param(memory_state, id="memory")])
def state(request: pytest.FixtureRequest) -> StateCase:
    case: StateCase = request.param()
    return case


def sqlite_in_memory(folder: Path) -> SqliteDocuments:
    return SqliteDocuments.in_loop()


def sqlite_file_in_loop(folder: Path) -> SqliteDocuments:
    return SqliteDocuments.in_loop(folder / "chimera.db")


def sqlite_file_in_thread(folder: Path) -> SqliteDocuments:
    return SqliteDocuments.in_thread(folder / "chimera.db")


@pytest.fixture(
    params=[
        pytest.param(sqlite_in_memory, id="sqlite-memory"),
        pytest.param(sqlite_file_in_loop, id="sqlite-file-in-loop"),
        pytest.param(sqlite_file_in_thread, id="sqlite-file-in-thread"),
    ]
)
async def documents(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Documents]:
    opened: SqliteDocuments = request.param(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture(
    params=[
        pytest.param(lambda folder: MemoryObjects(), id="memory"),
        pytest.param(lambda folder: LocalObjects(folder, in_thread=False), id="folder"),
        pytest.param(lambda folder: LocalObjects(folder, in_thread=True), id="folder-in-thread"),
    ]
)
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    made: Objects = request.param(tmp_path / "objects")
    return made
