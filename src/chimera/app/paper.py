"""Paper: the prices of a real exchange, the fills of the simulated one.

Owns the seam between the two: what the real market shows becomes ticks of the simulated exchange, and whatever is asked
of the market is asked there. Needs no keys and sends no order anywhere. Nothing is filled by a price that cannot be
true, and nothing is sent into a book that has not been heard of for a while: the real one is asked first.

While the process is down the simulated exchange is too: a stop that the price passed meanwhile fills at the first price
after the start, and a funding that was due is settled then, at the rate that was announced last.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import aiohttp
import structlog

from chimera.adapters.binance.venue import BinanceVenue, create_venue
from chimera.adapters.chance import SystemRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.max.feed import MaxFactorFeed
from chimera.adapters.simulated_venue.feed import OpenSide, Tick
from chimera.adapters.simulated_venue.journal import FileJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import EXCHANGE_NAMES, DataFolder
from chimera.app.exchange_time import follow_time
from chimera.app.gate import SKEW_MS_MAX, clock_findings, when_allowed, why_not
from chimera.app.hosted_exchange import mark_clock
from chimera.app.remote import Place, find, opened, require_symbols
from chimera.app.sides import STALL_MAX_MS, Spawn, UpOptions, UpProblem, Waiting, resumes_at_ms_of
from chimera.app.simulated_market import keys_for, listed_keys
from chimera.contracts.collections import ORDERS
from chimera.contracts.enums import Market, OrderStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import NewOrder, VenueOrder
from chimera.domain.market.generator import FundingRate
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Bar, BookTop, MarketEvent, MarkPrice
from chimera.domain.matching.account import State
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.clock import Clock
from chimera.ports.documents import Query
from chimera.ports.venue import FactorFeed, Venue, VenueError, VenueUnavailable

START_USDT = Decimal(1_000)
"""In each wallet of a new paper account."""

FRESH_MS = 2_000
"""A price heard of so long ago is asked for again before an order meets it. A quiet book may well be silent so long."""

log = structlog.get_logger(__name__)


class LivePrices:
    """The simulated exchange's view of a market that comes by itself: nothing can be asked of the future."""

    tick_interval_ms = 0

    def next_after(self, ts: int, open_side: OpenSide) -> Tick | None:
        return None

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        raise LookupError("a market that comes by itself has no past; the real one is asked")

    def factor_bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        raise LookupError("a market that comes by itself has no other one; MAX is asked")

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> Sequence[FundingRate]:
        raise LookupError("a market that comes by itself has no past; the real one is asked")


class PaperVenue(SimulatedVenue):
    """The simulated exchange fed by `live`."""

    def __init__(self, live: Venue, *, exchange: Exchange, rules: ExchangeRules, clock: Clock, journal: FileJournal):
        super().__init__(exchange=exchange, rules=rules, feed=LivePrices(), clock=clock, journal=journal)
        self._live = live
        self._books_ms: dict[InstrumentKey, int] = {}
        self._marks_ms: dict[str, int] = {}

    @property
    def name(self) -> str:
        return "paper"

    @property
    def tick_interval_ms(self) -> int:
        return self._live.tick_interval_ms

    async def server_time_ms(self) -> int:
        return await self._live.server_time_ms()

    async def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return await self._live.klines(key, interval, start_ms, end_ms)

    async def instruments(self) -> Sequence[Instrument]:
        """The rules as they are there now, which bind our matching from now on. What is listed there no more is left
        out, and keeps its last rules."""
        listed = {instrument.key: instrument for instrument in await self._live.instruments()}
        for old in self.exchange.instruments():
            new = listed.get(old.key, old)
            if new != old:
                self._adopt(new)
        return tuple(each for each in self.exchange.instruments() if each.key in listed)

    def _adopt(self, new: Instrument) -> None:
        try:
            self.exchange.replace_instrument(new)
        except ValueError as problem:
            log.warning("new rules cannot be traded by", instrument=str(new.key), why=str(problem))
        self.rules = replace(self.rules, instruments=self.exchange.instruments())

    async def book(self, key: InstrumentKey) -> BookTop:
        await self._look(key)
        return await super().book(key)

    async def mark(self, symbol: str) -> MarkPrice:
        if self._is_old(self._marks_ms.get(symbol, 0)):
            self.show([await self._live.mark(symbol)])
        return await super().mark(symbol)

    async def place(self, order: NewOrder) -> VenueOrder:
        if not order.conditional:
            await self._look(order.key)
        return await super().place(order)

    async def follow(self, keys: Sequence[InstrumentKey]) -> None:
        """Let the real market move the simulated exchange; runs for ever.

        Raises:
            VenueUnavailable: it has ended, which no market does.
        """
        async for events in self._live.market_events(keys):
            self.show(events)
        raise VenueUnavailable("the market's streams ended")

    def show(self, events: Sequence[MarketEvent]) -> None:
        """One batch of the real market: the account reacts to what can be true of it."""
        tick = tick_of(events, self.clock.now_ms())
        for book in tick.books:
            self._books_ms[book.key] = tick.ts
        for mark in tick.marks:
            self._marks_ms[mark.symbol] = tick.ts
        self.apply(tick)

    async def _look(self, key: InstrumentKey) -> None:
        """Ask for the book of `key`, unless it was heard of just now.

        Raises:
            VenueUnavailable: it cannot be had.
        """
        if not self._is_old(self._books_ms.get(key, 0)):
            return
        top = await self._live.book(key)
        if self._is_old(self._books_ms.get(key, 0)):  # else the stream was quicker, and knows better
            self.show([top])
        if self._is_old(self._books_ms.get(key, 0)):
            raise VenueUnavailable(f"{key} has no book that can be traded on")

    def _is_old(self, heard_ms: int) -> bool:
        return self.clock.now_ms() - heard_ms > self.clock.work_ms(FRESH_MS)


