"""What router, reconciler and position manager put on file of what they do: each kind of event by a flow that makes it
happen, and the end of an intent once, whatever fails while it is told.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS, STRATEGY_EVENTS
from chimera.contracts.documents import Order, StrategyEvent
from chimera.contracts.enums import (
    EventKind,
    Intent,
    IntentState,
    Market,
    OcoStatus,
    OrderStatus,
    OrderType,
    Purpose,
    Routing,
    Side,
)
from chimera.contracts.http import CancelRequest
from chimera.contracts.http.breaker import BreakerRequest
from chimera.contracts.keys import METRICS_COUNTERS, SPOT_OCO_STATE
from chimera.contracts.messages import AlertEvent, RouterEvent
from chimera.contracts.messages.orders import ExecPolicy, Twap
from chimera.domain.execution.orders import NewOrder
from chimera.ports.documents import DocumentsUnavailable, Put, Query
from chimera.ports.state import StateUnavailable
from chimera.services.s04_router.handlers.drive import Drive
from chimera.services.s04_router.pairs import status_of
from chimera.simulation.loop import run_virtual
from tests.prove.flows import FLOWS, Step, enters, entry, regime_is_normal
from tests.prove.timeline import HOUSE, Fuse, Timeline
from tests.services import test_s06_shown
from tests.services.meddling import Meddled, meddled_floor
from tests.services.router_flows import leave
from tests.services.test_s04_event_sweep import Retold, Telling
from tests.services.test_s04_measures import figures
from tests.services.trading_floor import ENV, FUT_RULES, SPOT, Floor

D = Decimal
K = EventKind


async def told(timeline: Timeline | Floor, kind: EventKind) -> list[StrategyEvent]:
    documents = timeline.documents if isinstance(timeline, Timeline) else timeline.world.documents
    query = Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", kind.value),))
    return list(await documents.find(query))


# --- every kind


async def nobody_sells(timeline: Timeline, floor: Floor) -> None:
    """A book too thin for as long as a slice waits: refused before its first order."""
    floor.depth = D("0.0001")
    await floor.settle(1_000)
    await floor.call("s4", "POST", "/orders", entry(floor, "E1"))
    await floor.settle(9_000)


async def hedges(timeline: Timeline, floor: Floor) -> None:
    await floor.call("s4", "POST", "/orders", entry(floor, "E1", side=Side.SELL, sl="60600", tp="59500").but(**HEDGE))
    await floor.settle()


async def opens_the_breaker(timeline: Timeline, floor: Floor) -> None:
    answer = await floor.call("s4", "POST", "/breaker/open", BreakerRequest(reason="a look"))
    assert answer.ok, answer.body


async def leaves_an_order_behind(timeline: Timeline, floor: Floor) -> None:
    await floor.by_hand("s3-btc-lost", Side.BUY, "0.010", type=OrderType.LIMIT, price=D("59000"))
    await floor.call("s5", "POST", "/reconcile", {"scope": "ALL"})


HEDGE = {"purpose": Purpose.HEDGE, "intent": Intent.HEDGE}
RESTS = enters(type=OrderType.LIMIT, price=D("59000"), sl="58000", tp=None, routing=Routing.AUTO)

FLOW_OF: dict[str, tuple[tuple[Step, ...], frozenset[EventKind]]] = {
    name: (steps, frozenset(kinds))
    for name, steps, kinds in (
        (
            "taker",
            FLOWS["taker"].steps,
            {
                K.ROUTER_ORDER_ACCEPTED,
                K.ROUTER_ORDER_EXECUTED,
                K.TP_SL_PLACED,
                K.ENTRY,
                K.EXIT,
                K.TP_PARTIAL,
                K.RECONCILE_START,
                K.RECONCILE_DONE,
            },
        ),
        ("stop tiers", FLOWS["stop tiers"].steps, {K.STOP_MOVE}),
        ("add", FLOWS["add"].steps, {K.ADD}),
        ("TWAP", FLOWS["TWAP"].steps, {K.TWAP_SLICE_SENT, K.TWAP_DONE}),
        ("spot pair", FLOWS["spot pair"].steps, {K.OCO_ARMED, K.OCO_RESOLVE}),
        ("spot pair refused", FLOWS["spot pair refused"].steps, {K.OCO_FALLBACK, K.GUARD_ARMED, K.GUARD_TRIGGERED}),
        ("cancel by a person", FLOWS["cancel by a person"].steps, {K.CANCEL}),
        ("a limit that is taken back", (RESTS, FLOWS["cancel by a person"].steps[1]), {K.ROUTER_ORDER_CANCELED}),
        ("nobody sells", (nobody_sells,), {K.ROUTER_ORDER_REJECTED}),
        ("a hedge", (hedges,), {K.HEDGE}),
        ("the breaker is opened", (opens_the_breaker,), {K.CIRCUIT_BREAK}),
        ("an order that nobody wants", (leaves_an_order_behind,), {K.RECONCILE_FIX}),
    )
}
ELSEWHERE = {
    K.DECIDE: "s3",
    K.RISK_RELEASE: "s3",
    K.FEATURE_RECOMPUTE: "s2",
    K.CONFIG_HOTLOAD: "every service",
    K.PROMOTE: "s10",
    K.ROLLBACK: "s10",
    K.KILL_SWITCH: "s12",
    K.HEALTH_LEVEL: "s11",
    K.TRANSFER: "s1",
    K.LABEL_WRITE: "s7",
    K.AUTOPSY_DONE: "s8",
    K.RECALIBRATE_COST_MODEL: "s9",
}
"""Who tells of what none of the three does."""
SHOWN_BY: dict[EventKind, Callable[[], None]] = {
    K.STAGNATED: test_s06_shown.test_a_position_that_goes_nowhere_for_a_day_is_said_to_once,
}
"""A day long: not lived twice."""


def test_every_kind_has_a_flow_that_makes_it_happen() -> None:
    ours = frozenset[EventKind]().union(*(kinds for _, kinds in FLOW_OF.values()))

    assert ours | ELSEWHERE.keys() | SHOWN_BY.keys() == set(EventKind)
    assert not ours & ELSEWHERE.keys()


@pytest.mark.parametrize("name", FLOW_OF)
def test_what_happens_is_on_file_by_its_kind(name: str) -> None:
    async def scenario() -> None:
        steps, kinds = FLOW_OF[name]
        timeline = Timeline.open()
        timeline.prepare = regime_is_normal
        floor = await timeline.live(Fuse(None))
        await floor.start(*HOUSE, price=str(timeline.price))
        for step in steps:
            await step(timeline, floor)

        assert {kind for kind in kinds if await told(timeline, kind)} == kinds
        watched = {event.kind for event in floor.messages(RouterEvent)}
        assert kinds & OF_THE_ROUTER <= watched
        known = {record.intent_id for record in timeline.evidence().on_file(INTENTS)}
        for event in floor.messages(RouterEvent):
            assert event.intent_id in known or event.kind is K.CIRCUIT_BREAK, event
        await floor.stop()

    run_virtual(scenario())


OF_THE_ROUTER = frozenset(
    {
        K.ROUTER_ORDER_ACCEPTED,
        K.ROUTER_ORDER_EXECUTED,
        K.ROUTER_ORDER_CANCELED,
        K.ROUTER_ORDER_REJECTED,
        K.TP_SL_PLACED,
        K.TWAP_SLICE_SENT,
        K.TWAP_DONE,
        K.OCO_ARMED,
        K.OCO_RESOLVE,
        K.OCO_FALLBACK,
        K.GUARD_ARMED,
        K.GUARD_TRIGGERED,
        K.CANCEL,
        K.HEDGE,
        K.CIRCUIT_BREAK,
    }
)

# --- the end of an intent


class Failing(Meddled):
    """A store that fails at an intent's end `times` times, when all but the end itself is written."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.times = 0
        self.instead["put_many"] = self._put_many

    async def _put_many(self, call: Callable[..., Awaitable[None]], puts: Sequence[Put[Any]]) -> None:
        ends = [put for put in puts if put.collection is INTENTS and put.doc.state.is_final]
        if ends and self.times:
            self.times -= 1
            await call([put for put in puts if put not in ends])
            raise DocumentsUnavailable("it broke off")
        await call(puts)


