"""S6 adds to a winner, with the real router on the simulated exchange."""

from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS, SIGNALS
from chimera.contracts.documents import Decision, Signal
from chimera.contracts.enums import Action, IntentState, Market, PositionEventKind, Purpose, Side, TradeStatus
from chimera.contracts.http import CancelRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import HEALTH_STATE, POS_ADDS, REGIME_STATE
from chimera.contracts.messages import PositionEvent
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.orders import NewOrder
from chimera.ports.peers import PeerCall, PeerUnavailable
from chimera.ports.state import Reservation, ReservationState
from chimera.ports.venue import InsufficientFunds
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Instead, Meddled, meddled_floor
from tests.services.test_s06_positions import venue_net
from tests.services.test_s06_under_fire import I2_MS, LOOKUP_MS, OF_PLACING, Answer, under_fire
from tests.services.trading_floor import DAY_MS, ENV, FUT, SPOT, Floor

D = Decimal


async def calm(floor: Floor, state: str = "NORMAL") -> Floor:
    expires_at = floor.world.clock.now_ms() + 7 * DAY_MS
    await floor.world.snapshots.set_hash(REGIME_STATE.name(ENV), {"state": state, "expires_at": str(expires_at)})
    return floor


async def winning(floor: Floor, **entry: Any) -> Floor:
    """A long of 0.010 at 60001 that has earned 5 % and more."""
    await floor.enter(**{"tp": "63000", **entry})
    await floor.move("60310", settle_ms=6_000)
    return floor


async def add_states(floor: Floor) -> list[str]:
    found = []
    while (record := await floor.world.documents.get(INTENTS, f"E1-ADD-{len(found) + 1}")) is not None:
        found.append(record.state.value)
    return found


def stops(floor: Floor) -> list[tuple[Decimal, Decimal | None]]:
    return [(qty, price) for kind, qty, price in floor.resting().values() if kind == "STOP_MARKET"]


def targets(floor: Floor) -> list[tuple[Decimal, Decimal | None]]:
    return [(qty, price) for kind, qty, price in floor.resting().values() if kind == "TAKE_PROFIT_MARKET"]


@pytest.mark.parametrize(
    ("side", "entry", "price"),
    [
        pytest.param(Side.BUY, {}, "60310", id="long"),
        pytest.param(Side.SELL, {"sl": "60600", "tp": "57000"}, "59690", id="short"),
    ],
)
def test_a_winner_grows_by_half_once_and_its_stop_covers_the_whole(
    side: Side, entry: dict[str, str], price: str
) -> None:
    async def scenario() -> None:
        floor = await calm(await Floor.open())
        await floor.enter(side=side, **{"tp": "63000", **entry})
        first = await floor.trade()
        (first_target,) = targets(floor)

        await floor.move(price, settle_ms=120_000)

        trade = await floor.trade()
        assert (trade.qty_open, trade.add_on_count, trade.rung) == (D("0.015"), 1, 0)
        assert await add_states(floor) == ["DONE"]
        assert abs(floor.position_qty()) == D("0.015")
        (stop,) = stops(floor)
        assert stop[0] == D("0.015")
        assert trade.first_loss_usdt == first.first_loss_usdt == D("0.010") * 601
        assert stop[1] is not None
        assert side.sign * (trade.entry_price_avg - stop[1]) * trade.qty_open <= trade.first_loss_usdt
        assert side.sign * (stop[1] - D(60_000)) > 0, "break-even of the first was never loosened"
        (target,) = targets(floor)
        assert target[0] == D("0.007")
        assert first_target[1] is not None
        assert target[1] is not None
        assert side.sign * (target[1] - first_target[1]) > 0
        usage = await floor.world.reservations.usage(Market.FUT)
        margin = trade.qty_open * trade.entry_price_avg
        assert abs(usage.amount_usdt - (margin / 20 + margin * D("0.0005"))) < D("1e-6")
        assert usage.concurrency == 1
        (told,) = [event for event in floor.messages(PositionEvent) if event.kind is PositionEventKind.ADD]
        assert told.detail["added_qty"] == 0.005
        assert await floor.world.snapshots.get(POS_ADDS.name(ENV, FUT)) == "1"
        await floor.stop()

    run_virtual(scenario())


