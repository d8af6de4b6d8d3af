"""The flows B1, B2, B3, B4, B7 and B8 of seed `002`, as far as router, reconciler and position manager carry them, in
virtual time: what each step writes and tells. S3's part of B1 and B7 is `test_seed_000_c7`.
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal

from chimera.contracts.collections import FILLS, ORDERS, STRATEGY_EVENTS, TREASURY_TRANSFERS
from chimera.contracts.enums import EventKind, Market, OrderStatus, OrderType, Purpose, Side, TradeStatus
from chimera.contracts.keys import GUARD_STOP, RECON_LAST_RUN
from chimera.contracts.messages import OrderResult, PositionEvent
from chimera.ports.documents import Query
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.loop import run_virtual
from tests.prove.flows import FLOWS, entry, regime_is_normal, reserve
from tests.prove.timeline import HOUSE, Fuse, Timeline
from tests.services.trading_floor import ENV, FUT, SPOT, Floor

D = Decimal
Scenario = Callable[[Timeline, Floor], Awaitable[None]]


def lived(scenario: Scenario) -> None:
    async def living() -> None:
        timeline = Timeline.open()
        timeline.prepare = regime_is_normal
        floor = await timeline.live(Fuse(None))
        await floor.start(*HOUSE, price="60000")
        await scenario(timeline, floor)
        timeline.check("at the end")
        await floor.stop()

    run_virtual(living())


def status_of(evidence: Evidence, purpose: Purpose) -> set[tuple[OrderType, OrderStatus]]:
    return {(order.type, order.status) for order in evidence.on_file(ORDERS) if order.purpose is purpose}


async def kinds(timeline: Timeline) -> set[EventKind]:
    found = set()
    for kind in EventKind:
        rows = await timeline.documents.find(
            Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", kind.value),))
        )
        if rows:
            found.add(kind)
    return found


def test_b1_a_futures_entry_is_filled_and_has_its_stop_and_target() -> None:
    async def scenario(timeline: Timeline, floor: Floor) -> None:
        await FLOWS["taker"].steps[0](timeline, floor)

        evidence = timeline.evidence()
        assert status_of(evidence, Purpose.ENTRY) == {(OrderType.MARKET, OrderStatus.FILLED)}
        assert status_of(evidence, Purpose.SL) == {(OrderType.STOP_MARKET, OrderStatus.NEW)}
        assert status_of(evidence, Purpose.TP) == {(OrderType.TAKE_PROFIT_MARKET, OrderStatus.NEW)}
        [fill] = evidence.on_file(FILLS)
        assert (fill.qty, fill.maker) == (D("0.010"), False)
        told = [each for each in floor.messages(OrderResult) if each.final and each.cmd_id == "E1"]
        assert [each.intent_filled_qty for each in told] == [D("0.010")]
        assert EventKind.TP_SL_PLACED in await kinds(timeline)
        assert (await floor.trade()).status is TradeStatus.ACTIVE

    lived(scenario)


def test_b2_a_spot_entry_is_followed_by_its_pair() -> None:
    async def scenario(timeline: Timeline, floor: Floor) -> None:
        await FLOWS["spot pair"].steps[0](timeline, floor)
        assert len(floor.resting()) == 2
        assert EventKind.OCO_ARMED in await kinds(timeline)

        await floor.move("60600")

        sold = [order for order in timeline.evidence().on_file(ORDERS) if order.side is Side.SELL]
        assert sorted(order.status.value for order in sold) in (["CANCELED", "FILLED"], ["EXPIRED", "FILLED"])
        assert floor.resting() == {}
        assert (await floor.trade()).status is TradeStatus.CLOSED

    lived(scenario)


def test_b2_a_spot_entry_is_followed_by_a_guard() -> None:
    async def scenario(timeline: Timeline, floor: Floor) -> None:
        intent = entry(floor, "E1", key=SPOT, guarded=True)
        await reserve(floor, intent)
        await floor.call("s4", "POST", "/orders", intent)
        await floor.settle(3_000)
        watched = await floor.world.snapshots.get_hash(GUARD_STOP.name(ENV, SPOT, "E1"))
        assert watched["armed"] == "1"
        assert floor.resting() == {}

        await floor.move("59000")

        assert await floor.world.snapshots.get_hash(GUARD_STOP.name(ENV, SPOT, "E1")) == {}
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert {EventKind.GUARD_ARMED, EventKind.GUARD_TRIGGERED} <= await kinds(timeline)

    lived(scenario)


def test_b3_the_stop_follows_a_part_is_taken_and_a_winner_grows() -> None:
    async def scenario(timeline: Timeline, floor: Floor) -> None:
        for step in FLOWS["add"].steps[:2]:
            await step(timeline, floor)
        grown = await floor.trade()
        assert grown.add_on_count == 1
        assert grown.stop_price is not None
        assert grown.stop_price > 60_000

        await floor.move("65000", settle_ms=10_000)

        trade = await floor.trade()
        assert trade.rung >= 1
        assert trade.stop_price is not None
        assert trade.stop_price > grown.stop_price
        assert len([what for what in floor.resting().values() if what[0] == "STOP_MARKET"]) == 1
        await floor.move("59000")
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert {event.kind.value for event in floor.messages(PositionEvent)} >= {"ADD", "EXIT"}

    lived(scenario)


def test_b4_what_the_exchange_has_and_we_have_not_is_put_right() -> None:
    async def scenario(timeline: Timeline, floor: Floor) -> None:
        await FLOWS["taker"].steps[0](timeline, floor)
        [stop] = [name for name, (kind, _, _) in floor.resting().items() if kind == "STOP_MARKET"]
        await floor.venue.cancel(FUT, stop, conditional=True)
        await floor.by_hand("web_part", Side.SELL, "0.004", reduce_only=True)

        answer = await floor.call("s5", "POST", "/reconcile", {"scope": "ALL"})
        await floor.settle(10_000)

        assert answer.ok, answer.body
        assert (await floor.trade()).qty_open == D("0.006")
        assert [what[1] for what in floor.resting().values() if what[0] == "STOP_MARKET"] == [D("0.006")]
        assert EventKind.RECONCILE_FIX in await kinds(timeline)
        assert await floor.world.snapshots.get(RECON_LAST_RUN.name(ENV)) is not None
        await floor.move("59000")

    lived(scenario)


def test_b7_what_was_reserved_is_used_and_then_free_again() -> None:
    async def scenario(timeline: Timeline, floor: Floor) -> None:
        intent = entry(floor, "E1")
        await reserve(floor, intent)
        assert (await floor.world.reservations.usage(Market.FUT)).concurrency == 1
        await floor.call("s4", "POST", "/orders", intent)
        await floor.settle(3_000)
        used = await floor.world.reservations.usage(Market.FUT)
        assert used.concurrency == 1
        assert used.amount_usdt > 30

        await floor.move("59000")

        free = await floor.world.reservations.usage(Market.FUT)
        assert (free.concurrency, free.amount_usdt) == (0, 0)

    lived(scenario)


def test_b8_what_a_wallet_lacks_is_proposed_allowed_and_moved_once() -> None:
    async def living() -> None:
        timeline = Timeline.open(spot_usdt="5000", fut_usdt="1")
        floor = await timeline.live(Fuse(None))
        await floor.start(*HOUSE, price="60000")
        await floor.settle(70_000)
        rows = await timeline.documents.find(Query(collection=TREASURY_TRANSFERS, index="by_time"))
        [row] = rows
        assert row.result.value == "PENDING"
        assert timeline.evidence().transfers == ()

        floor.peers.add("s12", build(floor.world, GatewaySettings(env=ENV)).routes)
        answer = await floor.call("s12", "POST", f"/treasury/transfers/{row.transfer_id}/approve", {})
        await floor.settle(120_000)

        assert answer.ok, answer.body
        [moved] = timeline.evidence().transfers
        assert (moved.source, moved.target) == (Market.SPOT, Market.FUT)
        await floor.stop()

    run_virtual(living())
