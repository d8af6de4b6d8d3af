"""How orders meet the outside book: taking it level by level, resting in price and time, expiring."""

from dataclasses import replace

import pytest

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce
from chimera.domain.execution.orders import OrderUpdated, SelfTrade
from chimera.domain.matching.exchange import Exchange
from tests.domain.matching.venue import RULES, SYMBOL, D, book, exchange, move, order, trading

BUY, SELL = Side.BUY, Side.SELL
FUT, SPOT = Market.FUT, Market.SPOT


def fills(venue: Exchange, market: Market = FUT) -> list[tuple[str, str, bool]]:
    return [(str(fill.price), str(fill.qty.normalize()), fill.maker) for fill in venue.fills(market, SYMBOL)]


def statuses(changes: tuple[object, ...]) -> list[tuple[str, str]]:
    return [(c.order.client_order_id, c.order.status.value) for c in changes if isinstance(c, OrderUpdated)]


@pytest.mark.parametrize("market", [pytest.param(FUT, id="futures"), pytest.param(SPOT, id="spot")])
def test_a_market_order_takes_one_fill_a_level(market: Market) -> None:
    venue = trading()
    venue.on_book(book(market, "60000", qty="0.04"), 1)

    placed, changes = venue.place(order(qty="0.1", market=market), 2)

    assert placed.status is OrderStatus.FILLED
    assert fills(venue, market) == [("60001", "0.04", False), ("60002", "0.04", False), ("60003", "0.02", False)]
    assert [status for _, status in statuses(changes)] == ["NEW", "PARTIALLY_FILLED", "PARTIALLY_FILLED", "FILLED"]


def test_what_a_taker_ate_is_gone_until_the_next_book() -> None:
    venue = trading()
    venue.on_book(book(FUT, "60000", qty="0.04"), 1)

    venue.place(order("a", qty="0.05"), 2)
    venue.place(order("b", qty="0.01"), 2)
    venue.on_book(book(FUT, "60000", qty="0.04"), 3)
    venue.place(order("c", qty="0.01"), 4)

    assert [price for price, _, _ in fills(venue)] == ["60001", "60002", "60002", "60001"]


def test_behind_the_visible_levels_a_market_order_finds_ever_worse_ones_and_then_expires() -> None:
    venue = exchange(rules=replace(RULES, synthetic_levels=2))
    venue.on_book(book(FUT, "60000", qty="0.01", levels=2), 1)

    placed, _ = venue.place(order(qty="0.05"), 2)

    assert [price for price, _, _ in fills(venue)] == ["60001", "60002", "60003", "60004"]
    assert (placed.status, placed.reason, placed.filled_qty) == (
        OrderStatus.CANCELED,
        "INSUFFICIENT_LIQUIDITY",
        D("0.04"),
    )


def test_a_market_order_without_any_book_expires_unfilled() -> None:
    placed, _ = exchange().place(order(), 1)

    assert (placed.status, placed.reason) == (OrderStatus.CANCELED, "INSUFFICIENT_LIQUIDITY")


def test_a_limit_order_takes_up_to_its_price_and_rests_with_the_rest() -> None:
    venue = trading()
    venue.on_book(book(FUT, "60000", qty="0.04"), 1)

    placed, _ = venue.place(order(qty="0.1", price="60001.5"), 2)

    assert (placed.status, placed.filled_qty) == (OrderStatus.PARTIALLY_FILLED, D("0.04"))
    assert venue.open_orders(FUT) == (placed,)


@pytest.mark.parametrize(
    ("tif", "market", "status", "filled", "reason"),
    [
        pytest.param(TimeInForce.IOC, FUT, "CANCELED", "0.04", "UNFILLED_IOC_QUANTITY_EXPIRED", id="IOC keeps a part"),
        pytest.param(TimeInForce.FOK, SPOT, "CANCELED", "0", "UNFILLED_FOK_ORDER_EXPIRED", id="spot FOK expires whole"),
        pytest.param(TimeInForce.GTX, FUT, "NEW", "0", None, id="post-only below the ask rests"),
    ],
)
def test_time_in_force(tif: TimeInForce, market: Market, status: str, filled: str, reason: str | None) -> None:
    venue = trading()
    venue.on_book(book(market, "60000", qty="0.04"), 1)
    price = "60000.9" if tif is TimeInForce.GTX else "60001"

    placed, _ = venue.place(order(qty="0.1", price=price, tif=tif, market=market), 2)

    assert (placed.status, placed.filled_qty, placed.reason) == (status, D(filled), reason)


def test_a_resting_order_fills_whole_at_its_own_price_once_the_outside_trades_through_it() -> None:
    venue = trading()
    venue.place(order(qty="0.1", price="59990"), 1)

    quiet = venue.on_book(book(FUT, "59990", half_spread="1"), 2)
    changes = venue.on_book(book(FUT, "59988.9", qty="0.001"), 3)

    assert quiet == ()
    assert fills(venue) == [("59990", "0.1", True)]
    assert statuses(changes) == [("a", "FILLED")]


