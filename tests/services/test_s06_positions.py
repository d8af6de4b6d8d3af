"""S6 with the real router on the simulated exchange: a trade's whole life."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any
from weakref import ref

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.state import MemorySnapshots
from chimera.contracts.collections import INTENTS, ORDERS, STRATEGY_EVENTS, system_state
from chimera.contracts.documents import HaltsState
from chimera.contracts.enums import Intent, IntentState, Market, PositionEventKind, Purpose, Side, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import MKT_SNAP, POS_SL_LEVEL, POS_STATE, RISK_LIMITS
from chimera.contracts.messages import AlertEvent, PositionEvent
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.config.lint import lint
from chimera.domain.execution.orders import IncomeKind
from chimera.ports.documents import DocumentsUnavailable, Query
from chimera.ports.venue import VenueUnavailable
from chimera.runtime.config_watch import ConfigWatch
from chimera.services.s01_exchange.handlers.ticks import SNAP_TTL_MS
from chimera.services.s06_positions.market import Market as MarketView
from chimera.services.s06_positions.memory import Memory
from chimera.services.s06_positions.policy import KEPT_MAX, Policies
from chimera.simulation.loop import run_virtual
from tests.domain.matching.venue import FUT as FUT_RULES
from tests.services.meddling import Instead, Meddled, meddled_floor
from tests.services.trading_floor import ENV, FUT, HOUR_MS, SPOT, Floor, tick

D = Decimal
HALTS = system_state(HaltsState)


def venue_net(floor: Floor) -> Decimal:
    """What the exchange's own ledger says that trading earned: PnL, fees and funding."""
    kinds = (IncomeKind.REALIZED_PNL, IncomeKind.COMMISSION, IncomeKind.FUNDING_FEE, IncomeKind.INSURANCE_CLEAR)
    return sum((line.amount for line in floor.venue.exchange.income() if line.kind in kinds), D(0))


def kinds(floor: Floor) -> list[PositionEventKind]:
    return [event.kind for event in floor.messages(PositionEvent)]


def test_a_filled_entry_is_an_active_trade_with_its_stop_and_target() -> None:
    async def scenario() -> None:
        floor = await Floor.open()

        await floor.enter()

        trade = await floor.trade()
        assert (trade.status, trade.qty_open, trade.entry_price_avg) == (TradeStatus.ACTIVE, D("0.010"), D(60001))
        assert (trade.stop_price, trade.stop_order_id) == (D(59400), "s3-btc-e1-1")
        assert (trade.tp_price, trade.tp_order_id) == (D(60500), "s3-btc-e1-2")
        assert kinds(floor) == [PositionEventKind.ENTRY]
        usage = await floor.world.reservations.usage(Market.FUT)
        assert usage.amount_usdt == D("0.010") * 60001 / 20 + D("0.010") * 60001 * D("0.0005")
        state = await floor.world.snapshots.get_hash(POS_STATE.name(ENV, FUT))
        assert state["side"] == "LONG"
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_for_which_nobody_reserved_counts_as_soon_as_it_is_a_trade() -> None:
    async def scenario() -> None:
        floor = await Floor.open()

        await floor.enter(reserved=False)

        usage = await floor.world.reservations.usage(Market.FUT)
        assert usage.amount_usdt == D("0.010") * 60001 / 20 + D("0.010") * 60001 * D("0.0005")
        assert usage.concurrency == 1
        await floor.move("59300")
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert (await floor.world.reservations.usage(Market.FUT)).amount_usdt == 0
        await floor.stop()

    run_virtual(scenario())


def test_a_long_climbs_its_ladder_and_tiers_and_ends_by_its_locked_stop() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()

        await floor.move("60300")
        assert floor.resting()["s3-btc-e1-s1"][1] == D("0.010")
        assert "s3-btc-e1-1" not in floor.resting()
        assert (await floor.trade()).tier == 1
        await floor.move("60500")
        after_rung = await floor.trade()
        assert (after_rung.qty_open, after_rung.rung) == (D("0.005"), 1)
        stops = [what for what in floor.resting().values() if what[0] == "STOP_MARKET"]
        assert [qty for _, qty, _ in stops] == [D("0.005")]
        assert floor.resting()["s3-btc-e1-t1"][:2] == ("TAKE_PROFIT_MARKET", D("0.002"))
        await floor.move("60700")
        assert (await floor.trade()).rung == 2
        assert floor.position_qty() == D("0.003")
        await floor.move("60100")

        trade = await floor.trade()
        assert (trade.status, trade.reason, trade.qty_open) == (TradeStatus.CLOSED, "STOP_LOCKED", D(0))
        assert floor.resting() == {}
        assert floor.position_qty() == 0
        net = trade.realized_pnl_usdt - trade.fees_usdt + trade.funding_usdt
        assert abs(net - venue_net(floor)) <= D("1e-8")
        assert (await floor.world.reservations.usage(Market.FUT)).amount_usdt == 0
        assert await floor.world.snapshots.get(POS_SL_LEVEL.name(ENV, FUT)) is not None
        assert kinds(floor).count(PositionEventKind.EXIT) == 1
        assert kinds(floor).count(PositionEventKind.TP_PARTIAL) == 2
        await floor.stop()

    run_virtual(scenario())


