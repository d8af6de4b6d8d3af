"""What the memory bus adds to the port: references instead of JSON, work time under a fast market, the trace's ear."""

from chimera.adapters.memory.bus import MemoryBus
from chimera.contracts.base import Message
from chimera.contracts.envelope import encode
from tests.ports.hand_clock import HandClock
from tests.ports.test_bus import GROUP, STREAM, tick


async def test_a_message_is_handed_over_and_not_copied() -> None:
    bus, sent = MemoryBus(HandClock()), tick(1)
    await bus.ensure_group(STREAM, GROUP)
    await bus.publish(STREAM, sent)

    (delivery,) = await bus.read(STREAM, GROUP, "a", count=1, block_ms=0)

    assert delivery.message is sent


async def test_idleness_is_our_own_works_time_however_fast_the_market_runs() -> None:
    clock = HandClock(speed=60)
    bus = MemoryBus(clock)
    await bus.ensure_group(STREAM, GROUP)
    await bus.publish(STREAM, tick(1))
    await bus.read(STREAM, GROUP, "dead", count=1, block_ms=0)
    claims = []
    for market_ms in (30_000, 30_000 * 59):
        await clock.advance(market_ms)
        claims.append(len(await bus.claim(STREAM, GROUP, "b", min_idle_ms=30_000, count=1)))

    assert claims == [0, 1]


async def test_the_observer_hears_every_message_in_order() -> None:
    heard: list[tuple[str, Message]] = []
    bus = MemoryBus(HandClock(), observe=lambda stream, message: heard.append((stream, message)))

    await bus.publish(STREAM, tick(1))
    await bus.publish_fields(STREAM, encode(tick(2), seq=1))
    await bus.publish_fields(STREAM, {"no": "message"})

    assert heard == [(STREAM, tick(1)), (STREAM, tick(2))]


async def test_what_was_trimmed_unread_counts_as_lag() -> None:
    bus = MemoryBus(HandClock(), maxlen_max=10)
    await bus.ensure_group(STREAM, GROUP)
    for number in range(100):
        await bus.publish(STREAM, tick(number))

    assert await bus.lag(STREAM, GROUP) == 100


async def test_ids_grow_within_a_millisecond_and_over_it() -> None:
    clock = HandClock()
    bus = MemoryBus(clock)
    ids = []
    for _ in range(12):
        ids.append(await bus.publish(STREAM, tick(1)))
        ids.append(await bus.publish(STREAM, tick(2)))
        await clock.advance(1)

    order = [tuple(map(int, entry_id.split("-"))) for entry_id in ids]
    assert order == sorted(set(order))
