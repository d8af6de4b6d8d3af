"""A start ends as soon as somebody stops it, and as soon as the exchange's side cannot go on."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from chimera.app.blueprint import drawn_house
from chimera.app.data_folder import open_folder
from chimera.app.embedded import Embedded, _Serving
from chimera.app.front import Front
from chimera.app.sides import Spawn, UpProblem
from chimera.ports.venue import VenueUnavailable
from chimera.runtime.waiting import unless


@dataclass(slots=True)
class LostMarket:
    """A side whose market ends when it is told to."""

    ends: asyncio.Event
    name: str = "paper"

    def before_house(self, spawn: Spawn) -> None:
        spawn("paper market", self._follow())

    def after_house(self, spawn: Spawn) -> None:
        raise AssertionError("the services have not started")

    async def close(self) -> None:
        self.ends.set()

    async def _follow(self) -> None:
        await self.ends.wait()
        raise VenueUnavailable("the market's streams ended")


@pytest.mark.parametrize("by", ["a person", "the market's end"])
@pytest.mark.parametrize("waits", ["s4", "s3"])
async def test_a_start_that_waits_for_a_service_ends_when_it_is_told_to(tmp_path: Path, by: str, waits: str) -> None:
    folder, house = open_folder(tmp_path / "data"), await drawn_house()
    begun = asyncio.Event()

    async def wait_for_ever() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    runner = house.runners[waits]
    runner.service = replace(runner.service, start=wait_for_ever)
    side, stopping = LostMarket(asyncio.Event()), asyncio.Event()
    embedded = Embedded(
        speed=1.0,
        folder=folder,
        world=house.world,
        house=house,
        side=side,
        documents=house.world.documents,
        stopping=stopping,
    )
    front, serving = Front(lambda: (0, 0, "")), _Serving()

    starting = asyncio.ensure_future(unless(stopping, embedded.serve(front, serving, {}, "link", "api")))
    await begun.wait()
    (stopping if by == "a person" else side.ends).set()
    await asyncio.wait_for(starting, 5)
    try:
        if by == "a person":
            await embedded.until_broken()
        else:
            with pytest.raises(UpProblem, match=r"paper market: .*streams ended"):
                await embedded.until_broken()
    finally:
        await embedded.close()
        await front.close()
        folder.close()
