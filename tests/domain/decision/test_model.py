"""The model's bands, and the three ways of having no answer, each told by its name."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.decision.calibration import AsItIs, Platt
from chimera.domain.decision.decide import decide
from chimera.domain.decision.model import MODEL_TIMEOUT, NO_MODEL, judge, score_of
from tests.domain.decision.worlds import config, facts


@pytest.mark.parametrize(
    ("p", "size_mult", "skip", "note"),
    [
        (1.0, 1.2, False, "P_HIGH"),
        (0.8500001, 1.2, False, "P_HIGH"),
        (0.85, 1.0, False, "P_NORMAL"),
        (0.6, 1.0, False, "P_NORMAL"),
        (0.5999999, 0.5, False, "P_LOW"),
        (0.4, 0.5, False, "P_LOW"),
        (0.3999999, 0.0, True, "P_TOO_LOW"),
        (0.0, 0.0, True, "P_TOO_LOW"),
        (nan, 0.0, True, "MODEL_INVALID"),
        (-0.001, 0.0, True, "MODEL_INVALID"),
        (1.001, 0.0, True, "MODEL_INVALID"),
    ],
)
def test_each_band_has_its_size(p: float, size_mult: float, skip: bool, note: str) -> None:
    outcome = judge(p)

    assert (outcome.size_mult, outcome.skip, outcome.note) == (size_mult, skip, note)


@pytest.mark.parametrize(("told", "note"), [("", NO_MODEL), (NO_MODEL, NO_MODEL), (MODEL_TIMEOUT, MODEL_TIMEOUT)])
def test_no_answer_is_a_size_of_one_and_says_why(told: str, note: str) -> None:
    outcome = judge(None, told)

    assert (outcome.size_mult, outcome.skip, outcome.note) == (1.0, False, note)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_better_chance_is_never_a_smaller_size(one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert judge(low).size_mult <= judge(high).size_mult


@pytest.mark.parametrize("output", [nan, inf, -inf, -0.1, 1.1])
def test_a_calibration_does_not_hide_a_broken_model(output: float) -> None:
    score = score_of(output, Platt(-4.0, 2.0))

    assert judge(score.p, score.note).note == "MODEL_INVALID"


def test_an_output_is_calibrated_once() -> None:
    assert score_of(0.7, AsItIs()).p == 0.7
    assert score_of(0.5, Platt(-4.0, 2.0)).p == 0.5


@pytest.mark.parametrize(
    ("features", "missing"),
    [
        pytest.param({}, ("ret_1h",), id="not warm"),
        pytest.param({"ret_1h": nan}, ("ret_1h",), id="no number"),
        pytest.param({"ret_1h": 0.01}, (), id="there"),
    ],
)
def test_a_factor_that_only_the_model_reads_refuses_by_its_name(
    features: dict[str, float], missing: tuple[str, ...]
) -> None:
    decision = decide(facts(features=features), config(model_factors=("spread_bps", "ret_1h")))

    assert decision.missing == missing
    assert decision.detail == ("FACTOR_MISSING" if missing else "OK")
