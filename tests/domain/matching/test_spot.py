"""Two assets, fees in what is received, stops on the last price, and order lists of two legs."""

import pytest

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side
from chimera.domain.execution.orders import VenueOrder
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.refusals import Refusal
from tests.domain.matching.venue import SYMBOL, D, book, oco, order, trading

BUY, SELL = Side.BUY, Side.SELL
SPOT = Market.SPOT


def amounts(venue: Exchange, asset: str) -> tuple[str, str]:
    """Free and locked, without trailing zeros."""
    (balance,) = [one for one in venue.balances(SPOT) if one.asset == asset]
    return f"{balance.free.normalize():f}", f"{balance.locked.normalize():f}"


def known(venue: Exchange, client_id: str) -> VenueOrder:
    found = venue.order(SPOT, SYMBOL, client_id)
    assert found is not None
    return found


def test_a_buy_pays_its_fee_in_base_and_a_sale_in_quote() -> None:
    venue = trading(btc="0")

    venue.place(order("buy", qty="0.1", market=SPOT), 1)
    bought = amounts(venue, "BTC")
    venue.place(order("sell", SELL, qty="0.0999", market=SPOT), 2)

    assert bought == ("0.0999", "0")
    assert [(fill.fee, fill.fee_asset) for fill in venue.fills(SPOT, SYMBOL)] == [
        (D("0.0001"), "BTC"),
        (D("5.9939001"), "USDT"),
    ]
    assert amounts(venue, "BTC") == ("0", "0")
    assert amounts(venue, "USDT") == ("9987.8061999", "0")


def test_selling_the_whole_bought_quantity_fails_because_the_fee_is_gone() -> None:
    venue = trading(btc="0")
    venue.place(order("buy", qty="0.1", market=SPOT), 1)

    with pytest.raises(Refusal, match="insufficient balance"):
        venue.place(order("sell", SELL, qty="0.1", market=SPOT), 2)


def test_resting_orders_lock_what_they_would_pay() -> None:
    venue = trading()

    venue.place(order("bid", BUY, qty="0.1", price="59000", market=SPOT), 1)
    venue.place(order("ask", SELL, qty="0.3", price="61000", market=SPOT), 1)

    assert amounts(venue, "USDT") == ("4100", "5900")
    assert amounts(venue, "BTC") == ("0.7", "0.3")


@pytest.mark.parametrize(
    ("kind", "side", "at", "price", "quiet", "due"),
    [
        pytest.param(OrderType.STOP_LOSS, SELL, "59000", None, "59000.01", "59000", id="stop that sells"),
        pytest.param(OrderType.STOP_LOSS, BUY, "61000", None, "60999.99", "61000", id="stop that buys"),
        pytest.param(OrderType.TAKE_PROFIT, SELL, "61000", None, "60999.99", "61000", id="target that sells"),
        pytest.param(OrderType.TAKE_PROFIT_LIMIT, BUY, "59000", "59100", "59000.01", "59000", id="limit target buys"),
    ],
)
def test_stops_trigger_on_the_last_price_and_keep_their_id(
    kind: OrderType, side: Side, at: str, price: str | None, quiet: str, due: str
) -> None:
    venue = trading()
    placed, _ = venue.place(order("s", side, "0.1", price, market=SPOT, kind=kind, stop=at), 1)

    venue.on_book(book(SPOT, quiet), 2)
    waiting = known(venue, "s")
    venue.on_book(book(SPOT, due), 3)

    assert not waiting.triggered
    assert not placed.conditional
    done = known(venue, "s")
    assert (done.status, done.triggered, done.venue_order_id) == (OrderStatus.FILLED, True, placed.venue_order_id)


def test_a_stop_limit_may_be_jumped_over_and_then_rests_unfilled() -> None:
    venue = trading()
    venue.place_oco(oco(qty="0.1", stop_at="58000", stop_limit="57900"), 1)

    venue.on_book(book(SPOT, "57000"), 2)

    leg = known(venue, "list-sl")
    assert (leg.status, leg.triggered, leg.filled_qty) == (OrderStatus.NEW, True, D(0))
    assert (known(venue, "list-tp").status, known(venue, "list-tp").reason) == (OrderStatus.CANCELED, "OCO_TRIGGER")
    assert amounts(venue, "BTC") == ("0.9", "0.1")


