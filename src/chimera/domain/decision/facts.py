"""Everything one decision knows, gathered before it is made.

Owns the shape only. Whoever decides (live, in a backtest, on stored signals, in a test) fills it; None means "could not
be found out", and what cannot be found out refuses. The parts change at different speeds, so that a caller can keep the
slow ones between ticks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.enums import HealthLevel, Side
from chimera.domain.market.instrument import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What people and guards have set.

    `halts` names those in force: backtest_guard, daily_loss, drawdown. `health_size_mult` is S11's word about size.
    """

    kill_switch_on: bool | None
    paused: bool | None
    window_open: bool | None
    health_level: HealthLevel | None
    health_age_ms: int | None
    health_size_mult: float
    halts: tuple[str, ...] | None
    reconciled: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What is open, opening, used and lost. Per market where the limit is.

    `minutes_since_stop_out` is None when there never was one; `cooldown_known` False when that could not be read.
    `daily_loss_usdt` is positive for a loss: realised, fees, funding and open loss of this UTC day. `drawdown_ratio` is
    the fall of equity from its peak, net of transfers. Each limit counts from its base: 0, or the value of a halt that
    a person released.
    """

    open_position: bool | None
    unfinished_intents: int | None
    entries_this_signal_day: int | None
    minutes_since_stop_out: float | None
    cooldown_known: bool
    other_spot_symbol_held: bool | None
    budget_used_usdt: Decimal | None
    concurrency: int | None
    daily_loss_usdt: float | None
    drawdown_ratio: float | None
    daily_loss_base_usdt: float = 0.0
    drawdown_base_ratio: float = 0.0


UNRESTRAINED = Controls(
    kill_switch_on=False,
    paused=False,
    window_open=True,
    health_level=HealthLevel.GREEN,
    health_age_ms=0,
    health_size_mult=1.0,
    halts=(),
    reconciled=True,
)
"""Nobody forbids anything."""

UNEXPOSED = Exposure(
    open_position=False,
    unfinished_intents=0,
    entries_this_signal_day=0,
    minutes_since_stop_out=None,
    cooldown_known=True,
    other_spot_symbol_held=False,
    budget_used_usdt=Decimal(0),
    concurrency=0,
    daily_loss_usdt=0.0,
    drawdown_ratio=0.0,
)
"""Nothing is open, used or lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The market now. `features` holds fresh factors only; `feature_age_ms` is the age of that snapshot."""

    bid: Decimal
    ask: Decimal
    features: Mapping[str, float]
    feature_age_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One decision's world. `taker_fee_ratio` is the account's own rate.

    `model_p` None: the model was not asked, or gave no answer; `model_note` then says why (MODEL_TIMEOUT, …).
    """

    instrument: Instrument
    t0: int
    controls: Controls
    exposure: Exposure
    quote: Quote
    taker_fee_ratio: Decimal
    side_hint: Side | None = None
    model_p: float | None = None
    model_note: str = ""
