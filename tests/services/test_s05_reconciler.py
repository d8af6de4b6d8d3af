"""S5 with the real router and keeper of positions on the simulated exchange: what differs, and how it is mended."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from chimera.contracts.base import Message
from chimera.contracts.collections import FILLS, ORDERS, STRATEGY_EVENTS, system_state
from chimera.contracts.documents import ReconState
from chimera.contracts.enums import Market, OrderStatus, OrderType, ReconcileStatus, Side, TradeStatus
from chimera.contracts.keys import RECON_LAST_RUN
from chimera.contracts.messages import AlertEvent, ReconcileCmd, ReconcileResult
from chimera.domain.execution.orders import NewOrder, VenueFill, VenuePosition
from chimera.ports.documents import Query
from chimera.ports.errors import DependencyDown
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Instead, Meddled, meddled_floor
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
        results = [each.status for each in floor.messages(ReconcileResult)]
        assert results == [ReconcileStatus.FAILED, ReconcileStatus.OK]
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
        assert len(floor.messages(ReconcileResult)) == 1
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
    async def with_one_of_nobody(fills: Instead, *since: Any) -> Sequence[VenueFill]:
        found = await fills(*since)
        strange = [replace(fill, client_order_id="web_nobody", trade_id=-1) for fill in found[-1:]]
        return (*found, *strange)

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        await floor.enter()
        await floor.by_hand("web_close", Side.SELL, "0.010", reduce_only=True)
        floor.world.venue.instead["fills"] = with_one_of_nobody

        answer = await reconcile(floor)

        assert actions(answer) == ["MANUAL_EXIT_ADOPTED", "TRADE_CORRECTED"]
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

        assert 1 <= len(floor.messages(ReconcileCmd)) <= 2
        assert stopped_qty(floor) == D("0.020")
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_a_comparison_that_could_not_be_asked_for_is_asked_for_when_it_can_be() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s6", "s5", bus=Meddled)
        await floor.settle(5_000)
        bus: Any = floor.world.bus

        async def down(publish: Any, stream: str, message: Message) -> Any:
            if isinstance(message, ReconcileCmd):
                raise DependencyDown("down for the test")
            return await publish(stream, message)

        bus.instead["publish"] = down
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
