"""S10 and some readers of the configuration on the system's own clock, with documents in a file: what `config` and
`dryrun` measure in. Nobody trades.
"""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.compute import ComputeInThread
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.blueprint import still_venue
from chimera.app.worlds import one_process_world
from chimera.contracts.base import Message
from chimera.contracts.collections import INSTRUMENT_REGISTRY
from chimera.contracts.messages import CfgEvent
from chimera.domain.config.lint import lint
from chimera.domain.market.instrument import Instrument
from chimera.ports.documents import Put
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.ports.world import World
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.http import LocalPeers
from chimera.runtime.runner import Runner
from chimera.runtime.service import Service
from chimera.services.s01_exchange.handlers.instruments import Fees, document_of
from chimera.services.s10_config import service as s10
from chimera.services.s10_config.settings import ConfigSettings

ENV = "dev"
BEGIN_MS = 20_000 * 86_400_000
FEES = Fees(Decimal("0.0005"), Decimal("0.0002"))


class Forgetful(MemoryBus):
    """A bus that loses the news of a switch while `loses` is set."""

    loses = False

    async def publish(self, stream: str, message: Message) -> str:
        if self.loses and isinstance(message, CfgEvent):
            return "0-0"
        return await super().publish(stream, message)


@dataclass(slots=True)
class ConfigHouse:
    world: World
    bus: Forgetful
    peers: LocalPeers
    watches: list[ConfigWatch]
    runners: list[Runner]

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer: PeerAnswer = await self.peers.call(PeerCall("s10", method, path, body, actor="bench"))
        assert answer.ok, answer.body
        return answer.body

    async def staged(self, **risk: Any) -> str:
        """A bundle with these flags of the group `risk`, ready to be promoted."""
        bundle_id: str = (await self.ask("POST", "/bundles", {"flags": {"risk": risk}}))["bundle_id"]
        await self.ask("POST", f"/bundles/{bundle_id}/stage")
        return bundle_id

    async def wait_ms(self, ms: int) -> None:
        await self.world.clock.sleep_until_ms(self.world.clock.now_ms() + ms)

    async def watch(self, service: str, poll_ms: int) -> None:
        """One more reader, under the name of a service that reads."""
        reader = ConfigWatch(self.world, ENV, service=service, check=lint, poll_ms=poll_ms)
        runner = Runner(
            Service(id=service, card="", consumes=(reader.consume(),), timers=(reader.every(),), start=reader.start),
            self.world,
            ENV,
            consumer_name=str(len(self.watches)),
        )
        await runner.start()
        self.watches.append(reader)
        self.runners.append(runner)


@asynccontextmanager
async def open_config_house(instruments: Sequence[Instrument] = ()) -> AsyncIterator[ConfigHouse]:
    with tempfile.TemporaryDirectory() as folder:
        clock = LoopClock(BEGIN_MS)
        documents = SqliteDocuments.in_thread(Path(folder) / "documents.sqlite")
        venue, factor_feed = still_venue(clock)
        bus, peers, compute = Forgetful(clock), LocalPeers(), ComputeInThread()
        world = one_process_world(
            clock=clock,
            randomness=SeededRandomness(1),
            documents=documents,
            venue=venue,
            factor_feed=factor_feed,
            objects=MemoryObjects(),
            peers=peers,
            bus=bus,
            compute=compute,
        )
        service = s10.build(world, ConfigSettings(env=ENV))
        peers.add("s10", service.routes)
        house = ConfigHouse(world, bus, peers, [], [Runner(service, world, ENV)])
        try:
            await house.runners[0].start()
            await documents.put_many(
                [Put(INSTRUMENT_REGISTRY, document_of(each, None, BEGIN_MS, FEES)) for each in instruments]
            )
            yield house
        finally:
            for runner in house.runners:
                await runner.stop()
            compute.close()
            await documents.close()
