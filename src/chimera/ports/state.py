"""Fast shared state, by purpose. All of it can be rebuilt from documents and the exchange.

Five narrow ports instead of one key-value store, so that a handler's fields say what it touches:

    Snapshots      last values, flags, hashes: last writer wins
    Locks          one holder at a time, with a fencing number
    Idempotency    first come, once
    DueQueue       things to do later
    Reservations   risk budget and concurrency, checked and changed in one atomic step
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.errors import DependencyDown


class StateUnavailable(DependencyDown):
    def __init__(self, why: str) -> None:
        super().__init__("the state store", why)


class Snapshots(Protocol):
    async def get(self, key: str) -> str | None: ...

    async def get_many(self, keys: Sequence[str]) -> Sequence[str | None]:
        """Values in the order of `keys`, in as few round trips as the store allows."""
        ...

    async def set(self, key: str, value: str, *, ttl_ms: int | None = None) -> None: ...

    async def get_hash(self, key: str) -> Mapping[str, str]:
        """All fields; empty where the key is absent."""
        ...

    async def set_hash(self, key: str, fields: Mapping[str, str], *, ttl_ms: int | None = None) -> None:
        """Set these fields, leave others; `ttl_ms` renews the whole key's life."""
        ...

    async def increment(self, key: str, field: str, by: float) -> None: ...

    async def take(self, key: str) -> str | None:
        """The value, and the key is gone: of many who take at once one gets it. None where it is absent."""
        ...

    async def delete(self, key: str) -> None: ...

    async def delete_field(self, key: str, field: str) -> None: ...


class Locks(Protocol):
    async def acquire(self, key: str, owner: str, *, ttl_ms: int) -> int | None:
        """A fencing number greater than every earlier one of this key, or None while somebody else holds it."""
        ...

    async def renew(self, key: str, owner: str, *, ttl_ms: int) -> bool:
        """False: it is no longer ours."""
        ...

    async def release(self, key: str, owner: str) -> bool:
        """Only the owner's release counts."""
        ...


class Idempotency(Protocol):
    async def claim(self, key: str, *, ttl_ms: int) -> bool:
        """True for the first claim of `key` within its life."""
        ...


class DueQueue(Protocol):
    async def put(self, queue: str, member: str, due_ms: int) -> None:
        """Add, or move to `due_ms` where it is queued already."""
        ...

    async def take_due(self, queue: str, now_ms: int, count: int) -> Sequence[str]:
        """Remove and return up to `count` members due by now, earliest first; each is taken by one caller only."""
        ...

    async def remove(self, queue: str, member: str) -> bool: ...

    async def size(self, queue: str) -> int: ...


class ReservationState(StrEnum):
    RESERVED = "RESERVED"
    """An entry is on its way."""
    OPEN = "OPEN"
    """It filled; the amount is what the open position uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What one intent uses of the risk budget. `amount_usdt`: FUT margin + entry fee, SPOT quote (WAC * qty)."""

    intent_id: str
    key: InstrumentKey
    amount_usdt: Decimal
    state: ReservationState
    ts: int


class ReserveOutcome(StrEnum):
    RESERVED = "RESERVED"
    ALREADY = "ALREADY"
    """This intent holds a reservation; nothing was changed."""
    OVER_BUDGET = "OVER_BUDGET"
    OVER_CONCURRENCY = "OVER_CONCURRENCY"


@dataclass(frozen=True, slots=True)
class Usage:
    amount_usdt: Decimal
    concurrency: int
    """Distinct instruments of the market with a reservation."""


class Reservations(Protocol):
    """Usage, concurrency and records change together or not at all."""

    async def reserve(
        self, reservation: Reservation, *, amount_max_usdt: Decimal, concurrency_max: int
    ) -> ReserveOutcome:
        """Add when usage + amount <= the maximum and, where the instrument holds none yet, concurrency + 1 <= its."""
        ...

    async def settle(self, intent_id: str, amount_usdt: Decimal, state: ReservationState) -> bool:
        """Set the amount to what is truly used. False: no such reservation."""
        ...

    async def release(self, intent_id: str) -> bool: ...

    async def usage(self, market: Market) -> Usage: ...

    async def all(self) -> Sequence[Reservation]:
        """Every record, by intent id."""
        ...

    async def replace_all(self, reservations: Sequence[Reservation]) -> None:
        """Heal: exactly these records hold from now on, and usage follows from them."""
        ...
