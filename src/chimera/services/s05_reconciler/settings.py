"""What S5 needs to know before it starts."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.instrument_key import InstrumentKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times are ms of our own work.

    Attributes:
        atr_mult: S3_ATR_MULT: how many ATRs away an adopted position's stop stands.
        compare_ms: How often positions and open orders are looked at.
        full_ms: How often everything is asked again although nothing seems to have changed.
        lookup_lag_ms: The exchange's queries may not know an order that is younger.
        fills_margin_ms: Fills are asked for from this long before the last good run: clocks differ.
        entry_patience_ms: An entry is the router's affair this long. One that is still unfinished then is stuck, and
            what it filled is looked at like any other position.
        retry_max_ms: A comparison that fails is tried again at least this often: a position may be naked for 2 s.
        fallback_stop_ratio: Distance of an adopted position's stop, share of the mark, while no ATR is known.
        adopt_unknown_position: Give a position that nobody here opened a stop, or leave it alone.
    """

    env: str
    keys: tuple[InstrumentKey, ...]
    id_prefix: str = "s3"
    atr_mult: float = 1.5
    compare_ms: int = 30_000
    full_ms: int = 600_000
    lookup_lag_ms: int = 2_000
    fills_margin_ms: int = 60_000
    entry_patience_ms: int = 60_000
    retry_max_ms: int = 1_500
    fallback_stop_ratio: Decimal = Decimal("0.02")
    adopt_unknown_position: bool = True
