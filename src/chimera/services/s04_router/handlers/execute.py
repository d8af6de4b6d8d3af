"""Driving one accepted intent to its end.

Owns the order of things: instrument made ready, order on file, order sent, its fills on file, its protection listed,
the intent final. Each step begins by looking at what is on file, so that a restart walks the same way.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from chimera.contracts.collections import INTENTS
from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import EventKind, IntentState, Market, OrderStatus, OrderType, Severity, TimeInForce
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.orders import CONDITIONAL_FUT, NewOrder
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.documents import Put
from chimera.ports.errors import DependencyDown
from chimera.ports.randomness import Randomness
from chimera.ports.venue import OutcomeUnknown, Refused, UnknownOrder, Venue, VenueUnavailable
from chimera.runtime.restraints import Restraints
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.services.s04_router.handlers.protect import Protect
from chimera.services.s04_router.handlers.send import Landing, Send, within_ms
from chimera.services.s04_router.handlers.spot_exit import SpotExit
from chimera.services.s04_router.intents import VENUE_UNAVAILABLE, Intents
from chimera.services.s04_router.ledger import Ledger, is_conditional, is_listed
from chimera.services.s04_router.market import Market as MarketView
from chimera.services.s04_router.rules import LastGate, forbidden, is_late, now_of
from chimera.services.s04_router.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Execute:
    settings: Settings
    instruments: dict[InstrumentKey, Instrument]
    intents: Intents
    ledger: Ledger
    send: Send
    protect: Protect
    spot_exit: SpotExit
    venue: Venue
    market: MarketView
    clock: Clock
    randomness: Randomness
    teller: Teller
    last_gate: LastGate
    restraints: Restraints
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _isolated: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By symbol: the leverage that was set, and until when that is believed."""

    def begin(self, record: IntentRecord) -> None:
        """Drive the intent in a task of its own; one that is being driven already is left alone."""
        if record.intent_id in self._running:
            return
        task = asyncio.get_running_loop().create_task(self._drive(record), name=f"s4!{record.intent_id}")
        self._running[record.intent_id] = task
        task.add_done_callback(lambda _: self._running.pop(record.intent_id, None))

    async def stop(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drive(self, record: IntentRecord) -> None:
        """Try until the intent is final. What is on file decides where a new try begins."""
        backoff = Backoff(
            self.clock, self.randomness.fork(f"drive/{record.intent_id}"), max_ms=self.settings.retry_max_ms
        )
        told = False
        while True:
            try:
                await self._step_through(record)
                return
            except DependencyDown as down:
                log.warning("an intent waits", intent=record.intent_id, why=str(down))
                told = told or await self._tell_uncovered(record, str(down))
            except UnknownOrder as unknown:
                # Taken, answered for, and now unknown: only the reconciler's wider view can judge that.
                log.error("the exchange lost an order", intent=record.intent_id, why=str(unknown))
            except Exception:
                log.exception("driving an intent failed and is tried again", intent=record.intent_id)
            await backoff.wait()
            record = await self._reload(record)

    async def _tell_uncovered(self, record: IntentRecord, why: str) -> bool:
        """An entry that was sent and cannot be led on: what filled of it may have no stop, and a person must know."""
        sent = self.ledger.present(record.intent.client_order_id) is not None
        if record.market is not Market.FUT or not record.purpose.is_new_entry or not sent:
            return False
        with suppress(DependencyDown):
            await self.teller.alert(
                AlertCode.STOP_NOT_PLACED,
                Severity.FATAL,
                f"{record.intent.instrument}: what filled of {record.intent_id} may have no stop yet: {why}",
                intent_id=record.intent_id,
                symbol=record.symbol,
            )
            return True
        return False

    async def _reload(self, record: IntentRecord) -> IntentRecord:
        try:
            return await self.intents.get(record.intent_id) or record
        except DependencyDown:
            return record

    async def _step_through(self, record: IntentRecord) -> None:
        if record.state.is_final:
            return
        order = await self.ledger.order(record.intent.client_order_id)
        if order is None:
            record, order = await self._first_send(record)
        elif not order.status.is_final and not (self._rests(record) and is_listed(order)):
            order = await self._settle(record, order)
        if order is None or record.state.is_final:
            return
        await self._after(record, order)

    async def _first_send(self, record: IntentRecord) -> tuple[IntentRecord, Order | None]:
        """Put the order on file and send it, if it may still be sent."""
        intent = record.intent
        if record.purpose.is_new_entry:
            why = await self._entry_stopped(record)
            if why is not None:
                return await self.intents.advance(record, IntentState.REJECTED, reason=why), None
            if intent.market is Market.FUT:
                try:
                    why = await self._make_isolated(intent.symbol, intent.leverage or self.settings.leverage_max)
                except VenueUnavailable:
                    return await self.intents.advance(record, IntentState.FAILED, reason=VENUE_UNAVAILABLE), None
                if why is not None:
                    return await self.intents.advance(record, IntentState.REJECTED, reason=why), None
        new = self._new_order(record)
        record = record.but(state=IntentState.WORKING, updated_at=self.clock.now_ms())
        await self.ledger.open(
            new,
            sent=await self.market.seen(new.key),
            purpose=record.purpose,
            intent_id=record.intent_id,
            parent_id=intent.parent_id,
            rev=intent.risk.rcu_rev or 0,
            together_with=Put(INTENTS, record),
        )
        sending = await self.send.place(new)
        if sending.landing is Landing.UNAVAILABLE:
            # A new entry is not tried again: the market it was meant for is gone.
            await self.ledger.lose(new.client_order_id, VENUE_UNAVAILABLE)
            return await self.intents.advance(record, IntentState.FAILED, reason=VENUE_UNAVAILABLE), None
        if sending.landing is Landing.REFUSED:
            reason = str(sending.refusal)
            await self.teller.event(EventKind.ROUTER_ORDER_REJECTED, new.key, record.intent_id, why=reason)
            return await self.intents.advance(record, IntentState.REJECTED, reason=reason), None
        if self._rests(record):
            listed_ms = within_ms(self.clock, self.settings.listed_within_ms)
            for _ in range(self.settings.stop_attempts):
                if await self.send.until_listed(new.key, new.client_order_id, listed_ms):
                    break
            else:
                await self.ledger.lose(new.client_order_id, "NOT_LISTED")
                return await self.intents.advance(record, IntentState.FAILED, reason="NOT_LISTED"), None
            return record, await self.ledger.order(new.client_order_id)
        return record, await self.send.until_final(new.key, new.client_order_id)

    async def _entry_stopped(self, record: IntentRecord) -> str | None:
        """The last look before an entry leaves: a dependency that was down may have held it up."""
        if is_late(record.intent, self.clock):
            return "EXPIRED"
        reason = forbidden(now_of(await self.restraints.standing(), record.intent.instrument))
        if reason is not None:
            return reason[0].upper().replace("-", "_")
        mid = await self.market.mid(record.intent.instrument)
        if mid is None:
            return "NO_MARKET_DATA"
        intent = record.intent
        return self.last_gate.refuses(self.clock.now_ms(), intent.qty, mid, intent.price or intent.entry_ref_price)

    async def _make_isolated(self, symbol: str, leverage: int) -> str | None:
        """Why not, or None.

        Raises:
            VenueUnavailable: it could not be asked for.
        """
        known, until_ms = self._isolated.get(symbol, (0, 0))
        if known == leverage and self.clock.now_ms() < until_ms:
            return None
        try:
            await self.venue.ensure_isolated(symbol, leverage)
        except (Refused, OutcomeUnknown) as error:
            return f"MARGIN_MODE {error}"
        until_ms = self.clock.now_ms() + self.clock.work_ms(self.settings.isolated_ms)
        self._isolated[symbol] = (leverage, until_ms)
        return None

    def _qty(self, intent: OrderIntent) -> Decimal:
        """Dust that the exchange's own change of rules left is covered and closed whole: it cuts to the position."""
        if intent.market is Market.SPOT or not intent.reduce_only:
            return intent.qty
        return self.instruments[intent.instrument].ceil_qty(intent.qty)

    def _new_order(self, record: IntentRecord) -> NewOrder:
        intent = record.intent
        stop_price = None
        if self._rests(record):
            stop_price = intent.price
        return NewOrder(
            client_order_id=intent.client_order_id,
            market=intent.market,
            symbol=intent.symbol,
            side=intent.side,
            # Maker and slices come with the execution capability; until then an entry takes.
            type=intent.type if self._rests(record) else OrderType.MARKET,
            qty=self._qty(intent),
            stop_price=stop_price,
            time_in_force=TimeInForce.GTC,
            reduce_only=intent.market is Market.FUT and not record.purpose.is_new_entry,
            working_type=self.settings.working_type,
        )

    def _rests(self, record: IntentRecord) -> bool:
        """Stops and targets ordered by S6 or S5 are done when they are listed; everything else when it has filled."""
        return record.market is Market.FUT and record.intent.type in CONDITIONAL_FUT

    async def _settle(self, record: IntentRecord, order: Order) -> Order | None:
        """An order on file whose end is not: ask. One that never arrived is not sent again."""
        sending = await self.send.settle_unknown(
            NewOrder(
                client_order_id=order.order_id,
                market=order.market,
                symbol=order.symbol,
                side=order.side,
                type=order.type,
                qty=order.quantity or Decimal(0),
                stop_price=order.stop_price,
            )
        )
        if sending.landing is not Landing.TAKEN:
            return await self.ledger.lose(order.order_id, "NOT_ARRIVED")
        if self._rests(record):
            return await self.ledger.order(order.order_id)
        return await self.send.until_final(record.intent.instrument, order.order_id)

    async def _after(self, record: IntentRecord, order: Order) -> None:
        filled_qty = order.filled_qty or Decimal(0)
        if self._rests(record):
            await self._after_resting(record, order)
            return
        if filled_qty == 0:
            state = IntentState.REJECTED if order.status is OrderStatus.REJECTED else IntentState.CANCELED
            await self.intents.advance(record, state, reason=order.reason or order.status.value)
            return
        if record.state is not IntentState.PROTECTING:
            record = await self.intents.advance(
                record, IntentState.PROTECTING, filled_qty=filled_qty, avg_price=order.avg_price
            )
        why = None
        if record.purpose.is_new_entry:
            why = await self._cover(record, order)
        await self.teller.event(
            EventKind.ROUTER_ORDER_EXECUTED,
            record.intent.instrument,
            record.intent_id,
            qty=float(filled_qty),
            avg_price=float(order.avg_price or 0),
            purpose=record.purpose.value,
            why=why,
        )
        await self.intents.advance(record, IntentState.DONE, reason=why)

    async def _cover(self, record: IntentRecord, order: Order) -> str | None:
        if record.market is Market.SPOT:
            return await self.spot_exit.arm(record, order)
        return await self.protect.futures(record, order)

    async def _after_resting(self, record: IntentRecord, order: Order) -> None:
        if order.status is OrderStatus.REJECTED:
            await self.intents.advance(record, IntentState.REJECTED, reason=order.reason)
        elif order.status is OrderStatus.CANCELED and not order.filled_qty:
            await self.intents.advance(record, IntentState.CANCELED, reason=order.reason)
        elif is_conditional(order):
            await self.intents.advance(
                record, IntentState.DONE, filled_qty=order.filled_qty or Decimal(0), avg_price=order.avg_price
            )

    async def resume(self, record: IntentRecord) -> None:
        """After a restart: no entry is sent any more, and what filled is protected.

        An order that never left (or never arrived) ends its intent; stops and targets are ordered anew by whoever
        wanted them, if they are still wanted.
        """
        order = await self.ledger.order(record.intent.client_order_id)
        if order is None:
            await self.intents.advance(record, IntentState.CANCELED, reason="RESTART")
            return
        self.begin(record)
