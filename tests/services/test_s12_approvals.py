"""A large entry needs somebody else's word: asked for, allowed once, used once, and never lost by a crash."""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import APPROVALS, CONFIG_ACTIVE, CONFIG_BUNDLES, USERS
from chimera.contracts.documents import Approval, ConfigActive, User
from chimera.contracts.enums import ApprovalStatus, Role
from chimera.contracts.flags import ComplianceFlags
from chimera.contracts.http import parse_order_intent
from chimera.contracts.keys import APPROVAL
from chimera.contracts.messages import AuditEvent
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.streams import OPS_EVENTS
from chimera.domain.config.bundle import default_bundle
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerCall
from chimera.runtime.service import Problem
from chimera.services.s04_router.approvals import Approvals, notional_of
from chimera.services.s12_gateway import roles
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from tests.services.small_world import ENV, SmallWorld, small_world

WANTED = {"market": "FUT", "symbol": "BTCUSDT", "side": "BUY", "notional_usdt_max": 9_000, "reason": "the dip"}
STRICT = ComplianceFlags(enabled=True, large_order_usdt_threshold=Decimal(5_000), approval_ttl_sec=300)
PRICE = Decimal(60_000)


@dataclass
class Desk:
    """The gateway that gives tokens out, and the router's door that takes them."""

    here: SmallWorld = field(default_factory=small_world)
    flags: ComplianceFlags = STRICT
    revisions: int = 0

    async def open(self, *people: str) -> "Desk":
        await self.activate(self.flags)
        for name in people:
            user = User(name=name, role=Role.ADMIN, password_hash="x", created_at=0, updated_at=0)
            await self.here.documents.put(USERS, user)
        self.service = build(self.here.world, GatewaySettings(env=ENV))
        self.here.peers.add("s12", self.service.routes)
        return self

    async def ask(self, method: str, path: str, body: Any = None, actor: str = "ada") -> tuple[int, Any]:
        told = await self.here.peers.call(PeerCall("s12", method, path, body, actor=actor))
        return told.status, told.body

    async def asked(self, actor: str = "ada", **changes: Any) -> str:
        status, body = await self.ask("POST", "/approvals", WANTED | changes, actor)
        assert status == 200, body
        return str(body["approval_id"])

    async def allowed(self, **changes: Any) -> tuple[str, str]:
        """An approval that can be used: its id and its token, as who asked for it sees it."""
        name = await self.asked(**changes)
        status, body = await self.ask("POST", f"/approvals/{name}/approve", {}, "ben")
        assert status == 200, body
        return name, await self.token(name)

    async def token(self, name: str, actor: str = "ada") -> str:
        return str(next(each for each in await self.listed(actor) if each["approval_id"] == name)["token"])

    async def listed(self, actor: str = "ada") -> list[dict[str, Any]]:
        status, body = await self.ask("GET", "/approvals", actor=actor)
        assert status == 200, body
        return list(body["approvals"])

    async def stored(self, name: str) -> Approval:
        found: Approval = await self.here.documents.get(APPROVALS, name)
        return found

    async def activate(self, flags: ComplianceFlags) -> None:
        self.revisions += 1
        bundle = default_bundle(self.here.clock.now_ms())
        name = f"B-{self.revisions}"
        bundle = bundle.but(bundle_id=name, rev=self.revisions, flags=bundle.flags.but(compliance=flags))
        await self.here.documents.put(CONFIG_BUNDLES, bundle)
        active = ConfigActive(key="active", rev=self.revisions, bundle_id=name, activated_at=0, seq=self.revisions)
        await self.here.documents.put(CONFIG_ACTIVE, active)

    def door(self) -> Approvals:
        world = self.here.world
        return Approvals(documents=world.documents, snapshots=world.snapshots, clock=world.clock, env=ENV)

    async def refusal(self, intent: OrderIntent) -> Problem | None:
        return await self.door().refusal(intent, notional_of(intent, PRICE), self.flags)

    async def audited(self) -> list[str]:
        return [event.action for event in await self.here.told(OPS_EVENTS.name(ENV)) if isinstance(event, AuditEvent)]


def entry(intent_id: str = "I-1", *, token: str | None = None, **changes: Any) -> OrderIntent:
    """An entry of 6,000 USDT at `PRICE`."""
    body: dict[str, Any] = {
        "intent_id": intent_id,
        "market": "FUT",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "intent": "ENTRY",
        "qty": 0.1,
        "sl": {"price": 59_000},
        **changes,
    }
    if token is not None:
        body["risk"] = {"approval_token": token}
    return parse_order_intent(body, 1, "s3")


