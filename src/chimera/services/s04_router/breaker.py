"""S4's breaker in its world: what is counted, and where its state is kept and told.

Owns `system_state/breaker`, `router:cb:state`, `router:rate:INSTR`, the gauges `cb_state` and
`order_submit_error_rate`, the alert CB_OPEN and the event CIRCUIT_BREAK. When it opens and closes is
`domain.execution.breaker`'s business; that nobody forgets to count is `CountedVenue`'s, which stands before the
exchange. Counting never waits and never fails: what it changed is written a moment later, by `watch`.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from chimera.contracts.collections import STRATEGY_EVENTS, system_state
from chimera.contracts.documents import BreakerRecord, StrategyEvent
from chimera.contracts.enums import BreakerState, EventKind, Market, Severity
from chimera.contracts.http.breaker import BreakerAnswer, BreakerRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import ROUTER_BREAKER, ROUTER_RATE
from chimera.contracts.metrics import AlertCode
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.breaker import Breaker, Policy, Standing
from chimera.domain.execution.orders import (
    Balance,
    Income,
    NewOco,
    NewOrder,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Put
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.state import Snapshots
from chimera.ports.venue import OutcomeUnknown, RateLimited, Refused, Venue, VenueUnavailable
from chimera.runtime.service import Problem, Reply, Request, Route
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import Changed
from chimera.services.s04_router.venue_through import VenueThrough

T = TypeVar("T")

STATE = system_state(BreakerRecord)
STATE_KEY = "breaker"

KEEP_MS = 10_000
"""Counts and gauges are written so often; a change of state at once."""

RETRY_MS = 1_000
"""What could not be written is tried again after this."""

_GAUGE = {BreakerState.CLOSED: 0.0, BreakerState.HALF: 1.0, BreakerState.OPEN: 2.0}


def policy_of(variables: S4Settings, clock: Clock) -> Policy:
    """Limits on our own work: a market that runs faster than the wall stretches them."""
    return Policy(
        window_ms=clock.work_ms(variables.cb_error_rate_window),
        error_ratio_max=variables.cb_error_rate_thresh,
        calls_min=variables.cb_calls_min,
        open_ms=clock.work_ms(variables.cb_open_ms),
        probes=variables.cb_probes,
    )


@dataclass(slots=True)
class _Rate:
    """Errors of one instrument since `window_start_ms`."""

    window_start_ms: int
    limited: int = 0
    failed: int = 0
    submit_refused: int = 0
    submit_failed: int = 0

    def fields(self) -> dict[str, str]:
        return {
            "429": str(self.limited),
            "5xx": str(self.failed),
            "submit_err_4xx": str(self.submit_refused),
            "submit_err_5xx": str(self.submit_failed),
            "window_start_ms": str(self.window_start_ms),
        }


@dataclass(slots=True, kw_only=True)
class BreakerKeeper:
    """`load` before anything is sent, `watch` in the background."""

    env: str
    breaker: Breaker
    documents: Documents
    snapshots: Snapshots
    metrics: Metrics
    teller: Teller
    clock: Clock
    _kept: Standing | None = None
    """As it is in the document; None: nothing was read yet."""
    _shown: Standing | None = None
    """As it is in the key, and as people were told."""
    _rates: dict[InstrumentKey, _Rate] = field(default_factory=dict)
    _stale: dict[InstrumentKey, None] = field(default_factory=dict)
    """Whose counts are not in their key yet, oldest first."""
    _changed: Changed = field(default_factory=Changed)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def state(self) -> BreakerState:
        """For GET /health."""
        self.breaker.advance(self.clock.now_ms())
        return self.breaker.standing.state

    def forbids(self) -> bool:
        """Whether a new entry must not leave now. Asked before each send; exits, stops and cancels never ask."""
        return self.breaker.forbids(self.clock.now_ms())

    async def load(self) -> None:
        """As it was before the restart.

        Raises:
            DependencyDown: that cannot be learned; then nothing new may be entered.
        """
        record = await self.documents.get(STATE, STATE_KEY)
        if record is not None:
            self.breaker.restore(_standing(record))
        self._kept = self.breaker.standing
        await self.keep()

    def counted(self, token: int, key: InstrumentKey | None, error: BaseException | None, *, submit: bool) -> None:
        """A call has ended. `key` None: it was about no instrument in particular."""
        before, now_ms = self.breaker.standing, self.clock.now_ms()
        failed = None if error is not None and not isinstance(error, Exception) else _is_failure(error)
        self.breaker.end(now_ms, token, failed=failed, submit=submit, refused=isinstance(error, Refused))
        if key is not None and error is not None and failed is not None:
            self._rate(key, error, now_ms, submit=submit)
        if self.breaker.standing != before:
            self._changed.tell()

    def _rate(self, key: InstrumentKey, error: BaseException, now_ms: int, *, submit: bool) -> None:
        window_ms = self.breaker.policy.window_ms
        rate = self._rates.get(key)
        if rate is None or now_ms - rate.window_start_ms >= window_ms:
            rate = self._rates[key] = _Rate(now_ms - now_ms % window_ms)
        if isinstance(error, RateLimited):
            rate.limited += 1
        elif isinstance(error, VenueUnavailable | OutcomeUnknown):
            rate.failed += 1
            rate.submit_failed += submit
        elif isinstance(error, Refused):
            rate.submit_refused += submit
        self._stale[key] = None

    async def watch(self) -> None:
        """Write what changed, until canceled."""
        while True:
            pause_ms = KEEP_MS
            try:
                await self.keep()
            except DependencyDown:
                pause_ms = RETRY_MS
            due_ms = self.clock.now_ms() + self.clock.work_ms(pause_ms)
            next_ms = self.breaker.next_ms()
            if self._kept == self.breaker.standing or pause_ms == RETRY_MS:
                await self._changed.wait_until(self.clock, due_ms if next_ms is None else min(due_ms, next_ms))

    async def keep(self) -> None:
        """Document first, then key and gauges, then people: a key may be lost, and people may be told twice.

        Raises:
            DependencyDown: what is not written yet is written by the next call.
        """
        async with self._writing:
            await self._keep()

    async def _keep(self) -> None:
        now_ms = self.clock.now_ms()
        self.breaker.advance(now_ms)
        stands, tally = self.breaker.standing, self.breaker.tally(now_ms)
        self.metrics.gauge("cb_state", _GAUGE[stands.state])
        self.metrics.gauge("order_submit_error_rate", tally.submit_error_ratio)
        if stands != self._kept:
            puts: list[Put[Any]] = [Put(STATE, _record(stands, tally.error_ratio, now_ms))]
            opened = self._opened(stands, tally.error_ratio)
            if opened is not None:
                puts.insert(0, Put(STRATEGY_EVENTS, opened))
            await self.documents.put_many(puts)
            self._kept = stands
            if opened is not None:
                await self.teller.show(opened)
        if stands != self._shown:
            await self.snapshots.set_hash(
                ROUTER_BREAKER.name(self.env),
                {
                    "state": stands.state.value,
                    "opened_at": str(stands.opened_at_ms or 0),
                    "error_rate": f"{tally.error_ratio:.4f}",
                },
            )
            if stands.state is BreakerState.OPEN:
                await self._alert(stands)
            self._shown = stands
        assert ROUTER_RATE.ttl_s is not None
        for key in tuple(self._stale):
            fields = self._rates[key].fields()
            self._stale.pop(key)
            try:
                await self.snapshots.set_hash(ROUTER_RATE.name(self.env, key), fields, ttl_ms=ROUTER_RATE.ttl_s * 1_000)
            except DependencyDown:
                self._stale[key] = None
                raise

    def _opened(self, stands: Standing, error_ratio: float) -> StrategyEvent | None:
        """Once for each time that it opened: dated by that, so that writing it again changes nothing."""
        if stands.state is not BreakerState.OPEN:
            return None
        return self.teller.record(
            EventKind.CIRCUIT_BREAK,
            None,
            STATE_KEY,
            at_ms=stands.opened_at_ms,
            by=stands.by,
            why=stands.reason,
            error_ratio=error_ratio,
        )

    async def _alert(self, stands: Standing) -> None:
        lasts = "until a person closes it" if stands.by_hand else "for some minutes, then it tries again"
        await self.teller.alert(
            AlertCode.CB_OPEN,
            Severity.ERROR,
            f"no new entries {lasts}: the breaker was opened by {stands.by}: {stands.reason}."
            " Exits, stops and cancels pass",
            by=stands.by,
        )

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                method="GET",
                path="/breaker",
                handle=self._present,
                answer=BreakerAnswer,
                summary="How the breaker stands.",
            ),
            Route(
                method="POST",
                path="/breaker/open",
                handle=self._open,
                body=BreakerRequest,
                answer=BreakerAnswer,
                summary="Hold new entries back until a person closes the breaker; exits, stops and cancels pass.",
                errors=(503,),
            ),
            Route(
                method="POST",
                path="/breaker/close",
                handle=self._close,
                body=BreakerRequest,
                answer=BreakerAnswer,
                summary="Let new entries pass again.",
                errors=(409, 503),
            ),
        )

    async def _present(self, request: Request) -> Reply:
        return Reply(self._answer())

    async def _open(self, request: Request) -> Reply:
        wanted: BreakerRequest = request.body
        before, actor = self._answer(), request.actor or "s4"
        # At once, whatever the stores say: holding back is safe. What cannot be written is written later.
        self.breaker.open_by_hand(self.clock.now_ms(), actor, wanted.reason)
        self._changed.tell()
        await self.keep()
        await self.teller.audit(actor, "BREAKER_OPEN", STATE_KEY, before.to_dict(), self._answer().to_dict())
        return Reply(self._answer())

    async def _close(self, request: Request) -> Reply:
        wanted: BreakerRequest = request.body
        before, stood, actor = self._answer(), self.breaker.standing, request.actor or "s4"
        if stood.state is BreakerState.CLOSED:
            raise Problem(409, "breaker-closed", "the breaker is closed; new entries pass as far as it is concerned")
        # On file first: who reads that it closed must not find it open after a restart, nor entries out before.
        async with self._writing:
            now_ms = self.clock.now_ms()
            closed = Standing()
            await self.documents.put(STATE, _record(closed, self.breaker.tally(now_ms).error_ratio, now_ms))
            self._kept = closed
            # What was opened anew meanwhile is not what this person has looked at.
            if self.breaker.standing.opened_at_ms == stood.opened_at_ms:
                self.breaker.close_by_hand()
        self._changed.tell()
        await self.keep()
        after = {**self._answer().to_dict(), "reason": wanted.reason}
        await self.teller.audit(actor, "BREAKER_CLOSE", STATE_KEY, before.to_dict(), after)
        return Reply(self._answer())

    def _answer(self) -> BreakerAnswer:
        now_ms = self.clock.now_ms()
        self.breaker.advance(now_ms)
        stands, tally = self.breaker.standing, self.breaker.tally(now_ms)
        closed = stands.state is BreakerState.CLOSED
        return BreakerAnswer(
            state=stands.state,
            by=None if closed else stands.by,
            reason=None if closed else stands.reason,
            opened_at=stands.opened_at_ms,
            until=self.breaker.next_ms(),
            error_rate=tally.error_ratio,
            calls=tally.calls,
        )


class CountedVenue(VenueThrough):
    """The exchange with every call of ours about orders and money counted. Prices and times are not: they say nothing
    of whether orders are served, and would thin the share of errors out. Nor is the dead-man switch, which is beside
    all orders: while it alone fails, and is tried again and again, entries go on."""

    def __init__(self, inner: Venue, keeper: BreakerKeeper) -> None:
        super().__init__(inner)
        self._keeper = keeper

    async def _counted(self, key: InstrumentKey | None, call: Awaitable[T], *, submit: bool = False) -> T:
        keeper = self._keeper
        token = keeper.breaker.begin(keeper.clock.now_ms())
        try:
            answer = await call
        except BaseException as error:
            keeper.counted(token, key, error, submit=submit)
            raise
        keeper.counted(token, key, None, submit=submit)
        return answer

    async def balances(self) -> Sequence[Balance]:
        return await self._counted(None, super().balances())

    async def positions(self) -> Sequence[VenuePosition]:
        return await self._counted(None, super().positions())

    async def open_orders(self, keys: Sequence[InstrumentKey] | None = None) -> Sequence[VenueOrder]:
        return await self._counted(keys[0] if keys and len(keys) == 1 else None, super().open_orders(keys))

    async def order(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> VenueOrder:
        return await self._counted(key, super().order(key, client_order_id, conditional=conditional))

    async def fills(self, key: InstrumentKey, since_ms: int) -> Sequence[VenueFill]:
        return await self._counted(key, super().fills(key, since_ms))

    async def income(self, since_ms: int) -> Sequence[Income]:
        return await self._counted(None, super().income(since_ms))

    async def place(self, order: NewOrder) -> VenueOrder:
        return await self._counted(order.key, super().place(order), submit=True)

    async def place_oco(self, oco: NewOco) -> Sequence[VenueOrder]:
        return await self._counted(InstrumentKey(Market.SPOT, oco.symbol), super().place_oco(oco), submit=True)

    async def cancel(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> VenueOrder:
        return await self._counted(key, super().cancel(key, client_order_id, conditional=conditional))

    async def ensure_isolated(self, symbol: str, leverage: int) -> None:
        await self._counted(InstrumentKey(Market.FUT, symbol), super().ensure_isolated(symbol, leverage))

    async def transfer(self, source: Market, target: Market, amount_usdt: Decimal) -> int:
        return await self._counted(None, super().transfer(source, target, amount_usdt))


def _is_failure(error: BaseException | None) -> bool | None:
    """Whether the exchange failed. None: something of ours did, which tells nothing of the exchange."""
    if error is None or isinstance(error, Refused):
        return False
    return True if isinstance(error, VenueUnavailable | OutcomeUnknown) else None


def _standing(record: BreakerRecord) -> Standing:
    return Standing(state=record.state, opened_at_ms=record.opened_at, by=record.by, reason=record.reason)


def _record(stands: Standing, error_rate: float, now_ms: int) -> BreakerRecord:
    return BreakerRecord(
        state=stands.state,
        opened_at=stands.opened_at_ms,
        by=stands.by,
        reason=stands.reason,
        error_rate=error_rate,
        updated_at=now_ms,
    )
