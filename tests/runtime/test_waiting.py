"""Waiting ends when told or at the deadline, whichever is first, and leaves nothing running."""

import asyncio

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.runtime.waiting import Changed, DeadlinePassed, together, unless, until, wait_for
from chimera.simulation.loop import run_virtual


async def sleep(clock: LoopClock, duration_ms: int) -> None:
    await clock.sleep_until_ms(clock.now_ms() + duration_ms)


def test_work_that_is_done_in_time_gives_its_result_and_no_timer_stays() -> None:
    async def scenario() -> None:
        clock = LoopClock(0)

        async def work() -> str:
            await sleep(clock, 50)
            return "done"

        assert await until(clock, 100, work()) == "done"
        assert clock.now_ms() == 50
        await sleep(clock, 200)

    run_virtual(scenario())


def test_work_that_takes_too_long_is_canceled_at_the_deadline() -> None:
    async def scenario() -> None:
        clock = LoopClock(0)
        told: list[str] = []

        async def work() -> None:
            try:
                await sleep(clock, 500)
            except asyncio.CancelledError:
                told.append("canceled")
                raise

        with pytest.raises(DeadlinePassed):
            await until(clock, 100, work())

        assert (clock.now_ms(), told) == (100, ["canceled"])

    run_virtual(scenario())


def test_a_deadline_that_has_passed_gives_the_work_no_time() -> None:
    async def scenario() -> None:
        clock = LoopClock(1_000)

        with pytest.raises(DeadlinePassed):
            await until(clock, 500, sleep(clock, 10))

        assert clock.now_ms() == 1_000

    run_virtual(scenario())


def test_work_that_fails_fails_here() -> None:
    async def scenario() -> None:
        clock = LoopClock(0)

        async def work() -> None:
            raise ValueError("as it is")

        with pytest.raises(ValueError, match="as it is"):
            await until(clock, 100, work())

    run_virtual(scenario())


def test_work_that_withdraws_by_itself_is_no_deadline() -> None:
    async def scenario() -> None:
        clock = LoopClock(0)

        async def work() -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await until(clock, 100, work())

    run_virtual(scenario())


def test_whoever_waits_is_canceled_together_with_the_work() -> None:
    async def scenario() -> None:
        clock = LoopClock(0)
        told: list[str] = []

        async def work() -> None:
            try:
                await sleep(clock, 500)
            finally:
                told.append("ended")

        waiting = asyncio.ensure_future(until(clock, 1_000, work()))
        await sleep(clock, 10)
        waiting.cancel()
        result = await asyncio.gather(waiting, return_exceptions=True)
        await sleep(clock, 10)

        assert isinstance(result[0], asyncio.CancelledError)
        assert told == ["ended"]

    run_virtual(scenario())


def test_everybody_who_waits_is_told_once_in_the_order_they_came() -> None:
    async def scenario() -> None:
        clock = LoopClock(0)
        changed = Changed()
        told: list[tuple[str, bool, int]] = []

        async def wait(name: str) -> None:
            told.append((name, await changed.wait_until(clock, 1_000), clock.now_ms()))

        waiting = [asyncio.ensure_future(wait(name)) for name in ("b", "a", "c")]
        await sleep(clock, 100)
        assert not changed.idle
        changed.tell()
        assert changed.idle
        changed.tell()
        await asyncio.gather(*waiting)

        assert told == [("b", True, 100), ("a", True, 100), ("c", True, 100)]

    run_virtual(scenario())


def test_at_the_deadline_a_waiter_is_forgotten() -> None:
    async def scenario() -> None:
        clock = LoopClock(0)
        changed = Changed()

        told = await changed.wait_until(clock, 70)

        assert (told, clock.now_ms(), changed.idle) == (False, 70, True)

    run_virtual(scenario())


def test_a_waiter_that_is_canceled_is_forgotten() -> None:
    async def scenario() -> None:
        clock = LoopClock(0)
        changed = Changed()
        waiting = asyncio.ensure_future(changed.wait_until(clock, 1_000))
        await sleep(clock, 1)

        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        assert changed.idle

    run_virtual(scenario())


