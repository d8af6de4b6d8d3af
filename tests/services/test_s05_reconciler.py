"""S5 with the real router and keeper of positions on the simulated exchange: what differs, and how it is mended."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.base import Message
from chimera.contracts.collections import FILLS, INTENTS, KLINES, ORDERS, STRATEGY_EVENTS, system_state
from chimera.contracts.documents import Kline, ReconState
from chimera.contracts.enums import Market, OrderStatus, OrderType, ReconcileScope, ReconcileStatus, Side, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FEAT_LAST, RECON_LAST_RUN
from chimera.contracts.messages import AlertEvent, OrderResult, ReconcileCmd, ReconcileResult
from chimera.domain.execution.orders import (
    AccountChange,
    NewOrder,
    OrderUpdated,
    StreamReset,
    VenuePosition,
)
from chimera.domain.market.quotes import Bar
from chimera.ports.documents import Query
from chimera.ports.errors import DependencyDown
from chimera.ports.venue import UnknownOrder, VenueUnavailable
from chimera.runtime.runner import Runner
from chimera.services.s04_router import service as s4
from chimera.services.s04_router.settings import Settings as RouterSettings
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Instead, Meddled, meddled_floor, wrapped
from tests.services.trading_floor import ENV, FUT, Floor

D = Decimal
RECON = system_state(ReconState)


async def reconcile(floor: Floor) -> Any:
    answer = await floor.call("s5", "POST", "/reconcile", {"scope": "ALL"})
    assert answer.ok, answer.body
    return answer.body


async def quiet(floor: Floor) -> None:
    """A second run finds nothing to do and changes nothing."""
    resting, qty = floor.resting(), floor.position_qty()
    again = await reconcile(floor)
    assert (again["status"], again["actions"]) == ("OK", [])
    assert (floor.resting(), floor.position_qty()) == (resting, qty)


def actions(answer: Any) -> list[str]:
    return [action["action"] for action in answer["actions"]]


def asked(floor: Floor) -> list[str | None]:
    """What S4 asked to be compared: a symbol, or None for everything."""
    for cmd in floor.messages(ReconcileCmd):
        assert (cmd.symbol is None) is (cmd.scope is ReconcileScope.ALL)
    return [cmd.symbol for cmd in floor.messages(ReconcileCmd)]


def told_unasked(floor: Floor) -> list[ReconcileStatus]:
    asked_for = {cmd.req_id for cmd in floor.messages(ReconcileCmd)}
    return [each.status for each in floor.messages(ReconcileResult) if each.req_id not in asked_for]


def test_nothing_may_be_entered_before_the_exchange_was_asked() -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10", "s1", "s4", "s6")
        floor.venue.set_down("maintenance")
        await floor.start("s5")
        await floor.settle(20_000)
        ready = await floor.call("s5", "GET", "/ready")
        refused = await floor.enter()

        floor.venue.set_down(None)
        await floor.settle(20_000)
        accepted = await floor.enter("E2")

        assert ready.status == 503
        assert (refused.status, refused.body["cause"]) == (409, "NOT_RECONCILED")
        assert accepted.status == 200
        assert (await floor.call("s5", "GET", "/ready")).status == 200
        assert told_unasked(floor) == [ReconcileStatus.FAILED, ReconcileStatus.OK]
        codes = [alert.code for alert in floor.messages(AlertEvent)]
        assert codes.count("RECON_FAILED") == 1
        await floor.stop()

    run_virtual(scenario())


def test_a_quiet_account_is_in_order_and_told_once() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()
        await floor.settle(300_000)

        state = await floor.world.documents.get(RECON, "recon")
        ran = await floor.world.snapshots.get(RECON_LAST_RUN.name(ENV))
        assert state is not None
        assert (state.status, state.orders_jaccard, state.agreement_ratio) == (ReconcileStatus.OK, 1.0, 1.0)
        assert ran is not None
        assert floor.world.clock.now_ms() - int(ran) <= 31_000
        assert told_unasked(floor) == [ReconcileStatus.OK]
        await floor.stop()

    run_virtual(scenario())


def test_an_outage_takes_the_leave_to_enter_away() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        floor.venue.set_down("maintenance")
        await floor.settle(60_000)

        assert await floor.world.snapshots.get(RECON_LAST_RUN.name(ENV)) is None
        assert floor.position_qty() == 0
        await floor.stop()

    run_virtual(scenario())


def test_an_order_of_ours_that_nobody_wants_is_canceled() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.by_hand("s3-btc-lost", Side.BUY, "0.010", type=OrderType.LIMIT, price=D("59000"))

        answer = await reconcile(floor)

        assert actions(answer) == ["ORPHAN_CANCELED"]
        assert floor.resting() == {}
        await quiet(floor)
        fixes = await floor.world.documents.find(
            Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", "RECONCILE_FIX"),))
        )
        assert len(fixes) == 1
        await floor.stop()

    run_virtual(scenario())


def test_an_order_that_ended_before_it_could_be_canceled_was_not_mended() -> None:
    async def somebody_was_faster(cancel: Instead, *order: Any, **more: Any) -> None:
        await cancel(*order, **more)
        await cancel(*order, **more)

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        floor.world.venue.instead["cancel"] = somebody_was_faster
        await floor.by_hand("s3-btc-lost", Side.BUY, "0.010", type=OrderType.LIMIT, price=D("59000"))

        answer = await reconcile(floor)

        state = await floor.world.documents.get(RECON, "recon")
        assert (answer["status"], answer["actions"], floor.resting()) == ("OK", [], {})
        assert state.orders_jaccard == 1.0
        await floor.stop()

    run_virtual(scenario())


def test_a_position_that_was_listed_before_its_last_fill_is_no_difference() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        await floor.enter()
        listed = [()]

        async def at_first_as_before_the_fill(positions: Instead) -> Sequence[VenuePosition]:
            return listed.pop() if listed else await positions()

        floor.world.venue.instead["positions"] = at_first_as_before_the_fill

        answer = await reconcile(floor)

        assert listed == []
        assert (answer["status"], answer["actions"]) == ("OK", [])
        assert [alert for alert in floor.messages(AlertEvent) if alert.code == "RECON_FIXED"] == []
        await floor.stop()

    run_virtual(scenario())


def test_somebody_elses_order_is_left_alone_and_told_once_as_long_as_it_rests() -> None:
    async def scenario() -> None:
        floor = await Floor.open()

        def told() -> int:
            return sum("web_abc" in alert.message for alert in floor.messages(AlertEvent))

        async def order_by_hand() -> None:
            await floor.by_hand("web_abc", Side.BUY, "0.010", type=OrderType.LIMIT, price=D("59000"))
            await reconcile(floor)
            await quiet(floor)

        await order_by_hand()
        resting, once = list(floor.resting()), told()
        await floor.venue.cancel(FUT, "web_abc", conditional=False)
        await reconcile(floor)
        await order_by_hand()

        assert (resting, once, told()) == (["web_abc"], 1, 2)
        await floor.stop()

    run_virtual(scenario())


def test_fills_that_nobody_told_are_fetched() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()
        # The router is gone while the target fills; the reconciler of the next start has to learn of it.
        await floor.stop("s5", "s6", "s4")
        await floor.move("60500")

        await floor.start("s4", "s6", "s5")
        await floor.settle()

        target = await floor.world.documents.get(ORDERS, "s3-btc-e1-2")
        assert target is not None
        assert target.status is OrderStatus.FILLED
        assert await floor.world.documents.count(FILLS) == len(floor.venue.exchange.fills(Market.FUT, "BTCUSDT"))
        assert (await floor.trade()).qty_open == floor.position_qty()
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_what_a_person_sold_by_hand_ends_the_trade() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()
        await floor.by_hand("web_close", Side.SELL, "0.010", reduce_only=True)

        answer = await reconcile(floor)
        await floor.settle()

        trade = await floor.trade()
        assert actions(answer) == ["MANUAL_EXIT_ADOPTED", "TRADE_CORRECTED"]
        assert (trade.status, trade.reason) == (TradeStatus.CLOSED, "MANUAL")
        assert floor.resting() == {}
        assert (await floor.world.reservations.usage(Market.FUT)).amount_usdt == 0
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_a_fill_that_the_router_cannot_find_is_not_called_adopted() -> None:
    async def unknown(order: Instead, key: InstrumentKey, client_order_id: str, **more: Any) -> Any:
        if client_order_id == "web_close":
            raise UnknownOrder(-2013, "Order does not exist.")
        return await order(key, client_order_id, **more)

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        floor.world.venue.instead["order"] = unknown
        await floor.enter()
        await floor.by_hand("web_close", Side.SELL, "0.010", reduce_only=True)

        answer = await reconcile(floor)

        assert actions(answer) == []
        assert [alert.code for alert in floor.messages(AlertEvent)].count("RECON_FIXED") == 1
        await floor.stop()

    run_virtual(scenario())


def test_what_a_person_sold_in_part_shrinks_the_trade_and_its_stop() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp="63000")
        await floor.by_hand("web_part", Side.SELL, "0.004", reduce_only=True)

        await reconcile(floor)
        await floor.settle()

        assert (await floor.trade()).qty_open == D("0.006")
        stops = [what for what in floor.resting().values() if what[0] == "STOP_MARKET"]
        assert stops == [("STOP_MARKET", D("0.006"), D(59400))]
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_a_position_that_nobody_here_opened_gets_a_stop_away_from_the_mark() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.by_hand("web_open", Side.BUY, "0.010")

        answer = await reconcile(floor)

        assert actions(answer) == ["STOP_PLACED"]
        assert list(floor.resting().values()) == [("STOP_MARKET", D("0.010"), D(58800))]
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def stops(floor: Floor) -> dict[str, Decimal]:
    return {name: qty for name, (kind, qty, _) in floor.resting().items() if kind == "STOP_MARKET"}


@pytest.mark.parametrize("beside_ours", [False, True])
def test_the_stop_of_what_a_stranger_holds_is_put_back_at_once_when_somebody_takes_it(beside_ours: bool) -> None:
    """Nobody else looks after it: where our own trade's stop goes in the same moment, S6 puts back that one alone."""

    async def scenario() -> None:
        floor = await Floor.open()
        if beside_ours:
            await floor.enter(tp=None)
        await floor.by_hand("web_open", Side.BUY, "0.005")
        await reconcile(floor)
        await floor.settle(12_000)
        held, before = floor.position_qty(), stops(floor)
        assert sum(before.values()) == held

        for name in before:
            await floor.venue.cancel(FUT, name, conditional=True)
        await floor.settle(2_000)

        after = stops(floor)
        assert not after.keys() & before.keys()
        assert sum(after.values()) == held
        await floor.stop()

    run_virtual(scenario())


