"""The schema that editors go by takes what lint takes, and refuses what has not the shape of a bundle."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from chimera.domain.config.bundle import default_bundle
from chimera.domain.config.schema import draft_schema
from chimera.domain.decision.rules import check_rule
from tests.domain.config.strategies import rules

SCHEMA = draft_schema()
CHECK = Draft202012Validator(SCHEMA)
FIRST = {name: default_bundle(0).to_dict()[name] for name in ("flags", "rules", "factors", "instruments")}
RULE = FIRST["rules"][0]


def test_it_is_a_schema_and_the_same_each_time() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    assert json.dumps(draft_schema()) == json.dumps(SCHEMA)


def test_the_default_bundle_and_the_smallest_one_fit() -> None:
    CHECK.validate(FIRST)
    CHECK.validate({})
    CHECK.validate({"$schema": "bundle.schema.json", "note": "calm"})
    CHECK.validate(yaml.safe_load("flags: {risk: {slip_bp_max: 7}}"))


@settings(max_examples=200, deadline=None)
@given(rules("R-1"))
def test_every_rule_that_lint_takes_fits(rule: dict[str, Any]) -> None:
    assert check_rule(rule) == ()
    CHECK.validate({"rules": [rule]})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"flag": {}}, id="a part that does not exist"),
        pytest.param({"flags": {"risk": {"slip_max": 1}}}, id="a misspelt flag"),
        pytest.param({"flags": {"risk": {"slip_bp_max": -1}}}, id="out of range"),
        pytest.param({"flags": {"risk": {"daily_loss_usdt_max": -1}}}, id="an amount out of range"),
        pytest.param({"flags": {"strategy": {"side_mode": "up"}}}, id="no such word"),
        pytest.param({"rules": [{**RULE, "prio": 1}]}, id="a misspelt field"),
        pytest.param({"rules": [{**RULE, "when": {"f": "a", "op": "=", "v": 1}}]}, id="no such operator"),
        pytest.param({"rules": [{**RULE, "when": {"allOf": []}}]}, id="all of nothing"),
        pytest.param({"rules": [{**RULE, "when": {"f": "a", "op": "<", "v": 1, "not": {}}}]}, id="two at once"),
        pytest.param({"rules": [{**RULE, "action": {"type": "size_mult", "value": 2}}]}, id="a size out of range"),
        pytest.param({"rules": [{**RULE, "action": {"type": "skip_entry", "value": 1}}]}, id="one is not true"),
        pytest.param({"rules": [{**RULE, "applies": {"symbols": [], "services": ["s13"]}}]}, id="no such service"),
    ],
)
def test_what_has_not_the_shape_is_refused(body: Any) -> None:
    assert not CHECK.is_valid(body)


def test_a_number_says_its_unit_its_default_and_why() -> None:
    flag = SCHEMA["$defs"]["RiskFlags"]["properties"]["slip_bp_max"]

    assert (flag["x-unit"], flag["default"], flag["minimum"], flag["maximum"]) == ("bps", 8.0, 0, 1_000)
    assert flag["description"] == "Above: finer slices are asked of S4. [bps]"
