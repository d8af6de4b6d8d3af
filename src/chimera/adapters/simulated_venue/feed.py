"""What the simulated exchange needs of a market: the next tick, and the bars that have closed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from chimera.contracts.enums import Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.generator import FundingRate
from chimera.domain.market.quotes import Bar, BookTop, MarkPrice

OpenSide = Callable[[str], Side | None]
"""Which way a futures position of ours lies, for a path that is pessimistic about it."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One instant of the whole market: new books and marks of every instrument, and the bars that closed with it."""

    ts: int
    books: tuple[BookTop, ...]
    marks: tuple[MarkPrice, ...]
    bars: tuple[Bar, ...]


class MarketFeed(Protocol):
    @property
    def tick_interval_ms(self) -> int: ...

    def next_after(self, ts: int, open_side: OpenSide) -> Tick | None:
        """The first tick later than `ts`, None where the market has ended."""
        ...

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        """Bars that closed by `end_ms`, start_ms <= open_time, oldest first; history before the start included."""
        ...

    def factor_bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        """USDT/TWD, the same way."""
        ...

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> Sequence[FundingRate]:
        """Settlements with start_ms <= ts < end_ms, oldest first."""
        ...
