"""What the market says of one instrument, into its book.

Owns which of two messages of one tick tells the features on: depth. A ticker only moves the prices, since S1 sends both
for every tick; where depth has stopped coming, the ticker takes over.
"""

from dataclasses import dataclass

from chimera.contracts.enums import FundingKind
from chimera.contracts.messages import DepthEvent, FundingEvent, TickerEvent
from chimera.services.s02_features.desk import Desk
from chimera.services.s02_features.handlers.emit import Emitter


@dataclass(slots=True, kw_only=True)
class Observe:
    desk: Desk
    emitter: Emitter
    depth_silent_ms: int
    interval_h: int = 8
    """The symbol's own funding interval, as the last message that told it."""
    _lonely_since_ms: int = 0
    """First ticker that no depth has followed yet; 0: depth came last."""

    async def on_ticker(self, event: TickerEvent) -> None:
        self.desk.on_ticker(event.ts, float(event.bid), float(event.ask))
        if self._lonely_since_ms == 0:
            self._lonely_since_ms = event.ts
        elif event.ts - self._lonely_since_ms > self.depth_silent_ms:
            await self.emitter.on_tick()

    async def on_depth(self, event: DepthEvent) -> None:
        (bid, bid_qty), (ask, ask_qty) = event.best_bid, event.best_ask
        self.desk.on_depth(event.ts, float(bid), float(ask), float(bid_qty), float(ask_qty))
        self._lonely_since_ms = 0
        await self.emitter.on_tick()

    async def on_funding(self, event: FundingEvent) -> None:
        """Told on with the next tick: a rate moves slowly."""
        if event.kind is FundingKind.NEXT:
            self.interval_h = event.interval_h or self.interval_h
            self.desk.on_funding(event.ts, float(event.rate), self.interval_h, event.funding_time)