async def counted(floor: Floor) -> float:
    return float((await floor.world.snapshots.get_hash(METRICS_COUNTERS.name(ENV))).get("taker_rate_whole", 0))


@pytest.mark.parametrize("restart", [False, True], ids=["tried again", "after a restart"])
def test_an_end_that_could_not_be_written_is_told_and_counted_once(restart: bool) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", documents=Failing)
        documents: Any = floor.world.documents
        documents.times = 1_000 if restart else 3
        await floor.enter()
        await floor.settle(5_000)
        if restart:
            await floor.stop("s4")
            documents.times = 0
            await floor.start("s4")
            await floor.settle(5_000)

        record = await documents.inner.get(INTENTS, "E1")
        assert record.state is IntentState.DONE
        executed, placed = await told(floor, K.ROUTER_ORDER_EXECUTED), await told(floor, K.TP_SL_PLACED)
        assert [event.ts for event in (*executed, *placed)] == [record.execution.ended_at] * 2
        assert record.execution.ended_at < record.updated_at
        if not restart:
            assert await counted(floor) == pytest.approx(0.010 * 60_001)
        await floor.stop()

    run_virtual(scenario())


def test_a_run_that_stops_between_two_slices_is_dated_when_it_stopped() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        twap = Twap(enabled=True, slices=3, gap_ms=20_000, jitter_ms=0)
        policy = ExecPolicy(routing=Routing.MAKER_ONLY, maker_wait_ms=500, twap=twap)
        await floor.call("s4", "POST", "/orders", entry(floor, "E1", qty="0.024").but(exec_policy=policy))
        await floor.settle(8_000)
        assert floor.resting() == {}
        canceled_ms = floor.world.clock.now_ms()
        await floor.call("s4", "POST", "/cancel", CancelRequest(intent_id="E1"))
        await floor.settle(5_000)

        for kind in (K.TWAP_DONE, K.ROUTER_ORDER_CANCELED):
            (done,) = await told(floor, kind)
            assert canceled_ms <= done.ts <= canceled_ms + 1_000
        await floor.stop()

    run_virtual(scenario())


