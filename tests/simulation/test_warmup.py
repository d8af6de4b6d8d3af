"""The simulated past ends as one that was attended to: what halted it was released, so that the system goes on."""

from datetime import UTC, datetime

import pytest

from chimera.app.simulated_market import Market, MarketPlan
from chimera.contracts.documents import Halt, HaltsState
from chimera.ports.world import World
from chimera.simulation.loop import run_virtual
from chimera.simulation.simulator import Setup, simulate
from chimera.simulation.warmup import HALTS, Owner

HOUR_MS = 3_600_000
MIDNIGHT_MS = int(datetime(2025, 3, 2, tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("begins_h", "halted_h", "ends_h", "released_h"),
    [
        pytest.param(-4, -2, 2, 0, id="the next day"),
        pytest.param(2, 4, 6, 6, id="at the end"),
    ],
)
def test_a_halt_of_the_past_is_released(begins_h: int, halted_h: int, ends_h: int, released_h: int) -> None:
    start_ms, end_ms = MIDNIGHT_MS + begins_h * HOUR_MS, MIDNIGHT_MS + ends_h * HOUR_MS
    plan = MarketPlan.ending_at(("BTCUSDT",), seed=3, start_ms=start_ms, end_ms=end_ms, targets={})
    market = Market.build(plan, None, ticks_per_minute=1, end_ms=end_ms)
    owner = Owner(end_ms)
    halted_after: list[int] = []

    async def attend(world: World, at_ms: int) -> None:
        if at_ms == MIDNIGHT_MS + halted_h * HOUR_MS:
            halt = Halt(at=at_ms, reason="DAILY_LOSS 7 reached 6", value=7.0, limit=6.0)
            await world.documents.insert(HALTS, HaltsState(halts={"DAILY_LOSS": halt}, updated_at=at_ms))
        await owner.look_in(world, at_ms)
        state = await world.documents.get(HALTS, "halts")
        if state is not None and state.halts:
            halted_after.append((at_ms - MIDNIGHT_MS) // HOUR_MS)

    run_virtual(
        simulate(Setup(feed=market.ticker, rules=market.rules, start_ms=start_ms, end_ms=end_ms, seed=3, attend=attend))
    )

    assert halted_after == list(range(halted_h, released_h))
