"""How a decision came about, to the last factor, as plain JSON values.

Owns the shape of what is stored with a signal. Nothing is decided here: the rules are read and the size is reckoned
again by the same functions, with somebody listening, so that a decision that nobody stores pays nothing for it.

    gates         each with its value and limit, and what `value how limit` came to
    rules         each with whether it was asked and fired, and every comparison with the value it saw
    multipliers   of size, target and stop: before the clamp, its bounds, after it
    model         p, and what was made of it
    sizing        each step from the planned margin to the prices, with how it was reckoned
    quote         what the sizing was told of the market

A `value` of null was not to be had; a number that is none is null as well, for JSON knows no infinity.
"""

from decimal import Decimal
from math import isfinite
from typing import Any

from chimera.domain.decision.decide import SIZE_MULT_TOTAL_RANGE, Decision
from chimera.domain.decision.model import judge
from chimera.domain.decision.rules import MULT_RANGES, RuleOutcome, RuleReading, explain
from chimera.domain.decision.sizing import Plan, size


def trail_of(decision: Decision) -> dict[str, Any]:
    """The whole reasoning. A decision that was put together without facts and configuration tells what it holds."""
    facts = decision.facts
    return {
        "gates": [
            {
                "code": gate.code,
                "value": _number(gate.value),
                "how": gate.how,
                "limit": _number(gate.limit),
                "passed": gate.passed,
            }
            for gate in decision.gates
        ],
        "missing": list(decision.missing),
        "side": None if decision.side is None else decision.side.value,
        "side_from": None
        if decision.side is None or facts is None
        else ("signal" if facts.side_hint is None else "hint"),
        "rules": _rules(decision),
        "rules_fired": list(decision.rules_fired),
        "model": {"p": _number(decision.model_p), "note": decision.model_note},
        "multipliers": None if decision.rules is None else _multipliers(decision, decision.rules),
        "size_mult": _number(decision.size_mult),
        "tp_mult": decision.tp_mult,
        "sl_mult": decision.sl_mult,
        "max_adds_override": decision.max_adds_override,
        "entry_ref_price": None if decision.entry_ref_price is None else float(decision.entry_ref_price),
        "quote": None
        if facts is None
        else {
            "bid": _number(float(facts.quote.bid)),
            "ask": _number(float(facts.quote.ask)),
            "taker_fee_ratio": float(facts.taker_fee_ratio),
        },
        "slices": decision.slices,
        "sizing": _sizing(decision),
        "plan": None if decision.plan is None else _plan(decision.plan),
    }


def _rules(decision: Decision) -> list[dict[str, Any]]:
    facts, config = decision.facts, decision.config
    if facts is None or config is None:
        return []
    readings = explain(config.rules, facts.quote.features)
    # Rules are asked last: a decision that ended before did not ask them.
    return [_rule(reading, reached=decision.rules is not None) for reading in readings]


def _rule(reading: RuleReading, *, reached: bool) -> dict[str, Any]:
    rule = reading.rule
    value = bool(rule.value) if rule.action == "skip_entry" else rule.value
    return {
        "rule_id": rule.rule_id,
        "priority": rule.priority,
        "asked": reached and reading.asked,
        "fired": reached and reading.fired,
        "action": {"type": rule.action, "value": value},
        "because": [
            {
                "f": leaf.factor,
                "op": leaf.op,
                "v": list(leaf.value) if isinstance(leaf.value, tuple) else leaf.value,
                "value": _number(seen) if isinstance(seen, float) else seen,
                "holds": holds,
            }
            for leaf, seen, holds in reading.because
        ],
    }


def _multipliers(decision: Decision, outcome: RuleOutcome) -> dict[str, Any]:
    assert decision.facts is not None
    model = judge(decision.facts.model_p, decision.facts.model_note).size_mult
    health = decision.facts.controls.health_size_mult
    return {
        "size": {
            "rules_raw": outcome.size_mult_raw,
            "rules_range": list(MULT_RANGES["size_mult"]),
            "rules": outcome.size_mult,
            "model": model,
            "health": _number(health),
            "raw": _number(outcome.size_mult * model * health),
            "range": list(SIZE_MULT_TOTAL_RANGE),
            "value": _number(decision.size_mult),
        },
        "tp": {"raw": outcome.tp_mult_raw, "range": list(MULT_RANGES["tp_mult"]), "value": outcome.tp_mult},
        "sl": {"raw": outcome.sl_mult_raw, "range": list(MULT_RANGES["sl_mult"]), "value": outcome.sl_mult},
    }


def _sizing(decision: Decision) -> list[dict[str, Any]]:
    if decision.ask is None or decision.config is None:
        return []
    steps: list[dict[str, Any]] = []

    def hear(step: str, value: Decimal, unit: str, how: str) -> None:
        steps.append({"step": step, "value": float(value), "unit": unit, "how": how})

    size(decision.ask, decision.config.sizing, hear)
    return steps


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "qty": float(plan.qty),
        "leverage": plan.leverage,
        "margin_usdt": float(plan.margin_usdt),
        "reserve_usdt": float(plan.reserve_usdt),
        "stop_distance": float(plan.stop_distance),
        "stop_price": float(plan.stop_price),
        "tp_price": float(plan.tp_price),
        "target_ratio": float(plan.target_ratio),
        "first_loss_usdt": float(plan.first_loss_usdt),
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
