"""The clock of every world: a running loop's own time, anchored to an epoch and scaled by a speed.

On a system loop that is monotonic real time; on a virtual loop it is virtual time. The wall is read once, at the start,
so a wall clock that jumps cannot move the timeline; `wall_ms` is there for whoever wants to compare. Monotonic time
stands still while the machine is suspended: whoever follows an exchange makes up for it with `LoopClock.advance`.
"""

import asyncio
import math
import time
from collections.abc import Callable

from chimera.ports.clock import Timer

_TURN_MS = 1e-6
"""A timer may fire a hair early in floating point; now_ms() must not then say the millisecond before."""


def wall_ms() -> int:
    """The machine's own idea of the time, epoch ms. May jump either way."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Milliseconds since some moment; only differences mean something. Never jumps."""
    return time.monotonic_ns() // 1_000_000


class LoopClock:
    """Market time = start_ms + loop time since creation * speed + what it was advanced by. Create it inside the running
    loop."""

    def __init__(self, start_ms: int, speed: float = 1.0) -> None:
        if not speed > 0 or not math.isfinite(speed):
            raise ValueError(f"speed {speed!r} must be a positive number, e.g. 1 or 60")
        self._loop = asyncio.get_running_loop()
        self._zero_s = self._loop.time()
        self._start_ms = start_ms
        self._speed = speed
        self._virtual: bool = getattr(self._loop, "is_virtual", False)
        self._read_s = self._zero_s
        self._read_ms = start_ms

    @property
    def speed(self) -> float:
        return self._speed

    def now_ms(self) -> int:
        loop_s = self._loop.time()
        if loop_s != self._read_s:
            # In virtual time a thousand readings see the same instant.
            self._read_s = loop_s
            self._read_ms = self._start_ms + int((loop_s - self._zero_s) * 1_000 * self._speed + _TURN_MS)
        return self._read_ms

    def advance(self, ms: int) -> None:
        """Make up for market time that the loop slept through. Timers that are set keep their loop time: they run late
        by as much, never early.

        Raises:
            ValueError: backwards, which time never goes.
        """
        if ms < 0:
            raise ValueError(f"a clock does not go back: {ms} ms")
        self._start_ms += ms
        self._read_ms += ms

    def work_ms(self, duration_ms: int) -> int:
        return int(duration_ms * self._speed)

    def call_at_ms(self, at_ms: int, callback: Callable[[], None]) -> Timer:
        return self._loop.call_at(self._zero_s + (at_ms - self._start_ms) / 1_000 / self._speed, callback)

    async def sleep_until_ms(self, at_ms: int) -> None:
        passed: asyncio.Future[None] = self._loop.create_future()
        timer = self.call_at_ms(at_ms, lambda: _settle(passed))
        try:
            await passed
        finally:
            timer.cancel()

    def perf_ns(self) -> int:
        # In virtual time our own work takes none, and nothing may depend on how fast the machine is.
        return 0 if self._virtual else time.perf_counter_ns()


def _settle(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
