"""Plans come from seeds alone, survive being written down, and can be made small."""

import json
from typing import Any

import pytest

from chimera.domain.matching.faults import Fault, FaultKind
from chimera.simulation.attack.campaign import plan_for
from chimera.simulation.attack.chance import Chance
from chimera.simulation.attack.plan import KINDS, SHAPES, Befalls, Blow, Plan, kind_of, moment, swarm
from chimera.simulation.attack.shrink import shrunk

HOUR_MS = 3_600_000


@pytest.mark.parametrize("mode", ["swarm", "single", "none"])
def test_a_seed_has_one_plan(mode: str) -> None:
    assert plan_for(7, 1.0, mode) == plan_for(7, 1.0, mode)
    assert mode == "none" or plan_for(7, 1.0, mode) != plan_for(8, 1.0, mode)


def test_a_plan_survives_being_written_down() -> None:
    for seed in range(20):
        plan = plan_for(seed, 1.0, "swarm")
        assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_every_kind_can_be_written_down_and_struck_at_a_step() -> None:
    for kind in KINDS:
        plan = Plan(at_step=(3, moment(Chance("any"), kind, 0)))
        assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_swarms_differ_in_what_is_on_and_how_often() -> None:
    plans = [swarm(Chance(f"s{seed}"), 0, 24 * HOUR_MS) for seed in range(40)]
    on = [{each.kind for each in plan.troubles} for plan in plans]
    assert {kind for kinds in on for kind in kinds} == set(KINDS)
    assert all(len(kinds) < len(KINDS) for kinds in on)
    assert max(len(plan.troubles) for plan in plans) > 5 * min(len(plan.troubles) for plan in plans)


def test_details_stay_within_their_shapes() -> None:
    for number in range(200):
        for kind in Befalls:
            blow = moment(Chance(f"b{number}"), kind, 0)
            assert isinstance(blow, Blow)
            shape = SHAPES[kind]
            assert shape.lasts_ms[0] <= blow.lasts_ms <= shape.lasts_ms[1]
            assert shape.amount[0] <= blow.amount <= shape.amount[1]
            assert blow.service not in shape.spares
            assert (bool(blow.service), blow.side is not None) == (shape.of_service, shape.of_side)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({}, "a plan is a list of faults, not dict"),
        ([{"kind": "NOTHING"}], "fault 0 of the plan: kind: 'NOTHING' is not one of"),
        ([{"kind": "KILLED"}], "fault 0 of the plan: 'at_ms'"),
        ([{"kind": "LATE", "params": {"delay_ms": -1}}], "fault 0 of the plan: params.delay_ms"),
        (["LATE"], "fault 0 of the plan"),
    ],
)
def test_a_plan_that_is_none_is_refused_by_its_row(rows: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        Plan.from_json(rows)


def test_a_kind_that_is_none_is_refused_with_those_there_are() -> None:
    assert kind_of("killed") is Befalls.KILLED
    with pytest.raises(ValueError, match="'KILED' is no fault; there are ANSWER_LOST"):
        kind_of("KILED")


def fault(number: int) -> Fault:
    return Fault(kind=FaultKind.LATE, at_ms=number)


@pytest.mark.parametrize("guilty", [{0}, {7}, {3, 4}, {0, 15}, {2, 9, 13}, set(range(16))])
def test_what_is_left_of_a_plan_is_what_breaks_it(guilty: set[int]) -> None:
    def breaks(plan: Plan) -> bool:
        return guilty <= {each.at_ms for each in plan.troubles}

    least = shrunk(Plan(tuple(fault(number) for number in range(16))), breaks)

    assert {each.at_ms for each in least.troubles} == guilty


def test_a_run_that_breaks_without_any_fault_needs_none() -> None:
    assert shrunk(Plan((fault(1), fault(2))), lambda _: True) == Plan()


def test_what_lasts_is_made_shorter_while_it_still_breaks() -> None:
    def breaks(plan: Plan) -> bool:
        return any(isinstance(each, Blow) and each.lasts_ms >= 700 for each in plan.troubles)

    (least,) = shrunk(Plan((Blow(kind=Befalls.BUS_DOWN, at_ms=5, lasts_ms=20_000),)), breaks).troubles

    assert isinstance(least, Blow)
    assert 700 <= least.lasts_ms < 1_400
