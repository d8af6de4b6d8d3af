"""Every store of fast state that services can run on. A new adapter is a new line in `STATE_ADAPTERS`."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from chimera.adapters.memory.state import (
    MemoryDueQueue,
    MemoryIdempotency,
    MemoryLocks,
    MemoryReservations,
    MemorySnapshots,
)
from chimera.ports.clock import Clock
from chimera.ports.state import DueQueue, Idempotency, Locks, Reservations, Snapshots


@dataclass(frozen=True, slots=True)
class State:
    snapshots: Snapshots
    locks: Locks
    idempotency: Idempotency
    due: DueQueue
    reservations: Reservations

    def parts(self) -> dict[str, Any]:
        """By their names in the world."""
        return {name: getattr(self, name) for name in self.__slots__}


OpenState = Callable[[Clock], AbstractAsyncContextManager[State]]


@asynccontextmanager
async def memory_state(clock: Clock) -> AsyncIterator[State]:
    yield State(
        MemorySnapshots(clock), MemoryLocks(clock), MemoryIdempotency(clock), MemoryDueQueue(), MemoryReservations()
    )


@dataclass(frozen=True, slots=True)
class StateAdapter:
    """`in_memory`: it can live in virtual time; others speak over a socket and need a real loop."""

    open: OpenState
    in_memory: bool = False


STATE_ADAPTERS = [pytest.param(StateAdapter(memory_state, in_memory=True), id="memory")]


class Unhurried:
    """A dependency that lets others go first: before and after each call the loop turns a few times, by a seed.

    Without it what runs in one process hardly ever interleaves, and a race is never seen.
    """

    def __init__(self, inner: Any, seed: int, turns_max: int = 3) -> None:
        self._inner = inner
        self._random = random.Random(seed)
        self._turns_max = turns_max

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(call):
            return call

        async def slowly(*args: Any, **kwargs: Any) -> Any:
            await self._turn()
            answer = await call(*args, **kwargs)
            await self._turn()
            return answer

        return slowly

    async def _turn(self) -> None:
        for _ in range(self._random.randint(0, self._turns_max)):
            await asyncio.sleep(0)
