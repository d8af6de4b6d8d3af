"""Making a service run: recovery first, then its readers, timers and loops, each restarted when it fails.

Owns supervision and the three routes that every service has. Knows nothing of what a service does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from chimera import __version__
from chimera.contracts.enums import ServiceHealth, Severity
from chimera.contracts.http import HealthAnswer, ReadyAnswer
from chimera.contracts.messages import AlertEvent
from chimera.contracts.services import BY_ID
from chimera.contracts.streams import ALERTS, CLAIM_AFTER_MS
from chimera.ports.errors import DependencyDown
from chimera.ports.world import World
from chimera.runtime.consumer import Consumer
from chimera.runtime.retry import Backoff
from chimera.runtime.service import Every, On, Poison, Problem, Reply, Request, Route, Service

RECOVERY, WAITING = "recovery", "WAITING"
"""Among the checks of GET /health of a service that has not started yet: it is DOWN, and nothing has failed."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Runner:
    """One service of one process. `consumer_name` tells this replica from others of its group.

    `closed_until_started`: its own calls are answered 503 before it has recovered and after it was stopped: whoever
    decides must know everything. What a person needs while something is down stays open.
    """

    service: Service
    world: World
    env: str
    consumer_name: str = "1"
    claim_every_ms: int = CLAIM_AFTER_MS
    closed_until_started: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _started: bool = False

    @property
    def group(self) -> str:
        return BY_ID[self.service.id].group

    def all_routes(self) -> tuple[Route, ...]:
        """The service's own calls and the three that every service has; its own win."""
        own = {(route.method, route.path) for route in self.service.routes}
        routes = tuple(map(self._closed, self.service.routes)) if self.closed_until_started else self.service.routes
        common = (
            Route(
                method="GET",
                path="/health",
                handle=self._health,
                summary="Is the service and what it needs well?",
                answer=HealthAnswer,
            ),
            Route(
                method="GET",
                path="/ready",
                handle=self._ready,
                summary="May it be sent work?",
                answer=ReadyAnswer,
                answer_also=(503,),
            ),
            Route(method="GET", path="/metrics", handle=self._metrics, summary="Prometheus metrics of this process."),
        )
        return routes + tuple(route for route in common if (route.method, route.path) not in own)

    def _closed(self, route: Route) -> Route:
        async def handle(request: Request) -> Reply:
            if not self._started:
                raise Problem(
                    503, "starting", f"{self.service.id} is starting; GET /ready says what it waits for. Try again."
                )
            return await route.handle(request)

        return replace(route, handle=handle)

    async def start(self) -> None:
        """Recover, then begin to consume. Waits for a dependency that is down, as long as it takes."""
        backoff = Backoff(self.world.clock, self.world.randomness)
        while self.service.start is not None:
            try:
                await self.service.start()
                break
            except DependencyDown as down:
                log.warning("service waits to start", service=self.service.id, why=str(down))
                await backoff.wait()
        for on in self.service.consumes:
            for stream in on.streams:
                self._spawn(f"{self.service.id}<{stream}", self._consumer(on, stream).run)
        for timer in self.service.timers:
            self._spawn(f"{self.service.id}@{timer.name}", partial(self._repeat, timer))
        for index, loop in enumerate(self.service.background):
            self._spawn(f"{self.service.id}~{index}", loop)
        self._started = True

    async def stop(self) -> None:
        self._started = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self.service.stop is not None:
            await self.service.stop()

    def _consumer(self, on: On, stream: str) -> Consumer:
        return Consumer(
            stream=stream,
            group=self.group,
            name=f"{self.service.id}-{self.consumer_name}",
            handle=on.handle,
            broadcast=on.broadcast,
            gather=on.gather,
            bus=self.world.bus,
            clock=self.world.clock,
            randomness=self.world.randomness.fork(f"consumer/{stream}/{self.group}"),
            metrics=self.world.metrics,
            on_poison=self._report_poison,
            claim_every_ms=self.claim_every_ms,
        )

    def _spawn(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._supervise(name, run), name=name))

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Restart what fails. Nothing of a service may die silently while the service lives."""
        backoff = Backoff(self.world.clock, self.world.randomness.fork(f"supervise/{name}"))
        while True:
            began_ms = self.world.clock.now_ms()
            try:
                await run()
                log.error("a loop ended and is started again", name=name)
            except DependencyDown as down:
                log.warning("a loop waits for a dependency", name=name, why=str(down))
            except Exception:
                log.exception("a loop failed and is started again", name=name)
            if self.world.clock.now_ms() - began_ms > self.world.clock.work_ms(60_000):
                backoff.reset()
            await backoff.wait()

    async def _repeat(self, timer: Every) -> None:
        clock = self.world.clock
        interval_ms = timer.interval_ms if timer.market_time else clock.work_ms(timer.interval_ms)
        while True:
            await clock.sleep_until_ms(clock.now_ms() + interval_ms)
            await timer.run()

    async def _report_poison(self, poison: Poison) -> None:
        await self.world.bus.publish(
            ALERTS.name(self.env),
            AlertEvent(
                ts=self.world.clock.now_ms(),
                severity=Severity.ERROR,
                source=self.service.id,
                code="DLQ",
                message=f"{poison.delivery.stream} entry {poison.delivery.entry_id}: {poison.error[:300]}",
                tags={"stream": poison.delivery.stream, "entry_id": poison.delivery.entry_id},
            ),
        )

    async def _checks(self) -> dict[str, str]:
        checks: dict[str, str] = {}
        try:
            await self.world.documents.ping()
            checks["arango"] = "OK"
        except DependencyDown:
            checks["arango"] = "DOWN"
        if self.service.checks is not None:
            try:
                checks |= await self.service.checks()
            except DependencyDown as down:
                # Whoever asks for health wants the answer most of all when something is down.
                checks[down.what] = "DOWN"
        return checks

    async def _health(self, request: Request) -> Reply:
        checks = await self._checks()
        if not self._started:
            checks[RECOVERY] = WAITING
        bad = {ServiceHealth.DOWN.value, ServiceHealth.DEGRADED.value} & set(checks.values())
        status = (
            ServiceHealth.DOWN
            if "DOWN" in bad or not self._started
            else ServiceHealth.DEGRADED
            if bad
            else ServiceHealth.OK
        )
        return Reply(
            HealthAnswer(
                status=status,
                service=self.service.id,
                version=__version__,
                checks=dict(checks),
                redis=checks.get("redis"),
                arango=checks.get("arango"),
                config_rev=_whole(checks.get("config_rev")),
                rules_loaded=_whole(checks.get("rules_loaded")),
            )
        )

    async def _ready(self, request: Request) -> Reply:
        if not self._started:
            waiting_for = ("recovery",)
        elif self.service.ready is not None and not self.service.ready():
            waiting_for = (self.service.ready_when,)
        else:
            return Reply(ReadyAnswer(ready=True))
        return Reply(ReadyAnswer(ready=False, waiting_for=waiting_for), 503)

    async def _metrics(self, request: Request) -> Reply:
        return Reply(self.world.metrics.render(), 200, "text/plain; version=0.0.4; charset=utf-8")


def _whole(text: str | None) -> int | None:
    """A count of the checks; None where it is not known yet."""
    return int(text) if text is not None and text.isdecimal() else None