HOUR_MS = 3_600_000


def hours(floor: Floor, count: int, *, range_usdt: float, newest_ago: int = 1) -> list[Bar]:
    """Closed hours around 60000, each of which travels `range_usdt`; the newest opened so many hours ago."""
    now_ms = floor.world.clock.now_ms()
    first_ms = now_ms - now_ms % HOUR_MS - (newest_ago + count - 1) * HOUR_MS
    low, high = 60_000 - range_usdt / 2, 60_000 + range_usdt / 2
    return [
        Bar(Market.FUT, "BTCUSDT", "1h", first_ms + place * HOUR_MS, 60_000.0, high, low, 60_000.0, 1.0)
        for place in range(count)
    ]


async def filed(floor: Floor, bars: Sequence[Bar]) -> None:
    for bar in bars:
        kline = Kline(
            market=bar.market,
            symbol=bar.symbol,
            interval=bar.interval,
            open_time=bar.open_time,
            open=D(bar.open),
            high=D(bar.high),
            low=D(bar.low),
            close=D(bar.close),
            volume=D(bar.volume),
            ts=bar.close_time,
        )
        await floor.world.documents.put(KLINES, kline)


@pytest.mark.parametrize(
    ("told", "on_file", "at_exchange", "stop"),
    [
        pytest.param(400.0, (50, 200.0, 1), (50, 300.0, 1), 59400, id="S2's word counts most"),
        pytest.param(None, (50, 200.0, 1), (50, 300.0, 1), 59700, id="before S2 the hours on file"),
        pytest.param(None, (50, 200.0, 5), (50, 300.0, 1), 59550, id="old hours: the exchange's"),
        pytest.param(None, None, (50, 300.0, 1), 59550, id="none on file: the exchange's"),
        pytest.param(None, (50, 200.0, 5), "down", 59700, id="an exchange that does not answer: the old hours"),
        pytest.param(None, (50, 200.0, 5), "silent", 59700, id="nor one that is silent"),
        pytest.param(None, (14, 200.0, 1), None, 58800, id="too few hours: 2 %"),
    ],
)
def test_the_stop_of_what_nobody_here_opened_stands_away_by_what_the_price_travels(
    told: float | None,
    on_file: tuple[int, float, int] | None,
    at_exchange: tuple[int, float, int] | str | None,
    stop: int,
) -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10", "s1", "s4", "s6")

        async def klines(ask: Instead, *wanted: Any) -> Sequence[Bar]:
            if at_exchange == "down":
                raise VenueUnavailable("HTTP 503")
            if at_exchange == "silent":
                await asyncio.get_running_loop().create_future()
            if not isinstance(at_exchange, tuple):
                return ()
            count, travels, ago = at_exchange
            return hours(floor, count, range_usdt=travels, newest_ago=ago)

        floor.world = wrapped(floor.world, venue=Meddled)
        floor.world.venue.instead["klines"] = klines
        if told is not None:
            await floor.world.snapshots.set_hash(FEAT_LAST.name(ENV, FUT), {"features": json.dumps({"atr_14": told})})
        if on_file is not None:
            count, travels, ago = on_file
            await filed(floor, hours(floor, count, range_usdt=travels, newest_ago=ago))
        await floor.by_hand("web_open", Side.BUY, "0.010")

        await floor.start("s5")
        await floor.settle(1_900)

        assert list(floor.resting().values()) == [("STOP_MARKET", D("0.010"), D(stop))]
        await floor.stop()

    run_virtual(scenario())


