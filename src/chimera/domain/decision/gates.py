"""L0: may this instrument be entered at all?

Owns the gates, their order of severity and what "cannot be evaluated" means: refused. All gates are evaluated, each
with its value and limit; the first that did not pass names the reason. It does not know which side would be taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import inf
from typing import Any, NamedTuple

from chimera.contracts.enums import HealthLevel, Market, Reason
from chimera.domain.decision.facts import Facts, Quote
from chimera.domain.execution.slippage import estimate_bps


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where the gates stand for one instrument; instrument limits are already put in. Names as in the bundle and E.

    `budget_usdt_max` is the market's own (`fut_margin_usdt_max` or `spot_quote_usdt_max`), `planned_notional_usdt` what
    an entry of size_mult 1 is worth: slippage is estimated for it.
    """

    max_feature_age_ms: int = 5_000
    health_age_ms_max: int = 180_000
    max_funding_abs: float = 0.0005
    spread_bp_limit: float = 3.0
    depth_top1_usdt_min: float = 200.0
    slip_bp_max: float = 8.0
    slip_bp_hard: float = 24.0
    max_entries_per_signal: int = 1
    cooldown_min: float = 60.0
    spot_multi_symbols: bool = True
    budget_usdt_max: Decimal = Decimal(600)
    concurrent_entries_per_market: int = 2
    daily_loss_usdt_max: float = 6.0
    drawdown_pct_max: float = 0.10
    planned_notional_usdt: float = 400.0


AT_MOST, BELOW, AT_LEAST, IS = "<=", "<", ">=", "=="


class GateResult(NamedTuple):
    """One gate: what was found, where the limit stands, and what `value how limit` came to. `value` None: it could not
    be found out."""

    code: str
    value: float | None
    how: str
    limit: float
    passed: bool


FUT_FACTORS = ("mid", "spread_bps", "depth_top1_usdt", "atr_14", "funding_next")
SPOT_FACTORS = ("mid", "spread_bps", "depth_top1_usdt", "atr_14")
"""What gates and sizing read."""

LEAST: Mapping[str, float] = {
    "mid": 5e-324,
    "spread_bps": 0.0,
    "depth_top1_usdt": -1e308,
    "atr_14": -1e308,
    "funding_next": -1e308,
}
"""Below this a figure is none of a market: a price is above 0, a spread is not negative."""

_RANK = {HealthLevel.GREEN: 0.0, HealthLevel.YELLOW: 1.0, HealthLevel.ORANGE: 2.0, HealthLevel.RED: 3.0}
_BUDGET_GATES = ("BUDGET", "CONCURRENCY")


def needed_factors(market: Market) -> tuple[str, ...]:
    return FUT_FACTORS if market is Market.FUT else SPOT_FACTORS


def unreadable(features: Mapping[str, Any], market: Market) -> tuple[str, ...]:
    """What gates and sizing need and cannot read: stale, not warm, no number, or one that cannot be."""
    return tuple([name for name in needed_factors(market) if figure(features, name) is None])


def figure(features: Mapping[str, Any], name: str) -> float | None:
    """A needed factor as a finite number from its least value on; None where it is missing or anything else."""
    value = features.get(name)
    if not isinstance(value, float | int) or not LEAST[name] <= value < inf:
        return None
    return value


def slippage_estimate_bps(features: Mapping[str, Any], limits: Limits) -> float | None:
    return estimate_bps(
        spread_bps=figure(features, "spread_bps"),
        depth_top1_usdt=figure(features, "depth_top1_usdt"),
        notional_usdt=limits.planned_notional_usdt,
    )


