"""Alerts: stored once, counted when they repeat, and told to a person the first time.

While the documents are down a person is told before anything is stored: those are the alerts that matter most, and the
first that waits to be stored holds up what follows it.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import ALERTS
from chimera.contracts.documents import Alert
from chimera.contracts.enums import Severity
from chimera.contracts.http.health import AlertsAnswer, AlertsQuery
from chimera.contracts.messages import AlertEvent
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.notifier import Notifier
from chimera.runtime.service import Reply, Request

LOOKED_THROUGH_MAX = 200
"""Different alerts of one code within five minutes that are compared; beyond it a repeat may be told again."""

log = structlog.get_logger(__name__)


def same_cause(alert: Alert, event: AlertEvent) -> bool:
    """Whether both speak of one thing. An alert without a code is known by its text."""
    return (
        alert.code == event.code
        and alert.source == event.source
        and (alert.tags or {}) == event.tags
        and (event.code is not None or alert.message == event.message)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlerts:
    documents: Documents
    notifier: Notifier
    clock: Clock
    dedupe_ms: int
    _told_unstored: deque[Alert] = field(default_factory=lambda: deque(maxlen=LOOKED_THROUGH_MAX), init=False)

    async def on_alert(self, event: AlertEvent) -> None:
        """A repeat within the window raises `count` and `last_ts` of the first; nobody is told again."""
        first = next((alert for alert in await self._recent(event) if same_cause(alert, event)), None)
        if first is None:
            await self._keep(event)
        elif event.ts > (first.last_ts or first.ts):
            # Not later: the bus told the same alert twice.
            await self.documents.put(ALERTS, first.but(count=first.count + 1, last_ts=event.ts, message=event.message))

    async def tell_unstored(self, event: AlertEvent) -> None:
        """Beside `on_alert`, which stores the event as soon as that works."""
        try:
            await self.documents.ping()
        except DependencyDown:
            since_ms = event.ts - self.clock.work_ms(self.dedupe_ms)
            if not any(alert.ts > since_ms and same_cause(alert, event) for alert in self._told_unstored):
                alert = _first(event)
                self._told_unstored.append(alert)
                await self._notify(alert)

    async def list_alerts(self, request: Request) -> Reply:
        """GET /alerts?limit=: newest first."""
        wanted: AlertsQuery = request.query
        found = await self.documents.find(
            Query(collection=ALERTS, index="by_time", descending=True, limit=wanted.limit)
        )
        return Reply(AlertsAnswer(alerts=tuple(found)))

    async def _recent(self, event: AlertEvent) -> Sequence[Alert]:
        since_ms = max(0, event.ts - self.clock.work_ms(self.dedupe_ms) + 1)
        if event.code is None:
            query = Query(
                collection=ALERTS, index="by_time", at_least=since_ms, descending=True, limit=LOOKED_THROUGH_MAX
            )
        else:
            query = Query(
                collection=ALERTS,
                index="by_code",
                equal=(("code", event.code),),
                at_least=since_ms,
                descending=True,
                limit=LOOKED_THROUGH_MAX,
            )
        return await self.documents.find(query)

    async def _keep(self, event: AlertEvent) -> None:
        alert = _first(event)
        await self.documents.put(ALERTS, alert)
        if alert not in self._told_unstored:
            await self._notify(alert)

    async def _notify(self, alert: Alert) -> None:
        if alert.severity is Severity.INFO:
            return
        try:
            await self.notifier.notify(alert.severity, f"{alert.code or 'NOTE'} from {alert.source}", alert.message)
        except Exception:
            # Whatever a person's chat server does, the next alert must be read.
            log.exception("a notification failed", alert=alert.alert_id)


def _first(event: AlertEvent) -> Alert:
    tags = json.dumps(event.tags, sort_keys=True)
    return Alert(
        alert_id=ids.alert_id(event.ts, event.code, event.source, tags, event.message),
        severity=event.severity,
        source=event.source,
        message=event.message,
        ts=event.ts,
        code=event.code,
        tags=event.tags or None,
    )
