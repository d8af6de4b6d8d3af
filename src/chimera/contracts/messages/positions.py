"""What happened to a position, and what the reconciler is asked and answers."""

from pydantic import Field

from chimera.contracts.base import EpochMs, JsonObject, Message, NullableStr
from chimera.contracts.enums import (
    Market,
    PositionEventKind,
    ReconcileScope,
    ReconcileStatus,
)


class PositionEvent(Message):
    """S6 → S8, S12 on `pos:events:INSTR`. Schema: PositionEvent.json, kind + STAGNATED.

    `detail` holds what the kind needs (trade_id, qty, price, stop_price, roe, reason).
    """

    ts: EpochMs
    market: Market
    symbol: str
    kind: PositionEventKind
    detail: JsonObject = Field(default_factory=dict)


class ReconcileCmd(Message):
    """S4, S12 → S5 on `recon:cmd`. Schema: ReconcileCmd.json, scope + ORDERS, POSITIONS. `symbol` with SYMBOL only."""

    req_id: str
    ts: EpochMs
    scope: ReconcileScope
    symbol: NullableStr = None


class ReconcileResult(Message):
    """S5 → S11, S12 on `recon:result`. Schema: ReconcileResult.json. Each action says what was, and what is now."""

    req_id: str
    ts: EpochMs
    actions: tuple[JsonObject, ...] = ()
    status: ReconcileStatus
