"""What a spot account asks about itself: balances, trades, fees, how many orders it has placed."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from chimera.contracts.enums import Market
from chimera.domain.execution.orders import AccountChange, BalancesChanged, VenueFill
from chimera.venue_server.calls import Call, Route, Security, Site
from chimera.venue_server.floor import Floor
from chimera.venue_server.limits import MINUTE_MS
from chimera.venue_server.spot import reading
from chimera.venue_server.spot.words import eight, list_number, traded

SPOT = Market.SPOT
ZERO = Decimal(0)
NUMBER_OF_ACCOUNT = 354_937_868
BNB_DISCOUNT = Decimal("0.25")
SECOND_MS = 1_000
DAY_MS = 86_400_000


def account_routes(floor: Floor) -> list[Route]:
    account = SpotAccount(floor)
    spot, signed = Site.SPOT, Security.SIGNED
    return [
        Route(
            method="GET",
            path="/api/v3/account",
            handler=account.account,
            name="account",
            site=spot,
            security=signed,
            weight=20,
        ),
        Route(
            method="GET",
            path="/api/v3/account/commission",
            handler=account.commission,
            name="account.commission",
            site=spot,
            security=signed,
            weight=20,
        ),
        Route(
            method="GET",
            path="/api/v3/myTrades",
            handler=account.trades,
            name="myTrades",
            site=spot,
            security=signed,
            weight=lambda call: 5 if call.maybe("orderId") else 20,
        ),
        Route(
            method="GET",
            path="/api/v3/rateLimit/order",
            handler=account.order_counts,
            name="rateLimit.order",
            site=spot,
            security=signed,
            weight=40,
        ),
    ]


class SpotAccount:
    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._updated_at_ms = floor.clock.now_ms()
        floor.host.on_changes.append(self._note)

    def account(self, call: Call) -> Any:
        fees = self._floor.fees(SPOT)
        held = {balance.asset: (balance.free, balance.locked) for balance in self._floor.exchange.balances(SPOT)}
        if not call.flag("omitZeroBalances"):
            for instrument in self._floor.instruments(SPOT):
                for asset in (instrument.base_asset, instrument.quote_asset):
                    held.setdefault(asset, (ZERO, ZERO))
        rows = [
            {"asset": asset, "free": eight(free), "locked": eight(locked)}
            for asset, (free, locked) in sorted(held.items())
            if free or locked or not call.flag("omitZeroBalances")
        ]
        return {
            "makerCommission": _bps(fees.maker),
            "takerCommission": _bps(fees.taker),
            "buyerCommission": 0,
            "sellerCommission": 0,
            "commissionRates": {"maker": eight(fees.maker), "taker": eight(fees.taker), **_neither_side()},
            "canTrade": True,
            "canWithdraw": True,
            "canDeposit": True,
            "brokered": False,
            "requireSelfTradePrevention": False,
            "preventSor": False,
            "updateTime": self._updated_at_ms,
            "accountType": "SPOT",
            "balances": rows,
            "permissions": ["SPOT"],
            "uid": NUMBER_OF_ACCOUNT,
        }

    def commission(self, call: Call) -> Any:
        instrument = self._floor.instrument(SPOT, call.text("symbol"))
        fees = self._floor.fees(SPOT)
        nothing = {"maker": eight(ZERO), "taker": eight(ZERO), **_neither_side()}
        return {
            "symbol": instrument.symbol,
            "standardCommission": {"maker": eight(fees.maker), "taker": eight(fees.taker), **_neither_side()},
            "specialCommission": nothing,
            "taxCommission": nothing,
            "discount": _discount(),
        }

    def trades(self, call: Call) -> Any:
        symbol = self._floor.instrument(SPOT, call.text("symbol")).symbol
        start_ms, end_ms = reading.span_of(call)
        from_id, number = call.maybe_whole("fromId"), call.maybe_whole("orderId")
        if from_id is not None:
            reading.refuse_sent(call, "startTime", "endTime")
        rows: Sequence[VenueFill]
        if number is not None:
            reading.refuse_sent(call, "startTime", "endTime")
            rows = self._floor.exchange.fills_of(SPOT, symbol, str(number))
            rows = [fill for fill in rows if from_id is None or fill.trade_id >= from_id]
        else:
            rows = self._floor.exchange.fills(SPOT, symbol, start_ms or 0, from_id or 0)
            rows = [fill for fill in rows if end_ms is None or fill.ts <= end_ms]
        from_first = start_ms is not None or from_id is not None
        return [
            traded(fill, self._list_of(fill))
            for fill in reading.page(rows, reading.limit_of(call), from_first=from_first)
        ]

    def order_counts(self, call: Call) -> Any:
        return order_limits(self._floor)

    def _list_of(self, fill: VenueFill) -> int:
        order = self._floor.exchange.order_by_number(SPOT, fill.symbol, fill.venue_order_id)
        assert order is not None
        return list_number(order)

    def _note(self, changes: Sequence[AccountChange]) -> None:
        for change in changes:
            if isinstance(change, BalancesChanged) and any(held.market is SPOT for held in change.balances):
                self._updated_at_ms = change.ts


def order_limits(floor: Floor) -> list[dict[str, Any]]:
    """How many orders count as unfilled, by window."""
    return [
        limit_row("ORDERS", length_ms, limit, used)
        for length_ms, limit, used in floor.limits.orders_used(Site.SPOT, floor.real_ms())
    ]


def weight_limit(floor: Floor, address: str) -> dict[str, Any]:
    limit, used = floor.limits.weight_used(address, Site.SPOT, floor.real_ms())
    return limit_row("REQUEST_WEIGHT", MINUTE_MS, limit, used)


def limit_row(kind: str, length_ms: int, limit: int, used: int | None = None) -> dict[str, Any]:
    units = (("DAY", DAY_MS), ("MINUTE", MINUTE_MS), ("SECOND", SECOND_MS))
    interval, unit_ms = next((name, unit_ms) for name, unit_ms in units if length_ms % unit_ms == 0)
    row = {"rateLimitType": kind, "interval": interval, "intervalNum": length_ms // unit_ms, "limit": limit}
    return row if used is None else {**row, "count": used}


def commission_of_order(floor: Floor) -> dict[str, Any]:
    """What order/test says of the fees that the order would pay."""
    fees = floor.fees(SPOT)
    nothing = {"maker": eight(ZERO), "taker": eight(ZERO)}
    return {
        "standardCommissionForOrder": {"maker": eight(fees.maker), "taker": eight(fees.taker)},
        "specialCommissionForOrder": nothing,
        "taxCommissionForOrder": nothing,
        "discount": _discount(),
    }


def _bps(ratio: Decimal) -> int:
    return int(ratio * 10_000)


def _neither_side() -> dict[str, str]:
    return {"buyer": eight(ZERO), "seller": eight(ZERO)}


def _discount() -> dict[str, Any]:
    """Fees are taken from what is received; paying them in BNB is not offered."""
    return {
        "enabledForAccount": False,
        "enabledForSymbol": False,
        "discountAsset": "BNB",
        "discount": eight(BNB_DISCOUNT),
    }
