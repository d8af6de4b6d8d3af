"""The fast state of a world that is one process, in dictionaries.

Owns nothing that cannot be rebuilt, and `wipe` takes it all, as an emptied server does. A time to live counts our own
work's time (`Clock.work_ms`), as a server's would, so that a lock means the same real time however fast the market
runs; what is due in a `DueQueue` follows the market.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.clock import Clock
from chimera.ports.state import Reservation, ReservationState, ReserveOutcome, Usage


class _Lives:
    """When each key ends. A key that nobody asks for again is forgotten too, or idempotency keys would pile up.

    The heap holds a key once, however often its life is renewed: an entry that comes up early is put back.
    """

    def __init__(self, clock: Clock, forget: Callable[[str], None]) -> None:
        self._clock = clock
        self._forget = forget
        self._ends_ms: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self._queued: set[str] = set()

    def renew(self, key: str, ttl_ms: int) -> None:
        ends_ms = self._clock.now_ms() + self._clock.work_ms(ttl_ms)
        self._ends_ms[key] = ends_ms
        if key not in self._queued:
            self._queued.add(key)
            heapq.heappush(self._heap, (ends_ms, key))

    def keep(self, key: str) -> None:
        """The key has no end from now on, or is gone."""
        self._ends_ms.pop(key, None)

    def ended(self, key: str) -> bool:
        """Whether the key's life is over. Cheap for the many keys that have no end: no look at the clock."""
        ends_ms = self._ends_ms.get(key)
        return ends_ms is not None and ends_ms <= self._clock.now_ms()

    def sweep(self) -> None:
        """Forget every key whose life is over. Every write with a time to live begins with this."""
        heap = self._heap
        if not heap:
            return
        now_ms = self._clock.now_ms()
        while heap and heap[0][0] <= now_ms:
            _, key = heapq.heappop(heap)
            ends_ms = self._ends_ms.get(key)
            if ends_ms is not None and ends_ms > now_ms:
                heapq.heappush(heap, (ends_ms, key))
                continue
            self._queued.discard(key)
            if ends_ms is not None:
                del self._ends_ms[key]
                self._forget(key)

    def wipe(self) -> None:
        self._ends_ms.clear()
        self._heap.clear()
        self._queued.clear()


class MemorySnapshots:
    def __init__(self, clock: Clock) -> None:
        self._values: dict[str, str] = {}
        self._hashes: dict[str, dict[str, str]] = {}
        self._lives = _Lives(clock, self._drop)

    async def get(self, key: str) -> str | None:
        return None if self._lives.ended(key) else self._values.get(key)

    async def get_many(self, keys: Sequence[str]) -> Sequence[str | None]:
        return [None if self._lives.ended(key) else self._values.get(key) for key in keys]

    async def set(self, key: str, value: str, *, ttl_ms: int | None = None) -> None:
        self._hashes.pop(key, None)
        self._values[key] = value
        if ttl_ms is None:
            self._lives.keep(key)
        else:
            self._lives.sweep()
            self._lives.renew(key, ttl_ms)

    async def take(self, key: str) -> str | None:
        value = None if self._lives.ended(key) else self._values.get(key)
        await self.delete(key)
        return value

    async def get_hash(self, key: str) -> Mapping[str, str]:
        if self._lives.ended(key):
            self._lives.sweep()
        return dict(self._hashes.get(key, {}))

    async def set_hash(self, key: str, fields: Mapping[str, str], *, ttl_ms: int | None = None) -> None:
        if ttl_ms is not None or self._lives.ended(key):
            self._lives.sweep()
        kept = self._hashes.get(key)
        if kept is None:
            kept = self._hashes[key] = {}
        kept.update(fields)
        if ttl_ms is not None:
            self._lives.renew(key, ttl_ms)

    async def increment(self, key: str, field: str, by: float) -> None:
        self._lives.sweep()
        kept = self._hashes.setdefault(key, {})
        kept[field] = f"{float(kept.get(field, '0')) + by:.17g}"

    async def delete(self, key: str) -> None:
        self._drop(key)
        self._lives.keep(key)

    async def delete_field(self, key: str, field: str) -> None:
        self._lives.sweep()
        kept = self._hashes.get(key)
        if kept is not None:
            kept.pop(field, None)
            if not kept:
                await self.delete(key)

    def wipe(self) -> None:
        self._values.clear()
        self._hashes.clear()
        self._lives.wipe()

    def _drop(self, key: str) -> None:
        self._values.pop(key, None)
        self._hashes.pop(key, None)


