"""What the market shows: best prices, the mark, closed bars. Values only; nobody here decides anything."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey

Level = tuple[Decimal, Decimal]
"""(price, qty)."""

INTERVAL_MS = {
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "8h": 28_800_000,
    "1d": 86_400_000,
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One kline. Prices are floats: bars feed estimates and draw charts, they are never owed to anybody.

    `open_time` is epoch ms; the bar covers [open_time, open_time + interval). `volume` is in base asset.
    """

    market: Market
    symbol: str
    interval: str
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def close_time(self) -> int:
        """The first ms after the bar."""
        return self.open_time + INTERVAL_MS[self.interval]


@dataclass(frozen=True, slots=True)
class BookTop:
    """The visible top of a book at one instant: up to a few levels a side, best first, never empty, never crossed."""

    ts: int
    market: Market
    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    last: Decimal

    @property
    def key(self) -> InstrumentKey:
        return InstrumentKey(self.market, self.symbol)

    @property
    def bid(self) -> Decimal:
        return self.bids[0][0]

    @property
    def ask(self) -> Decimal:
        return self.asks[0][0]

    @property
    def mid(self) -> Decimal:
        return (self.bids[0][0] + self.asks[0][0]) / 2


@dataclass(frozen=True, slots=True)
class MarkPrice:
    """Mark price and the next funding of a perpetual. `funding_rate` is for the symbol's own interval."""

    ts: int
    symbol: str
    mark: Decimal
    funding_rate: float
    funding_time: int
    interval_h: int


MarketEvent = BookTop | MarkPrice | Bar
"""What a market stream says. A Bar is always closed."""
