"""The kill switch works while half the house is down, is told once, and is final through restarts."""

from pathlib import Path

from chimera.contracts.collections import ALERTS, STRATEGY_EVENTS
from chimera.contracts.documents import KillSwitchState
from chimera.contracts.enums import Switch
from chimera.contracts.keys import KILL_SWITCH
from chimera.contracts.messages import AlertEvent, AuditEvent
from chimera.contracts.streams import ALERTS as ALERT_STREAM
from chimera.contracts.streams import OPS_EVENTS
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.runtime.kill_switch import KILL_SWITCH_STATE, KillSwitch
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from tests.services.small_world import ENV, SmallWorld, small_world


class Gateway:
    """S12 without its HTTP face."""

    def __init__(self, here: SmallWorld) -> None:
        self.here = here
        self.service = build(here.world, GatewaySettings(env=ENV))
        here.peers.add("s12", self.service.routes)

    async def turn(self, state: str, **more: object) -> PeerAnswer:
        body = {"state": state, **more}
        return await self.here.peers.call(PeerCall("s12", "POST", "/kill-switch", body, actor="ada"))

    async def tick(self) -> None:
        await self.service.timers[0].run()

    async def document(self) -> KillSwitchState | None:
        return await self.here.documents.inner.get(KILL_SWITCH_STATE, "kill_switch")

    async def key(self) -> str | None:
        return await self.here.snapshots.inner.get(KILL_SWITCH.name(ENV))

    def reader(self) -> KillSwitch:
        here = self.here
        return KillSwitch(snapshots=here.snapshots, documents=here.documents, clock=here.clock, env=ENV)


async def test_pulling_writes_document_and_key_and_tells_who_and_why() -> None:
    gateway = Gateway(small_world())

    answer = await gateway.turn("ON", reason="storm")

    document = await gateway.document()
    assert (answer.status, answer.body["state"]) == (200, "ON")
    assert document is not None
    assert (document.state, document.actor, document.reason) == (Switch.ON, "ada", "storm")
    assert await gateway.key() == "ON"
    (audit,) = await gateway.here.told(OPS_EVENTS.name(ENV))
    assert isinstance(audit, AuditEvent)
    assert (audit.actor, audit.action, audit.after["state"]) == ("ada", "KILL_SWITCH", "ON")
    (alert,) = await gateway.here.told(ALERT_STREAM.name(ENV))
    assert isinstance(alert, AlertEvent)
    assert "storm" in alert.message
    assert await gateway.here.documents.inner.count(STRATEGY_EVENTS) == 1
    assert await gateway.here.documents.inner.count(ALERTS) == 0


async def test_pulling_works_while_documents_are_down_and_is_written_when_they_return() -> None:
    gateway = Gateway(small_world())
    gateway.here.documents.down = True

    answer = await gateway.turn("ON")
    held = await gateway.reader().is_on()
    gateway.here.documents.down = False
    await gateway.tick()

    document = await gateway.document()
    assert answer.status == 200
    assert held
    assert document is not None
    assert document.state is Switch.ON
    assert await gateway.here.documents.inner.count(STRATEGY_EVENTS) == 1


async def test_pulling_works_while_the_state_store_and_the_bus_are_down() -> None:
    gateway = Gateway(small_world())
    gateway.here.snapshots.down = gateway.here.bus.down = True

    answer = await gateway.turn("ON")
    held = await gateway.reader().is_on()
    gateway.here.snapshots.down = gateway.here.bus.down = False
    await gateway.tick()
    await gateway.tick()

    assert answer.status == 200
    assert held
    assert await gateway.key() == "ON"
    assert len(await gateway.here.told(OPS_EVENTS.name(ENV))) == 1


async def test_pulling_with_everything_down_says_so_and_goes_on_trying() -> None:
    gateway = Gateway(small_world())
    gateway.here.documents.down = gateway.here.snapshots.down = True

    answer = await gateway.turn("ON")
    gateway.here.documents.down = gateway.here.snapshots.down = False
    await gateway.tick()

    assert answer.status == 503
    assert answer.body["type"].endswith("kill-switch-not-written")
    assert await gateway.key() == "ON"
    assert (await gateway.document()).state is Switch.ON


async def test_a_release_needs_the_document() -> None:
    gateway = Gateway(small_world())
    await gateway.turn("ON")
    gateway.here.documents.down = True

    answer = await gateway.turn("OFF")

    assert answer.status == 503
    assert await gateway.key() == "ON"


async def test_a_release_that_missed_the_key_is_finished_by_the_timer() -> None:
    gateway = Gateway(small_world())
    await gateway.turn("ON")
    gateway.here.snapshots.down = True

    answer = await gateway.turn("OFF")
    gateway.here.snapshots.down = False
    still_on = await gateway.reader().is_on()
    await gateway.tick()

    assert answer.status == 200
    assert still_on
    assert await gateway.key() == "OFF"
    assert not await gateway.reader().is_on()


async def test_a_restart_with_an_empty_state_store_keeps_it_pulled() -> None:
    gateway = Gateway(small_world())
    await gateway.turn("ON")
    await gateway.here.snapshots.delete(KILL_SWITCH.name(ENV))

    restarted = build(gateway.here.world, GatewaySettings(env=ENV))
    await restarted.start()

    assert await gateway.key() == "ON"


async def test_on_in_the_key_of_a_gateway_that_died_is_made_durable() -> None:
    gateway = Gateway(small_world())
    await gateway.here.snapshots.set(KILL_SWITCH.name(ENV), "ON")

    await gateway.service.start()

    assert (await gateway.document()).state is Switch.ON


async def test_a_time_limit_releases_document_and_key_by_itself() -> None:
    gateway = Gateway(small_world())
    await gateway.turn("ON", ttl_s=60)

    await gateway.here.clock.advance(60_000)
    await gateway.tick()

    assert (await gateway.document()).state is Switch.OFF
    assert await gateway.key() == "OFF"
    shown = await gateway.here.peers.call(PeerCall("s12", "GET", "/kill-switch"))
    assert shown.body["state"] == "OFF"


async def test_a_kill_file_holds_the_switch_until_it_is_gone(tmp_path: Path) -> None:
    here = small_world()
    kill_file = tmp_path / "KILL"
    kill_file.touch()
    here.peers.add("s12", build(here.world, GatewaySettings(env=ENV), kill_file=kill_file.exists).routes)

    shown = await here.peers.call(PeerCall("s12", "GET", "/kill-switch"))
    refused = await here.peers.call(PeerCall("s12", "POST", "/kill-switch", {"state": "OFF"}, actor="ada"))
    kill_file.unlink()
    released = await here.peers.call(PeerCall("s12", "POST", "/kill-switch", {"state": "OFF"}, actor="ada"))

    assert (shown.body["state"], shown.body["actor"]) == ("ON", "file")
    assert refused.status == 409
    assert "KILL" in refused.body["detail"]
    assert (released.status, released.body["state"]) == (200, "OFF")
