"""What time it is, and how to wait.

There is one timeline: market time in epoch ms. A world may run it faster than the wall (`speed`); limits on our own
work (locks, deadlines of a command, polling) are then stretched by `work_ms`, so that they mean the same real time.
"""

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    @property
    def speed(self) -> float:
        """Market ms per wall ms; 1 everywhere but on a scaled simulated exchange."""
        ...

    def now_ms(self) -> int:
        """Market time. Never goes back."""
        ...

    def work_ms(self, duration_ms: int) -> int:
        """How much market time passes while `duration_ms` of our own work does."""
        ...

    def call_at_ms(self, at_ms: int, callback: Callable[[], None]) -> Timer:
        """Run `callback` in the loop at market time `at_ms`, or at the next turn where that has passed."""
        ...

    async def sleep_until_ms(self, at_ms: int) -> None: ...

    def perf_ns(self) -> int:
        """A monotonic reading of real work for latency metrics; 0 differences in virtual time."""
        ...
