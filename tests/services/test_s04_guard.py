"""The guard: a spot stop that the router watches itself, and that never sells what something else of the trade sold."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS, ORDERS, STRATEGY_EVENTS
from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import Intent, IntentState, Market, OrderStatus, Purpose, Routing, Side, TradeStatus
from chimera.contracts.keys import GUARD_STOP
from chimera.contracts.messages import AlertEvent
from chimera.contracts.messages.orders import ExecPolicy, GuardStop, StopSpec, TargetSpec
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.settings import S4Settings
from chimera.ports.documents import Query
from chimera.ports.venue import Refused, VenueUnavailable
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, floor_without_market_stops, meddled_floor
from tests.services.trading_floor import ENV, HOUR_MS, SPOT, Floor

D = Decimal
HOUSE = ("s10", "s1", "s4", "s5", "s6")
BEYOND = "600000"
"""A target that the exchange refuses, so that there is no pair."""
OWN = D("0.00099")
"""What 0.00100 leaves after the fee and the floor to step."""


async def guard_of(floor: Floor, number: int = 1) -> IntentRecord:
    record = await floor.world.documents.get(INTENTS, f"E1-GUARD-{number}")
    assert record is not None, f"there is no guard {number}"
    return record


def sold(floor: Floor) -> Decimal:
    fills = floor.venue.exchange.fills(Market.SPOT, "BTCUSDT")
    return sum((fill.qty for fill in fills if fill.side is Side.SELL), D(0))


async def events(floor: Floor, kind: str) -> int:
    found = await floor.world.documents.find(
        Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", kind),))
    )
    return len(found)


async def exits(floor: Floor, name: str, qty: str) -> Any:
    intent = OrderIntent(
        intent_id=name,
        client_order_id=f"s3-btc-{name.lower()}",
        parent_id="E1",
        ts=floor.world.clock.now_ms(),
        market=Market.SPOT,
        symbol="BTCUSDT",
        side=Side.SELL,
        intent=Intent.EXIT,
        purpose=Purpose.EXIT,
        qty=D(qty),
    )
    return await floor.call("s4", "POST", "/orders", intent)


def test_what_has_no_pair_is_watched_and_sold_whole_at_its_stop() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")

        assert (await guard_of(floor)).state is IntentState.ACCEPTED
        shown = await floor.world.snapshots.get_hash(GUARD_STOP.name(ENV, SPOT, "E1"))
        assert (shown["armed"], D(shown["stop_price"]), D(shown["qty"])) == ("1", D(59400), OWN)
        assert await events(floor, "OCO_FALLBACK") == await events(floor, "GUARD_ARMED") == 1
        await floor.move("59500")
        assert sold(floor) == 0

        await floor.move("59390")

        assert sold(floor) == OWN
        assert (await guard_of(floor)).state is IntentState.DONE
        assert await events(floor, "GUARD_TRIGGERED") == 1
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert await floor.world.snapshots.get_hash(GUARD_STOP.name(ENV, SPOT, "E1")) == {}
        await floor.move("58000")
        assert sold(floor) == OWN
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("guard", "wish", "stop"),
    [
        pytest.param(GuardStop(enable=True, price=D(59400)), None, 59390, id="its own price"),
        pytest.param(GuardStop(enable=True), StopSpec(price=D(59400)), 59390, id="the stop's price"),
        pytest.param(GuardStop(enable=True), StopSpec(distance=D(600)), 59390, id="a distance from the fill"),
    ],
)
def test_an_entry_may_ask_for_the_guard_alone(guard: GuardStop, wish: StopSpec | None, stop: int) -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        intent = OrderIntent(
            intent_id="E1",
            client_order_id="s3-btc-e1",
            ts=floor.world.clock.now_ms(),
            market=Market.SPOT,
            symbol="BTCUSDT",
            side=Side.BUY,
            intent=Intent.ENTRY,
            purpose=Purpose.ENTRY,
            qty=D("0.00100"),
            sl=wish,
            tp=TargetSpec(price=D(60600)),
            guard_stop=guard,
            exec_policy=ExecPolicy(routing=Routing.DIRECT_TAKER),
        )
        answer = await floor.call("s4", "POST", "/orders", intent)
        assert answer.ok, answer.body
        await floor.settle()
        assert floor.resting() == {}
        assert await events(floor, "OCO_FALLBACK") == 0

        await floor.move(str(stop))
        assert sold(floor) == OWN
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_takes_the_target_too() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        floor.world.venue.capabilities = replace(floor.world.venue.capabilities, oco=False)
        await floor.enter(key=SPOT, qty="0.00100", tp="60600", sl="59400")

        await floor.move("60610")

        assert sold(floor) == OWN
        assert (await floor.trade()).status is TradeStatus.CLOSED
        await floor.stop()

    run_virtual(scenario())


def test_an_exit_ends_the_guard_and_what_both_would_sell_is_sold_once() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE, usdt="1000")
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")

        answer = await exits(floor, "X1", "0.00099")
        assert answer.ok, answer.body
        await floor.move("59000")

        assert sold(floor) == OWN
        assert (await guard_of(floor)).state is IntentState.CANCELED
        assert (await floor.trade()).status is TradeStatus.CLOSED
        await floor.stop()

    run_virtual(scenario())


def test_what_an_exit_leaves_is_watched_again() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(key=SPOT, qty="0.00100", tp="60600", sl="59400")
        assert len(floor.resting()) == 2

        answer = await exits(floor, "X1", "0.00050")
        assert answer.ok, answer.body
        await floor.settle()
        assert sold(floor) == D("0.00050")
        assert floor.resting() == {}
        guard = await guard_of(floor)
        assert (guard.intent.qty, guard.state) == (D("0.00049"), IntentState.ACCEPTED)

        await floor.move("59300")
        assert sold(floor) == OWN
        assert (await floor.trade()).status is TradeStatus.CLOSED
        await floor.stop()

    run_virtual(scenario())


def test_guard_and_exit_at_the_same_instant_sell_once() -> None:
    """And never what the account holds besides."""

    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter("E0", key=SPOT, qty="0.00100", tp="90000", sl="20000")
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")
        floor.price = D(59390)
        floor.venue.apply(_tick(floor))

        answer = await exits(floor, "X1", "0.00099")
        await floor.settle(5_000)

        assert answer.ok, answer.body
        assert sold(floor) == OWN
        assert len(floor.resting()) == 2
        await floor.stop()

    run_virtual(scenario())


def _tick(floor: Floor) -> Any:
    from tests.services.trading_floor import tick

    assert floor.price is not None
    return tick(floor.price, floor.world.clock.now_ms())


def test_a_restart_goes_on_watching() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")
        await floor.stop("s4")
        await floor.move("59390")
        assert sold(floor) == 0

        await floor.start("s4")
        await floor.settle()

        assert sold(floor) == OWN
        assert (await guard_of(floor)).state is IntentState.DONE
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_that_nobody_tells_of_the_market_asks_and_says_when_it_cannot() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")
        await floor.stop("s1")
        venue: Any = floor.world.venue

        async def away(book: Any, key: Any) -> Any:
            raise VenueUnavailable("for the test")

        venue.instead["book"] = away
        await floor.settle(30_000)
        told = [alert for alert in floor.messages(AlertEvent) if alert.code == "GUARD_ANOMALY"]
        assert len(told) == 1
        assert sold(floor) == 0

        venue.instead.clear()
        await floor.move("59390", settle_ms=10_000)
        assert sold(floor) == OWN
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_whose_book_has_no_bids_says_that_it_sees_none() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        venue: Any = floor.world.venue
        venue.capabilities = replace(venue.capabilities, oco=False)
        await floor.enter(key=SPOT, qty="0.00100", tp="60600", sl="59400")
        await floor.stop("s1")

        async def one_sided(book: Any, key: Any) -> Any:
            return replace(await book(key), bids=())

        venue.instead["book"] = one_sided
        await floor.move("59000", settle_ms=60_000)
        [told] = [alert for alert in floor.messages(AlertEvent) if alert.code == "GUARD_ANOMALY"]
        assert "one side only" in told.message
        assert sold(floor) == 0
        venue.instead.clear()
        await floor.settle(5_000)

        assert sold(floor) == OWN
        await floor.stop()

    run_virtual(scenario())


def test_without_the_guardian_what_has_no_pair_is_sold_at_once() -> None:
    """S4_OCO_GUARDIAN=false."""

    async def scenario() -> None:
        floor = await Floor.open(*HOUSE, variables=S4Settings(oco_guardian=False))
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")

        assert sold(floor) == OWN
        assert floor.resting() == {}
        record = await floor.world.documents.get(INTENTS, "E1")
        assert record is not None
        assert record.state is IntentState.DONE
        assert (record.reason or "").startswith("OCO_REFUSED")
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_limit_that_a_gap_jumps_over_is_sold_by_the_guard_behind_it() -> None:
    async def scenario() -> None:
        floor = await floor_without_market_stops("s4", "s5", "s6")
        await floor.enter(key=SPOT, qty="0.00100", tp="60600", sl="59400")
        kinds = sorted(what[0] for what in floor.resting().values())
        assert kinds == ["LIMIT_MAKER", "STOP_LOSS_LIMIT"]
        assert (await guard_of(floor)).intent.guard_stop.price == D("59103.00")

        await floor.move("58000")

        assert sold(floor) == OWN
        assert floor.resting() == {}
        assert (await floor.trade()).status is TradeStatus.CLOSED
        stop = next(o for o in floor.venue.exchange.orders(Market.SPOT) if o.client_order_id == "s3-btc-e1-1")
        assert stop.status is OrderStatus.CANCELED
        await floor.stop()

    run_virtual(scenario())


async def guards(floor: Floor) -> int:
    number = 0
    while await floor.world.documents.get(INTENTS, f"E1-GUARD-{number + 1}") is not None:
        number += 1
    return number


def halt(floor: Floor, status: str) -> None:
    rules = floor.venue.exchange.instrument(Market.SPOT, "BTCUSDT")
    floor.venue.exchange.replace_instrument(replace(rules, status=status))


def unsold_alerts(floor: Floor) -> list[AlertEvent]:
    return [
        alert
        for alert in floor.messages(AlertEvent)
        if alert.code == "GUARD_ANOMALY" and alert.tags["anomaly"] == "UNSOLD"
    ]


async def refused(place: Any, new: Any) -> Any:
    raise Refused(-1013, "Market is closed.")


def test_on_a_halted_symbol_a_guard_sends_nothing_and_sells_once_it_trades_also_after_a_restart() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")
        halt(floor, "BREAK")
        await floor.move("59000", settle_ms=90_000)

        # The first try told us that it does not trade.
        assert await guards(floor) == 2
        assert len(unsold_alerts(floor)) == 1
        await floor.settle(HOUR_MS // 2)
        await floor.stop("s4")
        await floor.settle(60_000)
        await floor.start("s4")
        await floor.settle(HOUR_MS // 4)
        assert len(unsold_alerts(floor)) == 1
        await floor.settle(2 * HOUR_MS)

        assert await guards(floor) == 2
        orders = await floor.world.documents.find(
            Query(collection=ORDERS, index="by_parent", equal=(("parent_id", "E1"),))
        )
        assert len(orders) == 1
        # Again each hour, and always as the same alert.
        assert len(unsold_alerts(floor)) == 3
        assert {tuple(sorted(alert.tags.items())) for alert in unsold_alerts(floor)} == {
            (("anomaly", "UNSOLD"), ("symbol", "BTCUSDT"), ("trade_id", "E1"))
        }

        halt(floor, "TRADING")
        await floor.settle(2_500)
        assert sold(floor) == OWN
        await floor.settle(2_000)
        assert (await floor.trade()).status is TradeStatus.CLOSED
        await floor.stop()

    run_virtual(scenario())


def test_a_symbol_that_trades_again_while_we_are_down_is_sold_at_the_start() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")
        halt(floor, "BREAK")
        await floor.move("59000", settle_ms=90_000)
        await floor.stop("s4")
        halt(floor, "TRADING")
        await floor.start("s4")
        await floor.settle(1_000)

        assert sold(floor) == OWN
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_that_was_stood_down_while_its_symbol_did_not_trade_ends() -> None:
    """And the one that follows it sells."""

    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")
        halt(floor, "BREAK")
        await floor.move("59000", settle_ms=90_000)
        answer = await floor.call("s4", "POST", "/cancel", {"intent_id": "E1-GUARD-2"})
        assert answer.ok, answer.body
        await floor.settle(5_000)
        answer = await exits(floor, "X1", "0.00099")
        await floor.settle(90_000)

        assert (await guard_of(floor, 2)).state.is_final
        assert await guards(floor) <= 4
        assert len(unsold_alerts(floor)) == 1
        halt(floor, "TRADING")
        await floor.settle(2_500)
        assert sold(floor) == OWN
        await floor.stop()

    run_virtual(scenario())


def test_while_the_exchange_refuses_its_sale_a_guard_tries_once_a_minute_and_no_try_costs_more() -> None:
    """Whatever the rules say. What one try reads does not grow with those before it."""

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled, documents=Meddled)
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")
        await floor.stop("s5", "s6")
        venue: Any = floor.world.venue
        documents: Any = floor.world.documents
        read = 0

        async def one(real: Any, *what: Any) -> Any:
            nonlocal read
            read += 1
            return await real(*what)

        async def many(real: Any, *what: Any) -> Any:
            nonlocal read
            found = await real(*what)
            read += 1 + len(found)
            return found

        documents.instead = {"get": one, "get_values": many, "find": many, "find_values": many}
        venue.instead["place"] = refused
        await floor.move("59000", settle_ms=60_000)
        assert 6 <= await guards(floor) <= 9

        costs: list[float] = []
        for _ in range(4):
            tried, read = await guards(floor), 0
            await floor.settle(HOUR_MS // 2)
            each_hour = await guards(floor) - tried
            assert 25 <= each_hour <= 31
            costs.append(read / each_hour)
        assert max(costs) <= 1.1 * min(costs)
        assert len(unsold_alerts(floor)) <= 3

        await floor.stop("s4")
        await floor.start("s4")
        tried = await guards(floor)
        await floor.settle(60_000)
        assert await guards(floor) - tried <= 2
        assert len(unsold_alerts(floor)) <= 3
        venue.instead.clear()
        await floor.settle(61_000)
        assert sold(floor) == OWN
        await floor.stop()

    run_virtual(scenario())


def test_who_wants_to_sell_does_not_wait_for_the_pause_of_a_guard_that_was_refused() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")
        venue: Any = floor.world.venue
        venue.instead["place"] = refused
        await floor.move("59000", settle_ms=90_000)
        before = await guards(floor)
        while await guards(floor) == before:
            # The next pause is a whole one from here.
            await floor.settle(1_000)
        venue.instead.clear()
        await floor.call("s6", "POST", "/positions/close", {"market": "SPOT", "symbol": "BTCUSDT"})
        await floor.settle(3_000)

        assert sold(floor) == OWN
        assert (await floor.trade()).status is TradeStatus.CLOSED
        await floor.stop()

    run_virtual(scenario())


async def budget(floor: Floor) -> tuple[bool, int]:
    """Whether any of it is taken, and how many places are."""
    usage = await floor.world.reservations.usage(Market.SPOT)
    return usage.amount_usdt > 0, usage.concurrency


def test_what_is_worth_no_order_at_its_stop_is_sold_as_soon_as_the_price_allows_it() -> None:
    """0.00009 is worth 5.40 at cost and less than the least order of 5 at its stop."""

    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(key=SPOT, qty="0.00010", tp="60500", sl="54000")
        await floor.move("53990", settle_ms=5_000)
        await floor.stop("s4")
        await floor.start("s4")
        await floor.settle(2 * HOUR_MS)

        assert (await guards(floor), sold(floor)) == (1, 0)
        assert (await floor.trade()).status is TradeStatus.ACTIVE
        [told] = unsold_alerts(floor)
        assert (
            "0.00009 (it is worth less than the least order of 5 USDT until the price is at 55555.56)" in told.message
        )

        await floor.move("55600", settle_ms=10_000)

        assert sold(floor) == D("0.00009")
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert await budget(floor) == (False, 0)
        assert await guards(floor) == 1
        await floor.stop()

    run_virtual(scenario())


def test_what_an_exit_leaves_is_watched_where_it_is_worth_an_order_at_cost_and_none_at_its_stop() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(key=SPOT, qty="0.00100", tp="60500", sl="54000")
        answer = await exits(floor, "X1", "0.00090")
        assert answer.ok, answer.body
        await floor.settle()

        guard = await guard_of(floor)
        assert (guard.intent.qty, guard.state) == (D("0.00009"), IntentState.ACCEPTED)
        assert (await floor.trade()).status is TradeStatus.ACTIVE
        await floor.move("60510")
        assert sold(floor) == D("0.00099")
        assert await budget(floor) == (False, 0)
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("oco", [True, False], ids=["where there are pairs", "where there are none"])
def test_what_is_dust_from_the_first_takes_neither_budget_nor_place_and_is_told_once(oco: bool) -> None:
    """0.00009 are taken as an order; the fee leaves 0.00008 that can be sold, which is worth less than one."""

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        venue: Any = floor.world.venue
        venue.capabilities = replace(venue.capabilities, oco=oco)
        await floor.enter(key=SPOT, qty="0.00009", tp="60500", sl="59400")
        await floor.move("59000", settle_ms=120_000)

        assert (await guards(floor), sold(floor), floor.resting()) == (0, 0, {})
        trade = await floor.trade()
        assert (trade.status, trade.reason) == (TradeStatus.CLOSED, "DUST")
        assert await budget(floor) == (False, 0)
        [told] = [alert for alert in floor.messages(AlertEvent) if alert.code == "GUARD_ANOMALY"]
        assert told.tags["anomaly"] == "DUST"
        await floor.stop()

    run_virtual(scenario())


def test_an_exchange_that_was_away_is_used_soon_after_it_is_back() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        await floor.enter(key=SPOT, qty="0.00100", tp=BEYOND, sl="59400")
        venue: Any = floor.world.venue

        async def away(place: Any, new: Any) -> Any:
            raise VenueUnavailable("for the test")

        venue.instead["place"] = away
        await floor.move("59000", settle_ms=300_000)
        assert sold(floor) == 0
        # Every five seconds, and not every thirty.
        assert await guards(floor) > 30
        venue.instead.clear()
        await floor.settle(7_000)

        assert sold(floor) == OWN
        await floor.stop()

    run_virtual(scenario())
