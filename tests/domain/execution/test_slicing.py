"""Slices sum up to their parent, lie on the step, and none is too small to be sent."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Grade, Market, SliceShape
from chimera.contracts.flags import Flags, TwapFlags
from chimera.contracts.messages.orders import Twap
from chimera.domain.execution.route import SLICES_MAX, RouteRow, RouteTable, WaitCurve
from chimera.domain.execution.slicing import (
    Fineness,
    Parts,
    cut,
    due_offsets_ms,
    fineness_of,
    how_many,
    misasked,
    parts_for,
    slices_for,
)
from tests.domain.builders import BTC_FUT, BTC_SPOT

D = Decimal
FLAGS = Flags().execution.routing.twap
TABLE = RouteTable(
    (
        RouteRow(notional_usdt_max=D(200), maker_wait_ms=1500, slices=1, gap_ms=0),
        RouteRow(notional_usdt_max=D(500), maker_wait_ms=2000, slices=2, gap_ms=700),
    )
)


def parts(slices: int = 4, min_slice_usdt: str = "0", shape: SliceShape = SliceShape.EQUAL) -> Parts:
    return Parts(slices=slices, min_slice_usdt=D(min_slice_usdt), gap_ms=600, jitter_ms=120, shape=shape)


@pytest.mark.parametrize(
    ("slippage_bps", "slip_bp_max", "wanted"),
    [(8.0, 8.0, 1), (8.1, 8.0, 2), (16.0, 8.0, 2), (24.0, 8.0, 3), (0.5, 0.0, SLICES_MAX), (0.0, 0.0, 1)],
)
def test_so_many_slices_that_one_stays_within_the_limit(slippage_bps: float, slip_bp_max: float, wanted: int) -> None:
    assert slices_for(slippage_bps, slip_bp_max) == wanted


@pytest.mark.parametrize(
    ("notional", "wanted"),
    [
        pytest.param("300", 1, id="the upper bound belongs to its bucket"),
        pytest.param("300.01", 2, id="the next bucket wants 3 of at least 150, and there are only two such"),
        pytest.param("1500", 3, id="the end of the second"),
        pytest.param("1501", 5, id="the third"),
        pytest.param("20000", 8, id="the end of the last"),
        pytest.param("1000000", 8, id="above the last its slices hold"),
        pytest.param("0", 1, id="nothing is one slice"),
    ],
)
def test_slices_by_the_buckets_of_the_first_bundle(notional: str, wanted: int) -> None:
    assert how_many(parts_for(D(notional), FLAGS), D(notional), 8) == wanted


def test_the_machines_cap_bounds_what_bundle_and_caller_want() -> None:
    asked = Twap(enabled=True, slices=50)

    assert how_many(parts_for(D(20_000), FLAGS), D(20_000), 4) == 4
    assert how_many(parts_for(D(20_000), FLAGS, asked=asked), D(20_000), 4) == 4


@pytest.mark.parametrize(
    ("notional", "asked", "wanted"),
    [
        pytest.param("250", Twap(enabled=True, slices=2), 2, id="more than the bucket"),
        pytest.param("2000", Twap(enabled=True, slices=2), 5, id="no fewer than the bucket"),
        pytest.param("2000", Twap(enabled=True), 5, id="no number asked"),
        pytest.param("2000", Twap(enabled=False, slices=3), 1, id="turned off"),
        pytest.param("2000", Twap(enabled=True, slices=8, min_slice_usdt=D(500)), 4, id="an own least slice"),
    ],
)
def test_what_was_asked_for(notional: str, asked: Twap, wanted: int) -> None:
    assert how_many(parts_for(D(notional), FLAGS, asked=asked), D(notional), 8) == wanted


@pytest.mark.parametrize(
    ("notional", "slices", "gap_ms"),
    [pytest.param("200", 1, 0, id="first row"), pytest.param("201", 2, 700, id="second"), ("9000", 2, 700)],
)
def test_a_row_of_the_route_table_stands_before_the_bucket(notional: str, slices: int, gap_ms: int) -> None:
    found = parts_for(D(notional), FLAGS, route=TABLE)

    assert (found.slices, found.gap_ms) == (slices, gap_ms)
    assert found.jitter_ms == gap_ms // 5


def test_a_curve_or_a_row_that_is_silent_leaves_the_slices_to_the_bucket() -> None:
    silent = RouteTable((RouteRow(notional_usdt_max=D(10), maker_wait_ms=5),))

    assert parts_for(D(2_000), FLAGS, route=silent) == parts_for(D(2_000), FLAGS)
    assert parts_for(D(2_000), FLAGS, route=WaitCurve(a=1, b=1, c=1)) == parts_for(D(2_000), FLAGS)


def test_health_makes_slices_finer_whatever_else_was_said() -> None:
    assert parts_for(D(400), FLAGS, fineness=Fineness.FINER).slices == 6
    assert how_many(parts_for(D(20_000), FLAGS, fineness=Fineness.FINEST), D(20_000), 20) == 20
    assert how_many(parts_for(D(2_000), FLAGS, fineness=Fineness.FINEST), D(2_000), 20) == 6  # of at least 300
    off = Twap(enabled=False)
    assert parts_for(D(20_000), FLAGS, asked=off, fineness=Fineness.FINEST).slices == SLICES_MAX


def test_gap_and_jitter_that_were_asked_for() -> None:
    asked = parts_for(D(400), FLAGS, asked=Twap(enabled=True, slices=2, gap_ms=1_000, jitter_ms=7))

    assert (asked.gap_ms, asked.jitter_ms) == (1_000, 7)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (Twap(enabled=True, slices=0), "slices"),
        (Twap(enabled=True, slices=101), "slices"),
        (Twap(enabled=True, gap_ms=-1), "gap_ms"),
        (Twap(enabled=True, gap_ms=10**12), "gap_ms"),
        (Twap(enabled=True, jitter_ms=-5), "jitter_ms"),
        (Twap(enabled=True, min_slice_usdt=D(-1)), "min_slice_usdt"),
    ],
)
def test_what_cannot_be_asked_for_is_named(asked: Twap, field: str) -> None:
    found = misasked(asked)

    assert found is not None
    assert found[0] == f"exec_policy.twap.{field}"
    assert misasked(Twap(enabled=True, slices=100, gap_ms=0, jitter_ms=0, min_slice_usdt=D(0))) is None
    assert misasked(None) is None


@pytest.mark.parametrize(
    ("qty", "slices", "wanted"),
    [
        pytest.param("0.010", 4, ["0.002", "0.002", "0.002", "0.004"], id="the rest on the last"),
        pytest.param("0.008", 4, ["0.002", "0.002", "0.002", "0.002"], id="no rest"),
        pytest.param("0.003", 4, ["0.001", "0.001", "0.001"], id="fewer where one would be nothing"),
        pytest.param("0.001", 4, ["0.001"], id="one step stays whole"),
    ],
)
def test_equal_slices(qty: str, slices: int, wanted: list[str]) -> None:
    assert cut(D(qty), D(60_000), BTC_FUT, parts(slices), 8) == tuple(map(D, wanted))


def test_slices_that_grow_with_the_root_of_their_number() -> None:
    # 1 : 1.414 : 1.732 : 2 of 6.146.
    found = cut(D("0.100"), D(60_000), BTC_FUT, parts(4, shape=SliceShape.SQRT), 8)

    assert found == (D("0.016"), D("0.023"), D("0.028"), D("0.033"))


def test_fewer_slices_where_one_would_be_below_min_notional() -> None:
    # 50 USDT are wanted at least, 3 steps of 40 USDT are 120.
    assert cut(D("0.003"), D(40_000), BTC_FUT, parts(3), 8) == (D("0.003"),)
    assert cut(D("0.004"), D(40_000), BTC_FUT, parts(3), 8) == (D("0.002"), D("0.002"))


def test_what_is_too_small_by_itself_or_has_no_price_stays_whole() -> None:
    assert cut(D("0.001"), D(100), BTC_FUT, parts(3), 8) == (D("0.001"),)
    assert cut(D("0.100"), D(0), BTC_FUT, parts(3), 8) == (D("0.100"),)


QTYS = st.integers(1, 10**7).map(lambda steps: steps * BTC_SPOT.step_size)
PRICES = st.integers(1, 10**7).map(lambda cents: D(cents) / 100)
CUTS = st.tuples(st.integers(1, 100), st.sampled_from(SliceShape), st.sampled_from(["0", "5", "150"]))


@given(qty=QTYS, price=PRICES, how=CUTS, slices_max=st.integers(1, 100))
def test_the_slices_are_exactly_their_parent(
    qty: Decimal, price: Decimal, how: tuple[int, SliceShape, str], slices_max: int
) -> None:
    slices, shape, least = how

    found = cut(qty, price, BTC_SPOT, parts(slices, least, shape), slices_max)

    assert sum(found) == qty
    assert 1 <= len(found) <= min(slices, slices_max)
    assert all(BTC_SPOT.qty_on_step(each) for each in found)
    assert all(before <= after for before, after in pairwise(found))
    if len(found) > 1:
        assert all(each >= BTC_SPOT.min_qty and each * price >= BTC_SPOT.min_notional for each in found)
        assert qty * price / len(found) >= D(least)
    if shape is SliceShape.EQUAL and len(found) > 1:
        assert len(set(found[:-1])) == 1
        assert found[-1] - found[0] < len(found) * BTC_SPOT.step_size


@given(qty=QTYS, how=CUTS)
def test_growing_slices_grow_as_the_root_does(qty: Decimal, how: tuple[int, SliceShape, str]) -> None:
    found = cut(qty, D(60_000), BTC_SPOT, parts(how[0], shape=SliceShape.SQRT), 100)
    whole = sum(D(number).sqrt() for number in range(1, len(found) + 1))

    for number, each in enumerate(found[:-1], start=1):
        assert abs(each - qty * D(number).sqrt() / whole) < BTC_SPOT.step_size


def test_slices_are_due_one_gap_after_the_other_and_the_first_at_once() -> None:
    assert due_offsets_ms(1, parts(), ()) == (0,)
    assert due_offsets_ms(3, parts(), (0.5, 0.5)) == (0, 600, 1_200)
    assert due_offsets_ms(3, parts(), (0.0, 0.75)) == (0, 480, 1_140)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=9), st.integers(0, 2_000), st.integers(0, 2_000))
def test_each_gap_is_moved_by_the_jitter_at_most(chances: list[float], gap_ms: int, jitter_ms: int) -> None:
    rule = Parts(slices=10, min_slice_usdt=D(0), gap_ms=gap_ms, jitter_ms=jitter_ms, shape=SliceShape.EQUAL)

    offsets = due_offsets_ms(10, rule, chances)

    assert offsets[0] == 0
    gaps = [after - before for before, after in pairwise(offsets)]
    assert all(max(0, gap_ms - jitter_ms) <= gap <= gap_ms + jitter_ms for gap in gaps)


def test_too_few_chances_are_a_bug() -> None:
    with pytest.raises(ValueError, match="3 slices have 2 gaps, and 1 chances"):
        due_offsets_ms(3, parts(), (0.5,))


def test_a_bundle_without_buckets_does_not_slice() -> None:
    assert parts_for(D(9_000), TwapFlags(buckets=())).slices == 1


@pytest.mark.parametrize(
    ("grades", "market", "conservative", "wanted"),
    [
        ({}, Market.FUT, False, Fineness.USUAL),
        ({"ib_rate": Grade.YELLOW, "maker_fill_ratio": Grade.YELLOW}, Market.SPOT, False, Fineness.USUAL),
        ({"router_e2e_latency_p95": Grade.YELLOW}, Market.FUT, False, Fineness.FINER),
        ({"maker_fill_ratio": Grade.ORANGE}, Market.FUT, False, Fineness.FINER),
        ({}, Market.FUT, True, Fineness.FINER),
        ({"ib_rate": Grade.ORANGE}, Market.SPOT, True, Fineness.FINEST),
        ({"ib_rate": Grade.RED}, Market.FUT, False, Fineness.USUAL),
        ({"model_auc": Grade.RED, "brier": Grade.NO_DATA}, Market.FUT, False, Fineness.USUAL),
    ],
)
def test_which_grade_asks_for_finer_slices(
    grades: dict[str, Grade], market: Market, conservative: bool, wanted: Fineness
) -> None:
    assert fineness_of(grades, market, conservative=conservative) is wanted
