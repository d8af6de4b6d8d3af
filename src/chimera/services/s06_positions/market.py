"""The price that positions are valued at: the mark where S1 tells one, else the mid."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import MKT_SNAP
from chimera.ports.state import Snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    env: str
    snapshots: Snapshots

    async def mark_text(self, key: InstrumentKey) -> str | None:
        """As S1 wrote it, so that looking again costs no number; None while S1 is silent."""
        snap = await self.snapshots.get_hash(MKT_SNAP.name(self.env, key))
        return snap.get("mark") or snap.get("mid")

    async def mark(self, key: InstrumentKey) -> Decimal | None:
        text = await self.mark_text(key)
        return None if text is None else Decimal(text)
