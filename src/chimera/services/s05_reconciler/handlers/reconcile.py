"""One reconciliation, the same at start, on a timer and on demand: the exchange is the truth, and we follow it.

Owns the order of things (fetch fills that are missing, book orders that changed, compare orders, then positions, then
balances), how often each is looked at, what the run is called in the end, and the key that entries wait for. A question
without an answer fails the run: silence is not "flat".
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
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
from chimera.ports.randomness import Randomness
from chimera.ports.state import Snapshots
from chimera.ports.venue import Venue, VenueError
from chimera.runtime.restraints import RECONCILED_OLD_MS
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import Changed
from chimera.services.s05_reconciler.findings import CannotCompare, Findings
from chimera.services.s05_reconciler.handlers.balances import Balances
from chimera.services.s05_reconciler.handlers.fills import Fills, Seen
from chimera.services.s05_reconciler.handlers.orders import Orders
from chimera.services.s05_reconciler.handlers.positions import Positions, was_strangers_stop
from chimera.services.s05_reconciler.handlers.recognise import Recognise
from chimera.services.s05_reconciler.handlers.spot_held import SpotHeld
from chimera.services.s05_reconciler.handlers.spot_stops import SpotStops, may_have_bared
from chimera.services.s05_reconciler.settings import Settings

RECON = system_state(ReconState)
DAY_MS = 86_400_000
NOT_YET = "the exchange was not asked yet since the start"


class Look(IntEnum):
    """What the timer looks at; each is all of those before it too."""

    IN_FLIGHT = 0
    """Orders on file of which nobody knows whether the exchange has them: no question, where there are none."""
    ORDERS = 1
    """The exchange's list of open orders: nothing more, where it is as it was."""
    POSITIONS = 2
    """And its list of positions."""
    ALL = 3
    """A whole run, with fills and balances."""


