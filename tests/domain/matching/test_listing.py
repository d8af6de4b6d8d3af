"""Rules that change while the exchange runs: filters, halts, markets that only close."""

from dataclasses import replace

import pytest

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.refusals import Refusal
from tests.domain.matching.venue import FUT, SPOT, SYMBOL, D, book, mark, move, oco, order, stop, trading

BUY, SELL = Side.BUY, Side.SELL


def with_status(venue: Exchange, status: str) -> None:
    for instrument in (FUT, SPOT):
        venue.replace_instrument(replace(instrument, status=status))


def refused(venue: Exchange, market: Market, *, reduce_only: bool = False, side: Side = BUY) -> tuple[int, str] | None:
    try:
        venue.check(order(side=side, qty="0.01", market=market, reduce_only=reduce_only), 9)
    except Refusal as refusal:
        return refusal.code, refusal.text
    return None


def test_filters_change_for_what_comes_and_not_for_what_rests() -> None:
    venue = trading()
    venue.place(order("rest", price="59990.1"), 1)

    venue.replace_instrument(replace(FUT, tick_size=D("1"), min_notional=D("7000")))

    with pytest.raises(Refusal) as off_tick:
        venue.place(order("a", price="59990.1"), 2)
    with pytest.raises(Refusal) as too_small:
        venue.place(order("b", price="59990"), 2)
    assert (off_tick.value.code, too_small.value.code) == (-4014, -4164)
    assert venue.instrument(Market.FUT, SYMBOL).tick_size == D("1")
    assert venue.instruments() == (venue.instrument(Market.FUT, SYMBOL), SPOT)
    venue.on_book(book(Market.FUT, "59980"), 3)
    rested = venue.order(Market.FUT, SYMBOL, "rest")
    assert rested is not None
    assert rested.status is OrderStatus.FILLED


@pytest.mark.parametrize(
    ("status", "opening", "closing", "spot"),
    [
        pytest.param("TRADING", None, None, None, id="open"),
        pytest.param("BREAK", -4141, -4141, "Market is closed.", id="break"),
        pytest.param("HALT", -4141, -4141, "Market is closed.", id="halt"),
        pytest.param("SETTLING", -4141, -4141, "Market is closed.", id="settling"),
        pytest.param("CANCEL_ONLY", -4400, None, "This symbol is not permitted for this account.", id="cancel only"),
        pytest.param("CLOSE_ONLY", -4400, None, "Market is closed.", id="close only"),
        pytest.param("PRE_SETTLE", -4140, None, "Market is closed.", id="about to settle"),
    ],
)
def test_a_status_says_what_may_be_placed(status: str, opening: int | None, closing: int | None, spot: str) -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)

    with_status(venue, status)

    assert (refused(venue, Market.FUT) or (None,))[0] == opening
    assert (refused(venue, Market.FUT, reduce_only=True, side=SELL) or (None,))[0] == closing
    assert refused(venue, Market.SPOT) == (None if spot is None else (-2010, spot))


@pytest.mark.parametrize("status", ["BREAK", "HALT", "SETTLING", "CANCEL_ONLY"])
def test_cancels_always_pass(status: str) -> None:
    venue = trading()
    for market in Market:
        venue.place(order("a", price="59000", market=market), 1)
    venue.place(stop("s", SELL, "0.1", "58000"), 1)
    venue.place_oco(oco(), 1)

    with_status(venue, status)

    for market in Market:
        venue.cancel(market, SYMBOL, "a", 2)
    venue.cancel(Market.FUT, SYMBOL, "s", 2, conditional=True)
    venue.cancel_list(SYMBOL, "list", 2)
    assert venue.open_orders(Market.FUT) == venue.open_orders(Market.SPOT) == venue.open_conditional() == ()


def test_nothing_is_matched_or_liquidated_in_a_halt_and_everything_due_is_afterwards() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    for market in Market:
        venue.place(order("rest", price="58000", qty="0.01", market=market), 1)
    venue.place(order("s", SELL, kind=OrderType.STOP_MARKET, stop="59000", reduce_only=True), 1)

    with_status(venue, "HALT")
    quiet = move(venue, "57000", 2)
    with pytest.raises(Refusal) as amended:
        venue.amend(SYMBOL, 2, side=BUY, qty=D("0.01"), price=D("58500"), client_order_id="rest")
    with_status(venue, "TRADING")
    move(venue, "57500", 3)

    assert quiet == ()
    assert amended.value.code == -5024
    assert [position.qty for position in venue.positions()] == [D("0.01")]  # the resting order's, after the stop
    assert venue.open_orders(Market.FUT) == venue.open_orders(Market.SPOT) == venue.open_conditional() == ()


def test_other_tiers_move_the_liquidation_price() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    before = venue.positions()[0].liquidation_price

    tiers = tuple(replace(tier, maint_margin_ratio=tier.maint_margin_ratio * 2) for tier in FUT.brackets)
    venue.replace_instrument(replace(FUT, brackets=tiers))

    after = venue.positions()[0].liquidation_price
    assert after > before
    venue.on_mark(mark(after - D("0.1")), 2)
    assert venue.positions() == ()


def test_an_instrument_stays_what_it_is() -> None:
    venue = trading()

    with pytest.raises(ValueError, match="cannot become"):
        venue.replace_instrument(replace(FUT, base_asset="ETH"))
    with pytest.raises(ValueError, match="brackets"):
        venue.replace_instrument(replace(FUT, brackets=()))
    with pytest.raises(KeyError):
        venue.replace_instrument(replace(FUT, symbol="NOPE"))
    with pytest.raises(Refusal, match="Invalid symbol"):
        venue.instrument(Market.FUT, "NOPE")
    assert venue.instruments() == (FUT, SPOT)