def test_at_the_touch_a_share_of_the_outside_quantity_reaches_us_in_time_order() -> None:
    venue = trading()
    for name in ("first", "second"):
        venue.place(order(name, qty="0.15", price="59990"), 1)

    venue.on_book(book(FUT, "59989", qty="0.8"), 2)

    assert [(f.client_order_id, f.qty) for f in venue.fills(FUT, SYMBOL)] == [
        ("first", D("0.15")),
        ("second", D("0.05")),
    ]


def test_with_a_touch_ratio_of_nothing_only_a_trade_through_fills() -> None:
    venue = exchange(rules=replace(RULES, touch_ratio=D(0)))
    venue.place(order(price="59990"), 1)

    assert venue.on_book(book(FUT, "59989"), 2) == ()


def test_better_price_comes_before_earlier_time() -> None:
    venue = trading()
    venue.place(order("low", price="59980"), 1)
    venue.place(order("high", price="59990"), 2)
    venue.place(order("low-late", price="59980"), 3)

    changes = venue.on_book(book(FUT, "59900"), 4)

    assert [name for name, _ in statuses(changes)] == ["high", "low", "low-late"]


@pytest.mark.parametrize("market", [pytest.param(FUT, id="futures"), pytest.param(SPOT, id="spot")])
def test_an_own_maker_in_the_way_of_an_own_taker_expires(market: Market) -> None:
    venue = trading()
    venue.place(order("maker", SELL, price="60000.5", market=market), 1)
    venue.place(order("behind", SELL, price="60010", market=market), 1)

    venue.place(order("taker", BUY, market=market), 2)

    maker = venue.order(market, SYMBOL, "maker")
    assert maker is not None
    assert (maker.status, maker.reason) == (OrderStatus.CANCELED, "EXPIRED_IN_MATCH")
    assert [name.client_order_id for name in venue.open_orders(market)] == ["behind"]
    assert fills(venue, market)[0][0] == "60001"


@pytest.mark.parametrize(
    ("stp", "maker", "taker", "filled"),
    [
        pytest.param(SelfTrade.EXPIRE_MAKER, "EXPIRED_IN_MATCH", None, "0.1", id="the maker expires"),
        pytest.param(SelfTrade.NONE, "EXPIRED_IN_MATCH", None, "0.1", id="nothing asked"),
        pytest.param(SelfTrade.EXPIRE_TAKER, None, "EXPIRED_IN_MATCH", "0.04", id="the taker expires where they meet"),
        pytest.param(SelfTrade.EXPIRE_BOTH, "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH", "0.04", id="both expire"),
    ],
)
@pytest.mark.parametrize("market", list(Market))
def test_what_gives_way_when_an_account_meets_itself(
    stp: SelfTrade, maker: str | None, taker: str | None, filled: str, market: Market
) -> None:
    venue = trading()
    venue.on_book(book(market, "60000", qty="0.04"), 1)
    venue.place(order("maker", SELL, "0.01", price="60002", market=market), 1)
    venue.place(order("behind", SELL, "0.01", price="60010", market=market), 1)

    placed, _ = venue.place(order("taker", BUY, "0.1", "60005", market=market, stp=stp), 2)

    own = venue.order(market, SYMBOL, "maker")
    assert own is not None
    assert (own.reason, placed.reason, placed.filled_qty) == (maker, taker, D(filled))
    assert placed.stp is stp
    assert own.filled_qty == 0
    behind = venue.order(market, SYMBOL, "behind")
    assert behind is not None
    assert behind.status is OrderStatus.NEW


def test_an_own_order_out_of_reach_gives_no_way() -> None:
    venue = trading()
    venue.place(order("maker", SELL, "0.01", price="60002"), 1)

    placed, _ = venue.place(order("taker", BUY, "0.1", stp=SelfTrade.EXPIRE_BOTH), 2)

    assert (placed.status, fills(venue)) == (OrderStatus.FILLED, [("60001", "0.1", False)])
    assert len(venue.open_orders(FUT)) == 1


def test_post_only_is_refused_against_an_own_order_too() -> None:
    venue = trading()
    venue.place(order("maker", SELL, price="60000.5"), 1)

    with pytest.raises(Exception, match="Post Only"):
        venue.place(order("taker", BUY, price="60000.5", tif=TimeInForce.GTX), 2)


def test_cancel_all_leaves_the_other_book_alone() -> None:
    venue = trading()
    venue.place(order("limit", price="59000"), 1)
    venue.place(order("stop", SELL, kind=OrderType.STOP_MARKET, stop="58000"), 1)

    venue.cancel_all(FUT, SYMBOL, 2)
    stops = venue.open_conditional(SYMBOL)
    changes = venue.cancel_all(FUT, SYMBOL, 3, conditional=True)

    assert [one.client_order_id for one in stops] == ["stop"]
    assert statuses(changes) == [("stop", "CANCELED")]
    assert venue.open_orders(FUT) == venue.open_conditional() == ()