def test_the_last_stop_of_a_position_stays_until_another_is_listed() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.by_hand("web_open", Side.BUY, "0.010")
        await floor.by_hand(
            "s3-btc-stray", Side.SELL, "0.010", type=OrderType.STOP_MARKET, stop_price=D(58000), reduce_only=True
        )

        answer = await reconcile(floor)

        assert actions(answer) == []
        assert list(floor.resting()) == ["s3-btc-stray"]
        await floor.stop()

    run_virtual(scenario())


def stop_count(floor: Floor) -> int:
    return sum(kind == "STOP_MARKET" for kind, _, _ in floor.resting().values())


def stopped_qty(floor: Floor) -> Decimal:
    return sum((qty for kind, qty, _ in floor.resting().values() if kind == "STOP_MARKET"), D(0))


async def no_cmds(publish: Any, stream: str, message: Message) -> Any:
    if isinstance(message, ReconcileCmd):
        raise DependencyDown("redis", "down for the test")
    return await publish(stream, message)


def test_a_person_s_position_has_a_stop_within_two_seconds() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.settle(5_000)
        await floor.by_hand("web_open", Side.BUY, "0.010")
        await floor.settle(1_900)

        assert list(floor.resting().values()) == [("STOP_MARKET", D("0.010"), D(58800))]
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_a_burst_of_a_person_s_fills_is_reported_once_a_second() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.settle(5_000)
        for number in range(20):
            await floor.by_hand(f"web_{number}", Side.BUY, "0.001")
        await floor.settle(5_000)

        assert 1 <= asked(floor).count("BTCUSDT") <= 2
        assert stopped_qty(floor) == D("0.020")
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_strangers_fills_on_several_instruments_are_reported_together() -> None:
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT")

    async def on_all_of_them(events: Any) -> AsyncIterator[Sequence[AccountChange]]:
        async for batch in events():
            yield [
                replace(each, order=replace(each.order, symbol=symbol), fill=replace(each.fill, symbol=symbol))
                for each in batch
                if isinstance(each, OrderUpdated) and each.fill is not None
                for symbol in symbols
            ]

    async def scenario() -> None:
        floor = await meddled_floor(venue=Meddled)
        world: Any = floor.world
        world.venue.instead["account_events"] = on_all_of_them
        settings = RouterSettings(env=ENV, keys=tuple(InstrumentKey(Market.FUT, symbol) for symbol in symbols))
        floor.runners["s4"] = Runner(s4.build(floor.world, settings), floor.world, ENV)
        await floor.runners["s4"].start()
        await floor.settle(5_000)
        for number in range(10):
            await floor.by_hand(f"web_{number}", Side.BUY, "0.001")
            await floor.settle(50)
        await floor.settle(5_000)

        everything, *cmds = floor.messages(ReconcileCmd)
        assert everything.scope is ReconcileScope.ALL
        assert [cmd.symbol for cmd in cmds] == [*symbols, *symbols]
        first_ms, again_ms = cmds[0].ts, cmds[5].ts
        assert [cmd.ts for cmd in cmds] == [first_ms] * 5 + [again_ms] * 5
        assert again_ms - first_ms == settings.report_pause_ms
        await floor.stop()

    run_virtual(scenario())


