"""A write that was carried out and could not be answered for leaves nothing unled, untold or open.

Here each kind of write once, and some more; `make prove` loses the answer to each write of every flow.
"""

import pytest

from tests.prove.extent import FULL, Record
from tests.prove.flows import FLOWS
from tests.prove.lost_answers import all_losses, broken_by, kind_of, quick_losses, writes_of


@pytest.fixture(scope="module")
def writes() -> dict[str, list[str]]:
    return {flow: writes_of(flow) for flow in FLOWS}


def test_the_quick_cut_loses_the_answer_to_every_kind_of_write_and_in_every_flow(writes: dict[str, list[str]]) -> None:
    chosen = quick_losses(writes)

    assert {kind_of(writes[flow][at - 1]) for flow, at in chosen} == {
        kind_of(what) for each in writes.values() for what in each
    }
    assert {flow for flow, _ in chosen} == set(FLOWS)
    assert len(chosen) < len(all_losses(writes)) / 8


@pytest.mark.timeout(600)
def test_a_write_whose_answer_is_lost_breaks_nothing(writes: dict[str, list[str]], record_property: Record) -> None:
    losses = all_losses(writes) if FULL else quick_losses(writes)

    wrong = [found for flow, at in losses if (found := broken_by(flow, at))]

    record_property("answers lost", len(losses))
    assert not wrong, "\n".join(wrong)
