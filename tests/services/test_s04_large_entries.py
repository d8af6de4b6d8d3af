"""A large entry with the real router and gateway: refused without a token, once with one, and its life is told."""

from decimal import Decimal
from typing import Any

from chimera.contracts.collections import APPROVALS, CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.enums import ApprovalStatus
from chimera.contracts.flags import ComplianceFlags
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.simulation.loop import run_virtual
from tests.services.trading_floor import ENV, Floor

LARGE = {
    "market": "FUT",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "intent": "ENTRY",
    "qty": 0.01,
    "sl": {"price": 59_400},
    "leverage": 20,
}
"""600 USDT at 60,000."""


async def opened() -> Floor:
    floor = await Floor.open()
    active = await floor.world.documents.get(CONFIG_ACTIVE, "active")
    assert active is not None
    bundle = await floor.world.documents.get(CONFIG_BUNDLES, active.bundle_id)
    assert bundle is not None
    strict = ComplianceFlags(enabled=True, large_order_usdt_threshold=Decimal(500))
    strict_bundle = bundle.but(bundle_id="B-strict", rev=99, flags=bundle.flags.but(compliance=strict))
    await floor.world.documents.put(CONFIG_BUNDLES, strict_bundle)
    await floor.world.documents.put(CONFIG_ACTIVE, active.but(rev=99, bundle_id="B-strict", seq=active.seq + 1))
    floor.peers.add("s12", build(floor.world, GatewaySettings(env=ENV)).routes)
    return floor


async def order(floor: Floor, intent_id: str, token: str | None = None, **changes: Any) -> PeerAnswer:
    body = {**LARGE, "intent_id": intent_id, **changes} | ({"risk": {"approval_token": token}} if token else {})
    answer = await floor.call("s4", "POST", "/orders", body)
    await floor.settle()
    return answer


async def allowed(floor: Floor) -> tuple[str, str]:
    wanted = {"market": "FUT", "symbol": "BTCUSDT", "side": "BUY", "notional_usdt_max": 700, "reason": "a dip"}
    asked = await floor.peers.call(PeerCall("s12", "POST", "/approvals", wanted, actor="ada"))
    name = str(asked.body["approval_id"])
    told = await floor.peers.call(PeerCall("s12", "POST", f"/approvals/{name}/approve", {}, actor="ada"))
    return name, str(told.body["token"])


def test_a_large_entry_passes_once_by_its_token_and_never_without() -> None:
    async def scenario() -> None:
        floor = await opened()
        name, token = await allowed(floor)

        bare = await order(floor, "I-0")
        small = await order(floor, "I-1", qty=0.008)
        closed = await floor.call("s6", "POST", "/positions/close", {"market": "FUT", "symbol": "BTCUSDT"})
        await floor.settle()
        first = await order(floor, "I-2", token)
        again = await order(floor, "I-2", token)
        await floor.call("s6", "POST", "/positions/close", {"market": "FUT", "symbol": "BTCUSDT"})
        await floor.settle()
        second = await order(floor, "I-3", token)

        assert (bare.status, bare.body["type"]) == (403, "urn:chimera:problem:approval-required")
        assert bare.body["limit_usdt"] == 500
        assert (small.status, closed.status, first.status, again.status) == (200, 200, 200, 200)
        assert first.body["order_id"] == again.body["order_id"]
        assert (second.status, f"{name} was used by I-2" in second.body["detail"]) == (403, True)
        used = await floor.world.documents.get(APPROVALS, name)
        assert used is not None
        assert (used.status, used.consumed_by) == (ApprovalStatus.CONSUMED, "I-2")
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_that_is_refused_for_another_reason_costs_nobody_an_approval() -> None:
    async def scenario() -> None:
        floor = await opened()
        name, token = await allowed(floor)
        pulled = {"state": "ON", "reason": "a storm"}
        await floor.peers.call(PeerCall("s12", "POST", "/kill-switch", pulled, actor="ada"))

        refused = await order(floor, "I-1", token)

        assert (refused.status, refused.body["type"]) == (409, "urn:chimera:problem:kill-switch")
        kept = await floor.world.documents.get(APPROVALS, name)
        assert kept is not None
        assert kept.status is ApprovalStatus.APPROVED
        await floor.stop()

    run_virtual(scenario())


def test_the_life_of_an_entry_is_told_from_its_acceptance_to_its_stop() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()

        told = (await floor.call("s4", "GET", "/orders/E1")).body["timeline"]

        words = [each["what"] for each in told]
        assert words[:2] == ["ACCEPTED", "PLANNED"]
        assert {"ORDER_SENT", "ORDER_FILLED", "STOP_PLACED", "TARGET_PLACED", "ENDED"} <= set(words)
        assert words.index("ORDER_FILLED") < words.index("STOP_PLACED") < words.index("ENDED")
        assert [each["ts"] for each in told] == sorted(each["ts"] for each in told)
        await floor.stop()

    run_virtual(scenario())
