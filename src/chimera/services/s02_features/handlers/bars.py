"""Closed bars into the books, in order, without holes.

Owns the order of bars here. The bus may lose one: what is missing between the newest bar in the book and the one that
came is read from file, where S1 wrote it before it told anybody. Start-up is the same step with an empty book; and
where the file has come to know more of the past than the book, a new book is made beside it and takes its place.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import KlineEvent
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.derived import Source, plan
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.feature_book import FeatureBook
from chimera.domain.market.quotes import Bar
from chimera.ports.clock import Clock
from chimera.services.s02_features.desk import Desk
from chimera.services.s02_features.handlers.emit import Emitter
from chimera.services.s02_features.handlers.history import History
from chimera.services.s02_features.handlers.regime import FACTOR_ID as RV_PCTILE
from chimera.services.s02_features.handlers.regime import Regimes

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000

BEHIND_MS_MAX = 1_000
"""So far our clock may be behind the exchange's; beyond it CLOCK_SKEW is told. Source: SERVICES S1."""


def bar_of(told: KlineEvent) -> Bar:
    return Bar(
        told.market,
        told.symbol,
        told.interval,
        told.open_time,
        float(told.open),
        float(told.high),
        float(told.low),
        float(told.close),
        float(told.volume),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookback:
    """How far back a book's factors look, and the day besides that the longest plain factor needs itself.

    `ticks`: by the plain factor whose samples are needed.
    """

    minutes_ms: int
    hours_ms: int
    ticks: Mapping[str, int]


def lookback(derived: Sequence[FactorSpec]) -> Lookback:
    steps = plan(derived)
    ticks: dict[str, int] = {}
    for step in steps:
        if step.source is Source.TICK and step.lookback_ms > 0:
            ticks[step.plain] = max(ticks.get(step.plain, 0), step.lookback_ms)
    of_minutes, of_hours = (
        max((step.lookback_ms for step in steps if step.source is source), default=0) + DAY_MS
        for source in (Source.MINUTE, Source.HOUR)
    )
    return Lookback(minutes_ms=of_minutes, hours_ms=of_hours, ticks=ticks)


@dataclass(slots=True, kw_only=True)
class Walk:
    """One book, or none, for the days alone, on its way through what is on file: the hours, then the minutes, which the
    book takes in order of their closes. It may go on from where it stopped."""

    key: InstrumentKey
    book: FeatureBook | None
    derived: tuple[FactorSpec, ...] = ()
    cross: CrossMarket | None
    history: History
    hours_since_ms: int
    minutes_since_ms: int
    newest_open: int = -1
    """Of the minutes; -1: there was none."""
    read: int = 0
    """Minutes that were on file."""
    _hours_ms: int = -1
    """Up to here the hours were read."""
    _minutes_ms: int = -1
    _hours: deque[Bar] = field(default_factory=deque)
    """Hours that the days are not told yet: those of which no bar is on file are told by their minutes, in order."""
    _whole: set[int] = field(default_factory=set)
    """Where the hours open that the days are told whole."""
    _days_ms: int = -1
    """Up to here the days were told."""

    async def to(self, end_ms: int) -> None:
        """Take everything that had closed by `end_ms`."""
        since_ms = max(self.hours_since_ms, self._hours_ms)
        async for hours in self.history.bars(self.key, "1h", since_ms, end_ms):
            for hour in hours:
                if self.book is not None:
                    self.book.on_bar(hour)
                if hour.open_time >= self._days_ms:
                    self._hours.append(hour)
                    self._whole.add(hour.open_time)
            # They wait in the book for the minutes: of an hour whose own bar is missing they are all that is known.
            self._hours_ms = hours[-1].close_time
        since_ms = max(self.minutes_since_ms, self._minutes_ms)
        async for minutes in self.history.bars(self.key, "1m", since_ms, end_ms):
            for minute in minutes:
                if self.book is not None:
                    self.book.on_bar(minute)
                self._tell_days(minute.open_time)
                if minute.open_time - minute.open_time % HOUR_MS not in self._whole:
                    self._tell_day(minute)
            self._tell_days(minutes[-1].close_time)
            self._settle(minutes[-1])
            self.newest_open = minutes[-1].open_time
            self._minutes_ms = minutes[-1].close_time
            self.read += len(minutes)
        self._tell_days(end_ms)

    def at_midnight(self, factor_id: str, midnight_ms: int) -> float | None:
        """What the bar that ended the day says, None where that bar is not on file: nothing older may stand for it."""
        if self.book is None or self.newest_open + MINUTE_MS != midnight_ms:
            return None
        return self.book.snapshot(midnight_ms, 0).values.get(factor_id)

    def _tell_days(self, until_ms: int) -> None:
        """The hours that had closed by then."""
        while self._hours and self._hours[0].close_time <= until_ms:
            self._tell_day(self._hours.popleft())

    def _tell_day(self, bar: Bar) -> None:
        if self.cross is not None and bar.open_time >= self._days_ms:
            self.cross.on_btc(bar)
            self._days_ms = bar.close_time

    def _settle(self, newest: Bar) -> None:
        """The book computes when it is asked; asked page by page it keeps no month of bars waiting."""
        if self.book is not None:
            self.book.snapshot(newest.close_time, 0)


@dataclass(slots=True, kw_only=True)
class Bars:
    """Bars of one instrument. `cross` is set for the one whose days stand against USDT/TWD, `regimes` for the one whose
    volatility is the market's; a lead that is not traded has no emitter."""

    desk: Desk
    derived: Callable[[], tuple[FactorSpec, ...]]
    """The factors beyond the built-in ones that a new book is to compute."""
    new_book: Callable[[Market, tuple[FactorSpec, ...]], FeatureBook]
    emitter: Emitter | None
    cross: CrossMarket | None
    regimes: Regimes | None
    minutes_ms: int
    hours_ms: int
    history: History
    clock: Clock
    computed: tuple[FactorSpec, ...] = ()
    """What the book computes beyond the built-in ones."""
    _newest_open: int = -1
    _told_open: int = -1
    """The newest bar whose close was told; behind `_newest_open` while telling it fails."""
    _since_ms: int = 0
    """Where the book's minutes were to begin."""
    _missing: int = 0
    """Minutes from there to the newest that were not on file when they were read."""
    _first_bar_ms: int = -1
    """Of the day that began then a bar has come."""

    async def start(self) -> None:
        """Whether the newest bar was told before we stopped nobody knows; if it comes again, it is told again."""
        now_ms = self.clock.now_ms()
        midnight_ms = now_ms - now_ms % DAY_MS
        walk = await self._walk(now_ms, self.cross)
        if self.regimes is not None:
            # As the day began, not as it stands now: a restart finds the regime that was found before it.
            await walk.to(midnight_ms)
            await self.regimes.judge(midnight_ms, walk.at_midnight(RV_PCTILE, midnight_ms), since_ms=now_ms)
        await walk.to(now_ms)
        self._take_over(walk)
        self._told_open = self._newest_open - MINUTE_MS
        self._say_closed()

    async def look_back(self) -> None:
        """Where minutes were missing: has the file got them meanwhile? Then the book is made anew. And a day that has
        no regime yet is judged."""
        if self._newest_open < 0:
            return
        if self._missing > 0:
            end_ms = self._newest_open + MINUTE_MS
            wanted = (end_ms - self._since_ms) // MINUTE_MS
            if wanted - await self.history.count(self.desk.key, "1m", self._since_ms, end_ms) < self._missing:
                await self.rebuild()
        now_ms = self.clock.now_ms()
        await self._judge_late(now_ms - now_ms % DAY_MS)

    async def rebuild(self) -> None:
        """A new book from what is on file takes the place of the one that goes on meanwhile. No bar is lost: at the
        moment of the change both have the same newest one."""
        # The days are read anew as well: what was filed and not told yet, or came too late to be told, is in them.
        days = CrossMarket(min_move=0.0) if self.cross is not None else None
        walk = await self._walk(self.clock.now_ms(), days)
        await walk.to(self.clock.now_ms())
        while walk.newest_open < self._newest_open:
            end_ms = self._newest_open + MINUTE_MS
            await walk.to(end_ms)
            # What is not on file by then was never there.
            walk.newest_open = max(walk.newest_open, end_ms - MINUTE_MS)
        if self.cross is not None and days is not None:
            self.cross.absorb_btc(days)
        self._take_over(walk)
        self._say_closed()

    async def on_kline(self, event: KlineEvent) -> None:
        if event.interval != "1m" or not event.closed or event.open_time <= self._told_open:
            return
        bar = bar_of(event)
        if 0 < bar.close_time - self.clock.now_ms() <= BEHIND_MS_MAX:
            # Our clock is behind the exchange's: at its own close the bar is not in the future any more.
            await self.clock.sleep_until_ms(bar.close_time)
        if self._newest_open < 0:
            await self.start()
        elif bar.open_time > self._newest_open + MINUTE_MS:
            await self._take_missed(bar)
        if bar.open_time > self._newest_open:
            self._take(bar)
        self._say_closed()
        now_ms = self.clock.now_ms()
        if self.regimes is not None and self._ends_day(bar, now_ms) and self.regimes.is_due(bar.close_time):
            snapshot = self.desk.book.snapshot(now_ms, 0)
            await self.regimes.judge(bar.close_time, snapshot.values.get(RV_PCTILE), since_ms=bar.close_time)
        # A bar that comes after the next one has closed tells nothing of now; it only fills the book.
        if self.emitter is not None and now_ms < bar.close_time + MINUTE_MS:
            await self.emitter.on_close()
        self._told_open = bar.open_time
        midnight_ms = now_ms - now_ms % DAY_MS
        if bar.close_time >= midnight_ms > self._first_bar_ms:
            await self._judge_late(midnight_ms)
            self._first_bar_ms = midnight_ms

    def _ends_day(self, bar: Bar, now_ms: int) -> bool:
        """Whether the book stands as it does when the day of `bar` ends: that bar is the newest, and it is in time."""
        return (
            bar.close_time % DAY_MS == 0
            and bar.open_time == self._newest_open
            and bar.close_time <= now_ms < bar.close_time + MINUTE_MS
        )

    async def _judge_late(self, midnight_ms: int) -> None:
        """The bar that ended the day was lost, or came late, or the month was not on file then: from file, as the day
        began. With the first bar of the day at once, then with each look back: it is a walk of a month."""
        if self.regimes is not None and self.regimes.is_due(midnight_ms):
            now_ms = self.clock.now_ms()
            walk = await self._walk(now_ms, None)
            await walk.to(midnight_ms)
            rv_pctile = walk.at_midnight(RV_PCTILE, midnight_ms)
            if self.regimes.is_due(midnight_ms):
                await self.regimes.judge(midnight_ms, rv_pctile, since_ms=now_ms)

    async def _take_missed(self, bar: Bar) -> None:
        async for missed in self.history.bars(self.desk.key, "1m", self._newest_open + MINUTE_MS, bar.open_time):
            for each in missed:
                self._missing += (each.open_time - self._newest_open) // MINUTE_MS - 1
                self._take(each)
        self._missing += (bar.open_time - self._newest_open) // MINUTE_MS - 1

    async def _walk(self, now_ms: int, cross: CrossMarket | None) -> Walk:
        """A new book at its beginning. Of ticks nothing is on file but what was told with the signals."""
        derived = self.derived()
        book = self.new_book(self.desk.key.market, derived)
        lookback_ms = lookback(derived)
        for factor_id, needed_ms in lookback_ms.ticks.items():
            async for samples in self.history.told(self.desk.key, factor_id, now_ms - needed_ms, now_ms):
                book.seed_samples(factor_id, samples)
        return Walk(
            key=self.desk.key,
            book=book,
            derived=derived,
            cross=cross,
            history=self.history,
            hours_since_ms=max(0, now_ms - max(self.hours_ms, lookback_ms.hours_ms)),
            minutes_since_ms=_up(max(0, now_ms - max(self.minutes_ms, lookback_ms.minutes_ms))),
        )

    def _take_over(self, walk: Walk) -> None:
        """In one turn of the loop, or a bar between could be lost."""
        assert walk.book is not None
        self.desk.replace(walk.book)
        self.computed = walk.derived
        self._newest_open = max(self._newest_open, walk.newest_open)
        self._since_ms = walk.minutes_since_ms
        self._missing = max(0, (self._newest_open + MINUTE_MS - self._since_ms) // MINUTE_MS - walk.read)

    def _take(self, bar: Bar) -> None:
        self.desk.book.on_bar(bar)
        if self.cross is not None:
            self.cross.on_btc(bar)
        self._newest_open = bar.open_time

    def _say_closed(self) -> None:
        if self.emitter is not None and self._newest_open >= 0:
            self.emitter.bar_closed_ms = self._newest_open + MINUTE_MS


@dataclass(slots=True, kw_only=True)
class FactorBars:
    """USDT/TWD: hours of a market that is a factor only."""

    key: InstrumentKey
    cross: CrossMarket
    window_ms: int
    history: History
    clock: Clock
    _newest_open: int = field(default=-1)

    async def start(self) -> None:
        await self._read(self.clock.now_ms() - self.window_ms)

    async def on_kline(self, event: KlineEvent) -> None:
        """Told on with the next tick of each instrument."""
        if event.interval != "1h" or not event.closed or event.open_time <= self._newest_open:
            return
        if self._newest_open < 0:
            await self._read(event.open_time - self.window_ms)
        elif event.open_time > self._newest_open + HOUR_MS:
            await self._read(self._newest_open + HOUR_MS)
        if event.open_time > self._newest_open:
            self._take(bar_of(event))

    async def _read(self, since_ms: int) -> None:
        async for hours in self.history.factor_bars(self.key, since_ms):
            for hour in hours:
                self._take(hour)

    def _take(self, bar: Bar) -> None:
        self.cross.on_usdttwd(bar)
        self._newest_open = bar.open_time


def _up(ms: int) -> int:
    """The first minute that opens at `ms` or later."""
    return -(-ms // MINUTE_MS) * MINUTE_MS
