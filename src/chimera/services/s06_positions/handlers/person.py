"""What a person tells the keeper of positions: leave this one, leave all, put the stop there.

A wish is written on its trade before anything is ordered, and the keeper goes on until it is so: a crash, a lost answer
or a second call changes nothing about the end. Each is told to the audit first, with what was and what is wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chimera.contracts.collections import INTENTS, TRADES
from chimera.contracts.documents import IntentRecord, PersonsLeave, PersonsStop
from chimera.contracts.enums import OPEN_INTENTS, CancelReason, Market, Purpose, TradeStatus
from chimera.contracts.http import (
    LeaveAllAnswer,
    LeaveAllInstrument,
    LeaveAllRequest,
    LeaveAnswer,
    LeaveRequest,
    PutStopAnswer,
    PutStopRequest,
)
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.positions.persons_stop import StopNow, loss_at, refusal_of
from chimera.domain.positions.roe import roe
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.telling import Teller
from chimera.services.s06_positions.handlers.manage import Manage
from chimera.services.s06_positions.handlers.ordering import Ordering
from chimera.services.s06_positions.handlers.refresh import Refresh
from chimera.services.s06_positions.market import Market as MarketView
from chimera.services.s06_positions.memory import Held, Memory
from chimera.services.s06_positions.trade import covering_stop, is_held, is_open, liquidation_of

ENDING_MS = 3_000
ENDING_LOOK_MS = 100
"""How long flatten waits for entries that it has taken back, our own work's time: longer than a lookup takes."""

