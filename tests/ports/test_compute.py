"""Long work beside the loop: every way to do it gives the value, the error, and the order in which it was asked."""

import asyncio

import pytest

from chimera.adapters.compute import ComputeInLoop, ComputeInThread
from chimera.ports.compute import Compute


@pytest.fixture(params=[ComputeInLoop, ComputeInThread])
def compute(request: pytest.FixtureRequest) -> Compute:
    return request.param()


async def test_the_value_comes_back(compute: Compute) -> None:
    assert await compute.run(lambda: sum(range(10))) == 45


async def test_an_error_is_raised_where_it_was_awaited(compute: Compute) -> None:
    def fail() -> None:
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        await compute.run(fail)
    assert await compute.run(lambda: "still at work") == "still at work"


async def test_pieces_are_done_one_after_the_other(compute: Compute) -> None:
    done: list[int] = []
    await asyncio.gather(*(compute.run(lambda each=each: done.append(each)) for each in range(20)))
    assert done == list(range(20))


async def test_a_thread_leaves_the_loop_free() -> None:
    compute = ComputeInThread()
    goes_on = asyncio.Event()

    def wait_for_the_loop() -> bool:
        return asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result(timeout=10)

    loop = asyncio.get_running_loop()
    working = asyncio.ensure_future(compute.run(wait_for_the_loop))
    await asyncio.sleep(0)
    goes_on.set()
    assert await working
