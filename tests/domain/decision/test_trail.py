"""The trail says how a decision came about, and its figures are the decision's own."""

import json
from dataclasses import replace
from decimal import Decimal
from math import nan
from typing import Any

import pytest

from chimera.contracts.enums import Reason, Side
from chimera.domain.decision.decide import Decision, decide
from chimera.domain.decision.facts import Facts
from chimera.domain.decision.gates import Limits
from chimera.domain.decision.trail import trail_of
from tests.domain.builders import BTC_SPOT
from tests.domain.decision.worlds import FACTS, config, facts, rule


def trail(facts: Facts, *rules: dict[str, Any], **how: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(trail_of(decide(facts, config(*rules, **how))), allow_nan=False))
    return found


def by_step(found: dict[str, Any]) -> dict[str, float]:
    return {step["step"]: step["value"] for step in found["sizing"]}


def test_every_gate_is_told_with_value_limit_and_how_they_compare() -> None:
    found = {gate["code"]: gate for gate in trail(facts(features={"spread_bps": 4.1}))["gates"]}

    assert found["SPREAD"] == {"code": "SPREAD", "value": 4.1, "how": "<=", "limit": 3.0, "passed": False}
    assert found["DEPTH"]["how"] == ">="
    assert found["BUDGET"]["how"] == "<"
    assert found["KILL_SWITCH"] == {"code": "KILL_SWITCH", "value": 0.0, "how": "==", "limit": 0.0, "passed": True}


def test_a_rule_that_fired_and_one_that_did_not_say_why() -> None:
    wide = rule("R-1", priority=1, when={"f": "spread_bps", "op": ">", "v": 2.0})
    calm = rule(
        "R-2",
        priority=2,
        when={"allOf": [{"f": "spread_bps", "op": "<", "v": 1.0}, {"f": "funding_next", "op": "in", "v": [0.0001]}]},
        action={"type": "tp_mult", "value": 1.4},
    )
    wide_told, calm_told = trail(FACTS, wide, calm)["rules"]

    assert (wide_told["asked"], wide_told["fired"]) == (True, False)
    assert wide_told["because"] == [{"f": "spread_bps", "op": ">", "v": 2.0, "value": 0.0153, "holds": False}]
    assert (calm_told["asked"], calm_told["fired"]) == (True, True)
    assert calm_told["action"] == {"type": "tp_mult", "value": 1.4}
    assert [leaf["holds"] for leaf in calm_told["because"]] == [True, True]


def test_after_a_rule_that_skips_none_is_asked() -> None:
    no = rule("R-1", priority=1, action={"type": "skip_entry", "value": True})
    found = trail(FACTS, no, rule("R-2", priority=2))

    assert [(each["rule_id"], each["asked"], each["fired"]) for each in found["rules"]] == [
        ("R-1", True, True),
        ("R-2", False, False),
    ]
    assert found["rules"][0]["action"]["value"] is True


def test_a_decision_that_ended_at_a_gate_asked_no_rule_and_sized_nothing() -> None:
    found = trail(facts(paused=True), rule())

    assert [each["asked"] for each in found["rules"]] == [False]
    assert found["multipliers"] is None
    assert found["sizing"] == []


def test_a_factor_that_is_missing_shows_as_no_value() -> None:
    found = trail(FACTS, rule(when={"f": "rv_1d", "op": "<", "v": 1}))

    assert found["missing"] == ["rv_1d"]
    assert found["rules"][0]["because"] == [{"f": "rv_1d", "op": "<", "v": 1.0, "value": None, "holds": False}]


def test_multipliers_before_and_after_their_clamp() -> None:
    bigger = [rule(f"R-{i}", action={"type": "size_mult", "value": 1.2}) for i in range(2)]
    wider = rule("R-9", action={"type": "sl_mult", "value": 2.5})
    also = rule("R-8", action={"type": "sl_mult", "value": 1.5})
    found = trail(facts(model_p=0.9, health_size_mult=0.8), *bigger, wider, also)["multipliers"]

    size = found["size"]
    assert size["rules_raw"] == pytest.approx(1.44)
    assert (size["rules"], size["model"], size["health"]) == (1.2, 1.2, 0.8)
    assert size["raw"] == pytest.approx(1.152)
    assert size["value"] == size["raw"]
    assert found["sl"] == {"raw": 3.75, "range": [0.8, 2.5], "value": 2.5}
    assert found["tp"] == {"raw": 1.0, "range": [0.5, 1.5], "value": 1.0}


