"""How far the exchange's clock and ours are apart.

Owns `clock:offset_ms`. Tells a skew once when it begins; S4 reads the figure and refuses entries while it lasts.
"""

from dataclasses import dataclass
from statistics import median_low

from chimera.contracts.enums import Severity
from chimera.contracts.keys import CLOCK_OFFSET
from chimera.contracts.metrics import AlertCode
from chimera.ports.clock import Clock
from chimera.ports.metrics import Metrics
from chimera.ports.state import Snapshots
from chimera.ports.venue import Venue
from chimera.runtime.telling import Teller

ASKED = 5


@dataclass(slots=True, kw_only=True)
class ClockOffset:
    env: str
    skew_ms_max: int
    """Of our own work: a market that runs faster than the wall shows the same skew as more."""
    venue: Venue
    snapshots: Snapshots
    clock: Clock
    metrics: Metrics
    teller: Teller
    _skewed: bool = False

    async def measure(self) -> None:
        """The median of five: one slow answer moves nothing."""
        offsets: list[int] = []
        for _ in range(ASKED):
            asked_ms = self.clock.now_ms()
            server_ms = await self.venue.server_time_ms()
            # The answer was written half a round trip before it was read.
            offsets.append(server_ms - (asked_ms + self.clock.now_ms()) // 2)
        offset_ms = median_low(offsets)
        await self.snapshots.set(CLOCK_OFFSET.name(self.env), str(offset_ms))
        self.metrics.gauge("clock_offset_ms", offset_ms)
        skewed = abs(offset_ms) > self.clock.work_ms(self.skew_ms_max)
        if skewed and not self._skewed:
            await self.teller.alert(
                AlertCode.CLOCK_SKEW,
                Severity.ERROR,
                f"the exchange's clock is {offset_ms} ms from ours; synchronise this machine's clock",
                offset_ms=str(offset_ms),
            )
        self._skewed = skewed
