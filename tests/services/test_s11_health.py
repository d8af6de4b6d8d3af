"""RED while something that everything needs is down, one alert for a storm of them, a chain that shows tampering."""

import asyncio

import pytest

from chimera.contracts.collections import ALERTS, AUDIT_EVENTS, METRICS_TIMESERIES, SESSIONS, STRATEGY_EVENTS
from chimera.contracts.documents import Session
from chimera.contracts.enums import HealthLevel, Role, Severity
from chimera.contracts.keys import HEALTH_ROLLING, HEALTH_STATE
from chimera.contracts.messages import AlertEvent, AuditEvent, HealthEvent
from chimera.contracts.metrics import AlertCode
from chimera.contracts.streams import ALERTS as ALERT_STREAM
from chimera.contracts.streams import HEALTH_EVENTS
from chimera.ports.documents import Query
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.runtime.runner import RECOVERY, WAITING, Runner
from chimera.runtime.service import Reply, Request, Route, Service
from chimera.services.s11_health.handlers.audit import hash_of
from chimera.services.s11_health.service import build
from chimera.services.s11_health.settings import HealthSettings
from tests.services.small_world import ENV, SmallWorld, small_world

STARTING = "starting"


class Health:
    """S11 watching s3 and s4, whose health the test sets."""

    def __init__(self, here: SmallWorld | None = None) -> None:
        self.here = here or small_world()
        self.says = {"s3": "OK", "s4": "OK"}
        for service in self.says:
            self.here.peers.add(service, (self._route(service),))
        self.service: Service = build(self.here.world, HealthSettings(env=ENV, watched=("s3", "s4")))
        self.here.peers.add("s11", self.service.routes)

    def _route(self, service: str) -> Route:
        async def say(request: Request) -> Reply:
            starting = self.says[service] == STARTING
            checks = {RECOVERY: WAITING} if starting else {}
            return Reply({"status": "DOWN" if starting else self.says[service], "service": service, "checks": checks})

        return Route(method="GET", path="/health", handle=say, summary="as the test says")

    async def run(self, work_ms: int) -> None:
        """Let the judge run for so long, from its start."""
        running = asyncio.ensure_future(self.service.background[0]())
        await self.here.clock.advance(work_ms)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def level(self) -> str | None:
        return await self.here.snapshots.inner.get(HEALTH_STATE.name(ENV))

    async def told(self) -> list[HealthLevel]:
        return [
            event.level for event in await self.here.told(HEALTH_EVENTS.name(ENV)) if isinstance(event, HealthEvent)
        ]

    async def ask(self, path: str, **query: str) -> PeerAnswer:
        return await self.here.peers.call(PeerCall("s11", "GET", path, query=query))

    async def alert(self, message: str = "it broke", ts: int | None = None, **more: object) -> None:
        event = AlertEvent(
            ts=self.here.clock.now_ms() if ts is None else ts,
            severity=Severity.ERROR,
            source="s4",
            message=message,
            **{"code": "STOP_NOT_PLACED", "tags": {"symbol": "BTCUSDT"}, **more},
        )
        await self.service.consumes[0].handle(event)

    async def audit(self, action: str) -> None:
        event = AuditEvent(ts=1, actor="ada", action=action, subject="x", before={"a": 1.0}, after={"b": None})
        await self.service.consumes[1].handle(event)


async def test_health_is_judged_at_once_and_not_a_minute_after_the_start() -> None:
    health = Health()
    before = await health.ask("/health/state")

    await health.run(work_ms=0)

    assert before.status == 503
    assert await health.level() == "GREEN"
    assert await health.told() == [HealthLevel.GREEN]
    rolling = await health.here.snapshots.get_hash(HEALTH_ROLLING.name(ENV))
    assert rolling["updated_at"] == str(health.here.clock.now_ms())
    assert (await health.ask("/health/state")).body["grades"] == {
        "documents": "GREEN",
        "state": "GREEN",
        "exchange": "GREEN",
        "s3": "GREEN",
        "s4": "GREEN",
    }
    assert await health.here.documents.count(METRICS_TIMESERIES) == 2


async def test_a_level_that_stays_is_confirmed_each_minute_and_told_once() -> None:
    health = Health()

    await health.run(work_ms=180_000)

    rolling = await health.here.snapshots.get_hash(HEALTH_ROLLING.name(ENV))
    assert rolling["updated_at"] == str(health.here.clock.now_ms())
    assert await health.told() == [HealthLevel.GREEN]


