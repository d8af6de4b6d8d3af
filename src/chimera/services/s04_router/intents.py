"""S4's memory of intents: durable first, in memory for those who wait."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chimera.contracts.collections import INTENTS, STRATEGY_EVENTS
from chimera.contracts.documents import IntentRecord, StrategyEvent
from chimera.contracts.enums import IntentState, OrderStatus
from chimera.contracts.messages import OrderResult
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.machine.flow import leg_name
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Put
from chimera.runtime.waiting import Changed
from chimera.services.s04_router.results import Results
from chimera.services.s04_router.rules import deadline_ms

FINAL_STATUS = {
    IntentState.DONE: OrderStatus.FILLED,
    IntentState.CANCELED: OrderStatus.CANCELED,
    IntentState.REJECTED: OrderStatus.REJECTED,
    IntentState.FAILED: OrderStatus.REJECTED,
}


@dataclass(slots=True, kw_only=True)
class Intents:
    documents: Documents
    results: Results
    clock: Clock
    doubted: dict[str, int] = field(default_factory=dict)
    """Intents that may be on file and led by nobody, as nobody could say that they were filed: since when (epoch
    ms). Whoever settles a doubt removes it."""
    doubting: Changed = field(default_factory=Changed)
    """Told of each new doubt."""
    _filing: set[str] = field(default_factory=set)
    _waiting: dict[str, Changed] = field(default_factory=dict)

    async def get(self, intent_id: str) -> IntentRecord | None:
        return await self.documents.get(INTENTS, intent_id)

    async def accept(self, intent: OrderIntent, legs: int) -> IntentRecord:
        """Make the intent and every id it may send durable.

        Raises:
            DuplicateKey: it was accepted before, or its client order id belongs to another.
        """
        now_ms = self.clock.now_ms()
        record = IntentRecord(
            intent_id=intent.intent_id,
            state=IntentState.ACCEPTED,
            intent=intent,
            body_hash=intent.body_hash(),
            market=intent.market,
            symbol=intent.symbol,
            purpose=intent.purpose,
            deadline=deadline_ms(intent, self.clock),
            order_ids=tuple(leg_name(intent.client_order_id, n) for n in range(legs)),
            created_at=now_ms,
            updated_at=now_ms,
        )
        self._filing.add(record.intent_id)
        try:
            await self.documents.insert(INTENTS, record)
        except DuplicateKey:
            raise
        except BaseException:
            # It may have been written all the same, be it that the answer was lost or that nobody waits for it.
            self.doubt(record.intent_id)
            raise
        finally:
            self._filing.discard(record.intent_id)
        return record

    def doubt(self, intent_id: str) -> None:
        self.doubted.setdefault(intent_id, self.clock.now_ms())
        self.doubting.tell()

    def is_being_filed(self, intent_id: str) -> bool:
        """It may be on file already, and whoever files it leads it as soon as the store has said so."""
        return intent_id in self._filing

    async def advance(
        self, record: IntentRecord, state: IntentState, *, told: Sequence[StrategyEvent] = (), **changes: Any
    ) -> IntentRecord:
        """Write the new state, and before it what is `told` of it; a final one is also told as the intent's last
        result."""
        deadline = record.deadline if state is IntentState.ACCEPTED else None
        moved = record.but(state=state, deadline=deadline, updated_at=self.clock.now_ms(), **changes)
        await self.documents.put_many([*(Put(STRATEGY_EVENTS, event) for event in told), Put(INTENTS, moved)])
        await self.tell(moved)
        return moved

    async def tell(self, record: IntentRecord) -> None:
        """What is on file of an intent now, to those who wait for it; its end, as its last result, to everybody."""
        if record.state.is_final:
            await self.results.tell(last_word(record))
        waiting = self._waiting.get(record.intent_id)
        if waiting is not None:
            waiting.tell()

    def changed(self, intent_id: str) -> Changed:
        """Told whenever this intent's document changes; `forget` it after waiting."""
        return self._waiting.setdefault(intent_id, Changed())

    def forget(self, intent_id: str) -> None:
        """A waiter has what it wanted; others may still wait."""
        waiting = self._waiting.get(intent_id)
        if waiting is not None and waiting.idle:
            del self._waiting[intent_id]


def last_word(record: IntentRecord) -> OrderResult:
    """The result that says: nothing more will be sent for this intent, and this much of it filled."""
    return OrderResult(
        cmd_id=record.intent_id,
        intent_id=record.intent_id,
        order_id=record.intent.client_order_id,
        client_order_id=record.intent.client_order_id,
        market=record.market,
        symbol=record.symbol,
        status=FINAL_STATUS[record.state],
        purpose=record.purpose,
        signal_id=record.intent.signal_id,
        parent_id=record.intent.parent_id,
        side=record.intent.side,
        type=record.intent.type,
        reason=record.reason,
        error=record.reason if record.state in (IntentState.REJECTED, IntentState.FAILED) else None,
        final=True,
        intent_filled_qty=record.filled_qty,
        avg_price=record.avg_price,
        filled_qty=record.filled_qty,
        ts=record.updated_at,
    )
