"""An asyncio loop in virtual time: when nothing is ready, time jumps to the next timer instead of passing.

Owns the order of everything: timers of one instant run in the order in which they were set, and no thread and no
socket can take part. A loop in which nothing is ready and nothing is scheduled can never go on: that is a deadlock, and
it is reported with what waits for what.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_COMPACT_AT = 1_000
"""Cancelled timers that the heap keeps at least before they are swept out, once they are the greater part of it."""


class Deadlock(Exception):
    """Nothing is ready, nothing is scheduled, and the main task is not done."""


class _Timer(asyncio.TimerHandle):
    """A timer that knows whether it still waits in the heap."""

    __slots__ = ("queued",)

    def __init__(
        self, when: float, callback: Callable[..., object], args: Any, loop: "VirtualTimeLoop", context: Any
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.queued = True


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Seconds count from 0 at creation. Executors are refused: a thread has no virtual time."""

    _ready: deque[asyncio.Handle]
    is_virtual = True
    """Clocks ask: on this loop our own work takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_now_s = 0.0
        self._timer_seq = 0
        # (when, turn, timer): the turn keeps the order of one instant, which asyncio's own heap forgets.
        self._timers: list[tuple[float, int, _Timer]] = []
        self._cancelled_timers = 0

    def time(self) -> float:
        return self._virtual_now_s

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._timer_seq += 1
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, self._timer_seq, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, _Timer) and handle.queued:
            self._cancelled_timers += 1
            if self._cancelled_timers > _COMPACT_AT and self._cancelled_timers * 2 > len(self._timers):
                # In place: the turn that is running holds the list. This handle is marked only after the call, so it
                # stays, as the one cancelled timer that is left.
                self._timers[:] = [entry for entry in self._timers if not entry[2].cancelled()]
                heapq.heapify(self._timers)
                self._cancelled_timers = 1

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        raise RuntimeError(f"{func!r} asked for a thread; virtual time has none. Call it in the loop.")

    def _run_once(self) -> None:
        """One turn: move time on if nothing is ready, then run what is. Replaces asyncio's own turn, selector included:
        without sockets there is nothing to select, and the saved system call is most of a turn's cost."""
        ready = self._ready
        timers = self._timers
        if not ready:
            while timers and timers[0][2].cancelled():
                heapq.heappop(timers)
                self._cancelled_timers -= 1
            if not timers:
                raise Deadlock(describe_waiting(self))
            self._virtual_now_s = max(self._virtual_now_s, timers[0][0])
        now = self._virtual_now_s
        while timers and timers[0][0] <= now:
            timer = heapq.heappop(timers)[2]
            timer.queued = False
            if timer.cancelled():
                self._cancelled_timers -= 1
            else:
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()


def describe_waiting(loop: asyncio.AbstractEventLoop) -> str:
    """Every unfinished task, where it stands and what it awaits, one a line."""
    lines = ["nothing is ready and nothing is scheduled; these wait:"]
    for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name()):
        frames = task.get_stack(limit=1)
        where = f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "not started"
        awaited = getattr(task, "_fut_waiter", None)
        lines.append(f"  {task.get_name()} at {where} awaits {awaited!r}")
    return "\n".join(lines)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time and cancel what it left behind.

    Raises:
        Deadlock: nothing could ever happen any more.
    """
    loop = VirtualTimeLoop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    except KeyboardInterrupt:
        # A person stopped it; the task that happened to run has nothing to report.
        loop.set_exception_handler(lambda _loop, _context: None)
        raise
    finally:
        try:
            _cancel_rest(loop)
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_rest(loop: VirtualTimeLoop) -> None:
    rest = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    for task in rest:
        task.cancel()
    if rest:
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
