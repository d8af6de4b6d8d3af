"""Waiting for something or for a deadline, in any world.

asyncio's own helpers take real durations and order their callbacks by address; these take the clock's time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from chimera.ports.clock import Clock

T = TypeVar("T")


class DeadlinePassed(Exception):
    pass


async def until(clock: Clock, deadline_ms: int, work: Awaitable[T]) -> T:
    """Await `work`, at most to market time `deadline_ms`; then cancel it.

    Raises:
        DeadlinePassed: it was not done by then.
    """
    task = asyncio.ensure_future(work)
    me = asyncio.current_task()
    assert me is not None
    cancels = me.cancelling()
    late = False

    def give_up() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = clock.call_at_ms(deadline_ms, give_up)
    try:
        return await task
    except asyncio.CancelledError:
        # Who cancels us while the work is being cancelled must not take the deadline for an answer.
        if late and task.cancelled() and me.cancelling() == cancels:
            raise DeadlinePassed from None
        task.cancel()
        raise
    finally:
        timer.cancel()


async def unless(stopping: asyncio.Event, work: Awaitable[T]) -> T | None:
    """What `work` gives; None where `stopping` was set before that: then `work` is cancelled, and has ended."""
    task = asyncio.ensure_future(work)
    told = asyncio.ensure_future(stopping.wait())
    told.add_done_callback(lambda _: None if told.cancelled() else task.cancel())
    me = asyncio.current_task()
    assert me is not None
    cancels = me.cancelling()
    try:
        return await task
    except asyncio.CancelledError:
        if stopping.is_set() and task.cancelled() and me.cancelling() == cancels:
            return None
        task.cancel()
        raise
    finally:
        told.cancel()


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """All of them beside each other, begun in this order. The first failure, or a cancel, ends the others before it is
    raised."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Changed:
    """Something that waiters can wait for again and again. `tell` wakes all who wait now, in the order they came."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def idle(self) -> bool:
        """Nobody waits now."""
        return not self._waiters

    def tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_until(self, clock: Clock, deadline_ms: int) -> bool:
        """True when told, False at the deadline."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        told = True

        def give_up() -> None:
            nonlocal told
            if not waiter.done():
                told = False
                waiter.set_result(None)

        timer = clock.call_at_ms(deadline_ms, give_up)
        try:
            await waiter
        finally:
            timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return told


async def wait_for(clock: Clock, changed: Changed, deadline_ms: int, is_so: Callable[[], bool]) -> bool:
    """Wait until `is_so()`, looking again whenever `changed` is told; False at the deadline."""
    while not is_so():
        if clock.now_ms() >= deadline_ms:
            return False
        await changed.wait_until(clock, deadline_ms)
    return True
