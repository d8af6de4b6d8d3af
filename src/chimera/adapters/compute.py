"""Where long work is done: in a thread beside the loop, or in the loop where time is virtual.

A thread has no virtual time: while it works, a virtual clock would run away from it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class ComputeInLoop:
    """For virtual time and for tests: done at once, so that two runs are equal."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()


class ComputeInThread:
    """One thread, started with the first work. A piece that has begun is waited for when the process ends."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Forget what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)
