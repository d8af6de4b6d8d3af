"""What the exchange remembers: orders, order lists, positions, contracts and wallets, as mutable records.

They never leave the matching; outside they are shown as the frozen values of `domain/execution/orders`.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce, WorkingType
from chimera.domain.execution.orders import Balance, SelfTrade, VenueOrder
from chimera.domain.matching.money import ZERO

STOP_LIKE = frozenset({OrderType.STOP_MARKET, OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT})
"""Triggered by a price that moves against the position: BUY at or above, SELL at or below the stop price."""

TRIGGERED_TYPES = STOP_LIKE | {OrderType.TAKE_PROFIT_MARKET, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}

PRICED = frozenset({OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})

TIMED = PRICED - {OrderType.LIMIT_MAKER}
"""Types that have a time in force; the others' is GTC, whatever was asked."""


class EndReason(StrEnum):
    """Why an order ended without filling, in `VenueOrder.reason`."""

    USER = "USER"
    COUNTDOWN = "COUNTDOWN"
    POST_ONLY = "POST_ONLY"
    """A post-only order that would have taken after its price was changed, or when it was triggered."""
    IOC = "UNFILLED_IOC_QUANTITY_EXPIRED"
    FOK = "UNFILLED_FOK_ORDER_EXPIRED"
    LIQUIDITY = "INSUFFICIENT_LIQUIDITY"
    SELF_TRADE = "EXPIRED_IN_MATCH"
    OCO_TRIGGER = "OCO_TRIGGER"
    REDUCE_ONLY = "REDUCE_ONLY_REJECT"
    MARGIN = "INSUFFICIENT_MARGIN"
    BALANCE = "INSUFFICIENT_BALANCES"
    LIQUIDATION = "LIQUIDATION"


class Flow(StrEnum):
    """What moved money in a wallet. A wallet's balance is the sum of its flows, always."""

    DEPOSIT = "DEPOSIT"
    WITHDRAW = "WITHDRAW"
    TRANSFER = "TRANSFER"
    TRADE = "TRADE"
    REALIZED_PNL = "REALIZED_PNL"
    COMMISSION = "COMMISSION"
    FUNDING_FEE = "FUNDING_FEE"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"


