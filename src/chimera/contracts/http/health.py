"""Bodies of S11."""

from pydantic import Field

from chimera.contracts.base import Contract, EpochMs, JsonObject
from chimera.contracts.documents.system import Alert
from chimera.contracts.enums import Grade, HealthLevel


class AlertsQuery(Contract):
    """`GET /alerts?limit=`: how many of the newest."""

    limit: int = Field(default=100, ge=1, le=1_000)


class AlertsAnswer(Contract):
    """`GET /alerts`: newest first."""

    alerts: tuple[Alert, ...] = ()


class HealthStateAnswer(Contract):
    """`GET /health/state`: the level, the metrics of the window and the grade of each."""

    level: HealthLevel
    metrics: JsonObject = Field(default_factory=dict)
    grades: dict[str, Grade] = Field(default_factory=dict)
    updated_at: EpochMs
