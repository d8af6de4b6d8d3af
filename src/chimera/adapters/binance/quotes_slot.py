"""The newest top of one instrument's book, from whatever of its streams spoke last.

Owns what is newest: the best prices and the book count by the same update ids. Best prices newer than the book replace
its top, and levels that they contradict are left out, so that a top is never crossed. Nothing is told before a last
price is known. A price far from the one before it is refused, until it has been repeated for so long that it must be
true. Pure.
"""

from decimal import Decimal

from chimera.adapters.binance.local_book import LocalBook
from chimera.adapters.binance.parse_events import Ticker
from chimera.adapters.binance.refused import BadEvent
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.quotes import BookTop

LEVELS = 5
JUMP_MAX = 2.0
"""A price this many times the one before, or less than 1 / so many of it, is a jump."""
SAME = 1.1
"""Repeated means: within this factor of the price that was refused first."""
BELIEVED_MS = 10_000
"""Of our own work, as the speed of the market does not make a wrong number true."""
STALE_MS = 60_000
"""A price so old says nothing about the next one."""


class PriceGuard:
    """`believed_ms`, `stale_ms` in market time."""

    __slots__ = ("_believed_ms", "_price", "_refused", "_refused_ms", "_seen_ms", "_stale_ms")

    def __init__(self, believed_ms: int, stale_ms: int) -> None:
        self._believed_ms = believed_ms
        self._stale_ms = stale_ms
        self._price = 0.0
        self._seen_ms = 0
        self._refused = 0.0
        self._refused_ms = 0

    def check(self, price: float, now_ms: int) -> None:
        """
        Raises:
            BadEvent: too far from the one before.
        """
        before = self._price
        if before and not before / JUMP_MAX < price < before * JUMP_MAX and now_ms - self._seen_ms < self._stale_ms:
            if not self._refused / SAME < price < self._refused * SAME:
                self._refused = price
                self._refused_ms = now_ms
            if now_ms - self._refused_ms < self._believed_ms:
                # While refused ones keep coming the one before does not become stale.
                self._seen_ms = now_ms
                raise BadEvent("a price jumped")
        self._price = price
        self._seen_ms = now_ms
        self._refused = 0.0


class QuotesSlot:
    __slots__ = ("_ts", "book", "book_ts", "dirty", "guard", "key", "last", "ticker")

    def __init__(self, key: InstrumentKey, guard: PriceGuard) -> None:
        self.key = key
        self.guard = guard
        self.book = LocalBook()
        self.book_ts = 0
        self.ticker: Ticker | None = None
        self.last: str | None = None
        self.dirty = False
        """Something changed since the last `take`."""
        self._ts = 0

    def hear_ticker(self, ticker: Ticker) -> None:
        """One older than the newest, as two connections tell them, is let go of."""
        newest = self.ticker
        if newest is None or ticker.update_id >= newest.update_id:
            self.ticker = ticker
            self.dirty = True

    def forget(self) -> None:
        """The connection before has ended: its book is lost and its prices are old."""
        self.book.lose()
        self.ticker = None
        self.dirty = False

    def take(self) -> BookTop | None:
        """The newest top, if it changed since the last time and can be told."""
        if not self.dirty or self.last is None:
            return None
        self.dirty = False
        book, ticker = self.book, self.ticker
        ready = book.ready
        bids, asks = (book.bids(LEVELS), book.asks(LEVELS)) if ready else ((), ())
        ts = self.book_ts
        if ticker is not None and (not ready or ticker.update_id > book.last_id or not bids or not asks):
            bid = (Decimal(ticker.bid), Decimal(ticker.bid_qty))
            ask = (Decimal(ticker.ask), Decimal(ticker.ask_qty))
            bids = (bid, *(level for level in bids if level[0] < bid[0]))[:LEVELS]
            asks = (ask, *(level for level in asks if level[0] > ask[0]))[:LEVELS]
            ts = ticker.ts
        if not bids or not asks:
            return None
        self._ts = max(self._ts, ts)
        return BookTop(self._ts, self.key.market, self.key.symbol, bids, asks, Decimal(self.last))
