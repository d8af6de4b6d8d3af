"""Paper: the prices of a real exchange, the fills of the simulated one.

Owns the seam between the two: what the real market shows becomes ticks of the simulated exchange, and whatever is asked
of the market is asked there. Needs no keys and sends no order anywhere. While the process is down the simulated
exchange is too: a stop that the price passed meanwhile fills at the first price after the start.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal

from chimera.adapters.clocks import LoopClock, wall_ms
from chimera.adapters.simulated_venue.feed import OpenSide, Tick
from chimera.adapters.simulated_venue.journal import FileJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import DataFolder
from chimera.app.hosted_exchange import mark_clock
from chimera.app.remote import market_only, require_symbols
from chimera.app.sides import STALL_MAX_MS, Spawn, UpOptions, UpProblem, resumes_at_ms_of
from chimera.app.simulated_market import keys_for, listed_keys
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.generator import FundingRate
from chimera.domain.market.quotes import Bar, BookTop, MarketEvent, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.clock import Clock
from chimera.ports.venue import FactorFeed, Venue

START_USDT = Decimal(1_000)
"""In each wallet of a new paper account."""


class LivePrices:
    """The simulated exchange's view of a market that comes by itself: nothing can be asked of the future."""

    tick_interval_ms = 0

    def next_after(self, ts: int, open_side: OpenSide) -> Tick | None:
        return None

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        raise NotImplementedError("paper asks the real market")

    def factor_bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        raise NotImplementedError("paper asks MAX")

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> Sequence[FundingRate]:
        raise NotImplementedError("paper asks the real market")


class PaperVenue(SimulatedVenue):
    """The simulated exchange fed by `live`."""

    def __init__(self, live: Venue, *, exchange: Exchange, rules: ExchangeRules, clock: Clock, journal: FileJournal):
        super().__init__(exchange=exchange, rules=rules, feed=LivePrices(), clock=clock, journal=journal)
        self._live = live

    @property
    def name(self) -> str:
        return "paper"

    async def server_time_ms(self) -> int:
        return await self._live.server_time_ms()

    async def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return await self._live.klines(key, interval, start_ms, end_ms)

    async def follow(self, keys: Sequence[InstrumentKey]) -> None:
        """Let the real market move the simulated exchange; runs for ever."""
        async for events in self._live.market_events(keys):
            self.apply(tick_of(events, self.clock.now_ms()))


def tick_of(events: Sequence[MarketEvent], now_ms: int) -> Tick:
    """A batch of a real stream as one instant: the newest book and mark of each, every bar."""
    books: dict[InstrumentKey, BookTop] = {}
    marks: dict[str, MarkPrice] = {}
    bars: list[Bar] = []
    for event in events:
        if isinstance(event, BookTop):
            books[event.key] = event
        elif isinstance(event, MarkPrice):
            marks[event.symbol] = event
        else:
            bars.append(event)
    return Tick(now_ms, tuple(books.values()), tuple(marks.values()), tuple(bars))


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSide:
    venue: PaperVenue
    factor_feed: FactorFeed | None
    keys: tuple[InstrumentKey, ...]
    watched: tuple[InstrumentKey, ...]
    journal: FileJournal
    stack: AsyncExitStack
    name: str = "paper"

    @property
    def clock(self) -> Clock:
        return self.venue.clock

    @classmethod
    async def open(cls, options: UpOptions, folder: DataFolder, documents: SqliteDocuments) -> "PaperSide":
        """
        Raises:
            UpProblem: the market cannot be reached, or does not list a symbol.
        """
        if options.speed not in (None, 1.0):
            raise UpProblem("--speed: paper follows a real market, which runs at 1; leave it out")
        async with AsyncExitStack() as stack:
            # The exchange's clock only ever goes forward, whatever the machine's does between two runs.
            journal = FileJournal(folder.venue)
            stack.callback(journal.close)
            new = journal.meta("paper") is None
            now_ms = wall_ms()
            if not new:
                now_ms = max(now_ms, journal.times_ms()[0])
            clock = LoopClock(await resumes_at_ms_of(now_ms, STALL_MAX_MS, documents, folder))
            source = await market_only(options.market_data, clock, stack)
            keys, watched = keys_for(options.symbols), listed_keys(options.symbols)
            instruments = require_symbols(await source.venue.instruments(), watched)
            rules = ExchangeRules(instruments=instruments)
            if new:
                exchange = Exchange(rules, spot_balances={"USDT": START_USDT}, fut_balances={"USDT": START_USDT})
                journal.write_state(exchange.export_state())
                journal.mark_time(clock.now_ms())
                journal.mark_tick(clock.now_ms())
                journal.set_meta({"paper": {"since_ms": clock.now_ms()}})
            else:
                exchange = Exchange.restore(rules, journal.state())
            return cls(
                venue=PaperVenue(source.venue, exchange=exchange, rules=rules, clock=clock, journal=journal),
                factor_feed=source.factor_feed,
                keys=keys,
                watched=watched,
                journal=journal,
                stack=stack.pop_all(),
            )

    def before_house(self, spawn: Spawn) -> None:
        spawn("paper clock", mark_clock(self.journal, self.clock))
        spawn("paper market", self.venue.follow(self.watched))

    def after_house(self, spawn: Spawn) -> None:
        """The market runs already: services wait for its first prices."""

    async def close(self) -> None:
        self.journal.mark_time(self.clock.now_ms())
        await self.stack.aclose()
