"""A service decides by one whole configuration, and only ever by a newer one."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.contracts import ids
from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES, STRATEGY_EVENTS
from chimera.contracts.documents import ConfigActive, ConfigBundle, ConfigCanary
from chimera.contracts.enums import BundleStatus, CfgEventKind, Market
from chimera.contracts.flags import Flags, RiskFlags
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import AlertEvent, CfgEvent
from chimera.contracts.streams import ALERTS
from chimera.domain.config.bundle import content_hash, default_bundle
from chimera.domain.config.lint import lint
from chimera.ports.bus import BusUnavailable
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


async def switch(
    here: SmallWorld, rev: int, seq: int, *, canary: ConfigCanary | None = None, **changes: object
) -> None:
    bundle = bundle_of(rev).but(**changes)
    await here.documents.put(CONFIG_BUNDLES, bundle)
    active = ConfigActive(
        key="active",
        rev=rev,
        bundle_id=bundle.bundle_id,
        activated_at=here.clock.now_ms(),
        seq=seq,
        hash=bundle.hash,
        canary=canary,
    )
    await here.documents.put(CONFIG_ACTIVE, active)


async def canary_of(here: SmallWorld, rev: int, share: float, **changes: object) -> ConfigCanary:
    """A canary whose bundle is on file."""
    bundle = bundle_of(rev).but(**changes)
    await here.documents.put(CONFIG_BUNDLES, bundle)
    return ConfigCanary(rev=rev, bundle_id=bundle.bundle_id, hash=bundle.hash, share=share)


SIGNALS = [ids.signal_id(1_700_000_000_000 + n * 1_000, InstrumentKey(Market.FUT, "BTCUSDT")) for n in range(2_000)]


def revs(watch: ConfigWatch) -> list[int]:
    """Who decides each signal."""
    return [watch.of(signal_id).rev for signal_id in SIGNALS]


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

    assert watch.every().interval_ms == 4_750, "found, linted and swapped within 5 s"
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


# --- cohorts


async def test_a_canary_decides_its_share_and_each_signal_always_alike() -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=1, seq=1)
    await watch.start()

    await switch(here, rev=1, seq=2, canary=await canary_of(here, 2, 0.10))
    await watch.poll()
    decided = revs(watch)

    assert watch.current().rev == 1
    assert 150 < decided.count(2) < 250
    assert decided.count(1) + decided.count(2) == len(SIGNALS)
    restarted = watch_of(here)
    await restarted.start()
    assert revs(restarted) == decided
    canary = next(watch.of(signal_id) for signal_id in SIGNALS if watch.of(signal_id).rev == 2)
    assert (canary.seq, canary.flags.risk.concurrent_entries_per_market) == (2, 2)


async def test_a_growing_canary_keeps_its_signals_and_one_that_is_dropped_gives_all_of_them_back() -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=1, seq=1, canary=await canary_of(here, 2, 0.10))
    await watch.start()
    at_first = revs(watch)

    await switch(here, rev=1, seq=2, canary=await canary_of(here, 2, 0.50))
    await watch.poll()
    grown = revs(watch)
    await switch(here, rev=1, seq=3)
    await watch.poll()

    assert all(after == 2 for before, after in zip(at_first, grown, strict=True) if before == 2)
    assert grown.count(2) > 3 * at_first.count(2)
    assert set(revs(watch)) == {1}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"hash": "0" * 64}, "own hash", id="content and hash differ"),
        pytest.param({"rules": [default_bundle(1).rules[0].but(when={"f": "x", "op": ">", "v": 1})]}, "x", id="rule"),
    ],
)
async def test_a_canary_that_fails_its_check_is_refused_once_and_the_stable_one_decides_all(
    changes: dict[str, object], why: str
) -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=1, seq=1)
    await watch.start()

    await switch(here, rev=3, seq=2, canary=await canary_of(here, 2, 0.50, **changes))
    await watch.poll()
    await watch.poll()

    (alert,) = await here.told(ALERTS.name(ENV))
    assert isinstance(alert, AlertEvent)
    assert (alert.code, alert.tags) == ("CONFIG_REV_MISMATCH", {"rev": "2", "seq": "2"})
    assert "refuses config rev 2, rev 3 decides all" in alert.message
    assert why in alert.message
    assert set(revs(watch)) == {3}


@pytest.mark.parametrize("how", ["absent", "another hash"])
async def test_a_canary_that_is_not_the_one_that_was_named_is_refused(how: str) -> None:
    here = small_world()
    watch = watch_of(here)
    canary = await canary_of(here, 2, 0.50)
    canary = canary.but(**({"bundle_id": "BND-none"} if how == "absent" else {"hash": "0" * 64}))
    await switch(here, rev=1, seq=1, canary=canary)

    await watch.start()

    (alert,) = await here.told(ALERTS.name(ENV))
    assert isinstance(alert, AlertEvent)
    assert "cannot be found" in alert.message or "another hash" in alert.message
    assert set(revs(watch)) == {1}


async def test_a_bus_that_takes_no_alert_holds_no_switch_up_and_hears_it_later() -> None:
    here = small_world()
    watch = watch_of(here)
    await switch(here, rev=1, seq=1)
    await watch.start()
    here.bus.down = True

    await switch(here, rev=2, seq=2, hash="0" * 64)
    with pytest.raises(BusUnavailable):
        await watch.poll()
    await switch(here, rev=3, seq=3, canary=await canary_of(here, 4, 0.5, hash="0" * 64))
    with pytest.raises(BusUnavailable):
        await watch.poll()
    taken = watch.current().rev
    here.bus.down = False
    await watch.poll()

    assert taken == 3
    (alert,) = await here.told(ALERTS.name(ENV))
    assert isinstance(alert, AlertEvent)
    assert alert.tags["rev"] == "4"


async def test_whoever_wants_to_know_hears_of_each_swap() -> None:
    here = small_world()
    watch = watch_of(here)
    heard: list[tuple[int, ...]] = []
    watch.when_swapped(lambda: heard.append(tuple(each.rev for each in watch.in_force().snapshots())))
    await switch(here, rev=1, seq=1)
    await watch.start()
    await switch(here, rev=1, seq=2, canary=await canary_of(here, 2, 0.5))
    await watch.poll()
    await watch.poll()

    assert heard == [(1,), (1, 2)]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 8), st.booleans(), st.sampled_from((None, 0.0, 0.5, 1.0))),
        min_size=1,
        max_size=12,
    )
)
def test_seq_never_goes_back_whatever_is_told_in_which_order(
    steps: list[tuple[int, int, bool, float | None]],
) -> None:
    async def run() -> None:
        here = small_world()
        watch = watch_of(here)
        seen = 0
        for rev, seq, by_event, share in steps:
            canary = None if share is None else await canary_of(here, rev + 5, share)
            await switch(here, rev=rev, seq=seq, canary=canary)
            await (watch.on_cfg_event(event(rev, seq)) if by_event else watch.poll())
            assert watch.current().seq >= seen
            # One switch holds for both sides: no signal is ever decided by an older one.
            assert {watch.of(signal_id).seq for signal_id in SIGNALS[:20]} == {watch.current().seq}
            seen = watch.current().seq

    asyncio.run(run())
