"""What a person tells S6, with the real router on the simulated exchange."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS
from chimera.contracts.enums import Purpose, Side, TradeStatus
from chimera.contracts.messages import AuditEvent
from chimera.ports.peers import PeerAnswer
from chimera.ports.venue import VenueUnavailable
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Instead, Meddled, meddled_floor
from tests.services.trading_floor import FUT, SPOT, Floor

D = Decimal
CLOSE = {"market": "FUT", "symbol": "BTCUSDT"}


async def close(floor: Floor) -> PeerAnswer:
    return await floor.call("s6", "POST", "/positions/close", CLOSE)


async def put_stop(floor: Floor, price: str, **more: Any) -> PeerAnswer:
    return await floor.call("s6", "POST", "/positions/stop", {"symbol": "BTCUSDT", "price": float(price), **more})


def audited(floor: Floor) -> list[AuditEvent]:
    return [event for event in floor.messages(AuditEvent) if event.action.startswith("POSITION")]


def stops(floor: Floor) -> list[tuple[Decimal, Decimal | None]]:
    return [(qty, price) for kind, qty, price in floor.resting().values() if kind == "STOP_MARKET"]


async def exits(floor: Floor) -> list[str]:
    found = []
    k = 1
    while (record := await floor.world.documents.get(INTENTS, f"E1-{Purpose.EXIT.value}-{k}")) is not None:
        found.append(record.state.value)
        k += 1
    return found


def test_a_person_closes_a_position_once_however_often_it_is_said() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()

        answers = await asyncio.gather(*(close(floor) for _ in range(3)))
        late = await close(floor)
        await floor.settle()

        assert [answer.status for answer in answers] == [200, 200, 200]
        assert {answer.body["intent_id"] for answer in answers} == {"E1-EXIT-1"}
        assert answers[0].body["state"] == "DONE"
        assert answers[0].body["qty_open"] == 0
        assert (late.status, late.body["type"]) == (404, "urn:chimera:problem:no-position")
        assert await exits(floor) == ["DONE"]
        trade = await floor.trade()
        assert (trade.status, trade.reason) == (TradeStatus.CLOSED, "EXIT")
        assert (floor.position_qty(), floor.resting()) == (D(0), {})
        (told,) = audited(floor)
        assert (told.actor, told.action, told.subject) == ("test", "POSITION_CLOSE", "E1")
        assert told.before == {"instrument": "FUT:BTCUSDT", "qty_open": 0.01, "stop_price": 59400.0}
        await floor.stop()

    run_virtual(scenario())


def test_a_close_that_the_exchange_did_not_take_is_carried_out_when_it_does() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()
        floor.venue.set_down("maintenance")
        answer = await close(floor)
        await floor.stop("s6")
        floor.venue.set_down(None)

        await floor.start("s6")
        await floor.settle(20_000)

        assert answer.ok
        assert answer.body["qty_open"] == 0.01
        assert (floor.position_qty(), floor.resting()) == (D(0), {})
        assert (await floor.trade()).reason == "EXIT"
        assert len(audited(floor)) == 1
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("side", "sl", "tp", "price"),
    [
        pytest.param(Side.BUY, "59400", "63000", "59800", id="long"),
        pytest.param(Side.SELL, "60600", "57000", "60200", id="short"),
    ],
)
def test_a_tighter_stop_is_there_at_once_and_stays(side: Side, sl: str, tp: str, price: str) -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(side=side, sl=sl, tp=tp)

        answer = await put_stop(floor, price)
        await floor.settle(120_000)

        assert answer.body["listed"]
        assert D(str(answer.body["stop_before"])) == D(sl)
        assert stops(floor) == [(D("0.010"), D(price))]
        assert (await floor.trade()).stop_price == D(price)
        await floor.stop()

    run_virtual(scenario())


def test_a_looser_stop_within_the_loss_budget_holds_until_a_higher_tier_moves_it() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp="63000")
        await floor.move("60300")
        locked = (await floor.trade()).stop_price
        assert locked is not None
        assert locked > 60_001

        answer = await put_stop(floor, "59500")
        await floor.settle(60_000)
        held = stops(floor)
        await floor.stop("s6")
        await floor.start("s6")
        await floor.settle(60_000)
        after_restart = stops(floor)
        await floor.move("60700")

        assert answer.ok, answer.body
        assert held == after_restart == [(D("0.010"), D(59500))]
        (stop,) = stops(floor)
        assert stop[1] is not None
        assert stop[1] > locked
        (told,) = audited(floor)
        assert told.before is not None
        assert told.before["stop_price"] == float(locked)
        assert told.after == {"stop_price": 59500.0, "confirm": False, "reason": "MANUAL"}
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_beyond_the_loss_budget_wants_a_confirmation_and_never_comes_near_the_liquidation() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp="63000")

        unsure = await put_stop(floor, "59000")
        sure = await put_stop(floor, "59000", confirm=True)
        too_far = await put_stop(floor, "57500", confirm=True)
        at_once = await put_stop(floor, "60000")
        off_grid = await put_stop(floor, "59000.01")
        await floor.settle(60_000)

        assert (unsure.status, unsure.body["type"]) == (409, "urn:chimera:problem:over-loss-budget")
        assert sure.ok
        assert sure.body["loss_usdt"] == 10.01
        assert (too_far.status, too_far.body["type"]) == (422, "urn:chimera:problem:too-near-liquidation")
        assert (at_once.status, at_once.body["type"]) == (422, "urn:chimera:problem:stop-would-trigger")
        assert (off_grid.status, off_grid.body["type"]) == (400, "urn:chimera:problem:price-off-tick")
        assert stops(floor) == [(D("0.010"), D(59000))]
        await floor.stop()

    run_virtual(scenario())


def test_while_a_stop_is_loosened_one_is_listed_whatever_the_exchange_says() -> None:
    async def scenario() -> None:
        async def busy(place: Instead, new: Any) -> Any:
            raise VenueUnavailable("busy")

        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        await floor.enter(tp=None)
        floor.world.venue.instead["place"] = busy
        answer = await put_stop(floor, "59450")
        kept = stops(floor)
        del floor.world.venue.instead["place"]
        await floor.settle(70_000)

        assert answer.ok
        assert not answer.body["listed"]
        assert kept == [(D("0.010"), D(59400))]
        assert stops(floor) == [(D("0.010"), D(59450))]
        await floor.stop()

    run_virtual(scenario())


def test_flatten_leaves_everything_and_says_so_by_instrument() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()

        answer = await floor.call("s6", "POST", "/positions/flatten", {"reason": "storm"})
        again = await floor.call("s6", "POST", "/positions/flatten", {})

        assert answer.body["flat"]
        (told,) = answer.body["instruments"]
        assert (told["market"], told["symbol"], told["leaving"]["intent_id"]) == ("FUT", "BTCUSDT", "E1-EXIT-1")
        assert again.body == {"flat": True, "instruments": []}
        assert (floor.position_qty(), floor.resting()) == (D(0), {})
        assert [event.action for event in audited(floor)] == ["POSITIONS_FLATTEN", "POSITION_CLOSE"]
        await floor.stop()

    run_virtual(scenario())


def test_flatten_takes_back_what_is_being_entered_and_leaves_what_it_filled() -> None:
    async def scenario() -> None:
        async def slowly(place: Instead, new: Any) -> Any:
            if new.client_order_id == "s3-btc-e1":
                await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 1_000)
            return await place(new)

        floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
        floor.world.venue.instead["place"] = slowly
        entering = asyncio.ensure_future(floor.enter())
        await asyncio.sleep(0.5)
        answer = await floor.call("s6", "POST", "/positions/flatten", {})
        await entering
        await floor.settle(10_000)

        (told,) = answer.body["instruments"]
        assert told["symbol"] == "BTCUSDT"
        assert answer.body["flat"]
        assert (floor.position_qty(), floor.resting()) == (D(0), {})
        await floor.stop()

    run_virtual(scenario())


def test_a_spot_position_is_closed_with_its_pair() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=SPOT, qty="0.00500", tp="66000", sl="57000")

        answer = await floor.call("s6", "POST", "/positions/close", {"market": "SPOT", "symbol": "BTCUSDT"})
        await floor.settle(10_000)

        assert answer.ok, answer.body
        trade = await floor.trade()
        assert (trade.status, trade.reason) == (TradeStatus.CLOSED, "EXIT")
        assert floor.resting() == {}
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        pytest.param("close", {"market": "FUT", "symbol": "BTCUSDT"}, 404, "no-position", id="nothing open"),
        pytest.param("close", {"market": "FUT", "symbol": "XYZUSDT"}, 404, "unknown-symbol", id="not traded"),
        pytest.param("stop", {"symbol": "BTCUSDT", "price": 59000}, 404, "no-position", id="no stop to move"),
        pytest.param(
            "stop", {"market": "SPOT", "symbol": "BTCUSDT", "price": 1}, 422, "spot-lives-by-its-pair", id="spot"
        ),
        pytest.param("stop", {"symbol": "BTCUSDT", "price": 0}, 400, "malformed-body", id="no price"),
        pytest.param("close", {"market": "FUT", "symbol": "BTCUSDT", "ratio": 1}, 400, "malformed-body", id="unknown"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_changes(path: str, body: Any, status: int, kind: str) -> None:
    async def scenario() -> None:
        floor = await Floor.open()

        answer = await floor.call("s6", "POST", f"/positions/{path}", body)

        assert (answer.status, answer.body["type"]) == (status, f"urn:chimera:problem:{kind}")
        assert audited(floor) == []
        assert floor.resting() == {}
        await floor.stop()

    run_virtual(scenario())


def test_two_stops_asked_for_at_once_leave_one() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp=None)

        await asyncio.gather(put_stop(floor, "59600"), put_stop(floor, "59700"))
        await floor.settle(10_000)

        trade = await floor.trade()
        assert trade.stop_price in (D(59600), D(59700))
        assert stops(floor) == [(D("0.010"), trade.stop_price)]
        assert (FUT.symbol, trade.status) == ("BTCUSDT", TradeStatus.ACTIVE)
        await floor.stop()

    run_virtual(scenario())
