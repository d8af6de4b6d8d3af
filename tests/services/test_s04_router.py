"""S4 on the simulated exchange: every order on file first, every fill followed by its stop, nothing sent twice."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import CONFIG_BUNDLES, FILLS, INTENTS, ORDERS, STRATEGY_EVENTS
from chimera.contracts.documents import Fill, IntentRecord, Order
from chimera.contracts.enums import (
    BundleStatus,
    Intent,
    IntentState,
    Market,
    OrderStatus,
    OrderType,
    Purpose,
    Routing,
    Side,
    Switch,
    TradeStatus,
)
from chimera.contracts.flags import LadderRung
from chimera.contracts.http import LookupRequest
from chimera.contracts.keys import (
    CLOCK_OFFSET,
    HEALTH_ROLLING,
    HEALTH_STATE,
    KILL_SWITCH,
    RECON_LAST_RUN,
    SPOT_WAC,
)
from chimera.contracts.messages import AlertEvent, OrderResult
from chimera.contracts.messages.orders import ExecPolicy, Oco, RiskRef, StopSpec, TargetSpec
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.streams import ORD_CMD
from chimera.domain.execution.last_gate import LastGate
from chimera.domain.execution.orders import AccountChange, NewOrder, OrderUpdated, VenueFill, VenueOrder
from chimera.ports.documents import DocumentsUnavailable, Query
from chimera.ports.venue import OutcomeUnknown, UnknownOrder, VenueUnavailable, WouldTrigger
from chimera.runtime.kill_switch import KillSwitch, no_file
from chimera.runtime.restraints import Restraints
from chimera.runtime.telling import Teller
from chimera.services.s04_router.ledger import Filing, Ledger, Sent
from chimera.services.s04_router.results import Results
from chimera.services.s04_router.rules import forbidden, now_of
from chimera.simulation.loop import run_virtual
from tests.domain.matching.venue import FUT as FUT_RULES
from tests.services.meddling import Meddled, meddled_floor, wrapped
from tests.services.small_world import Switchable, small_world
from tests.services.trading_floor import BEGIN_MS, ENV, FUT, HOUR_MS, SPOT, Floor, tick

D = Decimal
ROUTER = ("s10", "s1", "s4", "s5")
"""S5 keeps the start reconciled, without which nothing is entered."""


async def order_of(floor: Floor, order_id: str) -> Order:
    order = await floor.world.documents.get(ORDERS, order_id)
    assert order is not None, f"{order_id} is not on file"
    return order


async def intent_of(floor: Floor, intent_id: str) -> IntentRecord:
    record = await floor.world.documents.get(INTENTS, intent_id)
    assert record is not None, f"{intent_id} is not on file"
    return record


async def fills_of(floor: Floor, order_id: str) -> list[Fill]:
    return list(
        await floor.world.documents.find(Query(collection=FILLS, index="by_order", equal=(("order_id", order_id),)))
    )


def alerts(floor: Floor, code: str) -> list[AlertEvent]:
    return [alert for alert in floor.messages(AlertEvent) if alert.code == code]


def last_words(floor: Floor, intent_id: str) -> list[OrderResult]:
    return [result for result in floor.messages(OrderResult) if result.final and result.cmd_id == intent_id]


def entry(floor: Floor, name: str = "E1", *, qty: str = "0.010", **more: Any) -> OrderIntent:
    now_ms = floor.world.clock.now_ms()
    return OrderIntent(
        **{
            "intent_id": name,
            "client_order_id": f"s3-btc-{name.lower()}",
            "ts": now_ms,
            "expires_at": now_ms + 5_000,
            "market": Market.FUT,
            "symbol": "BTCUSDT",
            "side": Side.BUY,
            "intent": Intent.ENTRY,
            "purpose": Purpose.ENTRY,
            "qty": D(qty),
            "sl": StopSpec(price=D(59400)),
            "leverage": 20,
            "exec_policy": ExecPolicy(routing=Routing.DIRECT_TAKER),
            **more,
        }
    )


def stop(floor: Floor, name: str, *, qty: str = "0.010", price: str = "59500") -> OrderIntent:
    return entry(
        floor,
        name,
        qty=qty,
        side=Side.SELL,
        intent=Intent.EXIT,
        purpose=Purpose.SL,
        type=OrderType.STOP_MARKET,
        price=D(price),
        reduce_only=True,
        sl=None,
        expires_at=None,
    )


# --- an entry and what follows it


def test_every_order_is_on_file_before_the_exchange_hears_of_it() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        seen: list[tuple[str, OrderStatus, IntentState]] = []

        async def place(call: Any, order: NewOrder) -> Any:
            on_file = await order_of(floor, order.client_order_id)
            assert (on_file.quantity, on_file.side, on_file.stop_price) == (order.qty, order.side, order.stop_price)
            seen.append((order.client_order_id, on_file.status, (await intent_of(floor, "E1")).state))
            return await call(order)

        floor.world.venue.instead["place"] = place

        await floor.enter()

        new = OrderStatus.NEW
        assert seen == [
            ("s3-btc-e1", new, IntentState.WORKING),
            ("s3-btc-e1-1", new, IntentState.PROTECTING),
            ("s3-btc-e1-2", new, IntentState.PROTECTING),
        ]
        assert (await intent_of(floor, "E1")).order_ids == tuple(
            f"s3-btc-e1{suffix}" for suffix in ("", "-1", "-2", "-3", "-4")
        )
        assert floor.venue.exchange.leverage("BTCUSDT") == 20
        await floor.stop()

    run_virtual(scenario())


def test_a_fill_is_kept_with_the_market_it_was_sent_into() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER)

        answer = await floor.enter()

        (fill,) = await fills_of(floor, "s3-btc-e1")
        assert (fill.price, fill.qty, fill.mid_at_send, fill.maker) == (D(60001), D("0.010"), D(60000), False)
        assert fill.slippage_bps == pytest.approx(1 / 60000 * 1e4)
        assert fill.fee_usdt == D("0.010") * 60001 * D("0.0005")
        assert fill.book_top3 is not None
        assert [(row.bid_price, row.ask_price) for row in fill.book_top3] == [
            (D(59999), D(60001)),
            (D(59998), D(60002)),
            (D(59997), D(60003)),
        ]
        assert answer.body["slippage_bps"] == pytest.approx(1 / 60000 * 1e4)
        (told,) = [each for result in floor.messages(OrderResult) for each in result.fills]
        assert (told.fill_id, told.slippage_bps, told.fee_usdt) == (fill.fill_id, fill.slippage_bps, fill.fee_usdt)
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("qty", "target_qty"),
    [
        pytest.param("0.010", "0.005", id="half"),
        pytest.param("0.003", "0.001", id="half, floored to step"),
        pytest.param("0.001", "0.001", id="all where half would be below one step"),
    ],
)
def test_the_stop_covers_all_that_filled_and_the_target_the_first_rung(qty: str, target_qty: str) -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER)

        answer = await floor.enter(qty=qty)

        assert (answer.body["result"], answer.body["status"]) == ("OK", "FILLED")
        assert floor.resting() == {
            "s3-btc-e1-1": ("STOP_MARKET", D(qty), D(59400)),
            "s3-btc-e1-2": ("TAKE_PROFIT_MARKET", D(target_qty), D(60500)),
        }
        assert (await order_of(floor, "s3-btc-e1-1")).venue_algo_id is not None
        assert [word.intent_filled_qty for word in last_words(floor, "E1")] == [D(qty)]
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("ladder", "rev", "targets"),
    [
        pytest.param((LadderRung(roe_min=D("0.1"), close_ratio=D("0.3")),), 7, [D("0.003")], id="its revision's"),
        pytest.param((), 7, [], id="no rung, no target"),
        pytest.param((), 8, [D("0.005")], id="an unknown revision is the active one"),
    ],
)
def test_the_first_target_closes_what_the_ladder_of_the_orders_revision_says(
    ladder: tuple[LadderRung, ...], rev: int, targets: list[Decimal]
) -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER)
        (active,) = await floor.world.documents.find(
            Query(collection=CONFIG_BUNDLES, index="by_rev", equal=(("rev", 1),))
        )
        flags = active.flags.but(position=active.flags.position.but(ladder=ladder))
        await floor.world.documents.insert(
            CONFIG_BUNDLES, active.but(bundle_id="other", rev=7, status=BundleStatus.STAGED, flags=flags)
        )

        order = entry(floor, tp=TargetSpec(price=D(60500)), risk=RiskRef(rcu_rev=rev))
        await floor.call("s4", "POST", "/orders", order)
        await floor.settle()

        assert [qty for kind, qty, _ in floor.resting().values() if kind == "TAKE_PROFIT_MARKET"] == targets
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_that_would_trigger_at_once_is_answered_by_closing_at_market() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER)

        await floor.call("s4", "POST", "/orders", entry(floor, sl=StopSpec(distance=D("0.5"))))
        await floor.settle()

        assert (floor.position_qty(), floor.resting()) == (D(0), {})
        assert (await order_of(floor, "s3-btc-e1-3")).status is OrderStatus.FILLED
        (alert,) = alerts(floor, "STOP_NOT_PLACED")
        assert (alert.severity, alert.tags["intent_id"]) == ("FATAL", "E1")
        record = await intent_of(floor, "E1")
        assert (record.state, record.reason) == (IntentState.DONE, "STOP_WOULD_TRIGGER")
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_that_is_never_listed_is_tried_three_times_and_then_the_position_is_closed_within_two_seconds() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        tried: list[int] = []

        async def place(call: Any, order: NewOrder) -> Any:
            if order.client_order_id != "s3-btc-e1-1":
                return await call(order)
            # The exchange says yes and forgets.
            tried.append(floor.world.clock.now_ms())
            return VenueOrder(
                client_order_id=order.client_order_id,
                venue_order_id="",
                market=order.market,
                symbol=order.symbol,
                side=order.side,
                type=order.type,
                status=OrderStatus.NEW,
                qty=order.qty,
                filled_qty=D(0),
                price=None,
                stop_price=order.stop_price,
                reduce_only=True,
                conditional=True,
                created_at_ms=tried[-1],
                updated_at_ms=tried[-1],
            )

        floor.world.venue.instead["place"] = place

        await floor.enter()

        assert len(tried) == 3
        (closed,) = await fills_of(floor, "s3-btc-e1-3")
        (opened,) = await fills_of(floor, "s3-btc-e1")
        assert closed.timestamp - opened.timestamp < 2_200
        assert floor.position_qty() == 0
        assert len(alerts(floor, "STOP_NOT_PLACED")) == 1
        assert (await intent_of(floor, "E1")).reason == "STOP_NOT_LISTED"
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("closed", [pytest.param(True, id="closed by hand"), pytest.param(False, id="still open")])
def test_a_stop_is_told_of_and_measured_only_where_there_is_one(closed: bool) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)

        async def while_a_person_acts(positions: Any) -> Any:
            if closed and floor.position_qty():
                await floor.by_hand("web_1", Side.SELL, "0.010", reduce_only=True)
            return await positions()

        venue: Any = floor.world.venue
        venue.instead["positions"] = while_a_person_acts
        await floor.enter()

        told = await floor.world.documents.find(
            Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", "TP_SL_PLACED"),))
        )
        stops = 0 if closed else 1
        assert [what[0] for what in floor.resting().values()].count("STOP_MARKET") == stops
        assert len(told) == stops
        assert f"chimera_unprotected_ms_count {stops}" in floor.world.metrics.render()
        assert alerts(floor, "STOP_NOT_PLACED") == []
        await floor.stop()

    run_virtual(scenario())


def test_a_spot_buy_gets_its_pair_for_what_arrived_net_of_fee() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER)

        answer = await floor.enter(key=SPOT, qty="0.00083", tp="60600", sl="59400")

        # 0.00083 less a thousandth is 0.00082917.
        assert floor.resting() == {
            "s3-btc-e1-2": ("LIMIT_MAKER", D("0.00082"), D(60600)),
            "s3-btc-e1-1": ("STOP_LOSS", D("0.00082"), D(59400)),
        }
        assert sorted(answer.body["oco_legs"]) == ["s3-btc-e1-1", "s3-btc-e1-2"]
        wac = await floor.world.snapshots.get_hash(SPOT_WAC.name(ENV, SPOT))
        assert (D(wac["qty"]), D(wac["wac"])) == (D("0.00082917"), D(60001))
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("wishes", "fees_known", "legs"),
    [
        pytest.param(
            {"sl": StopSpec(distance=D(600)), "tp": TargetSpec(ratio=D("0.01"))},
            True,
            # Selling 0.00082 nets, after the fees of both, a hundredth of what 0.00083 cost at 60001.
            (D("60729.79"), D(59401)),
            id="kept from the fill",
        ),
        pytest.param(
            {"sl": StopSpec(distance=D(600)), "tp": TargetSpec(ratio=D("0.01"))},
            False,
            (D(60600), D(59401)),
            id="the planned target while the fee is not known",
        ),
        pytest.param({}, True, (D(60600), D(59400)), id="prices that were given"),
        pytest.param(
            {"sl": StopSpec(price=D(59400), distance=D(600))},
            True,
            (D(60600), D(59400)),
            id="a price before a distance",
        ),
    ],
)
def test_the_legs_of_a_spot_pair_follow_the_average_fill(
    wishes: dict[str, Any], fees_known: bool, legs: tuple[Decimal, Decimal]
) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)

        async def unknown(ask: Any, market: Market) -> Decimal:
            raise VenueUnavailable("for the test")

        venue: Any = floor.world.venue
        if not fees_known:
            venue.instead["taker_fee_ratio"] = unknown
        policy = ExecPolicy(routing=Routing.DIRECT_TAKER, oco=Oco(enabled=True, tp=D(60600), sl=D(59400)))
        order = entry(floor, market=Market.SPOT, qty="0.00083", leverage=None, exec_policy=policy, sl=None)
        await floor.call("s4", "POST", "/orders", order.but(**wishes))
        await floor.settle()

        resting = floor.resting()
        assert (resting["s3-btc-e1-2"][2], resting["s3-btc-e1-1"][2]) == legs
        assert (await order_of(floor, "s3-btc-e1-2")).price == legs[0]
        await floor.stop()

    run_virtual(scenario())


def test_a_liquidation_that_nobody_ordered_is_on_file_with_its_fills() -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10", "s1", "s4", "s5")
        await floor.enter(tp=None)
        await floor.stop("s5")
        await floor.venue.cancel(FUT, "s3-btc-e1-1", conditional=True)

        await floor.move("57000")

        (order,) = [
            order
            for order in await floor.world.documents.find(
                Query(collection=ORDERS, index="by_status", equal=(("status", "FILLED"),))
            )
            if order.reason == "LIQUIDATION"
        ]
        assert (order.side, order.purpose, order.filled_qty) == (Side.SELL, Purpose.EXIT, D("0.010"))
        assert sum(fill.qty for fill in await fills_of(floor, order.order_id)) == D("0.010")
        assert len(alerts(floor, "LIQUIDATION")) == 1
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("autoclose-", "the exchange liquidated a position by order"),
        ("adl_autoclose-", "to balance somebody else's loss (ADL)"),
        ("settlement_autoclose-", "the exchange settled a position by order"),
    ],
)
def test_what_the_exchange_closes_is_told_at_once_as_what_it_was(prefix: str, words: str) -> None:
    def renamed(changes: Any) -> list[Any]:
        told = []
        for change in changes:
            if isinstance(change, OrderUpdated) and change.order.client_order_id.startswith("autoclose-"):
                name = change.order.client_order_id.replace("autoclose-", prefix)
                fill = None if change.fill is None else replace(change.fill, client_order_id=name)
                told.append(replace(change, order=replace(change.order, client_order_id=name), fill=fill))
            else:
                told.append(change)
        return told

    async def events(real: Any) -> AsyncIterator[Any]:
        async for changes in real():
            yield renamed(changes)

    async def scenario() -> None:
        floor = await Floor.open("s10", "s1")
        floor.world = wrapped(floor.world, venue=Meddled)
        venue = floor.world.venue
        assert isinstance(venue, Meddled)
        venue.instead["account_events"] = events
        await floor.start("s4", "s5")
        await floor.enter(tp=None)
        await floor.stop("s5")
        await floor.venue.cancel(FUT, "s3-btc-e1-1", conditional=True)

        await floor.move("57000")

        [told] = alerts(floor, "LIQUIDATION")
        assert told.severity == "FATAL"
        assert words in told.message
        assert "0.010 went at" in told.message
        assert told.tags["order_id"].startswith(prefix)
        await floor.stop()

    run_virtual(scenario())


async def deleveraged(floor: Floor, name: str) -> tuple[Order, list[Fill]]:
    """A trade that an ADL closes, and what is on file of that."""
    await floor.enter(name, tp=None)
    before = {order.order_id for order in await every_adl(floor)}
    await floor.by_hand("adl_autoclose", Side.SELL, "0.010", reduce_only=True)
    await floor.settle(60_000)
    [order] = [order for order in await every_adl(floor) if order.order_id not in before]
    return order, await fills_of(floor, order.order_id)


async def every_adl(floor: Floor) -> list[Order]:
    found = await floor.world.documents.find(Query(collection=ORDERS, index="by_time", at_least=0))
    return [order for order in found if order.order_id.startswith("adl_autoclose")]


def test_two_orders_to_which_the_exchange_gives_one_name_are_two_on_file() -> None:
    async def scenario() -> None:
        floor = await Floor.open()

        first, fills = await deleveraged(floor, "E1")
        second, fills_after = await deleveraged(floor, "E2")

        assert first.order_id != second.order_id
        assert first.created_at < second.created_at
        assert [first.filled_qty, second.filled_qty] == [D("0.010"), D("0.010")]
        assert [order.quantity for order in (first, second)] == [D("0.010"), D("0.010")]
        assert sum(fill.qty for fill in fills) == sum(fill.qty for fill in fills_after) == D("0.010")
        assert [(await floor.trade(name)).status for name in ("E1", "E2")] == [TradeStatus.CLOSED, TradeStatus.CLOSED]
        told = {alert.tags["order_id"] for alert in alerts(floor, "LIQUIDATION")}
        assert told == {first.order_id, second.order_id}
        await floor.stop()

    run_virtual(scenario())


def test_what_was_on_file_by_the_name_of_all_adl_orders_is_parted_at_the_start() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        apart = [await deleveraged(floor, name) for name in ("E1", "E2")]
        trades = [await floor.trade(name) for name in ("E1", "E2")]
        told = len(alerts(floor, "LIQUIDATION"))
        await floor.stop("s6", "s5", "s4")
        documents = floor.world.documents
        # As it used to be: one document, the first order's date, all fills.
        await documents.put(
            ORDERS,
            apart[0][0].but(
                order_id="adl_autoclose",
                client_order_id="adl_autoclose",
                intent_id="adl_autoclose",
                filled_qty=D("0.020"),
            ),
        )
        for order, fills in apart:
            for fill in fills:
                await documents.put(FILLS, fill.but(order_id="adl_autoclose", client_order_id="adl_autoclose"))
            await documents.remove(ORDERS, order.order_id)

        await floor.start("s4", "s6", "s5")
        await floor.settle(130_000)

        assert await documents.get(ORDERS, "adl_autoclose") is None
        for order, fills in apart:
            again = await order_of(floor, order.order_id)
            assert (again.filled_qty, again.status, again.created_at) == (
                D("0.010"),
                OrderStatus.FILLED,
                order.created_at,
            )
            assert [fill.fill_id for fill in await fills_of(floor, order.order_id)] == [fill.fill_id for fill in fills]
        for before in trades:
            after = await floor.trade(before.trade_id)
            assert (after.status, after.exits) == (TradeStatus.CLOSED, before.exits)
        assert len(alerts(floor, "LIQUIDATION")) == told, "what was told is not told again"
        await floor.stop()

    run_virtual(scenario())


def test_an_order_of_the_exchanges_own_that_was_heard_of_late_is_dated_when_a_question_tells() -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10", "s1")
        floor.world = wrapped(floor.world, venue=Meddled)
        venue = floor.world.venue
        assert isinstance(venue, Meddled)
        late_ms = 30_000

        async def events(real: Any) -> AsyncIterator[Any]:
            async for changes in real():
                yield [
                    replace(each, order=replace(each.order, created_at_ms=each.order.created_at_ms + late_ms))
                    if isinstance(each, OrderUpdated) and each.order.client_order_id.startswith("adl_autoclose")
                    else each
                    for each in changes
                ]

        venue.instead["account_events"] = events
        await floor.start("s4", "s5")
        heard, _ = await deleveraged(floor, "E1")
        created_at_ms = (await floor.venue.order(FUT, heard.order_id, conditional=False)).created_at_ms

        answer = await floor.call(
            "s4",
            "POST",
            "/orders/lookup",
            LookupRequest(market=FUT.market, symbol=FUT.symbol, client_order_id=heard.order_id, conditional=False),
        )

        assert answer.status == 200, answer.body
        assert heard.created_at == created_at_ms + late_ms
        asked = await order_of(floor, heard.order_id)
        assert (asked.created_at, asked.created_at_sec) == (created_at_ms, created_at_ms // 1_000)
        await floor.stop()

    run_virtual(scenario())


# --- an answer that never came


@pytest.mark.parametrize("arrived", [pytest.param(True, id="it was taken"), pytest.param(False, id="it was lost")])
def test_an_unknown_outcome_is_settled_by_asking_and_never_by_sending_again(arrived: bool) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        sent: list[str] = []

        async def place(call: Any, order: NewOrder) -> Any:
            sent.append(order.client_order_id)
            if order.client_order_id != "s3-btc-e1":
                return await call(order)
            if arrived:
                await call(order)
            raise OutcomeUnknown("the connection was reset")

        floor.world.venue.instead["place"] = place

        await floor.enter()
        await floor.settle(10_000)

        assert sent.count("s3-btc-e1") == 1
        assert floor.position_qty() == (D("0.010") if arrived else 0)
        record = await intent_of(floor, "E1")
        assert record.state is (IntentState.DONE if arrived else IntentState.FAILED)
        assert [word.intent_filled_qty for word in last_words(floor, "E1")] == [D("0.010") if arrived else D(0)]
        assert ("s3-btc-e1-1" in floor.resting()) is arrived
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    "told", [pytest.param(True, id="the account stream tells it"), pytest.param(False, id="nobody tells it")]
)
def test_an_entry_whose_answer_is_slow_gets_its_stop_all_the_same(told: bool) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not told:
            floor.venue.on_changes.clear()

        async def place(call: Any, order: NewOrder) -> Any:
            answer = await call(order)
            if order.client_order_id == "s3-btc-e1":
                await never
            return answer

        floor.world.venue.instead["place"] = place
        await floor.enter()
        await floor.settle(1_500)

        assert floor.position_qty() == D("0.010")
        assert [qty for kind, qty, _ in floor.resting().values() if kind == "STOP_MARKET"] == [D("0.010")]
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_whose_request_disappeared_is_sent_again_under_its_own_name_in_time() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent: list[str] = []

        async def place(call: Any, order: NewOrder) -> Any:
            sent.append(order.client_order_id)
            if sent.count("s3-btc-e1-1") == 1 and order.client_order_id == "s3-btc-e1-1":
                await never
            return await call(order)

        floor.world.venue.instead["place"] = place
        await floor.enter()
        await floor.settle(2_000)

        assert [qty for kind, qty, _ in floor.resting().values() if kind == "STOP_MARKET"] == [D("0.010")]
        assert sent.count("s3-btc-e1-1") == 2
        await floor.stop()

    run_virtual(scenario())


def test_orders_follow_rules_that_the_exchange_changed_while_we_run() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        await floor.settle(3_000)
        floor.venue.exchange.replace_instrument(
            replace(FUT_RULES, tick_size=D(7), step_size=D("0.004"), market_step=D("0.004"))
        )

        await floor.enter()
        await floor.settle(3_000)

        assert floor.position_qty() == D("0.008")
        stops = [(qty, price) for kind, qty, price in floor.resting().values() if kind == "STOP_MARKET"]
        assert [qty for qty, _ in stops] == [D("0.008")]
        assert all(price is not None and price % 7 == 0 for _, price in stops)
        on_file = await order_of(floor, "s3-btc-e1-1")
        assert (on_file.quantity, on_file.stop_price) == stops[0]
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_that_the_reconciler_orders_by_the_rules_of_before_is_placed() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER, "s6")
        await floor.settle(3_000)
        floor.venue.exchange.replace_instrument(replace(FUT_RULES, tick_size=D(13)))
        await floor.enter()  # its stop is refused once, so the router knows

        await floor.by_hand("by-hand", Side.BUY, "0.005")
        await floor.settle(5_000)

        stops = [(qty, price) for kind, qty, price in floor.resting().values() if kind == "STOP_MARKET"]
        assert sum(qty for qty, _ in stops) == D("0.015")
        assert all(price is not None and price % 13 == 0 for _, price in stops)
        assert not alerts(floor, "STOP_NOT_PLACED")
        await floor.stop()

    run_virtual(scenario())


def test_a_halt_that_ended_does_not_keep_entries_out() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", venue=Meddled)
        await floor.settle(3_000)
        floor.venue.exchange.replace_instrument(replace(FUT_RULES, status="BREAK"))
        await floor.settle(70_000)
        halted = await floor.enter("E1")
        floor.venue.exchange.replace_instrument(FUT_RULES)
        await floor.settle(3_000)

        entered = await floor.enter("E2")
        await floor.settle(3_000)

        assert (halted.status, halted.body["type"].rpartition(":")[2]) == (422, "not-trading")
        assert entered.status == 200
        assert floor.position_qty() == D("0.010")
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_that_arrives_after_it_was_given_up_is_on_file_and_gets_its_stop() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        late: list[NewOrder] = []

        async def place(call: Any, order: NewOrder) -> Any:
            if order.client_order_id != "s3-btc-e1":
                return await call(order)
            late.append(order)
            raise OutcomeUnknown("stuck on its way")

        floor.world.venue.instead["place"] = place
        await floor.enter()
        await floor.settle(3_000)
        assert (await intent_of(floor, "E1")).state is IntentState.FAILED

        await floor.venue.place(late[0])
        await floor.settle(2_000)

        assert (await order_of(floor, "s3-btc-e1")).status is OrderStatus.FILLED
        covered = [qty for kind, qty, _ in floor.resting().values() if kind == "STOP_MARKET"]
        assert covered == [D("0.010")]
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_whose_refusal_could_not_be_written_down_is_not_called_done() -> None:
    async def scenario() -> None:
        floor = await meddled_floor(
            "s4", "s5", venue=Meddled, documents=lambda documents: Switchable(documents, DocumentsUnavailable)
        )
        await floor.enter()
        documents = floor.world.documents

        async def place(call: Any, order: NewOrder) -> Any:
            documents.down = True
            floor.world.clock.call_at_ms(floor.world.clock.now_ms() + 1_000, back)
            raise WouldTrigger(-2021, "Order would immediately trigger.")

        def back() -> None:
            documents.down = False

        floor.world.venue.instead["place"] = place

        await floor.call("s4", "POST", "/orders", stop(floor, "S1"))
        await floor.settle(10_000)

        assert "s3-btc-s1" not in floor.resting()
        assert (await intent_of(floor, "S1")).state is IntentState.CANCELED
        assert (await order_of(floor, "s3-btc-s1")).reason == "NOT_ARRIVED"
        await floor.stop()

    run_virtual(scenario())


def test_fills_that_come_while_the_documents_are_down_are_booked_when_they_are_back() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", documents=lambda documents: Switchable(documents, DocumentsUnavailable))
        await floor.enter(tp=None)
        await floor.stop("s5")
        documents = floor.world.documents
        documents.down = True
        await floor.move("59300", settle_ms=5_000)

        documents.down = False
        await floor.settle(12_000)

        assert (await order_of(floor, "s3-btc-e1-1")).status is OrderStatus.FILLED
        assert sum(fill.qty for fill in await fills_of(floor, "s3-btc-e1-1")) == D("0.010")
        await floor.stop()

    run_virtual(scenario())


# --- once, by either road


class Breaking(Meddled):
    """An exchange whose account stream breaks with what it would tell next, once a test has said so."""

    breaks = False

    async def account_events(self) -> AsyncIterator[Sequence[AccountChange]]:
        async for changes in self.inner.account_events():
            if self.breaks:
                self.breaks = False
                raise VenueUnavailable("for the test")
            yield changes


def test_what_happens_while_a_new_stream_is_caught_up_with_is_not_lost() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", venue=Breaking)
        await floor.world.snapshots.set(RECON_LAST_RUN.name(ENV), str(floor.world.clock.now_ms() + HOUR_MS))
        venue: Any = floor.world.venue
        await floor.enter(tp=None)

        async def seen_and_then_triggered(order: Any, *args: Any, **kwargs: Any) -> VenueOrder:
            seen: VenueOrder = await order(*args, **kwargs)
            venue.instead.clear()
            floor.price = D(59300)
            floor.venue.apply(tick(floor.price, floor.world.clock.now_ms()))
            return seen

        venue.breaks = True
        venue.instead["order"] = seen_and_then_triggered
        await floor.by_hand("web_1", Side.BUY, "0.001")
        await floor.settle(30_000)

        assert venue.instead == {}
        assert (await order_of(floor, "s3-btc-e1-1")).status is OrderStatus.FILLED
        await floor.stop()

    run_virtual(scenario())


def test_fills_are_booked_while_a_new_stream_cannot_be_caught_up_with() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", venue=Breaking)
        await floor.world.snapshots.set(RECON_LAST_RUN.name(ENV), str(floor.world.clock.now_ms() + HOUR_MS))
        venue: Any = floor.world.venue
        await floor.enter(tp=None)
        asked = 0

        async def banned(call: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal asked
            asked += 1
            raise VenueUnavailable("banned for the test")

        venue.instead |= {"order": banned, "fills": banned}
        venue.breaks = True
        await floor.by_hand("web_1", Side.BUY, "0.001")
        await floor.settle(5_000)
        assert asked > 1
        await floor.move("59300")

        assert (await order_of(floor, "s3-btc-e1-1")).status is OrderStatus.FILLED
        await floor.stop()

    run_virtual(scenario())


def test_what_a_change_carries_is_booked_though_what_it_counts_cannot_be_asked_for() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", venue=Meddled)
        await floor.world.snapshots.set(RECON_LAST_RUN.name(ENV), str(floor.world.clock.now_ms() + HOUR_MS))
        await floor.enter(tp=None)
        told: list[VenueOrder] = []

        async def banned(call: Any, *args: Any, **kwargs: Any) -> Any:
            raise VenueUnavailable("banned for the test")

        async def a_part(call: Any) -> AsyncIterator[Sequence[AccountChange]]:
            async for changes in call():
                for change in changes:
                    if isinstance(change, OrderUpdated) and change.fill is not None:
                        told.append(change.order)
                        yield (replace(change, fill=replace(change.fill, qty=D("0.004"))),)
                    else:
                        yield (change,)

        venue: Any = floor.world.venue
        venue.instead |= {"fills": banned, "account_events": a_part}
        await floor.stop("s4")
        await floor.start("s4")
        await floor.move("59300", settle_ms=5_000)

        stopped = await order_of(floor, "s3-btc-e1-1")
        assert told[-1].status is OrderStatus.FILLED
        assert (stopped.status, stopped.filled_qty) == (OrderStatus.PARTIALLY_FILLED, D("0.004"))
        await floor.stop()

    run_virtual(scenario())


def test_an_intent_that_comes_by_both_roads_at_once_is_executed_once() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER)
        intent = entry(floor)

        answers, _ = await asyncio.gather(
            asyncio.gather(*(floor.call("s4", "POST", "/orders", intent) for _ in range(3))),
            floor.world.bus.publish(ORD_CMD.name(ENV, FUT), intent.to_cmd()),
        )
        await floor.settle()
        again = await floor.call("s4", "POST", "/orders", intent)

        assert {str(answer.body["order_ids"]) for answer in (*answers, again)} == {str(again.body["order_ids"])}
        assert [answer.body["status"] for answer in answers] == ["FILLED"] * 3
        assert floor.position_qty() == D("0.010")
        assert [word.status for word in last_words(floor, "E1")] == [OrderStatus.FILLED]
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("second", ["by stream", "by REST"])
def test_what_one_road_has_brought_is_not_refused_on_the_other(second: str) -> None:
    """The second telling passes its first look before the first one is on file, and its last after the order is."""

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", documents=Meddled)
        intent = entry(floor)
        first_taken = asyncio.Event()

        async def get(call: Any, collection: Any, key: str) -> Any:
            found = await call(collection, key)
            if collection is INTENTS and not first_taken.is_set():
                first_taken.set()
                del floor.world.documents.instead["get"]
                await floor.call("s4", "POST", "/orders", intent)
            return found

        floor.world.documents.instead["get"] = get
        if second == "by stream":
            await floor.world.bus.publish(ORD_CMD.name(ENV, FUT), intent.to_cmd())
            await floor.settle()
        else:
            answer = await floor.call("s4", "POST", "/orders", intent)
            assert (answer.status, answer.body["status"]) == (200, "FILLED")

        assert [word.status for word in last_words(floor, "E1")] == [OrderStatus.FILLED]
        assert floor.position_qty() == D("0.010")
        await floor.stop()

    run_virtual(scenario())


def test_a_command_of_the_stream_that_is_refused_is_told_as_a_last_word() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER)
        await floor.world.snapshots.set(KILL_SWITCH.name(ENV), Switch.ON.value)
        intent = entry(floor)

        await floor.world.bus.publish(ORD_CMD.name(ENV, FUT), intent.to_cmd())
        await floor.settle()

        (word,) = last_words(floor, "E1")
        assert (word.status, word.intent_filled_qty) == (OrderStatus.REJECTED, None)
        assert (word.error or "").startswith("kill-switch")
        assert await floor.world.documents.get(INTENTS, "E1") is None
        await floor.stop()

    run_virtual(scenario())


# --- the last look


def test_a_kill_switch_between_acceptance_and_sending_stops_the_entry() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", documents=Meddled)

        async def insert(call: Any, collection: Any, document: Any) -> None:
            await call(collection, document)
            if collection is INTENTS:
                await floor.world.snapshots.set(KILL_SWITCH.name(ENV), Switch.ON.value)

        floor.world.documents.instead["insert"] = insert

        answer = await floor.enter()

        assert (answer.body["status"], answer.body["message"]) == ("REJECTED", "KILL_SWITCH")
        assert await floor.world.documents.get(ORDERS, "s3-btc-e1") is None
        assert floor.position_qty() == 0
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(("offset_ms", "kind"), [(10_000, None), (-10_001, "clock-skew")])
def test_a_skew_of_the_clock_is_measured_in_our_own_time(offset_ms: int, kind: str | None) -> None:
    async def scenario() -> None:
        world = small_world()
        clock = world.clock
        clock.speed = 10.0
        now_ms = clock.now_ms()
        await world.snapshots.set(HEALTH_STATE.name(ENV), "GREEN")
        await world.snapshots.set_hash(HEALTH_ROLLING.name(ENV), {"updated_at": str(now_ms)})
        await world.snapshots.set(RECON_LAST_RUN.name(ENV), str(now_ms))
        await world.snapshots.set(CLOCK_OFFSET.name(ENV), str(offset_ms))
        restraints = Restraints(
            env=ENV,
            snapshots=world.snapshots,
            documents=world.documents,
            clock=clock,
            kill_switch=KillSwitch(
                snapshots=world.snapshots,
                documents=world.documents,
                clock=clock,
                env=ENV,
                file_present=no_file,
            ),
        )

        reason = forbidden(now_of(await restraints.standing(), FUT))

        assert (reason and reason[0]) == kind

    run_virtual(scenario())


def test_an_entry_that_was_held_up_past_its_time_is_not_sent_any_more() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", documents=Meddled)
        accepted: list[int] = []

        async def insert(call: Any, collection: Any, document: Any) -> None:
            await call(collection, document)
            if collection is INTENTS:
                accepted.append(floor.world.clock.now_ms())

        def look(collection: Any) -> None:
            if collection is INTENTS and accepted and floor.world.clock.now_ms() < accepted[0] + 8_000:
                raise DocumentsUnavailable("a long failover")

        async def put(call: Any, collection: Any, document: Any) -> None:
            look(collection)
            await call(collection, document)

        async def put_many(call: Any, puts: Any) -> None:
            for each in puts:
                look(each.collection)
            await call(puts)

        floor.world.documents.instead |= {"insert": insert, "put": put, "put_many": put_many}

        await floor.call("s4", "POST", "/orders", entry(floor))
        await floor.settle(30_000)

        record = await intent_of(floor, "E1")
        assert (record.state, record.reason) == (IntentState.REJECTED, "EXPIRED")
        assert floor.position_qty() == 0
        assert await floor.world.documents.get(ORDERS, "s3-btc-e1") is None
        await floor.stop()

    run_virtual(scenario())


def test_the_last_gate_stops_an_order_that_everybody_above_believed_in() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER, usdt="100000")

        answer = await floor.enter(qty="0.400")

        assert answer.body["status"] == "REJECTED"
        assert answer.body["message"] == "LAST_GATE order of 24000.00 USDT exceeds 20000"
        assert floor.position_qty() == 0
        await floor.stop()

    run_virtual(scenario())


SECOND = 20_000 * 86_400_000


@pytest.mark.parametrize(("mid", "refused"), [("105", False), ("105.1", True), ("95", False), ("94.9", True)])
def test_the_last_gate_refuses_what_was_made_for_another_price(mid: str, refused: bool) -> None:
    said = LastGate(D(1_000), D(2_500), 3, 0.05).refuses(SECOND, D(1), D(mid), D(100))

    assert ("LAST_GATE made for a price of 100" in said) if said else not refused


def test_a_restart_does_not_grant_the_days_entries_anew() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER, usdt="100000")
        await floor.stop("s4")
        sent = Order(
            order_id="s3-btc-e0",
            client_order_id="s3-btc-e0",
            market=FUT.market,
            symbol=FUT.symbol,
            side=Side.BUY,
            type=OrderType.MARKET,
            purpose=Purpose.ENTRY,
            quantity=D("8.1"),
            filled_qty=D("8.1"),
            avg_price=D(60_000),
            status=OrderStatus.FILLED,
            rcu_rev=1,
            created_at=BEGIN_MS,
            sent_at=BEGIN_MS,
        )
        await floor.world.documents.put(ORDERS, sent)
        await floor.start("s4")

        answer = await floor.enter(qty="0.300")

        assert answer.body["status"] == "REJECTED"
        assert answer.body["message"] == "LAST_GATE entries of the day would exceed 500000 USDT"
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("orders", "refused"),
    [
        pytest.param([(SECOND, 1_000)], None, id="an order at its limit"),
        pytest.param([(SECOND, 1_001)], "exceeds 1000", id="an order above its limit"),
        pytest.param([(SECOND, 900), (SECOND, 900), (SECOND, 800)], "of the day", id="the day's entries together"),
        pytest.param([(SECOND - 1, 900), (SECOND - 1, 900), (SECOND, 900)], None, id="a new UTC day"),
        pytest.param([(SECOND, 10)] * 4, "in a second", id="too many in a second"),
        pytest.param([(SECOND, 10)] * 3 + [(SECOND + 1_000, 10)], None, id="the next second"),
    ],
)
def test_last_gate(orders: list[tuple[int, int]], refused: str | None) -> None:
    gate = LastGate(D(1_000), D(2_500), 3, 0.05)

    said = [gate.refuses(at_ms, D(notional), D(1), D(1)) for at_ms, notional in orders]

    assert said[:-1] == [None] * (len(said) - 1)
    assert said[-1] is None if refused is None else refused in (said[-1] or "")


def test_an_order_that_the_exchange_refuses_ends_with_its_code() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER, usdt="0.1")

        answer = await floor.enter()

        assert (answer.status, answer.body["result"], answer.body["status"]) == (200, "FAIL", "REJECTED")
        assert "-2019" in answer.body["message"]
        assert ((await order_of(floor, "s3-btc-e1")).reason or "").startswith("-2019")
        assert [word.status for word in last_words(floor, "E1")] == [OrderStatus.REJECTED]
        await floor.stop()

    run_virtual(scenario())


# --- the ledger by itself


class ToldFills:
    """An exchange that is only asked for fills, and knows them all."""

    def __init__(self, fills: list[VenueFill]) -> None:
        self._fills = fills

    async def fills(self, key: Any, since_ms: int) -> list[VenueFill]:
        return self._fills

    async def order(self, key: Any, client_order_id: str, *, conditional: bool) -> VenueOrder:
        raise UnknownOrder(-2013, "Order does not exist.")


class InUsdt:
    """Fees are taken in USDT here."""

    async def learn(self, fills: Iterable[VenueFill]) -> None: ...

    def usdt(self, fill: VenueFill) -> Decimal | None:
        return fill.fee


class NothingHeld:
    def book(self, key: Any, fills: Iterable[Fill]) -> None:
        raise AssertionError(f"{key} is no spot instrument")

    async def renew(self) -> None:
        raise AssertionError("nothing was booked")


REPORTED_STOP = Filing(
    new=NewOrder(
        client_order_id="o-1",
        market=Market.FUT,
        symbol="BTCUSDT",
        side=Side.SELL,
        type=OrderType.STOP_MARKET,
        qty=D("0.005"),
        stop_price=D(59400),
        reduce_only=True,
    ),
    purpose=Purpose.SL,
    intent_id="E1",
    parent_id=None,
    rev=1,
)
"""The stop that `reports_of` reports of."""


def reports_of(qtys: list[int], ends: OrderStatus | None) -> list[tuple[VenueOrder, VenueFill | None]]:
    """What the exchange says, in its order, of a stop over 5 thousandths that fills in these parts."""
    filled = D(0)

    def report(status: OrderStatus, at_ms: int) -> VenueOrder:
        return VenueOrder(
            client_order_id="o-1",
            venue_order_id="77" if filled else "",
            venue_algo_id="5",
            market=Market.FUT,
            symbol="BTCUSDT",
            side=Side.SELL,
            type=OrderType.STOP_MARKET,
            status=status,
            qty=D("0.005"),
            filled_qty=filled,
            price=None,
            stop_price=D(59400),
            reduce_only=True,
            conditional=True,
            triggered=bool(filled),
            created_at_ms=BEGIN_MS,
            updated_at_ms=BEGIN_MS + at_ms,
            reason="BY_USER" if status is OrderStatus.CANCELED else None,
        )

    told: list[tuple[VenueOrder, VenueFill | None]] = [(report(OrderStatus.NEW, 0), None)]
    for number, thousandths in enumerate(qtys, start=1):
        qty = D(thousandths) / 1_000
        filled += qty
        status = OrderStatus.FILLED if filled == D("0.005") else OrderStatus.PARTIALLY_FILLED
        fill = VenueFill(
            market=Market.FUT,
            symbol="BTCUSDT",
            side=Side.SELL,
            trade_id=number,
            client_order_id="o-1",
            venue_order_id="77",
            price=D(59400 - number),
            qty=qty,
            fee=D("0.01"),
            fee_asset="USDT",
            maker=False,
            realized_pnl_usdt=D("-0.5"),
            ts=BEGIN_MS + number,
        )
        told.append((report(status, number), fill))
    if ends is not None and filled < D("0.005"):
        told.append((report(ends, 100), None))
    return told


async def booked(
    every: list[tuple[VenueOrder, VenueFill | None]], order: list[int]
) -> tuple[Order | None, list[Fill], list[str]]:
    clock = LoopClock(BEGIN_MS)
    documents = SqliteDocuments.in_loop()
    told: list[str] = []

    def hear(stream: str, message: Any) -> None:
        told.extend(fill.fill_id for fill in message.fills)

    ledger = Ledger(
        documents=documents,
        results=Results(env=ENV, bus=MemoryBus(clock, observe=hear)),
        clock=clock,
        venue=ToldFills([fill for _, fill in every if fill is not None]),
        instruments={FUT: FUT_RULES},
        holdings=NothingHeld(),
        fees=InUsdt(),
        metrics=PrometheusMetrics(),
        teller=Teller(source="s4", env=ENV, bus=MemoryBus(clock), documents=documents, clock=clock),
    )
    await ledger.open([REPORTED_STOP], sent=Sent(mid=D(60000), book=()))
    for number in order:
        report, fill = every[number]
        await ledger.book(report, () if fill is None else (fill,))
    fills = await documents.find(Query(collection=FILLS, index="by_order", equal=(("order_id", "o-1"),)))
    return await documents.get(ORDERS, "o-1"), sorted(fills, key=lambda fill: fill.fill_id), told


@settings(max_examples=60)
@given(
    qtys=st.lists(st.integers(1, 3), max_size=4).filter(lambda qtys: sum(qtys) <= 5),
    ends=st.sampled_from([None, OrderStatus.CANCELED, OrderStatus.REJECTED]),
    shuffle=st.randoms(use_true_random=False),
    twice=st.lists(st.integers(0, 5), max_size=6),
)
def test_whatever_order_reports_come_in_and_however_often_the_documents_are_the_same(
    qtys: list[int], ends: OrderStatus | None, shuffle: Any, twice: list[int]
) -> None:
    every = reports_of(qtys, ends)
    in_order = list(range(len(every)))
    disorder = in_order + [number for number in twice if number < len(every)]
    shuffle.shuffle(disorder)

    wanted, wanted_fills, _ = run_virtual(booked(every, in_order))
    found, found_fills, told = run_virtual(booked(every, disorder))

    assert found == wanted
    assert found_fills == wanted_fills
    assert sorted(told) == [fill.fill_id for fill in wanted_fills]
