"""What the generated market is like: every knob with its default, range and reason. Checked when it is made."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.instrument import Instrument

LEADER = "BTCUSDT"
"""The symbol whose daily moves the strategy compares with USDT/TWD."""


def _within(what: str, value: float, low: float, high: float, meaning: str) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise ValueError(f"{what} is {value!r}; it must be within {low:g} and {high:g}: {meaning}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolConfig:
    """One symbol: its perpetual, and its spot market if it has one.

    start_price          100        1e-8..1e8    USDT, where the path begins unless a start price is given
    vol_year             0.9        0.01..5      annualised volatility; 0.5 BTC, 0.65 ETH: a long calm average of each
    corr                 0.6        -1..1        with the market, which is BTC; 0.8 for ETH
    tick, spot_tick      0.0001     1e-8..1000   bars lie on it; 1/tick or tick must be whole
    volume_usdt_min      1e6        1..1e10      median USDT traded in a calm minute; BTC and ETH had 7e6 in May 2025
    funding_interval_h   8          1, 2, 4, 8   what Binance uses
    spot                 False                   whether a spot market is generated beside the perpetual
    """

    symbol: str
    start_price: float = 100.0
    vol_year: float = 0.9
    corr: float = 0.6
    tick: float = 0.0001
    spot_tick: float = 0.0001
    volume_usdt_min: float = 1e6
    funding_interval_h: int = 8
    spot: bool = False

    def __post_init__(self) -> None:
        name = self.symbol
        if not name.isalnum() or name != name.upper():
            raise ValueError(f"symbol {name!r} must be written like BTCUSDT")
        _within(f"start_price of {name}", self.start_price, 1e-8, 1e8, "USDT")
        _within(f"vol_year of {name}", self.vol_year, 0.01, 5.0, "annualised volatility, 0.5 is 50 %")
        _within(f"corr of {name}", self.corr, -1.0, 1.0, "correlation with BTCUSDT")
        _within(f"volume_usdt_min of {name}", self.volume_usdt_min, 1.0, 1e10, "USDT a minute")
        for what, tick in (("tick", self.tick), ("spot_tick", self.spot_tick)):
            _within(f"{what} of {name}", tick, 1e-8, 1_000.0, "USDT")
            whole = 1.0 / tick if tick < 1.0 else tick
            if abs(whole - round(whole)) > 1e-6 * whole:
                raise ValueError(f"{what} of {name} is {tick!r}; it or 1 divided by it must be whole, e.g. 0.1 or 5")
        if self.funding_interval_h not in (1, 2, 4, 8):
            raise ValueError(f"funding_interval_h of {name} is {self.funding_interval_h!r}; it must be 1, 2, 4 or 8")

    @property
    def keys(self) -> tuple[InstrumentKey, ...]:
        fut = InstrumentKey(Market.FUT, self.symbol)
        return (fut, InstrumentKey(Market.SPOT, self.symbol)) if self.spot else (fut,)


KNOWN = {
    config.symbol: config
    for config in (
        SymbolConfig(
            symbol=LEADER,
            start_price=65_400.0,
            vol_year=0.5,
            corr=1.0,
            tick=0.1,
            spot_tick=0.01,
            volume_usdt_min=7e6,
            spot=True,
        ),
        SymbolConfig(
            symbol="ETHUSDT",
            start_price=2_600.0,
            vol_year=0.65,
            corr=0.8,
            tick=0.01,
            spot_tick=0.01,
            volume_usdt_min=6e6,
        ),
        SymbolConfig(symbol="SOLUSDT", start_price=140.0, vol_year=0.8, corr=0.75, tick=0.01, volume_usdt_min=2e6),
        SymbolConfig(symbol="BNBUSDT", start_price=620.0, vol_year=0.55, corr=0.7, tick=0.01, volume_usdt_min=8e5),
        SymbolConfig(symbol="XRPUSDT", start_price=2.2, vol_year=0.8, corr=0.7, volume_usdt_min=1.5e6),
    )
}
"""What the demonstration can show. Another symbol gets the general numbers where somebody brings its rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketConfig:
    """The whole generated market.

    symbols               BTC (FUT, SPOT), ETH (FUT); BTCUSDT first: it is the market all others lean on
    lead_lag_strength     0.5    0..1        1: the day after the pattern BTC drifts by lead_lag_day_sigmas in the
                                             direction of USDT/TWD; 0: not at all; no draw depends on it
    lead_lag_day_sigmas   1.0    0..3        that drift in BTC's average daily volatility: 2.6 % at the defaults
    lead_lag_half_life_h  6.0    0.5..1000   half of the drift comes in these first hours: entries come after midnight
    lead_lag_move_min     0.0005 0..0.1      a smaller daily move is none (the strategy's `min_move`)
    regime_mult           0.5, 1, 2.2  0.05..10  volatility in FROZEN, NORMAL, EXTREME; rescaled to keep vol_year
    regime_hours          16, 30, 7  1..1000 mean length of a stay in each
    extreme_share         0.35   0..1        of the exits from NORMAL, those that lead to EXTREME
    vol_cluster           0.45   0..1.5      standard deviation of log volatility; fat tails and calm after calm
    vol_half_life_min     90     10..10000   how long a burst lasts
    seasonality           0.2    0..0.9      amplitude of volatility over the UTC day, highest at 15:00 (US opening)
    jumps_per_day         0.5    0..50       shared by all symbols
    jump_day_sigmas       0.2    0..2        a jump's standard deviation in daily volatilities: 0.5 % for BTC
    basis_mean_bps        -4.0   -50..50     perpetual over spot; around -5 Binance's rate is small and changes its sign
    basis_sd_bps          1.5    0..50       and its spread
    basis_half_life_h     24     1..1000     slow: a funding rate resembles the one before
    twd_start_price       31.5   1..1000     USDT/TWD at MAX
    twd_vol_year          0.06   0.001..1    0.3 % a day
    twd_momentum          0.35   -0.9..0.9   share of yesterday's move that USDT/TWD repeats today: days go in pairs
    twd_corr              -0.4   -1..1       with BTC on the same day: USDT is dear in Taipei when BTC falls
    twd_reversion_days    120    1..100000   half-life of the way back to twd_start_price
    twd_volume_hour       40000  1..1e9      median USDT an hour
    """

    symbols: tuple[SymbolConfig, ...] = (KNOWN[LEADER], KNOWN["ETHUSDT"])
    lead_lag_strength: float = 0.5
    lead_lag_day_sigmas: float = 1.0
    lead_lag_half_life_h: float = 6.0
    lead_lag_move_min: float = 0.0005
    regime_mult: tuple[float, float, float] = (0.5, 1.0, 2.2)
    regime_hours: tuple[float, float, float] = (16.0, 30.0, 7.0)
    extreme_share: float = 0.35
    vol_cluster: float = 0.45
    vol_half_life_min: float = 90.0
    seasonality: float = 0.2
    jumps_per_day: float = 0.5
    jump_day_sigmas: float = 0.2
    basis_mean_bps: float = -4.0
    basis_sd_bps: float = 1.5
    basis_half_life_h: float = 24.0
    twd_start_price: float = 31.5
    twd_vol_year: float = 0.06
    twd_momentum: float = 0.35
    twd_corr: float = -0.4
    twd_reversion_days: float = 120.0
    twd_volume_hour: float = 40_000.0

    def __post_init__(self) -> None:
        names = [config.symbol for config in self.symbols]
        if not names or names[0] != LEADER:
            raise ValueError(f"symbols are {names}; the first must be {LEADER}, which all others lean on")
        if len(set(names)) != len(names):
            raise ValueError(f"symbols are {names}; each may stand there once")
        if self.symbols[0].corr != 1.0:
            raise ValueError(f"corr of {LEADER} is {self.symbols[0].corr!r}; it is the market itself, so it must be 1")
        _within("lead_lag_strength", self.lead_lag_strength, 0.0, 1.0, "0 is no lead at all")
        _within("lead_lag_day_sigmas", self.lead_lag_day_sigmas, 0.0, 3.0, "daily volatilities")
        _within("lead_lag_half_life_h", self.lead_lag_half_life_h, 0.5, 1_000.0, "hours")
        _within("lead_lag_move_min", self.lead_lag_move_min, 0.0, 0.1, "0.0005 is 5 bps")
        for name, mult, hours in zip(("FROZEN", "NORMAL", "EXTREME"), self.regime_mult, self.regime_hours, strict=True):
            _within(f"regime_mult of {name}", mult, 0.05, 10.0, "factor on volatility")
            _within(f"regime_hours of {name}", hours, 1.0, 1_000.0, "mean length of a stay")
        _within("extreme_share", self.extreme_share, 0.0, 1.0, "share of the exits from NORMAL")
        _within("vol_cluster", self.vol_cluster, 0.0, 1.5, "standard deviation of log volatility")
        _within("vol_half_life_min", self.vol_half_life_min, 10.0, 10_000.0, "minutes")
        _within("seasonality", self.seasonality, 0.0, 0.9, "amplitude, 0.2 is 20 %")
        _within("jumps_per_day", self.jumps_per_day, 0.0, 50.0, "expected count")
        _within("jump_day_sigmas", self.jump_day_sigmas, 0.0, 2.0, "daily volatilities")
        if self.jump_share >= 0.9:
            raise ValueError(
                f"jumps_per_day {self.jumps_per_day!r} x jump_day_sigmas {self.jump_day_sigmas!r} squared is "
                f"{self.jump_share:.2f} of a day's variance; it must stay below 0.9: make one of them smaller"
            )
        _within("basis_mean_bps", self.basis_mean_bps, -50.0, 50.0, "basis points")
        _within("basis_sd_bps", self.basis_sd_bps, 0.0, 50.0, "basis points")
        _within("basis_half_life_h", self.basis_half_life_h, 1.0, 1_000.0, "hours")
        _within("twd_start_price", self.twd_start_price, 1.0, 1_000.0, "TWD for one USDT")
        _within("twd_vol_year", self.twd_vol_year, 0.001, 1.0, "annualised volatility")
        _within("twd_momentum", self.twd_momentum, -0.9, 0.9, "share of yesterday's move")
        _within("twd_corr", self.twd_corr, -1.0, 1.0, "correlation with BTC within the hour")
        _within("twd_reversion_days", self.twd_reversion_days, 1.0, 100_000.0, "days")
        _within("twd_volume_hour", self.twd_volume_hour, 1.0, 1e9, "USDT an hour")

    @property
    def jump_share(self) -> float:
        """Share of a day's variance that comes by jumps."""
        return self.jumps_per_day * self.jump_day_sigmas**2

    @property
    def keys(self) -> tuple[InstrumentKey, ...]:
        return tuple(key for config in self.symbols for key in config.keys)


def symbols_for(instruments: Iterable[Instrument]) -> tuple[SymbolConfig, ...]:
    """The symbols of these instruments on their own ticks; BTCUSDT is added if missing, and always stands in front.

    Unknown symbols get the general numbers. A spot instrument brings the perpetual it is derived from.
    """
    found = {LEADER: KNOWN[LEADER]}
    found[LEADER] = replace(found[LEADER], spot=False)
    for instrument in instruments:
        symbol = instrument.symbol
        config = found.get(symbol) or replace(KNOWN.get(symbol) or SymbolConfig(symbol=symbol), spot=False)
        if instrument.market is Market.SPOT:
            config = replace(config, spot=True, spot_tick=float(instrument.tick_size))
        else:
            config = replace(config, tick=float(instrument.tick_size), funding_interval_h=instrument.funding_interval_h)
        found[symbol] = config
    return tuple(found.values())
