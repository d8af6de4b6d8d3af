"""Every small flow, explored through all that may happen to it: no invariant breaks, and it always comes to an end.

`CHIMERA_PROVE=full` explores the deep ones too.
"""

from dataclasses import replace

import pytest

from tests.domain.execution.machine.model import explore
from tests.domain.execution.machine.scenarios import DEEP, SCENARIOS
from tests.prove.extent import FULL, Record

LATE = (
    "spot slices",
    "spot exit",
    "guard",
    "futures exit",
    "resting stop",
    "bracket killed",
    "bracket refused",
    "futures slices",
)
"""Explored with late looks in the quick cut."""

DEEP_STATES_MAX = 100_000
"""Of a deep flow: as far as that, by ever more moves. Some have millions, which half an hour does not see."""

STATES_MIN = {
    "spot taker": (3920, 6910),
    "spot maker": (5700, 17540),
    "spot maker after cancel": (2800, 6350),
    "spot post only": (1140, 3970),
    "spot slices": (840, 2020),
    "spot funds": (980, 2080),
    "spot maker funds": (990, 2190),
    "spot limit": (2080, 4260),
    "spot exit": (1510, 2670),
    "guard": (1850, 3650),
    "futures exit": (1560, 2840),
    "resting stop": (340, 730),
    "futures taker": (1530, 2510),
    "futures funds": (520, 880),
    "bracket killed": (1610, 2770),
    "bracket refused": (1580, 2490),
    "bracket taken away": (1120, 1930),
    "bracket unlisted": (240, 460),
    "futures slices": (4740, 9550),
    "futures maker": (3290, 10230),
    "futures limit": (740, 1370),
}
"""Looking at once, and late: an exploration that has shrunk proves less than it says."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_whatever_happens_a_small_flow_keeps_its_promises_and_ends(name: str, record_property: Record) -> None:
    found = explore(SCENARIOS[name])

    print(f"{name}: {found.states} states, {found.moves} moves, {len(found.ends)} ends")
    record_property("states", found.states)
    record_property("moves", found.moves)
    assert found.states >= STATES_MIN[name][0]
    assert {state for state, _, _ in found.ends} >= {"DONE"}


@pytest.mark.parametrize("name", SCENARIOS if FULL else LATE)
def test_looking_late_at_several_changes_at_once_is_as_good(name: str, record_property: Record) -> None:
    found = explore(replace(SCENARIOS[name], late=True))

    print(f"{name}, late: {found.states} states, {found.moves} moves, {len(found.ends)} ends")
    record_property("states", found.states)
    record_property("moves", found.moves)
    assert found.states >= STATES_MIN[name][1]


if FULL:
    # Minutes each, so they are only there where everything is explored.
    @pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
    @pytest.mark.parametrize("name", DEEP)
    def test_deep(name: str, late: bool, record_property: Record) -> None:
        found = explore(replace(DEEP[name], late=late), cut_at=DEEP_STATES_MAX)

        when = "late" if late else "at once"
        print(f"{name}, deep, {when}: {found.states} states, {found.moves} moves, {len(found.ends)} ends")
        record_property("states", found.states)
        record_property("moves", found.moves)
        record_property("deep flows explored to their ends", int(found.whole))
        record_property("deep flows cut off", int(not found.whole))
        assert found.states >= 10_000
