"""Histories from a seed, as bad as markets are, and a book that lives through them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.feature_book import FeatureBook, FeatureSnapshot
from chimera.domain.features.table import FeatureHistory, Fundings, Quotes
from chimera.domain.market.bars import BarSeries, Floats, Times
from chimera.domain.market.quotes import INTERVAL_MS

MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
START = 20_000 * DAY
MAX_AGE = 45_000
MIN_MOVE = 0.0005
KEY = InstrumentKey(Market.FUT, "BTCUSDT")


def derived(factor_id: str, definition: str, *, within: tuple[float, float] = (-1e9, 1e9)) -> FactorSpec:
    return FactorSpec(
        factor_id=factor_id,
        family="test",
        version="1",
        freq="1m",
        lag_ms=0,
        definition=definition,
        unit="any",
        deps=(),
        range=within,
    )


DERIVED = (
    derived("of_a_tick", "pctile(mid,15m)"),
    derived("of_the_depth", "zscore(depth_top1_usdt,30m)"),
    derived("of_the_funding", "pctile(funding_next,2h)"),
    derived("size_of_the_funding", "abs(funding_next)"),
    derived("size_of_the_spread", "abs(spread_bps)", within=(0.0, 3.0)),
    derived("of_a_size", "zscore(abs(ret_1h),40m)"),
    derived("size_of_a_place", "abs(zscore_ret_1h_24h)"),
    derived("of_minutes_by_the_hour", "pctile(atr_1m_14,26h)"),
    derived("of_hours_by_the_minute", "zscore(atr_14,5h)"),
    derived("of_hours_by_the_hour", "zscore(atr_14,30h)"),
    derived("of_days", "pctile(usdttwd_ret_d1,9d)"),
    derived("of_days_by_the_minute", "zscore(btc_ret_d1,24h)"),
    derived("of_the_correlation", "zscore(rho_usdttwd_14,5d)"),
    derived("of_a_place", "pctile(of_a_size,20m)"),
    derived("of_a_place_by_the_hour", "pctile(zscore(ret_24h,20m),25h)"),
    derived("of_a_slow_place", "zscore(of_minutes_by_the_hour,3h)"),
    derived("of_little", "zscore(ret_1h,12m)", within=(-1.5, 1.5)),
)
"""Every kind of source, on every grid, upon each other, and one whose range it leaves."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """How often what goes wrong, each a share of rows from 0 to 1."""

    missing: float = 0.001
    outlier: float = 0.001
    crossed: float = 0.01
    broken: float = 0.01
    still: float = 0.2
    """Of minutes in which the price does not move: places of equal samples."""
    silent_hours: int = 1
    """Hours without quotes, at a random place."""
    quotes_an_hour: int = 120
    huge: bool = False
    """One minute multiplies the price by a thousand, a later one divides it."""


USUAL = Trouble()
CALM = Trouble(missing=0.0, outlier=0.0, crossed=0.0, broken=0.0, still=0.0, silent_hours=0, quotes_an_hour=400)


def history(
    seed: int,
    *,
    minutes: int = 2_600,
    days: int = 20,
    trouble: Trouble = USUAL,
    market: Market = Market.FUT,
    quotes_hours: int = 40,
) -> FeatureHistory:
    """`minutes` of bars that end `days` after START, hours before them, USDT/TWD and a lead for all the days."""
    rng = np.random.default_rng(seed)
    end_ms = START + days * DAY + int(rng.integers(0, 1440)) * MINUTE
    first_ms = end_ms - minutes * MINUTE
    bars = _walk(rng, "1m", first_ms, minutes, 60_000.0, 0.0005, trouble)
    hours_first = (first_ms // HOUR - 40) * HOUR
    return FeatureHistory(
        market=market,
        minutes=bars,
        hours=_walk(rng, "1h", hours_first, 41, 60_000.0, 0.004, replace(trouble, huge=False)),
        twd=_walk(rng, "1h", START, days * 24 + 10, 30.0, 0.002, replace(trouble, huge=False)),
        lead=_walk(rng, "1h", START, days * 24 + 10, 60_000.0, 0.004, replace(trouble, huge=False)),
        quotes=_quotes(rng, bars, quotes_hours, trouble),
        fundings=_fundings(rng, end_ms, trouble) if market is Market.FUT else None,
    )


def _walk(
    rng: np.random.Generator, interval: str, first_ms: int, count: int, price: float, sigma: float, trouble: Trouble
) -> BarSeries:
    moves = rng.normal(0.0, sigma, count) * (rng.random(count) >= trouble.still)
    moves += np.where(rng.random(count) < trouble.outlier, rng.choice((-0.05, 0.05), count), 0.0)
    if trouble.huge and count > 1:
        there, back = np.sort(rng.choice(count, 2, replace=False))
        moves[there] += np.log(1_000.0)
        moves[back] -= np.log(1_000.0)
    tick = price / 6e5
    close = np.maximum(np.round(price * np.exp(np.cumsum(moves)) / tick), 1.0) * tick
    open_ = np.concatenate([[close[0]], close[:-1]])
    reach = np.round(rng.exponential(3.0, (2, count))) * tick
    high = np.maximum(open_, close) + reach[0]
    low = np.maximum(np.minimum(open_, close) - reach[1], tick / 2)
    volume = np.where(rng.random(count) < 0.05, 0.0, rng.exponential(2.0, count))
    high = np.where(rng.random(count) < trouble.missing, rng.choice((np.nan, 0.0, np.inf), count), high)
    open_time = first_ms + INTERVAL_MS[interval] * np.arange(count, dtype=np.int64)
    series = BarSeries(
        interval=interval, open_time=open_time, open=open_, high=high, low=low, close=close, volume=volume
    )
    return series.at(rng.random(count) >= trouble.missing)


def _quotes(rng: np.random.Generator, bars: BarSeries, hours: int, trouble: Trouble) -> Quotes:
    first_ms = max(bars.start_ms, bars.end_ms - hours * HOUR)
    ts = np.sort(rng.integers(first_ms, bars.end_ms + HOUR, hours * trouble.quotes_an_hour))
    # Some exactly at a minute's close, where it is the last observation of its minute.
    ts = np.sort(np.where(rng.random(len(ts)) < 0.1, ts // MINUTE * MINUTE, ts))
    quiet_ms = int(rng.integers(first_ms, bars.end_ms))
    ts = ts[(ts < quiet_ms) | (ts > quiet_ms + trouble.silent_hours * HOUR)]
    close = bars.close[np.maximum(np.searchsorted(bars.open_time, ts - MINUTE, "right") - 1, 0)]
    middle = close * np.exp(rng.normal(0.0, 0.0003, len(ts)))
    middle *= np.where(rng.random(len(ts)) < trouble.outlier * 5, 1.2, 1.0)
    half = middle * np.round(rng.exponential(1.0, len(ts)), 1) * 1e-4
    half = np.where(rng.random(len(ts)) < trouble.crossed, -half, half)
    half = np.where(rng.random(len(ts)) < trouble.crossed, middle * 0.06, half)
    qty = np.round(rng.exponential(5.0, (2, len(ts))), 1)
    broken = rng.random((3, len(ts))) < trouble.broken / 3
    return Quotes(
        ts=ts.astype(np.int64),
        bid=np.where(broken[0], rng.choice((np.nan, 0.0, -1.0), len(ts)), middle - half),
        ask=np.where(broken[1], rng.choice((np.nan, np.inf), len(ts)), middle + half),
        bid_qty=np.where(broken[2], rng.choice((np.nan, -1.0, np.inf, 1e300), len(ts)), qty[0]),
        ask_qty=qty[1],
    )


def _fundings(rng: np.random.Generator, end_ms: int, trouble: Trouble) -> Fundings:
    ts = np.sort(rng.integers(end_ms - 2 * DAY, end_ms + HOUR, 2 * trouble.quotes_an_hour))
    # One that pays each hour is silent from the full hour on until it is heard again.
    interval_h = rng.choice((1, 4, 8) if trouble.broken else (8,), len(ts))
    rate = np.round(rng.normal(1e-4, 1e-4, len(ts)), 5)
    broken = rng.random(len(ts)) < trouble.broken
    return Fundings(
        ts=ts.astype(np.int64),
        rate=np.where(broken, rng.choice((np.nan, np.inf, 0.9), len(ts)), rate),
        interval_h=np.where(rng.random(len(ts)) < trouble.broken, 0, interval_h).astype(np.int64),
        funding_time=(ts // (interval_h * HOUR) + 1) * interval_h * HOUR,
    )


def moments(past: FeatureHistory, seed: int, count: int) -> Times:
    """Random ones of the minutes and a little beyond, many at a close, at the end of a grace, or a ms beside."""
    rng = np.random.default_rng(seed)
    at = rng.integers(past.minutes.start_ms - HOUR, past.minutes.end_ms + HOUR, count)
    kind = rng.random(count)
    at = np.where(kind < 0.5, at // MINUTE * MINUTE + rng.integers(-1, 2, count), at)
    at = np.where(kind < 0.1, at // HOUR * HOUR + rng.choice((-1, 0, 1, 90_000, 90_001), count), at)
    return np.sort(at).astype(np.int64)


def cut(past: FeatureHistory, t0: int) -> FeatureHistory:
    """What was known at `t0`."""

    def until(series: BarSeries | None) -> BarSeries | None:
        if series is None:
            return None
        return series.rows(0, int(np.searchsorted(series.open_time, t0 - series.interval_ms, "right")))

    minutes = until(past.minutes)
    assert minutes is not None
    quotes, fundings = past.quotes, past.fundings
    if quotes is not None:
        rows = slice(0, int(np.searchsorted(quotes.ts, t0, "right")))
        quotes = Quotes(
            ts=quotes.ts[rows],
            bid=quotes.bid[rows],
            ask=quotes.ask[rows],
            bid_qty=quotes.bid_qty[rows],
            ask_qty=quotes.ask_qty[rows],
        )
    if fundings is not None:
        rows = slice(0, int(np.searchsorted(fundings.ts, t0, "right")))
        fundings = Fundings(
            ts=fundings.ts[rows],
            rate=fundings.rate[rows],
            interval_h=fundings.interval_h[rows],
            funding_time=fundings.funding_time[rows],
        )
    return FeatureHistory(
        market=past.market,
        minutes=minutes,
        hours=until(past.hours),
        twd=until(past.twd),
        lead=until(past.lead),
        quotes=quotes,
        fundings=fundings,
    )


def altered(past: FeatureHistory, t0: int) -> FeatureHistory:
    """The same up to `t0`; whatever comes after it is wildly different."""

    def wild(column: Floats, later: np.ndarray) -> Floats:
        return np.where(later, column[::-1] * 3.0 + 1.0, column)

    def bars(series: BarSeries | None) -> BarSeries | None:
        if series is None:
            return None
        later = series.open_time + series.interval_ms > t0
        columns = [wild(c, later) for c in (series.open, series.high, series.low, series.close)]
        return BarSeries(
            interval=series.interval,
            open_time=series.open_time,
            open=columns[0],
            high=np.where(later, np.max(columns, axis=0), series.high),
            low=np.where(later, np.min(columns, axis=0), series.low),
            close=columns[3],
            volume=np.where(later, 7.0 - (series.volume > 0) * 7.0, series.volume),
        )

    minutes = bars(past.minutes)
    assert minutes is not None
    quotes, fundings = past.quotes, past.fundings
    if quotes is not None:
        later = quotes.ts > t0
        quotes = Quotes(
            ts=quotes.ts,
            bid=wild(quotes.bid, later),
            ask=wild(quotes.ask, later),
            bid_qty=wild(quotes.bid_qty, later),
            ask_qty=wild(quotes.ask_qty, later),
        )
    if fundings is not None:
        later = fundings.ts > t0
        fundings = Fundings(
            ts=fundings.ts,
            rate=np.where(later, 0.3, fundings.rate),
            interval_h=fundings.interval_h,
            funding_time=fundings.funding_time,
        )
    return FeatureHistory(
        market=past.market,
        minutes=minutes,
        hours=bars(past.hours),
        twd=bars(past.twd),
        lead=bars(past.lead),
        quotes=quotes,
        fundings=fundings,
    )


def _rows(*columns: np.ndarray) -> list[tuple[Any, ...]]:
    return list(zip(*(column.tolist() for column in columns), strict=True))


class Life:
    """A book to which a history happens, each event at its own time."""

    def __init__(self, past: FeatureHistory, specs: Sequence[FactorSpec] = (), *, max_age_ms: int = MAX_AGE) -> None:
        self._max_age_ms = max_age_ms
        self.cross = CrossMarket(min_move=MIN_MOVE)
        self.book = FeatureBook(past.market, self.cross, specs)
        self._bars = [
            (series.to_bars(KEY), feed)
            for series, feed in (
                (past.hours, self.book.on_bar),
                (past.minutes, self.book.on_bar),
                (past.twd, self.cross.on_usdttwd),
                (past.lead, self.cross.on_btc),
            )
            if series is not None
        ]
        self._bars_fed = [0] * len(self._bars)
        q, f = past.quotes, past.fundings
        self._quotes = _rows(q.ts, q.bid, q.ask, q.bid_qty, q.ask_qty) if q else []
        self._fundings = _rows(f.ts, f.rate, f.interval_h, f.funding_time) if f else []
        self._quotes_fed = self._fundings_fed = 0

    def feed(self, t0: int, *, bars_ahead: int = 0, ticks_ahead: int = 0) -> None:
        """Everything up to `t0`; of what comes after it so many events of each source."""
        for n, (bars, feed) in enumerate(self._bars):
            ahead = bars_ahead
            while self._bars_fed[n] < len(bars):
                bar = bars[self._bars_fed[n]]
                if bar.close_time > t0:
                    if ahead == 0:
                        break
                    ahead -= 1
                feed(bar)
                self._bars_fed[n] += 1
        last = self._quotes_fed + sum(1 for q in self._until(self._quotes, self._quotes_fed, t0)) + ticks_ahead
        for quote in self._quotes[self._quotes_fed : last]:
            self.book.on_depth(*quote)
        self._quotes_fed = min(last, len(self._quotes))
        last = self._fundings_fed + sum(1 for f in self._until(self._fundings, self._fundings_fed, t0)) + ticks_ahead
        for funding in self._fundings[self._fundings_fed : last]:
            self.book.on_funding(*funding)
        self._fundings_fed = min(last, len(self._fundings))

    @staticmethod
    def _until(rows: list[tuple[Any, ...]], first: int, t0: int) -> Iterator[tuple[Any, ...]]:
        for row in rows[first:]:
            if row[0] > t0:
                return
            yield row

    def at(self, t0: int, *, bars_ahead: int = 0, ticks_ahead: int = 0) -> FeatureSnapshot:
        self.feed(t0, bars_ahead=bars_ahead, ticks_ahead=ticks_ahead)
        return self.book.snapshot(t0, self._max_age_ms)
