"""What becomes of a slice above the largest order, and of a quote that somebody else takes back."""

from dataclasses import replace
from decimal import Decimal

import pytest

from chimera.contracts.enums import ExecStyle, IntentState, LegRole, Market, OrderType, Purpose
from tests.domain.execution.machine.model import Luck, Model, Scenario, State
from tests.domain.execution.machine.scenarios import (
    EXIT,
    LIMIT,
    MAKER,
    POST_ONLY,
    SPOT_EXIT,
    TAKER,
    UNIT,
    intent,
    scenario,
)
from tests.domain.execution.machine.test_races import done, settled

MOST = UNIT * Decimal("0.8")
QUOTED = ("send 0", "0 arrives", "answer 0")


def sent(state: State) -> list[Decimal | None]:
    return [order.quantity for n, order in state.orders if state.role(n) in (LegRole.TAKE, LegRole.QUOTE)]


@pytest.mark.parametrize("of", [scenario(EXIT, TAKER), scenario(SPOT_EXIT, TAKER)], ids=["futures", "spot"])
def test_an_exit_above_the_largest_order_leaves_in_several_and_to_the_last_step(of: Scenario) -> None:
    off_step = MOST + of.instrument.step_size / 3
    model = Model(replace(of, instrument=replace(of.instrument, market_max_qty=off_step)))

    end = settled(model, model.begin())

    assert sent(end) == [MOST, MOST, of.intent.qty - 2 * MOST]
    assert end.end is not None
    assert (end.end.state, end.end.filled_qty) == (IntentState.DONE, of.intent.qty)


def test_an_exit_that_rests_is_not_cut_by_what_holds_at_market() -> None:
    of = scenario(intent(purpose=Purpose.EXIT, type=OrderType.LIMIT, price="60400"), LIMIT)
    model = Model(replace(of, instrument=replace(of.instrument, market_max_qty=MOST)))

    end = settled(model, model.begin())

    assert sent(end) == [of.intent.qty]


@pytest.mark.parametrize("late", [False, True], ids=["told at once", "found after the window"])
@pytest.mark.parametrize("slices", [1, 2])
@pytest.mark.parametrize("style", [MAKER, POST_ONLY])
def test_a_quote_that_somebody_else_takes_back_ends_the_entry(style: ExecStyle, slices: int, late: bool) -> None:
    model = Model(scenario(intent(Market.SPOT), style, Luck.TAKEN_AWAY, slices=slices))
    state = done(model, model.begin(), (*QUOTED, "take 0 away"))
    if late:
        state = replace(state, now_ms=state.now_ms + 5_000)

    end = settled(model, state)

    assert len(sent(end)) == 1
    assert end.end is not None
    assert (end.end.state, end.end.reason) == (IntentState.CANCELED, "CANCELED_ELSEWHERE")