def test_a_mark_from_before_the_trade_moves_none_of_its_stops() -> None:
    """The book has fallen by a percent, the mark is told a few seconds later: a profit that was never made."""

    async def scenario() -> None:
        floor = await Floor.open()
        floor.price = None

        async def book_alone(mid: str) -> None:
            floor.venue.apply(replace(tick(D(mid), floor.world.clock.now_ms()), marks=()))
            await floor.settle(200)

        await book_alone("59400")
        await floor.enter(sl="58800", tp="61000")
        for _ in range(10):
            await book_alone("59400")
        before = await floor.trade()
        await floor.move("59700")
        after = await floor.trade()

        assert (before.status, before.tier, before.qty_open) == (TradeStatus.ACTIVE, 0, D("0.010"))
        assert (after.status, after.tier) == (TradeStatus.ACTIVE, 1)
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("book_ms", "mark_ms", "since_ms", "price"),
    [
        pytest.param(20_000, 19_000, 0, "mark", id="both are told"),
        pytest.param(20_000, 9_000, 0, "mid", id="the mark has fallen silent"),
        pytest.param(20_000, 19_000, 19_500, "mid", id="the mark is from before"),
        pytest.param(20_000, 19_000, 20_500, None, id="both are from before"),
        pytest.param(20_000, None, 0, "mid", id="spot has no mark"),
    ],
)
def test_which_price_a_position_is_valued_at(
    book_ms: int, mark_ms: int | None, since_ms: int, price: str | None
) -> None:
    async def scenario() -> None:
        clock = LoopClock(book_ms)
        snapshots = MemorySnapshots(clock)
        market = MarketView(env=ENV, snapshots=snapshots, clock=clock)
        told = {"mid": "mid", "ts": str(book_ms)} | (
            {} if mark_ms is None else {"mark": "mark", "mark_ts": str(mark_ms)}
        )
        await snapshots.set_hash(MKT_SNAP.name(ENV, FUT), told)

        assert await market.mark_text(FUT, since_ms=since_ms) == price

    run_virtual(scenario())


def test_a_short_that_is_stopped_out_says_stop_loss() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(side=Side.SELL, sl="60600", tp="59500")

        await floor.move("60650")

        trade = await floor.trade()
        assert (trade.status, trade.reason) == (TradeStatus.CLOSED, "STOP_LOSS")
        assert floor.resting() == {}
        net = trade.realized_pnl_usdt - trade.fees_usdt + trade.funding_usdt
        assert abs(net - venue_net(floor)) <= D("1e-8")
        await floor.stop()

    run_virtual(scenario())


def test_reading_a_trade_again_changes_nothing() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()
        await floor.move("60300")
        before, resting, told = await floor.trade(), floor.resting(), len(kinds(floor))

        for _ in range(3):
            assert (await floor.call("s6", "POST", "/positions/manage", {})).ok
        await floor.settle(120_000)

        assert await floor.trade() == before
        assert floor.resting() == resting
        assert len(kinds(floor)) == told
        events = await floor.world.documents.find(
            Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", "ENTRY"),))
        )
        assert len(events) == 1
        await floor.stop()

    run_virtual(scenario())


def test_a_spot_trade_ends_by_its_pair_and_its_dust_counts_as_flat() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, qty="0.00083", tp="60600", sl="59400")
        opened = await floor.trade()
        assert opened.qty_open < D("0.00083")
        assert (opened.stop_price, opened.tp_price) == (D(59400), D(60600))

        await floor.move("60700")

        trade = await floor.trade()
        assert (trade.status, trade.reason) == (TradeStatus.CLOSED, "TAKE_PROFIT")
        assert D(0) < trade.qty_open < D("0.00001")
        assert floor.resting() == {}
        assert (await floor.world.reservations.usage(Market.SPOT)).amount_usdt == 0
        await floor.stop()

    run_virtual(scenario())


