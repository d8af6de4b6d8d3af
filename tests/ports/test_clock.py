"""What the clock promises, on the system's loop and on a virtual one."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.simulation.loop import run_virtual

START_MS = 1_700_000_000_000

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[pytest.param(asyncio.run, id="system-loop"), pytest.param(run_virtual, id="virtual-loop")])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


def test_time_begins_where_it_was_told_to(run: Run) -> None:
    async def go() -> int:
        return LoopClock(START_MS).now_ms()

    assert START_MS <= run(go()) < START_MS + 1_000


def test_a_sleeper_wakes_at_its_time_and_not_before(run: Run) -> None:
    async def go() -> int:
        clock = LoopClock(START_MS)
        await clock.sleep_until_ms(START_MS + 20)
        return clock.now_ms()

    assert run(go()) >= START_MS + 20


@pytest.mark.parametrize("late_ms", [0, 1, 10_000])
def test_a_time_that_has_passed_is_the_next_turn(run: Run, late_ms: int) -> None:
    async def go() -> bool:
        clock = LoopClock(START_MS)
        await clock.sleep_until_ms(clock.now_ms() - late_ms)
        return True

    assert run(go())


def test_time_never_goes_back(run: Run) -> None:
    async def go() -> list[int]:
        clock, seen = LoopClock(START_MS), []
        for step_ms in (1, 2, 3, 1, 2, 3):
            seen.append(clock.now_ms())
            await clock.sleep_until_ms(clock.now_ms() + step_ms)
        return seen

    seen = run(go())

    assert seen == sorted(seen)


def test_callbacks_run_in_the_order_of_their_times(run: Run) -> None:
    async def go() -> list[int]:
        clock, ran = LoopClock(START_MS), []
        for delay_ms in (15, 5, 10):
            clock.call_at_ms(START_MS + delay_ms, lambda delay_ms=delay_ms: ran.append(delay_ms))
        await clock.sleep_until_ms(START_MS + 30)
        return ran

    assert run(go()) == [5, 10, 15]


def test_a_cancelled_timer_never_runs(run: Run) -> None:
    async def go() -> list[str]:
        clock, ran = LoopClock(START_MS), []
        timer = clock.call_at_ms(START_MS + 5, lambda: ran.append("cancelled"))
        clock.call_at_ms(START_MS + 5, lambda: ran.append("kept"))
        timer.cancel()
        await clock.sleep_until_ms(START_MS + 15)
        return ran

    assert run(go()) == ["kept"]


def test_a_cancelled_sleeper_leaves_at_once(run: Run) -> None:
    async def go() -> int:
        clock = LoopClock(START_MS)
        sleeper = asyncio.create_task(clock.sleep_until_ms(START_MS + 3_600_000))
        await clock.sleep_until_ms(START_MS + 5)
        sleeper.cancel()
        await asyncio.gather(sleeper, return_exceptions=True)
        return clock.now_ms()

    assert run(go()) < START_MS + 60_000


def test_a_sped_up_market_passes_faster_than_our_own_work(run: Run) -> None:
    async def go() -> tuple[int, int, float]:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        clock = LoopClock(START_MS, speed=1_000)
        await clock.sleep_until_ms(START_MS + 20_000)
        return clock.now_ms() - START_MS, clock.work_ms(30), loop.time() - began_s

    market_ms, work_ms, took_s = run(go())

    assert market_ms >= 20_000
    assert work_ms == 30_000
    assert 0.019 <= took_s < 15


@pytest.mark.parametrize("speed", [1.0, 1_000.0])
def test_a_clock_that_slept_is_advanced_at_once_and_its_timers_run_late_never_early(run: Run, speed: float) -> None:
    async def go() -> tuple[int, list[int]]:
        clock, ran = LoopClock(START_MS, speed), []
        before_ms, step_ms = clock.now_ms(), clock.work_ms(20)
        clock.call_at_ms(START_MS + step_ms, lambda: ran.append(clock.now_ms() - START_MS - step_ms))
        clock.advance(10_000_000)
        moved_ms = clock.now_ms() - before_ms
        at_ms = clock.now_ms() + 2 * step_ms
        await clock.sleep_until_ms(at_ms)
        ran.append(clock.now_ms() - at_ms)
        return moved_ms, ran

    moved_ms, (set_before, set_after) = run(go())

    assert moved_ms >= 10_000_000
    assert set_before >= 10_000_000
    assert 0 <= set_after < 10_000_000


def test_a_clock_is_not_put_back(run: Run) -> None:
    async def go() -> None:
        LoopClock(START_MS).advance(-1)

    with pytest.raises(ValueError, match="does not go back"):
        run(go())


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(run: Run, speed: float) -> None:
    async def go() -> None:
        LoopClock(START_MS, speed=speed)

    with pytest.raises(ValueError, match="speed"):
        run(go())


def test_virtual_time_is_exact_to_the_millisecond() -> None:
    async def go() -> list[int]:
        clock, seen = LoopClock(START_MS), []
        for step in range(10_000):
            await clock.sleep_until_ms(START_MS + step * 15_001)
            seen.append(clock.now_ms() - START_MS - step * 15_001)
        return seen

    assert set(run_virtual(go())) == {0}


def test_virtual_work_takes_no_time() -> None:
    async def go() -> int:
        clock = LoopClock(START_MS)
        before_ns = clock.perf_ns()
        sum(range(10_000))
        return clock.perf_ns() - before_ns

    assert run_virtual(go()) == 0
