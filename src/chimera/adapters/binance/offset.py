"""How far a server's clock is from ours. Signed requests carry its time, or they are refused."""

from collections import deque
from collections.abc import Awaitable, Callable
from statistics import median_low

from chimera.ports.clock import Clock

ASKED = 5


class ServerClock:
    """`now_ms` is the server's time as far as we know it: ours until it was asked."""

    __slots__ = ("_ask", "_clock", "_offsets", "offset_ms")

    def __init__(self, clock: Clock, ask: Callable[[], Awaitable[int]]) -> None:
        self._clock = clock
        self._ask = ask
        self._offsets: deque[int] = deque(maxlen=ASKED)
        self.offset_ms = 0
        """Theirs less ours: the median of the newest answers, so that one slow answer moves nothing."""

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.offset_ms

    def advanced(self, ms: int) -> None:
        """Our clock was advanced: what is known of theirs stays as it was."""
        self._offsets = deque((offset - ms for offset in self._offsets), maxlen=ASKED)
        self.offset_ms -= ms

    async def ask(self) -> int:
        """The server's time when it answered; it wrote that half a round trip before we read it."""
        asked_ms = self._clock.now_ms()
        server_ms = await self._ask()
        self._offsets.append(server_ms - (asked_ms + self._clock.now_ms()) // 2)
        self.offset_ms = median_low(self._offsets)
        return server_ms

    async def measure(self, times: int = ASKED) -> int:
        """Forget what was known and ask anew; the offset."""
        self._offsets.clear()
        for _ in range(times):
            await self.ask()
        return self.offset_ms
