"""Closed bars of one instrument in order, each once, none left out.

Owns which bar is due. A stream skips bars while it is away and may close one late; then everything newer is held until
the missing ones were fetched. Pure; whoever holds it fetches.
"""

from collections.abc import Sequence

from chimera.domain.market.quotes import INTERVAL_MS, Bar

MINUTE_MS = INTERVAL_MS["1m"]
HELD_MAX = 1_440
FRUITLESS_MAX = 3
"""Empty answers after which it is believed that the exchange has no such bar: it was closed itself."""


class BarLine:
    """`began_ms` is when listening began: the bar open then is the first one due; the one before it is welcome."""

    __slots__ = ("_fruitless", "_held", "_started", "next_open", "skipped")

    def __init__(self, began_ms: int) -> None:
        self.next_open = began_ms - began_ms % MINUTE_MS
        self.skipped = 0
        """Minutes of which the exchange has no bar."""
        self._held: dict[int, Bar] = {}
        self._started = False
        self._fruitless = 0

    @property
    def closes_ms(self) -> int:
        """When the next bar closes at the exchange."""
        return self.next_open + MINUTE_MS

    @property
    def missing(self) -> bool:
        """Newer bars are here and the next one is not."""
        return bool(self._held)

    def hear(self, bar: Bar) -> Sequence[Bar]:
        """A bar of the stream; what may go out now, oldest first."""
        if not self._started and bar.open_time == self.next_open - MINUTE_MS:
            self._started = True
            return (bar,)
        if bar.open_time < self.next_open:
            return ()
        self._held.setdefault(bar.open_time, bar)
        if len(self._held) > HELD_MAX:
            # What is let go of is fetched with what is missing.
            del self._held[max(self._held)]
        return self._release()

    def fill(self, bars: Sequence[Bar], end_ms: int) -> Sequence[Bar]:
        """The exchange's own list for [next_open, end_ms); what may go out now, oldest first."""
        for bar in bars:
            if self.next_open <= bar.open_time < end_ms:
                self._held[bar.open_time] = bar
        if self._held and self.next_open not in self._held:
            self._fruitless += 1
            if bars or self._fruitless >= FRUITLESS_MAX:
                first = min(self._held)
                self.skipped += (first - self.next_open) // MINUTE_MS
                self.next_open = first
        return self._release()

    def _release(self) -> Sequence[Bar]:
        released: list[Bar] = []
        while self.next_open in self._held:
            released.append(self._held.pop(self.next_open))
            self.next_open += MINUTE_MS
        if released:
            self._started = True
            self._fruitless = 0
        return released
