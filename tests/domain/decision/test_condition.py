"""One condition, three ways to ask it: the closure, the columns and the leaves never disagree."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.decision.condition import (
    OPERATORS,
    Join,
    Leaf,
    Not,
    check_condition,
    closure,
    columns,
    leaves,
    parse_condition,
)

FACTORS = ("spread_bps", "rv_1d", "xmkt_signal")
# Few values, so that "equal" and "among" happen; and the ones where doubles, integers and texts differ.
NUMBERS = st.sampled_from([0, 1, -1, 2, 0.1, 0.30000000000000004, 2**53, 2**53 + 1, 1e300, True, False])
SCALARS = st.one_of(NUMBERS, st.sampled_from(["", "NORMAL", "1"]))


def leaf_bodies() -> st.SearchStrategy[dict[str, Any]]:
    factor = st.sampled_from(FACTORS)
    plain = st.sampled_from([0, 1, -1, 2, 0.1, 0.30000000000000004, 2**53 + 1, 1e300])
    return st.one_of(
        st.fixed_dictionaries({"f": factor, "op": st.sampled_from(["<", "<=", ">", ">="]), "v": plain}),
        st.fixed_dictionaries({"f": factor, "op": st.sampled_from(["==", "!="]), "v": SCALARS}),
        st.fixed_dictionaries(
            {"f": factor, "op": st.sampled_from(["in", "notIn"]), "v": st.lists(SCALARS, min_size=1, max_size=4)}
        ),
    )


def bodies() -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        leaf_bodies(),
        lambda inner: st.one_of(
            st.fixed_dictionaries({"not": inner}),
            st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=4)}),
            st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=4)}),
        ),
        max_leaves=8,
    )


def truth(node: Any, features: dict[str, float]) -> bool:
    """By the tree and its leaves alone."""
    if isinstance(node, Leaf):
        return node.holds(features[node.factor])
    if isinstance(node, Not):
        return not truth(node.part, features)
    held = [truth(part, features) for part in node.parts]
    return all(held) if node.kind == "allOf" else any(held)


VALUES = st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.1, 0.3, 0.30000000000000004, float(2**53), 1e300, -0.0])
ROWS = st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=12)


@given(bodies(), ROWS)
def test_columns_and_closure_say_the_same_of_every_row(body: dict[str, Any], rows: list[tuple[float, ...]]) -> None:
    assert check_condition(body, "when") == []
    node = parse_condition(body)
    asked = closure(node)
    table = {name: np.array([row[i] for row in rows]) for i, name in enumerate(FACTORS)}
    by_row = [asked(dict(zip(FACTORS, row, strict=True))) for row in rows]
    assert columns(node, table).tolist() == by_row
    assert by_row == [truth(node, dict(zip(FACTORS, row, strict=True))) for row in rows]


@given(bodies())
def test_leaves_are_every_comparison_once_and_in_order(body: dict[str, Any]) -> None:
    def written(node: dict[str, Any]) -> list[tuple[str, str]]:
        if "f" in node:
            return [(node["f"], node["op"])]
        if "not" in node:
            return written(node["not"])
        return [each for part in node.get("allOf", node.get("anyOf", [])) for each in written(part)]

    assert [(leaf.factor, leaf.op) for leaf in leaves(parse_condition(body))] == written(body)


def test_a_whole_number_beyond_doubles_is_compared_as_a_double() -> None:
    node = parse_condition({"f": "rv_1d", "op": "==", "v": 2**53 + 1})
    assert closure(node)({"rv_1d": float(2**53)})
    assert columns(node, {"rv_1d": np.array([float(2**53)])}).tolist() == [True]


@pytest.mark.parametrize("op", ["<", "<=", ">", ">=", "==", "!="])
@pytest.mark.parametrize("v", [float("nan"), float("inf"), 10**400], ids=["nan", "inf", "beyond doubles"])
def test_what_no_double_can_hold_is_refused(op: str, v: float) -> None:
    (finding,) = check_condition({"f": "rv_1d", "op": op, "v": v}, "when")
    assert finding.path == "when.v"


def test_every_operator_has_a_meaning() -> None:
    for op in OPERATORS:
        v: Any = [1.0] if op in ("in", "notIn") else 1.0
        node = parse_condition({"f": "rv_1d", "op": op, "v": v})
        held = [closure(node)({"rv_1d": value}) for value in (0.0, 1.0, 2.0)]
        assert held != [held[0]] * 3, op


def test_a_tree_is_read_as_written() -> None:
    body = {"not": {"anyOf": [{"f": "a", "op": "<", "v": 1}, {"allOf": [{"f": "b", "op": "in", "v": ["x", 2]}]}]}}
    assert parse_condition(body) == Not(
        Join("anyOf", (Leaf("a", "<", 1.0), Join("allOf", (Leaf("b", "in", ("x", 2.0)),))))
    )