def test_a_market_that_reaches_nothing_of_ours_says_nothing() -> None:
    venue = trading()
    venue.place(order("limit", price="59000"), 1)

    assert venue.on_book(book(FUT, "60010"), 2) == ()


def test_fills_are_found_by_time_and_by_id() -> None:
    venue = trading()
    for now_ms in (1, 2, 3):
        venue.place(order(f"o{now_ms}", qty="0.01"), now_ms)
    first, second, third = venue.fills(FUT, SYMBOL)

    assert venue.fills(FUT, SYMBOL, since_ms=2) == (second, third)
    assert venue.fills(FUT, SYMBOL, from_id=third.trade_id) == (third,)
    assert venue.fills(SPOT, SYMBOL) == ()
    assert (first.trade_id, second.trade_id, third.trade_id) == (1, 2, 3)


def test_orders_are_listed_by_symbol_and_time() -> None:
    venue = trading()
    for now_ms in (1, 2, 3):
        for market in Market:
            venue.place(order(f"o{now_ms}", price="59000", qty="0.01", market=market), now_ms)

    assert [one.client_order_id for one in venue.orders(FUT, SYMBOL, since_ms=2)] == ["o2", "o3"]
    assert venue.orders(FUT, SYMBOL) == venue.orders(FUT)
    assert venue.orders(FUT, since_ms=2) == venue.orders(FUT, SYMBOL, 2)
    assert venue.orders(FUT, "ETHUSDT") == venue.orders(FUT, SYMBOL, since_ms=4) == ()
    assert {one.market for one in venue.orders(SPOT)} == {SPOT}


def test_an_order_knows_what_its_fills_were_worth() -> None:
    venue = trading()
    venue.on_book(book(FUT, "60000", qty="0.04"), 1)

    placed, _ = venue.place(order(qty="0.1"), 2)

    assert placed.filled_quote == D("60001") * D("0.04") + D("60002") * D("0.04") + D("60003") * D("0.02")
    assert placed.filled_quote == sum(fill.price * fill.qty for fill in venue.fills(FUT, SYMBOL))


def test_orders_and_their_fills_are_found_by_the_numbers_of_both_books() -> None:
    venue = trading()
    entry, _ = venue.place(order("entry", qty="0.1"), 1)
    waiting, _ = venue.place(order("stop", SELL, kind=OrderType.STOP_MARKET, stop="59000", reduce_only=True), 1)
    assert waiting.venue_algo_id is not None
    untriggered = venue.order_by_number(FUT, SYMBOL, "")

    move(venue, "58990", 2)

    closed = venue.order(FUT, SYMBOL, "stop")
    assert closed is not None
    assert untriggered is None
    assert venue.order_by_number(FUT, SYMBOL, entry.venue_order_id) == entry
    assert venue.order_by_number(FUT, SYMBOL, closed.venue_order_id) == closed
    assert venue.order_by_algo_id(SYMBOL, waiting.venue_algo_id) == venue.algo_order(SYMBOL, "stop") == closed
    assert venue.fills_of(FUT, SYMBOL, closed.venue_order_id) == venue.fills(FUT, SYMBOL)[1:]
    assert venue.order_by_number(SPOT, SYMBOL, entry.venue_order_id) is None
    assert venue.order_by_algo_id("ETHUSDT", waiting.venue_algo_id) is None
    assert venue.fills_of(SPOT, SYMBOL, entry.venue_order_id) == ()


def test_a_regular_order_does_not_hide_the_conditional_that_had_its_client_id() -> None:
    venue = trading()
    venue.place(order("same", SELL, kind=OrderType.STOP_MARKET, stop="58000"), 1)
    venue.cancel(FUT, SYMBOL, "same", 2, conditional=True)
    venue.place(order("same", price="59000"), 3)

    newest, algo = venue.order(FUT, SYMBOL, "same"), venue.algo_order(SYMBOL, "same")

    assert newest is not None
    assert algo is not None
    assert (newest.type, algo.type) == (OrderType.LIMIT, OrderType.STOP_MARKET)


def test_a_state_written_before_a_field_was_known_is_restored_with_what_follows_from_the_rest() -> None:
    venue = trading()
    venue.place(order("entry", qty="0.1"), 1)
    venue.place(order("rest", price="59000", market=SPOT), 1)
    state = venue.export_state()
    for row in state["order"].values():
        del row["filled_quote"]

    restored = Exchange.restore(RULES, state)

    assert restored.orders(FUT) == venue.orders(FUT)
    assert restored.orders(SPOT) == venue.orders(SPOT)
