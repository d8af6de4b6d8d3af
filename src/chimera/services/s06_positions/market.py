"""The price that positions are valued at: the mark where S1 tells a present one, else the mid."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import MKT_SNAP
from chimera.ports.clock import Clock
from chimera.ports.state import Snapshots

MARK_OLD_MS = 10_000
"""A mark that is so much older than the book has fallen silent: exchanges tell one each second or third. Of our own
work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    env: str
    snapshots: Snapshots
    clock: Clock

    async def mark_text(self, key: InstrumentKey, *, since_ms: int = 0) -> str | None:
        """As S1 wrote it, so that looking again costs no number; None while S1 is silent. `since_ms`: a price from
        before this moment of the exchange's says nothing, as of a position that was not there yet."""
        snap = await self.snapshots.get_hash(MKT_SNAP.name(self.env, key))
        book_ms = int(snap.get("ts", 0))
        mark_ms = int(snap.get("mark_ts", 0))
        if "mark" in snap and mark_ms >= max(since_ms, book_ms - self.clock.work_ms(MARK_OLD_MS)):
            return snap["mark"]
        return snap.get("mid") if book_ms >= since_ms else None

    async def mark(self, key: InstrumentKey) -> Decimal | None:
        text = await self.mark_text(key)
        return None if text is None else Decimal(text)
