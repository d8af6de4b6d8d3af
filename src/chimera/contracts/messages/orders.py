"""What is ordered and what became of it: the router's messages and the parts an order is made of.

`OrderCmd` is the wire form; code works with `order_intent.OrderIntent`, which is made from it without loss.
"""

from typing import ClassVar, Literal

from pydantic import Field

from chimera.contracts.base import (
    Contract,
    EpochMs,
    Estimate,
    JsonObject,
    Message,
    NullableNumber,
    NullableStr,
    Number,
)
from chimera.contracts.enums import (
    EventKind,
    Intent,
    Market,
    OrderStatus,
    OrderType,
    Purpose,
    Routing,
    Side,
)


class StopSpec(Contract):
    """The protective stop that follows the fill: a price, or a distance (USDT, > 0) kept from the average fill."""

    type: OrderType = OrderType.STOP_MARKET
    price: Number | None = None
    distance: Number | None = None


class TargetSpec(Contract):
    """The take-profit that follows the fill: a price, or a target from which the price is solved after the fill.

    `value` is USDT net of both fees; `ratio` the same as a fraction of the margin, which S4 keeps when the fill
    differs from the plan.
    """

    type: OrderType = OrderType.TAKE_PROFIT_MARKET
    price: Number | None = None
    target: Literal["net_profit_usdt"] | None = None
    value: Number | None = None
    ratio: Number | None = None


class GuardStop(Contract):
    """SPOT: the stop that S4 watches itself where the exchange cannot hold one."""

    enable: bool = False
    price: Number | None = None


class Twap(Contract):
    """Equal or growing slices, `gap_ms` apart, each moved by up to `jitter_ms`."""

    enabled: bool
    slices: int | None = None
    gap_ms: int | None = None
    jitter_ms: int | None = None
    min_slice_usdt: Number | None = None


class Oco(Contract):
    """SPOT: the pair of sell orders that follows the buy, both as prices."""

    enabled: bool
    tp: NullableNumber = None
    sl: NullableNumber = None


class ExecPolicy(Contract):
    """How to execute. AUTO: maker, taker or TWAP by cost; DIRECT_TAKER: market; MAKER_ONLY: no fallback.

    `maker_try_ms` is v3.0's word for `maker_wait_ms`; where both are told the latter counts.
    """

    spec_required: ClassVar[tuple[str, ...]] = ("routing",)

    routing: Routing = Routing.AUTO
    maker_wait_ms: int | None = None
    maker_try_ms: int | None = None
    need_fill_ratio: Estimate | None = None
    twap: Twap | None = None
    oco: Oco | None = None


class RiskRef(Contract):
    """Under which config revision the order was decided, and the token that allows a large one."""

    rcu_rev: int | None = None
    approval_token: NullableStr = None


class OrderCmd(Message):
    """S3, S6, S5 → S4 on `ord:cmd:INSTR`. Schema: OrderCmd.json, widened as CONTRACTS 1.3 says. cmd_id = intent_id.

    `quantity` is base asset (contracts for FUT), `quote_qty` USDT, prices USDT. ENTRY, ADD and HEDGE expire at
    `expires_at` (default ts + 5000).
    """

    cmd_id: str
    ts: EpochMs
    market: Market
    symbol: str
    client_order_id: str = Field(validation_alias="clientOrderId", serialization_alias="clientOrderId")
    side: Side
    intent: Intent
    quantity: Number | None = None
    quote_qty: NullableNumber = None
    type: OrderType
    price: NullableNumber = None
    exec_policy: ExecPolicy
    risk: RiskRef
    intent_id: str | None = None
    signal_id: str | None = None
    parent_id: str | None = None
    purpose: Purpose | None = None
    reduce_only: bool | None = None
    sl: StopSpec | None = None
    tp: TargetSpec | None = None
    guard_stop: GuardStop | None = None
    entry_ref_price: Number | None = None
    expires_at: EpochMs | None = None
    leverage: int | None = None


class ResultFill(Contract):
    """One fill inside an `OrderResult`. slippage_bps: positive is worse."""

    price: Number
    qty: Number
    fee_usdt: Number | None = None
    mid_at_send: Number | None = None
    slippage_bps: Estimate | None = None
    ts: EpochMs
    fill_id: str | None = None
    order_id: str | None = None
    maker: bool | None = None


class ExecSummary(Contract):
    """maker_ratio: quantity filled as maker / filled. latency_ms: command's arrival to this result."""

    maker_ratio: Estimate | None = None
    twap_slices: int | None = None
    latency_ms: int | None = None


class OrderResult(Message):
    """S4 → S3, S5, S6, S11, S12 on `ord:result:INSTR`. Schema: OrderResult.json, + intent_id, purpose.

    One for every change of one order. `fills` are those not told before, `filled_qty` and `avg_price` the order's
    totals. `final` says that the intent has ended and nothing more will be sent for it; `intent_filled_qty` is then
    what the whole intent filled.
    """

    cmd_id: str
    order_id: str | None = None
    client_order_id: str = Field(validation_alias="clientOrderId", serialization_alias="clientOrderId")
    market: Market
    symbol: str
    status: OrderStatus
    fills: tuple[ResultFill, ...] = ()
    exec_summary: ExecSummary | None = None
    error: NullableStr = None
    intent_id: str | None = None
    purpose: Purpose | None = None
    signal_id: str | None = None
    parent_id: str | None = None
    side: Side | None = None
    type: OrderType | None = None
    reason: str | None = None
    filled_qty: Number | None = None
    avg_price: Number | None = None
    final: bool = False
    intent_filled_qty: Number | None = None
    ts: EpochMs | None = None


class RouterEvent(Message):
    """S4 → S11, S12 on `router:events`. No schema in the spec: CONTRACTS 1.3. A step of the router, for watching."""

    ts: EpochMs
    intent_id: str
    kind: EventKind
    detail: JsonObject = Field(default_factory=dict)
    market: Market | None = None
    symbol: str | None = None
