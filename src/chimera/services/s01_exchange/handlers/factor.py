"""USDT/TWD: one-hour bars of a foreign market, a factor only.

Owns `factor_bars`. Sleeps to the end of the next hour, asks for what closed, files it and tells it, in order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chimera.contracts.collections import FACTOR_BARS
from chimera.contracts.documents import FactorBar
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.streams import MKT_KLINE
from chimera.domain.exact import exact
from chimera.domain.market.quotes import Bar
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Put, Query
from chimera.ports.venue import FactorFeed
from chimera.services.s01_exchange.handlers.klines import event_of

SOURCE = "MAX"
INTERVAL = "1h"
HOUR_MS = 3_600_000
SETTLE_MS = 2_000
"""Time for the foreign exchange to close its bar."""
AGAIN_MS = 30_000


@dataclass(slots=True, kw_only=True)
class FactorBars:
    env: str
    window_ms: int
    feed: FactorFeed
    documents: Documents
    bus: Bus
    clock: Clock
    _told_open: int = field(default=-1)

    async def start(self) -> None:
        """Fill the file. The newest bar on it is told again: nobody knows whether it was, and whoever read the file
        before it was filled learns by it that there is more."""
        now_ms = self.clock.now_ms()
        end_ms = now_ms - now_ms % HOUR_MS
        since_ms = end_ms - self.window_ms
        oldest = await self._edge(since_ms=since_ms)
        newest = await self._edge()
        if oldest is None or newest is None or oldest > since_ms:
            await self._file(await self.feed.bars(INTERVAL, since_ms, end_ms), now_ms)
        if newest is None:
            newest = await self._edge()
        self._told_open = max(end_ms if newest is None else newest, since_ms) - HOUR_MS

    async def follow(self) -> None:
        """Runs for ever. Nothing else waits for it: a factor may be missing, the exchange we trade at may not."""
        if self._told_open < 0:
            await self.start()
        while True:
            await self.poll()
            next_ms = self._told_open + 2 * HOUR_MS + SETTLE_MS
            now_ms = self.clock.now_ms()
            await self.clock.sleep_until_ms(next_ms if next_ms > now_ms else now_ms + AGAIN_MS)

    async def poll(self) -> None:
        now_ms = self.clock.now_ms()
        start_ms, end_ms = self._told_open + HOUR_MS, now_ms - now_ms % HOUR_MS
        if start_ms >= end_ms:
            return
        bars = await self.feed.bars(INTERVAL, start_ms, end_ms)
        await self._file(bars, now_ms)
        stream = MKT_KLINE.name(self.env, InstrumentKey(Market.SPOT, self.feed.symbol))
        for bar in bars:
            if bar.open_time > self._told_open:
                await self.bus.publish(stream, event_of(bar, now_ms))
                self._told_open = bar.open_time

    async def _file(self, bars: Sequence[Bar], ts: int) -> None:
        if bars:
            await self.documents.put_many(
                [Put(FACTOR_BARS, self._document(bar, ts), unless_exists=True) for bar in bars]
            )

    def _document(self, bar: Bar, ts: int) -> FactorBar:
        return FactorBar(
            source=SOURCE,
            symbol=self.feed.symbol,
            interval=INTERVAL,
            open_time=bar.open_time,
            open=exact(bar.open),
            high=exact(bar.high),
            low=exact(bar.low),
            close=exact(bar.close),
            volume=exact(bar.volume),
            ts=ts,
        )

    async def _edge(self, *, since_ms: int | None = None) -> int | None:
        """Open time of the oldest bar on file since then, else of the newest."""
        found = await self.documents.find(
            Query(
                collection=FACTOR_BARS,
                index="by_sym_time",
                equal=(("source", SOURCE), ("symbol", self.feed.symbol), ("interval", INTERVAL)),
                at_least=since_ms,
                descending=since_ms is None,
                limit=1,
            )
        )
        return found[0].open_time if found else None