def test_what_happened_while_it_was_down_is_led_on_after_a_restart() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.stop("s6")
        await floor.enter()
        await floor.move("60500")

        await floor.start("s6")
        await floor.settle()

        trade = await floor.trade()
        assert (trade.rung, trade.qty_open) == (1, D("0.005"))
        stops = [what for what in floor.resting().values() if what[0] == "STOP_MARKET"]
        assert [qty for _, qty, _ in stops] == [D("0.005")]
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_that_went_away_is_ordered_again_where_it_stood() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()

        await floor.venue.cancel(FUT, "s3-btc-e1-1", conditional=True)
        await floor.settle()

        assert floor.resting()["s3-btc-e1-s1"] == ("STOP_MARKET", D("0.010"), D(59400))
        assert (await floor.trade()).stop_order_id == "s3-btc-e1-s1"
        await floor.stop()

    run_virtual(scenario())


def test_a_position_without_a_stop_whose_price_has_passed_is_closed_at_market() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()
        await floor.stop("s6")
        await floor.venue.cancel(FUT, "s3-btc-e1-1", conditional=True)
        await floor.move("59300")

        await floor.start("s6")
        await floor.settle()

        trade = await floor.trade()
        assert (trade.status, trade.reason) == (TradeStatus.CLOSED, "FORCED_EXIT")
        assert (floor.position_qty(), floor.resting()) == (D(0), {})
        await floor.stop()

    run_virtual(scenario())


def test_a_liquidation_ends_the_trade_and_leaves_no_orphan() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(sl="59400")
        await floor.stop("s6")
        await floor.venue.cancel(FUT, "s3-btc-e1-1", conditional=True)
        await floor.move("57000")

        await floor.start("s6")
        await floor.settle()

        trade = await floor.trade()
        assert (trade.status, trade.reason) == (TradeStatus.CLOSED, "LIQUIDATION")
        assert floor.resting() == {}
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("side", "sl", "tp", "outside", "inside"),
    [
        pytest.param(Side.BUY, "57600", "63000", "57940", "57900", id="long"),
        pytest.param(Side.SELL, "62400", "57000", "62040", "62080", id="short"),
    ],
)
def test_near_its_liquidation_half_is_closed_each_tick(side: Side, sl: str, tp: str, outside: str, inside: str) -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(side=side, qty="0.008", sl=sl, tp=tp)
        (told,) = (await floor.call("s6", "GET", "/positions")).body["positions"]
        (position,) = floor.venue.exchange.positions()

        await floor.move(outside)
        untouched = (await floor.trade()).qty_open
        await floor.move(inside, settle_ms=1_500)
        part = await floor.trade()
        stops = [what for what in floor.resting().values() if what[0] == "STOP_MARKET"]
        await floor.move(outside, settle_ms=10_000)
        rest = await floor.trade()
        await floor.move(inside, settle_ms=10_000)
        ended = await floor.trade()

        assert abs(D(str(told["liquidation_price"])) - position.liquidation_price) < D("0.1")
        assert untouched == D("0.008")
        assert [qty for _, qty, _ in stops] == [part.qty_open]
        assert rest == part
        assert [exit.qty for exit in ended.exits] == [D("0.004"), D("0.002"), D("0.001"), D("0.001")]
        times = [exit.ts for exit in ended.exits]
        assert all(later - earlier >= 1_000 for earlier, later in pairwise(times))
        assert (ended.status, floor.position_qty(), floor.resting()) == (TradeStatus.CLOSED, D(0), {})
        codes = [alert.code for alert in floor.messages(AlertEvent)]
        assert (codes.count("LIQUIDATION"), codes.count("STOP_NOT_PLACED")) == (len(times), 0)
        await floor.stop()

    run_virtual(scenario())


def test_funding_that_settled_while_it_was_open_belongs_to_the_trade() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp="63000", sl="57600")
        until_funding = 8 * HOUR_MS - floor.world.clock.now_ms() % (8 * HOUR_MS)
        await floor.settle(until_funding + 60_000)
        assert (await floor.trade()).funding_usdt == D("0.010") * 60_000 * D("-0.0001")

        await floor.move("57500")

        trade = await floor.trade()
        net = trade.realized_pnl_usdt - trade.fees_usdt + trade.funding_usdt
        assert trade.status is TradeStatus.CLOSED
        assert abs(net - venue_net(floor)) <= D("1e-8")
        await floor.stop()

    run_virtual(scenario())


