"""Who says how long a maker order rests, and what bounds it."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import HealthLevel, Regime
from chimera.contracts.flags import Flags
from chimera.domain.execution.maker_wait import Market, Wait, WaitSource, maker_wait
from chimera.domain.execution.route import RouteRow, RouteTable, WaitCurve
from chimera.domain.health.restraints import restraint

D = Decimal
FLAGS = Flags().execution.routing.maker_wait
CALM = Market(notional_usdt=D(120), spread_bps=0.5, depth_top1_usdt=50_000.0, regime=Regime.NORMAL)
FILE = RouteTable((RouteRow(notional_usdt_max=D(200), maker_wait_ms=1500),))
CURVE = WaitCurve(a=100.0, b=200.0, c=0.0)


@pytest.mark.parametrize(("regime", "wait_ms"), [(Regime.FROZEN, 2_000), (Regime.NORMAL, 1_200), (Regime.EXTREME, 600)])
def test_the_base_follows_the_regime(regime: Regime, wait_ms: int) -> None:
    found = maker_wait(replace(CALM, regime=regime), FLAGS, cap_ms=3_000)

    assert found == Wait(wait_ms=wait_ms, source=WaitSource.FLAGS)


def test_a_yellow_grade_shortens_the_wait() -> None:
    yellow = restraint(HealthLevel.YELLOW, Flags().health_guard.actions)

    assert maker_wait(replace(CALM, cut_ms=yellow.maker_wait_cut_ms), FLAGS, cap_ms=3_000).wait_ms == 900


def test_the_file_stands_before_the_base_and_the_curve_before_the_file() -> None:
    storm = replace(CALM, regime=Regime.EXTREME)

    assert maker_wait(storm, FLAGS, cap_ms=3_000, file=FILE) == Wait(wait_ms=1_500, source=WaitSource.FILE)
    assert maker_wait(storm, FLAGS, cap_ms=3_000, file=FILE, curves=CURVE) == Wait(
        wait_ms=500, source=WaitSource.CURVES
    )
    assert maker_wait(storm, FLAGS, cap_ms=3_000, file=FILE, curves=CURVE, asked_ms=2_000) == Wait(
        wait_ms=2_000, source=WaitSource.ASKED
    )


def test_a_curve_that_cannot_be_worked_out_leaves_it_to_the_next() -> None:
    locked = replace(CALM, spread_bps=0.0)

    assert maker_wait(locked, FLAGS, cap_ms=3_000, curves=CURVE, file=FILE).source is WaitSource.FILE
    assert maker_wait(locked, FLAGS, cap_ms=3_000, curves=CURVE).source is WaitSource.FLAGS


@pytest.mark.parametrize("asked_ms", [None, 10_000, 10**15])
def test_nobody_exceeds_the_cap_of_the_machine(asked_ms: int | None) -> None:
    steep = WaitCurve(a=1e12, b=0.0, c=0.0)

    assert maker_wait(CALM, FLAGS, cap_ms=700, curves=steep, asked_ms=asked_ms).wait_ms == 700


@given(
    a=st.floats(-1e12, 1e12),
    b=st.floats(-1e12, 1e12),
    spread=st.floats(0.001, 100),
    cut=st.integers(0, 60_000),
    cap=st.integers(0, 60_000),
)
def test_a_wait_is_from_nothing_to_the_cap(a: float, b: float, spread: float, cut: int, cap: int) -> None:
    market = replace(CALM, spread_bps=spread, cut_ms=cut)

    found = maker_wait(market, FLAGS, cap_ms=cap, curves=WaitCurve(a=a, b=b, c=1.0))

    assert 0 <= found.wait_ms <= cap