def test_an_exit_above_the_exchange_s_largest_order_is_no_twap() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(tp=None)
        exchange = floor.venue.exchange
        exchange.replace_instrument(replace(FUT_RULES, market_max_qty=D("0.004")))
        await floor.stop("s4")
        await floor.start("s4")

        await leave(floor)

        assert floor.position_qty() == 0
        sold = [fill.qty for fill in exchange.fills(Market.FUT, "BTCUSDT") if fill.side is Side.SELL]
        assert sold == [D("0.004"), D("0.004"), D("0.002")]
        assert await told(floor, K.TWAP_SLICE_SENT) == await told(floor, K.TWAP_DONE) == []
        life = (await floor.call("s4", "GET", "/orders/X1")).body["timeline"]
        words = [each["what"] for each in life]
        assert (words.count("SPLIT"), words.count("SLICE_SENT"), words.count("DOWNSIZED")) == (2, 0, 0), words
        assert next(each["detail"]["slices"] for each in life if each["what"] == "PLANNED") == 1
        await floor.stop()

    run_virtual(scenario())


# --- how long a fill had no stop


@pytest.mark.parametrize("restart", [False, True], ids=["in one life", "across a restart"])
def test_the_time_without_a_stop_is_from_the_fill_to_the_listing_and_unknown_across_a_restart(restart: bool) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        venue: Any = floor.world.venue
        clock = floor.world.clock

        async def slowly(place: Callable[..., Awaitable[Any]], new: NewOrder) -> Any:
            if new.conditional:
                await clock.sleep_until_ms(clock.now_ms() + 400)
            return await place(new)

        venue.instead["place"] = slowly
        going = asyncio.ensure_future(floor.enter(tp=None))
        if restart:
            await clock.sleep_until_ms(clock.now_ms() + 300)
            assert floor.position_qty()
            await floor.stop("s4")
            await floor.start("s4")
        await asyncio.gather(going, return_exceptions=True)
        await floor.settle(3_000)

        assert "STOP_MARKET" in {kind for kind, _, _ in floor.resting().values()}
        shown = figures(floor.world.metrics)
        assert shown["chimera_unprotected_ms_count"] == (0 if restart else 1)
        if not restart:
            assert 400 <= shown["chimera_unprotected_ms_sum"] < 600
        await floor.stop()

    run_virtual(scenario())


