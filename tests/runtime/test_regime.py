"""What a reader takes for the regime when the key is there, gone, unreadable or too old."""

import pytest

from chimera.adapters.memory.state import MemorySnapshots
from chimera.contracts.enums import Regime
from chimera.contracts.keys import REGIME_STATE
from chimera.ports.state import StateUnavailable
from chimera.runtime.regime import regime_now
from tests.ports.hand_clock import HandClock
from tests.services.small_world import Switchable

KEY = REGIME_STATE.name("dev")


@pytest.mark.parametrize(
    ("fields", "regime"),
    [
        pytest.param({"state": "FROZEN", "expires_at": "1001"}, Regime.FROZEN, id="still holds"),
        pytest.param({"state": "NORMAL", "expires_at": "1001", "rv_pctile": "0.5"}, Regime.NORMAL, id="normal"),
        pytest.param({"state": "FROZEN", "expires_at": "1000"}, Regime.EXTREME, id="expired this very moment"),
        pytest.param({}, Regime.EXTREME, id="absent"),
        pytest.param({"state": "FROZEN"}, Regime.EXTREME, id="without an end"),
        pytest.param({"state": "CALM", "expires_at": "1001"}, Regime.EXTREME, id="a word that nobody knows"),
        pytest.param({"state": "FROZEN", "expires_at": "soon"}, Regime.EXTREME, id="an end that is no time"),
    ],
)
async def test_silence_is_extreme(fields: dict[str, str], regime: Regime) -> None:
    clock = HandClock(at_ms=1_000)
    snapshots = MemorySnapshots(clock)
    if fields:
        await snapshots.set_hash(KEY, fields)

    assert await regime_now(snapshots, clock, "dev") is regime


async def test_a_store_that_is_down_is_the_callers_to_judge() -> None:
    clock = HandClock()
    snapshots = Switchable(MemorySnapshots(clock), StateUnavailable)
    snapshots.down = True

    with pytest.raises(StateUnavailable):
        await regime_now(snapshots, clock, "dev")