class MemoryLocks:
    """Fencing numbers outlive the locks; there is one for each instrument and job, so they are few."""

    def __init__(self, clock: Clock) -> None:
        self._owners: dict[str, str] = {}
        self._fences: dict[str, int] = {}
        self._lives = _Lives(clock, self._drop)

    async def acquire(self, key: str, owner: str, *, ttl_ms: int) -> int | None:
        self._lives.sweep()
        if self._owners.get(key, owner) != owner:
            return None
        self._owners[key] = owner
        self._lives.renew(key, ttl_ms)
        fence = self._fences[key] = self._fences.get(key, 0) + 1
        return fence

    async def renew(self, key: str, owner: str, *, ttl_ms: int) -> bool:
        self._lives.sweep()
        if self._owners.get(key) != owner:
            return False
        self._lives.renew(key, ttl_ms)
        return True

    async def release(self, key: str, owner: str) -> bool:
        self._lives.sweep()
        if self._owners.get(key) != owner:
            return False
        self._drop(key)
        self._lives.keep(key)
        return True

    def wipe(self) -> None:
        """The fencing numbers begin anew as well: whoever compares them must not outlive this."""
        self._owners.clear()
        self._fences.clear()
        self._lives.wipe()

    def _drop(self, key: str) -> None:
        self._owners.pop(key, None)


class MemoryIdempotency:
    def __init__(self, clock: Clock) -> None:
        self._claimed: set[str] = set()
        self._lives = _Lives(clock, self._claimed.discard)

    async def claim(self, key: str, *, ttl_ms: int) -> bool:
        self._lives.sweep()
        if key in self._claimed:
            return False
        self._claimed.add(key)
        self._lives.renew(key, ttl_ms)
        return True

    def wipe(self) -> None:
        self._claimed.clear()
        self._lives.wipe()


@dataclass(slots=True)
class _Queue:
    """A member moved to another time stays in the heap under its old one, which then no longer counts."""

    due_ms: dict[str, int] = field(default_factory=dict)
    heap: list[tuple[int, str]] = field(default_factory=list)


class MemoryDueQueue:
    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    async def put(self, queue: str, member: str, due_ms: int) -> None:
        kept = self._queues.setdefault(queue, _Queue())
        if kept.due_ms.get(member) != due_ms:
            kept.due_ms[member] = due_ms
            heapq.heappush(kept.heap, (due_ms, member))

    async def take_due(self, queue: str, now_ms: int, count: int) -> Sequence[str]:
        kept = self._queues.get(queue)
        taken: list[str] = []
        while kept is not None and kept.heap and kept.heap[0][0] <= now_ms and len(taken) < count:
            due_ms, member = heapq.heappop(kept.heap)
            if kept.due_ms.get(member) == due_ms:
                del kept.due_ms[member]
                taken.append(member)
        return taken

    async def remove(self, queue: str, member: str) -> bool:
        kept = self._queues.get(queue)
        return kept is not None and kept.due_ms.pop(member, None) is not None

    async def size(self, queue: str) -> int:
        kept = self._queues.get(queue)
        return len(kept.due_ms) if kept is not None else 0

    def wipe(self) -> None:
        self._queues.clear()


class MemoryReservations:
    """No step awaits anything, so each is atomic."""

    def __init__(self) -> None:
        self._records: dict[str, Reservation] = {}
        self._used_usdt: dict[Market, Decimal] = {}
        self._held: dict[Market, dict[InstrumentKey, int]] = {}
        self._fill(())

    async def reserve(
        self, reservation: Reservation, *, amount_max_usdt: Decimal, concurrency_max: int
    ) -> ReserveOutcome:
        if reservation.intent_id in self._records:
            return ReserveOutcome.ALREADY
        market = reservation.key.market
        if self._used_usdt[market] + reservation.amount_usdt > amount_max_usdt:
            return ReserveOutcome.OVER_BUDGET
        held = self._held[market]
        if reservation.key not in held and len(held) + 1 > concurrency_max:
            return ReserveOutcome.OVER_CONCURRENCY
        self._add(reservation)
        return ReserveOutcome.RESERVED

    async def settle(self, intent_id: str, amount_usdt: Decimal, state: ReservationState) -> bool:
        record = self._records.get(intent_id)
        if record is None:
            return False
        self._used_usdt[record.key.market] += amount_usdt - record.amount_usdt
        self._records[intent_id] = replace(record, amount_usdt=amount_usdt, state=state)
        return True

    async def release(self, intent_id: str) -> bool:
        record = self._records.pop(intent_id, None)
        if record is None:
            return False
        self._used_usdt[record.key.market] -= record.amount_usdt
        held = self._held[record.key.market]
        held[record.key] -= 1
        if not held[record.key]:
            del held[record.key]
        return True

    async def usage(self, market: Market) -> Usage:
        return Usage(self._used_usdt[market], len(self._held[market]))

    async def all(self) -> Sequence[Reservation]:
        return [self._records[intent_id] for intent_id in sorted(self._records)]

    async def replace_all(self, reservations: Sequence[Reservation]) -> None:
        self._fill({record.intent_id: record for record in reservations}.values())

    def wipe(self) -> None:
        self._fill(())

    def _fill(self, records: Iterable[Reservation]) -> None:
        self._records = {}
        self._used_usdt = {market: Decimal(0) for market in Market}
        self._held = {market: {} for market in Market}
        for record in records:
            self._add(record)

    def _add(self, record: Reservation) -> None:
        market = record.key.market
        self._records[record.intent_id] = record
        self._used_usdt[market] += record.amount_usdt
        self._held[market][record.key] = self._held[market].get(record.key, 0) + 1
