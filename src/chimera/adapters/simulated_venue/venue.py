"""The venue port over the simulated exchange, in process.

Owns what the port's words mean for the exchange that `host` runs, and what its refusals mean in our words.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Generic, TypeVar

from chimera.adapters.simulated_venue.faults import (
    VenueFaults,
    asked_for,
    asked_to_cancel,
    asked_to_change,
    asked_to_place,
    asked_to_place_list,
)
from chimera.adapters.simulated_venue.feed import MarketFeed, Tick
from chimera.adapters.simulated_venue.host import ExchangeHost, Observer
from chimera.adapters.simulated_venue.journal import Journal, JournalError
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import (
    AccountChange,
    Balance,
    Income,
    NewOco,
    NewOrder,
    Transfer,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Bar, BookTop, MarketEvent, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.faults import Asked, FaultPlan
from chimera.domain.matching.refusals import Refusal
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.clock import Clock
from chimera.ports.venue import (
    Capabilities,
    DuplicateOrder,
    InsufficientFunds,
    NothingToReduce,
    OutcomeUnknown,
    Refused,
    UnknownOrder,
    VenueUnavailable,
    WouldTake,
    WouldTrigger,
)

T = TypeVar("T")

_BY_CODE: dict[int, type[Refused]] = {
    -2019: InsufficientFunds,
    -2021: WouldTrigger,
    -2022: NothingToReduce,
    -2011: UnknownOrder,
    -2013: UnknownOrder,
    -4116: DuplicateOrder,
    -5022: WouldTake,
}
_BY_TEXT: tuple[tuple[str, type[Refused]], ...] = (
    ("insufficient balance", InsufficientFunds),
    ("Duplicate order", DuplicateOrder),
    ("would immediately match", WouldTake),
    ("would trigger immediately", WouldTrigger),
)
"""Spot says four things by one code, -2010; its text tells them apart. Source: the exchange's error tables."""

MARGIN_UNCHANGED = -4046

CAPABILITIES = Capabilities(
    oco=True,
    post_only=True,
    reduce_only=True,
    stop_market=True,
    trailing_stop=True,
    dead_man_switch=True,
    transfers=True,
    lookup_lag_ms=0,
)

LOOKUP_LAG_MS = 1_500
"""Of the exchange that this one stands for; here only faults make queries lag."""


def meaning(refusal: Refusal) -> Refused:
    kind = _BY_CODE.get(refusal.code)
    if kind is None:
        kind = next((word for text, word in _BY_TEXT if text in refusal.text), Refused)
    return kind(refusal.code, refusal.text)


class _Queue(Generic[T]):
    """One listener's events, handed over in batches."""

    def __init__(self) -> None:
        self._events: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def push(self, events: Sequence[T]) -> None:
        self._events.extend(events)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def batches(self) -> AsyncIterator[Sequence[T]]:
        while True:
            while not self._events:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            batch = tuple(self._events)
            self._events.clear()
            yield batch


