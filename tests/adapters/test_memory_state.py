"""What the memory state adds to the ports: nothing grows with what is over, and lives are our own work's time."""

from chimera.adapters.memory.state import MemoryIdempotency, MemoryLocks, MemorySnapshots
from tests.ports.hand_clock import HandClock


async def test_claims_that_are_over_take_no_memory() -> None:
    clock = HandClock()
    idempotency = MemoryIdempotency(clock)
    for number in range(1_000):
        await idempotency.claim(f"order-{number}", ttl_ms=100)
        await clock.advance(1)

    assert len(idempotency._claimed) <= 101


async def test_a_key_renewed_for_ever_takes_the_memory_of_one() -> None:
    clock = HandClock()
    snapshots = MemorySnapshots(clock)
    for _ in range(1_000):
        await snapshots.set_hash("mkt:snap", {"last": "1"}, ttl_ms=60)
        await clock.advance(50)

    assert len(snapshots._lives._heap) == 1
    assert await snapshots.get_hash("mkt:snap") == {"last": "1"}


async def test_a_lock_means_the_same_real_time_however_fast_the_market_runs() -> None:
    clock = HandClock(speed=60)
    locks = MemoryLocks(clock)
    await locks.acquire("lock:pos", "a", ttl_ms=3_000)

    await clock.advance(3_000 * 59)
    kept = await locks.acquire("lock:pos", "b", ttl_ms=3_000)
    await clock.advance(3_000)

    assert kept is None
    assert await locks.acquire("lock:pos", "b", ttl_ms=3_000) is not None
