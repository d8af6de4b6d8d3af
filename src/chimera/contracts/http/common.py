"""What every service answers: health, readiness and problems."""

from pydantic import ConfigDict, Field

from chimera.contracts.base import Contract, Json
from chimera.contracts.enums import ServiceHealth

PROBLEM_MEDIA_TYPE = "application/problem+json"

PROBLEM_TYPE_BASE = "urn:chimera:problem:"
"""Before the word of a problem; the whole is its stable `type`."""


class Asked(Contract):
    """A body that somebody sends. A name that is nobody's is refused: a misspelt wish would be passed over else."""

    model_config = ConfigDict(extra="forbid")


class FieldProblem(Contract):
    """One field that cannot be read: its path, what was told, and what to tell instead; `line` of the text, from 1."""

    field: str
    value: Json = None
    remedy: str
    line: int | None = None


class Problem(Contract):
    """RFC 9457. `type` is stable and what programs go by; `cause` is the word that names why, as in `skip` reasons."""

    type: str
    title: str
    status: int = Field(ge=400, le=599)
    detail: str | None = None
    instance: str | None = None
    cause: str | None = None
    remedy: str | None = None
    errors: tuple[FieldProblem, ...] = ()


class HealthAnswer(Contract):
    """`GET /health` of every service. S3 adds the last four.

    S4's `checks` holds redis, arango, exch, cb_state, route_rev.
    """

    status: ServiceHealth
    service: str
    version: str
    checks: dict[str, Json] = Field(default_factory=dict)
    redis: str | None = None
    arango: str | None = None
    config_rev: int | None = None
    rules_loaded: int | None = None


class ReadyAnswer(Contract):
    """`GET /ready`: 200 when `ready`, else 503; `waiting_for` names what is not there yet."""

    ready: bool
    waiting_for: tuple[str, ...] = ()
