"""What spot holdings cost, kept by weighted average from the fills on file.

Recomputed from the fills each time, oldest first: a fill that comes late or twice cannot spoil it. The ledger says when
it has booked one, by whatever road it came.
"""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, HOLDINGS_SPOT_SNAPSHOTS
from chimera.contracts.documents import Fill, HoldingSnapshot
from chimera.contracts.enums import Market, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import SPOT_WAC
from chimera.domain.exact import average, money
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.wac import Holding, buy, sell
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.state import Snapshots
from chimera.services.s04_router.market import Market as MarketView


@dataclass(slots=True, kw_only=True)
class Holdings:
    env: str
    instruments: dict[InstrumentKey, Instrument]
    documents: Documents
    snapshots: Snapshots
    market: MarketView
    clock: Clock
    _held: dict[InstrumentKey, Holding] = field(default_factory=dict)
    _outdated: set[InstrumentKey] = field(default_factory=set)
    _counting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def outdate(self, key: InstrumentKey) -> None:
        """A fill of it has been booked: what was counted counts no more."""
        self._outdated.add(key)

    async def renew(self) -> None:
        """Recompute whatever fills were booked of."""
        for key in sorted(self._outdated):
            await self.refresh(key)

    async def refresh(self, key: InstrumentKey) -> None:
        """Recompute, and write the snapshot."""
        async with self._counting:
            # Before the fills are read: one that is booked meanwhile makes what is read here outdated again.
            self._outdated.discard(key)
            try:
                await self._count(key)
            except BaseException:
                self._outdated.add(key)
                raise

    async def _count(self, key: InstrumentKey) -> None:
        fills = await self.documents.find(Query(collection=FILLS, index="by_sym_time", equal=(("symbol", key.symbol),)))
        held = held_after([fill for fill in fills if fill.market is Market.SPOT], self.instruments[key].base_asset)
        self._held[key] = held
        now_ms = self.clock.now_ms()
        await self.snapshots.set_hash(
            SPOT_WAC.name(self.env, key), {"qty": str(held.qty), "wac": str(held.wac), "updated_at": str(now_ms)}
        )
        await self._write(key, held)

    async def snapshot(self) -> None:
        """Each 10 s while something is held."""
        await self.renew()
        for key, held in sorted(self._held.items()):
            # Dust is accounted for in the next exit; it is no holding that a person would look at every 10 s.
            if held.qty >= self.instruments[key].step_size:
                await self._write(key, held)

    async def _write(self, key: InstrumentKey, held: Holding) -> None:
        mid = await self.market.mid(key)
        await self.documents.put(
            HOLDINGS_SPOT_SNAPSHOTS,
            HoldingSnapshot(
                symbol=key.symbol,
                qty=money(held.qty),
                avg_cost_usdt=average(held.wac),
                unrealized_pnl_usdt=money((mid - held.wac) * held.qty) if mid is not None else None,
                ts=self.clock.now_ms(),
            ),
        )


def held_after(fills: list[Fill], base_asset: str) -> Holding:
    held = Holding()
    for fill in sorted(fills, key=lambda fill: ids.fill_order(fill.timestamp, fill.fill_id)):
        in_base = fill.fee_asset == base_asset
        fee_qty = fill.fee_qty or Decimal(0)
        if fill.side is Side.BUY:
            held = buy(
                held, price=fill.price, qty=fill.qty, fee_qty=fee_qty if in_base else Decimal(0), fee_usdt=fill.fee_usdt
            ).holding
        else:
            # More than we know of may be sold: a person bought some by hand. What we know of is gone then.
            sold = min(fill.qty, held.qty)
            held = sell(held, price=fill.price, qty=sold, fee_usdt=fill.fee_usdt or Decimal(0)).holding
    return held