def test_a_day_that_lost_too_much_halts_entries_until_a_person_releases_it() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(sl="59400", tp=None)
        await floor.move("59390")
        await floor.settle(6_000)

        limits = await floor.world.snapshots.get_hash(RISK_LIMITS.name(ENV))
        halts = await floor.world.documents.get(HALTS, "halts")
        assert float(limits["daily_loss_usdt"]) > 6
        assert halts is not None
        assert sorted(halts.halts) == ["DAILY_LOSS"]
        (alert,) = [each for each in floor.messages(AlertEvent) if each.code == AlertCode.RISK_HALT]
        assert alert.message.endswith("no new entries until a person releases the halt")
        answer = await floor.enter("E2", sl="59000")
        assert (answer.status, answer.body.get("cause")) == (409, "HALTED")
        await floor.stop()

    run_virtual(scenario())


def test_equity_counts_both_wallets_what_is_held_and_the_open_result() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, qty="0.00083", tp="61000", sl="58000")
        await floor.enter("E2", tp="63000", sl="57600")
        await floor.move("60100", settle_ms=12_000)

        limits = await floor.world.snapshots.get_hash(RISK_LIMITS.name(ENV))
        fees = D("0.010") * 60001 * D("0.0005")
        spot_held = D("0.00083") * D("0.999") * 60100
        expected = 2000 - D("0.00083") * 60001 + spot_held + D("0.010") * (60100 - 60001) - fees
        assert abs(float(limits["equity_usdt"]) - float(expected)) < 1e-6
        await floor.stop()

    run_virtual(scenario())


def test_a_holding_without_a_price_is_no_loss_and_no_halt_after_a_start() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, qty="0.00500", tp="61000", sl="58000")
        await floor.settle(70_000)
        before = await floor.world.snapshots.get_hash(RISK_LIMITS.name(ENV))
        await floor.stop("s6")
        floor.price = None
        await floor.settle(SNAP_TTL_MS + 1_000)
        await floor.start("s6")
        await floor.settle(70_000)
        unpriced = await floor.world.snapshots.get_hash(RISK_LIMITS.name(ENV))
        await floor.move("60000", settle_ms=70_000)
        priced = await floor.world.snapshots.get_hash(RISK_LIMITS.name(ENV))

        assert float(before["equity_usdt"]) > 1_999
        assert unpriced == before
        assert int(priced["updated_at"]) > int(before["updated_at"])
        assert abs(float(priced["equity_usdt"]) - float(before["equity_usdt"])) < 1e-6
        assert await floor.world.documents.get(HALTS, "halts") is None
        await floor.stop()

    run_virtual(scenario())


def test_an_exchange_that_is_down_is_not_asked_in_a_storm() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp="63000")
        floor.venue.set_down("maintenance")
        # The market data still comes, and it asks for a better stop all the time.
        await floor.move("60300", settle_ms=60_000)
        asked = await floor.world.documents.count(INTENTS)
        held = await floor.trade()

        floor.venue.set_down(None)
        await floor.settle(70_000)

        assert asked < 15
        assert (held.stop_price, held.stop_order_id) == (D(59400), "s3-btc-e1-1")
        assert (await floor.trade()).tier == 1
        assert [what[0] for what in floor.resting().values()].count("STOP_MARKET") == 1
        await floor.stop()

    run_virtual(scenario())


async def test_a_trade_has_one_lock_as_long_as_somebody_holds_or_waits_for_it() -> None:
    memory = Memory()
    took: list[str] = []

    async def take(name: str) -> None:
        async with memory.lock("E1"):
            took.append(f"{name} came")
            await asyncio.sleep(0)
            took.append(f"{name} left")

    async with asyncio.TaskGroup() as group:
        for name in ("one", "two", "three"):
            group.create_task(take(name))
    lock = ref(memory.lock("E1"))

    assert took == [f"{name} {did}" for name in ("one", "two", "three") for did in ("came", "left")]
    assert lock() is None