async def test_a_small_entry_an_exit_and_a_house_without_the_rule_need_no_token() -> None:
    desk = await Desk().open()
    relaxed = await Desk(flags=ComplianceFlags(enabled=False)).open()

    assert await desk.refusal(entry(qty=0.08)) is None
    assert await desk.refusal(entry(intent="EXIT", side="SELL", reduce_only=True, sl=None)) is None
    assert await relaxed.refusal(entry()) is None


async def test_a_large_entry_without_a_token_is_refused_with_the_limit_and_the_remedy() -> None:
    desk = await Desk().open()

    problem = await desk.refusal(entry())

    assert problem is not None
    assert (problem.status, problem.kind, problem.more["limit_usdt"]) == (403, "approval-required", 5_000)
    assert "6000.00 USDT" in problem.detail
    assert "POST /approvals" in problem.detail


async def test_the_configuration_in_force_says_what_is_large_and_without_a_price_nothing_passes() -> None:
    desk = await Desk().open()
    door = desk.door()
    _, token = await desk.allowed()

    with pytest.raises(Problem, match=r"risk\.approval_token is missing"):
        await door.check(entry(), PRICE)
    with pytest.raises(Problem, match="no price"):
        await door.check(entry(token=token), None)
    await door.check(entry(), PRICE / 2)
    await door.check(entry(token=token), PRICE)
    with pytest.raises(Problem, match="was used by I-1"):
        await door.check(entry("I-2", token=token), PRICE)
    await desk.activate(ComplianceFlags(enabled=False))
    await door.check(entry("I-2"), PRICE)
    await door.check(entry("I-3", intent="EXIT", side="SELL", reduce_only=True, sl=None), None)


async def test_a_token_lets_one_large_entry_pass_and_no_second() -> None:
    desk = await Desk().open("ada", "ben")
    name, token = await desk.allowed()

    first, second = await desk.refusal(entry("I-1", token=token)), await desk.refusal(entry("I-2", token=token))

    assert first is None
    assert second is not None
    assert f"{name} was used by I-1" in second.detail
    used = await desk.stored(name)
    assert (used.status, used.consumed_by) == (ApprovalStatus.CONSUMED, "I-1")
    assert await desk.here.snapshots.get(APPROVAL.name(ENV, token)) is None
    assert "token" not in (await desk.listed())[0]


async def test_of_many_entries_at_once_one_gets_the_token() -> None:
    desk = await Desk().open()
    _, token = await desk.allowed()

    told = await asyncio.gather(*(desk.refusal(entry(f"I-{n}", token=token)) for n in range(6)))

    assert [problem is None for problem in told].count(True) == 1


@pytest.mark.parametrize("crash", ["between the key and the document", "between the document and the intent"])
async def test_a_crash_while_a_token_is_used_neither_doubles_nor_loses_it(crash: str) -> None:
    desk = await Desk().open()
    name, token = await desk.allowed()
    if crash == "between the key and the document":
        await desk.here.snapshots.take(APPROVAL.name(ENV, token))
    else:
        assert await desk.refusal(entry("I-1", token=token)) is None

    again, another = await desk.refusal(entry("I-1", token=token)), await desk.refusal(entry("I-2", token=token))

    assert again is None
    assert another is not None
    assert (await desk.stored(name)).consumed_by == "I-1"


async def test_a_store_that_forgot_the_key_refuses_nobody_and_one_that_is_silent_lets_nobody_pass() -> None:
    desk = await Desk().open()
    _, token = await desk.allowed()
    await desk.here.snapshots.delete(APPROVAL.name(ENV, token))

    desk.here.documents.down = True
    with pytest.raises(DependencyDown):
        await desk.refusal(entry(token=token))
    desk.here.documents.down = False

    assert await desk.refusal(entry(token=token)) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"symbol": "ETHUSDT"}, "is for symbol BTCUSDT, not ETHUSDT", id="another symbol"),
        pytest.param({"side": "SELL", "sl": {"price": 61_000}}, "is for side BUY, not SELL", id="another side"),
        pytest.param({"market": "SPOT", "sl": None}, "is for market FUT, not SPOT", id="another market"),
        pytest.param({"qty": 0.16}, "allows at most 9000.00 USDT", id="more money"),
        pytest.param({"qty": 0.14}, "a quantity of at most 0.12, not 0.14", id="more of it"),
    ],
)
async def test_a_token_allows_what_was_asked_for_and_an_entry_beyond_it_does_not_use_it_up(
    changes: dict[str, Any], says: str
) -> None:
    desk = await Desk().open()
    name, token = await desk.allowed(**({"qty_max": 0.12} if changes.get("qty") == 0.14 else {}))

    problem = await desk.refusal(entry(token=token, **changes))

    assert problem is not None
    assert says in problem.detail
    assert (await desk.stored(name)).status is ApprovalStatus.APPROVED
    assert await desk.refusal(entry("I-9", token=token)) is None


