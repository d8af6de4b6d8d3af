"""An entry that cannot be paid for becomes smaller, never larger, and is given up in the end."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Grade
from chimera.domain.execution.downsize import Fits, GiveUp, Smaller, Want, downsized, precheck, spot_entries_stopped
from tests.domain.builders import BTC_FUT, BTC_SPOT

D = Decimal
WANT = Want(
    qty=D("0.01"), price=D(60_000), fee_ratio=D("0.001"), leverage=1, instrument=BTC_SPOT, min_slice_usdt=D(150)
)


def refused(want: Want, free_usdt: str | None, refusals: int = 1) -> Smaller | GiveUp:
    free = None if free_usdt is None else D(free_usdt)
    return downsized(want, free, refusals=refusals, tries_max=5, retry_ms=200)


def test_what_the_account_covers_is_sent_as_it_is() -> None:
    assert precheck(WANT, D("600.60")) == Fits()
    assert precheck(WANT, None) == Fits()


def test_what_it_does_not_cover_is_cut_before_the_first_try() -> None:
    # 600.59 / 60,060 is 0.009999…, on a step of 0.00001.
    found = precheck(WANT, D("600.59"))

    assert isinstance(found, Smaller)
    assert (found.qty, found.after_ms) == (D("0.00999"), 0)
    assert "600.59 USDT are free" in found.why


@pytest.mark.parametrize("free", ["150", "0", "-3"])
def test_less_than_the_least_slice_is_given_up(free: str) -> None:
    found = precheck(WANT, D(free))

    assert isinstance(found, GiveUp)
    assert found.reason.startswith("INSUFFICIENT_FUNDS")
    assert "the least order is 0.0025" in found.reason


@pytest.mark.parametrize(
    ("free", "qty"),
    [
        pytest.param("300.30", "0.005", id="as much as is there"),
        pytest.param(None, "0.005", id="half where that is not known"),
        pytest.param("9999", "0.005", id="half where it should have been enough"),
    ],
)
def test_a_refusal_makes_it_smaller(free: str | None, qty: str) -> None:
    found = refused(WANT, free)

    assert isinstance(found, Smaller)
    assert found.qty == D(qty)


def test_the_last_step_goes_down_to_the_least_slice_itself() -> None:
    assert refused(replace(WANT, qty=D("0.003")), None) == Smaller(
        D("0.00250"), 200, "what is free is not known: 0.003 becomes 0.0025"
    )
    assert isinstance(refused(replace(WANT, qty=D("0.0025")), None), GiveUp)


def test_each_wait_is_twice_the_one_before_and_the_sixth_refusal_ends_it() -> None:
    big = replace(WANT, qty=D(1))
    waits = [found.after_ms for n in range(1, 6) if isinstance(found := refused(big, None, n), Smaller)]

    assert waits == [200, 400, 800, 1_600, 3_200]
    assert isinstance(refused(big, None, 6), GiveUp)


def test_futures_pay_margin_and_try_once() -> None:
    want = Want(
        qty=D("0.010"), price=D(60_000), fee_ratio=D("0.0005"), leverage=20, instrument=BTC_FUT, min_slice_usdt=D(0)
    )

    assert precheck(want, D("30.3")) == Fits()
    first = refused(want, "15.2")
    assert isinstance(first, Smaller)
    assert first.qty == D("0.005")
    assert isinstance(refused(replace(want, qty=first.qty), "1000", 2), GiveUp)


def test_a_machine_that_allows_no_try_gives_up_at_once() -> None:
    assert isinstance(downsized(WANT, None, refusals=1, tries_max=0, retry_ms=200), GiveUp)


@given(
    steps=st.integers(1, 10**6),
    free=st.none() | st.integers(0, 10**7).map(lambda cents: D(cents) / 100),
    least=st.sampled_from(["0", "150", "1000"]),
)
def test_it_shrinks_to_what_can_be_sent_or_ends(steps: int, free: Decimal | None, least: str) -> None:
    want = replace(WANT, qty=steps * BTC_SPOT.step_size, min_slice_usdt=D(least))

    for refusals in range(1, 8):
        found = downsized(want, free, refusals=refusals, tries_max=5, retry_ms=200)
        if isinstance(found, GiveUp):
            return
        assert BTC_SPOT.qty_on_step(found.qty)
        assert want.least_qty <= found.qty < want.qty
        assert found.qty * want.price >= max(D(least), BTC_SPOT.min_notional)
        want = replace(want, qty=found.qty)
    raise AssertionError("it never ended")


@pytest.mark.parametrize(
    ("grade", "stopped"),
    [(None, False), (Grade.NO_DATA, False), (Grade.YELLOW, False), (Grade.ORANGE, True), (Grade.RED, True)],
)
def test_too_many_refusals_stop_new_spot_entries(grade: Grade | None, stopped: bool) -> None:
    assert spot_entries_stopped(grade) is stopped
