"""Closed one-minute bars: on file first, then told, in order, each once, none left out.

Owns the order of bars. What the stream skipped is fetched before anything newer is told; what was filed and not told,
because the bus was down or the process died, is told on the next start of the loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chimera.contracts.collections import KLINES
from chimera.contracts.documents import Kline
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import KlineEvent
from chimera.contracts.streams import MKT_KLINE
from chimera.domain.exact import exact
from chimera.domain.market.quotes import INTERVAL_MS, Bar
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Put, Query
from chimera.ports.venue import Venue

MINUTE_MS = 60_000
DAY_MS = 86_400_000
BATCH = 500
"""Documents of one write while history is filled: the store stays usable for others meanwhile."""


def kline_of(bar: Bar, ts: int) -> Kline:
    return Kline(
        market=bar.market,
        symbol=bar.symbol,
        interval=bar.interval,
        open_time=bar.open_time,
        open=exact(bar.open),
        high=exact(bar.high),
        low=exact(bar.low),
        close=exact(bar.close),
        volume=exact(bar.volume),
        ts=ts,
    )


def event_of(bar: Bar, ts: int) -> KlineEvent:
    return KlineEvent(
        ts=ts,
        market=bar.market,
        symbol=bar.symbol,
        interval=bar.interval,
        open_time=bar.open_time,
        open=exact(bar.open),
        high=exact(bar.high),
        low=exact(bar.low),
        close=exact(bar.close),
        volume=exact(bar.volume),
        closed=True,
    )


@dataclass(slots=True, kw_only=True)
class Klines:
    """`windows` says how much of each interval is kept complete, in ms back from now."""

    env: str
    keys: tuple[InstrumentKey, ...]
    windows: tuple[tuple[str, int], ...]
    venue: Venue
    documents: Documents
    bus: Bus
    clock: Clock
    _told_open: dict[InstrumentKey, int] = field(default_factory=dict)
    """Open time of the newest bar told."""

    async def start(self) -> None:
        """Fill the files. The newest bar on file before counts as not told: nobody knows whether it was."""
        since_ms = self.clock.now_ms() - dict(self.windows)["1m"]
        newest = {key: await self._edge(key, "1m", newest=True) for key in self.keys}
        for key in self.keys:
            for interval, window_ms in self.windows:
                await self._fill(key, interval, window_ms)
            filed = newest[key]
            if filed is None:
                filed = await self._edge(key, "1m", newest=True)
                self._told_open[key] = since_ms if filed is None else filed
            else:
                self._told_open[key] = max(filed - MINUTE_MS, since_ms)

    async def refill(self) -> None:
        """The longer intervals, which no stream tells."""
        for key in self.keys:
            for interval, window_ms in self.windows:
                if interval != "1m":
                    await self._fill(key, interval, window_ms)

    async def catch_up(self) -> None:
        """Fetch and tell what closed since the newest bar told."""
        for key in self.keys:
            await self._fetch(key, self.clock.now_ms())

    async def on_bar(self, key: InstrumentKey, bar: Bar) -> None:
        told_open = self._told_open[key]
        if bar.interval != "1m" or bar.open_time <= told_open:
            return
        if bar.open_time > told_open + MINUTE_MS:
            await self._fetch(key, bar.open_time)
        await self._tell(key, (bar,))

    async def _fetch(self, key: InstrumentKey, end_ms: int) -> None:
        start_ms = self._told_open[key] + MINUTE_MS
        if start_ms + MINUTE_MS <= end_ms:
            await self._tell(key, await self.venue.klines(key, "1m", start_ms, _floor(end_ms, MINUTE_MS)))

    async def _tell(self, key: InstrumentKey, bars: Sequence[Bar]) -> None:
        now_ms = self.clock.now_ms()
        await self._file(bars, now_ms)
        stream = MKT_KLINE.name(self.env, key)
        for bar in bars:
            if bar.open_time > self._told_open[key]:
                await self.bus.publish(stream, event_of(bar, now_ms))
                self._told_open[key] = bar.open_time

    async def _fill(self, key: InstrumentKey, interval: str, window_ms: int) -> None:
        """History is written oldest first, so what is on file has no hole between its oldest and its newest bar."""
        length_ms = INTERVAL_MS[interval]
        end_ms = _floor(self.clock.now_ms(), length_ms)
        since_ms = end_ms - window_ms
        oldest = await self._edge(key, interval, since_ms=since_ms, newest=False)
        if oldest is None:
            await self._fill_range(key, interval, since_ms, end_ms)
            return
        newest = await self._edge(key, interval, newest=True)
        assert newest is not None
        if oldest > since_ms:
            await self._fill_range(key, interval, since_ms, oldest)
        if newest + length_ms < end_ms:
            await self._fill_range(key, interval, newest + length_ms, end_ms)

    async def _fill_range(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> None:
        await self._file(await self.venue.klines(key, interval, start_ms, end_ms), self.clock.now_ms())

    async def _file(self, bars: Sequence[Bar], ts: int) -> None:
        for at in range(0, len(bars), BATCH):
            await self.documents.put_many(
                [Put(KLINES, kline_of(bar, ts), unless_exists=True) for bar in bars[at : at + BATCH]]
            )

    async def _edge(
        self, key: InstrumentKey, interval: str, *, newest: bool, since_ms: int | None = None
    ) -> int | None:
        """Open time of the newest or oldest bar on file."""
        found = await self.documents.find(
            Query(
                collection=KLINES,
                index="by_instr_time",
                equal=(("market", key.market.value), ("symbol", key.symbol), ("interval", interval)),
                at_least=since_ms,
                descending=newest,
                limit=1,
            )
        )
        return found[0].open_time if found else None


def _floor(ms: int, length_ms: int) -> int:
    return ms - ms % length_ms
