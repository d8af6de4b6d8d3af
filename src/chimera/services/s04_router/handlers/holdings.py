"""What is held on spot and what it cost, kept by weighted average from the fills on file.

The ledger says which fill it has booked, by whatever road it came. One that is the latest is added to what was counted;
after any other (late, or mended) all that are on file are counted anew, oldest first, so that none can spoil the count.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, HOLDINGS_SPOT_SNAPSHOTS, INTENTS, ORDERS
from chimera.contracts.documents import Fill, HoldingSnapshot, is_strangers_order
from chimera.contracts.enums import OPEN_INTENTS, Market, OrderStatus, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import SPOT_WAC
from chimera.domain.exact import average, money
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.spot_count import SpotCount
from chimera.domain.positions.trade_book import part_of
from chimera.domain.positions.wac import Holding
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
    _counts: dict[InstrumentKey, SpotCount] = field(default_factory=dict)
    """Of these every fill on file is counted."""
    _booked: Counter[InstrumentKey] = field(default_factory=Counter)
    _untold: set[InstrumentKey] = field(default_factory=set)
    """The count has changed since it was told."""
    _unwritten: set[InstrumentKey] = field(default_factory=set)
    """The same for the document."""
    _counting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def book(self, key: InstrumentKey, fills: Iterable[Fill]) -> None:
        """These fills of it have come on file."""
        self._booked[key] += 1
        self._untold.add(key)
        count = self._counts.get(key)
        if count is not None and not all(count.add(fill, self.instruments[key]) for fill in in_order(fills)):
            del self._counts[key]

    def recount(self, key: InstrumentKey) -> None:
        """What strangers sold of it has come on file, or how much of that was of trades."""
        self._booked[key] += 1
        self._untold.add(key)
        self._counts.pop(key, None)

    async def renew(self) -> None:
        """Tell what is held wherever fills were booked."""
        for key in sorted(self._untold):
            await self.refresh(key)

    async def refresh(self, key: InstrumentKey) -> None:
        """Tell what is held."""
        # Before it is counted: what is booked meanwhile has to be told as well.
        self._untold.discard(key)
        try:
            held = (await self._counted(key)).holding
            self._unwritten.add(key)
            now_ms = self.clock.now_ms()
            await self.snapshots.set_hash(
                SPOT_WAC.name(self.env, key), {"qty": str(held.qty), "wac": str(held.wac), "updated_at": str(now_ms)}
            )
        except BaseException:
            self._untold.add(key)
            raise

    async def dust(self, key: InstrumentKey, intent_id: str) -> Decimal:
        """What is held beside that which `intent_id` bought and nobody means to sell: earlier exits could not.

        Nothing while another entry of the instrument is unfinished: what it buys is its own, however little.
        """
        # In this order: what a leg sells meanwhile is then missed as dust, never taken for it.
        asked = await self._asked(key)
        dust = (await self._counted(key)).dust(self.instruments[key], intent_id=intent_id, asked=asked)
        for state in OPEN_INTENTS:
            same = (("market", key.market.value), ("symbol", key.symbol), ("state", state.value))
            for record in await self.documents.find(Query(collection=INTENTS, index="by_instr", equal=same)):
                if record.purpose.is_new_entry and record.intent_id != intent_id:
                    return Decimal(0)
        return dust

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

    async def _counted(self, key: InstrumentKey) -> SpotCount:
        """As of now: to be used before anything else is awaited."""
        async with self._counting:
            while (count := self._counts.get(key)) is None:
                booked = self._booked[key]
                found = await self.documents.find(
                    Query(collection=FILLS, index="by_sym_time", equal=(("symbol", key.symbol),))
                )
                count = SpotCount()
                spot = [each for each in found if each.market is Market.SPOT]
                for fill in in_order(await self._as_ours(key, spot)):
                    count.add(fill, self.instruments[key])
                # What was booked meanwhile may not be among what was read.
                if booked == self._booked[key]:
                    self._counts[key] = count
            return count

    async def _as_ours(self, key: InstrumentKey, fills: Sequence[Fill]) -> list[Fill]:
        """These fills, and of those of strangers the part that closed trades of ours: the rest was never ours."""
        # An order that nobody here sent has no intent but itself.
        doubted = {fill.order_id for fill in fills if fill.intent_id == fill.order_id}
        rows = await self.documents.get_values(ORDERS, doubted, ("intent_id", "parent_id", "reason"))
        strangers = {name for name, row in rows.items() if is_strangers_order(*row)}
        if not strangers:
            return list(fills)
        closed: dict[str, Decimal] = {}
        for (parts,) in await self.documents.find_values(
            Query(collection=ORDERS, index="by_sym_time", equal=(("symbol", key.symbol),)), ("closed_by",)
        ):
            for fill_id, qty in (parts or {}).items():
                closed[fill_id] = closed.get(fill_id, Decimal(0)) + Decimal(str(qty))
        ours = [fill for fill in fills if fill.order_id not in strangers]
        theirs = [part_of(fill, closed.get(fill.fill_id, Decimal(0))) for fill in fills if fill.order_id in strangers]
        return [*ours, *(fill for fill in theirs if fill.qty > 0)]

    async def snapshot(self) -> None:
        """Each 10 s while something is held, and once when it has gone."""
        await self.renew()
        for key, count in sorted(self._counts.items()):
            # Dust is sold by the next exit; it is no holding that a person would look at every 10 s.
            if key in self._unwritten or count.holding.qty >= self.instruments[key].step_size:
                await self._write(key, count.holding)
                self._unwritten.discard(key)

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


def in_order(fills: Iterable[Fill]) -> list[Fill]:
    return sorted(fills, key=lambda fill: ids.fill_order(fill.timestamp, fill.fill_id))
