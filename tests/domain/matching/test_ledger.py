"""After any sequence of operations the exchange's books balance to the last digit, and a stored exchange goes on as if
nothing had happened."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chimera.contracts.enums import Market, OrderType, Side, TimeInForce, WorkingType
from chimera.domain.execution.orders import (
    AccountChange,
    BalancesChanged,
    ListUpdated,
    NewOrder,
    OrderUpdated,
    PositionChanged,
    SelfTrade,
    VenueOrder,
    VenueOrderList,
    VenuePosition,
)
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.records import PRICED
from chimera.domain.matching.refusals import Refusal
from tests.domain.matching.ledger_check import as_json, check_books
from tests.domain.matching.venue import (
    FIRST_FUNDING_MS,
    RULES,
    SYMBOL,
    D,
    book,
    exchange,
    leg,
    mark,
    oco,
    order,
    pair,
    trailing,
)

USDT, SPOT_USDT, BTC = D("700"), D("3000"), D("0.05")

ids = st.sampled_from([f"c{number}" for number in range(12)])
sides = st.sampled_from(list(Side))
prices = st.integers(500, 720).map(lambda hundreds: D(hundreds) * 100)
offsets = st.integers(-30, 30).map(lambda tens: D(tens) * 10)
fut_qtys = st.integers(1, 400).map(lambda thousandths: D(thousandths) / 1000)
profit_types = st.sampled_from([OrderType.LIMIT_MAKER, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT])
loss_types = st.sampled_from([OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT])
spot_qtys = st.integers(10, 6000).map(lambda hundredths: D(hundredths) / 100_000)


@st.composite
def futures_orders(draw: st.DrawFn) -> tuple[Any, ...]:
    kind = draw(
        st.sampled_from(
            [
                OrderType.MARKET,
                OrderType.LIMIT,
                OrderType.LIMIT,
                OrderType.STOP_MARKET,
                OrderType.TAKE_PROFIT_MARKET,
                OrderType.STOP_LOSS_LIMIT,
                OrderType.TAKE_PROFIT_LIMIT,
            ]
        )
    )
    close = kind in (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET) and draw(st.integers(0, 4)) == 0
    return (
        "place",
        draw(ids),
        draw(sides),
        D(0) if close else draw(fut_qtys),
        draw(offsets),
        Market.FUT,
        kind,
        draw(st.sampled_from(list(TimeInForce))),
        not close and draw(st.booleans()),
        close,
        draw(st.sampled_from(list(WorkingType))),
        draw(st.sampled_from(list(SelfTrade))),
    )


@st.composite
def spot_orders(draw: st.DrawFn) -> tuple[Any, ...]:
    kinds = [
        OrderType.MARKET,
        OrderType.LIMIT,
        OrderType.LIMIT_MAKER,
        OrderType.STOP_LOSS,
        OrderType.STOP_LOSS_LIMIT,
        OrderType.TAKE_PROFIT,
        OrderType.TAKE_PROFIT_LIMIT,
    ]
    return (
        "place",
        draw(ids),
        draw(sides),
        draw(spot_qtys),
        draw(offsets),
        Market.SPOT,
        draw(st.sampled_from(kinds)),
        draw(st.sampled_from([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK])),
        False,
        False,
        WorkingType.CONTRACT_PRICE,
        draw(st.sampled_from(list(SelfTrade))),
    )


operations = st.lists(
    st.one_of(
        futures_orders(),
        futures_orders(),
        spot_orders(),
        st.tuples(st.just("oco"), ids, sides, spot_qtys, st.booleans(), st.integers(1, 20)),
        st.tuples(st.just("list"), ids, sides, spot_qtys, profit_types, loss_types, st.integers(1, 20)),
        st.tuples(st.just("quote"), ids, sides, st.integers(1, 400_000)),
        st.tuples(st.just("drift"), offsets),
        st.tuples(st.just("drift"), offsets),
        st.tuples(st.just("jump"), prices),
        st.tuples(st.just("wait"), st.integers(1, 20), st.sampled_from([0.0001, -0.003, 0.02])),
        st.tuples(st.just("cancel"), ids, st.sampled_from(list(Market)), st.booleans()),
        st.tuples(st.just("cancel_all"), st.sampled_from(list(Market)), st.booleans()),
        st.tuples(st.just("cancel_list"), ids),
        st.tuples(st.just("amend"), ids, sides, fut_qtys, offsets),
        st.tuples(st.just("cancel_number"), st.integers(1, 30), st.sampled_from(list(Market)), st.booleans()),
        st.tuples(st.just("margin"), st.integers(-40_000, 40_000)),
        st.tuples(st.just("deposit"), st.sampled_from(list(Market)), st.integers(-300, 300)),
        st.tuples(st.just("countdown"), st.sampled_from([0, 1, 3_600_000])),
        st.tuples(st.just("trail"), ids, sides, fut_qtys, st.none() | offsets, st.booleans()),
        st.tuples(st.just("transfer"), st.sampled_from(list(Market)), st.integers(1, 900)),
        st.tuples(st.just("leverage"), st.sampled_from([3, 20, 50, 125])),
    ),
    min_size=20,
    max_size=60,
)


def refused(request: Callable[[], None]) -> Refusal | None:
    try:
        request()
    except Refusal as refusal:
        return refusal
    return None


class Run:
    """Applies operations to one exchange; a refusal is an answer, and must change nothing."""

    def __init__(self) -> None:
        self.venue: Exchange = exchange(str(USDT), str(SPOT_USDT), str(BTC))
        self.price = D("60000")
        self.now_ms = 1
        self.rate = 0.0001
        self.deposited = {Market.FUT: D(0), Market.SPOT: D(0)}
        self.show()

    def show(self) -> tuple[AccountChange, ...]:
        now_ms, venue = self.now_ms, self.venue
        following = (now_ms // FIRST_FUNDING_MS + 1) * FIRST_FUNDING_MS
        return (
            *venue.on_book(book(Market.FUT, self.price, qty="0.15", ts=now_ms), now_ms),
            *venue.on_book(book(Market.SPOT, self.price, qty="0.02", ts=now_ms), now_ms),
            *venue.on_mark(mark(self.price, ts=now_ms, rate=self.rate, funding_at_ms=following), now_ms),
        )

    def apply(self, operation: tuple[Any, ...]) -> tuple[AccountChange, ...]:
        self.now_ms += 1
        before = as_json(self.venue)
        try:
            return self._apply(*operation)
        except Refusal as caught:
            refusal = caught
        assert refusal.code < 0 < len(refusal.text)
        assert as_json(self.venue) == before, f"{refusal} changed something"
        return ()

    def _place(self, new: NewOrder) -> tuple[AccountChange, ...]:
        """What a check says is what placing does, and the check itself changes nothing."""
        before = as_json(self.venue)
        foreseen = refused(lambda: self.venue.check(new, self.now_ms))
        assert as_json(self.venue) == before, f"checking {new} changed something"
        changes: list[AccountChange] = []
        refusal = refused(lambda: changes.extend(self.venue.place(new, self.now_ms)[1]))
        assert (foreseen and foreseen.code) == (refusal and refusal.code), f"foreseen {foreseen}, said {refusal}"
        if refusal is not None:
            raise refusal
        return tuple(changes)

    def _apply(self, name: str, *given: Any) -> tuple[AccountChange, ...]:
        venue, now_ms = self.venue, self.now_ms
        match name, given:
            case "place", (client_id, side, qty, offset, market, kind, tif, reduce_only, close, working_type, stp):
                new = order(
                    client_id,
                    side,
                    qty,
                    self.price + offset if kind in PRICED else None,
                    market=market,
                    kind=kind,
                    stop=self.price + offset,
                    tif=tif,
                    reduce_only=reduce_only,
                    close_position=close,
                    on=working_type,
                    stp=stp,
                )
                return self._place(new)
            case "trail", (client_id, side, qty, offset, reduce_only):
                activate = None if offset is None else str(self.price + offset)
                return self._place(trailing(client_id, side, str(qty), "0.01", activate, reduce_only=reduce_only))
            case "oco", (client_id, side, qty, stop_limit, distance):
                away = D(distance * 10) * (1 if side is Side.SELL else -1)
                new_list = oco(
                    client_id,
                    side,
                    str(qty),
                    str(self.price + away),
                    str(self.price - away),
                    str(self.price - 2 * away) if stop_limit else None,
                )
                return venue.place_oco(new_list, now_ms)[1]
            case "list", (client_id, side, qty, profit_type, loss_type, distance):
                away = D(distance * 10) * (1 if side is Side.SELL else -1)
                legs = [
                    leg(
                        f"{client_id}-{kind}",
                        kind,
                        None if kind is OrderType.LIMIT_MAKER else self.price + reach,
                        self.price + reach * 2 if kind in PRICED else None,
                    )
                    for kind, reach in ((profit_type, away), (loss_type, -away))
                ]
                above, below = legs if side is Side.SELL else reversed(legs)
                return venue.place_list(pair(above, below, side, str(qty), client_id), now_ms)[1]
            case "quote", (client_id, side, hundredths):
                return self._place(order(client_id, side, 0, market=Market.SPOT, quote=D(hundredths) / 100))
            case "drift", (offset,):
                self.price = max(D(50_000), self.price + offset)
                return self.show()
            case "jump", (price,):
                self.price = price
                return self.show()
            case "wait", (hours, rate):
                self.now_ms += hours * 3_600_000
                self.rate = rate
                return self.show()
            case "cancel", (client_id, market, conditional):
                return venue.cancel(market, SYMBOL, client_id, now_ms, conditional=conditional)[1]
            case "cancel_all", (market, conditional):
                return venue.cancel_all(market, SYMBOL, now_ms, conditional=conditional)
            case "cancel_list", (client_id,):
                return venue.cancel_list(SYMBOL, client_id, now_ms)[1]
            case "amend", (client_id, side, qty, offset):
                price = self.price + offset
                return venue.amend(SYMBOL, now_ms, side=side, qty=qty, price=price, client_order_id=client_id)[1]
            case "cancel_number", (number, market, conditional):
                if conditional:
                    return venue.cancel_algo(SYMBOL, str(number), now_ms)[1]
                return venue.cancel_number(market, SYMBOL, str(number), now_ms)[1]
            case "margin", (hundredths,):
                return venue.change_margin(SYMBOL, D(hundredths) / 100, now_ms)
            case "deposit", (market, amount):
                changes = venue.deposit(market, "USDT", D(amount), now_ms)
                self.deposited[market] += D(amount)
                return changes
            case "countdown", (countdown_ms,):
                venue.set_countdown(SYMBOL, countdown_ms, now_ms)
                return ()
            case "transfer", (source, amount):
                target = Market.FUT if source is Market.SPOT else Market.SPOT
                return venue.transfer(source, target, "USDT", D(amount), now_ms)[1]
            case "leverage", (leverage,):
                return venue.set_leverage(SYMBOL, leverage, now_ms)
            case _:
                raise AssertionError(name)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations)
def test_the_ledger_balances_to_the_last_digit_after_every_operation(ops: list[tuple[Any, ...]]) -> None:
    run = Run()

    for operation in ops:
        run.apply(operation)

        check_books(
            run.venue,
            usdt=USDT,
            spot_usdt=SPOT_USDT + run.deposited[Market.SPOT],
            btc=BTC,
            deposited=run.deposited[Market.FUT],
        )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations)
def test_what_is_told_is_all_that_changed(ops: list[tuple[Any, ...]]) -> None:
    run = Run()
    orders: dict[tuple[Market, str], VenueOrder] = {order_key(o): o for m in Market for o in run.venue.orders(m)}
    balances = {(balance.market, balance.asset): balance for balance in run.venue.balances()}
    position: VenuePosition | None = None
    lists: dict[str, VenueOrderList] = {}

    for operation in ops:
        for change in run.apply(operation):
            match change:
                case OrderUpdated(order=told):
                    orders[order_key(told)] = told
                case BalancesChanged(balances=told_balances):
                    balances |= {(balance.market, balance.asset): balance for balance in told_balances}
                case PositionChanged(position=told_position):
                    position = told_position
                case ListUpdated(order_list=told_list):
                    lists[told_list.list_id] = told_list
                case _:
                    pass

        assert orders == {order_key(o): o for market in Market for o in run.venue.orders(market)}
        assert balances == {(balance.market, balance.asset): balance for balance in run.venue.balances()}
        assert _holdings(position) == _holdings(*run.venue.positions())
        assert [_progress(told) for told in lists.values()] == [_progress(held) for held in run.venue.order_lists()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations, operations)
def test_a_restored_exchange_exports_the_same_and_goes_on_the_same(
    before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    run = Run()
    for operation in before:
        run.apply(operation)
    state = json.loads(json.dumps(run.venue.export_state()))
    twin = Run()
    twin.venue = Exchange.restore(RULES, state)
    twin.price, twin.now_ms, twin.rate = run.price, run.now_ms, run.rate

    assert as_json(twin.venue) == as_json(run.venue)
    for operation in after:
        assert twin.apply(operation) == run.apply(operation)
    assert as_json(twin.venue) == as_json(run.venue)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations)
def test_the_rows_drained_after_each_operation_rebuild_the_account(ops: list[tuple[Any, ...]]) -> None:
    run = Run()
    journal: dict[str, dict[str, Any]] = {}

    for operation in (None, *ops):
        if operation is not None:
            run.apply(operation)
        for row in run.venue.drain_rows():
            table = journal.setdefault(row.table, {})
            if row.row is None:
                table.pop(row.key, None)
            else:
                table[row.key] = json.loads(json.dumps(row.row))
    rebuilt = Exchange.restore(RULES, journal)

    assert not run.venue.drain_rows()
    assert rebuilt.balances() == run.venue.balances()
    assert _holdings(*rebuilt.positions()) == _holdings(*run.venue.positions())
    for market in Market:
        assert rebuilt.orders(market) == run.venue.orders(market)
        assert rebuilt.open_orders(market) == run.venue.open_orders(market)
        assert rebuilt.fills(market, SYMBOL) == run.venue.fills(market, SYMBOL)
    assert rebuilt.income() == run.venue.income()
    assert rebuilt.transfers() == run.venue.transfers()
    assert rebuilt.margin_changes(SYMBOL) == run.venue.margin_changes(SYMBOL)
    assert rebuilt.order_lists(SYMBOL) == run.venue.order_lists(SYMBOL)


def order_key(told: VenueOrder) -> tuple[Market, str]:
    """What names an order for ever: its number in the algo book, else in the regular one."""
    return told.market, f"algo {told.venue_algo_id}" if told.venue_algo_id else told.venue_order_id


def _progress(held: VenueOrderList) -> tuple[str, str, int]:
    """A list without its orders, which are told of on their own."""
    return held.list_id, held.status, held.updated_at_ms


def _holdings(*positions: VenuePosition | None) -> list[tuple[object, ...]]:
    """Positions without what depends on the mark: prices are neither journalled nor told."""
    return [(p.symbol, p.qty, p.entry_price, p.isolated_wallet_usdt, p.liquidation_price) for p in positions if p]
