"""A second opinion on L0, from the specification's words alone.

Owns a vectorised reading of "S3 Strategy, L0" over columns of facts: which gate refuses each row, and which of them is
named. It shares no line with `domain.decision.gates` and knows none of its types, so that both can only agree by saying
the same thing. What cannot be evaluated refuses: None, NaN and infinity are all one word here, NaN.

Severity is the order in which the specification lists the gates; REFUSALS holds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

UNKNOWN, NO, YES = -1, 0, 1
"""How a column of truths is written."""

GREEN, YELLOW, ORANGE, RED = 0, 1, 2, 3
"""How a column of health levels is written; UNKNOWN is a fifth."""

REFUSALS = (
    "kill switch",
    "paused",
    "window",
    "health",
    "halts",
    "reconciled",
    "stale",
    "rule factor",
    "funding",
    "spread",
    "depth",
    "slippage",
    "open position",
    "unfinished intent",
    "entries per signal",
    "cooldown",
    "other symbol held",
    "budget",
    "concurrency",
    "daily loss",
    "drawdown",
)
"""The specification's own order. The factors of the enabled rules belong to freshness and warmth, and another spot
symbol, which the specification forbids elsewhere, stands with what is held and was entered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """One column per fact; all have one length. Money in USDT, ratios as fractions, ages in ms.

    `*_limit` of the instrument is NaN where the instrument has none. `halted` is YES when any halt is in force.
    """

    futures: Flags
    hinted: Flags
    kill_switch_on: NDArray[np.int8]
    paused: NDArray[np.int8]
    window_open: NDArray[np.int8]
    health_level: NDArray[np.int8]
    health_age_ms: Floats
    halted: NDArray[np.int8]
    reconciled: NDArray[np.int8]
    feature_age_ms: Floats
    funding_next: Floats
    spread_bps: Floats
    depth_top1_usdt: Floats
    mid: Floats
    atr_14: Floats
    instrument_spread_limit: Floats
    instrument_depth_limit: Floats
    open_position: NDArray[np.int8]
    unfinished_intents: Floats
    other_symbol_held: NDArray[np.int8]
    entries_this_signal_day: Floats
    ever_stopped_out: Flags
    minutes_since_stop_out: Floats
    cooldown_known: Flags
    budget_used_usdt: Floats
    concurrency: Floats
    daily_loss_usdt: Floats
    daily_loss_base_usdt: Floats
    drawdown_ratio: Floats
    drawdown_base_ratio: Floats
    rule_factors_missing: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The numbers of the specification; every one of them may be changed by a bundle."""

    max_feature_age_ms: float = 5_000
    health_age_ms_max: float = 180_000
    max_funding_abs: float = 0.0005
    spread_bp_limit: float = 3.0
    depth_top1_usdt_min: float = 200.0
    slip_bp_max: float = 8.0
    slip_bp_hard: float = 24.0
    max_entries_per_signal: float = 1
    cooldown_min: float = 60.0
    spot_multi_symbols: bool = True
    budget_usdt_max: float = 600.0
    concurrent_entries_per_market: float = 2
    daily_loss_usdt_max: float = 6.0
    drawdown_pct_max: float = 0.10
    planned_notional_usdt: float = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`refused[name]` per gate; `named` is the index in REFUSALS of the most severe, -1 where all pass.

    `finer_slices`: the estimate is above slip_bp_max and not above slip_bp_hard.
    """

    refused: Mapping[str, Flags]
    named: NDArray[np.int64]
    finer_slices: Flags

    @property
    def passes(self) -> Flags:
        return np.asarray(self.named < 0)


def judge_rows(rows: Rows, bounds: Bounds) -> Verdict:
    """Every gate over every row; nothing is left out because another gate has refused already."""
    spread_limit = np.where(
        np.isnan(rows.instrument_spread_limit), bounds.spread_bp_limit, rows.instrument_spread_limit
    )
    depth_limit = np.where(
        np.isnan(rows.instrument_depth_limit), bounds.depth_top1_usdt_min, rows.instrument_depth_limit
    )
    spread, depth = _known(rows.spread_bps), _known(rows.depth_top1_usdt)
    slippage = slippage_estimate_bps(spread, depth, bounds.planned_notional_usdt)
    # "A gate that cannot be evaluated refuses": a comparison with NaN is False, so that each gate is asked whether it
    # passes and never whether it fails.
    passes: dict[str, Flags] = {
        "kill switch": rows.kill_switch_on == NO,
        "paused": rows.paused == NO,
        "window": rows.window_open == YES,
        "health": (rows.health_level >= GREEN)
        & (rows.health_level < RED)
        & (_known(rows.health_age_ms) <= bounds.health_age_ms_max),
        "halts": rows.halted == NO,
        "reconciled": rows.reconciled == YES,
        "stale": (_known(rows.feature_age_ms) <= bounds.max_feature_age_ms)
        # bid <= ask by what a market is, so a spread is never negative and a price never below nothing.
        & (spread >= 0)
        & ~np.isnan(depth)
        # The spread is a ratio to the mid (S1): where that is unknown, so is what the spread means.
        & (_known(rows.mid) > 0)
        & ~np.isnan(_known(rows.atr_14))
        & (~rows.futures | ~np.isnan(_known(rows.funding_next))),
        "funding": ~rows.futures | (np.abs(_known(rows.funding_next)) <= bounds.max_funding_abs),
        "spread": spread <= spread_limit,
        "depth": depth >= depth_limit,
        "slippage": slippage <= bounds.slip_bp_hard,
        "open position": rows.open_position == NO,
        "unfinished intent": _known(rows.unfinished_intents) == 0,
        "other symbol held": rows.futures | bounds.spot_multi_symbols | (rows.other_symbol_held == NO),
        "entries per signal": rows.hinted | (_known(rows.entries_this_signal_day) < bounds.max_entries_per_signal),
        "cooldown": rows.cooldown_known
        & (~rows.ever_stopped_out | (_known(rows.minutes_since_stop_out) >= bounds.cooldown_min)),
        "budget": _known(rows.budget_used_usdt) < bounds.budget_usdt_max,
        "concurrency": _known(rows.concurrency) + 1 <= bounds.concurrent_entries_per_market,
        # "Each limit counts from its base": what a person has released is not lost a second time.
        "daily loss": _known(rows.daily_loss_usdt) - rows.daily_loss_base_usdt < bounds.daily_loss_usdt_max,
        "drawdown": _known(rows.drawdown_ratio) - rows.drawdown_base_ratio < bounds.drawdown_pct_max,
        "rule factor": ~rows.rule_factors_missing,
    }
    refused = {name: np.asarray(~passes[name]) for name in REFUSALS}
    table = np.stack([refused[name] for name in REFUSALS])
    named = np.where(table.any(axis=0), table.argmax(axis=0), -1)
    finer = (slippage > bounds.slip_bp_max) & (slippage <= bounds.slip_bp_hard)
    return Verdict(refused=refused, named=named, finer_slices=np.asarray(finer))


def slippage_estimate_bps(spread_bps: Floats, depth_top1_usdt: Floats, notional_usdt: float) -> Floats:
    """Half the spread for each top level's worth of notional, at least one; NaN where the book is unknown or empty."""
    levels = np.full_like(depth_top1_usdt, np.nan)
    np.divide(notional_usdt, depth_top1_usdt, out=levels, where=depth_top1_usdt > 0)
    return np.asarray(spread_bps / 2 * np.maximum(levels, 1.0))


def _known(column: Floats) -> Floats:
    """`column` with infinities written as NaN: no measurement is infinite."""
    return np.asarray(np.where(np.isfinite(column), column, np.nan))
