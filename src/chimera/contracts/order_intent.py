"""The order that somebody wants, in the one form that code works with.

Owns the normalised intent, its identity (`body_hash`) and its translation to and from `OrderCmd`. How the three
spellings of `POST /orders` become an intent is `http.order_spellings`' business.
"""

import hashlib
import json
from decimal import Decimal

from pydantic import AliasChoices, Field

from chimera.contracts.base import Contract, EpochMs, Number
from chimera.contracts.enums import Intent, Market, OrderType, Purpose, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages.orders import (
    ExecPolicy,
    GuardStop,
    OrderCmd,
    RiskRef,
    StopSpec,
    TargetSpec,
)

ENTRY_TTL_MS = 5_000
"""ENTRY, ADD and HEDGE expire at ts + this, checked at acceptance. Source: CONTRACTS 1.3."""

STOP_TYPES = (OrderType.STOP_MARKET, OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)
TARGET_TYPES = (
    OrderType.TAKE_PROFIT_MARKET,
    OrderType.TAKE_PROFIT,
    OrderType.TAKE_PROFIT_LIMIT,
)


def purpose_of(intent: Intent, type: OrderType) -> Purpose:
    """The purpose that an intent without one has: EXIT by a stop type is SL, EXIT by a take-profit type is TP."""
    if intent is Intent.EXIT and type in STOP_TYPES:
        return Purpose.SL
    if intent is Intent.EXIT and type in TARGET_TYPES:
        return Purpose.TP
    return Purpose(intent.value)


def intent_of(purpose: Purpose) -> Intent:
    """The intent of an order told by its purpose: stops, targets and guards leave the position."""
    return Intent(purpose.value) if purpose.value in Intent.__members__ else Intent.EXIT


def expiry_of(purpose: Purpose, ts: int) -> int | None:
    """When an order that names no expiry is too old to accept; None: never (exits and protection are never too old)."""
    return ts + ENTRY_TTL_MS if purpose.is_new_entry else None


class OrderIntent(Contract):
    """One wish for an order. The exchange has heard nothing of it yet.

    `qty` is base asset (contracts for FUT), 0 where `quote_qty` (USDT) sizes the order. Prices in USDT; `price`
    is the limit of a limit order and the trigger of a stop or take-profit. `reduce_only`
    holds for SPOT too: such an order sells what is there and never goes below nothing. `parent_id` is the intent of
    the entry that this order protects, adds to or leaves.
    """

    intent_id: str
    signal_id: str | None = None
    parent_id: str | None = None
    client_order_id: str
    ts: EpochMs
    market: Market
    symbol: str
    side: Side
    intent: Intent
    purpose: Purpose
    qty: Number = Field(default=Decimal(0), ge=0, validation_alias=AliasChoices("qty", "quantity"))
    quote_qty: Number | None = None
    type: OrderType = OrderType.MARKET
    price: Number | None = None
    reduce_only: bool = False
    sl: StopSpec | None = None
    tp: TargetSpec | None = None
    guard_stop: GuardStop | None = None
    entry_ref_price: Number | None = None
    expires_at: EpochMs | None = None
    exec_policy: ExecPolicy = ExecPolicy()
    risk: RiskRef = RiskRef()
    leverage: int | None = None

    @property
    def cmd_id(self) -> str:
        """The same id by the stream's word."""
        return self.intent_id

    @property
    def instrument(self) -> InstrumentKey:
        return InstrumentKey(self.market, self.symbol)

    def body_hash(self) -> str:
        """What makes two tellings the same intent: all but when it was told and expires, its token and its revision."""
        body = self.to_dict()
        for told_anew in ("ts", "expires_at"):
            body.pop(told_anew, None)
        # The revision is stamped on arrival where the sender knew none, so it cannot tell two tellings apart.
        for stamped in ("approval_token", "rcu_rev"):
            body["risk"].pop(stamped, None)
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_cmd(self) -> OrderCmd:
        """The same intent as the stream's message."""
        return OrderCmd(
            cmd_id=self.intent_id,
            ts=self.ts,
            market=self.market,
            symbol=self.symbol,
            client_order_id=self.client_order_id,
            side=self.side,
            intent=self.intent,
            quantity=self.qty if self.qty else None,
            quote_qty=self.quote_qty,
            type=self.type,
            price=self.price,
            exec_policy=self.exec_policy,
            risk=self.risk,
            intent_id=self.intent_id,
            signal_id=self.signal_id,
            parent_id=self.parent_id,
            purpose=self.purpose,
            reduce_only=self.reduce_only,
            sl=self.sl,
            tp=self.tp,
            guard_stop=self.guard_stop,
            entry_ref_price=self.entry_ref_price,
            expires_at=self.expires_at,
            leverage=self.leverage,
        )

    @classmethod
    def from_cmd(cls, cmd: OrderCmd) -> "OrderIntent":
        """The intent that a message of the stream tells, with what an old writer leaves out filled in."""
        purpose = cmd.purpose or purpose_of(cmd.intent, cmd.type)
        return cls(
            intent_id=cmd.intent_id or cmd.cmd_id,
            signal_id=cmd.signal_id,
            parent_id=cmd.parent_id,
            client_order_id=cmd.client_order_id,
            ts=cmd.ts,
            market=cmd.market,
            symbol=cmd.symbol,
            side=cmd.side,
            intent=cmd.intent,
            purpose=purpose,
            qty=cmd.quantity or Decimal(0),
            quote_qty=cmd.quote_qty,
            type=cmd.type,
            price=cmd.price,
            reduce_only=cmd.reduce_only if cmd.reduce_only is not None else not purpose.is_new_entry,
            sl=cmd.sl,
            tp=cmd.tp,
            guard_stop=cmd.guard_stop,
            entry_ref_price=cmd.entry_ref_price,
            expires_at=cmd.expires_at if cmd.expires_at is not None else expiry_of(purpose, cmd.ts),
            exec_policy=cmd.exec_policy,
            risk=cmd.risk,
            leverage=cmd.leverage,
        )