def test_the_steps_of_the_sizing_end_in_the_plan() -> None:
    decision = decide(FACTS, config())
    assert decision.plan is not None
    found = trail_of(decision)
    steps = by_step(found)

    assert steps["planned_margin"] == 20.0
    assert steps["nearest_qty"] == float(decision.plan.qty)
    assert steps["margin"] == pytest.approx(float(decision.plan.margin_usdt))
    assert steps["stop_distance"] == min(steps["distance_by_atr"], steps["distance_by_loss"])
    assert steps["stop_price"] == float(decision.plan.stop_price) == found["plan"]["stop_price"]
    assert steps["tp_price"] == float(decision.plan.tp_price)
    assert steps["reserve"] <= steps["free_budget"]


def test_a_step_down_says_why() -> None:
    # 400 USDT at 65,400 are 0.006 of 0.001: with a price of 61,600 it is 0.00649, to the nearest 0.006; at 60,500
    # 0.0066 is 0.007, whose margin is 21.18 and above 1.05 of the plan.
    dear = facts(bid=Decimal("60499.9"), ask=Decimal(60_500))
    found = trail(dear)

    (step,) = [each for each in found["sizing"] if each["step"] == "qty"]
    assert step == {
        "step": "qty",
        "value": 0.006,
        "unit": "BTC",
        "how": "one step down: the margin is above 1.05 of the plan",
    }


def test_a_refusal_by_size_tells_how_far_it_came() -> None:
    found = trail(FACTS, limits=Limits(budget_usdt_max=Decimal("0.5")))

    steps = by_step(found)
    assert "notional" in steps
    assert "stop_price" not in steps
    assert found["plan"] is None


def test_spot_tells_its_own_steps() -> None:
    found = trail(facts(instrument=BTC_SPOT, taker_fee_ratio=Decimal("0.001")))

    assert {"planned_quote", "qty", "stop_price", "target", "tp_price"} <= set(by_step(found))


def test_who_chose_the_side() -> None:
    assert trail(FACTS)["side_from"] == "signal"
    assert trail(facts(side_hint=Side.SELL))["side_from"] == "hint"
    assert trail(facts(features={"xmkt_signal": 0.0}))["side_from"] is None


@pytest.mark.parametrize(
    ("p", "note", "told"),
    [
        pytest.param(None, "", "NO_MODEL", id="none"),
        pytest.param(None, "MODEL_TIMEOUT", "MODEL_TIMEOUT", id="too late"),
        pytest.param(0.9, "", "P_HIGH", id="sure"),
        pytest.param(nan, "", "MODEL_INVALID", id="broken"),
    ],
)
def test_what_the_model_said(p: float | None, note: str, told: str) -> None:
    found = trail(facts(model_p=p, model_note=note))

    assert found["model"]["note"] == told
    assert found["model"]["p"] == (p if p == 0.9 else None)


def test_a_decision_without_its_facts_tells_what_it_holds() -> None:
    bare = decide(FACTS, config())
    put_together = Decision(
        action=bare.action, reason=Reason.OK, detail="OK", gates=bare.gates, config_rev=7, plan=bare.plan
    )
    found = trail_of(put_together)

    assert found["plan"] == trail_of(bare)["plan"]
    assert found["rules"] == found["sizing"] == []
    assert found["quote"] is None


def test_refused_after_all_keeps_the_reasoning_and_loses_the_plan() -> None:
    found = decide(FACTS, config()).skipped(Reason.GATE, "LOCKED")

    assert (found.opens, found.plan, found.detail) == (False, None, "LOCKED")
    assert trail_of(found)["sizing"] != []


def test_what_the_model_reads_is_missed_like_what_a_rule_reads() -> None:
    wanted = replace(config(), model_factors=("rv_1d", "atr_14"))
    refused = decide(FACTS, wanted)

    assert (refused.reason, refused.detail, refused.missing) == (Reason.GATE, "FACTOR_MISSING", ("rv_1d",))
    assert decide(facts(features={"rv_1d": 0.4}), wanted).opens
