"""Where the simulated exchange gets its market from: one protocol, generated or loaded from files.

Owns the questions an exchange must answer about prices and funding, for now and for the history before its start, and
the rule that an answer holds closed bars only: whoever passes the present as the end never sees the future.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.bars import BarSeries, aggregate, bars_per, concat, empty
from chimera.domain.market.generator import (
    DAY_MS,
    HOUR_MS,
    TWD_KEY,
    FundingRate,
    MarketDay,
    MarketGenerator,
    MarketState,
    TwdState,
    twd_day,
)
from chimera.domain.market.market_config import MarketConfig
from chimera.domain.market.quotes import Bar

BASE_FUNDING_RATE = 0.0001
"""Binance's interest part for 8 h: what a perpetual pays when it trades level with spot."""
_BASE_INTERVAL_H = 8

_DAYS_KEPT = 3
_HOURLY_DAYS_KEPT = 64
_CHECKPOINT_DAYS = 16
_TWD_DAYS_BEFORE = 45


class MarketSource(Protocol):
    """A market to trade on. Times are epoch ms; the same question always gets the same answer."""

    @property
    def keys(self) -> tuple[InstrumentKey, ...]: ...

    @property
    def start_ms(self) -> int:
        """From here on every instrument has bars."""
        ...

    @property
    def end_ms(self) -> int | None:
        """The first ms for which some instrument has no bar; None: endless."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not as real as the rest: derived, seeded, filled. For people; shown beside results."""
        ...

    def minutes(self, key: InstrumentKey, start_ms: int, end_ms: int) -> BarSeries:
        """One-minute bars that open at or after `start_ms` and are closed at `end_ms`, oldest first."""
        ...

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> list[Bar]:
        """The same for any interval of INTERVAL_MS, complete bars only. History may begin after `start_ms`."""
        ...

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> tuple[FundingRate, ...]:
        """Settlements with start_ms <= ts < end_ms, oldest first."""
        ...

    def funding_next(self, symbol: str, now_ms: int) -> FundingRate:
        """The rate that the exchange shows at `now_ms`, with the time of the next settlement (later than now)."""
        ...

    def twd_bars(self, start_ms: int, end_ms: int) -> list[Bar]:
        """USDT/TWD in 60-minute bars, as `klines`."""
        ...