log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Reconcile:
    settings: Settings
    documents: Documents
    snapshots: Snapshots
    venue: Venue
    bus: Bus
    clock: Clock
    randomness: Randomness
    metrics: Metrics
    teller: Teller
    fills: Fills
    orders: Orders
    positions: Positions
    spot_held: SpotHeld
    spot_stops: SpotStops
    recognise: Recognise
    balances: Balances
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
    _seen: tuple[tuple[object, ...], tuple[object, ...]] = ((), ())
    _fills_at_ms: int | None = None
    """When the last good whole run began: until then every fill was asked for."""
    _carried: list[dict[str, Any]] = field(default_factory=list)
    """What a look mended that is told by the run which follows it."""
    _due_at_ms: dict[Look, int] = field(default_factory=lambda: dict.fromkeys(Look, 0))
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def reconciled(self) -> bool:
        """Whether the last run was a good one, and not too long ago; before the first there was none."""
        age_max_ms = self.clock.work_ms(RECONCILED_OLD_MS)
        return self._good_at_ms is not None and self.clock.now_ms() - self._good_at_ms <= age_max_ms

    async def start(self) -> None:
        self._last = await self.documents.get(RECON, "recon")

    async def keep(self) -> None:
        """At start at once, then each kind of look at its own pace, and all of it at once where one is overdue. One
        that fails, or is overdue again when it ends, is followed by the next after a pause, a growing one: this never
        spins."""
        backoff = Backoff(self.clock, self.randomness, max_ms=self.settings.retry_max_ms)
        while True:
            status = await self.look()
            if status is ReconcileStatus.FAILED or self._overdue:
                await backoff.wait()
                continue
            backoff.reset()
            while (until_ms := self._next_ms()) > self.clock.now_ms():
                await self._due.wait_until(self.clock, until_ms)

    def _next_ms(self) -> int:
        if self._overdue:
            return 0
        next_ms = min(self._due_at_ms.values())
        return next_ms if self._again_at_ms is None else min(next_ms, self._again_at_ms)

    def _due_now(self) -> Look:
        now_ms = self.clock.now_ms()
        again = self._again_at_ms is not None and now_ms >= self._again_at_ms
        if self._overdue or again or not self.reconciled:
            return Look.ALL
        return max((look for look, due_ms in self._due_at_ms.items() if now_ms >= due_ms), default=Look.IN_FLIGHT)

    async def look(self) -> ReconcileStatus:
        """The timer's run. Where nothing has stirred since the last good one, that is all there is to say."""
        look, now_ms = self._due_now(), self.clock.now_ms()
        if look is not Look.ALL:
            try:
                if await self._is_quiet(look):
                    self._looked_at(look, now_ms)
                    if look is Look.POSITIONS:
                        await self._good(now_ms)
                    return ReconcileStatus.OK
            except (VenueError, DependencyDown, CannotCompare) as down:
                log.warning("cannot look at the exchange", why=str(down))
        first, self._begun = not self._begun, True
        answer = await self.run(ids.request_id(now_ms, "timer"), ReconcileScope.ALL, None, announce=first)
        return answer.status

    async def _is_quiet(self, look: Look) -> bool:
        if look is Look.IN_FLIGHT:
            return await self._settle_in_flight()
        listed = await self.venue.open_orders(self.settings.keys)
        if _orders_of(listed) != self._seen[0]:
            return False
        if look is Look.ORDERS:
            return await self._settle_in_flight()
        # Something may have stirred while the exchange was asked.
        return _positions_of(await self.venue.positions()) == self._seen[1] and not self._stirred

    async def _settle_in_flight(self) -> bool:
        """False: something was to be mended, which a whole run says."""
        async with self._one_at_a_time:
            findings = Findings(documents=self.documents)
            await self.orders.settle_in_flight(self.settings.keys, findings)
            self._carried += findings.actions
            return not findings.actions

    def _looked_at(self, look: Look, at_ms: int) -> None:
        settings = self.settings
        pace = (settings.in_flight_ms, settings.orders_ms, settings.positions_ms, settings.balances_ms)
        for each in Look:
            if each <= look:
                self._due_at_ms[each] = at_ms + self.clock.work_ms(pace[each])

    async def on_result(self, result: OrderResult) -> None:
        """`ord:result`: something moved, so the next look is a whole one; and it is due now where the last one left
        an instrument to the router and that has ended: what it did not fill itself may have no stop. The same where
        what protected a spot trade has gone, or what strangers hold."""
        self._stirred = True
        self._final_count += result.final
        if may_have_bared(result) or was_strangers_stop(result):
            # And once more: S6 may not have the trade on file yet.
            self._look_soon()
            self._look_again()
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
            findings = Findings(documents=self.documents, actions=self._carried)
            self._carried = []
            if announce:
                await self.teller.event(EventKind.RECONCILE_START, None, req_id, scope=scope.value)
            self._moving = False
            if whole:
                self._stirred = self._overdue = False
                if self._again_at_ms is not None and began_ms >= self._again_at_ms:
                    self._again_at_ms = None
            why: str | None = None
            try:
                seen = await self._run_and_cover(scope, self._keys(scope, symbol), findings)
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
                    self._again_at_ms = self._again_at_ms if self._moving else None
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
            detail=self.why_not,
        )

    @property
    def why_not(self) -> str | None:
        """Why nothing new may be entered, as far as it is our affair; None where it may."""
        if self.reconciled:
            return None
        if self._last is not None and self._last.status is ReconcileStatus.FAILED:
            return self._last.detail
        if self._good_at_ms is None:
            return NOT_YET
        old_s = (self.clock.now_ms() - self._good_at_ms) / self.clock.speed / 1_000
        return f"the last good comparison is {old_s:.0f} s old"

    def _keys(self, scope: ReconcileScope, symbol: str | None) -> tuple[InstrumentKey, ...]:
        keys = self.settings.keys
        return tuple(key for key in keys if key.symbol == symbol) if scope is ReconcileScope.SYMBOL else keys

    async def _run_and_cover(
        self, scope: ReconcileScope, keys: Sequence[InstrumentKey], findings: Findings
    ) -> tuple[tuple[object, ...], tuple[object, ...]]:
        """Spot trades without a stop are found by our own files and guarded by ourselves: an exchange that cannot be
        asked holds that up no more than it must."""
        try:
            seen = await self._run(scope, keys, findings)
        except (VenueError, DependencyDown, CannotCompare):
            await self.spot_stops.compare(keys, findings)
            raise
        if scope is not ReconcileScope.ORDERS:
            await self.spot_stops.compare(keys, findings)
        return seen

    async def _run(
        self, scope: ReconcileScope, keys: Sequence[InstrumentKey], findings: Findings
    ) -> tuple[tuple[object, ...], tuple[object, ...]]:
        since_ms = self._fills_since()
        seen = {key: await self.fills.book_missing(key, since_ms, findings) for key in keys}
        listed = await self.venue.open_orders(self.settings.keys)
        settled, asked = await self.orders.catch_up(keys, listed, findings)
        if asked:
            listed = await self.venue.open_orders(self.settings.keys)
        positions = await self.venue.positions()
        if not settled:
            self._look_again()
        if scope is not ReconcileScope.POSITIONS:
            await self.orders.compare(keys, listed, positions, findings)
        if scope is not ReconcileScope.ORDERS:
            await self._compare_positions(keys, positions, seen, findings)
            if await self.spot_held.compare(keys, seen, findings):
                self._look_again()
        await self.recognise.look(keys, since_ms, positions, listed, findings)
        if scope is ReconcileScope.ALL and not self._moving and await self.balances.compare(findings):
            self._look_again()
        return _orders_of(listed), _positions_of(positions)

    async def _compare_positions(
        self,
        keys: Sequence[InstrumentKey],
        positions: Sequence[VenuePosition],
        seen: Mapping[InstrumentKey, Seen],
        findings: Findings,
    ) -> None:
        final_count = self._final_count
        left = await self.positions.compare(keys, positions, seen, findings)
        # What was left is looked at again, even if nothing moves until then.
        self._stirred = self._stirred or left.to_router or left.moving
        if left.moving:
            self._look_again()
        if left.to_router and self._final_count != final_count:
            # The router's may be what ended while we compared.
            self._look_soon()
        elif left.to_router:
            self._left = True

    def _look_again(self) -> None:
        """As soon as the exchange's queries may say something else than when it was first seen."""
        self._moving = self._stirred = True
        again_at_ms = self.clock.now_ms() + self.clock.work_ms(self.settings.lookup_lag_ms)
        self._again_at_ms = min(again_at_ms, self._again_at_ms or again_at_ms)
        self._due.tell()

    def _look_soon(self) -> None:
        """Remembered, as the timer may be amid a look that began too early to see why."""
        self._overdue = True
        self._due.tell()

    def _fills_since(self) -> int:
        """From before the last good run; a day back where there was none."""
        now_ms = self.clock.now_ms()
        since_ms = self._fills_at_ms or (self._last.last_run_ts if self._last is not None else 0)
        margin_ms = self.clock.work_ms(self.settings.fills_margin_ms)
        return max(0, since_ms - margin_ms if since_ms else now_ms - DAY_MS)

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
        last_good = self._fills_at_ms or (self._last.last_run_ts if self._last else 0)
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
            self._looked_at(Look.ALL, began_ms)
            self._fills_at_ms = began_ms
            await self._good(began_ms)
        if status is not ReconcileStatus.FAILED:
            self.metrics.gauge("orders_jaccard", findings.orders_jaccard)
            self.metrics.gauge("recon_agreement_ratio", ratio)
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


def _orders_of(listed: Sequence[VenueOrder]) -> tuple[object, ...]:
    """What of the exchange's open orders tells whether anything of ours has moved."""
    return tuple((order.key, order.client_order_id, order.filled_qty, order.triggered) for order in listed)


def _positions_of(positions: Sequence[VenuePosition]) -> tuple[object, ...]:
    """The same of its positions; prices and margins do not count."""
    return tuple((position.symbol, position.qty) for position in positions)
