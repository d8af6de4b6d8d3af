"""Faults on demand: what they are called, when they happen, and that a seed repeats them."""

from typing import Any

import pytest

from chimera.adapters.chance import SeededRandomness
from chimera.contracts.enums import Market
from chimera.domain.matching.faults import (
    DRAWN_IN_PROCESS,
    NUMBERS,
    SPECS,
    Asked,
    Fault,
    FaultError,
    FaultKind,
    FaultPlan,
    Reach,
    Trait,
)

WRITES = frozenset({Trait.SIGNED, Trait.CHANGES, Trait.OPENS})


def asked(name: str = "order.place", *traits: Trait, symbol: str = "BTCUSDT") -> Asked:
    return Asked(name=name, market=Market.FUT, symbol=symbol, traits=WRITES | frozenset(traits))


def test_every_fault_of_the_table_has_a_kind() -> None:
    assert set(NUMBERS) == set(FaultKind)
    assert {number for numbers in NUMBERS.values() for number in numbers} == set(range(1, 42))


def test_the_default_and_every_draw_of_a_parameter_are_allowed() -> None:
    chance = SeededRandomness(1).uniform
    for spec in SPECS.values():
        for param in (spec.lasts, *spec.params.values()):
            assert param.refusal(param.default) is None
            assert all(param.refusal(param.draw(chance)) is None for _ in range(200))


def test_the_nth_call_of_a_kind_is_hit_and_as_many_as_were_asked_for() -> None:
    plan = FaultPlan([Fault(kind=FaultKind.ANSWER_LOST, calls="order.*", nth=2, count=2)])

    hits = [plan.on_call(each, 0) is not None for each in (asked(), asked("algo.place"), asked(), asked(), asked())]

    assert hits == [False, False, True, True, False]
    assert plan.hits() == {FaultKind.ANSWER_LOST: 2}
    assert plan.idle


def test_a_fault_waits_for_its_time_and_for_a_call_that_it_fits() -> None:
    plan = FaultPlan([Fault(kind=FaultKind.POST_ONLY_TAKES, at_ms=100, symbol="ETHUSDT")])

    assert plan.on_call(asked("order.place", Trait.POST_ONLY, symbol="ETHUSDT"), 99) is None
    assert plan.on_call(asked("order.place", symbol="ETHUSDT"), 100) is None
    assert plan.on_call(asked("order.place", Trait.POST_ONLY), 100) is None
    assert plan.on_call(asked("order.place", Trait.POST_ONLY, symbol="ETHUSDT"), 100) is not None


def test_what_reduces_risk_is_spared_where_the_exchange_only_protects_itself() -> None:
    plan = FaultPlan([Fault(kind=FaultKind.REFUSED_503, count=9)])

    assert plan.on_call(asked("order.place", Trait.REDUCES), 0) is None
    assert plan.on_call(asked("order.place"), 0) is not None


