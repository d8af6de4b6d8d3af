"""The stop that each open spot trade must have: the exchange's pair, or a guard of ours.

Owns when a spot trade counts as bare, and what is told of it. Whoever took its stop away, it gets a guard: to be rid of
the stop one closes the trade. S4 counts what is left and arms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS, ORDERS
from chimera.contracts.documents import IntentRecord, Order, Trade
from chimera.contracts.enums import OPEN_INTENTS, Market, OrderStatus, OrderType, Purpose, Severity
from chimera.contracts.http import GuardRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import OrderResult
from chimera.contracts.metrics import AlertCode
from chimera.domain.reconcile.fixes import Fix
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerAnswer, PeerCall, Peers
from chimera.runtime.numbered import last_of
from chimera.runtime.telling import Teller
from chimera.services.s05_reconciler.findings import CannotCompare, Findings, Noted
from chimera.services.s05_reconciler.handlers.trades import asked_to_go_of, held_trades

PROTECTS = (Purpose.SL, Purpose.TP, Purpose.GUARD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """A trade without a stop. `stop`: of its pair, where that was the last; `target_sold`: a part, by the other leg;
    `guard`: the last one, where there was one; `at_ms`: when the last of them went."""

    trade: Trade
    stop: Order | None
    target_sold: bool
    guard: IntentRecord | None
    guards: int
    at_ms: int


def may_have_bared(result: OrderResult) -> bool:
    """Whether a leg of a pair or a guard has gone without selling all."""
    gone = result.status in (OrderStatus.CANCELED, OrderStatus.REJECTED)
    return result.market is Market.SPOT and gone and result.purpose in PROTECTS


@dataclass(slots=True, kw_only=True)
class SpotStops:
    documents: Documents
    peers: Peers
    teller: Teller
    _told: set[str] = field(default_factory=set)
    """Trades of which a person was told that they could not be protected."""

    async def compare(self, keys: Sequence[InstrumentKey], findings: Findings) -> None:
        """
        Raises:
            CannotCompare: a trade has no stop and could not be given one; the others were seen to.
        """
        failed: CannotCompare | None = None
        for key in keys:
            if key.market is not Market.SPOT:
                continue
            for trade in await held_trades(self.documents, key):
                bare = await self._bare(key, trade)
                findings.agree(bare is None)
                if bare is None:
                    self._told.discard(trade.trade_id)
                    continue
                try:
                    await self._protect(key, bare, findings)
                except CannotCompare as cannot:
                    failed = cannot
        if failed is not None:
            raise failed

    async def _bare(self, key: InstrumentKey, trade: Trade) -> Bare | None:
        """None: it has a stop, or whoever works on it leaves it with one."""
        entry = await self.documents.get(INTENTS, trade.trade_id)
        if entry is None or not entry.state.is_final:
            return None
        if await self._worked_on(key, trade.trade_id):
            return None
        pair = [order for order in await self._orders_of(trade.trade_id) if order.oco_pair_id is not None]
        # A target that rests alone protects nothing: the exchange cancels the stop with its first fill.
        if any(
            order.purpose is Purpose.SL and order.type is not OrderType.STOP_LOSS_LIMIT and not order.status.is_final
            for order in pair
        ):
            return None
        if any(order.status is OrderStatus.FILLED for order in pair):
            return None
        guards, guard = await last_of(lambda number: self.documents.get(INTENTS, ids.guard_id(trade.trade_id, number)))
        stop = next((order for order in pair if order.purpose is Purpose.SL and order.status.is_final), None)
        gone = [order.updated_at or order.created_at for order in pair if order.status.is_final]
        return Bare(
            trade=trade,
            stop=stop if guard is None else None,
            target_sold=any(order.purpose is Purpose.TP and order.filled_qty for order in pair),
            guard=guard,
            guards=guards,
            at_ms=max((*gone, *(() if guard is None else (guard.updated_at,))), default=entry.updated_at),
        )

    async def _worked_on(self, key: InstrumentKey, trade_id: str) -> bool:
        """Whether a guard watches, or somebody sells: an exit leaves the rest to a guard of its own."""
        for state in OPEN_INTENTS:
            for record in await self.documents.find(
                Query(
                    collection=INTENTS,
                    index="by_instr",
                    equal=(("market", key.market.value), ("symbol", key.symbol), ("state", state.value)),
                )
            ):
                if record.intent.parent_id == trade_id:
                    return True
        return False

    async def _orders_of(self, intent_id: str) -> Sequence[Order]:
        return await self.documents.find(Query(collection=ORDERS, index="by_intent", equal=(("intent_id", intent_id),)))

    async def _protect(self, key: InstrumentKey, bare: Bare, findings: Findings) -> None:
        """Told first, under names that follow from what is missing; taken back where S4 finds nothing to protect."""
        guard_id = ids.guard_id(bare.trade.trade_id, bare.guards + 1)
        stop = bare.stop
        by_somebody = (
            stop is not None
            and stop.status is OrderStatus.CANCELED
            and stop.is_listed
            and not bare.target_sold
            and not await asked_to_go_of(self.documents, [stop])
        )
        after: dict[str, Any] = {"trade": bare.trade.trade_id, "guard": guard_id}
        noted: list[Noted] = []
        if by_somebody:
            assert stop is not None
            noted.append(
                await findings.note(
                    Fix.STOP_CANCELED_BY_SOMEBODY,
                    key,
                    stop.order_id,
                    at_ms=bare.at_ms,
                    before={"stop": float(stop.stop_price or 0), "qty": float(stop.quantity or 0)},
                    after=after,
                )
            )
        noted.append(
            await findings.note(Fix.STOP_PLACED, key, guard_id, at_ms=bare.at_ms, before=_before(bare), after=after)
        )
        answer = await self._ask(key, bare, GuardRequest(intent_id=bare.trade.trade_id))
        if answer.body.get("guard_id") is None:
            for each in noted:
                await findings.withdraw(each)
            return
        for each in noted:
            findings.done(each)
        self._told.discard(bare.trade.trade_id)
        await self.teller.alert(
            AlertCode.RECON_FIXED,
            Severity.WARN,
            f"{key}: {_what(bare, by_somebody=by_somebody)}; {answer.body['message']} now",
            symbol=key.symbol,
            intent_id=bare.trade.trade_id,
        )

    async def _ask(self, key: InstrumentKey, bare: Bare, wanted: GuardRequest) -> PeerAnswer:
        """
        Raises:
            CannotCompare: S4 did not protect it; a person is told once.
        """
        try:
            answer = await self.peers.call(PeerCall("s4", "POST", "/orders/guard", body=wanted, actor="s5"))
            why = None if answer.ok else str(answer.body)
        except DependencyDown as down:
            why = str(down)
        if why is None:
            return answer
        if bare.trade.trade_id not in self._told:
            self._told.add(bare.trade.trade_id)
            await self.teller.alert(
                AlertCode.STOP_NOT_PLACED,
                Severity.FATAL,
                f"{key} has {bare.trade.qty_open} of {bare.trade.trade_id} without a stop and no guard could be"
                f" armed: {why}; it is tried on",
                symbol=key.symbol,
                intent_id=bare.trade.trade_id,
            )
        raise CannotCompare(f"{key} has a spot trade without a stop: {why}")


def _before(bare: Bare) -> dict[str, Any]:
    if bare.guard is not None:
        return {"guard": bare.guard.intent_id, "state": bare.guard.state.value, "reason": bare.guard.reason}
    if bare.stop is not None:
        return {"order": bare.stop.order_id, "status": bare.stop.status.value, "reason": bare.stop.reason}
    return {}


def _what(bare: Bare, *, by_somebody: bool) -> str:
    name = bare.trade.trade_id
    if by_somebody and bare.stop is not None:
        return f"somebody canceled the pair of {name}, stop {bare.stop.stop_price}, at the exchange"
    if bare.guard is not None:
        return f"{bare.guard.intent_id} watched {name} and ended ({bare.guard.reason or bare.guard.state.value})"
    if bare.stop is not None and bare.target_sold:
        return f"the target of {name} has sold a part, which cancels the stop of its pair"
    if bare.stop is not None:
        return f"the pair of {name} has gone ({bare.stop.reason or bare.stop.status.value})"
    return f"{name} had no stop"
