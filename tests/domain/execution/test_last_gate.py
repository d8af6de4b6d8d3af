"""The last gate stops what must not leave, whatever anybody above believes, and never an exit that makes sense."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Market, OrderType, Side
from chimera.domain.execution.last_gate import DAY_MS, LastGate, nonsense, nonsense_pair, opens
from chimera.domain.execution.orders import NewOco, NewOrder

D = Decimal
T0 = 20_000 * DAY_MS
ENTRY = NewOrder(
    client_order_id="s3-btc-1",
    market=Market.FUT,
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.LIMIT_MAKER,
    qty=D("0.010"),
    price=D(60_000),
)
STOP = replace(ENTRY, type=OrderType.STOP_MARKET, side=Side.SELL, price=None, stop_price=D(59_400), reduce_only=True)
PAIR = NewOco(
    list_client_id="s3-btc-1-4",
    symbol="BTCUSDT",
    side=Side.SELL,
    qty=D("0.010"),
    target_client_id="s3-btc-1-2",
    target_price=D(61_000),
    stop_client_id="s3-btc-1-1",
    stop_price=D(59_000),
)


def gate(orders_per_second_max: int = 3) -> LastGate:
    return LastGate(D(1_000), D(2_500), orders_per_second_max, 0.05)


@pytest.mark.parametrize(
    ("changed", "is_entry"),
    [
        ({}, True),
        ({"side": Side.SELL}, True),
        ({"reduce_only": True}, False),
        ({"close_position": True}, False),
        ({"market": Market.SPOT}, True),
        ({"market": Market.SPOT, "side": Side.SELL}, False),
        ({"market": Market.SPOT, "reduce_only": True}, True),
    ],
)
def test_what_may_make_a_holding_larger(changed: dict[str, Any], is_entry: bool) -> None:
    assert opens(replace(ENTRY, **changed)) is is_entry


NO_NUMBERS = ["NaN", "sNaN", "Infinity", "-Infinity", "0", "-1", "1E+16", "1E-19", "1E+999999", "-0"]


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("name", ["qty", "price", "stop_price", "quote_qty", "callback_ratio", "activate_price"])
@pytest.mark.parametrize("order", [ENTRY, STOP], ids=["entry", "stop"])
def test_a_number_that_is_none_stops_every_order(order: NewOrder, name: str, value: str) -> None:
    found = nonsense(replace(order, **{name: D(value)}))

    assert found is not None
    assert found.startswith(name)
    assert len(found) < 200


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("name", ["qty", "target_price", "stop_price", "stop_limit_price"])
def test_and_every_pair(name: str, value: str) -> None:
    assert nonsense_pair(replace(PAIR, **{name: D(value)})) is not None


@pytest.mark.parametrize(
    "order",
    [
        ENTRY,
        STOP,
        replace(ENTRY, type=OrderType.MARKET, price=None),
        replace(STOP, qty=D(0), close_position=True),
        replace(STOP, stop_price=None, callback_ratio=D("0.01")),
        replace(ENTRY, market=Market.SPOT, type=OrderType.MARKET, price=None, qty=D(0), quote_qty=D(50)),
        replace(ENTRY, market=Market.SPOT, type=OrderType.STOP_LOSS_LIMIT, stop_price=D(1)),
        replace(ENTRY, qty=D("1E-18"), price=D("1E+15")),
        replace(ENTRY, client_order_id="x" * 36),
    ],
)
def test_what_makes_sense_passes(order: NewOrder) -> None:
    assert nonsense(order) is None


@pytest.mark.parametrize(
    ("order", "field"),
    [
        (replace(ENTRY, price=None), "price is missing"),
        (replace(STOP, stop_price=None), "stop_price is missing"),
        (replace(ENTRY, type=OrderType.MARKET, price=None, qty=D(0)), "qty"),
        (replace(ENTRY, type=OrderType.MARKET, price=None, qty=D(0), quote_qty=D(5)), "qty"),
        (replace(STOP, stop_price=None, callback_ratio=D(1)), "callback_ratio"),
        (replace(ENTRY, client_order_id=""), "id"),
        (replace(ENTRY, client_order_id="x" * 37), "id"),
        (replace(ENTRY, client_order_id="a b"), "id"),
        (replace(ENTRY, client_order_id="a\n"), "id"),
        (replace(ENTRY, client_order_id="价"), "id"),
    ],
)
def test_what_does_not_is_named(order: NewOrder, field: str) -> None:
    assert (nonsense(order) or "").startswith(field)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"target_price": D(59_000)}, "losing side"),
        ({"side": Side.BUY}, "losing side"),
        ({"stop_client_id": "s3-btc-1-2"}, "could not be told from another"),
        ({"target_client_id": "x" * 40}, "longer than 36"),
    ],
)
def test_a_pair_that_makes_no_sense(changed: dict[str, Any], why: str) -> None:
    assert why in (nonsense_pair(replace(PAIR, **changed)) or "")
    assert nonsense_pair(PAIR) is None


def test_orders_of_a_second_wherever_it_begins() -> None:
    found = gate()
    for at_ms in (T0 + 900, T0 + 950, T0 + 990):
        assert found.refuses(at_ms, D(1), D(10), None) is None

    assert "in a second" in (found.refuses(T0 + 1_899, D(1), D(10), None) or "")
    assert found.refuses(T0 + 1_900, D(1), D(10), None) is None


def test_exits_count_but_are_not_stopped() -> None:
    found = gate()
    for _ in range(50):
        found.count(T0)

    assert "more than 3 orders in a second" in (found.refuses(T0, D(1), D(10), None) or "")
    assert len(found._sent_ms) == 3


def test_what_was_stopped_was_not_sent() -> None:
    found = gate()
    for _ in range(100):
        assert found.refuses(T0, D(101), D(10), None) is not None

    assert found.refuses(T0, D(1), D(10), None) is None


def test_the_day_is_full_also_by_what_left_before_a_restart() -> None:
    found = gate()
    found.remember(T0, D(2_000))
    found.remember(T0 - 1, D(9_000))

    assert "of the day" in (found.refuses(T0 + 1, D(51), D(10), None) or "")
    assert found.refuses(T0 + 1, D(50), D(10), None) is None
    assert found.refuses(T0 + DAY_MS, D(99), D(10), None) is None


@pytest.mark.parametrize(("price", "stopped"), [("95.24", False), ("95.23", True), ("105.26", False), ("105.27", True)])
def test_a_price_far_from_the_mid(price: str, stopped: bool) -> None:
    assert (gate().refuses(T0, D(1), D(100), D(price)) is not None) is stopped


def test_the_dearer_of_price_and_mid_is_what_it_may_cost() -> None:
    assert gate().refuses(T0, D(10), D(100), D(100)) is None
    assert "order of 1020.00 USDT" in (gate().refuses(T0, D(10), D(100), D(102)) or "")


@pytest.mark.parametrize("mid", ["NaN", "0", "-5", "Infinity", "sNaN"])
def test_a_mid_that_is_none_stops_an_entry(mid: str) -> None:
    assert "is no price" in (gate().refuses(T0, D(1), D(mid), D(100)) or "")


@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 1_200), st.booleans()), max_size=60))
def test_no_second_and_no_day_holds_more_than_its_cap(orders: list[tuple[int, int, bool]]) -> None:
    found, at_ms, sent, worth = gate(5), T0, list[tuple[int, bool]](), D(0)

    for gap_ms, usdt, is_entry in orders:
        at_ms += gap_ms
        if not is_entry:
            found.count(at_ms)
            sent.append((at_ms, False))
        elif found.refuses(at_ms, D(usdt), D(1), None) is None:
            sent.append((at_ms, True))
            worth += usdt
            assert sum(at_ms - each < 1_000 for each, _ in sent) <= 5
    assert worth <= 2_500
