"""S4's books: every order and every fill, as documents, written before anybody is told.

The one writer of `orders` and `fills`. An order is opened here before the exchange hears of it; whatever the exchange
then says, by stream, by answer or by query, ends in `book`, which never goes back: fills are counted once by the
exchange's trade id, and an order is final only when every fill of it is on file.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, ORDERS, STRATEGY_EVENTS
from chimera.contracts.documents import LIQUIDATION, MANUAL, BookRow, Fill, IntentRecord, Order, StrategyEvent
from chimera.contracts.enums import EventKind, Market, OrderStatus, Purpose, Refusal
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import OrderResult
from chimera.contracts.messages.orders import ResultFill
from chimera.domain.exact import average, money
from chimera.domain.execution.orders import NewOrder, VenueFill, VenueOrder
from chimera.domain.execution.slippage import slippage_bps, vwap
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Put, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.venue import (
    InsufficientFunds,
    NothingToReduce,
    Refused,
    UnknownOrder,
    Venue,
    WouldTake,
    WouldTrigger,
)
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import Changed
from chimera.services.s04_router.results import Results

FINAL_KEPT = 500
"""Final orders kept in memory, so that a late repeat of an event costs no query."""

FAMILIES_KEPT = 200
"""Trades of which it is remembered which of the orders after the entry have filled, or may."""

LOOK_BACK_MS = 60_000
"""Fills of an order are asked for from this long before it was created: clocks differ."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The market as it was when an order was sent: what its fills are measured against."""

    mid: Decimal | None
    book: tuple[BookRow, ...]


class Counted(Protocol):
    """What is counted from the SPOT fills on file."""

    def book(self, key: InstrumentKey, fills: Iterable[Fill]) -> None: ...

    def recount(self, key: InstrumentKey) -> None: ...

    async def renew(self) -> None: ...


class Worth(Protocol):
    """What fees are worth that were taken in another asset."""

    async def learn(self, fills: Iterable[VenueFill]) -> None: ...

    def usdt(self, fill: VenueFill) -> Decimal | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """An order to put on file, and whose it is."""

    new: NewOrder
    purpose: Purpose
    intent_id: str
    parent_id: str | None
    rev: int
    oco_pair_id: str | None = None


@dataclass(slots=True)
class _Entry:
    """`unfiled`: nobody could say that the order is on file as it stands here."""

    order: Order
    fills: dict[str, Fill]
    unfiled: bool = False


