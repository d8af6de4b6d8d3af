"""A reader keeps order, acknowledges what is durable, waits for what is down and is blocked by nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.contracts.enums import CfgEventKind
from chimera.contracts.messages import CfgEvent
from chimera.contracts.streams import ATTEMPTS_MAX, CFG_EVENTS, dlq
from chimera.ports.bus import BusUnavailable, Undecodable
from chimera.ports.documents import DocumentsUnavailable
from chimera.runtime.consumer import Consumer
from chimera.runtime.service import Gather, Poison
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled

ENV = "dev"
STREAM = CFG_EVENTS.name(ENV)
GROUP = "g-test"


def note(number: int) -> CfgEvent:
    return CfgEvent(rev=number, bundle_id="b", event=CfgEventKind.PROMOTE, activated_at=1, hash="h", seq=number)


@dataclass
class Desk:
    """One reader of one stream, and what came of it."""

    clock: LoopClock
    bus: Meddled
    handle: Callable[[CfgEvent], Awaitable[None]] | None = None
    done: list[int] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None

    @classmethod
    async def open(cls, handle: Callable[["Desk", CfgEvent], Awaitable[None]] | None = None, **how: Any) -> "Desk":
        clock = LoopClock(1_000_000)
        desk = cls(clock, Meddled(MemoryBus(clock)))
        desk.start(handle, **how)
        return desk

    def start(self, handle: Callable[["Desk", CfgEvent], Awaitable[None]] | None = None, **how: Any) -> None:
        async def take(message: CfgEvent) -> None:
            self.tried.append(message.rev)
            if handle is not None:
                await handle(self, message)
            self.done.append(message.rev)

        async def on_poison(poison: Poison) -> None:
            self.poison.append(poison)

        consumer = Consumer(
            **{
                "stream": STREAM,
                "group": GROUP,
                "name": "one",
                "handle": take,
                "broadcast": False,
                "bus": self.bus,
                "clock": self.clock,
                "randomness": SeededRandomness(3),
                "metrics": PrometheusMetrics(),
                "on_poison": on_poison,
            }
            | how
        )
        self.task = asyncio.get_running_loop().create_task(consumer.run())

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def publish(self, *numbers: int) -> None:
        for number in numbers:
            await self.bus.inner.publish(STREAM, note(number))

    async def wait(self, duration_ms: int) -> None:
        await self.clock.sleep_until_ms(self.clock.now_ms() + duration_ms)

    async def pending(self) -> int:
        count: int = await self.bus.inner.pending(STREAM, GROUP)
        return count


async def fails_on_two(desk: Desk, message: CfgEvent) -> None:
    if message.rev == 2:
        raise ValueError("two is no good")


def test_entries_are_handled_in_order_and_acknowledged() -> None:
    async def scenario() -> None:
        desk = await Desk.open()

        await desk.publish(*range(1, 200))
        await desk.wait(10)

        assert desk.done == list(range(1, 200))
        assert await desk.pending() == 0

    run_virtual(scenario())


def test_what_was_published_before_a_group_existed_is_read() -> None:
    async def scenario() -> None:
        clock = LoopClock(1_000_000)
        desk = Desk(clock, Meddled(MemoryBus(clock)))
        await desk.publish(1, 2)

        desk.start()
        await desk.wait(10)

        assert desk.done == [1, 2]

    run_virtual(scenario())


def test_a_message_that_fails_five_times_is_buried_with_its_error_and_the_stream_goes_on() -> None:
    async def scenario() -> None:
        desk = await Desk.open(fails_on_two)

        await desk.publish(1, 2, 3)
        await desk.wait(20_000)

        assert desk.tried == [1, *[2] * ATTEMPTS_MAX, 3]
        assert desk.done == [1, 3]
        (buried,) = await desk.bus.inner.recent(dlq(STREAM), 10)
        extra = dict(buried.extra)
        assert buried.message == note(2)
        assert (extra["error"], extra["attempts"]) == ("ValueError: two is no good", "5")
        assert [(poison.delivery.message, poison.error) for poison in desk.poison] == [
            (note(2), "ValueError: two is no good")
        ]
        assert await desk.pending() == 0

    run_virtual(scenario())


def test_a_message_that_succeeds_on_its_fifth_try_is_not_buried() -> None:
    async def scenario() -> None:
        async def four_times(desk: Desk, message: CfgEvent) -> None:
            if len(desk.tried) < ATTEMPTS_MAX:
                raise ValueError("not yet")

        desk = await Desk.open(four_times)

        await desk.publish(1)
        await desk.wait(20_000)

        assert (desk.done, desk.poison) == ([1], [])
        assert await desk.bus.inner.recent(dlq(STREAM), 10) == ()

    run_virtual(scenario())


def test_what_cannot_be_read_is_buried_at_once_as_it_came() -> None:
    async def scenario() -> None:
        desk = await Desk.open()

        await desk.bus.inner.publish_fields(STREAM, {"type": "CfgEvent", "v": "1", "seq": "0", "payload": "{"})
        await desk.publish(2)
        await desk.wait(10)

        assert desk.done == [2]
        (buried,) = await desk.bus.inner.recent(dlq(STREAM), 10)
        assert isinstance(buried.message, Undecodable)
        assert buried.message.fields["payload"] == "{"
        assert buried.message.fields["attempts"] == "1"
        assert len(desk.poison) == 1
        assert await desk.pending() == 0

    run_virtual(scenario())


def test_a_dependency_that_is_down_is_waited_for_and_is_no_attempt() -> None:
    async def scenario() -> None:
        async def down_for_a_minute(desk: Desk, message: CfgEvent) -> None:
            if desk.clock.now_ms() < 1_060_000:
                raise DocumentsUnavailable("a failover")

        desk = await Desk.open(down_for_a_minute)

        await desk.publish(1, 2)
        await desk.wait(50_000)
        before = (list(desk.done), await desk.pending())
        await desk.wait(30_000)

        assert before == ([], 2)
        assert desk.tried.count(1) > ATTEMPTS_MAX
        assert (desk.done, desk.poison) == ([1, 2], [])
        assert await desk.pending() == 0

    run_virtual(scenario())


def test_nothing_is_acknowledged_before_its_effect_is_durable() -> None:
    async def scenario() -> None:
        async def slow(desk: Desk, message: CfgEvent) -> None:
            await desk.wait(1_000)

        desk = await Desk.open(slow)

        await desk.publish(1, 2)
        await desk.wait(500)
        first_in_hand = await desk.pending()
        await desk.wait(1_000)
        second_in_hand = await desk.pending()

        assert (first_in_hand, second_in_hand) == (2, 1)

    run_virtual(scenario())


def test_what_a_dead_reader_had_in_hand_is_taken_over() -> None:
    async def scenario() -> None:
        async def for_ever(desk: Desk, message: CfgEvent) -> None:
            await asyncio.get_running_loop().create_future()

        desk = await Desk.open(for_ever)
        await desk.publish(1, 2)
        await desk.wait(10)
        await desk.stop()
        await desk.wait(31_000)

        desk.start(name="two")
        await desk.wait(10)

        assert desk.done == [1, 2]
        assert await desk.pending() == 0

    run_virtual(scenario())


@pytest.mark.parametrize("method", ["ack", "publish_fields"])
def test_a_bus_that_fails_in_the_middle_of_a_batch_changes_no_order(method: str) -> None:
    """Acknowledging, and burying: a reader that gave up here would find the rest only after newer entries."""

    async def scenario() -> None:
        desk = await Desk.open(fails_on_two)
        until_ms = desk.clock.now_ms() + 15_000

        async def down(call: Any, *args: Any) -> Any:
            if desk.clock.now_ms() < until_ms:
                raise BusUnavailable("a failover")
            return await call(*args)

        desk.bus.instead[method] = down
        await desk.publish(1, 2, 3)
        await desk.wait(10_000)
        await desk.publish(4)
        await desk.wait(20_000)

        assert desk.done == [1, 3, 4]
        assert desk.tried == [1, *[2] * ATTEMPTS_MAX, 3, 4]
        assert len(await desk.bus.inner.recent(dlq(STREAM), 10)) == 1
        assert len(desk.poison) == 1
        assert await desk.pending() == 0

    run_virtual(scenario())


def test_a_broadcast_reader_begins_with_what_comes_now_and_leaves_nothing_pending() -> None:
    async def scenario() -> None:
        clock = LoopClock(1_000_000)
        desk = Desk(clock, Meddled(MemoryBus(clock)))
        await desk.publish(1)

        desk.start(broadcast=True)
        await desk.wait(10)
        await desk.publish(2, 3)
        await desk.wait(10)

        assert desk.done == [2, 3]

    run_virtual(scenario())


def test_a_broadcast_reader_goes_on_where_it_was_when_the_bus_comes_back() -> None:
    async def scenario() -> None:
        desk = await Desk.open(broadcast=True)
        await desk.wait(10)
        await desk.publish(1)
        await desk.wait(10)

        async def down(call: Any, *args: Any, **kwargs: Any) -> Any:
            del desk.bus.instead["read_broadcast"]
            await desk.publish(3)
            raise BusUnavailable("a failover")

        desk.bus.instead["read_broadcast"] = down
        await desk.publish(2)
        await desk.wait(5_000)

        assert desk.done == [1, 2, 3]

    run_virtual(scenario())


BY_THE_SECOND = Gather(within_ms=1_000, border_ms=60_000, moment=lambda message: message.activated_at)


def price(number: int, at_ms: int) -> CfgEvent:
    return note(number).but(activated_at=at_ms)


class Prices(Desk):
    """`publish_now`: a message that says it is of this moment, or of so long ago."""

    async def publish_now(self, number: int, *, late_ms: int = 0) -> None:
        await self.bus.inner.publish(STREAM, price(number, self.clock.now_ms() - late_ms))


async def gathering(start_ms: int = 1_020_000) -> Prices:
    clock = LoopClock(start_ms)
    prices = Prices(clock, Meddled(MemoryBus(clock)))
    prices.start(gather=BY_THE_SECOND)
    return prices


def test_of_what_comes_too_soon_the_newest_is_handled_and_all_is_acknowledged() -> None:
    async def scenario() -> None:
        desk = await gathering()
        for number in range(1, 26):
            await desk.publish_now(number)
            await desk.wait(99)
        await desk.wait(2_000)

        # One each 99 ms, handled at 0, 1000 and 2000 ms; the last one came at 2376 and waited for 3000.
        assert desk.done == [1, 11, 21, 25]
        assert await desk.pending() == 0

    run_virtual(scenario())


def test_a_bus_that_fails_while_more_is_gathered_leaves_nothing_in_hand_behind() -> None:
    """A price that came back thirty seconds later, behind newer ones, would be no price of its minute any more."""

    async def scenario() -> None:
        desk = await gathering()
        asked: list[int] = []

        async def down_once(call: Any, *args: Any, **how: Any) -> Any:
            if how.get("block_ms") == 0:
                asked.append(desk.clock.now_ms())
                if len(asked) == 1:
                    raise BusUnavailable("a failover")
            return await call(*args, **how)

        desk.bus.instead["read"] = down_once
        await desk.publish_now(1)
        await desk.wait(10)
        await desk.publish_now(2)
        await desk.wait(2_500)

        assert asked, "more was asked for"
        assert desk.done == [1, 2]
        assert await desk.pending() == 0

    run_virtual(scenario())


def test_what_comes_after_a_pause_waits_for_nothing() -> None:
    async def scenario() -> None:
        desk = await gathering()
        for number in (1, 2, 3):
            await desk.publish_now(number)
            await desk.wait(1)
            assert desk.done[-1] == number
            await desk.wait(1_500)

    run_virtual(scenario())


def test_the_last_before_a_border_is_handled_besides_and_at_the_border() -> None:
    async def scenario() -> None:
        desk = await gathering(60_000 * 20 - 300)
        for number, wait_ms in ((1, 100), (2, 100), (3, 99), (4, 1)):
            await desk.publish_now(number)
            await desk.wait(wait_ms)
        await desk.wait(1)
        assert desk.done == [1, 4], "what held at the border is known at the border"
        await desk.publish_now(5)
        await desk.wait(5)
        await desk.publish_now(6)
        await desk.wait(5)
        assert desk.done == [1, 4]
        await desk.wait(1_000)

        assert desk.done == [1, 4, 6]

    run_virtual(scenario())


def test_one_that_belongs_before_a_border_that_has_passed_waits_for_nothing() -> None:
    async def scenario() -> None:
        desk = await gathering(60_000 * 20 - 50)
        await desk.publish_now(1)
        await desk.wait(60)
        await desk.publish_now(2, late_ms=20)
        await desk.wait(1)

        assert desk.done == [1, 2]

    run_virtual(scenario())


def test_a_backlog_over_borders_leaves_the_last_of_each_minute() -> None:
    async def scenario() -> None:
        clock = LoopClock(10 * 60_000)
        desk = Prices(clock, Meddled(MemoryBus(clock)))
        for number in range(1, 13):
            # Of every quarter of a minute one; the fourth stands on the border and belongs before it.
            await desk.bus.inner.publish(STREAM, price(number, number * 15_000))

        desk.start(gather=BY_THE_SECOND)
        await desk.wait(1)

        assert desk.done == [4, 8, 12]
        assert await desk.pending() == 0

    run_virtual(scenario())


def test_what_cannot_be_read_is_buried_even_where_only_the_newest_counts() -> None:
    async def scenario() -> None:
        desk = await gathering()
        await desk.publish_now(1)
        await desk.wait(1)
        await desk.publish_now(2)
        await desk.bus.inner.publish_fields(STREAM, {"payload": "{", "type": "CfgEvent", "v": "1", "seq": "9"})
        await desk.publish_now(3)
        await desk.wait(2_000)

        assert desk.done == [1, 2, 3]
        assert len(await desk.bus.inner.recent(dlq(STREAM), 10)) == 1
        assert await desk.pending() == 0

    run_virtual(scenario())


def test_a_price_that_fails_is_tried_again_and_the_next_ones_wait() -> None:
    async def scenario() -> None:
        desk = await Desk.open(fails_on_two, gather=BY_THE_SECOND)
        for number in (1, 2):
            await desk.bus.inner.publish(STREAM, price(number, 60_000 * number))
        await desk.wait(20_000)
        await desk.bus.inner.publish(STREAM, price(3, desk.clock.now_ms()))
        await desk.wait(2_000)

        assert desk.tried == [1, *[2] * ATTEMPTS_MAX, 3]
        assert await desk.pending() == 0

    run_virtual(scenario())
