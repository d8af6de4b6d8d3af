"""What spot shows to anybody: time, rules, books, bars, trades.

Not offered, and said so in the rules of each symbol: iceberg, trailing and pegged orders, amending, cancel-replace, and
order lists other than OCO. Source: the exchange's rest-api and filters pages, 2026-07; sizes as recorded of BTCUSDT.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import SelfTrade
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Level
from chimera.domain.matching import refusals
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Route, Site
from chimera.venue_server.floor import Floor
from chimera.venue_server.limits import FIVE_MINUTES_MS, MINUTE_MS
from chimera.venue_server.numbers import short
from chimera.venue_server.spot import reading
from chimera.venue_server.spot.account import limit_row
from chimera.venue_server.spot.words import eight
from chimera.venue_server.tape import LENGTH_MS, Candle

SPOT = Market.SPOT
DEPTH_DEFAULT = 100
DEPTH_MAX = 5_000
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1_000, 50), (DEPTH_MAX, 250))
AVERAGE_MINUTES = 5
RAW_REQUESTS = 300_000
MAX_PRICE = Decimal(1_000_000)
MAX_NOTIONAL = Decimal(9_000_000)
ORDER_TYPES = [
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
]


def market_routes(floor: Floor) -> list[Route]:
    market = SpotMarket(floor)
    spot = Site.SPOT

    def two_or_four(call: Call) -> int:
        return 2 if call.maybe("symbol") else 4

    return [
        Route(method="GET", path="/api/v3/ping", handler=market.ping, name="ping", site=spot),
        Route(method="GET", path="/api/v3/time", handler=market.time, name="time", site=spot),
        Route(
            method="GET", path="/api/v3/exchangeInfo", handler=market.rules, name="exchangeInfo", site=spot, weight=20
        ),
        Route(method="GET", path="/api/v3/depth", handler=market.depth, name="depth", site=spot, weight=depth_weight),
        Route(method="GET", path="/api/v3/klines", handler=market.klines, name="klines", site=spot, weight=2),
        Route(method="GET", path="/api/v3/uiKlines", handler=market.klines, name="klines", site=spot, weight=2),
        Route(method="GET", path="/api/v3/avgPrice", handler=market.average, name="avgPrice", site=spot, weight=2),
        Route(
            method="GET",
            path="/api/v3/ticker/bookTicker",
            handler=market.book_ticker,
            name="ticker.book",
            site=spot,
            weight=two_or_four,
        ),
        Route(
            method="GET",
            path="/api/v3/ticker/price",
            handler=market.price_ticker,
            name="ticker.price",
            site=spot,
            weight=two_or_four,
        ),
        Route(
            method="GET",
            path="/api/v3/ticker/24hr",
            handler=market.day_ticker,
            name="ticker.day",
            site=spot,
            weight=lambda call: 2 if call.maybe("symbol") or call.maybe("symbols") else 80,
        ),
        Route(method="GET", path="/api/v3/aggTrades", handler=market.agg_trades, name="aggTrades", site=spot, weight=4),
        Route(method="GET", path="/api/v3/trades", handler=market.trades, name="trades", site=spot, weight=25),
        Route(
            method="GET", path="/api/v3/historicalTrades", handler=market.trades, name="trades", site=spot, weight=25
        ),
    ]


def depth_weight(call: Call) -> int:
    limit = reading.limit_of(call, DEPTH_DEFAULT, DEPTH_MAX)
    return next(weight for largest, weight in DEPTH_WEIGHTS if limit <= largest)


class SpotMarket:
    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def ping(self, call: Call) -> Any:
        return {}

    def time(self, call: Call) -> Any:
        return {"serverTime": self._floor.now_ms()}

    def rules(self, call: Call) -> Any:
        limits = self._floor.limits
        weight, _ = limits.weight_used(call.address, Site.SPOT, self._floor.real_ms())
        return {
            "timezone": "UTC",
            "serverTime": self._floor.now_ms(),
            "rateLimits": [
                limit_row("REQUEST_WEIGHT", MINUTE_MS, weight),
                *(
                    limit_row("ORDERS", length_ms, limit)
                    for length_ms, limit, _ in limits.orders_used(Site.SPOT, self._floor.real_ms())
                ),
                limit_row("RAW_REQUESTS", FIVE_MINUTES_MS, RAW_REQUESTS),
            ],
            "exchangeFilters": [],
            "symbols": [self._symbol(instrument, call) for instrument in self._asked(call)],
            "sors": [],
        }

    def depth(self, call: Call) -> Any:
        book = self._floor.book(SPOT, call.text("symbol"))
        limit = reading.limit_of(call, DEPTH_DEFAULT, DEPTH_MAX)
        depth = self._floor.depth.behind(book, limit)
        return {
            "lastUpdateId": depth.last_update_id,
            "bids": _levels(depth.bids),
            "asks": _levels(depth.asks),
        }

    def klines(self, call: Call) -> Any:
        symbol, interval = call.text("symbol"), call.text("interval")
        key = self._floor.instrument(SPOT, symbol).key
        if interval not in LENGTH_MS:
            raise Refusal(-1120, "Invalid interval.")
        candles = self._floor.tape.candles(
            key,
            interval,
            start_ms=call.maybe_whole("startTime"),
            end_ms=call.maybe_whole("endTime"),
            limit=reading.limit_of(call),
            now_ms=self._floor.clock.now_ms(),
        )
        return [_kline(candle) for candle in candles]

    def average(self, call: Call) -> Any:
        book = self._floor.book(SPOT, call.text("symbol"))
        candles = self._floor.tape.candles(
            book.key,
            "1m",
            start_ms=None,
            end_ms=None,
            limit=AVERAGE_MINUTES,
            now_ms=self._floor.clock.now_ms(),
        )
        volume = sum(candle.volume for candle in candles)
        worth = sum(candle.quote_volume for candle in candles)
        price = f"{worth / volume:.8f}" if volume else eight(book.last)
        return {"mins": AVERAGE_MINUTES, "price": price, "closeTime": book.ts}

    def book_ticker(self, call: Call) -> Any:
        return self._one_or_all(call, self._book_row)

    def price_ticker(self, call: Call) -> Any:
        return self._one_or_all(call, self._price_row)

    def day_ticker(self, call: Call) -> Any:
        return self._one_or_all(call, self._day_row)

    def agg_trades(self, call: Call) -> Any:
        key = self._floor.instrument(SPOT, call.text("symbol")).key
        from_id, start_ms, end_ms = (call.maybe_whole(name) for name in ("fromId", "startTime", "endTime"))
        rows = [
            trade
            for trade in self._floor.tape.trades(key)
            if (from_id is None or trade.trade_id >= from_id)
            and (start_ms is None or trade.ts >= start_ms)
            and (end_ms is None or trade.ts <= end_ms)
        ]
        from_first = from_id is not None or start_ms is not None
        return [
            {
                "a": trade.trade_id,
                "p": eight(trade.price),
                "q": eight(trade.qty),
                "f": trade.trade_id,
                "l": trade.trade_id,
                "T": trade.ts,
                "m": trade.buyer_is_maker,
                "M": True,
            }
            for trade in reading.page(rows, reading.limit_of(call), from_first=from_first)
        ]

    def trades(self, call: Call) -> Any:
        key = self._floor.instrument(SPOT, call.text("symbol")).key
        from_id = call.maybe_whole("fromId")
        rows = [trade for trade in self._floor.tape.trades(key) if from_id is None or trade.trade_id >= from_id]
        return [
            {
                "id": trade.trade_id,
                "price": eight(trade.price),
                "qty": eight(trade.qty),
                "quoteQty": eight(trade.price * trade.qty),
                "time": trade.ts,
                "isBuyerMaker": trade.buyer_is_maker,
                "isBestMatch": True,
            }
            for trade in reading.page(rows, reading.limit_of(call), from_first=from_id is not None)
        ]

    # --- inside

    def _asked(self, call: Call) -> tuple[Instrument, ...]:
        """
        Raises:
            Refusal: -1121 for an unknown symbol, -1128 for parameters that exclude each other.
        """
        symbols, permissions = call.maybe("symbols"), call.maybe("permissions")
        if call.maybe("symbol") is not None:
            if symbols is not None or permissions is not None:
                raise Refusal(-1128, "Combination of optional parameters invalid.")
            return (self._floor.instrument(SPOT, call.text("symbol")),)
        if symbols is not None:
            if permissions is not None:
                raise Refusal(-1128, "Combination of optional parameters invalid.")
            return tuple(self._floor.instrument(SPOT, symbol) for symbol in _names(symbols, "symbols"))
        offered = self._floor.instruments(SPOT)
        if permissions is not None and "SPOT" not in _names(permissions, "permissions"):
            return ()
        status = call.maybe("symbolStatus")
        return tuple(instrument for instrument in offered if status is None or instrument.status == status)

    def _symbol(self, instrument: Instrument, call: Call) -> dict[str, Any]:
        return {
            "symbol": instrument.symbol,
            "status": instrument.status,
            "baseAsset": instrument.base_asset,
            "baseAssetPrecision": 8,
            "quoteAsset": instrument.quote_asset,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": ORDER_TYPES,
            "icebergAllowed": False,
            "ocoAllowed": True,
            "otoAllowed": False,
            "opoAllowed": False,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": False,
            "cancelReplaceAllowed": False,
            "amendAllowed": False,
            "pegInstructionsAllowed": False,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": self._filters(instrument),
            "permissions": [],
            "permissionSets": [["SPOT"]] if call.flag("showPermissionSets", default=True) else [],
            "defaultSelfTradePreventionMode": SelfTrade.EXPIRE_MAKER.value,
            "allowedSelfTradePreventionModes": [mode.value for mode in SelfTrade],
        }

    def _filters(self, instrument: Instrument) -> list[dict[str, Any]]:
        rules = self._floor.host.rules
        return [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": eight(instrument.tick_size),
                "maxPrice": eight(MAX_PRICE),
                "tickSize": eight(instrument.tick_size),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": eight(instrument.min_qty),
                "maxQty": eight(instrument.max_qty),
                "stepSize": eight(instrument.step_size),
            },
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": eight(Decimal(0)),
                "maxQty": eight(instrument.market_max_qty),
                "stepSize": eight(instrument.market_step),
            },
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": short(instrument.percent_up),
                "bidMultiplierDown": short(instrument.percent_down),
                "askMultiplierUp": short(instrument.percent_up),
                "askMultiplierDown": short(instrument.percent_down),
                "avgPriceMins": 0,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": eight(instrument.min_notional),
                "applyMinToMarket": True,
                "maxNotional": eight(MAX_NOTIONAL),
                "applyMaxToMarket": False,
                "avgPriceMins": 0,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": rules.open_orders_max},
            {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": rules.spot_lists_max},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": rules.spot_stops_max},
        ]

    def _one_or_all(self, call: Call, row: Callable[[str], dict[str, Any]]) -> Any:
        symbol, symbols = call.maybe("symbol"), call.maybe("symbols")
        if symbol is not None and symbols is not None:
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        if symbol is not None:
            return row(symbol)
        if symbols is not None:
            return [row(name) for name in _names(symbols, "symbols")]
        shown = self._floor.host.books
        return [row(each.symbol) for each in self._floor.instruments(SPOT) if each.key in shown]

    def _book_row(self, symbol: str) -> dict[str, Any]:
        book = self._floor.book(SPOT, symbol)
        return {
            "symbol": symbol,
            "bidPrice": eight(book.bid),
            "bidQty": eight(book.bids[0][1]),
            "askPrice": eight(book.ask),
            "askQty": eight(book.asks[0][1]),
        }

    def _price_row(self, symbol: str) -> dict[str, Any]:
        return {"symbol": symbol, "price": eight(self._floor.book(SPOT, symbol).last)}

    def _day_row(self, symbol: str) -> dict[str, Any]:
        """The last 24 h in whole hours and the running one."""
        book = self._floor.book(SPOT, symbol)
        key = InstrumentKey(SPOT, symbol)
        hours = self._floor.tape.candles(
            key, "1h", start_ms=None, end_ms=None, limit=24, now_ms=self._floor.clock.now_ms()
        )
        trades = self._floor.tape.trades(key)
        volume, worth = sum(hour.volume for hour in hours), sum(hour.quote_volume for hour in hours)
        first, last = hours[0].open, float(book.last)
        return {
            "symbol": symbol,
            "priceChange": f"{last - first:.8f}",
            "priceChangePercent": f"{(last / first - 1) * 100:.3f}",
            "weightedAvgPrice": f"{worth / volume if volume else last:.8f}",
            "prevClosePrice": f"{first:.8f}",
            "lastPrice": eight(book.last),
            "lastQty": eight(trades[-1].qty),
            "bidPrice": eight(book.bid),
            "bidQty": eight(book.bids[0][1]),
            "askPrice": eight(book.ask),
            "askQty": eight(book.asks[0][1]),
            "openPrice": f"{first:.8f}",
            "highPrice": f"{max(hour.high for hour in hours):.8f}",
            "lowPrice": f"{min(hour.low for hour in hours):.8f}",
            "volume": f"{volume:.8f}",
            "quoteVolume": f"{worth:.8f}",
            "openTime": hours[0].open_ms,
            "closeTime": self._floor.now_ms(),
            "firstId": trades[0].trade_id,
            "lastId": trades[-1].trade_id,
            "count": len(trades),
        }


def _kline(candle: Candle) -> list[Any]:
    """Twelve places; what takers bought is not known and said to be half."""
    return [
        candle.open_ms,
        f"{candle.open:.8f}",
        f"{candle.high:.8f}",
        f"{candle.low:.8f}",
        f"{candle.close:.8f}",
        f"{candle.volume:.8f}",
        candle.close_ms,
        f"{candle.quote_volume:.8f}",
        candle.trades,
        f"{candle.volume / 2:.8f}",
        f"{candle.quote_volume / 2:.8f}",
        "0",
    ]


def _levels(levels: tuple[Level, ...]) -> list[list[str]]:
    return [[eight(price), eight(qty)] for price, qty in levels]


def _names(text: str, parameter: str) -> list[str]:
    """One word, or a JSON list of them.

    Raises:
        Refusal: -1100 or -1135, it is neither.
    """
    if not text.startswith("["):
        if not text.isalnum():
            raise refusals.bad_parameter(parameter)
        return [text]
    try:
        names = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refusal(-1135, f"JSON sent for parameter '{parameter}' is not valid") from None
    if not all(isinstance(name, str) for name in names):
        raise refusals.bad_parameter(parameter)
    return list(names)
