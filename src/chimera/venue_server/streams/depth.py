"""Books as the exchange shows them, and the chain of their update ids.

Owns the length of a shown book: the visible levels and the synthetic ones that a taker would really meet behind them.
The update id of a book is its time, so REST, streams and a restarted exchange agree without sharing anything. What our
own takers ate is not shown: the next tick refills it.

    spot       U = previous u + 1
    futures    pu = previous u, U = pu: whoever joins by the documented U <= lastUpdateId <= u may do it at once
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from chimera.adapters.simulated_venue.host import ExchangeHost
from chimera.contracts.enums import Market, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.quotes import BookTop, Level
from chimera.domain.matching.book import OutsideBook
from chimera.venue_server.streams.spelling import Spelling

EVERYTHING = Decimal(10) ** 15

Row = tuple[str, str]
"""(price, qty) as they leave; a quantity of zero takes the level away."""


@dataclass(frozen=True, slots=True)
class Depth:
    """Best first; `last_update_id` is also the time of the picture."""

    last_update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """What changed after update `previous_id` up to and with `last_id`."""

    previous_id: int
    last_id: int
    bids: list[Row]
    asks: list[Row]


class DepthBooks:
    """Every book of the exchange, unfolded when somebody asks and not again before the next tick."""

    def __init__(self, host: ExchangeHost) -> None:
        self._host = host
        levels = host.rules.synthetic_levels
        self._outside = {each.key: OutsideBook(each, levels) for each in host.rules.instruments}
        self._spelling = {each.key: Spelling(each) for each in host.rules.instruments}
        self._shown: dict[InstrumentKey, Depth] = {}
        self._rows: dict[InstrumentKey, tuple[Depth, list[Row], list[Row]]] = {}

    def snapshot(self, key: InstrumentKey, limit: int) -> Depth | None:
        """At most `limit` levels a side; None before the first tick."""
        book = self._host.books.get(key)
        return None if book is None else self.behind(book, limit)

    def behind(self, book: BookTop, limit: int) -> Depth:
        """The same for a book at hand."""
        depth = self._unfold(book)
        if limit >= max(len(depth.bids), len(depth.asks)):
            return depth
        return Depth(depth.last_update_id, depth.bids[:limit], depth.asks[:limit])

    def chain(self, key: InstrumentKey) -> "DiffChain":
        """A new one, which nobody follows yet."""
        return DiffChain(key.market, self._spelling[key].no_qty)

    def rows(self, key: InstrumentKey) -> tuple[int, list[Row], list[Row]] | None:
        """The same as written: (last update id, bids, asks), every level."""
        book = self._host.books.get(key)
        if book is None:
            return None
        depth = self._unfold(book)
        written = self._rows.get(key)
        if written is None or written[0] is not depth:
            spell = self._spelling[key]
            bids, asks = spell.levels(depth.bids), spell.levels(depth.asks)
            written = self._rows[key] = (depth, bids, asks)
        return depth.last_update_id, written[1], written[2]

    def _unfold(self, book: BookTop) -> Depth:
        shown = self._shown.get(book.key)
        if shown is None or shown.last_update_id != book.ts:
            outside = self._outside[book.key]
            outside.refill(book)
            bids = outside.plan(Side.SELL, EVERYTHING, None)
            asks = outside.plan(Side.BUY, EVERYTHING, None)
            shown = self._shown[book.key] = Depth(book.ts, bids, asks)
        return shown


class DiffChain:
    """What the listeners of one diff stream know: two diffs in a row always join, whatever was between them.

    A level that changed and changed back is told all the same: a snapshot may have been taken in between.

    Args:
        no_qty: how zero is written, the quantity of a level that has gone.
    """

    def __init__(self, market: Market, no_qty: str) -> None:
        self.known_id = 0
        """Update id of the last diff that was told."""
        self._market = market
        self._seen_id = 0
        self._bids = _Side(no_qty)
        self._asks = _Side(no_qty)

    def begin(self, last_update_id: int, bids: Sequence[Row], asks: Sequence[Row]) -> None:
        """Whoever takes a snapshot from now on can follow."""
        self.known_id = self._seen_id = last_update_id
        self._bids.show(bids)
        self._asks.show(asks)
        self._bids.told()
        self._asks.told()

    def see(self, last_update_id: int, bids: Sequence[Row], asks: Sequence[Row]) -> None:
        """The book after one more tick; every tick must be seen."""
        if last_update_id > self._seen_id:
            self._seen_id = last_update_id
            self._bids.show(bids)
            self._asks.show(asks)

    def advance(self) -> Diff | None:
        """Everything seen since the last diff; None where nothing has changed."""
        bids, asks = self._bids.told(), self._asks.told()
        if not bids and not asks:
            return None
        diff = Diff(self.known_id, self._seen_id, bids, asks)
        self.known_id = self._seen_id
        return diff

    def first_id(self, diff: Diff) -> int:
        return diff.previous_id if self._market is Market.FUT else diff.previous_id + 1


class _Side:
    """Levels as they stand, and those that were touched since they were told."""

    def __init__(self, no_qty: str) -> None:
        self._no_qty = no_qty
        self._levels: dict[str, str] = {}
        self._touched: dict[str, str] = {}

    def show(self, rows: Sequence[Row]) -> None:
        now, before, touched, no_qty = dict(rows), self._levels, self._touched, self._no_qty
        for price in before:
            if price not in now:
                touched[price] = no_qty
        for price, qty in now.items():
            if before.get(price) != qty:
                touched[price] = qty
        self._levels = now

    def told(self) -> list[Row]:
        changed, self._touched = list(self._touched.items()), {}
        return changed
