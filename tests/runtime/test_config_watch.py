"""A service decides by one whole configuration, and only ever by a newer one."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.contracts import ids
from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES, STRATEGY_EVENTS
from chimera.contracts.documents import ConfigActive, ConfigBundle
from chimera.contracts.enums import BundleStatus, CfgEventKind
from chimera.contracts.flags import Flags, RiskFlags
from chimera.contracts.messages import AlertEvent, CfgEvent
from chimera.contracts.streams import ALERTS
from chimera.domain.config.bundle import content_hash, default_bundle
from chimera.domain.config.lint import lint
from chimera.runtime.config_watch import ConfigUnavailable, ConfigWatch
from tests.services.small_world import ENV, SmallWorld, small_world


def bundle_of(rev: int) -> ConfigBundle:
    """Bundles differ in their concurrency, which is their revision."""
    first = default_bundle(1)
    flags = Flags(risk=RiskFlags(concurrent_entries_per_market=rev))
    digest = content_hash(flags, first.rules, first.factors, first.instruments)
    return first.but(
        bundle_id=ids.bundle_id(rev, digest), rev=rev, flags=flags, hash=digest, status=BundleStatus.STAGED
    )


async def switch(here: SmallWorld, rev: int, seq: int, **changes: object) -> None:
    bundle = bundle_of(rev).but(**changes)
    await here.documents.put(CONFIG_BUNDLES, bundle)
    active = ConfigActive(
        key="active", rev=rev, bundle_id=bundle.bundle_id, activated_at=here.clock.now_ms(), seq=seq, hash=bundle.hash
    )
    await here.documents.put(CONFIG_ACTIVE, active)


def event(rev: int, seq: int | None) -> CfgEvent:
    return CfgEvent(rev=rev, bundle_id="any", event=CfgEventKind.PROMOTE, activated_at=1, hash="any", seq=seq)


def watch_of(here: SmallWorld) -> ConfigWatch:
    return ConfigWatch(here.world, ENV, service="s3", check=lint)


async def test_a_service_cannot_start_before_something_is_active() -> None:
    here = small_world()
    watch = watch_of(here)

    with pytest.raises(ConfigUnavailable):
        await watch.start()
    await switch(here, rev=1, seq=1)
    await watch.start()

    assert watch.current().rev == 1
    assert watch.current().flags.risk.concurrent_entries_per_market == 1


async def test_an_event_swaps_the_whole_and_says_so() -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=1, seq=1)
    await watch.start()
    before = watch.current()

    await switch(here, rev=2, seq=2)
    await watch.on_cfg_event(event(2, 2))

    assert before.rev == 1
    assert (watch.current().rev, watch.current().flags.risk.concurrent_entries_per_market) == (2, 2)
    assert await here.documents.count(STRATEGY_EVENTS) == 1


async def test_only_a_switch_that_it_saw_is_a_lag() -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=1, seq=1)
    await here.clock.advance(1_000_000)
    await watch.start()
    at_start = here.world.metrics.render()

    await switch(here, rev=2, seq=2)
    await here.clock.advance(300)
    here.clock.speed = 60.0
    await watch.poll()

    assert "config_lag_ms" not in at_start
    assert "chimera_config_lag_ms 5.0" in here.world.metrics.render().splitlines()


async def test_a_lost_event_is_repaired_by_the_poll() -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=1, seq=1)
    await watch.start()

    await switch(here, rev=2, seq=2)
    await watch.every().run()

    assert watch.every().interval_ms == 5_000
    assert watch.current().rev == 2


async def test_a_rollback_raises_seq_while_rev_goes_back() -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=2, seq=5)
    await watch.start()

    await switch(here, rev=1, seq=6)
    await watch.poll()

    assert (watch.current().rev, watch.current().seq) == (1, 6)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"hash": "0" * 64}, id="content and hash differ"),
        pytest.param({"rules": [default_bundle(1).rules[0].but(when={"f": "no_such", "op": ">", "v": 1})]}, id="rule"),
    ],
)
async def test_a_bundle_that_fails_its_check_is_refused_once_and_the_old_one_stays(changes: dict[str, object]) -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=1, seq=1)
    await watch.start()

    await switch(here, rev=2, seq=2, **changes)
    await watch.poll()
    await watch.poll()

    (alert,) = await here.told(ALERTS.name(ENV))
    assert isinstance(alert, AlertEvent)
    assert (alert.code, alert.tags["seq"]) == ("CONFIG_REV_MISMATCH", "2")
    assert "rev 1 stays" in alert.message
    assert watch.current().rev == 1


async def test_a_good_bundle_after_a_refused_one_is_taken() -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=1, seq=1)
    await watch.start()
    await switch(here, rev=2, seq=2, hash="0" * 64)
    await watch.poll()

    await switch(here, rev=3, seq=3)
    await watch.poll()

    assert watch.current().rev == 3


async def test_an_unreadable_store_leaves_the_last_configuration_in_use() -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=1, seq=1)
    await watch.start()
    here.documents.down = True

    with pytest.raises(Exception, match="switched off"):
        await watch.poll()

    assert watch.current().rev == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 8), st.booleans()), min_size=1, max_size=12))
def test_seq_never_goes_back_whatever_is_told_in_which_order(steps: list[tuple[int, int, bool]]) -> None:
    async def run() -> None:
        here = small_world()
        watch = watch_of(here)
        seen = 0
        for rev, seq, by_event in steps:
            await switch(here, rev=rev, seq=seq)
            await (watch.on_cfg_event(event(rev, seq)) if by_event else watch.poll())
            assert watch.current().seq >= seen
            seen = watch.current().seq

    asyncio.run(run())
