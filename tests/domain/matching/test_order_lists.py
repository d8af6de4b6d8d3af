"""Spot order lists in all their shapes, and market orders measured in quote."""

import pytest

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side
from chimera.domain.execution.orders import ListLeg, ListUpdated, NewOrder, NewOrderList, VenueOrder
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.refusals import Refusal
from tests.domain.matching.venue import RULES, SYMBOL, D, book, exchange, leg, oco, order, pair, trading

BUY, SELL = Side.BUY, Side.SELL
SPOT = Market.SPOT
MAKER = leg("up", OrderType.LIMIT_MAKER, price="63000")
TAKE_PROFIT = leg("up", OrderType.TAKE_PROFIT, "63000")
TAKE_PROFIT_LIMIT = leg("up", OrderType.TAKE_PROFIT_LIMIT, "63000", "62900")
STOP_LOSS = leg("down", OrderType.STOP_LOSS, "58000")
STOP_LOSS_LIMIT = leg("down", OrderType.STOP_LOSS_LIMIT, "58000", "57900")


def known(venue: Exchange, client_id: str) -> VenueOrder:
    found = venue.order(SPOT, SYMBOL, client_id)
    assert found is not None
    return found


def mirrored(new: NewOrderList) -> NewOrderList:
    """The same list for a BUY: prices reflected at 60000, legs swapped."""

    def reflected(one: ListLeg, name: str) -> ListLeg:
        prices = [None if price is None else 120_000 - price for price in (one.stop_price, one.price)]
        return leg(name, one.type, *prices)

    return pair(reflected(new.below, "up"), reflected(new.above, "down"), BUY)


SHAPES = [
    pytest.param(pair(profit, loss), id=f"{profit.type} and {loss.type}")
    for profit in (MAKER, TAKE_PROFIT, TAKE_PROFIT_LIMIT)
    for loss in (STOP_LOSS, STOP_LOSS_LIMIT)
]


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("new", SHAPES)
def test_the_profit_side_trading_ends_the_loss_side(new: NewOrderList, side: Side) -> None:
    new = new if side is SELL else mirrored(new)
    venue = trading()

    placed, _ = venue.place_list(new, 1)
    venue.on_book(book(SPOT, "63100" if side is SELL else "56900"), 2)

    profit, loss = ("up", "down") if side is SELL else ("down", "up")
    assert [one.client_order_id for one in placed.orders] == [profit, loss]
    assert known(venue, profit).status is OrderStatus.FILLED
    assert (known(venue, loss).status, known(venue, loss).reason) == (OrderStatus.CANCELED, "OCO_TRIGGER")
    assert all(balance.locked == 0 for balance in venue.balances(SPOT))


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("new", SHAPES)
def test_the_loss_side_triggering_ends_the_profit_side(new: NewOrderList, side: Side) -> None:
    new = new if side is SELL else mirrored(new)
    venue = trading()
    venue.place_list(new, 1)
    venue = Exchange.restore(RULES, venue.export_state())

    venue.on_book(book(SPOT, "57950" if side is SELL else "62050"), 2)

    profit, loss = ("up", "down") if side is SELL else ("down", "up")
    assert (known(venue, profit).status, known(venue, profit).reason) == (OrderStatus.CANCELED, "OCO_TRIGGER")
    assert known(venue, loss).status is OrderStatus.FILLED


def test_a_list_is_told_of_when_it_begins_and_when_one_leg_gives_way() -> None:
    venue = trading()

    placed, began = venue.place_list(pair(MAKER, STOP_LOSS), 1)
    ended = venue.on_book(book(SPOT, "63001", qty="0.2"), 2)  # a part of the target

    assert [change.order_list for change in began if isinstance(change, ListUpdated)] == [placed]
    assert (placed.status, placed.contingency, placed.created_at_ms) == ("EXEC_STARTED", "OCO", 1)
    (told,) = [change.order_list for change in ended if isinstance(change, ListUpdated)]
    assert (told.status, told.updated_at_ms) == ("ALL_DONE", 2)
    assert known(venue, "up").status is OrderStatus.PARTIALLY_FILLED
    assert venue.on_book(book(SPOT, "63100"), 3)[-1] != told


