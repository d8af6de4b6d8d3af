"""What the spot REST and the wallet say, in our words. What both markets share in shape is read by `parse_futures`."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from chimera.adapters.binance import words
from chimera.adapters.binance.parse_futures import ZERO, price_or_none
from chimera.contracts.enums import Market
from chimera.domain.execution.orders import Balance, Transfer, VenueFill, VenueOrder
from chimera.domain.market.instrument import Instrument

Row = Mapping[str, Any]

NO_LIST = -1


def order_of(row: Row) -> VenueOrder:
    """An order from an answer to POST, GET, DELETE, a list, or an order list's report.

    The answer to a cancel names ours `origClientOrderId`; its `clientOrderId` is that of the cancel. Answers to POST
    and DELETE carry no time of creation: their `created_at_ms` is when it began to work, else the transaction's.
    """
    updated_at_ms = int(row.get("updateTime") or row.get("transactTime") or 0)
    working_at_ms = int(row.get("workingTime") or 0)
    list_id = int(row.get("orderListId", NO_LIST))
    kind = words.spot_type_of(row["type"])
    stop_price = price_or_none(row.get("stopPrice"))
    return VenueOrder(
        client_order_id=row.get("origClientOrderId") or row["clientOrderId"],
        venue_order_id=str(row["orderId"]),
        market=Market.SPOT,
        symbol=row["symbol"],
        side=words.side_of(row["side"]),
        type=kind,
        status=words.status_of(row["status"]),
        qty=Decimal(row.get("origQty") or 0),
        filled_qty=Decimal(row.get("executedQty") or 0),
        price=price_or_none(row.get("price")),
        stop_price=stop_price,
        reduce_only=False,
        conditional=False,
        created_at_ms=int(row.get("time") or (working_at_ms if working_at_ms > 0 else updated_at_ms)),
        updated_at_ms=updated_at_ms,
        # A stop that waits is not working yet.
        triggered=stop_price is not None and (bool(row["isWorking"]) if "isWorking" in row else working_at_ms > 0),
        order_list_id=None if list_id == NO_LIST else str(list_id),
        reason=words.reason_of(row["status"], row.get("expiryReason")),
        time_in_force=words.tif_of(row.get("timeInForce")),
        # Below 0 for old orders whose figure is not at hand.
        filled_quote=max(ZERO, Decimal(row.get("cummulativeQuoteQty") or 0)),
    )


def fill_of(row: Row, client_order_id: str) -> VenueFill:
    """A row of `myTrades`. It carries neither the client id nor a profit."""
    return VenueFill(
        market=Market.SPOT,
        symbol=row["symbol"],
        side=words.side_of("BUY" if row["isBuyer"] else "SELL"),
        trade_id=int(row["id"]),
        client_order_id=client_order_id,
        venue_order_id=str(row["orderId"]),
        price=Decimal(row["price"]),
        qty=Decimal(row["qty"]),
        fee=Decimal(row["commission"]),
        fee_asset=row["commissionAsset"],
        maker=bool(row["isMaker"]),
        realized_pnl_usdt=ZERO,
        ts=int(row["time"]),
    )


def balance_of(row: Row) -> Balance:
    return Balance(market=Market.SPOT, asset=row["asset"], free=Decimal(row["free"]), locked=Decimal(row["locked"]))


def transfer_of(row: Row) -> Transfer | None:
    """A row of the transfer history. None: between other wallets than ours, or it failed.

    A PENDING one counts: whoever asks whether a transfer went out must not send it again.
    """
    sides = _TRANSFERS.get(row["type"])
    if sides is None or row.get("status", "CONFIRMED") == "FAILED":
        return None
    source, target = sides
    return Transfer(
        tran_id=int(row["tranId"]),
        source=source,
        target=target,
        asset=row["asset"],
        amount=Decimal(row["amount"]),
        ts=int(row["timestamp"]),
    )


_TRANSFERS = {word: sides for sides, word in words.TRANSFER_WORDS.items()}


def instrument_of(row: Row) -> Instrument | None:
    """A symbol of exchangeInfo. None: not bought with USDT, not traded on spot, or its rules are incomplete.

    Where buyers and sellers have different price limits, the tighter one holds for both.
    """
    if row["quoteAsset"] != "USDT" or not row.get("isSpotTradingAllowed", True):
        return None
    filters = {each["filterType"]: each for each in row["filters"]}
    price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL")
    if price is None or lot is None or notional is None:
        return None
    tick_size, step_size = Decimal(price["tickSize"]), Decimal(lot["stepSize"])
    if not tick_size or not step_size:
        return None
    up, down = _percent_of(filters)
    market_lot = filters.get("MARKET_LOT_SIZE", lot)
    return Instrument(
        market=Market.SPOT,
        symbol=row["symbol"],
        base_asset=row["baseAsset"],
        quote_asset=row["quoteAsset"],
        tick_size=tick_size,
        step_size=step_size,
        min_qty=Decimal(lot["minQty"]),
        max_qty=Decimal(lot["maxQty"]),
        # 0 means that the limit order's step holds.
        market_step=Decimal(market_lot["stepSize"]) or step_size,
        # 0 says that nothing but the limit of every order holds.
        market_max_qty=Decimal(market_lot["maxQty"]) or Decimal(lot["maxQty"]),
        min_notional=Decimal(notional["minNotional"]),
        percent_up=up,
        percent_down=down,
        status=row["status"],
    )


def _percent_of(filters: Mapping[str, Row]) -> tuple[Decimal, Decimal]:
    by_side, both = filters.get("PERCENT_PRICE_BY_SIDE"), filters.get("PERCENT_PRICE")
    if by_side is not None:
        return (
            min(Decimal(by_side["bidMultiplierUp"]), Decimal(by_side["askMultiplierUp"])),
            max(Decimal(by_side["bidMultiplierDown"]), Decimal(by_side["askMultiplierDown"])),
        )
    if both is not None:
        return Decimal(both["multiplierUp"]), Decimal(both["multiplierDown"])
    return Decimal(1_000), ZERO
