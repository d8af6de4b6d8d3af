"""Open orders, there and on file. An order that only the exchange has is kept, canceled or left alone by rule."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS, ORDERS
from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import Market, OrderStatus, OrderType, Severity
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.orders import VenueOrder, VenuePosition
from chimera.domain.reconcile.compare import Verdict, jaccard, uncovered_qty, verdict
from chimera.domain.reconcile.fixes import Fix
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.venue import UnknownOrder, Venue
from chimera.runtime.telling import Teller
from chimera.services.s05_reconciler.findings import CannotCompare, Findings
from chimera.services.s05_reconciler.handlers.fills import Fills
from chimera.services.s05_reconciler.handlers.trades import beyond, open_trade
from chimera.services.s05_reconciler.settings import Settings

OPEN_STATUSES = tuple(status for status in OrderStatus if not status.is_final)

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Orders:
    settings: Settings
    documents: Documents
    venue: Venue
    peers: Peers
    fills: Fills
    clock: Clock
    teller: Teller
    _asked_at: dict[str, int] = field(default_factory=dict)
    """When orders that are open on file, and not as the exchange has them, were last asked for."""
    _last_asked_ms: int = 0
    _told_of: set[str] = field(default_factory=set)
    """Orders of somebody else's that rest and were told."""

    async def on_file(self) -> list[Order]:
        found: list[Order] = []
        for status in OPEN_STATUSES:
            found += await self.documents.find(
                Query(collection=ORDERS, index="by_status", equal=(("status", status.value),))
            )
        return found

    async def settle_in_flight(self, keys: Sequence[InstrumentKey], findings: Findings) -> bool:
        """Orders of which nobody knows yet whether the exchange has them. False: some still are."""
        return await self._ask_for([order for order in await self._old(keys) if not order.is_listed], findings)

    async def catch_up(
        self, keys: Sequence[InstrumentKey], listed: Sequence[VenueOrder], findings: Findings
    ) -> tuple[bool, bool]:
        """Orders that are open on file, and that the exchange shows otherwise in `listed`, or not at all, are booked as
        it has them: whether all are settled, and whether any was asked for."""
        there = {order.client_order_id: order for order in listed}
        differing = [order for order in await self._old(keys) if _differs(order, there.get(order.order_id))]
        return await self._ask_for(differing, findings), bool(differing)

    async def _old(self, keys: Sequence[InstrumentKey]) -> list[Order]:
        return [
            order
            for order in await self.on_file()
            if InstrumentKey(order.market, order.symbol) in keys and not self._is_young(order)
        ]

    async def _ask_for(self, orders: Sequence[Order], findings: Findings) -> bool:
        """One by one, so many at a time and with a pause between them; who was not asked for the longest is first."""
        waiting = {order.order_id for order in orders}
        self._asked_at = {name: at_ms for name, at_ms in self._asked_at.items() if name in waiting}
        by_turn = sorted(
            orders, key=lambda each: (self._asked_at.get(each.order_id, 0), each.created_at, each.order_id)
        )
        settled = len(by_turn) <= self.settings.lookups_max
        unknown: list[Order] = []
        for order in by_turn[: self.settings.lookups_max]:
            pause_ms = self.clock.work_ms(self.settings.lookup_pause_ms)
            # Also after those of the look before.
            await self.clock.sleep_until_ms(max(self._last_asked_ms + pause_ms, self.clock.now_ms()))
            self._last_asked_ms = self.clock.now_ms()
            self._asked_at[order.order_id] = self.clock.now_ms()
            key = InstrumentKey(order.market, order.symbol)
            try:
                reported = await self.venue.order(key, order.order_id, conditional=order.is_conditional)
            except UnknownOrder:
                unknown.append(order)
                continue
            settled = await self._book(key, order, reported, findings) and settled
        return await self._end_unknown(unknown, findings) and settled

    async def _book(self, key: InstrumentKey, order: Order, reported: VenueOrder, findings: Findings) -> bool:
        """False: its query says nothing new yet, though its absence from the list does."""
        present = await self.documents.get(ORDERS, order.order_id)
        if present is None or present.updated_at != order.updated_at:
            return True  # somebody told it meanwhile
        noted = None
        if reported.status.is_final or reported.filled_qty != (order.filled_qty or Decimal(0)):
            noted = await findings.note(
                Fix.ORDER_BOOKED,
                key,
                order.order_id,
                at_ms=reported.updated_at_ms,
                before={"status": order.status.value, "filled": float(order.filled_qty or 0)},
                after={"status": reported.status.value, "filled": float(reported.filled_qty)},
            )
        await self.fills.look_up(key, order.order_id, conditional=order.is_conditional)
        if noted is not None:
            findings.done(noted)
        return noted is not None or not order.is_listed

    async def _end_unknown(self, orders: Sequence[Order], findings: Findings) -> bool:
        """The exchange said of each, older than its queries lag, that there is no such order. What an unfinished intent
        means to send is left to that; the others are ended by the router, which asks once more. False: some were not.

        Raises:
            CannotCompare: it could not ask.
        """
        given_up = [order for order in orders if not await self._in_hand_by_file(order)]
        if not given_up:
            return True
        noted = {
            order.order_id: await findings.note(
                Fix.ORDER_ENDED,
                InstrumentKey(order.market, order.symbol),
                order.order_id,
                at_ms=order.created_at,
                before={"status": order.status.value},
                after={"status": OrderStatus.CANCELED.value},
            )
            for order in given_up
        }
        answer = await self.peers.call(PeerCall("s4", "POST", "/orders/refresh", actor="s5"))
        if not answer.ok:
            raise CannotCompare(f"s4 could not ask the exchange for its orders: {answer.body}")
        settled = True
        for order in given_up:
            present = await self.documents.get(ORDERS, order.order_id)
            if present is not None and present.status is OrderStatus.CANCELED:
                findings.done(noted[order.order_id])
            else:
                # It was there after all, or is not old enough for the router.
                settled = False
                await findings.withdraw(noted[order.order_id])
        return settled

    async def _in_hand_by_file(self, order: Order) -> bool:
        record = None if order.intent_id is None else await self.documents.get(INTENTS, order.intent_id)
        return record is not None and not record.state.is_final

    async def compare(
        self,
        keys: Sequence[InstrumentKey],
        listed: Sequence[VenueOrder],
        positions: Sequence[VenuePosition],
        findings: Findings,
    ) -> None:
        """`listed` and `positions` are the exchange's, read before our own files are."""
        here = {order.order_id: order for order in await self._old(keys)}
        there = {order.client_order_id: order for order in listed if order.key in keys}
        known_here = set(here)
        for client_order_id, order in tuple(there.items()):
            if client_order_id in here:
                continue
            decided = await self._judge(order, listed, positions)
            if decided is Verdict.KNOWN:
                known_here.add(client_order_id)
            elif decided is Verdict.FOREIGN:
                await self._tell_once(order)
            elif decided is Verdict.CANCEL and not await self._cancel(order, Fix.ORPHAN_CANCELED, findings):
                del there[client_order_id]
        await self._drop_spent([each for each in there.values() if await self._is_nobodys(each)], positions, findings)
        self._told_of &= {order.client_order_id for order in listed}
        ours_there = [
            client_order_id
            for client_order_id in there
            if client_order_id in known_here or ids.is_ours(client_order_id, self.settings.id_prefix)
        ]
        findings.orders_jaccard = jaccard(sorted(known_here), ours_there)
        for client_order_id in sorted({*known_here, *ours_there}):
            findings.agree(client_order_id in known_here and client_order_id in there)

    async def _drop_spent(
        self, stops: Sequence[VenueOrder], positions: Sequence[VenuePosition], findings: Findings
    ) -> None:
        """Stops of what a person opened: nobody else takes them away once that is closed, and they would close what is
        opened next."""
        left = list(stops)
        for stop in stops:
            position = next((each for each in positions if each.symbol == stop.symbol), None)
            others = sum((covered_qty(each, position) for each in left if position and each is not stop), Decimal(0))
            if position is None or not closes(stop, position) or others >= await self._strangers_qty(position):
                # Two may cover for each other, but only one of them may go for it.
                left.remove(stop)
                await self._cancel(stop, Fix.SPENT_STOP_CANCELED, findings)

    async def _strangers_qty(self, position: VenuePosition) -> Decimal:
        return beyond(await open_trade(self.documents, InstrumentKey(Market.FUT, position.symbol)), position)

    async def _is_nobodys(self, order: VenueOrder) -> bool:
        known = await self.documents.get(ORDERS, order.client_order_id) if order.market is Market.FUT else None
        return known is not None and known.is_nobodys_stop

    async def _judge(
        self, order: VenueOrder, listed: Sequence[VenueOrder], positions: Sequence[VenuePosition]
    ) -> Verdict:
        known = await self.documents.get(ORDERS, order.client_order_id)
        position = next((each for each in positions if each.symbol == order.symbol), None)
        return verdict(
            on_file_open=known is not None and not known.status.is_final,
            ours=known is not None or ids.is_ours(order.client_order_id, self.settings.id_prefix),
            intent_unfinished=await self._in_hand(order, known),
            protects=position is not None and closes(order, position),
            otherwise_covered=position is not None and await self._covered_without(order, position, listed),
        )

    async def _in_hand(self, order: VenueOrder, known: Order | None) -> bool:
        """Whether an unfinished intent may have sent it. A child's name begins with the entry's."""
        record = None
        if known is not None and known.intent_id is not None:
            record = await self.documents.get(INTENTS, known.intent_id)
        else:
            for name in (order.client_order_id, order.client_order_id.rpartition("-")[0]):
                record = record or await self._intent_named(name)
        return record is not None and not record.state.is_final

    async def _intent_named(self, client_order_id: str) -> IntentRecord | None:
        found = await self.documents.find(
            Query(collection=INTENTS, index="by_client", equal=(("intent.client_order_id", client_order_id),))
        )
        return found[0] if found else None

    async def _covered_without(self, order: VenueOrder, position: VenuePosition, listed: Sequence[VenueOrder]) -> bool:
        others = [
            each.qty - each.filled_qty
            for each in stops_of(position, listed)
            if each.client_order_id != order.client_order_id and await self._is_on_file(each.client_order_id)
        ]
        return uncovered_qty(position.qty, others) == 0

    async def _is_on_file(self, client_order_id: str) -> bool:
        known = await self.documents.get(ORDERS, client_order_id)
        return known is not None and not known.status.is_final

    async def _cancel(self, order: VenueOrder, why: Fix, findings: Findings) -> bool:
        """False: it had ended since it was listed, so there was nothing to mend."""
        known = await self.documents.get(ORDERS, order.client_order_id)
        before = {"at_exchange": order.status.value, "on_file": known.status.value if known else None}
        log.warning("canceling an order that nobody wants", order=order.client_order_id, **before)
        noted = await findings.note(
            why, order.key, order.client_order_id, at_ms=order.created_at_ms, before=before, after="CANCELED"
        )
        conditional = order.conditional and not order.triggered
        try:
            await self.venue.cancel(order.key, order.client_order_id, conditional=conditional)
        except UnknownOrder:
            log.info("it was gone already", order=order.client_order_id)
            await findings.withdraw(noted)
            return False
        findings.done(noted)
        return True

    async def _tell_once(self, order: VenueOrder) -> None:
        if order.client_order_id in self._told_of:
            return
        self._told_of.add(order.client_order_id)
        await self.teller.alert(
            AlertCode.RECON_FIXED,
            Severity.WARN,
            f"order {order.client_order_id} on {order.key} is not ours; it is left alone",
            order_id=order.client_order_id,
            symbol=order.symbol,
        )

    def _is_young(self, order: Order) -> bool:
        return self.fills.is_young(max(order.created_at, order.sent_at or 0))


def _differs(order: Order, listed: VenueOrder | None) -> bool:
    """Whether what rests at the exchange is not what is on file, or does not rest there any more."""
    return listed is None or not order.is_listed or listed.filled_qty != (order.filled_qty or Decimal(0))


def closes(order: VenueOrder, position: VenuePosition) -> bool:
    """Whether the order can only make the position smaller."""
    against = order.side.sign * position.qty < 0
    return order.market is Market.FUT and against and (order.reduce_only or order.close_position)


def stops_of(position: VenuePosition, listed: Sequence[VenueOrder]) -> list[VenueOrder]:
    """Listed stops that would close the position."""
    return [
        order
        for order in listed
        if order.symbol == position.symbol and order.type is OrderType.STOP_MARKET and closes(order, position)
    ]


def covered_qty(order: VenueOrder, position: VenuePosition) -> Decimal:
    return abs(position.qty) if order.close_position else order.qty - order.filled_qty
