"""Each promise that is asked of a run alone: it fires where it is broken, and is silent where it is kept."""

from dataclasses import replace
from decimal import Decimal

import pytest

from chimera.contracts.collections import SIGNALS
from chimera.contracts.documents import Decision, Signal
from chimera.contracts.enums import Action, Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.state import Reservation, ReservationState
from chimera.simulation.attack.judge import merged
from chimera.simulation.checkers import past_alone, revision_current
from chimera.simulation.checkers.budget_adds_up import sums_up
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.revision_current import Switched

T0 = 1_700_000_040_000
BTC = InstrumentKey(Market.FUT, "BTCUSDT")
NOTHING = Evidence.of({}, {}, T0)
SWITCHES = [
    Switched(ts=T0 - 60_000, seq=1, revs=frozenset({1})),
    Switched(ts=T0, seq=2, revs=frozenset({2})),
]


def decided(rev: int, after_ms: int = 0, *, limit: float = 24.0, ret_1h: float = 0.01) -> Evidence:
    signal = Signal(
        signal_id="S1",
        t0=T0,
        market=BTC.market,
        symbol=BTC.symbol,
        features={"ret_1h": ret_1h},
        decision=Decision(
            action=Action.SKIP, reason="RULE", trail={"gates": [{"code": "SLIPPAGE", "value": 1.0, "limit": limit}]}
        ),
        config_rev=rev,
        updated_at=T0 + after_ms,
    )
    return replace(NOTHING, documents={**NOTHING.documents, SIGNALS.name: (signal,)})


@pytest.mark.parametrize(("rev", "after_ms", "held"), [(1, 4_000, True), (2, 4_000, True), (2, 6_000, True)])
def test_a_decision_may_carry_the_revision_before_for_five_seconds(rev: int, after_ms: int, held: bool) -> None:
    assert (revision_current.check(decided(rev, after_ms), SWITCHES) == []) is held


def test_a_decision_by_an_old_revision_is_named() -> None:
    assert revision_current.check(decided(1, 6_000), SWITCHES) == ["S1 was decided by rev 1, in force was [2]"]
    assert revision_current.check(decided(1, 6_000), SWITCHES, [(T0, T0 + 2_000)]) == [], "nobody could hear of it"


def test_a_number_that_goes_back_is_named() -> None:
    assert revision_current.check(NOTHING, SWITCHES[::-1]) == ["seq 1 came after 2"]


def test_a_decision_by_the_limits_of_another_revision_is_named() -> None:
    assert revision_current.mixed(decided(2, limit=24.0), {1: 20.0, 2: 24.0}) == []
    assert revision_current.mixed(decided(2, limit=20.0), {1: 20.0, 2: 24.0}) == [
        "S1 carries rev 2, whose slippage limit is 24.0, and was decided by one of 20.0"
    ]


def test_a_feature_of_a_bar_that_has_not_closed_is_named() -> None:
    newest = T0 // 60_000 - 1

    def closes(key: InstrumentKey, minute: int) -> set[float]:
        return {100.0} if minute < newest else {101.0} if minute == newest else {102.0}

    assert past_alone.check(decided(1, ret_1h=0.01), closes) == []
    assert past_alone.check(decided(1, ret_1h=0.0), closes) == [], "an older one is late, and no future"
    assert len(past_alone.check(decided(1, ret_1h=0.02), closes)) == 1


def test_a_sum_that_is_not_that_of_the_reservations_is_named() -> None:
    held = Reservation(intent_id="E1", key=BTC, amount_usdt=Decimal(40), state=ReservationState.OPEN, ts=T0)

    assert sums_up([held], {Market.FUT: Decimal(40), Market.SPOT: Decimal(0)}) == []
    assert sums_up([held], {Market.FUT: Decimal(0)}) == ["FUT: 0 USDT are counted as used, the reservations make 40"]


def test_times_that_overlap_count_once() -> None:
    assert merged([(5, 9), (0, 3), (2, 4), (8, 12)]) == [(0, 4), (5, 12)]
