"""The bus of a world that is one process: messages are handed over by reference, nothing is encoded.

Owns entry ids, groups, what is pending and when a stream is trimmed. Everything is lost with the process, which the
port allows: the documents and the exchange are the truth. It can fail as a server of streams does (`wipe`, `fail_over`,
`trim`), for whoever plays that server.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chimera.contracts.base import Message
from chimera.contracts.envelope import EnvelopeError, decode, seq_of
from chimera.contracts.streams import maxlen_of
from chimera.ports.bus import Delivery, NoSuchGroup, Undecodable
from chimera.ports.clock import Clock

_ENVELOPE = frozenset({"payload", "type", "v", "seq"})
_SLACK_MIN = 16


@dataclass(slots=True)
class _Pending:
    delivery: Delivery
    consumer: str
    since_ms: int


@dataclass(slots=True)
class _Group:
    next_ordinal: int
    """Ordinal of the first entry that was never delivered to the group."""
    pending: dict[str, _Pending] = field(default_factory=dict)
    """By entry id, in the order of the stream."""


@dataclass(slots=True)
class _Stream:
    """`entries[0]` has ordinal `first`; ordinals count from 1 and are never used twice."""

    name: str
    maxlen: int
    slack: int
    entries: list[Delivery] = field(default_factory=list)
    first: int = 1
    last_ms: int = 0
    groups: dict[str, _Group] = field(default_factory=dict)
    waiters: list[asyncio.Future[bool]] = field(default_factory=list)
    gone: bool = False
    """Wiped while somebody waited on it."""

    @property
    def end(self) -> int:
        """The ordinal that the next entry will have."""
        return self.first + len(self.entries)


class MemoryBus:
    """Streams in lists.

    Args:
        maxlen_max: no stream keeps more than about so many entries, whatever its declaration allows; a declaration of
            a million entries is meant for a server's memory.
        observe: told of every message that was published, after it stands on the stream.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        maxlen_max: int | None = None,
        observe: Callable[[str, Message], None] | None = None,
    ) -> None:
        if maxlen_max is not None and maxlen_max < 1:
            raise ValueError(f"maxlen_max {maxlen_max} must be at least 1")
        self._clock = clock
        self._maxlen_max = maxlen_max
        self._observe = observe
        self._streams: dict[str, _Stream] = {}

    async def publish(self, stream: str, message: Message) -> str:
        kept = self._streams.get(stream) or self._make(stream)
        entry_id = self._append(kept, message, None, ())
        if self._observe is not None:
            self._observe(stream, message)
        return entry_id

    async def publish_fields(self, stream: str, fields: Mapping[str, str]) -> str:
        kept = self._streams.get(stream) or self._make(stream)
        try:
            message = decode(fields)
        except EnvelopeError as error:
            return self._append(kept, Undecodable(dict(fields), str(error)), seq_of(fields), ())
        extra = tuple((name, value) for name, value in fields.items() if name not in _ENVELOPE)
        entry_id = self._append(kept, message, seq_of(fields), extra)
        if self._observe is not None:
            self._observe(stream, message)
        return entry_id

    async def ensure_group(self, stream: str, group: str) -> None:
        kept = self._streams.get(stream) or self._make(stream)
        if group not in kept.groups:
            kept.groups[group] = _Group(kept.first)

    async def read(
        self, stream: str, group: str, consumer: str, *, count: int, block_ms: int | None
    ) -> Sequence[Delivery]:
        kept, reader = self._group(stream, group)
        deadline_ms: int | None = None
        while reader.next_ordinal >= kept.first + len(kept.entries):
            if kept.gone:
                raise NoSuchGroup(f"stream {stream} has no group {group} any more")
            if block_ms is None:
                # The usual way of a reader that has nothing else to do; no deadline, no timer, one frame less.
                waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
                kept.waiters.append(waiter)
                try:
                    await waiter
                except BaseException:
                    _forget(kept, waiter)
                    raise
                continue
            if deadline_ms is None:
                deadline_ms = self._clock.now_ms() + self._clock.work_ms(block_ms)
            if block_ms == 0 or not await self._arrival(kept, deadline_ms):
                return ()
        start = max(0, reader.next_ordinal - kept.first)
        deliveries = kept.entries[start : start + count]
        reader.next_ordinal = kept.first + start + len(deliveries)
        now_ms = self._clock.now_ms()
        pending = reader.pending
        for delivery in deliveries:
            pending[delivery.entry_id] = _Pending(delivery, consumer, now_ms)
        return deliveries

    async def read_broadcast(
        self, stream: str, after_id: str, *, count: int, block_ms: int | None
    ) -> Sequence[Delivery]:
        deadline_ms: int | None = None
        while True:
            # Asked for each time: it may have been wiped meanwhile.
            kept = self._streams.get(stream) or self._make(stream)
            start = _index_after(kept, after_id)
            if start < len(kept.entries):
                return kept.entries[start : start + count]
            if block_ms is not None and deadline_ms is None:
                deadline_ms = self._clock.now_ms() + self._clock.work_ms(block_ms)
            if block_ms == 0 or not await self._arrival(kept, deadline_ms):
                return ()

    async def last_id(self, stream: str) -> str:
        kept = self._streams.get(stream)
        return kept.entries[-1].entry_id if kept is not None and kept.entries else "0"

    async def ack(self, stream: str, group: str, entry_ids: Sequence[str]) -> None:
        kept = self._streams.get(stream)
        reader = kept.groups.get(group) if kept is not None else None
        if reader is not None:
            for entry_id in entry_ids:
                reader.pending.pop(entry_id, None)

    async def claim(
        self, stream: str, group: str, consumer: str, *, min_idle_ms: int, count: int
    ) -> Sequence[Delivery]:
        _, reader = self._group(stream, group)
        now_ms = self._clock.now_ms()
        idle_since_ms = now_ms - self._clock.work_ms(min_idle_ms)
        claimed: list[Delivery] = []
        for held in reader.pending.values():
            if len(claimed) == count:
                break
            if held.since_ms <= idle_since_ms:
                held.delivery = held.delivery._replace(attempt=held.delivery.attempt + 1)
                held.consumer = consumer
                held.since_ms = now_ms
                claimed.append(held.delivery)
        return claimed

    async def pending(self, stream: str, group: str) -> int:
        return len(self._group(stream, group)[1].pending)

    async def lag(self, stream: str, group: str) -> int:
        """Counts entries that were trimmed unread, until the group reads past them."""
        kept, reader = self._group(stream, group)
        return kept.end - reader.next_ordinal

    async def recent(self, stream: str, count: int) -> Sequence[Delivery]:
        kept = self._streams.get(stream)
        return kept.entries[-count:] if kept is not None and count > 0 else ()

    # --- how it fails

    def wipe(self) -> None:
        """Every stream is gone with its groups, as after FLUSHALL or a start on an empty disk."""
        gone, self._streams = self._streams, {}
        for kept in gone.values():
            kept.gone = True
            _wake_all(kept)

    def fail_over(self, *, entries: int, deliveries: int) -> None:
        """A replica that was behind takes over: the newest `entries` of each stream are lost though they were
        acknowledged, and each group stands `deliveries` earlier, so that these come again."""
        for kept in self._streams.values():
            if entries and kept.entries:
                del kept.entries[-entries:]
                # What comes next must be later than what was lost, also for who has read that.
                kept.last_ms += 1
            for group in kept.groups.values():
                group.next_ordinal = max(kept.first, min(group.next_ordinal - deliveries, kept.end))
                group.pending = {
                    entry_id: held
                    for entry_id, held in group.pending.items()
                    if _order_of(entry_id)[1] < group.next_ordinal
                }
            _wake_all(kept)

    def trim(self, keep: int) -> None:
        """Each stream to its newest `keep` entries, whether the others were read or not."""
        for kept in self._streams.values():
            excess = max(0, len(kept.entries) - keep)
            del kept.entries[:excess]
            kept.first += excess

    # --- inside

    def _make(self, name: str) -> _Stream:
        maxlen = maxlen_of(name)
        if self._maxlen_max is not None:
            maxlen = min(maxlen, self._maxlen_max)
        made = self._streams[name] = _Stream(name, maxlen, max(_SLACK_MIN, maxlen // 10))
        return made

    def _group(self, stream: str, group: str) -> tuple[_Stream, _Group]:
        kept = self._streams.get(stream)
        reader = kept.groups.get(group) if kept is not None else None
        if kept is None or reader is None:
            raise NoSuchGroup(f"stream {stream} has no group {group}")
        return kept, reader

    def _append(
        self, kept: _Stream, message: Message | Undecodable, seq: int | None, extra: tuple[tuple[str, str], ...]
    ) -> str:
        now_ms = self._clock.now_ms()
        if now_ms > kept.last_ms:
            kept.last_ms = now_ms
        entries = kept.entries
        ordinal = kept.first + len(entries)
        # The ordinal as the id's second number grows for ever instead of starting again each millisecond; that is as
        # good an order, and a broadcast reader's place is found without a search.
        entry_id = f"{kept.last_ms}-{ordinal}"
        entries.append(Delivery(kept.name, entry_id, message, ordinal if seq is None else seq, 1, extra))
        if len(entries) > kept.maxlen + kept.slack:
            # Oldest first, read or not, in strides: cutting a list's head for each entry would cost its whole length.
            excess = len(entries) - kept.maxlen
            del entries[:excess]
            kept.first += excess
        if kept.waiters:
            _wake_all(kept)
        return entry_id

    async def _arrival(self, kept: _Stream, deadline_ms: int | None) -> bool:
        """True when something came, False at the deadline."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        kept.waiters.append(waiter)
        if deadline_ms is None:
            try:
                return await waiter
            finally:
                _forget(kept, waiter)
        timer = self._clock.call_at_ms(deadline_ms, lambda: _wake(waiter, False))
        try:
            return await waiter
        finally:
            timer.cancel()
            _forget(kept, waiter)


def _wake_all(kept: _Stream) -> None:
    waiters, kept.waiters = kept.waiters, []
    for waiter in waiters:
        _wake(waiter, True)


def _wake(waiter: asyncio.Future[bool], arrived: bool) -> None:
    if not waiter.done():
        waiter.set_result(arrived)


def _forget(kept: _Stream, waiter: asyncio.Future[bool]) -> None:
    if waiter in kept.waiters:
        kept.waiters.remove(waiter)


def _index_after(kept: _Stream, after_id: str) -> int:
    """Where the first entry later than `after_id` stands, or would stand."""
    entries = kept.entries
    if not entries or entries[-1].entry_id == after_id:
        return len(entries)
    wanted = _order_of(after_id)
    guess = wanted[1] - kept.first
    if 0 <= guess < len(entries) and entries[guess].entry_id == after_id:
        return guess + 1
    return bisect_right(entries, wanted, key=lambda entry: _order_of(entry.entry_id))


def _order_of(entry_id: str) -> tuple[int, int]:
    ms, _, ordinal = entry_id.partition("-")
    return int(ms), int(ordinal or 0)
