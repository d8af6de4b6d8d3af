"""What S1 needs to know before it starts."""

from dataclasses import dataclass, field

from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S1Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Attributes:
    keys: What is watched and recorded; S2 needs FUT:BTCUSDT among them for the signal.
    throttle_ms: Market time: least distance of two ticker or depth events of an instrument.
    stall_ms: Our own time: a book that is silent for so long, and never less than 2.5 ticks of the venue, is told of.
    kline_stall_ms: The same for bars and marks.
    balances_ms: Our own time between two polls of the balances.
    rules_ms: Our own time between two looks at the exchange's rules: it changes them while we run.
    snapshot_ms: Market time between two full records of the balances, changed or not.
    clock_skew_ms_max: Above it CLOCK_SKEW is told; S4 refuses new entries.
    minute_days, hour_days, day_days: How much history of each interval is kept complete: minutes as far as a factor
        looks back, 45 days of hours, so that nothing of an average's beginning is left in `atr_14`.
    ready_days: So much of the minutes is complete before S1 is ready; what lies before is fetched while it trades. A
        start after a longer pause tells no older bars either: they are on file.
    factor_days: As `hour_days`, for USDT/TWD.
    history_pause_ms: Our own time between two questions about a hole of the past, each of up to 3,000 bars.
    variables: The limits of treasury transfers.
    """

    env: str
    keys: tuple[InstrumentKey, ...]
    throttle_ms: int = 100
    stall_ms: int = 5_000
    kline_stall_ms: int = 90_000
    balances_ms: int = 10_000
    rules_ms: int = 60_000
    snapshot_ms: int = 60_000
    clock_skew_ms_max: int = 1_000
    minute_days: int = 32
    hour_days: int = 45
    day_days: int = 45
    ready_days: int = 2
    factor_days: int = 45
    history_pause_ms: int = 1_000
    variables: S1Settings = field(default_factory=S1Settings)
