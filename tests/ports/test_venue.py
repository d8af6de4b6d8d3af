"""The venue port: one account on one exchange. The same tests on the simulated exchange in process, and on the Binance
connector over real sockets against our server: whatever a service meets on one it meets on the other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from chimera.adapters.simulated_venue.feed import Tick
from chimera.adapters.simulated_venue.host import ExchangeHost
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.app.remote import reach
from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce, WorkingType
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.orders import (
    AccountChange,
    Balance,
    BalancesChanged,
    FundingSettled,
    IncomeKind,
    NewOco,
    NewOrder,
    OrderUpdated,
    PositionChanged,
    StreamReset,
    VenueFill,
    VenueOrder,
)
from chimera.domain.market.quotes import Bar, BookTop, MarketEvent, MarkPrice
from chimera.ports.clock import Clock
from chimera.ports.venue import (
    DuplicateOrder,
    InsufficientFunds,
    NothingToReduce,
    Refused,
    UnknownOrder,
    Venue,
    WouldTake,
    WouldTrigger,
)
from chimera.venue_server.server import VenueOptions, open_exchange
from tests.venue_server.running import BEGINS_MS, KEY, SECRET, running_venue

D = Decimal
FUT = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")
WITHIN_S = 10.0
HOUR_MS = 3_600_000


@dataclass(slots=True)
class Desk:
    """An exchange under test: the port, the hand that moves its market, and what its account stream has told."""

    venue: Venue
    host: ExchangeHost
    clock: Clock
    told: list[AccountChange] = field(default_factory=list)
    shown: list[MarketEvent] = field(default_factory=list)
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: list["asyncio.Task[None]"] = field(default_factory=list)

    async def listen(self) -> None:
        """Account and market streams, from now on."""
        loop = asyncio.get_running_loop()
        ready = len(self._listening)
        assert ready == 0
        self._listening.append(loop.create_task(self._account()))
        self._listening.append(loop.create_task(self._market()))
        if not isinstance(self.venue, SimulatedVenue):
            await self.until(lambda: any(isinstance(each, StreamReset) for each in self.told))
        else:
            await asyncio.sleep(0)

    async def _account(self) -> None:
        async for changes in self.venue.account_events():
            self.told += changes
            self._more.set()

    async def _market(self) -> None:
        async for events in self.venue.market_events((FUT, SPOT)):
            self.shown += events
            self._more.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not is_so():
                self._more.clear()
                await self._more.wait()

    async def fill_of(self, client_order_id: str) -> VenueFill:
        await self.until(lambda: bool(self.fills_told(client_order_id)))
        return self.fills_told(client_order_id)[0]

    def fills_told(self, client_order_id: str) -> list[VenueFill]:
        return [
            each.fill
            for each in self.told
            if isinstance(each, OrderUpdated) and each.fill and each.fill.client_order_id == client_order_id
        ]

    def orders_told(self, client_order_id: str) -> list[VenueOrder]:
        return [
            each.order
            for each in self.told
            if isinstance(each, OrderUpdated) and each.order.client_order_id == client_order_id
        ]

    def balances_told(self, market: Market, asset: str) -> list[Balance]:
        return [
            balance
            for each in self.told
            if isinstance(each, BalancesChanged)
            for balance in each.balances
            if (balance.market, balance.asset) == (market, asset)
        ]

    def tops(self, market: Market) -> list[BookTop]:
        return [each for each in self.shown if isinstance(each, BookTop) and each.market is market]

    def price(self, price: str, *, mark: bool = True, bars: Sequence[Bar] = (), **funding: Any) -> None:
        """The market stands at `price` on both markets, half a unit either side."""
        mid, now_ms = D(price), self.clock.now_ms()
        books = tuple(
            BookTop(
                ts=now_ms,
                market=market,
                symbol="BTCUSDT",
                bids=tuple((mid - D("0.5") - step, D(20)) for step in range(5)),
                asks=tuple((mid + D("0.5") + step, D(20)) for step in range(5)),
                last=mid,
            )
            for market in Market
        )
        known = self.host.marks["BTCUSDT"]
        marks = (replace(known, ts=now_ms, mark=mid, **funding),) if mark else ()
        self.host.apply(Tick(now_ms, books, marks, tuple(bars)))

    async def balance(self, market: Market, asset: str) -> Decimal:
        for balance in await self.venue.balances():
            if (balance.market, balance.asset) == (market, asset):
                return balance.free + balance.locked
        return D(0)

    async def close(self) -> None:
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)


@pytest.fixture(params=["in process", "over the wire"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        if request.param == "in process":
            made = in_process(tmp_path)
            made.show_again(BEGINS_MS)
            found = Desk(made, made, made.clock)
        else:
            running = await stack.enter_async_context(running_venue(still=True))
            keys = S4Settings(binance_key=SecretStr(KEY), binance_secret=SecretStr(SECRET))
            reached = await reach(running.url, None, keys, stack)
            found = Desk(reached.venue, running.venue.hosted.host, reached.clock)
        found.price("60000.0")
        stack.push_async_callback(found.close)
        yield found


def in_process(folder: Path) -> SimulatedVenue:
    """The exchange that the server would open, with the port in front instead."""
    options = VenueOptions(start_ms=BEGINS_MS)
    hosted, _ = open_exchange(options, folder)
    host = hosted.host
    return SimulatedVenue(
        exchange=host.exchange, rules=host.rules, feed=host.feed, clock=host.clock, journal=host.journal
    )


def order(name: str, qty: str, side: Side = Side.BUY, type: OrderType = OrderType.MARKET, **more: Any) -> NewOrder:
    key = more.pop("key", FUT)
    return NewOrder(
        client_order_id=name, market=key.market, symbol=key.symbol, side=side, type=type, qty=D(qty), **more
    )


# --- what anybody may ask


async def test_its_clock_is_ours(desk: Desk) -> None:
    assert abs(await desk.venue.server_time_ms() - desk.clock.now_ms()) < 1_000


async def test_the_rules_are_those_of_the_exchange(desk: Desk) -> None:
    listed = {instrument.key: instrument for instrument in await desk.venue.instruments()}

    for expected in desk.host.rules.instruments:
        found = listed[expected.key]
        assert replace(found, contract_size=expected.contract_size) == expected


async def test_fees_are_the_accounts_own(desk: Desk) -> None:
    assert await desk.venue.taker_fee_ratio(Market.FUT) == D("0.0005")
    assert await desk.venue.maker_fee_ratio(Market.FUT) == D("0.0002")
    assert await desk.venue.taker_fee_ratio(Market.SPOT) == D("0.001")


@pytest.mark.parametrize("key", [FUT, SPOT], ids=str)
async def test_the_book_is_what_was_shown(desk: Desk, key: InstrumentKey) -> None:
    book = await desk.venue.book(key)

    assert book.key == key
    assert book.bids[0] == (D("59999.5"), D(20))
    assert book.asks[:3] == ((D("60000.5"), D(20)), (D("60001.5"), D(20)), (D("60002.5"), D(20)))
    assert book.last == 60_000


async def test_the_mark_says_when_funding_is_due(desk: Desk) -> None:
    mark = await desk.venue.mark("BTCUSDT")

    assert mark.mark == 60_000
    assert mark.funding_time > desk.clock.now_ms()
    assert mark.interval_h == 8


@pytest.mark.parametrize("key", [FUT, SPOT], ids=str)
@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
async def test_bars_are_closed_and_without_a_hole(desk: Desk, key: InstrumentKey, interval: str) -> None:
    now_ms = desk.clock.now_ms()
    since_ms = now_ms - {"1m": 40, "1h": 50, "1d": 1_000}[interval] * HOUR_MS

    bars = await desk.venue.klines(key, interval, since_ms, now_ms)

    assert [_written(bar) for bar in bars] == [
        _written(bar) for bar in desk.host.feed.klines(key, interval, since_ms, now_ms)
    ]
    assert len(bars) > 30
    assert all(bar.close_time <= now_ms for bar in bars)
    assert all(after.open_time == before.close_time for before, after in pairwise(bars))


def _written(bar: Bar) -> Bar:
    """As the exchange writes it: no digits that only a float has."""
    return replace(bar, volume=round(bar.volume, 6))


# --- orders


@pytest.mark.parametrize("key", [FUT, SPOT], ids=str)
async def test_a_market_order_fills_and_everybody_says_the_same(desk: Desk, key: InstrumentKey) -> None:
    await desk.listen()

    placed = await desk.venue.place(order("buy-1", "0.01", key=key))
    told = await desk.fill_of("buy-1")
    found = await desk.venue.order(key, "buy-1", conditional=False)
    (fill,) = await desk.venue.fills(key, placed.created_at_ms - 1)

    assert found.status is OrderStatus.FILLED
    assert found.filled_qty == D("0.01")
    assert found.venue_order_id == placed.venue_order_id
    assert fill == told
    assert (fill.client_order_id, fill.price, fill.qty, fill.maker) == ("buy-1", D("60000.5"), D("0.01"), False)
    assert (fill.fee, fill.fee_asset) == ((D("0.3000025"), "USDT") if key is FUT else (D("0.00001"), "BTC"))


async def test_orders_that_the_exchange_gives_one_name_are_told_apart(desk: Desk) -> None:
    """It calls every order of an ADL the same."""
    await desk.listen()
    since_ms = desk.clock.now_ms() - 1
    names = []
    for _ in range(2):
        await desk.venue.place(order("buy-1", "0.01"))
        placed = await desk.venue.place(order("adl_autoclose", "0.01", Side.SELL, reduce_only=True))
        names.append(placed.client_order_id)
        await desk.fill_of(placed.client_order_id)

    fills = {fill.client_order_id: fill for fill in await desk.venue.fills(FUT, since_ms)}
    found = [await desk.venue.order(FUT, name, conditional=False) for name in names]

    assert len(set(names)) == 2
    assert [each.client_order_id for each in found] == names
    assert [each.venue_order_id for each in found] == [fills[name].venue_order_id for name in names]
    assert [name.removeprefix("adl_autoclose-") for name in names] == [each.venue_order_id for each in found]
    assert [desk.fills_told(name) for name in names] == [[fills[name]] for name in names]


async def test_a_position_and_the_ledger_follow_the_fills(desk: Desk) -> None:
    before = await desk.balance(Market.FUT, "USDT")
    since_ms = desk.clock.now_ms() - 1

    await desk.venue.place(order("open", "0.01"))
    (position,) = await desk.venue.positions()
    await desk.venue.place(order("close", "0.01", Side.SELL, reduce_only=True))

    assert (position.symbol, position.qty, position.entry_price) == ("BTCUSDT", D("0.01"), D("60000.5"))
    assert position.leverage == 20
    assert position.mark_price == 60_000
    assert list(await desk.venue.positions()) == []
    income = await desk.venue.income(since_ms)
    assert sorted((line.kind.value, line.amount) for line in income) == [
        ("COMMISSION", D("-0.3000025")),
        ("COMMISSION", D("-0.2999975")),
        ("REALIZED_PNL", D("-0.01")),
    ]
    assert await desk.balance(Market.FUT, "USDT") - before == sum(line.amount for line in income)


async def test_a_limit_order_rests_until_it_is_canceled(desk: Desk) -> None:
    await desk.listen()

    await desk.venue.place(order("rest", "0.01", type=OrderType.LIMIT, price=D("59000")))
    (open_order,) = await desk.venue.open_orders()
    canceled = await desk.venue.cancel(FUT, "rest", conditional=False)
    await desk.until(lambda: any(each.status is OrderStatus.CANCELED for each in desk.orders_told("rest")))

    assert (open_order.client_order_id, open_order.status, open_order.price) == ("rest", OrderStatus.NEW, D("59000"))
    assert canceled.status is OrderStatus.CANCELED
    assert list(await desk.venue.open_orders()) == []
    assert (await desk.venue.order(FUT, "rest", conditional=False)).status is OrderStatus.CANCELED
    assert [each.status for each in desk.orders_told("rest")] == [OrderStatus.NEW, OrderStatus.CANCELED]


@pytest.mark.parametrize("key", [FUT, SPOT], ids=str)
async def test_a_resting_order_that_the_market_reaches_fills_as_maker(desk: Desk, key: InstrumentKey) -> None:
    await desk.listen()
    post_only = (
        {"type": OrderType.LIMIT, "time_in_force": TimeInForce.GTX} if key is FUT else {"type": OrderType.LIMIT_MAKER}
    )
    await desk.venue.place(order("maker", "0.01", key=key, price=D("59900"), **post_only))

    desk.price("59800.0")
    fill = await desk.fill_of("maker")

    assert (fill.price, fill.maker) == (D("59900"), True)
    assert (await desk.venue.order(key, "maker", conditional=False)).status is OrderStatus.FILLED


@pytest.mark.parametrize("key", [FUT, SPOT], ids=str)
async def test_a_post_only_order_that_would_take_is_refused_and_leaves_no_trace(desk: Desk, key: InstrumentKey) -> None:
    post_only = (
        {"type": OrderType.LIMIT, "time_in_force": TimeInForce.GTX} if key is FUT else {"type": OrderType.LIMIT_MAKER}
    )

    with pytest.raises(WouldTake):
        await desk.venue.place(order("taker", "0.01", key=key, price=D("60100"), **post_only))

    with pytest.raises(UnknownOrder):
        await desk.venue.order(key, "taker", conditional=False)


async def test_what_cannot_fill_at_once_ends_canceled_with_a_reason(desk: Desk) -> None:
    await desk.venue.place(order("ioc", "0.01", type=OrderType.LIMIT, price=D("59000"), time_in_force=TimeInForce.IOC))

    ended = await desk.venue.order(FUT, "ioc", conditional=False)

    assert (ended.status, ended.filled_qty) == (OrderStatus.CANCELED, 0)
    assert ended.reason


@pytest.mark.parametrize("key", [FUT, SPOT], ids=str)
async def test_the_id_of_an_open_order_is_refused(desk: Desk, key: InstrumentKey) -> None:
    twice = order("twice", "0.01", key=key, type=OrderType.LIMIT, price=D("59000"))
    await desk.venue.place(twice)

    with pytest.raises(DuplicateOrder):
        await desk.venue.place(twice)

    assert len(await desk.venue.open_orders()) == 1


@pytest.mark.parametrize("key", [FUT, SPOT], ids=str)
async def test_what_cannot_be_paid_is_told_from_other_refusals(desk: Desk, key: InstrumentKey) -> None:
    with pytest.raises(InsufficientFunds):
        await desk.venue.place(order("dear", "50", key=key, type=OrderType.LIMIT, price=D("59990")))


async def test_reducing_what_is_not_there_is_refused(desk: Desk) -> None:
    with pytest.raises(NothingToReduce):
        await desk.venue.place(order("flat", "0.01", Side.SELL, reduce_only=True))


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param(order("off", "0.01", type=OrderType.LIMIT, price=D("59000.05")), -4014, id="off the tick"),
        pytest.param(order("fine", "0.0105"), -1111, id="too fine a quantity"),
        pytest.param(order("tiny", "0.00001", key=SPOT), -1013, id="too small for spot"),
        pytest.param(order("far", "0.01", Side.SELL, OrderType.LIMIT, price=D("30000")), -4024, id="far from the mark"),
    ],
)
async def test_a_rule_that_is_broken_is_named_by_its_code(desk: Desk, bad: NewOrder, code: int) -> None:
    with pytest.raises(Refused) as refused:
        await desk.venue.place(bad)

    assert refused.value.code == code


async def test_what_was_never_placed_is_unknown(desk: Desk) -> None:
    for conditional in (False, True):
        with pytest.raises(UnknownOrder):
            await desk.venue.order(FUT, "never", conditional=conditional)
        with pytest.raises(UnknownOrder):
            await desk.venue.cancel(FUT, "never", conditional=conditional)
    with pytest.raises(UnknownOrder):
        await desk.venue.order(SPOT, "never", conditional=False)
    with pytest.raises(UnknownOrder):
        await desk.venue.cancel(SPOT, "never", conditional=False)


# --- conditional orders


def stop(name: str, price: str, **more: Any) -> NewOrder:
    return order(name, "0.01", Side.SELL, OrderType.STOP_MARKET, stop_price=D(price), reduce_only=True, **more)


async def test_a_stop_is_listed_until_the_mark_reaches_it_and_then_fills_under_its_own_name(desk: Desk) -> None:
    await desk.listen()
    await desk.venue.place(order("open", "0.01"))

    placed = await desk.venue.place(stop("sl", "59500"))
    (listed,) = await desk.venue.open_orders()
    await desk.until(lambda: bool(desk.orders_told("sl")))
    desk.price("59400.0")
    fill = await desk.fill_of("sl")
    done = await desk.venue.order(FUT, "sl", conditional=True)

    assert placed.conditional
    assert (listed.client_order_id, listed.conditional, listed.stop_price) == ("sl", True, D("59500"))
    assert (listed.reduce_only, listed.working_type, listed.triggered) == (True, WorkingType.MARK_PRICE, False)
    assert desk.orders_told("sl")[0].venue_algo_id == placed.venue_algo_id
    assert (fill.price, fill.qty, fill.client_order_id) == (D("59399.5"), D("0.01"), "sl")
    assert (done.status, done.triggered, done.filled_qty) == (OrderStatus.FILLED, True, D("0.01"))
    assert done.venue_order_id == fill.venue_order_id
    assert done.venue_algo_id == placed.venue_algo_id
    assert list(await desk.venue.positions()) == []


async def test_a_stop_whose_price_is_passed_is_refused(desk: Desk) -> None:
    await desk.venue.place(order("open", "0.01"))

    with pytest.raises(WouldTrigger):
        await desk.venue.place(stop("late", "60100"))


async def test_a_stop_can_be_canceled_in_the_algo_book_only(desk: Desk) -> None:
    await desk.venue.place(order("open", "0.01"))
    await desk.venue.place(stop("sl", "59500"))

    with pytest.raises(UnknownOrder):
        await desk.venue.cancel(FUT, "sl", conditional=False)
    canceled = await desk.venue.cancel(FUT, "sl", conditional=True)

    assert canceled.status is OrderStatus.CANCELED
    assert list(await desk.venue.open_orders()) == []


async def test_a_target_closes_on_the_other_side(desk: Desk) -> None:
    await desk.listen()
    await desk.venue.place(order("open", "0.01"))
    await desk.venue.place(replace(stop("tp", "60500"), type=OrderType.TAKE_PROFIT_MARKET))

    desk.price("60600.0")

    assert (await desk.fill_of("tp")).price == D("60599.5")


# --- spot pairs


async def oco(desk: Desk, *, stop_limit: str | None = "58990") -> Sequence[VenueOrder]:
    await desk.venue.place(order("hold", "0.02", key=SPOT))
    return await desk.venue.place_oco(
        NewOco(
            list_client_id="pair",
            symbol="BTCUSDT",
            side=Side.SELL,
            qty=D("0.01"),
            target_client_id="pair-tp",
            target_price=D("61000"),
            stop_client_id="pair-sl",
            stop_price=D("59000"),
            stop_limit_price=D(stop_limit) if stop_limit else None,
        )
    )


async def test_a_pair_rests_as_two_orders_of_one_list(desk: Desk) -> None:
    placed = await oco(desk)

    listed = {each.client_order_id: each for each in await desk.venue.open_orders()}
    assert [each.client_order_id for each in placed] == ["pair-tp", "pair-sl"]
    assert listed["pair-tp"].type is OrderType.LIMIT_MAKER
    assert listed["pair-sl"].type is OrderType.STOP_LOSS_LIMIT
    assert listed["pair-tp"].order_list_id == listed["pair-sl"].order_list_id is not None


@pytest.mark.parametrize(
    ("price", "filled", "gone"),
    [
        pytest.param("61100.0", "pair-tp", "pair-sl", id="the target"),
        pytest.param("58995.0", "pair-sl", "pair-tp", id="the stop"),
    ],
)
async def test_one_leg_of_a_pair_fills_and_the_other_is_gone(desk: Desk, price: str, filled: str, gone: str) -> None:
    await desk.listen()
    await oco(desk)

    desk.price(price)
    fill = await desk.fill_of(filled)
    other = await desk.venue.order(SPOT, gone, conditional=False)

    assert fill.qty == D("0.01")
    assert (other.status, other.reason) == (OrderStatus.CANCELED, "OCO_TRIGGER")
    assert list(await desk.venue.open_orders()) == []


async def test_canceling_one_leg_takes_the_other_with_it(desk: Desk) -> None:
    await oco(desk, stop_limit=None)

    await desk.venue.cancel(SPOT, "pair-tp", conditional=False)

    assert list(await desk.venue.open_orders()) == []
    assert (await desk.venue.order(SPOT, "pair-sl", conditional=False)).status is OrderStatus.CANCELED


# --- the dead-man switch


async def resting(desk: Desk, name: str, price: str = "59000") -> None:
    post_only = {"type": OrderType.LIMIT, "time_in_force": TimeInForce.GTX}
    await desk.venue.place(order(name, "0.01", price=D(price), **post_only))


async def test_a_countdown_takes_what_rests_and_spares_conditional_orders(desk: Desk) -> None:
    assert desk.venue.capabilities.dead_man_switch
    await desk.listen()
    await resting(desk, "rest")
    await desk.venue.place(
        order("stop", "0.01", Side.SELL, OrderType.STOP_MARKET, stop_price=D("58000"), reduce_only=True)
    )
    await desk.venue.place(order("spot", "0.01", type=OrderType.LIMIT, price=D("59000"), key=SPOT))

    await desk.venue.cancel_all_after("BTCUSDT", 300)
    before = {each.client_order_id for each in await desk.venue.open_orders()}
    await desk.until(lambda: any(each.status is OrderStatus.CANCELED for each in desk.orders_told("rest")))

    assert before == {"rest", "stop", "spot"}
    assert {each.client_order_id for each in await desk.venue.open_orders()} == {"stop", "spot"}
    assert (await desk.venue.order(FUT, "rest", conditional=False)).status is OrderStatus.CANCELED
    await resting(desk, "later")
    await desk.clock.sleep_until_ms(desk.clock.now_ms() + 600)
    assert "later" in {each.client_order_id for each in await desk.venue.open_orders()}


async def test_a_countdown_that_is_renewed_or_ended_takes_nothing(desk: Desk) -> None:
    await resting(desk, "rest")

    for countdown_ms in (400, 400, 400, 0):
        await desk.venue.cancel_all_after("BTCUSDT", countdown_ms)
        await desk.clock.sleep_until_ms(desk.clock.now_ms() + (250 if countdown_ms else 600))

    assert [each.client_order_id for each in await desk.venue.open_orders()] == ["rest"]


@pytest.mark.parametrize(("symbol", "countdown_ms", "code"), [("BTCUSDT", -1, -1130), ("NOSUCHUSDT", 1_000, -1121)])
async def test_a_countdown_that_cannot_be_is_refused(desk: Desk, symbol: str, countdown_ms: int, code: int) -> None:
    with pytest.raises(Refused) as refused:
        await desk.venue.cancel_all_after(symbol, countdown_ms)

    assert refused.value.code == code


# --- the account


async def test_isolated_margin_and_leverage_can_be_asked_for_again_and_again(desk: Desk) -> None:
    for leverage in (10, 10, 25):
        await desk.venue.ensure_isolated("BTCUSDT", leverage)

    await desk.venue.place(order("open", "0.01"))
    (position,) = await desk.venue.positions()
    assert position.leverage == 25


async def test_more_leverage_than_there_is_is_refused(desk: Desk) -> None:
    with pytest.raises(Refused) as refused:
        await desk.venue.ensure_isolated("BTCUSDT", 126)

    assert refused.value.code == -4028


async def test_a_transfer_moves_money_and_is_in_the_history_each_time(desk: Desk) -> None:
    before = await desk.balance(Market.SPOT, "USDT"), await desk.balance(Market.FUT, "USDT")
    since_ms = desk.clock.now_ms() - 1

    first = await desk.venue.transfer(Market.SPOT, Market.FUT, D("12.5"))
    second = await desk.venue.transfer(Market.SPOT, Market.FUT, D("12.5"))

    after = await desk.balance(Market.SPOT, "USDT"), await desk.balance(Market.FUT, "USDT")
    assert (after[0] - before[0], after[1] - before[1]) == (D(-25), D(25))
    moved = await desk.venue.transfers(since_ms)
    assert [each.tran_id for each in moved] == [first, second]
    assert {(each.source, each.target, each.asset, each.amount) for each in moved} == {
        (Market.SPOT, Market.FUT, "USDT", D("12.5"))
    }


async def test_funding_is_told_once_and_stands_in_the_ledger(desk: Desk) -> None:
    await desk.listen()
    await desk.venue.place(order("open", "0.01"))
    since_ms = desk.clock.now_ms() - 1
    due_ms = desk.clock.now_ms() + 50

    desk.price("60000.0", funding_time=due_ms, funding_rate=0.0001)
    await desk.clock.sleep_until_ms(due_ms + 5)
    desk.price("60000.0", funding_time=due_ms + 8 * HOUR_MS, funding_rate=0.0001)
    await desk.until(lambda: any(isinstance(each, FundingSettled) for each in desk.told))

    (settled,) = [each for each in desk.told if isinstance(each, FundingSettled)]
    (line,) = [each for each in await desk.venue.income(since_ms) if each.kind is IncomeKind.FUNDING_FEE]
    assert settled.income.tran_id == line.tran_id
    assert settled.income.amount == line.amount == D("-0.06")


async def test_the_account_stream_tells_balances_and_positions(desk: Desk) -> None:
    await desk.listen()

    await desk.venue.place(order("open", "0.01"))
    await desk.until(lambda: any(isinstance(each, PositionChanged) for each in desk.told))
    await desk.venue.place(order("close", "0.01", Side.SELL, reduce_only=True))
    await desk.until(lambda: any(isinstance(each, PositionChanged) and each.position is None for each in desk.told))

    opened = next(each for each in desk.told if isinstance(each, PositionChanged))
    assert opened.position is not None
    assert (opened.position.qty, opened.position.entry_price) == (D("0.01"), D("60000.5"))
    assert opened.position.leverage == 20
    final = next(each for each in await desk.venue.balances() if (each.market, each.asset) == (Market.FUT, "USDT"))
    await desk.until(lambda: desk.balances_told(Market.FUT, "USDT")[-1:] == [final])


# --- the market


async def test_the_market_stream_tells_prices_marks_and_closed_bars(desk: Desk) -> None:
    await desk.listen()
    await asyncio.sleep(0.2 if isinstance(desk.venue, SimulatedVenue) else 1.0)
    minute_ms = desk.clock.now_ms() // 60_000 * 60_000 - 60_000
    (bar,) = desk.host.feed.klines(FUT, "1m", minute_ms, minute_ms + 60_000)

    desk.price("60005.0", bars=(bar,))
    await desk.until(lambda: any(isinstance(each, Bar) for each in desk.shown))
    await desk.until(
        lambda: any(
            isinstance(each, BookTop) and each.market is Market.SPOT and each.last == 60_005 for each in desk.shown
        )
    )
    await desk.until(
        lambda: any(
            isinstance(each, BookTop) and each.market is Market.FUT and each.last == 60_005 for each in desk.shown
        )
    )
    await desk.until(lambda: any(isinstance(each, MarkPrice) and each.mark == 60_005 for each in desk.shown))

    assert [each for each in desk.shown if isinstance(each, Bar)] == [bar]
    await desk.until(lambda: len(desk.tops(Market.FUT)[-1].bids) >= 3)
    top = desk.tops(Market.FUT)[-1]
    assert (top.bid, top.ask) == (D("60004.5"), D("60005.5"))


async def test_open_orders_can_be_had_of_some_instruments(desk: Desk) -> None:
    await desk.venue.place(order("fut", "0.01", type=OrderType.LIMIT, price=D("59000")))
    await desk.venue.place(order("spot", "0.01", key=SPOT, type=OrderType.LIMIT, price=D("59000")))

    def names(listed: Sequence[VenueOrder]) -> set[str]:
        return {each.client_order_id for each in listed}

    assert names(await desk.venue.open_orders()) == {"fut", "spot"}
    assert names(await desk.venue.open_orders((FUT,))) == {"fut"}
    assert names(await desk.venue.open_orders((SPOT, FUT))) == {"fut", "spot"}
    assert names(await desk.venue.open_orders((InstrumentKey(Market.FUT, "ETHUSDT"),))) == set()
