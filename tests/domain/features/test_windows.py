"""A sample's place among the samples of its window depends on them and on nothing else."""

import math
import statistics
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.features.windows import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    WINDOW_MS_MAX,
    SampleWindow,
    WindowKind,
    column,
    counts,
    grid_ms,
    warm_samples,
)

few_values = st.sampled_from((0.0, -1.5, 1e-9, 3.0))
any_values = st.floats(-1e15, 1e15).filter(lambda x: x == 0.0 or abs(x) > 1e-30)
gaps = st.just(math.nan)
samples_of_any_kind = st.one_of(
    st.lists(st.one_of(few_values, gaps), max_size=60),
    st.lists(st.one_of(any_values, gaps), max_size=60),
    st.lists(st.one_of(st.floats(60_000.0, 60_000.0 + 1e-9), gaps), max_size=60),
)


def windows_of(samples: Sequence[float], size: int) -> list[list[float]]:
    """By the definition: the samples of the last `size` points up to each point, without holes."""
    return [[x for x in samples[max(0, i + 1 - size) : i + 1] if x == x] for i in range(len(samples))]


def pctile_of(window: list[float]) -> float:
    newest = window[-1]
    return (sum(x < newest for x in window) + sum(x == newest for x in window) / 2) / len(window)


def zscore_of(window: list[float]) -> float:
    exact = [Fraction(x) for x in window]
    mean = sum(exact) / len(exact)
    variance = sum((x - mean) ** 2 for x in exact) / len(exact)
    if variance == 0:
        return math.nan
    return math.copysign(math.sqrt((exact[-1] - mean) ** 2 / variance), exact[-1] - mean)


@given(samples=samples_of_any_kind, size=st.integers(1, 20), kind=st.sampled_from(WindowKind))
def test_both_forms_give_the_place_that_the_definition_gives(samples: list[float], size: int, kind: WindowKind) -> None:
    window = SampleWindow(kind, size)
    by_definition = pctile_of if kind is WindowKind.PCTILE else zscore_of
    columns = np.array(samples, dtype=np.float64)
    places = column(kind, columns, size, ~np.isnan(columns))
    for i, expected in enumerate(windows_of(samples, size)):
        window.add(i + 7, samples[i])

        assert window.count == len(expected) == counts(columns, size)[i]
        if samples[i] == samples[i]:
            assert window.place() == pytest.approx(by_definition(expected), rel=1e-12, abs=1e-12, nan_ok=True)
            assert np.array_equal(window.place(), places[i], equal_nan=True), "the same bits"


@given(samples=st.lists(st.tuples(st.integers(1, 30), few_values), max_size=40), kind=st.sampled_from(WindowKind))
def test_points_that_are_left_out_are_holes(samples: list[tuple[int, float]], kind: WindowKind) -> None:
    skipping, stepping = SampleWindow(kind, 12), SampleWindow(kind, 12)
    point = 1_000
    for steps, sample in samples:
        for missed in range(point + 1, point + steps):
            stepping.add(missed, math.nan)
        point += steps
        stepping.add(point, sample)
        skipping.add(point, sample)

        assert skipping.count == stepping.count
        assert np.array_equal(skipping.place(), stepping.place(), equal_nan=True)


def test_what_has_left_the_window_leaves_nothing_behind() -> None:
    """A rolling sum of floats would keep 1e15's rounding for ever."""
    window = SampleWindow(WindowKind.ZSCORE, 3)
    for point, sample in enumerate((1e15, -1e15, 1e-9, 2e-9, 3e-9)):
        window.add(point, sample)

    assert window.place() == pytest.approx(1e-9 / statistics.pstdev((1e-9, 2e-9, 3e-9)), rel=1e-12)


@pytest.mark.parametrize(
    ("window_ms", "grid", "warm"),
    [
        pytest.param(10 * MINUTE_MS, MINUTE_MS, 9, id="ten minutes"),
        pytest.param(DAY_MS, MINUTE_MS, 1296, id="a day, the longest on minutes"),
        pytest.param(25 * HOUR_MS, HOUR_MS, 23, id="an hour more, on hours"),
        pytest.param(30 * DAY_MS, HOUR_MS, 648, id="a month"),
        pytest.param(WINDOW_MS_MAX, HOUR_MS, 1296, id="the longest"),
    ],
)
def test_no_window_holds_more_than_1440_samples_and_nine_tenths_make_it_warm(
    window_ms: int, grid: int, warm: int
) -> None:
    assert grid_ms(window_ms) == grid
    assert window_ms // grid <= 1440
    assert warm_samples(window_ms) == warm