def tick_of(events: Sequence[MarketEvent], now_ms: int) -> Tick:
    """A batch of a real stream as one instant, without what no market can show."""
    books: list[BookTop] = []
    marks: list[MarkPrice] = []
    bars: list[Bar] = []
    for event in events:
        if isinstance(event, Bar):
            bars.append(event)
        elif not _can_be(event):
            log.warning("a price that cannot be was left out", price=str(event))
        elif isinstance(event, BookTop):
            books.append(event)
        else:
            marks.append(event)
    return Tick(now_ms, tuple(books), tuple(marks), tuple(bars))


def _can_be(event: BookTop | MarkPrice) -> bool:
    """Both sides there, in order, not crossed and not touching; prices and quantities above zero."""
    if isinstance(event, MarkPrice):
        return event.mark > 0
    if not event.bids or not event.asks or event.last <= 0:
        return False
    prices = [price for price, _ in (*reversed(event.bids), *event.asks)]
    return (
        prices[0] > 0
        and all(lower < higher for lower, higher in pairwise(prices))
        and all(qty > 0 for _, qty in (*event.bids, *event.asks))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSide:
    venue: PaperVenue
    market: BinanceVenue
    factor_feed: FactorFeed
    clock: LoopClock
    keys: tuple[InstrumentKey, ...]
    watched: tuple[InstrumentKey, ...]
    journal: FileJournal
    stack: AsyncExitStack
    name: str = "paper"

    @classmethod
    async def open(
        cls, options: UpOptions, folder: DataFolder, documents: SqliteDocuments, waiting: Waiting
    ) -> "PaperSide":
        """Waits for an exchange that limits this address.

        Raises:
            UpProblem: the market cannot be reached, does not list a symbol, or is another than the account's.
        """
        async with AsyncExitStack() as stack:
            # A refused start leaves no exchange behind: only an account makes one.
            journal = _journal(folder, stack) if (folder.venue / EXCHANGE_NAMES[0]).exists() else None
            kept = None if journal is None else journal.meta("paper")
            state = {} if journal is None else journal.state()
            await _refuse_half(kept is None, bool(state.get("order")), documents, folder)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            place = await find(options.market_data, None, session, option="--market-data", waiting=waiting)
            _refuse_other(place, kept, options, folder)
            stood_ms = place.now_ms if journal is None or kept is None else journal.times_ms()[0]
            clock = _clock_after(await resumes_at_ms_of(stood_ms, STALL_MAX_MS, documents, folder), place, options)
            live = create_venue(
                name=place.name,
                hosts=place.hosts,
                clock=clock,
                randomness=SystemRandomness(),
                snapshots=None,
                session=session,
                tick_interval_ms=place.tick_interval_ms,
            )
            await opened(live, clock, stack, waiting)
            keys, watched = keys_for(options.symbols), listed_keys(options.symbols)
            try:
                refused = why_not(await when_allowed(lambda: clock_findings(live, clock), clock, waiting))
                instruments = require_symbols(await when_allowed(live.instruments, clock, waiting), watched)
            except VenueError as error:
                raise UpProblem(f"--market-data {options.market_data}: {error}. Try again") from error
            if refused is not None:
                raise UpProblem(refused)
            rules = ExchangeRules(instruments=instruments)
            journal = journal or _journal(folder, stack)
            if kept is None:
                exchange = _new_account(rules, journal, clock.now_ms(), place)
            else:
                _refuse_unwatched(state, keys, folder)
                exchange = Exchange.restore(rules, state)
            return cls(
                venue=PaperVenue(live, exchange=exchange, rules=rules, clock=clock, journal=journal),
                market=live,
                clock=clock,
                factor_feed=MaxFactorFeed(base_url=place.hosts.max_rest, session=session, clock=clock),
                keys=keys,
                watched=watched,
                journal=journal,
                stack=stack.pop_all(),
            )
        raise AssertionError("the stack swallows nothing")

    def before_house(self, spawn: Spawn) -> None:
        spawn("paper clock", mark_clock(self.journal, self.clock))
        spawn("exchange's time", follow_time(self.clock, self.market.rest.clocks))
        spawn("paper market", self.venue.follow(self.watched))

    def after_house(self, spawn: Spawn) -> None:
        """The market runs already: services wait for its first prices."""

    async def close(self) -> None:
        self.journal.mark_time(self.clock.now_ms())
        await self.stack.aclose()


def _journal(folder: DataFolder, stack: AsyncExitStack) -> FileJournal:
    journal = FileJournal(folder.venue)
    stack.callback(journal.close)
    return journal


async def _refuse_half(new: bool, has_orders: bool, documents: SqliteDocuments, folder: DataFolder) -> None:
    """
    Raises:
        UpProblem: the account is gone and its documents are not, or the other way round.
    """
    on_file = bool(await documents.find(Query(collection=ORDERS, index="by_time", limit=1)))
    if (new and on_file) or (has_orders and not on_file):
        lost = folder.venue if new else folder.documents
        raise UpProblem(
            f"data folder {folder.path} holds half of a system: what was in {lost.relative_to(folder.path)} is missing."
            " Put it back where it was, restore a copy of the whole folder, or choose another --data."
        )


def _refuse_other(place: Place, kept: dict[str, Any] | None, options: UpOptions, folder: DataFolder) -> None:
    """
    Raises:
        UpProblem: its market runs at another speed, or the account has followed another one.
    """
    asked = f"--market-data {options.market_data}"
    if place.speed != 1.0:
        raise UpProblem(f"{asked}: its market runs at {place.speed:g}, and paper follows one at 1")
    if kept is not None and kept["market"] != place.name:
        raise UpProblem(
            f"{asked}: the paper account in {folder.path} follows the {kept['market']} market, and its positions have"
            " prices of that one. Ask for the same, or choose another --data."
        )


def _clock_after(stood_ms: int, place: Place, options: UpOptions) -> LoopClock:
    """The market's time, never before the account's own.

    Raises:
        UpProblem: so far before it that entries would be refused for as long as the system runs.
    """
    ahead_ms = stood_ms - place.now_ms
    if ahead_ms > SKEW_MS_MAX:
        raise UpProblem(
            f"--market-data {options.market_data}: the paper account stands {ahead_ms / 1_000:.1f} s after that market."
            " Is it the same one, and this machine's clock right? Correct that, wait so long, or choose another --data."
        )
    return LoopClock(max(stood_ms, place.now_ms))


def _new_account(rules: ExchangeRules, journal: FileJournal, now_ms: int, place: Place) -> Exchange:
    exchange = Exchange(rules, spot_balances={"USDT": START_USDT}, fut_balances={"USDT": START_USDT})
    journal.write_state(exchange.export_state())
    journal.mark_time(now_ms)
    journal.mark_tick(now_ms)
    # Last: without it the account is still to be made.
    journal.set_meta({"paper": {"market": place.name, "since_ms": now_ms}})
    return exchange


def _refuse_unwatched(state: State, keys: Sequence[InstrumentKey], folder: DataFolder) -> None:
    """
    Raises:
        UpProblem: the account holds, or has an open order of, what nobody would look after.
    """
    held = {InstrumentKey(Market.FUT, symbol) for symbol in state.get("position", {})}
    held |= {
        InstrumentKey(Market(row["market"]), row["symbol"])
        for row in state.get("order", {}).values()
        if not OrderStatus(row["status"]).is_final
    }
    left = sorted({key.symbol for key in held - set(keys)})
    if left:
        raise UpProblem(
            f"--symbols: the paper account in {folder.path} has {', '.join(left)} open. Name it too until it is closed,"
            " or choose another --data."
        )
