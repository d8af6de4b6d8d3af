"""The derived factors of one instrument, event by event.

Owns which moments of a factor become samples of a window. A sample belongs to a point of the window's grid and is what
the factor was there:

    from bars or a window    the value whose bar, or grid point, is this very one (an hour's value: all minutes until
                             the next is due). Where that bar is missing there is no sample, so a bar that comes late
                             is in time for its sample, and a recompute from stored bars takes the same ones
    from ticks and days      what a snapshot at that point would have said

A value holds from its point to the next, and the grace of klines beyond. A stale newest sample makes it stale at once.
"""

from collections.abc import Iterable
from math import nan
from typing import Protocol

from chimera.contracts.enums import DataQuality
from chimera.domain.features.derived import Step
from chimera.domain.features.quality import KLINE_GRACE_MS
from chimera.domain.features.windows import SampleWindow, warm_samples

Reading = tuple[float, DataQuality | None]
"""A value, or NaN with the reason."""

_RANGE, _SILENT, _WARMING = DataQuality.RANGE, DataQuality.SILENT, DataQuality.WARMING
NOT_DUE = 1 << 62


class Node(Protocol):
    """What a plain factor, or another node, speaks to."""

    step: Step
    above: "list[Node]"

    def offer(self, t: int, sample: float, flag: DataQuality | None, hold_ms: int) -> None:
        """The value at `t`, which holds for `hold_ms` unless the next one is late. `t` grows."""
        ...

    def sample(self, t: int, sample: float, flag: DataQuality | None) -> None:
        """The value as of `t`, a whole minute. `t` grows; one that does not is ignored."""
        ...

    def forget(self) -> None:
        """Be as new, and so is everything above."""
        ...

    def read(self, now_ms: int, below: Reading) -> Reading:
        """The factor at `now_ms`; `below` is what it is made of, at the same moment."""
        ...


class AbsoluteNode:
    """`abs(f)`: moves with `f`."""

    __slots__ = ("above", "step")

    def __init__(self, step: Step) -> None:
        self.step = step
        self.above: list[Node] = []

    def offer(self, t: int, sample: float, flag: DataQuality | None, hold_ms: int) -> None:
        size, flag = self._of(sample, flag)
        for node in self.above:
            node.offer(t, size, flag, hold_ms)

    def sample(self, t: int, sample: float, flag: DataQuality | None) -> None:
        size, flag = self._of(sample, flag)
        for node in self.above:
            node.sample(t, size, flag)

    def forget(self) -> None:
        for node in self.above:
            node.forget()

    def read(self, now_ms: int, below: Reading) -> Reading:
        return self._of(*below)

    def _of(self, sample: float, flag: DataQuality | None) -> Reading:
        if flag is not None:
            return nan, flag
        size = abs(sample)
        spec = self.step.spec
        return (size, None) if spec is None or spec.in_range(size) else (nan, _RANGE)


class WindowNode:
    """`pctile(f,win)` or `zscore(f,win)`."""

    __slots__ = (
        "_flag",
        "_grid_ms",
        "_held",
        "_next",
        "_until",
        "_value",
        "_warm",
        "_window",
        "above",
        "as_of_ms",
        "step",
    )

    def __init__(self, step: Step) -> None:
        self.step = step
        self.above: list[Node] = []
        self._grid_ms = step.grid_ms
        self._warm = warm_samples(step.window_ms)
        self.forget()

    def forget(self) -> None:
        step = self.step
        assert step.kind is not None
        self.as_of_ms = -1
        """The newest grid point that is settled, with a sample or without; -1: none yet."""
        self._window = SampleWindow(step.kind, step.size)
        self._value = nan
        self._flag: DataQuality | None = _WARMING
        self._held: Reading = (nan, _WARMING)
        self._next = 0
        self._until = 0
        for node in self.above:
            node.forget()

    def offer(self, t: int, sample: float, flag: DataQuality | None, hold_ms: int) -> None:
        if hold_ms <= self._grid_ms:
            self.sample(t, sample, flag)
        else:
            self.advance(t - 1)
            self._held, self._next, self._until = (sample, flag), t, t + hold_ms

    def advance(self, now_ms: int) -> None:
        """Take the held value for the grid points up to `now_ms` that it holds for."""
        while self._next <= now_ms and self._next < self._until:
            self.sample(self._next, *self._held)
            self._next += self._grid_ms

    @property
    def due_ms(self) -> int:
        """When the held value is the next time a sample."""
        return self._next if self._next < self._until else NOT_DUE

    def sample(self, t: int, sample: float, flag: DataQuality | None) -> None:
        grid_ms = self._grid_ms
        if t % grid_ms or t <= self.as_of_ms:
            return
        self.as_of_ms = t
        window = self._window
        window.add(t // grid_ms, sample)
        if flag is not None:
            self._value, self._flag = nan, flag
        elif window.count < self._warm:
            self._value, self._flag = nan, _WARMING
        else:
            place = window.place()
            spec = self.step.spec
            possible = place == place if spec is None else spec.in_range(place)
            self._value, self._flag = (place, None) if possible else (nan, _RANGE)
        for node in self.above:
            node.offer(t, self._value, self._flag, grid_ms)

    def read(self, now_ms: int, below: Reading) -> Reading:
        if self.as_of_ms < 0:
            return nan, _WARMING
        if now_ms > self.fresh_until_ms:
            return nan, _SILENT
        return self._value, self._flag

    @property
    def fresh_until_ms(self) -> int:
        """Beyond it the next sample is overdue."""
        return self.as_of_ms + self._grid_ms + KLINE_GRACE_MS


def build(steps: Iterable[Step]) -> dict[str, Node]:
    """A node for each step, by name, joined; each after what it is made of."""
    nodes: dict[str, Node] = {}
    for step in steps:
        node: Node = AbsoluteNode(step) if step.kind is None else WindowNode(step)
        if step.of in nodes:
            nodes[step.of].above.append(node)
        nodes[step.name] = node
    return nodes
