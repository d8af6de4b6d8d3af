"""Backing off from a dependency that is down: longer each time, never in step with others."""

from dataclasses import dataclass

from chimera.ports.clock import Clock
from chimera.ports.randomness import Randomness


@dataclass(slots=True)
class Backoff:
    """Doubling waits of our own work time, with jitter: each is between half and all of first, 2 first, … `max_ms`."""

    clock: Clock
    randomness: Randomness
    first_ms: int = 200
    max_ms: int = 10_000
    tried: int = 0

    async def wait(self) -> None:
        ceiling_ms = min(self.max_ms, self.first_ms * 2 ** min(self.tried, 20))
        self.tried += 1
        wait_ms = int(ceiling_ms * (0.5 + self.randomness.uniform() / 2))
        await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(wait_ms))

    def reset(self) -> None:
        self.tried = 0
