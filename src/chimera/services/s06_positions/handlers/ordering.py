"""Asking S4 for orders: ids counted and derived, so that what was asked once is never asked for twice."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS
from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import CancelReason, Intent, IntentState, Market, OrderType, Purpose
from chimera.contracts.http import CancelRequest
from chimera.contracts.messages.orders import RiskRef, StopSpec
from chimera.contracts.order_intent import ENTRY_TTL_MS, OrderIntent
from chimera.domain.execution.machine.bracket import NOTHING_TO_SELL
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.peers import PeerCall, Peers, PeerUnavailable
from chimera.services.s06_positions.memory import Held

WORDS = {Purpose.SL: "s", Purpose.TP: "t", Purpose.EXIT: "x"}
"""Kind of a client order id by what the order is for."""

WOULD_TRIGGER = "-2021"

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    DONE = "DONE"
    """A stop or target is listed; a market order has filled."""
    PENDING = "PENDING"
    """S4 is at it, or an earlier one of the same kind is: a result will follow."""
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Asked:
    """`definite`: what was refused will never be carried out; else nobody could say."""

    outcome: Outcome
    intent_id: str = ""
    why: str = ""
    definite: bool = False

    @property
    def price_is_passed(self) -> bool:
        return WOULD_TRIGGER in self.why


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    documents: Documents
    peers: Peers
    clock: Clock

    async def ask(
        self, held: Held, purpose: Purpose, type: OrderType, qty: Decimal, *, price: Decimal | None = None
    ) -> Asked:
        """Order the next of its kind, unless the last one is still unfinished.

        Raises:
            DependencyDown: the documents could not be asked.
        """
        trade = held.trade
        k, unfinished = await self._next(held, purpose)
        if unfinished:
            return Asked(Outcome.PENDING)
        intent_id = intent_id_of(trade.trade_id, purpose, k)
        intent = OrderIntent(
            intent_id=intent_id,
            signal_id=trade.signal_id,
            parent_id=trade.trade_id,
            client_order_id=ids.protection_order_id(held.facts.record.intent.client_order_id, WORDS[purpose], k),
            ts=self.clock.now_ms(),
            market=trade.market,
            symbol=trade.symbol,
            side=trade.side.opposite,
            intent=Intent.EXIT,
            purpose=purpose,
            qty=qty,
            type=type,
            price=price,
            reduce_only=trade.market is Market.FUT,
            risk=RiskRef(rcu_rev=trade.config_rev or None),
        )
        return await self._send(intent)

    def addition(self, held: Held, k: int, qty: Decimal, *, stop_price: Decimal, price: Decimal) -> OrderIntent:
        """The `k`-th order by which the trade grows: at `price` now, with the stop of the whole."""
        trade, now_ms = held.trade, self.clock.now_ms()
        return OrderIntent(
            intent_id=intent_id_of(trade.trade_id, Purpose.ADD, k),
            signal_id=trade.signal_id,
            parent_id=trade.trade_id,
            client_order_id=ids.addition_order_id(held.facts.record.intent.client_order_id, k),
            ts=now_ms,
            market=trade.market,
            symbol=trade.symbol,
            side=trade.side,
            intent=Intent.ADD,
            purpose=Purpose.ADD,
            qty=qty,
            type=OrderType.MARKET,
            sl=StopSpec(price=stop_price),
            entry_ref_price=price,
            expires_at=now_ms + ENTRY_TTL_MS,
            leverage=trade.leverage,
            risk=RiskRef(rcu_rev=trade.config_rev or None),
        )

    async def add(self, intent: OrderIntent) -> Asked:
        return await self._send(intent)

    async def _send(self, intent: OrderIntent) -> Asked:
        why, definite = "", False
        try:
            answer = await self.peers.call(PeerCall("s4", "POST", "/orders", body=intent, actor="s6"))
            if not answer.ok:
                why, definite = str(answer.body), answer.status < 500
        except PeerUnavailable as down:
            why = str(down)
        return await self._became(intent.intent_id, why, definite=definite)

    async def cancel(self, order: Order, reason: CancelReason) -> bool:
        """True when it is gone, whoever was faster; False when S4 could not say."""
        return await self._cancel(CancelRequest(order_id=order.order_id, reason=reason)) is None

    async def take_back(self, intent_id: str, reason: CancelReason) -> str | None:
        """An entry that is under way: why it is not gone yet, or None. What it filled stays, and stays protected."""
        return await self._cancel(CancelRequest(intent_id=intent_id, reason=reason))

    async def newest(self, held: Held, purpose: Purpose) -> IntentRecord | None:
        """The last order of this kind that S4 accepted."""
        return (await self._counted(held, purpose))[1]

    async def in_vain(self, held: Held, since_ms: int) -> tuple[int, int]:
        """How many exits since then, the last of them in a row, ended as nothing was there to sell; and when the last
        did."""
        k, last = await self._counted(held, Purpose.EXIT)
        ended_ms = 0 if last is None else last.updated_at
        vain = 0
        while last is not None and last.reason == NOTHING_TO_SELL and last.created_at >= since_ms:
            vain += 1
            last = await self.documents.get(INTENTS, intent_id_of(held.trade.trade_id, Purpose.EXIT, k - vain))
        return vain, ended_ms

    async def _cancel(self, request: CancelRequest) -> str | None:
        why = ""
        try:
            answer = await self.peers.call(PeerCall("s4", "POST", "/cancel", body=request, actor="s6"))
            if answer.ok or answer.status in (404, 409):
                return None
            why = str(answer.body)
        except PeerUnavailable as down:
            why = str(down)
        log.warning("not canceled yet", order=request.order_id, intent=request.intent_id, why=why)
        return why

    async def _next(self, held: Held, purpose: Purpose) -> tuple[int, bool]:
        """The number of the next order of this kind, and whether the last one is unfinished."""
        k, last = await self._counted(held, purpose)
        return k + 1, last is not None and not last.state.is_final

    async def _counted(self, held: Held, purpose: Purpose) -> tuple[int, IntentRecord | None]:
        """How many of this kind there were, counted on file, and the last."""
        start = f"{held.trade.trade_id}-{purpose.value}-"
        used = [
            int(number)
            for order in held.facts.orders
            if order.intent_id is not None and (number := order.intent_id.removeprefix(start)) != order.intent_id
            if number.isdecimal()
        ]
        k = max(used, default=0)
        last = await self.documents.get(INTENTS, f"{start}{k}") if k else None
        while (following := await self.documents.get(INTENTS, f"{start}{k + 1}")) is not None:
            k, last = k + 1, following
        return k, last

    async def _became(self, intent_id: str, why: str, *, definite: bool) -> Asked:
        """What the documents say, whatever the answer was."""
        record = await self.documents.get(INTENTS, intent_id)
        if record is None:
            return Asked(Outcome.REFUSED, intent_id, why or "not accepted", definite)
        if not record.state.is_final:
            return Asked(Outcome.PENDING, intent_id)
        if record.state is IntentState.DONE:
            return Asked(Outcome.DONE, intent_id)
        return Asked(Outcome.REFUSED, intent_id, record.reason or record.state.value, definite=True)


def intent_id_of(trade_id: str, purpose: Purpose, k: int) -> str:
    """The `k`-th order of its kind that the keeper asks for."""
    return f"{trade_id}-{purpose.value}-{k}"
