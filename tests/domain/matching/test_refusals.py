"""What the exchange refuses, with Binance's own code and words; a refused request leaves no trace."""

from dataclasses import replace

import pytest

from chimera.contracts.enums import Market, OrderType, Side, TimeInForce, WorkingType
from chimera.domain.execution.orders import NewOco, NewOrder
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.refusals import Refusal
from chimera.domain.matching.rules import ExchangeRules
from tests.domain.matching.venue import (
    FUT,
    RULES,
    SPOT,
    SYMBOL,
    D,
    book,
    exchange,
    mark,
    move,
    oco,
    order,
    stop,
    trading,
)

BUY, SELL = Side.BUY, Side.SELL
SPOT_MARKET = Market.SPOT


def refusal_of(venue: Exchange, new: NewOrder | NewOco) -> tuple[int, str]:
    before = venue.export_state()
    with pytest.raises(Refusal) as caught:
        venue.place(new, 1) if isinstance(new, NewOrder) else venue.place_oco(new, 1)
    assert venue.export_state() == before
    return caught.value.code, caught.value.text


@pytest.mark.parametrize(
    ("new", "code", "words"),
    [
        pytest.param(order(symbol="NOPE"), -1121, "Invalid symbol.", id="unknown symbol"),
        pytest.param(order("no spaces"), -4015, "Client order id is not valid.", id="client id"),
        pytest.param(order(kind=OrderType.STOP_LOSS, stop="1"), -1116, "Invalid orderType.", id="a spot type"),
        pytest.param(order(qty="0"), -4003, "Quantity less than", id="no quantity"),
        pytest.param(order(qty="0.0015"), -1111, "Precision is over", id="quantity too precise"),
        pytest.param(order(qty="121"), -4005, "greater than max", id="beyond the market lot"),
        pytest.param(order(price="57000.05"), -4014, "tick size", id="price off tick"),
        pytest.param(order(price="-1"), -4001, "Price less than 0", id="negative price"),
        pytest.param(order(kind=OrderType.LIMIT), -1102, "'price'", id="limit without price"),
        pytest.param(order(price="63000.1"), -4016, "higher than 63000", id="buy too far above the mark"),
        pytest.param(order(side=SELL, price="56999.9"), -4024, "lower than 57000", id="sell too far below the mark"),
        pytest.param(order(qty="0.001", price="49990"), -4164, "no smaller than 50", id="limit too small"),
        pytest.param(order(qty="0.3", side=SELL, reduce_only=True), -2022, "ReduceOnly", id="nothing to reduce"),
        pytest.param(order(price="60001", tif=TimeInForce.GTX), -5022, "Post Only", id="post-only that takes"),
        pytest.param(order(qty="4", price="60001", tif=TimeInForce.FOK), -5021, "FOK", id="fill or kill too large"),
        pytest.param(order(qty="4"), -2019, "Margin is insufficient.", id="no margin"),
        pytest.param(stop("s", SELL, "0.1", "60000"), -2021, "immediately trigger", id="stop at the mark"),
        pytest.param(
            stop("s", SELL, "0.1", "59999", take_profit=True), -2021, "immediately trigger", id="target passed"
        ),
        pytest.param(order(kind=OrderType.STOP_MARKET), -1102, "'triggerPrice'", id="stop without a price"),
        pytest.param(
            order(kind=OrderType.STOP_MARKET, stop="59000.05", side=SELL), -4014, "tick size", id="stop off tick"
        ),
        pytest.param(order(kind=OrderType.STOP_MARKET, stop="0"), -4006, "Stop price", id="stop at zero"),
        pytest.param(stop("s", SELL, "0.1", "59000", close_position=True), -4137, "Quantity must be zero", id="both"),
        pytest.param(
            order(kind=OrderType.STOP_MARKET, qty="0", stop="59000", close_position=True, reduce_only=True),
            -4138,
            "Reduce only",
            id="close position and reduce only",
        ),
    ],
)
def test_futures_refuses_in_its_own_words(new: NewOrder, code: int, words: str) -> None:
    refused_code, text = refusal_of(trading(), new)

    assert refused_code == code
    assert words in text


