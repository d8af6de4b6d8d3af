"""The world as an entry must see it right before an order of it leaves: the book, and what forbids it."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import IntentState
from chimera.contracts.keys import wallet
from chimera.domain.execution.machine.flow import Seen
from chimera.ports.clock import Clock
from chimera.ports.state import Snapshots
from chimera.runtime.restraints import Restraints
from chimera.services.s04_router.breaker import BreakerKeeper
from chimera.services.s04_router.market import Market
from chimera.services.s04_router.rules import forbidden, is_late, now_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    env: str
    market: Market
    snapshots: Snapshots
    restraints: Restraints
    breaker: BreakerKeeper
    clock: Clock
    snap_age_ms_max: int

    async def look(self, record: IntentRecord) -> Seen:
        """
        Raises:
            DependencyDown: what forbids an entry could not be learned, so nothing of it leaves.
        """
        oldest_ms = self.clock.now_ms() - self.clock.work_ms(self.snap_age_ms_max)
        touch = await self.market.touch(record.intent.instrument, oldest_ms=oldest_ms)
        why = await self._forbidden(record) if record.purpose.is_new_entry else None
        free = None
        if record.purpose.is_new_entry:
            free = (await self.snapshots.get_hash(wallet(record.market).name(self.env))).get("free")
        return Seen(
            now_ms=self.clock.now_ms(),
            looked=True,
            touch=touch,
            forbidden=why,
            free_usdt=None if free is None else Decimal(free),
        )

    async def _forbidden(self, record: IntentRecord) -> str | None:
        """A dependency that was down may have held the entry up, so its time is looked at again as well."""
        if record.state is IntentState.ACCEPTED and is_late(record.intent, self.clock):
            return "EXPIRED"
        standing = await self.restraints.standing()
        reason = forbidden(now_of(standing, record.intent.instrument, breaker_open=self.breaker.forbids()))
        return None if reason is None else reason[0].upper().replace("-", "_")
