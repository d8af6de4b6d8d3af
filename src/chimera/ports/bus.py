"""Streams: at least once, ordered per stream, bounded, and allowed to lose or repeat.

A group's entry stays pending until acknowledged; what a dead consumer left pending can be claimed by another. Nothing
that matters exists on the bus alone: documents and the exchange are the truth.

BusError
├── BusUnavailable   wait, then try again
└── NoSuchGroup      make the group again at 0 and read on (a wiped or rolled-back server forgets groups)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from chimera.contracts.base import Message
from chimera.ports.errors import DependencyDown


class BusError(Exception):
    pass


class BusUnavailable(BusError, DependencyDown):
    def __init__(self, why: str) -> None:
        DependencyDown.__init__(self, "the bus", why)


class NoSuchGroup(BusError):
    pass


@dataclass(frozen=True, slots=True)
class Undecodable:
    """What arrived instead of a message: kept whole, so that the dead-letter stream can show and replay it."""

    fields: Mapping[str, str]
    error: str


class Delivery(NamedTuple):
    """One entry handed to a consumer. `attempt` starts at 1 and grows with each redelivery or claim.

    `extra`: fields beside the envelope's own, such as a dead letter's error.
    """

    stream: str
    entry_id: str
    message: Message | Undecodable
    seq: int
    attempt: int
    extra: tuple[tuple[str, str], ...] = ()


class Bus(Protocol):
    async def publish(self, stream: str, message: Message) -> str:
        """Append and return the entry's id. The stream is trimmed to its declared length, oldest first."""
        ...

    async def publish_fields(self, stream: str, fields: Mapping[str, str]) -> str:
        """Append raw fields: dead letters, their replay, and foreign producers."""
        ...

    async def ensure_group(self, stream: str, group: str) -> None:
        """Make the group at the stream's beginning where it is missing; harmless where it stands."""
        ...

    async def read(
        self, stream: str, group: str, consumer: str, *, count: int, block_ms: int | None
    ) -> Sequence[Delivery]:
        """New entries for this group, in order; empty after `block_ms` of our own work time. None waits for ever.

        Raises:
            NoSuchGroup: `ensure_group` was never called, or the server lost it.
        """
        ...

    async def read_broadcast(
        self, stream: str, after_id: str, *, count: int, block_ms: int | None
    ) -> Sequence[Delivery]:
        """Entries later than `after_id` ("0" = from the beginning), without a group."""
        ...

    async def last_id(self, stream: str) -> str:
        """The newest entry's id, "0" for an empty stream: where a broadcast reader begins."""
        ...

    async def ack(self, stream: str, group: str, entry_ids: Sequence[str]) -> None: ...

    async def claim(
        self, stream: str, group: str, consumer: str, *, min_idle_ms: int, count: int
    ) -> Sequence[Delivery]:
        """Take over entries that another consumer (or our own earlier life) left pending for `min_idle_ms`."""
        ...

    async def pending(self, stream: str, group: str) -> int:
        """How many entries are delivered and not acknowledged."""
        ...

    async def lag(self, stream: str, group: str) -> int:
        """How many entries were never delivered to the group."""
        ...

    async def recent(self, stream: str, count: int) -> Sequence[Delivery]:
        """The newest `count` entries, oldest first: for people looking, not for consumers."""
        ...
