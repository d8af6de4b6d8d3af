"""Virtual time: the order of everything, jumps, deadlocks, and memory that stays flat."""

import asyncio
import gc
import subprocess
import sys

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.simulation.loop import Deadlock, VirtualTimeLoop, run_virtual

YEAR_S = 365 * 86_400


def test_a_year_passes_at_once() -> None:
    async def go() -> float:
        await asyncio.sleep(YEAR_S)
        return asyncio.get_running_loop().time()

    assert run_virtual(go()) == YEAR_S


def test_timers_of_one_instant_run_in_the_order_they_were_set() -> None:
    ran: list[int] = []

    async def go() -> None:
        loop = asyncio.get_running_loop()
        for number in range(1_000):
            loop.call_at(5.0, ran.append, number)
        await asyncio.sleep(6)

    run_virtual(go())

    assert ran == list(range(1_000))


def test_timers_of_different_instants_run_by_time() -> None:
    ran: list[float] = []

    async def go() -> None:
        loop = asyncio.get_running_loop()
        for at_s in (3.0, 1.0, 2.0, 1.5):
            loop.call_at(at_s, ran.append, at_s)
        await asyncio.sleep(4)

    run_virtual(go())

    assert ran == [1.0, 1.5, 2.0, 3.0]


def test_all_that_is_ready_runs_before_time_moves() -> None:
    async def go() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), []

        async def worker(name: str) -> None:
            for _ in range(50):
                await asyncio.sleep(0)
            seen.append((name, loop.time()))

        workers = [asyncio.create_task(worker(name)) for name in "abc"]
        await asyncio.sleep(1)
        await asyncio.gather(*workers)
        return seen

    assert run_virtual(go()) == [("a", 0.0), ("b", 0.0), ("c", 0.0)]


def test_a_timer_in_the_past_does_not_turn_time_back() -> None:
    async def go() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(10)
        passed: asyncio.Future[None] = loop.create_future()
        loop.call_at(3.0, passed.set_result, None)
        await passed
        return loop.time()

    assert run_virtual(go()) == 10


def test_a_deadlock_names_all_that_wait_and_where() -> None:
    async def wait_for_ever(what: "asyncio.Future[None]") -> None:
        await what

    async def go() -> None:
        loop = asyncio.get_running_loop()
        waiters = [
            asyncio.create_task(wait_for_ever(loop.create_future()), name=name) for name in ("s4<cmd", "s6@tick")
        ]
        await asyncio.gather(*waiters)

    with pytest.raises(Deadlock) as deadlock:
        run_virtual(go())

    lines = str(deadlock.value).splitlines()
    assert "nothing is scheduled" in lines[0]
    assert [name for name in ("s4<cmd", "s6@tick") if any(name in line for line in lines)] == ["s4<cmd", "s6@tick"]
    assert any("test_loop.py" in line and "s4<cmd" in line for line in lines)


def test_a_timer_that_was_cancelled_does_not_hide_a_deadlock() -> None:
    async def go() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(5, lambda: None).cancel()
        await loop.create_future()

    with pytest.raises(Deadlock):
        run_virtual(go())


def test_a_thread_is_refused_because_it_has_no_virtual_time() -> None:
    async def go() -> None:
        await asyncio.to_thread(sum, (1, 2))

    with pytest.raises(RuntimeError, match="virtual time"):
        run_virtual(go())


def test_what_is_left_behind_is_cancelled_and_may_clean_up() -> None:
    ended: list[str] = []

    async def linger(name: str) -> None:
        try:
            await asyncio.sleep(YEAR_S)
        finally:
            ended.append(name)

    async def go() -> None:
        tasks = [asyncio.create_task(linger(name), name=name) for name in ("b", "a")]
        await asyncio.sleep(1)
        assert len(tasks) == 2

    run_virtual(go())

    assert ended == ["a", "b"]


def test_an_error_of_the_main_task_is_the_answer() -> None:
    async def go() -> None:
        await asyncio.sleep(1)
        raise ValueError("it broke")

    with pytest.raises(ValueError, match="it broke"):
        run_virtual(go())


def test_a_million_cancelled_timers_leave_no_memory_behind() -> None:
    async def go() -> int:
        loop = asyncio.get_running_loop()

        async def set_and_cancel(rounds: int) -> None:
            for _ in range(rounds):
                for _ in range(1_000):
                    loop.call_later(3_600, print).cancel()
                await asyncio.sleep(0.001)

        await set_and_cancel(10)
        gc.collect()
        before = sys.getallocatedblocks()
        await set_and_cancel(1_000)
        gc.collect()
        return sys.getallocatedblocks() - before

    assert run_virtual(go()) < 20_000


def test_timers_that_are_set_and_cancelled_at_one_instant_leave_no_memory_behind() -> None:
    """A busy instant in which time stands still: deadlines are set and met without the clock moving."""

    async def go() -> int:
        clock = LoopClock(0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        for _ in range(20_000):
            clock.call_at_ms(1_000_000, lambda: None).cancel()
            await asyncio.sleep(0)
        return len(loop._timers)

    assert run_virtual(go()) <= 2_000


ORDER = """
import asyncio
from chimera.simulation.loop import run_virtual

async def main():
    seen = []
    async def worker(name, delay):
        for _ in range(20):
            await asyncio.sleep(delay)
            seen.append(name)
    await asyncio.gather(*(worker(f"w{n}", 0.1 * (1 + n % 3)) for n in range(10)))
    print(seen)

run_virtual(main())
"""


def test_two_processes_run_everything_in_the_same_order() -> None:
    orders = {
        subprocess.run(
            [sys.executable, "-c", ORDER], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "random")
    }

    assert len(orders) == 1
