"""The whole system in virtual time: the same services, on a market that ends.

Owns the frame of one run: world, exchange, house, and the order of start, course and end. What is made of the end (a
report, a data folder to go on from) is its callers' business.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.simulated_venue.feed import MarketFeed
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedFactorFeed, SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.house import House
from chimera.app.registry import VIRTUAL_PACE, Settings
from chimera.app.worlds import one_process_world
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S1Settings, S2Settings, S3Settings, S4Settings
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.runtime.kill_switch import no_file
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.simulation.trace import Trace

STREAM_MAX = 2_000
"""Entries a stream keeps in a simulation: nobody looks back, and memory stays flat."""

SETTLE_MS = 10_000
"""After the last tick the system gets this long to finish what it has begun."""

PROGRESS_EVERY_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One run. `traded` None: all that is listed.

    `progress` is told the market time each market hour; `attend` is the person who looks in then, and at the end.

    `minute_days`: history of one-minute bars at the start. Two are enough for all that decides by default; every
    further day costs each instrument 25 ms and 0.5 MB of documents.

    `documents_file` keeps the documents on disk instead of in memory, where they grow by about 6 MB a market day.
    """

    feed: MarketFeed
    rules: ExchangeRules
    start_ms: int
    end_ms: int
    seed: int
    traded: tuple[InstrumentKey, ...] | None = None
    id_prefix: str = "s3"
    env: str = "dev"
    s3: S3Settings = field(default_factory=S3Settings)
    s4: S4Settings = field(default_factory=S4Settings)
    spot_usdt: Decimal = Decimal(1_000)
    fut_usdt: Decimal = Decimal(1_000)
    progress: Callable[[int], None] | None = None
    attend: Callable[[World, int], Awaitable[None]] | None = None
    trace: Trace | None = None
    documents_file: Path | None = None
    minute_days: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run at its end, everything still in place to be asked."""

    world: World
    venue: SimulatedVenue
    documents: SqliteDocuments
    house: House
    end_ms: int


def settings_of(setup: Setup) -> Settings:
    listed = tuple(instrument.key for instrument in setup.rules.instruments)
    return Settings(
        env=setup.env,
        keys=listed if setup.traded is None else setup.traded,
        watched=listed,
        id_prefix=setup.id_prefix,
        tick_interval_ms=setup.feed.tick_interval_ms,
        s1=S1Settings(minute_days=setup.minute_days, ready_days=setup.minute_days),
        s2=S2Settings(minute_days=setup.minute_days),
        s3=setup.s3,
        s4=setup.s4,
        gateway=GatewaySettings(env=setup.env, in_step_ms=VIRTUAL_PACE.repair_ms),
        kill_file=no_file,
        pace=VIRTUAL_PACE,
    )


async def simulate(setup: Setup) -> Ended:
    """Run the market from start to end with the whole system on it. Call it inside a virtual loop."""
    trace = setup.trace
    clock = LoopClock(setup.start_ms)
    documents = SqliteDocuments.in_loop(setup.documents_file, observe=trace.on_document if trace else None)
    exchange = Exchange(
        setup.rules,
        spot_balances={"USDT": setup.spot_usdt},
        fut_balances={"USDT": setup.fut_usdt},
    )
    venue = SimulatedVenue(
        exchange=exchange,
        rules=setup.rules,
        feed=setup.feed,
        clock=clock,
        journal=NoJournal(),
        observe=trace.on_venue if trace else None,
    )
    peers = LocalPeers()
    world = one_process_world(
        clock=clock,
        randomness=SeededRandomness(setup.seed),
        documents=documents,
        venue=venue,
        factor_feed=SimulatedFactorFeed(setup.feed, clock),
        objects=MemoryObjects(),
        peers=peers,
        bus=MemoryBus(clock, maxlen_max=STREAM_MAX, observe=trace.on_message if trace else None),
    )
    house = House.build(world, settings_of(setup), peers)
    await house.start()
    market = asyncio.get_running_loop().create_task(venue.run(setup.start_ms), name="venue")
    at_ms = setup.start_ms
    while at_ms < setup.end_ms and not venue.ended.is_set():
        at_ms = min(at_ms + PROGRESS_EVERY_MS, setup.end_ms)
        await clock.sleep_until_ms(at_ms)
        if setup.progress is not None:
            setup.progress(at_ms)
        if setup.attend is not None:
            await setup.attend(world, at_ms)
    market.cancel()
    await asyncio.gather(market, return_exceptions=True)
    await clock.sleep_until_ms(clock.now_ms() + SETTLE_MS)
    await house.stop()
    return Ended(world=world, venue=venue, documents=documents, house=house, end_ms=at_ms)
