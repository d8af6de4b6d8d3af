"""Calls of the spot market: one method a question, answers in our words.

Owns paths, parameters and weights. Source: spot REST document (rest-api.md), weights as listed there in 2026-07; the
order-list endpoints in their new form (`orderList/oco`, above and below).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import structlog

from chimera.adapters.binance import parse_futures as shared
from chimera.adapters.binance import parse_spot as parse
from chimera.adapters.binance import words
from chimera.adapters.binance.budget import Priority
from chimera.adapters.binance.calls import MarketCalls, OrderCalls, self_trade_of, size_of
from chimera.adapters.binance.errors import BAD_TYPE
from chimera.adapters.binance.futures import DAY_MS, FeeRates, of_symbol
from chimera.adapters.binance.history import (
    TRADES_MAX,
    Rows,
    closed_bars,
    trades_since,
)
from chimera.adapters.binance.hosts import Site
from chimera.adapters.binance.known import KnownOrders
from chimera.adapters.binance.rest import RECV_WINDOW_MS, Rest, Security, understood
from chimera.adapters.binance.signing import Param, ws_signed
from chimera.contracts.enums import Market, OrderType, Side, TimeInForce
from chimera.domain.execution.orders import Balance, NewOco, NewOrder, VenueFill, VenueOrder
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Bar, BookTop
from chimera.ports.venue import OutcomeUnknown, Refused, VenueUnavailable

TRADES_WINDOW_MS = DAY_MS
KLINES_MAX = 1_000
BOOK_LEVELS = 5
TIMED = frozenset({OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
"""Types that want a time in force."""
PRICED = TIMED | {OrderType.LIMIT_MAKER}
STOPPED = frozenset(
    {OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}
)

log = structlog.get_logger(__name__)


ORDER_CALLS = OrderCalls(
    site=Site.SPOT,
    market=Market.SPOT,
    one_path="/api/v3/order",
    one_weight=4,
    many_path="/api/v3/allOrders",
    many_weight=20,
    read=parse.order_of,
)


class Spot(MarketCalls):
    def __init__(self, rest: Rest, known: KnownOrders) -> None:
        super().__init__(rest, known, ORDER_CALLS)
        self._assets: dict[str, None] = {"USDT": None}
        """Assets that were reported: one that is gone is reported as nothing, not left out."""

    # --- the market, without a key

    async def exchange_info(self) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = await self._get("/api/v3/exchangeInfo", {"showPermissionSets": False}, weight=20)
        self._rest.budget.learn_limits(Site.SPOT, answer.get("rateLimits", ()))
        return answer

    async def instruments(self) -> Sequence[Instrument]:
        """What is bought with USDT."""
        info = await self.exchange_info()

        def read(info: Any) -> list[Instrument]:
            found = (parse.instrument_of(row) for row in info["symbols"])
            return [instrument for instrument in found if instrument is not None]

        return understood(read, info)

    async def book(self, symbol: str) -> BookTop:
        depth = await self.depth(symbol, BOOK_LEVELS)
        last = await self.last_price(symbol)
        top = understood(lambda depth: shared.book_of(Market.SPOT, symbol, depth, last, self._now_ms()), depth)
        if not top.bids or not top.asks:
            raise VenueUnavailable(f"SPOT:{symbol} has no book now")
        return top

    async def last_price(self, symbol: str) -> Decimal:
        row = await self._get("/api/v3/ticker/price", {"symbol": symbol}, weight=2)
        return understood(lambda row: Decimal(row["price"]), row)

    async def depth(self, symbol: str, levels: int) -> Mapping[str, Any]:
        """The raw snapshot: `lastUpdateId`, `bids`, `asks`. `levels` is at most 5000."""
        weight = next(cost for most, cost in ((100, 5), (500, 25), (1_000, 50), (5_000, 250)) if levels <= most)
        answer: Mapping[str, Any] = await self._get("/api/v3/depth", {"symbol": symbol, "limit": levels}, weight=weight)
        return answer

    async def klines(self, symbol: str, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        async def page(from_ms: int, to_ms: int) -> Sequence[Sequence[Any]]:
            rows: Sequence[Sequence[Any]] = await self._get(
                "/api/v3/klines",
                {"symbol": symbol, "interval": interval, "startTime": from_ms, "endTime": to_ms, "limit": KLINES_MAX},
                weight=2,
            )
            return rows

        return await closed_bars(
            page,
            Market.SPOT,
            symbol,
            interval,
            start_ms=start_ms,
            end_ms=end_ms,
            now_ms=self._now_ms,
            page_max=KLINES_MAX,
        )

    # --- the account

    async def account(self) -> Mapping[str, Any]:
        """The raw answer: `canTrade`, `permissions`, `balances` other than zero, `commissionRates`, …

        For its rank see the balances of futures.
        """
        answer: Mapping[str, Any] = await self._signed_get("/api/v3/account", {"omitZeroBalances": True}, weight=20)
        return answer

    async def balances(self) -> Sequence[Balance]:
        """Assets with money, those that had some since we began, and USDT."""
        answer = await self.account()
        there = understood(lambda answer: {row["asset"]: parse.balance_of(row) for row in answer["balances"]}, answer)
        self._assets.update((asset, None) for asset, each in there.items() if each.free or each.locked)
        zero = Decimal(0)
        return [
            there.get(asset) or Balance(market=Market.SPOT, asset=asset, free=zero, locked=zero)
            for asset in self._assets
        ]

    async def fee_rates(self, symbol: str) -> FeeRates:
        """All that is charged on a trade: standard, special and tax, and the dearer of the buyer's and the seller's."""
        answer = await self._signed_get(
            "/api/v3/account/commission", {"symbol": symbol}, weight=20, priority=Priority.DATA
        )

        def read(answer: Any) -> FeeRates:
            parts = [
                answer[name] for name in ("standardCommission", "specialCommission", "taxCommission") if name in answer
            ]
            sides = sum((max(Decimal(part["buyer"]), Decimal(part["seller"])) for part in parts), Decimal(0))
            maker = sum((Decimal(part["maker"]) for part in parts), sides)
            return FeeRates(maker=maker, taker=sum((Decimal(part["taker"]) for part in parts), sides))

        return understood(read, answer)

    async def fills(self, symbol: str, since_ms: int) -> Sequence[VenueFill]:
        """Our trades. Whose they are is asked by order where we have not seen it."""

        async def between(from_ms: int, to_ms: int) -> Rows:
            return await self._trades({"symbol": symbol, "startTime": from_ms, "endTime": to_ms, "limit": TRADES_MAX})

        async def from_id(number: int) -> Rows:
            return await self._trades({"symbol": symbol, "fromId": number, "limit": TRADES_MAX})

        rows = await trades_since(
            between, from_id, since_ms=since_ms, now_ms=self._now_ms(), window_ms=TRADES_WINDOW_MS
        )
        names = await self._names_of(symbol, sorted({int(row["orderId"]) for row in rows}))
        return understood(lambda rows: [parse.fill_of(row, names[int(row["orderId"])]) for row in rows], rows)

    # --- orders

    async def place(self, order: NewOrder, priority: Priority) -> VenueOrder:
        params: dict[str, Param] = {
            "symbol": order.symbol,
            "side": order.side.value,
            "type": _type_word(order.type),
            **size_of(order),
        }
        if order.type in TIMED:
            params["timeInForce"] = order.time_in_force.value
        if order.type in PRICED:
            assert order.price is not None, f"{order.client_order_id}: a {order.type} needs a price"
            params["price"] = order.price
        if order.type in STOPPED:
            assert order.stop_price is not None, f"{order.client_order_id}: a {order.type} needs a stop price"
            params["stopPrice"] = order.stop_price
        params |= self_trade_of(order)
        params |= {"newClientOrderId": order.client_order_id, "newOrderRespType": "RESULT"}
        answer = await self._order_call("POST", "/api/v3/order", params, orders=1, priority=priority)
        return self._known.see(understood(parse.order_of, answer, changes=True))

    async def place_oco(self, oco: NewOco, priority: Priority) -> Sequence[VenueOrder]:
        """Target first. A SELL takes its profit above and stops below; a BUY the other way round."""
        profit, loss = ("above", "below") if oco.side is Side.SELL else ("below", "above")
        stop_type = OrderType.STOP_LOSS if oco.stop_limit_price is None else OrderType.STOP_LOSS_LIMIT
        params: dict[str, Param] = {
            "symbol": oco.symbol,
            "side": oco.side.value,
            "quantity": oco.qty,
            "listClientOrderId": oco.list_client_id,
            f"{profit}Type": OrderType.LIMIT_MAKER.value,
            f"{profit}Price": oco.target_price,
            f"{profit}ClientOrderId": oco.target_client_id,
            f"{loss}Type": stop_type.value,
            f"{loss}StopPrice": oco.stop_price,
            f"{loss}ClientOrderId": oco.stop_client_id,
            "newOrderRespType": "RESULT",
        }
        if oco.stop_limit_price is not None:
            params[f"{loss}Price"] = oco.stop_limit_price
            params[f"{loss}TimeInForce"] = TimeInForce.GTC.value
        answer = await self._order_call("POST", "/api/v3/orderList/oco", params, orders=2, priority=priority)
        legs = understood(lambda answer: [parse.order_of(row) for row in answer["orderReports"]], answer, changes=True)
        legs.sort(key=lambda leg: leg.client_order_id != oco.target_client_id)
        return tuple(self._known.see(leg) for leg in legs)

    async def cancel(self, symbol: str, client_order_id: str) -> VenueOrder:
        """A leg of a list takes the other one with it.

        Raises:
            UnknownOrder: it is not open (any more).
        """
        answer = await self._order_call(
            "DELETE",
            "/api/v3/order",
            {"symbol": symbol, "origClientOrderId": client_order_id},
            priority=Priority.PROTECTIVE,
        )
        before = self._known.get(Market.SPOT, symbol, client_order_id)
        reports = understood(_canceled, answer, changes=True)
        mine = [self._known.see(order) for order in reports if order.client_order_id == client_order_id]
        if not mine:
            raise OutcomeUnknown(f"SPOT:{symbol} {client_order_id}: the answer to its cancel names other orders")
        if before is None and mine[0].filled_qty:
            return await self._or_as_it_is(mine[0])
        return mine[0]

    async def order(self, symbol: str, client_order_id: str) -> VenueOrder:
        """
        Raises:
            UnknownOrder: definitely not known.
        """
        return await self._one(symbol, {"origClientOrderId": client_order_id})

    async def open_orders(self, symbol: str | None = None) -> Sequence[VenueOrder]:
        params, weight = of_symbol(symbol, 6, 80)
        rows = await self._signed_get("/api/v3/openOrders", params, weight=weight, priority=Priority.PROTECTIVE)
        return [
            self._known.see(order) for order in understood(lambda rows: [parse.order_of(row) for row in rows], rows)
        ]

    async def subscription_params(self) -> Mapping[str, str | int]:
        """Signed parameters of `userDataStream.subscribe.signature`, good for one use and a short time."""
        signer = self._rest.signer(Site.SPOT)
        return ws_signed({}, signer, timestamp_ms=self._now_ms(), recv_window_ms=RECV_WINDOW_MS)

    # --- parts

    async def _trades(self, params: Mapping[str, Param]) -> Rows:
        rows: Rows = await self._signed_get("/api/v3/myTrades", params, weight=20, priority=Priority.PROTECTIVE)
        return rows

    async def _order_call(
        self, method: str, path: str, params: Mapping[str, Param], *, priority: Priority, orders: int = 0
    ) -> Any:
        return await self._rest.call(
            Site.SPOT,
            method,
            path,
            params,
            security=Security.SIGNED,
            weight=1,
            orders=orders,
            priority=priority,
            changes=True,
        )


def _type_word(kind: OrderType) -> str:
    try:
        return words.spot_type_word(kind)
    except ValueError as error:
        raise Refused(BAD_TYPE, str(error)) from None


def _canceled(answer: Any) -> list[VenueOrder]:
    """One order, or the reports of the list that it belonged to."""
    return [parse.order_of(row) for row in answer.get("orderReports") or [answer]]
