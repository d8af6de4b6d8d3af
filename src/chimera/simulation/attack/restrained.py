"""From when to when new entries were forbidden, as the state that everybody reads says: what I6 is asked about.

Owns the watch over that state as it is written. It outlives the houses; the state does not, so that each of them begins
without a comparison.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chimera.adapters.clocks import LoopClock
from chimera.contracts.enums import BreakerState, HealthLevel, Switch
from chimera.contracts.keys import CLOCK_OFFSET, HEALTH_STATE, KILL_SWITCH, RECON_LAST_RUN, ROUTER_BREAKER
from chimera.ports.state import Snapshots
from chimera.simulation.checkers.entries_allowed import Span

SKEW_MAX_MS = 1_000
"""Source: SERVICES, I6."""

NOT_COMPARED = "a time without a good comparison"
KILLED = "the kill switch"


@dataclass(slots=True)
class Restrained:
    """`spans` are over, what lasts is not among them: ask `so_far`."""

    clock: LoopClock
    env: str
    spans: list[Span] = field(default_factory=list)
    _since_ms: dict[str, int] = field(default_factory=dict)

    def watched(self, snapshots: Snapshots) -> Any:
        """The state of a new house, in which nothing has been compared yet. The switch stands as it stood."""
        self.emptied()
        return _Watched(snapshots, self)

    def emptied(self) -> None:
        """The state has lost everything, so that nobody knows of a comparison."""
        for why in self._since_ms.keys() - {KILLED}:
            self.holds(why, so=False)
        self.holds(NOT_COMPARED, so=True)

    def holds(self, why: str, *, so: bool) -> None:
        now_ms = self.clock.now_ms()
        if so:
            self._since_ms.setdefault(why, now_ms)
        elif (since_ms := self._since_ms.pop(why, None)) is not None:
            self.spans.append((why, since_ms, now_ms))

    def so_far(self) -> Iterator[Span]:
        yield from self.spans
        for why, since_ms in self._since_ms.items():
            yield why, since_ms, self.clock.now_ms()


class _Watched:
    def __init__(self, inner: Snapshots, watch: Restrained) -> None:
        self._inner = inner
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def set(self, key: str, value: str, *, ttl_ms: int | None = None) -> None:
        await self._inner.set(key, value, ttl_ms=ttl_ms)
        if key == RECON_LAST_RUN.name(self._watch.env):
            self._watch.holds(NOT_COMPARED, so=False)
        elif key == KILL_SWITCH.name(self._watch.env):
            self._watch.holds(KILLED, so=value == Switch.ON)
        elif key == HEALTH_STATE.name(self._watch.env):
            self._watch.holds("health RED", so=value == HealthLevel.RED)
        elif key == CLOCK_OFFSET.name(self._watch.env):
            self._watch.holds("skew", so=abs(int(value)) > SKEW_MAX_MS)

    async def set_hash(self, key: str, fields: Mapping[str, str], *, ttl_ms: int | None = None) -> None:
        await self._inner.set_hash(key, fields, ttl_ms=ttl_ms)
        if key == ROUTER_BREAKER.name(self._watch.env):
            self._watch.holds("an open breaker", so=fields["state"] == BreakerState.OPEN)

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)
        if key == RECON_LAST_RUN.name(self._watch.env):
            self._watch.holds(NOT_COMPARED, so=True)
