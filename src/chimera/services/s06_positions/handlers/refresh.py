"""Reading a trade anew from documents, and saying what is new about it.

Every trigger (a result, the start, a timer, the reconciler's call) leads here. Doing it twice changes nothing: events
carry the time of what happened, not of when it was seen, so telling them again writes the same document.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, FUNDING_RECORDS, INTENTS, ORDERS, SIGNALS, STRATEGY_EVENTS, TRADES
from chimera.contracts.documents import LIQUIDATION, MANUAL, Fill, IntentRecord, Order, StrategyEvent, Trade
from chimera.contracts.enums import OPEN_TRADES, EventKind, Market, PositionEventKind, Purpose, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import PositionEvent
from chimera.contracts.streams import POS_EVENTS
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.budget import futures_usage, spot_usage
from chimera.domain.positions.trade_book import part_of
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.state import Reservation, Reservations, ReservationState
from chimera.services.s06_positions.memory import Held, Memory
from chimera.services.s06_positions.policy import Policies
from chimera.services.s06_positions.settings import Settings
from chimera.services.s06_positions.trade import Facts, book_of_facts, is_flat, opens_a_trade, trade_of

UNLIMITED = 10**12
"""As a budget in USDT and as a number of instruments: no limit at all."""
LATEST_LOOKED_AT = 20
"""Finished entries of an instrument that are looked at for a trade that a crash kept from being written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    settings: Settings
    instruments: dict[InstrumentKey, Instrument]
    fee_ratios: dict[Market, Decimal]
    documents: Documents
    reservations: Reservations
    policies: Policies
    bus: Bus
    clock: Clock
    memory: Memory

    async def run(self, trade_id: str) -> Held | None:
        """The trade as it stands now, saved and told; None where this intent has opened nothing."""
        record = await self.documents.get(INTENTS, trade_id)
        if record is None or not opens_a_trade(record) or record.intent.instrument not in self.instruments:
            return None
        before = await self.documents.get(TRADES, trade_id)
        facts = await self._gather(record)
        book = book_of_facts(facts)
        if book is None:
            return None
        after = trade_of(
            facts,
            before=before,
            funding_usdt=await self._funding(
                record, book.opened_at, book.last_fill_at if is_flat(facts, book) else None
            ),
            now_ms=self.clock.now_ms(),
        )
        assert after is not None
        await self._settle(facts, after)
        if before is None or after.but(updated_at=before.updated_at) != before:
            await self._tell(facts, before, after)
            await self.documents.put(TRADES, after)
        held = self.memory.keep(facts, after)
        await self._release_adds(held)
        if after.status is TradeStatus.CLOSED:
            self.memory.forget(trade_id)
        return held

    async def open_trade_ids(self) -> list[str]:
        """Every trade on file that has not ended, oldest first."""
        found: list[Trade] = []
        for status in OPEN_TRADES:
            found += await self.documents.find(
                Query(collection=TRADES, index="by_status", equal=(("status", status.value),))
            )
        return [trade.trade_id for trade in sorted(found, key=lambda trade: (trade.opened_at, trade.trade_id))]

    async def unseen_entries(self) -> list[str]:
        """Entries on file that filled, or may have, and have no trade yet: a crash or a lost message came between."""
        found: list[str] = []
        for key in self.settings.keys:
            where = (("market", key.market.value), ("symbol", key.symbol))
            for state in ("WORKING", "PROTECTING", "DONE"):
                records = await self.documents.find(
                    Query(
                        collection=INTENTS,
                        index="by_instr",
                        equal=(*where, ("state", state)),
                        descending=True,
                        limit=LATEST_LOOKED_AT,
                    )
                )
                for record in records:
                    if opens_a_trade(record) and await self.documents.get(TRADES, record.intent_id) is None:
                        found.append(record.intent_id)
        return found

    async def _gather(self, record: IntentRecord) -> Facts:
        orders = {
            order.order_id: order
            for index, field in (("by_intent", "intent_id"), ("by_parent", "parent_id"))
            for order in await self.documents.find(
                Query(collection=ORDERS, index=index, equal=((field, record.intent_id),))
            )
        }
        fills = await self._fills(tuple(orders.values()))
        theirs, closed = await self._closed_by_strangers(orders.get(record.intent.client_order_id))
        facts = Facts(
            record=record,
            orders=(*_in_order(orders.values()), *theirs),
            fills=(*fills, *closed),
            instrument=self.instruments[record.intent.instrument],
            params=await self.policies.of(record.intent.risk.rcu_rev or 0),
            fee_ratio=self.fee_ratios[record.market],
            leverage=record.intent.leverage or (self.settings.leverage_default if record.market is Market.FUT else 1),
            adds=await self._adds(record),
            max_adds=await self._max_adds(record),
        )
        return await self._with_strays(facts)

    async def _adds(self, record: IntentRecord) -> tuple[IntentRecord, ...]:
        found: list[IntentRecord] = []
        while record.market is Market.FUT:
            following = await self.documents.get(INTENTS, f"{record.intent_id}-{Purpose.ADD.value}-{len(found) + 1}")
            if following is None:
                break
            found.append(following)
        return tuple(found)

    async def _max_adds(self, record: IntentRecord) -> int | None:
        """How many adds the rules that fired for this entry allow; None where none of them said so."""
        known = self.memory.get(record.intent_id)
        if known is not None:
            return known.facts.max_adds
        if record.intent.signal_id is None:
            return None
        signal = await self.documents.get(SIGNALS, record.intent.signal_id)
        if signal is None:
            return None
        if signal.decision.intent_id != record.intent_id:
            # The signal has decided on another entry since: what it allowed this one is not known any more.
            return 0
        told = (signal.decision.trail or {}).get("max_adds_override")
        return None if told is None else int(told)

    async def _with_strays(self, facts: Facts) -> Facts:
        """Exits that nobody ordered for this trade, as long as something is open: a liquidation, or an order that a
        person sent through us without saying what it leaves. What was sent past us is the reconciler's to share out."""
        book = book_of_facts(facts)
        if book is None or is_flat(facts, book):
            return facts
        record = facts.record
        first = min(
            ids.fill_order(fill.timestamp, fill.fill_id) for fill in facts.fills if fill.side is record.intent.side
        )
        # By what has filled, and not by when an order was filed: that is our own clock's, and nobody may have heard of
        # the beginning of an order of the exchange's.
        rows = await self.documents.find_values(
            Query(
                collection=FILLS,
                index="by_instr_time",
                equal=(("market", record.market.value), ("symbol", record.symbol)),
                at_least=book.opened_at,
            ),
            ("order_id", "side"),
        )
        known = {order.order_id for order in facts.orders}
        leaves = record.intent.side.opposite
        for order_id in dict.fromkeys(name for name, side in rows if side == leaves and name not in known):
            order = await self.documents.get(ORDERS, order_id)
            since_ms = None if order is None else await self._left_since(order)
            if order is None or since_ms is None:
                continue
            fills = [
                fill for fill in await self._fills((order,)) if _place_of(fill) > first and fill.timestamp > since_ms
            ]
            if not fills:
                continue
            facts = replace(facts, orders=(*facts.orders, order), fills=(*facts.fills, *fills))
            book = book_of_facts(facts)
            if book is not None and is_flat(facts, book):
                break
        return facts

    async def _left_since(self, order: Order) -> int | None:
        """Since when the fills of an exit are nobody's but whose position they closed; None: they are another trade's.
        One that was held up until its own trade had ended closes what was opened since."""
        if order.parent_id is None:
            return 0 if await self._is_stray(order) else None
        parent = await self.documents.get(TRADES, order.parent_id)
        return None if parent is None or parent.status is not TradeStatus.CLOSED else _flat_at(parent)

    async def _closed_by_strangers(self, entry: Order | None) -> tuple[list[Order], list[Fill]]:
        """Orders of strangers' that closed some of the trade, and that part of their fills, with its money."""
        orders: dict[str, Order] = {}
        parts: list[Fill] = []
        for fill_id, qty in (entry.closed_by or {} if entry is not None else {}).items():
            fill = await self.documents.get(FILLS, fill_id)
            assert fill is not None, f"fill {fill_id} closed some of a trade and is not on file"
            order = await self.documents.get(ORDERS, fill.order_id)
            assert order is not None, f"order {fill.order_id} closed some of a trade and is not on file"
            orders[order.order_id] = order
            parts.append(part_of(fill, qty))
        return list(orders.values()), [part for part in parts if part.qty > 0]

    async def _is_stray(self, order: Order) -> bool:
        if order.reason == LIQUIDATION or (order.reason == MANUAL and order.closed_by is None):
            # The latter was adopted by a version that counted the whole of it.
            return True
        if order.purpose is None or order.purpose.is_new_entry or order.intent_id is None or order.is_nobodys_stop:
            return False
        record = await self.documents.get(INTENTS, order.intent_id)
        return record is not None and not record.purpose.is_new_entry

    async def _fills(self, orders: Sequence[Order]) -> list[Fill]:
        fills: list[Fill] = []
        for order in orders:
            if order.filled_qty:
                fills += await self.documents.find(
                    Query(collection=FILLS, index="by_order", equal=(("order_id", order.order_id),))
                )
        return fills

    async def _funding(self, record: IntentRecord, opened_at: int, ended_at: int | None) -> Decimal:
        """Settled while it was open; received +, paid -."""
        if record.market is not Market.FUT:
            return Decimal(0)
        found = await self.documents.find(
            Query(
                collection=FUNDING_RECORDS,
                index="by_sym_time",
                equal=(("symbol", record.symbol),),
                at_least=opened_at,
                below=None if ended_at is None else ended_at + 1,
            )
        )
        return sum((each.amount_usdt for each in found), Decimal(0))

    async def _settle(self, facts: Facts, trade: Trade) -> None:
        """What the trade takes from the risk budget from now on."""
        if trade.status is TradeStatus.CLOSED:
            await self.reservations.release(trade.trade_id)
            return
        # Until the entry is final the rest of it may still fill, and its money must stay reserved.
        qty = trade.qty_open if facts.record.state.is_final else max(trade.qty_open, facts.record.intent.qty)
        amount = (
            futures_usage(
                qty=qty, entry_price=trade.entry_price_avg, leverage=trade.leverage, fee_ratio=facts.fee_ratio
            )
            if trade.market is Market.FUT
            else spot_usage(qty=qty, wac=trade.entry_price_avg)
        )
        if not await self.reservations.settle(trade.trade_id, amount, ReservationState.OPEN):
            # An order from outside, for which nobody reserved: its money is spent, so it counts whatever the limits.
            await self.reservations.reserve(
                Reservation(
                    intent_id=trade.trade_id,
                    key=InstrumentKey(trade.market, trade.symbol),
                    amount_usdt=amount,
                    state=ReservationState.OPEN,
                    ts=trade.opened_at,
                ),
                amount_max_usdt=Decimal(UNLIMITED),
                concurrency_max=UNLIMITED,
            )

    async def _release_adds(self, held: Held) -> None:
        """The budget of an add that has ended. What it filled counts with the trade by now: it is never free."""
        for add in held.facts.adds:
            if add.state.is_final and add.intent_id not in held.released:
                await self.reservations.release(add.intent_id)
                held.released.add(add.intent_id)

    async def _tell(self, facts: Facts, before: Trade | None, after: Trade) -> None:
        """Events first, the trade second: a crash between tells the same events again."""
        if before is None:
            await self.event(PositionEventKind.ENTRY, after, after.opened_at, price=after.entry_price_avg)
        elif before.stop_order_id is not None and _moved(before, after):
            moved_at = next(
                (order.created_at for order in facts.orders if order.order_id == after.stop_order_id), after.updated_at
            )
            await self.event(
                PositionEventKind.STOP_MOVE,
                after,
                moved_at,
                price=after.entry_price_avg,
                stop_before=float(before.stop_price or 0),
            )
        for add in facts.adds_done[before.add_on_count if before else 0 :]:
            await self.event(
                PositionEventKind.ADD,
                after,
                add.updated_at,
                price=add.avg_price or after.entry_price_avg,
                intent_id=add.intent_id,
                added_qty=float(add.filled_qty),
            )
        if after.rung > (before.rung if before else 0) and after.status is TradeStatus.ACTIVE:
            part = next(exit for exit in reversed(after.exits) if exit.purpose is Purpose.TP)
            await self.event(PositionEventKind.TP_PARTIAL, after, part.ts, price=part.price, part=float(part.qty))
        if after.status is TradeStatus.CLOSED and (before is None or before.status is not TradeStatus.CLOSED):
            assert after.closed_at is not None
            net = after.realized_pnl_usdt - after.fees_usdt + after.funding_usdt
            await self.event(
                PositionEventKind.EXIT,
                after,
                after.closed_at,
                price=after.exits[-1].price if after.exits else after.entry_price_avg,
                net_pnl_usdt=float(net),
                realized_pnl_usdt=float(after.realized_pnl_usdt),
                fees_usdt=float(after.fees_usdt),
                funding_usdt=float(after.funding_usdt),
            )

    async def event(self, kind: PositionEventKind, trade: Trade, ts: int, *, price: Decimal, **more: Any) -> None:
        """To `strategy_events` and `pos:events`; of the same moment and kind it is the same event."""
        key = InstrumentKey(trade.market, trade.symbol)
        detail = {
            "trade_id": trade.trade_id,
            "side": trade.side.value,
            "qty": float(trade.qty_open or trade.qty_opened),
            "price": float(price),
            "stop_price": None if trade.stop_price is None else float(trade.stop_price),
            "tier": trade.tier,
            "rung": trade.rung,
            "reason": trade.reason,
            **more,
        }
        told = {name: value for name, value in detail.items() if value is not None}
        await self.documents.put(
            STRATEGY_EVENTS,
            StrategyEvent(
                event_id=ids.event_id(ts, kind.value, trade.trade_id),
                kind=EventKind(kind.value),
                market=trade.market,
                symbol=trade.symbol,
                detail=told,
                ts=ts,
            ),
        )
        await self.bus.publish(
            POS_EVENTS.name(self.settings.env, key),
            PositionEvent(ts=ts, market=trade.market, symbol=trade.symbol, kind=kind, detail=told),
        )


def _in_order(orders: Any) -> tuple[Order, ...]:
    return tuple(sorted(orders, key=lambda order: (order.created_at, order.order_id)))


def _flat_at(trade: Trade) -> int | None:
    """When what it had opened had left; what an exit of its own closed later was not its."""
    left = trade.qty_opened
    for exit in sorted(trade.exits, key=lambda each: each.ts):
        left -= exit.qty
        if left <= 0:
            return exit.ts
    return trade.closed_at


def _place_of(fill: Fill) -> tuple[int, int, str]:
    """In the exchange's order."""
    return ids.fill_order(fill.timestamp, fill.fill_id)


def _moved(before: Trade, after: Trade) -> bool:
    return after.stop_order_id is not None and after.stop_price != before.stop_price
