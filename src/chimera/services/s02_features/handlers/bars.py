"""Closed bars into the books, in order, without holes.

Owns the order of bars here. The bus may lose one: what is missing between the newest bar in the book and the one that
came is read from file, where S1 wrote it before it told anybody. Start-up is the same step with an empty book.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chimera.contracts.collections import FACTOR_BARS, KLINES
from chimera.contracts.documents import FactorBar, Kline
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import KlineEvent
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.feature_book import FeatureBook
from chimera.domain.market.quotes import INTERVAL_MS, Bar
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.services.s02_features.handlers.emit import Emitter

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000


def bar_of(told: KlineEvent | Kline) -> Bar:
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


def factor_bar_of(filed: FactorBar) -> Bar:
    return Bar(
        Market.SPOT,
        filed.symbol,
        filed.interval,
        filed.open_time,
        float(filed.open),
        float(filed.high),
        float(filed.low),
        float(filed.close),
        float(filed.volume),
    )


@dataclass(slots=True, kw_only=True)
class Bars:
    """Bars of one instrument. `cross` is set for the one whose days stand against USDT/TWD; a lead that is not traded
    has no book and no emitter."""

    key: InstrumentKey
    book: FeatureBook | None
    emitter: Emitter | None
    cross: CrossMarket | None
    minutes_ms: int
    hours_ms: int
    documents: Documents
    clock: Clock
    _newest_open: int = -1
    _told_open: int = -1
    """The newest bar whose close was told; behind `_newest_open` while telling it fails."""

    async def start(self) -> None:
        """Hours first, then the minutes: an hour that is known already is not built again from its minutes.

        Whether the newest bar was told before we stopped nobody knows; if it comes again, it is told again.
        """
        end_ms = self.clock.now_ms()
        hours = await self._filed("1h", end_ms - self.hours_ms, end_ms)
        covered_ms = hours[-1].close_time if hours else 0
        for hour in hours:
            self._take(hour, for_days=True)
        for minute in await self._filed("1m", end_ms - self.minutes_ms, end_ms):
            self._take(minute, for_days=minute.open_time >= covered_ms)
            self._newest_open = minute.open_time
        self._told_open = self._newest_open - MINUTE_MS
        self._say_closed()

    async def on_kline(self, event: KlineEvent) -> None:
        if event.interval != "1m" or not event.closed or event.open_time <= self._told_open:
            return
        bar = bar_of(event)
        if self._newest_open < 0:
            await self.start()
        elif bar.open_time > self._newest_open + MINUTE_MS:
            for missed in await self._filed("1m", self._newest_open + MINUTE_MS, bar.open_time):
                self._take(missed, for_days=True)
        if bar.open_time > self._newest_open:
            self._take(bar, for_days=True)
            self._newest_open = bar.open_time
        self._say_closed()
        # A bar that comes after the next one has closed tells nothing of now; it only fills the book.
        if self.emitter is not None and self.clock.now_ms() < bar.close_time + MINUTE_MS:
            await self.emitter.on_close()
        self._told_open = bar.open_time

    def _take(self, bar: Bar, *, for_days: bool) -> None:
        if self.book is not None:
            self.book.on_bar(bar)
        if for_days and self.cross is not None:
            self.cross.on_btc(bar)

    def _say_closed(self) -> None:
        if self.emitter is not None and self._newest_open >= 0:
            self.emitter.bar_closed_ms = self._newest_open + MINUTE_MS

    async def _filed(self, interval: str, since_ms: int, below_ms: int) -> Sequence[Bar]:
        """Bars that had closed by `below_ms`, oldest first."""
        length_ms = INTERVAL_MS[interval]
        found = await self.documents.find(
            Query(
                collection=KLINES,
                index="by_instr_time",
                equal=(("market", self.key.market.value), ("symbol", self.key.symbol), ("interval", interval)),
                at_least=max(0, since_ms),
                below=max(0, below_ms - length_ms + 1),
            )
        )
        return [bar_of(kline) for kline in found]


@dataclass(slots=True, kw_only=True)
class FactorBars:
    """USDT/TWD: hours of a market that is a factor only."""

    key: InstrumentKey
    cross: CrossMarket
    window_ms: int
    documents: Documents
    clock: Clock
    _newest_open: int = -1

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
        for filed in await self.documents.find(
            Query(
                collection=FACTOR_BARS,
                index="by_sym_time",
                equal=(("source", "MAX"), ("symbol", self.key.symbol), ("interval", "1h")),
                at_least=max(0, since_ms),
            )
        ):
            self._take(factor_bar_of(filed))

    def _take(self, bar: Bar) -> None:
        self.cross.on_usdttwd(bar)
        self._newest_open = bar.open_time
