"""How far a server's clock is from ours. Signed requests carry its time, or they are refused."""

from collections.abc import Awaitable, Callable
from statistics import median_low

from chimera.ports.clock import Clock

ASKED = 5


class ServerClock:
    """`now_ms` is the server's time as far as we know it: ours until it was measured."""

    __slots__ = ("_ask", "_clock", "measured", "offset_ms")

    def __init__(self, clock: Clock, ask: Callable[[], Awaitable[int]]) -> None:
        self._clock = clock
        self._ask = ask
        self.offset_ms = 0
        """Theirs less ours."""
        self.measured = False

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.offset_ms

    async def measure(self, times: int = ASKED) -> int:
        """The median of `times` answers, each written half a round trip before it was read."""
        offsets: list[int] = []
        for _ in range(times):
            asked_ms = self._clock.now_ms()
            server_ms = await self._ask()
            offsets.append(server_ms - (asked_ms + self._clock.now_ms()) // 2)
        self.offset_ms = median_low(offsets)
        self.measured = True
        return self.offset_ms
