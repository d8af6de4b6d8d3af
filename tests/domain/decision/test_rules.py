"""The rule language, from what a person writes to what it does."""

import operator
import re
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.decision.condition import DEPTH_MAX, OPERATORS
from chimera.domain.decision.rules import (
    MULT_RANGES,
    RuleError,
    RuleOutcome,
    check_rule,
    compile_rules,
    evaluate,
    parse_rule,
)
from tests.domain.decision.worlds import parsed, rule


def outcome(*bodies: dict[str, Any], features: dict[str, Any], **how: Any) -> RuleOutcome:
    return evaluate(compile_rules(parsed(*bodies), symbol="BTCUSDT", **how), features)


def fires(when: dict[str, Any], features: dict[str, Any]) -> bool:
    return outcome(rule(when=when), features=features).fired == ("R-001",)


@pytest.mark.parametrize(
    ("op", "v", "value", "fired"),
    [
        pytest.param("<", 2, 1.0, True, id="below"),
        pytest.param("<", 2, 2.0, False, id="not below itself"),
        pytest.param("<=", 2, 2.0, True, id="at most"),
        pytest.param(">", 2, 3.0, True, id="above"),
        pytest.param(">=", 2, 2.0, True, id="at least"),
        pytest.param("==", 2, 2.0, True, id="equal"),
        pytest.param("!=", 2, 2.0, False, id="not unequal"),
        pytest.param("in", [1, 2], 2.0, True, id="in"),
        pytest.param("notIn", [1, 2], 3.0, True, id="not in"),
        pytest.param("==", "NORMAL", "NORMAL", True, id="text"),
        pytest.param("in", ["FROZEN", "NORMAL"], "EXTREME", False, id="text not in"),
        pytest.param("<", 2, "NORMAL", False, id="a text is not below a number"),
    ],
)
def test_each_operator_compares_as_it_is_written(op: str, v: Any, value: Any, fired: bool) -> None:
    assert fires({"f": "x", "op": op, "v": v}, {"x": value}) is fired


