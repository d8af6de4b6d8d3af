"""What an order is expected to cost, and what a cost curve may say."""

import math
from dataclasses import replace
from typing import Any

import pytest

from chimera.contracts.documents import CostCurve
from chimera.contracts.enums import CostCurveKind, Market, Regime
from chimera.contracts.flags import Flags
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.cost import (
    Book,
    CostCurveError,
    CostModel,
    SlippageCurve,
    by_newest,
    cost_model,
    expected,
    slippage_of,
)

FLAGS = Flags().execution.routing
FUT, SPOT = InstrumentKey(Market.FUT, "BTCUSDT"), InstrumentKey(Market.SPOT, "BTCUSDT")
BOOK = Book(notional_usdt=400.0, spread_bps=2.0, depth_top1_usdt=50_000.0, regime=Regime.NORMAL)
PLAIN = CostModel(maker_fee_bps=1.0, taker_fee_bps=5.0, p_fill=0.6, drift_bps=2.0)


def curve(kind: CostCurveKind = CostCurveKind.SLIPPAGE, version: str = "1", at: int = 1, **params: Any) -> CostCurve:
    return CostCurve(curve_id=f"{kind}-{version}", kind=kind, version=version, params=params, fitted_at=at)


def test_maker_and_taker_by_the_formulas() -> None:
    found = expected(PLAIN, BOOK)

    assert found is not None
    # Half the spread of 2 bps is the slippage: taker 5 + 1, maker 0.6 * 1 + 0.4 * (5 + 1 + 2).
    assert (found.slippage_bps, found.taker_bps) == (1.0, 6.0)
    assert found.maker_bps == pytest.approx(3.8)


def test_a_curve_stands_in_for_the_plain_estimate() -> None:
    fitted = SlippageCurve(base_bps=0.1, spread_coef=0.5, depth_coef=20.0, regime_bps={Regime.EXTREME: 3.0})

    calm = slippage_of(replace(PLAIN, curve=fitted), BOOK)
    storm = slippage_of(replace(PLAIN, curve=fitted), replace(BOOK, regime=Regime.EXTREME))

    assert calm == pytest.approx(0.1 + 1.0 + 20.0 * 400 / 50_000)
    assert storm == pytest.approx(calm + 3.0)


def test_a_curve_that_needs_what_is_not_known_leaves_it_to_the_plain_estimate() -> None:
    fitted = SlippageCurve(base_bps=7.0, volatility_coef=100.0)

    assert slippage_of(replace(PLAIN, curve=fitted), BOOK) == 1.0
    assert slippage_of(replace(PLAIN, curve=fitted), replace(BOOK, volatility=0.02)) == 9.0


@pytest.mark.parametrize(
    "unknown", [{"spread_bps": None}, {"depth_top1_usdt": None}, {"depth_top1_usdt": 0.0}, {"spread_bps": math.nan}]
)
def test_a_book_that_is_not_known_has_no_cost(unknown: dict[str, Any]) -> None:
    fitted = SlippageCurve(base_bps=7.0)
    book = replace(BOOK, **unknown)

    assert fitted.bps(book) is None
    if "spread_bps" not in unknown or unknown["spread_bps"] is None:
        assert expected(replace(PLAIN, curve=fitted), book) is None


def test_nobody_is_paid_for_taking() -> None:
    assert SlippageCurve(base_bps=-5.0).bps(BOOK) == 0.0


def test_without_curves_the_flags_tell() -> None:
    found = cost_model(FLAGS)

    assert found == CostModel(maker_fee_bps=1.0, taker_fee_bps=5.0, p_fill=0.6, drift_bps=2.0)


def test_the_accounts_own_rates_win_over_curve_and_curve_over_flags() -> None:
    fees = curve(CostCurveKind.FEES, maker_bp=2, taker_bp=4.5)

    assert cost_model(FLAGS, fees=fees).taker_fee_bps == 4.5
    own = cost_model(FLAGS, fees=fees, own_maker_bps=0.0, own_taker_bps=3.0)
    assert (own.maker_fee_bps, own.taker_fee_bps) == (0.0, 3.0)


def test_a_curve_tells_chance_drift_and_slippage() -> None:
    found = cost_model(
        FLAGS, slippage=curve(p_fill=0.8, drift_bps=1, base_bps=1, regime_bps={"FROZEN": 2}, instrument="FUT:BTCUSDT")
    )

    assert (found.p_fill, found.drift_bps) == (0.8, 1.0)
    assert found.curve == SlippageCurve(base_bps=1.0, regime_bps={Regime.FROZEN: 2.0})
    assert cost_model(FLAGS, slippage=curve(p_fill=0.8)).curve is None


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"p_fill": 1.1}, "params.p_fill"),
        ({"p_fill": "0.5"}, "params.p_fill"),
        ({"p_fill": True}, "params.p_fill"),
        ({"drift_bps": -1}, "params.drift_bps"),
        ({"base_bps": math.nan}, "params.base_bps"),
        ({"spread_coef": 1e9}, "params.spread_coef"),
        ({"regime_bps": {"CALM": 1}}, "params.regime_bps"),
        ({"regime_bps": {"FROZEN": None}}, "params.regime_bps.FROZEN"),
        ({"regime_bps": 3}, "params.regime_bps"),
    ],
)
def test_a_curve_that_cannot_be_used_is_refused_by_field(params: dict[str, Any], field: str) -> None:
    with pytest.raises(CostCurveError) as caught:
        cost_model(FLAGS, slippage=curve(**params))

    assert caught.value.field == field


def test_fees_that_cannot_be_are_refused() -> None:
    with pytest.raises(CostCurveError, match="maker_bp"):
        cost_model(FLAGS, fees=curve(CostCurveKind.FEES, maker_bp=2_000))


def test_the_newest_curve_of_the_instrument() -> None:
    all_old, all_new = curve(version="1", at=1), curve(version="2", at=9)
    mine = curve(version="3", at=5, instrument="FUT:BTCUSDT")
    other = curve(version="4", at=99, instrument="SPOT:ETHUSDT")
    fees = curve(CostCurveKind.FEES, version="5", at=100)
    curves = (all_old, all_new, mine, other, fees)

    assert by_newest(curves, CostCurveKind.SLIPPAGE, FUT) == [mine, all_new, all_old]
    assert by_newest(curves, CostCurveKind.SLIPPAGE, SPOT) == [all_new, all_old]
    assert by_newest(curves, CostCurveKind.FEES, SPOT) == [fees]
    assert by_newest((), CostCurveKind.FEES, SPOT) == []
