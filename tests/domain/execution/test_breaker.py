"""The breaker opens where the exchange fails too often, tries again, and closes; a person's word lasts."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chimera.contracts.enums import BreakerState
from chimera.domain.execution.breaker import BUCKETS, Breaker, Policy, Standing, Tally

CLOSED, OPEN, HALF = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF
T0 = 1_700_000_000_000
OPEN_MS = 300_000


def breaker() -> Breaker:
    return Breaker(Policy())


def calls(of: Breaker, outcomes: Sequence[bool], at_ms: int = T0) -> None:
    for failed in outcomes:
        of.end(at_ms, of.begin(at_ms), failed=failed)


def opened() -> Breaker:
    found = breaker()
    calls(found, [True] * 10)
    assert found.standing.state is OPEN
    return found


@pytest.mark.parametrize(
    ("good", "bad", "state"),
    [
        pytest.param(8, 2, CLOSED, id="a fifth is not above a fifth"),
        pytest.param(7, 3, OPEN, id="three of ten are"),
        pytest.param(0, 9, CLOSED, id="nine calls are too few"),
        pytest.param(0, 10, OPEN, id="ten are enough"),
        pytest.param(400, 100, CLOSED, id="a hundred of five hundred"),
    ],
)
def test_it_opens_above_the_share_of_enough_calls(good: int, bad: int, state: BreakerState) -> None:
    found = breaker()

    calls(found, [False] * good + [True] * bad)

    assert found.standing.state is state
    assert found.forbids(T0) is (state is OPEN)


def test_errors_older_than_the_window_count_no_more() -> None:
    found = breaker()
    calls(found, [True] * 9)
    calls(found, [True], T0 + 60_000)

    assert found.standing.state is CLOSED
    assert found.tally(T0 + 60_000) == Tally(calls=1, errors=1)
    assert found.tally(T0 + 200_000) == Tally()


def test_errors_within_the_window_count_together() -> None:
    found = breaker()
    calls(found, [True] * 9)
    calls(found, [True], T0 + 58_000)

    assert found.standing.state is OPEN
    assert found.standing.reason == "10 of 10 calls failed"


def test_it_is_open_for_its_time_and_then_half() -> None:
    found = opened()

    assert found.next_ms() == T0 + OPEN_MS
    assert found.forbids(T0 + OPEN_MS - 1)
    assert not found.forbids(T0 + OPEN_MS)
    assert found.standing.state is HALF
    assert found.next_ms() is None


def test_three_good_calls_close_it_and_what_was_is_forgotten() -> None:
    found = opened()
    calls(found, [False] * 3, T0 + OPEN_MS)

    assert found.standing == Standing()
    calls(found, [True] * 9, T0 + OPEN_MS)
    assert found.standing.state is CLOSED


def test_one_bad_call_at_half_opens_it_again_for_the_whole_time() -> None:
    found = opened()
    calls(found, [False, False, True], T0 + OPEN_MS)

    assert (found.standing.state, found.standing.opened_at_ms) == (OPEN, T0 + OPEN_MS)
    assert found.forbids(T0 + 2 * OPEN_MS - 1)


def test_at_half_no_more_calls_are_let_through_than_it_takes() -> None:
    found = opened()
    tokens = [found.begin(T0 + OPEN_MS) for _ in range(2)]

    assert not found.forbids(T0 + OPEN_MS)
    tokens.append(found.begin(T0 + OPEN_MS))
    assert found.forbids(T0 + OPEN_MS)
    found.end(T0 + OPEN_MS, tokens[0], failed=None)
    assert not found.forbids(T0 + OPEN_MS)


def test_a_call_begun_before_half_proves_nothing_about_it() -> None:
    found = breaker()
    early = found.begin(T0)
    calls(found, [True] * 10)
    found.forbids(T0 + OPEN_MS)

    found.end(T0 + OPEN_MS, early, failed=True)

    assert found.standing.state is HALF
    assert not found.forbids(T0 + OPEN_MS)


def test_what_we_gave_up_ourselves_is_not_counted() -> None:
    found = breaker()
    for _ in range(20):
        found.end(T0, found.begin(T0), failed=None)

    assert found.tally(T0) == Tally()


def test_refusals_fail_a_submission_but_not_the_exchange() -> None:
    found = breaker()
    for _ in range(20):
        found.end(T0, found.begin(T0), failed=False, submit=True, refused=True)
    found.end(T0, found.begin(T0), failed=True, submit=True)
    found.end(T0, found.begin(T0), failed=False)

    assert found.standing.state is CLOSED
    assert found.tally(T0) == Tally(calls=22, errors=1, submits=21, submit_errors=21)
    assert found.tally(T0).submit_error_ratio == 1.0


def test_what_a_person_opened_stays_open_until_a_person_closes_it() -> None:
    found = breaker()
    found.open_by_hand(T0, "anna", "the exchange announced maintenance")

    calls(found, [False] * 20, T0 + 2 * OPEN_MS)
    assert found.forbids(T0 + 10 * OPEN_MS)
    assert (found.standing.by, found.standing.by_hand, found.next_ms()) == ("anna", True, None)

    found.close_by_hand()
    assert not found.forbids(T0)


def test_a_person_closes_what_errors_opened() -> None:
    found = opened()
    found.close_by_hand()

    assert not found.forbids(T0)
    assert found.tally(T0) == Tally()


@pytest.mark.parametrize("state", [OPEN, HALF])
def test_a_restart_forgets_nothing_but_the_counts(state: BreakerState) -> None:
    before = opened()
    if state is HALF:
        before.advance(T0 + OPEN_MS)
    after = breaker()

    after.restore(before.standing)

    assert after.standing == before.standing
    assert after.forbids(T0 + OPEN_MS - 1) is (state is OPEN)
    calls(after, [False] * 3, T0 + OPEN_MS)
    assert after.standing.state is CLOSED


@given(st.lists(st.integers(0, 10_000), max_size=300), st.integers(1_000, 3_600_000))
def test_memory_does_not_grow_with_the_calls(gaps: list[int], window_ms: int) -> None:
    found, at_ms = Breaker(Policy(window_ms=window_ms)), T0
    for gap in gaps:
        at_ms += gap
        calls(found, [False], at_ms)

    assert len(found._buckets) <= BUCKETS
    width = window_ms // BUCKETS
    moments = [T0 + sum(gaps[: i + 1]) for i in range(len(gaps))]
    assert found.tally(at_ms).calls == sum(at // width > at_ms // width - BUCKETS for at in moments)


class AnyOrder(RuleBasedStateMachine):
    """Whatever is called in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.at_ms = T0
        self.breaker = breaker()
        self.tokens: list[int] = []

    @rule(ms=st.integers(0, 400_000))
    def time_passes(self, ms: int) -> None:
        self.at_ms += ms

    @rule()
    def begins(self) -> None:
        self.tokens.append(self.breaker.begin(self.at_ms))

    @rule(failed=st.sampled_from([True, False, None]))
    def ends(self, failed: bool | None) -> None:
        if self.tokens:
            self.breaker.end(self.at_ms, self.tokens.pop(0), failed=failed)

    @rule(failed=st.booleans())
    def many(self, failed: bool) -> None:
        calls(self.breaker, [failed] * 12, self.at_ms)

    @rule()
    def by_hand(self) -> None:
        self.breaker.open_by_hand(self.at_ms, "anna", "why")

    @rule()
    def closed(self) -> None:
        self.breaker.close_by_hand()

    @invariant()
    def stands(self) -> None:
        of = self.breaker
        assert 0 <= of._probing <= len(self.tokens)
        assert 0 <= of._good < of.policy.probes
        assert (of.standing.state is CLOSED) == (of.standing.opened_at_ms is None)
        assert of.forbids(self.at_ms) or of.standing.state is not OPEN
        if of.standing.by_hand:
            assert of.standing.state is OPEN


TestAnyOrder = AnyOrder.TestCase