def test_lists_are_found_by_number_and_by_their_own_client_id() -> None:
    venue = trading()
    first, _ = venue.place_list(pair(MAKER, STOP_LOSS), 1)
    canceled, changes = venue.cancel_order_list(SYMBOL, 2, list_id=first.list_id)
    second, _ = venue.place_list(pair(TAKE_PROFIT, STOP_LOSS_LIMIT), 3)

    assert (canceled.status, [one.status for one in canceled.orders]) == ("ALL_DONE", [OrderStatus.CANCELED] * 2)
    assert sum(isinstance(change, ListUpdated) for change in changes) == 1
    assert venue.order_list(list_id=first.list_id) == canceled
    assert venue.order_list(list_client_id="list") == second
    assert venue.order_lists() == venue.order_lists(SYMBOL) == (canceled, second)
    assert venue.order_lists("ETHUSDT") == ()
    assert venue.order_list(list_id="99") is venue.order_list(list_id="x") is venue.order_list() is None
    assert venue.cancel_order_list(SYMBOL, 4, list_client_id="list")[0].list_id == second.list_id
    for unknown in ({"list_id": first.list_id}, {"list_client_id": "list"}, {"list_client_id": "never"}):
        with pytest.raises(Refusal, match="Unknown order"):
            venue.cancel_order_list(SYMBOL, 5, **unknown)


def test_a_list_of_an_older_state_is_done_when_a_leg_is() -> None:
    venue = trading()
    venue.place_oco(oco("done", qty="0.01"), 1)
    venue.cancel_list(SYMBOL, "done", 2)
    venue.place_oco(oco("open", qty="0.01"), 3)
    state = venue.export_state()
    for row in state["list"].values():
        del row["done"], row["updated_at_ms"]

    assert Exchange.restore(RULES, state).order_lists() == venue.order_lists()


@pytest.mark.parametrize(
    ("new", "code", "words"),
    [
        pytest.param(pair(leg("up", OrderType.LIMIT, price="63000"), STOP_LOSS), -1158, "not supported", id="a limit"),
        pytest.param(
            pair(MAKER, leg("down", OrderType.LIMIT_MAKER, price="58000")), -1168, "contingent", id="two limit makers"
        ),
        pytest.param(
            pair(leg("up", OrderType.STOP_LOSS, "63000"), leg("down", OrderType.LIMIT_MAKER, price="58000")),
            -1166,
            "sell OCO must be above",
            id="limit maker below a sale",
        ),
        pytest.param(
            pair(MAKER, leg("down", OrderType.STOP_LOSS, "58000"), BUY),
            -1165,
            "buy OCO must be below",
            id="limit maker above a purchase",
        ),
        pytest.param(
            pair(leg("up", OrderType.STOP_LOSS, "63000"), STOP_LOSS), -1197, "sell OCO", id="stop above a sale"
        ),
        pytest.param(
            pair(TAKE_PROFIT, leg("down", OrderType.TAKE_PROFIT, "58000")), -1199, "sell OCO", id="profit below a sale"
        ),
        pytest.param(
            pair(leg("up", OrderType.STOP_LOSS, "63000"), STOP_LOSS, BUY), -1196, "buy OCO", id="stop below a purchase"
        ),
        pytest.param(
            pair(TAKE_PROFIT, leg("down", OrderType.TAKE_PROFIT, "58000"), BUY),
            -1198,
            "buy OCO",
            id="profit above a purchase",
        ),
        pytest.param(pair(leg("up", OrderType.LIMIT_MAKER), STOP_LOSS), -1102, "abovePrice", id="maker without price"),
        pytest.param(
            pair(MAKER, leg("down", OrderType.STOP_LOSS)), -1102, "belowStopPrice", id="stop without a stop price"
        ),
        pytest.param(
            pair(MAKER, leg("down", OrderType.STOP_LOSS, "58000", "57900")), -1106, "belowPrice", id="market with price"
        ),
        pytest.param(
            pair(leg("up", OrderType.LIMIT_MAKER, "63000", "63000"), STOP_LOSS),
            -1106,
            "aboveStopPrice",
            id="maker with a stop price",
        ),
        pytest.param(
            pair(leg("up", OrderType.TAKE_PROFIT, "59000"), STOP_LOSS), -2010, "relationship", id="profit reached"
        ),
        pytest.param(
            pair(leg("up", OrderType.TAKE_PROFIT_LIMIT, "63000", "59000"), STOP_LOSS),
            -2010,
            "relationship",
            id="limit on the wrong side",
        ),
        pytest.param(pair(MAKER, leg("up", OrderType.STOP_LOSS, "58000")), -2010, "Duplicate", id="one id for both"),
        pytest.param(
            pair(TAKE_PROFIT, leg("down", OrderType.STOP_LOSS, "58000.001")), -1013, "PRICE_FILTER", id="off tick"
        ),
    ],
)
def test_a_list_is_refused(new: NewOrderList, code: int, words: str) -> None:
    venue = trading()
    before = venue.export_state()

    with pytest.raises(Refusal) as caught:
        venue.place_list(new, 1)

    assert (caught.value.code, venue.export_state()) == (code, before)
    assert words in caught.value.text


