"""Bundles are stored whole, staged clean, and put in force by one switch that everybody hears of."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.contracts.collections import (
    CONFIG_ACTIVE,
    CONFIG_BUNDLES,
    PROMOTIONS,
    STRATEGY_EVENTS,
)
from chimera.contracts.enums import BundleStatus, PromotionStatus
from chimera.contracts.keys import CFG_ACTIVE_REV, CFG_BUNDLE
from chimera.domain.config.bundle import default_bundle
from chimera.ports.documents import Query
from tests.services.config_desk import Config
from tests.services.small_world import ENV, small_world


async def test_the_first_start_puts_revision_one_in_force_and_tells() -> None:
    config = await Config().start()

    active = (await config.ask("GET", "/active")).body
    assert (active["rev"], active["seq"]) == (1, 1)
    assert [(event.rev, event.seq) for event in await config.events()] == [(1, 1)]
    assert await config.key() == "1"
    digest = await config.here.snapshots.get_hash(CFG_BUNDLE.name(ENV, 1))
    assert digest["hash"] == active["hash"]
    shown = (await config.ask("GET", f"/bundles/{active['bundle_id']}")).body["bundle"]
    assert shown["status"] == "ACTIVE"
    assert shown["flags"]["risk"]["budget"] == {"spot_quote_usdt_max": 2000.0, "fut_margin_usdt_max": 600.0}


async def test_a_restart_changes_nothing_and_tells_nothing_again() -> None:
    config = await Config().start()
    again = await Config(config.here).start()

    assert (await again.ask("GET", "/active")).body["seq"] == 1
    assert len(await again.events()) == 1
    assert await config.here.documents.count(CONFIG_BUNDLES) == 1
    assert await config.here.documents.count(STRATEGY_EVENTS) == 1


async def test_a_start_that_died_after_the_first_bundle_goes_on_with_it() -> None:
    here = small_world()
    left = default_bundle(here.clock.now_ms())
    await here.documents.insert(CONFIG_BUNDLES, left)
    await here.clock.advance(1_000)

    config = await Config(here).start()

    assert (await config.ask("GET", "/active")).body["bundle_id"] == left.bundle_id


async def test_draft_lint_stage_promote_is_the_way_into_force() -> None:
    config = await Config().start()
    made = await config.ask(
        "POST", "/bundles", {"flags": {"risk": {"concurrent_entries_per_market": 1}}, "note": "careful"}
    )
    path = f"/bundles/{made.body['bundle_id']}"

    linted = await config.ask("POST", f"{path}/lint")
    staged = await config.ask("POST", f"{path}/stage")
    promoted = await config.promote(made.body["bundle_id"], reason="calmer")

    assert (made.status, made.body["status"], made.body["created_by"]) == (201, "DRAFT", "ada")
    assert (linted.body["status"], linted.body.get("findings", [])) == ("LINTED", [])
    assert (staged.body["status"], staged.body["rev"]) == ("STAGED", 2)
    assert (promoted.body["from_rev"], promoted.body["to_rev"], promoted.body["seq"]) == (1, 2, 2)
    assert [(event.rev, event.seq, event.reason) for event in await config.events()][1:] == [(2, 2, "calmer")]
    assert await config.key() == "2"
    listed = (await config.ask("GET", "/bundles")).body["bundles"]
    assert {bundle["rev"]: bundle["status"] for bundle in listed} == {1: "RETIRED", 2: "ACTIVE"}
    record = await config.here.documents.get(PROMOTIONS, promoted.body["promotion_id"])
    assert (record.status, record.requested_by) == (PromotionStatus.DONE, "ada")


async def test_staging_twice_gives_one_revision() -> None:
    config = await Config().start()
    bundle_id = await config.staged(1)

    again = await config.ask("POST", f"/bundles/{bundle_id}/stage")

    assert again.body["rev"] == 2


async def test_two_who_stage_at_once_get_different_revisions() -> None:
    config = await Config().start()
    made = [
        (await config.ask("POST", "/bundles", {"flags": {"risk": {"concurrent_entries_per_market": n}}})).body
        for n in (1, 3)
    ]

    staged = await asyncio.gather(*(config.ask("POST", f"/bundles/{one['bundle_id']}/stage") for one in made))

    assert sorted(answer.body["rev"] for answer in staged) == [2, 3]


BAD_RULE = {
    "rule_id": "R-1",
    "priority": 1,
    "applies": {"symbols": ["*"], "services": ["s3-strategy"]},
    "when": {"f": "no_such_factor", "op": ">", "v": 1},
    "action": {"type": "size_mult", "value": 0.8},
    "status": "ENABLED",
}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param([], "JSON object", id="a list"),
        pytest.param({"flag": {}}, "flag", id="a part that does not exist"),
        pytest.param({"flags": {"risk": {"concurrent": 3}}}, "concurrent", id="a flag that does not exist"),
        pytest.param({"flags": {"risk": {"drawdown_pct_max": 7}}}, "drawdown_pct_max", id="a number out of range"),
        pytest.param({"flags": {"risk": "none"}}, "flags.risk", id="a text for a group"),
        pytest.param({"rules": [{"rule_id": "R-1"}]}, "rules[0]", id="half a rule"),
        pytest.param({"rules": {}}, "rules", id="rules that are no list"),
    ],
)
async def test_a_malformed_bundle_is_refused_with_findings_and_nothing_is_stored(body: Any, named: str) -> None:
    config = await Config().start()

    answer = await config.ask("POST", "/bundles", body)

    assert answer.status == 400
    assert answer.body["type"].endswith("malformed-bundle")
    assert named in answer.body["detail"]
    assert await config.here.documents.count(CONFIG_BUNDLES) == 1


async def test_every_finding_is_told_at_once() -> None:
    config = await Config().start()

    answer = await config.ask("POST", "/bundles", {"flags": {"risk": {"drawdown_pct_max": 7}}, "rules": [{}]})

    fields = [error["field"] for error in answer.body["errors"]]
    assert "flags.risk.drawdown_pct_max" in fields
    assert any(field.startswith("rules[0]") for field in fields)


async def test_a_bundle_with_findings_is_kept_as_a_draft_and_never_staged() -> None:
    config = await Config().start()

    made = await config.ask("POST", "/bundles", {"rules": [BAD_RULE]})
    linted = await config.ask("POST", f"/bundles/{made.body['bundle_id']}/lint")
    staged = await config.ask("POST", f"/bundles/{made.body['bundle_id']}/stage")

    assert made.status == 201
    assert made.body["findings"][0]["path"].startswith("rules[0]")
    assert linted.body["status"] == "DRAFT"
    assert staged.status == 422
    assert "no_such_factor" in staged.body["detail"]


@pytest.mark.parametrize(
    ("symbol", "market", "key"),
    [
        pytest.param("FOOUSDT", "FUT", "FUT-FOOUSDT", id="a symbol that is not listed"),
        pytest.param("ETHUSDT", "SPOT", "SPOT-ETHUSDT", id="a market that is not listed"),
        pytest.param("btcusdt", "FUT", "FUT-btcusdt", id="another spelling"),
    ],
)
async def test_markets_that_the_exchange_does_not_list_are_findings(symbol: str, market: str, key: str) -> None:
    config = await (await Config().start()).lists("FUT:BTCUSDT", "SPOT:BTCUSDT", "FUT:ETHUSDT")

    made = await config.ask("POST", "/bundles", {"flags": {"strategy": {"markets": {symbol: [market]}}}})
    staged = await config.ask("POST", f"/bundles/{made.body['bundle_id']}/stage")

    assert made.body["findings"] == [
        {
            "level": "error",
            "path": f"flags.strategy.markets.{symbol}",
            "message": repr(market),
            "remedy": f"{key} is not listed; listed: FUT-BTCUSDT, FUT-ETHUSDT, SPOT-BTCUSDT",
        }
    ]
    assert staged.status == 422
    assert await config.listed_findings(made.body["bundle_id"]) == made.body["findings"]


async def test_a_system_that_lists_less_than_the_default_trades_takes_bundles_all_the_same() -> None:
    config = await (await Config().start()).lists("FUT:BTCUSDT")

    assert (await config.promote(await config.staged(1))).status == 200


async def test_a_bundle_staged_before_the_instruments_were_known_is_judged_again_before_it_comes_into_force() -> None:
    config = await Config().start()
    made = await config.ask("POST", "/bundles", {"flags": {"strategy": {"markets": {"FOOUSDT": ["FUT"]}}}})
    await config.ask("POST", f"/bundles/{made.body['bundle_id']}/stage")
    await config.lists("FUT:BTCUSDT")

    answer = await config.promote(made.body["bundle_id"])

    assert answer.status == 422
    assert "FUT-FOOUSDT is not listed" in answer.body["detail"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        pytest.param({"flags": {"strategy": {"markets": {}}}}, "flags.strategy.markets", id="no symbol"),
        pytest.param({"flags": {"strategy": {"markets": {"BTCUSDT": []}}}}, "flags.strategy.markets", id="no market"),
        pytest.param({"rules": []}, "rules", id="no rule"),
        pytest.param({"rules": [{**BAD_RULE, "status": "DISABLED"}]}, "rules", id="no enabled rule"),
    ],
)
async def test_a_bundle_that_opens_nothing_says_so_and_may_come_into_force(body: Any, path: str) -> None:
    config = await (await Config().start()).lists("FUT:BTCUSDT", "SPOT:BTCUSDT", "FUT:ETHUSDT")

    made = await config.ask("POST", "/bundles", body)
    linted = await config.ask("POST", f"/bundles/{made.body['bundle_id']}/lint")
    staged = await config.ask("POST", f"/bundles/{made.body['bundle_id']}/stage")

    assert [(each["level"], each["path"]) for each in made.body["findings"]] == [("warning", path)]
    assert "nothing is opened" in made.body["findings"][0]["remedy"]
    assert (linted.body["status"], staged.status) == ("LINTED", 200)
    assert made.body["findings"] == linted.body["findings"] == staged.body["findings"]
    assert await config.listed_findings(made.body["bundle_id"]) == made.body["findings"]


async def test_the_list_of_bundles_says_of_a_draft_what_was_found_in_it() -> None:
    config = await Config().start()

    made = await config.ask("POST", "/bundles", {"rules": [BAD_RULE]})

    assert made.body["findings"][0]["level"] == "error"
    assert await config.listed_findings(made.body["bundle_id"]) == made.body["findings"]


@pytest.mark.parametrize(
    ("mode", "status"),
    [pytest.param("CANARY", 422, id="not offered"), pytest.param("SUDDEN", 400, id="no mode at all")],
)
async def test_only_full_is_offered(mode: str, status: int) -> None:
    config = await Config().start()
    bundle_id = await config.staged(1)

    answer = await config.promote(bundle_id, mode=mode)

    assert answer.status == status
    assert (await config.ask("GET", "/active")).body["seq"] == 1


async def test_what_cannot_be_promoted_says_why() -> None:
    config = await Config().start()
    active = (await config.ask("GET", "/active")).body
    made = (await config.ask("POST", "/bundles", {"note": "draft"})).body
    bundle_id = await config.staged(1)

    kinds = {
        "unknown": await config.promote("BND-0-none"),
        "draft": await config.promote(made["bundle_id"]),
        "active": await config.promote(active["bundle_id"]),
        "late": await config.promote(bundle_id, expected_seq=7),
    }

    assert {name: answer.status for name, answer in kinds.items()} == {
        "unknown": 404,
        "draft": 409,
        "active": 409,
        "late": 409,
    }


async def test_of_two_promoters_one_wins_and_the_other_is_told() -> None:
    config = await Config().start()
    first, second = await config.staged(1), await config.staged(3)

    answers = await asyncio.gather(config.promote(first, expected_seq=1), config.promote(second, expected_seq=1))

    assert sorted(answer.status for answer in answers) == [200, 409]
    assert (await config.ask("GET", "/active")).body["seq"] == 2
    assert [event.seq for event in await config.events()] == [1, 2]


class Interleaved:
    """Document calls that give way before they begin, so that two promoters really overlap."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.inner, name)

        async def later(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return await call(*args, **kwargs)

        return later


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=6))
def test_seq_grows_by_one_with_every_switch_and_the_event_tells_what_is_written(rounds: list[list[int]]) -> None:
    async def run() -> None:
        config = await Config().start()
        bundles = [await config.staged(n) for n in (1, 3, 4, 5)]
        config.here.documents.inner = Interleaved(config.here.documents.inner)
        won = 0
        for wishes in rounds:
            answers = await asyncio.gather(*(config.promote(bundles[wish]) for wish in wishes))
            won += sum(answer.status == 200 for answer in answers)
            assert {answer.status for answer in answers} <= {200, 409}
        active = await config.here.documents.get(CONFIG_ACTIVE, "active")
        told = await config.events()

        assert active.seq == 1 + won
        seqs = [event.seq for event in told]
        assert seqs == sorted(set(seqs))
        assert (told[-1].seq, told[-1].bundle_id) == (active.seq, active.bundle_id)
        in_force = await config.here.documents.find(
            Query(collection=CONFIG_BUNDLES, index="by_status", equal=(("status", BundleStatus.ACTIVE.value),))
        )
        assert [bundle.bundle_id for bundle in in_force] == [active.bundle_id]
        records = await config.here.documents.find(
            Query(collection=PROMOTIONS, index="by_status", equal=(("status", PromotionStatus.DONE.value),))
        )
        assert len(records) == active.seq

    asyncio.run(run())


