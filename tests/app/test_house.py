"""What of a house that starts is open when, and who waits for whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedFactorFeed, SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.house import House
from chimera.app.registry import DECIDING
from chimera.app.simulated_market import Market, MarketPlan
from chimera.app.worlds import one_process_world
from chimera.contracts.enums import Severity
from chimera.contracts.messages import AlertEvent
from chimera.contracts.streams import ALERTS
from chimera.domain.matching.exchange import Exchange
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.ports.world import World
from chimera.runtime.config_watch import ConfigUnavailable
from chimera.runtime.http import LocalPeers
from chimera.runtime.waiting import unless
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


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def no_configuration() -> None:
    raise ConfigUnavailable("the active configuration cannot be taken: a finding of a newer lint")


@pytest.mark.parametrize("stuck", DECIDING)
def test_people_hear_of_what_guards_and_the_other_decides_while_one_cannot_start(stuck: str) -> None:
    async def scenario() -> None:
        async with begun() as on:
            runner = on.house.runners[stuck]
            runner.service = replace(runner.service, start=no_configuration)
            await on.house.start_guarding()
            starting = asyncio.ensure_future(on.house.start_deciding())
            naked = AlertEvent(
                ts=on.world.clock.now_ms(),
                severity=Severity.FATAL,
                source="s4",
                code="STOP_NOT_PLACED",
                message="naked",
            )
            await on.world.bus.publish(ALERTS.name("dev"), naked)
            await on.wait(1_000)
            soon = await on.ask("s11", "GET", "/alerts")
            others = [(await on.ask(each, "GET", "/ready")).status for each in DECIDING if each != stuck]
            await on.wait(600_000)
            later = await on.ask("s11", "GET", "/alerts")
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

        assert [alert["code"] for alert in soon.body["alerts"]] == ["STOP_NOT_PLACED"]
        assert others == [200]
        assert any(f"{stuck}: it has not started yet" in alert["message"] for alert in later.body["alerts"])

    run_virtual(scenario())


def test_a_start_that_waits_for_ever_can_be_given_up_and_the_house_stopped() -> None:
    async def scenario() -> None:
        async with begun() as on:
            runner = on.house.runners["s2"]
            runner.service = replace(runner.service, start=for_ever)
            stopping = asyncio.Event()
            on.world.clock.call_at_ms(on.world.clock.now_ms() + 1_000, stopping.set)

            assert await unless(stopping, on.house.start()) is None
            assert (await on.ask("s3", "GET", "/ready")).status == 200

    run_virtual(scenario())


def test_nobody_is_alarmed_by_a_house_that_starts_or_stops() -> None:
    async def scenario() -> None:
        async with begun() as on:
            await on.house.start()
            await on.wait(1_000)
            health = await on.ask("s11", "GET", "/health/state")
            await on.house.stop()
            told = await on.world.bus.recent(ALERTS.name("dev"), 10)

        assert health.body["level"] == "GREEN"
        assert not told

    run_virtual(scenario())


def test_entries_can_be_stopped_and_positions_seen_while_what_decides_still_starts() -> None:
    async def scenario() -> None:
        async with begun() as on:
            await on.house.start_guarding()

            assert (await on.ask("s6", "GET", "/positions")).status == 200
            assert (await on.ask("s12", "POST", "/kill-switch", {"reason": "try"})).status == 200

    run_virtual(scenario())
