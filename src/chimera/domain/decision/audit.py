"""A second opinion on every open: does anything forbid it?

Owns the list of what must be so before an entry, written from SERVICES S3 L0 a second time and in another way: the
gates ask for the first reason to refuse, this asks what an entry may not do without. It shares no code with them on
purpose, so that a mistake in one is seen by the other; `risk_gate_miss_rate` counts how often. It has to be 0.
"""

from collections.abc import Iterator
from math import isfinite
from typing import Any

from chimera.contracts.enums import HealthLevel, Market
from chimera.domain.decision.decide import DecisionConfig
from chimera.domain.decision.facts import Facts, Quote
from chimera.domain.execution.slippage import estimate_bps

_READ_BY_ALL = frozenset({"mid", "spread_bps", "depth_top1_usdt", "atr_14"})
_NO_ENTRY = frozenset({HealthLevel.RED})


def violations(facts: Facts, config: DecisionConfig) -> tuple[str, ...]:
    """What forbids an entry with these facts, by the gates' names; empty: it may be made."""
    return tuple(name for name, allowed in _conditions(facts, config) if not allowed)


def _conditions(facts: Facts, config: DecisionConfig) -> Iterator[tuple[str, bool]]:
    controls, exposure, quote, limits = facts.controls, facts.exposure, facts.quote, config.limits
    futures = facts.instrument.market is Market.FUT
    features = quote.features
    needed = _READ_BY_ALL | {"funding_next"} if futures else _READ_BY_ALL
    figures = {name: features[name] for name in needed if _is_figure(features.get(name))}
    read = {factor for rule in config.rules.rules for factor in rule.factors} | set(config.model_factors)

    # An answer of "not known" is nowhere taken for the one that lets an entry pass.
    yield "KILL_SWITCH", controls.kill_switch_on is not None and not controls.kill_switch_on
    yield "PAUSED", controls.paused is not None and not controls.paused
    yield "WINDOW", bool(controls.window_open)
    yield (
        "HEALTH",
        (
            controls.health_level is not None
            and controls.health_level not in _NO_ENTRY
            and controls.health_age_ms is not None
            and not controls.health_age_ms > limits.health_age_ms_max
        ),
    )
    yield "HALT", controls.halts == ()
    yield "NOT_RECONCILED", bool(controls.reconciled)
    age_ms = quote.feature_age_ms
    yield (
        "STALE",
        (
            len(figures) == len(needed)
            and _is_market(figures["mid"], figures["spread_bps"], quote)
            and age_ms is not None
            and abs(age_ms) <= limits.max_feature_age_ms
        ),
    )
    # A rule may read a word; a model reads figures only, and finds out by itself.
    yield "FACTOR_MISSING", not config.rules.disabled_factors and all(_is_told(features.get(name)) for name in read)
    if futures:
        funding = figures.get("funding_next")
        yield "FUNDING", funding is not None and -limits.max_funding_abs <= funding <= limits.max_funding_abs
    spread, depth = figures.get("spread_bps"), figures.get("depth_top1_usdt")
    yield "SPREAD", spread is not None and not spread > limits.spread_bp_limit
    yield "DEPTH", depth is not None and not depth < limits.depth_top1_usdt_min
    slippage = estimate_bps(spread_bps=spread, depth_top1_usdt=depth, notional_usdt=limits.planned_notional_usdt)
    yield "SLIPPAGE", slippage is not None and _is_figure(slippage) and not slippage > limits.slip_bp_hard

    yield "OPEN_POSITION", exposure.open_position is not None and not exposure.open_position
    yield "UNFINISHED_INTENT", exposure.unfinished_intents == 0
    entries = exposure.entries_this_signal_day
    by_a_person = facts.side_hint is not None
    yield "MAX_ENTRIES", by_a_person or (entries is not None and entries + 1 <= limits.max_entries_per_signal)
    since = exposure.minutes_since_stop_out
    yield "COOLDOWN", exposure.cooldown_known and (since is None or since >= limits.cooldown_min)
    if not futures and not limits.spot_multi_symbols:
        yield "SPOT_SINGLE", exposure.other_spot_symbol_held is not None and not exposure.other_spot_symbol_held
    used, running = exposure.budget_used_usdt, exposure.concurrency
    yield "BUDGET", used is not None and limits.budget_usdt_max - used > 0
    yield "CONCURRENCY", running is not None and running + 1 <= limits.concurrent_entries_per_market
    loss, fall = exposure.daily_loss_usdt, exposure.drawdown_ratio
    loss_max = limits.daily_loss_usdt_max + exposure.daily_loss_base_usdt
    yield "DAILY_LOSS", _is_figure(loss) and _is_figure(loss_max) and loss is not None and loss < loss_max
    fall_max = limits.drawdown_pct_max + exposure.drawdown_base_ratio
    yield "DRAWDOWN", _is_figure(fall) and _is_figure(fall_max) and fall is not None and fall < fall_max


def _is_market(mid: float, spread_bps: float, quote: Quote) -> bool:
    """Prices above nothing, the dear side not below the cheap one."""
    sides = (quote.bid, quote.ask)
    return (
        mid > 0 and spread_bps >= 0 and all(side.is_finite() and side > 0 for side in sides) and max(sides) == sides[1]
    )


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_told(value: Any) -> bool:
    return _is_figure(value) or isinstance(value, str | bool)