def test_the_whole_ends_by_its_stop_and_the_books_agree_with_the_exchange() -> None:
    async def scenario() -> None:
        floor = await winning(await calm(await Floor.open()))
        assert (await floor.trade()).add_on_count == 1

        await floor.move("59000", settle_ms=10_000)

        trade = await floor.trade()
        assert (trade.status, trade.qty_open) == (TradeStatus.CLOSED, D(0))
        assert (floor.position_qty(), floor.resting()) == (D(0), {})
        net = trade.realized_pnl_usdt - trade.fees_usdt + trade.funding_usdt
        assert abs(net - venue_net(floor)) <= D("1e-8")
        assert (await floor.world.reservations.usage(Market.FUT)).amount_usdt == 0
        assert await floor.world.reservations.all() == []
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("regime", "health"),
    [
        pytest.param("EXTREME", "GREEN", id="regime extreme"),
        pytest.param("NORMAL", "YELLOW", id="health yellow"),
        pytest.param("NORMAL", "RED", id="health red"),
    ],
)
def test_nothing_is_added_in_a_storm_or_in_poor_health(regime: str, health: str) -> None:
    async def scenario() -> None:
        floor = await calm(await Floor.open(), regime)
        await floor.world.snapshots.set(HEALTH_STATE.name(ENV), "GREEN")
        await floor.enter(tp="63000")
        await floor.world.snapshots.set(HEALTH_STATE.name(ENV), health)
        await floor.move("60310", settle_ms=30_000)
        before = (await floor.trade()).qty_open
        await calm(floor)
        await floor.world.snapshots.set(HEALTH_STATE.name(ENV), "GREEN")
        await floor.settle(10_000)

        assert before == D("0.010")
        assert (await floor.trade()).qty_open == D("0.015")
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(("override", "adds"), [(0, 0), (1, 1), (None, 1)])
def test_a_fired_rule_says_how_often(override: int | None, adds: int) -> None:
    async def scenario() -> None:
        floor = await calm(await Floor.open())
        await floor.world.documents.put(
            SIGNALS,
            Signal(
                signal_id="SIG-E1",
                t0=floor.world.clock.now_ms(),
                market=Market.FUT,
                symbol="BTCUSDT",
                features={},
                decision=Decision(
                    action=Action.OPEN,
                    intent_id="E1",
                    trail={"max_adds_override": override} if override is not None else {},
                ),
                config_rev=1,
            ),
        )
        await winning(floor)

        assert (await floor.trade()).add_on_count == adds
        await floor.stop()

    run_virtual(scenario())


def test_nothing_is_added_once_a_rung_has_filled() -> None:
    async def scenario() -> None:
        floor = await calm(await Floor.open(), "EXTREME")
        await floor.enter(tp="60310")
        await floor.move("60320")
        await calm(floor)
        await floor.move("60300", settle_ms=30_000)

        trade = await floor.trade()
        assert (trade.rung, trade.add_on_count, trade.qty_open) == (1, 0, D("0.005"))
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("spot_qty", "added"),
    [
        pytest.param("0.00300", "0.005", id="a small holding leaves all of it"),
        pytest.param("0.00700", "0.003", id="a large one only the gap"),
        pytest.param("0.02000", "0", id="a larger one nothing"),
    ],
)
def test_spot_held_lessens_a_long_add(spot_qty: str, added: str) -> None:
    async def scenario() -> None:
        floor = await calm(await Floor.open(usdt="3000"))
        await floor.enter("S1", key=SPOT, qty=spot_qty, tp="66000", sl="57000")
        await winning(floor)

        assert (await floor.trade()).qty_open - D("0.010") == D(added)
        await floor.stop()

    run_virtual(scenario())


