"""A clock that stands still until a test moves it."""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

START_MS = 1_700_000_000_000


@dataclass(slots=True)
class HandTimer:
    callback: Callable[[], None] | None

    def cancel(self) -> None:
        self.callback = None


@dataclass(slots=True)
class HandClock:
    speed: float = 1.0
    at_ms: int = START_MS
    _timers: list[tuple[int, int, HandTimer]] = field(default_factory=list)
    _set: int = 0

    def now_ms(self) -> int:
        return self.at_ms

    def work_ms(self, duration_ms: int) -> int:
        return int(duration_ms * self.speed)

    def call_at_ms(self, at_ms: int, callback: Callable[[], None]) -> HandTimer:
        self._set += 1
        timer = HandTimer(callback)
        heapq.heappush(self._timers, (at_ms, self._set, timer))
        return timer

    async def sleep_until_ms(self, at_ms: int) -> None:
        passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.call_at_ms(at_ms, lambda: passed.done() or passed.set_result(None))
        await passed

    def perf_ns(self) -> int:
        return self.at_ms * 1_000_000

    async def advance(self, by_ms: int) -> None:
        """Let `by_ms` pass, running what comes due and whoever waits for it."""
        end_ms = self.at_ms + by_ms
        await let_others_run()
        while self._timers and self._timers[0][0] <= end_ms:
            at_ms, _, timer = heapq.heappop(self._timers)
            self.at_ms = max(self.at_ms, at_ms)
            if timer.callback is not None:
                timer.callback()
            await let_others_run()
        self.at_ms = end_ms


async def let_others_run() -> None:
    """Give every task that is ready its turns."""
    for _ in range(10):
        await asyncio.sleep(0)
