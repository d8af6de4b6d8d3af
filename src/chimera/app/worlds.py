"""Choosing a world: everything outside our own code, made in one place.

embedded    one process: memory for bus and state, a SQLite file for documents, the simulated exchange in process
simulated   the same on a virtual loop, documents in memory
"""

from chimera.adapters.compute import ComputeInLoop
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.state import (
    MemoryDueQueue,
    MemoryIdempotency,
    MemoryLocks,
    MemoryReservations,
    MemorySnapshots,
)
from chimera.adapters.onnx_models import OnnxModels
from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.adapters.quiet_notifier import QuietNotifier
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.compute import Compute
from chimera.ports.documents import Documents
from chimera.ports.metrics import Metrics
from chimera.ports.models import Models
from chimera.ports.objects import Objects
from chimera.ports.peers import Peers
from chimera.ports.randomness import Randomness
from chimera.ports.venue import FactorFeed, Venue
from chimera.ports.world import World

EMBEDDED_STREAM_MAX = 20_000
"""Entries a stream keeps in this process' memory: an hour and more of the busiest one, and memory stays flat."""


def one_process_world(
    *,
    clock: Clock,
    randomness: Randomness,
    documents: Documents,
    venue: Venue,
    factor_feed: FactorFeed | None,
    objects: Objects,
    peers: Peers,
    bus: Bus | None = None,
    metrics: Metrics | None = None,
    compute: Compute | None = None,
    models: Models | None = None,
) -> World:
    """Without `compute` and `models` long work and models run in the loop, as virtual time needs it."""
    return World(
        clock=clock,
        randomness=randomness,
        bus=bus or MemoryBus(clock, maxlen_max=EMBEDDED_STREAM_MAX),
        snapshots=MemorySnapshots(clock),
        locks=MemoryLocks(clock),
        idempotency=MemoryIdempotency(clock),
        due=MemoryDueQueue(),
        reservations=MemoryReservations(),
        documents=documents,
        venue=venue,
        factor_feed=factor_feed,
        objects=objects,
        peers=peers,
        notifier=QuietNotifier(),
        metrics=metrics or PrometheusMetrics(),
        compute=compute or ComputeInLoop(),
        models=models or OnnxModels(in_thread=False),
    )
