"""Once a day: what has outlived its time to live goes."""

from dataclasses import dataclass

import structlog

from chimera.ports.clock import Clock
from chimera.ports.documents import Documents

DAY_MS = 86_400_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveExpired:
    documents: Documents
    clock: Clock

    async def run(self) -> None:
        removed = await self.documents.remove_expired(self.clock.now_ms() // 1_000)
        log.info("expired documents removed", count=removed)
