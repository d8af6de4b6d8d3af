"""Keeping the risk budget true: releasing what did not open, and healing it from documents.

Usage, concurrency and records are recomputed from unfinished entries and open positions: at start, and each minute.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import structlog

from chimera.contracts.collections import INTENTS, SIGNALS, TRADES
from chimera.contracts.documents import Signal, Trade
from chimera.contracts.enums import OPEN_INTENTS, OPEN_TRADES, Action, EventKind, Market, Purpose
from chimera.contracts.http import PROBLEM_TYPE_BASE
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import OrderResult
from chimera.contracts.order_intent import ENTRY_TTL_MS, OrderIntent
from chimera.domain.positions.budget import futures_usage, spot_reservation, spot_usage
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query, RevisionConflict
from chimera.ports.peers import PeerCall, Peers, PeerUnavailable
from chimera.ports.state import Reservation, Reservations, ReservationState
from chimera.runtime.telling import Teller
from chimera.services.s03_strategy.handlers.emit import Emit
from chimera.services.s03_strategy.history import UNDELIVERED, History

IN_HAND_MS = 10_000
"""A reservation younger than this may belong to a decision that S4 has not put on file yet: healing leaves it."""

NEVER_ACCEPTED = PROBLEM_TYPE_BASE + "unknown-intent"
"""S4's word for an intent that it has never put on file."""

