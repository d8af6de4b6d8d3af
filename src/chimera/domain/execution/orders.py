"""Orders, fills, balances and positions as an exchange reports them, in our words.

The vocabulary that matching, the venue port and the services share. Values only.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from chimera.contracts import ids
from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce, WorkingType
from chimera.contracts.instrument_key import InstrumentKey

CONDITIONAL_FUT = frozenset({OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET})
"""Futures types that wait in the exchange's algo book until their price is reached, and then take."""

CONDITIONAL_LIMIT_FUT = frozenset({OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
"""The same, but then limit orders: the exchange's STOP and TAKE_PROFIT of futures."""


class SelfTrade(StrEnum):
    """What gives way when an order would trade with one of its own account: the exchange's selfTradePreventionMode.

    A matching that never trades with itself treats NONE as EXPIRE_MAKER.
    """

    NONE = "NONE"
    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """What we ask for. `client_order_id` is ours and durable before this leaves.

    `price` for LIMIT, LIMIT_MAKER, STOP_LOSS_LIMIT; `stop_price` for conditional types. `close_position` excludes qty.
    A futures STOP_MARKET with `callback_ratio` (0.01 is 1 %) instead of a stop price trails the best price since
    `activate_price` was reached, or since it was placed. A spot MARKET order with `quote_qty` and no qty trades as much
    as that amount of quote allows.
    """

    client_order_id: str
    market: Market
    symbol: str
    side: Side
    type: OrderType
    qty: Decimal
    price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    close_position: bool = False
    working_type: WorkingType = WorkingType.MARK_PRICE
    callback_ratio: Decimal | None = None
    activate_price: Decimal | None = None
    quote_qty: Decimal | None = None
    stp: SelfTrade = SelfTrade.EXPIRE_MAKER

    @property
    def key(self) -> InstrumentKey:
        return InstrumentKey(self.market, self.symbol)

    @property
    def conditional(self) -> bool:
        """True where the order goes to the futures algo book."""
        return self.market is Market.FUT and (self.type in CONDITIONAL_FUT or self.type in CONDITIONAL_LIMIT_FUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLeg:
    """One order of a list; which prices it needs follows from its type."""

    client_order_id: str
    type: OrderType
    price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrderList:
    """A spot OCO in its general form: one leg above the market and one below, for the same quantity.

    SELL: above LIMIT_MAKER, TAKE_PROFIT or TAKE_PROFIT_LIMIT, below STOP_LOSS or STOP_LOSS_LIMIT; BUY mirrored.
    """

    list_client_id: str
    symbol: str
    side: Side
    qty: Decimal
    above: ListLeg
    below: ListLeg
    stp: SelfTrade = SelfTrade.EXPIRE_MAKER


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOco:
    """A spot order list: a limit-maker leg on the profit side, a stop leg on the loss side, for the same quantity.

    `stop_limit_price` None asks for a market stop (STOP_LOSS), else STOP_LOSS_LIMIT.
    """

    list_client_id: str
    symbol: str
    side: Side
    qty: Decimal
    target_client_id: str
    target_price: Decimal
    stop_client_id: str
    stop_price: Decimal
    stop_limit_price: Decimal | None = None

    def as_list(self) -> NewOrderList:
        """The same in the general form."""
        target = ListLeg(client_order_id=self.target_client_id, type=OrderType.LIMIT_MAKER, price=self.target_price)
        stop = ListLeg(
            client_order_id=self.stop_client_id,
            type=OrderType.STOP_LOSS if self.stop_limit_price is None else OrderType.STOP_LOSS_LIMIT,
            price=self.stop_limit_price,
            stop_price=self.stop_price,
        )
        above, below = (target, stop) if self.side is Side.SELL else (stop, target)
        return NewOrderList(
            list_client_id=self.list_client_id,
            symbol=self.symbol,
            side=self.side,
            qty=self.qty,
            above=above,
            below=below,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOrder:
    """An order as the exchange holds it.

    `conditional` orders live in the algo book under `venue_algo_id`; once triggered they become a regular order with a
    new `venue_order_id` and the same client id, and `triggered` is True. `reason` is filled for CANCELED and REJECTED
    (EXPIRED, OCO_TRIGGER, …). `updated_at_ms` orders two reports of one order, then `filled_qty`, then finality.
    `filled_quote` is the sum of price * qty over its fills, where the exchange told it. An order with a
    `callback_ratio` trails and shows no stop price; `trailing_active` once its activation price was reached.
    `triggered_at_ms` is 0 until then.
    """

    client_order_id: str
    venue_order_id: str
    market: Market
    symbol: str
    side: Side
    type: OrderType
    status: OrderStatus
    qty: Decimal
    filled_qty: Decimal
    price: Decimal | None
    stop_price: Decimal | None
    reduce_only: bool
    conditional: bool
    created_at_ms: int
    updated_at_ms: int
    close_position: bool = False
    triggered: bool = False
    venue_algo_id: str | None = None
    order_list_id: str | None = None
    reason: str | None = None
    working_type: WorkingType = WorkingType.MARK_PRICE
    time_in_force: TimeInForce = TimeInForce.GTC
    filled_quote: Decimal = Decimal(0)
    callback_ratio: Decimal | None = None
    activate_price: Decimal | None = None
    trailing_active: bool = False
    triggered_at_ms: int = 0
    quote_qty: Decimal | None = None
    stp: SelfTrade = SelfTrade.EXPIRE_MAKER

    @property
    def key(self) -> InstrumentKey:
        return InstrumentKey(self.market, self.symbol)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOrderList:
    """An OCO as the exchange holds it: ALL_DONE once one of its legs has triggered, traded or ended.

    `orders` are the leg on the profit side and the leg on the loss side.
    """

    list_id: str
    list_client_id: str
    symbol: str
    status: str
    created_at_ms: int
    updated_at_ms: int
    orders: tuple[VenueOrder, VenueOrder]
    contingency: str = "OCO"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueFill:
    """One trade of one of our orders. `fee` is positive when paid, in `fee_asset`. `trade_id` is unique per symbol.

    `realized_pnl_usdt` is what the exchange booked for the closed part (FUT), before fees.
    """

    market: Market
    symbol: str
    side: Side
    trade_id: int
    client_order_id: str
    venue_order_id: str
    price: Decimal
    qty: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    realized_pnl_usdt: Decimal
    ts: int

    @property
    def key(self) -> InstrumentKey:
        return InstrumentKey(self.market, self.symbol)

    @property
    def fill_id(self) -> str:
        """Its name on file."""
        return ids.fill_id(self.key, self.trade_id, self.side)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What one wallet holds of one asset. FUT: `free` can open positions, `locked` is isolated and order margin."""

    market: Market
    asset: str
    free: Decimal
    locked: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class VenuePosition:
    """An isolated one-way futures position. `qty` is signed: positive is long. Flat positions are not reported."""

    symbol: str
    qty: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealized_pnl_usdt: Decimal
    isolated_wallet_usdt: Decimal
    leverage: int
    liquidation_price: Decimal


class IncomeKind(StrEnum):
    TRANSFER = "TRANSFER"
    REALIZED_PNL = "REALIZED_PNL"
    FUNDING_FEE = "FUNDING_FEE"
    COMMISSION = "COMMISSION"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Income:
    """One line of the exchange's own futures ledger. `amount` is signed: received +, paid -."""

    tran_id: int
    symbol: str
    kind: IncomeKind
    asset: str
    amount: Decimal
    ts: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A movement between the two wallets, as the exchange's history lists it."""

    tran_id: int
    source: Market
    target: Market
    asset: str
    amount: Decimal
    ts: int


@dataclass(frozen=True, slots=True)
class OrderUpdated:
    """An order changed; `fill` is set when a trade caused it, `amended` when a request changed it."""

    ts: int
    order: VenueOrder
    fill: VenueFill | None = None
    amended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginChange:
    """A movement between the free balance and a position's isolated wallet; `amount` into the position is positive."""

    number: int
    symbol: str
    asset: str
    amount: Decimal
    ts: int


@dataclass(frozen=True, slots=True)
class BalancesChanged:
    """Only what changed, and why: ORDER, FUNDING_FEE, TRANSFER, LIQUIDATION, MARGIN_TRANSFER, DEPOSIT, WITHDRAW."""

    ts: int
    cause: str
    balances: tuple[Balance, ...]


@dataclass(frozen=True, slots=True)
class PositionChanged:
    """`position` None: the symbol is flat now."""

    ts: int
    symbol: str
    position: VenuePosition | None


@dataclass(frozen=True, slots=True)
class ListUpdated:
    """A list was accepted, or is done; its orders are told of on their own."""

    ts: int
    order_list: VenueOrderList


@dataclass(frozen=True, slots=True)
class FundingSettled:
    """`rate` None: it was not heard."""

    ts: int
    income: Income
    rate: float | None


@dataclass(frozen=True, slots=True)
class MarginCalled:
    """A position came near its liquidation; told once until it has left that zone again."""

    ts: int
    position: VenuePosition
    maint_margin_usdt: Decimal


@dataclass(frozen=True, slots=True)
class AccountConfigured:
    """A setting was changed by request: of one symbol, or of the account where `symbol` is None. None is unchanged."""

    ts: int
    symbol: str | None = None
    leverage: int | None = None
    isolated: bool | None = None
    dual_side: bool | None = None
    multi_assets: bool | None = None


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The account stream was re-established: whatever happened meanwhile was not told. Reconcile."""

    ts: int


AccountChange = (
    OrderUpdated
    | BalancesChanged
    | PositionChanged
    | ListUpdated
    | FundingSettled
    | MarginCalled
    | AccountConfigured
    | StreamReset
)
