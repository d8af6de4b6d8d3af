"""What spot holdings cost, kept by weighted average from the fills on file.

Recomputed from the fills each time, oldest first: a fill that comes late or twice cannot spoil it. The ledger says when
it has booked one, by whatever road it came.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, HOLDINGS_SPOT_SNAPSHOTS, INTENTS, ORDERS
from chimera.contracts.documents import Fill, HoldingSnapshot
from chimera.contracts.enums import OPEN_INTENTS, Market, OrderStatus, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import SPOT_WAC
from chimera.domain.exact import average, money
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.wac import Holding, buy, sell
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.state import Snapshots
from chimera.services.s04_router.market import Market as MarketView

OPEN_STATUSES = tuple(status for status in OrderStatus if not status.is_final)


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

    async def dust(self, key: InstrumentKey, intent_id: str) -> Decimal:
        """What is held beside that which `intent_id` bought and nobody means to sell: earlier exits could not.

        Nothing while another entry of the instrument is unfinished: what it buys is its own, however little.
        """
        # In this order: what a leg sells meanwhile is then missed as dust, never taken for it.
        asked = await self._asked(key)
        fills = await self._fills(key)
        for state in OPEN_INTENTS:
            same = (("market", key.market.value), ("symbol", key.symbol), ("state", state.value))
            for record in await self.documents.find(Query(collection=INTENTS, index="by_instr", equal=same)):
                if record.purpose.is_new_entry and record.intent_id != intent_id:
                    return Decimal(0)
        return dust_after(fills, self.instruments[key], intent_id=intent_id, asked=asked)

    async def _asked(self, key: InstrumentKey) -> dict[str, Decimal]:
        """What each intent's open orders would sell. Of a pair one ends the other, so they count once."""
        asked: dict[str, Decimal] = {}
        for status in OPEN_STATUSES:
            for order in await self.documents.find(
                Query(collection=ORDERS, index="by_status", equal=(("status", status.value),))
            ):
                if (order.market, order.symbol, order.side) == (key.market, key.symbol, Side.SELL):
                    rest = (order.quantity or Decimal(0)) - (order.filled_qty or Decimal(0))
                    whose = order.intent_id or order.order_id
                    asked[whose] = max(rest, asked.get(whose, Decimal(0)))
        return asked

    async def _fills(self, key: InstrumentKey) -> list[Fill]:
        fills = await self.documents.find(Query(collection=FILLS, index="by_sym_time", equal=(("symbol", key.symbol),)))
        return [fill for fill in fills if fill.market is Market.SPOT]

    async def _count(self, key: InstrumentKey) -> None:
        held = held_after(await self._fills(key), self.instruments[key].base_asset)
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
            # Dust is sold by the next exit; it is no holding that a person would look at every 10 s.
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


def held_after(fills: Iterable[Fill], base_asset: str) -> Holding:
    held = Holding()
    for fill in in_order(fills):
        if fill.side is Side.BUY:
            fee_qty = fill.qty - received(fill, base_asset)
            held = buy(held, price=fill.price, qty=fill.qty, fee_qty=fee_qty, fee_usdt=fill.fee_usdt).holding
        else:
            # More than we know of may be sold: a person bought some by hand. What we know of is gone then.
            sold = min(fill.qty, held.qty)
            held = sell(held, price=fill.price, qty=sold, fee_usdt=fill.fee_usdt or Decimal(0)).holding
    return held


def dust_after(
    fills: Iterable[Fill], instrument: Instrument, *, intent_id: str, asked: Mapping[str, Decimal]
) -> Decimal:
    """What is held that neither `intent_id` bought nor another entry still has to sell.

    An entry has to sell what is left of it from one step on, and whatever its open orders say (`asked`).
    """
    held = Decimal(0)
    left: dict[str, Decimal] = {}
    for fill in in_order(fills):
        whose = fill.intent_id or fill.order_id
        if fill.side is Side.BUY:
            qty = received(fill, instrument.base_asset)
            held += qty
            left[whose] = left.get(whose, Decimal(0)) + qty
            continue
        held = max(Decimal(0), held - fill.qty)
        # An exit under a name of its own ends what was bought first; what an entry sells beyond its own was dust.
        ended = [whose] if whose in left else [each for each, qty in left.items() if qty >= instrument.step_size]
        sold = fill.qty
        for each in ended:
            part = min(sold, left[each])
            left[each] -= part
            sold -= part
    own = left.pop(intent_id, Decimal(0))
    claims = {each: qty for each, qty in left.items() if qty >= instrument.step_size}
    for whose, qty in asked.items():
        if whose != intent_id:
            claims[whose] = max(qty, claims.get(whose, Decimal(0)))
    return max(Decimal(0), held - own - sum(claims.values()))


def received(fill: Fill, base_asset: str) -> Decimal:
    """What a buy put into the wallet, net of a fee taken in the base asset."""
    return fill.qty - (fill.fee_qty or Decimal(0) if fill.fee_asset == base_asset else Decimal(0))


def in_order(fills: Iterable[Fill]) -> list[Fill]:
    return sorted(fills, key=lambda fill: ids.fill_order(fill.timestamp, fill.fill_id))
