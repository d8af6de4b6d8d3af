"""Calling another service, the same way whether it lives in this process or behind HTTP.

PeerError
├── PeerUnavailable   no answer that we can trust: whether the call took effect is unknown
└── (business refusals are answers, with their status; see PeerAnswer)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from chimera.ports.errors import DependencyDown


class PeerUnavailable(DependencyDown):
    """Outcome unknown: ask the peer what became of it, or tell it again by the same id."""

    def __init__(self, service: str, why: str) -> None:
        super().__init__(f"service {service}", why)


@dataclass(frozen=True, slots=True)
class BodyText:
    """A body as somebody wrote it, for calls that tell of its lines or read another language than JSON."""

    media_type: str
    text: str


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    status: int
    body: Any
    """Parsed JSON, or text where `content_type` says so."""
    content_type: str = "application/json"

    @property
    def ok(self) -> bool:
        return self.status < 400


@dataclass(frozen=True, slots=True)
class PeerCall:
    """`actor` is who asks in the end (`s3`, or a user's name): it goes into the audit trail. `idempotency_key` is sent
    as the header of that name. `text` is what `body` was read from, and all there is of a body that is not JSON."""

    service: str
    method: str
    path: str
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    actor: str = ""
    idempotency_key: str = ""
    text: BodyText | None = None


class Peers(Protocol):
    async def call(self, call: PeerCall) -> PeerAnswer: ...
