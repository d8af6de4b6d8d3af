"""Accepting an intent, by HTTP or by stream: once, on file, and only if it may be.

Telling the same intent again answers how it stands; another body under its id, or its order id under another intent, is
a conflict. What is refused here leaves no trace at the exchange.
"""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from chimera.contracts.collections import INTENTS, ORDERS
from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import AnswerStatus, EventKind, IntentState, Market, OrderStatus, Result
from chimera.contracts.http import IntentAnswer, OrderAnswer
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import CFG_ACTIVE_REV
from chimera.contracts.messages import OrderCmd, OrderResult
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.machine.bracket import VENUE_UNAVAILABLE
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Query
from chimera.ports.state import Snapshots
from chimera.ports.venue import Venue, VenueError
from chimera.runtime.restraints import Restraints
from chimera.runtime.service import Problem
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import DeadlinePassed, until
from chimera.services.s04_router.approvals import Approvals
from chimera.services.s04_router.breaker import BreakerKeeper
from chimera.services.s04_router.handlers.answer import answer_of, intent_answer_of
from chimera.services.s04_router.handlers.claims import Claims
from chimera.services.s04_router.handlers.drive import Drive
from chimera.services.s04_router.intents import Intents
from chimera.services.s04_router.ledger import Ledger
from chimera.services.s04_router.market import Market as MarketView
from chimera.services.s04_router.protection import check_protection
from chimera.services.s04_router.results import Results
from chimera.services.s04_router.rulebook import Rulebook
from chimera.services.s04_router.rules import (
    TRADING,
    check_entry_allowed,
    check_entry_sense,
    check_grid,
    check_reduces,
    check_shape,
    is_futures_exit,
    is_late,
    legs_of,
    now_of,
    off_grid,
)

ASKED_WITHIN_MS = 2_000
"""Of our own work. A question that got lost is given up by the connection much later."""

log = structlog.get_logger(__name__)


