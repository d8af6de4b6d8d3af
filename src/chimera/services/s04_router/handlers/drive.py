"""Leading accepted intents to their end: one task an intent, which asks its machine what comes next and does that.

Owns the order of things: what the machine wants is on file before it is sent, calls run beside each other, whatever
changes is looked at again. A restart walks the same way from what is on file.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import structlog

from chimera.contracts.collections import INTENTS
from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import EventKind, ExecStyle, IntentState, LegRole, Market, Purpose, Severity
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import ENTRY_TTL_MS
from chimera.domain.exact import average
from chimera.domain.execution.machine.flow import (
    RESTART,
    WORKING,
    ArmPair,
    Ask,
    Call,
    Cancel,
    End,
    Flow,
    Free,
    Place,
    Rearm,
    Seen,
    Settle,
    Step,
    is_shown,
)
from chimera.domain.execution.machine.lead import lead
from chimera.domain.execution.orders import NewOrder
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.documents import Put
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.randomness import Randomness
from chimera.ports.venue import UnknownOrder
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import Changed
from chimera.services.s04_router.backlog import Backlog
from chimera.services.s04_router.handlers.calls import Calls
from chimera.services.s04_router.handlers.margin import Margin
from chimera.services.s04_router.handlers.outlook import Outlook
from chimera.services.s04_router.handlers.planning import Planning
from chimera.services.s04_router.handlers.spot_exit import SpotExit
from chimera.services.s04_router.intents import Intents
from chimera.services.s04_router.ledger import Filing, Ledger, Sent
from chimera.services.s04_router.market import Market as MarketView
from chimera.services.s04_router.measures import Measures
from chimera.services.s04_router.runs import Run
from chimera.services.s04_router.settings import Settings

ASK_WORK_MS = 200
"""Of our own work: no resting order is looked up more often, however fast the market runs."""
AGAIN = "AGAIN"
"""Instead of a reason: nothing is in the way, and the machine is to be asked anew."""
ENDED_KEPT = 1_000
IDLE_MS = 60_000
"""Of our own work: an intent that waits for nothing in particular is looked at this often."""

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Drive:
    settings: Settings
    instruments: dict[InstrumentKey, Instrument]
    intents: Intents
    ledger: Ledger
    calls: Calls
    planning: Planning
    outlook: Outlook
    spot_exit: SpotExit
    measures: Measures
    backlog: Backlog
    margin: Margin
    market: MarketView
    clock: Clock
    randomness: Randomness
    metrics: Metrics
    teller: Teller
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _runs: dict[str, Run] = field(default_factory=dict)
    _changed: dict[str, Changed] = field(default_factory=dict)
    _ended: dict[str, None] = field(default_factory=dict)
    """Intents that this process has led to their end lately, oldest first."""
    _calling: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self, record: IntentRecord, *, restored: bool = False) -> None:
        """Lead the intent in a task of its own; one that is being led already is left alone. `restored`: by what is on
        file of an earlier process."""
        if record.intent_id in self._running or record.intent_id in self._ended:
            # What is read slowly may be older than the end that it does not know of.
            return
        run = Run(record=record, execution=record.execution, restored=restored)
        if restored and (record.purpose.is_new_entry or _rests(record)):
            run.stop_wanted = RESTART
        changed = self._changed[record.intent_id] = Changed()
        self._runs[record.intent_id] = run

        def tell() -> None:
            run.dirty = True
            changed.tell()

        def tell_of_the_pair() -> None:
            run.others = None
            tell()

        run.wake = tell
        self.ledger.watch(record.intent_id, tell)
        run.unwatch.append((record.intent_id, tell))
        if record.purpose is Purpose.GUARD and record.intent.parent_id is not None:
            self.ledger.watch(record.intent.parent_id, tell_of_the_pair)
            run.unwatch.append((record.intent.parent_id, tell_of_the_pair))
        task = asyncio.get_running_loop().create_task(self._drive(run, changed), name=f"s4!{record.intent_id}")
        self._running[record.intent_id] = task
        task.add_done_callback(lambda _: self._forget(record.intent_id))
        if record.purpose is Purpose.EXIT and record.intent.parent_id is not None:
            # What is being left is not entered any further.
            self.halt(record.intent.parent_id, f"LEFT_BY {record.intent_id}")

    def take_up(self, record: IntentRecord) -> None:
        """Lead what was found on file, where nobody does: the store could not say that it had taken it. What an earlier
        process began goes on as after a restart, and so does an entry that is older than entries may be: nobody expects
        it any more."""
        waited_ms = self.clock.now_ms() - record.created_at
        late = record.purpose.is_new_entry and waited_ms > self.clock.work_ms(ENTRY_TTL_MS)
        self.begin(record, restored=late or record.execution is not None)

    def _forget(self, intent_id: str) -> None:
        self._ended[intent_id] = None
        while len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        self._running.pop(intent_id, None)
        run = self._runs.pop(intent_id, None)
        self._changed.pop(intent_id, None)
        for watched, tell in run.unwatch if run is not None else ():
            self.ledger.unwatch(watched, tell)

    def halt(self, intent_id: str, why: str) -> None:
        """Have an intent that is being led open nothing more; what rests of it is taken back."""
        run = self._runs.get(intent_id)
        if run is not None:
            run.stop_wanted = run.stop_wanted or why
            self._tell(run)

    def working(self, intent_id: str) -> set[str] | None:
        """Names of the orders that work the intent's own quantity, not of those that protect it; None: nobody leads
        it."""
        run = self._runs.get(intent_id)
        if run is None:
            return None
        legs = run.execution.legs if run.execution is not None else ()
        return {run.name_of(leg.n) for leg in legs if leg.role in (*WORKING, LegRole.REST)}

    def leads(self, intent_id: str) -> bool:
        return intent_id in self._runs

    def knows(self, intent_id: str) -> bool:
        """It is being led, or this process has led it to its end lately."""
        return intent_id in self._running or intent_id in self._ended

    def led(self, trade_id: str) -> list[IntentRecord]:
        """Intents that are being led for a trade, but its entry."""
        return [run.record for run in self._runs.values() if run.record.intent.parent_id == trade_id]

    async def stop(self) -> None:
        tasks = [*self._running.values(), *self._calling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self, run: Run) -> None:
        run.dirty = True
        changed = self._changed.get(run.intent_id)
        if changed is not None:
            changed.tell()

    async def _drive(self, run: Run, changed: Changed) -> None:
        """Try until the intent is final. What is on file decides where a new try begins."""
        backoff = Backoff(self.clock, self.randomness.fork(f"drive/{run.intent_id}"), max_ms=self.settings.retry_max_ms)
        told = False
        while True:
            try:
                if await self._advance(run, changed):
                    return
                backoff.reset()
                continue
            except DependencyDown as down:
                log.warning("an intent waits", intent=run.intent_id, why=str(down))
                told = told or await self._tell_uncovered(run, str(down))
            except Exception as broken:
                self._log(run, "lead", broken)
                told = told or await self._tell_uncovered(run, str(broken))
            await backoff.wait()
            run.record = await self._reload(run.record)
            if run.record.state.is_final:
                # Written, although the store could not say so: whoever waits for this end has not heard of it.
                await self.intents.tell(run.record)
                await self._over(run)
                return

    async def _reload(self, record: IntentRecord) -> IntentRecord:
        try:
            return await self.intents.get(record.intent_id) or record
        except DependencyDown:
            return record

    async def _advance(self, run: Run, changed: Changed) -> bool:
        """One look, and what follows from it. True: the intent has ended."""
        if run.record.state.is_final:
            return True
        run.dirty = False
        flow = await self._flow(run)
        step = lead(flow)
        if step.look and not flow.seen.looked:
            flow = replace(flow, seen=await self.outlook.look(run.record))
            step = lead(flow)
        if step.files:
            why_not = await self._may_not_leave(run, step)
            if why_not is not None:
                if why_not != AGAIN:
                    run.stop_wanted = why_not
                return False
        if step.end is not None and step.execution.ended_at is None and _tells(run.record, step.end):
            step = replace(step, execution=step.execution.but(ended_at=self.clock.now_ms()))
        moved = step.execution != run.record.execution or bool(step.files)
        if moved:
            await self._save(run, step, flow)
        # What is on file is sent before anybody is told of it: a bus that is down must not hold up a close.
        for call in (*step.calls, *self._asks(run, flow)):
            self._start(run, call)
        run.alarms += step.alarms
        while run.alarms:
            await self.teller.alert(
                AlertCode.STOP_NOT_PLACED,
                Severity.FATAL,
                run.alarms[0].text,
                intent_id=run.intent_id,
                symbol=run.record.symbol,
            )
            del run.alarms[0]
        await self._measure_cover(run, flow)
        if step.end is not None:
            await self._end(run, step.end, flow)
            return True
        if moved and not step.calls:
            return False
        await self._wait(run, changed, step.wake_ms)
        return False

    async def _measure_cover(self, run: Run, flow: Flow) -> None:
        """How long what filled first had no stop, once one is listed. After a restart nobody knows when that was."""
        listed = any(order.is_listed for _, order in flow.legs(LegRole.STOP))
        if run.covered or run.restored or not listed or not flow.is_entry:
            return
        if run.listed_ms is None:
            run.listed_ms = self.clock.now_ms()
        filled = [run.name_of(leg.n) for leg, order in flow.legs(*WORKING) if order.filled_qty]
        # A store that is down holds up no figure's subject: the next look asks again.
        with suppress(DependencyDown):
            times_ms = [fill.timestamp for name in filled for fill in await self.ledger.fills(name)]
            run.covered = True
            if times_ms:
                self.metrics.observe_ms("unprotected_ms", max(0, run.listed_ms - min(times_ms)))

    def _asks(self, run: Run, flow: Flow) -> list[Call]:
        """Of an entry that rests: the account stream may be silent, and what fills must have its stop within 2 s."""
        if not flow.is_entry:
            return []
        now_ms = flow.seen.now_ms
        every_ms = self.settings.rest_ask_ms if run.record.market is Market.FUT else 5 * self.settings.rest_ask_ms
        every_ms = max(every_ms, self.clock.work_ms(ASK_WORK_MS))
        asks: list[Call] = []
        for leg, order in flow.legs(LegRole.QUOTE):
            if order.status.is_final or not is_shown(order) or leg.n in run.busy:
                continue
            if now_ms - run.asked_ms.get(leg.n, order.created_at) >= every_ms:
                run.asked_ms[leg.n] = now_ms
                asks.append(Ask(leg.n))
        return asks

    async def _may_not_leave(self, run: Run, step: Step) -> str | None:
        """Why what the machine wants to send cannot be sent as it must be."""
        intent = run.record.intent
        entering = [file for file in step.files if file.leg.role in WORKING and run.record.purpose.is_new_entry]
        if not entering:
            return None
        if run.record.state is IntentState.ACCEPTED and intent.market is Market.FUT and not run.prepared:
            why = await self.margin.make_isolated(intent.symbol, intent.leverage or self.settings.leverage_max)
            if why is not None:
                return why
            # That took a while: what forbids an entry is looked at once more, right before it leaves.
            run.prepared = True
            return AGAIN
        return None

    async def _wait(self, run: Run, changed: Changed, wake_ms: int | None) -> None:
        if run.dirty:
            return
        now_ms = self.clock.now_ms()
        await changed.wait_until(
            self.clock, now_ms + self.clock.work_ms(IDLE_MS) if wake_ms is None else max(wake_ms, now_ms + 1)
        )

    async def _flow(self, run: Run) -> Flow:
        """What is on file, as the machine sees it."""
        instrument = self.instruments[run.record.intent.instrument]
        if run.limits is None or run.execution is None:
            plan = await self.planning.of(run.record, restored=run.restored)
            run.execution, run.limits = plan.execution, plan.limits
        execution = run.execution
        if run.told:
            run.merged = len(run.told)
            execution = execution.but(
                notes=(*execution.notes, *run.told), slices=run.sellable(execution) or execution.slices
            )
        if run.stop_wanted is not None and execution.stopped is None:
            execution = execution.but(stopped=run.stop_wanted)
        return Flow(
            intent=run.record.intent,
            execution=execution,
            orders=await run.orders(self.ledger),
            instrument=instrument,
            limits=run.limits,
            seen=Seen(now_ms=self.clock.now_ms()),
            busy=frozenset(run.busy),
            unsent=frozenset(run.unsent),
            others=await self._others(run),
        )

    async def _others(self, run: Run) -> tuple[Order, ...]:
        """The pair that a guard stands behind, as it is on file; read again when one of it has changed."""
        parent_id = run.record.intent.parent_id
        if run.record.purpose is not Purpose.GUARD or parent_id is None:
            return ()
        if run.others is None:
            run.others = tuple(
                order for order in await self.ledger.of_intent(parent_id) if order.oco_pair_id is not None
            )
        return run.others

    async def _save(self, run: Run, step: Step, flow: Flow) -> None:
        """The state and every order that it names, in one wait for the disk, before anything is sent."""
        record = run.record
        state = record.state
        if any(file.leg.role in WORKING or file.leg.role is LegRole.REST for file in step.files):
            state = IntentState.WORKING
        elif step.files:
            state = IntentState.PROTECTING
        record = record.but(
            state=state,
            execution=step.execution,
            order_ids=_ids(record, step),
            filled_qty=flow.filled(*WORKING),
            avg_price=_average(flow),
            updated_at=self.clock.now_ms(),
        )
        opened = await self.ledger.open(
            [
                Filing(
                    new=self._fit(file.new),
                    purpose=file.purpose,
                    intent_id=run.intent_id,
                    parent_id=record.intent.parent_id,
                    rev=record.intent.risk.rcu_rev or 0,
                )
                for file in step.files
            ],
            sent=await self._seen(record, step),
            together_with=Put(INTENTS, record),
        )
        run.record, run.execution = record, step.execution
        # What calls have said while this was written is for the next step.
        del run.told[: run.merged]
        run.merged = 0
        for file in step.files:
            run.news[file.leg.n] = self._fit(file.new)
            if file.new.client_order_id in opened:
                # One that was on file already may have been sent: it is asked for.
                run.unsent.add(file.leg.n)
        with suppress(DependencyDown):
            await self._tell_slices(run, step)

    async def _seen(self, record: IntentRecord, step: Step) -> Sent:
        """What an order is measured by. A stop does not wait for a store that is only asked for that."""
        if not step.files:
            return Sent(mid=None, book=())
        try:
            return await self.market.seen(record.intent.instrument)
        except DependencyDown as down:
            log.warning("an order is sent into a market that cannot be seen", intent=record.intent_id, why=str(down))
            return Sent(mid=None, book=())

    async def _tell_slices(self, run: Run, step: Step) -> None:
        """For watching: what waits, and which slice leaves now."""
        await self.backlog.show(run.record, step.execution)
        if not step.execution.is_twap:
            return
        for file in step.files:
            if file.leg.role in WORKING and sum(leg.slice == file.leg.slice for leg in step.execution.legs) == 1:
                await self.teller.event(
                    EventKind.TWAP_SLICE_SENT,
                    run.record.intent.instrument,
                    file.new.client_order_id,
                    intent_id=run.intent_id,
                    slice=file.leg.slice,
                    slices=len(step.execution.slices),
                    qty=float(file.new.qty),
                )

    def _fit(self, new: NewOrder) -> NewOrder:
        return replace(new, working_type=self.settings.working_type)

    def _start(self, run: Run, call: Call) -> None:
        if call.n in run.busy:
            return
        run.busy.add(call.n)
        task = asyncio.get_running_loop().create_task(self._call(run, call))
        self._calling.add(task)
        task.add_done_callback(self._calling.discard)

    async def _call(self, run: Run, call: Call) -> None:
        """One call, however often it has to be begun again: each begins by looking at what is on file."""
        backoff = Backoff(self.clock, self.randomness, max_ms=self.settings.retry_max_ms)
        told = False
        try:
            while True:
                try:
                    await self._carry_out(run, call)
                    self._measure(run, call)
                    return
                except DependencyDown as down:
                    log.warning("an order waits", intent=run.intent_id, call=str(call), why=str(down))
                    told = told or await self._tell_uncovered(run, str(down))
                except UnknownOrder as unknown:
                    # Taken, answered for, and now unknown: only the reconciler's wider view can judge that.
                    log.error("the exchange lost an order", intent=run.intent_id, why=str(unknown))
                except Exception as broken:
                    self._log(run, f"call {call}", broken)
                    told = told or await self._tell_uncovered(run, str(broken))
                await backoff.wait()
        finally:
            run.busy.discard(call.n)
            self._tell(run)

    def _measure(self, run: Run, call: Call) -> None:
        """From the command's arrival to its first result, less what was waited on purpose."""
        if run.measured or run.restored or not isinstance(call, Place) or run.execution is None:
            return
        run.measured = True
        first = self.ledger.present(run.name_of(call.n))
        waited_ms = 0 if first is None else max(0, first.created_at - run.execution.planned_at)
        spent_ms = self.clock.now_ms() - run.record.created_at - waited_ms
        self.metrics.observe_ms("router_e2e_latency_ms", max(0, spent_ms) / self.clock.speed)

    def _log(self, run: Run, what: str, broken: Exception) -> None:
        """A bug of ours: where it is once in full, then that it is still there."""
        if what in run.broken:
            log.error("an intent fails again", intent=run.intent_id, what=what, why=str(broken))
        else:
            run.broken.add(what)
            log.exception("an intent failed and is tried again", intent=run.intent_id, what=what)

    def _carry_out(self, run: Run, call: Call) -> Awaitable[None]:
        match call:
            case Place(n):
                return self.calls.place(run, n)
            case Settle(n):
                return self.calls.settle(run, n)
            case Cancel(n):
                return self.calls.cancel(run, n)
            case Ask(n):
                return self.calls.ask(run, n)
            case ArmPair():
                return self.spot_exit.arm(run)
            case Free():
                return self.spot_exit.free(run)
            case Rearm():
                return self.spot_exit.rearm(run)

    async def _tell_uncovered(self, run: Run, why: str) -> bool:
        """An entry that was sent and cannot be led on: what filled of it may have no stop, and a person must know."""
        sent = self.ledger.present(run.record.intent.client_order_id) is not None
        if run.record.market is not Market.FUT or not run.record.purpose.is_new_entry or not sent:
            return False
        with suppress(DependencyDown):
            await self.teller.alert(
                AlertCode.STOP_NOT_PLACED,
                Severity.FATAL,
                f"{run.record.intent.instrument}: what filled of {run.intent_id} may have no stop yet: {why}",
                intent_id=run.intent_id,
                symbol=run.record.symbol,
            )
            return True
        return False

    async def _end(self, run: Run, end: End, flow: Flow) -> None:
        """What is told before the end is on file may be told again: by its time, which is on file, it is the same."""
        record = run.record
        assert run.execution is not None
        if record.purpose is Purpose.GUARD:
            await self.spot_exit.guards.disarmed(record)
        with suppress(DependencyDown):
            await self.backlog.forget(record, run.execution)
            if flow.orders and not _rests(record) and not run.counted:
                await self.measures.ended(record, flow)
                run.counted = True
        run.ends = [
            self.teller.record(kind, record.intent.instrument, run.intent_id, at_ms=run.execution.ended_at, **detail)
            for kind, detail in self._of_end(run, end, flow)
        ]
        run.record = await self.intents.advance(
            record,
            end.state,
            told=run.ends,
            reason=end.reason,
            filled_qty=end.filled_qty,
            avg_price=end.avg_price,
            execution=run.execution,
        )
        await self._over(run)

    async def _over(self, run: Run) -> None:
        """Its end is on file, and told."""
        if run.record.purpose is Purpose.GUARD:
            self.spot_exit.guards.over(run.intent_id)
        for event in run.ends:
            await self.teller.show(event)

    def _of_end(self, run: Run, end: End, flow: Flow) -> Iterator[tuple[EventKind, dict[str, Any]]]:
        """What is told of an end."""
        record, execution = run.record, run.execution
        assert execution is not None
        if not _tells(record, end):
            return
        if end.filled_qty and not _rests(record):
            yield from _of_fills(record, end, flow)
        elif end.state is IntentState.CANCELED:
            yield EventKind.ROUTER_ORDER_CANCELED, {"why": end.reason, "purpose": record.purpose.value}
        elif end.state is not IntentState.DONE:
            yield EventKind.ROUTER_ORDER_REJECTED, {"why": end.reason, "purpose": record.purpose.value}
        if execution.is_twap:
            yield (
                EventKind.TWAP_DONE,
                {
                    "slices": len(execution.slices),
                    "qty": float(record.intent.qty),
                    "filled_qty": float(end.filled_qty),
                    "why": end.reason,
                },
            )


