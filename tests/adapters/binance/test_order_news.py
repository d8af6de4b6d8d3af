from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.adapters.binance.order_news import OrderNews
from chimera.contracts.enums import Market, OrderStatus, OrderType, Side
from chimera.domain.execution.orders import VenueFill, VenueOrder


def order(ts: int, status: OrderStatus, filled: int = 0, **more: Any) -> VenueOrder:
    return replace(
        VenueOrder(
            client_order_id="ours",
            venue_order_id="7",
            market=Market.FUT,
            symbol="BTCUSDT",
            side=Side.SELL,
            type=OrderType.MARKET,
            status=status,
            qty=Decimal(3),
            filled_qty=Decimal(filled),
            price=None,
            stop_price=None,
            reduce_only=True,
            conditional=False,
            created_at_ms=0,
            updated_at_ms=ts,
        ),
        **more,
    )


def algo(ts: int, status: OrderStatus, **more: Any) -> VenueOrder:
    said = {"venue_order_id": "", "venue_algo_id": "5", "conditional": True, "type": OrderType.STOP_MARKET}
    return order(ts, status, **(said | {"stop_price": Decimal(90)} | more))


def fill(trade_id: int, side: Side = Side.SELL) -> VenueFill:
    return VenueFill(
        market=Market.FUT,
        symbol="BTCUSDT",
        side=side,
        trade_id=trade_id,
        client_order_id="ours",
        venue_order_id="7",
        price=Decimal(100),
        qty=Decimal(1),
        fee=Decimal(0),
        fee_asset="USDT",
        maker=False,
        realized_pnl_usdt=Decimal(0),
        ts=trade_id,
    )


NEW, PART, FILLED, CANCELED = (
    OrderStatus.NEW,
    OrderStatus.PARTIALLY_FILLED,
    OrderStatus.FILLED,
    OrderStatus.CANCELED,
)


@pytest.mark.parametrize(
    ("first", "then", "is_news"),
    [
        pytest.param(order(5, NEW), order(5, NEW), False, id="again"),
        pytest.param(order(5, NEW), order(4, NEW), False, id="earlier"),
        pytest.param(order(5, NEW), order(5, PART, 1), True, id="same instant, more filled"),
        pytest.param(order(5, PART, 1), order(6, NEW), False, id="less filled, whatever the time"),
        pytest.param(order(5, PART, 1), order(5, CANCELED, 1), True, id="same instant, ended"),
        pytest.param(order(5, CANCELED), order(9, NEW), False, id="ended stays ended"),
        pytest.param(order(5, CANCELED), order(9, CANCELED), False, id="ended again"),
        pytest.param(order(5, CANCELED, 1), order(4, FILLED, 3), True, id="ended, and more filled than was known"),
    ],
)
def test_an_order_only_advances(first: VenueOrder, then: VenueOrder, is_news: bool) -> None:
    news = OrderNews()
    assert news.regular(first, None) is not None

    assert (news.regular(then, None) is not None) is is_news


def test_a_late_fill_is_told_with_the_newest_state() -> None:
    news = OrderNews()
    news.regular(order(6, FILLED, 3), fill(2))

    told = news.regular(order(5, PART, 1), fill(1))

    assert told is not None
    assert (told.order.status, told.order.filled_qty, told.fill) == (FILLED, Decimal(3), fill(1))
    assert news.regular(order(5, PART, 1), fill(1)) is None


def test_a_trade_with_ourselves_is_two_fills() -> None:
    news = OrderNews()

    assert news.regular(order(5, FILLED, 3), fill(1)) is not None
    bought = news.regular(order(5, FILLED, 3, venue_order_id="8", side=Side.BUY), fill(1, Side.BUY))

    assert bought is not None
    assert bought.fill is not None


@pytest.mark.parametrize("algo_first", [True, False])
def test_the_triggered_order_and_its_algo_order_are_one(algo_first: bool) -> None:
    news = OrderNews()
    triggered = algo(12, NEW, venue_order_id="7", triggered=True)
    regular = order(13, FILLED, 3)
    news.algo(algo(1, NEW, created_at_ms=1))

    for each in (triggered, regular) if algo_first else (regular, triggered):
        if each.conditional:
            last = news.algo(each)
        else:
            last = news.regular(each, fill(1))
            assert last is not None
            assert (last.order.type, last.order.stop_price) == (OrderType.STOP_MARKET, Decimal(90))
            assert (last.order.conditional, last.order.triggered, last.order.venue_algo_id) == (True, True, "5")
            assert last.order.created_at_ms == 1

    assert (last is None) is not algo_first
    assert news.algo(algo(14, FILLED, filled=3, venue_order_id="7", triggered=True)) is None


def test_a_client_id_used_again_names_another_order() -> None:
    news = OrderNews()
    news.algo(algo(1, CANCELED))

    told = news.regular(order(5, NEW, created_at_ms=5), None)

    assert told is not None
    assert not told.order.conditional


def test_an_order_whose_beginning_nobody_heard_is_dated_by_what_was_heard_first() -> None:
    news = OrderNews()

    old = news.regular(order(500, PART, 1), fill(1))
    new = news.regular(order(600, NEW, venue_order_id="8", created_at_ms=600), None)
    new_filled = news.regular(order(700, FILLED, 3, venue_order_id="8"), fill(2))

    assert [told and told.order.created_at_ms for told in (old, new, new_filled)] == [500, 600, 600]


def test_a_beginning_that_is_heard_late_is_no_news_and_dates_what_comes_after() -> None:
    news = OrderNews()
    filled = news.regular(order(700, FILLED, 3), fill(2))

    began = news.regular(order(600, NEW, created_at_ms=600), None)
    late = news.regular(order(650, PART, 1), fill(1))

    assert filled is not None
    assert filled.order.created_at_ms == 700
    assert began is None
    assert late is not None
    assert (late.order.status, late.order.created_at_ms) == (FILLED, 600)


def test_a_stop_that_was_first_heard_of_when_it_triggered_is_dated_by_that() -> None:
    news = OrderNews()
    news.algo(algo(500, NEW, triggered=True, venue_order_id="7"))

    told = news.regular(order(510, FILLED, 3, created_at_ms=510, venue_order_id="7"), fill(1))

    assert told is not None
    assert told.order.created_at_ms == 500


def test_memory_is_bounded() -> None:
    news = OrderNews(orders_max=10, fills_max=10)

    for at in range(1_000):
        assert news.regular(order(at, FILLED, 3, venue_order_id=str(at)), fill(at)) is not None
        assert news.algo(algo(at, NEW, venue_algo_id=str(at), client_order_id=f"stop-{at}")) is not None

    assert {len(news._told), len(news._algo), len(news._fills)} == {10}