@dataclass(slots=True, kw_only=True, eq=False)
class OrderRecord:
    """`no` is the exchange's own sequence: the key of the record (client ids may be used again), and its time priority
    until an amendment sends it to the back as `requeued_no`."""

    no: int
    client_order_id: str
    market: Market
    symbol: str
    side: Side
    type: OrderType
    qty: Decimal
    price: Decimal | None
    stop_price: Decimal | None
    time_in_force: TimeInForce
    reduce_only: bool
    close_position: bool
    conditional: bool
    working_type: WorkingType
    created_at_ms: int
    updated_at_ms: int
    venue_order_id: str = ""
    venue_algo_id: str | None = None
    order_list_id: str | None = None
    status: OrderStatus = OrderStatus.NEW
    filled_qty: Decimal = ZERO
    filled_quote: Decimal = ZERO
    triggered: bool = False
    reason: str | None = None
    requeued_no: int = 0
    triggered_at_ms: int = 0
    quote_qty: Decimal | None = None
    stp: SelfTrade = SelfTrade.EXPIRE_MAKER
    callback_ratio: Decimal | None = None
    activate_price: Decimal | None = None
    extreme: Decimal | None = None
    """The best price a trailing stop has seen since it is active; its stop price follows from it."""
    locked: Decimal = ZERO
    """Of the wallet that pays: quote for a BUY, base for a spot SELL, USDT margin and fee for futures."""

    @property
    def left(self) -> Decimal:
        return self.qty - self.filled_qty

    @property
    def turn(self) -> int:
        """Its place among orders of one price: the lower comes first."""
        return self.requeued_no or self.no

    @property
    def waiting(self) -> bool:
        """True while the order waits for its trigger and is in no book."""
        return not self.triggered and self.type in TRIGGERED_TYPES

    @property
    def rests(self) -> bool:
        """True for an order whose unfilled part stays in the book."""
        return self.type in PRICED and self.time_in_force in (TimeInForce.GTC, TimeInForce.GTX)

    @property
    def triggers_upwards(self) -> bool:
        return (self.side is Side.BUY) == (self.type in STOP_LIKE)

    def triggered_by(self, price: Decimal) -> bool:
        if self.stop_price is None:
            return False  # a trailing stop that is not active yet
        return price >= self.stop_price if self.triggers_upwards else price <= self.stop_price

    def within(self, low: Decimal, high: Decimal) -> tuple[Decimal, Decimal]:
        """The part of the open interval in which the price may move without meaning anything to this waiting order.

        A trailing stop moves beyond its best price, and awaits its activation before.
        """
        rising = self.triggers_upwards
        if self.stop_price is not None:
            low, high = (low, min(high, self.stop_price)) if rising else (max(low, self.stop_price), high)
        if self.callback_ratio is not None:
            awaited = self.extreme if self.extreme is not None else self.activate_price
            if awaited is None:
                return max(low, high), min(low, high)  # active by whatever price comes next: nothing is between
            low, high = (max(low, awaited), high) if rising else (low, min(high, awaited))
        return low, high

    def trail(self, price: Decimal) -> bool:
        """Let a trailing stop see a price; True when it became active by it."""
        assert self.callback_ratio is not None
        falling = self.side is Side.BUY
        if self.extreme is None:
            start = self.activate_price
            if start is not None and (price > start if falling else price < start):
                return False
        elif price >= self.extreme if falling else price <= self.extreme:
            return False
        became_active, self.extreme = self.extreme is None, price
        self.stop_price = price * (1 + self.side.sign * self.callback_ratio)
        return became_active

    def view(self) -> VenueOrder:
        return VenueOrder(
            client_order_id=self.client_order_id,
            venue_order_id=self.venue_order_id,
            market=self.market,
            symbol=self.symbol,
            side=self.side,
            type=self.type,
            status=self.status,
            qty=self.qty,
            filled_qty=self.filled_qty,
            price=self.price,
            stop_price=self.stop_price if self.callback_ratio is None else None,
            reduce_only=self.reduce_only,
            conditional=self.conditional,
            created_at_ms=self.created_at_ms,
            updated_at_ms=self.updated_at_ms,
            close_position=self.close_position,
            triggered=self.triggered,
            venue_algo_id=self.venue_algo_id,
            order_list_id=self.order_list_id,
            reason=self.reason,
            working_type=self.working_type,
            time_in_force=self.time_in_force,
            filled_quote=self.filled_quote,
            callback_ratio=self.callback_ratio,
            activate_price=self.activate_price,
            trailing_active=self.extreme is not None,
            triggered_at_ms=self.triggered_at_ms,
            quote_qty=self.quote_qty,
            stp=self.stp,
        )


@dataclass(slots=True, kw_only=True)
class ListRecord:
    """A spot OCO: two orders by their numbers, the one on the profit side first; done when one of them gave way."""

    list_id: int
    list_client_id: str
    symbol: str
    target_no: int
    stop_no: int
    created_at_ms: int
    updated_at_ms: int = 0
    done: bool = False


@dataclass(slots=True, kw_only=True)
class PositionRecord:
    """`qty` signed; `cost_usdt` is the exact sum behind the average entry price; `isolated_usdt` its own wallet."""

    symbol: str
    qty: Decimal
    cost_usdt: Decimal
    isolated_usdt: Decimal
    margin_called: bool = False


@dataclass(slots=True, kw_only=True)
class ContractRecord:
    """What the exchange knows of one perpetual besides its book.

    `funding_at_ms` is the announced settlement, 0 when none is; `funding_done_ms` the last one that was settled.
    `countdown_at_ms` is when its regular orders are canceled unless somebody asks for a later time; 0 is never.
    """

    symbol: str
    leverage: int
    mark: Decimal | None = None
    funding_rate: float = 0.0
    funding_at_ms: int = 0
    funding_done_ms: int = 0
    isolated: bool = True
    countdown_at_ms: int = 0


@dataclass(slots=True, kw_only=True)
class SettingsRecord:
    """What the futures account is set to as a whole."""

    dual_side: bool = False
    multi_assets: bool = False


@dataclass(slots=True)
class Wallet:
    """One asset in one market. `order_lock` and `isolated` are parts of `balance`; what remains is free."""

    market: Market
    asset: str
    balance: Decimal = ZERO
    order_lock: Decimal = ZERO
    isolated: Decimal = ZERO
    flows: dict[Flow, Decimal] = field(default_factory=dict)

    @property
    def free(self) -> Decimal:
        return self.balance - self.order_lock - self.isolated

    def view(self) -> Balance:
        return Balance(market=self.market, asset=self.asset, free=self.free, locked=self.order_lock + self.isolated)
