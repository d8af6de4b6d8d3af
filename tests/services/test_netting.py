"""A person and we on one futures instrument: the exchange nets both into one position, and our books stay true."""

import asyncio
import json
import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import FILLS, ORDERS
from chimera.contracts.documents import Fill
from chimera.contracts.enums import FundingKind, OrderStatus, OrderType, Side, TradeStatus
from chimera.contracts.http import ShareRequest
from chimera.contracts.keys import FEAT_LAST
from chimera.contracts.messages import FundingEvent
from chimera.contracts.streams import MKT_FUNDING
from chimera.runtime.strangers import held_by_strangers
from chimera.simulation.loop import run_virtual
from tests.prove.timeline import HOUSE, Fuse, Timeline
from tests.services.meddling import Instead, Meddled
from tests.services.trading_floor import ENV, FUT, Floor, tick

D = Decimal


async def begin() -> tuple[Timeline, Floor]:
    timeline = Timeline.open()
    floor = await timeline.live(Fuse(None))
    await floor.start(*HOUSE, price="60000")
    await floor.settle(5_000)
    return timeline, floor


def entry_fills(timeline: Timeline) -> list[Fill]:
    return [fill for fill in timeline.evidence().on_file(FILLS) if fill.intent_id == "E1"]


def test_an_entry_against_what_a_person_held_opens_what_is_left() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_open", Side.BUY, "0.004")
        # Nobody has seen it yet: a moment later the router would refuse.
        answer = await floor.enter(side=Side.SELL, sl="60600", tp="59500")
        await floor.settle(5_000)

        trade = await floor.trade()
        assert answer.status == 200
        assert floor.position_qty() == D("-0.006")
        assert (trade.qty_opened, trade.qty_open) == (D("0.006"), D("0.006"))
        assert (await floor.world.documents.get(ORDERS, "s3-btc-e1")).foreign_qty == D("0.004")
        assert {what[:2] for what in floor.resting().values() if what[0] == "STOP_MARKET"} == {
            ("STOP_MARKET", D("0.006"))
        }
        timeline.check("while it is open")

        await floor.by_hand("web_close", Side.BUY, "0.006", reduce_only=True)
        await floor.settle(5_000)
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert floor.resting() == {}
        timeline.check("when it is closed")
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("held", [pytest.param("0.010", id="as much"), pytest.param("0.015", id="more")])
def test_an_entry_that_only_closed_what_a_person_held_opened_nothing(held: str) -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_open", Side.BUY, held)
        await floor.enter(side=Side.SELL, sl="60600", tp="59500")
        await floor.settle(40_000)

        trade = await floor.trade()
        assert floor.position_qty() == D(held) - D("0.010")
        assert (trade.status, trade.reason, trade.qty_open) == (TradeStatus.CLOSED, "NETTED", 0)
        assert trade.realized_pnl_usdt == sum((fill.realized_pnl_usdt or D(0) for fill in entry_fills(timeline)), D(0))
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_only_what_can_be_of_a_trade_is_shared_with_it() -> None:
    async def share(floor: Floor, intent_id: str, **more: Any) -> tuple[int, str]:
        body = ShareRequest(intent_id=intent_id, **({"foreign": {}, "closed_by": {}} | more))
        answer = await floor.call("s4", "POST", "/orders/share", body)
        return answer.status, str(answer.body.get("type", "")).rpartition(":")[2]

    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter("E0")
        await floor.by_hand("web_close", Side.SELL, "0.010", reduce_only=True)
        await floor.settle(5_000)
        await floor.by_hand("web_open", Side.BUY, "0.004")
        await floor.enter(side=Side.SELL, sl="60600", tp="59500")
        await floor.settle(5_000)
        entry, others_entry = {"s3-btc-e1": D("0.004")}, {"s3-btc-e0": D(0)}
        exit_of_ours = {entry_fills(timeline)[0].fill_id: D("0.001")}

        assert await share(floor, "E9") == (404, "unknown-intent")
        assert await share(floor, "E1", foreign={"s3-btc-e1": D(-1)}) == (422, "negative-qty")
        assert await share(floor, "E1", foreign=others_entry) == (422, "not-of-this-entry")
        assert await share(floor, "E1", foreign={"s3-btc-e1-1": D(0)}) == (422, "not-of-this-entry")
        assert await share(floor, "E1", orders=("web_nothing",)) == (404, "unknown-order")
        assert await share(floor, "E1", closed_by=exit_of_ours) == (422, "not-a-strangers-fill")
        assert await share(floor, "E1", closed_by={"FUT-BTCUSDT-99-B": D(1)}) == (422, "not-a-strangers-fill")
        assert [await share(floor, "E1", foreign=entry) for _ in range(2)] == [(200, "")] * 2
        await floor.settle(5_000)
        assert (await floor.trade()).qty_opened == D("0.006")
        timeline.check("after all that was asked")
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("asked_after_ms", [1, 60, 200, 620, 950])
def test_an_entry_that_fills_while_positions_are_asked_for_keeps_its_trade(asked_after_ms: int) -> None:
    """What a person opened has S5 look; the answer is from before our entry, and arrives after it."""

    async def scenario() -> None:
        async def late(positions: Instead) -> Any:
            answer = await positions()
            await timeline.clock.sleep_until_ms(timeline.clock.now_ms() + 150)
            return answer

        timeline = Timeline.open()
        venues: list[Meddled] = []

        def wrap(venue: Any) -> Meddled:
            venues.append(Meddled(venue))
            venues[-1].instead["positions"] = late
            return venues[-1]

        floor = await timeline.live(Fuse(None), wrap)
        await floor.start(*HOUSE, price="60000")
        await floor.settle(5_000)
        await floor.by_hand("web_open", Side.BUY, "0.004")
        await floor.settle(asked_after_ms)
        entered = (await floor.enter(side=Side.SELL, sl="60600", tp="59500")).status == 200
        await floor.settle(10_000)

        assert floor.position_qty() == (D("-0.006") if entered else D("0.004"))
        if entered:
            assert (await floor.trade()).qty_open == D("0.006")
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("price", [pytest.param("60600", id="target"), pytest.param("59300", id="stop")])
def test_a_list_of_fills_that_is_behind_makes_nobody_a_stranger(price: str) -> None:
    """An exit of ours filled: the position shows it, the list of fills does not yet, and our account stream is late."""
    behind_ms = 1_500

    async def scenario() -> None:
        async def behind(fills: Instead, *asked: Any) -> Any:
            until_ms = timeline.clock.now_ms() - behind_ms
            return [fill for fill in await fills(*asked) if fill.ts <= until_ms]

        timeline = Timeline.open()
        venues: list[Meddled] = []

        def wrap(venue: Any) -> Meddled:
            venues.append(Meddled(venue))
            return venues[-1]

        floor = await timeline.live(Fuse(None), wrap)
        await floor.start(*HOUSE, price="60000")
        await floor.enter(tp="60500")
        await floor.settle(20_000)
        venues[0].instead["fills"] = behind
        await floor.stop("s4")
        floor.price = D(price)
        floor.venue.apply(tick(floor.price, timeline.clock.now_ms()))
        asked = asyncio.ensure_future(floor.call("s5", "POST", "/reconcile", {"scope": "ALL"}))
        await floor.start("s4")
        await floor.settle(45_000)
        await asked

        entry = await floor.world.documents.get(ORDERS, "s3-btc-e1")
        assert not entry.foreign_qty
        assert not await held_by_strangers(floor.world.documents, FUT)
        assert (await floor.trade()).qty_open == floor.position_qty()
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_what_an_earlier_version_adopted_closes_its_trade_still() -> None:
    async def scenario() -> None:
        _, floor = await begin()
        await floor.enter()
        await floor.by_hand("web_close", Side.SELL, "0.010", reduce_only=True)
        await floor.settle(10_000)
        await floor.stop("s4", "s5", "s6")
        for name in ("s3-btc-e1", "web_close"):
            order = await floor.world.documents.get(ORDERS, name)
            await floor.world.documents.put(ORDERS, order.but(closed_by=None))
        await floor.start("s4", "s6", "s5")
        await floor.call("s6", "POST", "/positions/manage", {})
        settled = FundingEvent(
            ts=floor.world.clock.now_ms(),
            symbol="BTCUSDT",
            rate=0.0001,
            funding_time=(await floor.trade()).closed_at,
            kind=FundingKind.SETTLED,
            amount_usdt=D("-0.01"),
        )
        await floor.world.bus.publish(MKT_FUNDING.name(ENV, FUT), settled)
        await floor.settle(5_000)

        trade = await floor.trade()
        assert (trade.status, trade.reason, trade.qty_open) == (TradeStatus.CLOSED, "MANUAL", 0)
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_at_the_very_price_of_what_it_netted_is_netted_too() -> None:
    """The exchange books a profit of 0 for it, as for an opening."""

    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_open", Side.BUY, "0.004")
        floor.price = D("60002")
        floor.venue.apply(tick(floor.price, timeline.clock.now_ms()))
        await floor.enter(side=Side.SELL, sl="60600", tp="59500")
        await floor.settle(40_000)

        assert {fill.realized_pnl_usdt for fill in entry_fills(timeline)} == {D(0)}
        assert (await floor.trade()).qty_open == D("0.006")
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_of_what_a_person_holds_is_no_exit_of_our_trade() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        last = {"features": json.dumps({"atr_14": 100.0})}
        await floor.world.snapshots.set_hash(FEAT_LAST.name(ENV, FUT), last)
        await floor.enter(sl="59000", tp=None)
        await floor.by_hand("web_open", Side.BUY, "0.005")
        await floor.settle(3_000)
        await floor.move("59800", settle_ms=60_000)

        trade = await floor.trade()
        assert floor.position_qty() == D("0.010")
        assert (trade.status, trade.qty_open, trade.stop_price) == (TradeStatus.ACTIVE, D("0.010"), D(59000))
        timeline.check("after the person's stop")
        await floor.stop()

    run_virtual(scenario())


