"""What people did, told to the audit trail, later where it cannot be told now.

Owns what is still to be told. For acts that lessen risk: they never fail because the bus is down.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import structlog

from chimera.ports.errors import DependencyDown
from chimera.runtime.telling import Teller

OWED_MAX = 1_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Act:
    actor: str
    action: str
    subject: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Audits:
    teller: Teller
    owed: deque[Act] = field(default_factory=lambda: deque(maxlen=OWED_MAX))
    """Oldest first. What a crash takes from here stands in the log."""
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def tell(self, actor: str, action: str, subject: str, before: Any = None, after: Any = None) -> None:
        """Never raises."""
        self.owed.append(Act(actor, action, subject, before, after))
        await self.pay()

    async def pay(self) -> None:
        """At once, and each few seconds."""
        async with self._one_at_a_time:
            while self.owed:
                act = self.owed[0]
                try:
                    await self.teller.audit(act.actor, act.action, act.subject, act.before, act.after)
                except DependencyDown as down:
                    log.warning("told to the audit later", action=act.action, actor=act.actor, why=str(down))
                    return
                if self.owed and self.owed[0] is act:
                    self.owed.popleft()
