"""`000` section D7: consecutive intents succeed, a pair fills by one leg, and no wide or thin book is entered blindly.

A quick cut of the thousand here; all of them by `make prove`.
"""

import pytest

from chimera.contracts.collections import INTENTS
from chimera.contracts.enums import IntentState
from chimera.simulation.loop import run_virtual
from chimera.simulation.quiet import quiet
from tests.prove.extent import count
from tests.prove.flows import FLOWS
from tests.prove.many import KINDS, Many, consecutive, p95, races
from tests.prove.timeline import HOUSE, Fuse, Timeline

INTENTS_COUNT = count(full=1_000, quick=40)
RACES_COUNT = count(full=1_000, quick=40)


@pytest.fixture(scope="module")
def many() -> Many:
    with quiet():
        return run_virtual(consecutive(INTENTS_COUNT, seed=1))


@pytest.mark.timeout(1_200)
def test_consecutive_intents_of_every_kind_end_as_they_should(many: Many) -> None:
    assert not many.wrong
    assert many.right_ratio >= 0.999
    assert set(many.right) == set(KINDS)
    assert sum(many.hits.values()) >= INTENTS_COUNT / 10, "hardly anything went wrong: nothing was proven"
    assert sum(many.refused.values()) <= INTENTS_COUNT / 10, many.refused
    assert p95(many.calm_ms) < 100
    assert len(many.calm_ms) >= INTENTS_COUNT / 20


def test_none_is_there_twice_and_every_book_agrees(many: Many) -> None:
    assert many.findings == {}


@pytest.mark.timeout(1_200)
def test_of_two_legs_touched_in_one_instant_one_fills() -> None:
    with quiet():
        outcome = run_virtual(races(RACES_COUNT, seed=5))

    assert outcome.findings == {}
    assert outcome.exclusive + outcome.left == RACES_COUNT
    assert outcome.exclusive >= RACES_COUNT * 3 // 4


def test_a_thin_book_delays_an_entry() -> None:
    async def scenario() -> None:
        flow = FLOWS["liquidity delay"]
        timeline = Timeline.of(flow)
        floor = await timeline.live(Fuse(None))
        await floor.start(*HOUSE, price="60000")
        for step in flow.steps:
            await step(timeline, floor)
        record = await timeline.documents.get(INTENTS, "E1")
        assert record is not None
        assert record.execution is not None
        assert record.state is IntentState.DONE
        assert "DELAYED" in [note.what for note in record.execution.notes]
        await floor.stop()

    run_virtual(scenario())