def _tells(record: IntentRecord, end: End) -> bool:
    """A stop that rests as it should, and a guard whose pair has sold, are told by others."""
    return end.state is not IntentState.DONE or (bool(end.filled_qty) and not _rests(record))


def _of_fills(record: IntentRecord, end: End, flow: Flow) -> Iterator[tuple[EventKind, dict[str, Any]]]:
    stop, target = _last(flow, LegRole.STOP), _last(flow, LegRole.TARGET)
    if stop is not None and stop.is_listed:
        yield (
            EventKind.TP_SL_PLACED,
            {
                "stop_price": float(stop.stop_price or 0),
                "tp_price": float(target.stop_price) if target is not None and target.stop_price is not None else None,
                "qty": float(end.filled_qty),
            },
        )
    filled = {
        "qty": float(end.filled_qty),
        "avg_price": float(end.avg_price or 0),
        "purpose": record.purpose.value,
        "why": end.reason,
    }
    yield EventKind.ROUTER_ORDER_EXECUTED, filled
    if record.purpose is Purpose.HEDGE:
        yield EventKind.HEDGE, filled


def _average(flow: Flow) -> Decimal | None:
    price = flow.avg_price(*WORKING)
    return None if price is None else average(price)


def _last(flow: Flow, role: LegRole) -> Order | None:
    found = [order for _, order in flow.legs(role)]
    return found[-1] if found else None


def _rests(record: IntentRecord) -> bool:
    return record.execution is not None and record.execution.style is ExecStyle.RESTING


def _ids(record: IntentRecord, step: Step) -> tuple[str, ...]:
    """All that may be sent: what was reserved at acceptance, and what has been added since."""
    return tuple(dict.fromkeys((*record.order_ids, *(file.new.client_order_id for file in step.files))))
