"""The decision: open or skip, and everything that an order needs to know.

Owns the order of the questions: L0 gates, side, L1 rules, L2 model, size, prices. Pure: live, in a backtest, on stored
signals and in a table of tests it is this one function. A refusal is a value with a reason, because it is stored,
counted and replayed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from chimera.contracts.enums import Action, Market, Reason, Side, SideMode
from chimera.domain.decision.facts import Facts
from chimera.domain.decision.gates import (
    GateResult,
    Limits,
    first_refusal,
    gates,
    reason_of,
    slippage_estimate_bps,
    unreadable,
)
from chimera.domain.decision.model import judge
from chimera.domain.decision.rules import RuleOutcome, RuleSet, clamp, evaluate, readable
from chimera.domain.decision.sizing import Ask, Plan, Refusal, SizingParams, size
from chimera.domain.execution.slicing import slices_for

SIZE_MULT_TOTAL_RANGE = (0.0, 1.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionConfig:
    """One bundle as one instrument sees it: immutable, made once per rev and instrument, used for whole decisions."""

    limits: Limits
    rules: RuleSet
    sizing: SizingParams = field(default_factory=SizingParams)
    side_mode: SideMode = SideMode.FOLLOW
    rev: int = 0
    model_factors: tuple[str, ...] = ()
    """What the model reads, while there is one to be asked."""

    def missing(self, features: Mapping[str, Any]) -> tuple[str, ...]:
        """Factors that the rules or the model read and that cannot be read."""
        missing = self.rules.missing(features)
        if not self.model_factors:
            return missing
        return missing + tuple(f for f in self.model_factors if not readable(features.get(f)) and f not in missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided and why. `detail` is the code behind `reason`: a gate, NO_SIGNAL, a rule id, MIN_NOTIONAL, …

    `plan` is there for an open only, and `side` wherever it had been chosen. `missing` names the factors that could not
    be read. `slices` above 1 asks S4 for at least so many, because slippage was estimated above `slip_bp_max`. How it
    came to all of this is told by `trail`, from `facts` and `config`, where somebody stores it.
    """

    action: Action
    reason: Reason
    detail: str
    gates: tuple[GateResult, ...]
    config_rev: int
    side: Side | None = None
    size_mult: float = 1.0
    tp_mult: float = 1.0
    sl_mult: float = 1.0
    model_p: float | None = None
    model_note: str = ""
    rules_fired: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    max_adds_override: int | None = None
    entry_ref_price: Decimal | None = None
    plan: Plan | None = None
    slices: int = 1

    facts: Facts | None = field(default=None, repr=False, compare=False)
    config: DecisionConfig | None = field(default=None, repr=False, compare=False)
    rules: RuleOutcome | None = None
    """What the rules said; None: they were not asked."""
    ask: Ask | None = None
    """What was sized; None: it did not come to that."""

    @property
    def opens(self) -> bool:
        return self.action is Action.OPEN

    def skipped(self, reason: Reason, detail: str) -> "Decision":
        """The same, refused after all, by something that this function does not know."""
        return replace(self, action=Action.SKIP, reason=reason, detail=detail, plan=None, slices=1)


def decide(facts: Facts, config: DecisionConfig) -> Decision:
    """Open or skip. Never raises on market data: what cannot be known refuses."""
    features = facts.quote.features
    factors_missing = config.missing(features)
    results = gates(facts, config.limits, len(factors_missing))

    def answer(reason: Reason, detail: str, side: Side | None = None, missing: tuple[str, ...] = ()) -> Decision:
        return Decision(
            action=Action.SKIP,
            reason=reason,
            detail=detail,
            gates=results,
            config_rev=config.rev,
            side=side,
            model_p=facts.model_p,
            missing=missing,
            facts=facts,
            config=config,
        )

    refused = first_refusal(results)
    if refused is not None:
        missing = unreadable(features, facts.instrument.market) if refused.code == "STALE" else factors_missing
        return answer(reason_of(refused), refused.code, missing=missing)
    side = choose_side(facts.side_hint, features, config.side_mode)
    if side is None:
        return answer(Reason.RULE, "NO_SIGNAL")
    if facts.instrument.market is Market.SPOT and side is Side.SELL:
        return answer(Reason.RULE, "SPOT_BUY_ONLY", side)
    outcome = evaluate(config.rules, features)
    if outcome.no_enabled_rule:
        return answer(Reason.RULE, "NO_ENABLED_RULE", side)
    return _sized(facts, config, results, side, outcome)


def _sized(
    facts: Facts, config: DecisionConfig, results: tuple[GateResult, ...], side: Side, outcome: RuleOutcome
) -> Decision:
    """What follows once there is a side and the rules have spoken."""
    features, quote = facts.quote.features, facts.quote
    model = judge(facts.model_p, facts.model_note)
    entry_price = quote.ask if side is Side.BUY else quote.bid
    size_mult = total_size_mult(outcome.size_mult, model.size_mult, facts.controls.health_size_mult)

    def answer(
        reason: Reason, detail: str, ask: Ask | None = None, plan: Plan | None = None, *, slices: int = 1
    ) -> Decision:
        return Decision(
            action=Action.SKIP if plan is None else Action.OPEN,
            reason=reason,
            detail=detail,
            gates=results,
            config_rev=config.rev,
            side=side,
            size_mult=size_mult,
            tp_mult=outcome.tp_mult,
            sl_mult=outcome.sl_mult,
            model_p=facts.model_p,
            model_note=model.note,
            rules_fired=outcome.fired,
            max_adds_override=outcome.max_adds_override,
            entry_ref_price=entry_price,
            plan=plan,
            slices=slices,
            facts=facts,
            config=config,
            rules=outcome,
            ask=ask,
        )

    if outcome.skip:
        return answer(Reason.RULE, outcome.fired[-1])
    if model.skip:
        return answer(Reason.MODEL, model.note)
    # Written so that a multiplier that is no number is refused and not sized.
    if not size_mult > 0.0:
        return answer(Reason.GATE, "SIZE_ZERO")
    used = facts.exposure.budget_used_usdt
    assert used is not None, "the BUDGET gate refuses an unknown usage"
    ask = Ask(
        instrument=facts.instrument,
        side=side,
        entry_price=entry_price,
        spread=quote.ask - quote.bid,
        atr=features["atr_14"],
        size_mult=size_mult,
        tp_mult=outcome.tp_mult,
        sl_mult=outcome.sl_mult,
        free_budget_usdt=config.limits.budget_usdt_max - used,
        taker_fee_ratio=facts.taker_fee_ratio,
    )
    planned = size(ask, config.sizing)
    if isinstance(planned, Refusal):
        return answer(planned.reason, planned.detail, ask)
    slippage_bps = slippage_estimate_bps(features, config.limits)
    assert slippage_bps is not None, "the SLIPPAGE gate refuses what cannot be estimated"
    return answer(Reason.OK, "OK", ask, planned, slices=slices_for(slippage_bps, config.limits.slip_bp_max))


def total_size_mult(rules: float, model: float, health: float) -> float:
    return clamp(rules * model * health, SIZE_MULT_TOTAL_RANGE)


def choose_side(hint: Side | None, features: Mapping[str, Any], side_mode: SideMode) -> Side | None:
    """The hint, else the signal's direction (`fade`: the opposite). None: no signal, or one that is stale."""
    if hint is not None:
        return hint
    signal = features.get("xmkt_signal", 0.0)
    if not isinstance(signal, float | int):
        return None
    if side_mode is SideMode.FADE:
        signal = -signal
    if signal > 0.0:
        return Side.BUY
    return Side.SELL if signal < 0.0 else None
