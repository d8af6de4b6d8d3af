"""Writes that the store carries out and cannot answer for: each of a life's, one at a time.

Owns the store that does so. A write of several documents is one of as many as it has, as the port promises no more than
their order: the answer may be lost after any of them, and what follows it is not written then.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from chimera.ports.documents import DocumentsUnavailable, Put
from chimera.ports.world import World
from chimera.simulation.loop import run_virtual
from tests.prove.flows import CANCELS, CANCELS_GUARD, CLOSES, FLATTENS, FLOWS, Flow
from tests.prove.timeline import HOUSE, WRITES, Fuse, Timeline, subject_of

ASKING = (CLOSES, FLATTENS, CANCELS, CANCELS_GUARD)
"""Steps that a person takes: without an answer he asks again."""
LONG_MS = 60_000
"""Until then everybody has looked at everything once more."""


class LostAnswer:
    """Documents whose `at`-th write, counted from 1, is on file and raises; None: only counts. `writes` says what each
    one was."""

    def __init__(self, inner: Any, at: int | None) -> None:
        self._inner = inner
        self._at = at
        self.armed = False
        self.writes: list[str] = []

    @property
    def is_lost(self) -> bool:
        return self._at is not None and len(self.writes) >= self._at

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name not in WRITES:
            return call
        return self._many if name == "put_many" else self._losing(name, call)

    def _losing(self, name: str, call: Callable[..., Awaitable[Any]]) -> Any:
        async def write(*args: Any, **kwargs: Any) -> Any:
            answer = await call(*args, **kwargs)
            self._written(f"{name} {subject_of(name, args)}")
            return answer

        return write

    async def _many(self, puts: Sequence[Put[Any]]) -> None:
        for put in puts:
            await self._inner.put_many([put])
            self._written(f"put_many {subject_of('put_many', ([put],))}")

    def _written(self, what: str) -> None:
        if not self.armed:
            return
        self.writes.append(what)
        if len(self.writes) == self._at:
            raise DocumentsUnavailable(f"the answer to {what} is lost")


def kind_of(what: str) -> str:
    """A write without the names in it."""
    return re.sub(r"s3-\S+", "ORDER", what)


async def run_losing(flow: Flow, at: int | None) -> list[str]:
    """Live `flow` with the answer to its `at`-th write lost. Returns the writes made.

    Raises:
        AssertionError: an invariant is broken in the end, or something is left open or untold.
    """
    timeline = Timeline.of(flow)
    lost: list[LostAnswer] = []

    def losing(world: World) -> World:
        lost.append(LostAnswer(world.documents, at))
        documents: Any = lost[0]
        return replace(world, documents=documents)

    timeline.house = losing
    floor = await timeline.live(Fuse(None))
    [documents] = lost
    await floor.start(*HOUSE, price=str(timeline.price))
    documents.armed = True
    for step in flow.steps:
        before = documents.is_lost
        await step(timeline, floor)
        if step in ASKING and documents.is_lost and not before:
            await step(timeline, floor)
    await floor.settle(LONG_MS)
    where = f"without an answer to write {at}" + (f", {documents.writes[at - 1]}" if at else "")
    timeline.check(where)
    assert at is None or documents.is_lost, f"{where}: it was never made"
    assert not floor.venue.exchange.positions(), f"{where}: still open"
    assert not floor.resting(), f"{where}: still resting: {floor.resting()}"
    assert timeline.unclosed() == [], f"{where}: trades are open on file"
    await floor.stop()
    return documents.writes


def writes_of(flow: str) -> list[str]:
    """What an orderly run of the flow writes."""
    return run_virtual(run_losing(FLOWS[flow], None))


def broken_by(flow: str, at: int) -> str | None:
    """What does not hold without an answer to that write; None: everything does."""
    try:
        run_virtual(run_losing(FLOWS[flow], at))
    except AssertionError as broken:
        return f"{flow}, {broken}"
    return None


def all_losses(writes: dict[str, list[str]]) -> list[tuple[str, int]]:
    return [(flow, at) for flow, each in writes.items() for at in range(1, len(each) + 1)]


def quick_losses(writes: dict[str, list[str]]) -> list[tuple[str, int]]:
    """Each kind of write at its first occurrence in any flow, and each 31st of all others."""
    seen: set[str] = set()
    chosen = []
    for flow, at in all_losses(writes):
        kind = kind_of(writes[flow][at - 1])
        if kind not in seen:
            seen.add(kind)
            chosen.append((flow, at))
    return list(dict.fromkeys([*chosen, *all_losses(writes)[::31]]))