def test_an_add_that_the_exchange_refuses_gives_its_budget_back_and_is_not_asked_for_in_a_storm() -> None:
    async def scenario() -> None:
        async def poor(place: Instead, new: NewOrder) -> Any:
            if "-a" in new.client_order_id:
                raise InsufficientFunds(-2019, "Margin is insufficient.")
            return await place(new)

        floor = await calm(await meddled_floor("s4", "s6", "s5", venue=Meddled))
        floor.world.venue.instead["place"] = poor
        await winning(floor)
        await floor.settle(60_000)

        states = await add_states(floor)
        assert 1 <= len(states) <= 8
        assert set(states) == {"REJECTED"}
        assert [record.intent_id for record in await floor.world.reservations.all()] == ["E1"]
        assert ((await floor.trade()).qty_open, [qty for qty, _ in stops(floor)]) == (D("0.010"), [D("0.010")])
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("heard", [pytest.param(True, id="answer lost"), pytest.param(False, id="request lost")])
def test_an_add_whose_answer_is_lost_is_ordered_once(heard: bool) -> None:
    async def scenario() -> None:
        lost: list[str] = []

        async def deaf(call: Instead, asked: PeerCall) -> Any:
            if isinstance(asked.body, OrderIntent) and asked.body.purpose is Purpose.ADD and not lost:
                lost.append(asked.body.intent_id)
                if heard:
                    await call(asked)
                raise PeerUnavailable("s4", "gone")
            return await call(asked)

        floor = await calm(await meddled_floor("s4", "s6", "s5", peers=Meddled))
        floor.world.peers.instead["call"] = deaf
        await winning(floor)
        await floor.settle(30_000)

        assert lost == ["E1-ADD-1"]
        assert await add_states(floor) == ["DONE"]
        assert (floor.position_qty(), [qty for qty, _ in stops(floor)]) == (D("0.015"), [D("0.015")])
        assert [record.intent_id for record in await floor.world.reservations.all()] == ["E1"]
        await floor.stop()

    run_virtual(scenario())


def test_an_add_over_the_budget_is_not_made() -> None:
    async def scenario() -> None:
        floor = await calm(await Floor.open())
        await floor.world.reservations.reserve(
            Reservation(
                intent_id="OTHER",
                key=InstrumentKey(Market.FUT, "ETHUSDT"),
                amount_usdt=D(560),
                state=ReservationState.OPEN,
                ts=floor.world.clock.now_ms(),
            ),
            amount_max_usdt=D(10_000),
            concurrency_max=10,
        )
        await winning(floor)

        assert await add_states(floor) == []
        assert [record.intent_id for record in await floor.world.reservations.all()] == ["E1", "OTHER"]
        await floor.stop()

    run_virtual(scenario())


def test_an_add_that_filled_while_s6_was_away_is_led_as_one_position() -> None:
    async def scenario() -> None:
        floor = await calm(await Floor.open())
        await floor.enter(tp="63000")
        await floor.stop("s6")
        await floor.move("60310")
        await floor.start("s6")
        # Not longer than it takes to order it: S4 fills and covers it while S6 is away again.
        await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 1_050)
        await floor.stop("s6")
        await floor.settle(5_000)
        await floor.start("s6")
        await floor.settle(5_000)

        record = await floor.world.documents.get(INTENTS, "E1-ADD-1")
        assert record is not None
        assert (record.purpose, record.state) == (Purpose.ADD, IntentState.DONE)
        trade = await floor.trade()
        assert (trade.qty_open, trade.add_on_count) == (D("0.015"), 1)
        assert [qty for qty, _ in stops(floor)] == [D("0.015")]
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(("first", "second"), list(product(OF_PLACING, (Answer.OK, Answer.LATE, Answer.LOST))))
def test_while_it_grows_every_part_is_covered_in_time_whatever_the_exchange_answers(
    first: Answer, second: Answer
) -> None:
    async def scenario() -> None:
        fire = await under_fire([Answer.OK, first, second], [second])
        await calm(fire.floor)

        # The first answer is the tier's; then come the stop of what is added, and that of the whole.
        await fire.move("60310", 20_000)
        trade = await fire.floor.trade()
        grown = (trade.add_on_count, abs(fire.floor.position_qty()))
        await fire.move("59000", 30_000)

        # Refused for good, what is added is closed at market, and the first part goes on.
        assert grown in ((1, D("0.015")), (1, D("0.010")))
        assert fire.naked_ms <= I2_MS + LOOKUP_MS
        if {first, second} <= {Answer.OK, Answer.LATE, Answer.DONE_UNKNOWN, Answer.REFUSED}:
            assert fire.naked_ms <= I2_MS
        assert (fire.floor.position_qty(), fire.floor.resting()) == (D(0), {})
        assert (await fire.floor.trade()).status is TradeStatus.CLOSED
        assert await fire.floor.world.reservations.all() == []
        await fire.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("meanwhile", "closes"),
    [
        pytest.param("leave", "EXIT", id="a person leaves"),
        pytest.param("59300", None, id="the stop fills"),
    ],
)
def test_what_ends_while_it_grows_ends_whole(meanwhile: str, closes: str | None) -> None:
    async def scenario() -> None:
        slow: list[str] = []
        taken_back: list[str | None] = []

        async def heard(call: Instead, asked: PeerCall) -> Any:
            if isinstance(asked.body, CancelRequest) and asked.body.intent_id is not None:
                taken_back.append(asked.body.intent_id)
            return await call(asked)

        async def slowly(place: Instead, new: NewOrder) -> Any:
            if new.client_order_id.endswith("-a1"):
                slow.append(new.client_order_id)
                await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 3_000)
            return await place(new)

        floor = await calm(await meddled_floor("s4", "s6", "s5", venue=Meddled, peers=Meddled))
        await floor.enter(tp="63000")
        floor.world.venue.instead["place"] = slowly
        floor.world.peers.instead["call"] = heard
        await floor.move("60310", settle_ms=3_000)
        assert slow == ["s3-btc-e1-a1"]
        if meanwhile == "leave":
            asked = await floor.call("s6", "POST", "/positions/close", {"market": "FUT", "symbol": "BTCUSDT"})
            assert asked.ok
        else:
            await floor.move(meanwhile, settle_ms=1_000)
        await floor.settle(30_000)

        trade = await floor.trade()
        assert (floor.position_qty(), floor.resting()) == (D(0), {})
        assert trade.status is TradeStatus.CLOSED
        assert closes is None or trade.reason == closes
        assert taken_back[:1] == ["E1-ADD-1"]
        net = trade.realized_pnl_usdt - trade.fees_usdt + trade.funding_usdt
        assert abs(net - venue_net(floor)) <= D("1e-8")
        assert await floor.world.reservations.all() == []
        await floor.stop()

    run_virtual(scenario())


