"""What is on file and led by nobody, because the store took it and its answer was lost, is led.

Owns the looking. Whoever was told that it failed may ask again, or rely on what he reads in the documents: then he
waits for somebody who has to be found here.
"""

from dataclasses import dataclass

import structlog

from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import Purpose
from chimera.ports.clock import Clock
from chimera.ports.errors import DependencyDown
from chimera.ports.randomness import Randomness
from chimera.runtime.retry import Backoff
from chimera.services.s04_router.guards import Guards
from chimera.services.s04_router.handlers.accept import Accept
from chimera.services.s04_router.handlers.drive import Drive
from chimera.services.s04_router.handlers.recover import Recover
from chimera.services.s04_router.intents import Intents

LOOK_MS = 30_000
"""Of our own work: where nothing is doubted, all that is open on file is looked at this often."""
DOUBT_MS = 60_000
"""Of our own work: what is not on file so long after its insert failed was not written; the look at all finds it if it
was."""
FOUND = "FOUND_ON_FILE"
"""Why such a guard was armed: whoever asked for it has been told that it failed, and knows no more."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unled:
    intents: Intents
    drive: Drive
    accept: Accept
    guards: Guards
    recover: Recover
    clock: Clock
    randomness: Randomness
    retry_max_ms: int

    async def watch(self) -> None:
        """For ever: at once where an insert failed, slowly otherwise, so that the hot path costs nothing."""
        backoff = Backoff(self.clock, self.randomness, max_ms=self.retry_max_ms)
        while True:
            try:
                if self.intents.doubted:
                    await backoff.wait()
                    await self._settle()
                    continue
                backoff.reset()
                until_ms = self.clock.now_ms() + self.clock.work_ms(LOOK_MS)
                if not await self.intents.doubting.wait_until(self.clock, until_ms):
                    await self._look()
            except DependencyDown as down:
                log.warning("whether all that is on file is led cannot be seen", why=str(down))

    async def _look(self) -> None:
        """What has ended since the documents were read is no doubt."""
        for record in await self.recover.open_intents():
            if not self.drive.knows(record.intent_id):
                self.intents.doubt(record.intent_id)

    async def _settle(self) -> None:
        for intent_id, since_ms in tuple(self.intents.doubted.items()):
            record = await self.intents.get(intent_id)
            if record is not None:
                await self._take_up(record)
            elif self.clock.now_ms() - since_ms <= self.clock.work_ms(DOUBT_MS):
                continue
            del self.intents.doubted[intent_id]

    async def _take_up(self, record: IntentRecord) -> None:
        """Asked for again meanwhile it is led already, and may have ended; nobody has told that it was accepted."""
        if self.intents.is_being_filed(record.intent_id):
            return  # whoever files it leads it
        if not record.state.is_final and not self.drive.knows(record.intent_id):
            log.warning("an intent on file was led by nobody", intent=record.intent_id, state=record.state.value)
            self.drive.take_up(record)
        if record.purpose is not Purpose.GUARD:
            await self.accept.tell_accepted(record)
        elif not record.state.is_final:
            await self.guards.tell_armed(record, FOUND)
