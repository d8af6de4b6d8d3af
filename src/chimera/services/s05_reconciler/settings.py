"""What S5 needs to know before it starts."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.instrument_key import InstrumentKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times are ms of our own work.

    Attributes:
        atr_mult: S3_ATR_MULT: how many ATRs away an adopted position's stop stands.
        in_flight_ms: How often orders of which nobody knows whether the exchange has them are asked for.
        orders_ms: How often the exchange's open orders are looked at.
        positions_ms: The same of its positions.
        balances_ms: How often everything is compared although nothing seems to have changed, with fills and balances.
        lookups_max: Orders that are asked for one by one in one look.
        lookup_pause_ms: Between two of them.
        balance_diff_min: Wallets that differ by less, in units of the asset, are alike.
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
    in_flight_ms: int = 2_000
    orders_ms: int = 10_000
    positions_ms: int = 30_000
    balances_ms: int = 60_000
    lookups_max: int = 10
    lookup_pause_ms: int = 100
    balance_diff_min: Decimal = Decimal("0.000001")
    lookup_lag_ms: int = 2_000
    fills_margin_ms: int = 60_000
    entry_patience_ms: int = 60_000
    retry_max_ms: int = 1_500
    fallback_stop_ratio: Decimal = Decimal("0.02")
    adopt_unknown_position: bool = True