def test_the_two_legs_lock_the_quantity_once() -> None:
    venue = trading()

    (target, stop), _ = venue.place_oco(oco(qty="0.6"), 1)

    assert amounts(venue, "BTC") == ("0.4", "0.6")
    assert (target.type, stop.type) == (OrderType.LIMIT_MAKER, OrderType.STOP_LOSS)
    assert target.order_list_id == stop.order_list_id == "1"
    assert [one.client_order_id for one in venue.open_orders(SPOT)] == ["list-tp", "list-sl"]


def test_the_first_fill_of_the_target_ends_the_stop_and_keeps_the_rest_locked() -> None:
    venue = trading()
    venue.place_oco(oco(qty="0.6", target="63000"), 1)

    venue.on_book(book(SPOT, "63001", qty="0.4"), 2)

    target, stop = known(venue, "list-tp"), known(venue, "list-sl")
    assert (target.status, target.filled_qty) == (OrderStatus.PARTIALLY_FILLED, D("0.1"))
    assert (stop.status, stop.reason) == (OrderStatus.CANCELED, "OCO_TRIGGER")
    assert amounts(venue, "BTC") == ("0.4", "0.5")


def test_the_triggered_stop_ends_the_target_and_sells_the_quantity_once() -> None:
    venue = trading()
    venue.place_oco(oco(qty="0.6", stop_at="58000"), 1)

    venue.on_book(book(SPOT, "57999"), 2)

    assert known(venue, "list-sl").status is OrderStatus.FILLED
    assert known(venue, "list-tp").reason == "OCO_TRIGGER"
    assert sum(fill.qty for fill in venue.fills(SPOT, SYMBOL)) == D("0.6")
    assert amounts(venue, "BTC") == ("0.4", "0")


@pytest.mark.parametrize("leg", ["list-tp", "list-sl"])
def test_cancelling_one_leg_cancels_both(leg: str) -> None:
    venue = trading()
    venue.place_oco(oco(), 1)

    venue.cancel(SPOT, SYMBOL, leg, 2)

    assert {known(venue, name).reason for name in ("list-tp", "list-sl")} == {"USER"}
    assert venue.open_orders(SPOT) == ()
    assert amounts(venue, "BTC") == ("1", "0")


def test_a_list_is_cancelled_by_its_own_id_and_known_afterwards() -> None:
    venue = trading()
    venue.place_oco(oco(), 1)

    legs, _ = venue.cancel_list(SYMBOL, "list", 2)

    assert [leg.status for leg in legs] == [OrderStatus.CANCELED] * 2
    assert [one.list_client_id for one in venue.order_lists(SYMBOL)] == ["list"]
    with pytest.raises(Refusal, match="Unknown order"):
        venue.cancel_list(SYMBOL, "list", 3)


def test_a_buying_list_locks_the_dearer_leg() -> None:
    venue = trading()

    venue.place_oco(oco(side=BUY, qty="0.1", target="58000", stop_at="61000", stop_limit="61500"), 1)

    assert amounts(venue, "USDT") == ("3850", "6150")


def test_a_buying_market_stop_expires_what_it_cannot_pay() -> None:
    venue = trading(spot_usdt="6001")
    venue.place(order("s", BUY, "0.1", market=SPOT, kind=OrderType.STOP_LOSS, stop="60000.01"), 1)

    venue.on_book(book(SPOT, "66000"), 2)

    done = known(venue, "s")
    assert (done.status, done.reason) == (OrderStatus.CANCELED, "INSUFFICIENT_BALANCES")
    assert 0 < done.filled_qty < D("0.1")


def test_a_fee_is_cut_to_eight_places() -> None:
    venue = trading()
    venue.on_book(book(SPOT, "60000.99"), 1)

    venue.place(order("sell", SELL, qty="0.00123", market=SPOT), 2)

    (fill,) = venue.fills(SPOT, SYMBOL)
    assert fill.price * fill.qty * D("0.001") == D("0.0737999877")
    assert fill.fee == D("0.07379998")
