"""Signals, labels, orders, fills, intents and trades: the record of what was decided and done."""

from decimal import Decimal
from typing import Annotated, ClassVar, Literal

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
    NullableNumber,
    NullableStr,
    Number,
    seconds_of,
)
from chimera.contracts.enums import (
    Action,
    DataQuality,
    EventKind,
    ExecStyle,
    IntentState,
    LabelClass,
    LegRole,
    Market,
    OrderStatus,
    OrderType,
    Purpose,
    Refusal,
    Side,
    TakerFallback,
    TradeStatus,
)
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages.orders import ExecPolicy
from chimera.contracts.order_intent import OrderIntent


class Decision(Contract):
    """`signals.decision`: what S3 decided, and the whole way there.

    Multipliers are factors of 1. `reason` is a word of `Reason`, or PENDING while S3 has not looked. `trail` holds
    every gate with value and limit, every rule, the model and the sizing, as far as they were reached.
    """

    action: Action
    size_mult: Estimate | None = None
    tp_mult: Estimate | None = None
    sl_mult: Estimate | None = None
    reason: str | None = None
    detail: str | None = None
    rules_fired: tuple[str, ...] = ()
    model_p: Estimate | None = None
    intent_id: str | None = None
    trail: JsonObject | None = None


class FeaturesTold(Contract):
    """`signals.features_told`: what S2 told of the moment, where a recompute found other features later."""

    features: dict[str, Estimate | str | bool]
    stale: tuple[str, ...] = ()
    flags: dict[str, DataQuality] | None = None


class Signal(Document):
    """`signals`: S2 writes one at each bar close and when `xmkt_signal` changes, S3 its decision. Schema: signals.json.

    `t0` is the moment whose past alone the features use; `stale` names factors that must not decide, `flags` says why.
    `features_told` holds what the decision was made on where a recompute repaired the features; it is written once.
    """

    key_field: ClassVar[str] = "signal_id"

    signal_id: str
    t0: EpochMs
    market: Market
    symbol: str
    features: dict[str, Estimate | str | bool]
    decision: Decision
    config_rev: int
    created_at: EpochMs | None = None
    stale: tuple[str, ...] = ()
    flags: dict[str, DataQuality] | None = None
    features_told: FeaturesTold | None = None
    updated_at: EpochMs | None = None

    @property
    def told(self) -> FeaturesTold:
        """What was told of it, and decided on: other than `features` only where those were repaired."""
        if self.features_told is not None:
            return self.features_told
        return FeaturesTold(features=self.features, stale=self.stale, flags=self.flags)


class Label(Document):
    """`labels_12h`, `labels_24h`, `labels_36h`: what a signal earned. Schema: labels_24h.json.

    net_roi: net PnL / entry notional, a fraction, fees and funding included. funding_cost_usdt: paid is positive.
    `hypothetical`: the signal was refused, and the figures are those it would have had.
    """

    key_field: ClassVar[str] = "signal_id"

    signal_id: str
    horizon_h: Literal[12, 24, 36]
    net_roi: Estimate
    pnl_usdt: Number | None = None
    funding_cost_usdt: Number | None = None
    fees_usdt: Number | None = None
    label: LabelClass
    computed_at: EpochMs | None = None
    market: Market | None = None
    symbol: str | None = None
    trade_id: str | None = None
    hypothetical: bool | None = None


class BookRow(Contract):
    """One level of the book, both sides; a side that is not so deep is left out."""

    bid_price: Number | None = None
    bid_qty: Number | None = None
    ask_price: Number | None = None
    ask_qty: Number | None = None


MANUAL = "MANUAL"
LIQUIDATION = "LIQUIDATION"
"""`orders.reason` of what nobody here ordered and closed something of ours: a person did by hand, or the exchange."""


def is_strangers_order(intent_id: str | None, parent_id: str | None, reason: str | None) -> bool:
    """Whether an order with these fields is on file, and yet what a person did, or the stop of what a person holds."""
    return _is_nobodys_stop(intent_id, parent_id) or reason == MANUAL


def _is_nobodys_stop(intent_id: str | None, parent_id: str | None) -> bool:
    return parent_id is None and intent_id is not None and intent_id.startswith(ids.RECON_STOP)


