"""Pauses and halts change one document each, and lose nothing when two people change it at once."""

import asyncio

import pytest

from chimera.contracts.documents import Halt, HaltsState
from chimera.contracts.messages import AuditEvent
from chimera.contracts.streams import OPS_EVENTS
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.services.s12_gateway.handlers.restraints import HALTS_STATE
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from tests.services.small_world import ENV, SmallWorld, small_world


async def ask(here: SmallWorld, path: str, body: object, method: str = "POST") -> PeerAnswer:
    return await here.peers.call(PeerCall("s12", method, path, body, actor="ada"))


@pytest.fixture
def here() -> SmallWorld:
    here = small_world()
    here.peers.add("s12", build(here.world, GatewaySettings(env=ENV)).routes)
    return here


async def test_pauses_add_up_and_end_one_by_one(here: SmallWorld) -> None:
    await ask(here, "/pause", {"scope": "FUT:BTCUSDT"})
    paused = await ask(here, "/pause", {"scope": "ALL", "reason": "lunch"})
    resumed = await ask(here, "/resume", {"scope": "ALL"})

    assert paused.body["paused"] == ["ALL", "FUT:BTCUSDT"]
    assert resumed.body["paused"] == ["FUT:BTCUSDT"]
    actions = [event.action for event in await here.told(OPS_EVENTS.name(ENV)) if isinstance(event, AuditEvent)]
    assert actions == ["PAUSE", "PAUSE", "RESUME"]


async def test_a_pause_with_a_limit_ends_by_itself(here: SmallWorld) -> None:
    await ask(here, "/pause", {"scope": "SPOT", "ttl_s": 60})
    await here.clock.advance(60_000)

    shown = await ask(here, "/pause", None, "GET")

    assert shown.body["paused"] == []


async def test_two_pauses_at_once_both_hold(here: SmallWorld) -> None:
    await asyncio.gather(ask(here, "/pause", {"scope": "FUT"}), ask(here, "/pause", {"scope": "SPOT"}))

    shown = await ask(here, "/pause", None, "GET")

    assert shown.body["paused"] == ["FUT", "SPOT"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("/pause", {"scope": "fut:btcusdt"}, 400, id="scope in small letters"),
        pytest.param("/pause", {"scope": "FUT:"}, 400, id="market without a symbol"),
        pytest.param("/pause", {"ttl_s": 0}, 400, id="no time at all"),
        pytest.param("/resume", {"scope": "FUT"}, 404, id="resume what is not paused"),
        pytest.param("/halts/DRAWDOWN/release", {"reason": "looked"}, 404, id="release what is not halted"),
        pytest.param("/halts/DRAWDOWN/release", {}, 400, id="release without a reason"),
    ],
)
async def test_what_cannot_be_done_says_why(here: SmallWorld, path: str, body: object, status: int) -> None:
    answer = await ask(here, path, body)

    assert answer.status == status
    assert answer.body["detail"]


async def test_releasing_one_halt_leaves_the_other(here: SmallWorld) -> None:
    now_ms = here.clock.now_ms()
    halts = {name: Halt(at=now_ms, reason="limit") for name in ("DAILY_LOSS", "DRAWDOWN")}
    await here.documents.put(HALTS_STATE, HaltsState(halts=halts, updated_at=now_ms))

    answer = await ask(here, "/halts/DRAWDOWN/release", {"reason": "looked at it"})

    left = await here.documents.get(HALTS_STATE, "halts")
    assert answer.body == {"name": "DRAWDOWN", "released": True}
    assert list(left.halts) == ["DAILY_LOSS"]
