"""Futures conditionals that become limit orders, stops that trail, and what a check of an order foresees."""

from dataclasses import replace

import pytest

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce, WorkingType
from chimera.domain.execution.orders import NewOrder, OrderUpdated, VenueOrder
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.refusals import Refusal
from tests.domain.matching.venue import RULES, SYMBOL, D, book, mark, move, order, trading, trailing

BUY, SELL = Side.BUY, Side.SELL
FUT = Market.FUT
STOP, TAKE_PROFIT = OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT


def known(venue: Exchange, name: str = "c") -> VenueOrder:
    found = venue.order(FUT, SYMBOL, name)
    assert found is not None
    return found


def holding(side: Side = BUY) -> Exchange:
    venue = trading()
    venue.place(order("in", side, qty="0.1"), 1)
    return venue


def test_a_stop_limit_waits_in_the_algo_book_and_rests_once_it_is_triggered() -> None:
    venue = holding()
    placed, _ = venue.place(order("c", SELL, "0.1", "59500", kind=STOP, stop="59000", reduce_only=True), 2)
    waiting = venue.open_conditional()

    move(venue, "58990", 3)

    rested = known(venue)
    assert (placed.conditional, placed.price, placed.venue_order_id) == (True, D("59500"), "")
    assert waiting == (placed,)
    assert venue.open_conditional() == ()
    assert venue.open_orders(FUT) == (rested,)
    assert (rested.triggered, rested.triggered_at_ms, rested.status) == (True, 3, OrderStatus.NEW)
    move(venue, "59510", 4)
    assert known(venue).status is OrderStatus.FILLED
    assert venue.positions() == ()


def test_a_triggered_take_profit_limit_takes_what_its_price_allows() -> None:
    venue = holding()
    venue.place(order("c", SELL, "0.1", "60900", kind=TAKE_PROFIT, stop="61000", reduce_only=True), 2)

    move(venue, "61000", 3)

    assert known(venue).status is OrderStatus.FILLED
    assert venue.fills(FUT, SYMBOL)[-1].price == D("60999")


def test_a_triggered_entry_locks_its_margin_and_is_rejected_without() -> None:
    venue = trading(usdt="1000")
    for name, qty in (("c", "0.1"), ("large", "1")):
        venue.place(order(name, qty=qty, price="60500", kind=STOP, stop="61000"), 1)
    free = venue.balances(FUT)[0].free

    move(venue, "61000", 2)

    assert free == D("1000")
    assert known(venue).status is OrderStatus.NEW
    assert venue.balances(FUT)[0].locked == D("302.5") + D("3.025")
    assert (known(venue, "large").status, known(venue, "large").reason) == (OrderStatus.REJECTED, "INSUFFICIENT_MARGIN")


def test_a_post_only_stop_that_would_take_when_triggered_is_rejected() -> None:
    venue = holding()
    new = order("c", SELL, "0.1", "58900", kind=STOP, stop="59000", reduce_only=True, tif=TimeInForce.GTX)
    venue.place(new, 2)

    move(venue, "58990", 3)

    assert (known(venue).status, known(venue).reason) == (OrderStatus.REJECTED, "POST_ONLY")
    assert len(venue.positions()) == 1


@pytest.mark.parametrize(
    ("side", "best", "quiet", "due"),
    [
        pytest.param(SELL, "61000", "60390.1", "60390", id="a long's stop follows the highest mark"),
        pytest.param(BUY, "59000", "59589.9", "59590", id="a short's stop follows the lowest mark"),
    ],
)
def test_a_trailing_stop_follows_the_best_price_and_fires_where_it_turns(
    side: Side, best: str, quiet: str, due: str
) -> None:
    venue = holding(side.opposite)
    placed, _ = venue.place(trailing("c", side, "0.1", "0.01"), 2)

    for price in (best, quiet):
        assert venue.on_mark(mark(price), 3) == ()
    venue = Exchange.restore(RULES, venue.export_state())
    changes = venue.on_mark(mark(due), 4)

    assert (placed.callback_ratio, placed.stop_price, placed.trailing_active) == (D("0.01"), None, True)
    assert [change.order.status.value for change in changes if isinstance(change, OrderUpdated)] == ["NEW", "FILLED"]
    assert venue.positions() == ()


