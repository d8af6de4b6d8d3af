"""The decision: open or skip, and everything that an order needs to know.

Owns the order of the questions: L0 gates, side, L1 rules, L2 model, size, prices. Pure: live, in a backtest, on stored
signals and in a table of tests it is this one function. A refusal is a value with a reason, because it is stored,
counted and replayed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from math import isfinite
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
from chimera.domain.decision.rules import RuleSet, clamp, evaluate
from chimera.domain.decision.sizing import Ask, Plan, Refusal, SizingParams, size

SIZE_MULT_TOTAL_RANGE = (0.0, 1.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionConfig:
    """One bundle as one instrument sees it: immutable, made once per rev and instrument, used for whole decisions."""

    limits: Limits
    rules: RuleSet
    sizing: SizingParams = field(default_factory=SizingParams)
    side_mode: SideMode = SideMode.FOLLOW
    rev: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided and why. `detail` is the code behind `reason`: a gate, NO_SIGNAL, a rule id, MIN_NOTIONAL, …

    `plan` is there for an open only, and `side` wherever it had been chosen. `missing` names the factors that could not
    be read. `finer_slices` asks S4 for more slices because slippage was estimated above `slip_bp_max`.
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
    finer_slices: bool = False

    @property
    def opens(self) -> bool:
        return self.action is Action.OPEN

    def trail(self) -> dict[str, Any]:
        """The whole reasoning as plain JSON values; built only where it is stored."""
        plan = self.plan
        return {
            "gates": [
                {
                    "code": gate.code,
                    # "Never" is infinite here and null on the wire: JSON knows no infinity.
                    "value": gate.value if gate.value is not None and isfinite(gate.value) else None,
                    "limit": gate.limit,
                    "passed": gate.passed,
                }
                for gate in self.gates
            ],
            "missing": list(self.missing),
            "rules_fired": list(self.rules_fired),
            "model": {"p": _finite(self.model_p), "note": self.model_note},
            "size_mult": self.size_mult,
            "tp_mult": self.tp_mult,
            "sl_mult": self.sl_mult,
            "max_adds_override": self.max_adds_override,
            "side": None if self.side is None else self.side.value,
            "entry_ref_price": None if self.entry_ref_price is None else float(self.entry_ref_price),
            "finer_slices": self.finer_slices,
            "plan": None
            if plan is None
            else {
                "qty": float(plan.qty),
                "leverage": plan.leverage,
                "margin_usdt": float(plan.margin_usdt),
                "reserve_usdt": float(plan.reserve_usdt),
                "stop_distance": float(plan.stop_distance),
                "stop_price": float(plan.stop_price),
                "tp_price": float(plan.tp_price),
                "target_ratio": float(plan.target_ratio),
                "first_loss_usdt": float(plan.first_loss_usdt),
            },
        }


def decide(facts: Facts, config: DecisionConfig) -> Decision:
    """Open or skip. Never raises on market data: what cannot be known refuses."""
    features = facts.quote.features
    rule_factors_missing = config.rules.missing(features)
    results = gates(facts, config.limits, len(rule_factors_missing))
    refused = first_refusal(results)
    if refused is not None:
        missing = rule_factors_missing
        if refused.code == "STALE":
            missing = unreadable(features, facts.instrument.market)
        return _skip(reason_of(refused), refused.code, results, config, model_p=facts.model_p, missing=missing)

    side = choose_side(facts.side_hint, features, config.side_mode)
    if side is None:
        return _skip(Reason.RULE, "NO_SIGNAL", results, config, model_p=facts.model_p)
    if facts.instrument.market is Market.SPOT and side is Side.SELL:
        return _skip(Reason.RULE, "SPOT_BUY_ONLY", results, config, side=side, model_p=facts.model_p)

    outcome = evaluate(config.rules, features)
    if outcome.no_enabled_rule:
        return _skip(Reason.RULE, "NO_ENABLED_RULE", results, config, side=side, model_p=facts.model_p)
    model = judge(facts.model_p)
    quote = facts.quote
    entry_price = quote.ask if side is Side.BUY else quote.bid
    size_mult = clamp(outcome.size_mult * model.size_mult * facts.controls.health_size_mult, SIZE_MULT_TOTAL_RANGE)

    def answer(reason: Reason, detail: str, plan: Plan | None = None, *, finer_slices: bool = False) -> Decision:
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
            finer_slices=finer_slices,
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
    planned = size(
        Ask(
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
        ),
        config.sizing,
    )
    if isinstance(planned, Refusal):
        return answer(planned.reason, planned.detail)
    slippage = slippage_estimate_bps(facts, config.limits)
    finer = slippage is not None and slippage > config.limits.slip_bp_max
    return answer(Reason.OK, "OK", planned, finer_slices=finer)


def choose_side(hint: Side | None, features: Mapping[str, Any], side_mode: SideMode) -> Side | None:
    """The hint, else the signal's direction (`fade`: the opposite). None: no signal, or one that is stale."""
    if hint is not None:
        return hint
    signal = features.get("xmkt_signal", 0.0)
    if side_mode is SideMode.FADE:
        signal = -signal
    if signal > 0.0:
        return Side.BUY
    return Side.SELL if signal < 0.0 else None


def _skip(
    reason: Reason,
    detail: str,
    results: tuple[GateResult, ...],
    config: DecisionConfig,
    *,
    side: Side | None = None,
    model_p: float | None = None,
    missing: tuple[str, ...] = (),
) -> Decision:
    return Decision(
        action=Action.SKIP,
        reason=reason,
        detail=detail,
        gates=results,
        config_rev=config.rev,
        side=side,
        model_p=model_p,
        missing=missing,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
