"""What grows by a little each minute and is looked at each second: bars, equity, trades.

Each is read from its documents once, in portions that leave the loop to others in between, and then only read on.
Prices here are for drawing: floats.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import NamedTuple, Self

from chimera.contracts.collections import KLINES, METRICS_TIMESERIES, TRADES
from chimera.contracts.documents import Kline, Trade
from chimera.contracts.enums import OPEN_TRADES
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
PORTION = 250
"""Documents of one read: about two milliseconds."""
BARS_MAX = 20_000
EQUITY_METRIC = "equity_usdt"
EQUITY_WINDOW_MS = 30 * DAY_MS
OPEN_MAX = 500


class Candle(NamedTuple):
    open_time: int
    open: float
    high: float
    low: float
    close: float


class Point(NamedTuple):
    ts: int
    value: float


async def let_others_run(clock: Clock) -> None:
    await clock.sleep_until_ms(clock.now_ms())


@dataclass(slots=True)
class BarHistory:
    """One-minute bars by instrument, oldest first."""

    documents: Documents
    clock: Clock
    _bars: dict[InstrumentKey, list[Candle]] = field(default_factory=dict)
    _whole: dict[InstrumentKey, bool] = field(default_factory=dict)
    """Nothing older is on file."""

    async def since(self, key: InstrumentKey, since_ms: int) -> Sequence[Candle]:
        """At least the bars from `since_ms` on, as far as there are any."""
        bars = self._bars.setdefault(key, [])
        await self._read_on(key, bars)
        while bars and bars[0].open_time > since_ms and not self._whole.get(key):
            await self._read_back(key, bars)
            await let_others_run(self.clock)
        return bars

    async def _read_on(self, key: InstrumentKey, bars: list[Candle]) -> None:
        if not bars:
            await self._read_back(key, bars)
            return
        while True:
            found = await self.documents.find(_bars(key, at_least=bars[-1].open_time + 1))
            bars += map(_candle, found)
            if len(found) < PORTION:
                break
            await let_others_run(self.clock)
        if len(bars) > BARS_MAX:
            # In strides: cutting begins whatever was made of the bars anew.
            del bars[: BARS_MAX // 10]

    async def _read_back(self, key: InstrumentKey, bars: list[Candle]) -> None:
        below = bars[0].open_time if bars else None
        found = await self.documents.find(_bars(key, below=below, descending=True))
        bars[:0] = [_candle(kline) for kline in reversed(found)]
        self._whole[key] = len(found) < PORTION and bool(bars)


def _bars(
    key: InstrumentKey, *, at_least: int | None = None, below: int | None = None, descending: bool = False
) -> Query[Kline]:
    return Query(
        collection=KLINES,
        index="by_instr_time",
        equal=(("market", key.market.value), ("symbol", key.symbol), ("interval", "1m")),
        at_least=at_least,
        below=below,
        descending=descending,
        limit=PORTION,
    )


def _candle(kline: Kline) -> Candle:
    return Candle(kline.open_time, float(kline.open), float(kline.high), float(kline.low), float(kline.close))


@dataclass(slots=True)
class Aggregate:
    """Candles of `interval_ms`, made of one-minute bars as these come. Gaps stay gaps."""

    interval_ms: int
    candles: list[Candle] = field(default_factory=list)
    _first: int = 0
    _last: int = -1

    def read_on(self, bars: Sequence[Candle]) -> list[Candle]:
        """All candles, the last one as far as it has come. Older bars put in front begin it anew."""
        if bars and bars[0].open_time != self._first:
            self.candles, self._first, self._last = [], bars[0].open_time, -1
        for bar in bars[bisect_left(bars, self._last + 1, key=_open_time) :]:
            self._add(bar)
        return self.candles

    def _add(self, bar: Candle) -> None:
        start = bar.open_time // self.interval_ms * self.interval_ms
        last = self.candles[-1] if self.candles else None
        if last is not None and last.open_time == start:
            self.candles[-1] = Candle(start, last.open, max(last.high, bar.high), min(last.low, bar.low), bar.close)
        else:
            self.candles.append(Candle(start, bar.open, bar.high, bar.low, bar.close))
        self._last = bar.open_time


def with_live_price(candles: list[Candle], interval_ms: int, now_ms: int, price: float | None) -> list[Candle]:
    """The same with the price of this moment in the candle that is forming."""
    if price is None or not candles:
        return candles
    start = now_ms // interval_ms * interval_ms
    last = candles[-1]
    if last.open_time >= start:
        forming = Candle(last.open_time, last.open, max(last.high, price), min(last.low, price), price)
        return [*candles[:-1], forming]
    forming = Candle(start, last.close, max(last.close, price), min(last.close, price), price)
    return [*candles, forming]


def close_at(bars: Sequence[Candle], ts: int) -> float | None:
    """The close of the last bar that had ended by `ts`."""
    index = bisect_left(bars, ts - MINUTE_MS + 1, key=_open_time) - 1
    return bars[index].close if index >= 0 else None


def _open_time(bar: Candle) -> int:
    return bar.open_time


@dataclass(slots=True)
class EquityHistory:
    """Equity as S6 writes it each market minute, of the last 30 days, and its deepest fall from a peak within them."""

    documents: Documents
    clock: Clock
    points: list[Point] = field(default_factory=list)
    drawdown_max_ratio: float = 0.0
    _peak: float = 0.0

    async def read_on(self) -> None:
        while True:
            after_ms = self.points[-1].ts + 1 if self.points else max(0, self.clock.now_ms() - EQUITY_WINDOW_MS)
            found = await self.documents.find(
                Query(
                    collection=METRICS_TIMESERIES,
                    index="by_metric",
                    equal=(("metric", EQUITY_METRIC),),
                    at_least=after_ms,
                    limit=PORTION,
                )
            )
            for point in found:
                self.points.append(Point(point.ts, point.value))
                self._reckon(point.value)
            if len(found) < PORTION:
                break
            await let_others_run(self.clock)
        self._cut()

    def _cut(self) -> None:
        """In strides: with a peak that is forgotten the fall from it is, and the rest is reckoned anew."""
        since_ms = self.clock.now_ms() - EQUITY_WINDOW_MS
        if not self.points or self.points[0].ts >= since_ms - HOUR_MS:
            return
        del self.points[: bisect_left(self.points, since_ms, key=_ts)]
        self._peak = self.drawdown_max_ratio = 0.0
        for point in self.points:
            self._reckon(point.value)

    def _reckon(self, value: float) -> None:
        self._peak = max(self._peak, value)
        if self._peak > 0:
            self.drawdown_max_ratio = max(self.drawdown_max_ratio, 1 - value / self._peak)

    def sample(self, since_ms: int, count: int) -> list[Point]:
        """At most `count` + 1 points from `since_ms` on: the last of each stretch, and the newest."""
        points = self.points
        first = bisect_left(points, since_ms, key=_ts)
        if len(points) - first <= count:
            return points[first:]
        begin_ms, newest = points[first].ts, points[-1]
        stretch_ms = max(1, (newest.ts - begin_ms) // count)
        ends = range((begin_ms // stretch_ms + 1) * stretch_ms, newest.ts + 1, stretch_ms)
        # Looked up, not walked through: a month has 43,200 points, and each browser asks each second.
        picked = dict.fromkeys(bisect_left(points, end_ms, first, key=_ts) - 1 for end_ms in ends)
        return [*(points[index] for index in tuple(picked)[-count:]), newest]


def _ts(point: Point) -> int:
    return point.ts


@dataclass(frozen=True, slots=True)
class Sums:
    """Over trades, USDT. `net` is after fees and funding; `fees` > 0 were paid; `funding` received +, paid -."""

    count: int = 0
    wins: int = 0
    net: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)

    @classmethod
    def of(cls, trades: Iterable[Trade]) -> Self:
        count = wins = 0
        net = fees = funding = Decimal(0)
        for trade in trades:
            earned = net_of(trade)
            count += 1
            wins += earned > 0
            net += earned
            fees += trade.fees_usdt
            funding += trade.funding_usdt
        return cls(count, wins, net, fees, funding)


def net_of(trade: Trade) -> Decimal:
    """What the trade earned so far, after fees and funding."""
    return trade.realized_pnl_usdt - trade.fees_usdt + trade.funding_usdt


@dataclass(slots=True)
class TradeHistory:
    """Closed trades by id, in the order of their end. The last hour is read again: late funding changes a trade."""

    documents: Documents
    clock: Clock
    sums: Sums = field(default_factory=Sums)
    _closed: dict[str, Trade] = field(default_factory=dict)
    _newest_ms: int = 0

    async def read_on(self) -> None:
        since_ms = max(0, self._newest_ms - HOUR_MS)
        changed = False
        while True:
            found = await self.documents.find(
                Query(collection=TRADES, index="by_closed", at_least=since_ms, limit=PORTION)
            )
            for trade in found:
                changed = changed or self._closed.get(trade.trade_id) != trade
                self._closed[trade.trade_id] = trade
                since_ms = self._newest_ms = max(self._newest_ms, trade.closed_at or 0)
            if len(found) < PORTION:
                break
            since_ms += 1
            await let_others_run(self.clock)
        if changed:
            self.sums = Sums.of(self._closed.values())

    def newest(self, count: int) -> list[Trade]:
        """The last ended first."""
        return list(islice(reversed(self._closed.values()), count))

    def of(self, key: InstrumentKey, since_ms: int) -> list[Trade]:
        """Trades of an instrument that ended at or after `since_ms`, the last ended first."""
        found: list[Trade] = []
        for trade in reversed(self._closed.values()):
            if (trade.closed_at or 0) < since_ms:
                break
            if trade.market is key.market and trade.symbol == key.symbol:
                found.append(trade)
        return found


async def open_trades(documents: Documents) -> list[Trade]:
    """All that are not closed."""
    found: list[Trade] = []
    for status in OPEN_TRADES:
        found += await documents.find(
            Query(collection=TRADES, index="by_status", equal=(("status", status.value),), limit=OPEN_MAX)
        )
    return found
