"""How the system is: health levels, alerts, audit and metrics."""

from pydantic import Field

from chimera.contracts.base import EpochMs, Estimate, Json, JsonObject, Message
from chimera.contracts.enums import HealthLevel, Severity


class HealthEvent(Message):
    """S11 → S3, S4, S6, S12, broadcast, on `health:events`. Schema: HealthEvent.json. `grades`: one per metric."""

    ts: EpochMs
    level: HealthLevel
    metrics: JsonObject
    grades: dict[str, str] | None = None


class AlertEvent(Message):
    """All → S11, S12 on `alerts`. Schema: AlertEvent.json, + code (of `metrics.AlertCode`; names a runbook page)."""

    ts: EpochMs
    severity: Severity
    source: str
    message: str
    tags: dict[str, str] = Field(default_factory=dict)
    code: str | None = None


class AuditEvent(Message):
    """All → S11, S12 on `ops:events`. No schema in the spec: CONTRACTS 1.3. Who changed what, from what to what."""

    ts: EpochMs
    actor: str
    action: str
    subject: str
    before: Json = None
    after: Json = None


class MetricEvent(Message):
    """All → S11 on `metrics:events:<service>`. No schema in the spec: CONTRACTS 1.3. One sample."""

    ts: EpochMs
    metric: str
    value: Estimate
    tags: dict[str, str] = Field(default_factory=dict)