@pytest.mark.parametrize(
    ("new", "code", "words"),
    [
        pytest.param(order("no spaces", market=SPOT_MARKET), -1100, "Illegal characters", id="client id"),
        pytest.param(order(market=SPOT_MARKET, reduce_only=True), -1106, "'reduceOnly'", id="reduce only"),
        pytest.param(
            order(market=SPOT_MARKET, price="59000", tif=TimeInForce.GTX), -1115, "timeInForce", id="post-only by time"
        ),
        pytest.param(order(market=SPOT_MARKET, price="59000.001"), -1013, "PRICE_FILTER", id="price off tick"),
        pytest.param(order(market=SPOT_MARKET, qty="0.000001"), -1013, "LOT_SIZE", id="below the smallest lot"),
        pytest.param(order(market=SPOT_MARKET, qty="101"), -1013, "MARKET_LOT_SIZE", id="beyond the market lot"),
        pytest.param(order(market=SPOT_MARKET, qty="0.00001"), -1013, "NOTIONAL", id="notional of a market order"),
        pytest.param(order(market=SPOT_MARKET, price="29999"), -1013, "PERCENT_PRICE_BY_SIDE", id="price too far"),
        pytest.param(order(market=SPOT_MARKET, qty="0.2"), -2010, "insufficient balance", id="no quote"),
        pytest.param(order(side=SELL, market=SPOT_MARKET, qty="1.00001"), -2010, "insufficient balance", id="no base"),
        pytest.param(
            order(market=SPOT_MARKET, price="60001", kind=OrderType.LIMIT_MAKER),
            -2010,
            "immediately match and take",
            id="limit maker that takes",
        ),
        pytest.param(
            order(side=SELL, market=SPOT_MARKET, kind=OrderType.STOP_LOSS, stop="60000"),
            -2010,
            "trigger immediately",
            id="stop at the last price",
        ),
        pytest.param(oco(target="59000", stop_at="63000"), -2010, "relationship of the prices", id="oco upside down"),
        pytest.param(oco(target="63000", stop_at="60000"), -2010, "relationship of the prices", id="oco at last"),
        pytest.param(oco(side=BUY, target="63000", stop_at="58000"), -2010, "relationship", id="buying oco as sold"),
        pytest.param(oco(qty="1.1"), -2010, "insufficient balance", id="oco without base"),
        pytest.param(oco(target="63000.001"), -1013, "PRICE_FILTER", id="oco off tick"),
    ],
)
def test_spot_refuses_in_its_own_words(new: NewOrder | NewOco, code: int, words: str) -> None:
    refused_code, text = refusal_of(trading(), new)

    assert refused_code == code
    assert words in text


def test_a_quantity_between_coarse_steps_is_off_step_rather_than_too_precise() -> None:
    coarse = replace(FUT, step_size=D("0.005"), min_qty=D("0.005"))
    venue = exchange(rules=ExchangeRules(instruments=(coarse, SPOT)))
    move(venue, "60000")

    with pytest.raises(Refusal) as caught:
        venue.place(order(qty="0.007", price="59000"), 1)

    assert caught.value.code == -4023


@pytest.mark.parametrize(
    ("market", "code"), [pytest.param(Market.FUT, -4116, id="futures"), pytest.param(Market.SPOT, -2010, id="spot")]
)
def test_a_client_id_is_unique_among_open_orders_only(market: Market, code: int) -> None:
    venue = trading()
    venue.place(order("twice", price="59000", market=market), 1)

    with pytest.raises(Refusal) as caught:
        venue.place(order("twice", price="59000", market=market), 2)
    venue.cancel(market, SYMBOL, "twice", 3)
    again, _ = venue.place(order("twice", price="59000", market=market), 4)

    assert caught.value.code == code
    assert again.created_at_ms == 4
    assert venue.order(market, SYMBOL, "twice") == again
    assert len(venue.orders(market)) == 2


def test_a_filled_client_id_may_fill_a_second_time() -> None:
    """As at the real exchange: whoever resends after an unknown outcome doubles the position."""
    venue = trading()

    venue.place(order("entry"), 1)
    venue.place(order("entry"), 2)

    assert venue.positions()[0].qty == D("0.2")


def test_a_second_close_position_stop_in_one_direction_is_refused() -> None:
    venue = trading()
    venue.place(stop("first", SELL, "0", "59000", close_position=True), 1)

    with pytest.raises(Refusal) as caught:
        venue.place(stop("second", SELL, "0", "58000", close_position=True), 2)

    assert caught.value.code == -4130


def test_only_two_hundred_conditionals_may_wait() -> None:
    venue = trading()
    for number in range(RULES.conditionals_max):
        venue.place(stop(f"s{number}", SELL, "0.1", "59000"), 1)

    with pytest.raises(Refusal) as caught:
        venue.place(stop("one-more", SELL, "0.1", "59000"), 2)

    assert caught.value.code == -4045