class Expired(Exception):
    """A new entry that arrived too late: nothing is written and nothing is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    env: str
    rulebook: Rulebook
    documents: Documents
    results: Results
    intents: Intents
    ledger: Ledger
    venue: Venue
    market: MarketView
    drive: Drive
    restraints: Restraints
    breaker: BreakerKeeper
    snapshots: Snapshots
    clock: Clock
    teller: Teller
    approvals: Approvals
    sync_wait_ms: int
    _entering: dict[InstrumentKey, asyncio.Lock] = field(default_factory=dict)
    """One new entry at a time is looked at and filed: two that come together would both find room."""

    async def submit(self, intent: OrderIntent, *, wait_ms: int | None = None) -> OrderAnswer:
        """POST /orders: accept, then wait a little for the end, `wait_ms` of our own work where the caller says.

        Raises:
            Problem: 400, 409 or 422, naming what is wrong and what would be right; 503, the exchange took nothing.
        """
        arrived_ms = self.clock.now_ms()
        try:
            record = await self._accept(intent)
        except Expired:
            return OrderAnswer(
                result=Result.FAIL,
                status=AnswerStatus.REJECTED,
                intent_id=intent.intent_id,
                order_id=intent.client_order_id,
                message="EXPIRED",
            )
        deadline_ms = arrived_ms + self.clock.work_ms(self.sync_wait_ms if wait_ms is None else wait_ms)
        if deadline_ms > arrived_ms:
            record = await self._until_final(record, deadline_ms)
        if record.state is IntentState.FAILED and record.reason == VENUE_UNAVAILABLE:
            raise Problem(
                503,
                "exchange-unreachable",
                f"the exchange did not serve us; nothing of {intent.intent_id!r} was sent or will be."
                " Order again under another intent_id.",
                intent_id=intent.intent_id,
            )
        return await answer_of(record, self.ledger)

    async def on_cmd(self, cmd: OrderCmd) -> None:
        """`ord:cmd`: the second road. A refusal is told as a result, since nobody waits for an answer."""
        intent = OrderIntent.from_cmd(cmd)
        try:
            await self._accept(intent)
        except Expired:
            await self._tell_refused(intent, "EXPIRED")
        except Problem as problem:
            log.info("a command was refused", intent=intent.intent_id, why=problem.detail)
            if problem.kind != "intent-conflict":
                await self._tell_refused(intent, f"{problem.kind}: {problem.detail}")

    async def present(self, intent_id: str) -> IntentAnswer:
        """GET /orders/{intent_id}."""
        record = await self.intents.get(intent_id)
        if record is None:
            raise Problem(404, "unknown-intent", f"no intent {intent_id!r} was ever accepted")
        return await intent_answer_of(record, self.ledger)

    async def _accept(self, intent: OrderIntent) -> IntentRecord:
        known = await self.intents.get(intent.intent_id)
        if known is not None:
            return self._same(known, intent)
        if not intent.purpose.is_new_entry:
            return await self._file(intent)
        async with self._entering.setdefault(intent.instrument, asyncio.Lock()):
            return await self._file(intent)

    async def _file(self, intent: OrderIntent) -> IntentRecord:
        try:
            await self._check(intent)
        except (Problem, Expired):
            # While we looked, the other road may have brought it: what is accepted is not refused any more.
            known = await self.intents.get(intent.intent_id)
            if known is None:
                raise
            return self._same(known, intent)
        intent = await self._with_revision(intent)
        try:
            record = await self.intents.accept(intent, legs_of(intent))
        except DuplicateKey:
            return await self._lost_race(intent)
        # First of all: an intent on file that nobody drives would keep its instrument waiting for ever.
        self.drive.begin(record)
        await self.tell_accepted(record)
        return record

    async def tell_accepted(self, record: IntentRecord) -> None:
        """By the time that is on file: told again it is the same."""
        await self.teller.event(
            EventKind.ROUTER_ORDER_ACCEPTED,
            record.intent.instrument,
            record.intent_id,
            at_ms=record.created_at,
            purpose=record.purpose.value,
        )

    async def _check(self, intent: OrderIntent) -> None:
        instrument = await self._rules_for(intent)
        check_shape(intent, instrument)
        await self._check_grid(intent, instrument)
        mid = await self.market.mid(intent.instrument)
        if intent.purpose.is_new_entry:
            check_entry_sense(intent, instrument, intent.entry_ref_price or mid)
            standing = await self.restraints.standing()
            check_entry_allowed(now_of(standing, intent.instrument, breaker_open=self.breaker.forbids()))
            if is_late(intent, self.clock):
                raise Expired
        holder = await self.documents.get(ORDERS, intent.client_order_id)
        if holder is not None and holder.intent_id != intent.intent_id:
            raise Problem(
                409, "client-order-id-taken", f"client_order_id {intent.client_order_id!r} belongs to another intent"
            )
        claims = Claims(self.documents)
        if intent.purpose.is_new_entry:
            leverage_max = self.drive.settings.leverage_max
            check_protection(intent, instrument, mid or intent.entry_ref_price, leverage_max=leverage_max)
            await claims.check_free(intent)
            # The last of all checks, for it may use a token up.
            await self.approvals.check(intent, mid or intent.entry_ref_price)
            return
        if intent.market is Market.FUT:
            await self._check_reduces(intent)
        # The last of all checks: what the exchange was asked may have taken long, and the trade may have ended since.
        await claims.check_parent(intent)

    async def _rules_for(self, intent: OrderIntent) -> Instrument:
        """As we know them, asked for anew before they speak against it: a halt ends and a grid becomes finer without
        anybody telling."""
        instrument = self.rulebook.instruments.get(intent.instrument)
        if instrument is None:
            raise Problem(400, "unknown-symbol", f"symbol {intent.symbol!r} is not traded in {intent.market}")
        if instrument.status != TRADING or off_grid(intent, instrument) is not None:
            await self.rulebook.renew()
        return self.rulebook.instruments[intent.instrument]

    async def _check_grid(self, intent: OrderIntent, instrument: Instrument) -> None:
        """S5 and S6 hear of new rules later than we do. What they order by the old ones to close or cover a position is
        made to fit where it is sent; refused, it would leave the position naked until they heard."""
        if off_grid(intent, instrument) is None:
            return
        if is_futures_exit(intent) and self.rulebook.changed_lately(intent.instrument):
            return
        check_grid(intent, instrument, dust=await self._is_of_dust(intent, instrument))

    async def _is_of_dust(self, intent: OrderIntent, instrument: Instrument) -> bool:
        """Whether a futures exit is off the grid because the position is: the exchange made its steps coarser."""
        if not is_futures_exit(intent):
            return False
        if instrument.qty_on_step(intent.qty) and intent.qty >= instrument.step_size:
            return False
        try:
            positions = await self.venue.positions()
        except VenueError:
            return True  # an exit never waits for our question
        held = next((each.qty for each in positions if each.symbol == intent.symbol), Decimal(0))
        return not instrument.qty_on_step(abs(held))

    async def _check_reduces(self, intent: OrderIntent) -> None:
        """An exchange that cannot be asked decides by itself: an exit does not wait long for our question."""
        try:
            deadline_ms = self.clock.now_ms() + self.clock.work_ms(ASKED_WITHIN_MS)
            positions = await until(self.clock, deadline_ms, self.venue.positions())
        except (VenueError, DeadlinePassed) as error:
            log.warning("cannot ask for positions", intent=intent.intent_id, why=str(error))
            return
        check_reduces(intent, positions)

    async def _with_revision(self, intent: OrderIntent) -> OrderIntent:
        """An order that names no config revision was given under the active one."""
        if intent.risk.rcu_rev is not None:
            return intent
        rev = await self.snapshots.get(CFG_ACTIVE_REV.name(self.env))
        return intent.but(risk=intent.risk.but(rcu_rev=int(rev))) if rev is not None else intent

    async def _lost_race(self, intent: OrderIntent) -> IntentRecord:
        """Somebody wrote the same intent, or the same order id, between our look and our write."""
        known = await self.intents.get(intent.intent_id)
        if known is not None:
            return self._same(known, intent)
        holders = await self.documents.find(
            Query(collection=INTENTS, index="by_client", equal=(("intent.client_order_id", intent.client_order_id),))
        )
        raise Problem(
            409,
            "client-order-id-taken",
            f"client_order_id {intent.client_order_id!r} belongs to intent {holders[0].intent_id if holders else '?'}",
        )

    def _same(self, known: IntentRecord, intent: OrderIntent) -> IntentRecord:
        if known.body_hash != intent.body_hash():
            raise Problem(
                409,
                "intent-conflict",
                f"intent {intent.intent_id!r} was accepted with another body; use an id of its own for another order",
            )
        if not known.state.is_final:
            # Written although the store could not say so: nobody drives it. One that is driven is left alone.
            self.drive.take_up(known)
        return known

    async def _until_final(self, record: IntentRecord, deadline_ms: int) -> IntentRecord:
        changed = self.intents.changed(record.intent_id)
        present = record

        async def look() -> bool:
            nonlocal present
            present = await self.intents.get(record.intent_id) or present
            return present.state.is_final

        while not await look():
            if not await changed.wait_until(self.clock, deadline_ms):
                await look()
                break
        self.intents.forget(record.intent_id)
        return present

    async def _tell_refused(self, intent: OrderIntent, why: str) -> None:
        await self.results.tell(
            OrderResult(
                cmd_id=intent.intent_id,
                intent_id=intent.intent_id,
                client_order_id=intent.client_order_id,
                market=intent.market,
                symbol=intent.symbol,
                status=OrderStatus.REJECTED,
                purpose=intent.purpose,
                signal_id=intent.signal_id,
                parent_id=intent.parent_id,
                error=why,
                reason=why,
                final=True,
                ts=self.clock.now_ms(),
            ),
        )
