"""What a slice becomes that is larger than what the exchange takes at once."""

from dataclasses import replace
from decimal import Decimal

from chimera.contracts.enums import IntentState, LegRole
from tests.domain.execution.machine.model import Model
from tests.domain.execution.machine.scenarios import EXIT, TAKER, UNIT, scenario
from tests.domain.execution.machine.test_races import settled


def test_an_exit_above_the_largest_order_leaves_in_several_and_to_the_last_step() -> None:
    most = UNIT * Decimal("0.8")
    of = scenario(EXIT, TAKER)
    model = Model(replace(of, instrument=replace(of.instrument, market_max_qty=most)))

    end = settled(model, model.begin())

    asked = [order.quantity for n, order in end.orders if end.role(n) is LegRole.TAKE]
    assert asked == [most, most, of.intent.qty - 2 * most]
    assert end.end is not None
    assert (end.end.state, end.end.filled_qty) == (IntentState.DONE, of.intent.qty)
