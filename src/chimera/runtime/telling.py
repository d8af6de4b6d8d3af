"""Telling people and records what happened: alerts, strategy events, audit. One spelling for every service."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from chimera.contracts import ids
from chimera.contracts.collections import STRATEGY_EVENTS
from chimera.contracts.documents import StrategyEvent
from chimera.contracts.enums import EventKind, Severity
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import AlertEvent, AuditEvent, RouterEvent
from chimera.contracts.metrics import AlertCode
from chimera.contracts.streams import ALERTS, OPS_EVENTS, ROUTER_EVENTS
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.errors import DependencyDown


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    source: str
    env: str
    bus: Bus
    documents: Documents
    clock: Clock
    steps: bool = False
    """The router's: what it does is told on `router:events` as well."""

    async def alert(self, code: AlertCode, severity: Severity, message: str, **tags: str) -> None:
        """To the alerts stream; S11 deduplicates, stores and notifies."""
        await self.bus.publish(
            ALERTS.name(self.env),
            AlertEvent(
                ts=self.clock.now_ms(), severity=severity, source=self.source, code=code, message=message, tags=tags
            ),
        )

    async def event(
        self, kind: EventKind, key: InstrumentKey | None, subject: str, *, at_ms: int | None = None, **detail: Any
    ) -> None:
        """To `strategy_events`; `subject` (an intent, an order) tells it from others of the same millisecond. One that
        may be told again says when it was (`at_ms`), and is on file once."""
        record = self.record(kind, key, subject, at_ms=at_ms, **detail)
        await self.documents.put(STRATEGY_EVENTS, record)
        await self.show(record)

    async def show(self, record: StrategyEvent) -> None:
        """For watching only: whoever needs to know reads the document. `subject` is the intent, or an order whose
        intent the detail names."""
        if not self.steps:
            return
        detail = {name: value for name, value in (record.detail or {}).items() if value is not None}
        subject = detail.pop("subject")
        intent_id = detail.pop("intent_id", subject)
        if intent_id != subject:
            detail["order_id"] = subject
        with suppress(DependencyDown):
            await self.bus.publish(
                ROUTER_EVENTS.name(self.env),
                RouterEvent(
                    ts=record.ts,
                    intent_id=intent_id,
                    kind=record.kind,
                    detail=detail,
                    market=record.market,
                    symbol=record.symbol,
                ),
            )

    def record(
        self, kind: EventKind, key: InstrumentKey | None, subject: str, *, at_ms: int | None = None, **detail: Any
    ) -> StrategyEvent:
        """The document of `event`, for whoever writes it together with what it is about."""
        ts = self.clock.now_ms() if at_ms is None else at_ms
        return StrategyEvent(
            event_id=ids.event_id(ts, kind.value, subject),
            kind=kind,
            market=key.market if key else None,
            symbol=key.symbol if key else None,
            detail={"subject": subject, **detail},
            ts=ts,
        )

    async def audit(self, actor: str, action: str, subject: str, before: Any = None, after: Any = None) -> None:
        """To `ops:events`; S11 chains and keeps it for ever."""
        await self.bus.publish(
            OPS_EVENTS.name(self.env),
            AuditEvent(ts=self.clock.now_ms(), actor=actor, action=action, subject=subject, before=before, after=after),
        )
