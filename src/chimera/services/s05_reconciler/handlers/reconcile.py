"""One reconciliation, the same at start, on a timer and on demand: the exchange is the truth, and we follow it.

Owns the order of things (book what is known, fetch what is missing, compare orders, then positions), what the run is
called in the end, and the key that entries wait for. A question without an answer fails the run: silence is not "flat".
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import system_state
from chimera.contracts.documents import ReconState
from chimera.contracts.enums import EventKind, ReconcileScope, ReconcileStatus, Severity
from chimera.contracts.http import ReconcileAnswer, ReconcileStatusAnswer
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import RECON_LAST_RUN
from chimera.contracts.messages import OrderResult, ReconcileCmd, ReconcileResult
from chimera.contracts.metrics import AlertCode
from chimera.contracts.streams import RECON_RESULT
from chimera.domain.execution.orders import VenueOrder, VenuePosition
from chimera.domain.reconcile.compare import agreement
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.randomness import Randomness
from chimera.ports.state import Snapshots
from chimera.ports.venue import Venue, VenueError
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import Changed
from chimera.services.s05_reconciler.findings import CannotCompare, Findings
from chimera.services.s05_reconciler.handlers.fills import Fills
from chimera.services.s05_reconciler.handlers.orders import Orders
from chimera.services.s05_reconciler.handlers.positions import Positions
from chimera.services.s05_reconciler.settings import Settings

RECON = system_state(ReconState)
DAY_MS = 86_400_000

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Reconcile:
    settings: Settings
    documents: Documents
    snapshots: Snapshots
    venue: Venue
    peers: Peers
    bus: Bus
    clock: Clock
    randomness: Randomness
    metrics: Metrics
    teller: Teller
    fills: Fills
    orders: Orders
    positions: Positions
    _last: ReconState | None = None
    _good_at_ms: int | None = None
    _begun: bool = False
    _stirred: bool = True
    _left: bool = False
    _final_count: int = 0
    _overdue: bool = False
    _moving: bool = False
    _again_at_ms: int | None = None
    """When what was moving is looked at again, whatever the timer says."""
    _due: Changed = field(default_factory=Changed)
    _seen: tuple[object, ...] = ()
    _full_at_ms: int = 0
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def reconciled(self) -> bool:
        """Whether the last run was a good one; before the first it was not."""
        return self._good_at_ms is not None

    async def start(self) -> None:
        self._last = await self.documents.get(RECON, "recon")

    async def keep(self) -> None:
        """At start at once, then again and again, at once where a look is overdue. One that fails, or is overdue again
        when it ends, is followed by the next after a pause, a growing one: this never spins."""
        backoff = Backoff(self.clock, self.randomness, max_ms=self.settings.retry_max_ms)
        while True:
            status = await self.look()
            if status is ReconcileStatus.FAILED or self._overdue:
                await backoff.wait()
                continue
            backoff.reset()
            next_ms = self.clock.now_ms() + self.clock.work_ms(self.settings.compare_ms)
            while not self._overdue and self.clock.now_ms() < (until_ms := min(next_ms, self._again_at_ms or next_ms)):
                await self._due.wait_until(self.clock, until_ms)

    async def look(self) -> ReconcileStatus:
        """The timer's run. Where nothing has stirred since the last good one, that is all there is to say."""
        now_ms = self.clock.now_ms()
        self._again_at_ms = None
        if self.reconciled and not self._stirred and now_ms < self._full_at_ms:
            try:
                # Something may have stirred while the exchange was asked.
                quiet = await self._view() == self._seen and not self._stirred
            except (VenueError, DependencyDown) as down:
                log.warning("cannot look at the exchange", why=str(down))
                quiet = False
            if quiet:
                await self._good(now_ms)
                return ReconcileStatus.OK
        first, self._begun = not self._begun, True
        answer = await self.run(ids.request_id(now_ms, "timer"), ReconcileScope.ALL, None, announce=first)
        return answer.status

    async def on_result(self, result: OrderResult) -> None:
        """`ord:result`: something moved, so the next look is a whole one; and it is due now where the last one left
        an instrument to the router and that has ended: what it did not fill itself may have no stop."""
        self._stirred = True
        self._final_count += result.final
        if self._left and result.final:
            self._left = False
            self._look_soon()

    async def on_cmd(self, cmd: ReconcileCmd) -> None:
        """`recon:cmd`. Whoever asked does not ask again: where it fails, the timer's look does."""
        await self.run(cmd.req_id, cmd.scope, cmd.symbol, announce=True)

    async def asked(self, req_id: str, scope: ReconcileScope, symbol: str | None) -> ReconcileAnswer:
        """POST /reconcile. Whoever asks looks once, so what has only just moved is waited for and looked at again."""
        answer = await self.run(req_id, scope, symbol, announce=True)
        if not self._moving:
            return answer
        await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(self.settings.lookup_lag_ms))
        again = await self.run(req_id, scope, symbol, announce=True)
        fixed = again.status is ReconcileStatus.OK and answer.actions
        return ReconcileAnswer(
            req_id=req_id,
            status=ReconcileStatus.FIXED if fixed else again.status,
            actions=(*answer.actions, *again.actions),
            ts=again.ts,
        )

    async def run(self, req_id: str, scope: ReconcileScope, symbol: str | None, *, announce: bool) -> ReconcileAnswer:
        """Compare and mend. `announce`: say that it began and how it ended also when there was nothing to mend. After a
        run that failed the timer's is due now; only a whole one settles what has stirred and what is overdue."""
        whole = scope is ReconcileScope.ALL
        async with self._one_at_a_time:
            began_ms = self.clock.now_ms()
            findings = Findings(teller=self.teller)
            if announce:
                await self.teller.event(EventKind.RECONCILE_START, None, req_id, scope=scope.value)
            self._moving = False
            if whole:
                self._stirred = self._overdue = False
            why: str | None = None
            try:
                seen = await self._run(scope, self._keys(scope, symbol), findings)
            except (VenueError, DependencyDown, CannotCompare) as failed:
                why = str(failed)
                self._stirred = True
                self._look_soon()
            else:
                if findings.actions:
                    # What was mended is looked at once more.
                    self._stirred = True
                if whole:
                    self._seen = seen
            status = (
                ReconcileStatus.FAILED
                if why is not None
                else ReconcileStatus.FIXED
                if findings.actions
                else ReconcileStatus.OK
            )
            await self._end(req_id, status, began_ms, findings, why, whole=whole, announce=announce)
            return ReconcileAnswer(
                req_id=req_id, status=status, actions=tuple(findings.actions), ts=self.clock.now_ms()
            )

    def status(self) -> ReconcileStatusAnswer:
        """GET /status."""
        last = self._last
        return ReconcileStatusAnswer(
            reconciled=self.reconciled,
            last_run_ts=self._good_at_ms or (last.last_run_ts if last else None),
            status=last.status if last else None,
            orders_jaccard=last.orders_jaccard if last else None,
            agreement_ratio=last.agreement_ratio if last else None,
            detail=last.detail if last else None,
        )

    def _keys(self, scope: ReconcileScope, symbol: str | None) -> tuple[InstrumentKey, ...]:
        keys = self.settings.keys
        return tuple(key for key in keys if key.symbol == symbol) if scope is ReconcileScope.SYMBOL else keys

    async def _run(
        self, scope: ReconcileScope, keys: Sequence[InstrumentKey], findings: Findings
    ) -> tuple[object, ...]:
        answer = await self.peers.call(PeerCall("s4", "POST", "/orders/refresh", actor="s5"))
        if not answer.ok:
            raise CannotCompare(f"s4 could not ask the exchange for its orders: {answer.body}")
        since_ms = self._fills_since()
        seen = {key: await self.fills.book_missing(key, since_ms, findings) for key in keys}
        listed, positions = await self._ask()
        if scope is not ReconcileScope.POSITIONS:
            await self.orders.compare(keys, listed, positions, findings)
        if scope is not ReconcileScope.ORDERS:
            final_count = self._final_count
            left = await self.positions.compare(keys, positions, seen, findings)
            self._moving = left.moving
            # What was left is looked at again, even if nothing moves until then.
            self._stirred = self._stirred or left.to_router or left.moving
            if left.moving:
                self._again_at_ms = self.clock.now_ms() + self.clock.work_ms(self.settings.lookup_lag_ms)
                self._due.tell()
            if left.to_router and self._final_count != final_count:
                # The router's may be what ended while we compared.
                self._look_soon()
            elif left.to_router:
                self._left = True
        return _signature(listed, positions)

    def _look_soon(self) -> None:
        """Remembered, as the timer may be amid a look that began too early to see why."""
        self._overdue = True
        self._due.tell()

    async def _ask(self) -> tuple[Sequence[VenueOrder], Sequence[VenuePosition]]:
        return await self.venue.open_orders(self.settings.keys), await self.venue.positions()

    async def _view(self) -> tuple[object, ...]:
        return _signature(*await self._ask())

    def _fills_since(self) -> int:
        """From before the last good run; a day back where there was none."""
        now_ms = self.clock.now_ms()
        good_at_ms = self._good_at_ms
        if good_at_ms is None and self._last is not None and self._last.status is not ReconcileStatus.FAILED:
            good_at_ms = self._last.last_run_ts
        margin_ms = self.clock.work_ms(self.settings.fills_margin_ms)
        return max(0, now_ms - DAY_MS if good_at_ms is None else good_at_ms - margin_ms)

    async def _good(self, began_ms: int) -> None:
        self._good_at_ms = began_ms
        await self.snapshots.set(RECON_LAST_RUN.name(self.settings.env), str(began_ms))

    async def _end(
        self,
        req_id: str,
        status: ReconcileStatus,
        began_ms: int,
        findings: Findings,
        why: str | None,
        *,
        whole: bool,
        announce: bool,
    ) -> None:
        failed_before = self._last is not None and self._last.status is ReconcileStatus.FAILED
        ratio = agreement(findings.agreeing, findings.compared)
        last_good = self._good_at_ms or (self._last.last_run_ts if self._last else 0)
        self._last = ReconState(
            # Of a failed run nothing is known, so the fills of the next one are asked for from before it.
            last_run_ts=last_good if status is ReconcileStatus.FAILED or not whole else began_ms,
            status=status,
            orders_jaccard=findings.orders_jaccard,
            agreement_ratio=ratio,
            detail=why,
            updated_at=self.clock.now_ms(),
        )
        await self.documents.put(RECON, self._last)
        if status is ReconcileStatus.FAILED:
            await self._not_good(why, repeated=failed_before)
        elif whole:
            self._full_at_ms = began_ms + self.clock.work_ms(self.settings.full_ms)
            await self._good(began_ms)
        self.metrics.gauge("orders_jaccard", findings.orders_jaccard)
        if announce or findings.actions or failed_before is not (status is ReconcileStatus.FAILED):
            detail: dict[str, Any] = {"status": status.value, "actions": len(findings.actions), "agreement": ratio}
            await self.teller.event(EventKind.RECONCILE_DONE, None, req_id, **detail, why=why)
            await self.bus.publish(
                RECON_RESULT.name(self.settings.env),
                ReconcileResult(req_id=req_id, ts=self.clock.now_ms(), actions=tuple(findings.actions), status=status),
            )

    async def _not_good(self, why: str | None, *, repeated: bool) -> None:
        log.warning("not reconciled", why=why)
        self._good_at_ms = None
        await self.snapshots.delete(RECON_LAST_RUN.name(self.settings.env))
        if not repeated:
            await self.teller.alert(
                AlertCode.RECON_FAILED, Severity.ERROR, f"records could not be compared with the exchange: {why}"
            )


def _signature(listed: Sequence[VenueOrder], positions: Sequence[VenuePosition]) -> tuple[object, ...]:
    """What of the exchange's view tells whether anything of ours has moved; prices and margins do not count."""
    return (
        tuple((order.key, order.client_order_id, order.filled_qty, order.triggered) for order in listed),
        tuple((position.symbol, position.qty) for position in positions),
    )
