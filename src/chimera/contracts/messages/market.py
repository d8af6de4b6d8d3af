"""What the market and the account told us: S1's messages.

Prices and quantities are ledger figures (exact). Made at every tick, so they carry no more than the readers need.
"""

from pydantic import Field

from chimera.contracts.base import Contract, EpochMs, Message, Number, PriceQty
from chimera.contracts.enums import FundingKind, Market, TransferResult


class TickerEvent(Message):
    """S1 → S2, S4, S6 on `mkt:ticker:INSTR`. Schema: TickerEvent.json. Best bid and ask, last trade, in USDT."""

    ts: EpochMs
    market: Market
    symbol: str
    last: Number
    bid: Number
    ask: Number


class BookTop3(Contract):
    """Up to three levels a side, best first, each `[price, qty]`."""

    bids: tuple[PriceQty, ...] = ()
    asks: tuple[PriceQty, ...] = ()


class DepthEvent(Message):
    """S1 → S2, S4, S6 on `mkt:depth:INSTR`. Schema: DepthEvent.json. `best_*` are `[price, qty]`, qty in base asset."""

    ts: EpochMs
    market: Market
    symbol: str
    best_bid: PriceQty
    best_ask: PriceQty
    top3: BookTop3 | None = None


class KlineEvent(Message):
    """S1 → S2 on `mkt:kline:INSTR`. No schema in the spec: CONTRACTS 1.3. A bar, `closed` once it will not change.

    Prices in USDT, volume in base asset; `open_time` is the bar's first millisecond, `ts` when we learned of it.
    """

    ts: EpochMs
    market: Market
    symbol: str
    interval: str
    open_time: EpochMs
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    closed: bool


class FundingEvent(Message):
    """S1 → S2, S6, S7 on `mkt:funding:{FUT:SYM}`. No schema in the spec: CONTRACTS 1.3.

    `rate` is a fraction per `interval_h` hours; `amount_usdt` is what we received (+) or paid (-), SETTLED only.
    """

    ts: EpochMs
    symbol: str
    rate: Number
    funding_time: EpochMs
    kind: FundingKind
    amount_usdt: Number | None = None
    interval_h: int | None = None


class AccountEvent(Message):
    """S1 → S4, S6 on `acct:events`. Schema: AccountEvent.json. A balance, in units of `asset`."""

    ts: EpochMs
    market: Market
    asset: str
    free: Number
    locked: Number


class TransferEvent(Message):
    """S1 → S6, S12 on `treasury:transfers`. Schema: TransferEvent.json. Money moved between our two wallets."""

    ts: EpochMs
    transfer_id: str
    from_market: Market = Field(validation_alias="from", serialization_alias="from")
    to_market: Market = Field(validation_alias="to", serialization_alias="to")
    amount_usdt: Number
    reason: str
    result: TransferResult
