"""Our clock follows the exchange's forwards, and only when two looks agree; in virtual time."""

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from chimera.adapters.binance.hosts import Site
from chimera.adapters.binance.offset import ServerClock
from chimera.adapters.clocks import LoopClock
from chimera.app.exchange_time import LOOK_MS, follow_time
from chimera.app.remote import RemoteSide
from chimera.app.sides import UpOptions
from chimera.contracts.settings import S4Settings
from chimera.ports.venue import VenueUnavailable
from chimera.simulation.loop import run_virtual
from tests.app.test_paper import side_on
from tests.venue_server.running import KEY, SECRET, running_venue

START_MS = 1_790_000_000_000
Ahead = int | None
"""Of the exchange before the loop's own time; None: it does not answer."""


class Followed:
    """An exchange whose clock is ahead as `aheads` say, one entry a look; the last one holds."""

    def __init__(self, aheads: Sequence[Ahead], failure: Exception) -> None:
        self._failure = failure
        self.clock = LoopClock(START_MS)
        self._loop_clock = LoopClock(START_MS)
        self._aheads = aheads
        futures, spot = ServerClock(self.clock, self.server_ms), ServerClock(self.clock, self.server_ms)
        self.servers = {Site.FUTURES: futures, Site.SPOT: spot, Site.WALLET: spot}

    async def server_ms(self) -> int:
        now_ms = self._loop_clock.now_ms()
        ahead_ms = self._aheads[min(max(0, (now_ms - START_MS) // LOOK_MS - 1), len(self._aheads) - 1)]
        if ahead_ms is None:
            raise self._failure
        return now_ms + ahead_ms

    @property
    def advanced_ms(self) -> int:
        return self.clock.now_ms() - self._loop_clock.now_ms()

    async def after_looks(self, looks: int) -> int:
        """By how much our clock was advanced."""
        following = asyncio.ensure_future(follow_time(self.clock, self.servers))
        await self._loop_clock.sleep_until_ms(START_MS + looks * LOOK_MS + 1_000)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        return self.advanced_ms


@pytest.mark.parametrize(
    ("aheads", "looks", "advanced_ms"),
    [
        pytest.param([8_000], 1, 0, id="one look says nothing"),
        pytest.param([8_000], 2, 8_000, id="two do"),
        pytest.param([8_000], 6, 8_000, id="once"),
        pytest.param([8_000, 5_000], 2, 5_000, id="the lesser"),
        pytest.param([500], 3, 0, id="near enough"),
        pytest.param([8_000, 0, 8_000, 0], 4, 0, id="not in a row"),
        pytest.param([8_000, None, 8_000, 0], 4, 0, id="an outage between"),
        pytest.param([None, None, 8_000], 4, 8_000, id="after an outage"),
        pytest.param([-8_000], 4, 0, id="never back"),
    ],
)
@pytest.mark.parametrize("failure", [VenueUnavailable("nobody there"), KeyError("serverTime")], ids=["out", "unread"])
def test_our_clock_follows_forwards(aheads: list[Ahead], looks: int, advanced_ms: int, failure: Exception) -> None:
    async def go() -> int:
        return await Followed(aheads, failure).after_looks(looks)

    assert run_virtual(go()) == advanced_ms


def test_what_is_known_of_the_exchanges_clocks_stays_true() -> None:
    async def go() -> list[int]:
        followed = Followed([8_000], VenueUnavailable("unused"))
        await followed.servers[Site.SPOT].measure()
        await followed.after_looks(2)
        return [server.now_ms() - await followed.server_ms() for server in followed.servers.values()]

    assert run_virtual(go()) == [0, 0, 0]


class Spawned(list[str]):
    def __call__(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        work.close()
        self.append(name)


@pytest.mark.parametrize(("speed", "follows"), [(1.0, True), (10.0, False)])
async def test_a_system_on_an_exchange_at_1_follows_its_time(tmp_path: Path, speed: float, follows: bool) -> None:
    s4 = S4Settings(binance_key=SecretStr(KEY), binance_secret=SecretStr(SECRET))
    spawned = Spawned()
    async with running_venue(speed=speed) as venue:
        side = await RemoteSide.open(UpOptions(data=tmp_path, venue=venue.url), s4, lambda note: None)
        side.before_house(spawned)
        await side.close()

    assert ("exchange's time" in spawned) is follows


async def test_paper_follows_the_time_of_its_market(tmp_path: Path) -> None:
    spawned = Spawned()
    async with running_venue() as source, side_on(tmp_path / "data", source.url) as side:
        side.before_house(spawned)

    assert "exchange's time" in spawned
