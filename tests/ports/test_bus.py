"""What every bus promises: at least once, in order per stream, bounded. Nothing about order between streams."""

import asyncio
from decimal import Decimal

import pytest

from chimera.contracts.enums import Market
from chimera.contracts.envelope import encode
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import TickerEvent
from chimera.contracts.streams import MKT_TICKER, dlq
from chimera.ports.bus import Bus, Delivery, NoSuchGroup, Undecodable

from .conftest import BusCase
from .hand_clock import let_others_run

STREAM = MKT_TICKER.name("test", InstrumentKey(Market.FUT, "BTCUSDT"))
GROUP = "s2-features"


def tick(number: int) -> TickerEvent:
    price = Decimal(number)
    return TickerEvent(ts=number, market=Market.FUT, symbol="BTCUSDT", last=price, bid=price, ask=price)


def numbers(deliveries: "list[Delivery] | tuple[Delivery, ...]") -> list[int]:
    return [delivery.message.ts for delivery in deliveries]


async def publish(bus: Bus, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await bus.publish(STREAM, tick(number))


async def read(bus: Bus, count: int = 100, consumer: str = "a", group: str = GROUP) -> "list[Delivery]":
    return list(await bus.read(STREAM, group, consumer, count=count, block_ms=0))


async def test_entries_arrive_in_the_order_of_their_stream(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 5)

    first, second = await read(bus, count=3), await read(bus, count=3)

    assert numbers(first) == [1, 2, 3]
    assert numbers(second) == [4, 5]
    assert [delivery.attempt for delivery in first] == [1, 1, 1]


async def test_a_message_arrives_as_it_was_sent(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    await bus.publish(STREAM, tick(7))

    (delivery,) = await read(bus)

    assert delivery.message == tick(7)
    assert delivery.stream == STREAM
    assert delivery.extra == ()


async def test_a_new_group_begins_at_the_streams_beginning(bus: Bus) -> None:
    await publish(bus, 1, 2)
    await bus.ensure_group(STREAM, GROUP)

    assert numbers(await read(bus)) == [1, 2]


async def test_a_group_may_be_made_before_its_stream(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)

    assert await read(bus) == []


async def test_making_a_group_again_keeps_its_place(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 2)
    await read(bus)
    await bus.ensure_group(STREAM, GROUP)

    assert await read(bus) == []


async def test_every_group_gets_every_entry(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    await bus.ensure_group(STREAM, "s4-router")
    await publish(bus, 1, 3)

    assert numbers(await read(bus)) == [1, 2, 3]
    assert numbers(await read(bus, group="s4-router")) == [1, 2, 3]


async def test_consumers_of_a_group_share_its_entries(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 4)

    shared = await read(bus, count=2, consumer="a") + await read(bus, count=2, consumer="b")

    assert sorted(numbers(shared)) == [1, 2, 3, 4]


async def test_reading_without_the_group_says_so(bus: Bus) -> None:
    await publish(bus, 1, 1)

    with pytest.raises(NoSuchGroup):
        await read(bus)


async def test_a_producers_numbers_show_no_gap(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 5)

    seqs = [delivery.seq for delivery in await read(bus)]

    assert seqs == list(range(seqs[0], seqs[0] + 5))


async def test_an_entry_is_pending_until_it_is_acknowledged(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 3)
    first, *_ = await read(bus)
    before = await bus.pending(STREAM, GROUP)

    await bus.ack(STREAM, GROUP, (first.entry_id,))
    await bus.ack(STREAM, GROUP, (first.entry_id, "1-1"))

    assert (before, await bus.pending(STREAM, GROUP)) == (3, 2)


async def test_lag_counts_what_the_group_never_got(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 5)
    await read(bus, count=2)

    assert await bus.lag(STREAM, GROUP) == 3


async def test_what_a_dead_consumer_left_is_claimed_once_it_was_idle(bus_case: BusCase) -> None:
    bus = bus_case.bus
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 3)
    await read(bus, consumer="dead")
    await bus_case.pass_ms(50)

    claimed = await bus.claim(STREAM, GROUP, "alive", min_idle_ms=40, count=10)

    assert numbers(list(claimed)) == [1, 2, 3]
    assert [delivery.attempt for delivery in claimed] == [2, 2, 2]
    await bus.ack(STREAM, GROUP, [delivery.entry_id for delivery in claimed])
    assert await bus.pending(STREAM, GROUP) == 0


async def test_what_a_consumer_still_works_on_is_not_claimed(bus_case: BusCase) -> None:
    bus = bus_case.bus
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 1)
    await read(bus, consumer="slow")

    assert list(await bus.claim(STREAM, GROUP, "other", min_idle_ms=60_000, count=10)) == []


async def test_a_claimed_entry_begins_its_idle_time_anew(bus_case: BusCase) -> None:
    bus = bus_case.bus
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 1)
    await read(bus, consumer="dead")
    await bus_case.pass_ms(2_050)
    await bus.claim(STREAM, GROUP, "b", min_idle_ms=2_000, count=10)

    again = await bus.claim(STREAM, GROUP, "c", min_idle_ms=2_000, count=10)

    assert list(again) == []


