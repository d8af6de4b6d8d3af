"""Size, stop and target: what is planned is what the exchange allows, and never loses or risks more than was meant."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Reason, Side
from chimera.domain.decision.sizing import Ask, Plan, Refusal, SizingParams, size
from chimera.domain.positions.liquidation import liquidation_price
from tests.domain.builders import BTC_FUT, BTC_SPOT

D = Decimal
FEE = D("0.0005")


def ask(**changes: Any) -> Ask:
    base = Ask(
        instrument=BTC_FUT,
        side=Side.BUY,
        entry_price=D(65_400),
        spread=D("0.1"),
        atr=350.0,
        size_mult=1.0,
        tp_mult=1.0,
        sl_mult=1.0,
        free_budget_usdt=D(600),
        taker_fee_ratio=FEE,
    )
    return replace(base, **changes)


def plan(**changes: Any) -> Plan:
    found = size(ask(**changes), SizingParams())
    assert isinstance(found, Plan), found
    return found


def refused(params: SizingParams | None = None, **changes: Any) -> tuple[Reason, str]:
    found = size(ask(**changes), params or SizingParams())
    assert isinstance(found, Refusal), found
    return found.reason, found.detail


def test_a_plain_long() -> None:
    found = plan()

    # 400 USDT / 65,400 = 0.00612: six steps; the loss cap of 1.2 USDT is nearer than 1.5 ATR.
    assert found.qty == D("0.006")
    assert (found.leverage, found.margin_usdt, found.reserve_usdt) == (20, D("19.62"), D("19.8162"))
    assert (found.stop_distance, found.stop_price) == (D(200), D(65_200))
    assert found.first_loss_usdt == D("1.2")
    # (1.962 + 0.006*65400*1.0005) / (0.006*0.9995) = 65792.596…
    assert (found.tp_price, found.target_ratio) == (D("65792.6"), D("0.10"))


def test_a_plain_short_mirrors_it() -> None:
    found = plan(side=Side.SELL)

    # (0.006*65400*0.9995 - 1.962) / (0.006*1.0005) = 65007.796…
    assert (found.stop_price, found.tp_price) == (D(65_600), D("65007.7"))


@pytest.mark.parametrize(
    ("changes", "distance"),
    [
        pytest.param({"atr": 100.0}, "150", id="1.5 ATR when it is nearer than the loss budget"),
        pytest.param({"atr": 100.0, "sl_mult": 0.8}, "120", id="rules move the ATR distance"),
        pytest.param({"atr": 350.0}, "200", id="the loss budget in a storm"),
        pytest.param({"atr": 350.0, "size_mult": 1.2}, "171.42857142", id="a larger size has no larger budget"),
        pytest.param({"atr": 350.0, "size_mult": 0.5}, "200", id="half the size, half the budget"),
    ],
)
def test_the_stop_is_the_nearer_of_atr_and_loss_budget(changes: dict[str, Any], distance: str) -> None:
    assert plan(**changes).stop_distance == D(distance)


@pytest.mark.parametrize(
    ("changes", "qty"),
    [
        pytest.param({"entry_price": D(61_600)}, "0.006", id="nearest step, rounded down"),
        pytest.param({"entry_price": D(61_400), "free_budget_usdt": D(600)}, "0.006", id="1.075 of plan: a step down"),
        pytest.param({"entry_price": D(58_000)}, "0.007", id="within 1.05 of plan it may round up"),
        pytest.param({"free_budget_usdt": D(17)}, "0.005", id="the free budget takes a step"),
    ],
)
def test_the_size_is_the_nearest_step_that_plan_and_budget_allow(changes: dict[str, Any], qty: str) -> None:
    assert plan(**changes).qty == D(qty)


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        pytest.param({"free_budget_usdt": D(10)}, Reason.RISK_BUDGET, "BUDGET", id="one step down is not enough"),
        pytest.param({"size_mult": 0.05}, Reason.RISK_BUDGET, "MIN_NOTIONAL", id="no whole step"),
        pytest.param(
            {"instrument": replace(BTC_FUT, min_notional=D(500))}, Reason.RISK_BUDGET, "MIN_NOTIONAL", id="too small"
        ),
        pytest.param(
            {"instrument": replace(BTC_FUT, min_qty=D("0.1"))}, Reason.RISK_BUDGET, "MIN_NOTIONAL", id="below min_qty"
        ),
        pytest.param({"atr": 0.1}, Reason.GATE, "STOP_TOO_CLOSE", id="stop nearer than two ticks"),
        pytest.param({"atr": 10.0, "spread": D(20)}, Reason.GATE, "STOP_TOO_CLOSE", id="stop inside the spread"),
        pytest.param({"atr": -5.0}, Reason.GATE, "STOP_TOO_CLOSE", id="an ATR that cannot be"),
    ],
)
def test_what_cannot_be_traded_is_refused_with_its_reason(changes: dict[str, Any], reason: Reason, detail: str) -> None:
    assert refused(**changes) == (reason, detail)


def test_a_stop_too_near_liquidation_is_refused() -> None:
    loose = SizingParams(max_loss_usdt=D(20))

    # At 20x liquidation stands 4.6 % away; three quarters of that is about 2,265.
    assert isinstance(size(ask(atr=1_500.0), loose), Plan)
    assert refused(loose, atr=1_520.0) == (Reason.GATE, "STOP_BEYOND_LIQUIDATION")


def test_leverage_is_what_the_bracket_allows() -> None:
    large = SizingParams(margin_base_usdt=D(4_000), max_loss_usdt=D(100))

    found = size(ask(free_budget_usdt=D(10_000)), large)

    assert isinstance(found, Plan)
    assert found.leverage == 10


def test_a_target_multiplier_moves_the_target_but_never_below_the_least_profit() -> None:
    assert plan(tp_mult=1.5).target_ratio == D("0.15")
    assert plan(tp_mult=0.5).target_ratio == D("0.10")


sides = st.sampled_from(Side)


@given(
    side=sides,
    entry=st.decimals("20000", "120000", places=1),
    atr=st.floats(1.0, 5_000.0),
    size_mult=st.floats(0.1, 1.2),
    tp_mult=st.floats(0.5, 1.5),
    sl_mult=st.floats(0.8, 2.5),
    free=st.decimals("1", "600", places=2),
)
def test_every_plan_keeps_every_promise(
    side: Side, entry: D, atr: float, size_mult: float, tp_mult: float, sl_mult: float, free: D
) -> None:
    params = SizingParams()
    found = size(
        ask(
            side=side,
            entry_price=entry,
            atr=atr,
            size_mult=size_mult,
            tp_mult=tp_mult,
            sl_mult=sl_mult,
            free_budget_usdt=free,
        ),
        params,
    )
    if isinstance(found, Refusal):
        return
    qty, margin = found.qty, found.qty * entry / found.leverage
    assert BTC_FUT.qty_on_step(qty)
    assert qty * entry >= BTC_FUT.min_notional
    assert found.reserve_usdt <= free
    assert margin <= params.margin_over_plan_max * params.margin_base_usdt * D(str(size_mult)) + D("1e-9")
    loss = side.sign * (entry - found.stop_price) * qty
    assert 0 < loss <= params.max_loss_usdt
    assert BTC_FUT.price_on_tick(found.stop_price)
    assert BTC_FUT.price_on_tick(found.tp_price)
    net = side.sign * (found.tp_price - entry) * qty - FEE * qty * (entry + found.tp_price)
    assert net >= params.min_exit_net_pct * margin
    liquidation = liquidation_price(
        side=side, qty=qty, entry_price=entry, wallet_usdt=margin, maint_margin_ratio=D("0.004"), cum=D(0)
    )
    assert side.sign * (found.stop_price - liquidation) >= 0


def spot(**changes: Any) -> Plan | Refusal:
    params = changes.pop("params", SizingParams())
    return size(ask(instrument=BTC_SPOT, taker_fee_ratio=D("0.001"), free_budget_usdt=D(2_000), **changes), params)


def test_a_spot_buy_is_its_quote_floored_to_step() -> None:
    found = spot()

    assert isinstance(found, Plan)
    assert (found.qty, found.leverage) == (D("0.00076"), 1)
    assert found.margin_usdt == D("49.704")
    assert found.reserve_usdt == D("49.753704")
    # 1.5 ATR is nearer than 1.2 USDT on so small a quantity.
    assert (found.stop_distance, found.stop_price) == (D(525), D(64_875))
    net = found.qty * (found.tp_price * D("0.999") - D(65_400) * D("1.001"))
    assert D("0.5") <= net < D("0.5") + found.qty * D("0.01")


def test_a_fixed_spot_distance_wins_over_atr_and_net_target() -> None:
    found = spot(params=SizingParams(spot_tp_bps=D(200), spot_sl_bps=D(100)))

    assert isinstance(found, Plan)
    assert (found.tp_price, found.stop_price) == (D(66_708), D(64_746))


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        pytest.param({"size_mult": 0.05}, "MIN_NOTIONAL", id="too small"),
        pytest.param({"free_budget_usdt": D(10)}, "BUDGET", id="no budget"),
    ],
)
def test_a_spot_buy_that_cannot_be_is_refused(changes: dict[str, Any], detail: str) -> None:
    found = size(replace(ask(instrument=BTC_SPOT), **changes), SizingParams())

    assert found == Refusal(Reason.RISK_BUDGET, detail)
