"""The world as an entry must see it right before an order of it leaves: the book, and what forbids it."""

from dataclasses import dataclass

from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import IntentState
from chimera.domain.execution.machine.flow import Seen
from chimera.ports.clock import Clock
from chimera.runtime.restraints import Restraints
from chimera.services.s04_router.market import Market
from chimera.services.s04_router.rules import forbidden, is_late, now_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    market: Market
    restraints: Restraints
    clock: Clock

    async def look(self, record: IntentRecord) -> Seen:
        """
        Raises:
            DependencyDown: what forbids an entry could not be learned, so nothing of it leaves.
        """
        touch = await self.market.touch(record.intent.instrument)
        why = await self._forbidden(record) if record.purpose.is_new_entry else None
        return Seen(now_ms=self.clock.now_ms(), looked=True, touch=touch, forbidden=why)

    async def _forbidden(self, record: IntentRecord) -> str | None:
        """A dependency that was down may have held the entry up, so its time is looked at again as well."""
        if record.state is IntentState.ACCEPTED and is_late(record.intent, self.clock):
            return "EXPIRED"
        reason = forbidden(now_of(await self.restraints.standing(), record.intent.instrument))
        return None if reason is None else reason[0].upper().replace("-", "_")