async def test_an_event_that_the_bus_lost_is_told_by_the_timer() -> None:
    config = await Config().start()
    bundle_id = await config.staged(1)
    config.here.bus.down = True

    answer = await config.promote(bundle_id)
    config.here.bus.down = False
    await config.tick()

    assert (answer.status, answer.body["status"]) == (200, "PENDING")
    assert (await config.ask("GET", "/active")).body["rev"] == 2
    assert [event.seq for event in await config.events()] == [1, 2]


async def test_a_lost_key_is_mended_by_the_timer() -> None:
    config = await Config().start()
    await config.here.snapshots.delete(CFG_ACTIVE_REV.name(ENV))

    await config.tick()

    assert await config.key() == "1"


async def test_a_switch_whose_process_died_right_after_is_settled_by_the_next() -> None:
    config = await Config().start()
    bundle_id = await config.staged(1)
    put = config.here.documents.inner.replace

    async def dies_after_the_switch(collection: Any, doc: Any, *, rev: str) -> str:
        written = await put(collection, doc, rev=rev)
        if collection is CONFIG_ACTIVE:
            config.here.documents.down = True
        return written

    config.here.documents.inner.replace = dies_after_the_switch
    answer = await config.promote(bundle_id)
    config.here.documents.down = False

    restarted = await Config(config.here).start()

    assert (answer.status, answer.body["status"]) == (200, "PENDING")
    assert [(event.rev, event.seq) for event in await restarted.events()] == [(1, 1), (2, 2)]
    assert await restarted.key() == "2"
    shown = (await restarted.ask("GET", f"/bundles/{bundle_id}")).body["bundle"]
    assert shown["status"] == "ACTIVE"
