"""A SPOT trade that has lost its pair or its guard is protected again, whoever took it away.

Owns what of a trade nothing protects any more. S5 sees that it is so and asks; here the fills are counted, and a guard
takes over at the prices that the trade had last.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS
from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import Intent, Market, OrderType, Purpose, Side
from chimera.contracts.http import GuardAnswer
from chimera.contracts.messages.orders import RiskRef
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.machine.bracket import NOTHING_TO_SELL
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.runtime.numbered import last_of
from chimera.runtime.service import Problem
from chimera.services.s04_router.handlers.accept import Accept
from chimera.services.s04_router.handlers.drive import Drive
from chimera.services.s04_router.handlers.spot_exit import SpotExit, Uncovered
from chimera.services.s04_router.ledger import Ledger

LOST = "PROTECTION_LOST"
BESIDE = "TARGET_FILLED_IN_PART"
"""Which makes the exchange cancel the stop of the pair."""
BEHIND = "BEHIND_STOP_LIMIT"
"""Why such a guard was armed."""

AGAIN_MS, AGAIN_MAX_MS = 1_000, 60_000
"""Of our own work: how long after a sale that was not taken the next one is sent, at first and at most."""
NOTHING_AGAIN_MS = 3_600_000
"""The same after one that found nothing free: somebody sold it, which S5 learns, or has an order that holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    documents: Documents
    ledger: Ledger
    drive: Drive
    spot_exit: SpotExit
    accept: Accept
    clock: Clock
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def guard(self, trade_id: str) -> GuardAnswer:
        """POST /orders/guard. Asked again it arms nothing twice.

        Raises:
            Problem: 404, no SPOT entry of ours.
        """
        entry = await self.documents.get(INTENTS, trade_id)
        if entry is None or entry.market is not Market.SPOT or not entry.purpose.is_new_entry:
            raise Problem(404, "unknown-intent", f"no SPOT entry {trade_id!r} is on file")
        async with self._one_at_a_time:
            return await self._guard(entry)

    async def _guard(self, entry: IntentRecord) -> GuardAnswer:
        if not entry.state.is_final:
            return GuardAnswer(message=f"{entry.intent_id} is still being worked, which protects what it buys")
        if await self._in_hand(entry.intent_id):
            return GuardAnswer(message=f"an exit or a guard of {entry.intent_id} is under way")
        # Read after who is at work: what a guard or an exit sold before it ended is on file by then.
        pair = [order for order in await self.ledger.of_intent(entry.intent_id) if order.oco_pair_id is not None]
        resting = [order for order in pair if not order.status.is_final]
        left = await self.spot_exit.uncovered(entry)
        if left is None:
            return GuardAnswer(message=f"nothing that can be sold is left of {entry.intent_id}")
        if not resting:
            return await self._watch(entry, left, LOST)
        if not any(order.purpose is Purpose.SL for order in resting):
            return await self._watch(entry, Uncovered(left.qty, left.stop_price, None), BESIDE)
        limit = stop_limit_of(resting)
        if limit is None:
            return GuardAnswer(message=f"the pair of {entry.intent_id} rests")
        return await self._watch(entry, Uncovered(left.qty, limit, None), BEHIND)

    async def _in_hand(self, trade_id: str) -> bool:
        """By what is on file: one that has just ended may still be on its way out of memory."""
        for record in self.drive.led(trade_id):
            present = await self.documents.get(INTENTS, record.intent_id)
            if present is not None and not present.state.is_final:
                return True
        return False

    async def _watch(self, entry: IntentRecord, left: Uncovered, why: str) -> GuardAnswer:
        if why != BEHIND and not self.spot_exit.guardian:
            return await self._sell(entry, left)
        record = await self.spot_exit.guards.arm(
            entry.intent, left.qty, stop_price=left.stop_price, target_price=left.target_price, why=why
        )
        if await self.spot_exit.uncovered(entry) is None:
            # Somebody sold it while the guard was written down.
            self.spot_exit.guards.stand_down(entry.intent_id, NOTHING_TO_SELL)
            return GuardAnswer(message=f"nothing that can be sold is left of {entry.intent_id}")
        return GuardAnswer(
            guard_id=record.intent_id,
            qty=left.qty,
            stop_price=left.stop_price,
            message=f"{record.intent_id} watches {left.qty} at {left.stop_price}",
        )

    async def _sell(self, entry: IntentRecord, left: Uncovered) -> GuardAnswer:
        """S4_OCO_GUARDIAN=false: what the exchange does not protect is not held. A sale that sold nothing is followed
        by the next, later each time; what S5 hears of it alarms a person.

        Raises:
            Problem: 503, the last one was refused, or not served, and it is not time for the next.
        """
        sales, last = await last_of(lambda number: self.documents.get(INTENTS, _sale_id(entry, number)))
        number = sales + 1
        if last is not None and not last.filled_qty:
            found_nothing = last.reason == NOTHING_TO_SELL
            pause_ms = NOTHING_AGAIN_MS if found_nothing else min(AGAIN_MAX_MS, AGAIN_MS << min(number, 10))
            if self.clock.now_ms() < last.updated_at + self.clock.work_ms(pause_ms):
                if found_nothing:
                    return GuardAnswer(message=f"{last.intent_id} found nothing to sell: {last.reason}")
                why = f"{last.intent_id} sold nothing: {last.reason}; the next one follows"
                raise Problem(503, "not-sold-yet", why, intent_id=entry.intent_id)
        intent = OrderIntent(
            intent_id=_sale_id(entry, number),
            signal_id=entry.intent.signal_id,
            parent_id=entry.intent_id,
            client_order_id=ids.protection_order_id(entry.intent.client_order_id, "u", number),
            ts=self.clock.now_ms(),
            market=Market.SPOT,
            symbol=entry.symbol,
            side=Side.SELL,
            intent=Intent.EXIT,
            purpose=Purpose.EXIT,
            qty=left.qty,
            type=OrderType.MARKET,
            reduce_only=True,
            risk=RiskRef(rcu_rev=entry.intent.risk.rcu_rev),
        )
        await self.accept.submit(intent, wait_ms=0)
        return GuardAnswer(
            guard_id=intent.intent_id,
            qty=left.qty,
            message=f"{intent.intent_id} sells {left.qty} at market, as S4_OCO_GUARDIAN is false",
        )


def stop_limit_of(resting: Sequence[Order]) -> Decimal | None:
    """The limit of a resting stop that a gap can jump over; None: it sells at market, or there is none."""
    return next(
        (order.price for order in resting if order.type is OrderType.STOP_LOSS_LIMIT and order.price is not None), None
    )


def _sale_id(entry: IntentRecord, number: int) -> str:
    return f"{entry.intent_id}-UNGUARDED-{number}"
