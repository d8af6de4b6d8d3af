"""Killed at every step: whatever the router was doing, after a restart the exchange and the documents tell one story.

A run is cut at its n-th step, for every n until it is not cut any more: `tests.prove.timeline` says what a step is.
"""

from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import Any

import pytest

from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.contracts.enums import Side
from chimera.ports.venue import OutcomeUnknown, Refused, VenueUnavailable
from chimera.simulation.loop import run_virtual
from tests.prove.timeline import REQUESTS, Step, enters, enters_with_stop_at, moves, run_cut, sweep
from tests.services.trading_floor import SPOT

LIVES: dict[str, tuple[Step, ...]] = {
    "futures": (enters(), moves("60600"), moves("59000")),
    "short": (enters(side=Side.SELL, sl="60600", tp="59500"), moves("59400"), moves("60700")),
    "stop refused": (enters_with_stop_at("0.5"), moves("59000")),
    "spot": (enters(key=SPOT), moves("60600")),
    "spot dust": (
        enters(key=SPOT, qty="0.00099"),
        moves("60600"),
        moves("60000"),
        enters("E2", key=SPOT, qty="0.00099"),
        moves("60600"),
    ),
    "spot guarded": (enters(key=SPOT, tp="600000"), moves("59300")),
}
"""What is lived through, from entry to flat."""

WHILE_DOWN: dict[str, tuple[str | None, int, int]] = {
    "still": (None, 1, 1),
    "falls": ("59000", 1, 2),
    "rises": ("60700", 2, 2),
}
"""Where the market stands when the house starts again (None: where it was); first step that is cut, and how many on."""


@pytest.mark.parametrize(("while_down", "first", "each"), WHILE_DOWN.values(), ids=WHILE_DOWN)
@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_a_kill_at_any_step_leaves_one_story(
    life: Sequence[Step], while_down: str | None, first: int, each: int
) -> None:
    every = run_virtual(run_cut(life, None))
    assert len(every) >= 30, every

    wrong = sweep(run_cut(life, at, while_down) for at in range(first, len(every) + 1, each))

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_a_second_kill_during_the_recovery_changes_nothing(life: Sequence[Step]) -> None:
    every = run_virtual(run_cut(life, None))

    wrong = sweep(
        run_cut(life, at, while_down, at_again)
        for at in range(1, len(every) + 1, 7)
        for at_again, while_down in ((1 + at % 7, None), (2 + at % 11, "59000"))
    )

    assert not wrong, "\n".join(wrong)


class Fault(StrEnum):
    LOST_ANSWER = "carried out, and the answer is lost"
    LOST_REQUEST = "never arrived, and nobody can know"
    NO_SERVICE = "not served"


class Faulty:
    """The exchange, whose `at`-th request goes wrong."""

    def __init__(self, venue: SimulatedVenue, at: int, fault: Fault) -> None:
        self._venue = venue
        self._at = at
        self._fault = fault
        self.requests = 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._venue, name)
        if name not in REQUESTS:
            return call

        async def request(*args: Any, **kwargs: Any) -> Any:
            self.requests += 1
            if self.requests != self._at:
                return await call(*args, **kwargs)
            if self._fault is Fault.NO_SERVICE:
                raise VenueUnavailable("503 for the test")
            if self._fault is Fault.LOST_ANSWER:
                with suppress(Refused):
                    await call(*args, **kwargs)
            raise OutcomeUnknown("the connection was reset")

        return request


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_any_request_may_go_wrong(life: Sequence[Step], fault: Fault) -> None:
    every = [step for step in run_virtual(run_cut(life, None)) if step.startswith("before")]
    requests = [step for step in every if step.split()[1] in REQUESTS]
    assert requests

    wrong = sweep(run_cut(life, None, wrap=partial(Faulty, at=at, fault=fault)) for at in range(1, len(requests) + 1))

    assert not wrong, "\n".join(wrong)
