"""What was traded in public: one trade a tick beside our own, and bars of any interval with the running one at their
end.

Owns nothing that a restart must find again: closed bars come from the feed, the running minute from the ticks since it
began. The size of a trade is the last closed minute's volume shared among its ticks: nobody sees volume before it is
traded. Depth and book events are numbered by their tick: the update id of a book is its `ts`.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from chimera.adapters.simulated_venue.feed import Tick
from chimera.adapters.simulated_venue.host import ExchangeHost
from chimera.contracts.enums import Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import AccountChange, OrderUpdated
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Bar, BookTop

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS
"""1970-01-05: weeks begin on Monday."""

LENGTH_MS = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": WEEK_MS,
    "1M": 31 * DAY_MS,
}
"""Every interval of the exchange; a month is as long as its calendar says, this is its longest."""

TRADES_KEPT = 1_000
_BASES = (("1d", DAY_MS), ("1h", HOUR_MS), ("1m", MINUTE_MS))


@dataclass(frozen=True, slots=True)
class Trade:
    """Ids grow by one a tick and by one for each trade of ours, also over a restart. They are the tape's own: our fills
    have other ones in the account."""

    trade_id: int
    price: Decimal
    qty: Decimal
    ts: int
    buyer_is_maker: bool


@dataclass(slots=True)
class Candle:
    """`close_ms` is the last ms that belongs to it. Floats, as bars are; `trades` counts ticks."""

    open_ms: int
    close_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int

    def add(self, other: "Candle") -> None:
        self.high = max(self.high, other.high)
        self.low = min(self.low, other.low)
        self.close = other.close
        self.volume += other.volume
        self.quote_volume += other.quote_volume
        self.trades += other.trades


def open_of(interval: str, ts: int) -> int:
    """When the bar that holds `ts` opened."""
    if interval == "1w":
        return (ts - MONDAY_MS) // WEEK_MS * WEEK_MS + MONDAY_MS
    if interval == "1M":
        day = datetime.fromtimestamp(ts / 1_000, UTC)
        return int(datetime(day.year, day.month, 1, tzinfo=UTC).timestamp()) * 1_000
    length_ms = LENGTH_MS[interval]
    return ts // length_ms * length_ms


def close_of(interval: str, open_ms: int) -> int:
    """The last ms of the bar that opened then."""
    if interval == "1M":
        return open_of(interval, open_ms + 31 * DAY_MS) - 1
    return open_ms + LENGTH_MS[interval] - 1


class Tape:
    def __init__(self, host: ExchangeHost) -> None:
        self._host = host
        self._instruments: dict[InstrumentKey, Instrument] = {each.key: each for each in host.rules.instruments}
        self._ticks_per_minute = max(1, round(MINUTE_MS / host.feed.tick_interval_ms))
        self._trades: dict[InstrumentKey, deque[Trade]] = {key: deque(maxlen=TRADES_KEPT) for key in self._instruments}
        self._running: dict[InstrumentKey, Candle] = {}
        self._sizes: dict[InstrumentKey, Decimal] = {}
        self._own = {key: len(host.exchange.fills(key.market, key.symbol)) for key in self._instruments}
        host.on_tick.append(self._on_tick)
        host.on_changes.append(self._on_changes)

    def trades(self, key: InstrumentKey) -> Sequence[Trade]:
        """The newest ones, oldest first."""
        return self._trades[key]

    def running(self, key: InstrumentKey, interval: str, now_ms: int) -> Candle | None:
        """The bar of `interval` that is still open; None before its first tick."""
        open_ms = open_of(interval, now_ms)
        found = self.candles(key, interval, start_ms=open_ms, end_ms=now_ms, limit=1, now_ms=now_ms)
        return found[-1] if found and found[-1].open_ms == open_ms else None

    def candles(
        self,
        key: InstrumentKey,
        interval: str,
        *,
        start_ms: int | None,
        end_ms: int | None,
        limit: int,
        now_ms: int,
    ) -> list[Candle]:
        """Bars with start_ms <= open time <= end_ms, oldest first, the open one included.

        With a start the first `limit` of them, be they long after it; without one the last.
        """
        length_ms = LENGTH_MS[interval]
        asked_until_ms = until_ms = now_ms if end_ms is None else min(end_ms, now_ms)
        if start_ms is None:
            from_ms = open_of(interval, until_ms - (limit - 1) * length_ms)
        else:
            from_ms = open_of(interval, start_ms - 1) if start_ms > 0 else 0
            until_ms = min(until_ms, start_ms + (limit + 1) * length_ms)
        made: list[Candle] = []
        last_close_ms = -1
        for part in self._parts(key, interval, max(0, from_ms), min(now_ms, until_ms + length_ms)):
            if part.open_ms > last_close_ms:
                open_ms = open_of(interval, part.open_ms)
                last_close_ms = close_of(interval, open_ms)
                part.open_ms, part.close_ms = open_ms, last_close_ms
                made.append(part)
            else:
                made[-1].add(part)
        first_ms = from_ms if start_ms is None else start_ms
        within = [candle for candle in made if first_ms <= candle.open_ms <= until_ms]
        if start_ms is None:
            return within[-limit:]
        if len(within) < limit and until_ms < asked_until_ms:
            begins_ms = self._begins_ms(key, interval, start_ms, asked_until_ms)
            if begins_ms > start_ms:  # clients ask from 0 to learn since when there is anything
                return self.candles(key, interval, start_ms=begins_ms, end_ms=end_ms, limit=limit, now_ms=now_ms)
        return within[:limit]

    def _begins_ms(self, key: InstrumentKey, interval: str, start_ms: int, until_ms: int) -> int:
        """When the bar opens that holds the first that happened since `start_ms`; that itself if nothing did."""
        hours = self._host.feed.klines(key, "1h", start_ms, until_ms)
        return open_of(interval, hours[0].open_time) if hours else start_ms

    def _parts(self, key: InstrumentKey, interval: str, start_ms: int, now_ms: int) -> Iterator[Candle]:
        """Closed bars, each from the longest kind that fits, then the running minute."""
        at_ms = start_ms
        for base, base_ms in _BASES:
            if base_ms <= LENGTH_MS[interval]:
                until_ms = now_ms // base_ms * base_ms
                if until_ms > at_ms:
                    for bar in self._host.feed.klines(key, base, at_ms, until_ms):
                        yield self._candle(bar, base_ms)
                    at_ms = until_ms
        running = self._running.get(key)
        if running is not None and at_ms <= running.open_ms < now_ms:
            yield Candle(
                running.open_ms,
                running.close_ms,
                running.open,
                running.high,
                running.low,
                running.close,
                running.volume,
                running.quote_volume,
                running.trades,
            )

    def _candle(self, bar: Bar, length_ms: int) -> Candle:
        average = (bar.open + bar.high + bar.low + bar.close) / 4
        return Candle(
            bar.open_time,
            bar.open_time + length_ms - 1,
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            bar.volume * average,
            length_ms // MINUTE_MS * self._ticks_per_minute,
        )

    def _on_tick(self, tick: Tick) -> None:
        for bar in tick.bars:
            key = InstrumentKey(bar.market, bar.symbol)
            if key in self._instruments:
                self._sizes[key] = self._share(key, bar.volume)
        number = (tick.ts * self._ticks_per_minute + MINUTE_MS - 1) // MINUTE_MS
        minute_ms = tick.ts // MINUTE_MS * MINUTE_MS
        for book in tick.books:
            self._print(book, number, minute_ms)

    def _on_changes(self, changes: Sequence[AccountChange]) -> None:
        """Our own trades are public too; bars stay those of the feed."""
        for change in changes:
            if isinstance(change, OrderUpdated) and change.fill is not None:
                fill = change.fill
                self._own[fill.key] += 1
                buyer_is_maker = fill.maker is (fill.side is Side.BUY)
                self._append(fill.key, Trade(0, fill.price, fill.qty, fill.ts, buyer_is_maker))

    def _append(self, key: InstrumentKey, trade: Trade) -> None:
        """Its number is the next one at least, whoever shows ticks and how fast."""
        trades = self._trades[key]
        if trades and trade.trade_id <= trades[-1].trade_id:
            trade = replace(trade, trade_id=trades[-1].trade_id + 1)
        trades.append(trade)

    def _print(self, book: BookTop, number: int, minute_ms: int) -> None:
        key = book.key
        size = self._sizes.get(key)
        if size is None:
            before = self._host.feed.klines(key, "1m", minute_ms - MINUTE_MS, minute_ms)
            size = self._sizes[key] = self._share(key, before[-1].volume if before else 0.0)
        last = book.last
        self._append(key, Trade(number + self._own[key], last, size, book.ts, last <= book.mid))
        price, qty = float(last), float(size)
        running = self._running.get(key)
        if running is None or running.open_ms != minute_ms:
            self._running[key] = Candle(
                minute_ms, minute_ms + MINUTE_MS - 1, price, price, price, price, qty, qty * price, 1
            )
            return
        if price > running.high:
            running.high = price
        elif price < running.low:
            running.low = price
        running.close = price
        running.volume += qty
        running.quote_volume += qty * price
        running.trades += 1

    def _share(self, key: InstrumentKey, volume: float) -> Decimal:
        step = self._instruments[key].step_size
        return step * max(1, int(volume / self._ticks_per_minute / float(step)))
