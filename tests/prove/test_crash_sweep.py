"""Killed at every step: whatever was under way, after a restart the exchange and the documents tell one story.

Here a quick cut of the kills; `make prove` makes all of them.
"""

import pytest

from tests.prove.flows import FLOWS
from tests.prove.sweep import all_kills, broken_by, kind_of, quick_kills, steps_of


@pytest.fixture(scope="module")
def steps() -> dict[str, list[str]]:
    return {name: steps_of(name) for name in FLOWS}


def test_every_flow_does_what_its_name_says(steps: dict[str, list[str]]) -> None:
    assert {name: len(labels) for name, labels in steps.items() if len(labels) < FLOWS[name].steps_min} == {}


def test_the_quick_cut_kills_at_every_kind_of_step_and_in_every_flow(steps: dict[str, list[str]]) -> None:
    chosen = quick_kills(steps)

    kinds = {kind_of(label) for labels in steps.values() for label in labels}
    assert {kind_of(steps[kill.flow][kill.step - 1]) for kill in chosen} == kinds
    assert {kill.flow for kill in chosen} == set(FLOWS)
    assert any(kill.again for kill in chosen)
    assert len(chosen) < sum(len(list(all_kills(name, labels))) for name, labels in steps.items()) / 10


@pytest.mark.timeout(600)
def test_a_kill_leaves_one_story(steps: dict[str, list[str]]) -> None:
    wrong = [found for kill in quick_kills(steps) if (found := broken_by(kill))]

    assert not wrong, "\n".join(wrong)