class GeneratedSource:
    """The seeded market from the UTC day of `first` on, without end.

    Keeps a few days of minutes, some weeks of hours and a state every sixteen days; everything else is computed again.
    """

    __slots__ = ("_days", "_first", "_generator", "_hours", "_states")

    def __init__(self, generator: MarketGenerator, first: MarketState) -> None:
        self._generator = generator
        self._first = first
        self._states = {first.day_index: first}
        self._days: dict[int, MarketDay] = {}
        self._hours: dict[int, dict[InstrumentKey, BarSeries]] = {}

    @property
    def keys(self) -> tuple[InstrumentKey, ...]:
        return self._generator.config.keys

    @property
    def start_ms(self) -> int:
        return self._first.day_index * DAY_MS

    @property
    def end_ms(self) -> int | None:
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"the market is generated from seed {self._generator.seed}",)

    def day(self, day_index: int) -> MarketDay:
        """One UTC day, not before the first."""
        known = self._days.get(day_index)
        return known if known is not None else self._make(day_index)

    def state_before(self, day_index: int) -> MarketState | None:
        """The newest state held for this day or an earlier one; None before the first day.

        A source made from it gives the same market from its day on, without making all the days before again.
        """
        held = [day for day in self._states if day <= day_index]
        return self._states[max(held)] if held else None

    def minutes(self, key: InstrumentKey, start_ms: int, end_ms: int) -> BarSeries:
        parts = [self.day(day).bars[key] for day in self._window(start_ms, end_ms)]
        return concat(parts).within(start_ms, end_ms) if parts else empty("1m")

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> list[Bar]:
        if bars_per("1m", interval) < 60:
            found = self.minutes(key, start_ms, end_ms)
        else:
            parts = [self._hours_of(day)[key] for day in self._window(start_ms, end_ms)]
            found = concat(parts).within(start_ms, end_ms) if parts else empty("1h")
        return aggregate(found, interval).to_bars(key)

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> tuple[FundingRate, ...]:
        # A day's last settlement is at the midnight that ends it.
        days = self._window(start_ms - DAY_MS, end_ms)
        return tuple(rate for day in days for rate in self.day(day).fundings[symbol] if start_ms <= rate.ts < end_ms)

    def funding_next(self, symbol: str, now_ms: int) -> FundingRate:
        return next(rate for rate in self.day(now_ms // DAY_MS).fundings[symbol] if rate.ts > now_ms)

    def twd_bars(self, start_ms: int, end_ms: int) -> list[Bar]:
        parts = [self._hours_of(day)[TWD_KEY] for day in self._window(start_ms, end_ms)]
        return concat(parts).within(start_ms, end_ms).to_bars(TWD_KEY) if parts else []

    def _window(self, start_ms: int, end_ms: int) -> range:
        return range(max(start_ms // DAY_MS, self._first.day_index), (end_ms - 1) // DAY_MS + 1)

    def _hours_of(self, day_index: int) -> dict[InstrumentKey, BarSeries]:
        if day_index not in self._hours:
            self._make(day_index)
        return self._hours[day_index]

    def _make(self, day_index: int) -> MarketDay:
        if day_index < self._first.day_index:
            raise ValueError(f"day {day_index} lies before the market's first day {self._first.day_index}")
        start = max(known for known in self._states if known <= day_index)
        state = self._states[start]
        while True:
            day, after = self._generator.day(state)
            if after.day_index % _CHECKPOINT_DAYS == 0:
                self._states[after.day_index] = after
            if state.day_index == day_index:
                break
            state = after
        # The running day is asked for until it ends; then the next one goes on from here.
        for passing in [known for known in self._states if known % _CHECKPOINT_DAYS and known != self._first.day_index]:
            del self._states[passing]
        self._states[after.day_index] = after
        _keep(self._days, day_index, day, _DAYS_KEPT)
        hours = {key: aggregate(bars, "1h") for key, bars in day.bars.items()}
        _keep(self._hours, day_index, {**hours, TWD_KEY: day.twd}, _HOURLY_DAYS_KEPT)
        return day


Value = TypeVar("Value")


def _keep(kept: dict[int, Value], number: int, value: Value, count: int) -> None:
    """Remember `value`, and of all only the `count` newest."""
    kept.pop(number, None)
    kept[number] = value
    while len(kept) > count:
        del kept[next(iter(kept))]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedMarket:
    """What was found in files, checked. `bars` are minutes, not empty; a missing funding or USDT/TWD is absent."""

    bars: Mapping[InstrumentKey, BarSeries]
    fundings: Mapping[str, tuple[FundingRate, ...]] = field(default_factory=dict)
    twd: BarSeries | None = None
    notes: tuple[str, ...] = ()


class FileSource:
    """A market from loaded bars. What files do not say is filled in by a stated rule, each time with a note:

    an instrument without bars     the other market of the symbol, with zero basis
    a perpetual without funding    Binance's base rate, each 8 h
    no USDT/TWD                    the generator's seeded series, unrelated to BTC
    """

    __slots__ = ("_bars", "_end_ms", "_fundings", "_keys", "_longer", "_notes", "_start_ms", "_twd")

    def __init__(self, loaded: LoadedMarket, keys: Sequence[InstrumentKey], *, seed: int) -> None:
        """
        Raises:
            ValueError: a symbol without bars in either market, or instruments that have no time in common.
        """
        notes = list(loaded.notes)
        self._keys = tuple(keys)
        self._bars: dict[InstrumentKey, BarSeries] = {}
        for key in keys:
            other = InstrumentKey(Market.SPOT if key.market is Market.FUT else Market.FUT, key.symbol)
            if key in loaded.bars:
                self._bars[key] = loaded.bars[key]
            elif other in loaded.bars:
                self._bars[key] = loaded.bars[other]
                notes.append(f"{key} is derived from {other} with zero basis: there is no file of its own")
            else:
                raise ValueError(f"there are no bars of {key.symbol}; there are of {_listed(loaded.bars)}")
        self._longer: dict[tuple[InstrumentKey, str], BarSeries] = {}
        self._start_ms = max(bars.start_ms for bars in self._bars.values())
        self._end_ms = min(bars.end_ms for bars in self._bars.values())
        if self._end_ms <= self._start_ms:
            raise ValueError(f"the bars of {_listed(self._bars)} have no minute in common: load files of one period")
        first_ms = min(bars.start_ms for bars in self._bars.values())
        self._fundings: dict[str, tuple[FundingRate, ...]] = {}
        for key in keys:
            if key.market is Market.FUT:
                self._fundings[key.symbol] = loaded.fundings.get(key.symbol, ())
                if not self._fundings[key.symbol]:
                    self._fundings[key.symbol] = _base_fundings(key.symbol, first_ms, self._end_ms)
                    notes.append(f"{key} has no funding file: it pays the base rate {BASE_FUNDING_RATE} each 8 h")
        if loaded.twd is not None:
            self._twd = aggregate(loaded.twd, "1h")
        else:
            self._twd = _seeded_twd(seed, first_ms, self._end_ms)
            notes.append(f"USDT/TWD has no file: it is the series of seed {seed}, unrelated to BTC")
        self._notes = tuple(notes)

    @property
    def keys(self) -> tuple[InstrumentKey, ...]:
        return self._keys

    @property
    def start_ms(self) -> int:
        return self._start_ms

    @property
    def end_ms(self) -> int | None:
        return self._end_ms

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    def minutes(self, key: InstrumentKey, start_ms: int, end_ms: int) -> BarSeries:
        return self._bars[key].within(start_ms, end_ms)

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> list[Bar]:
        longer = self._longer.get((key, interval))
        if longer is None:
            longer = self._longer[(key, interval)] = aggregate(self._bars[key], interval)
        return longer.within(start_ms, end_ms).to_bars(key)

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> tuple[FundingRate, ...]:
        rates = self._fundings[symbol]
        first = bisect_left(rates, start_ms, key=_settled_at)
        return rates[first : bisect_left(rates, end_ms, key=_settled_at)]

    def funding_next(self, symbol: str, now_ms: int) -> FundingRate:
        """The last settled rate: the coming one is not known yet, and files do not hold the exchange's estimate."""
        rates = self._fundings[symbol]
        coming = bisect_right(rates, now_ms, key=_settled_at)
        settled = rates[coming - 1] if coming > 0 else None
        rate = settled.rate if settled is not None else BASE_FUNDING_RATE
        if coming < len(rates):
            return FundingRate(rates[coming].ts, symbol, rate, rates[coming].interval_h)
        interval_h = settled.interval_h if settled is not None else _BASE_INTERVAL_H
        length_ms = interval_h * HOUR_MS
        return FundingRate((now_ms // length_ms + 1) * length_ms, symbol, rate, interval_h)

    def twd_bars(self, start_ms: int, end_ms: int) -> list[Bar]:
        return self._twd.within(start_ms, end_ms).to_bars(TWD_KEY)


def _settled_at(rate: FundingRate) -> int:
    return rate.ts


def _listed(bars: Mapping[InstrumentKey, BarSeries]) -> str:
    return ", ".join(f"{key} [{series.start_ms}, {series.end_ms})" for key, series in bars.items()) or "nothing"


def _base_fundings(symbol: str, start_ms: int, end_ms: int) -> tuple[FundingRate, ...]:
    length_ms = _BASE_INTERVAL_H * HOUR_MS
    first = -(-start_ms // length_ms) * length_ms
    return tuple(
        FundingRate(ts, symbol, BASE_FUNDING_RATE, _BASE_INTERVAL_H) for ts in range(first, end_ms + 1, length_ms)
    )


def _seeded_twd(seed: int, start_ms: int, end_ms: int) -> BarSeries:
    """From some weeks before the first bar, so that daily features are warm as soon as BTC's are."""
    config = MarketConfig()
    state = TwdState(price=config.twd_start_price)
    days: list[BarSeries] = []
    for day_index in range(start_ms // DAY_MS - _TWD_DAYS_BEFORE, end_ms // DAY_MS + 1):
        bars, state = twd_day(seed, config, day_index, state, None)
        days.append(bars)
    return concat(days)
