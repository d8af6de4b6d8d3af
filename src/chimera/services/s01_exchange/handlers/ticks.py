"""Best prices: to ticker, depth and the snapshot, one event an instrument each `throttle_ms`, the newest wins.

Owns the coalescing. The first tick after a pause goes out at once; those that follow too soon leave the newest of them
to the end of the distance. Two tellings of one instrument never overtake each other.
"""

from dataclasses import dataclass, field

from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import MKT_SNAP
from chimera.contracts.messages import DepthEvent, TickerEvent
from chimera.contracts.messages.market import BookTop3
from chimera.contracts.streams import MKT_DEPTH, MKT_TICKER
from chimera.domain.features.depth_top1_usdt import depth_top1_usdt
from chimera.domain.features.spread_bps import spread_bps
from chimera.domain.market.quotes import BookTop, Level, MarkPrice
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.state import Snapshots
from chimera.runtime.later import Later

SNAP_TTL_MS = (MKT_SNAP.ttl_s or 0) * 1_000
LEVELS = 3


@dataclass(slots=True)
class Slot:
    """One instrument: where it is told, and what waits to be."""

    key: InstrumentKey
    ticker: str
    depth: str
    snap: str
    waiting: BookTop | None = None
    telling: bool = False
    next_ms: int = 0
    mark: MarkPrice | None = None
    """The newest (FUT): written with the next tick, so that it costs no write of its own."""


@dataclass(slots=True, kw_only=True)
class Ticks:
    env: str
    keys: tuple[InstrumentKey, ...]
    throttle_ms: int
    bus: Bus
    snapshots: Snapshots
    clock: Clock
    _told: int = 0
    _slots: dict[InstrumentKey, Slot] = field(init=False)
    _later: Later[InstrumentKey] = field(init=False)

    def __post_init__(self) -> None:
        self._later = Later(self.clock)
        self._slots = {
            key: Slot(
                key=key,
                ticker=MKT_TICKER.name(self.env, key),
                depth=MKT_DEPTH.name(self.env, key),
                snap=MKT_SNAP.name(self.env, key),
            )
            for key in self.keys
        }

    def mark(self, key: InstrumentKey, mark: MarkPrice) -> None:
        self._slots[key].mark = mark

    def take_told(self) -> int:
        """How many ticks were told since the last call."""
        told, self._told = self._told, 0
        return told

    async def on_tick(self, key: InstrumentKey, top: BookTop) -> None:
        slot = self._slots[key]
        slot.waiting = top
        if slot.telling:
            return
        if self.clock.now_ms() < slot.next_ms:
            self._later.at(key, slot.next_ms)
        else:
            await self._tell(slot)

    async def flush(self) -> None:
        """Tell what had to wait; runs for ever."""
        await self._later.run(self._tell_late)

    async def _tell_late(self, key: InstrumentKey) -> None:
        slot = self._slots[key]
        if slot.waiting is not None and not slot.telling:
            await self._tell(slot)

    async def _tell(self, slot: Slot) -> None:
        top = slot.waiting
        assert top is not None
        slot.waiting = None
        slot.telling = True
        slot.next_ms = self.clock.now_ms() + self.throttle_ms
        try:
            await self._write(slot, top)
            self._told += 1
        finally:
            slot.telling = False
        if slot.waiting is not None:
            self._later.at(slot.key, slot.next_ms)

    async def _write(self, slot: Slot, top: BookTop) -> None:
        bids, asks = top.bids[:LEVELS], top.asks[:LEVELS]
        best_bid, best_ask = bids[0], asks[0]
        bid, ask = best_bid[0], best_ask[0]
        bid_estimate, ask_estimate = float(bid), float(ask)
        fields = {
            "last": str(top.last),
            "bid": str(bid),
            "ask": str(ask),
            "mid": str((bid + ask) / 2),
            "spread_bps": str(spread_bps(bid_estimate, ask_estimate)),
            "depth_top1_usdt": str(depth_top1_usdt(bid_estimate, ask_estimate, float(best_bid[1]), float(best_ask[1]))),
            "top3": f'{{"bids":[{_levels(bids)}],"asks":[{_levels(asks)}]}}',
            "ts": str(top.ts),
        }
        if slot.mark is not None:
            fields["mark"] = str(slot.mark.mark)
            fields["mark_ts"] = str(slot.mark.ts)
        # The snapshot first: whoever is woken by the event finds the same market in it.
        await self.snapshots.set_hash(slot.snap, fields, ttl_ms=SNAP_TTL_MS)
        market, symbol = slot.key.market, slot.key.symbol
        await self.bus.publish(
            slot.ticker, TickerEvent(ts=top.ts, market=market, symbol=symbol, last=top.last, bid=bid, ask=ask)
        )
        await self.bus.publish(
            slot.depth,
            DepthEvent(
                ts=top.ts,
                market=market,
                symbol=symbol,
                best_bid=best_bid,
                best_ask=best_ask,
                top3=BookTop3(bids=bids, asks=asks),
            ),
        )


def _levels(levels: tuple[Level, ...]) -> str:
    return ",".join([f"[{price!s},{qty!s}]" for price, qty in levels])