class Order(Document):
    """`orders`: one order at the exchange, written before it is sent. Schema: orders.json, + CONTRACTS section 2.

    order_id = client_order_id, ours. quantity and filled_qty in base asset, prices in USDT. `stop_price` is the
    trigger of a conditional order, `mid_at_send` and `book_top3` the market when it was sent. Of an entry's
    orders, `foreign_qty` is what they closed of somebody else's, and `closed_by` what strangers' fills closed of the
    trade, by fill; a stranger's order that counts by its fills has none. `refusal` says, of one that is definitely not
    at the exchange, what follows from it.
    """

    key_field: ClassVar[str] = "order_id"

    order_id: str
    client_order_id: str | None = None
    market: Market
    symbol: str
    side: Side
    type: OrderType
    reduce_only: bool | None = None
    quantity: Number | None = None
    quote_qty: NullableNumber = None
    price: NullableNumber = None
    oco_pair_id: NullableStr = None
    status: OrderStatus
    rcu_rev: int
    created_at: EpochMs
    created_at_sec: Annotated[EpochSec, seconds_of("created_at")] = TWIN
    intent_id: str | None = None
    venue_order_id: str | None = None
    venue_algo_id: str | None = None
    parent_id: str | None = None
    purpose: Purpose | None = None
    filled_qty: Number | None = None
    avg_price: Number | None = None
    exec_policy: ExecPolicy | None = None
    reason: str | None = None
    fee_usdt: Number | None = None
    stop_price: Number | None = None
    mid_at_send: Number | None = None
    book_top3: tuple[BookRow, ...] | None = None
    sent_at: EpochMs | None = None
    updated_at: EpochMs | None = None
    foreign_qty: Number | None = None
    closed_by: dict[str, Number] | None = None
    refusal: Refusal | None = None

    @property
    def is_conditional(self) -> bool:
        """Whether the exchange keeps it in the futures algo book until its price is reached."""
        return self.market is Market.FUT and self.stop_price is not None

    @property
    def is_entry(self) -> bool:
        return self.purpose is not None and self.purpose.is_new_entry

    @property
    def is_listed(self) -> bool:
        """Whether the exchange has shown the order in one of its books: only then does a stop count."""
        return self.venue_algo_id is not None or (self.venue_order_id is not None and not self.is_conditional)

    @property
    def protects(self) -> bool:
        """Whether taking it back takes a stop away: a stop, or a leg of a spot pair, whose legs only go together."""
        of_a_pair = self.market is Market.SPOT and self.oco_pair_id is not None
        return not self.status.is_final and (of_a_pair or self.purpose in (Purpose.SL, Purpose.GUARD))

    @property
    def is_nobodys_stop(self) -> bool:
        """Whether S5 ordered it for a position that no trade of ours holds."""
        return _is_nobodys_stop(self.intent_id, self.parent_id)

    @property
    def is_strangers(self) -> bool:
        """On file, and yet what a person did, or the stop of what a person holds."""
        return is_strangers_order(self.intent_id, self.parent_id, self.reason)


class Fill(Document):
    """`fills`: one trade at the exchange. Schema: fills.json, + client_order_id, intent_id, maker, fee_asset, fee_qty.

    fee_usdt > 0 was paid; slippage_bps against `mid_at_send`, positive is worse; `timestamp` is the exchange's.
    """

    key_field: ClassVar[str] = "fill_id"

    fill_id: str
    order_id: str
    market: Market
    symbol: str
    side: Side | None = None
    price: Number
    qty: Number
    fee_usdt: Number | None = None
    mid_at_send: Number | None = None
    book_top3: tuple[BookRow, ...] | None = None
    slippage_bps: Estimate | None = None
    timestamp: EpochMs
    timestamp_sec: Annotated[EpochSec, seconds_of("timestamp")] = TWIN
    client_order_id: str | None = None
    intent_id: str | None = None
    maker: bool | None = None
    fee_asset: str | None = None
    fee_qty: Number | None = None
    realized_pnl_usdt: Number | None = None


class WorkSlice(Contract):
    """One part of an intent's quantity, worked one after the other: not before `due_at`."""

    number: int
    qty: Number
    due_at: EpochMs


class Leg(Contract):
    """One order of an intent: child `n` of its client order id (0 is that id itself), for what, and of which slice."""

    n: int
    role: LegRole
    slice: int = 0


class Note(Contract):
    """One thing that the router decided and no order tells of, for the timeline."""

    ts: EpochMs
    what: str
    detail: JsonObject = Field(default_factory=dict)


class Execution(Contract):
    """How an intent is carried out: what was planned, which orders make it up, and why it opens nothing more.

    Together with the orders on file it is the whole state of the machine (`domain.execution`): every id that may be
    sent stands in `legs` before the first byte leaves. `maker_wait_ms` is how long a quote rests, `maker_cap_ms` how
    long one may that has filled `need_fill_ratio` of its slice by then; `stopped` why nothing more is opened, None
    while something may be.
    """

    style: ExecStyle
    why: str = ""
    slices: tuple[WorkSlice, ...] = ()
    legs: tuple[Leg, ...] = ()
    maker_wait_ms: int = 0
    maker_cap_ms: int = 0
    need_fill_ratio: Estimate = 0.0
    fallback: TakerFallback = TakerFallback.DIRECT
    stopped: str | None = None
    planned_at: EpochMs = 0
    probed_from: EpochMs | None = None
    """Since when the slice that comes next waits for a book that it may be sent into."""
    filled_from: EpochMs | None = None
    """Since when a limit order that rests has filled in part."""
    slices_planned: int = Field(default=1, ge=0)
    """How many slices were meant. There are more once a book, or the exchange's largest order, has cut one."""
    ended_at: EpochMs | None = None
    """When it was first seen that nothing more is to be done. What is told of the end is dated by it, so that telling
    again after a crash tells the same."""
    notes: tuple[Note, ...] = ()

    @property
    def is_twap(self) -> bool:
        return self.slices_planned > 1