@pytest.mark.parametrize("what", ["venue", "s3 down", "s3 gone"])
async def test_what_everything_needs_turns_it_red_and_says_what(what: str) -> None:
    health = Health()
    await health.run(work_ms=0)
    health.here.venue.down = what == "venue"
    if what == "s3 down":
        health.says["s3"] = "DOWN"
    if what == "s3 gone":
        health.here.peers.add("s3", ())

    await health.run(work_ms=0)

    assert await health.level() == "RED"
    assert await health.told() == [HealthLevel.GREEN, HealthLevel.RED]
    (alert,) = await health.here.told(ALERT_STREAM.name(ENV))
    assert isinstance(alert, AlertEvent)
    assert ("exchange" if what == "venue" else "s3") in alert.tags["down"]
    assert await health.here.documents.count(STRATEGY_EVENTS) == 2


async def test_a_degraded_service_leaves_it_green() -> None:
    health = Health()
    health.says["s4"] = "DEGRADED"

    await health.run(work_ms=0)

    assert await health.level() == "GREEN"


async def test_nothing_is_judged_and_nobody_alarmed_while_a_service_starts_and_soon_when_it_has() -> None:
    health = Health()
    health.says["s3"] = STARTING
    running = asyncio.ensure_future(health.service.background[0]())
    await health.here.clock.advance(60_000)
    before = (await health.level(), await health.told(), await health.here.told(ALERT_STREAM.name(ENV)))

    health.says["s3"] = "OK"
    await health.here.clock.advance(1_000)

    assert before == (None, [], [])
    assert await health.level() == "GREEN"
    running.cancel()


async def test_what_is_down_besides_is_told_while_a_service_starts() -> None:
    health = Health()
    health.says["s3"] = STARTING
    health.here.venue.down = True

    await health.run(work_ms=0)

    assert await health.level() == "RED"
    (alert,) = await health.here.told(ALERT_STREAM.name(ENV))
    assert isinstance(alert, AlertEvent)
    assert alert.tags["down"] == "exchange,s3"
    assert "s3: it has not started yet" in alert.message


async def test_a_service_that_does_not_come_to_start_is_down_in_the_end() -> None:
    health = Health()
    health.says["s3"] = STARTING

    await health.run(work_ms=299_000)
    before = await health.level()
    await health.run(work_ms=1_000)

    assert before is None
    assert await health.level() == "RED"
    (alert,) = await health.here.told(ALERT_STREAM.name(ENV))
    assert isinstance(alert, AlertEvent)
    assert alert.tags["down"] == "s3"


async def test_red_is_looked_at_again_within_seconds() -> None:
    health = Health()
    health.says["s3"] = "DOWN"
    running = asyncio.ensure_future(health.service.background[0]())
    await health.here.clock.advance(1_000)
    red = await health.level()
    health.says["s3"] = "OK"
    await health.here.clock.advance(4_000)
    running.cancel()

    assert red == "RED"
    assert await health.level() == "GREEN"
    assert await health.told() == [HealthLevel.RED, HealthLevel.GREEN]


async def test_documents_that_are_down_are_told_on_the_bus_and_noted_later() -> None:
    health = Health()
    health.here.documents.down = True
    await health.run(work_ms=0)
    red = await health.level()
    health.here.documents.down = False

    await health.run(work_ms=5_000)

    assert red == "RED"
    assert await health.told() == [HealthLevel.RED, HealthLevel.GREEN]
    assert await health.level() == "GREEN"


async def test_documents_that_cannot_be_written_are_an_alert_of_their_own_each_time() -> None:
    health = Health()
    for down in (True, True, False, True):
        health.here.documents.down = down
        await health.run(work_ms=0)

    alerts = [alert for alert in await health.here.told(ALERT_STREAM.name(ENV)) if isinstance(alert, AlertEvent)]
    assert [alert.message for alert in alerts if alert.code == AlertCode.DISK] == [
        "the document store is unavailable: switched off by the test"
    ] * 2


async def test_while_documents_are_down_a_person_is_told_at_once_and_not_again_when_the_alert_is_stored() -> None:
    health = Health()
    runner = Runner(health.service, health.here.world, ENV)
    await runner.start()
    await health.here.clock.advance(0)
    health.here.documents.down = True
    for ts, code in ((1, AlertCode.RECON_FIXED), (2, AlertCode.STOP_NOT_PLACED), (3, AlertCode.STOP_NOT_PLACED)):
        await health.here.bus.publish(
            ALERT_STREAM.name(ENV),
            AlertEvent(ts=ts, severity=Severity.ERROR, source="s4", message=f"at {ts}", code=code),
        )
    await health.here.clock.advance(1_000)
    told = [title for _, title, _ in health.here.notes.said if title.endswith("s4")]
    health.here.documents.down = False
    await health.here.clock.advance(60_000)
    await runner.stop()

    assert told == ["RECON_FIXED from s4", "STOP_NOT_PLACED from s4"]
    assert [title for _, title, _ in health.here.notes.said if title.endswith("s4")] == told
    stored = (await health.ask("/alerts")).body["alerts"]
    assert {alert["code"]: alert.get("count", 1) for alert in stored if alert["source"] == "s4"} == {
        "RECON_FIXED": 1,
        "STOP_NOT_PLACED": 2,
    }


