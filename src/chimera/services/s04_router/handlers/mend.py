"""Fees whose worth was not known when they were paid are told theirs, once it is."""

from dataclasses import dataclass, field

from chimera.ports.clock import Clock
from chimera.services.s04_router.fees import Fees
from chimera.services.s04_router.ledger import Ledger

FEES_MS = 30_000
"""Of our own work: prices of fee assets are renewed, and missing worths looked for, so often."""
FIRST_LOOK_MS = 86_400_000
"""After a start what is missing is looked for from a day back."""


@dataclass(slots=True, kw_only=True)
class Mend:
    fees: Fees
    ledger: Ledger
    clock: Clock
    _from_ms: int | None = field(default=None)

    async def run(self) -> None:
        now_ms = self.clock.now_ms()
        await self.fees.renew()
        missing = await self.fees.unknown(now_ms - FIRST_LOOK_MS if self._from_ms is None else self._from_ms)
        left = now_ms
        for fill in missing:
            mended = await self.fees.mended(fill)
            if mended is None:
                left = min(left, fill.timestamp)
            else:
                await self.ledger.mend(mended)
        # What cannot be told for a day is left: its asset has no pair here.
        self._from_ms = max(left - FEES_MS, now_ms - FIRST_LOOK_MS)
