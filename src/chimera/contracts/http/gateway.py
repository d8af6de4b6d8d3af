"""Bodies of S12."""

from pydantic import Field, SecretStr

from chimera.contracts.base import Contract, EpochMs, Estimate, Number
from chimera.contracts.enums import (
    Action,
    ApprovalStatus,
    HealthLevel,
    Market,
    OrderStatus,
    OrderType,
    Purpose,
    Role,
    Side,
    Switch,
)
from chimera.contracts.http.common import Asked
from chimera.contracts.http.positions import LeaveAllInstrument, PositionView


class LoginRequest(Contract):
    """`POST /auth/login`: a name and password, or the one-time token of the printed link."""

    name: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None


class LoginAnswer(Contract):
    """The session itself is a cookie; `csrf_token` goes into the header X-CSRF-Token of every change."""

    name: str
    role: Role
    csrf_token: str
    expires_at: EpochMs


class KillSwitchRequest(Asked):
    """`POST /kill-switch`. ON by any role, OFF by the highest alone; `ttl_s` ends an ON by itself."""

    state: Switch = Switch.ON
    reason: str | None = None
    ttl_s: int | None = Field(default=None, gt=0, le=31_536_000)


class KillSwitchAnswer(Contract):
    state: Switch
    reason: str | None = None
    actor: str | None = None
    updated_at: EpochMs
    until: EpochMs | None = None


class PauseRequest(Asked):
    """`POST /pause` and `POST /resume`: everything, a market, or one instrument as `FUT:BTCUSDT`."""

    scope: str = Field(default="ALL", min_length=1)
    reason: str | None = None
    ttl_s: int | None = Field(default=None, gt=0, le=31_536_000)


class PauseAnswer(Contract):
    """What is paused now."""

    paused: tuple[str, ...] = ()


class HaltReleaseRequest(Asked):
    """`POST /halts/{name}/release`."""

    reason: str = Field(min_length=1)


class HaltReleaseAnswer(Contract):
    name: str
    released: bool


class ClosePositionRequest(Asked):
    """`POST /positions/{INSTR}/close`: at market, all of it, once however often it is asked for."""

    reason: str = "MANUAL"


class StopPriceRequest(Asked):
    """`POST /positions/{INSTR}/stop`: a new stop price in USDT. Looser than the loss budget it needs `confirm`."""

    price: Number = Field(gt=0)
    confirm: bool = False
    reason: str = "MANUAL"


class FlattenRequest(Asked):
    """`POST /flatten`: kill switch ON, then every entry is taken back and every position closed at market."""

    confirm: bool
    reason: str = "MANUAL"


class FlattenAnswer(Contract):
    """`flat`: nothing is open or under way any more. kill_switch OFF: nobody could pull it, do it by hand."""

    kill_switch: Switch
    flat: bool
    instruments: tuple[LeaveAllInstrument, ...] = ()


class CancelOrderRequest(Asked):
    """`POST /orders/{id}/cancel`: `confirm` where a position's stop goes with it, as with either leg of a spot pair, a
    guard, or an entry's intent; `escalate` sells the rest after the cancel."""

    confirm: bool = False
    escalate: bool = False
    reason: str | None = None


class OrdersQuery(Contract):
    """`GET /orders?limit=&open=`: how many of the newest; `open` alone those that have not ended."""

    limit: int = Field(default=50, ge=1, le=500)
    open: bool = False


class OrderRow(Contract):
    """One order, with whose it is. Prices in USDT; stop_price is the trigger of a conditional order."""

    order_id: str
    intent_id: str | None = None
    parent_id: str | None = None
    market: Market
    symbol: str
    side: Side
    type: OrderType
    purpose: Purpose | None = None
    status: OrderStatus
    quantity: Number | None = None
    filled_qty: Number | None = None
    price: Number | None = None
    stop_price: Number | None = None
    avg_price: Number | None = None
    reason: str | None = None
    created_at: EpochMs
    updated_at: EpochMs | None = None


class OrdersAnswer(Contract):
    """`GET /orders`: the newest first."""

    orders: tuple[OrderRow, ...] = ()
    ts: EpochMs


class ApprovalRequest(Asked):
    """`POST /approvals`: a token for one entry above `compliance.large_order_usdt_threshold`, and what it is for."""

    market: Market
    symbol: str = Field(min_length=1)
    side: Side
    notional_usdt_max: Number = Field(gt=0)
    qty_max: Number | None = Field(default=None, gt=0)
    reason: str = Field(min_length=1)


class ApprovalDecision(Asked):
    """`POST /approvals/{id}/approve` and `/revoke`."""

    reason: str | None = None


class ApprovalView(Contract):
    """An approval as people see it. `token` is told to who asked for it, and only while it can be used."""

    approval_id: str
    status: ApprovalStatus
    market: Market | None = None
    symbol: str | None = None
    side: Side | None = None
    notional_usdt_max: Number | None = None
    qty_max: Number | None = None
    reason: str | None = None
    requested_by: str | None = None
    decided_by: str | None = None
    created_at: EpochMs
    expires_at: EpochMs
    consumed_by: str | None = None
    consumed_at: EpochMs | None = None
    token: str | None = None


class ApprovalsAnswer(Contract):
    """`GET /approvals`: the newest first, and when one is needed. Amounts in USDT, `ttl_sec` a token's life."""

    enabled: bool
    large_order_usdt_threshold: Number
    ttl_sec: int
    approvals: tuple[ApprovalView, ...] = ()


class TransferDecision(Contract):
    """`POST /treasury/transfers/{id}/approve`."""

    approve: bool = True
    reason: str | None = None


class RestraintView(Contract):
    """One thing that keeps the system from entering, and what a person can do about it.

    name: KILL_SWITCH, HALT, PAUSE, NOT_RECONCILED, BREAKER, HEALTH, CLOCK_SKEW, STRANGER, or UNKNOWN for what could not
    be asked. scope: which halt, what is paused, the breaker's state, the instrument. page: in docs/runbook.
    """

    name: str
    scope: str | None = None
    why: str
    remedy: str
    page: str | None = None
    by: str | None = None
    since: EpochMs | None = None
    until: EpochMs | None = None


class RestraintsAnswer(Contract):
    """`GET /restraints`: none means that nothing forbids an entry as such."""

    restraints: tuple[RestraintView, ...] = ()
    ts: EpochMs


class LastDecision(Contract):
    """The newest decision: `action` OPEN or SKIP, `reason` a word of `Reason`, `detail` the gate, rule or figure."""

    instrument: str
    action: Action
    reason: str
    detail: str = ""
    t0: EpochMs


class StatusAnswer(Contract):
    """`GET /status`: the whole system in one look.

    health: as a new entry would find it, so RED where nobody has judged it lately. trades: open and closed.
    realised_pnl_usdt: of closed trades, after fees and funding. config_rev and seq are those of the bundle in force.
    equity_usdt, config_rev, seq and last_decision are left out until there are any.
    """

    health: HealthLevel
    equity_usdt: Number | None = None
    realised_pnl_usdt: Number
    trades: int
    open_trades: int
    positions: tuple[PositionView, ...] = ()
    kill_switch: Switch
    reconciled: bool
    restraints: tuple[RestraintView, ...] = ()
    config_rev: int | None = None
    seq: int | None = None
    last_decision: LastDecision | None = None
    market_time: str
    market_time_ms: EpochMs
    venue: str
    speed: Estimate