def gates(facts: Facts, limits: Limits, missing_rule_factors: int) -> tuple[GateResult, ...]:
    """Every gate, most severe first. `missing_rule_factors`: how many factors of the enabled rules cannot be read."""
    controls, exposure, quote = facts.controls, facts.exposure, facts.quote
    market = facts.instrument.market
    features = quote.features
    funding, spread_bps = figure(features, "funding_next"), figure(features, "spread_bps")
    age_ms = quote.feature_age_ms
    # Features from further in the future than old ones may be from the past are no better than those.
    if unreadable(features, market) or not _two_sided(quote) or (age_ms or 0) < -limits.max_feature_age_ms:
        age_ms = None
    used = exposure.budget_used_usdt
    results = [
        _off("KILL_SWITCH", controls.kill_switch_on),
        _off("PAUSED", controls.paused),
        _on("WINDOW", controls.window_open),
        _below("HEALTH", _health_rank(facts, limits), 3.0),
        _at_most("HALT", None if controls.halts is None else float(len(controls.halts)), 0.0),
        _on("NOT_RECONCILED", controls.reconciled),
        _at_most("STALE", age_ms, limits.max_feature_age_ms),
        _at_most("FACTOR_MISSING", missing_rule_factors, 0.0),
    ]
    if market is Market.FUT:
        results.append(_at_most("FUNDING", None if funding is None else abs(funding), limits.max_funding_abs))
    results += (
        _at_most("SPREAD", spread_bps, limits.spread_bp_limit),
        _at_least("DEPTH", figure(features, "depth_top1_usdt"), limits.depth_top1_usdt_min),
        _at_most("SLIPPAGE", slippage_estimate_bps(features, limits), limits.slip_bp_hard),
        _off("OPEN_POSITION", exposure.open_position),
        _at_most("UNFINISHED_INTENT", exposure.unfinished_intents, 0.0),
        # A person's explicit hint is not counted against the signal's entries.
        _below(
            "MAX_ENTRIES",
            exposure.entries_this_signal_day if facts.side_hint is None else 0.0,
            limits.max_entries_per_signal,
        ),
        _at_least("COOLDOWN", _minutes_since_stop_out(facts), limits.cooldown_min),
    )
    if market is Market.SPOT:
        results.append(_off("SPOT_SINGLE", False if limits.spot_multi_symbols else exposure.other_spot_symbol_held))
    results += (
        _below("BUDGET", None if used is None else float(used), float(limits.budget_usdt_max)),
        _below("CONCURRENCY", exposure.concurrency, limits.concurrent_entries_per_market),
        # A person who released the halt let the loss grow by the limit once more: S6 halts again there.
        _below("DAILY_LOSS", exposure.daily_loss_usdt, exposure.daily_loss_base_usdt + limits.daily_loss_usdt_max),
        _below("DRAWDOWN", exposure.drawdown_ratio, exposure.drawdown_base_ratio + limits.drawdown_pct_max),
    )
    return tuple(results)


def first_refusal(results: tuple[GateResult, ...]) -> GateResult | None:
    """The most severe gate that did not pass."""
    for result in results:
        if not result.passed:
            return result
    return None


def reason_of(result: GateResult) -> Reason:
    """RISK_BUDGET for budget and concurrency, GATE for the rest."""
    return Reason.RISK_BUDGET if result.code in _BUDGET_GATES else Reason.GATE


def _health_rank(facts: Facts, limits: Limits) -> float | None:
    """0 GREEN to 3 RED. Health that is too old counts as RED."""
    level, age_ms = facts.controls.health_level, facts.controls.health_age_ms
    if level is None or age_ms is None:
        return None
    return _RANK[level] if age_ms <= limits.health_age_ms_max else 3.0


def _minutes_since_stop_out(facts: Facts) -> float | None:
    if not facts.exposure.cooldown_known:
        return None
    minutes = facts.exposure.minutes_since_stop_out
    return inf if minutes is None else minutes


def _two_sided(quote: Quote) -> bool:
    """Whether both sides are prices, and not crossed."""
    bid, ask = quote.bid, quote.ask
    return bid.is_finite() and ask.is_finite() and 0 < bid <= ask


# NaN compares false with everything, so a value that is no number fails each of these without a special case. A loss of
# minus infinity and a limit of infinity are no figures either; only how long ago something was may be without end.


def _at_most(code: str, value: float | None, limit: float) -> GateResult:
    return GateResult(code, value, AT_MOST, limit, value is not None and -inf < value <= limit < inf)


def _below(code: str, value: float | None, limit: float) -> GateResult:
    return GateResult(code, value, BELOW, limit, value is not None and -inf < value < limit < inf)


def _at_least(code: str, value: float | None, limit: float) -> GateResult:
    return GateResult(code, value, AT_LEAST, limit, value is not None and value >= limit)


def _off(code: str, is_on: bool | None) -> GateResult:
    return GateResult(code, None if is_on is None else float(is_on), IS, 0.0, is_on is False)


def _on(code: str, is_on: bool | None) -> GateResult:
    return GateResult(code, None if is_on is None else float(is_on), IS, 1.0, is_on is True)
