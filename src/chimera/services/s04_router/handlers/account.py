"""Listening to the account: every order change and fill goes into the ledger, in the exchange's order."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from chimera.contracts import ids
from chimera.contracts.documents import MANUAL, Order
from chimera.contracts.enums import ReconcileScope, Severity
from chimera.contracts.messages import ReconcileCmd
from chimera.contracts.metrics import AlertCode
from chimera.contracts.streams import RECON_CMD
from chimera.domain.execution.orders import AccountChange, OrderUpdated, StreamReset, VenueFill
from chimera.domain.reconcile.fixes import close_by_exchange, sentence_of
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.errors import DependencyDown
from chimera.ports.randomness import Randomness
from chimera.ports.venue import Venue, VenueUnavailable
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import Changed
from chimera.services.s04_router.handlers.recover import Recover
from chimera.services.s04_router.ledger import Ledger
from chimera.services.s04_router.settings import Settings

IDLE_MS = 60_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    settings: Settings
    ledger: Ledger
    recover: Recover
    bus: Bus
    venue: Venue
    clock: Clock
    randomness: Randomness
    teller: Teller
    _owed: list[OrderUpdated | StreamReset] = field(default_factory=list)
    _owing: Changed = field(default_factory=Changed)
    _doubted: dict[str | None, VenueFill | StreamReset] = field(default_factory=dict)
    """By symbol, None for all of them: the last that made us doubt what is on file."""
    _doubting: Changed = field(default_factory=Changed)

    async def listen(self) -> None:
        """For ever. Listens first and asks second: what happens between the two is told, what happened before is asked
        for, be it since the start or since an earlier run ended."""
        events = self.venue.account_events()
        # A stream begins when its first batch is asked for, here as soon as the loop has turned once.
        first = asyncio.ensure_future(anext(events, ()))
        try:
            await self.clock.sleep_until_ms(self.clock.now_ms())
            self._owe(StreamReset(self.clock.now_ms()))
            await self._take_in_all(await first)
        finally:
            first.cancel()
        async for changes in events:
            await self._take_in_all(changes)

    async def catch_up(self) -> None:
        """For ever: what the exchange has to be asked about, however long it cannot be, while `listen` goes on. Booking
        never goes back, so that an old answer does no harm to what was told since."""
        backoff = Backoff(self.clock, self.randomness, max_ms=self.settings.retry_max_ms)
        while True:
            if not self._owed:
                await self._owing.wait_until(self.clock, self.clock.now_ms() + self.clock.work_ms(IDLE_MS))
                continue
            change = self._owed.pop(0)
            try:
                await self._settle(change)
                backoff.reset()
            except DependencyDown as down:
                self._owe(change, first=True)
                log.warning("the account is not caught up with", why=str(down))
                await backoff.wait()
            except Exception:
                self._owe(StreamReset(self.clock.now_ms()))
                raise

    async def report(self) -> None:
        """For ever: where somebody else meddled, the reconciler compares now, not at its next turn: what a person
        opened has no stop, and an entry that closed some of it has opened less than it bought. After a reset it
        compares everything: nobody told us where. Fills of one order come in bursts, so after each report there is a
        pause; no instrument waits for another's, as all that has gathered is reported together."""
        backoff = Backoff(self.clock, self.randomness, max_ms=self.settings.retry_max_ms)
        pause_ms = self.settings.report_pause_ms
        while True:
            if not self._doubted:
                pause_ms = self.settings.report_pause_ms
                await self._doubting.wait_until(self.clock, self.clock.now_ms() + self.clock.work_ms(IDLE_MS))
                continue
            now_ms = self.clock.now_ms()
            try:
                await self._report_gathered(now_ms)
            except DependencyDown as down:
                log.warning("a comparison could not be asked for", why=str(down))
                await backoff.wait()
                continue
            backoff.reset()
            await self.clock.sleep_until_ms(now_ms + self.clock.work_ms(pause_ms))
            # Somebody who goes on and on is looked at less often: each look costs calls.
            pause_ms = min(2 * pause_ms, self.settings.report_pause_max_ms)

    async def _report_gathered(self, now_ms: int) -> None:
        """Each instrument by itself, so that one that cannot be compared fails no other, or all at once. What is told
        of one meanwhile is for the next report."""
        gathered = dict(self._doubted)
        for symbol in (None,) if None in gathered else tuple(gathered):
            cmd = ReconcileCmd(
                req_id=ids.request_id(now_ms, "meddled", symbol),
                ts=now_ms,
                scope=ReconcileScope.ALL if symbol is None else ReconcileScope.SYMBOL,
                symbol=symbol,
            )
            await self.bus.publish(RECON_CMD.name(self.settings.env), cmd)
            for reported in gathered if symbol is None else (symbol,):
                if self._doubted[reported] is gathered[reported]:
                    del self._doubted[reported]

    async def _settle(self, change: OrderUpdated | StreamReset) -> None:
        if isinstance(change, OrderUpdated):
            await self._order(change)
        else:
            await self.recover.catch_up()
            # It asked for orders of our own; what somebody else did meanwhile is nowhere told.
            self._doubt(None, change)

    def _owe(self, change: OrderUpdated | StreamReset, *, first: bool = False) -> None:
        """One reset is enough, and goes first: it answers most of what else is owed."""
        if isinstance(change, StreamReset):
            self._owed[:] = [each for each in self._owed if not isinstance(each, StreamReset)]
        self._owed.insert(0 if first or isinstance(change, StreamReset) else len(self._owed), change)
        self._owing.tell()

    async def _take_in_all(self, changes: Sequence[AccountChange]) -> None:
        for change in changes:
            await self._take_in(change)

    async def _take_in(self, change: AccountChange) -> None:
        """The exchange tells a change once, so that one which cannot be written down holds up what follows it. One that
        the exchange must be asked about does not: what it told of itself is booked, the rest is owed."""
        if isinstance(change, StreamReset):
            self._owe(change)
        if not isinstance(change, OrderUpdated):
            return
        backoff = Backoff(self.clock, self.randomness)
        while True:
            try:
                await self._order(change)
                return
            except VenueUnavailable as down:
                log.warning("the exchange is to be asked about a change of the account", why=str(down))
                self._owe(change)
                return
            except DependencyDown as down:
                log.warning("a change of the account waits", why=str(down))
            await backoff.wait()

    async def _order(self, change: OrderUpdated) -> None:
        fills = () if change.fill is None else (change.fill,)
        order = await self.ledger.book(change.order, fills)
        if order is None:
            log.warning("an order that is not ours", order=change.order.client_order_id, symbol=change.order.symbol)
        if change.fill is not None and _is_to_be_shared(order, change.fill):
            self._ask_to_compare(change.fill)
        if order is None:
            return
        closed = close_by_exchange(order.order_id)
        if change.fill is not None and closed is not None:
            # At once; S5 tells it again with all of its fills, and where nobody told us here.
            await self.teller.alert(
                AlertCode.LIQUIDATION,
                Severity.FATAL,
                f"{change.fill.key}: {sentence_of(closed, order.order_id)}; {change.fill.qty} went at"
                f" {change.fill.price}",
                symbol=change.fill.symbol,
                order_id=order.order_id,
            )

    def _ask_to_compare(self, fill: VenueFill) -> None:
        if fill.key in self.settings.keys:
            self._doubt(fill.key.symbol, fill)

    def _doubt(self, symbol: str | None, why: VenueFill | StreamReset) -> None:
        self._doubted[symbol] = why
        self._doubting.tell()


def _is_to_be_shared(order: Order | None, fill: VenueFill) -> bool:
    """Whether somebody else may have a part in it: theirs, on file or not, may go on to open; and an entry of ours, for
    which the exchange booked a profit or a loss, met somebody on the other side."""
    if order is None or order.reason == MANUAL:
        return True
    return order.is_entry and fill.realized_pnl_usdt != 0
