"""Ticks from minutes: every bar of the market is walked, and a book and a mark stand around each price.

Owns the instants at which the simulated market shows itself. A bar is told with the first tick after it has closed, so
nobody sees it earlier. The same source, seed and time give the same tick, before and after a restart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from chimera.adapters.simulated_venue.feed import OpenSide, Tick
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.generator import FundingRate
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.outside_book import BookModel, bar_range_bps, book_config_for, next_mark
from chimera.domain.market.quotes import Bar, BookTop, MarkPrice
from chimera.domain.market.source import MarketSource
from chimera.domain.market.walk import ExtremeOrder, Walker

MINUTE_MS = 60_000
DAY_MS = 86_400_000


@dataclass(slots=True)
class _Line:
    """One instrument's minutes of the present day, as plain Python lists: the inner loop touches nothing else."""

    instrument: Instrument
    book: BookModel
    walker: Walker
    first_ms: int = 0
    rows: Sequence[tuple[float, float, float, float, float]] = ()
    before: float = 0.0
    calm_bps: float = 0.0

    def row(self, minute_ms: int) -> tuple[float, float, float, float, float] | None:
        index = (minute_ms - self.first_ms) // MINUTE_MS
        return self.rows[index] if 0 <= index < len(self.rows) else None


class Ticker:
    """
    Args:
        end_ms: No tick later than this; None: the market goes on for ever.
    """

    def __init__(
        self,
        source: MarketSource,
        instruments: Sequence[Instrument],
        *,
        seed: int,
        ticks_per_minute: int = 4,
        order: ExtremeOrder = ExtremeOrder.PESSIMISTIC,
        end_ms: int | None = None,
    ) -> None:
        self._source = source
        self._end_ms = end_ms
        self._ticks_per_minute = ticks_per_minute
        self._lines = [
            _Line(
                instrument,
                BookModel(seed, instrument, book_config_for(instrument)),
                Walker(seed, str(instrument.key), ticks_per_minute=ticks_per_minute, order=order),
            )
            for instrument in instruments
        ]
        self._fundings: dict[str, FundingRate] = {}
        self._day = -1
        self._at = -1
        self._course: Iterator[Tick] | None = None

    @property
    def tick_interval_ms(self) -> int:
        return MINUTE_MS // self._ticks_per_minute

    def next_after(self, ts: int, open_side: OpenSide) -> Tick | None:
        if self._course is None or ts != self._at:
            self._course = self._run(ts, open_side)
        tick = next(self._course, None)
        if tick is not None:
            self._at = tick.ts
        return tick

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return self._source.klines(key, interval, start_ms, end_ms)

    def factor_bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        if interval != "1h":
            raise ValueError(f"USDT/TWD is kept in 60-minute bars; interval {interval!r} is not")
        return self._source.twd_bars(start_ms, end_ms)

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> Sequence[FundingRate]:
        return self._source.fundings(symbol, start_ms, end_ms)

    def _run(self, after_ms: int, open_side: OpenSide) -> Iterator[Tick]:
        minute_ms = (after_ms // MINUTE_MS) * MINUTE_MS
        self._load(minute_ms)
        closed = self._bars(minute_ms - MINUTE_MS)
        while self._end_ms is None or minute_ms < self._end_ms:
            if minute_ms // DAY_MS != self._day:
                self._load(minute_ms)
            paths = [self._path(line, minute_ms, open_side) for line in self._lines]
            if all(path is None for path in paths):
                break
            for step, offset in enumerate(self._lines[0].walker.offsets_ms):
                ts = minute_ms + offset
                if ts > after_ms:
                    yield self._tick(ts, step, paths, closed if step == 0 else ())
            closed = self._bars(minute_ms)
            minute_ms += MINUTE_MS
        if closed and minute_ms > after_ms:
            yield Tick(minute_ms, (), (), closed)

    def _load(self, minute_ms: int) -> None:
        day = minute_ms // DAY_MS
        for line in self._lines:
            # With the minute before midnight: what a tick needs of the past lies in the rows, never in memory.
            series = self._source.minutes(line.instrument.key, day * DAY_MS - MINUTE_MS, (day + 1) * DAY_MS)
            line.first_ms = series.start_ms if len(series) else 0
            line.rows = list(
                zip(
                    series.open.tolist(),
                    series.high.tolist(),
                    series.low.tolist(),
                    series.close.tolist(),
                    series.volume.tolist(),
                    strict=True,
                )
            )
        self._day = day

    def _path(self, line: _Line, minute_ms: int, open_side: OpenSide) -> tuple[float, ...] | None:
        row = line.row(minute_ms)
        if row is None:
            return None
        before = line.row(minute_ms - MINUTE_MS)
        line.before = before[3] if before is not None else row[0]
        line.calm_bps = bar_range_bps(before[1], before[2], before[3]) if before is not None else 0.0
        return line.walker.path(minute_ms, row[0], row[1], row[2], row[3], open_side(line.instrument.symbol))

    def _bars(self, minute_ms: int) -> tuple[Bar, ...]:
        bars = []
        for line in self._lines:
            row = line.row(minute_ms)
            if row is not None:
                key = line.instrument.key
                bars.append(Bar(key.market, key.symbol, "1m", minute_ms, *row))
        return tuple(bars)

    def _tick(self, ts: int, step: int, paths: Sequence[tuple[float, ...] | None], closed: tuple[Bar, ...]) -> Tick:
        books: list[BookTop] = []
        marks: list[MarkPrice] = []
        for line, path in zip(self._lines, paths, strict=True):
            if path is None:
                continue
            price = path[step]
            books.append(line.book.top(ts, price, line.calm_bps))
            if line.instrument.market is Market.FUT:
                # Smoothed over two ticks of the path itself, so that a restart in between shows the same mark.
                before = path[step - 1] if step else line.before
                marks.append(self._mark(line.instrument, ts, next_mark(before, price)))
        return Tick(ts, tuple(books), tuple(marks), closed)

    def _mark(self, instrument: Instrument, ts: int, price: float) -> MarkPrice:
        funding = self._fundings.get(instrument.symbol)
        if funding is None or funding.ts <= ts:
            funding = self._fundings[instrument.symbol] = self._source.funding_next(instrument.symbol, ts)
        tick = instrument.tick_size
        return MarkPrice(
            ts,
            instrument.symbol,
            Decimal(round(price / float(tick))) * tick,
            funding.rate,
            funding.ts,
            funding.interval_h,
        )
