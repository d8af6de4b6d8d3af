"""What S6 says of what is held: how much a price moves it, and that it goes nowhere."""

from decimal import Decimal
from typing import Any

from chimera.contracts.collections import STRATEGY_EVENTS
from chimera.contracts.enums import PositionEventKind, Side
from chimera.contracts.keys import POS_STATE
from chimera.contracts.messages import PositionEvent
from chimera.ports.documents import Query
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, meddled_floor
from tests.services.trading_floor import ENV, FUT, HOUR_MS, SPOT, Floor

D = Decimal


def stagnated(floor: Floor) -> list[PositionEvent]:
    return [event for event in floor.messages(PositionEvent) if event.kind is PositionEventKind.STAGNATED]


def test_exposure_is_futures_and_spot_together() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter("S1", key=SPOT, qty="0.00500", tp="66000", sl="57000")
        alone = (await floor.call("s6", "GET", "/positions")).body["exposures"]
        await floor.enter(side=Side.SELL, sl="60600", tp="57000")

        (both,) = (await floor.call("s6", "GET", "/positions")).body["exposures"]
        state = await floor.world.snapshots.get_hash(POS_STATE.name(ENV, FUT))

        spot = D("0.005") * D("0.999")
        assert [(each["symbol"], each["fut_qty"], each["spot_qty"]) for each in alone] == [("BTCUSDT", 0, float(spot))]
        assert D(str(both["exposure_qty"])) == spot - D("0.010")
        assert D(str(both["net_delta_qty"])) == -spot - D("0.010")
        assert D(str(both["exposure_usdt"])) == (D("0.010") - spot) * 60_000
        assert both["exposure_usdt_max"] == 14_000
        assert D(state["exposure"]) == spot - D("0.010")
        await floor.stop()

    run_virtual(scenario())


def test_a_position_that_goes_nowhere_for_a_day_is_said_to_once() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(sl="57600", tp="66000")
        # Where both fees are earned: the ROE is next to nothing.
        await floor.move("60060", settle_ms=2 * HOUR_MS)
        # A move of 3 % of the margin begins the day anew.
        await floor.move("60160", settle_ms=5_000)
        moved_at = floor.world.clock.now_ms()
        await floor.move("60060", settle_ms=10 * HOUR_MS)
        await floor.stop("s6")
        await floor.start("s6")
        await floor.settle(13 * HOUR_MS)
        early = stagnated(floor)
        await floor.settle(2 * HOUR_MS)
        await floor.stop("s6")
        await floor.start("s6")
        await floor.settle(2 * HOUR_MS)

        assert early == []
        (told,) = stagnated(floor)
        assert abs(told.ts - (moved_at + 24 * HOUR_MS)) <= 10_000
        events = await floor.world.documents.find(
            Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", "STAGNATED"),))
        )
        assert [event.ts for event in events] == [told.ts]
        assert (await floor.trade()).stagnated_at == told.ts
        await floor.stop()

    run_virtual(scenario())


async def shown(floor: Floor) -> dict[str, Any]:
    [position] = (await floor.call("s6", "GET", "/positions")).body["positions"]
    return dict(position)


def test_a_spot_stop_is_shown_as_what_holds_it() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, sl="59400", tp="60500")
        paired = await shown(floor)

        await floor.stop("s5")
        await floor.call("s4", "POST", "/cancel", {"intent_id": "E1"})
        await floor.settle(3_000)
        bare = await shown(floor)

        await floor.start("s5")
        await floor.settle(3_000)
        guarded = await shown(floor)

        assert (paired["stop_kind"], paired["stop_price"], paired["tp_price"]) == ("LISTED", 59_400, 60_500)
        assert bare["stop_kind"] == "NONE"
        assert not {"stop_price", "stop_distance_pct", "tp_price"} & set(bare)
        assert (guarded["stop_kind"], guarded["stop_price"], guarded["tp_price"]) == ("GUARD", 59_400, 60_500)
        assert guarded["stop_distance_pct"] == 0.01
        await floor.stop()

    run_virtual(scenario())


def test_a_futures_stop_that_nobody_lists_is_not_shown() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", peers=Meddled)
        peers: Any = floor.world.peers
        await floor.enter(tp=None)
        listed = await shown(floor)

        async def refuses(call: Any, what: PeerCall) -> PeerAnswer:
            return PeerAnswer(503, {"detail": "no"}) if what.path == "/orders" else await call(what)

        peers.instead["call"] = refuses
        for name in floor.resting():
            await floor.venue.cancel(FUT, name, conditional=True)
        await floor.settle(1_000)
        bare = await shown(floor)

        assert (listed["stop_kind"], listed["stop_price"]) == ("LISTED", 59_400)
        assert (bare["stop_kind"], "stop_price" in bare) == ("NONE", False)
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_is_not_denied_while_what_is_on_file_cannot_be_read() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", documents=Meddled)
        documents: Any = floor.world.documents
        await floor.enter(key=SPOT, sl="59400", tp="600000")
        guarded = await shown(floor)

        async def is_down(find: Any, query: Any) -> Any:
            raise DependencyDown("documents", "away")

        documents.instead["find"] = is_down
        unread = await shown(floor)

        assert guarded["stop_kind"] == "GUARD"
        assert not {"stop_kind", "stop_price"} & set(unread)
        await floor.stop()

    run_virtual(scenario())