def test_a_condition_is_looked_at_again_whenever_something_changed() -> None:
    async def scenario() -> None:
        clock = LoopClock(0)
        changed = Changed()
        looks: list[int] = []

        def is_so() -> bool:
            looks.append(clock.now_ms())
            return clock.now_ms() >= 20

        for at_ms in (10, 20):
            clock.call_at_ms(at_ms, changed.tell)

        assert await wait_for(clock, changed, 1_000, is_so)
        assert looks == [0, 10, 20]

    run_virtual(scenario())


@pytest.mark.parametrize(("so", "deadline_ms"), [(True, -5), (False, -5), (False, 30)])
def test_a_deadline_ends_waiting_unless_it_is_so_already(so: bool, deadline_ms: int) -> None:
    async def scenario() -> None:
        clock = LoopClock(0)

        assert await wait_for(clock, Changed(), deadline_ms, lambda: so) is so
        assert clock.now_ms() == max(0, deadline_ms)

    run_virtual(scenario())


def test_who_is_canceled_while_late_work_ends_is_canceled() -> None:
    """Late work may take its time to end; to be cancelled meanwhile is not to be late."""

    async def scenario() -> None:
        clock = LoopClock(0)
        told: list[str] = []

        async def work() -> None:
            try:
                await sleep(clock, 500)
            except asyncio.CancelledError:
                await sleep(clock, 50)
                raise

        async def waiter() -> None:
            try:
                await until(clock, 100, work())
            except DeadlinePassed:
                told.append("late")

        waiting = asyncio.ensure_future(waiter())
        await sleep(clock, 120)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert told == []

    run_virtual(scenario())


def test_work_that_is_told_to_stop_has_ended_before_that_is_said() -> None:
    async def scenario() -> None:
        clock, stopping, told = LoopClock(0), asyncio.Event(), list[str]()

        async def work() -> str:
            try:
                await sleep(clock, 500)
            finally:
                await sleep(clock, 20)
                told.append("put away")
            return "done"

        clock.call_at_ms(100, stopping.set)

        assert await unless(stopping, work()) is None
        assert (clock.now_ms(), told) == (120, ["put away"])

    run_virtual(scenario())


def test_work_that_nobody_stops_gives_its_result_and_its_failure() -> None:
    async def scenario() -> None:
        stopping = asyncio.Event()

        async def work() -> str:
            return "done"

        async def failing() -> None:
            raise LookupError("nobody is there")

        assert await unless(stopping, work()) == "done"
        with pytest.raises(LookupError):
            await unless(stopping, failing())

    run_virtual(scenario())


def test_who_cancels_work_that_may_be_stopped_is_not_told_that_it_was_stopped() -> None:
    async def scenario() -> None:
        clock, stopping = LoopClock(0), asyncio.Event()
        waiting = asyncio.ensure_future(unless(stopping, sleep(clock, 500)))
        await sleep(clock, 10)

        waiting.cancel()
        stopping.set()

        with pytest.raises(asyncio.CancelledError):
            await waiting

    run_virtual(scenario())


def test_what_goes_on_together_waits_for_no_other_and_ends_with_the_first_failure() -> None:
    async def scenario() -> None:
        clock, told = LoopClock(0), list[str]()

        async def work(name: str, duration_ms: int, failure: Exception | None = None) -> None:
            try:
                await sleep(clock, duration_ms)
            except asyncio.CancelledError:
                told.append(f"{name} canceled")
                raise
            told.append(name)
            if failure is not None:
                raise failure

        await together(work("slow", 50), work("quick", 10))
        assert (clock.now_ms(), told) == (50, ["quick", "slow"])

        with pytest.raises(LookupError):
            await together(work("for ever", 10**9), work("broken", 10, LookupError()))
        assert (clock.now_ms(), told[2:]) == (60, ["broken", "for ever canceled"])

    run_virtual(scenario())
