"""A decision in which everything is well, to be spoilt by one field at a time."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from chimera.contracts.enums import HealthLevel
from chimera.domain.decision.decide import DecisionConfig
from chimera.domain.decision.facts import Controls, Exposure, Facts, Quote
from chimera.domain.decision.gates import Limits
from chimera.domain.decision.rules import Rule, compile_rules, parse_rule
from tests.domain.builders import BTC_FUT

CONTROLS = Controls(
    kill_switch_on=False,
    paused=False,
    window_open=True,
    health_level=HealthLevel.GREEN,
    health_age_ms=1_000,
    health_size_mult=1.0,
    halts=(),
    reconciled=True,
)
EXPOSURE = Exposure(
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
FEATURES = {
    "mid": 65_399.95,
    "spread_bps": 0.0153,
    "depth_top1_usdt": 50_000.0,
    "atr_14": 350.0,
    "funding_next": 0.0001,
    "xmkt_signal": 1.0,
}
QUOTE = Quote(bid=Decimal("65399.9"), ask=Decimal(65_400), features=FEATURES, feature_age_ms=0)
FACTS = Facts(
    instrument=BTC_FUT,
    t0=1_700_000_000_000,
    controls=CONTROLS,
    exposure=EXPOSURE,
    quote=QUOTE,
    taker_fee_ratio=Decimal("0.0005"),
    model_p=0.65,
)


def facts(**changes: Any) -> Facts:
    """FACTS with fields of any of its parts changed; `features` are merged, and one set to None is taken out."""
    parts: dict[str, Any] = {}
    for name in ("controls", "exposure", "quote"):
        part = getattr(FACTS, name)
        mine = {key: changes.pop(key) for key in list(changes) if key != "features" and hasattr(part, key)}
        if name == "quote" and "features" in changes:
            merged = {**FEATURES, **changes.pop("features")}
            mine["features"] = {key: value for key, value in merged.items() if value is not None}
        parts[name] = replace(part, **mine)
    return replace(FACTS, **parts, **changes)


def rule(rule_id: str = "R-001", **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "rule_id": rule_id,
        "priority": 50,
        "applies": {"symbols": ["BTCUSDT"], "services": ["s3-strategy"]},
        "when": {"f": "spread_bps", "op": ">=", "v": 0},
        "action": {"type": "size_mult", "value": 1.0},
        "status": "ENABLED",
    }
    return {**body, **changes}


def parsed(*bodies: dict[str, Any]) -> tuple[Rule, ...]:
    return tuple(parse_rule(body) for body in bodies)


def config(*bodies: dict[str, Any], limits: Limits | None = None, **changes: Any) -> DecisionConfig:
    return DecisionConfig(
        limits=limits or Limits(),
        rules=compile_rules(parsed(*(bodies or (rule(),))), symbol="BTCUSDT"),
        rev=7,
        **changes,
    )


def mostly(*good: Any, or_else: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Seven times in eight one of `good`: a decision that refuses for one fact proves nothing about the others."""
    return st.integers(0, 7).flatmap(lambda pick: or_else if pick == 5 else st.sampled_from(good))
