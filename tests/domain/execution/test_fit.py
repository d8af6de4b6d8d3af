"""An order made to fit rules that changed: cut, never raised; limits away from the market, triggers to the nearest."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.enums import Market, OrderType, Side
from chimera.domain.execution.fit import fitted, fitted_pair
from chimera.domain.execution.orders import NewOco, NewOrder
from tests.domain.builders import BTC_FUT

D = Decimal
COARSE = replace(BTC_FUT, tick_size=D("0.5"), step_size=D("0.005"), market_step=D("0.005"))


def order(qty: str, **more: Any) -> NewOrder:
    return NewOrder(
        **{
            "client_order_id": "a",
            "market": Market.FUT,
            "symbol": "BTCUSDT",
            "side": Side.BUY,
            "type": OrderType.LIMIT,
            "qty": D(qty),
        }
        | more
    )


def test_what_fits_is_left_as_it_is() -> None:
    made = order("0.010", price=D("60000.5"))

    assert fitted(made, COARSE) is made


@pytest.mark.parametrize(
    ("side", "price"),
    [
        pytest.param(Side.BUY, "60000.0", id="a buyer pays no more"),
        pytest.param(Side.SELL, "60000.5", id="a seller takes no less"),
    ],
)
def test_a_limit_moves_away_from_the_market(side: Side, price: str) -> None:
    found = fitted(order("0.014", side=side, price=D("60000.3")), COARSE)

    assert (found.price, found.qty) == (D(price), D("0.010"))


def test_a_trigger_moves_to_the_nearest_tick_and_a_whole_position_keeps_its_quantity() -> None:
    found = fitted(order("0", type=OrderType.STOP_MARKET, stop_price=D("59000.4"), close_position=True), COARSE)

    assert (found.stop_price, found.qty) == (D("59000.5"), D(0))


def test_both_legs_of_a_pair_fit_for_the_same_quantity() -> None:
    pair = NewOco(
        list_client_id="l",
        symbol="BTCUSDT",
        side=Side.SELL,
        qty=D("0.013"),
        target_client_id="t",
        target_price=D("61000.2"),
        stop_client_id="s",
        stop_price=D("59000.2"),
    )

    found = fitted_pair(pair, COARSE)

    assert (found.qty, found.target_price, found.stop_price) == (D("0.010"), D("61000.5"), D("59000.0"))
