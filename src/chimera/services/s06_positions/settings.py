"""What S6 needs to know before it starts. How positions are led is in the bundle, not here."""

from dataclasses import dataclass

from chimera.contracts.instrument_key import InstrumentKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    Attributes:
        leverage_default: Of an entry that names none: what S4 sets then.
        tick_ms: S6_TICK_MS, market time: how often an open position is looked at.
        limits_ms: How often equity, daily loss and drawdown are reckoned, our own work's time.
        heal_ms: How often open trades are read again whatever was told, our own work's time: the bus may lose.
        snapshot_ms: `positions_snapshots` at most once in this market time, besides events.
        config_poll_ms: How soon a lost config event is noticed, our own work's time.
        treasury_ms: How often the wallets are looked at, our own work's time: as often as S1 asks for balances.
        treasury_again_ms: A transfer that was refused is not proposed again before, our own work's time.
        attempts_max: A stop that is refused so often while none is listed closes the position at market.
    """

    env: str
    keys: tuple[InstrumentKey, ...]
    leverage_default: int = 20
    tick_ms: int = 1_000
    limits_ms: int = 5_000
    heal_ms: int = 180_000
    snapshot_ms: int = 60_000
    treasury_ms: int = 10_000
    treasury_again_ms: int = 3_600_000
    attempts_max: int = 3
    config_poll_ms: int = 5_000
