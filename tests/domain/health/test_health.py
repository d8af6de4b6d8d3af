"""GREEN unless a dependency is down, and what each level forbids."""

import pytest

from chimera.contracts.enums import Grade, HealthLevel
from chimera.contracts.flags import HealthActions
from chimera.domain.health.grading import level_of
from chimera.domain.health.restraints import restraint


@pytest.mark.parametrize(
    ("grades", "level"),
    [
        pytest.param({}, HealthLevel.GREEN, id="nothing to depend on"),
        pytest.param({"bus": Grade.GREEN, "documents": Grade.GREEN}, HealthLevel.GREEN, id="all are up"),
        pytest.param({"bus": Grade.RED, "documents": Grade.GREEN}, HealthLevel.RED, id="one is down"),
    ],
)
def test_a_dependency_that_is_down_is_red(grades: dict[str, Grade], level: HealthLevel) -> None:
    assert level_of(grades) is level


@pytest.mark.parametrize(
    ("level", "new_entries", "maker", "size_mult", "cut_ms"),
    [
        (HealthLevel.GREEN, True, True, 1.0, 0),
        (HealthLevel.YELLOW, True, True, 0.8, 300),
        (HealthLevel.ORANGE, True, False, 0.5, 300),
        (HealthLevel.RED, False, False, 0.0, 300),
    ],
)
def test_each_level_restrains_new_entries_more(
    level: HealthLevel, new_entries: bool, maker: bool, size_mult: float, cut_ms: int
) -> None:
    found = restraint(level, HealthActions())

    assert (found.new_entries, found.maker, found.size_mult, found.maker_wait_cut_ms) == (
        new_entries,
        maker,
        size_mult,
        cut_ms,
    )


@pytest.mark.parametrize("level", list(HealthLevel))
def test_only_green_lets_a_position_grow(level: HealthLevel) -> None:
    assert restraint(level, HealthActions()).adds is (level is HealthLevel.GREEN)


@pytest.mark.parametrize("level", list(HealthLevel))
def test_what_may_not_wait_as_maker_goes_in_finer_slices(level: HealthLevel) -> None:
    found = restraint(level, HealthActions())

    assert found.finer_slices is not found.maker


@pytest.mark.parametrize(
    ("grade", "spot"),
    [(Grade.GREEN, True), (Grade.YELLOW, True), (Grade.ORANGE, False), (Grade.RED, False)],
)
def test_running_short_of_balance_halts_spot_and_nothing_else(grade: Grade, spot: bool) -> None:
    found = restraint(HealthLevel.ORANGE, HealthActions(), {"ib_rate": grade})

    assert (found.spot_entries, found.new_entries) == (spot, True)


def test_red_buys_no_spot_either() -> None:
    assert not restraint(HealthLevel.RED, HealthActions(), {"ib_rate": Grade.GREEN}).spot_entries