conditions = st.recursive(
    st.builds(
        lambda f, op, v: {"f": f, "op": op, "v": v},
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
        st.integers(-2, 2),
    ),
    lambda inner: st.one_of(
        st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=10,
)
_OPS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def plainly(node: dict[str, Any], features: dict[str, float]) -> bool:
    """The meaning of a condition, written down once more without any compiling."""
    if "allOf" in node:
        return all(plainly(part, features) for part in node["allOf"])
    if "anyOf" in node:
        return any(plainly(part, features) for part in node["anyOf"])
    if "not" in node:
        return not plainly(node["not"], features)
    return bool(_OPS[node["op"]](features[node["f"]], node["v"]))


numbers = st.integers(-3, 3).map(float)


@given(when=conditions, features=st.fixed_dictionaries({"a": numbers, "b": numbers, "c": numbers}))
def test_a_compiled_condition_means_what_it_says(when: dict[str, Any], features: dict[str, float]) -> None:
    assert fires(when, features) is plainly(when, features)


@given(
    actions=st.lists(
        st.one_of(
            *(
                st.tuples(st.just(kind), st.floats(*bounds, allow_nan=False), st.integers(0, 9))
                for kind, bounds in MULT_RANGES.items()
            ),
            st.tuples(st.just("max_adds_override"), st.integers(0, 2), st.integers(0, 9)),
            st.tuples(st.just("skip_entry"), st.booleans(), st.integers(0, 9)),
        ),
        min_size=1,
        max_size=8,
    ),
    order=st.randoms(use_true_random=False),
)
def test_rules_multiply_clamp_and_short_circuit_whatever_the_order_they_are_stored_in(
    actions: list[tuple[str, Any, int]], order: Any
) -> None:
    bodies = [
        rule(f"R-{i:03}", priority=priority, action={"type": kind, "value": value})
        for i, (kind, value, priority) in enumerate(actions)
    ]
    shuffled = list(bodies)
    order.shuffle(shuffled)

    found = outcome(*shuffled, features={"spread_bps": 1.0})

    in_order = sorted(bodies, key=lambda body: (body["priority"], body["rule_id"]))
    skips = [i for i, body in enumerate(in_order) if body["action"] == {"type": "skip_entry", "value": True}]
    seen = in_order[: skips[0] + 1] if skips else in_order
    assert found.fired == tuple(body["rule_id"] for body in seen)
    assert found.skip is bool(skips)
    for kind, got in (("size_mult", found.size_mult), ("tp_mult", found.tp_mult), ("sl_mult", found.sl_mult)):
        product = 1.0
        for body in seen:
            if body["action"]["type"] == kind:
                product *= body["action"]["value"]
        low, high = MULT_RANGES[kind]
        assert got == min(max(product, low), high)
    adds = [body["action"]["value"] for body in seen if body["action"]["type"] == "max_adds_override"]
    assert found.max_adds_override == (min(adds) if adds else None)


def test_a_smaller_priority_comes_first_then_the_rule_id() -> None:
    found = outcome(
        rule("R-2", priority=5), rule("R-9", priority=1), rule("R-1", priority=5), features={"spread_bps": 1.0}
    )

    assert found.fired == ("R-9", "R-1", "R-2")


@pytest.mark.parametrize("features", [{}, {"spread_bps": nan}, {"spread_bps": inf}, {"spread_bps": None}])
def test_a_factor_that_cannot_be_read_is_named_and_nothing_fires(features: dict[str, Any]) -> None:
    assert outcome(rule(), features=features) == RuleOutcome(missing=("spread_bps",))


def test_a_factor_that_is_not_enabled_is_missing_though_it_has_a_value() -> None:
    found = outcome(rule(), features={"spread_bps": 1.0}, enabled_factors=("atr_14",))

    assert found.missing == ("spread_bps",)


def test_a_missing_factor_refuses_even_behind_a_condition_that_is_already_decided() -> None:
    when = {"anyOf": [{"f": "a", "op": ">", "v": 0}, {"f": "b", "op": ">", "v": 0}]}

    assert outcome(rule(when=when), features={"a": 1.0}).missing == ("b",)


@pytest.mark.parametrize(
    ("changes", "applies"),
    [
        pytest.param({}, True, id="symbol and service named"),
        pytest.param({"applies": {"symbols": [], "services": []}}, True, id="an empty list means all"),
        pytest.param({"applies": {"symbols": ["BTCUSDT"], "services": ["s3"]}}, True, id="the short service name"),
        pytest.param({"applies": {"symbols": ["ETHUSDT"], "services": ["s3"]}}, False, id="another symbol"),
        pytest.param({"applies": {"symbols": ["BTCUSDT"], "services": ["s4-router"]}}, False, id="another service"),
        pytest.param({"status": "DISABLED"}, False, id="disabled"),
    ],
)
def test_only_an_enabled_rule_for_this_symbol_and_service_counts(changes: dict[str, Any], applies: bool) -> None:
    found = outcome(rule(**changes), features={"spread_bps": 1.0})

    assert found.no_enabled_rule is not applies
    assert bool(found.fired) is applies


def nested(depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"f": "x", "op": "<", "v": 1}
    for _ in range(depth):
        node = {"not": node}
    return node


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        pytest.param({"rule_id": ""}, "rule_id", id="no id"),
        pytest.param({"priority": "high"}, "priority", id="priority is no number"),
        pytest.param({"priority": True}, "priority", id="priority is true"),
        pytest.param({"status": "ON"}, "status", id="unknown status"),
        pytest.param({"applies": None}, "applies", id="applies to nothing"),
        pytest.param({"applies": {"symbols": "BTCUSDT", "services": []}}, "applies.symbols", id="a text is no list"),
        pytest.param({"applies": {"symbols": [], "services": ["s13"]}}, "applies.services[0]", id="unknown service"),
        pytest.param({"when": []}, "when", id="a condition is an object"),
        pytest.param({"when": {}}, "when", id="an empty condition"),
        pytest.param({"when": {"allOf": []}}, "when.allOf", id="an empty join"),
        pytest.param({"when": {"allOf": [{"f": "x"}]}}, "when.allOf[0]", id="half a leaf"),
        pytest.param({"when": {"f": "x", "op": "<", "v": 1, "w": 2}}, "when", id="too much in a leaf"),
        pytest.param({"when": {"allOf": [nested(0)], "not": nested(0)}}, "when", id="two joins at once"),
        pytest.param({"when": {"f": "", "op": "<", "v": 1}}, "when.f", id="no factor"),
        pytest.param({"when": {"f": "x", "op": "~", "v": 1}}, "when.op", id="unknown operator"),
        pytest.param({"when": {"f": "x", "op": "<", "v": "1"}}, "when.v", id="order needs a number"),
        pytest.param({"when": {"f": "x", "op": "<", "v": nan}}, "when.v", id="nan"),
        pytest.param({"when": {"f": "x", "op": "==", "v": [1]}}, "when.v", id="equality takes one value"),
        pytest.param({"when": {"f": "x", "op": "in", "v": 1}}, "when.v", id="in takes a list"),
        pytest.param({"when": {"f": "x", "op": "in", "v": []}}, "when.v", id="in takes a list of something"),
        pytest.param({"when": nested(DEPTH_MAX + 1)}, "when" + ".not" * (DEPTH_MAX + 1), id="too deep"),
        pytest.param({"action": None}, "action", id="no action"),
        pytest.param({"action": {"type": "buy", "value": 1}}, "action.type", id="an action off the list"),
        pytest.param({"action": {"type": "size_mult", "value": 1.3}}, "action.value", id="size too large"),
        pytest.param({"action": {"type": "size_mult", "value": 0.4}}, "action.value", id="size too small"),
        pytest.param({"action": {"type": "tp_mult", "value": 1.6}}, "action.value", id="target too far"),
        pytest.param({"action": {"type": "sl_mult", "value": 0.7}}, "action.value", id="stop too near"),
        pytest.param({"action": {"type": "sl_mult", "value": nan}}, "action.value", id="stop is nan"),
        pytest.param({"action": {"type": "size_mult", "value": True}}, "action.value", id="true is no size"),
        pytest.param({"action": {"type": "skip_entry", "value": 1}}, "action.value", id="skip is true or false"),
        pytest.param({"action": {"type": "max_adds_override", "value": 3}}, "action.value", id="too many adds"),
        pytest.param({"action": {"type": "max_adds_override", "value": 0.5}}, "action.value", id="half an add"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(changes: dict[str, Any], path: str) -> None:
    found = check_rule(rule(**changes))

    assert [finding.path for finding in found] == [path]
    with pytest.raises(RuleError, match=re.escape(path)):
        parse_rule(rule(**changes))


def test_all_findings_come_at_once_and_under_the_path_of_the_bundle() -> None:
    found = check_rule(rule(priority=None, when={"f": "", "op": "?", "v": 1}), "rules[2]")

    assert [finding.path for finding in found] == ["rules[2].priority", "rules[2].when.f", "rules[2].when.op"]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["allOf", "anyOf", "not", "f", "op", "v", "type", "value"]), inner, max_size=4),
    ),
    max_leaves=5,
)


@given(field=st.sampled_from(["rule_id", "priority", "applies", "when", "action", "status"]), value=json_values)
def test_no_json_at_all_makes_the_check_fail_instead_of_finding(field: str, value: Any) -> None:
    body = rule(**{field: value})

    if not check_rule(body):
        parse_rule(body)


def test_the_sample_of_the_specification_is_accepted() -> None:
    sample = rule(
        "R-023",
        when={
            "allOf": [
                {"f": "rv_pctile_30d", "op": "<", "v": 0.25},
                {"f": "rho_usdttwd_14", "op": "<", "v": -0.3},
            ]
        },
        action={"type": "size_mult", "value": 1.2},
    )

    assert check_rule(sample) == ()
    assert parse_rule(sample).factors == ("rv_pctile_30d", "rho_usdttwd_14")
    assert outcome(sample, features={"rv_pctile_30d": 0.1, "rho_usdttwd_14": -0.4}).size_mult == 1.2


def test_there_are_eight_operators() -> None:
    assert sorted(OPERATORS) == sorted(["<", "<=", ">", ">=", "==", "!=", "in", "notIn"])