def test_a_duration_hits_every_call_while_it_lasts() -> None:
    plan = FaultPlan([Fault(kind=FaultKind.KEY_REVOKED, duration_ms=1_000)])

    assert [plan.on_call(asked("account"), at) is not None for at in (50, 60, 1_049, 1_050, 1_051)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert plan.idle


def test_one_call_is_bent_once_and_the_second_fault_waits_for_the_next() -> None:
    plan = FaultPlan([Fault(kind=FaultKind.LATE), Fault(kind=FaultKind.HTML_BODY)])

    kinds = [fault and fault.kind for fault in (plan.on_call(asked(), 0) for _ in range(3))]

    assert kinds == [FaultKind.LATE, FaultKind.HTML_BODY, None]


def test_something_that_lasts_begins_and_ends_once() -> None:
    plan = FaultPlan([Fault(kind=FaultKind.SYMBOL_HALTED, at_ms=100, duration_ms=50, symbol="BTCUSDT")])

    assert plan.turns(99) == ()
    assert plan.next_ms() == 100
    (begun,) = plan.turns(100)
    assert begun.begins
    assert plan.under_way(FaultKind.SYMBOL_HALTED, Market.FUT, "BTCUSDT") is not None
    assert plan.under_way(FaultKind.SYMBOL_HALTED, Market.FUT, "ETHUSDT") is None
    assert plan.turns(149) == ()
    assert plan.next_ms() == 150
    (ended,) = plan.turns(151)
    assert not ended.begins
    assert plan.turns(200) == ()
    assert plan.idle


def test_something_may_begin_with_the_nth_call_of_a_kind() -> None:
    plan = FaultPlan([Fault(kind=FaultKind.OUTAGE, calls="algo.place", nth=2)])

    assert plan.next_ms() is None
    assert plan.on_call(asked("algo.place"), 10) is None
    assert plan.turns(10) == ()
    assert plan.on_call(asked("algo.place"), 20) is None
    assert [turn.begins for turn in plan.turns(20)] == [True]
    assert plan.next_ms() == 20 + SPECS[FaultKind.OUTAGE].lasts.default


def test_what_is_disarmed_ends_and_what_happened_once_does_not() -> None:
    plan = FaultPlan([Fault(kind=FaultKind.CLOCK_OFFSET), Fault(kind=FaultKind.FUNDING)])
    woken: list[int] = []
    plan.changed.append(lambda: woken.append(1))
    assert [turn.fault.kind for turn in plan.turns(0)] == [FaultKind.CLOCK_OFFSET, FaultKind.FUNDING]
    assert plan.next_ms() is None

    assert plan.disarm() == 2

    assert [(turn.fault.kind, turn.begins) for turn in plan.turns(0)] == [(FaultKind.CLOCK_OFFSET, False)]
    assert woken == [1]


def test_events_are_counted_by_their_own_names() -> None:
    plan = FaultPlan([Fault(kind=FaultKind.EVENTS_LOST, calls="ORDER_TRADE_UPDATE", nth=2)])
    names = ("ACCOUNT_UPDATE", *["ORDER_TRADE_UPDATE"] * 3)

    hit = [plan.on_event(Reach.EVENTS, name, Market.FUT, "BTCUSDT", 0) is not None for name in names]

    assert hit == [False, False, True, False]
    assert plan.on_event(Reach.MARKET, "depth", Market.FUT, "BTCUSDT", 0) is None
    assert plan.on_call(asked(), 0) is None


def test_a_plan_becomes_json_and_comes_back() -> None:
    plan = FaultPlan.draw(SeededRandomness(3).uniform, from_ms=0, to_ms=3_600_000, per_hour=200)

    again = FaultPlan.from_json(plan.to_json())

    assert again.to_json() == plan.to_json()
    assert [armed.fault for armed in again.armed] == [armed.fault for armed in plan.armed]


def test_a_seed_draws_the_same_plan_again_and_only_what_was_asked_for() -> None:
    def draw(seed: int, kinds: tuple[FaultKind, ...] = DRAWN_IN_PROCESS) -> list[dict[str, Any]]:
        chance = SeededRandomness(seed).uniform
        return FaultPlan.draw(
            chance, from_ms=1_000, to_ms=3_601_000, per_hour=250, kinds=kinds, symbols=("BTCUSDT",)
        ).to_json()

    first = draw(5)

    assert first == draw(5)
    assert first != draw(6)
    assert 200 < len(first) < 300
    assert len({row["kind"] for row in first}) > 20
    assert all(1_000 <= row["at_ms"] < 3_601_000 for row in first)
    assert [row["at_ms"] for row in first] == sorted(row["at_ms"] for row in first)
    assert {row["kind"] for row in draw(5, (FaultKind.LATE,))} == {"LATE"}


@pytest.mark.parametrize(
    ("row", "field", "remedy"),
    [
        ({"kind": "EARTHQUAKE"}, "kind", "ANSWER_LOST"),
        ({}, "kind", "ANSWER_LOST"),
        ({"kind": "LATE", "nht": 3}, "nht", "nth"),
        ({"kind": "LATE", "nth": 0}, "nth", "from 1"),
        ({"kind": "LATE", "nth": "2"}, "nth", "whole number"),
        ({"kind": "LATE", "market": "OPTIONS"}, "market", "FUT"),
        ({"kind": "LATE", "symbol": 5}, "symbol", "text"),
        ({"kind": "LATE", "params": [1]}, "params", "object"),
        ({"kind": "LATE", "params": {"delay": 3}}, "params.delay", "delay_ms"),
        ({"kind": "LATE", "params": {"delay_ms": 0}}, "params.delay_ms", "from 1 to 600000"),
        ({"kind": "ANSWER_5XX", "params": {"answer": "teapot"}}, "params.answer", "503_unknown"),
    ],
)
def test_what_is_no_fault_is_named_with_its_value_and_the_remedy(row: dict[str, Any], field: str, remedy: str) -> None:
    with pytest.raises(FaultError) as refused:
        Fault.from_json(row)

    assert refused.value.field == field
    assert remedy in str(refused.value)


def test_what_is_over_is_still_read_and_costs_nothing() -> None:
    plan = FaultPlan([Fault(kind=FaultKind.ANSWER_LOST) for _ in range(1_500)])
    last = plan.armed[-1]
    for _ in range(1_500):
        assert plan.on_call(asked(), 0) is not None

    assert plan.idle
    assert plan.hits() == {FaultKind.ANSWER_LOST: 1_500}
    assert len(plan.armed) == 1_000
    assert plan.armed[-1] is last
    assert last.over
    assert plan.disarm(last.number) == 1
    assert len(plan.armed) == 999