def test_a_trailing_stop_sleeps_until_its_activation_price_and_says_when_it_wakes() -> None:
    venue = holding()
    placed, _ = venue.place(trailing("c", SELL, "0.1", "0.01", "61000"), 2)

    asleep = (*venue.on_mark(mark("60999"), 3), *venue.on_mark(mark("58500"), 4))
    changes = venue.on_mark(mark("61000"), 5)

    assert asleep == ()
    assert not placed.trailing_active
    (told,) = [change.order for change in changes if isinstance(change, OrderUpdated)]
    assert (told.trailing_active, told.triggered, told.status) == (True, False, OrderStatus.NEW)
    venue.on_mark(mark("60390"), 6)
    assert known(venue).status is OrderStatus.FILLED


def test_a_trailing_stop_may_listen_to_the_last_price() -> None:
    venue = holding()
    new = order("c", SELL, "0.1", kind=OrderType.STOP_MARKET, callback="0.01", on=WorkingType.CONTRACT_PRICE)
    venue.place(new, 2)

    venue.on_mark(mark("59300"), 3)
    venue.on_book(book(FUT, "60500"), 3)
    before = known(venue).triggered
    venue.on_book(book(FUT, "59895"), 4)

    assert not before
    assert known(venue).triggered


def test_a_trailing_stop_placed_before_any_price_wakes_with_the_first() -> None:
    venue = Exchange(RULES, fut_balances={"USDT": D(1000)})
    for name in ("c", "d"):
        venue.place(trailing(name, SELL, "0.1", "0.01"), 1)
    venue.on_mark(replace(mark("60000"), funding_time=0), 2)  # the announced time is as expected: only they react

    assert known(venue).trailing_active
    assert known(venue, "d").trailing_active


@pytest.mark.parametrize(
    ("new", "code", "words"),
    [
        pytest.param(
            order("c", SELL, "0.1", "59000", kind=STOP, stop="60000"), -2021, "immediately trigger", id="stop reached"
        ),
        pytest.param(order("c", SELL, kind=STOP, stop="59000"), -1102, "'price'", id="stop limit without a price"),
        pytest.param(order("c", BUY, price="59000", kind=STOP), -1102, "'triggerPrice'", id="without a stop price"),
        pytest.param(
            order("c", BUY, price="65000", kind=STOP, stop="61000"), -4183, "higher than 64050", id="far above its stop"
        ),
        pytest.param(
            order("c", SELL, price="55000", kind=STOP, stop="59000"), -4184, "lower than 56050", id="far below its stop"
        ),
        pytest.param(
            order("c", SELL, "0", "59000", kind=STOP, stop="59000", close_position=True),
            -4136,
            "orderType STOP,closePosition true",
            id="a limit cannot close whatever is there",
        ),
        pytest.param(
            order("c", SELL, "0", kind=OrderType.MARKET, close_position=True), -4136, "MARKET", id="nor a market order"
        ),
        pytest.param(trailing("c", SELL, "0.1", "0.0009"), -1130, "callbackRate", id="callback too small"),
        pytest.param(trailing("c", SELL, "0.1", "0.201"), -1130, "callbackRate", id="callback too large"),
        pytest.param(trailing("c", SELL, "0.1", "0.01", "60000"), -2021, "trigger", id="active at once, selling"),
        pytest.param(trailing("c", BUY, "0.1", "0.01", "60000"), -2021, "trigger", id="active at once, buying"),
        pytest.param(trailing("c", SELL, "0.1", "0.01", "0"), -4135, "activation", id="activation at nothing"),
        pytest.param(trailing("c", SELL, "0.1", "0.01", "61000.01"), -4014, "tick", id="activation off tick"),
        pytest.param(
            order("c", SELL, kind=OrderType.STOP_MARKET, stop="59000", callback="0.01"), -2021, "trigger", id="both"
        ),
        pytest.param(
            order("c", SELL, kind=OrderType.STOP_MARKET, stop="59000", activate="61000"),
            -1106,
            "activatePrice",
            id="activation without callback",
        ),
        pytest.param(order("c", SELL, price="61000", callback="0.01"), -1106, "callbackRate", id="a limit order"),
        pytest.param(order("c", price="59000", market=Market.SPOT, callback="0.01"), -1106, "callbackRate", id="spot"),
    ],
)
def test_refusals(new: NewOrder, code: int, words: str) -> None:
    venue = trading()
    before = venue.export_state()

    for attempt in (venue.check, venue.place):
        with pytest.raises(Refusal) as caught:
            attempt(new, 1)
        assert caught.value.code == code
        assert words in caught.value.text
    assert venue.export_state() == before


@pytest.mark.parametrize("market", list(Market))
def test_a_check_that_passes_places_nothing(market: Market) -> None:
    venue = trading()
    before = venue.export_state()

    venue.check(order(price="59000", market=market), 1)

    assert venue.export_state() == before
    assert venue.open_orders(market) == ()
