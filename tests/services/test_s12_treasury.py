"""A person moves money, or allows what the house asked for; S1 does it, once."""

from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import TREASURY_TRANSFERS
from chimera.contracts.documents import TreasuryTransfer
from chimera.contracts.enums import Market, Role, TransferResult
from chimera.contracts.messages import AuditEvent
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.services.s12_gateway import roles
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from tests.services.test_s01_treasury import Desk, Fault, play
from tests.services.trading_floor import BEGIN_MS, ENV

WAITING = TreasuryTransfer(
    transfer_id="T1",
    from_market=Market.SPOT,
    to_market=Market.FUT,
    amount_usdt=Decimal(100),
    reason="MIN_FREE",
    result=TransferResult.PENDING,
    created_at=BEGIN_MS,
    requested_by="s6",
)
MOVE = {"transfer_id": "T1", "from": "SPOT", "to": "FUT", "amount_usdt": 100}


async def ask(desk: Desk, path: str, body: Any, *, key: str = "") -> PeerAnswer:
    return await desk.floor.peers.call(PeerCall("s12", "POST", path, body, actor="ada", idempotency_key=key))


async def opened(desk: Desk, row: TreasuryTransfer | None = None) -> Desk:
    desk.floor.peers.add("s12", build(desk.floor.world, GatewaySettings(env=ENV)).routes)
    if row is not None:
        await desk.floor.world.documents.insert(TREASURY_TRANSFERS, row)
    return desk


def test_who_asks_by_name_has_approved_it() -> None:
    async def scene(desk: Desk) -> None:
        await opened(desk)
        assert (await ask(desk, "/treasury/transfer", MOVE)).body == {"transfer_id": "T1", "result": "OK"}
        nameless = {name: value for name, value in MOVE.items() if name != "transfer_id"}
        assert (await ask(desk, "/treasury/transfer", nameless)).status == 400
        assert (await ask(desk, "/treasury/transfer", nameless, key="T2")).body["result"] == "OK"
        assert (await desk.row()).requested_by == "ada"

    assert len(play(scene).moved()) == 2


@pytest.mark.parametrize("fault", [None, Fault.LOST_ANSWER], ids=["answered", "answer lost"])
def test_what_the_house_asked_for_goes_when_a_person_allows_it_and_only_once(fault: Fault | None) -> None:
    async def scene(desk: Desk) -> None:
        await opened(desk, WAITING)
        for _ in range(2):
            answer = await ask(desk, "/treasury/transfers/T1/approve", {"reason": "fine"})
            assert answer.status == 200
        await desk.pass_ms(5_000)
        row = await desk.row()
        assert (row.result, row.requested_by, row.approved_by) == (TransferResult.OK, "s6", "ada")
        late = await ask(desk, "/treasury/transfers/T1/approve", {"approve": False})
        assert late.status == 409

    desk = play(scene, fault)

    assert len(desk.moved()) == 1
    actions = [event.action for event in desk.of(AuditEvent) if event.subject == "T1"]
    assert actions == ["TRANSFER_APPROVE", "TRANSFER"]


def test_what_a_person_refused_never_goes() -> None:
    async def scene(desk: Desk) -> None:
        await opened(desk, WAITING)
        for _ in range(2):
            answer = await ask(desk, "/treasury/transfers/T1/approve", {"approve": False, "reason": "not today"})
            assert answer.body == {"transfer_id": "T1", "result": "REJECTED", "message": "not today"}
        assert (await ask(desk, "/treasury/transfers/T1/approve", {})).status == 409

    assert play(scene).moved() == []


def test_nobody_can_allow_what_is_not_there() -> None:
    async def scene(desk: Desk) -> None:
        await opened(desk)
        assert (await ask(desk, "/treasury/transfers/T9/approve", {})).status == 404

    assert play(scene).moved() == []


@pytest.mark.parametrize(
    ("service", "path"),
    [
        pytest.param("s12", "/treasury/transfer", id="ask"),
        pytest.param("s12", "/treasury/transfers/T1/approve", id="allow"),
        pytest.param("s1", "/xchg/treasury/transfer", id="past the gateway's own call"),
    ],
)
def test_an_operator_may_move_money_and_a_viewer_may_not(service: str, path: str) -> None:
    assert roles.needed(service, "POST", path, {}) is Role.OPERATOR