async def test_what_is_not_allowed_yet_taken_back_or_too_old_lets_nothing_pass() -> None:
    desk = await Desk().open()
    waiting = await desk.asked()
    pending = await desk.refusal(entry(token=(await desk.stored(waiting)).token))
    taken_back, revoked = await desk.allowed()
    assert (await desk.ask("POST", f"/approvals/{taken_back}/revoke", {"reason": "changed my mind"}))[0] == 200
    too_old, old = await desk.allowed()
    assert (await desk.ask("GET", "/approvals"))[1]["enabled"] is True
    await desk.here.clock.advance(300_000)
    problems = [pending, *[await desk.refusal(entry(token=token)) for token in (revoked, old, "made-up")]]

    told = [problem.detail if problem else "" for problem in problems]
    assert [word in text for word, text in zip(("waits", "REVOKED", "EXPIRED", "nobody ever"), told, strict=True)] == [
        True
    ] * 4
    await next(timer for timer in desk.service.timers if timer.name == "approvals-expire").run()
    assert {(await desk.stored(name)).status for name in (waiting, too_old)} == {ApprovalStatus.EXPIRED}
    assert "APPROVAL_EXPIRE" in await desk.audited()


async def test_nobody_allows_their_own_where_there_are_two_and_one_alone_may() -> None:
    alone, two = await Desk().open("ada"), await Desk().open("ada", "ben")

    mine, ours = await alone.asked(), await two.asked()

    assert (await alone.ask("POST", f"/approvals/{mine}/approve", {}, "ada"))[0] == 200
    own = await two.ask("POST", f"/approvals/{ours}/approve", {}, "ada")
    machine = await two.ask("POST", f"/approvals/{ours}/approve", {}, "api")
    assert (own[0], own[1]["type"]) == (403, "urn:chimera:problem:own-approval")
    assert (machine[0], machine[1]["type"]) == (403, "urn:chimera:problem:approval-needs-a-name")
    assert (await two.ask("POST", f"/approvals/{ours}/approve", {}, "ben"))[0] == 200


async def test_only_who_asked_sees_the_token_and_the_audit_trail_never_does() -> None:
    desk = await Desk().open("ada", "ben")

    name, token = await desk.allowed()

    assert "token" not in next(each for each in await desk.listed("ben") if each["approval_id"] == name)
    assert await desk.audited() == ["APPROVAL_ASK", "APPROVAL_APPROVE"]
    assert token not in str(await desk.here.told(OPS_EVENTS.name(ENV)))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("/approvals", WANTED | {"notional_usdt_max": 4_000}, 409, id="so small that none is needed"),
        pytest.param("/approvals", WANTED | {"notional_usdt_max": -1}, 400, id="negative"),
        pytest.param("/approvals", WANTED | {"reason": ""}, 400, id="without a reason"),
        pytest.param("/approvals", WANTED | {"side": "UP"}, 400, id="no side"),
        pytest.param("/approvals/APR-0/approve", {}, 404, id="approve what nobody asked for"),
        pytest.param("/approvals/APR-0/revoke", {}, 404, id="revoke what nobody asked for"),
    ],
)
async def test_what_cannot_be_done_says_why(path: str, body: Any, status: int) -> None:
    desk = await Desk().open()

    told = await desk.ask("POST", path, body)

    assert told[0] == status
    assert told[1]["detail"]


async def test_what_was_used_is_neither_allowed_again_nor_taken_back() -> None:
    desk = await Desk().open()
    name, token = await desk.allowed()
    await desk.refusal(entry("I-7", token=token))

    for step in ("approve", "revoke"):
        status, body = await desk.ask("POST", f"/approvals/{name}/{step}", {}, "ben")
        assert (status, "CONSUMED by I-7" in body["detail"]) == (409, True)


def test_an_operator_asks_and_an_admin_allows() -> None:
    assert roles.needed("s12", "POST", "/approvals", WANTED) is Role.OPERATOR
    assert roles.needed("s12", "POST", "/approvals/APR-1/revoke", {}) is Role.OPERATOR
    assert roles.needed("s12", "POST", "/approvals/APR-1/approve", {}) is Role.ADMIN
