"""What one reconciliation saw and did: the tally that its answer, its rates and its events are made of."""

from dataclasses import dataclass, field
from typing import Any

from chimera.contracts.enums import EventKind
from chimera.contracts.instrument_key import InstrumentKey
from chimera.runtime.telling import Teller


class CannotCompare(Exception):
    """Somebody who must be asked gave no answer: nothing is concluded, and the run counts as failed."""


@dataclass(slots=True, kw_only=True)
class Findings:
    teller: Teller
    actions: list[dict[str, Any]] = field(default_factory=list)
    compared: int = 0
    agreeing: int = 0
    orders_jaccard: float = 1.0

    def agree(self, does: bool) -> None:
        self.compared += 1
        self.agreeing += does

    async def fixed(self, what: str, key: InstrumentKey, subject: str, *, before: Any, after: Any) -> None:
        """One thing that was mended: what was, and what is now."""
        action = {"action": what, "instrument": str(key), "subject": subject, "before": before, "after": after}
        self.actions.append(action)
        await self.teller.event(EventKind.RECONCILE_FIX, key, f"{what} {subject}", before=before, after=after)
