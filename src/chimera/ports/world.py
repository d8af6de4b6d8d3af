"""Everything outside our own code, as one value. Live, cluster and simulated runs differ in it and nowhere else."""

from dataclasses import dataclass

from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.compute import Compute
from chimera.ports.documents import Documents
from chimera.ports.metrics import Metrics
from chimera.ports.models import Models
from chimera.ports.notifier import Notifier
from chimera.ports.objects import Objects
from chimera.ports.peers import Peers
from chimera.ports.randomness import Randomness
from chimera.ports.state import DueQueue, Idempotency, Locks, Reservations, Snapshots
from chimera.ports.venue import FactorFeed, Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    clock: Clock
    randomness: Randomness
    bus: Bus
    snapshots: Snapshots
    locks: Locks
    idempotency: Idempotency
    due: DueQueue
    reservations: Reservations
    documents: Documents
    venue: Venue
    factor_feed: FactorFeed | None
    objects: Objects
    peers: Peers
    notifier: Notifier
    metrics: Metrics
    compute: Compute
    models: Models
