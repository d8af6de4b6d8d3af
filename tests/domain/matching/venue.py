"""A small exchange for the tests: BTCUSDT perpetual and spot, round numbers, one builder call per request."""

from decimal import Decimal

from chimera.contracts.enums import Market, OrderType, Side, TimeInForce, WorkingType
from chimera.domain.execution.orders import ListLeg, NewOco, NewOrder, NewOrderList, SelfTrade
from chimera.domain.market.instrument import Bracket, Instrument
from chimera.domain.market.quotes import BookTop, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules

D = Decimal
SYMBOL = "BTCUSDT"
HOUR_MS = 3_600_000
FIRST_FUNDING_MS = 8 * HOUR_MS

BRACKETS = tuple(
    Bracket(
        bracket=number,
        initial_leverage=leverage,
        notional_floor=D(floor),
        notional_cap=D(cap),
        maint_margin_ratio=D(ratio),
        cum=D(cum),
    )
    for number, leverage, floor, cap, ratio, cum in (
        (1, 125, 0, 50_000, "0.004", 0),
        (2, 100, 50_000, 600_000, "0.005", 50),
        (3, 20, 600_000, 3_000_000, "0.01", 3_050),
    )
)

FUT = Instrument(
    market=Market.FUT,
    symbol=SYMBOL,
    base_asset="BTC",
    quote_asset="USDT",
    tick_size=D("0.1"),
    step_size=D("0.001"),
    min_qty=D("0.001"),
    max_qty=D("1000"),
    market_step=D("0.001"),
    market_max_qty=D("120"),
    min_notional=D("50"),
    percent_up=D("1.05"),
    percent_down=D("0.95"),
    max_leverage=125,
    brackets=BRACKETS,
    liquidation_fee_ratio=D("0.0125"),
)

SPOT = Instrument(
    market=Market.SPOT,
    symbol=SYMBOL,
    base_asset="BTC",
    quote_asset="USDT",
    tick_size=D("0.01"),
    step_size=D("0.00001"),
    min_qty=D("0.00001"),
    max_qty=D("9000"),
    market_step=D("0.00001"),
    market_max_qty=D("100"),
    min_notional=D("5"),
    percent_up=D("2"),
    percent_down=D("0.5"),
)

RULES = ExchangeRules(instruments=(FUT, SPOT))


def exchange(usdt: str = "10000", spot_usdt: str = "10000", btc: str = "1", rules: ExchangeRules = RULES) -> Exchange:
    return Exchange(rules, spot_balances={"USDT": D(spot_usdt), "BTC": D(btc)}, fut_balances={"USDT": D(usdt)})


def trading(usdt: str = "10000", spot_usdt: str = "10000", btc: str = "1", price: str = "60000") -> Exchange:
    """An exchange whose books and mark stand at `price`."""
    venue = exchange(usdt, spot_usdt, btc)
    move(venue, price)
    return venue


def book(
    market: Market, price: str | Decimal, *, qty: str = "1", levels: int = 3, ts: int = 0, half_spread: str = "1"
) -> BookTop:
    """Levels one unit apart around `price`, `qty` each; the last trade is at `price`."""
    mid, half = D(price), D(half_spread)
    return BookTop(
        ts=ts,
        market=market,
        symbol=SYMBOL,
        bids=tuple((mid - half - step, D(qty)) for step in range(levels)),
        asks=tuple((mid + half + step, D(qty)) for step in range(levels)),
        last=mid,
    )


def mark(
    price: str | Decimal, *, ts: int = 0, rate: float = 0.0001, funding_at_ms: int = FIRST_FUNDING_MS
) -> MarkPrice:
    return MarkPrice(ts=ts, symbol=SYMBOL, mark=D(price), funding_rate=rate, funding_time=funding_at_ms, interval_h=8)