@dataclass(slots=True, kw_only=True)
class Ledger:
    documents: Documents
    results: Results
    clock: Clock
    venue: Venue
    instruments: dict[InstrumentKey, Instrument]
    holdings: Counted
    fees: Worth
    metrics: Metrics
    teller: Teller
    _entries: OrderedDict[str, _Entry] = field(default_factory=OrderedDict)
    _changed: dict[str, Changed] = field(default_factory=dict)
    _watched: dict[str, list[Callable[[], None]]] = field(default_factory=dict)
    """By intent: who hears of every change of its orders."""
    hearers: list[Callable[[Order], None]] = field(default_factory=list)
    """Who hears of each order as it stands, whenever it is taken up or changes. Told before anything is sent."""
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _families: OrderedDict[str, set[str]] = field(default_factory=OrderedDict)
    """By trade: orders that were ordered for it since and are open, or have filled."""
    _complete: set[str] = field(default_factory=set)
    """Trades of which these are all."""

    def watch(self, intent_id: str, tell: Callable[[], None]) -> None:
        self._watched.setdefault(intent_id, []).append(tell)

    def unwatch(self, intent_id: str, tell: Callable[[], None]) -> None:
        tellers = self._watched.get(intent_id, [])
        if tell in tellers:
            tellers.remove(tell)
        if not tellers:
            self._watched.pop(intent_id, None)

    def changed(self, client_order_id: str) -> Changed:
        """Told whenever this order's documents change."""
        return self._changed.setdefault(client_order_id, Changed())

    def forget_waiters(self, client_order_id: str) -> None:
        """A waiter has what it wanted; others may still wait."""
        changed = self._changed.get(client_order_id)
        if changed is not None and changed.idle:
            del self._changed[client_order_id]

    def present(self, client_order_id: str) -> Order | None:
        """The order as it stands, if it is in memory: open ones and those that ended lately."""
        entry = self._entries.get(client_order_id)
        return entry.order if entry else None

    async def order(self, client_order_id: str) -> Order | None:
        entry = await self._entry(client_order_id)
        return entry.order if entry else None

    async def fills(self, client_order_id: str) -> Sequence[Fill]:
        entry = await self._entry(client_order_id)
        if entry is None:
            return ()
        return sorted(entry.fills.values(), key=lambda fill: ids.fill_order(fill.timestamp, fill.fill_id))

    async def of_intent(self, intent_id: str) -> list[Order]:
        """Every order of one intent, in the order in which they were made."""
        return await self._orders("by_intent", "intent_id", intent_id)

    async def of_trade(self, trade_id: str) -> list[Order]:
        """Every order of an entry, and of what was ordered for its trade since those that are open or have filled:
        of tries that the exchange did not take there may be thousands, and they say nothing."""
        return [*await self._orders("by_intent", "intent_id", trade_id), *await self._since(trade_id)]

    async def _since(self, trade_id: str) -> list[Order]:
        # Before it is read: what is written meanwhile joins by itself.
        family = self._families.setdefault(trade_id, set())
        self._families.move_to_end(trade_id)
        while len(self._families) > FAMILIES_KEPT:
            self._complete.discard(self._families.popitem(last=False)[0])
        if trade_id not in self._complete:
            family |= {
                order.order_id for order in await self._orders("by_parent", "parent_id", trade_id) if _says(order)
            }
            if self._families.get(trade_id) is family:
                self._complete.add(trade_id)
        found = [await self.order(name) for name in sorted(family)]
        return sorted(
            (order for order in found if order is not None), key=lambda order: (order.created_at, order.order_id)
        )

    async def _orders(self, index: str, field: str, value: str) -> list[Order]:
        found = await self.documents.find(Query(collection=ORDERS, index=index, equal=((field, value),)))
        present = [self.present(order.order_id) or order for order in found]
        return sorted(present, key=lambda order: (order.created_at, order.order_id))

    async def open(
        self, filings: Sequence[Filing], *, sent: Sent, together_with: Put[Any] | None = None
    ) -> frozenset[str]:
        """Write orders before they are sent, in one wait for the disk, and before them `together_with`: for callers who
        have another document that must be before anything is sent. One that is on file already stays as it stands.
        Returns the names of those that were not."""
        now_ms = self.clock.now_ms()
        fresh = [
            _opened(filing, sent, now_ms) for filing in filings if await self._entry(filing.new.client_order_id) is None
        ]
        puts: list[Put[Any]] = [] if together_with is None else [together_with]
        puts += [Put(ORDERS, order) for order in fresh]
        if puts:
            await self.documents.put_many(puts)
        for order in fresh:
            self._remember(_Entry(order, {}))
        return frozenset(order.order_id for order in fresh)

    async def acknowledge(self, client_order_id: str, answer: VenueOrder) -> None:
        """The exchange took it. What became of it comes by the account stream or by `refresh`.

        One that has ended already is left to them: its fills and its stop would wait for a write that says less.
        """
        if answer.status.is_final:
            return
        async with self._writing:
            entry = await self._entry(client_order_id)
            if entry is None or entry.order.venue_order_id or entry.order.is_conditional:
                # A conditional order counts once the exchange lists it, which `book` learns; its answer proves little.
                return
            await self._save(
                entry,
                entry.order.but(
                    venue_order_id=answer.venue_order_id,
                    updated_at=self.clock.now_ms(),
                ),
                (),
            )

    async def refit(
        self, client_order_id: str, *, qty: Decimal, price: Decimal | None, stop_price: Decimal | None
    ) -> None:
        """An order that was refused and is sent again with other numbers: first on file, as always."""
        async with self._writing:
            entry = await self._entry(client_order_id)
            assert entry is not None, f"order {client_order_id} was never opened"
            changed = entry.order.but(
                quantity=money(qty), price=price, stop_price=stop_price, updated_at=self.clock.now_ms()
            )
            await self._save(entry, changed, ())

    async def refuse(self, client_order_id: str, refusal: Refused) -> Order:
        """The exchange definitely did not take it."""
        # Without a code it was not the exchange that said so.
        reason = f"{refusal.code} {refusal.text}" if refusal.code else refusal.text
        return await self._end(client_order_id, OrderStatus.REJECTED, reason, refusal_of(refusal))

    async def lose(self, client_order_id: str, reason: str, refusal: Refusal | None = None) -> Order:
        """It is definitely not at the exchange and never filled beyond what is on file."""
        return await self._end(client_order_id, OrderStatus.CANCELED, reason, refusal)

    async def _end(self, client_order_id: str, status: OrderStatus, reason: str, refusal: Refusal | None) -> Order:
        async with self._writing:
            entry = await self._entry(client_order_id)
            assert entry is not None, f"order {client_order_id} was never opened"
            if not entry.order.status.is_final:
                changed = entry.order.but(status=status, reason=reason, refusal=refusal, updated_at=self.clock.now_ms())
                await self._save(entry, changed, ())
            return entry.order

    async def book(self, reported: VenueOrder, fills: Sequence[VenueFill] = ()) -> Order | None:
        """Take in what the exchange says of one order. None: it is not ours.

        What it carries is booked at once. Fills that it counts and nobody has shown us are fetched then; before they
        are on file the order does not become final.

        Raises:
            VenueUnavailable: they cannot be had now. What was told is booked.
        """
        entry = await self._book_told(reported, fills)
        if entry is None:
            return None
        if entry.order.filled_qty is None or entry.order.filled_qty < money(reported.filled_qty):
            # Nobody waits for the answer: an exchange that does not give it must not keep others from being booked.
            missing = await self._ask_fills(reported, entry.order.created_at)
            entry = await self._book_told(reported, [*fills, *missing]) or entry
        if reported.market is Market.SPOT:
            # What it counts is counted again by its own timer: no fill of another order waits for it.
            with suppress(DependencyDown):
                await self.holdings.renew()
        return entry.order

    async def _book_told(self, reported: VenueOrder, fills: Sequence[VenueFill]) -> _Entry | None:
        """None: not ours."""
        await self.fees.learn(fills)
        async with self._writing:
            entry = await self._entry(reported.client_order_id) or await self._adopt(reported)
            if entry is not None:
                await self._take_in(entry, reported, self._new_fills(entry, fills))
            return entry

    async def mend(self, fill: Fill) -> None:
        """A fee whose worth has become known since it was booked."""
        async with self._writing:
            entry = await self._entry(fill.order_id)
            known = None if entry is None else entry.fills.get(fill.fill_id)
            if entry is None or known is None or known.fee_usdt is not None:
                return
            every = {**entry.fills, fill.fill_id: fill}
            fee_usdt = sum((each.fee_usdt or Decimal(0) for each in every.values()), Decimal(0))
            changed = entry.order.but(fee_usdt=fee_usdt, updated_at=self.clock.now_ms())
            await self._save(entry, changed, (fill,), told=())

    async def refresh(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> Order | None:
        """Ask the exchange what became of an order, and book it.

        Raises:
            UnknownOrder: the exchange does not know it (yet).
        """
        reported = await self.venue.order(key, client_order_id, conditional=conditional)
        return await self.book(reported, await self._ask_fills(reported) if reported.filled_qty else ())

    async def adopt(self, key: InstrumentKey, client_order_id: str) -> None:
        """Take on file an order that nobody here sent, with its fills, because it closed some of ours.

        Raises:
            UnknownOrder: the exchange does not know it.
        """
        known = await self.order(client_order_id)
        if known is not None and known.status.is_final:
            return
        try:
            reported = await self.venue.order(key, client_order_id, conditional=False)
        except UnknownOrder:
            if known is None:
                raise
            return
        # One that has not ended here may have been taken on by a call that failed after that.
        async with self._writing:
            if await self._entry(client_order_id) is None:
                self._remember(await self._put_foreign(reported, MANUAL, closed_by={}))
        await self.book(reported, await self._ask_fills(reported))

    async def part_adl(self) -> None:
        """Until 2026-11 every ADL order was on file by the one name that the exchange gives to all of them, and their
        fills added up in one document. Give each its own, and its fills; the shared one goes once it has none left.

        Raises:
            VenueUnavailable: what it is made of cannot be asked for now.
        """
        shared = await self.order(ids.ADL_PREFIX)
        if shared is None:
            return
        fills = await self.fills(shared.order_id)
        for key in dict.fromkeys(InstrumentKey(fill.market, fill.symbol) for fill in fills):
            own = {fill.fill_id: fill.timestamp for fill in fills if InstrumentKey(fill.market, fill.symbol) == key}
            told = await self.venue.fills(key, min(own.values()))
            for name in dict.fromkeys(fill.client_order_id for fill in told if fill.fill_id in own):
                if ids.is_of_the_exchange(name) and name != shared.order_id:
                    with suppress(UnknownOrder):
                        await self.refresh(key, name, conditional=False)
        async with self._writing:
            # What the exchange no longer remembers stays where it is.
            left = Query(collection=FILLS, index="by_order", equal=(("order_id", shared.order_id),))
            if not await self.documents.find(left):
                await self.documents.remove(ORDERS, shared.order_id)
                self._entries.pop(shared.order_id, None)
                log.warning("what was on file as one ADL order is on file as each of them", order=shared.order_id)

    async def share(
        self, record: IntentRecord, foreign: Mapping[str, Decimal], closed_by: Mapping[str, Decimal]
    ) -> None:
        """Note at the orders of this entry what they closed of somebody else's, and at its first what strangers' fills
        closed of its trade. One document says all of the latter: no moment shows a half of it."""
        first = record.intent.client_order_id
        async with self._writing:
            for name in dict.fromkeys((first, *foreign)):
                entry = await self._entry(name)
                if entry is None:
                    continue
                shared = entry.order.but(foreign_qty=foreign.get(name, entry.order.foreign_qty))
                if name == first:
                    shared = shared.but(closed_by=dict(closed_by))
                if shared != entry.order or entry.unfiled:
                    await self._save_share(record, entry, shared.but(updated_at=self.clock.now_ms()))

    async def _save_share(self, record: IntentRecord, entry: _Entry, shared: Order) -> None:
        try:
            await self._save(entry, shared, ())
        except DependencyDown:
            # It may be on file all the same: whoever reads it there asks for it no more, and it must count here too.
            entry.order, entry.unfiled = shared, True
            raise
        finally:
            if record.market is Market.SPOT:
                # What strangers sold counts by what it closed of trades.
                self.holdings.recount(record.intent.instrument)

    async def _ask_fills(self, reported: VenueOrder, on_file_ms: int | None = None) -> Sequence[VenueFill]:
        """`on_file_ms`: since when it is on file. An event of an order that was there before may date it later."""
        created_at_ms = min(reported.created_at_ms, on_file_ms or reported.created_at_ms)
        fills = await self.venue.fills(reported.key, created_at_ms - LOOK_BACK_MS)
        return [fill for fill in fills if fill.client_order_id == reported.client_order_id]

    def _new_fills(self, entry: _Entry, fills: Sequence[VenueFill]) -> list[Fill]:
        fresh: dict[str, Fill] = {}
        for fill in fills:
            if fill.fill_id not in entry.fills and fill.fill_id not in fresh:
                fresh[fill.fill_id] = self._fill(entry.order, fill)
        return list(fresh.values())

    def _fill(self, order: Order, fill: VenueFill) -> Fill:
        fee_usdt = self.fees.usdt(fill)
        reference = order.mid_at_send if order.stop_price is None else order.stop_price
        return Fill(
            fill_id=fill.fill_id,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            intent_id=order.intent_id,
            market=fill.market,
            symbol=fill.symbol,
            side=fill.side,
            price=fill.price,
            qty=money(fill.qty),
            fee_usdt=None if fee_usdt is None else money(fee_usdt),
            fee_asset=fill.fee_asset,
            fee_qty=money(fill.fee),
            maker=fill.maker,
            mid_at_send=reference,
            book_top3=order.book_top3,
            slippage_bps=slippage_bps(fill.side, fill.price, reference) if reference else None,
            timestamp=fill.ts,
            realized_pnl_usdt=money(fill.realized_pnl_usdt),
        )

    async def _take_in(self, entry: _Entry, reported: VenueOrder, fresh: list[Fill]) -> None:
        order = entry.order
        every = [*entry.fills.values(), *fresh]
        filled_qty = sum((fill.qty for fill in every), Decimal(0))
        status = self._status_after(order, reported, filled_qty)
        created_at = order.created_at
        if order.intent_id == order.order_id:
            # Nobody here opened it: it is dated by what was heard first, which may have been late.
            created_at = min(created_at, reported.created_at_ms)
        changed = order.but(
            status=status,
            created_at=created_at,
            filled_qty=filled_qty,
            avg_price=average(vwap([(fill.price, fill.qty) for fill in every])) if every else None,
            fee_usdt=sum((fill.fee_usdt or Decimal(0) for fill in every), Decimal(0)),
            venue_order_id=reported.venue_order_id or order.venue_order_id,
            venue_algo_id=reported.venue_algo_id or order.venue_algo_id,
            reason=order.reason or (reported.reason if status is not OrderStatus.FILLED else None),
            # What was given up as never arrived, and filled all the same, was there.
            refusal=None if filled_qty else order.refusal,
        )
        if changed == order and not fresh:
            return
        await self._save(entry, changed.but(updated_at=self.clock.now_ms()), fresh)

    def _status_after(self, order: Order, reported: VenueOrder, filled_qty: Decimal) -> OrderStatus:
        """Never back: a late NEW after a fill, or a fill after 'canceled', changes nothing but the sums."""
        assert order.quantity is not None
        if filled_qty >= order.quantity > 0:
            return OrderStatus.FILLED
        if order.status.is_final and not (order.refusal is not None and filled_qty):
            # What was refused the second time it was sent, and filled all the same, was there from the first.
            return order.status
        if reported.status.is_final and filled_qty >= money(reported.filled_qty):
            return reported.status
        return OrderStatus.PARTIALLY_FILLED if filled_qty else OrderStatus.NEW

    async def _save(
        self, entry: _Entry, order: Order, fresh: Sequence[Fill], *, told: Sequence[Fill] | None = None
    ) -> None:
        """Documents first, then memory, then everybody else. `told` are the fills that are news, `fresh` where None."""
        resolved = await self._resolved(entry, order, fresh)
        puts: list[Put[Any]] = [Put(FILLS, fill) for fill in fresh]
        puts += [Put(STRATEGY_EVENTS, event) for event in resolved]
        await self.documents.put_many([*puts, Put(ORDERS, order)])
        for fill in fresh:
            self._measure(fill, entry.fills.get(fill.fill_id))
        entry.order, entry.unfiled = order, False
        entry.fills |= {fill.fill_id: fill for fill in fresh}
        self._remember(entry)
        if fresh and order.market is Market.SPOT and order.is_strangers:
            self.holdings.recount(InstrumentKey(order.market, order.symbol))
        elif fresh and order.market is Market.SPOT:
            self.holdings.book(InstrumentKey(order.market, order.symbol), fresh)
        await self.results.tell(result_of(order, fresh if told is None else told))
        changed = self._changed.get(order.order_id)
        if changed is not None:
            changed.tell()
        for tell in tuple(self._watched.get(order.intent_id or "", ())):
            tell()
        for event in resolved:
            await self.teller.show(event)

    async def _resolved(self, entry: _Entry, order: Order, fresh: Sequence[Fill]) -> list[StrategyEvent]:
        """That of a pair one leg has sold and nothing of it rests any more: on file before the order that says so. It
        is dated by its last fill, so that it is the same event whenever it is written again."""
        ends = order.status.is_final and (bool(fresh) or not entry.order.status.is_final)
        if order.oco_pair_id is None or order.intent_id is None or not ends:
            return []
        family = await self.of_intent(order.intent_id)
        other = next((each for each in family if _is_other_leg(each, order)), None)
        if other is None or not other.status.is_final:
            return []
        own = [*(entry.fills | {fill.fill_id: fill for fill in fresh}).values()]
        fills = [*own, *await self.fills(other.order_id)]
        if not fills:
            return []
        leg = order if own else other
        return [
            self.teller.record(
                EventKind.OCO_RESOLVE,
                InstrumentKey(order.market, order.symbol),
                order.intent_id,
                at_ms=max(fill.timestamp for fill in fills),
                pair=order.oco_pair_id,
                leg=None if leg.purpose is None else leg.purpose.value,
                order_id=leg.order_id,
                qty=float(sum((fill.qty for fill in fills), Decimal(0))),
                avg_price=float(vwap([(fill.price, fill.qty) for fill in fills])),
            )
        ]

    def _measure(self, fill: Fill, before: Fill | None) -> None:
        """Once for each fill on file, by whatever road and however often it was told. `before` is the same fill while
        nobody knew what its fee was worth; what it has become since is added."""
        known = Decimal(0) if before is None else before.fee_usdt or Decimal(0)
        # A counter never falls: a rebate is no fee.
        self.metrics.count("fee_usdt_total", max(0.0, float((fill.fee_usdt or Decimal(0)) - known)))
        if before is None and fill.slippage_bps is not None:
            self.metrics.observe_bps("slippage_bps", fill.slippage_bps)

    async def _adopt(self, reported: VenueOrder) -> _Entry | None:
        """An order that we never opened: the exchange's own liquidation of our position, or a stranger's.

        A liquidation closes our position, so it must be on file; anything else is S5's to judge.
        """
        if not ids.is_of_the_exchange(reported.client_order_id) or reported.key not in self.instruments:
            return None
        return await self._put_foreign(reported, LIQUIDATION)

    async def _put_foreign(
        self, reported: VenueOrder, why: str, *, closed_by: dict[str, Decimal] | None = None
    ) -> _Entry:
        order = Order(
            order_id=reported.client_order_id,
            client_order_id=reported.client_order_id,
            market=reported.market,
            symbol=reported.symbol,
            side=reported.side,
            type=reported.type,
            reduce_only=True,
            quantity=money(reported.qty),
            price=reported.price,
            stop_price=reported.stop_price,
            closed_by=closed_by,
            status=OrderStatus.NEW,
            rcu_rev=0,
            created_at=reported.created_at_ms,
            intent_id=reported.client_order_id,
            purpose=Purpose.EXIT,
            reason=why,
            filled_qty=Decimal(0),
            updated_at=self.clock.now_ms(),
        )
        await self.documents.put(ORDERS, order)
        return _Entry(order, {})

    async def _entry(self, client_order_id: str) -> _Entry | None:
        entry = self._entries.get(client_order_id)
        if entry is not None:
            return entry
        order = await self.documents.get(ORDERS, client_order_id)
        if order is None:
            return None
        fills = await self.documents.find(
            Query(collection=FILLS, index="by_order", equal=(("order_id", client_order_id),))
        )
        # Somebody may have read it, and changed it, while we waited for the store: there is one of each.
        entry = self._entries.get(client_order_id) or _Entry(order, {fill.fill_id: fill for fill in fills})
        self._remember(entry)
        return entry

    def _remember(self, entry: _Entry) -> None:
        self._entries[entry.order.order_id] = entry
        family = self._families.get(entry.order.parent_id or "")
        if family is not None and _says(entry.order):
            family.add(entry.order.order_id)
        elif family is not None:
            family.discard(entry.order.order_id)
        for hear in self.hearers:
            hear(entry.order)
        self._entries.move_to_end(entry.order.order_id)
        while len(self._entries) > FINAL_KEPT:
            oldest = next((key for key, each in self._entries.items() if each.order.status.is_final), None)
            if oldest is None:
                break
            del self._entries[oldest]


def _says(order: Order) -> bool:
    """Whether an order has changed what a trade holds, or still may."""
    return not order.status.is_final or bool(order.filled_qty)


def _is_other_leg(order: Order, of: Order) -> bool:
    """Whether both are of one pair."""
    return order.oco_pair_id == of.oco_pair_id and order.order_id != of.order_id


def refusal_of(refusal: Refused) -> Refusal:
    """What follows from a refusal, in the words of the machine."""
    for kind, word in (
        (InsufficientFunds, Refusal.FUNDS),
        (WouldTake, Refusal.WOULD_TAKE),
        (WouldTrigger, Refusal.WOULD_TRIGGER),
        (NothingToReduce, Refusal.NOTHING_TO_REDUCE),
    ):
        if isinstance(refusal, kind):
            return word
    return Refusal.OTHER


def _opened(filing: Filing, sent: Sent, now_ms: int) -> Order:
    new = filing.new
    return Order(
        order_id=new.client_order_id,
        client_order_id=new.client_order_id,
        market=new.market,
        symbol=new.symbol,
        side=new.side,
        type=new.type,
        reduce_only=new.reduce_only,
        quantity=money(new.qty),
        price=new.price,
        stop_price=new.stop_price,
        oco_pair_id=filing.oco_pair_id,
        status=OrderStatus.NEW,
        rcu_rev=filing.rev,
        created_at=now_ms,
        intent_id=filing.intent_id,
        parent_id=filing.parent_id,
        purpose=filing.purpose,
        filled_qty=Decimal(0),
        fee_usdt=Decimal(0),
        mid_at_send=sent.mid,
        book_top3=sent.book,
        sent_at=now_ms,
        updated_at=now_ms,
    )


def result_of(order: Order, fresh: Sequence[Fill]) -> OrderResult:
    return OrderResult(
        cmd_id=order.intent_id or order.order_id,
        intent_id=order.intent_id,
        order_id=order.order_id,
        client_order_id=order.order_id,
        market=order.market,
        symbol=order.symbol,
        status=order.status,
        fills=tuple(
            ResultFill(
                price=fill.price,
                qty=fill.qty,
                fee_usdt=fill.fee_usdt,
                mid_at_send=fill.mid_at_send,
                slippage_bps=fill.slippage_bps,
                ts=fill.timestamp,
                fill_id=fill.fill_id,
                order_id=fill.order_id,
                maker=fill.maker,
            )
            for fill in fresh
        ),
        purpose=order.purpose,
        parent_id=order.parent_id,
        side=order.side,
        type=order.type,
        reason=order.reason,
        filled_qty=order.filled_qty,
        avg_price=order.avg_price,
        ts=order.updated_at,
    )