STATUS_OF = {
    "price-off-tick": 400,
    "stop-would-trigger": 422,
    "too-near-liquidation": 422,
    "over-loss-budget": 409,
}
"""HTTP status of why a stop may not be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    keys: tuple[InstrumentKey, ...]
    documents: Documents
    refresh: Refresh
    manage: Manage
    ordering: Ordering
    market: MarketView
    memory: Memory
    clock: Clock
    teller: Teller

    async def leave(self, request: Request) -> Reply:
        """POST /positions/close."""
        wanted: LeaveRequest = request.body
        key = self._known(wanted.market, wanted.symbol)
        return Reply(await self._leave(await self._open_on(key), request.actor or "s6", wanted.reason))

    async def leave_all(self, request: Request) -> Reply:
        """POST /positions/flatten. What could not be done is said; the tick goes on while a position is open."""
        wanted: LeaveAllRequest = request.body
        actor = request.actor or "s6"
        entries = await self._entries_under_way()
        trades = await self._open_trade_ids()
        if entries or trades:
            await self.teller.audit(
                actor,
                "POSITIONS_FLATTEN",
                "ALL",
                {"open": trades, "under_way": [record.intent_id for record in entries]},
                {"reason": wanted.reason},
            )
        not_gone = {
            record.intent_id: await self.ordering.take_back(record.intent_id, CancelReason.MANUAL) for record in entries
        }
        await self._until_ended(entries)
        leaving: dict[InstrumentKey, LeaveAnswer] = {}
        # Asked for anew: an entry that was taken back may have filled in part.
        for trade_id in await self._open_trade_ids():
            answer = await self._leave(trade_id, actor, wanted.reason)
            leaving[InstrumentKey(answer.market, answer.symbol)] = answer
        told = tuple(_told(key, entries, not_gone, leaving.get(key)) for key in self.keys)
        still = {record.intent_id for record in await self._entries_under_way()}
        return Reply(
            LeaveAllAnswer(
                flat=not still and not await self._open_trade_ids(),
                instruments=tuple(each for each in told if each.canceled or each.leaving or each.message),
            )
        )

    async def put_stop(self, request: Request) -> Reply:
        """POST /positions/stop."""
        wanted: PutStopRequest = request.body
        key = self._known(wanted.market, wanted.symbol)
        if key.market is not Market.FUT:
            raise Problem(
                422, "spot-lives-by-its-pair", f"the stop of {key} is a leg of its pair; to leave it earlier, close it"
            )
        trade_id = await self._open_on(key)
        # What the tick would do anyhow is done first, so that the stop is put on the position as it is now.
        await self.manage.lead(trade_id)
        async with self.memory.lock(trade_id):
            held = await self._held(trade_id, key)
            before = held.trade.stop_price
            if wanted.price != before:
                await self._keep_stop(held, wanted, request.actor or "s6")
        held = await self.manage.lead(trade_id) or held
        return Reply(_stop_answer(held, before, wanted))

    async def _leave(self, trade_id: str, actor: str, reason: str) -> LeaveAnswer:
        async with self.memory.lock(trade_id):
            held = await self.refresh.run(trade_id)
            assert held is not None, f"trade {trade_id} was open a moment ago"
            known = held.trade.persons_leave
            if is_held(held.trade) and (known is None or known.given_up_at is not None):
                leave = PersonsLeave(by=actor, at=self.clock.now_ms(), reason=reason)
                await self._keep(held, actor, "POSITION_CLOSE", {"reason": reason}, persons_leave=leave)
        held = await self.manage.lead(trade_id) or held
        last = await self.ordering.newest(held, Purpose.EXIT)
        trade = held.trade
        return LeaveAnswer(
            trade_id=trade_id,
            market=trade.market,
            symbol=trade.symbol,
            qty_open=trade.qty_open if is_held(trade) else Decimal(0),
            intent_id=None if last is None else last.intent_id,
            state=None if last is None else last.state,
            message=self._why_not_yet(held, last),
        )

    def _why_not_yet(self, held: Held, last: IntentRecord | None) -> str | None:
        if not is_held(held.trade):
            return None
        leave = held.trade.persons_leave
        if leave is not None and leave.given_up_at is not None:
            return (
                "given up: the wallet has nothing of it free to sell; if an order of yours at the exchange holds it,"
                " cancel that and close again"
            )
        if not held.facts.record.state.is_final:
            return "its entry is being taken back; what it filled is sold then"
        if last is not None and last.state.is_final:
            return f"not closed yet, and tried again: {last.reason or last.state.value}"
        return "the exit is on its way" if last is not None else "no exit was accepted yet; it is tried again"

    async def _keep_stop(self, held: Held, wanted: PutStopRequest, actor: str) -> None:
        """
        Raises:
            Problem: 400, 409 or 422, the stop may not be there; 409 and 503, it cannot be said now.
        """
        trade, facts = held.trade, held.facts
        if not facts.record.state.is_final or trade.stop_price is None:
            raise Problem(
                409, "entry-under-way", f"{held.key} is still being entered; its stop can be moved once that has ended"
            )
        if trade.persons_leave is not None:
            raise Problem(409, "leaving", f"{held.key} is being closed for {trade.persons_leave.by}")
        mark = await self.market.mark(held.key)
        if mark is None:
            raise Problem(503, "no-price", f"there is no price of {held.key} now to hold a stop against; try again")
        if facts.adds_under_way:
            raise Problem(409, "add-under-way", f"{held.key} is just growing; try again once that has ended")
        pending = any(order.purpose is Purpose.SL and is_open(order) and not order.is_listed for order in facts.orders)
        newest = await self.ordering.newest(held, Purpose.SL)
        if pending or (newest is not None and not newest.state.is_final):
            raise Problem(409, "stop-under-way", f"a stop of {held.key} is just being placed; try again in a second")
        refusal = refusal_of(
            StopNow(
                instrument=facts.instrument,
                side=trade.side,
                entry_price=trade.entry_price_avg,
                qty=trade.qty_open,
                mark=mark,
                stop_price=trade.stop_price,
                loss_usdt_max=trade.first_loss_usdt,
                liquidation_price=liquidation_of(facts, trade),
                liquidation_buffer_min=facts.params.liquidation_buffer_min,
            ),
            wanted.price,
            confirmed=wanted.confirm,
        )
        if refusal is not None:
            raise Problem(STATUS_OF[refusal.kind], refusal.kind, refusal.why)
        earned = roe(
            side=trade.side,
            entry_price=trade.entry_price_avg,
            mark=mark,
            leverage=trade.leverage,
            fee_ratio=facts.fee_ratio,
        )
        put = PersonsStop(
            price=wanted.price,
            tier=max(trade.tier, facts.params.tiers.reached(earned)),
            instead_of=tuple(order.order_id for order in facts.own_orders if order.purpose is Purpose.SL),
            by=actor,
            at=self.clock.now_ms(),
        )
        after = {"stop_price": float(wanted.price), "confirm": wanted.confirm, "reason": wanted.reason}
        await self._keep(held, actor, "POSITION_STOP", after, persons_stop=put)

    async def _keep(self, held: Held, actor: str, action: str, after: dict[str, Any], **wish: Any) -> None:
        """The audit first: a wish that nobody wrote down would be carried out by nobody's order."""
        trade = held.trade
        before = {
            "instrument": str(held.key),
            "qty_open": float(trade.qty_open),
            "stop_price": None if trade.stop_price is None else float(trade.stop_price),
        }
        await self.teller.audit(actor, action, trade.trade_id, before, after)
        await self.documents.put(TRADES, trade.but(updated_at=self.clock.now_ms(), **wish))

    async def _held(self, trade_id: str, key: InstrumentKey) -> Held:
        held = await self.refresh.run(trade_id)
        if held is None or not is_held(held.trade):
            raise _nothing_open(key)
        return held

    async def _open_on(self, key: InstrumentKey) -> str:
        """The open trade of an instrument, by the documents."""
        for trade_id in await self._open_trade_ids():
            held = self.memory.get(trade_id) or await self._read(trade_id)
            if held is not None and held.key == key and held.trade.status is not TradeStatus.CLOSED:
                return trade_id
        raise _nothing_open(key)

    async def _open_trade_ids(self) -> list[str]:
        """Those whose entry a crash kept from being written as a trade as well, oldest first."""
        for trade_id in await self.refresh.unseen_entries():
            await self._read(trade_id)
        return await self.refresh.open_trade_ids()

    async def _until_ended(self, entries: Sequence[IntentRecord]) -> None:
        """An entry that is being taken back may fill meanwhile: what it filled is to be left as well."""
        deadline_ms = self.clock.now_ms() + self.clock.work_ms(ENDING_MS)
        waiting = {record.intent_id for record in entries}
        while waiting and self.clock.now_ms() < deadline_ms:
            waiting &= {record.intent_id for record in await self._entries_under_way()}
            if waiting:
                await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(ENDING_LOOK_MS))

    async def _read(self, trade_id: str) -> Held | None:
        async with self.memory.lock(trade_id):
            return await self.refresh.run(trade_id)

    async def _entries_under_way(self) -> Sequence[IntentRecord]:
        found: list[IntentRecord] = []
        for state in OPEN_INTENTS:
            found += await self.documents.find(
                Query(collection=INTENTS, index="by_open", equal=(("state", state.value),))
            )
        return [record for record in found if record.purpose.is_new_entry and record.intent.instrument in self.keys]

    def _known(self, market: Market, symbol: str) -> InstrumentKey:
        key = InstrumentKey(market, symbol)
        if key not in self.keys:
            raise Problem(404, "unknown-symbol", f"{key} is not traded; known: {', '.join(map(str, self.keys))}")
        return key


