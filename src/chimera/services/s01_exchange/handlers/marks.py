"""Mark prices and the next funding of the perpetuals.

Owns when the next funding is told: at once when it is another settlement, at most once a minute when only the rate
moves, once an hour when nothing does, so that `funding:next` never runs out while the exchange speaks.
"""

from dataclasses import dataclass, field

from chimera.contracts.enums import FundingKind, Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FUNDING_NEXT
from chimera.contracts.messages import FundingEvent
from chimera.contracts.streams import MKT_FUNDING
from chimera.domain.exact import exact
from chimera.domain.market.quotes import MarkPrice
from chimera.ports.bus import Bus
from chimera.ports.state import Snapshots
from chimera.services.s01_exchange.handlers.ticks import Ticks

RATE_EVERY_MS = 60_000
SAME_EVERY_MS = 3_600_000
NEXT_TTL_MS = (FUNDING_NEXT.ttl_s or 0) * 1_000


@dataclass(slots=True, kw_only=True)
class Marks:
    env: str
    bus: Bus
    snapshots: Snapshots
    ticks: Ticks
    _told: dict[str, MarkPrice] = field(default_factory=dict)
    _newest: dict[str, MarkPrice] = field(default_factory=dict)

    async def on_mark(self, mark: MarkPrice) -> None:
        symbol = mark.symbol
        self.ticks.mark(InstrumentKey(Market.FUT, symbol), mark)
        self._newest[symbol] = mark
        told = self._told.get(symbol)
        if told is not None and told.funding_time == mark.funding_time and told.interval_h == mark.interval_h:
            least_ms = RATE_EVERY_MS if told.funding_rate != mark.funding_rate else SAME_EVERY_MS
            if mark.ts - told.ts < least_ms:
                return
        await self._tell(mark)

    def rate_at(self, symbol: str, funding_time: int) -> float | None:
        """The rate last announced for that settlement, as far as we heard it; times may carry some ms."""
        for mark in (self._newest.get(symbol), self._told.get(symbol)):
            if mark is not None and abs(mark.funding_time - funding_time) < RATE_EVERY_MS:
                return mark.funding_rate
        return None

    async def _tell(self, mark: MarkPrice) -> None:
        key = InstrumentKey(Market.FUT, mark.symbol)
        rate = exact(mark.funding_rate)
        await self.snapshots.set_hash(
            FUNDING_NEXT.name(self.env, key),
            {
                "rate": str(rate),
                "funding_time": str(mark.funding_time),
                "interval_h": str(mark.interval_h),
                "ts": str(mark.ts),
            },
            ttl_ms=NEXT_TTL_MS,
        )
        await self.bus.publish(
            MKT_FUNDING.name(self.env, key),
            FundingEvent(
                ts=mark.ts,
                symbol=mark.symbol,
                rate=rate,
                funding_time=mark.funding_time,
                kind=FundingKind.NEXT,
                interval_h=mark.interval_h,
            ),
        )
        self._told[mark.symbol] = mark
