"""Stores that fail as real ones do, and that know what was promised."""

from decimal import Decimal

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.contracts.collections import FUNDING_RECORDS
from chimera.contracts.documents import FundingRecord, KillSwitchState
from chimera.contracts.enums import Severity, Switch
from chimera.contracts.messages import AlertEvent
from chimera.contracts.streams import dlq
from chimera.ports.bus import NoSuchGroup
from chimera.runtime.kill_switch import KILL_SWITCH_STATE
from chimera.simulation.attack.disk import Disk
from chimera.simulation.attack.stores import OWED_MS, CountedBus, CountedLocks
from chimera.simulation.loop import run_virtual

BEGIN_MS = 1_700_000_000_000
STREAM, GROUP = "dev:alerts", "s11-health"


def message(number: int = 0) -> AlertEvent:
    return AlertEvent(ts=BEGIN_MS + number, severity=Severity.INFO, source="s1", message=f"number {number}")


def counted(clock: LoopClock) -> CountedBus:
    return CountedBus(clock, maxlen_max=1_000, observe=lambda *_: None)


async def later(clock: LoopClock) -> None:
    await clock.sleep_until_ms(clock.now_ms() + OWED_MS + 1)


def test_a_wiped_bus_has_no_groups_and_wakes_who_waits() -> None:
    async def run() -> None:
        bus = MemoryBus(LoopClock(BEGIN_MS))
        await bus.ensure_group(STREAM, GROUP)
        await bus.publish(STREAM, message())
        bus.wipe()
        with pytest.raises(NoSuchGroup):
            await bus.read(STREAM, GROUP, "c", count=1, block_ms=None)
        assert await bus.recent(STREAM, 10) == ()

    run_virtual(run())


def test_a_failover_loses_the_newest_and_delivers_what_was_delivered_again() -> None:
    async def run() -> None:
        bus = MemoryBus(LoopClock(BEGIN_MS))
        await bus.ensure_group(STREAM, GROUP)
        for number in range(5):
            await bus.publish(STREAM, message(number))
        first = await bus.read(STREAM, GROUP, "c", count=5, block_ms=0)
        await bus.ack(STREAM, GROUP, [each.entry_id for each in first])
        bus.fail_over(entries=1, deliveries=2)
        again = await bus.read(STREAM, GROUP, "c", count=5, block_ms=0)
        assert [each.message for each in again] == [message(3)]
        new = await bus.publish(STREAM, message(9))
        assert new > first[-1].entry_id

    run_virtual(run())


def test_what_was_trimmed_is_not_delivered() -> None:
    async def run() -> None:
        bus = MemoryBus(LoopClock(BEGIN_MS))
        await bus.ensure_group(STREAM, GROUP)
        for number in range(5):
            await bus.publish(STREAM, message(number))
        bus.trim(2)
        read = await bus.read(STREAM, GROUP, "c", count=5, block_ms=0)
        assert [each.message for each in read] == [message(3), message(4)]

    run_virtual(run())


def test_an_entry_is_owed_until_it_is_acknowledged() -> None:
    async def run() -> None:
        clock = LoopClock(BEGIN_MS)
        bus = counted(clock)
        await bus.ensure_group(STREAM, GROUP)
        entry_id = await bus.publish(STREAM, message())
        assert await bus.unread() == []
        await later(clock)
        assert await bus.unread() == [f"{GROUP} never acknowledged 1 entries of {STREAM}, the first {entry_id}"]
        await bus.ack(STREAM, GROUP, [entry_id])
        assert await bus.unread() == []

    run_virtual(run())


def test_a_group_that_begins_at_the_end_owes_what_it_left_out() -> None:
    async def run() -> None:
        clock = LoopClock(BEGIN_MS)
        bus = counted(clock)
        await bus.publish(STREAM, message())
        await bus.ensure_group(STREAM, GROUP)
        await bus.ack(STREAM, GROUP, [])
        await later(clock)
        assert len(await bus.unread()) == 1

    run_virtual(run())


def test_gibberish_belongs_to_the_dead_letters() -> None:
    async def run() -> None:
        clock = LoopClock(BEGIN_MS)
        bus = counted(clock)
        await bus.ensure_group(STREAM, GROUP)
        assert await bus.poison(0) == STREAM
        (read,) = await bus.read(STREAM, GROUP, "c", count=1, block_ms=0)
        await bus.ack(STREAM, GROUP, [read.entry_id])
        assert await bus.unread() == [f"1 entries of {STREAM} were gibberish, 0 are dead letters"]
        await bus.publish_fields(dlq(STREAM), {"error": "gibberish"})
        assert await bus.unread() == []

    run_virtual(run())


def test_a_lock_that_two_hold_is_named() -> None:
    async def run() -> None:
        clock = LoopClock(BEGIN_MS)
        locks = CountedLocks(clock)
        await locks.acquire("k", "a", ttl_ms=1_000)
        await locks.release("k", "a")
        await locks.acquire("k", "b", ttl_ms=1_000)
        assert locks.broken == []
        locks._owners.clear()
        await locks.acquire("k", "c", ttl_ms=1_000)
        assert locks.broken == ["c got k while b held it"]

    run_virtual(run())


def funding(time_ms: int, amount: str = "1") -> FundingRecord:
    return FundingRecord(
        symbol="BTCUSDT", funding_time=time_ms, funding_rate=Decimal("0.0001"), amount_usdt=Decimal(amount)
    )


def test_a_power_cut_takes_what_was_not_synced() -> None:
    async def run() -> None:
        disk = Disk.empty()
        await disk.put(FUNDING_RECORDS, funding(1))
        await disk.put(KILL_SWITCH_STATE, KillSwitchState(state=Switch.ON, actor="test", updated_at=BEGIN_MS))
        await disk.put(FUNDING_RECORDS, funding(1, "2"))
        await disk.put(FUNDING_RECORDS, funding(2))

        assert disk.lose() == 2

        kept = await disk.get(FUNDING_RECORDS, funding(1).doc_key())
        assert kept is not None
        assert kept.amount_usdt == 1
        assert await disk.get(FUNDING_RECORDS, funding(2).doc_key()) is None
        assert set(disk.bodies[FUNDING_RECORDS.name]) == {funding(1).doc_key()}
        assert disk.lose() == 0

    run_virtual(run())
