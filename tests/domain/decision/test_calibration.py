"""A calibration never turns a better score into a worse chance, and what comes out is a probability."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.decision.calibration import AsItIs, Calibration, Isotonic, Platt, parse_calibration

scores = st.floats(0.0, 1.0)
platts = st.builds(Platt, a=st.floats(-1_000.0, 0.0), b=st.floats(-1_000.0, 1_000.0))


@st.composite
def isotonics(draw: st.DrawFn) -> Isotonic:
    x = sorted(draw(st.lists(scores, min_size=1, max_size=30, unique=True)))
    y = sorted(draw(st.lists(scores, min_size=len(x), max_size=len(x))))
    return Isotonic(tuple(x), tuple(y))


calibrations: st.SearchStrategy[Calibration] = st.one_of(st.just(AsItIs()), platts, isotonics())


@given(calibrations, scores, scores)
def test_it_is_monotone_and_stays_a_probability(calibration: Calibration, one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert 0.0 <= calibration.calibrated(low) <= calibration.calibrated(high) <= 1.0


@given(isotonics())
def test_isotonic_goes_through_its_points_and_is_level_outside(calibration: Isotonic) -> None:
    assert [calibration.calibrated(x) for x in calibration.x] == pytest.approx(list(calibration.y), abs=1e-12)
    assert calibration.calibrated(0.0) == pytest.approx(calibration.y[0], abs=1e-12) or calibration.x[0] == 0.0
    assert calibration.calibrated(1.0) == calibration.y[-1]


def test_the_curves_are_the_textbooks() -> None:
    # scikit-learn's _SigmoidCalibration and IsotonicRegression(out_of_bounds="clip") give these.
    assert Platt(-4.0, 2.0).calibrated(0.5) == 0.5
    assert Platt(-4.0, 2.0).calibrated(1.0) == pytest.approx(0.8807970779778823)
    assert Isotonic((0.2, 0.6), (0.1, 0.5)).calibrated(0.3) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        pytest.param(None, AsItIs(), id="none"),
        pytest.param({"method": "platt", "a": -3, "b": 1.5}, Platt(-3.0, 1.5), id="platt"),
        pytest.param({"method": "isotonic", "x": [0, 1], "y": [0.2, 0.9]}, Isotonic((0, 1), (0.2, 0.9)), id="isotonic"),
    ],
)
def test_what_a_model_document_says_is_read(raw: Any, read: Calibration) -> None:
    assert parse_calibration(raw) == read


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({}, "method"),
        ({"method": "beta", "a": 1}, "method"),
        ({"method": "platt", "a": 1.0, "b": 0.0}, "a"),
        ({"method": "platt", "a": -1.0}, "b"),
        ({"method": "platt", "a": True, "b": 0.0}, "a"),
        ({"method": "platt", "a": float("nan"), "b": 0.0}, "a"),
        ({"method": "platt", "a": -1e9, "b": 0.0}, "a, b"),
        ({"method": "platt", "a": -1.0, "b": 0.0, "c": 1}, "c"),
        ({"method": "isotonic", "x": [], "y": []}, "x"),
        ({"method": "isotonic", "x": [0.1, "half"], "y": [0.1, 0.2]}, r"x\[1\]"),
        ({"method": "isotonic", "x": [0.1, 0.2], "y": [0.1]}, "x, y"),
        ({"method": "isotonic", "x": [0.2, 0.2], "y": [0.1, 0.2]}, "x"),
        ({"method": "isotonic", "x": [0.1, 0.2], "y": [0.3, 0.2]}, "y"),
        ({"method": "isotonic", "x": [0.1, 0.2], "y": [0.3, 1.2]}, "y"),
        ({"method": "isotonic", "x": [0.1, 0.2], "y": [-0.1, 0.2]}, "y"),
    ],
)
def test_what_is_no_calibration_is_refused_by_name(raw: Any, field: str) -> None:
    with pytest.raises(ValueError, match=f"calibration.{field} is "):
        parse_calibration(raw)