LOOK_BACK_MS = 3_600_000
"""Opens older than this have long been settled."""


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    documents: Documents
    reservations: Reservations
    fee_ratios: dict[Market, Decimal]
    peers: Peers
    emit: Emit
    history: History
    look_again: Callable[[InstrumentKey], None]
    keys: tuple[InstrumentKey, ...]
    clock: Clock
    teller: Teller

    async def on_result(self, result: OrderResult) -> None:
        """`ord:result`: the last word on an entry that opened nothing frees its budget. S6 settles the rest."""
        key = InstrumentKey(result.market, result.symbol)
        if result.purpose is not Purpose.ENTRY or not result.final:
            if result.status.is_final:
                self.look_again(key)
            return
        self.history.forget(key)
        self.look_again(key)
        if not result.intent_filled_qty and await self.reservations.release(result.cmd_id):
            await self.teller.event(EventKind.RISK_RELEASE, key, result.cmd_id, why=result.reason)

    async def start(self) -> None:
        """Heal, then settle every open decision that S4 has never heard of: a young one is emitted again."""
        for signal in await self.heal():
            intent = self._young_intent(signal)
            if intent is not None:
                await self.emit.entry(intent)
            else:
                await self._write_off(signal)

    async def repair(self) -> None:
        """Each minute: heal, and write off what was decided and reached S4 by no road."""
        for signal in await self.heal():
            if self._young_intent(signal) is None:
                await self._write_off(signal)

    async def heal(self) -> list[Signal]:
        """Make the reservations what the documents say. Returns the opens that S4 has not put on file."""
        undelivered = [signal for key in self.keys for signal in await self._undelivered(key)]
        now_ms = self.clock.now_ms()
        true = {record.intent_id: record for record in await self._from_documents()}
        for signal in undelivered:
            intent = self._young_intent(signal)
            if intent is not None:
                true.setdefault(intent.intent_id, self._reserved(intent, signal.updated_at or signal.t0, Decimal(0)))
        present = await self.reservations.all()
        for record in present:
            young = now_ms - record.ts < self.clock.work_ms(IN_HAND_MS)
            if record.intent_id not in true and record.state is ReservationState.RESERVED and young:
                true[record.intent_id] = record
        healed = [true[intent_id] for intent_id in sorted(true)]
        before = [(each.intent_id, each.key, each.amount_usdt, each.state) for each in present]
        if before != [(each.intent_id, each.key, each.amount_usdt, each.state) for each in healed]:
            log.info("the risk budget was healed", before=len(before), after=len(healed))
            await self.reservations.replace_all(healed)
        return undelivered

    async def _from_documents(self) -> list[Reservation]:
        found: dict[str, Reservation] = {}
        for state in OPEN_INTENTS:
            for record in await self.documents.find(
                Query(collection=INTENTS, index="by_open", equal=(("state", state.value),))
            ):
                if record.purpose in (Purpose.ENTRY, Purpose.ADD):
                    found[record.intent_id] = self._reserved(
                        record.intent, record.created_at, record.avg_price or Decimal(0)
                    )
        for status in OPEN_TRADES:
            for trade in await self.documents.find(
                Query(collection=TRADES, index="by_status", equal=(("status", status.value),))
            ):
                if trade.qty_open > 0:
                    found[trade.trade_id] = self._open(trade)
        return list(found.values())

    def _reserved(self, intent: OrderIntent, since_ms: int, avg_price: Decimal) -> Reservation:
        """What an entry on its way holds. `avg_price` counts where the intent names no price."""
        price = intent.entry_ref_price or avg_price
        fee_ratio = self.fee_ratios[intent.market]
        if intent.market is Market.FUT:
            amount = futures_usage(
                qty=intent.qty, entry_price=price, leverage=intent.leverage or 1, fee_ratio=fee_ratio
            )
        else:
            amount = spot_reservation(qty=intent.qty, price=price, fee_ratio=fee_ratio)
        return Reservation(
            intent_id=intent.intent_id,
            key=intent.instrument,
            amount_usdt=amount,
            state=ReservationState.RESERVED,
            ts=since_ms,
        )

    def _open(self, trade: Trade) -> Reservation:
        if trade.market is Market.FUT:
            amount = futures_usage(
                qty=trade.qty_open,
                entry_price=trade.entry_price_avg,
                leverage=trade.leverage,
                fee_ratio=self.fee_ratios[Market.FUT],
            )
        else:
            amount = spot_usage(qty=trade.qty_open, wac=trade.entry_price_avg)
        return Reservation(
            intent_id=trade.trade_id,
            key=InstrumentKey(trade.market, trade.symbol),
            amount_usdt=amount,
            state=ReservationState.OPEN,
            ts=trade.opened_at,
        )

    async def _undelivered(self, key: InstrumentKey) -> list[Signal]:
        """Opens of the last hour that S4 has not put on file and nobody has written off."""
        opened = await self.documents.find(
            Query(
                collection=SIGNALS,
                index="by_instr_action",
                equal=(
                    ("market", key.market.value),
                    ("symbol", key.symbol),
                    ("decision.action", Action.OPEN.value),
                ),
                at_least=self.clock.now_ms() - LOOK_BACK_MS,
            )
        )
        return [
            signal
            for signal in opened
            if signal.decision.intent_id is not None
            and signal.decision.detail != UNDELIVERED
            and await self.documents.get(INTENTS, signal.decision.intent_id) is None
        ]

    def _young_intent(self, signal: Signal) -> OrderIntent | None:
        """What was decided, while it may still be sent."""
        decided_at = signal.updated_at or signal.t0
        told = (signal.decision.trail or {}).get("intent")
        if told is None or self.clock.now_ms() - decided_at >= self.clock.work_ms(ENTRY_TTL_MS):
            return None
        return OrderIntent.model_validate(told)

    async def _write_off(self, signal: Signal) -> None:
        """An open that is too old to be sent: S4 has the last word, and where it says nothing, nothing is settled."""
        intent_id = signal.decision.intent_id
        assert intent_id is not None
        try:
            answer = await self.peers.call(PeerCall("s4", "GET", f"/orders/{intent_id}", actor="s3"))
        except PeerUnavailable:
            return
        # A neighbour that is not up yet answers 404 as well, and says nothing about an intent.
        if answer.status == 404 and answer.body.get("type") == NEVER_ACCEPTED:
            stored = await self.documents.get_stored(SIGNALS, signal.signal_id)
            # Another entry may have been decided on the same signal meanwhile: that one is not written off.
            if stored is not None and stored.doc.decision.intent_id == intent_id:
                undelivered = stored.doc.decision.but(detail=UNDELIVERED)
                written_off = stored.doc.but(decision=undelivered, updated_at=self.clock.now_ms())
                try:
                    await self.documents.replace(SIGNALS, written_off, rev=stored.rev)
                except RevisionConflict:
                    # Looked at again by the next repair.
                    return
            await self.reservations.release(intent_id)
            key = InstrumentKey(signal.market, signal.symbol)
            self.history.forget(key)
            self.look_again(key)
            if intent_id in self.emit.refused:
                self.emit.refused.discard(intent_id)
            else:
                await self.emit.failed(intent_id, key.symbol, "it reached S4 by no road while it could have been sent")
