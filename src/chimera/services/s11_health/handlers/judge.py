"""The system's level: GREEN, or RED while something that everything needs is down.

Looks at once when it starts, then each minute; sooner while it is RED. A service that is still starting has not failed:
while nothing else is wrong there is no judgement, which forbids entries like RED, and nobody is alarmed. For how long
that may take has a limit. The key is what gates read, the event what others are told, the document what stays.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from chimera.contracts.collections import METRICS_TIMESERIES
from chimera.contracts.documents import MetricPoint
from chimera.contracts.enums import EventKind, Grade, HealthLevel, ServiceHealth, Severity
from chimera.contracts.http.health import HealthStateAnswer
from chimera.contracts.keys import HEALTH_ROLLING, HEALTH_STATE
from chimera.contracts.messages import AlertEvent, HealthEvent
from chimera.contracts.metrics import AlertCode
from chimera.contracts.streams import ALERTS, HEALTH_EVENTS
from chimera.domain.health.grading import level_of
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Put
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.state import Snapshots
from chimera.ports.venue import Venue, VenueError
from chimera.runtime.runner import RECOVERY, WAITING
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.telling import Teller

DOCUMENTS = "documents"
STATE = "state"
EXCHANGE = "exchange"

METRICS_EACH_MS = 5 * 60_000
"""The level changes seldom; a point each five minutes draws it."""

RANK = {HealthLevel.GREEN: 0, HealthLevel.YELLOW: 1, HealthLevel.ORANGE: 2, HealthLevel.RED: 3}


@dataclass(slots=True)
class Judged:
    """The last judgement; None before the first."""

    level: HealthLevel | None = None
    grades: dict[str, Grade] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    at_ms: int = 0
    told: HealthLevel | None = None
    disk_told: bool = False
    points_at_ms: int = 0
    first_look_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    documents: Documents
    snapshots: Snapshots
    venue: Venue
    peers: Peers
    bus: Bus
    clock: Clock
    metrics: Metrics
    teller: Teller
    env: str
    watched: tuple[str, ...]
    tick_ms: int
    retry_ms: int
    starting_ms: int
    start_patience_ms: int
    last: Judged = field(default_factory=Judged)

    async def run(self) -> None:
        """For ever."""
        while True:
            level = await self.look()
            await self.clock.sleep_until_ms(self.clock.now_ms() + self._pause_ms(level))

    def _pause_ms(self, level: HealthLevel | None) -> int:
        if level is HealthLevel.GREEN:
            return self.tick_ms
        return min(self.tick_ms, self.clock.work_ms(self.starting_ms if level is None else self.retry_ms))

    async def look(self) -> HealthLevel | None:
        """Judge once, write it and tell it. What cannot be written is written the next time. None: services are
        starting, and nothing is down."""
        why, starting = await self._what_is_down()
        now_ms = self.clock.now_ms()
        if self.last.first_look_ms is None:
            self.last.first_look_ms = now_ms
        patient = now_ms - self.last.first_look_ms < self.clock.work_ms(self.start_patience_ms)
        if starting and not why and patient:
            return None
        why |= starting
        grades = {
            name: Grade.RED if name in why else Grade.GREEN for name in (DOCUMENTS, STATE, EXCHANGE, *self.watched)
        }
        level = level_of(grades)
        last = self.last
        last.level, last.grades, last.why, last.at_ms = level, grades, why, now_ms
        try:
            await self._write(level, grades, now_ms)
            await self._tell_disk(why.get(DOCUMENTS))
            if level is not last.told:
                await self._tell(level, grades, why, now_ms)
                last.told = level
                await self.teller.event(EventKind.HEALTH_LEVEL, None, level.value, level=level.value, down=why)
            if now_ms >= last.points_at_ms:
                last.points_at_ms = now_ms + METRICS_EACH_MS
                await self._keep_points(level, why, now_ms)
        except DependencyDown:
            # It is down and says so itself: the next look sees it, and the age of the key turns it RED for readers.
            return HealthLevel.RED
        return level

    async def state(self, request: Request) -> Reply:
        """GET /health/state."""
        last = self.last
        if last.level is None:
            raise Problem(503, "not-judged-yet", "health is judged when all services have started; ask again")
        return Reply(
            HealthStateAnswer(
                level=last.level,
                metrics={"down": last.why} if last.why else {},
                grades=last.grades,
                updated_at=last.at_ms,
            )
        )

    async def _what_is_down(self) -> tuple[dict[str, str], dict[str, str]]:
        """Name to reason, in a fixed order; and the same of the services that are still starting."""
        why: dict[str, str] = {}
        starting: dict[str, str] = {}
        try:
            await self.documents.ping()
        except DependencyDown as down:
            why[DOCUMENTS] = str(down)
        try:
            await self.snapshots.get(HEALTH_STATE.name(self.env))
        except DependencyDown as down:
            why[STATE] = str(down)
        try:
            await self.venue.server_time_ms()
        except (DependencyDown, VenueError) as down:
            why[EXCHANGE] = str(down)
        for service in self.watched:
            await self._look_at(service, why, starting)
        return why, starting

    async def _look_at(self, service: str, why: dict[str, str], starting: dict[str, str]) -> None:
        try:
            told = await self.peers.call(PeerCall(service, "GET", "/health", actor="s11"))
        except DependencyDown as down:
            why[service] = str(down)
            return
        if not told.ok:
            why[service] = f"GET /health answered {told.status}"
            return
        says = told.body if isinstance(told.body, Mapping) else {}
        checks = says.get("checks")
        if isinstance(checks, Mapping) and checks.get(RECOVERY) == WAITING:
            starting[service] = "it has not started yet; its log says what it waits for"
        elif says.get("status", ServiceHealth.DOWN) == ServiceHealth.DOWN:
            why[service] = f"it says {told.body}"

    async def _write(self, level: HealthLevel, grades: Mapping[str, Grade], now_ms: int) -> None:
        await self.snapshots.set(HEALTH_STATE.name(self.env), level.value)
        await self.snapshots.set_hash(
            HEALTH_ROLLING.name(self.env), {"grades": json.dumps(grades, sort_keys=True), "updated_at": str(now_ms)}
        )

    async def _tell_disk(self, why: str | None) -> None:
        """Once for each time that it goes down."""
        if why is not None and not self.last.disk_told:
            await self.teller.alert(AlertCode.DISK, Severity.ERROR, why)
        self.last.disk_told = why is not None

    async def _tell(self, level: HealthLevel, grades: Mapping[str, Grade], why: Mapping[str, str], now_ms: int) -> None:
        await self.bus.publish(
            HEALTH_EVENTS.name(self.env),
            HealthEvent(
                ts=now_ms,
                level=level,
                metrics={"down": dict(why)},
                grades={name: grade.value for name, grade in grades.items()},
            ),
        )
        if level is HealthLevel.RED:
            await self.bus.publish(
                ALERTS.name(self.env),
                AlertEvent(
                    ts=now_ms,
                    severity=Severity.ERROR,
                    source="s11",
                    message="health is RED, no new entries: "
                    + "; ".join(f"{name}: {text}" for name, text in why.items()),
                    tags={"level": level.value, "down": ",".join(why)},
                ),
            )

    async def _keep_points(self, level: HealthLevel, why: Mapping[str, str], now_ms: int) -> None:
        figures = {"health_level": float(RANK[level]), "dependencies_down": float(len(why))}
        began_ns = self.clock.perf_ns()
        await self.documents.put_many(
            [
                Put(METRICS_TIMESERIES, MetricPoint(metric=name, value=value, ts=now_ms))
                for name, value in figures.items()
            ]
        )
        self.metrics.observe_ms("db_write_latency_ms", (self.clock.perf_ns() - began_ns) / 1e6)
