"""Two bundles are compared by meaning: equal ones differ in nothing, and differences lead from one to another."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.config.bundle import default_bundle
from chimera.domain.config.diff import GONE, applied, differences
from chimera.domain.config.words import condition, rule_in_words, sentence
from tests.domain.config.strategies import contents

FIRST = default_bundle(0).to_dict()
R_001, R_023 = FIRST["rules"]


def with_rule(**changes: Any) -> dict[str, Any]:
    """The default bundle with R-001 changed."""
    return {**FIRST, "rules": [{**R_001, **changes}, R_023]}


def with_flag(group: str, **changes: Any) -> dict[str, Any]:
    return {**FIRST, "flags": {**FIRST["flags"], group: {**FIRST["flags"][group], **changes}}}


def only(before: Any, after: Any) -> Any:
    [found] = differences(before, after)
    return found


@given(contents())
def test_a_content_differs_in_nothing_from_itself(content: dict[str, Any]) -> None:
    assert differences(content, content) == ()


@given(contents(), contents())
def test_the_differences_lead_from_one_content_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = differences(before, after)

    assert differences(applied(before, found), after) == ()
    assert applied(before, found) == applied(after, ())


@given(contents(), contents())
def test_the_way_back_is_the_way_there_mirrored(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert differences(after, before) == tuple(found.mirrored for found in differences(before, after))


@given(contents(), st.randoms(use_true_random=False))
def test_another_order_in_a_list_is_no_difference(content: dict[str, Any], chance: Any) -> None:
    # Of two that bear one name the order tells which is which: only lists that lint would pass.
    named = {**content, "rules": list({rule["rule_id"]: rule for rule in content["rules"]}.values())}
    mixed = {**named, **{part: chance.sample(named[part], len(named[part])) for part in ("rules", "factors")}}

    assert differences(named, mixed) == ()


def test_a_change_for_another_content_is_refused() -> None:
    change = only(FIRST, with_flag("risk", slip_bp_max=7))

    with pytest.raises(ValueError, match=r"flags\.risk\.slip_bp_max is 9"):
        applied(with_flag("risk", slip_bp_max=9), [change])


def test_true_is_not_one_and_one_is_one_point_nought() -> None:
    assert differences(with_flag("risk", slip_bp_max=8), with_flag("risk", slip_bp_max=8.0)) == ()
    assert len(differences({"flags": {"a": 1}}, {"flags": {"a": True}})) == 1


@pytest.mark.parametrize(
    ("after", "path", "values", "says"),
    [
        pytest.param(
            with_flag("risk", slip_bp_max=7.5),
            "flags.risk.slip_bp_max",
            (8.0, 7.5),
            "risk.slip_bp_max is 7.5 bps, before 8 bps",
            id="a flag with its unit",
        ),
        pytest.param(
            with_flag("position", tiers=[*FIRST["flags"]["position"]["tiers"][:1], {"roe_min": 0.2, "lock_roe": 0.05}]),
            "flags.position.tiers[1].roe_min",
            (0.1, 0.2),
            "position.tiers[1].roe_min is 0.2, before 0.1",
            id="one row of a table",
        ),
        pytest.param(
            with_rule(when={"f": "spread_bps", "op": ">", "v": 2.0}),
            "rules[R-001].when.v",
            (1.5, 2.0),
            "R-001 fires at spread_bps above 2 bps, before 1.5",
            id="where a rule fires",
        ),
        pytest.param(
            with_rule(when={"f": "spread_bps", "op": "<", "v": 1.5}),
            "rules[R-001].when",
            (R_001["when"], {"f": "spread_bps", "op": "<", "v": 1.5}),
            "R-001 fires where spread_bps below 1.5 bps, before where spread_bps above 1.5 bps",
            id="another question",
        ),
        pytest.param(
            with_rule(action={"type": "size_mult", "value": 0.5}),
            "rules[R-001].action.value",
            (0.8, 0.5),
            "R-001 multiplies the size by 0.5, before 0.8",
            id="what a rule does",
        ),
        pytest.param(
            with_rule(status="DISABLED"),
            "rules[R-001].status",
            ("ENABLED", "DISABLED"),
            "R-001 is switched off",
            id="a rule switched off",
        ),
        pytest.param(
            with_rule(applies={"symbols": ["BTCUSDT"], "services": ["s3-strategy"]}),
            "rules[R-001].applies.symbols",
            ([], ["BTCUSDT"]),
            "R-001 applies to BTCUSDT, before to every symbol",
            id="where a rule applies",
        ),
        pytest.param(
            {**FIRST, "rules": [R_001]},
            "rules[R-023]",
            (R_023, GONE),
            "R-023 is gone: it fires where rv_pctile_30d below 0.25 and rho_usdttwd_14 below -0.3, multiplies the size"
            " by 1.2, for BTCUSDT (switched off)",
            id="a rule gone",
        ),
        pytest.param(
            {**FIRST, "factors": FIRST["factors"][1:]},
            "factors[mid]",
            (FIRST["factors"][0], GONE),
            "factor mid is gone",
            id="a factor gone",
        ),
    ],
)
def test_a_difference_has_its_path_its_values_and_a_sentence(
    after: Any, path: str, values: tuple[Any, Any], says: str
) -> None:
    found = only(FIRST, after)

    assert found.path == path
    assert (found.before, found.after) == values
    assert sentence(found) == says


def test_one_number_of_a_joined_condition_is_told_alone() -> None:
    tuned = {**R_023, "when": {"allOf": [{"f": "rv_pctile_30d", "op": "<", "v": 0.2}, R_023["when"]["allOf"][1]]}}

    found = only(FIRST, {**FIRST, "rules": [R_001, tuned]})

    assert found.path == "rules[R-023].when.allOf[0].v"
    assert sentence(found) == "R-023 asks rv_pctile_30d below 0.2, before 0.25"


def test_a_rule_named_twice_is_compared_twice() -> None:
    twice = {**FIRST, "rules": [R_001, R_023, {**R_001, "priority": 5}]}

    assert [found.path for found in differences(FIRST, twice)] == ["rules[R-001#2]"]


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ({"not": {"f": "rv_1d", "op": ">=", "v": 1}}, "not (rv_1d at least 1)"),
        (
            {"allOf": [{"f": "a", "op": "in", "v": ["x", "y"]}, {"anyOf": [{"f": "b", "op": "==", "v": True}] * 2}]},
            "a one of x, y and (b exactly on or b exactly on)",
        ),
    ],
)
def test_a_condition_reads_as_a_phrase(when: Any, says: str) -> None:
    assert condition(when) == says
    assert says in rule_in_words({**R_001, "when": when})
