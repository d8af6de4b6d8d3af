"""What a person does about positions and orders, through the gateway, with the real router and keeper."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS
from chimera.contracts.enums import IntentState, Role, Switch, TradeStatus
from chimera.contracts.messages import AuditEvent
from chimera.ports.bus import BusUnavailable
from chimera.ports.peers import PeerAnswer, PeerCall, PeerUnavailable
from chimera.runtime.service import Reply, Request, Route
from chimera.services.s12_gateway import roles
from chimera.services.s12_gateway.handlers.positions import WAIT_MS
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.simulation.loop import run_virtual
from tests.prove.flows import entry
from tests.services.small_world import ENV as SMALL_ENV
from tests.services.small_world import SmallWorld, small_world
from tests.services.trading_floor import ENV, SPOT, Floor

D = Decimal


async def opened() -> Floor:
    """A futures position of 0.01 at 60,000 with its stop at 59,400, and a gateway."""
    floor = await Floor.open()
    floor.peers.add("s12", build(floor.world, GatewaySettings(env=ENV)).routes)
    await floor.enter()
    return floor


async def ask(floor: Floor, path: str, body: Any) -> PeerAnswer:
    return await floor.peers.call(PeerCall("s12", "POST", path, body, actor="ada"))


def audited(floor: Floor) -> list[tuple[str, str]]:
    return [(event.actor, event.action) for event in floor.messages(AuditEvent) if event.actor == "ada"]


@pytest.mark.parametrize("instrument", ["FUT:BTCUSDT", "FUT-BTCUSDT"])
def test_a_person_closes_a_position_by_its_name(instrument: str) -> None:
    async def scenario() -> None:
        floor = await opened()

        answer = await ask(floor, f"/positions/{instrument}/close", {"reason": "enough"})
        await floor.settle()

        assert (answer.status, answer.body["trade_id"]) == (200, "E1")
        assert ((await floor.trade()).status, floor.position_qty(), floor.resting()) == (TradeStatus.CLOSED, D(0), {})
        assert audited(floor) == [("ada", "POSITION_CLOSE")]
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_moves_towards_profit_at_once_and_beyond_the_budget_when_confirmed() -> None:
    async def scenario() -> None:
        floor = await opened()

        tighter = await ask(floor, "/positions/FUT:BTCUSDT/stop", {"price": 59_600})
        await floor.settle()
        looser = await ask(floor, "/positions/FUT:BTCUSDT/stop", {"price": 58_900})
        confirmed = await ask(floor, "/positions/FUT:BTCUSDT/stop", {"price": 58_900, "confirm": True})
        await floor.settle()

        assert (tighter.status, tighter.body["stop_price"]) == (200, 59_600)
        assert (looser.status, looser.body["type"]) == (409, "urn:chimera:problem:over-loss-budget")
        assert (confirmed.status, confirmed.body["stop_before"]) == (200, 59_600)
        assert [price for kind, _, price in floor.resting().values() if kind == "STOP_MARKET"] == [D(58_900)]
        await floor.stop()

    run_virtual(scenario())


def test_flatten_pulls_the_kill_switch_and_leaves_nothing_open() -> None:
    async def scenario() -> None:
        floor = await opened()

        unsure = await ask(floor, "/flatten", {"confirm": False})
        assert (unsure.status, floor.position_qty()) == (422, D("0.01"))
        answer = await ask(floor, "/flatten", {"confirm": True, "reason": "a storm"})
        await floor.settle()
        again = await ask(floor, "/flatten", {"confirm": True})

        assert (answer.status, answer.body["kill_switch"]) == (200, Switch.ON)
        assert (again.status, again.body["flat"]) == (200, True)
        assert (floor.position_qty(), floor.resting()) == (D(0), {})
        refused = await floor.enter("E2")
        assert (refused.status, refused.body["type"]) == (409, "urn:chimera:problem:kill-switch")
        assert ("ada", "KILL_SWITCH") in audited(floor)
        assert ("ada", "POSITIONS_FLATTEN") in audited(floor)
        await floor.stop()

    run_virtual(scenario())


def test_a_resting_order_is_canceled_by_name_and_the_stop_only_when_it_is_meant() -> None:
    async def scenario() -> None:
        floor = await opened()
        target = next(name for name, (kind, _, _) in floor.resting().items() if kind == "TAKE_PROFIT_MARKET")
        stop = next(name for name, (kind, _, _) in floor.resting().items() if kind == "STOP_MARKET")

        gone = await ask(floor, f"/orders/{target}/cancel", {"reason": "MANUAL"})
        kept = await ask(floor, f"/orders/{stop}/cancel", {})

        assert (gone.status, gone.body["canceled_ids"]) == (200, [target])
        assert (kept.status, kept.body["type"]) == (409, "urn:chimera:problem:protects-a-position")
        assert target not in floor.resting()
        assert stop in floor.resting()
        told = [event for event in floor.messages(AuditEvent) if event.action == "CANCEL"]
        assert [(event.actor, event.subject, event.before["status"]) for event in told] == [("ada", target, "NEW")]
        assert told[0].after["canceled_ids"] == [target]
        await floor.stop()

    run_virtual(scenario())


async def holds_spot() -> Floor:
    """A spot trade of 0.01 at 60,000 with its pair, and a gateway."""
    floor = await Floor.open()
    floor.peers.add("s12", build(floor.world, GatewaySettings(env=ENV)).routes)
    await floor.enter(key=SPOT, sl="59400", tp="60500")
    return floor


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("s3-btc-e1-1", id="the stop"),
        pytest.param("s3-btc-e1-2", id="the target, with which the stop goes"),
        pytest.param("E1", id="the entry's intent, with all of its orders"),
    ],
)
def test_what_takes_a_spot_stop_away_asks_whether_it_is_meant_and_a_guard_follows(name: str) -> None:
    async def scenario() -> None:
        floor = await holds_spot()
        resting = floor.resting()

        kept = await ask(floor, f"/orders/{name}/cancel", {})

        assert (kept.status, kept.body["type"]) == (409, "urn:chimera:problem:protects-a-position")
        assert "S6" not in kept.body["detail"]
        assert "a guard would watch the same prices" in kept.body["detail"]
        assert floor.resting() == resting

        gone = await ask(floor, f"/orders/{name}/cancel", {"confirm": True})
        await floor.settle(2_000)

        assert (gone.status, floor.resting()) == (200, {})
        guard = await floor.world.documents.get(INTENTS, "E1-GUARD-1")
        assert guard is not None
        assert guard.state is IntentState.ACCEPTED
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_is_canceled_by_its_intent_only_when_it_is_meant_and_another_follows() -> None:
    async def scenario() -> None:
        floor = await holds_spot()
        await ask(floor, "/orders/E1/cancel", {"confirm": True})
        await floor.settle(2_000)

        kept = await ask(floor, "/orders/E1-GUARD-1/cancel", {})
        gone = await ask(floor, "/orders/E1-GUARD-1/cancel", {"confirm": True})
        await floor.settle(2_000)

        assert (kept.status, kept.body["type"]) == (409, "urn:chimera:problem:protects-a-position")
        assert gone.status == 200
        states = [await floor.world.documents.get(INTENTS, f"E1-GUARD-{number}") for number in (1, 2)]
        assert [each and each.state for each in states] == [IntentState.CANCELED, IntentState.ACCEPTED]
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_of_futures_is_not_canceled_with_its_stop_unless_it_is_meant() -> None:
    async def scenario() -> None:
        floor = await opened()
        resting = floor.resting()

        kept = await ask(floor, "/orders/E1/cancel", {})

        assert (kept.status, kept.body["type"]) == (409, "urn:chimera:problem:protects-a-position")
        assert "S6 would place it again" in kept.body["detail"]
        assert floor.resting() == resting
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_that_is_still_worked_is_canceled_by_its_intent_and_keeps_its_stop() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        floor.peers.add("s12", build(floor.world, GatewaySettings(env=ENV)).routes)
        await floor.call("s4", "POST", "/orders", entry(floor, "E1", qty="0.024", slices=8))
        await floor.settle(700)
        record = await floor.world.documents.get(INTENTS, "E1")
        assert record is not None
        assert not record.state.is_final

        gone = await ask(floor, "/orders/E1/cancel", {})
        await floor.settle(2_000)

        assert (gone.status, gone.body["status"]) == (200, "CANCELED")
        assert D(0) < floor.position_qty() < D("0.024")
        [(_, covered, _)] = [what for what in floor.resting().values() if what[0] == "STOP_MARKET"]
        assert covered == floor.position_qty()
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        pytest.param("/positions/BTCUSDT/close", {}, 400, "malformed-path", id="no market"),
        pytest.param("/positions/FUT:DOGEUSDT/close", {}, 404, "unknown-symbol", id="not traded"),
        pytest.param("/positions/SPOT:BTCUSDT/close", {}, 404, "no-position", id="nothing open"),
        pytest.param("/positions/FUT:BTCUSDT/stop", {"price": 0}, 400, "malformed-body", id="no price"),
        pytest.param("/positions/FUT:BTCUSDT/stop", {"price": "NaN"}, 400, "malformed-body", id="not a number"),
        pytest.param("/positions/FUT:BTCUSDT/stop", {"price": 60_500}, 422, "stop-would-trigger", id="beyond the mark"),
        pytest.param("/positions/FUT:BTCUSDT/stop", {"price": 59_600.01}, 400, "price-off-tick", id="off the tick"),
        pytest.param("/positions/FUT:BTCUSDT/close", {"ratio": 0.5}, 400, "malformed-body", id="an unknown wish"),
        pytest.param("/flatten", {}, 400, "malformed-body", id="flatten without a word"),
        pytest.param("/orders/s3-none/cancel", {}, 404, "no-such-order", id="no such order"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(path: str, body: Any, status: int, kind: str) -> None:
    async def scenario() -> None:
        floor = await opened()
        before = floor.resting()

        answer = await ask(floor, path, body)

        assert (answer.status, answer.body["type"]) == (status, f"urn:chimera:problem:{kind}"), answer.body
        assert (floor.resting(), floor.position_qty()) == (before, D("0.01"))
        await floor.stop()

    run_virtual(scenario())


def test_who_closes_is_not_kept_waiting_and_the_work_goes_on() -> None:
    """A keeper that answers after a minute: the person hears so within seconds, and it is not called off."""

    async def scenario() -> None:
        here, done = _with_slow_keeper()
        asked = asyncio.ensure_future(
            here.peers.call(PeerCall("s12", "POST", "/positions/FUT:BTCUSDT/close", {}, actor="ada"))
        )
        await here.clock.advance(WAIT_MS + 1)
        answer = await asked
        await here.clock.advance(6 * WAIT_MS)

        assert (answer.status, answer.body["type"]) == (503, "urn:chimera:problem:still-going-on")
        assert done == ["closed"]

    asyncio.run(scenario())


def _with_slow_keeper() -> tuple[SmallWorld, list[str]]:
    here = small_world()
    done: list[str] = []

    async def close(request: Request) -> Reply:
        await here.clock.sleep_until_ms(here.clock.now_ms() + 6 * WAIT_MS)
        done.append("closed")
        return Reply({})

    here.peers.add("s12", build(here.world, GatewaySettings(env=SMALL_ENV)).routes)
    here.peers.add("s6", (Route(method="POST", path="/positions/close", handle=close, summary="slow"),))
    return here, done


async def test_flatten_closes_even_where_nobody_can_pull_the_switch_and_says_so() -> None:
    here = small_world()
    asked: list[Any] = []

    async def flatten(request: Request) -> Reply:
        asked.append(request.actor)
        return Reply({"flat": True, "instruments": []})

    here.peers.add("s12", build(here.world, GatewaySettings(env=SMALL_ENV)).routes)
    here.peers.add("s6", (Route(method="POST", path="/positions/flatten", handle=flatten, summary="all"),))
    here.documents.down = here.snapshots.down = here.bus.down = True

    answer = await here.peers.call(PeerCall("s12", "POST", "/flatten", {"confirm": True}, actor="ada"))

    assert (answer.status, answer.body["kill_switch"], asked) == (200, Switch.OFF, ["ada"])


async def test_a_keeper_that_is_away_is_said_to_be_away() -> None:
    here = small_world()

    async def away(request: Request) -> Reply:
        raise PeerUnavailable("s6", "it is restarting")

    here.peers.add("s12", build(here.world, GatewaySettings(env=SMALL_ENV)).routes)
    here.peers.add("s6", (Route(method="POST", path="/positions/close", handle=away, summary="away"),))

    answer = await here.peers.call(PeerCall("s12", "POST", "/positions/FUT:BTCUSDT/close", {}, actor="ada"))

    assert answer.status == 503
    assert "restarting" in answer.body["detail"]


def test_a_cancel_that_the_audit_could_not_hear_of_is_told_later() -> None:
    async def scenario() -> None:
        floor = await opened()
        service = build(floor.world, GatewaySettings(env=ENV))
        floor.peers.add("s12", service.routes)
        publish, target = floor.world.bus.publish, next(iter(floor.resting()))
        target = next(name for name, (kind, _, _) in floor.resting().items() if kind == "TAKE_PROFIT_MARKET")

        async def deaf(stream: str, message: Any) -> Any:
            if isinstance(message, AuditEvent):
                raise BusUnavailable("switched off by the test")
            return await publish(stream, message)

        floor.world.bus.publish = deaf  # the bus of this floor alone
        answer = await ask(floor, f"/orders/{target}/cancel", {})
        assert (answer.status, audited(floor)) == (200, [])
        floor.world.bus.publish = publish
        await next(timer for timer in service.timers if timer.name == "audits-owed").run()

        assert audited(floor) == [("ada", "CANCEL")]
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("path", "body", "least"),
    [
        pytest.param("/kill-switch", {"state": "ON"}, Role.VIEWER, id="pull"),
        pytest.param("/kill-switch", {"state": "OFF"}, Role.ADMIN, id="release"),
        pytest.param("/positions/FUT:BTCUSDT/close", {}, Role.OPERATOR, id="close"),
        pytest.param("/positions/FUT:BTCUSDT/stop", {"price": 1}, Role.OPERATOR, id="stop"),
        pytest.param("/flatten", {"confirm": True}, Role.OPERATOR, id="flatten"),
        pytest.param("/orders/x/cancel", {}, Role.OPERATOR, id="cancel"),
        pytest.param("/pause", {}, Role.OPERATOR, id="pause"),
        pytest.param("/halts/DRAWDOWN/release", {}, Role.ADMIN, id="release a halt"),
    ],
)
def test_less_risk_is_easier_than_more(path: str, body: Any, least: Role) -> None:
    assert roles.needed("s12", "POST", path, body) is least
