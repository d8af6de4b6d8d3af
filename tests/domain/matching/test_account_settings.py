"""What an account can be set to, what may be moved into a position, what is due by the clock, and who is called."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side
from chimera.domain.execution.orders import (
    AccountConfigured,
    Balance,
    BalancesChanged,
    IncomeKind,
    MarginCalled,
    OrderUpdated,
    PositionChanged,
)
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.records import Flow
from chimera.domain.matching.refusals import Refusal
from chimera.domain.matching.rules import ExchangeRules
from tests.domain.matching.venue import FUT, RULES, SYMBOL, D, book, exchange, mark, move, order, stop, trading

BUY, SELL = Side.BUY, Side.SELL


def code_of(request: Callable[[], object]) -> int:
    with pytest.raises(Refusal) as caught:
        request()
    return caught.value.code


def usdt(venue: Exchange, market: Market = Market.FUT) -> Balance:
    return next(balance for balance in venue.balances(market) if balance.asset == "USDT")


def holding(side: Side = BUY, price: str = "60000") -> Exchange:
    venue = trading(price=price)
    venue.place(order("in", side, qty="0.1"), 1)
    return venue


# --- margin type


def test_margin_is_isolated_until_it_is_crossed_and_a_crossed_symbol_opens_nothing() -> None:
    venue = trading()

    again = code_of(lambda: venue.set_margin_type(SYMBOL, isolated=True))
    changes = venue.set_margin_type(SYMBOL, isolated=False, now_ms=5)
    crossed = venue.isolated(SYMBOL)
    refused = [code_of(lambda kind=kind: venue.place(kind, 6)) for kind in (order(), order(price="59000"))]
    closing = code_of(lambda: venue.place(order(side=SELL, reduce_only=True), 6))
    venue.set_margin_type(SYMBOL, isolated=True)
    placed, _ = venue.place(order(), 7)

    assert again == -4046
    assert changes == (AccountConfigured(5, SYMBOL, isolated=False),)
    assert (crossed, refused, closing) == (False, [-1130, -1130], -2022)
    assert placed.status is OrderStatus.FILLED


def test_margin_type_cannot_change_under_an_order_or_a_position() -> None:
    venue = trading()
    venue.place(stop("s", SELL, "0.1", "59000"), 1)
    with_order = code_of(lambda: venue.set_margin_type(SYMBOL, isolated=False))
    venue.cancel_all(Market.FUT, SYMBOL, 2, conditional=True)
    venue.place(order(), 3)
    with_position = code_of(lambda: venue.set_margin_type(SYMBOL, isolated=False))

    assert (with_order, with_position) == (-4047, -4048)


def test_an_exchange_may_begin_crossed() -> None:
    venue = exchange(rules=replace(RULES, isolated_default=False))

    assert not venue.isolated(SYMBOL)
    assert code_of(lambda: venue.set_margin_type(SYMBOL, isolated=False)) == -4046


def test_settings_survive_a_restart_and_an_older_state_has_none() -> None:
    venue = trading()
    venue.set_margin_type(SYMBOL, isolated=False)
    venue.set_dual_side(True, 1)
    state = venue.export_state()
    restored = Exchange.restore(RULES, state)
    del state["settings"]
    del state["margin"]
    for row in state["contract"].values():
        del row["isolated"], row["countdown_at_ms"]
    older = Exchange.restore(RULES, state)

    assert (restored.isolated(SYMBOL), restored.dual_side, restored.multi_assets) == (False, True, False)
    assert (older.isolated(SYMBOL), older.dual_side) == (True, False)


# --- position mode and multi-assets mode


def test_in_dual_side_mode_every_order_is_refused() -> None:
    venue = trading()

    unchanged = code_of(lambda: venue.set_dual_side(False, 1))
    changes = venue.set_dual_side(True, 1)

    assert unchanged == -4059
    assert changes == (AccountConfigured(1, dual_side=True),)
    assert code_of(lambda: venue.place(order(), 2)) == -4061
    assert code_of(lambda: venue.place(stop("s", SELL, "0.1", "59000"), 2)) == -4061
    venue.set_dual_side(False, 3)
    assert venue.place(order(), 4)[0].status is OrderStatus.FILLED


def test_position_mode_cannot_change_under_an_order_or_a_position() -> None:
    venue = trading()
    venue.place(order("rest", price="59000"), 1)
    with_order = code_of(lambda: venue.set_dual_side(True, 2))
    venue.cancel(Market.FUT, SYMBOL, "rest", 3)
    venue.place(order(), 4)

    assert (with_order, code_of(lambda: venue.set_dual_side(True, 5))) == (-4067, -4068)


def test_multi_assets_mode_crosses_every_symbol() -> None:
    venue = trading()

    unchanged = code_of(lambda: venue.set_multi_assets(False, 1))
    changes = venue.set_multi_assets(True, 1)

    assert unchanged == code_of(lambda: venue.set_multi_assets(True, 1)) == -4171
    assert changes == (AccountConfigured(1, multi_assets=True),)
    assert (venue.multi_assets, venue.isolated(SYMBOL)) == (True, False)
    assert code_of(lambda: venue.set_margin_type(SYMBOL, isolated=True)) == -4168
    assert code_of(lambda: venue.place(order(), 2)) == -1130
    venue.set_multi_assets(False, 3)
    assert venue.isolated(SYMBOL)


def test_an_isolated_position_keeps_the_account_out_of_multi_assets_mode() -> None:
    venue = holding()

    assert code_of(lambda: venue.set_multi_assets(True, 2)) == -4167


# --- margin of a position


def test_margin_moves_into_a_position_and_back() -> None:
    venue = holding()
    free, view = usdt(venue).free, venue.positions()[0]

    changes = venue.change_margin(SYMBOL, D("100"), 2)
    added = venue.positions()[0]
    venue.change_margin(SYMBOL, D("-99.905"), 3)

    assert [type(change) for change in changes] == [BalancesChanged, PositionChanged]
    assert [change.cause for change in changes if isinstance(change, BalancesChanged)] == ["MARGIN_TRANSFER"]
    assert added.isolated_wallet_usdt == view.isolated_wallet_usdt + 100
    assert added.liquidation_price < view.liquidation_price
    assert usdt(venue).free == free - D("0.095")
    assert [(one.amount, one.ts) for one in venue.margin_changes(SYMBOL)] == [(D("100"), 2), (D("-99.905"), 3)]
    assert venue.margin_changes(SYMBOL, since_ms=3) == venue.margin_changes(SYMBOL)[1:]
    assert [income.kind for income in venue.income()] == [IncomeKind.COMMISSION]


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        pytest.param("0", -4055, id="nothing"),
        pytest.param("9700", -4050, id="more than is free"),
        pytest.param("-0.01", -4051, id="the initial margin stays: bought above the mark, nothing is spare"),
        pytest.param("0.000000001", -1111, id="less than the smallest unit"),
    ],
)
def test_margin_that_cannot_be_moved(amount: str, code: int) -> None:
    venue = holding()
    before = venue.export_state()

    assert code_of(lambda: venue.change_margin(SYMBOL, D(amount), 2)) == code
    assert venue.export_state() == before


def test_what_may_be_taken_back_follows_the_mark() -> None:
    venue = holding()

    venue.on_mark(mark("60500"), 3)
    left = D("300.005") + D("49.9") - D("302.5")
    refused = code_of(lambda: venue.change_margin(SYMBOL, -left - D("0.001"), 4))
    venue.change_margin(SYMBOL, -left, 4)

    assert refused == -4051
    assert venue.positions()[0].isolated_wallet_usdt == D("300.005") - left


def test_a_profit_beyond_the_initial_margin_is_not_taken_out() -> None:
    venue = holding()
    venue.on_mark(mark("64000"), 3)

    assert code_of(lambda: venue.change_margin(SYMBOL, D("-300.006"), 4)) == -4051
    venue.change_margin(SYMBOL, D("-300.005"), 4)
    assert venue.positions()[0].isolated_wallet_usdt == 0


def test_margin_of_a_symbol_without_a_position_or_crossed() -> None:
    venue = trading()
    flat = code_of(lambda: venue.change_margin(SYMBOL, D(1), 1))
    venue.set_margin_type(SYMBOL, isolated=False)

    assert (flat, code_of(lambda: venue.change_margin(SYMBOL, D(1), 1))) == (-4054, -4049)


# --- margin calls


@pytest.mark.parametrize(
    ("side", "quiet", "called"),
    [
        pytest.param(BUY, "57286.5", "57286.4", id="long"),
        pytest.param(SELL, "62686.5", "62686.6", id="short"),
    ],
)
def test_a_position_is_called_once_each_time_its_maintenance_reaches_four_fifths_of_its_balance(
    side: Side, quiet: str, called: str
) -> None:
    venue = trading()
    venue.on_book(replace(book(Market.FUT, "60000"), bids=((D(60000), D(1)),), asks=((D(60000), D(1)),)), 1)
    venue.place(order("in", side, qty="0.1"), 1)

    told = []
    for now_ms, price in enumerate((quiet, called, called, quiet, called)):
        changes = venue.on_mark(mark(price), now_ms)
        told.append([change for change in changes if isinstance(change, MarginCalled)])
        venue = Exchange.restore(RULES, venue.export_state())

    assert [len(calls) for calls in told] == [0, 1, 0, 0, 1]
    (call,) = told[1]
    assert call.position.qty == side.sign * D("0.1")
    assert call.maint_margin_usdt == D(called) * D("0.1") * D("0.004")


def test_added_margin_ends_the_call() -> None:
    venue = holding()
    venue.on_mark(mark("57280"), 2)

    venue.change_margin(SYMBOL, D("50"), 3)
    venue.on_mark(mark("57280"), 4)
    again = venue.on_mark(mark("56780"), 5)

    assert [type(change) for change in again] == [MarginCalled]


def test_a_tier_above_the_ratio_is_no_exchange() -> None:
    with pytest.raises(ValueError, match="margin_call_ratio"):
        ExchangeRules(instruments=(FUT,), margin_call_ratio=D("0.01"))


# --- by the clock


def armed() -> Exchange:
    venue = trading()
    venue.place(order("a", price="59000"), 1)
    venue.place(stop("s", SELL, "0.1", "58000"), 1)
    venue.set_countdown(SYMBOL, 1000, 2)
    return venue


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda venue, now_ms: venue.on_time(now_ms), id="the clock"),
        pytest.param(lambda venue, now_ms: venue.on_book(book(Market.FUT, "60000"), now_ms), id="a book"),
        pytest.param(lambda venue, now_ms: venue.on_book(book(Market.SPOT, "60000"), now_ms), id="another book"),
        pytest.param(lambda venue, now_ms: venue.on_mark(mark("60000"), now_ms), id="a mark"),
    ],
)
def test_a_countdown_cancels_the_regular_orders_at_its_end(
    look: Callable[[Exchange, int], tuple[object, ...]],
) -> None:
    venue = Exchange.restore(RULES, armed().export_state())

    early = look(venue, 1001)
    changes = look(venue, 1002)
    again = look(venue, 1003)

    assert early == again == ()
    (canceled,) = [change.order for change in changes if isinstance(change, OrderUpdated)]
    assert (canceled.client_order_id, canceled.status, canceled.reason) == ("a", OrderStatus.CANCELED, "COUNTDOWN")
    assert [waiting.client_order_id for waiting in venue.open_conditional()] == ["s"]
    assert usdt(venue).locked == 0


def test_a_countdown_is_put_off_and_stopped() -> None:
    venue = armed()

    venue.set_countdown(SYMBOL, 1000, 900)
    put_off = venue.on_time(1500)
    venue.set_countdown(SYMBOL, 0, 1600)
    stopped = venue.on_time(9999)

    assert put_off == stopped == ()
    assert len(venue.open_orders(Market.FUT)) == 1
    assert code_of(lambda: venue.set_countdown(SYMBOL, -1, 3)) == -1130


# --- money from outside


@pytest.mark.parametrize("market", list(Market))
def test_money_comes_from_outside_and_goes_there(market: Market) -> None:
    venue = trading()

    came = venue.deposit(market, "USDT", D("500"), 1)
    went = venue.deposit(market, "USDT", D("-10500"), 2)

    causes = [change.cause for change in (*came, *went) if isinstance(change, BalancesChanged)]
    assert causes == ["DEPOSIT", "WITHDRAW"]
    assert usdt(venue, market).free == 0
    assert code_of(lambda: venue.deposit(market, "USDT", D("-1"), 3)) == -5013
    assert code_of(lambda: venue.deposit(market, "USDT", D("0"), 3)) == -1130
    if market is Market.FUT:
        assert [(line.kind, line.amount, line.detail) for line in venue.income()] == [
            (IncomeKind.TRANSFER, D("500"), "DEPOSIT"),
            (IncomeKind.TRANSFER, D("-10500"), "WITHDRAW"),
        ]
    else:
        assert venue.flows(market, "USDT")[Flow.WITHDRAW] == D("-10500")


def test_what_is_locked_cannot_leave() -> None:
    venue = holding()

    assert code_of(lambda: venue.deposit(Market.FUT, "USDT", -(usdt(venue).free + 1), 2)) == -5013
    assert Decimal(0) < usdt(venue).locked


# --- by the exchange's own numbers


@pytest.mark.parametrize("market", list(Market))
def test_orders_are_cancelled_by_number(market: Market) -> None:
    venue = trading()
    placed, _ = venue.place(order(price="59000", market=market), 1)
    other = Market.SPOT if market is Market.FUT else Market.FUT

    wrong = code_of(lambda: venue.cancel_number(other, SYMBOL, placed.venue_order_id, 2))
    canceled, _ = venue.cancel_number(market, SYMBOL, placed.venue_order_id, 2)

    assert wrong == code_of(lambda: venue.cancel_number(market, SYMBOL, placed.venue_order_id, 3)) == -2011
    assert (canceled.status, canceled.reason) == (OrderStatus.CANCELED, "USER")
    assert venue.open_orders(market) == ()


def test_conditionals_are_cancelled_by_their_own_number_until_they_trigger() -> None:
    venue = holding()
    first, _ = venue.place(stop("first", SELL, "0.1", "59000"), 2)
    second, _ = venue.place(order("second", SELL, price="60500", kind=OrderType.STOP_LOSS_LIMIT, stop="59500"), 2)
    assert first.venue_algo_id is not None
    assert second.venue_algo_id is not None

    canceled, _ = venue.cancel_algo(SYMBOL, first.venue_algo_id, 3)
    move(venue, "59500", 4)
    triggered = venue.order(Market.FUT, SYMBOL, "second")

    assert canceled.status is OrderStatus.CANCELED
    assert triggered is not None
    assert code_of(lambda: venue.cancel_algo(SYMBOL, second.venue_algo_id or "", 5)) == -2011
    assert venue.cancel_number(Market.FUT, SYMBOL, triggered.venue_order_id, 5)[0].status is OrderStatus.CANCELED