class IntentRecord(Document):
    """`intents`: the router's memory of one intent, durable before the exchange hears of it. Source: CONTRACTS 2.

    `order_ids` are all client order ids that this intent sends or may have sent, in order; `body_hash` tells a repeat
    from another intent of the same name. `deadline` is when it is too late for its first order; none once it has one.
    """

    key_field: ClassVar[str] = "intent_id"

    intent_id: str
    state: IntentState
    intent: OrderIntent
    body_hash: str
    market: Market
    symbol: str
    purpose: Purpose
    order_ids: tuple[str, ...] = ()
    deadline: EpochMs | None = None
    reason: str | None = None
    filled_qty: Number = Field(default=Decimal(0), ge=0)
    avg_price: Number | None = None
    execution: Execution | None = None
    created_at: EpochMs
    updated_at: EpochMs


class TradeFill(Contract):
    """One fill of a trade; fee_usdt > 0 was paid."""

    fill_id: str
    order_id: str
    price: Number
    qty: Number
    fee_usdt: Number = Field(default=Decimal(0))
    ts: EpochMs
    purpose: Purpose | None = None


class TradeExit(Contract):
    """What left the position at once, and what it earned before fees and funding."""

    ts: EpochMs
    qty: Number
    price: Number
    pnl_usdt: Number
    fee_usdt: Number
    purpose: Purpose
    order_id: str
    reason: str | None = None


class PersonsStop(Contract):
    """Where a person put a trade's stop, which holds until it is moved towards profit.

    `tier` is what the ROE had earned by then: only a higher one moves the stop on. `instead_of` are the stops that had
    been ordered before; they say nothing any more about where it belongs.
    """

    price: Number
    tier: int
    instead_of: tuple[str, ...] = ()
    by: str
    at: EpochMs


class PersonsLeave(Contract):
    """A person wants this trade to end, at market, and it is left until it has; on SPOT not beyond `given_up_at`, when
    exit after exit had found nothing to sell."""

    by: str
    at: EpochMs
    reason: str
    given_up_at: EpochMs | None = None


class Trade(Document):
    """`trades`: a position's life from its first fill to flat; trade_id = intent_id of the entry. Source: CONTRACTS 2.

    `side` is the entry's. realized_pnl_usdt is before fees and funding; fees_usdt > 0 was paid; funding_usdt is
    received +, paid -. `tier` is the stop tier reached, `rung` the ladder rungs closed, `first_loss_usdt` the price
    loss that the first stop allowed. `config_rev` stays that of the entry. `persons_stop` and `persons_leave` are what
    a person told S6 to do with it. `still_since` is when its ROE came near 0 and stayed, `stagnated_at` when that was
    told, once.
    """

    key_field: ClassVar[str] = "trade_id"

    trade_id: str
    market: Market
    symbol: str
    side: Side
    status: TradeStatus
    qty_opened: Number
    qty_open: Number
    entry_price_avg: Number
    entries: tuple[TradeFill, ...] = ()
    exits: tuple[TradeExit, ...] = ()
    realized_pnl_usdt: Number
    fees_usdt: Number
    entry_fees_usdt: Number = Field(default=Decimal(0))
    funding_usdt: Number
    config_rev: int
    leverage: int = 1
    stop_price: Number | None = None
    stop_order_id: str | None = None
    tp_price: Number | None = None
    tp_order_id: str | None = None
    atr: Estimate | None = None
    first_loss_usdt: Number | None = None
    add_on_count: int = 0
    tier: int = 0
    rung: int = 0
    opened_at: EpochMs
    closed_at: EpochMs | None = None
    reason: str | None = None
    signal_id: str | None = None
    persons_stop: PersonsStop | None = None
    persons_leave: PersonsLeave | None = None
    still_since: EpochMs | None = None
    stagnated_at: EpochMs | None = None
    updated_at: EpochMs


class StrategyEvent(Document):
    """`strategy_events`: one thing that happened, with its detail. Schema: strategy_events.json, more kinds."""

    key_field: ClassVar[str] = "event_id"

    event_id: str
    kind: EventKind
    market: Market | None = None
    symbol: str | None = None
    detail: JsonObject | None = None
    ts: EpochMs


class Kline(Document):
    """`klines`: a closed bar. Key `<MARKET>-<SYM>-<interval>-<open_time>`. Prices USDT, volume base asset."""

    market: Market
    symbol: str
    interval: str
    open_time: EpochMs
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    ts: EpochMs
    ts_sec: Annotated[EpochSec, seconds_of("ts")] = TWIN

    def doc_key(self) -> str:
        return ids.kline_key(InstrumentKey(self.market, self.symbol), self.interval, self.open_time)


class FactorBar(Document):
    """`factor_bars`: a bar of a market that is a factor only (USDT/TWD at MAX). volume in base asset; 0: no market."""

    source: str
    symbol: str
    interval: str
    open_time: EpochMs
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    ts: EpochMs

    def doc_key(self) -> str:
        return ids.factor_bar_key(self.source, self.symbol, self.interval, self.open_time)
