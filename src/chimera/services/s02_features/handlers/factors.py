"""Which factors beyond the built-in ones the books compute, and the change to others while prices and bars go on.

Owns the set that new books are made with. A bundle that enables other factors has a new book made for each instrument,
one after the other, from what is on file; until it stands, the old one goes on and the new factors are stale (WARMING).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.features.factor import FactorSpec
from chimera.ports.clock import Clock
from chimera.services.s02_features.handlers.active_config import ActiveConfig
from chimera.services.s02_features.handlers.bars import Bars
from chimera.services.s02_features.handlers.register import Register

LOOK_EVERY_MS = 60_000
"""Of our own work: a change is told at once; this only bounds a wait that nothing ends."""


@dataclass(slots=True, kw_only=True)
class Factors:
    config: ActiveConfig
    register: Register
    clock: Clock
    bars: Mapping[InstrumentKey, Bars] = field(default_factory=dict)
    derived: tuple[FactorSpec, ...] = ()

    async def start(self) -> None:
        """Before the books are filled for the first time."""
        self.derived = self.config.derived
        await self.register.register(self.derived)

    async def follow(self) -> None:
        """For ever: the books compute what the active bundle enables."""
        while True:
            wanted = self.config.derived
            if wanted != self.derived:
                await self._change(wanted)
            elif (behind := self._behind()) is not None:
                # One that a dependency interrupted, or the last of several changes.
                await behind.rebuild()
            else:
                deadline_ms = self.clock.now_ms() + self.clock.work_ms(LOOK_EVERY_MS)
                await self.config.derived_changed.wait_until(self.clock, deadline_ms)

    async def _change(self, wanted: tuple[FactorSpec, ...]) -> None:
        await self.register.register(wanted)
        self.derived = wanted
        for each in self.bars.values():
            each.desk.awaited = tuple(spec.factor_id for spec in wanted if spec not in each.computed)

    def _behind(self) -> Bars | None:
        return next((each for each in self.bars.values() if each.computed != self.derived), None)
