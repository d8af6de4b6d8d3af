"""Calls of USDT-M futures: one method a question, answers in our words.

Owns paths, parameters and weights. Conditional orders live in the algo book (`/algoOrder`) since 2025-12-09, with an id
of their own, until a trigger makes a regular order under the same client id; both books are asked where an order may be
in either. Answers to POST and DELETE carry no average price since 2026-07-15: fills come from the account stream, or
from `fills`.

Source: USDS-margined futures REST documents; weights as listed there in 2026-07.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar

import structlog

from chimera.adapters.binance import parse_futures as parse
from chimera.adapters.binance import words
from chimera.adapters.binance.budget import Priority
from chimera.adapters.binance.calls import MarketCalls, OrderCalls, self_trade_of, size_of
from chimera.adapters.binance.errors import (
    ASSETS_MODE_UNCHANGED,
    BAD_TYPE,
    MARGIN_UNCHANGED,
    POSITION_MODE_UNCHANGED,
)
from chimera.adapters.binance.history import (
    INCOME_MAX,
    TRADES_MAX,
    Rows,
    closed_bars,
    income_since,
    trades_since,
)
from chimera.adapters.binance.hosts import Site
from chimera.adapters.binance.known import KnownOrders
from chimera.adapters.binance.rest import Rest, Security, understood
from chimera.adapters.binance.signing import Param
from chimera.contracts import ids
from chimera.contracts.enums import Market, OrderStatus, OrderType, TimeInForce
from chimera.domain.execution.orders import (
    Balance,
    Income,
    NewOrder,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from chimera.domain.market.instrument import Bracket, Instrument
from chimera.domain.market.quotes import Bar, BookTop, MarkPrice
from chimera.ports.clock import Clock
from chimera.ports.venue import OutcomeUnknown, Refused, UnknownOrder, VenueUnavailable

T = TypeVar("T")

DAY_MS = 86_400_000
WINDOW_MS = 7 * DAY_MS
"""Of one question about trades or income."""
TRADES_HISTORY_MS = 89 * DAY_MS
"""Of its three months (since 2026-08-26); asking for more is refused."""
INCOME_HISTORY_MS = 89 * DAY_MS
KLINES_MAX = 499
"""Most bars for the weight: 499 for 2, 1000 for 5, 1500 for 10."""
KLINES_WEIGHT = 2
BOOK_LEVELS = 5
LEVERAGE_HOLDS_MS = 60_000
"""How long a leverage that we did not set ourselves is believed, work time."""
CANCEL_LOOKUPS = 4
LOOKUP_LAG_MS = 1_500
"""Queries of the algo book say for up to this long what was before (measured 1.1 to 1.5 s)."""
ALGO_TERMS = frozenset({OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
PRICED = frozenset({OrderType.LIMIT, OrderType.LIMIT_MAKER, *ALGO_TERMS})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountModes:
    """What the start-up gate wants to know. We trade one-way and single-asset only."""

    hedge: bool
    multi_assets: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolConfig:
    symbol: str
    isolated: bool
    leverage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeRates:
    maker: Decimal
    taker: Decimal


ORDER_CALLS = OrderCalls(
    site=Site.FUTURES,
    market=Market.FUT,
    one_path="/fapi/v1/order",
    one_weight=1,
    many_path="/fapi/v1/allOrders",
    many_weight=5,
    read=parse.order_of,
)


class Futures(MarketCalls):
    def __init__(self, rest: Rest, known: KnownOrders) -> None:
        super().__init__(rest, known, ORDER_CALLS)
        self._clock: Clock = rest.clock
        self._leverages: dict[str, tuple[int, int]] = {}
        """Symbol to (leverage, when to ask again)."""
        self._intervals_h: dict[str, int] | None = None
        self._assets: dict[str, None] = {"USDT": None}
        """Assets that were reported: one that is gone is reported as nothing, not left out."""

    # --- the market, without a key

    async def exchange_info(self) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = await self._get("/fapi/v1/exchangeInfo", weight=1)
        self._rest.budget.learn_limits(Site.FUTURES, answer.get("rateLimits", ()))
        return answer

    async def instruments(self) -> Sequence[Instrument]:
        """USDT perpetuals. Without a key the leverage tiers are those of `parse_futures.cautious_brackets_of`."""
        info = await self.exchange_info()
        intervals = await self.funding_intervals_h(renew=True)
        tiers = await self.brackets() if self._rest.has_key(Site.FUTURES) else {}

        def read(rows: Any) -> list[Instrument]:
            found = (
                parse.instrument_of(
                    row,
                    tiers.get(row["symbol"]) or parse.cautious_brackets_of(row),
                    intervals.get(row["symbol"], parse.FUNDING_INTERVAL_H),
                )
                for row in rows["symbols"]
            )
            return [instrument for instrument in found if instrument is not None]

        return understood(read, info)

    async def brackets(self) -> Mapping[str, tuple[Bracket, ...]]:
        rows = await self._signed_get("/fapi/v1/leverageBracket", weight=1, priority=Priority.DATA)
        return understood(lambda rows: {row["symbol"]: parse.brackets_of(row) for row in rows}, rows)

    async def funding_intervals_h(self, *, renew: bool = False) -> Mapping[str, int]:
        """Hours between settlements, of the symbols whose interval was ever adjusted; 8 for all others."""
        if self._intervals_h is None or renew:
            # It has a limit of its own (500 in 5 minutes with fundingRate) and no weight.
            rows = await self._get("/fapi/v1/fundingInfo", weight=0)
            self._intervals_h = understood(
                lambda rows: {row["symbol"]: int(row["fundingIntervalHours"]) for row in rows}, rows
            )
        return self._intervals_h

    def interval_h(self, symbol: str) -> int:
        """As last asked for by `funding_intervals_h`."""
        return (self._intervals_h or {}).get(symbol, parse.FUNDING_INTERVAL_H)

    async def book(self, symbol: str) -> BookTop:
        depth = await self.depth(symbol, BOOK_LEVELS)
        last = await self.last_price(symbol)
        top = understood(lambda depth: parse.book_of(Market.FUT, symbol, depth, last, self._now_ms()), depth)
        if not top.bids or not top.asks:
            raise VenueUnavailable(f"FUT:{symbol} has no book now")
        return top

    async def last_price(self, symbol: str) -> Decimal:
        row = await self._get("/fapi/v1/ticker/price", {"symbol": symbol}, weight=1)
        return understood(lambda row: Decimal(row["price"]), row)

    async def depth(self, symbol: str, levels: int) -> Mapping[str, Any]:
        """The raw snapshot: `lastUpdateId`, `E`, `T`, `bids`, `asks`. `levels` is 5, 10, 20, 50, 100, 500 or 1000."""
        weight = next(cost for most, cost in ((50, 2), (100, 5), (500, 10), (1_000, 20)) if levels <= most)
        answer: Mapping[str, Any] = await self._get(
            "/fapi/v1/depth", {"symbol": symbol, "limit": levels}, weight=weight
        )
        return answer

    async def mark(self, symbol: str) -> MarkPrice:
        await self.funding_intervals_h()
        row = await self._get("/fapi/v1/premiumIndex", {"symbol": symbol}, weight=1)
        return understood(lambda row: parse.mark_of(row, self.interval_h(symbol)), row)

    async def klines(self, symbol: str, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        async def page(from_ms: int, to_ms: int) -> Sequence[Sequence[Any]]:
            rows: Sequence[Sequence[Any]] = await self._get(
                "/fapi/v1/klines",
                {"symbol": symbol, "interval": interval, "startTime": from_ms, "endTime": to_ms, "limit": KLINES_MAX},
                weight=KLINES_WEIGHT,
            )
            return rows

        return await closed_bars(
            page,
            Market.FUT,
            symbol,
            interval,
            start_ms=start_ms,
            end_ms=end_ms,
            now_ms=self._rest.clocks[Site.FUTURES].now_ms,
            page_max=KLINES_MAX,
        )

    # --- the account

    async def modes(self) -> AccountModes:
        dual = await self._signed_get("/fapi/v1/positionSide/dual", weight=30)
        multi = await self._signed_get("/fapi/v1/multiAssetsMargin", weight=30)
        return AccountModes(hedge=_truth(dual["dualSidePosition"]), multi_assets=_truth(multi["multiAssetsMargin"]))

    async def fee_burn(self) -> bool:
        """Whether fees are taken in BNB, at a discount, as long as the account has some."""
        answer = await self._signed_get("/fapi/v1/feeBurn", weight=30)
        return understood(lambda answer: _truth(answer["feeBurn"]), answer)

    async def set_one_way(self) -> None:
        """Already so is success."""
        await self._already_fine(
            "/fapi/v1/positionSide/dual", {"dualSidePosition": "false"}, fine=POSITION_MODE_UNCHANGED
        )

    async def set_single_asset(self) -> None:
        """Already so is success."""
        await self._already_fine(
            "/fapi/v1/multiAssetsMargin", {"multiAssetsMargin": "false"}, fine=ASSETS_MODE_UNCHANGED
        )

    async def account_config(self) -> Mapping[str, Any]:
        """The raw answer: `canTrade`, `dualSidePosition`, `multiAssetsMargin`, `feeTier`, …"""
        answer: Mapping[str, Any] = await self._signed_get("/fapi/v1/accountConfig", weight=5)
        return answer

    async def symbol_config(self, symbol: str | None = None) -> Sequence[SymbolConfig]:
        """Asked with the rank of stops: what a position is worth closing for depends on it."""
        rows = await self._signed_get(
            "/fapi/v1/symbolConfig",
            {} if symbol is None else {"symbol": symbol},
            weight=5,
            priority=Priority.PROTECTIVE,
        )

        def read(rows: Any) -> list[SymbolConfig]:
            return [
                SymbolConfig(
                    symbol=row["symbol"], isolated=row["marginType"] == "ISOLATED", leverage=int(row["leverage"])
                )
                for row in rows
            ]

        return understood(read, rows)

    async def fee_rates(self, symbol: str) -> FeeRates:
        row = await self._signed_get("/fapi/v1/commissionRate", {"symbol": symbol}, weight=20, priority=Priority.DATA)
        return understood(
            lambda row: FeeRates(maker=Decimal(row["makerCommissionRate"]), taker=Decimal(row["takerCommissionRate"])),
            row,
        )

    async def balances(self) -> Sequence[Balance]:
        """Assets with money, those that had some since we began, and USDT. What is free: `parse_futures.balance_of`.

        No stop needs them: polls that went on through a 429 would end in the ban under which no stop can be placed.
        """
        rows = await self._signed_get("/fapi/v3/balance", weight=5)
        there = {balance.asset: balance for balance in understood(_each(parse.balance_of), rows)}
        self._assets.update((asset, None) for asset, each in there.items() if each.free or each.locked)
        zero = Decimal(0)
        return [
            there.get(asset) or Balance(market=Market.FUT, asset=asset, free=zero, locked=zero)
            for asset in self._assets
        ]

    async def positions(self) -> Sequence[VenuePosition]:
        rows = await self._signed_get("/fapi/v3/positionRisk", weight=5, priority=Priority.PROTECTIVE)
        held = understood(lambda rows: [row for row in rows if Decimal(row["positionAmt"])], rows)
        leverages = {str(row["symbol"]): await self._leverage(row) for row in held}
        return understood(lambda held: [parse.position_of(row, leverages[row["symbol"]]) for row in held], held)

    async def income(self, since_ms: int) -> Sequence[Income]:
        """The ledger of the last three months at most: that is how long the exchange keeps it."""

        async def page(from_ms: int, to_ms: int, number: int) -> Rows:
            rows: Rows = await self._signed_get(
                "/fapi/v1/income",
                {"startTime": from_ms, "endTime": to_ms, "limit": INCOME_MAX, "page": number},
                weight=30,
                priority=Priority.DATA,
            )
            return rows

        now_ms = self._now_ms()
        rows = await income_since(
            page, since_ms=max(since_ms, now_ms - INCOME_HISTORY_MS), now_ms=now_ms, window_ms=WINDOW_MS
        )
        return understood(_each(parse.income_of), rows)

    async def fills(self, symbol: str, since_ms: int) -> Sequence[VenueFill]:
        """Our trades of the last three months at most. Whose they are is asked by order where we have not seen it."""

        async def between(from_ms: int, to_ms: int) -> Rows:
            return await self._trades({"symbol": symbol, "startTime": from_ms, "endTime": to_ms, "limit": TRADES_MAX})

        async def from_id(number: int) -> Rows:
            return await self._trades({"symbol": symbol, "fromId": number, "limit": TRADES_MAX})

        now_ms = self._now_ms()
        rows = await trades_since(
            between,
            from_id,
            since_ms=max(since_ms, now_ms - TRADES_HISTORY_MS),
            now_ms=now_ms,
            window_ms=WINDOW_MS,
        )
        names = await self._names_of(symbol, sorted({int(row["orderId"]) for row in rows}))
        return understood(lambda rows: [parse.fill_of(row, names[int(row["orderId"])]) for row in rows], rows)

    # --- orders

    async def place(self, order: NewOrder, priority: Priority) -> VenueOrder:
        conditional = order.conditional
        params: dict[str, Param] = {
            "symbol": order.symbol,
            "side": order.side.value,
            "type": _type_word(order),
        }
        size = size_of(order)
        if order.close_position:
            params["closePosition"] = True
        else:
            params |= size
            if order.reduce_only:
                params["reduceOnly"] = True
        if order.type in PRICED:
            assert order.price is not None, f"{order.client_order_id}: a {order.type} needs a price"
            params["price"] = order.price
            post_only = order.type is OrderType.LIMIT_MAKER
            params["timeInForce"] = (TimeInForce.GTX if post_only else order.time_in_force).value
        params |= self_trade_of(order)
        if conditional:
            params = {"algoType": "CONDITIONAL", **params, **_trigger_of(order), "clientAlgoId": order.client_order_id}
            path = "/fapi/v1/algoOrder"
        else:
            params |= {"newClientOrderId": order.client_order_id, "newOrderRespType": "RESULT"}
            path = "/fapi/v1/order"
        answer = await self._rest.call(
            Site.FUTURES,
            "POST",
            path,
            params,
            security=Security.SIGNED,
            weight=0,
            orders=1,
            priority=priority,
            changes=True,
        )
        read = parse.algo_order_of if conditional else parse.order_of
        return self._known.see(understood(read, answer, changes=True))

    async def cancel(self, symbol: str, client_order_id: str, *, conditional: bool) -> VenueOrder:
        """
        Raises:
            UnknownOrder: it is in neither book, or is being triggered just now.
        """
        if conditional:
            try:
                return await self._cancel_algo(symbol, client_order_id)
            except UnknownOrder:
                # What its trigger made may rest in the regular book.
                return await self._cancel_regular(symbol, client_order_id)
        return await self._cancel_regular(symbol, client_order_id)

    async def order(self, symbol: str, client_order_id: str, *, conditional: bool) -> VenueOrder:
        """Wherever it is; the likelier book is asked first.

        Raises:
            UnknownOrder: neither book knows it. May lag a placement by LOOKUP_LAG_MS.
        """
        if not conditional:
            try:
                return await self._named(symbol, client_order_id)
            except UnknownOrder as unknown:
                algo = await self._algo(client_order_id)
                if algo is None:
                    raise unknown from None
        else:
            algo = await self._algo(client_order_id) or await self._listed_algo(symbol, client_order_id)
        if algo is not None and not algo.triggered:
            return self._known.see(algo)
        try:
            made = await self._one(symbol, _made_by(algo, client_order_id))
        except UnknownOrder:
            if algo is None:
                raise
            # The regular book lags too: the trigger is told, what it made is not yet.
            return self._known.see(algo)
        return self._known.see(made if algo is None else parse.merged(algo, made))

    async def open_orders(self, symbol: str | None = None) -> Sequence[VenueOrder]:
        """Both books, each without its lag."""
        params, weight = of_symbol(symbol, 1, 40)
        rank = Priority.PROTECTIVE
        algo_rows = await self._signed_get("/fapi/v1/openAlgoOrders", params, weight=weight, priority=rank)
        rows = await self._signed_get("/fapi/v1/openOrders", params, weight=weight, priority=rank)
        algos = [self._known.see(algo) for algo in understood(_each(parse.algo_order_of), algo_rows)]
        orders = [self._known.see(order) for order in understood(_each(parse.order_of), rows)]
        # An order that was triggered between the two answers is in both: the regular one is the newer.
        regular = {(order.symbol, order.client_order_id) for order in orders}
        return *orders, *(algo for algo in algos if (algo.symbol, algo.client_order_id) not in regular)

    async def ensure_isolated(self, symbol: str, leverage: int) -> None:
        """Both are said each time: a person may have changed either. Already so is success."""
        await self._already_fine(
            "/fapi/v1/marginType", {"symbol": symbol, "marginType": "ISOLATED"}, fine=MARGIN_UNCHANGED
        )
        answer = await self._post("/fapi/v1/leverage", {"symbol": symbol, "leverage": leverage})
        if int(answer["leverage"]) != leverage:
            raise Refused(-4028, f"{symbol}: leverage {leverage} was asked for and is {answer['leverage']}")
        self._believe(symbol, leverage)

    async def cancel_all_after(self, symbol: str, countdown_ms: int) -> None:
        """Dead-man switch: regular orders of `symbol` are canceled unless this is called again in time. 0 stops it.

        Not documented whether it takes algo orders too.
        """
        await self._rest.call(
            Site.FUTURES,
            "POST",
            "/fapi/v1/countdownCancelAll",
            {"symbol": symbol, "countdownTime": countdown_ms},
            security=Security.SIGNED,
            weight=10,
            changes=True,
        )

    # --- the user stream's key

    async def listen_key(self) -> str:
        """A secret: who has it hears the account. Asked again while it lives, the same key comes back, renewed."""
        answer = await self._keyed("POST")
        return understood(lambda answer: str(answer["listenKey"]), answer)

    async def keep_listen_key(self, key: str) -> None:
        """The account has one at a time, so the call names none.

        Raises:
            Refused: -1125, it is gone and another one must be asked for.
        """
        await self._keyed("PUT")

    async def close_listen_key(self) -> None:
        await self._keyed("DELETE")

    # --- parts

    async def _named(self, symbol: str, client_order_id: str) -> VenueOrder:
        """From the regular book. The exchange knows some of its own orders by a name that is not theirs alone: these
        are asked for by the number that `ids.told_apart` has put into ours.

        Raises:
            UnknownOrder: the book does not know it.
        """
        number = ids.number_told(client_order_id)
        if number is not None:
            try:
                found = await self._one(symbol, {"orderId": number})
            except UnknownOrder:
                pass
            else:
                if found.client_order_id == client_order_id:
                    return found
        return await self._one(symbol, {"origClientOrderId": client_order_id})

    async def _cancel_algo(self, symbol: str, client_order_id: str) -> VenueOrder:
        await self._rest.call(
            Site.FUTURES,
            "DELETE",
            "/fapi/v1/algoOrder",
            {"clientAlgoId": client_order_id},
            security=Security.SIGNED,
            weight=1,
            priority=Priority.PROTECTIVE,
            changes=True,
        )
        # The answer names ids only, and the query says NEW or nothing for a second: what we know of it is true enough.
        known = self._known.get(Market.FUT, symbol, client_order_id)
        for attempt in range(CANCEL_LOOKUPS):
            if known is not None and known.conditional:
                break
            if attempt:
                lag_ms = self._clock.work_ms(LOOKUP_LAG_MS // (CANCEL_LOOKUPS - 1))
                await self._clock.sleep_until_ms(self._clock.now_ms() + lag_ms)
            known = await self._algo(client_order_id)
        else:
            raise OutcomeUnknown(
                f"FUT:{symbol} {client_order_id} was canceled, and cannot be found to say how it ended"
            )
        assert known is not None
        if known.status.is_final:
            return known
        return self._known.see(
            replace(
                known,
                status=OrderStatus.CANCELED,
                reason="USER",
                updated_at_ms=max(known.updated_at_ms, self._now_ms()),
            )
        )

    async def _cancel_regular(self, symbol: str, client_order_id: str) -> VenueOrder:
        answer = await self._rest.call(
            Site.FUTURES,
            "DELETE",
            "/fapi/v1/order",
            {"symbol": symbol, "origClientOrderId": client_order_id},
            security=Security.SIGNED,
            weight=1,
            priority=Priority.PROTECTIVE,
            changes=True,
        )
        known = self._known.get(Market.FUT, symbol, client_order_id)
        canceled = self._known.see(understood(parse.order_of, answer, changes=True))
        if known is None and canceled.filled_qty:
            return await self._or_as_it_is(canceled)
        return canceled

    async def _algo(self, client_order_id: str) -> VenueOrder | None:
        try:
            row = await self._signed_get(
                "/fapi/v1/algoOrder", {"clientAlgoId": client_order_id}, weight=1, priority=Priority.PROTECTIVE
            )
        except UnknownOrder:
            return None
        return understood(parse.algo_order_of, row)

    async def _listed_algo(self, symbol: str, client_order_id: str) -> VenueOrder | None:
        """From the list of open ones, which does not lag as the query does."""
        rows = await self._signed_get(
            "/fapi/v1/openAlgoOrders", {"symbol": symbol}, weight=1, priority=Priority.PROTECTIVE
        )
        listed = understood(_each(parse.algo_order_of), rows)
        return next((algo for algo in listed if algo.client_order_id == client_order_id), None)

    async def _trades(self, params: Mapping[str, Param]) -> Rows:
        rows: Rows = await self._signed_get("/fapi/v1/userTrades", params, weight=5, priority=Priority.PROTECTIVE)
        return rows

    async def _leverage(self, row: Mapping[str, Any]) -> int:
        """Of a position that is held: rather as last known, or as its margin shows, than no position at all.

        Raises:
            VenueUnavailable, Refused: it cannot be asked for, was never told, and shows nowhere.
        """
        symbol = str(row["symbol"])
        leverage, until_ms = self._leverages.get(symbol, (0, 0))
        if self._clock.now_ms() < until_ms:
            return leverage
        try:
            leverage = await self._told_leverage(symbol)
        except (VenueUnavailable, Refused) as error:
            leverage = leverage or parse.shown_leverage_of(row)
            if not leverage:
                raise
            log.warning("a leverage cannot be asked for", symbol=symbol, taken=leverage, why=str(error))
        self._believe(symbol, leverage)
        return leverage

    async def _told_leverage(self, symbol: str) -> int:
        for config in await self.symbol_config(symbol):
            if config.symbol == symbol:
                return config.leverage
        raise VenueUnavailable(f"the exchange does not say the leverage of {symbol}")

    def _believe(self, symbol: str, leverage: int) -> None:
        self._leverages[symbol] = leverage, self._clock.now_ms() + self._clock.work_ms(LEVERAGE_HOLDS_MS)

    async def _already_fine(self, path: str, params: Mapping[str, Param], *, fine: int) -> None:
        try:
            await self._post(path, params)
        except Refused as refusal:
            if refusal.code != fine:
                raise

    async def _post(self, path: str, params: Mapping[str, Param]) -> Any:
        return await self._rest.call(
            Site.FUTURES, "POST", path, params, security=Security.SIGNED, weight=1, changes=True
        )

    async def _keyed(self, method: str) -> Any:
        return await self._rest.call(
            Site.FUTURES,
            method,
            "/fapi/v1/listenKey",
            security=Security.KEY,
            weight=1,
            priority=Priority.PROTECTIVE,
        )


def _trigger_of(order: NewOrder) -> dict[str, Param]:
    params: dict[str, Param] = {"workingType": order.working_type.value}
    if order.callback_ratio is not None:
        # A trigger price beside it is refused (-2021).
        params["callbackRate"] = order.callback_ratio * 100
        if order.activate_price is not None:
            params["activatePrice"] = order.activate_price
    else:
        assert order.stop_price is not None, f"{order.client_order_id}: a {order.type} needs a stop price"
        params["triggerPrice"] = order.stop_price
    return params


def _type_word(order: NewOrder) -> str:
    try:
        return words.fut_type_word(order.type, trails=order.callback_ratio is not None)
    except ValueError as error:
        raise Refused(BAD_TYPE, str(error)) from None


def _made_by(algo: VenueOrder | None, client_order_id: str) -> dict[str, Param]:
    if algo is not None and algo.venue_order_id:
        return {"orderId": int(algo.venue_order_id)}
    return {"origClientOrderId": client_order_id}


def _each(parse_row: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    return lambda rows: [parse_row(row) for row in rows]


def _truth(told: Any) -> bool:
    return told is True or told == "true"


def of_symbol(symbol: str | None, one: int, every: int) -> tuple[dict[str, Param], int]:
    """Parameters and weight of a list that may be had of one symbol or of all."""
    return ({}, every) if symbol is None else ({"symbol": symbol}, one)
