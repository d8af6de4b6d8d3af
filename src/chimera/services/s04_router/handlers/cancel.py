"""Taking orders back. Canceling twice is canceling once; what has filled is said to have filled."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import ORDERS
from chimera.contracts.documents import Order
from chimera.contracts.enums import EventKind, Intent, IntentState, Market, OrderStatus, Purpose
from chimera.contracts.http import CancelAnswer, CancelRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.order_intent import OrderIntent
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.randomness import Randomness
from chimera.ports.venue import Refused
from chimera.runtime.retry import Backoff
from chimera.runtime.service import Problem
from chimera.runtime.telling import Teller
from chimera.services.s04_router.handlers.accept import Accept
from chimera.services.s04_router.handlers.calls import Calls
from chimera.services.s04_router.handlers.drive import Drive
from chimera.services.s04_router.ledger import Ledger

ATTEMPTS = 3
"""How often one order is asked to go before the caller is told that it has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    documents: Documents
    ledger: Ledger
    accept: Accept
    calls: Calls
    drive: Drive
    clock: Clock
    randomness: Randomness
    teller: Teller

    async def cancel(self, request: CancelRequest) -> CancelAnswer:
        """
        Raises:
            Problem: 404 nothing of that name, 409 it has filled already.
        """
        led = request.intent_id is not None and self.drive.working(request.intent_id) is not None
        orders = await self._orders(request)
        if request.intent_id is not None and not orders and not led:
            return await self._end_of(request.intent_id)
        for intent_id in dict.fromkeys(order.intent_id for order in orders if order.intent_id is not None):
            # Whoever leads it must not take what is taken back here.
            self.drive.halt(intent_id, f"CANCELED {request.reason}")
        now = [order.order_id for order in orders if not order.status.is_final]
        ended = [order if order.status.is_final else await self._cancel_one(order) for order in orders]
        gone = [order.order_id for order in ended if order.status is OrderStatus.CANCELED]
        filled = [order.order_id for order in ended if order.status is OrderStatus.FILLED]
        # Who names one order asks about that one; who names an intent asks that nothing of it is left.
        by_name = request.order_id or request.client_order_id
        if by_name in filled or (by_name is None and filled and not gone and not led):
            raise Problem(409, "already-filled", f"{', '.join(filled)} has filled already")
        if request.escalate:
            await self._sell_rest(ended, str(request.reason))
        return CancelAnswer(
            status=OrderStatus.CANCELED,
            canceled_ids=tuple([order_id for order_id in gone if order_id in now] or gone),
            message=str(request.reason),
        )

    async def _orders(self, request: CancelRequest) -> list[Order]:
        one = request.order_id or request.client_order_id
        if one is not None:
            order = await self.ledger.order(one)
            if order is None:
                raise Problem(404, "unknown-order", f"no order {one!r} is on file")
            return [order, *(await self._sibling(order) if request.cascade_oco else [])]
        assert request.intent_id is not None
        orders = await self.ledger.of_intent(request.intent_id)
        working = self.drive.working(request.intent_id)
        if working is not None:
            # It is still being worked: that ends, and what filled of it keeps its stop.
            self.drive.halt(request.intent_id, f"CANCELED {request.reason}")
            return [order for order in orders if order.order_id in working]
        return orders

    async def _end_of(self, intent_id: str) -> CancelAnswer:
        """Of an intent that never had an order: how it ended. One that nobody leads, because the store could not say
        that it is on file, is led to its end."""
        record = await self.accept.intents.get(intent_id)
        if record is None:
            raise Problem(404, "unknown-intent", f"no intent {intent_id!r} was ever accepted")
        if not record.state.is_final:
            self.drive.begin(record, restored=True)
            self.drive.halt(intent_id, "CANCELED")
        refused = record.state in (IntentState.REJECTED, IntentState.FAILED)
        return CancelAnswer(
            status=OrderStatus.REJECTED if refused else OrderStatus.CANCELED,
            message=f"{intent_id} has no order: {record.reason or record.state.value}",
        )

    async def _sibling(self, order: Order) -> list[Order]:
        if order.oco_pair_id is None or order.intent_id is None:
            return []
        family: Sequence[Order] = await self.documents.find(
            Query(collection=ORDERS, index="by_intent", equal=(("intent_id", order.intent_id),))
        )
        return [each for each in family if each.oco_pair_id == order.oco_pair_id and each.order_id != order.order_id]

    async def _cancel_one(self, order: Order) -> Order:
        """The order as it ended: a cancel that comes too late finds a fill. Asking twice is harmless.

        Raises:
            Problem: 503, it is still open as far as anybody knows.
        """
        key = InstrumentKey(order.market, order.symbol)
        known = await self.ledger.order(order.order_id) or order
        backoff = Backoff(self.clock, self.randomness)
        for attempt in range(ATTEMPTS):
            if known.status.is_final:
                break
            if attempt:
                await backoff.wait()
            known = await self._try(known)
        if not known.status.is_final:
            raise Problem(503, "not-canceled", f"the exchange still holds {order.order_id}. Try again.")
        await self.teller.event(
            EventKind.CANCEL,
            key,
            order.order_id,
            intent_id=order.intent_id,
            purpose=order.purpose,
            status=known.status.value,
        )
        return known

    async def _try(self, order: Order) -> Order:
        try:
            return await self.calls.try_cancel(order)
        except Refused as refusal:
            raise Problem(503, "not-canceled", f"the exchange did not cancel {order.order_id}: {refusal}") from refusal

    async def _sell_rest(self, orders: Sequence[Order], why: str) -> None:
        """`escalate`: what the canceled exit orders would have closed is closed at market."""
        exits = [order for order in orders if order.purpose is not None and not order.purpose.is_new_entry]
        if not exits:
            return
        # Of a pair, and of a stop and its target, one ends what the other would: their fills count together.
        wanted = max(each.quantity or Decimal(0) for each in exits)
        rest = wanted - sum((each.filled_qty or Decimal(0) for each in exits), Decimal(0))
        if rest <= 0:
            return
        # Whichever of them was named: the rest is sold once.
        order = min(exits, key=lambda each: each.order_id)
        now_ms = self.clock.now_ms()
        intent_id = f"{order.intent_id}-CLOSE-{ids.digest(order.order_id, why, length=8)}"
        intent = OrderIntent(
            intent_id=intent_id,
            client_order_id=ids.child_order_id(order.order_id, 9),
            parent_id=order.parent_id or order.intent_id,
            ts=now_ms,
            market=order.market,
            symbol=order.symbol,
            side=order.side,
            intent=Intent.EXIT,
            purpose=Purpose.EXIT,
            qty=rest,
            reduce_only=order.market is Market.FUT,
        )
        try:
            await self.accept.submit(intent)
        except Problem as problem:
            if problem.kind != "nothing-to-reduce":
                raise
