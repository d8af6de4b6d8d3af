"""S11 · Metrics and health.

Consumes  alerts, ops:events
Produces  health:events, alerts
Owns      health:system:state, health:rolling, alerts, audit_events, metrics_timeseries, what has expired
Never     decides, and never lets silence pass for health
"""

from chimera.contracts.messages import AlertEvent, AuditEvent
from chimera.contracts.streams import ALERTS, OPS_EVENTS
from chimera.ports.world import World
from chimera.runtime.service import Every, On, Service
from chimera.runtime.telling import Teller
from chimera.services.s11_health.api import routes
from chimera.services.s11_health.handlers.alerts import KeepAlerts
from chimera.services.s11_health.handlers.audit import KeepAudit
from chimera.services.s11_health.handlers.judge import Judge
from chimera.services.s11_health.handlers.retention import DAY_MS, RemoveExpired
from chimera.services.s11_health.settings import HealthSettings


def build(world: World, settings: HealthSettings) -> Service:
    teller = Teller(source="s11", env=settings.env, bus=world.bus, documents=world.documents, clock=world.clock)
    alerts = KeepAlerts(
        documents=world.documents, notifier=world.notifier, clock=world.clock, dedupe_ms=settings.alert_dedupe_ms
    )
    audit = KeepAudit(documents=world.documents, bus=world.bus, clock=world.clock, env=settings.env)
    judge = Judge(
        documents=world.documents,
        snapshots=world.snapshots,
        venue=world.venue,
        peers=world.peers,
        bus=world.bus,
        clock=world.clock,
        metrics=world.metrics,
        teller=teller,
        env=settings.env,
        watched=settings.watched,
        tick_ms=settings.tick_ms,
        retry_ms=settings.retry_ms,
        starting_ms=settings.starting_ms,
        start_patience_ms=settings.start_patience_ms,
    )
    retention = RemoveExpired(documents=world.documents, clock=world.clock)

    async def start() -> None:
        await audit.start()
        # A system that is restarted every day would never reach the timer.
        await retention.run()

    return Service(
        id="s11",
        card=__doc__ or "",
        consumes=(
            On(streams=(ALERTS.name(settings.env),), payload=AlertEvent, handle=alerts.on_alert),
            On(streams=(OPS_EVENTS.name(settings.env),), payload=AuditEvent, handle=audit.on_audit),
            On(streams=(ALERTS.name(settings.env),), payload=AlertEvent, handle=alerts.tell_unstored, broadcast=True),
        ),
        timers=(Every(name="retention", interval_ms=DAY_MS, run=retention.run, market_time=True),),
        routes=routes(alerts, judge),
        produces=("health:events", "alerts"),
        start=start,
        background=(judge.run,),
    )
