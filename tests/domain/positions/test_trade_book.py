"""A trade from its fills: the parts add up, and neither order nor repetition of the telling matters."""

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Market, Side
from chimera.domain.exact import money
from chimera.domain.positions.trade_book import BookFill, TradeBook, book_of

D = Decimal


def fill(
    number: int,
    side: Side,
    price: str,
    qty: str,
    *,
    order: str = "o",
    fee: str = "0",
    base: str = "0",
    told: str | None = None,
    netted: str = "0",
    ts: int | None = None,
) -> BookFill:
    return BookFill(
        fill_id=f"FUT-BTCUSDT-{number}-{side.value[0]}",
        order_id=order,
        side=side,
        price=D(price),
        qty=D(qty),
        fee_usdt=D(fee),
        ts=number if ts is None else ts,
        fee_base_qty=D(base),
        told_pnl_usdt=None if told is None else D(told),
        foreign_qty=D(netted),
    )


def opened(market: Market, side: Side, *fills: BookFill) -> TradeBook:
    book = book_of(market, side, fills)
    assert book is not None
    return book


def test_there_is_no_trade_before_its_first_fill() -> None:
    assert book_of(Market.FUT, Side.BUY, ()) is None
    assert book_of(Market.FUT, Side.BUY, (fill(1, Side.SELL, "100", "1"),)) is None


@pytest.mark.parametrize(
    ("side", "exit_price", "pnl"),
    [
        pytest.param(Side.BUY, "110", "10", id="a long earns when the price rises"),
        pytest.param(Side.BUY, "95", "-5", id="a long loses when it falls"),
        pytest.param(Side.SELL, "95", "5", id="a short earns when it falls"),
        pytest.param(Side.SELL, "110", "-10", id="a short loses when it rises"),
    ],
)
def test_a_close_earns_the_way_from_the_average_entry(side: Side, exit_price: str, pnl: str) -> None:
    book = opened(
        Market.FUT,
        side,
        fill(1, side, "99", "1", fee="0.1"),
        fill(2, side, "101", "1", fee="0.2"),
        fill(3, side.opposite, exit_price, "1", order="x", fee="0.3"),
    )

    assert (book.entry_price_avg, book.qty_open) == (D(100), D(1))
    assert book.realized_pnl_usdt == D(pnl)
    assert (book.entry_fees_usdt, book.fees_usdt) == (D("0.3"), D("0.6"))


def test_what_the_exchange_booked_for_a_close_counts() -> None:
    book = opened(
        Market.FUT, Side.BUY, fill(1, Side.BUY, "100", "3"), fill(2, Side.SELL, "110", "1", told="9.99999999")
    )

    assert book.realized_pnl_usdt == D("9.99999999")


def test_a_spot_fee_in_the_base_asset_lessens_what_is_held() -> None:
    book = opened(
        Market.SPOT,
        Side.BUY,
        fill(1, Side.BUY, "60000", "0.1", base="0.0001", fee="6"),
        fill(2, Side.SELL, "61000", "0.0999", order="x", fee="6.0939", told="0"),
    )

    assert (book.qty_opened, book.qty_open) == (D("0.0999"), D(0))
    assert book.realized_pnl_usdt == D("99.9")
    cash = -D("0.1") * 60000 + D("0.0999") * 61000 - D("6.0939")
    assert book.realized_pnl_usdt - book.fees_usdt == cash


def test_more_sold_than_was_held_earns_nothing_for_the_rest() -> None:
    book = opened(Market.SPOT, Side.BUY, fill(1, Side.BUY, "100", "1"), fill(2, Side.SELL, "110", "3", order="x"))

    assert (book.qty_open, book.realized_pnl_usdt) == (D(0), D(10))


def test_fills_of_one_moment_are_taken_in_the_exchanges_order() -> None:
    book = opened(
        Market.FUT,
        Side.BUY,
        fill(10, Side.SELL, "110", "1", order="x", ts=5),
        fill(9, Side.BUY, "100", "1", ts=5),
    )

    assert book.realized_pnl_usdt == D(10)