class SimulatedVenue(ExchangeHost):
    """
    Args:
        faults: what goes wrong on purpose, and when.
    """

    def __init__(
        self,
        *,
        exchange: Exchange,
        rules: ExchangeRules,
        feed: MarketFeed,
        clock: Clock,
        journal: Journal,
        observe: Observer | None = None,
        faults: FaultPlan | None = None,
    ) -> None:
        super().__init__(exchange=exchange, rules=rules, feed=feed, clock=clock, journal=journal, observe=observe)
        self._market: list[tuple[frozenset[tuple[Market, str]], _Queue[MarketEvent]]] = []
        self._account: list[_Queue[AccountChange]] = []
        self._down: str | None = None
        self._faults: VenueFaults | None = None
        if faults is not None:
            self._faults = VenueFaults(self, faults, tell=self._push_changes, tell_market=self._push_market)
        self.on_tick.append(self._tell_tick)
        self.on_changes.append(self._tell_changes)

    def _tell_tick(self, tick: Tick) -> None:
        events: tuple[MarketEvent, ...] = (*tick.books, *tick.marks, *tick.bars)
        self._push_market(events if self._faults is None else self._faults.market(events))
        if self._faults is not None:
            self._faults.look()

    def _tell_changes(self, changes: Sequence[AccountChange]) -> None:
        if self._faults is None:
            self._push_changes(changes)
        else:
            self._faults.tell(changes)

    def _push_market(self, events: Sequence[MarketEvent]) -> None:
        for keys, queue in self._market:
            queue.push([event for event in events if _name_of(event) in keys])

    def _push_changes(self, changes: Sequence[AccountChange]) -> None:
        for queue in self._account:
            queue.push(changes)

    def set_down(self, why: str | None) -> None:
        """Refuse service, or serve again: a maintenance window of the exchange."""
        self._down = why

    def _serve(self) -> None:
        if self._down is not None:
            raise VenueUnavailable(self._down)

    async def _call(self, asked: Callable[[], Asked], work: Callable[[], T]) -> T:
        """Every method of the port goes through here: the exchange is asked, its refusals become ours."""
        self._serve()
        try:
            if self._faults is None:
                return work()
            return await self._faults.call(asked(), work)
        except Refusal as refusal:
            with suppress(JournalError):  # it keeps what it owes, and the refusal stands anyhow
                self.journal.commit(self.exchange.drain_rows())
            raise meaning(refusal) from refusal

    # --- the venue port

    @property
    def name(self) -> str:
        return "sim"

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES if self._faults is None else replace(CAPABILITIES, lookup_lag_ms=LOOKUP_LAG_MS)

    @property
    def tick_interval_ms(self) -> int:
        return self.feed.tick_interval_ms

    async def server_time_ms(self) -> int:
        offset_ms = self._faults.offset_ms() if self._faults is not None else 0
        return await self._call(lambda: asked_for("time"), lambda: self.clock.now_ms() + offset_ms)

    async def instruments(self) -> Sequence[Instrument]:
        return await self._call(lambda: asked_for("exchangeInfo"), lambda: self.exchange.instruments())

    async def taker_fee_ratio(self, market: Market) -> Decimal:
        return self.rules.fees[market].taker

    async def maker_fee_ratio(self, market: Market) -> Decimal:
        return self.rules.fees[market].maker

    async def book(self, key: InstrumentKey) -> BookTop:
        return await self._call(lambda: asked_for("depth", key), lambda: self._book(key))

    def _book(self, key: InstrumentKey) -> BookTop:
        if key not in self.books:
            raise VenueUnavailable(f"{key} has no book yet")
        return self.books[key]

    async def mark(self, symbol: str) -> MarkPrice:
        key = InstrumentKey(Market.FUT, symbol)
        return await self._call(lambda: asked_for("premiumIndex", key), lambda: self._mark(symbol))

    def _mark(self, symbol: str) -> MarkPrice:
        if symbol not in self.marks:
            raise VenueUnavailable(f"{symbol} has no mark price yet")
        return self.marks[symbol]

    async def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return await self._call(
            lambda: asked_for("klines", key),
            lambda: self.feed.klines(key, interval, start_ms, min(end_ms, self.clock.now_ms())),
        )

    async def market_events(self, keys: Sequence[InstrumentKey]) -> AsyncIterator[Sequence[MarketEvent]]:
        queue: _Queue[MarketEvent] = _Queue()
        entry = (frozenset((key.market, key.symbol) for key in keys), queue)
        self._market.append(entry)
        try:
            async for batch in queue.batches():
                yield batch
        finally:
            self._market.remove(entry)

    async def account_events(self) -> AsyncIterator[Sequence[AccountChange]]:
        queue: _Queue[AccountChange] = _Queue()
        self._account.append(queue)
        try:
            async for batch in queue.batches():
                yield batch
        finally:
            self._account.remove(queue)

    async def balances(self) -> Sequence[Balance]:
        return await self._call(lambda: asked_for("account", signed=True), self.exchange.balances)

    async def positions(self) -> Sequence[VenuePosition]:
        return await self._call(lambda: asked_for("positionRisk", signed=True), self.exchange.positions)

    async def open_orders(self, keys: Sequence[InstrumentKey] | None = None) -> Sequence[VenueOrder]:
        listed = await self._call(lambda: asked_for("openOrders", signed=True), self._open_orders)
        return listed if keys is None else [order for order in listed if order.key in keys]

    def _open_orders(self) -> Sequence[VenueOrder]:
        return (
            *self.exchange.open_orders(Market.FUT),
            *self.exchange.open_conditional(),
            *self.exchange.open_orders(Market.SPOT),
        )

    async def order(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> VenueOrder:
        name = "algo" if conditional else "order"
        return await self._call(lambda: asked_for(name, key, signed=True), lambda: self._order(key, client_order_id))

    def _order(self, key: InstrumentKey, client_order_id: str) -> VenueOrder:
        found = self.exchange.order(key.market, key.symbol, client_order_id)
        if found is not None and self._faults is not None:
            found = self._faults.looked_up(found)
        if found is None:
            raise Refusal(-2013, "Order does not exist.")
        return found

    async def fills(self, key: InstrumentKey, since_ms: int) -> Sequence[VenueFill]:
        return await self._call(
            lambda: asked_for("userTrades", key, signed=True),
            lambda: self.exchange.fills(key.market, key.symbol, since_ms=since_ms),
        )

    async def income(self, since_ms: int) -> Sequence[Income]:
        return await self._call(lambda: asked_for("income", signed=True), lambda: self.exchange.income(since_ms))

    async def place(self, order: NewOrder) -> VenueOrder:
        return await self._call(lambda: asked_to_place(order), lambda: self._place(order))

    def _place(self, order: NewOrder) -> VenueOrder:
        placed, changes = self.exchange.place(order, self.clock.now_ms())
        self._answer_for(changes)
        return placed

    async def place_oco(self, oco: NewOco) -> Sequence[VenueOrder]:
        return await self._call(lambda: asked_to_place_list(oco), lambda: self._place_oco(oco))

    def _place_oco(self, oco: NewOco) -> Sequence[VenueOrder]:
        legs, changes = self.exchange.place_oco(oco, self.clock.now_ms())
        self._answer_for(changes)
        return legs

    async def cancel(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> VenueOrder:
        return await self._call(
            lambda: asked_to_cancel(key, client_order_id, conditional=conditional),
            lambda: self._cancel(key, client_order_id, conditional),
        )

    def _cancel(self, key: InstrumentKey, client_order_id: str, conditional: bool) -> VenueOrder:
        canceled, changes = self.exchange.cancel(
            key.market, key.symbol, client_order_id, self.clock.now_ms(), conditional=conditional
        )
        self._answer_for(changes)
        return canceled

    async def cancel_all_after(self, symbol: str, countdown_ms: int) -> None:
        await self._call(
            lambda: asked_to_change("countdown", symbol), lambda: self._cancel_all_after(symbol, countdown_ms)
        )

    def _cancel_all_after(self, symbol: str, countdown_ms: int) -> None:
        now_ms = self.clock.now_ms()
        self.exchange.set_countdown(symbol, countdown_ms, now_ms)
        self._answer_for(())
        if countdown_ms:
            self.look_at_ms(now_ms + countdown_ms)

    async def ensure_isolated(self, symbol: str, leverage: int) -> None:
        await self._call(lambda: asked_to_change("leverage", symbol), lambda: self._ensure_isolated(symbol, leverage))

    def _ensure_isolated(self, symbol: str, leverage: int) -> None:
        try:
            self._answer_for(self.exchange.set_margin_type(symbol, isolated=True, now_ms=self.clock.now_ms()))
        except Refusal as refusal:
            if refusal.code != MARGIN_UNCHANGED:
                raise
        if self.exchange.leverage(symbol) != leverage:
            self._answer_for(self.exchange.set_leverage(symbol, leverage, self.clock.now_ms()))

    async def transfer(self, source: Market, target: Market, amount_usdt: Decimal) -> int:
        return await self._call(
            lambda: asked_to_change("transfer"), lambda: self._transfer(source, target, amount_usdt)
        )

    def _transfer(self, source: Market, target: Market, amount_usdt: Decimal) -> int:
        moved, changes = self.exchange.transfer(source, target, "USDT", amount_usdt, self.clock.now_ms())
        self._answer_for(changes)
        return moved.tran_id

    async def transfers(self, since_ms: int) -> Sequence[Transfer]:
        return await self._call(
            lambda: asked_for("transfer.history", signed=True), lambda: self.exchange.transfers(since_ms)
        )

    def _answer_for(self, changes: Sequence[AccountChange]) -> None:
        """What a request caused. An exchange that cannot write it down does not answer."""
        try:
            self.settle(changes)
        except JournalError as error:
            raise OutcomeUnknown(str(error)) from error


class SimulatedFactorFeed:
    """MAX USDT/TWD of the same market."""

    symbol = "USDTTWD"

    def __init__(self, feed: MarketFeed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock

    async def bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return self._feed.factor_bars(interval, start_ms, min(end_ms, self._clock.now_ms()))


def _name_of(event: MarketEvent) -> tuple[Market, str]:
    if isinstance(event, MarkPrice):
        return Market.FUT, event.symbol
    return event.market, event.symbol