def test_what_measures_a_stop_holds_up_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop is refused, and whoever measures finds the store down."""

    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        monkeypatch.setattr(Drive, "_measure_cover", down)
        await floor.call("s4", "POST", "/orders", entry(floor, "E1", sl_distance="0.5"))
        await floor.settle()

        told = [alert.message for alert in floor.messages(AlertEvent)]
        assert any("has no stop" in message and "closing" in message for message in told), told
        await floor.stop()

    async def down(self: Drive, run: Any, flow: Any) -> None:
        raise DocumentsUnavailable("it is down")

    run_virtual(scenario())


# --- pairs


async def pair_of(floor: Floor) -> str | None:
    shown = (await floor.world.snapshots.get_hash(SPOT_OCO_STATE.name(ENV, SPOT))).get("E1")
    return None if shown is None else str(json.loads(shown)["status"])


def leg(purpose: Purpose, status: OrderStatus, filled: str = "0") -> Order:
    return Order(
        order_id=purpose.value,
        market=Market.SPOT,
        symbol="BTCUSDT",
        side=Side.SELL,
        type=OrderType.LIMIT_MAKER,
        status=status,
        quantity=D("0.01"),
        filled_qty=D(filled),
        rcu_rev=1,
        created_at=1,
    )


@pytest.mark.parametrize(
    ("target", "stop", "status"),
    [
        (("NEW", "0"), ("NEW", "0"), OcoStatus.ARMED),
        (("PARTIALLY_FILLED", "0.004"), ("NEW", "0"), OcoStatus.ONE_LEG_FILLED),
        (("FILLED", "0.01"), ("NEW", "0"), OcoStatus.ONE_LEG_FILLED),
        (("CANCELED", "0"), ("FILLED", "0.01"), OcoStatus.ONE_LEG_FILLED),
        (("CANCELED", "0"), ("CANCELED", "0"), OcoStatus.BOTH_CANCELED),
        (("CANCELED", "0.004"), ("CANCELED", "0"), OcoStatus.BOTH_CANCELED),
    ],
)
def test_how_a_pair_stands_follows_from_its_legs(
    target: tuple[str, str], stop: tuple[str, str], status: OcoStatus
) -> None:
    pair = [
        leg(purpose, OrderStatus(told), filled)
        for purpose, (told, filled) in ((Purpose.TP, target), (Purpose.SL, stop))
    ]

    assert status_of(pair) is status_of(pair[::-1]) is status


@pytest.mark.parametrize(
    "telling",
    [Telling(), Telling(times=3), Telling(deaf=True)],
    ids=["told once", "told three times", "found by asking"],
)
@pytest.mark.parametrize(("price", "leg"), [("60600", "TP"), ("59300", "SL")], ids=["target", "stop"])
def test_a_pair_resolves_once_and_is_shown_until_then(telling: Telling, price: str, leg: str) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Retold)
        venue: Any = floor.world.venue
        venue.telling = telling
        await floor.enter(key=SPOT)
        await floor.settle(70_000)
        assert await pair_of(floor) == OcoStatus.ARMED

        await floor.move(price, settle_ms=70_000)

        (resolved,) = await told(floor, K.OCO_RESOLVE)
        detail = resolved.detail or {}
        assert (detail["subject"], detail["leg"], detail["qty"]) == ("E1", leg, 0.00999)
        sold = [fill for fill in floor.venue.exchange.fills(Market.SPOT, "BTCUSDT") if fill.side is Side.SELL]
        assert resolved.ts == max(fill.ts for fill in sold)
        assert await pair_of(floor) is None
        await floor.stop()

    run_virtual(scenario())


def test_a_pair_that_a_person_takes_back_is_shown_to_protect_nothing() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(key=SPOT)
        await floor.stop("s5", "s6")

        answer = await floor.call("s4", "POST", "/cancel", CancelRequest(order_id="s3-btc-e1-1", cascade_oco=True))
        assert answer.ok, answer.body
        await floor.settle(200)

        assert await pair_of(floor) == OcoStatus.BOTH_CANCELED
        assert await told(floor, K.OCO_RESOLVE) == []
        await floor.stop()

    run_virtual(scenario())


def test_what_was_shown_of_a_pair_when_the_process_died_is_put_right_by_the_next() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", snapshots=Meddled)
        snapshots: Any = floor.world.snapshots
        await floor.enter(key=SPOT)

        async def away(real: Any, *key: str) -> None:
            raise StateUnavailable("it is down")

        snapshots.instead["delete_field"] = away
        await floor.move("60600")
        await floor.stop("s4")
        del snapshots.instead["delete_field"]
        assert await pair_of(floor) is not None

        await floor.start("s4")

        assert await pair_of(floor) is None
        assert len(await told(floor, K.OCO_RESOLVE)) == 1
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_in_the_pair_s_place_is_shown_until_it_has_sold() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(key=SPOT, tp="600000")
        assert await pair_of(floor) == OcoStatus.FALLBACK_GUARD

        await floor.move("59300")

        assert await pair_of(floor) is None
        assert await told(floor, K.OCO_RESOLVE) == []
        await floor.stop()

    run_virtual(scenario())
