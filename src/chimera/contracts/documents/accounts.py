"""Snapshots of what we hold, funding, transfers and approvals."""

from typing import Annotated, ClassVar

from pydantic import Field

from chimera.contracts import ids
from chimera.contracts.base import (
    TWIN,
    Contract,
    Document,
    EpochMs,
    EpochSec,
    Estimate,
    JsonObject,
    NullableStr,
    Number,
    seconds_of,
)
from chimera.contracts.enums import ApprovalStatus, Market, PositionSide, Side, TransferResult
from chimera.contracts.instrument_key import InstrumentKey


class PositionSnapshot(Document):
    """`positions_snapshots`: a futures position as it stood. Schema: positions_snapshots.json, + market.

    `roe` is a fraction of the margin, `qty` base asset without sign.
    """

    market: Market = Market.FUT
    symbol: str
    side: PositionSide
    entry_price_avg: Number
    isolated_margin_usdt: Number
    unrealized_pnl_usdt: Number
    roe: Estimate | None = None
    add_on_count: int | None = None
    ts: EpochMs
    ts_sec: Annotated[EpochSec, seconds_of("ts")] = TWIN
    qty: Number | None = None
    mark_price: Number | None = None
    liquidation_price: Number | None = None
    trade_id: str | None = None

    def doc_key(self) -> str:
        return ids.snapshot_key(InstrumentKey(self.market, self.symbol), self.ts)


class HoldingSnapshot(Document):
    """`holdings_spot_snapshots`: a spot holding at its weighted average cost. Schema: holdings_spot_snapshots.json."""

    symbol: str
    qty: Number
    avg_cost_usdt: Number
    unrealized_pnl_usdt: Number | None = None
    ts: EpochMs
    ts_sec: Annotated[EpochSec, seconds_of("ts")] = TWIN

    def doc_key(self) -> str:
        return ids.snapshot_key(InstrumentKey(Market.SPOT, self.symbol), self.ts)


class BalanceSnapshot(Document):
    """`balances_snapshots`: a wallet's asset as it stood, in units of the asset. Schema: balances_snapshots.json."""

    market: Market
    asset: str
    free: Number
    locked: Number
    ts: EpochMs
    ts_sec: Annotated[EpochSec, seconds_of("ts")] = TWIN

    def doc_key(self) -> str:
        return ids.balance_key(self.market.value, self.asset, self.ts)


class FundingRecord(Document):
    """`funding_records`: funding settled, booked once. Received +, paid -. Schema: funding_records.json."""

    symbol: str
    funding_time: EpochMs
    funding_rate: Number
    amount_usdt: Number
    venue_id: str | None = None

    def doc_key(self) -> str:
        return ids.funding_key(self.symbol, self.funding_time)


class TreasuryTransfer(Document):
    """`treasury_transfers`: money between our wallets. Schema: treasury_transfers.json, result + three states.

    `from` and `to` are the wire's words; a query by index names them so. PENDING waits for approval, and from `sent_at`
    on for the exchange.

    Attributes:
        tx_id: The exchange's number of the movement; no two transfers have the same.
        sent_at: The exchange's own time right before it was first asked.
        tried_at: The same before the last try.
        tries: How often it was asked.
        told_at: When its end was told on the bus.
    """

    key_field: ClassVar[str] = "transfer_id"

    transfer_id: str
    from_market: Market = Field(validation_alias="from", serialization_alias="from")
    to_market: Market = Field(validation_alias="to", serialization_alias="to")
    amount_usdt: Number
    reason: str
    result: TransferResult
    tx_id: NullableStr = None
    created_at: EpochMs
    updated_at: EpochMs | None = None
    requested_by: str | None = None
    approved_by: str | None = None
    message: str | None = None
    sent_at: EpochMs | None = None
    tried_at: EpochMs | None = None
    tries: int | None = None
    told_at: EpochMs | None = None


class Approval(Document):
    """`approvals`: a one-time token for a large entry. Schema: approvals.json, + expires_at_sec. Kept 30 d at most.

    `subject` says what it allows (`ApprovalSubject`). PENDING and APPROVED end at `expires_at`, each counted from its
    own beginning. CONSUMED is for ever the one intent's in `consumed_by`, whatever became of that intent.
    """

    key_field: ClassVar[str] = "approval_id"

    approval_id: str
    subject: JsonObject | None = None
    token: str
    expires_at: EpochMs
    expires_at_sec: Annotated[EpochSec, seconds_of("expires_at")] = TWIN
    status: ApprovalStatus
    created_at: EpochMs
    updated_at: EpochMs | None = None
    requested_by: str | None = None
    decided_by: str | None = None
    reason: str | None = None
    consumed_by: str | None = None
    consumed_at: EpochMs | None = None


class ApprovalSubject(Contract):
    """What an approval allows: one new entry on this instrument and side, at most so large. None: not limited."""

    market: Market | None = None
    symbol: str | None = None
    side: Side | None = None
    notional_usdt_max: Number | None = None
    qty_max: Number | None = None
