"""What became of orders and intents, told on `ord:result` in the order in which it happened.

Owns what could not be published yet: a bus that is away delays a result and never loses one, for S3, S5 and S6 act on
them. What a killed process still owed is on file, and whoever starts reads that.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

import structlog

from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import OrderResult
from chimera.contracts.streams import ORD_RESULT
from chimera.ports.bus import Bus
from chimera.ports.errors import DependencyDown

OWED_MAX = 10_000
"""Results kept while the bus is away; then the oldest gives way, and the reconciler finds what it said."""

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Results:
    env: str
    bus: Bus
    _owed: deque[OrderResult] = field(default_factory=deque)
    _paying: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def tell(self, result: OrderResult) -> None:
        """Never fails: what cannot be told now is told by a later call of `pay`."""
        if len(self._owed) >= OWED_MAX:
            lost = self._owed.popleft()
            log.error("a result was never told", order=lost.client_order_id, status=lost.status.value)
        self._owed.append(result)
        await self.pay()

    async def pay(self) -> None:
        async with self._paying:
            while self._owed:
                result = self._owed[0]
                try:
                    await self.bus.publish(
                        ORD_RESULT.name(self.env, InstrumentKey(result.market, result.symbol)), result
                    )
                except DependencyDown as down:
                    log.warning("results wait", owed=len(self._owed), why=str(down))
                    return
                if self._owed and self._owed[0] is result:
                    self._owed.popleft()
