"""What of a house that starts is open when, and who waits for whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedFactorFeed, SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.house import House
from chimera.app.simulated_market import Market, MarketPlan
from chimera.app.worlds import one_process_world
from chimera.domain.matching.exchange import Exchange
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.simulation.loop import run_virtual
from chimera.simulation.simulator import Setup, settings_of

START_MS = 1_790_000_000_000
DAY_MS = 86_400_000

ASKED: tuple[tuple[str, str, str, Any, dict[str, str]], ...] = (
    ("s2", "POST", "/features/recompute", None, {"symbol": "BTCUSDT", "from": "0", "to": "60000"}),
    ("s3", "POST", "/decide", {"symbol": "BTCUSDT"}, {}),
    ("s3", "POST", "/decide/batch", {"requests": [{"symbol": "BTCUSDT"}]}, {}),
    ("s3", "POST", "/dryrun", {"symbol": "BTCUSDT"}, {}),
    ("s3", "GET", "/reservations", None, {}),
)
"""Each call of a service that decides."""


@dataclass(frozen=True, slots=True)
class Begun:
    house: House
    world: World
    peers: LocalPeers

    async def ask(self, service: str, method: str, path: str, body: Any = None, query: Any = None) -> PeerAnswer:
        return await self.peers.call(PeerCall(service, method, path, body=body, query=query or {}, actor="me"))

    async def wait(self, duration_ms: int) -> None:
        await self.world.clock.sleep_until_ms(self.world.clock.now_ms() + duration_ms)


@asynccontextmanager
async def begun() -> AsyncIterator[Begun]:
    """A house on a market that moves; nothing of it has started."""
    plan = MarketPlan.ending_at(
        ("BTCUSDT",), seed=3, start_ms=START_MS, end_ms=START_MS + DAY_MS, targets={"BTCUSDT": 65_400.0}
    )
    market = Market.build(plan, None, ticks_per_minute=4, end_ms=START_MS + DAY_MS)
    setup = Setup(feed=market.ticker, rules=market.rules, start_ms=START_MS, end_ms=START_MS + DAY_MS, seed=3)
    clock = LoopClock(START_MS)
    venue = SimulatedVenue(
        exchange=Exchange(setup.rules, spot_balances={"USDT": setup.spot_usdt}, fut_balances={"USDT": setup.fut_usdt}),
        rules=setup.rules,
        feed=setup.feed,
        clock=clock,
        journal=NoJournal(),
    )
    peers = LocalPeers()
    world = one_process_world(
        clock=clock,
        randomness=SeededRandomness(3),
        documents=SqliteDocuments.in_loop(),
        venue=venue,
        factor_feed=SimulatedFactorFeed(setup.feed, clock),
        objects=MemoryObjects(),
        peers=peers,
    )
    house = House.build(world, settings_of(setup), peers)
    moving = asyncio.ensure_future(venue.run(START_MS))
    try:
        yield Begun(house, world, peers)
    finally:
        await house.stop()
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
        await world.documents.close()


def test_every_call_of_what_decides_is_listed_here() -> None:
    async def scenario() -> None:
        async with begun() as on:
            own = {
                (service_id, route.method, route.path)
                for service_id in ("s2", "s3")
                for route in on.house.runners[service_id].service.routes
            }
            assert own == {asked[:3] for asked in ASKED}

    run_virtual(scenario())


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked[0]} {asked[2]}")
def test_what_decides_answers_nothing_until_it_has_started(asked: tuple[str, str, str, Any, dict[str, str]]) -> None:
    async def scenario() -> None:
        async with begun() as on:
            await on.house.start_guarding()
            early = await on.ask(*asked)
            await on.house.start_deciding()
            await on.wait(120_000)  # the first features
            later = await on.ask(*asked)

        assert (early.status, early.body["type"]) == (503, "urn:chimera:problem:starting")
        assert later.status == 200, later.body

    run_virtual(scenario())


def test_entries_can_be_stopped_and_positions_seen_while_what_decides_still_starts() -> None:
    async def scenario() -> None:
        async with begun() as on:
            await on.house.start_guarding()

            assert (await on.ask("s6", "GET", "/positions")).status == 200
            assert (await on.ask("s12", "POST", "/kill-switch", {"reason": "try"})).status == 200

    run_virtual(scenario())
