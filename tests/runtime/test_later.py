"""Something is done for a key at its moment, unless it was forgotten before."""

import asyncio

from chimera.adapters.clocks import LoopClock
from chimera.runtime.later import Later
from chimera.simulation.loop import run_virtual


def served(*, forget: str | None = None, rearm_ms: int | None = None) -> list[tuple[str, int]]:
    """Arm `b` at 20 ms and `a` at 10 ms; what was served when."""
    done: list[tuple[str, int]] = []

    async def run() -> None:
        clock = LoopClock(0)
        later: Later[str] = Later(clock)

        async def serve(key: str) -> None:
            done.append((key, clock.now_ms()))

        task = asyncio.ensure_future(later.run(serve))
        later.at("b", 20)
        later.at("a", 10)
        if rearm_ms is not None:
            later.at("a", rearm_ms)
        if forget is not None:
            later.forget(forget)
        await clock.sleep_until_ms(100)
        task.cancel()

    run_virtual(run())
    return done


def test_each_key_is_served_once_at_its_moment() -> None:
    assert served() == [("a", 10), ("b", 20)]


def test_a_key_that_is_armed_keeps_its_moment() -> None:
    assert served(rearm_ms=5) == [("a", 10), ("b", 20)]


def test_a_forgotten_key_is_not_served() -> None:
    assert served(forget="a") == [("b", 20)]


def test_forgetting_what_is_not_armed_is_harmless() -> None:
    assert served(forget="z") == [("a", 10), ("b", 20)]
