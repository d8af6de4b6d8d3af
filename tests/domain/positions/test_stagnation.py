"""When a position goes nowhere."""

import pytest

from chimera.domain.positions.stagnation import StagnationParams, is_due, still_since

PARAMS = StagnationParams(for_ms=1_000)


@pytest.mark.parametrize(
    ("before", "roe", "since"),
    [
        pytest.param(None, 0.0199, 50, id="it begins"),
        pytest.param(10, -0.0199, 10, id="it goes on"),
        pytest.param(10, 0.02, None, id="it moved up"),
        pytest.param(10, -0.02, None, id="it moved down"),
        pytest.param(None, -0.5, None, id="it never was"),
    ],
)
def test_a_position_is_still_while_its_roe_is_within_the_limit(
    before: int | None, roe: float, since: int | None
) -> None:
    assert still_since(before, roe, 50, PARAMS) == since


@pytest.mark.parametrize(("since", "due"), [(None, False), (1, False), (0, True)])
def test_it_is_said_after_the_whole_time(since: int | None, due: bool) -> None:
    assert is_due(since, 1_000, PARAMS) is due
