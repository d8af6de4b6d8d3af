"""What forbids an entry is read anew at each look: a pause holds from the moment that it was answered."""

import pytest

from chimera.contracts.documents import Halt, HaltsState, Pause, PausesState
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.documents import DocumentsUnavailable
from chimera.runtime.kill_switch import KillSwitch
from chimera.runtime.restraints import HALTS, PAUSES, Restraints
from tests.services.small_world import ENV, SmallWorld, small_world

BTC = InstrumentKey(Market.FUT, "BTCUSDT")


@pytest.fixture
def here() -> SmallWorld:
    return small_world()


@pytest.fixture
def restraints(here: SmallWorld) -> Restraints:
    kill_switch = KillSwitch(snapshots=here.snapshots, documents=here.documents, clock=here.clock, env=ENV)
    return Restraints(
        env=ENV, snapshots=here.snapshots, documents=here.documents, clock=here.clock, kill_switch=kill_switch
    )


async def pause(here: SmallWorld, **scopes: int | None) -> None:
    pauses = {scope: Pause(at=1, actor="ada", reason="", until=until) for scope, until in scopes.items()}
    await here.documents.put(PAUSES, PausesState(pauses=pauses, updated_at=1))


async def test_a_pause_and_a_halt_hold_at_the_very_next_look(here: SmallWorld, restraints: Restraints) -> None:
    before = await restraints.standing()
    await pause(here, FUT=None)
    await here.documents.put(
        HALTS, HaltsState(halts={name: Halt(at=1, reason="") for name in ("SPOT", "DAILY_LOSS")}, updated_at=1)
    )
    after = await restraints.standing()
    await pause(here)
    released = await restraints.standing()

    assert (before.paused_by(BTC), before.halted_by) == (None, None)
    assert (after.paused_by(BTC), after.halted_by) == ("FUT", "DAILY_LOSS")
    assert released.paused_by(BTC) is None


async def test_a_pause_with_an_end_is_over_then(here: SmallWorld, restraints: Restraints) -> None:
    await pause(here, ALL=here.clock.now_ms() + 10)
    first = await restraints.standing()
    await here.clock.advance(10)

    assert first.paused_by(BTC) == "ALL"
    assert (await restraints.standing()).paused_by(BTC) is None


async def test_documents_that_are_silent_let_nothing_pass(here: SmallWorld, restraints: Restraints) -> None:
    await restraints.standing()
    here.documents.down = True

    with pytest.raises(DocumentsUnavailable):
        await restraints.standing()
