"""What everybody else offers around a price: best prices, a few levels, and the mark.

Owns the shape of the modelled book. Storms widen it and thin it out; every tick refills it. Each picture is a pure
function of (seed, instrument, time, price, range of the last minute): nothing is remembered, so a restart or a second
reader sees the same book. What our own orders eat of it is the matching's business.

Integer ticks inside, Decimals on the grid outside; made once a tick of every instrument, so it must cost microseconds.
"""

from dataclasses import dataclass
from math import exp
from statistics import NormalDist

from chimera.contracts.enums import Market
from chimera.domain.market.chance import salt
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import BookTop, Level

_MASK = (1 << 64) - 1
_NORMAL = [NormalDist().inv_cdf((k + 0.5) / 1024) for k in range(1024)]


def _within(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise ValueError(f"{what} is {value!r}; it must be within {low:g} and {high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BookConfig:
    """The book of one instrument.

    levels            3        1..20       a side; what Binance sends as depth5 is more than the features read
    calm_range_bps    9.0      0.1..1000   high - low of an ordinary minute; stress is the last minute's range over it
    spread_bps        0.03     0.001..100  median spread at stress 1; BTCUSDT is mostly at one tick (0.015 bps)
    spread_power      1.7      0..5        spread grows with stress ** power: 3 bps needs a minute of 1 % or a gap
    gap_odds          0.0005   0..1        chance of a tick, times stress, that the spread is 20 times as wide
    top1_usdt         120000   10..1e9     median notional of the best level at stress 1; 20k to 500k is normal
    size_power        0.7      0..5        sizes shrink with stress ** power
    thin_odds         0.002    0..1        chance of a tick that a best level holds a hundredth only; in steps of 1/4096
    size_deviation    0.8      0..3        of log size
    """

    levels: int = 3
    calm_range_bps: float = 9.0
    spread_bps: float = 0.03
    spread_power: float = 1.7
    gap_odds: float = 0.0005
    top1_usdt: float = 120_000.0
    size_power: float = 0.7
    thin_odds: float = 0.002
    size_deviation: float = 0.8

    def __post_init__(self) -> None:
        _within("levels", self.levels, 1, 20)
        _within("calm_range_bps", self.calm_range_bps, 0.1, 1_000.0)
        _within("spread_bps", self.spread_bps, 0.001, 100.0)
        _within("spread_power", self.spread_power, 0.0, 5.0)
        _within("gap_odds", self.gap_odds, 0.0, 1.0)
        _within("top1_usdt", self.top1_usdt, 10.0, 1e9)
        _within("size_power", self.size_power, 0.0, 5.0)
        _within("thin_odds", self.thin_odds, 0.0, 1.0)
        _within("size_deviation", self.size_deviation, 0.0, 3.0)


def book_config_for(instrument: Instrument) -> BookConfig:
    """BTC and ETH perpetuals are deep, spot is thinner, everything else is thinner and wider."""
    spot = instrument.market is Market.SPOT
    if instrument.symbol == "BTCUSDT":
        return BookConfig(top1_usdt=60_000.0) if spot else BookConfig()
    if instrument.symbol == "ETHUSDT":
        return BookConfig(calm_range_bps=12.0, spread_bps=0.05, top1_usdt=50_000.0 if spot else 100_000.0)
    return BookConfig(calm_range_bps=16.0, spread_bps=0.8, top1_usdt=15_000.0 if spot else 30_000.0)


class BookModel:
    """Pictures of one instrument's outside book. What it keeps follows from the configuration and the last range."""

    __slots__ = (
        "_config",
        "_factors",
        "_market",
        "_more_levels",
        "_salt",
        "_shape",
        "_shape_range",
        "_step",
        "_step_value",
        "_symbol",
        "_thin_at",
        "_tick",
        "_tick_value",
        "_widths",
    )

    def __init__(self, seed: int, instrument: Instrument, config: BookConfig) -> None:
        self._config = config
        self._market = instrument.market
        self._symbol = instrument.symbol
        self._salt = salt(seed, f"book/{instrument.key}")
        self._tick, self._step = instrument.tick_size, instrument.step_size
        self._tick_value, self._step_value = float(self._tick), float(self._step)
        # Sizes and widths are looked up by ten bits of the tick's hash: no logarithm, no generator in the loop.
        self._factors = [exp(config.size_deviation * z) for z in _NORMAL]
        self._widths = [exp(0.7 * z) for z in _NORMAL]
        self._thin_at = int(config.thin_odds * 4096)
        self._more_levels = tuple(1.4**k for k in range(1, config.levels))
        self._shape_range = -1.0
        self._shape = (0.0, 0.0, 0.0)

    def top(self, ts: int, price: float, range_bps: float) -> BookTop:
        """The book around `price` (put on the tick), which is also the last trade and lies within the spread.

        Args:
            range_bps: high - low of the last closed minute over its close; not of the running one, which would let the
                book know what is still to come.
        """
        if range_bps != self._shape_range:
            self._set_shape(range_bps)
        width, top1_usdt, gap_at = self._shape
        # chance.mix, written out: the call alone would be a tenth of this function.
        bits = ((self._salt ^ ts) + 0x9E3779B97F4A7C15) & _MASK
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
        bits ^= bits >> 31
        factors = self._factors

        in_ticks = price / self._tick_value
        last = int(in_ticks + 0.5) or 1
        width *= self._widths[bits & 1023]
        if bits >> 46 < gap_at:
            width *= 20.0
        spread = int(width * in_ticks + 0.5) or 1
        # An odd spread leans to either side by chance, so that the mid has no bias against the price.
        bid = last - ((spread + (bits >> 10 & 1)) >> 1)
        if bid < 1:
            bid = 1
        ask = bid + spread
        size = top1_usdt / (price * self._step_value)
        bid_size = ask_size = size
        if bits >> 11 & 0xFFF < self._thin_at:
            bid_size *= 0.01
        if bits >> 23 & 0xFFF < self._thin_at:
            ask_size *= 0.01

        # A product on the grid costs 80 ns: less than looking it up among the many that occur.
        tick, step = self._tick, self._step
        bits = ((bits ^ (bits >> 29)) * 0x94D049BB133111EB) & _MASK  # fresh ones: a wide spread says nothing of sizes
        bids: tuple[Level, ...] = ((tick * bid, step * (int(bid_size * factors[bits >> 44 & 1023]) or 1)),)
        asks: tuple[Level, ...] = ((tick * ask, step * (int(ask_size * factors[bits >> 54]) or 1)),)
        gap = 1 + (spread >> 1)
        for deeper in self._more_levels:
            bits = ((bits ^ (bits >> 29)) * 0xBF58476D1CE4E5B9) & _MASK
            ask += gap + (bits >> 34 & 3)
            asks += ((tick * ask, step * (int(size * deeper * factors[bits >> 44 & 1023]) or 1)),)
            bid -= gap + (bits >> 32 & 3)
            if bid > 0:
                bids += ((tick * bid, step * (int(size * deeper * factors[bits >> 54]) or 1)),)
        return BookTop(ts, self._market, self._symbol, bids, asks, tick * last)

    def _set_shape(self, range_bps: float) -> None:
        config = self._config
        stress = min(max(range_bps / config.calm_range_bps, 0.2), 50.0)
        self._shape = (
            config.spread_bps * 1e-4 * stress**config.spread_power,
            config.top1_usdt * stress**-config.size_power,
            config.gap_odds * stress * 262_144.0,  # of 18 bits
        )
        self._shape_range = range_bps


MARK_GAP_RATIO_MAX = 0.002
"""A mark never strays further from the price: after a jump it is there at once, as the exchange's own cap does it."""


def next_mark(mark: float | None, price: float, weight: float = 0.5) -> float:
    """The mark after one more tick: `weight` of the price, the rest of the mark before; 1 is no smoothing.

    None: the first tick, the mark is the price.
    """
    if mark is None:
        return price
    smooth = mark + weight * (price - mark)
    reach = MARK_GAP_RATIO_MAX * price
    return min(max(smooth, price - reach), price + reach)


def bar_range_bps(high: float, low: float, close: float) -> float:
    """How far a bar reached, in basis points of its close."""
    return (high - low) / close * 1e4