def test_what_a_person_opened_while_the_router_was_away_is_covered_when_it_is_back() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.settle(5_000)
        await floor.stop("s4")
        await floor.by_hand("web_open", Side.BUY, "0.010")
        await floor.settle(1_000)
        away = stop_count(floor)
        before = len(asked(floor))
        await floor.start("s4")
        await floor.settle(1_900)

        assert (away, stopped_qty(floor)) == (0, D("0.010"))
        assert asked(floor)[before:] == [None]
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_however_often_the_account_s_stream_restarts_everything_is_compared_once_a_second() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled, bus=Meddled)
        clock = floor.world.clock
        venue: Any = floor.world.venue
        bus: Any = floor.world.bus

        async def restless(events: Any) -> AsyncIterator[Sequence[AccountChange]]:
            for _ in range(50):
                yield [StreamReset(clock.now_ms())]
                await clock.sleep_until_ms(clock.now_ms() + 100)
            async for batch in events():
                yield batch

        await floor.settle(5_000)
        await floor.stop("s4")
        await floor.by_hand("web_open", Side.BUY, "0.010")
        venue.instead["account_events"] = restless
        bus.instead["publish"] = no_cmds
        told = len(asked(floor))
        await floor.start("s4")
        await floor.settle(2_000)
        before = asked(floor)[told:], stop_count(floor)
        bus.instead.clear()
        await floor.settle(8_000)

        assert before == ([], 0)
        assert set(asked(floor)) == {None}
        # The resets go on for another 3 s.
        assert 2 <= len(asked(floor)[told:]) <= 4
        assert stopped_qty(floor) == D("0.010")
        await floor.stop()

    run_virtual(scenario())


