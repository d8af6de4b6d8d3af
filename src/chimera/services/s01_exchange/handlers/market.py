"""Listening to the market: one stream of events, sorted to those who tell them on.

Within a batch ticks go before bars: a bar that closed with this batch is then judged with its prices, not the last.
"""

from dataclasses import dataclass, field

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.quotes import Bar, BookTop
from chimera.ports.clock import Clock
from chimera.ports.venue import Venue
from chimera.services.s01_exchange.handlers.klines import Klines
from chimera.services.s01_exchange.handlers.marks import Marks
from chimera.services.s01_exchange.handlers.silence import Silence
from chimera.services.s01_exchange.handlers.ticks import Ticks


def book_stream(key: InstrumentKey) -> str:
    return f"book {key}"


def kline_stream(key: InstrumentKey) -> str:
    return f"kline {key}"


def mark_stream(symbol: str) -> str:
    return f"mark {InstrumentKey(Market.FUT, symbol)}"


@dataclass(slots=True, kw_only=True)
class MarketListener:
    keys: tuple[InstrumentKey, ...]
    venue: Venue
    clock: Clock
    ticks: Ticks
    marks: Marks
    klines: Klines
    silence: Silence
    _names: dict[tuple[Market, str], tuple[InstrumentKey, str, str]] = field(init=False)
    """By market and symbol: the key and the names of its two streams."""
    _marks: dict[str, str] = field(init=False)
    """By symbol."""

    def __post_init__(self) -> None:
        self._names = {(key.market, key.symbol): (key, book_stream(key), kline_stream(key)) for key in self.keys}
        self._marks = {key.symbol: mark_stream(key.symbol) for key in self.keys}

    async def listen(self) -> None:
        """Runs for ever; begins with what was missed since the last time."""
        await self.klines.catch_up()
        spoke_ms = self.silence.spoke_ms
        names = self._names
        async for events in self.venue.market_events(self.keys):
            now_ms = self.clock.now_ms()
            tops: dict[InstrumentKey, BookTop] = {}
            bars: list[tuple[InstrumentKey, Bar]] = []
            for event in events:
                if isinstance(event, BookTop):
                    key, book, _ = names[event.market, event.symbol]
                    tops[key] = event
                    spoke_ms[book] = now_ms
                elif isinstance(event, Bar):
                    key, _, kline = names[event.market, event.symbol]
                    bars.append((key, event))
                    spoke_ms[kline] = now_ms
                else:
                    spoke_ms[self._marks[event.symbol]] = now_ms
                    await self.marks.on_mark(event)
            for key, top in tops.items():
                await self.ticks.on_tick(key, top)
            for key, bar in bars:
                await self.klines.on_bar(key, bar)