def move(venue: Exchange, price: str | Decimal, now_ms: int = 0, rate: float = 0.0001) -> tuple[object, ...]:
    """Both books, then the mark, to `price`; the announced funding is the next multiple of eight hours."""
    following = (now_ms // FIRST_FUNDING_MS + 1) * FIRST_FUNDING_MS
    return (
        *venue.on_book(book(Market.FUT, price, ts=now_ms), now_ms),
        *venue.on_book(book(Market.SPOT, price, ts=now_ms), now_ms),
        *venue.on_mark(mark(price, ts=now_ms, rate=rate, funding_at_ms=following), now_ms),
    )


def order(
    client_order_id: str = "a",
    side: Side = Side.BUY,
    qty: str | Decimal = "0.1",
    price: str | Decimal | None = None,
    *,
    market: Market = Market.FUT,
    kind: OrderType | None = None,
    stop: str | Decimal | None = None,
    tif: TimeInForce = TimeInForce.GTC,
    reduce_only: bool = False,
    close_position: bool = False,
    on: WorkingType = WorkingType.MARK_PRICE,
    symbol: str = SYMBOL,
    callback: str | None = None,
    activate: str | Decimal | None = None,
    quote: str | Decimal | None = None,
    stp: SelfTrade = SelfTrade.EXPIRE_MAKER,
) -> NewOrder:
    """A MARKET order, or a LIMIT one where a price is given."""
    return NewOrder(
        client_order_id=client_order_id,
        market=market,
        symbol=symbol,
        side=side,
        type=kind or (OrderType.MARKET if price is None else OrderType.LIMIT),
        qty=D(qty),
        price=None if price is None else D(price),
        stop_price=None if stop is None else D(stop),
        time_in_force=tif,
        reduce_only=reduce_only,
        close_position=close_position,
        working_type=on,
        callback_ratio=None if callback is None else D(callback),
        activate_price=None if activate is None else D(activate),
        quote_qty=None if quote is None else D(quote),
        stp=stp,
    )


def trailing(
    client_order_id: str, side: Side, qty: str, callback: str, activate: str | None = None, *, reduce_only: bool = True
) -> NewOrder:
    """A futures stop that trails the mark."""
    return order(
        client_order_id,
        side,
        qty,
        kind=OrderType.STOP_MARKET,
        callback=callback,
        activate=activate,
        reduce_only=reduce_only,
    )


def stop(client_order_id: str, side: Side, qty: str, at: str, *, take_profit: bool = False, **more: bool) -> NewOrder:
    """A reduce-only futures stop (or target) on the mark."""
    return order(
        client_order_id,
        side,
        qty,
        kind=OrderType.TAKE_PROFIT_MARKET if take_profit else OrderType.STOP_MARKET,
        stop=at,
        reduce_only=not more.get("close_position", False),
        close_position=more.get("close_position", False),
    )


def oco(
    list_id: str = "list",
    side: Side = Side.SELL,
    qty: str = "0.1",
    target: str = "63000",
    stop_at: str = "58000",
    stop_limit: str | None = None,
) -> NewOco:
    return NewOco(
        list_client_id=list_id,
        symbol=SYMBOL,
        side=side,
        qty=D(qty),
        target_client_id=f"{list_id}-tp",
        target_price=D(target),
        stop_client_id=f"{list_id}-sl",
        stop_price=D(stop_at),
        stop_limit_price=None if stop_limit is None else D(stop_limit),
    )


def leg(name: str, kind: OrderType, stop: str | Decimal | None = None, price: str | Decimal | None = None) -> ListLeg:
    return ListLeg(
        client_order_id=name,
        type=kind,
        price=None if price is None else D(price),
        stop_price=None if stop is None else D(stop),
    )


def pair(
    above: ListLeg, below: ListLeg, side: Side = Side.SELL, qty: str = "0.1", list_id: str = "list"
) -> NewOrderList:
    return NewOrderList(list_client_id=list_id, symbol=SYMBOL, side=side, qty=D(qty), above=above, below=below)
