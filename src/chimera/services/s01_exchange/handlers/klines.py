"""Closed one-minute bars: on file first, then told, in order, each once, none left out; and the history behind them.

Owns the order of bars and which of them are on file. What the stream skipped is fetched before anything newer is told;
what was filed and not told, because the bus was down or the process died, is told on the next start of the loop. A hole
in the history is found by counting and filled from the exchange, the newest first.
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
HOUR_MS = 3_600_000
BATCH = 500
"""Documents of one write while history is filled: the store stays usable for others meanwhile."""

FETCH_BARS = 3_000
"""Bars of one question while history is filled, filed before the next is asked for: seven pages of the futures market,
which give 499 bars each for the least weight, and three of the spot market."""


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
    """`windows` says how much of each interval is kept complete, in ms back from now. `ready_ms`: so much of the
    minutes is complete before the service is ready, the rest follows; and bars that closed longer ago are never told,
    only filed."""

    env: str
    keys: tuple[InstrumentKey, ...]
    windows: tuple[tuple[str, int], ...]
    ready_ms: int
    pause_ms: int
    """Work time between two questions about a hole that is not needed closed at once."""
    venue: Venue
    documents: Documents
    bus: Bus
    clock: Clock
    _told_open: dict[InstrumentKey, int] = field(default_factory=dict)
    """Open time of the newest bar told."""
    _asked: dict[tuple[InstrumentKey, str], list[tuple[int, int]]] = field(default_factory=dict)
    """What was asked for and is missing all the same: the exchange does not have it, and is not asked again."""

    @property
    def remembered(self) -> int:
        """Holes that are not asked for again."""
        return sum(map(len, self._asked.values()))

    async def start(self) -> None:
        """Fill the files. The newest bar on file before counts as not told: nobody knows whether it was."""
        since_ms = self.clock.now_ms() - self.ready_ms
        newest = {key: await self._newest(key) for key in self.keys}
        for key in self.keys:
            for interval, window_ms in self.windows:
                await self._complete(key, interval, min(window_ms, self.ready_ms) if interval == "1m" else window_ms)
            filed = newest[key]
            if filed is None:
                filed = await self._newest(key)
                self._told_open[key] = since_ms if filed is None else filed
            else:
                self._told_open[key] = max(filed - MINUTE_MS, since_ms)

    async def keep_history(self) -> None:
        """For ever: what is missing of the past, now and each hour. The longer intervals no stream tells."""
        while True:
            for key in self.keys:
                for interval, window_ms in self.windows:
                    await self._complete(key, interval, window_ms, pause_ms=self.pause_ms)
            await self.clock.sleep_until_ms(self.clock.now_ms() + HOUR_MS)

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

    async def _complete(self, key: InstrumentKey, interval: str, window_ms: int, *, pause_ms: int = 0) -> None:
        """`pause_ms`: of work, between two questions about one hole."""
        length_ms = INTERVAL_MS[interval]
        end_ms = _floor(self.clock.now_ms(), length_ms)
        since_ms = max(0, end_ms - window_ms)
        asked = [part for part in self._asked.get((key, interval), ()) if part[1] > since_ms]
        for start_ms, stop_ms in await self._holes(key, interval, since_ms, end_ms):
            if any(start <= start_ms and stop_ms <= stop for start, stop in asked):
                continue
            # The newest first: what is filled is then always of one piece with what was there.
            at_ms = stop_ms
            while at_ms > start_ms:
                from_ms = max(start_ms, at_ms - FETCH_BARS * length_ms)
                await self._file(await self.venue.klines(key, interval, from_ms, at_ms), self.clock.now_ms())
                at_ms = from_ms
                if pause_ms and at_ms > start_ms:
                    await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(pause_ms))
            # The newest bar may only be late.
            asked_ms = min(stop_ms, end_ms - length_ms)
            if start_ms < asked_ms and await self._holes(key, interval, start_ms, asked_ms):
                asked.append((start_ms, asked_ms))
        self._asked[key, interval] = asked

    async def _holes(self, key: InstrumentKey, interval: str, since_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """What is not on file of [since, end), newest first."""
        length_ms = INTERVAL_MS[interval]
        missing: list[tuple[int, int]] = []
        ranges = [(since_ms, end_ms)]
        while ranges:
            start_ms, stop_ms = ranges.pop()
            count = await self._count(key, interval, start_ms, stop_ms)
            wanted = (stop_ms - start_ms) // length_ms
            if count >= wanted:
                continue
            if count > 0:
                middle_ms = start_ms + wanted // 2 * length_ms
                ranges += [(start_ms, middle_ms), (middle_ms, stop_ms)]
            elif missing and missing[-1][0] == stop_ms:
                missing[-1] = (start_ms, missing[-1][1])
            else:
                missing.append((start_ms, stop_ms))
        return missing

    async def _count(self, key: InstrumentKey, interval: str, start_ms: int, stop_ms: int) -> int:
        return await self.documents.count_of(
            Query(
                collection=KLINES,
                index="by_instr_time",
                equal=(("market", key.market.value), ("symbol", key.symbol), ("interval", interval)),
                at_least=start_ms,
                below=stop_ms,
            )
        )

    async def _file(self, bars: Sequence[Bar], ts: int) -> None:
        """The newest first, so that whoever is killed half way leaves no hole behind."""
        for at in range(len(bars), 0, -BATCH):
            await self.documents.put_many(
                [Put(KLINES, kline_of(bar, ts), unless_exists=True) for bar in bars[max(0, at - BATCH) : at]]
            )

    async def _newest(self, key: InstrumentKey) -> int | None:
        """Open time of the newest minute on file."""
        found = await self.documents.find_values(
            Query(
                collection=KLINES,
                index="by_instr_time",
                equal=(("market", key.market.value), ("symbol", key.symbol), ("interval", "1m")),
                descending=True,
                limit=1,
            ),
            ("open_time",),
        )
        return int(found[0][0]) if found else None


def _floor(ms: int, length_ms: int) -> int:
    return ms - ms % length_ms