def test_a_comparison_that_failed_is_tried_again_at_once() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        venue: Any = floor.world.venue
        await floor.settle(5_000)
        failed: list[int] = []

        async def down_for_a_moment(positions: Any) -> Any:
            if len(failed) < 2:
                failed.append(floor.world.clock.now_ms())
                raise VenueUnavailable("no answer")
            return await positions()

        venue.instead["positions"] = down_for_a_moment
        await floor.by_hand("web_open", Side.BUY, "0.010")
        await floor.settle(1_900)

        assert (len(failed), stopped_qty(floor)) == (2, D("0.010"))
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_comparisons_that_fail_do_not_chase_each_other() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        venue: Any = floor.world.venue
        await floor.settle(5_000)
        failed: list[int] = []

        async def down(positions: Any) -> Any:
            failed.append(floor.world.clock.now_ms())
            raise VenueUnavailable("no answer")

        venue.instead["positions"] = down
        await floor.by_hand("web_open", Side.BUY, "0.010")
        await floor.settle(60_000)
        venue.instead.clear()
        await floor.settle(11_000)

        # 0.1 s, 0.2 s and so on to 1.5 s between them.
        assert 5 <= len(failed) <= 80
        assert stopped_qty(floor) == D("0.010")
        await floor.stop()

    run_virtual(scenario())


def test_a_comparison_of_one_kind_does_not_settle_the_rest() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", bus=Meddled)
        bus: Any = floor.world.bus
        bus.instead["publish"] = no_cmds
        await floor.settle(5_000)
        await floor.by_hand("web_open", Side.BUY, "0.010")
        answer = await floor.call("s5", "POST", "/reconcile", {"scope": "ORDERS"})
        await floor.settle(31_000)

        assert answer.ok
        assert stopped_qty(floor) == D("0.010")
        await floor.stop()

    run_virtual(scenario())


