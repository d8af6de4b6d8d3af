"""Coming back: what the exchange did while nobody listened is booked, and unfinished intents are led to their end.

Start-up and crash recovery are the same path. Nothing here sends an entry.
"""

from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

import structlog

from chimera.contracts.collections import FILLS, INTENTS, ORDERS
from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import OPEN_INTENTS, Market, Purpose
from chimera.contracts.http import LookupRequest, ShareRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.last_gate import DAY_MS, LastGate
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.venue import UnknownOrder, Venue
from chimera.runtime.service import Problem
from chimera.services.s04_router.handlers.drive import Drive
from chimera.services.s04_router.handlers.holdings import OPEN_STATUSES, Holdings
from chimera.services.s04_router.ledger import Ledger

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recover:
    documents: Documents
    venue: Venue
    ledger: Ledger
    drive: Drive
    holdings: Holdings
    last_gate: LastGate
    clock: Clock
    keys: tuple[InstrumentKey, ...]
    lookup_lag_ms: int

    async def start(self) -> None:
        await self.ledger.part_adl()
        await self.catch_up()
        await self._count_the_day()
        unfinished = await self.open_intents()
        for record in unfinished:
            self.drive.begin(record, restored=True)
        for trade_id in {record.intent.parent_id for record in unfinished if record.purpose is Purpose.GUARD}:
            # That a person had sold it may be on file, and its guard not told yet.
            entry = None if trade_id is None else await self.documents.get(INTENTS, trade_id)
            if entry is not None:
                await self.drive.spot_exit.sold_by_others(entry)
        for key in self.keys:
            if key.market is Market.SPOT:
                await self.holdings.refresh(key)

    async def _count_the_day(self) -> None:
        """A restart does not grant the day's entries anew."""
        now_ms = self.clock.now_ms()
        today = Query(collection=ORDERS, index="by_time", at_least=now_ms - now_ms % DAY_MS)
        for order in await self.documents.find(today):
            price = order.avg_price or order.mid_at_send
            if (
                order.purpose is not None
                and order.purpose.is_new_entry
                and order.sent_at is not None
                and price is not None
            ):
                self.last_gate.remember(order.created_at, (order.quantity or Decimal(0)) * price)

    async def open_intents(self) -> list[IntentRecord]:
        found: list[IntentRecord] = []
        for state in OPEN_INTENTS:
            found += await self.documents.find(
                Query(collection=INTENTS, index="by_open", equal=(("state", state.value),))
            )
        return sorted(found, key=lambda record: (record.created_at, record.intent_id))

    async def open_orders(self) -> list[Order]:
        found: list[Order] = []
        for status in OPEN_STATUSES:
            found += await self.documents.find(
                Query(collection=ORDERS, index="by_status", equal=(("status", status.value),))
            )
        return sorted(found, key=lambda order: (order.created_at, order.order_id))

    async def look_up(self, wanted: LookupRequest) -> None:
        """POST /orders/lookup.

        Raises:
            Problem: 404, the exchange does not know it, or it is nobody's here.
        """
        key = InstrumentKey(wanted.market, wanted.symbol)
        try:
            order = await self.ledger.refresh(key, wanted.client_order_id, conditional=wanted.conditional)
        except UnknownOrder:
            order = None
        if order is None:
            raise Problem(404, "unknown-order", f"no order {wanted.client_order_id!r} of ours at the exchange")

    async def share(self, wanted: ShareRequest) -> None:
        """POST /orders/share.

        Raises:
            Problem: 404, no such entry, or no such order; 422, an order or a fill that cannot be meant.
        """
        record = await self.documents.get(INTENTS, wanted.intent_id)
        if record is None or not record.purpose.is_new_entry:
            raise Problem(404, "unknown-intent", f"no entry {wanted.intent_id!r} is on file")
        for name, qty in (*wanted.foreign.items(), *wanted.closed_by.items()):
            if qty < 0:
                raise Problem(422, "negative-qty", f"{name} is shared with {qty}; name 0 or more")
        for name in wanted.foreign:
            order = await self.ledger.order(name)
            if order is None or order.intent_id != record.intent_id or order.side is not record.intent.side:
                raise Problem(422, "not-of-this-entry", f"order {name!r} is no entry of {wanted.intent_id!r}")
        for name in wanted.orders:
            try:
                await self.ledger.adopt(record.intent.instrument, name)
            except UnknownOrder:
                raise Problem(404, "unknown-order", f"the exchange knows no order {name!r}") from None
        for fill_id in wanted.closed_by:
            fill = await self.documents.get(FILLS, fill_id)
            order = None if fill is None else await self.ledger.order(fill.order_id)
            if order is None or not order.is_strangers or order.side is record.intent.side:
                raise Problem(422, "not-a-strangers-fill", f"fill {fill_id!r} closed nothing of {wanted.intent_id!r}")
        try:
            await self.ledger.share(record, wanted.foreign, wanted.closed_by)
        finally:
            # Where nobody can say whether it is on file, nobody may ask for it again either.
            if record.market is Market.SPOT:
                await self.drive.spot_exit.sold_by_others(record)
        if record.market is Market.SPOT:
            # What is held is told again by its own timer.
            with suppress(DependencyDown):
                await self.holdings.renew()

    async def catch_up(self) -> None:
        """Ask for every order that is open on file. One that the exchange has never heard of is left to its intent if
        that is unfinished, and ended otherwise: nobody will send it any more.

        Raises:
            VenueUnavailable: it could not be asked; nothing is concluded from silence.
        """
        unfinished = {record.intent_id for record in await self.open_intents()}
        for order in await self.open_orders():
            key = InstrumentKey(order.market, order.symbol)
            try:
                await self.ledger.refresh(key, order.order_id, conditional=order.is_conditional)
            except UnknownOrder:
                settled = self.clock.now_ms() - order.created_at > self.clock.work_ms(self.lookup_lag_ms)
                if order.intent_id not in unfinished and settled:
                    log.warning("an order on file never reached the exchange", order=order.order_id)
                    await self.ledger.lose(order.order_id, "NOT_AT_EXCHANGE")
