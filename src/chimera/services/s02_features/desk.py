"""One instrument's book, and what must not be lost when it is replaced.

Owns which book is the instrument's. A bundle that wants other factors, and a past that has become longer, make a new
book beside the old one; the newest prices move over, because nobody tells them a second time.
"""

from collections import deque
from dataclasses import dataclass, field

from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.features.feature_book import FeatureBook


@dataclass(slots=True, kw_only=True)
class Desk:
    """Two of each are kept, as the book does: the newest may lie in the future of our clock."""

    key: InstrumentKey
    book: FeatureBook
    awaited: tuple[str, ...] = ()
    """Factors that the bundle wants and that are not in the book yet."""
    _tickers: deque[tuple[int, float, float]] = field(default_factory=lambda: deque(maxlen=2))
    _depths: deque[tuple[int, float, float, float, float]] = field(default_factory=lambda: deque(maxlen=2))
    _fundings: deque[tuple[int, float, int, int]] = field(default_factory=lambda: deque(maxlen=2))

    def on_ticker(self, ts: int, bid: float, ask: float) -> None:
        self._tickers.append((ts, bid, ask))
        self.book.on_ticker(ts, bid, ask)

    def on_depth(self, ts: int, bid: float, ask: float, bid_qty: float, ask_qty: float) -> None:
        self._depths.append((ts, bid, ask, bid_qty, ask_qty))
        self.book.on_depth(ts, bid, ask, bid_qty, ask_qty)

    def on_funding(self, ts: int, rate: float, interval_h: int, funding_time: int) -> None:
        self._fundings.append((ts, rate, interval_h, funding_time))
        self.book.on_funding(ts, rate, interval_h, funding_time)

    def replace(self, book: FeatureBook) -> None:
        """`book` is the instrument's from now on, with the prices that the last one had."""
        depths = deque(self._depths)
        for ticker in self._tickers:
            # Of one moment the ticker comes first, as S1 tells it.
            while depths and depths[0][0] < ticker[0]:
                book.on_depth(*depths.popleft())
            book.on_ticker(*ticker)
        for depth in depths:
            book.on_depth(*depth)
        for funding in self._fundings:
            book.on_funding(*funding)
        self.book = book
        self.awaited = ()
