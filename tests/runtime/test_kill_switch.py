"""ON in any copy wins, silence is ON, and the document is asked once a second at most."""

import pytest

from chimera.contracts.documents import KillSwitchState
from chimera.contracts.enums import Switch
from chimera.contracts.keys import KILL_SWITCH
from chimera.runtime.kill_switch import KILL_SWITCH_STATE, KillSwitch
from tests.services.small_world import ENV, SmallWorld, small_world


def switch(here: SmallWorld, **more: object) -> KillSwitch:
    return KillSwitch(snapshots=here.snapshots, documents=here.documents, clock=here.clock, env=ENV, **more)


async def write_document(here: SmallWorld, state: Switch, until: int | None = None) -> None:
    document = KillSwitchState(state=state, actor="test", updated_at=here.clock.now_ms(), until=until)
    await here.documents.inner.put(KILL_SWITCH_STATE, document)


@pytest.mark.parametrize(
    ("key", "document", "is_on"),
    [
        pytest.param(None, None, False, id="never pulled: off"),
        pytest.param(None, Switch.OFF, False, id="key gone, document says off"),
        pytest.param(None, Switch.ON, True, id="key gone, document says on"),
        pytest.param("ON", Switch.OFF, True, id="on in the key wins"),
        pytest.param("OFF", Switch.ON, True, id="on in the document wins"),
        pytest.param("rubbish", Switch.OFF, False, id="unreadable key: the document decides"),
    ],
)
async def test_on_in_either_copy_wins(key: str | None, document: Switch | None, is_on: bool) -> None:
    here = small_world()
    if key is not None:
        await here.snapshots.set(KILL_SWITCH.name(ENV), key)
    if document is not None:
        await write_document(here, document)

    assert await switch(here).is_on() is is_on


async def test_a_silent_document_store_counts_as_on_even_when_the_key_says_off() -> None:
    here = small_world()
    await here.snapshots.set(KILL_SWITCH.name(ENV), "OFF")
    here.documents.down = True

    assert await switch(here).is_on()


async def test_a_silent_state_store_leaves_the_answer_to_the_document() -> None:
    here = small_world()
    here.snapshots.down = True

    assert not await switch(here).is_on()
    await write_document(here, Switch.ON)
    assert await switch(here).is_on()


async def test_on_in_the_key_is_seen_at_the_next_read() -> None:
    here = small_world()
    kill_switch = switch(here)
    assert not await kill_switch.is_on()

    await here.snapshots.set(KILL_SWITCH.name(ENV), "ON")

    assert await kill_switch.is_on()


async def test_off_is_trusted_for_a_second_of_our_own_time_and_no_longer() -> None:
    here = small_world()
    here.clock.speed = 60.0
    kill_switch = switch(here)
    assert not await kill_switch.is_on()
    await write_document(here, Switch.ON)

    await here.clock.advance(59_999)
    before = await kill_switch.is_on()
    await here.clock.advance(1)

    assert not before
    assert await kill_switch.is_on()


async def test_a_time_limit_ends_in_the_document() -> None:
    here = small_world()
    await write_document(here, Switch.ON, until=here.clock.now_ms() + 10_000)
    kill_switch = switch(here)
    assert await kill_switch.is_on()

    await here.clock.advance(10_000)

    assert not await kill_switch.is_on()


async def test_a_kill_file_wins_over_both_copies() -> None:
    here = small_world()

    assert await switch(here, file_present=lambda: True).is_on()