def test_spot_allows_five_waiting_stops() -> None:
    venue = trading()
    for number in range(RULES.spot_stops_max):
        venue.place_oco(oco(f"l{number}", qty="0.01"), 1)

    with pytest.raises(Refusal) as caught:
        venue.place_oco(oco("more", qty="0.01"), 2)

    assert caught.value.text == "Filter failure: MAX_NUM_ALGO_ORDERS"


def test_cancelling_what_is_not_open_is_an_unknown_order() -> None:
    venue = trading()
    venue.place(stop("s", SELL, "0.1", "59000"), 1)

    for conditional, client_id in ((False, "never"), (False, "s"), (True, "never")):
        with pytest.raises(Refusal) as caught:
            venue.cancel(Market.FUT, SYMBOL, client_id, 2, conditional=conditional)
        assert (caught.value.code, caught.value.text) == (-2011, "Unknown order sent.")

    assert len(venue.open_conditional()) == 1


@pytest.mark.parametrize(
    ("leverage", "code"),
    [
        pytest.param(0, -4028, id="zero"),
        pytest.param(126, -4028, id="above the first tier"),
        pytest.param(10, -4161, id="lower with a position"),
        pytest.param(125, -2027, id="position beyond the tier"),
    ],
)
def test_leverage_is_refused(leverage: int, code: int) -> None:
    venue = trading()
    venue.place(order(qty="1"), 1)

    with pytest.raises(Refusal) as caught:
        venue.set_leverage(SYMBOL, leverage, 2)

    assert caught.value.code == code
    assert venue.leverage(SYMBOL) == 20


def test_a_position_beyond_the_tier_of_its_leverage_is_refused() -> None:
    venue = trading(usdt="1000000")
    venue.set_leverage(SYMBOL, 125, 1)

    with pytest.raises(Refusal) as caught:
        venue.place(order(qty="1"), 2)

    assert caught.value.code == -2027


@pytest.mark.parametrize(
    ("source", "target", "amount", "code"),
    [
        pytest.param(Market.SPOT, Market.FUT, "10000.01", -5013, id="more than is free"),
        pytest.param(Market.SPOT, Market.FUT, "0", -1130, id="nothing"),
        pytest.param(Market.SPOT, Market.SPOT, "1", -1130, id="to itself"),
    ],
)
def test_a_transfer_is_refused(source: Market, target: Market, amount: str, code: int) -> None:
    venue = trading()

    with pytest.raises(Refusal) as caught:
        venue.transfer(source, target, "USDT", D(amount), 1)

    assert caught.value.code == code
    assert venue.transfers() == ()


def test_a_market_order_is_refused_when_the_book_is_far_from_the_mark() -> None:
    venue = trading()
    venue.on_book(book(Market.FUT, "64000"), 1)

    with pytest.raises(Refusal) as caught:
        venue.place(order(), 2)

    assert caught.value.code == -4131


def test_an_instrument_that_does_not_trade_refuses_orders_but_not_cancels() -> None:
    halted = (replace(FUT, status="HALT"), replace(SPOT, status="HALT"))
    venue = trading()
    venue.place(order("old", price="59000"), 1)
    venue = Exchange.restore(ExchangeRules(instruments=halted), venue.export_state())

    codes = []
    for market in Market:
        with pytest.raises(Refusal) as caught:
            venue.place(order("new", price="59000", market=market), 2)
        codes.append((market, caught.value.code))
    venue.cancel(Market.FUT, SYMBOL, "old", 3)

    assert codes == [(Market.FUT, -4141), (Market.SPOT, -2010)]
    assert venue.open_orders(Market.FUT) == ()


def test_an_exchange_needs_leverage_brackets_for_its_perpetuals() -> None:
    with pytest.raises(ValueError, match="brackets"):
        ExchangeRules(instruments=(replace(FUT, brackets=()),))


def test_working_type_decides_which_price_a_stop_is_measured_against() -> None:
    venue = trading()
    venue.on_mark(mark("59000"), 1)
    new = order("s", SELL, kind=OrderType.STOP_MARKET, stop="59500", reduce_only=True, on=WorkingType.CONTRACT_PRICE)

    placed, _ = venue.place(new, 2)

    assert not placed.triggered
    with pytest.raises(Refusal):
        venue.place(stop("t", SELL, "0.1", "59500"), 3)
