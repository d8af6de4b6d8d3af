"""The shape of a service: what it consumes, what it does on its own, what it answers.

A service is a value. `runner` makes it run; nothing here starts anything.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chimera.contracts.base import Contract, Message
from chimera.ports.bus import Delivery
from chimera.ports.peers import BodyText

MessageHandler = Callable[[Any], Awaitable[None]]
"""Takes the message. Returning means: its effect is durable, the entry may be acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """How a reader passes messages over that the next one of the stream makes needless. For prices, of which only the
    newest counts; never for a fill, a bar or money: nothing else may be passed over.

    Attributes:
        within_ms: Market time. The first message after a pause is handled at once; those that follow sooner wait for
            the end of this distance, and the newest of them is handled for all.
        border_ms: Market time. Of messages up to a multiple of this the newest is handled besides, and at the latest at
            that moment: what held there stays known.
        moment: The message's own time, epoch ms.
    """

    within_ms: int
    border_ms: int
    moment: Callable[[Any], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class On:
    """Consume `streams` of one payload type. Each stream is read in order by a reader of its own."""

    streams: tuple[str, ...]
    payload: type[Message]
    handle: MessageHandler
    broadcast: bool = False
    """Every replica sees every entry, from the moment it starts."""
    gather: Gather | None = None
    """None: each message is handled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """Do `run` again and again, `interval_ms` after the last run ended; the first run is one interval after start.

    `market_time`: the interval follows the market's clock (bars, position ticks); otherwise it is our own work's time
    (polls, renewals), which a sped-up market does not shorten.
    """

    name: str
    interval_ms: int
    run: Callable[[], Awaitable[None]]
    market_time: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    body: Any
    """The parsed body: an instance of the route's `body` model, or what its `parse` returned."""
    path: Mapping[str, str] = field(default_factory=dict)
    query: Any = field(default_factory=dict)
    """Text by name, or an instance of the route's `query` model."""
    actor: str = ""
    idempotency_key: str = ""
    """The header Idempotency-Key."""
    text: BodyText | None = None
    """What the body was read from, where it came as text."""


@dataclass(frozen=True, slots=True)
class Reply:
    body: Contract | Mapping[str, Any] | Sequence[Any] | str
    status: int = 200
    content_type: str = "application/json"


class Problem(Exception):
    """A refusal told over HTTP as application/problem+json. `kind` is the stable last part of its type."""

    def __init__(self, status: int, kind: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.more = more


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One call. Path parameters are written `{name}`."""

    method: str
    path: str
    handle: Callable[[Request], Awaitable[Reply]]
    summary: str
    body: type[Contract] | None = None
    """Reads the body; beside `parse` it only says what the body means."""
    parse: Callable[[Any], Any] | None = None
    """Reads a body that has several spellings; raises ValueError naming field, value and remedy."""
    read: Callable[[BodyText], Any] | None = None
    """Reads a body from its text, JSON or YAML, where it came as text; raises Problem naming the line."""
    query: type[Contract] | None = None
    """Reads the query parameters."""
    answer: type[Contract] | None = None
    answer_also: tuple[int, ...] = ()
    """Statuses besides 200 under which `answer` comes."""
    errors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    id: str
    card: str
    """Consumes / Produces / Owns / Never, for people."""
    consumes: tuple[On, ...] = ()
    timers: tuple[Every, ...] = ()
    routes: tuple[Route, ...] = ()
    produces: tuple[str, ...] = ()
    """Stream families (`ord:result`) this service writes: the map is drawn from these."""
    start: Callable[[], Awaitable[None]] | None = None
    """Recovery, before anything is consumed. Start-up and crash recovery are the same path."""
    stop: Callable[[], Awaitable[None]] | None = None
    background: tuple[Callable[[], Awaitable[None]], ...] = ()
    """Loops of the service's own, such as reading the exchange's streams. One that ends or raises is restarted."""
    checks: Callable[[], Awaitable[Mapping[str, str]]] | None = None
    """Extra fields for GET /health; a value "DOWN" makes the service DOWN, "DEGRADED" DEGRADED."""
    ready: Callable[[], bool] | None = None
    ready_when: str = "its own start"
    """What a service that is not ready waits for, in a word or two."""


@dataclass(frozen=True, slots=True)
class Poison:
    """A message that failed every attempt."""

    delivery: Delivery
    error: str
