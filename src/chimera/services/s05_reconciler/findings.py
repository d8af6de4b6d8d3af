"""What one reconciliation saw and did: the tally that its answer, its rates and its events are made of.

An event is written before what it tells is done, under an id that follows from the difference: a run that is killed in
between is followed by one that sees the same difference, writes the same event and does the same.
"""

from dataclasses import dataclass, field
from typing import Any

from chimera.contracts import ids
from chimera.contracts.collections import STRATEGY_EVENTS
from chimera.contracts.documents import StrategyEvent
from chimera.contracts.enums import EventKind
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.reconcile.fixes import Fix, sentence_of
from chimera.ports.documents import Documents, DuplicateKey


class CannotCompare(Exception):
    """Somebody who must be asked gave no answer: nothing is concluded, and the run counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A difference that is on file. `fresh`: this run was the first to see it."""

    event: StrategyEvent
    action: dict[str, Any]
    fresh: bool


@dataclass(slots=True, kw_only=True)
class Findings:
    documents: Documents
    actions: list[dict[str, Any]] = field(default_factory=list)
    compared: int = 0
    agreeing: int = 0
    orders_jaccard: float = 1.0

    def agree(self, does: bool) -> None:
        self.compared += 1
        self.agreeing += does

    async def note(
        self, fix: Fix, key: InstrumentKey | None, subject: str, *, at_ms: int, before: Any, after: Any
    ) -> Noted:
        """One difference: what was, and what will be. `at_ms` is the exchange's time of it, not ours of seeing it."""
        action = {
            "action": fix.value,
            "instrument": str(key) if key else None,
            "subject": subject,
            "before": before,
            "after": after,
            "sentence": sentence_of(fix, subject),
        }
        event = StrategyEvent(
            event_id=ids.event_id(at_ms, EventKind.RECONCILE_FIX.value, fix.value, key, subject),
            kind=EventKind.RECONCILE_FIX,
            market=key.market if key else None,
            symbol=key.symbol if key else None,
            detail=action,
            ts=at_ms,
        )
        try:
            await self.documents.insert(STRATEGY_EVENTS, event)
        except DuplicateKey:
            return Noted(event=event, action=action, fresh=False)
        return Noted(event=event, action=action, fresh=True)

    def done(self, noted: Noted) -> None:
        self.actions.append(noted.action)

    async def withdraw(self, noted: Noted) -> None:
        """There was nothing to do after all. What an earlier run wrote stays: that one may have done it."""
        if noted.fresh:
            await self.documents.remove(STRATEGY_EVENTS, noted.event.event_id)

    async def fixed(
        self, fix: Fix, key: InstrumentKey | None, subject: str, *, at_ms: int, before: Any, after: Any
    ) -> bool:
        """One thing that is so now. False: an earlier run has told it."""
        noted = await self.note(fix, key, subject, at_ms=at_ms, before=before, after=after)
        if noted.fresh:
            self.done(noted)
        return noted.fresh