async def test_a_storm_of_alerts_is_one_alert_counted_and_told_once() -> None:
    health = Health()
    for _ in range(5):
        await health.alert()
        await health.here.clock.advance(60_000)
    await health.alert()

    (first, second) = (await health.ask("/alerts")).body["alerts"][::-1]
    assert first.get("count") == 5
    assert second.get("count", 1) == 1
    assert [severity for severity, _, _ in health.here.notes.said] == [Severity.ERROR, Severity.ERROR]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"tags": {"symbol": "ETHUSDT"}}, id="another symbol"),
        pytest.param({"code": "CLOCK_SKEW"}, id="another code"),
        pytest.param({"code": None}, id="no code"),
    ],
)
async def test_another_cause_is_another_alert(other: dict[str, object]) -> None:
    health = Health()
    await health.alert()
    await health.alert(**other)

    assert await health.here.documents.count(ALERTS) == 2


async def test_the_same_entry_delivered_twice_is_counted_once() -> None:
    health = Health()
    await health.alert(ts=7)
    await health.alert(ts=7)

    assert (await health.ask("/alerts")).body["alerts"][0]["count"] == 1


async def test_a_notifier_that_fails_does_not_keep_the_alert_from_being_stored() -> None:
    health = Health()

    async def fails(*said: object) -> None:
        raise OSError("no route to the chat")

    health.here.notes.notify = fails
    await health.alert()

    assert await health.here.documents.count(ALERTS) == 1


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1001"])
async def test_a_limit_that_is_none_is_400(limit: str) -> None:
    assert (await Health().ask("/alerts", limit=limit)).status == 400


async def test_the_audit_trail_is_a_chain_that_goes_on_after_a_restart() -> None:
    health = Health()
    await health.audit("one")
    await health.audit("two")
    await health.audit("two")
    again = Health(health.here)
    await again.service.start()
    await again.audit("three")

    chain = await health.here.documents.find(Query(collection=AUDIT_EVENTS, index="by_seq"))
    assert [(record.seq, record.action) for record in chain] == [(1, "one"), (2, "two"), (3, "three")]
    assert [record.prev_hash for record in chain[1:]] == [record.hash for record in chain[:-1]]
    assert all(record.hash == hash_of(record) for record in chain)
    assert await health.here.told(ALERT_STREAM.name(ENV)) == []


@pytest.mark.parametrize("tampering", ["changed", "removed"])
async def test_a_record_that_was_changed_or_removed_is_noticed_at_start(tampering: str) -> None:
    health = Health()
    for action in ("one", "two", "three"):
        await health.audit(action)
    chain = await health.here.documents.find(Query(collection=AUDIT_EVENTS, index="by_seq"))
    if tampering == "changed":
        await health.here.documents.put(AUDIT_EVENTS, chain[1].but(actor="somebody else"))
    else:
        await health.here.documents.remove(AUDIT_EVENTS, chain[1].audit_id)

    await Health(health.here).service.start()

    (alert,) = await health.here.told(ALERT_STREAM.name(ENV))
    assert isinstance(alert, AlertEvent)
    assert alert.tags["seq"] == ("2" if tampering == "changed" else "3")


async def test_two_replicas_write_one_chain() -> None:
    first = Health()
    second = Health(first.here)
    await first.audit("one")
    await second.audit("two")
    await first.audit("three")

    chain = await first.here.documents.find(Query(collection=AUDIT_EVENTS, index="by_seq"))
    assert [record.seq for record in chain] == [1, 2, 3]
    assert all(record.hash == hash_of(record) for record in chain)


async def test_what_has_expired_goes_once_a_day_and_at_start() -> None:
    health = Health()
    now_ms = health.here.clock.now_ms()
    for name, expires_at in (("old", now_ms - 1_000), ("young", now_ms + 1_000_000)):
        await health.here.documents.insert(
            SESSIONS,
            Session(
                session_hash=name, user="ada", role=Role.VIEWER, csrf_token="", created_at=1, expires_at=expires_at
            ),
        )

    await health.service.start()

    assert await health.here.documents.get(SESSIONS, "old") is None
    assert await health.here.documents.get(SESSIONS, "young") is not None
    assert health.service.timers[0].interval_ms == 86_400_000