def test_a_person_s_order_from_before_our_entry_closes_our_trade_when_it_fills() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_rest", Side.SELL, "0.010", type=OrderType.LIMIT, price=D("60400"))
        await floor.settle(5_000)
        await floor.enter(tp=None)
        await floor.move("60500", settle_ms=40_000)

        trade = await floor.trade()
        assert (trade.status, trade.reason) == (TradeStatus.CLOSED, "MANUAL")
        assert floor.position_qty() == 0
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_person_s_sale_beyond_their_own_closes_just_the_rest_of_our_trade() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter()
        await floor.by_hand("web_open", Side.BUY, "0.010")
        await floor.settle(3_000)
        await floor.by_hand("web_sell", Side.SELL, "0.015")
        await floor.settle(10_000)

        trade = await floor.trade()
        assert (trade.status, trade.qty_open, [exit.qty for exit in trade.exits]) == (
            TradeStatus.ACTIVE,
            D("0.005"),
            [D("0.005")],
        )
        assert trade.tp_order_id is not None
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_person_with_a_stop_of_their_own_is_known_to_hold_the_instrument() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_open", Side.BUY, "0.004")
        await floor.by_hand(
            "web_stop", Side.SELL, "0.004", type=OrderType.STOP_MARKET, stop_price=D(59000), reduce_only=True
        )
        await floor.settle(60_000)
        refused = await floor.enter()

        assert list(floor.resting()) == ["web_stop"]
        assert refused.body["type"].endswith("foreign-position")
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_goes_soon_after_a_person_opened_and_closed_at_once() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_open", Side.BUY, "0.004")
        await floor.settle(1_000)
        stopped = len(floor.resting())
        await floor.by_hand("web_close", Side.SELL, "0.004", reduce_only=True)
        await floor.settle(5_000)

        assert (stopped, floor.resting()) == (1, {})
        assert (await floor.enter()).status == 200
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_nothing_is_entered_beside_what_a_person_holds() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_open", Side.BUY, "0.004")
        await floor.settle(3_000)
        refused = await floor.enter()
        await floor.by_hand("web_close", Side.SELL, "0.004", reduce_only=True)
        await floor.settle(3_000)
        accepted = await floor.enter("E2")

        assert refused.status == 409
        assert refused.body["type"].endswith("foreign-position")
        assert accepted.status == 200
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("seed", range(60))
def test_whatever_a_person_does_beside_us_the_books_stay_true(seed: int) -> None:
    """Buys, sells, closes, orders that rest and entries of ours in quick succession, near stops, restarts of a service;
    then quiet, and everything must agree."""

    async def scenario() -> None:
        chance = random.Random(seed)
        timeline, floor = await begin()
        if chance.random() < 0.5:
            near = {"features": json.dumps({"atr_14": 60.0})}
            await floor.world.snapshots.set_hash(FEAT_LAST.name(ENV, FUT), near)
        for number in range(30):
            side, held = chance.choice((Side.BUY, Side.SELL)), floor.position_qty()
            closing = Side.SELL if held > 0 else Side.BUY
            name, some = f"web_{number}", str(D(chance.randint(1, 12)) / 1000)
            match chance.randrange(10):
                case 0:
                    await floor.by_hand(name, side, some)
                case 1 if held:
                    await floor.by_hand(name, closing, str(abs(held)), reduce_only=True)
                case 2 if abs(held) > D("0.002"):
                    half = (abs(held) / 2).quantize(D("0.001"))
                    await floor.by_hand(name, closing, str(half), reduce_only=True)
                case 3:
                    away = round(floor.price * (1 - side.sign * D("0.005")))
                    await floor.by_hand(name, side, some, type=OrderType.LIMIT, price=D(away))
                case 4 | 5:
                    sl, tp = (str(round(floor.price * (1 - side.sign * D(off)))) for off in ("0.01", "-0.01"))
                    await floor.enter(f"E{number}", side, sl=sl, tp=tp)
                case 6:
                    await floor.move(D(60_000 + chance.randint(-1_500, 1_500)), settle_ms=chance.choice((50, 3_000)))
                case 7:
                    service, down_ms = chance.choice(("s4", "s5", "s6")), timeline.clock.now_ms()
                    await floor.stop(service)
                    await floor.settle(chance.choice((50, 1_500)))
                    await floor.start(service)
                    timeline.downtimes.append((down_ms, timeline.clock.now_ms()))
                case _:
                    await floor.settle(chance.choice((50, 500, 3_000, 40_000)))
        await floor.settle(90_000)

        timeline.check(f"seed {seed}")
        await floor.stop()

    run_virtual(scenario())


