"""A service recovers before it works, restarts what fails, and always says how it is."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from chimera.contracts.enums import CfgEventKind
from chimera.contracts.messages import AlertEvent, CfgEvent
from chimera.contracts.services import BY_ID
from chimera.contracts.streams import ALERTS, CFG_EVENTS, dlq
from chimera.ports.documents import DocumentsUnavailable
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.runtime.http import LocalPeers
from chimera.runtime.runner import Runner
from chimera.runtime.service import Every, On, Reply, Request, Route, Service
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, wrapped
from tests.services.venue_script import Told, pass_ms, scripted_world

ENV = "dev"
STREAM = CFG_EVENTS.name(ENV)


def note(number: int) -> CfgEvent:
    return CfgEvent(rev=number, bundle_id="b", event=CfgEventKind.PROMOTE, activated_at=1, hash="h", seq=number)


class Desk:
    """A service of one test's making, run by the real runner."""

    def __init__(self, **service: Any) -> None:
        self.told = Told()
        world, _ = scripted_world(self.told)
        self.world = wrapped(world, documents=Meddled)
        self.began: list[int] = []
        self.runner = Runner(Service(id="s8", card="A test's own.", **service), self.world, ENV)
        self.peers = LocalPeers()
        self.peers.add("s8", self.runner.all_routes())

    async def get(self, path: str) -> PeerAnswer:
        return await self.peers.call(PeerCall("s8", "GET", path))

    async def wait(self, duration_ms: int) -> None:
        await pass_ms(self.world, duration_ms)

    def lose_documents(self) -> None:
        async def down(call: Any, *args: Any, **kwargs: Any) -> Any:
            raise DocumentsUnavailable("a failover")

        self.world.documents.instead["ping"] = down


def test_nothing_is_consumed_before_recovery_which_waits_for_what_it_needs() -> None:
    async def scenario() -> None:
        order: list[str] = []

        async def start() -> None:
            order.append("start")
            if order.count("start") < 4:
                raise DocumentsUnavailable("not up yet")

        async def take(message: CfgEvent) -> None:
            order.append(f"took {message.rev}")

        desk = Desk(start=start, consumes=(On(streams=(STREAM,), payload=CfgEvent, handle=take),))
        await desk.world.bus.publish(STREAM, note(1))

        await desk.runner.start()
        await desk.wait(10)

        assert order == ["start", "start", "start", "start", "took 1"]
        await desk.runner.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("closed", "statuses"),
    [
        pytest.param(True, [503, 200, 503], id="closed until started"),
        pytest.param(False, [200, 200, 200], id="always open"),
    ],
)
def test_a_service_that_is_closed_until_it_has_recovered_answers_only_how_it_is(
    closed: bool, statuses: list[int]
) -> None:
    async def scenario() -> None:
        async def decide(request: Request) -> Reply:
            return Reply({"opened": True})

        desk = Desk(routes=(Route(method="GET", path="/decide", handle=decide, summary="Decide."),))
        desk.runner.closed_until_started = closed
        desk.peers.add("s8", desk.runner.all_routes())

        seen = [await desk.get("/decide")]
        assert [(await desk.get(path)).status for path in ("/health", "/metrics", "/ready")] == [200, 200, 503]
        await desk.runner.start()
        seen.append(await desk.get("/decide"))
        await desk.runner.stop()
        seen.append(await desk.get("/decide"))

        assert [answer.status for answer in seen] == statuses
        if closed:
            assert seen[0].body["type"] == "urn:chimera:problem:starting"
            assert "s8 is starting" in seen[0].body["detail"]

    run_virtual(scenario())


def test_a_start_that_fails_for_another_reason_fails_loudly() -> None:
    async def scenario() -> None:
        async def start() -> None:
            raise ValueError("a bug")

        desk = Desk(start=start)

        with pytest.raises(ValueError, match="a bug"):
            await desk.runner.start()

    run_virtual(scenario())


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(ValueError("a bug"), id="a bug"),
        pytest.param(DocumentsUnavailable("a failover"), id="a dependency"),
        pytest.param(None, id="an end"),
    ],
)
def test_a_loop_that_ends_or_fails_is_started_again_each_time_later(failure: Exception | None) -> None:
    async def scenario() -> None:
        began: list[int] = []

        async def loop() -> None:
            began.append(desk.world.clock.now_ms())
            if len(began) < 6:
                if failure is not None:
                    raise failure
                return
            await asyncio.get_running_loop().create_future()

        desk = Desk(background=(loop,))

        await desk.runner.start()
        await desk.wait(60_000)

        waits = [later - earlier for earlier, later in itertools.pairwise(began)]
        assert len(began) == 6
        assert all(100 * 2**tried <= wait <= 200 * 2**tried for tried, wait in enumerate(waits)), waits
        await desk.runner.stop()

    run_virtual(scenario())


def test_a_loop_that_ran_well_for_a_minute_is_restarted_without_delay() -> None:
    async def scenario() -> None:
        began: list[int] = []

        async def loop() -> None:
            began.append(desk.world.clock.now_ms())
            if len(began) in (6, 7):
                await desk.wait(61_000)
            raise ValueError("a bug")

        desk = Desk(background=(loop,))

        await desk.runner.start()
        await desk.wait(100_000)

        assert began[6] - began[5] - 61_000 <= 200
        await desk.runner.stop()

    run_virtual(scenario())


