"""Every kill there is: at which step of which flow, where the market stood when the house came back, and a second one.

Owns the list of kills and the rule by which the quick cut takes some of them. The steps of a flow are those of a run
that is not killed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chimera.simulation.loop import run_virtual
from tests.prove.flows import FLOWS
from tests.prove.timeline import run_cut

WHILE_DOWN: dict[str, str | None] = {"still": None, "falls": "59000", "rises": "60700"}
"""Where the market stands when the house starts again; None: where it was."""

QUICK_EVERY = 41
"""Of the kills that no kind of step asks for, the quick cut takes each 41st: a prime, so that it meets every flow at
other steps and other markets."""

SECOND_EVERY = 5
"""A second kill is made at each 5th first one, at a distance that goes through 1 to 17."""


@dataclass(frozen=True, slots=True)
class Kill:
    """`step` counts from 1; `again` steps into the recovery, None: only once."""

    flow: str
    step: int
    while_down: str
    again: int | None = None

    def __str__(self) -> str:
        twice = "" if self.again is None else f", again after {self.again}"
        return f"{self.flow}: step {self.step}, market {self.while_down}{twice}"


def steps_of(flow: str) -> list[str]:
    """What an orderly run of the flow does."""
    return run_virtual(run_cut(FLOWS[flow], None))


def kind_of(label: str) -> str:
    """A step without the names in it."""
    return re.sub(r"s3-\S+", "ORDER", label)


def all_kills(flow: str, labels: Sequence[str]) -> Iterator[Kill]:
    for step in range(1, len(labels) + 1):
        for market in WHILE_DOWN:
            yield Kill(flow, step, market)
        if step % SECOND_EVERY == 1:
            yield Kill(flow, step, "still", 1 + step % 17)
            yield Kill(flow, step, "falls", 2 + step % 13)


def quick_kills(steps: dict[str, Sequence[str]]) -> list[Kill]:
    """Each kind of step at its first occurrence in any flow, and each 41st of all others."""
    seen: set[str] = set()
    chosen: list[Kill] = []
    for flow, labels in steps.items():
        for step, label in enumerate(labels, 1):
            if kind_of(label) not in seen:
                seen.add(kind_of(label))
                chosen.append(Kill(flow, step, "still"))
    every = [kill for flow, labels in steps.items() for kill in all_kills(flow, labels)]
    return list(dict.fromkeys([*chosen, *every[::QUICK_EVERY]]))


def broken_by(kill: Kill) -> str | None:
    """What does not hold after this kill; None: everything does."""
    try:
        run_virtual(run_cut(FLOWS[kill.flow], kill.step, WHILE_DOWN[kill.while_down], kill.again))
    except AssertionError as broken:
        return f"{kill}: {broken}"
    return None