def test_what_an_adopted_order_goes_on_to_open_has_a_stop_in_time() -> None:
    """It rests, closes some of our trade, is taken on file, closes the rest and opens the other side."""

    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter(tp=None)
        await floor.by_hand("web_rest", Side.SELL, "0.030", type=OrderType.LIMIT, price=D("60100"))
        floor.price = None
        for _ in range(6):
            await thin(timeline, floor, "0.036")
        await floor.settle(40_000)

        adopted = await floor.world.documents.get(ORDERS, "web_rest")
        assert (adopted.status, adopted.reason) == (OrderStatus.FILLED, "MANUAL")
        assert [exit.qty for exit in (await floor.trade()).exits] == [D("0.010")]
        assert floor.position_qty() == D("-0.020")
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_person_s_order_that_outlives_its_trade_closes_the_next_one() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter("E1", tp=None)
        await floor.by_hand("web_rest", Side.SELL, "0.030", type=OrderType.LIMIT, price=D("60100"))
        floor.price = None
        await thin(timeline, floor, "0.024")
        first = (await floor.trade("E1")).qty_open
        floor.price = D(59000)
        await floor.settle(5_000)
        ended = await floor.trade("E1")
        floor.price = D(60000)
        await floor.settle(5_000)
        await floor.enter("E2", tp=None)
        floor.price = None
        for _ in range(6):
            await thin(timeline, floor, "0.036")
        await floor.settle(40_000)

        second = await floor.trade("E2")
        assert first == D("0.004")
        assert (ended.status, ended.reason) == (TradeStatus.CLOSED, "STOP_LOSS")
        assert (second.status, second.reason) == (TradeStatus.CLOSED, "MANUAL")
        assert await floor.trade("E1") == ended
        assert (await floor.call("s5", "GET", "/status")).body["reconciled"]
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_what_an_adopted_order_does_next_is_the_person_s_until_it_is_known() -> None:
    """It closed some of ours; then the person buys, and it goes on with that. Our trade stays open, with its stop."""

    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter(qty="0.020", tp=None)
        await floor.by_hand("web_rest", Side.SELL, "0.050", type=OrderType.LIMIT, price=D("60100"))
        floor.price = None
        await thin(timeline, floor, "0.036")
        await floor.by_hand("web_buy", Side.BUY, "0.020")
        await thin(timeline, floor, "0.072")

        trade = await floor.trade()
        assert (trade.status, trade.qty_open) == (TradeStatus.ACTIVE, D("0.011"))
        assert "s3-btc-e1" in {name[:9] for name in floor.resting()}
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_fill_in_our_name_that_nobody_can_explain_counts_as_a_stranger_s() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter(tp=None)
        await floor.by_hand("s3-btc-other", Side.SELL, "0.004", reduce_only=True)
        await floor.settle(40_000)

        assert (await floor.trade()).qty_open == D("0.006")
        assert (await floor.call("s5", "GET", "/status")).body["reconciled"]
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


async def thin(timeline: Timeline, floor: Floor, bid_qty: str) -> None:
    """One tick with so little to sell to, then time for everybody to react."""
    whole = tick(D("60101"), timeline.clock.now_ms())
    books = (replace(whole.books[0], bids=((D(60100), D(bid_qty)),)), whole.books[1])
    floor.venue.apply(replace(whole, books=books))
    await floor.settle(3_000)
