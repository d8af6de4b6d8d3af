"""The simulated exchange as a running thing: its market goes on, its account reacts, its journal keeps, faces tell.

Owns the order of things at the exchange: a tick or a request changes the account, the change is in the journal, and
only then is it told. Everything the exchange decides stands in `domain/matching`; nothing is decided here. The venue
port in process and the server that speaks the exchange's own protocol are two faces of it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from chimera.adapters.simulated_venue.feed import MarketFeed, Tick
from chimera.adapters.simulated_venue.journal import Journal, JournalError
from chimera.contracts.enums import Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import AccountChange
from chimera.domain.market.quotes import BookTop, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.clock import Clock

Observer = Callable[[str, object], None]
OnTick = Callable[[Tick], None]
OnChanges = Callable[[Sequence[AccountChange]], None]

log = structlog.get_logger(__name__)


class ExchangeHost:
    """
    Args:
        observe: told of every account change, in order: the trace digest hangs here.
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
    ) -> None:
        self.exchange = exchange
        self.rules = rules
        self.feed = feed
        self.clock = clock
        self.journal = journal
        self.books: dict[InstrumentKey, BookTop] = {}
        self.marks: dict[str, MarkPrice] = {}
        self.on_tick: list[OnTick] = []
        """Told of each tick after the account has reacted to it, and after `on_changes`."""
        self.on_changes: list[OnChanges] = []
        """Told of what a tick or a request did to the account, once it is durable."""
        self.shape: Callable[[Tick], Tick] | None = None
        """Bends each tick before the account sees it, so that a shifted market is shifted for everybody alike."""
        self.ended = asyncio.Event()
        self._observe = observe
        self._untold: list[AccountChange] = []

    async def run(self, from_ms: int) -> None:
        """Let the market go on from `from_ms`, for ever or until its source ends."""
        at = from_ms
        while (tick := self.feed.next_after(at, self._open_side)) is not None:
            at = tick.ts
            # A market that is behind catches up, and everybody has a turn after each tick all the same.
            await self.clock.sleep_until_ms(max(tick.ts, self.clock.now_ms()))
            self.apply(tick)
        self.ended.set()

    def apply(self, tick: Tick) -> None:
        """One instant of the market: the account reacts, then everybody hears of it. What it did to the account is told
        with a later tick where it cannot be written down now."""
        if self.shape is not None:
            tick = self.shape(tick)
        now_ms = self.clock.now_ms()
        changes: list[AccountChange] = []
        for book in tick.books:
            self.books[book.key] = book
            changes += self.exchange.on_book(book, now_ms)
        for mark in tick.marks:
            self.marks[mark.symbol] = mark
            changes += self.exchange.on_mark(mark, now_ms)
        self._untold += changes
        try:
            self.journal.mark_tick(tick.ts)
            if self._untold:
                self.settle(())
            else:
                # What nobody is told of, but a restart must know: how far a trailing stop has come.
                self.journal.commit(self.exchange.drain_rows())
        except JournalError as error:
            log.error("what a tick did is not written down yet", untold=len(self._untold), why=str(error))
        for tell in self.on_tick:
            tell(tick)

    def show_again(self, ts: int) -> None:
        """After a restart: the last tick once more, so that there are prices before anybody asks for them."""
        last: Tick | None = None
        at = ts - self.feed.tick_interval_ms - 1
        while (tick := self.feed.next_after(at, self._open_side)) is not None and tick.ts <= ts:
            last, at = tick, tick.ts
        if last is not None:
            self.apply(replace(last, bars=()))

    def look_at_ms(self, at_ms: int) -> None:
        """Do then what is due by the clock alone, for no tick may come."""
        self.clock.call_at_ms(at_ms, self._on_time)

    def _on_time(self) -> None:
        changes = self.exchange.on_time(self.clock.now_ms())
        try:
            if changes:
                self.settle(changes)
        except JournalError as error:
            log.error("what was due is not written down yet", untold=len(self._untold), why=str(error))

    def settle(self, changes: Sequence[AccountChange]) -> None:
        """Durable first, told second; the clock never resumes before what the exchange has stamped.

        Raises:
            JournalError: the changes stand, and are told once a later call has written them down.
        """
        self._untold += changes
        self.journal.mark_time(self.clock.now_ms())
        self.journal.commit(self.exchange.drain_rows())
        durable, self._untold = tuple(self._untold), []
        for change in durable:
            if self._observe is not None:
                self._observe("venue", change)
        for tell in self.on_changes:
            tell(durable)

    def _open_side(self, symbol: str) -> Side | None:
        for position in self.exchange.positions():
            if position.symbol == symbol:
                return Side.BUY if position.qty > 0 else Side.SELL
        return None