def test_a_timer_runs_an_interval_after_its_last_run_ended_and_survives_a_failure() -> None:
    async def scenario() -> None:
        ran: list[int] = []

        async def run() -> None:
            ran.append(desk.world.clock.now_ms() - began_ms)
            await desk.wait(300)
            if len(ran) == 2:
                raise ValueError("a bug")

        desk = Desk(timers=(Every(name="t", interval_ms=1_000, run=run),))
        began_ms = desk.world.clock.now_ms()

        await desk.runner.start()
        await desk.wait(6_000)

        assert ran[:2] == [1_000, 2_300]
        assert 3_700 <= ran[2] <= 3_800
        assert ran[3] == ran[2] + 1_300
        await desk.runner.stop()

    run_virtual(scenario())


def test_a_message_that_is_buried_raises_an_alert_that_names_it() -> None:
    async def scenario() -> None:
        async def refuse(message: CfgEvent) -> None:
            raise ValueError("no good")

        desk = Desk(consumes=(On(streams=(STREAM,), payload=CfgEvent, handle=refuse),))
        await desk.runner.start()

        entry_id = await desk.world.bus.publish(STREAM, note(1))
        await desk.wait(20_000)

        (alert,) = desk.told.of(AlertEvent)
        assert (alert.code, alert.source, alert.tags) == ("DLQ", "s8", {"stream": STREAM, "entry_id": entry_id})
        assert "ValueError: no good" in alert.message
        assert ALERTS.name(ENV) in [stream for stream, message in desk.told.all if message is alert]
        assert len(await desk.world.bus.recent(dlq(STREAM), 10)) == 1
        await desk.runner.stop()

    run_virtual(scenario())


def test_a_group_is_the_services_own_and_stopping_stops_everything() -> None:
    async def scenario() -> None:
        taken: list[int] = []
        ended: list[str] = []

        async def take(message: CfgEvent) -> None:
            taken.append(message.rev)

        async def stop() -> None:
            ended.append("stopped")

        desk = Desk(consumes=(On(streams=(STREAM,), payload=CfgEvent, handle=take),), stop=stop)
        await desk.runner.start()
        await desk.world.bus.publish(STREAM, note(1))
        await desk.wait(10)

        await desk.runner.stop()
        await desk.world.bus.publish(STREAM, note(2))
        await desk.wait(1_000)

        assert (taken, ended) == ([1], ["stopped"])
        assert await desk.world.bus.lag(STREAM, BY_ID["s8"].group) == 1
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("s8")] == []

    run_virtual(scenario())


def test_it_is_ready_when_it_has_recovered_and_has_what_it_needs() -> None:
    async def scenario() -> None:
        has: list[str] = []
        desk = Desk(ready=lambda: bool(has), ready_when="a configuration")

        before = await desk.get("/ready")
        await desk.runner.start()
        started = await desk.get("/ready")
        has.append("it")
        after = await desk.get("/ready")
        await desk.runner.stop()
        stopped = await desk.get("/ready")

        assert (before.status, before.body["waiting_for"]) == (503, ["recovery"])
        assert (started.status, started.body["waiting_for"]) == (503, ["a configuration"])
        assert (after.status, after.body["ready"]) == (200, True)
        assert stopped.status == 503

    run_virtual(scenario())


async def checks_of(said: Mapping[str, str]) -> Mapping[str, str]:
    return said


@pytest.mark.parametrize(
    ("said", "status"),
    [
        pytest.param({}, "OK", id="well"),
        pytest.param({"exch": "DEGRADED"}, "DEGRADED", id="something is slow"),
        pytest.param({"exch": "DOWN", "bus": "DEGRADED"}, "DOWN", id="something is down"),
        pytest.param({"config_rev": "7", "rules_loaded": "2"}, "OK", id="counts are no ailments"),
    ],
)
def test_health_is_as_good_as_the_worst_of_what_it_needs(said: Mapping[str, str], status: str) -> None:
    async def scenario() -> None:
        desk = Desk(checks=lambda: checks_of(said))
        await desk.runner.start()

        answer = await desk.get("/health")

        assert (answer.status, answer.body["status"], answer.body["arango"]) == (200, status, "OK")
        assert answer.body["checks"] == {"arango": "OK", **said}
        if "config_rev" in said:
            assert (answer.body["config_rev"], answer.body["rules_loaded"]) == (7, 2)
        await desk.runner.stop()

    run_virtual(scenario())


def test_health_answers_when_the_documents_and_the_checks_themselves_fail() -> None:
    async def scenario() -> None:
        async def checks() -> Mapping[str, str]:
            raise DocumentsUnavailable("a failover")

        desk = Desk(checks=checks)
        await desk.runner.start()
        desk.lose_documents()

        answer = await desk.get("/health")

        assert (answer.status, answer.body["status"], answer.body["arango"]) == (200, "DOWN", "DOWN")
        await desk.runner.stop()

    run_virtual(scenario())


def test_health_is_down_before_the_start() -> None:
    async def scenario() -> None:
        desk = Desk()

        assert (await desk.get("/health")).body["status"] == "DOWN"

    run_virtual(scenario())


def test_metrics_are_prometheus_text() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.world.metrics.count("intent_emit_ok")

        answer = await desk.get("/metrics")

        assert answer.content_type.startswith("text/plain; version=0.0.4")
        assert "intent_emit_ok" in answer.body
        assert "# TYPE" in answer.body

    run_virtual(scenario())


def test_a_services_own_route_wins_over_the_common_one() -> None:
    async def scenario() -> None:
        async def own(request: Request) -> Reply:
            return Reply({"mine": True})

        desk = Desk(routes=(Route(method="GET", path="/metrics", handle=own, summary="Mine."),))

        assert (await desk.get("/metrics")).body == {"mine": True}

    run_virtual(scenario())
