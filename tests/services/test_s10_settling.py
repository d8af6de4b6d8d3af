"""However a switch went, what follows is settled in the end, once: its record, its audit, the state of its bundle."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from chimera.contracts.collections import CONFIG_ACTIVE
from chimera.ports.documents import DocumentsUnavailable
from tests.services.config_desk import Config
from tests.services.small_world import small_world
from tests.services.state_adapters import Unhurried


async def test_a_switch_that_could_not_be_told_is_settled_before_the_next() -> None:
    config = await Config().start()
    one, other = await config.staged(3), await config.staged(4)
    config.here.bus.down = True
    assert (await config.promote(one)).body["status"] == "PENDING"
    config.here.bus.down = False

    assert (await config.promote(other)).body["status"] == "DONE"

    assert await config.record() == [(1, 1, "DONE"), (2, 2, "DONE"), (3, 3, "DONE")]
    assert (await config.audits())[1:] == [("PROMOTE", one), ("PROMOTE", other)]
    assert await config.states() == {1: "RETIRED", 2: "RETIRED", 3: "ACTIVE"}


async def test_nobody_promotes_past_a_switch_that_cannot_be_told() -> None:
    config = await Config().start()
    one, other = await config.staged(3), await config.staged(4)
    config.here.bus.down = True
    await config.promote(one)

    answer = await config.promote(other)

    assert (answer.status, await config.rev()) == (503, 2)


async def test_a_rollback_does_not_wait_for_the_bus_and_all_is_told_afterwards_in_order() -> None:
    config = await Config().start()
    one, other = await config.staged(3), await config.staged(4)
    config.here.bus.down = True
    await config.promote(one)
    back = await config.roll_back()
    assert (back.status, back.body["status"], await config.rev()) == (200, "PENDING", 1)
    config.here.bus.down = False

    await config.promote(other)

    assert await config.record() == [(1, 1, "DONE"), (2, 2, "ROLLED_BACK"), (3, 1, "DONE"), (4, 3, "DONE")]
    audits = await config.audits()
    assert [kind for kind, _ in audits] == ["PROMOTE", "PROMOTE", "ROLLBACK", "PROMOTE"]
    assert await config.states() == {1: "RETIRED", 2: "RETIRED", 3: "ACTIVE"}


class RefusesTheSwitch:
    """The store refuses the write of the switch, or does it and its answer is lost."""

    def __init__(self, inner: Any, *, written: bool) -> None:
        self.inner = inner
        self.written = written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def replace(self, collection: Any, *args: Any, **more: Any) -> Any:
        if collection is not CONFIG_ACTIVE:
            return await self.inner.replace(collection, *args, **more)
        if self.written:
            await self.inner.replace(collection, *args, **more)
        raise DocumentsUnavailable("the store went away")


async def test_a_switch_whose_write_was_refused_is_aborted_when_its_number_is_taken() -> None:
    config = await Config().start()
    one, other = await config.staged(3), await config.staged(4)
    sound = config.here.documents.inner
    config.here.documents.inner = RefusesTheSwitch(sound, written=False)
    assert (await config.promote(one)).status == 503
    config.here.documents.inner = sound
    await config.tick()
    assert (2, 2, "PENDING") in await config.record()

    await config.promote(other)

    assert await config.record() == [(1, 1, "DONE"), (2, 2, "ABORTED"), (2, 3, "DONE")]
    assert (await config.audits())[1:] == [("PROMOTE", other)]


async def test_a_switch_whose_answer_was_lost_came_to_be() -> None:
    config = await Config().start()
    one, other = await config.staged(3), await config.staged(4)
    sound = config.here.documents.inner
    config.here.documents.inner = RefusesTheSwitch(sound, written=True)
    assert (await config.promote(one)).status == 503
    config.here.documents.inner = sound

    await config.promote(other)

    assert await config.record() == [(1, 1, "DONE"), (2, 2, "DONE"), (3, 3, "DONE")]
    assert (await config.audits())[1:] == [("PROMOTE", one), ("PROMOTE", other)]


@pytest.mark.parametrize("seed", range(12))
async def test_two_promotions_close_together_leave_one_active_bundle_and_one_audit_each(seed: int) -> None:
    here = small_world()
    here.world = replace(
        here.world,
        documents=Unhurried(here.documents, seed, 6),
        snapshots=Unhurried(here.snapshots, seed + 1, 6),
        bus=Unhurried(here.bus, seed + 2, 6),
    )
    config = await Config(here).start()
    one, other = await config.staged(3), await config.staged(4)

    async def later() -> Any:
        for _ in range(20 + 6 * seed):
            await asyncio.sleep(0)
        return await config.promote(other)

    answers = await asyncio.gather(config.promote(one), later())
    await config.tick()

    won = [bundle for bundle, answer in zip((one, other), answers, strict=True) if answer.status == 200]
    rev = await config.rev()
    assert [each for each, state in (await config.states()).items() if state == "ACTIVE"] == [rev]
    assert await config.key() == str(rev)
    assert [bundle for _, bundle in await config.audits()][1:] == won
    assert not [each for each in await config.record() if each[2] == "PENDING"]