def test_two_waiting_legs_count_twice() -> None:
    venue = trading()
    for number in range(2):
        venue.place_list(
            pair(
                leg(f"u{number}", OrderType.TAKE_PROFIT, "63000"),
                leg(f"d{number}", OrderType.STOP_LOSS, "58000"),
                list_id=f"l{number}",
            ),
            1,
        )

    with pytest.raises(Refusal, match="MAX_NUM_ALGO_ORDERS"):
        venue.place_list(pair(TAKE_PROFIT, STOP_LOSS), 2)
    venue.place_list(pair(MAKER, STOP_LOSS), 2)


# --- quote quantities


@pytest.mark.parametrize(
    ("side", "qty"),
    [
        pytest.param(BUY, "0.09999", id="a purchase spends no more"),
        pytest.param(SELL, "0.1", id="a sale brings no more"),
    ],
)
def test_a_quote_quantity_trades_as_much_as_it_allows(side: Side, qty: str) -> None:
    venue = trading()
    venue.on_book(book(SPOT, "60000", qty="0.06"), 1)

    placed, _ = venue.place(order("q", side, 0, market=SPOT, quote="6000"), 2)

    assert (placed.status, placed.qty, placed.filled_qty) == (OrderStatus.FILLED, D(qty), D(qty))
    assert placed.quote_qty == D("6000")
    assert D("6000") - D("0.61") < placed.filled_quote <= D("6000")
    assert len(venue.fills(SPOT, SYMBOL)) == 2


def test_a_quote_quantity_without_a_book_expires() -> None:
    placed, _ = exchange().place(order("q", BUY, 0, market=SPOT, quote="6000"), 1)

    assert (placed.status, placed.reason) == (OrderStatus.CANCELED, "INSUFFICIENT_LIQUIDITY")


@pytest.mark.parametrize(
    ("new", "code", "words"),
    [
        pytest.param(order("q", BUY, 0, market=SPOT, quote="10000.01"), -2010, "insufficient", id="more than is free"),
        pytest.param(order("q", SELL, 0, market=SPOT, quote="60100"), -2010, "insufficient", id="more than is held"),
        pytest.param(order("q", BUY, "0.1", market=SPOT, quote="6000"), -1128, "Combination", id="both quantities"),
        pytest.param(order("q", BUY, 0, market=SPOT, quote="4.99"), -1013, "NOTIONAL", id="too little"),
        pytest.param(order("q", BUY, 0, market=SPOT, quote="6.000000001"), -1111, "Precision", id="too precise"),
        pytest.param(
            order("q", BUY, 0, "59000", market=SPOT, quote="6000"), -1106, "quoteOrderQty", id="a limit order"
        ),
        pytest.param(order("q", BUY, quote="6000"), -1106, "quoteOrderQty", id="a perpetual"),
    ],
)
def test_a_quote_quantity_is_refused(new: NewOrder, code: int, words: str) -> None:
    venue = trading()

    with pytest.raises(Refusal) as caught:
        venue.place(new, 1)

    assert caught.value.code == code
    assert words in caught.value.text
