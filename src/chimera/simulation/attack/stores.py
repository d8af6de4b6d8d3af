"""Bus and locks that remember what they were told, so that somebody outside can say whether it was kept.

Owns two accounts: which entries each group still owes an acknowledgement (I11), and who may hold a lock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.state import MemoryLocks
from chimera.contracts.base import Message
from chimera.contracts.streams import dlq
from chimera.ports.clock import Clock

OWED_MS = 120_000
"""An entry may be in hand for so long: a bad one is tried several times, and one of a dead reader is claimed late."""

TAIL_MAX = 10_000
"""More than any stream keeps here."""

POISON = {"type": "Gibberish", "v": "1", "payload": "{", "producer": "nobody"}
"""What no reader of ours understands."""


class CountedBus(MemoryBus):
    """Every entry of a stream is owed by each group that the stream ever had, until it is acknowledged or lost."""

    def __init__(self, clock: Clock, *, maxlen_max: int, observe: Callable[[str, Message], None]) -> None:
        super().__init__(clock, maxlen_max=maxlen_max, observe=observe)
        self._time = clock
        self._groups: dict[str, dict[str, None]] = {}
        self._owed: dict[tuple[str, str], dict[str, int]] = {}
        self._poison: dict[str, list[str]] = {}

    async def publish(self, stream: str, message: Message) -> str:
        entry_id = await super().publish(stream, message)
        self._owe(stream, entry_id)
        return entry_id

    async def ensure_group(self, stream: str, group: str) -> None:
        known = self._groups.setdefault(stream, {})
        if group not in known:
            known[group] = None
            there = await self.recent(stream, TAIL_MAX)
            self._owed[stream, group] = {each.entry_id: self._time.now_ms() for each in there}
        await super().ensure_group(stream, group)

    async def ack(self, stream: str, group: str, entry_ids: Sequence[str]) -> None:
        await super().ack(stream, group, entry_ids)
        owed = self._owed.get((stream, group), {})
        for entry_id in entry_ids:
            owed.pop(entry_id, None)

    async def poison(self, number: int) -> str:
        """Put an entry that nobody understands on one of the streams that groups read. Returns which."""
        streams = list(self._groups)
        stream = streams[number % len(streams)]
        entry_id = await super().publish_fields(stream, POISON)
        self._owe(stream, entry_id)
        self._poison.setdefault(stream, []).append(entry_id)
        return stream

    def wipe(self) -> None:
        super().wipe()
        self._forget()

    def fail_over(self, *, entries: int, deliveries: int) -> None:
        super().fail_over(entries=entries, deliveries=deliveries)
        self._forget()

    def trim(self, keep: int) -> None:
        super().trim(keep)
        self._forget()

    def _owe(self, stream: str, entry_id: str) -> None:
        for group in self._groups.get(stream, ()):
            self._owed[stream, group][entry_id] = self._time.now_ms()

    def _forget(self) -> None:
        """What the server lost nobody owes."""
        for (stream, _), owed in self._owed.items():
            left = self._streams.get(stream)
            there = {each.entry_id for each in left.entries} if left is not None else set()
            for entry_id in [each for each in owed if each not in there]:
                del owed[entry_id]
        self._poison.clear()

    async def unread(self) -> list[str]:
        """What some group should have acknowledged by now, and what should lie with the dead letters."""
        before_ms = self._time.now_ms() - OWED_MS
        findings = []
        for (stream, group), owed in self._owed.items():
            late = [entry_id for entry_id, at_ms in owed.items() if at_ms < before_ms]
            if late:
                findings.append(f"{group} never acknowledged {len(late)} entries of {stream}, the first {late[0]}")
        for stream, entry_ids in self._poison.items():
            dead = await self.recent(dlq(stream), TAIL_MAX)
            if len(dead) < len(entry_ids):
                findings.append(f"{len(entry_ids)} entries of {stream} were gibberish, {len(dead)} are dead letters")
        return findings


@dataclass(slots=True)
class _Held:
    owner: str
    until_ms: int


class CountedLocks(MemoryLocks):
    """Knows by itself who may hold each lock: whoever took it last, until it runs out or that same owner frees it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._time = clock
        self._held: dict[str, _Held] = {}
        self.broken: list[str] = []

    async def acquire(self, key: str, owner: str, *, ttl_ms: int) -> int | None:
        fence = await super().acquire(key, owner, ttl_ms=ttl_ms)
        if fence is None:
            return None
        now_ms = self._time.now_ms()
        held = self._held.get(key)
        if held is not None and held.owner != owner and held.until_ms > now_ms:
            self.broken.append(f"{owner} got {key} while {held.owner} held it")
        self._held[key] = _Held(owner, now_ms + self._time.work_ms(ttl_ms))
        return fence

    async def renew(self, key: str, owner: str, *, ttl_ms: int) -> bool:
        renewed = await super().renew(key, owner, ttl_ms=ttl_ms)
        held = self._held.get(key)
        if renewed and held is not None and held.owner == owner:
            held.until_ms = self._time.now_ms() + self._time.work_ms(ttl_ms)
        return renewed

    async def release(self, key: str, owner: str) -> bool:
        released = await super().release(key, owner)
        held = self._held.get(key)
        if held is not None and held.owner == owner:
            del self._held[key]
        return released

    def wipe(self) -> None:
        super().wipe()
        self._held.clear()