def test_what_the_router_is_still_covering_is_left_to_it() -> None:
    async def scenario() -> None:
        async def slowly(place: Instead, new: NewOrder) -> Any:
            if new.client_order_id.endswith("-a1-1"):
                await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 900)
            return await place(new)

        async def heard(call: Instead, asked: PeerCall) -> Any:
            record = await floor.world.documents.get(INTENTS, "E1-ADD-1")
            if isinstance(asked.body, CancelRequest) and record is not None and not record.state.is_final:
                canceled.append(asked.body.order_id)
            return await call(asked)

        canceled: list[str | None] = []
        floor = await calm(await meddled_floor("s4", "s6", "s5", venue=Meddled, peers=Meddled))
        await floor.enter(tp="63000")
        await floor.move("60200")
        floor.world.venue.instead["place"] = slowly
        floor.world.peers.instead["call"] = heard
        floor.price = D(60_310)
        seen_growing = 0
        for _ in range(60):
            await floor.settle(100)
            assert (await floor.call("s6", "POST", "/positions/manage", {})).ok
            record = await floor.world.documents.get(INTENTS, "E1-ADD-1")
            growing = record is not None and not record.state.is_final
            seen_growing += growing
            if growing and floor.position_qty() == D("0.015"):
                first = [qty for name, (_, qty, _) in floor.resting().items() if "-a1" not in name]
                assert D("0.010") in first, "the first part keeps its own stop"

        assert seen_growing >= 3
        assert not [name for name in canceled if name is not None and "-a1" in name]
        assert (await floor.trade()).add_on_count == 1
        assert [qty for qty, _ in stops(floor)] == [D("0.015")]
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(("limit", "grown"), [(900, "0.010"), (910, "0.015")])
def test_nothing_is_added_beyond_the_exposure_of_a_symbol(limit: int, grown: str) -> None:
    async def scenario() -> None:
        floor = await calm(await Floor.open())
        body = {"flags": {"risk": {"exposure_usdt_max": limit}}}
        made = (await floor.call("s10", "POST", "/bundles", body)).body["bundle_id"]
        assert (await floor.call("s10", "POST", f"/bundles/{made}/stage")).ok
        assert (await floor.call("s10", "POST", "/promote", {"bundle_id": made, "mode": "FULL"})).ok

        await winning(floor)

        assert (await floor.trade()).qty_open == D(grown)
        await floor.stop()

    run_virtual(scenario())