def test_ways_of_leading_are_kept_for_a_few_revisions() -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10")
        watch = ConfigWatch(floor.world, ENV, service="s6", check=lint)
        await watch.start()
        policies = Policies(documents=floor.world.documents, watch=watch)

        params = [await policies.of(rev) for rev in range(3 * KEPT_MAX)]

        assert len(policies._by_rev) == KEPT_MAX
        assert await policies.of(1) == params[1]
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("heard_ms", [pytest.param(10_000, id="not yet"), pytest.param(400_000, id="long ago")])
@pytest.mark.parametrize(
    "coarser",
    [
        pytest.param({"tick_size": D("0.2")}, id="ticks"),
        pytest.param({"step_size": D("0.004"), "market_step": D("0.004"), "min_qty": D("0.004")}, id="steps"),
    ],
)
def test_a_stop_that_is_lost_after_the_rules_became_coarser_is_placed_once_anew(
    coarser: dict[str, D], heard_ms: int
) -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(sl="59400.1", tp=None)
        floor.venue.exchange.replace_instrument(replace(FUT_RULES, **coarser))
        await floor.settle(heard_ms)
        await floor.venue.cancel(FUT, "s3-btc-e1-1", conditional=True)
        await floor.settle(30_000)

        stops = [what for what in floor.resting().values() if what[0] == "STOP_MARKET"]
        assert floor.position_qty() == D("0.010")
        assert 1 <= len(stops) <= 2
        assert all(qty >= D("0.010") for _, qty, _ in stops)
        await floor.stop()

    run_virtual(scenario())


def test_a_moved_stop_that_is_lost_is_placed_again_though_the_old_one_rests() -> None:
    async def scenario() -> None:
        async def busy(cancel: Instead, key: InstrumentKey, client_order_id: str, **more: Any) -> Any:
            if client_order_id == "s3-btc-e1-1":
                raise VenueUnavailable("busy")
            return await cancel(key, client_order_id, **more)

        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        await floor.enter(tp=None)
        floor.world.venue.instead["cancel"] = busy
        await floor.move("60500")
        moved = set(floor.resting()) - {"s3-btc-e1-1"}
        for name in moved:
            await floor.venue.cancel(FUT, name, conditional=True)
        await floor.settle(30_000)

        trade = await floor.trade()
        assert trade.stop_price is not None
        assert trade.stop_price > 60000
        assert trade.stop_price in {what[2] for what in floor.resting().values()}
        await floor.stop()

    run_virtual(scenario())


async def orders_of(floor: Floor) -> int:
    where = (("parent_id", "E1"),)
    return len(await floor.world.documents.find(Query(collection=ORDERS, index="by_parent", equal=where)))


def test_a_position_that_nobody_buys_is_offered_ever_less_often_and_told_once() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp=None)
        # Less than a step at each price: the stop has triggered, and every sale finds nobody.
        floor.depth = D("0.0005")
        await floor.move("59300", settle_ms=60_000)
        first = await orders_of(floor)
        await floor.settle(300_000)
        more = await orders_of(floor) - first

        assert more < 5 * 60_000 / 15_000 * 3, "each try stays on file"
        told = [alert for alert in floor.messages(AlertEvent) if alert.code == "STOP_NOT_PLACED"]
        assert 1 <= len(told) <= 3
        floor.depth = None
        await floor.settle(20_000)
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert floor.position_qty() == 0
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("filed", [-3_600_000, 0, 3_600_000], ids=["an hour before", "as it was", "an hour later"])
def test_whenever_an_exit_that_nobody_ordered_is_said_to_have_been_made_its_fills_close_the_trade(filed: int) -> None:
    """A liquidation of whose beginning nobody has heard, or a clock that is not the exchange's."""

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", documents=Meddled)
        documents: Any = floor.world.documents

        async def dated(write: Any, collection: Any, doc: Any, *more: Any, **named: Any) -> Any:
            if collection is ORDERS and doc.order_id == "autoclose-17":
                doc = doc.but(created_at=doc.created_at + filed)
            return await write(collection, doc, *more, **named)

        for name in ("insert", "put", "replace"):
            documents.instead[name] = dated
        await floor.enter()
        await floor.by_hand("autoclose-17", Side.SELL, "0.010", reduce_only=True)
        await floor.settle(15_000)

        trade = await floor.trade()
        assert (trade.status, trade.qty_open, trade.reason) == (TradeStatus.CLOSED, D(0), "LIQUIDATION")
        assert floor.resting() == {}
        assert (await floor.world.reservations.usage(Market.FUT)).amount_usdt == 0
        await floor.stop()

    run_virtual(scenario())


