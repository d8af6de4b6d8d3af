"""What is done about an open trade, at one look."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Side
from chimera.domain.positions.manage import (
    PERSON,
    CancelResting,
    CloseTrade,
    Effect,
    ManageParams,
    MoveStop,
    PlaceTarget,
    ReduceAtMarket,
    ResizeStop,
    TradeView,
    manage,
)
from chimera.domain.positions.roe import price_at_roe
from chimera.domain.positions.stops import first_stop, would_trigger
from tests.domain.builders import BTC_FUT

D = Decimal
FEE = D("0.0005")
ENTRY = D(65_400)
LONG = TradeView(
    instrument=BTC_FUT,
    side=Side.BUY,
    entry_price=ENTRY,
    open_qty=D("0.006"),
    leverage=20,
    fee_ratio=FEE,
    entry_final=True,
    stop_price=D(65_200),
    stop_qty=D("0.006"),
    target_rests=True,
    first_target_price=D("65792.6"),
    orders_resting=2,
    liquidation_price=D(62_400),
)


def at(roe: str) -> D:
    return price_at_roe(side=Side.BUY, entry_price=ENTRY, leverage=20, fee_ratio=FEE, roe=D(roe))


def look(mark: D | None = ENTRY, **changes: Any) -> tuple[Effect, ...]:
    return manage(replace(LONG, **changes), mark, ManageParams())


@pytest.mark.parametrize(
    ("roe", "moved"),
    [
        pytest.param("0.0499", None, id="not yet"),
        pytest.param("0.0501", ("0", 1), id="break-even, fees included"),
        pytest.param("0.1001", ("0.05", 2), id="10 % locks 5 %"),
        pytest.param("0.2501", ("0.20", 5), id="25 % locks 20 %"),
    ],
)
def test_the_stop_moves_in_tiers(roe: str, moved: tuple[str, int] | None) -> None:
    wanted = () if moved is None else (MoveStop(BTC_FUT.ceil_price(at(moved[0])), D("0.006"), moved[1]),)

    assert look(at(roe)) == wanted


@pytest.mark.parametrize(
    ("changes", "mark", "effects"),
    [
        pytest.param({"entry_final": False, "stop_qty": D(0)}, ENTRY, (), id="the router still owns the stop"),
        pytest.param({"closed": True, "open_qty": D(0)}, ENTRY, (), id="closed is closed"),
        pytest.param({"open_qty": D(0)}, ENTRY, (CancelResting(),), id="flat: nothing may rest"),
        pytest.param({"open_qty": D(0), "orders_resting": 0}, ENTRY, (CloseTrade(),), id="flat and nothing rests"),
        pytest.param(
            {"stop_qty": D(0)}, ENTRY, (ResizeStop(D(65_200), D("0.006")),), id="a position without a stop gets one"
        ),
        pytest.param(
            {"open_qty": D("0.003")}, ENTRY, (ResizeStop(D(65_200), D("0.003")),), id="the stop shrinks with the rest"
        ),
        pytest.param({"stop_qty": D(0), "stop_pending": True}, ENTRY, (), id="a stop on its way is waited for"),
        pytest.param(
            {"stop_qty": D(0)}, D(65_100), (ReduceAtMarket(D("0.006"), "STOP_PASSED"),), id="too late for a stop"
        ),
        pytest.param(
            {},
            D(63_100),
            (ReduceAtMarket(D("0.003"), "LIQUIDATION_BUFFER"),),
            id="half is closed inside the liquidation buffer",
        ),
        pytest.param({"exit_pending": True}, D(63_100), (), id="one exit at a time"),
        pytest.param(
            {"target_rests": False},
            ENTRY,
            (PlaceTarget(1, D("65792.6"), D("0.003")),),
            id="rung 1 is placed where the router wanted it",
        ),
        pytest.param({"target_rests": False, "target_pending": True}, ENTRY, (), id="a target on its way"),
        pytest.param(
            {
                "rungs_filled": 1,
                "target_rests": False,
                "open_qty": D("0.003"),
                "stop_qty": D("0.003"),
                "tier": 2,
                "stop_price": BTC_FUT.ceil_price(at("0.05")),
            },
            at("0.12"),
            (PlaceTarget(2, BTC_FUT.ceil_price(at("0.20")), D("0.001")),),
            id="rung 2 is half of the rest, floored",
        ),
        pytest.param({"rungs_filled": 2, "target_rests": False}, ENTRY, (), id="after the last rung the rest trails"),
        pytest.param(
            {"target_rests": False, "tier": 9},
            D(65_800),
            (ReduceAtMarket(D("0.003"), "LADDER"),),
            id="a rung whose price is already there is taken",
        ),
    ],
)
def test_what_one_look_asks_for(changes: dict[str, Any], mark: D, effects: tuple[Effect, ...]) -> None:
    assert look(mark, **changes) == effects


def carried_out(view: TradeView, effects: tuple[Effect, ...]) -> TradeView:
    """The trade after the exchange has done all of it."""
    for effect in effects:
        match effect:
            case MoveStop(price, qty, tier):
                view = replace(view, stop_price=price, stop_qty=qty, tier=tier)
            case ResizeStop(price, qty):
                view = replace(view, stop_price=price, stop_qty=qty)
            case PlaceTarget():
                view = replace(view, target_rests=True)
            case ReduceAtMarket(qty, reason):
                ladder = reason == "LADDER"
                view = replace(view, open_qty=view.open_qty - qty, rungs_filled=view.rungs_filled + ladder)
            case CancelResting():
                view = replace(view, orders_resting=0)
            case CloseTrade():
                view = replace(view, closed=True)
    return view


@given(
    side=st.sampled_from(Side),
    steps=st.integers(1, 50),
    marks=st.lists(st.decimals("64000", "67000", places=1), min_size=1, max_size=15),
)
def test_doing_what_is_asked_settles_and_the_stop_never_moves_back(side: Side, steps: int, marks: list[D]) -> None:
    qty = steps * BTC_FUT.step_size
    view = replace(
        LONG,
        side=side,
        open_qty=qty,
        stop_qty=qty,
        stop_price=first_stop(BTC_FUT, side, ENTRY, D(200)),
        target_rests=False,
        first_target_price=None,
        liquidation_price=None,
    )
    for mark in marks:
        if view.stop_qty and would_trigger(side, view.stop_price, mark):
            return
        for _ in range(10):
            effects = manage(view, mark, ManageParams())
            assert effects == manage(view, mark, ManageParams())
            if not effects:
                break
            before = view
            view = carried_out(view, effects)
            assert side.sign * (view.stop_price - before.stop_price) >= 0
            assert view.open_qty >= 0
        assert manage(view, mark, ManageParams()) == (), "one look's wishes come to rest"
        if view.open_qty:
            assert view.stop_qty == view.open_qty


@pytest.mark.parametrize(
    ("changes", "effects"),
    [
        pytest.param({}, (), id="covered"),
        pytest.param({"stop_qty": D(0)}, (ResizeStop(LONG.stop_price, LONG.open_qty),), id="its stop is gone"),
        pytest.param({"stop_qty": D("0.004")}, (ResizeStop(LONG.stop_price, LONG.open_qty),), id="it covers a part"),
        pytest.param({"target_rests": False}, (), id="a target needs a price"),
        pytest.param({"leaving": True}, (ReduceAtMarket(LONG.open_qty, PERSON),), id="a person leaves"),
    ],
)
def test_without_a_price_a_stop_is_kept_as_it_was_and_nothing_else_is_done(
    changes: dict[str, Any], effects: tuple[Effect, ...]
) -> None:
    assert look(None, **changes) == effects
