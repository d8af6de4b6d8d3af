"""Maker first, taker, or neither; and why."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import HealthLevel, Regime, Routing
from chimera.contracts.flags import Flags
from chimera.domain.execution.choice import Choice, Situation, Style, choose
from chimera.domain.execution.cost import Book, CostModel
from chimera.domain.share import in_share

FLAGS = Flags().execution.routing.maker_wait
BOOK = Book(notional_usdt=400.0, spread_bps=2.0, depth_top1_usdt=50_000.0, regime=Regime.NORMAL)
MODEL = CostModel(maker_fee_bps=1.0, taker_fee_bps=5.0, p_fill=0.6, drift_bps=2.0)
PROBING = next(f"SIG-{number}" for number in range(1_000) if in_share(f"SIG-{number}", 0.1))
USUAL = next(f"SIG-{number}" for number in range(1_000) if not in_share(f"SIG-{number}", 0.1))
ENTRY = Situation(new_entry=True, name=USUAL, routing=Routing.AUTO, book=BOOK, health=HealthLevel.GREEN)


def chosen(situation: Situation, model: CostModel = MODEL) -> Choice:
    return choose(situation, model, FLAGS, probe_ratio=0.1)


def test_maker_first_where_it_is_cheaper() -> None:
    found = chosen(ENTRY)

    assert (found.style, found.rests) == (Style.MAKER_FIRST, True)
    assert found.why == "3.80 bps expected as maker, 6.00 as taker"


def test_taker_where_waiting_costs_more() -> None:
    found = chosen(ENTRY, replace(MODEL, p_fill=0.1, drift_bps=20.0))

    assert (found.style, found.rests) == (Style.TAKER, False)
    assert found.costs is not None
    assert found.costs.maker_bps > found.costs.taker_bps


def test_alike_is_not_cheaper() -> None:
    assert chosen(ENTRY, replace(MODEL, p_fill=0.0, drift_bps=0.0)).style is Style.TAKER


@pytest.mark.parametrize(
    ("spread", "depth", "style"),
    [
        pytest.param(3.0, 20_000.0, Style.MAKER_FIRST, id="at both gates"),
        pytest.param(3.01, 20_000.0, Style.TAKER, id="too wide"),
        pytest.param(3.0, 19_999.0, Style.TAKER, id="too thin"),
        pytest.param(float("nan"), 20_000.0, Style.TAKER, id="no spread"),
        pytest.param(None, 20_000.0, Style.TAKER, id="spread unknown"),
        pytest.param(3.0, None, Style.TAKER, id="depth unknown"),
    ],
)
def test_the_touch_must_be_worth_resting_at(spread: float | None, depth: float | None, style: Style) -> None:
    assert chosen(replace(ENTRY, book=replace(BOOK, spread_bps=spread, depth_top1_usdt=depth))).style is style


@pytest.mark.parametrize("routing", Routing)
@pytest.mark.parametrize("health", [*HealthLevel, None])
def test_exits_take_whatever_else_holds(routing: Routing, health: HealthLevel | None) -> None:
    assert chosen(replace(ENTRY, new_entry=False, routing=routing, health=health)).style is Style.TAKER


def test_what_the_caller_asked_for() -> None:
    wide = replace(BOOK, spread_bps=99.0)

    assert chosen(replace(ENTRY, routing=Routing.DIRECT_TAKER)).style is Style.TAKER
    # Whoever allows maker alone has judged the touch himself.
    assert chosen(replace(ENTRY, routing=Routing.MAKER_ONLY, book=wide)).style is Style.MAKER_ONLY


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"health": HealthLevel.ORANGE}, "health is ORANGE"),
        ({"health": HealthLevel.RED}, "health is RED"),
        ({"health": None}, "health is not known"),
        ({"conservative": True}, "the backtest guard routes conservatively"),
        ({"can_post": False}, "the exchange has no post-only orders"),
    ],
)
def test_where_no_maker_is_offered_an_entry_takes_and_maker_only_ends(changed: dict[str, Any], why: str) -> None:
    situation = replace(ENTRY, **changed)

    assert chosen(situation) == Choice(style=Style.TAKER, why=why)
    assert chosen(replace(situation, routing=Routing.MAKER_ONLY)) == Choice(style=Style.NONE, why=why)


def test_yellow_still_offers_maker() -> None:
    assert chosen(replace(ENTRY, health=HealthLevel.YELLOW)).style is Style.MAKER_FIRST


@pytest.mark.parametrize(
    ("changed", "style"),
    [
        ({"health": HealthLevel.ORANGE}, Style.MAKER_FIRST),
        ({"conservative": True}, Style.MAKER_FIRST),
        ({"health": HealthLevel.ORANGE, "routing": Routing.MAKER_ONLY}, Style.MAKER_ONLY),
        ({"health": HealthLevel.RED}, Style.TAKER),
        ({"health": None}, Style.TAKER),
        ({"health": HealthLevel.ORANGE, "can_post": False}, Style.TAKER),
    ],
)
def test_the_probe_share_is_offered_as_maker_so_that_orange_can_end(changed: dict[str, Any], style: Style) -> None:
    found = chosen(replace(ENTRY, name=PROBING, **changed))

    assert found.style is style
    if style is Style.MAKER_FIRST:
        assert "in the probe share" in found.why


def test_the_probe_share_keeps_the_gates_and_the_costs() -> None:
    orange = replace(ENTRY, name=PROBING, health=HealthLevel.ORANGE)

    assert chosen(replace(orange, book=replace(BOOK, spread_bps=3.5))).style is Style.TAKER
    assert chosen(orange, replace(MODEL, p_fill=0.0)).style is Style.TAKER


@given(st.floats(0, 1), st.floats(0, 100), st.floats(0, 3), st.floats(20_000, 1e9))
def test_the_cheaper_one_is_chosen(p_fill: float, drift_bps: float, spread: float, depth: float) -> None:
    book = replace(BOOK, spread_bps=spread, depth_top1_usdt=depth)

    found = chosen(replace(ENTRY, book=book), replace(MODEL, p_fill=p_fill, drift_bps=drift_bps))

    assert found.costs is not None
    assert found.rests == (found.costs.maker_bps < found.costs.taker_bps)
