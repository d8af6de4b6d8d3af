"""Going back is one switch like any other: told, recorded, counted, and whole after every crash."""

import asyncio
from typing import Any

import pytest

from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES, PROMOTIONS, STRATEGY_EVENTS
from chimera.contracts.enums import CfgEventKind, EventKind, PromotionMode, PromotionStatus
from chimera.contracts.messages import AuditEvent
from chimera.contracts.streams import OPS_EVENTS
from chimera.ports.documents import DocumentsUnavailable, Query
from tests.services.config_desk import Config
from tests.services.small_world import ENV


async def test_a_rollback_puts_back_what_was_in_force_and_tells_so() -> None:
    config = await Config().start()
    await config.staged(7)
    await config.in_force(3)

    answer = await config.roll_back(reason="worse")

    assert answer.status == 200
    assert (answer.body["from_rev"], answer.body["to_rev"], answer.body["mode"]) == (3, 1, "ROLLBACK")
    assert (answer.body["seq"], answer.body["status"]) == (3, "DONE")
    last = (await config.events())[-1]
    assert (last.event, last.rev, last.seq, last.reason) == (CfgEventKind.ROLLBACK, 1, 3, "worse")
    assert await config.key() == "1"
    listed = (await config.ask("GET", "/bundles")).body["bundles"]
    assert {bundle["rev"]: bundle["status"] for bundle in listed} == {1: "ACTIVE", 2: "STAGED", 3: "RETIRED"}


async def test_a_rollback_leaves_a_record_an_event_and_an_audit() -> None:
    config = await Config().start()
    promoted = await config.promote(await config.staged(3))

    answer = await config.roll_back(reason="worse")

    record = await config.here.documents.get(PROMOTIONS, answer.body["promotion_id"])
    assert (record.mode, record.status, record.requested_by) == (PromotionMode.ROLLBACK, PromotionStatus.DONE, "ada")
    assert record.undoes == promoted.body["promotion_id"]
    undone = await config.here.documents.get(PROMOTIONS, record.undoes)
    assert undone.status is PromotionStatus.ROLLED_BACK
    told = await config.here.documents.find(
        Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", EventKind.ROLLBACK.value),))
    )
    assert [event.detail["to_rev"] for event in told] == [1]
    audits = [each for each in await config.here.told(OPS_EVENTS.name(ENV)) if isinstance(each, AuditEvent)]
    assert (audits[-1].action, audits[-1].actor, audits[-1].before) == ("ROLLBACK", "ada", {"rev": 2})


async def test_going_back_twice_goes_two_steps_back_and_then_there_is_nothing() -> None:
    config = await Config().start()
    await config.in_force(3)
    await config.in_force(4)

    went, ways = [], []
    for _ in range(3):
        ways.append((await config.ask("GET", "/active")).body["way_back"])
        went.append(await config.roll_back())

    assert [answer.body.get("to_rev") for answer in went[:2]] == [2, 1]
    assert ways == [[2, 1], [1], []]
    assert (went[2].status, went[2].body["type"].split(":")[-1]) == (409, "nothing-before")
    assert (await config.ask("GET", "/active")).body["seq"] == 5


async def test_a_revision_may_be_named() -> None:
    config = await Config().start()
    await config.in_force(3)
    await config.in_force(4)

    answer = await config.roll_back(to_rev=1, expected_seq=3)

    assert (answer.status, await config.rev()) == (200, 1)


@pytest.mark.parametrize(
    ("wish", "status", "kind", "says"),
    [
        pytest.param({"to_rev": 9}, 404, "no-such-revision", "in force before: 1", id="no such revision"),
        pytest.param({"to_rev": 2}, 409, "never-in-force", "promote it", id="never in force"),
        pytest.param({"to_rev": 3}, 409, "already-active", "rev 3", id="in force already"),
        pytest.param({"expected_seq": 1}, 409, "switched-meanwhile", "seq is 2", id="looked at something older"),
        pytest.param({"to_rev": 0}, 400, "malformed-body", "to_rev", id="no revision is so small"),
        pytest.param({"to_rev": 10**30}, 400, "malformed-body", "to_rev", id="no store holds so large a number"),
        pytest.param({"to": 1}, 400, "malformed-body", "to_rev", id="a misspelt wish"),
    ],
)
async def test_what_cannot_be_gone_back_to_says_why(wish: Any, status: int, kind: str, says: str) -> None:
    config = await Config().start()
    await config.staged(7)
    await config.in_force(3)

    answer = await config.roll_back(**wish)

    assert (answer.status, answer.body["type"].split(":")[-1]) == (status, kind)
    assert says in answer.body["detail"]
    assert await config.rev() == 3


