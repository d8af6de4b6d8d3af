"""The world as an entry must see it right before an order of it leaves: the book, and what forbids it."""

from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import IntentState, Purpose
from chimera.contracts.keys import wallet
from chimera.domain.execution.machine.flow import Seen, Touch
from chimera.ports.clock import Clock
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots
from chimera.ports.venue import Refused, Venue, VenueUnavailable
from chimera.runtime.restraints import Restraints
from chimera.services.s04_router.breaker import BreakerKeeper
from chimera.services.s04_router.guards import Guards
from chimera.services.s04_router.market import Market
from chimera.services.s04_router.rules import forbidden, is_late, now_of

UNKNOWN = "RESTRAINTS_UNKNOWN"
BLIND_MS = 10_000
"""Of our own work: a guard without a price for so long is told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    env: str
    market: Market
    snapshots: Snapshots
    restraints: Restraints
    breaker: BreakerKeeper
    clock: Clock
    snap_age_ms_max: int
    venue: Venue
    guards: Guards
    _blind_since: dict[str, int] = field(default_factory=dict)
    """By guard: since when it sees no price; -1 once a person was told."""

    async def look(self, record: IntentRecord) -> Seen:
        """
        Raises:
            DependencyDown: what forbids an entry could not be learned, so nothing of it leaves.
        """
        oldest_ms = self.clock.now_ms() - self.clock.work_ms(self.snap_age_ms_max)
        try:
            touch = await self.market.touch(record.intent.instrument, oldest_ms=oldest_ms)
        except DependencyDown:
            if record.purpose.is_new_entry and record.state is IntentState.ACCEPTED:
                raise
            touch = None
        if record.purpose is Purpose.GUARD:
            if touch is None:
                touch = await self._polled(record)
            else:
                self._blind_since.pop(record.intent_id, None)
        why = await self._forbidden(record) if record.purpose.is_new_entry else None
        free = None
        if record.purpose.is_new_entry and why is None:
            free = (await self.snapshots.get_hash(wallet(record.market).name(self.env))).get("free")
        return Seen(
            now_ms=self.clock.now_ms(),
            looked=True,
            touch=touch,
            forbidden=why,
            free_usdt=None if free is None else Decimal(free),
        )

    async def _polled(self, record: IntentRecord) -> Touch | None:
        """Where nobody tells of the market any more, a guard asks for it."""
        try:
            book = await self.venue.book(record.intent.instrument)
        except (VenueUnavailable, Refused) as down:
            await self._blind(record, str(down))
            return None
        if not book.asks or not book.bids:
            # Nobody buys, so nothing can be sold; a person should know that it is so.
            await self._blind(record, "the book has one side only")
            return None
        self._blind_since.pop(record.intent_id, None)
        bid, ask = book.bids[0][0], book.asks[0][0]
        return Touch(bid=bid, ask=ask, spread_bps=float((ask - bid) / (ask + bid)) * 2e4)

    async def _blind(self, record: IntentRecord, why: str) -> None:
        """Told once, when it has lasted."""
        now_ms = self.clock.now_ms()
        since_ms = self._blind_since.setdefault(record.intent_id, now_ms)
        if 0 <= since_ms <= now_ms - self.clock.work_ms(BLIND_MS):
            self._blind_since[record.intent_id] = -1
            await self.guards.blind(record, why)

    async def _forbidden(self, record: IntentRecord) -> str | None:
        """A dependency that was down may have held the entry up, so its time is looked at again as well."""
        if record.state is IntentState.ACCEPTED and is_late(record.intent, self.clock):
            return "EXPIRED"
        try:
            standing = await self.restraints.standing()
        except DependencyDown:
            if record.state is IntentState.ACCEPTED:
                raise
            # What is at the exchange must not rest on when nobody can say whether it may.
            return UNKNOWN
        reason = forbidden(now_of(standing, record.intent.instrument, breaker_open=self.breaker.forbids()))
        return None if reason is None else reason[0].upper().replace("-", "_")
