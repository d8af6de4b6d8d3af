"""A market from a seed: one UTC day of minutes for every symbol, funding, and USDT/TWD.

Owns the path of the generated market. A day is a pure function of the seed, the configuration and the small state at
its start, so that a restart recomputes any day and never stores one. The path is made of log returns: multiply the
price in the state and the whole day follows in proportion (prices are put on the tick only in the bars).

    common     one stream a day: the market's normal draws, regimes by the hour, bursts of volatility, jumps
    symbol     its own share beside the market's, extremes inside each minute, volume, the basis of its perpetual
    USDT/TWD   hourly, leaning against BTC of the same hour; its days lead BTC's as the strategy hopes

Who asks: `source.GeneratedSource`. How a minute is walked is in `walk`, what the book looks like in `outside_book`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log, sqrt
from typing import Any

import numpy as np

from chimera.contracts.enums import Market, Regime
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.bars import BarSeries, Floats
from chimera.domain.market.chance import stream
from chimera.domain.market.market_config import LEADER, MarketConfig, SymbolConfig

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
_MINUTES = 1_440
_HOURS = 24
_YEAR_DAYS = 365.0

TWD_KEY = InstrumentKey(Market.SPOT, "USDTTWD")
"""How a bar of USDT/TWD is labelled."""
_TWD_TICK = 0.001

# Binance: rate = premium + clamp(interest - premium, +-0.05 %), interest 0.01 % for 8 h.
_INTEREST = 0.0001
_CLAMP = 0.0005

_REGIMES = (Regime.FROZEN, Regime.NORMAL, Regime.EXTREME)


@dataclass(frozen=True, slots=True)
class FundingRate:
    """One settlement. `rate` is for the symbol's own interval; positive: longs pay."""

    ts: int
    symbol: str
    rate: float
    interval_h: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TwdState:
    """USDT/TWD at the start of a day; `move_d1`, `move_d2` are the returns of the two days before, D1 the earlier."""

    price: float
    move_d1: float = 0.0
    move_d2: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketState:
    """All that a day needs from the days before it. Small, and exact as JSON: floats are written with repr.

    `premiums` are perpetual / spot - 1 now, `premium_avgs` those of the last funding interval, from which the next
    rate follows: so it is known, and shown, for the whole interval before it is paid.
    """

    day_index: int
    prices: dict[str, float]
    premiums: dict[str, float]
    premium_avgs: dict[str, float]
    log_vol: float
    regime: Regime
    twd: TwdState
    btc_move_d1: float = 0.0
    btc_move_d2: float = 0.0

    def scaled(self, factors: Mapping[str, float]) -> "MarketState":
        """The same market with the prices of some symbols in another proportion."""
        prices = {symbol: price * factors.get(symbol, 1.0) for symbol, price in self.prices.items()}
        return replace(self, prices=prices)

    def to_json(self) -> dict[str, Any]:
        return {
            "day_index": self.day_index,
            "prices": dict(self.prices),
            "premiums": dict(self.premiums),
            "premium_avgs": dict(self.premium_avgs),
            "log_vol": self.log_vol,
            "regime": self.regime.value,
            "twd": {"price": self.twd.price, "move_d1": self.twd.move_d1, "move_d2": self.twd.move_d2},
            "btc_move_d1": self.btc_move_d1,
            "btc_move_d2": self.btc_move_d2,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "MarketState":
        return cls(
            day_index=row["day_index"],
            prices=dict(row["prices"]),
            premiums=dict(row["premiums"]),
            premium_avgs=dict(row["premium_avgs"]),
            log_vol=row["log_vol"],
            regime=Regime(row["regime"]),
            twd=TwdState(**row["twd"]),
            btc_move_d1=row["btc_move_d1"],
            btc_move_d2=row["btc_move_d2"],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarketDay:
    """One UTC day. `fundings` are the settlements after its first and up to its last midnight.

    `exact_closes` are those of the perpetuals before they were put on the tick: what scales in proportion.
    `lead` is the direction (-1, 0, +1) in which BTC drifts today because of the two days before; for tests and labels,
    never for the strategy.
    """

    day_index: int
    bars: dict[InstrumentKey, BarSeries]
    exact_closes: dict[str, Floats]
    fundings: dict[str, tuple[FundingRate, ...]]
    twd: BarSeries
    regimes: tuple[Regime, ...]
    lead: int


def lead_direction(twd_d1: float, twd_d2: float, btc_d1: float, move_min: float) -> int:
    """The pattern the strategy looks for: the direction of USDT/TWD, or 0. Arguments are daily returns."""
    if min(abs(twd_d1), abs(twd_d2), abs(btc_d1)) < move_min:
        return 0
    if (twd_d1 > 0.0) != (twd_d2 > 0.0) or (twd_d1 > 0.0) == (btc_d1 > 0.0):
        return 0
    return 1 if twd_d1 > 0.0 else -1


class MarketGenerator:
    """Days from a seed. Holds what follows from the configuration alone; nothing here changes from day to day."""

    __slots__ = ("_lead_profile", "_regime_mult", "_regime_stay", "_season", "config", "seed")

    def __init__(self, seed: int, config: MarketConfig) -> None:
        if seed < 0:
            raise ValueError(f"seed {seed} must not be negative")
        self.seed = seed
        self.config = config
        self._season = _season(config.seasonality)
        self._regime_mult = _regime_multipliers(config)
        self._regime_stay = tuple(1.0 - 1.0 / hours for hours in config.regime_hours)
        minute = np.arange(_MINUTES)
        decay = np.exp2(-minute / (config.lead_lag_half_life_h * 60.0))
        self._lead_profile: Floats = decay / decay.sum()

    def start(self, day_index: int, prices: Mapping[str, float] | None = None) -> MarketState:
        """The state at the first minute of a UTC day (days since the epoch); `prices` replace the configured ones."""
        given = prices or {}
        config = self.config
        symbols = [symbol.symbol for symbol in config.symbols]
        unknown = [symbol for symbol in given if symbol not in symbols]
        if unknown:
            raise ValueError(f"start price given for {', '.join(unknown)}; the market has {', '.join(symbols)}")
        premium = config.basis_mean_bps / 1e4
        return MarketState(
            day_index=day_index,
            prices={symbol.symbol: float(given.get(symbol.symbol, symbol.start_price)) for symbol in config.symbols},
            premiums=dict.fromkeys(symbols, premium),
            premium_avgs=dict.fromkeys(symbols, premium),
            log_vol=0.0,
            regime=Regime.NORMAL,
            twd=TwdState(price=config.twd_start_price),
        )

    def day(self, state: MarketState) -> tuple[MarketDay, MarketState]:
        """The day that begins with `state`, and the state at its end."""
        config, day_index = self.config, state.day_index
        chance = stream(self.seed, day_index, "market")
        market = chance.standard_normal(_MINUTES)
        regimes, regime_after = self._regimes(chance.random((_HOURS, 2)), state.regime)
        bursts = _ar1(state.log_vol, chance.standard_normal(_MINUTES), config.vol_half_life_min, config.vol_cluster)
        jumps = np.where(
            chance.random(_MINUTES) < config.jumps_per_day / _MINUTES, chance.standard_normal(_MINUTES), 0.0
        )
        # Centred so that the average variance, and with it vol_year, stays what it is without bursts.
        calm = sqrt((1.0 - config.jump_share) / _MINUTES)
        hours = np.repeat([self._regime_mult[_REGIMES.index(regime)] for regime in regimes], 60)
        level = calm * hours * self._season * np.exp(bursts - config.vol_cluster**2)

        twd_d1, twd_d2 = state.twd.move_d1, state.twd.move_d2
        lead = lead_direction(twd_d1, twd_d2, state.btc_move_d1, config.lead_lag_move_min)
        # All in units of a symbol's daily volatility.
        drift = (lead * config.lead_lag_strength * config.lead_lag_day_sigmas) * self._lead_profile
        common = level * market + config.jump_day_sigmas * jumps + drift

        bars: dict[InstrumentKey, BarSeries] = {}
        exact_closes: dict[str, Floats] = {}
        fundings: dict[str, tuple[FundingRate, ...]] = {}
        prices: dict[str, float] = {}
        premiums: dict[str, float] = {}
        premium_avgs: dict[str, float] = {}
        times = day_index * DAY_MS + MINUTE_MS * np.arange(_MINUTES, dtype=np.int64)
        btc_move = 0.0
        for symbol in config.symbols:
            name = symbol.symbol
            own = stream(self.seed, day_index, name)
            path = _path(symbol, own, common, level, state.prices[name])
            exact_closes[name] = path.close
            prices[name] = float(path.close[-1])
            if name == LEADER:
                btc_move = prices[name] / state.prices[name] - 1.0
            volume = _volume(own, symbol.volume_usdt_min, level / calm) / path.close
            bars[InstrumentKey(Market.FUT, name)] = _on_tick(times, path, volume, symbol.tick)
            basis = config.basis_mean_bps / 1e4 + _ar1(
                state.premiums[name] - config.basis_mean_bps / 1e4,
                own.standard_normal(_MINUTES),
                config.basis_half_life_h * 60.0,
                config.basis_sd_bps / 1e4,
            )
            if symbol.spot:
                spot = path.over(1.0 + np.concatenate(([state.premiums[name]], basis)))
                bars[InstrumentKey(Market.SPOT, name)] = _on_tick(times, spot, volume * 0.3, symbol.spot_tick)
            premiums[name] = float(basis[-1])
            fundings[name], premium_avgs[name] = _fundings(symbol, day_index, state.premium_avgs[name], basis)

        twd_bars, twd = twd_day(self.seed, config, day_index, state.twd, market.reshape(_HOURS, 60).sum(axis=1))
        done = MarketDay(
            day_index=day_index,
            bars=bars,
            exact_closes=exact_closes,
            fundings=fundings,
            twd=twd_bars,
            regimes=tuple(regimes),
            lead=lead,
        )
        after = MarketState(
            day_index=day_index + 1,
            prices=prices,
            premiums=premiums,
            premium_avgs=premium_avgs,
            log_vol=float(bursts[-1]),
            regime=regime_after,
            twd=twd,
            btc_move_d1=state.btc_move_d2,
            btc_move_d2=btc_move,
        )
        return done, after

    def _regimes(self, draws: Floats, regime: Regime) -> tuple[list[Regime], Regime]:
        """One regime an hour, beginning with the given one, and the one that follows."""
        seen: list[Regime] = []
        for leaves, where in draws.tolist():
            seen.append(regime)
            if leaves >= self._regime_stay[_REGIMES.index(regime)]:
                if regime is not Regime.NORMAL:
                    regime = Regime.NORMAL
                else:
                    regime = Regime.EXTREME if where < self.config.extreme_share else Regime.FROZEN
        return seen, regime


def start_prices_for(
    seed: int, config: MarketConfig, *, first_day: int, end_ms: int, targets: Mapping[str, float]
) -> dict[str, float]:
    """Start prices with which the perpetuals stand at `targets` when the minute that holds `end_ms` begins.

    The rest of the path is the same, in proportion. Costs a millisecond or so a day between.

    Raises:
        ValueError: a symbol that the market has not, or an end before `first_day`.
    """
    generator = MarketGenerator(seed, config)
    state = generator.start(first_day)
    unknown = [symbol for symbol in targets if symbol not in state.prices]
    if unknown:
        raise ValueError(f"target given for {', '.join(unknown)}; the market has {', '.join(state.prices)}")
    minute = end_ms // MINUTE_MS - first_day * _MINUTES
    if minute < 0:
        raise ValueError(f"the end {end_ms} lies before the first day {first_day} ({first_day * DAY_MS})")
    started = state.prices
    for _ in range(minute // _MINUTES):
        _, state = generator.day(state)
    reached = state.prices
    if minute % _MINUTES:
        day, _ = generator.day(state)
        reached = {symbol: float(closes[minute % _MINUTES - 1]) for symbol, closes in day.exact_closes.items()}
    return {symbol: started[symbol] * target / reached[symbol] for symbol, target in targets.items()}


def twd_day(
    seed: int, config: MarketConfig, day_index: int, state: TwdState, btc_hours: Floats | None
) -> tuple[BarSeries, TwdState]:
    """24 hourly bars of USDT/TWD. `btc_hours`: BTC's hourly returns in minute volatilities; None: unrelated to BTC."""
    chance = stream(seed, day_index, "USDTTWD")
    own = chance.standard_normal(_HOURS)
    shape = chance.standard_normal((3, _HOURS))
    hour_vol = config.twd_vol_year / sqrt(_YEAR_DAYS * _HOURS)
    if btc_hours is not None:
        own = config.twd_corr * btc_hours / sqrt(60.0) + sqrt(1.0 - config.twd_corr**2) * own
    pull = 1.0 - 0.5 ** (1.0 / config.twd_reversion_days)
    drift = config.twd_momentum * state.move_d2 - pull * log(state.price / config.twd_start_price)
    # Clipped so that no configuration leaves the floats: 36 times up or down in a day is far outside any of them.
    logs = np.clip(np.cumsum(hour_vol * own + drift / _HOURS), -3.6, 3.6)
    closes = state.price * np.exp(logs)
    opens = np.concatenate(([state.price], closes[:-1]))
    wide = 0.4 * hour_vol
    path = _Path(
        open=opens,
        high=np.maximum(opens, closes) * np.exp(wide * np.abs(shape[0])),
        low=np.minimum(opens, closes) * np.exp(-wide * np.abs(shape[1])),
        close=closes,
    )
    volume = config.twd_volume_hour * np.exp(0.6 * shape[2])
    times = day_index * DAY_MS + HOUR_MS * np.arange(_HOURS, dtype=np.int64)
    bars = _on_tick(times, path, volume, _TWD_TICK, "1h")
    price = float(closes[-1])
    return bars, TwdState(price=price, move_d1=state.move_d2, move_d2=price / state.price - 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Path:
    """Bars before they are put on the tick."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats

    def over(self, divisor: Floats) -> "_Path":
        """Divided by one value more than there are minutes: before the first, after each. Opens meet closes."""
        opens, closes = self.open / divisor[:-1], self.close / divisor[1:]
        middle = (divisor[:-1] + divisor[1:]) / 2.0
        return _Path(
            open=opens,
            high=np.maximum(self.high / middle, np.maximum(opens, closes)),
            low=np.minimum(self.low / middle, np.minimum(opens, closes)),
            close=closes,
        )


def _path(symbol: SymbolConfig, own: np.random.Generator, common: Floats, level: Floats, price: float) -> _Path:
    """A day of one symbol. `common` and `level` are in daily volatilities."""
    day_vol = symbol.vol_year / sqrt(_YEAR_DAYS)
    alone = own.standard_normal(_MINUTES)
    chance = own.random((2, _MINUTES))
    returns = day_vol * (symbol.corr * common + sqrt(1.0 - symbol.corr**2) * level * alone)
    # A day that moves by a factor of a million is no market; the bound keeps odd configurations inside the floats.
    after = np.clip(np.cumsum(returns), -14.0, 14.0)
    before = np.concatenate(([0.0], after[:-1]))
    # Extremes of a Brownian bridge from open to close, drawn exactly: h = (o + c + sqrt((c - o)^2 - 2 s^2 ln U)) / 2.
    spread = -2.0 * (day_vol * level) ** 2 * np.log1p(-chance)
    reach = np.sqrt((after - before) ** 2 + spread)
    high, low = (before + after + reach[0]) / 2.0, (before + after - reach[1]) / 2.0
    closes = price * np.exp(after)
    return _Path(
        open=np.concatenate(([price], closes[:-1])), high=price * np.exp(high), low=price * np.exp(low), close=closes
    )


def _on_tick(times: np.ndarray, path: _Path, volume: Floats, tick: float, interval: str = "1m") -> BarSeries:
    def rounded(values: Floats) -> Floats:
        # Divided by a whole number where the tick is below one: n / 10 is the float that "65400.1" means, n * 0.1 not.
        if tick < 1.0:
            whole = float(round(1.0 / tick))
            return np.maximum(np.rint(values * whole), 1.0) / whole
        return np.maximum(np.rint(values / tick), 1.0) * tick

    opens, closes = rounded(path.open), rounded(path.close)
    return BarSeries(
        interval=interval,
        open_time=times,
        open=opens,
        # Open and close are part of the range: numpy's exp may differ in the last bit between two equal arguments.
        high=np.maximum(rounded(path.high), np.maximum(opens, closes)),
        low=np.minimum(rounded(path.low), np.minimum(opens, closes)),
        close=closes,
        volume=np.round(volume, 3),
    )


def _volume(own: np.random.Generator, median: float, activity: Floats) -> Floats:
    """Grows with the volatility of the minute, in quote currency."""
    return median * activity * np.exp(0.7 * own.standard_normal(_MINUTES))


def _fundings(
    symbol: SymbolConfig, day_index: int, premium_avg: float, premiums: Floats
) -> tuple[tuple[FundingRate, ...], float]:
    """The day's settlements, and the average premium that the next day's first one is made of."""
    hours = symbol.funding_interval_h
    averages = premiums.reshape(_HOURS // hours, hours * 60).mean(axis=1).tolist()
    share = hours / 8.0
    rates: list[FundingRate] = []
    for k, premium in enumerate([premium_avg, *averages[:-1]]):
        rate = (premium + min(max(_INTEREST - premium, -_CLAMP), _CLAMP)) * share
        rates.append(FundingRate(day_index * DAY_MS + (k + 1) * hours * HOUR_MS, symbol.symbol, round(rate, 8), hours))
    return tuple(rates), averages[-1]


def _ar1(start: float, draws: Floats, half_life: float, deviation: float) -> Floats:
    """Steps of x' = a x + noise with this half-life (in steps) and long-run standard deviation, without a loop."""
    a = 0.5 ** (1.0 / half_life)
    power: Floats = a ** np.arange(1, len(draws) + 1)  # at least 2^-144: the half-life is never below ten minutes
    values: Floats = power * (start + np.cumsum(draws / power) * (deviation * sqrt(1.0 - a * a)))
    return values


def _season(amplitude: float) -> Floats:
    """Factor on volatility by the minute of the UTC day; its mean square is one."""
    wave = 1.0 + amplitude * np.cos(2.0 * np.pi * (np.arange(_MINUTES) / 60.0 - 15.0) / 24.0)
    scaled: Floats = wave / np.sqrt(np.mean(wave**2))
    return scaled


def _regime_multipliers(config: MarketConfig) -> tuple[float, ...]:
    """The configured ones, rescaled so that the long-run variance is one."""
    frozen, normal, extreme = config.regime_hours
    leave = 1.0 / normal
    weights = (leave * (1.0 - config.extreme_share) * frozen, 1.0, leave * config.extreme_share * extreme)
    mean = sum(w * mult**2 for w, mult in zip(weights, config.regime_mult, strict=True)) / sum(weights)
    return tuple(mult / sqrt(mean) for mult in config.regime_mult)