async def test_a_consumer_claims_what_its_own_earlier_life_left(bus_case: BusCase) -> None:
    bus = bus_case.bus
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 2)
    await read(bus, consumer="s2-1")
    await bus_case.pass_ms(50)

    assert numbers(list(await bus.claim(STREAM, GROUP, "s2-1", min_idle_ms=40, count=1))) == [1]
    assert numbers(list(await bus.claim(STREAM, GROUP, "s2-1", min_idle_ms=40, count=1))) == [2]


async def test_an_acknowledged_entry_never_comes_back(bus_case: BusCase) -> None:
    bus = bus_case.bus
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, 1)
    (delivery,) = await read(bus)
    await bus.ack(STREAM, GROUP, (delivery.entry_id,))
    await bus_case.pass_ms(50)

    assert list(await bus.claim(STREAM, GROUP, "b", min_idle_ms=0, count=10)) == []


async def test_a_reader_that_waits_is_woken_by_an_entry(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    waiting = asyncio.create_task(bus.read(STREAM, GROUP, "a", count=10, block_ms=None))
    await let_others_run()

    await publish(bus, 1, 1)

    assert numbers(list(await waiting)) == [1]


async def test_a_reader_that_waits_in_vain_gets_nothing_at_its_deadline(bus_case: BusCase) -> None:
    bus = bus_case.bus
    await bus.ensure_group(STREAM, GROUP)
    waiting = asyncio.create_task(bus.read(STREAM, GROUP, "a", count=10, block_ms=20))

    await bus_case.pass_ms(30)

    assert list(await waiting) == []


async def test_a_reader_that_is_cancelled_takes_no_entry_with_it(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    waiting = asyncio.create_task(bus.read(STREAM, GROUP, "a", count=10, block_ms=None))
    await let_others_run()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    await publish(bus, 1, 1)

    assert numbers(await read(bus, consumer="b")) == [1]


async def test_one_entry_wakes_every_group_that_waits(bus: Bus) -> None:
    groups = ("s2-features", "s4-router", "s6-positions")
    for group in groups:
        await bus.ensure_group(STREAM, group)
    waiting = [asyncio.create_task(bus.read(STREAM, group, "a", count=1, block_ms=None)) for group in groups]
    await let_others_run()

    await publish(bus, 1, 1)

    assert [numbers(list(await task)) for task in waiting] == [[1], [1], [1]]


async def test_a_broadcast_reader_sees_what_comes_after_its_place(bus: Bus) -> None:
    await publish(bus, 1, 2)
    place = await bus.last_id(STREAM)
    await publish(bus, 3, 5)

    later = await bus.read_broadcast(STREAM, place, count=2, block_ms=0)
    rest = await bus.read_broadcast(STREAM, later[-1].entry_id, count=10, block_ms=0)
    none = await bus.read_broadcast(STREAM, rest[-1].entry_id, count=10, block_ms=0)

    assert (numbers(list(later)), numbers(list(rest)), list(none)) == ([3, 4], [5], [])


async def test_broadcast_readers_all_see_all_of_it(bus: Bus) -> None:
    await publish(bus, 1, 2)

    everyone = [await bus.read_broadcast(STREAM, "0", count=10, block_ms=0) for _ in range(3)]

    assert [numbers(list(seen)) for seen in everyone] == [[1, 2]] * 3


async def test_a_broadcast_reader_that_waits_is_woken_by_an_entry(bus: Bus) -> None:
    place = await bus.last_id(STREAM)
    waiting = asyncio.create_task(bus.read_broadcast(STREAM, place, count=10, block_ms=None))
    await let_others_run()

    await publish(bus, 1, 1)

    assert numbers(list(await waiting)) == [1]


async def test_an_empty_stream_has_the_id_0_as_its_last(bus: Bus) -> None:
    assert await bus.last_id(STREAM) == "0"


async def test_a_stream_is_bounded_and_loses_the_oldest_first(bus_case: BusCase) -> None:
    total = bus_case.kept_max * 3
    await publish(bus_case.bus, 1, total)

    kept = numbers(list(await bus_case.bus.recent(STREAM, total)))

    assert bus_case.kept_min <= len(kept) <= bus_case.kept_max
    assert kept == list(range(total - len(kept) + 1, total + 1))


async def test_a_group_that_fell_behind_the_trimming_goes_on_with_what_is_left(bus_case: BusCase) -> None:
    bus, total = bus_case.bus, bus_case.kept_max * 3
    await bus.ensure_group(STREAM, GROUP)
    await publish(bus, 1, total)

    seen = numbers(await read(bus, count=total))

    assert seen == list(range(total - len(seen) + 1, total + 1))
    assert await read(bus) == []
    await publish(bus, total + 1, total + 1)
    assert numbers(await read(bus)) == [total + 1]


async def test_a_broadcast_reader_whose_place_was_trimmed_goes_on_with_what_is_left(bus_case: BusCase) -> None:
    bus = bus_case.bus
    await publish(bus, 1, 1)
    place = await bus.last_id(STREAM)
    await publish(bus, 2, bus_case.kept_max * 3)

    seen = numbers(list(await bus.read_broadcast(STREAM, place, count=1_000, block_ms=0)))

    assert bus_case.kept_min <= len(seen) <= bus_case.kept_max
    assert seen[-1] == bus_case.kept_max * 3


async def test_people_see_the_newest_entries_oldest_first(bus: Bus) -> None:
    await publish(bus, 1, 5)

    assert numbers(list(await bus.recent(STREAM, 2))) == [4, 5]
    assert list(await bus.recent("test:alerts", 2)) == []


async def test_fields_of_a_foreign_producer_become_a_message(bus: Bus) -> None:
    await bus.ensure_group(STREAM, GROUP)
    await bus.publish_fields(STREAM, encode(tick(3), seq=42))

    (delivery,) = await read(bus)

    assert (delivery.message, delivery.seq) == (tick(3), 42)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"payload": "{", "type": "TickerEvent", "v": "1", "seq": "1"}, id="no JSON"),
        pytest.param({"payload": "{}", "type": "TickerEvent", "v": "1", "seq": "1"}, id="breaks the schema"),
        pytest.param({"payload": "{}", "type": "Nonsense", "v": "1", "seq": "1"}, id="unknown type"),
        pytest.param({"payload": "{}", "type": "TickerEvent", "v": "99", "seq": "1"}, id="unknown version"),
        pytest.param({"hello": "world"}, id="no envelope at all"),
    ],
)
async def test_what_cannot_be_read_arrives_whole_with_its_error(bus: Bus, fields: dict[str, str]) -> None:
    await bus.ensure_group(STREAM, GROUP)
    await bus.publish_fields(STREAM, fields)
    await publish(bus, 2, 2)

    spoiled, good = await read(bus)

    assert isinstance(spoiled.message, Undecodable)
    assert dict(spoiled.message.fields) == fields
    assert spoiled.message.error
    assert good.message == tick(2)


async def test_a_dead_letter_keeps_its_error_and_can_be_sent_again(bus: Bus) -> None:
    dead = encode(tick(1), seq=9) | {"error": "it broke", "attempts": "5"}
    await bus.publish_fields(dlq(STREAM), dead)

    (letter,) = await bus.recent(dlq(STREAM), 10)

    assert dict(letter.extra) == {"error": "it broke", "attempts": "5"}
    assert letter.message == tick(1)
    await bus.ensure_group(STREAM, GROUP)
    await bus.publish(STREAM, tick(1))
    assert numbers(await read(bus)) == [1]