async def test_a_bundle_that_nobody_would_take_is_refused_and_another_is_named() -> None:
    config = await Config().start()
    await config.in_force(3)
    await config.in_force(4)
    [old] = await config.here.documents.find(Query(collection=CONFIG_BUNDLES, index="by_rev", equal=(("rev", 2),)))
    # What an earlier version let pass: today nobody computes this factor.
    gone = old.factors[0].but(factor_id="moon_phase")
    await config.here.documents.put(CONFIG_BUNDLES, old.but(factors=(gone, *old.factors[1:])))

    answer = await config.roll_back()

    assert answer.status == 422
    assert "moon_phase" in answer.body["detail"]
    assert "to_rev may be 1" in answer.body["detail"]
    assert await config.rev() == 3
    assert (await config.roll_back(to_rev=1)).status == 200


async def test_what_the_exchange_lists_by_now_does_not_close_the_way_back() -> None:
    config = await Config().start()
    made = await config.ask("POST", "/bundles", {"flags": {"strategy": {"markets": {"FOOUSDT": ["FUT"]}}}})
    await config.ask("POST", f"/bundles/{made.body['bundle_id']}/stage")
    await config.promote(made.body["bundle_id"])
    await config.in_force(3)
    await config.lists("FUT:BTCUSDT")

    assert (await config.roll_back()).body["to_rev"] == 2


async def test_of_a_rollback_and_a_promotion_at_once_one_wins() -> None:
    config = await Config().start()
    await config.in_force(3)
    other = await config.staged(4)

    answers = await asyncio.gather(config.roll_back(), config.promote(other, expected_seq=2))

    assert sorted(answer.status for answer in answers) == [200, 409]
    assert (await config.ask("GET", "/active")).body["seq"] == 3


async def test_a_switch_that_comes_in_between_is_not_undone_unseen() -> None:
    config = await Config().start()
    await config.in_force(3)
    other = await config.staged(4)
    sound = config.here.documents.inner

    class Meanwhile:
        """Somebody promotes while the record of what was in force is read."""

        waiting = True

        def __getattr__(self, name: str) -> Any:
            return getattr(sound, name)

        async def find(self, query: Any) -> Any:
            if query.collection is PROMOTIONS and self.waiting:
                self.waiting = False
                assert (await config.promote(other)).status == 200
            return await sound.find(query)

    config.here.documents.inner = Meanwhile()

    answer = await config.roll_back()

    assert (answer.status, await config.rev()) == (409, 3)


class Breaking:
    """Document writes that fail from the `after`-th on, as when the process dies there."""

    def __init__(self, inner: Any, after: int) -> None:
        self.inner = inner
        self.left = after

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.inner, name)
        if name not in ("put", "insert", "replace", "put_many"):
            return call

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise DocumentsUnavailable("the process died here")
            return await call(*args, **kwargs)

        return counted


@pytest.mark.parametrize("writes", range(9))
async def test_a_rollback_that_died_anywhere_happened_whole_or_not_at_all(writes: int) -> None:
    config = await Config().start()
    await config.in_force(3)
    sound = config.here.documents.inner
    config.here.documents.inner = Breaking(sound, writes)
    answer = await config.roll_back(reason="worse")
    config.here.documents.inner = sound

    restarted = await Config(config.here).start()

    active = await sound.get(CONFIG_ACTIVE, "active")
    happened = answer.status == 200
    assert (active.rev, active.seq) == ((1, 3) if happened else (2, 2))
    told = [(event.event, event.rev, event.seq) for event in await restarted.events()]
    assert told[-1] == ((CfgEventKind.ROLLBACK, 1, 3) if happened else (CfgEventKind.PROMOTE, 2, 2))
    listed = {bundle["rev"]: bundle["status"] for bundle in (await restarted.ask("GET", "/bundles")).body["bundles"]}
    assert listed == ({1: "ACTIVE", 2: "RETIRED"} if happened else {1: "RETIRED", 2: "ACTIVE"})
    rolled_back = await sound.find(
        Query(collection=PROMOTIONS, index="by_status", equal=(("status", PromotionStatus.ROLLED_BACK.value),))
    )
    assert [record.to_rev for record in rolled_back] == ([2] if happened else [])
    # And it goes on from there.
    assert (await restarted.roll_back()).body.get("to_rev") == (None if happened else 1)
