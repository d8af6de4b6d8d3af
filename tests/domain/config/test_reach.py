"""What is called impossible never happens, what is called certain always does, and of few values nothing is missed."""

from itertools import pairwise, product
from math import inf, nextafter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.domain.config import reach
from chimera.domain.config.reach import Effort, TooMuch, always, never, space_of
from chimera.domain.decision.condition import closure, leaves, parse_condition
from tests.domain.config.strategies import RANGES, conditions

KNOWN = {factor: RANGES[factor] for factor in ("spread_bps", "xmkt_signal")}
"""Of rv_1d nothing is known here: it may be a text."""


def values_of(factor: str) -> st.SearchStrategy[Any]:
    """Any value that the factor may have; the numbers of the conditions and their neighbours among them."""
    edges = [-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 10.0, 999.0, 1000.0]
    near = [value for edge in edges for value in (edge, nextafter(edge, inf), nextafter(edge, -inf))]
    if factor in KNOWN:
        low, high = KNOWN[factor]
        inside = [value for value in near if low <= value <= high]
        return st.one_of(st.sampled_from(inside), st.floats(low, high))
    return st.one_of(
        st.sampled_from([*near, "calm", "wild", "else", True, False]), st.floats(allow_nan=False, allow_infinity=False)
    )


FEATURES = st.fixed_dictionaries({factor: values_of(factor) for factor in RANGES})


@given(conditions(), FEATURES)
def test_what_can_never_hold_holds_nowhere_and_what_always_holds_holds_everywhere(when: Any, features: Any) -> None:
    condition = parse_condition(when)
    held = closure(condition)(features)

    assert not (held and never(condition, KNOWN))
    assert held or not always(condition, KNOWN)


@given(conditions(), FEATURES, st.integers(0, 20))
def test_where_the_product_is_too_large_it_is_still_never_wrong(when: Any, features: Any, cells: int) -> None:
    condition = parse_condition(when)
    held = closure(condition)(features)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "CELLS_MAX", cells)
        assert not (held and never(condition, KNOWN))
        assert held or not always(condition, KNOWN)


EDGES = [-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 10.0, 999.0, 1000.0]
GRID = sorted({*EDGES, *((one + other) / 2 for one, other in pairwise(EDGES))})
"""Every number that a random condition names, and one between each two: finer than any condition can tell apart."""


@settings(max_examples=400)
@given(conditions(("spread_bps",)))
def test_of_one_factor_the_answer_is_exact(when: Any) -> None:
    condition = parse_condition(when)
    low, high = KNOWN["spread_bps"]
    held = [closure(condition)({"spread_bps": value}) for value in GRID if low <= value <= high]

    assert never(condition, KNOWN) is not any(held)
    assert always(condition, KNOWN) is all(held)


@given(conditions())
def test_what_is_not_called_impossible_does_happen_somewhere(when: Any) -> None:
    condition = parse_condition(when)
    space = space_of((condition,), KNOWN)
    assert space is not None
    test = closure(condition)

    held = [test(dict(zip(space.kinds, kinds, strict=True))) for kinds in product(*space.kinds.values())]

    assert never(condition, KNOWN) is not any(held)
    assert always(condition, KNOWN) is all(held)
    assert space.where(condition).ravel().tolist() == held


def leaf(op: str, value: Any, factor: str = "spread_bps") -> dict[str, Any]:
    return {"f": factor, "op": op, "v": value}


@pytest.mark.parametrize(
    ("when", "is_never", "is_always"),
    [
        pytest.param({"allOf": [leaf("<", 1), leaf(">", 2)]}, True, False, id="a contradiction"),
        pytest.param({"allOf": [leaf("<=", 1), leaf(">=", 1)]}, False, False, id="one value is left"),
        pytest.param({"allOf": [leaf(">", 1), leaf("<", 2)]}, False, False, id="something in between"),
        pytest.param({"anyOf": [leaf("<=", 1), leaf(">=", 2)]}, False, False, id="but for what is in between"),
        pytest.param({"allOf": [leaf("<", 1), leaf(">=", 1)]}, True, False, id="not even one value"),
        pytest.param({"anyOf": [leaf("<", 1), leaf(">=", 1)]}, False, True, id="one or the other"),
        pytest.param({"anyOf": [leaf("<", 1), leaf(">", 1)]}, False, False, id="but for one value"),
        pytest.param(leaf(">", 1000), True, False, id="beyond the range"),
        pytest.param(leaf(">=", 1000), False, False, id="at the end of the range"),
        pytest.param(leaf(">=", 0), False, True, id="the whole range"),
        pytest.param(leaf("==", "calm"), True, False, id="a number is no text"),
        pytest.param(leaf("!=", "calm"), False, True, id="no number is a text"),
        pytest.param(leaf("==", "calm", "mood"), False, False, id="of a factor that may be a text"),
        pytest.param({"anyOf": [leaf("<", 1, "mood"), leaf(">=", 1, "mood")]}, False, False, id="a text is neither"),
        pytest.param(leaf("in", [-5, 2000]), True, False, id="no member can be"),
        pytest.param(leaf("notIn", [-5]), False, True, id="the member cannot be"),
        pytest.param({"not": leaf(">=", 0)}, True, False, id="turned round"),
        pytest.param({"allOf": [leaf(">", 1), leaf("<", nextafter(1, 2))]}, True, False, id="no double in between"),
        pytest.param(
            {"anyOf": [leaf("<", 1), {"allOf": [leaf(">=", 1), leaf("<", 2, "rv_1d")]}, leaf(">=", 2, "rv_1d")]},
            False,
            True,
            id="two factors together",
        ),
    ],
)
def test_single_cases(when: Any, is_never: bool, is_always: bool) -> None:
    condition = parse_condition(when)

    assert (never(condition, RANGES), always(condition, RANGES)) == (is_never, is_always)


def test_a_condition_with_more_numbers_than_anybody_writes_is_left_in_peace() -> None:
    wide = {"allOf": [leaf(">", number / 7, f"f{number % 12}") for number in range(300)]}
    condition = parse_condition(wide)

    assert space_of((condition,), {}) is None
    assert len(list(leaves(condition))) == 300
    assert (never(condition, {}), always(condition, {})) == (False, False)


def test_a_question_that_takes_more_than_is_left_is_not_begun() -> None:
    asked = parse_condition({"anyOf": [{"f": "spread_bps", "op": "<", "v": number} for number in range(30)]})
    enough = Effort(1_000_000)
    assert not never(asked, {}, enough)
    taken = 1_000_000 - enough.left
    assert taken > 30 * 30

    assert not never(asked, {}, Effort(taken))
    with pytest.raises(TooMuch):
        never(asked, {}, Effort(taken - 1))
