"""What the futures REST says, in our words.

Field names as recorded in 2026-07 and later; a field that we do not need may be missing, one that we need and that is
missing raises KeyError, which is a change of their protocol. Prices and quantities arrive as texts, some in scientific
notation (`openAlgoOrders`), and become Decimals without passing through a float.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from chimera.adapters.binance import words
from chimera.contracts import ids
from chimera.contracts.enums import Market, OrderStatus
from chimera.domain.exact import exact
from chimera.domain.execution.orders import Balance, Income, VenueFill, VenueOrder, VenuePosition
from chimera.domain.market.instrument import Bracket, Instrument
from chimera.domain.market.quotes import Bar, BookTop, Level, MarkPrice

Row = Mapping[str, Any]

ZERO = Decimal(0)
FUNDING_INTERVAL_H = 8
"""Of a symbol that `fundingInfo` does not list: it lists those that were adjusted."""
NO_CAP = Decimal("1e15")
NO_DELIVERY_MS = 4_102_444_800_000
"""The year 2100; perpetuals are listed with Christmas of that year as their delivery date."""


def amount(told: Any) -> Decimal:
    """A text or a JSON number as the decimal that a person reads."""
    return exact(told) if isinstance(told, float) else Decimal(told)


def price_or_none(told: Any) -> Decimal | None:
    """0, "0.00" and what is missing mean that there is none."""
    value = Decimal(told or 0)
    return value if value else None


def order_of(row: Row) -> VenueOrder:
    """An order of the regular book, from an answer to POST, GET, DELETE, or a list.

    The answers to POST and DELETE carry no time of creation: their `created_at_ms` is that of the update. A conditional
    type in this book is an order that a trigger has made. The exchange's own orders are named by `ids.told_apart`.
    """
    word = row.get("origType") or row["type"]
    conditional = word in words.FUT_ALGO_WORDS
    updated_at_ms = int(row["updateTime"])
    venue_order_id = str(row["orderId"])
    return VenueOrder(
        client_order_id=ids.told_apart(row["clientOrderId"], venue_order_id),
        venue_order_id=venue_order_id,
        market=Market.FUT,
        symbol=row["symbol"],
        side=words.side_of(row["side"]),
        type=words.fut_type_of(word),
        status=words.status_of(row["status"]),
        qty=Decimal(row["origQty"]),
        filled_qty=Decimal(row["executedQty"]),
        price=price_or_none(row.get("price")),
        stop_price=price_or_none(row.get("stopPrice")),
        reduce_only=bool(row.get("reduceOnly", False)),
        conditional=conditional,
        created_at_ms=int(row.get("time", updated_at_ms)),
        updated_at_ms=updated_at_ms,
        close_position=bool(row.get("closePosition", False)),
        triggered=conditional,
        reason=words.reason_of(row["status"]),
        working_type=words.working_type_of(row.get("workingType")),
        time_in_force=words.tif_of(row.get("timeInForce")),
        filled_quote=Decimal(row.get("cumQuote") or 0),
    )


def algo_order_of(row: Row) -> VenueOrder:
    """An order of the algo book. What its trigger made lives in the regular book: `merged` puts the two together.

    `actualQty` is believed of a FINISHED order only: the documents show it filled in for one that was canceled.
    """
    status_word = row["algoStatus"]
    triggered = status_word in words.ALGO_TRIGGERED
    qty = Decimal(row.get("quantity") or 0)
    filled_qty = ZERO
    if status_word == "FINISHED":
        filled_qty = Decimal(row.get("actualQty") or 0)
        status = OrderStatus.FILLED if filled_qty and filled_qty >= qty else OrderStatus.CANCELED
    else:
        status = words.ALGO_STATUSES[status_word]
    callback = price_or_none(row.get("callbackRate"))
    made = str(row.get("actualOrderId") or "")
    reason = None
    if status in (OrderStatus.CANCELED, OrderStatus.REJECTED):
        reason = words.reason_of(status_word) or status_word
    return VenueOrder(
        client_order_id=row["clientAlgoId"],
        venue_order_id="" if made in ("", "0") else made,
        market=Market.FUT,
        symbol=row["symbol"],
        side=words.side_of(row["side"]),
        type=words.fut_type_of(row["orderType"]),
        status=status,
        qty=qty,
        filled_qty=filled_qty,
        price=price_or_none(row.get("price")),
        stop_price=price_or_none(row.get("triggerPrice")),
        reduce_only=bool(row.get("reduceOnly", False)),
        conditional=True,
        created_at_ms=int(row["createTime"]),
        updated_at_ms=int(row["updateTime"]),
        close_position=bool(row.get("closePosition", False)),
        triggered=triggered,
        venue_algo_id=str(row["algoId"]),
        reason=reason,
        working_type=words.working_type_of(row.get("workingType")),
        time_in_force=words.tif_of(row.get("timeInForce")),
        callback_ratio=None if callback is None else callback / 100,
        activate_price=price_or_none(row.get("activatePrice")),
        triggered_at_ms=int(row.get("triggerTime") or 0),
    )


def merged(algo: VenueOrder, made: VenueOrder) -> VenueOrder:
    """A triggered algo order and the regular order that its trigger made, as the one order that we sent."""
    return replace(
        made,
        client_order_id=algo.client_order_id,
        type=algo.type,
        stop_price=algo.stop_price,
        callback_ratio=algo.callback_ratio,
        activate_price=algo.activate_price,
        triggered_at_ms=algo.triggered_at_ms,
        reduce_only=algo.reduce_only or made.reduce_only,
        conditional=True,
        triggered=True,
        venue_algo_id=algo.venue_algo_id,
        created_at_ms=algo.created_at_ms,
        updated_at_ms=max(algo.updated_at_ms, made.updated_at_ms),
        close_position=algo.close_position,
        working_type=algo.working_type,
    )


def fill_of(row: Row, client_order_id: str) -> VenueFill:
    """A row of `userTrades`. It does not carry the client id."""
    return VenueFill(
        market=Market.FUT,
        symbol=row["symbol"],
        side=words.side_of(row["side"]),
        trade_id=int(row["id"]),
        client_order_id=client_order_id,
        venue_order_id=str(row["orderId"]),
        price=Decimal(row["price"]),
        qty=Decimal(row["qty"]),
        fee=Decimal(row["commission"]),
        fee_asset=row["commissionAsset"],
        maker=bool(row["maker"]),
        realized_pnl_usdt=Decimal(row["realizedPnl"]),
        ts=int(row["time"]),
    )


def balance_of(row: Row) -> Balance:
    """A row of `v3/balance`: `balance` is the whole wallet, isolated margins included.

    free is what may open positions (`availableBalance`, never more than the wallet: a profit of a cross position counts
    there), locked is the rest of the wallet: isolated and order margin. Their sum is the wallet, exactly.
    """
    wallet = Decimal(row["balance"])
    free = min(Decimal(row["availableBalance"]), wallet)
    return Balance(market=Market.FUT, asset=row["asset"], free=free, locked=wallet - free)


def position_of(row: Row, leverage: int) -> VenuePosition:
    """A row of `v3/positionRisk`, which does not tell the leverage."""
    return VenuePosition(
        symbol=row["symbol"],
        qty=Decimal(row["positionAmt"]),
        entry_price=Decimal(row["entryPrice"]),
        mark_price=Decimal(row["markPrice"]),
        unrealized_pnl_usdt=Decimal(row["unRealizedProfit"]),
        isolated_wallet_usdt=Decimal(row["isolatedWallet"]),
        leverage=leverage,
        liquidation_price=Decimal(row["liquidationPrice"]),
    )


def shown_leverage_of(row: Row) -> int:
    """What the margin of a row of `v3/positionRisk` comes to; 0 where it shows none."""
    margin = Decimal(row.get("positionInitialMargin", 0))
    return round(abs(Decimal(row["notional"])) / margin) if margin else 0


def income_of(row: Row) -> Income:
    return Income(
        tran_id=int(row["tranId"]),
        symbol=row.get("symbol") or "",
        kind=words.income_kind_of(row["incomeType"]),
        asset=row["asset"],
        amount=Decimal(row["income"]),
        ts=int(row["time"]),
        detail=row.get("info") or row["incomeType"],
    )


def bar_of(market: Market, symbol: str, interval: str, row: Sequence[Any]) -> Bar:
    """One kline; the shape is the same in both markets."""
    return Bar(
        market=market,
        symbol=symbol,
        interval=interval,
        open_time=int(row[0]),
        open=float(row[1]),
        high=float(row[2]),
        low=float(row[3]),
        close=float(row[4]),
        volume=float(row[5]),
    )


def levels_of(rows: Sequence[Sequence[str]]) -> tuple[Level, ...]:
    return tuple([(Decimal(row[0]), Decimal(row[1])) for row in rows])


def book_of(market: Market, symbol: str, row: Row, last: Decimal, now_ms: int) -> BookTop:
    """An answer of `depth`, in either market. `now_ms` where it does not say its time (spot)."""
    return BookTop(
        ts=int(row.get("T") or now_ms),
        market=market,
        symbol=symbol,
        bids=levels_of(row["bids"]),
        asks=levels_of(row["asks"]),
        last=last,
    )


def mark_of(row: Row, interval_h: int) -> MarkPrice:
    return MarkPrice(
        ts=int(row["time"]),
        symbol=row["symbol"],
        mark=Decimal(row["markPrice"]),
        funding_rate=float(row["lastFundingRate"]),
        funding_time=int(row["nextFundingTime"]),
        interval_h=interval_h,
    )


def brackets_of(row: Row) -> tuple[Bracket, ...]:
    """A row of `leverageBracket`, by notional. Its figures are JSON numbers."""
    tiers = [
        Bracket(
            bracket=int(tier["bracket"]),
            initial_leverage=int(tier["initialLeverage"]),
            notional_floor=amount(tier["notionalFloor"]),
            notional_cap=amount(tier["notionalCap"]),
            maint_margin_ratio=amount(tier["maintMarginRatio"]),
            cum=amount(tier.get("cum", 0)),
        )
        for tier in row["brackets"]
    ]
    return tuple(sorted(tiers, key=lambda tier: tier.notional_floor))


def cautious_brackets_of(row: Row) -> tuple[Bracket, ...]:
    """One tier from exchangeInfo, for whoever has no key to ask for the true ones.

    Its margins (5 % and 2.5 % for nearly every symbol) are those of no low tier of a liquid symbol: they allow less
    leverage and put liquidation nearer than the exchange does.
    """
    required = Decimal(row.get("requiredMarginPercent") or 5) / 100
    maintenance = Decimal(row.get("maintMarginPercent") or "2.5") / 100
    return (
        Bracket(
            bracket=1,
            initial_leverage=max(1, int(1 / required)),
            notional_floor=ZERO,
            notional_cap=NO_CAP,
            maint_margin_ratio=maintenance,
            cum=ZERO,
        ),
    )


def _delivery(row: Row) -> int | None:
    """A perpetual has a date far in the next century, until its end is decided."""
    at_ms = int(row.get("deliveryDate") or 0)
    return at_ms if 0 < at_ms < NO_DELIVERY_MS else None


def instrument_of(row: Row, brackets: tuple[Bracket, ...], funding_interval_h: int) -> Instrument | None:
    """A symbol of exchangeInfo. None: not a USDT perpetual, or its rules are incomplete (testnet lists tick size 0)."""
    if row.get("contractType") != "PERPETUAL" or row["quoteAsset"] != "USDT" or row.get("marginAsset") != "USDT":
        return None
    filters = {each["filterType"]: each for each in row["filters"]}
    try:
        price, lot = filters["PRICE_FILTER"], filters["LOT_SIZE"]
        market_lot = filters.get("MARKET_LOT_SIZE", lot)
        percent = filters["PERCENT_PRICE"]
        min_notional = filters["MIN_NOTIONAL"]["notional"]
    except KeyError:
        return None
    tick_size, step_size = Decimal(price["tickSize"]), Decimal(lot["stepSize"])
    if not tick_size or not step_size:
        return None
    return Instrument(
        market=Market.FUT,
        symbol=row["symbol"],
        base_asset=row["baseAsset"],
        quote_asset=row["quoteAsset"],
        tick_size=tick_size,
        step_size=step_size,
        min_qty=Decimal(lot["minQty"]),
        max_qty=Decimal(lot["maxQty"]),
        market_step=Decimal(market_lot["stepSize"]) or step_size,
        # 0 says that nothing but the limit of every order holds.
        market_max_qty=Decimal(market_lot["maxQty"]) or Decimal(lot["maxQty"]),
        min_notional=Decimal(min_notional),
        percent_up=Decimal(percent["multiplierUp"]),
        percent_down=Decimal(percent["multiplierDown"]),
        max_leverage=max((tier.initial_leverage for tier in brackets), default=1),
        brackets=brackets,
        liquidation_fee_ratio=Decimal(row.get("liquidationFee") or 0),
        funding_interval_h=funding_interval_h,
        status=row["status"],
        delivers_at_ms=_delivery(row),
    )
