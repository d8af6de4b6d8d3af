"""A world in memory for the services that keep the house: no exchange behind it, stores that can be switched off."""

from dataclasses import dataclass, field
from typing import Any

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.compute import ComputeInLoop
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.memory.state import (
    MemoryDueQueue,
    MemoryIdempotency,
    MemoryLocks,
    MemoryReservations,
    MemorySnapshots,
)
from chimera.adapters.onnx_models import OnnxModels
from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.base import Message
from chimera.contracts.enums import Severity
from chimera.ports.bus import BusUnavailable
from chimera.ports.documents import DocumentsUnavailable
from chimera.ports.state import StateUnavailable
from chimera.ports.venue import VenueUnavailable
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from tests.ports.hand_clock import HandClock

ENV = "dev"


class Switchable:
    """The real thing behind a switch: `down` makes every call fail as that dependency fails."""

    def __init__(self, inner: Any, error: type[Exception]) -> None:
        self.inner = inner
        self.error = error
        self.down = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.inner, name)

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            if self.down:
                raise self.error("switched off by the test")
            return await call(*args, **kwargs)

        return guarded


class AnsweringExchange:
    """An exchange of which only the time is asked."""

    async def server_time_ms(self) -> int:
        return 0


@dataclass
class Notes:
    """What a person was told."""

    said: list[tuple[Severity, str, str]] = field(default_factory=list)

    async def notify(self, severity: Severity, title: str, text: str) -> None:
        self.said.append((severity, title, text))


@dataclass
class SmallWorld:
    clock: HandClock
    documents: Switchable
    snapshots: Switchable
    bus: Switchable
    venue: Switchable
    peers: LocalPeers
    notes: Notes
    world: World

    async def told(self, stream: str, count: int = 100) -> list[Message]:
        """The messages on a stream, oldest first."""
        return [delivery.message for delivery in await self.bus.inner.recent(stream, count)]


def small_world() -> SmallWorld:
    clock = HandClock()
    documents = Switchable(SqliteDocuments.in_loop(), DocumentsUnavailable)
    snapshots = Switchable(MemorySnapshots(clock), StateUnavailable)
    bus = Switchable(MemoryBus(clock), BusUnavailable)
    venue = Switchable(AnsweringExchange(), VenueUnavailable)
    peers = LocalPeers()
    notes = Notes()
    world = World(
        clock=clock,
        randomness=SeededRandomness(1),
        bus=bus,
        snapshots=snapshots,
        locks=MemoryLocks(clock),
        idempotency=MemoryIdempotency(clock),
        due=MemoryDueQueue(),
        reservations=MemoryReservations(),
        documents=documents,
        venue=venue,
        factor_feed=None,
        objects=MemoryObjects(),
        peers=peers,
        notifier=notes,
        metrics=PrometheusMetrics(),
        compute=ComputeInLoop(),
        models=OnnxModels(in_thread=False),
    )
    return SmallWorld(clock, documents, snapshots, bus, venue, peers, notes, world)
