"""GET /restraints names whatever keeps the system from entering, and says what a person can do."""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.documents import Halt, HaltsState, Pause, PausesState, StrangersState
from chimera.contracts.http import ReconcileStatusAnswer
from chimera.contracts.http.gateway import RestraintsAnswer
from chimera.contracts.keys import CLOCK_OFFSET, HEALTH_ROLLING, HEALTH_STATE, ROUTER_BREAKER
from chimera.ports.peers import PeerCall
from chimera.runtime.service import Reply, Request, Route
from chimera.services.s12_gateway.handlers.restrained import ASK_MS, HALTS, PAUSES, STRANGERS
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from tests.services.small_world import ENV, SmallWorld, small_world

IN_ORDER = ReconcileStatusAnswer(reconciled=True)


@dataclass
class House:
    """A gateway whose neighbours answer as the test says; everything is well unless it says otherwise."""

    here: SmallWorld = field(default_factory=small_world)
    cb_state: str = "CLOSED"
    reconciled: ReconcileStatusAnswer = IN_ORDER
    s5_is_slow: bool = False

    async def open(self) -> "House":
        add = self.here.peers.add
        add("s12", build(self.here.world, GatewaySettings(env=ENV)).routes)
        add("s4", (Route(method="GET", path="/health", handle=self._health, summary="health"),))
        add("s5", (Route(method="GET", path="/status", handle=self._status, summary="status"),))
        await self.judge("GREEN")
        return self

    async def judge(self, level: str, grades: str = "{}") -> None:
        now = str(self.here.clock.now_ms())
        await self.here.snapshots.set(HEALTH_STATE.name(ENV), level)
        await self.here.snapshots.set_hash(HEALTH_ROLLING.name(ENV), {"updated_at": now, "grades": grades})

    async def _health(self, request: Request) -> Reply:
        return Reply({"status": "OK", "checks": {"cb_state": self.cb_state}})

    async def _status(self, request: Request) -> Reply:
        if self.s5_is_slow:
            await self.here.clock.sleep_until_ms(self.here.clock.now_ms() + 10 * ASK_MS)
        return Reply(self.reconciled)

    async def told(self) -> RestraintsAnswer:
        answer = await self.here.peers.call(PeerCall("s12", "GET", "/restraints", actor="ada"))
        assert answer.status == 200, answer.body
        return RestraintsAnswer.model_validate(answer.body)

    async def only(self) -> Any:
        (restraint,) = (await self.told()).restraints
        return restraint


async def test_a_house_in_order_is_held_back_by_nothing() -> None:
    house = await House().open()

    assert (await house.told()).restraints == ()


async def test_what_a_person_set_is_told_with_who_and_why() -> None:
    house = await House().open()
    now_ms = house.here.clock.now_ms()
    pauses = {"FUT": Pause(at=now_ms, actor="ada", reason="lunch"), "SPOT": Pause(at=0, actor="ada", until=now_ms)}
    await house.here.documents.put(PAUSES, PausesState(pauses=pauses, updated_at=now_ms))
    halts = {"DAILY_LOSS": Halt(at=now_ms, reason="lost 900 of 900 USDT")}
    await house.here.documents.put(HALTS, HaltsState(halts=halts, updated_at=now_ms))
    await house.here.peers.call(
        PeerCall("s12", "POST", "/kill-switch", {"state": "ON", "reason": "a storm"}, actor="b")
    )

    told = (await house.told()).restraints

    assert [(each.name, each.scope, each.why) for each in told] == [
        ("KILL_SWITCH", None, "pulled by b: a storm"),
        ("HALT", "DAILY_LOSS", "lost 900 of 900 USDT"),
        ("PAUSE", "FUT", "ada paused new entries: lunch"),
    ]
    assert all(each.remedy for each in told)


async def test_what_the_reconciler_could_not_do_is_told_in_its_own_words() -> None:
    house = await House(reconciled=ReconcileStatusAnswer(reconciled=False, detail="S6 has not booked f1")).open()

    restraint = await house.only()

    assert (restraint.name, restraint.why) == ("NOT_RECONCILED", "S6 has not booked f1")


@pytest.mark.parametrize("state", ["OPEN", "HALF"])
async def test_an_open_breaker_says_how_it_closes(state: str) -> None:
    restraint = await (await House(cb_state=state).open()).only()

    assert (restraint.name, restraint.scope) == ("BREAKER", state)
    assert "POST /api/s4/breaker/close" in restraint.remedy


async def test_the_breaker_is_read_from_its_key_where_there_is_one() -> None:
    house = await House(cb_state="CLOSED").open()
    kept = {"state": "OPEN", "opened_at": "5000", "error_rate": "0.35"}
    await house.here.snapshots.set_hash(ROUTER_BREAKER.name(ENV), kept)

    restraint = await house.only()

    assert (restraint.scope, restraint.since, "35% of the calls" in restraint.why) == ("OPEN", 5_000, True)


async def test_red_names_what_is_red_and_an_old_judgement_counts_as_red() -> None:
    house = await House().open()
    await house.judge("RED", '{"ib_rate": "RED", "db": "GREEN"}')
    red = await house.only()
    await house.judge("GREEN")
    await house.here.clock.advance(180_001)
    old = await house.only()

    assert (red.name, red.why) == ("HEALTH", "RED: ib_rate RED")
    assert "too old" in old.why


async def test_a_wrong_clock_and_somebody_elses_position_are_told() -> None:
    house = await House().open()
    await house.here.snapshots.set(CLOCK_OFFSET.name(ENV), "-1500")
    held = {"FUT:BTCUSDT": Decimal("0.5"), "FUT:ETHUSDT": Decimal(0)}
    await house.here.documents.put(STRANGERS, StrangersState(held=held, updated_at=0))

    skew, stranger = (await house.told()).restraints

    assert (skew.name, "-1500 ms" in skew.why) == ("CLOCK_SKEW", True)
    assert (stranger.name, stranger.scope) == ("STRANGER", "FUT:BTCUSDT")


async def test_who_is_slow_or_silent_hides_nobody_else() -> None:
    house = await House(cb_state="OPEN", s5_is_slow=True).open()
    house.here.snapshots.down = True

    asked = asyncio.ensure_future(house.told())
    await house.here.clock.advance(ASK_MS + 1)
    told = (await asked).restraints

    assert [(each.name, each.scope) for each in told] == [
        ("UNKNOWN", "S5, the reconciler"),
        ("UNKNOWN", "S4, the order router"),
        ("UNKNOWN", "health"),
        ("UNKNOWN", "the clock's offset"),
    ]
