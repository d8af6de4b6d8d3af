"""Positions, margin, conditionals, funding and liquidation of a perpetual."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, WorkingType
from chimera.domain.execution.orders import (
    AccountConfigured,
    Balance,
    BalancesChanged,
    FundingSettled,
    IncomeKind,
    MarginCalled,
    OrderUpdated,
    PositionChanged,
)
from chimera.domain.market.quotes import BookTop
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules, Fees
from tests.domain.matching.venue import (
    FIRST_FUNDING_MS,
    FUT,
    HOUR_MS,
    SYMBOL,
    D,
    book,
    mark,
    move,
    order,
    stop,
    trading,
)

BUY, SELL = Side.BUY, Side.SELL


def usdt(venue: Exchange) -> Balance:
    (balance,) = venue.balances(Market.FUT)
    return balance


def total(venue: Exchange) -> Decimal:
    return usdt(venue).free + usdt(venue).locked


def earned(venue: Exchange, kind: IncomeKind) -> list[Decimal]:
    return [income.amount for income in venue.income() if income.kind is kind]


def test_opening_locks_margin_at_the_leverage_and_pays_the_taker_fee() -> None:
    venue = trading()

    _, changes = venue.place(order(qty="0.1"), 1)

    (position,) = venue.positions()
    assert (position.qty, position.entry_price) == (D("0.1"), D("60001"))
    assert position.isolated_wallet_usdt == D("300.005")
    assert earned(venue, IncomeKind.COMMISSION) == [D("-3.00005")]
    assert usdt(venue).free == D("10000") - D("300.005") - D("3.00005")
    assert [type(change) for change in changes[-2:]] == [BalancesChanged, PositionChanged]


def test_a_round_trip_realises_the_price_difference_less_both_fees() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    move(venue, "61000", 2)

    venue.place(order("out", SELL, qty="0.1", reduce_only=True), 3)

    assert venue.positions() == ()
    assert earned(venue, IncomeKind.REALIZED_PNL) == [D("99.8")]
    assert total(venue) == D("10000") + D("99.8") - D("3.00005") - D("3.04995")
    assert usdt(venue).locked == 0


def test_a_partial_close_keeps_the_entry_price_and_frees_its_share_of_margin() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)

    venue.place(order("part", SELL, qty="0.04", reduce_only=True), 2)

    (position,) = venue.positions()
    assert (position.qty, position.entry_price) == (D("0.06"), D("60001"))
    assert position.isolated_wallet_usdt == D("180.003")


def test_an_order_larger_than_the_position_turns_it_around() -> None:
    venue = trading()
    venue.place(order("long", qty="0.1"), 1)

    venue.place(order("turn", SELL, qty="0.3"), 2)

    (position,) = venue.positions()
    assert (position.qty, position.entry_price) == (D("-0.2"), D("59999"))


def test_a_reduce_only_order_is_capped_by_the_position_and_shrinks_with_it() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)

    capped, _ = venue.place(order("target", SELL, qty="0.5", price="62000", reduce_only=True), 2)
    venue.place(order("part", SELL, qty="0.04", reduce_only=True), 3)
    shrunk = venue.order(Market.FUT, SYMBOL, "target")
    venue.place(order("rest", SELL, qty="0.06", reduce_only=True), 4)
    gone = venue.order(Market.FUT, SYMBOL, "target")

    assert shrunk is not None
    assert gone is not None
    assert (capped.qty, shrunk.qty) == (D("0.1"), D("0.06"))
    assert (gone.status, gone.reason) == (OrderStatus.CANCELED, "REDUCE_ONLY_REJECT")


def test_a_resting_order_locks_margin_and_fee_and_a_reduce_only_one_nothing() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    locked = usdt(venue).locked

    venue.place(order("add", price="59000", qty="0.1"), 2)
    venue.place(order("out", SELL, price="61000", qty="0.1", reduce_only=True), 2)

    assert usdt(venue).locked - locked == D("295") + D("2.95")


def test_a_triggered_stop_is_a_new_market_order_with_the_same_client_id() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    placed, _ = venue.place(stop("sl", SELL, "0.1", "59000"), 2)

    changes = move(venue, "58990", 3)

    told = [change.order for change in changes if isinstance(change, OrderUpdated)]
    assert placed.conditional
    assert (placed.venue_order_id, placed.venue_algo_id) == ("", "1")
    assert [(one.status.value, one.triggered, one.venue_algo_id) for one in told] == [
        ("NEW", True, "1"),
        ("FILLED", True, "1"),
    ]
    assert told[0].venue_order_id not in ("", "1")
    assert not venue.positions()
    assert not venue.open_conditional()
    assert venue.fills(Market.FUT, SYMBOL)[-1].price == D("58989")


@pytest.mark.parametrize(
    ("side", "take_profit", "at", "quiet", "due"),
    [
        pytest.param(SELL, False, "59000", "59000.1", "59000", id="stop of a long at or below"),
        pytest.param(SELL, True, "61000", "60999.9", "61000", id="target of a long at or above"),
        pytest.param(BUY, False, "61000", "60999.9", "61000", id="stop of a short at or above"),
        pytest.param(BUY, True, "59000", "59000.1", "59000", id="target of a short at or below"),
    ],
)
@pytest.mark.parametrize("source", list(WorkingType))
def test_conditionals_trigger_exactly_at_their_price_on_their_own_source(
    side: Side, take_profit: bool, at: str, quiet: str, due: str, source: WorkingType
) -> None:
    venue = trading()
    venue.place(order("in", side.opposite, qty="0.1"), 1)
    kind = OrderType.TAKE_PROFIT_MARKET if take_profit else OrderType.STOP_MARKET
    venue.place(order("c", side, "0.1", kind=kind, stop=at, reduce_only=True, on=source), 2)

    other = WorkingType.CONTRACT_PRICE if source is WorkingType.MARK_PRICE else WorkingType.MARK_PRICE
    for price, watched in ((due, other), (quiet, source)):
        _show(venue, price, watched)
        assert venue.open_conditional() != ()
    _show(venue, due, source)

    assert venue.open_conditional() == ()
    assert venue.positions() == ()


def _show(venue: Exchange, price: str, source: WorkingType) -> None:
    if source is WorkingType.MARK_PRICE:
        venue.on_mark(mark(price), 3)
    else:
        venue.on_book(replace(book(Market.FUT, "60000"), last=D(price)), 3)


def test_a_close_position_stop_takes_whatever_is_there_when_it_triggers() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    venue.place(stop("sl", SELL, "0", "59000", close_position=True), 2)
    venue.place(order("add", qty="0.05"), 3)

    move(venue, "58990", 4)

    closed = venue.order(Market.FUT, SYMBOL, "sl")
    assert closed is not None
    assert (closed.qty, closed.filled_qty) == (D("0.15"), D("0.15"))
    assert venue.positions() == ()


def test_an_orphan_stop_stays_after_flat_and_is_rejected_when_it_triggers() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    venue.place(stop("sl", SELL, "0.1", "59000"), 2)
    venue.place(order("out", SELL, qty="0.1", reduce_only=True), 3)
    orphans = venue.open_conditional()

    move(venue, "58990", 4)

    orphan = venue.order(Market.FUT, SYMBOL, "sl")
    assert len(orphans) == 1
    assert orphan is not None
    assert (orphan.status, orphan.reason) == (OrderStatus.REJECTED, "REDUCE_ONLY_REJECT")
    assert venue.positions() == ()


def test_an_entry_stop_without_margin_is_rejected_only_when_it_triggers() -> None:
    venue = trading(usdt="100")
    venue.place(order("breakout", qty="1", kind=OrderType.STOP_MARKET, stop="61000"), 1)

    move(venue, "61000", 2)

    rejected = venue.order(Market.FUT, SYMBOL, "breakout")
    assert rejected is not None
    assert (rejected.status, rejected.reason) == (OrderStatus.REJECTED, "INSUFFICIENT_MARGIN")


@pytest.mark.parametrize(
    ("side", "rate", "amount"),
    [
        pytest.param(BUY, 0.0001, "-0.6", id="a long pays a positive rate"),
        pytest.param(SELL, 0.0001, "0.6", id="a short receives it"),
        pytest.param(BUY, -0.0003, "1.8", id="a long receives a negative rate"),
    ],
)
def test_funding_is_paid_once_at_its_time_from_the_isolated_wallet(side: Side, rate: float, amount: str) -> None:
    venue = trading()
    venue.on_mark(mark("60000", rate=rate), 1)
    venue.place(order("in", side, qty="0.1"), 1)
    isolated = venue.positions()[0].isolated_wallet_usdt
    due_ms = FIRST_FUNDING_MS

    early = venue.on_mark(mark("60000", rate=rate), due_ms - 1)
    changes = venue.on_mark(mark("60000", rate=0.0007), due_ms)
    again = venue.on_mark(mark("60000", rate=0.0007), due_ms + 1)
    next_one = venue.on_mark(mark("60000", rate=0.0007, funding_at_ms=2 * due_ms + 2), due_ms + 2)

    assert early == again == next_one == ()
    (settled,) = [change for change in changes if isinstance(change, FundingSettled)]
    assert (settled.income.amount, settled.rate) == (D(amount), rate)
    assert venue.positions()[0].isolated_wallet_usdt == isolated + D(amount)
    assert [change.cause for change in changes if isinstance(change, BalancesChanged)] == ["FUNDING_FEE"]


def test_the_announced_time_rolling_over_before_we_saw_it_still_settles_it() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)

    venue.on_mark(mark("60000", funding_at_ms=2 * FIRST_FUNDING_MS), FIRST_FUNDING_MS + 5)

    assert earned(venue, IncomeKind.FUNDING_FEE) == [D("-0.6")]


def test_a_gap_in_the_market_does_not_make_funding_free() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)

    venue.on_mark(mark("60000", funding_at_ms=4 * FIRST_FUNDING_MS), 3 * FIRST_FUNDING_MS + HOUR_MS)

    assert earned(venue, IncomeKind.FUNDING_FEE) == [D("-0.6")] * 3


def test_some_milliseconds_of_jitter_do_not_settle_twice() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)

    venue.on_mark(mark("60000", funding_at_ms=FIRST_FUNDING_MS), FIRST_FUNDING_MS)
    venue.on_mark(mark("60000", funding_at_ms=FIRST_FUNDING_MS + 2), FIRST_FUNDING_MS + 1)
    venue.on_mark(mark("60000", funding_at_ms=FIRST_FUNDING_MS + 2), FIRST_FUNDING_MS + 2)

    assert len(earned(venue, IncomeKind.FUNDING_FEE)) == 1


def test_what_is_opened_after_the_funding_was_due_is_not_charged_by_a_late_mark() -> None:
    venue = trading()
    venue.place(order("before", qty="0.1"), 1)

    venue.place(order("after", qty="0.2"), FIRST_FUNDING_MS + 1)
    venue.on_mark(mark("60000", funding_at_ms=2 * FIRST_FUNDING_MS), FIRST_FUNDING_MS + 5)

    assert earned(venue, IncomeKind.FUNDING_FEE) == [D("-0.6")]


def test_flat_means_no_funding_and_no_news() -> None:
    venue = trading()

    assert venue.on_mark(mark("60000", funding_at_ms=2 * FIRST_FUNDING_MS), FIRST_FUNDING_MS) == ()


@pytest.mark.parametrize(
    ("side", "safe", "fatal"),
    [
        pytest.param(BUY, "57229", "57228.9", id="long"),
        pytest.param(SELL, "62749", "62749.1", id="short"),
    ],
)
def test_liquidation_comes_at_the_liquidation_price_and_not_before(side: Side, safe: str, fatal: str) -> None:
    venue = trading(price="60000")
    venue.on_book(replace(book(Market.FUT, "60000"), bids=((D("60000"), D(1)),), asks=((D("60000"), D(1)),)), 1)
    venue.place(order("in", side, qty="0.1"), 1)
    venue.place(order("resting", side, qty="0.01", price="55000" if side is BUY else "64000"), 1)

    quiet = venue.on_mark(mark(safe), 2)
    changes = venue.on_mark(mark(fatal), 3)

    assert [type(change) for change in quiet] == [MarginCalled]
    assert not venue.positions()
    assert not venue.open_orders(Market.FUT)
    closing = venue.order(Market.FUT, SYMBOL, "autoclose-1")
    assert closing is not None
    assert (closing.side, closing.filled_qty, closing.reduce_only) == (side.opposite, D("0.1"), True)
    assert [change.cause for change in changes if isinstance(change, BalancesChanged)] == ["LIQUIDATION"]
    assert D("9697") - 10 < total(venue) < D("9700")  # the isolated 300, the entry fee, and next to nothing back


def test_the_liquidation_fee_takes_what_is_left_and_no_more() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    free = usdt(venue).free
    assert venue.positions()[0].liquidation_price == D("57229.86947792")

    move(venue, "57229", 2)

    assert usdt(venue).free == free
    assert total(venue) == free
    assert earned(venue, IncomeKind.INSURANCE_CLEAR)[0] < 0


def test_a_gap_far_beyond_bankruptcy_costs_the_isolated_wallet_and_the_fund_the_rest() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    free = usdt(venue).free

    move(venue, "50000", 2)

    assert total(venue) == usdt(venue).free == free
    (cleared,) = earned(venue, IncomeKind.INSURANCE_CLEAR)
    assert cleared == D("1000.1") + D("2.5") - D("300.005")


def test_a_stop_on_the_way_to_liquidation_triggers_first() -> None:
    venue = trading()
    venue.place(order("in", qty="0.1"), 1)
    venue.place(stop("sl", SELL, "0.1", "59000"), 2)

    move(venue, "57300", 3)
    move(venue, "57000", 4)

    assert venue.order(Market.FUT, SYMBOL, "autoclose-1") is None
    assert venue.fills(Market.FUT, SYMBOL)[-1].client_order_id == "sl"


def test_leverage_changes_what_resting_orders_lock() -> None:
    venue = trading()
    venue.place(order("rest", qty="0.1", price="59000"), 1)

    changes = venue.set_leverage(SYMBOL, 10, 2)

    assert usdt(venue).locked == D("590") + D("2.95")
    assert [type(change) for change in changes] == [BalancesChanged, AccountConfigured]
    assert changes[-1] == AccountConfigured(2, SYMBOL, leverage=10)


def test_two_perpetuals_share_the_wallet_but_not_their_margin() -> None:
    other = replace(FUT, symbol="ETHUSDT", base_asset="ETH")
    venue = Exchange(ExchangeRules(instruments=(FUT, other)), fut_balances={"USDT": D("1000")})
    for symbol in (SYMBOL, "ETHUSDT"):
        venue.on_book(replace(book(Market.FUT, "60000"), symbol=symbol), 0)
        venue.on_mark(replace(mark("60000"), symbol=symbol), 0)
        venue.place(order("in", qty="0.1", symbol=symbol), 1)

    venue.on_mark(mark("50000"), 2)

    (kept,) = venue.positions()
    assert kept.symbol == "ETHUSDT"
    assert usdt(venue).locked == kept.isolated_wallet_usdt == D("300.005")
    assert usdt(venue).free == D("1000") - 2 * (D("300.005") + D("3.00005"))


def test_transfers_move_free_money_both_ways_and_are_not_idempotent() -> None:
    venue = trading()

    first, changes = venue.transfer(Market.SPOT, Market.FUT, "USDT", D("100"), 1)
    second, _ = venue.transfer(Market.SPOT, Market.FUT, "USDT", D("100"), 1)
    venue.transfer(Market.FUT, Market.SPOT, "USDT", D("50"), 2)

    assert first.tran_id != second.tran_id
    assert total(venue) == D("10150")
    assert [change.cause for change in changes if isinstance(change, BalancesChanged)] == ["TRANSFER"]
    assert venue.transfers(since_ms=1)[:2] == (first, second)
    assert [income.amount for income in venue.income(2)] == [D("-50")]


def test_a_loss_beyond_its_share_of_margin_is_taken_from_the_rest_of_the_isolated_wallet_first() -> None:
    venue = trading()
    venue.set_leverage(SYMBOL, 125, 0)
    venue.place(order("in", qty="0.1"), 1)
    isolated, free = venue.positions()[0].isolated_wallet_usdt, usdt(venue).free
    venue.on_book(book(Market.FUT, "57500"), 2)

    venue.place(order("part", SELL, qty="0.01", reduce_only=True), 3)

    loss, share = D("0.01") * D("2502"), isolated / 10
    assert share < loss
    assert venue.positions()[0].isolated_wallet_usdt == isolated - loss
    assert usdt(venue).free == free - D("57499") * D("0.01") * D("0.0005")


def test_funding_beyond_the_isolated_wallet_is_paid_from_what_is_free() -> None:
    venue = trading()
    venue.set_leverage(SYMBOL, 125, 0)
    venue.place(order("in", qty="0.1"), 1)
    move(venue, "62000", 2, rate=0.02)
    isolated, free = venue.positions()[0].isolated_wallet_usdt, usdt(venue).free

    move(venue, "62000", FIRST_FUNDING_MS, rate=0.02)

    assert venue.positions()[0].isolated_wallet_usdt == 0
    assert usdt(venue).free == free + isolated - D("124")


def test_funding_that_nobody_can_pay_is_covered_by_the_fund() -> None:
    venue = trading(usdt="55")
    venue.set_leverage(SYMBOL, 125, 0)
    venue.place(order("in", qty="0.1"), 1)
    move(venue, "62000", 2, rate=0.02)

    move(venue, "62000", FIRST_FUNDING_MS, rate=0.02)

    assert total(venue) == 0
    assert earned(venue, IncomeKind.INSURANCE_CLEAR)[0] > 0


def test_a_limit_order_far_above_the_market_needs_margin_for_what_it_really_pays() -> None:
    """At its limit the whole order would need 3,150 and fees; over the levels it takes it needs 3,000 and fees."""
    venue = trading(usdt="3070")
    venue.on_book(book(Market.FUT, "59990", qty="0.3"), 1)

    placed, _ = venue.place(order(qty="1", price="62900"), 2)

    assert placed.status is OrderStatus.FILLED
    assert earned(venue, IncomeKind.INSURANCE_CLEAR) == []


def test_the_rest_of_an_order_that_turned_a_losing_position_expires_where_no_margin_is_left() -> None:
    venue = trading(usdt="565")
    venue.set_leverage(SYMBOL, 125, 0)
    venue.place(order("in", qty="0.3"), 1)
    venue.on_book(replace(book(Market.FUT, "57500"), bids=((D("57499"), D("0.3")),)), 2)

    placed, _ = venue.place(order("turn", SELL, qty="0.4", price="57499"), 3)

    assert (placed.status, placed.reason, placed.filled_qty) == (
        OrderStatus.CANCELED,
        "INSUFFICIENT_MARGIN",
        D("0.3"),
    )
    assert usdt(venue).free == usdt(venue).locked == 0


def test_a_turn_that_the_closing_loss_made_unaffordable_only_closes() -> None:
    venue = trading(usdt="565")
    venue.set_leverage(SYMBOL, 125, 0)
    venue.place(order("in", qty="0.3"), 1)
    venue.on_book(book(Market.FUT, "57500"), 2)

    placed, _ = venue.place(order("turn", SELL, qty="0.4"), 3)

    assert (placed.status, placed.reason, placed.filled_qty) == (
        OrderStatus.CANCELED,
        "INSUFFICIENT_MARGIN",
        D("0.3"),
    )
    assert venue.positions() == ()


@given(
    steps=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    price=st.integers(101, 999),
    leverage=st.sampled_from([3, 7, 20, 125]),
)
def test_what_a_resting_order_locks_covers_its_fills_however_it_is_cut(
    steps: list[int], price: int, leverage: int
) -> None:
    """Amounts far below the smallest unit: each fill's margin and fee are cut, the lock was rounded up."""
    dust = replace(FUT, tick_size=D("1e-8"), step_size=D("0.1"), min_qty=D("0.1"), min_notional=D(0))
    even = Fees(maker=D("0.0005"), taker=D("0.0005"))
    rules = ExchangeRules(instruments=(dust,), fees={Market.FUT: even}, touch_ratio=D(1))
    venue = Exchange(rules, fut_balances={"USDT": D(1)})
    venue.set_leverage(SYMBOL, leverage, 0)
    limit, above = D(price) * D("1e-8"), D(price + 1) * D("1e-8")
    venue.on_book(BookTop(0, Market.FUT, SYMBOL, ((limit, D(1)),), ((above, D(1)),), limit), 0)
    venue.place(order("rest", qty=sum(steps) * D("0.1"), price=limit), 0)
    free = usdt(venue).free

    for step in steps:
        touching = ((limit, step * D("0.1")),)
        venue.on_book(BookTop(1, Market.FUT, SYMBOL, ((limit - D("1e-8"), D(1)),), touching, limit), 1)

        assert usdt(venue).free >= free
    assert venue.open_orders(Market.FUT) == ()
    assert usdt(venue).locked == venue.positions()[0].isolated_wallet_usdt
    assert earned(venue, IncomeKind.INSURANCE_CLEAR) == []