def test_an_exit_that_comes_when_its_own_trade_has_ended_closes_the_one_that_is_open() -> None:
    """Held up by an exchange that did not serve it; reduce-only knows positions and no trades."""

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        venue: Any = floor.world.venue
        await floor.enter("E1", qty="0.004")
        let_through = asyncio.Event()

        async def held_up(place: Any, order: Any) -> Any:
            if order.client_order_id == "s3-btc-x1":
                await let_through.wait()
            return await place(order)

        venue.instead["place"] = held_up
        asking = asyncio.ensure_future(floor.call("s4", "POST", "/orders", exit_of(floor, "E1", "0.004")))
        await floor.settle(500)
        await floor.move("59300")
        assert (await floor.trade("E1")).status is TradeStatus.CLOSED
        await floor.enter("E2", qty="0.004", sl="58000", tp="61000")
        assert floor.position_qty() == D("0.004")
        let_through.set()
        await floor.settle(15_000)
        assert (await asking).ok

        first, second = await floor.trade("E1"), await floor.trade("E2")
        assert floor.position_qty() == 0
        assert (first.status, first.qty_open) == (TradeStatus.CLOSED, D(0))
        assert (second.status, second.qty_open) == (TradeStatus.CLOSED, D(0))
        assert [sum(exit.qty for exit in each.exits) for each in (first, second)] == [D("0.004"), D("0.004")]
        assert floor.resting() == {}
        assert (await floor.world.reservations.usage(Market.FUT)).amount_usdt == 0
        await floor.stop()

    run_virtual(scenario())


def test_an_exit_that_is_found_on_file_once_its_own_trade_has_ended_is_not_sent() -> None:
    """Taken by a store that could not say so, and found when another trade was open."""

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", documents=Meddled)
        documents: Any = floor.world.documents
        await floor.enter("E1", qty="0.004")
        forgotten: list[Any] = []

        async def lost(insert: Any, collection: Any, doc: Any) -> Any:
            if collection is INTENTS and doc.intent_id == "X1":
                forgotten.append(doc)
                raise DocumentsUnavailable("for the test")
            return await insert(collection, doc)

        documents.instead["insert"] = lost
        answer = await floor.call("s4", "POST", "/orders", exit_of(floor, "E1", "0.004"))
        assert answer.status == 503
        documents.instead.clear()
        await floor.move("59300")
        assert (await floor.trade("E1")).status is TradeStatus.CLOSED
        await floor.enter("E2", qty="0.004", sl="58000", tp="61000")
        await documents.insert(INTENTS, forgotten[0])
        await floor.settle(60_000)

        late = await documents.get(INTENTS, "X1")
        assert (late.state, late.reason, late.filled_qty) == (IntentState.CANCELED, "NOTHING_TO_SELL", D(0))
        assert (await floor.trade("E2")).status is TradeStatus.ACTIVE
        assert floor.position_qty() == D("0.004")
        await floor.stop()

    run_virtual(scenario())


def test_an_exit_does_not_wait_long_for_what_the_exchange_says_of_positions() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        venue: Any = floor.world.venue
        await floor.enter("E1", qty="0.004")

        async def lost(positions: Any) -> Any:
            await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 30_000)
            raise VenueUnavailable("for the test")

        venue.instead["positions"] = lost
        asking = asyncio.ensure_future(floor.call("s4", "POST", "/orders", exit_of(floor, "E1", "0.004")))
        await floor.settle(3_000)

        assert asking.done()
        assert asking.result().ok
        assert floor.position_qty() == 0
        await floor.stop()

    run_virtual(scenario())


def test_an_exit_whose_trade_ends_while_the_exchange_is_asked_is_refused() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        venue: Any = floor.world.venue
        await floor.enter("E1", qty="0.004")

        async def meanwhile_it_ends(positions: Any) -> Any:
            venue.instead.clear()
            told = await positions()
            await floor.move("59300", settle_ms=1_000)
            return told

        venue.instead["positions"] = meanwhile_it_ends
        answer = await floor.call("s4", "POST", "/orders", exit_of(floor, "E1", "0.004"))

        assert (await floor.trade("E1")).status is TradeStatus.CLOSED
        assert (answer.status, answer.body["type"]) == (422, "urn:chimera:problem:no-such-trade")
        assert await floor.world.documents.get(INTENTS, "X1") is None
        await floor.stop()

    run_virtual(scenario())


def exit_of(floor: Floor, trade_id: str, qty: str) -> OrderIntent:
    return OrderIntent(
        intent_id="X1",
        parent_id=trade_id,
        client_order_id="s3-btc-x1",
        ts=floor.world.clock.now_ms(),
        market=Market.FUT,
        symbol="BTCUSDT",
        side=Side.SELL,
        intent=Intent.EXIT,
        purpose=Purpose.EXIT,
        qty=D(qty),
        reduce_only=True,
    )