def test_a_comparison_that_could_not_be_asked_for_is_asked_for_when_it_can_be() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", bus=Meddled)
        await floor.settle(5_000)
        bus: Any = floor.world.bus
        bus.instead["publish"] = no_cmds
        await floor.by_hand("web_open", Side.BUY, "0.010")
        await floor.settle(3_000)
        before = stop_count(floor)
        bus.instead.clear()
        await floor.settle(10_000)

        assert (before, stop_count(floor)) == (0, 1)
        await floor.stop()

    run_virtual(scenario())


def test_what_a_person_opened_beside_a_working_entry_gets_its_stop_when_that_has_ended() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        venue: Any = floor.world.venue

        async def slow(place: Any, order: NewOrder) -> Any:
            if order.type is OrderType.STOP_MARKET:
                await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 500)
            return await place(order)

        venue.instead["place"] = slow
        entering = asyncio.create_task(floor.enter(tp=None))
        await floor.settle(200)
        await floor.by_hand("web_open", Side.BUY, "0.010")
        await floor.settle(200)
        beside = stop_count(floor)
        await floor.settle(2_500)

        assert (beside, stop_count(floor)) == (0, 2)
        await entering
        await floor.settle(120_000)
        assert stop_count(floor) == 2
        assert stopped_qty(floor) == floor.position_qty() == D("0.020")
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("amid", ["the comparison", "its end"])
def test_an_entry_that_ends_amid_a_comparison_is_looked_at_again_at_once(amid: str) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", venue=Meddled)
        clock = floor.world.clock
        routers: Any = floor.world.venue
        floor.world = wrapped(floor.world, documents=Meddled, venue=Meddled)
        venue: Any = floor.world.venue
        documents: Any = floor.world.documents
        await floor.start("s5")
        await floor.settle(5_000)

        async def slow(place: Any, order: NewOrder) -> Any:
            if order.type is OrderType.STOP_MARKET:
                await clock.sleep_until_ms(clock.now_ms() + 500)
            return await place(order)

        async def entry_ended() -> None:
            while not any(result.final for result in floor.messages(OrderResult)):
                await clock.sleep_until_ms(clock.now_ms() + 10)
            await clock.sleep_until_ms(clock.now_ms() + 10)

        async def unfinished_until_told(find: Any, query: Query[Any]) -> Any:
            found = await find(query)
            if query.collection is INTENTS and query.index == "by_instr" and found:
                await entry_ended()
            return found

        async def kept_when_it_ended(put: Any, collection: Any, document: Any) -> Any:
            if isinstance(document, ReconState) and document.status is not ReconcileStatus.FAILED:
                await entry_ended()
            return await put(collection, document)

        async def down_once(positions: Any) -> Any:
            # The comparison that was asked for fails, so that the timer's own is the one that is amid its end.
            del venue.instead["positions"]
            raise VenueUnavailable("no answer")

        routers.instead["place"] = slow
        if amid == "the comparison":
            documents.instead["find"] = unfinished_until_told
        else:
            documents.instead["put"] = kept_when_it_ended
            venue.instead["positions"] = down_once
        entering = asyncio.create_task(floor.enter(tp=None))
        await floor.settle(200)
        await floor.by_hand("web_open", Side.BUY, "0.010")
        await floor.settle(1_900)

        assert "positions" not in venue.instead
        assert stop_count(floor) == 2
        assert stopped_qty(floor) == floor.position_qty() == D("0.020")
        await entering
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_of_what_a_person_opened_goes_when_that_is_closed() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp=None)
        for number in range(2):
            await floor.by_hand(f"web_open{number}", Side.BUY, "0.010")
            await floor.settle(5_000)
        opened = stop_count(floor), stopped_qty(floor)
        await floor.by_hand("web_part", Side.SELL, "0.010", reduce_only=True)
        await floor.settle(5_000)
        part = stop_count(floor), stopped_qty(floor), (await floor.trade()).qty_open
        await floor.by_hand("web_rest", Side.SELL, "0.020", reduce_only=True)
        await floor.settle(5_000)

        assert opened == (3, D("0.030"))
        assert part == (2, D("0.020"), D("0.010"))
        assert (floor.position_qty(), floor.resting()) == (0, {})
        assert (await floor.trade()).status is TradeStatus.CLOSED
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())
