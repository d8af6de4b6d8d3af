"""The smallest plan that still breaks what a plan broke.

Owns the search: ever larger parts are left out, then what is left is made shorter. Source: Zeller and Hildebrandt,
Simplifying and Isolating Failure-Inducing Input, IEEE TSE 2002 (ddmin).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from chimera.domain.matching.faults import Fault
from chimera.simulation.attack.plan import SHAPES, Blow, Plan, Trouble

Breaks = Callable[[Plan], bool]
"""Whether a run under this plan still breaks the same invariant."""


def shrunk(plan: Plan, breaks: Breaks) -> Plan:
    """`plan` is known to break; so does what is returned, and leaving out any one trouble of it mends it."""
    least = _fewest(plan.troubles, lambda troubles: breaks(Plan(tuple(troubles))))
    return Plan(_shortest(least, lambda troubles: breaks(Plan(tuple(troubles)))))


def _fewest(troubles: Sequence[Trouble], breaks: Callable[[Sequence[Trouble]], bool]) -> tuple[Trouble, ...]:
    left = tuple(troubles)
    if not left or breaks(()):
        return ()
    parts = 2
    while len(left) >= 2:
        size = -(-len(left) // parts)
        for start in range(0, len(left), size):
            without = left[:start] + left[start + size :]
            if without and breaks(without):
                left, parts = without, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(left), parts * 2)
    return left


def _shortest(troubles: tuple[Trouble, ...], breaks: Callable[[Sequence[Trouble]], bool]) -> tuple[Trouble, ...]:
    """Each trouble's length halved as often as it still breaks."""
    left = list(troubles)
    for place in range(len(left)):
        while (less := shorter(left[place])) is not None:
            tried = [*left[:place], less, *left[place + 1 :]]
            if not breaks(tried):
                break
            left = tried
    return tuple(left)


def shorter(trouble: Trouble) -> Trouble | None:
    """The same with half its length; None where that would be another thing."""
    if isinstance(trouble, Blow):
        half_ms = trouble.lasts_ms // 2
        return replace(trouble, lasts_ms=half_ms) if half_ms > SHAPES[trouble.kind].lasts_ms[0] else None
    assert isinstance(trouble, Fault)
    half_ms = trouble.duration_ms // 2
    return replace(trouble, duration_ms=half_ms) if half_ms >= 1_000 else None
