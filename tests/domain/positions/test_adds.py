"""How much a winner grows, and where stop and target of the whole belong."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Side
from chimera.domain.positions.adds import (
    Addition,
    AddParams,
    Growing,
    add_for,
    exposure,
    net_delta,
    stop_of_whole,
    target_of_whole,
    tighter,
    within_hedge,
)
from chimera.domain.positions.manage import (
    AddToPosition,
    CancelTarget,
    Effect,
    ManageParams,
    ReduceAtMarket,
    ResizeStop,
    TakeBackEntry,
    TradeView,
    manage,
)
from chimera.domain.positions.roe import price_at_roe, roe
from chimera.domain.positions.stops import is_tighter
from tests.domain.builders import BTC_FUT

D = Decimal
FEE = D("0.0005")
ENTRY = D(65_400)
VIEW = TradeView(
    instrument=BTC_FUT,
    side=Side.BUY,
    entry_price=ENTRY,
    open_qty=D("0.006"),
    leverage=20,
    fee_ratio=FEE,
    entry_final=True,
    tier=1,
    stop_price=D("65465.5"),
    stop_qty=D("0.006"),
    target_rests=True,
    orders_resting=2,
    liquidation_price=D(62_400),
    first_qty=D("0.006"),
    first_loss_usdt=D("1.2"),
    adds_max=1,
)
WINS = price_at_roe(side=Side.BUY, entry_price=ENTRY, leverage=20, fee_ratio=FEE, roe=D("0.0501"))


def look(mark: D = WINS, **changes: Any) -> tuple[Effect, ...]:
    return manage(replace(VIEW, **changes), mark, ManageParams())


def test_a_winner_grows_by_half_of_its_first_size() -> None:
    (effect,) = look()

    assert effect == AddToPosition(D("0.003"), D("65465.5"))


@pytest.mark.parametrize(("most", "added"), [("0.008", "0.002"), ("0.006", None)])
def test_a_position_grows_no_larger_than_one_stop_at_market_can_cover(most: str, added: str | None) -> None:
    grown = look(instrument=replace(BTC_FUT, market_max_qty=D(most), min_notional=D(5)))

    assert [effect.qty for effect in grown if isinstance(effect, AddToPosition)] == (
        [] if added is None else [D(added)]
    )


@pytest.mark.parametrize(
    ("mark", "changes"),
    [
        pytest.param(D("65600"), {}, id="it has not earned enough"),
        pytest.param(WINS, {"adds_done": 1}, id="it has grown before"),
        pytest.param(WINS, {"adds_max": 0}, id="no rule allows it"),
        pytest.param(WINS, {"rungs_filled": 1}, id="it has begun to pay out"),
        pytest.param(WINS, {"first_loss_usdt": None}, id="nobody said how much may be lost"),
        pytest.param(WINS, {"stop_pending": True}, id="its stop is under way"),
        pytest.param(WINS, {"add_pending": True, "to_cover_qty": D("0.006")}, id="it is growing"),
        pytest.param(WINS, {"exit_pending": True}, id="it is shrinking"),
    ],
)
def test_nothing_else_grows(mark: D, changes: dict[str, Any]) -> None:
    assert not any(isinstance(effect, AddToPosition) for effect in look(mark, **changes))


def test_a_position_whose_stop_is_not_whole_is_covered_first() -> None:
    (effect,) = look(stop_qty=D("0.005"))

    assert effect == ResizeStop(D("65465.5"), D("0.006"))


def test_after_an_add_the_whole_may_lose_what_the_first_entry_might() -> None:
    # The first lost 1.2 at 200 below; the whole of 0.009 at 65500 loses that 133.4 below, floored towards profit.
    (effect,) = look(
        D(65_500),
        entry_price=D(65_500),
        open_qty=D("0.009"),
        stop_price=D(65_200),
        stop_qty=D("0.006"),
        tier=0,
        adds_done=1,
    )

    assert effect == ResizeStop(D("65366.7"), D("0.009"))


def test_an_add_never_loosens_the_stop() -> None:
    (effect,) = look(entry_price=D(65_500), open_qty=D("0.009"), stop_qty=D("0.006"), tier=0, adds_done=1)

    assert effect == ResizeStop(D("65465.5"), D("0.009"))


def test_a_whole_that_has_lost_what_it_may_is_left_at_once() -> None:
    effects = look(
        D(65_300),
        entry_price=D(65_500),
        open_qty=D("0.009"),
        stop_price=D(65_200),
        stop_qty=D("0.009"),
        tier=0,
        adds_done=1,
    )

    assert effects[0] == ReduceAtMarket(D("0.009"), "STOP_PASSED")


def test_a_person_who_put_the_stop_since_is_not_overruled() -> None:
    changes = {"entry_price": D(65_500), "open_qty": D("0.009"), "stop_price": D(65_200), "stop_qty": D("0.009")}

    assert look(D(65_400), **changes, tier=0, adds_done=1, loss_freed=True) == ()


def test_while_it_grows_only_what_was_there_before_is_covered_here() -> None:
    growing = {"open_qty": D("0.008"), "add_pending": True, "to_cover_qty": D("0.006")}

    assert look(**growing, stop_qty=D("0.006")) == ()
    assert look(**growing, stop_qty=D("0.004")) == (ResizeStop(D("65465.5"), D("0.006")),)


@pytest.mark.parametrize(
    "changes", [pytest.param({"open_qty": D(0)}, id="flat"), pytest.param({"leaving": True}, id="a person leaves")]
)
def test_what_is_to_end_is_not_bought_any_more(changes: dict[str, Any]) -> None:
    assert look(**changes, add_pending=True) == (TakeBackEntry(),)


def test_a_target_that_was_made_for_less_goes_before_the_whole_gets_one() -> None:
    changes = {"open_qty": D("0.009"), "stop_qty": D("0.009"), "adds_done": 1}

    assert look(**changes, target_stale=True) == (CancelTarget(),)


@pytest.mark.parametrize(
    ("first_qty", "expected"),
    [
        pytest.param("0.0010", None, id="half is less than a step"),
        pytest.param("0.003", Addition(D("0.001"), D("65465.5")), id="floored to the step"),
    ],
)
def test_an_add_is_on_the_step_and_worth_the_exchanges_minimum(first_qty: str, expected: Addition | None) -> None:
    growing = Growing(
        instrument=BTC_FUT,
        side=Side.BUY,
        entry_price=ENTRY,
        open_qty=D(first_qty),
        first_qty=D(first_qty),
        first_loss_usdt=D("1.2"),
        stop_price=D("65465.5"),
    )

    assert add_for(growing, WINS, AddParams()) == expected


sides = st.sampled_from(list(Side))
prices = st.integers(20_000, 120_000).map(lambda ticks: D(ticks))
steps = st.integers(1, 500).map(lambda each: each * D("0.001"))
losses = st.integers(1, 5_000).map(lambda cents: D(cents) / 100)


@given(side=sides, entry=prices, qty=steps, loss=losses, present=prices)
def test_the_whole_never_loses_more_than_was_allowed_and_the_stop_never_loosens(
    side: Side, entry: D, qty: D, loss: D, present: D
) -> None:
    price = stop_of_whole(BTC_FUT, side=side, entry_price=entry, qty=qty, first_loss_usdt=loss)
    chosen = tighter(side, present, price)

    assert BTC_FUT.price_on_tick(price)
    assert side.sign * (entry - price) * qty <= loss
    assert not is_tighter(side, present, chosen)
    assert not is_tighter(side, price, chosen)


@given(side=sides, entry=prices, ratio=st.integers(1, 60).map(lambda each: D(each) / 100))
def test_the_target_of_the_whole_nets_at_least_its_share_of_the_margin(side: Side, entry: D, ratio: D) -> None:
    price = target_of_whole(BTC_FUT, side=side, entry_price=entry, leverage=20, fee_ratio=FEE, ratio=ratio)
    earned = roe(side=side, entry_price=entry, mark=price, leverage=20, fee_ratio=FEE)

    assert ratio <= earned
    assert earned - ratio < D("0.001")


@given(
    side=sides,
    entry=prices,
    qty=steps,
    loss=losses,
    moved=st.integers(-200, 2_000).map(lambda each: D(each)),
    stop=st.integers(10, 2_000).map(lambda each: D(each)),
)
def test_what_is_added_is_covered_by_a_stop_that_does_not_trigger_at_once(
    side: Side, entry: D, qty: D, loss: D, moved: D, stop: D
) -> None:
    mark = entry + side.sign * moved
    present = entry - side.sign * stop
    growing = Growing(
        instrument=BTC_FUT,
        side=side,
        entry_price=entry,
        open_qty=qty,
        first_qty=qty,
        first_loss_usdt=loss,
        stop_price=present,
    )

    addition = add_for(growing, mark, AddParams())

    if addition is not None:
        assert side.sign * (mark - addition.stop_price) > 0
        assert not is_tighter(side, present, addition.stop_price)
        assert D(0) < addition.qty <= qty / 2


@pytest.mark.parametrize(
    ("side", "gap", "left"),
    [
        pytest.param(Side.BUY, "0.0100", "0.005", id="enough room"),
        pytest.param(Side.BUY, "0.0037", "0.003", id="the gap, floored to the step"),
        pytest.param(Side.BUY, "-0.001", "0", id="spot holds more"),
        pytest.param(Side.SELL, "-0.020", "0.005", id="a short is not hedged by spot"),
    ],
)
def test_spot_held_leaves_a_long_add_the_gap(side: Side, gap: str, left: str) -> None:
    found = within_hedge(D("0.005"), side=side, gap_qty=D(gap), contract_size=D(1), step_size=D("0.001"))

    assert found == D(left)


def test_exposure_adds_up_and_net_delta_tells_apart() -> None:
    held = {"fut_qty": D("-3"), "contract_size": D("0.01"), "spot_qty": D("0.02")}

    assert exposure(**held) == D("-0.01")
    assert net_delta(**held) == D("-0.05")