def test_what_an_entry_netted_was_never_opened_and_its_money_counts() -> None:
    book = opened(
        Market.FUT,
        Side.SELL,
        fill(1, Side.SELL, "100", "4", fee="1", told="7", netted="4"),
        fill(2, Side.SELL, "90", "6", fee="1", told="0"),
        fill(3, Side.BUY, "80", "6", fee="1", told="60"),
    )

    assert (book.qty_opened, book.qty_open, book.netted_qty) == (D(6), D(0), D(4))
    assert book.entry_price_avg == D(90)
    assert (book.realized_pnl_usdt, book.fees_usdt) == (D(67), D(3))


def test_an_entry_that_netted_all_it_bought_has_a_price_and_opened_nothing() -> None:
    book = opened(Market.FUT, Side.SELL, fill(1, Side.SELL, "100", "4", told="-3", netted="4"))

    assert (book.qty_opened, book.qty_open, book.entry_price_avg) == (D(0), D(0), D(100))
    assert book.realized_pnl_usdt == D(-3)


quantities = st.integers(1, 50).map(lambda steps: D(steps) / 1000)
prices = st.integers(1_000, 90_000).map(D)
fees = st.integers(0, 1_000).map(lambda cents: D(cents) / 100)


@st.composite
def lives(draw: st.DrawFn) -> tuple[Side, list[BookFill]]:
    """Entries and exits that never sell more than is held."""
    side = draw(st.sampled_from(Side))
    fills: list[BookFill] = []
    held = D(0)
    for number in range(1, draw(st.integers(1, 12)) + 1):
        qty = draw(quantities)
        leaves = held > 0 and draw(st.booleans())
        qty = min(qty, held) if leaves else qty
        held += -qty if leaves else qty
        fills.append(
            BookFill(
                fill_id=f"FUT-BTCUSDT-{number}-{(side.opposite if leaves else side).value[0]}",
                order_id=f"o{draw(st.integers(1, 4))}-{leaves}",
                side=side.opposite if leaves else side,
                price=draw(prices),
                qty=qty,
                fee_usdt=draw(fees),
                ts=draw(st.integers(0, 3)) + number * 10,
            )
        )
    return side, fills


@given(lives())
def test_the_parts_add_up(life: tuple[Side, list[BookFill]]) -> None:
    side, fills = life

    book = opened(Market.FUT, side, *fills)

    assert book.qty_opened == sum((each.qty for each in fills if each.side is side), D(0))
    assert book.qty_open == book.qty_opened - sum((exit.qty for exit in book.exits), D(0))
    assert book.realized_pnl_usdt == sum((exit.pnl_usdt for exit in book.exits), D(0))
    assert book.fees_usdt == sum((each.fee_usdt for each in fills), D(0))
    assert (book.opened_at, book.last_fill_at) == (fills[0].ts, fills[-1].ts)


@given(lives())
def test_a_trade_that_is_flat_earned_the_money_that_changed_hands(life: tuple[Side, list[BookFill]]) -> None:
    side, fills = life
    open_qty = opened(Market.FUT, side, *fills).qty_open
    if open_qty:
        last = BookFill(
            fill_id="FUT-BTCUSDT-99-X",
            order_id="end",
            side=side.opposite,
            price=D(500),
            qty=open_qty,
            fee_usdt=D(0),
            ts=1_000,
        )
        fills = [*fills, last]

    book = opened(Market.FUT, side, *fills)

    cash = sum((-each.side.sign * each.qty * each.price for each in fills), D(0))
    exits = sum(1 for each in fills if each.side is not side)
    assert book.qty_open == 0
    assert abs(book.realized_pnl_usdt - money(cash)) <= exits * D("1e-8")


@given(lives(), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_of_the_telling_matters(
    life: tuple[Side, list[BookFill]], shuffle: random.Random
) -> None:
    side, fills = life
    told = [*fills, *fills[::2]]
    shuffle.shuffle(told)

    assert book_of(Market.FUT, side, told) == book_of(Market.FUT, side, fills)
