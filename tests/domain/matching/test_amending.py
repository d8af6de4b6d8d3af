"""Changing a resting futures order: what it locks, whose turn it is, and when it ends instead."""

from decimal import Decimal

import pytest

from chimera.contracts.enums import Market, OrderStatus, Side, TimeInForce
from chimera.domain.execution.orders import OrderUpdated, VenueOrder
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.refusals import Refusal
from tests.domain.matching.venue import RULES, SYMBOL, D, book, order, stop, trading

BUY, SELL = Side.BUY, Side.SELL
FUT = Market.FUT


def amend(venue: Exchange, name: str, qty: str, price: str, side: Side = BUY) -> tuple[VenueOrder, tuple[object, ...]]:
    return venue.amend(SYMBOL, 9, side=side, qty=D(qty), price=D(price), client_order_id=name)


def locked(venue: Exchange) -> Decimal:
    (balance,) = venue.balances(FUT)
    return balance.locked


def test_price_and_quantity_change_and_so_does_what_is_locked() -> None:
    venue = trading()
    placed, _ = venue.place(order("a", qty="0.1", price="59000"), 1)

    amended, changes = venue.amend(
        SYMBOL, 9, side=BUY, qty=D("0.2"), price=D("58000"), venue_order_id=placed.venue_order_id
    )

    assert (amended.qty, amended.price, amended.status) == (D("0.2"), D("58000"), OrderStatus.NEW)
    assert (amended.venue_order_id, amended.created_at_ms, amended.updated_at_ms) == (placed.venue_order_id, 1, 9)
    assert locked(venue) == D("580") + D("5.8")
    assert [change.amended for change in changes if isinstance(change, OrderUpdated)] == [True]


@pytest.mark.parametrize(
    ("qty", "price", "first"),
    [
        pytest.param("0.05", "59990", "early", id="less quantity keeps the turn"),
        pytest.param("0.15", "59990", "late", id="more quantity loses it"),
    ],
)
def test_only_a_falling_quantity_keeps_the_turn(qty: str, price: str, first: str) -> None:
    venue = trading()
    venue.place(order("early", qty="0.1", price="59990"), 1)
    venue.place(order("late", qty="0.1", price="59990"), 2)
    amend(venue, "early", qty, price)
    twin = Exchange.restore(RULES, venue.export_state())

    for each in (venue, twin):
        each.on_book(book(FUT, "59980"), 10)

        assert each.fills(FUT, SYMBOL)[0].client_order_id == first


def test_a_price_that_reaches_the_book_takes_from_it() -> None:
    venue = trading()
    venue.place(order("a", qty="0.1", price="59000"), 1)

    amended, changes = amend(venue, "a", "0.1", "60001")

    assert (amended.status, amended.filled_quote) == (OrderStatus.FILLED, D("6000.1"))
    assert [change.order.status.value for change in changes if isinstance(change, OrderUpdated)] == ["NEW", "FILLED"]
    assert locked(venue) == D("300.005")


def test_a_quantity_that_is_filled_already_ends_the_order() -> None:
    venue = trading()
    venue.on_book(book(FUT, "60000", qty="0.04"), 1)
    venue.place(order("a", qty="0.1", price="60001"), 2)

    amended, _ = amend(venue, "a", "0.04", "60001")

    assert (amended.status, amended.reason, amended.filled_qty) == (OrderStatus.CANCELED, "USER", D("0.04"))
    assert venue.open_orders(FUT) == ()


def test_a_post_only_order_that_would_take_at_its_new_price_ends() -> None:
    venue = trading()
    venue.place(order("a", price="59000", tif=TimeInForce.GTX), 1)

    amended, _ = amend(venue, "a", "0.1", "60001")

    assert (amended.status, amended.reason) == (OrderStatus.CANCELED, "POST_ONLY")
    assert (venue.fills(FUT, SYMBOL), locked(venue)) == ((), 0)


def test_a_reduce_only_order_never_exceeds_the_position() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    venue.place(order("out", SELL, qty="0.05", price="61000", reduce_only=True), 2)

    amended, _ = amend(venue, "out", "0.5", "61500", SELL)

    assert (amended.qty, amended.price) == (D("0.1"), D("61500"))


@pytest.mark.parametrize(
    ("name", "qty", "price", "side", "code"),
    [
        pytest.param("a", "0.1", "59000", BUY, -5027, id="nothing changes"),
        pytest.param("never", "0.1", "59000", BUY, -2013, id="unknown"),
        pytest.param("stop", "0.1", "58000", SELL, -2013, id="in the other book"),
        pytest.param("a", "0.1", "58000", SELL, -1130, id="the other side"),
        pytest.param("a", "0.1", "58000.05", BUY, -4014, id="off tick"),
        pytest.param("a", "0.1", "56000", SELL, -1130, id="side before price"),
        pytest.param("a", "0.0005", "59000", BUY, -1111, id="too precise"),
        pytest.param("a", "0.001", "49000", BUY, -5029, id="too small"),
        pytest.param("a", "4", "59000", BUY, -2019, id="no margin"),
        pytest.param("a", "51", "59000", BUY, -2019, id="far too large"),
    ],
)
def test_what_cannot_be_amended_stands_as_it_was(name: str, qty: str, price: str, side: Side, code: int) -> None:
    venue = trading()
    venue.place(order("a", qty="0.1", price="59000"), 1)
    venue.place(stop("stop", SELL, "0.1", "58000"), 1)
    before = venue.export_state()

    with pytest.raises(Refusal) as caught:
        amend(venue, name, qty, price, side)

    assert caught.value.code == code
    assert venue.export_state() == before


def test_the_margin_of_the_order_itself_counts_for_what_it_becomes() -> None:
    venue = trading(usdt="600")
    venue.place(order("a", qty="0.2", price="59000"), 1)

    amended, _ = amend(venue, "a", "0.2", "59100")

    assert amended.price == D("59100")
    assert locked(venue) == D("591") + D("5.91")


def test_the_number_of_a_final_or_foreign_order_is_unknown() -> None:
    venue = trading()
    filled, _ = venue.place(order("filled"), 1)
    spot, _ = venue.place(order("spot", price="59000", market=Market.SPOT), 1)

    for number in (filled.venue_order_id, spot.venue_order_id, "99"):
        with pytest.raises(Refusal, match="does not exist"):
            venue.amend(SYMBOL, 9, side=BUY, qty=D("0.1"), price=D("58000"), venue_order_id=number)
