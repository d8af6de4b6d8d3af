"""Doing something for a key at a moment, unless it turns out to be done before.

Owns the timers and the one loop that serves them, so that a burst arms one timer and a thing that was forgotten in time
wakes nobody. Holds no data: whoever is called looks what there is to do.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

from chimera.ports.clock import Clock, Timer

K = TypeVar("K")


class Later(Generic[K]):
    """`at` arms, `forget` disarms, `run` serves; a key is armed once at a time."""

    __slots__ = ("_clock", "_due", "_timers", "_waiter")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timers: dict[K, Timer] = {}
        self._due: deque[K] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def at(self, key: K, at_ms: int) -> None:
        """Serve `key` at market time `at_ms`; one that is armed already keeps its time."""
        if key not in self._timers:
            self._timers[key] = self._clock.call_at_ms(at_ms, partial(self._ring, key))

    def forget(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def run(self, serve: Callable[[K], Awaitable[None]]) -> None:
        """Serve for ever, one key after the other. A key whose serving raises is not served again."""
        while True:
            while self._due:
                await serve(self._due.popleft())
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _ring(self, key: K) -> None:
        del self._timers[key]
        self._due.append(key)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