def _nothing_open(key: InstrumentKey) -> Problem:
    return Problem(404, "no-position", f"nothing of ours is open on {key}")


def _told(
    key: InstrumentKey,
    entries: Sequence[IntentRecord],
    not_gone: dict[str, str | None],
    leaving: LeaveAnswer | None,
) -> LeaveAllInstrument:
    ours = [record.intent_id for record in entries if record.intent.instrument == key]
    why = "; ".join(
        f"{intent_id} is not taken back yet: {not_gone[intent_id]}" for intent_id in ours if not_gone[intent_id]
    )
    return LeaveAllInstrument(
        market=key.market,
        symbol=key.symbol,
        canceled=tuple(intent_id for intent_id in ours if not not_gone[intent_id]),
        leaving=leaving,
        message=why or None,
    )


def _stop_answer(held: Held, before: Decimal | None, wanted: PutStopRequest) -> PutStopAnswer:
    trade = held.trade
    listed = is_held(trade) and covering_stop(held.facts, trade) is not None
    stop_price = trade.stop_price or wanted.price
    return PutStopAnswer(
        trade_id=trade.trade_id,
        market=trade.market,
        symbol=trade.symbol,
        stop_before=before,
        stop_price=stop_price,
        listed=listed,
        loss_usdt=loss_at(trade.side, trade.entry_price_avg, trade.qty_open, stop_price),
        loss_usdt_max=trade.first_loss_usdt,
        message=None if listed else "not at the exchange yet; the stop before it rests until it is",
    )
