"""What S2 needs to know before it starts."""

from dataclasses import dataclass

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey

LEAD_KEY = InstrumentKey(Market.FUT, "BTCUSDT")
USDTTWD_KEY = InstrumentKey(Market.SPOT, "USDTTWD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Attributes:
    keys: Instruments that get features.
    lead_key: Whose daily closes stand against USDT/TWD in `xmkt_signal`; S1 must watch it, whether it is traded or not.
    emit_ms: Market time: least distance of two feature events of an instrument. Bar closes do not wait for it.
    feature_age_ms_max: Market time after which a price is stale; never less than 2.5 ticks of the venue.
    min_move: `strategy.min_move` until a bundle is active.
    minute_days, hour_days, factor_days: How much of what is on file is read at start. 32 days of minutes: the month
        that `rv_pctile_30d` ranks, the day before it that each of its figures looks back on, and one to spare.
    outlier_sigma: How many sigmas of the last hour are too many.
    regime_frozen_below, regime_extreme_above: Percentiles of `rv_pctile_30d` that bound the NORMAL regime.
    regime_grace_ms: Market time that a regime holds past its day.
    recompute_days_max: The longest window of one recompute.
    """

    env: str
    keys: tuple[InstrumentKey, ...]
    lead_key: InstrumentKey = LEAD_KEY
    factor_key: InstrumentKey = USDTTWD_KEY
    emit_ms: int = 1_000
    feature_age_ms_max: int = 5_000
    min_move: float = 0.0005
    minute_days: int = 32
    hour_days: int = 45
    factor_days: int = 45
    outlier_sigma: float = 10.0
    regime_frozen_below: float = 0.10
    regime_extreme_above: float = 0.90
    regime_grace_ms: int = 600_000
    recompute_days_max: int = 31
