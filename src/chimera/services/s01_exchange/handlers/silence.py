"""Streams that have stopped speaking. Connected is not receiving.

Owns who spoke when, and the alert: once for each silence. Reopening a stream is the venue adapter's business.
"""

from dataclasses import dataclass, field

from chimera.contracts.enums import Severity
from chimera.contracts.metrics import AlertCode
from chimera.ports.clock import Clock
from chimera.ports.metrics import Metrics
from chimera.runtime.telling import Teller


@dataclass(slots=True, kw_only=True)
class Silence:
    """`limits_ms` is market time by stream name, such as `book FUT:BTCUSDT`."""

    limits_ms: dict[str, int]
    clock: Clock
    metrics: Metrics
    teller: Teller
    spoke_ms: dict[str, int] = field(default_factory=dict)
    """Whoever hears a stream writes the time here: a method call for each tick would cost more than the writing."""
    _silent: set[str] = field(default_factory=set)

    async def watch(self) -> None:
        """Sleep to the earliest moment at which a stream could have become too silent; runs for ever."""
        began_ms = self.clock.now_ms()
        for stream in self.limits_ms:
            self.spoke_ms.setdefault(stream, began_ms)
        while True:
            now_ms = self.clock.now_ms()
            due_ms = now_ms + min(self.limits_ms.values())
            for stream, limit_ms in self.limits_ms.items():
                silent_ms = now_ms - self.spoke_ms[stream]
                self.metrics.gauge("stream_silence_ms", silent_ms, stream=stream)
                if silent_ms < limit_ms:
                    self._silent.discard(stream)
                    due_ms = min(due_ms, self.spoke_ms[stream] + limit_ms)
                elif stream not in self._silent:
                    self._silent.add(stream)
                    await self.teller.alert(
                        AlertCode.FEED_SILENT,
                        Severity.ERROR,
                        f"{stream} has said nothing for {silent_ms} ms (limit {limit_ms})",
                        stream=stream,
                    )
            await self.clock.sleep_until_ms(due_ms)
