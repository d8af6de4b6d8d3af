"""All services of one process: built, started, stopped in reverse.

Owns who waits for whom at a start: nobody who guards for anybody who decides, and nobody for who tells people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chimera.app.registry import DECIDING, GUARDING, TELLING, Settings, build_all
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.runtime.runner import Runner
from chimera.runtime.service import Route
from chimera.runtime.waiting import together


@dataclass(slots=True)
class House:
    """The services of `world` in this process, reachable by each other through `peers`."""

    world: World
    settings: Settings
    peers: LocalPeers
    runners: dict[str, Runner] = field(default_factory=dict)

    @classmethod
    def build(cls, world: World, settings: Settings, peers: LocalPeers) -> "House":
        house = cls(world, settings, peers)
        for service_id, service in build_all(world, settings).items():
            runner = Runner(
                service,
                world,
                settings.env,
                claim_every_ms=settings.pace.claim_ms,
                closed_until_started=service_id in DECIDING,
            )
            house.runners[service_id] = runner
            peers.add(service_id, runner.all_routes())
        return house

    def routes(self) -> Mapping[str, tuple[Route, ...]]:
        return {service_id: runner.all_routes() for service_id, runner in self.runners.items()}

    async def start(self) -> None:
        await self.start_guarding()
        await self.start_deciding()

    async def start_guarding(self) -> None:
        """What guards, and what tells people of it."""
        await together(self.runners[TELLING].start(), self._start_in_turn(GUARDING))

    async def start_deciding(self) -> None:
        await together(*(self.runners[service_id].start() for service_id in DECIDING))

    async def _start_in_turn(self, service_ids: Sequence[str]) -> None:
        for service_id in service_ids:
            await self.runners[service_id].start()

    async def stop(self) -> None:
        for runner in reversed(self.runners.values()):
            await runner.stop()
