"""A switch of the configuration arrives everywhere: at once where its news arrives, by the poll where it is lost."""

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.blueprint import still_venue
from chimera.app.worlds import one_process_world
from chimera.domain.config.lint import lint
from chimera.ports.peers import PeerCall
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.http import LocalPeers
from chimera.runtime.runner import Runner
from chimera.runtime.service import Service
from chimera.services.s10_config import service as s10
from chimera.services.s10_config.settings import ConfigSettings
from chimera.simulation.bench.config_house import Forgetful
from chimera.simulation.loop import run_virtual

ENV = "dev"
BEGIN_MS = 1_700_000_000_000
READERS = ("s2", "s3", "s6")
REPLICAS = 4
SWITCHES = 25
BY_EVENT_MS_MAX = 1_000
BY_POLL_MS_MAX = 5_000
"""I8: a decision later than a switch + 5 s carries the new revision."""
LOOK_EVERY_MS = 10


async def lags_ms(*, loses: bool) -> list[int]:
    """Of every reader at every switch, how long it went on with the revision before."""
    clock = LoopClock(BEGIN_MS)
    venue, factor_feed = still_venue(clock)
    bus, peers = Forgetful(clock), LocalPeers()
    world = one_process_world(
        clock=clock,
        randomness=SeededRandomness(1),
        documents=SqliteDocuments.in_loop(),
        venue=venue,
        factor_feed=factor_feed,
        objects=MemoryObjects(),
        peers=peers,
        bus=bus,
    )
    service = s10.build(world, ConfigSettings(env=ENV))
    peers.add("s10", service.routes)
    runners = [Runner(service, world, ENV)]
    await runners[0].start()
    watches: list[ConfigWatch] = []
    for number in range(REPLICAS):
        for reader in READERS:
            watch = ConfigWatch(world, ENV, service=reader, check=lint)
            timers = (watch.every(),)
            runner = Runner(
                Service(id=reader, card="", consumes=(watch.consume(),), timers=timers, start=watch.start),
                world,
                ENV,
                consumer_name=str(number),
            )
            await runner.start()
            watches.append(watch)
            runners.append(runner)
            # Replicas were not all started at one moment, so they do not all look at one moment.
            await clock.sleep_until_ms(clock.now_ms() + 370)
    bus.loses = loses
    lags: list[int] = []
    for number in range(SWITCHES):
        flags = {"risk": {"slip_bp_max": 1 + number / 10}}
        made = await peers.call(PeerCall("s10", "POST", "/bundles", {"flags": flags}))
        bundle_id = made.body["bundle_id"]
        await peers.call(PeerCall("s10", "POST", f"/bundles/{bundle_id}/stage"))
        switched_at = clock.now_ms()
        told = await peers.call(PeerCall("s10", "POST", "/promote", {"bundle_id": bundle_id}))
        assert told.status == 200, told.body
        behind = list(watches)
        while behind:
            followed = [watch for watch in behind if watch.current().seq >= told.body["seq"]]
            lags += [clock.now_ms() - switched_at] * len(followed)
            behind = [watch for watch in behind if watch not in followed]
            await clock.sleep_until_ms(clock.now_ms() + LOOK_EVERY_MS)
            assert clock.now_ms() - switched_at < 60_000, "a reader does not follow at all"
        # Anywhere between two looks.
        await clock.sleep_until_ms(clock.now_ms() + 1_170 * (number % 7))
    for runner in runners:
        await runner.stop()
    return sorted(lags)


def p95(values: list[int]) -> int:
    return values[int(0.95 * len(values))]


def test_by_event_every_reader_follows_within_a_second() -> None:
    lags = run_virtual(lags_ms(loses=False))

    assert len(lags) == SWITCHES * REPLICAS * len(READERS)
    assert p95(lags) < BY_EVENT_MS_MAX
    assert max(lags) < BY_EVENT_MS_MAX


def test_where_the_event_is_lost_every_reader_follows_by_its_poll() -> None:
    lags = run_virtual(lags_ms(loses=True))

    assert len(lags) == SWITCHES * REPLICAS * len(READERS)
    assert p95(lags) <= BY_POLL_MS_MAX
    assert max(lags) <= BY_POLL_MS_MAX + LOOK_EVERY_MS
    assert max(lags) > BY_EVENT_MS_MAX, "nothing was lost, so nothing was tried"
