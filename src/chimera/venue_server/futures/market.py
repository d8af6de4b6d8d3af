"""What futures show to anybody: time, rules, books, bars, marks and funding.

Choices where the exchange has more: the index is the last spot price of the symbol where spot is listed and the mark
elsewhere; bars of the mark are those of the contract; every symbol is in fundingInfo.
"""

from collections.abc import Callable, Sequence
from typing import Any

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.generator import FundingRate
from chimera.domain.market.instrument import Instrument
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Route, Site, Weight
from chimera.venue_server.floor import Floor
from chimera.venue_server.futures.prints import Prints
from chimera.venue_server.futures.reading import one_or_all, page_size
from chimera.venue_server.futures.words import Print, bare
from chimera.venue_server.tape import DAY_MS, HOUR_MS, LENGTH_MS, Candle

FUNDING_POOL = "funding"
DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
DEPTH_DEFAULT = 500
KLINES_DEFAULT = 500
KLINES_MAX = 1_500
TRADES_DEFAULT = 500
TRADES_MAX = 1_000
FUNDINGS_DEFAULT = 100
FUNDINGS_MAX = 1_000
HISTORY_MS = 45 * DAY_MS
"""How far back funding is told when no start is given."""

INTEREST_RATE = "0.00010000"
FUNDING_RATE_CAP = "0.02000000"
FOREVER_MS = 4_133_404_800_000
ONBOARD_MS = 1_569_398_400_000
PRICE_TICKS_MAX = 10_000_000

ORDER_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
TIMES_IN_FORCE = ["GTC", "IOC", "FOK", "GTX"]
"""GTD and RPI are not offered."""


def klines_weight(call: Call) -> int:
    limit = _limit_or(call, KLINES_DEFAULT)
    if limit < 100:
        return 1
    if limit < 500:
        return 2
    return 5 if limit <= 1_000 else 10


def depth_weight(call: Call) -> int:
    return DEPTH_WEIGHTS.get(_limit_or(call, DEPTH_DEFAULT), 20)


def _limit_or(call: Call, default: int) -> int:
    text = call.params.get("limit", "")
    return int(text) if text.isascii() and text.isdigit() else default


def market_routes(floor: Floor, prints: Prints) -> list[Route]:
    market = FuturesMarket(floor, prints)

    def get(path: str, handler: Callable[[Call], Any], name: str, weight: Weight = 1, pool: str = "") -> Route:
        return Route(method="GET", path=path, handler=handler, name=name, site=Site.FUTURES, weight=weight, pool=pool)

    return [
        get("/fapi/v1/ping", market.ping, "ping"),
        get("/fapi/v1/time", market.time, "time"),
        get("/fapi/v1/exchangeInfo", market.exchange_info, "exchangeInfo"),
        get("/fapi/v1/depth", market.depth, "depth", depth_weight),
        get("/fapi/v1/klines", market.klines, "klines", klines_weight),
        get("/fapi/v1/markPriceKlines", market.mark_klines, "markPriceKlines", klines_weight),
        get("/fapi/v1/premiumIndex", market.premium_index, "premiumIndex", one_or_all(1, 10)),
        get("/fapi/v1/fundingRate", market.funding_rate, "fundingRate", 0, FUNDING_POOL),
        get("/fapi/v1/fundingInfo", market.funding_info, "fundingInfo", 0, FUNDING_POOL),
        get("/fapi/v1/ticker/bookTicker", market.book_ticker, "bookTicker", one_or_all(2, 5)),
        get("/fapi/v1/ticker/price", market.price, "ticker.price", one_or_all(1, 2)),
        get("/fapi/v2/ticker/price", market.price, "ticker.price", one_or_all(1, 2)),
        get("/fapi/v1/ticker/24hr", market.day, "ticker.24hr", one_or_all(1, 40)),
        get("/fapi/v1/aggTrades", market.agg_trades, "aggTrades", 20),
        get("/fapi/v1/trades", market.trades, "trades", 5),
    ]


class FuturesMarket:
    def __init__(self, floor: Floor, prints: Prints) -> None:
        self._floor = floor
        self._prints = prints
        self._fundings: dict[str, list[FundingRate]] = {}
        self._funded_ms: dict[str, tuple[int, int]] = {}

    def ping(self, call: Call) -> Any:
        return {}

    def time(self, call: Call) -> Any:
        return {"serverTime": self._floor.now_ms()}

    def exchange_info(self, call: Call) -> Any:
        rules = self._floor.limits.rules
        scale = rules.scale
        instruments = self._floor.instruments(Market.FUT)
        assets = dict.fromkeys(instrument.quote_asset for instrument in instruments)
        return {
            "timezone": "UTC",
            "serverTime": self._floor.now_ms(),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, rules.futures_weight * scale),
                _rate_limit("ORDERS", "MINUTE", 1, rules.futures_orders_minute * scale),
                _rate_limit("ORDERS", "SECOND", 10, rules.futures_orders_10s * scale),
            ],
            "exchangeFilters": [],
            "assets": [{"asset": asset, "marginAvailable": True, "autoAssetExchange": "-10000"} for asset in assets],
            "symbols": [self._symbol(instrument) for instrument in instruments],
        }

    def depth(self, call: Call) -> Any:
        symbol = call.text("symbol")
        out = self._prints.of(symbol)
        limit = call.whole("limit", DEPTH_DEFAULT)
        if limit not in DEPTH_WEIGHTS:
            raise Refusal(-4021, f"'{limit}' is not valid depth limit.")
        depth = self._floor.depth.behind(self._floor.book(Market.FUT, symbol), limit)
        return {
            "lastUpdateId": depth.last_update_id,
            "E": self._floor.now_ms(),
            "T": depth.last_update_id,
            "bids": [[out.price(price), out.qty(qty)] for price, qty in depth.bids],
            "asks": [[out.price(price), out.qty(qty)] for price, qty in depth.asks],
        }

    def klines(self, call: Call) -> Any:
        symbol = call.text("symbol")
        out = self._prints.of(symbol)
        return [
            [
                candle.open_ms,
                out.rate(candle.open),
                out.rate(candle.high),
                out.rate(candle.low),
                out.rate(candle.close),
                out.volume(candle.volume),
                candle.close_ms,
                out.turnover(candle.quote_volume),
                candle.trades,
                out.volume(candle.volume / 2),
                out.turnover(candle.quote_volume / 2),
                "0",
            ]
            for candle in self._candles(call, symbol)
        ]

    def mark_klines(self, call: Call) -> Any:
        symbol = call.text("symbol")
        self._prints.of(symbol)
        return [
            [
                candle.open_ms,
                f"{candle.open:.8f}",
                f"{candle.high:.8f}",
                f"{candle.low:.8f}",
                f"{candle.close:.8f}",
                "0",
                candle.close_ms,
                "0",
                candle.trades,
                "0",
                "0",
                "0",
            ]
            for candle in self._candles(call, symbol)
        ]

    def premium_index(self, call: Call) -> Any:
        return self._one_or_all(call, self._premium)

    def funding_rate(self, call: Call) -> Any:
        limit = page_size(call, FUNDINGS_DEFAULT, FUNDINGS_MAX)
        now_ms = self._floor.clock.now_ms()
        start_ms, end_ms = call.maybe_whole("startTime"), call.maybe_whole("endTime")
        until_ms = now_ms if end_ms is None else min(end_ms, now_ms)
        from_ms = until_ms - HISTORY_MS if start_ms is None else start_ms
        symbol = call.maybe("symbol")
        symbols = [symbol] if symbol else [each.symbol for each in self._floor.instruments(Market.FUT)]
        rates = [rate for each in symbols for rate in self._settled(each, from_ms, until_ms)]
        rates.sort(key=lambda rate: rate.ts)
        rates = rates[-limit:] if start_ms is None else rates[:limit]
        return [
            {
                "symbol": rate.symbol,
                "fundingTime": rate.ts,
                "fundingRate": f"{rate.rate:.8f}",
                "markPrice": self._mark_at(rate.symbol, rate.ts),
                "rateType": "Regular",
            }
            for rate in rates
        ]

    def funding_info(self, call: Call) -> Any:
        return [
            {
                "symbol": instrument.symbol,
                "adjustedFundingRateCap": FUNDING_RATE_CAP,
                "adjustedFundingRateFloor": f"-{FUNDING_RATE_CAP}",
                "fundingIntervalHours": instrument.funding_interval_h,
                "disclaimer": False,
            }
            for instrument in self._floor.instruments(Market.FUT)
        ]

    def book_ticker(self, call: Call) -> Any:
        return self._one_or_all(call, self._book_ticker)

    def price(self, call: Call) -> Any:
        return self._one_or_all(call, self._price)

    def day(self, call: Call) -> Any:
        return self._one_or_all(call, self._day)

    def agg_trades(self, call: Call) -> Any:
        symbol = call.text("symbol")
        out = self._prints.of(symbol)
        limit = page_size(call, TRADES_DEFAULT, TRADES_MAX)
        from_id = call.maybe_whole("fromId")
        start_ms, end_ms = call.maybe_whole("startTime"), call.maybe_whole("endTime")
        if start_ms is not None and end_ms is not None and not 0 <= end_ms - start_ms <= HOUR_MS:
            raise Refusal(-1127, "More than 1 hours between startTime and endTime.")
        found = [
            trade
            for trade in self._floor.tape.trades(InstrumentKey(Market.FUT, symbol))
            if (from_id is None or trade.trade_id >= from_id)
            and (start_ms is None or trade.ts >= start_ms)
            and (end_ms is None or trade.ts <= end_ms)
        ]
        forwards = from_id is not None or start_ms is not None
        return [
            {
                "a": trade.trade_id,
                "p": out.price(trade.price),
                "q": out.qty(trade.qty),
                "nq": out.qty(trade.qty),
                "f": trade.trade_id,
                "l": trade.trade_id,
                "T": trade.ts,
                "m": trade.buyer_is_maker,
            }
            for trade in (found[:limit] if forwards else found[-limit:])
        ]

    def trades(self, call: Call) -> Any:
        symbol = call.text("symbol")
        out = self._prints.of(symbol)
        limit = page_size(call, TRADES_DEFAULT, TRADES_MAX)
        return [
            {
                "id": trade.trade_id,
                "price": out.price(trade.price),
                "qty": out.qty(trade.qty),
                "quoteQty": out.quote(trade.price * trade.qty),
                "time": trade.ts,
                "isBuyerMaker": trade.buyer_is_maker,
                "isRPITrade": False,
            }
            for trade in list(self._floor.tape.trades(InstrumentKey(Market.FUT, symbol)))[-limit:]
        ]

    # --- inside

    def _one_or_all(self, call: Call, words: Callable[[str, Print], dict[str, Any]]) -> Any:
        symbol = call.maybe("symbol")
        if symbol is not None:
            return words(symbol, self._prints.of(symbol))
        shown = self._floor.host.books
        return [
            words(instrument.symbol, self._prints.of(instrument.symbol))
            for instrument in self._floor.instruments(Market.FUT)
            if instrument.key in shown
        ]

    def _candles(self, call: Call, symbol: str) -> Sequence[Candle]:
        interval = call.text("interval")
        if interval not in LENGTH_MS:
            raise Refusal(-1120, "Invalid interval.")
        start_ms, end_ms = call.maybe_whole("startTime"), call.maybe_whole("endTime")
        if start_ms is not None and end_ms is not None and start_ms > end_ms:
            raise Refusal(-1023, "Start time is greater than end time.")
        return self._floor.tape.candles(
            InstrumentKey(Market.FUT, symbol),
            interval,
            start_ms=start_ms,
            end_ms=end_ms,
            limit=page_size(call, KLINES_DEFAULT, KLINES_MAX),
            now_ms=self._floor.clock.now_ms(),
        )

    def _premium(self, symbol: str, out: Print) -> dict[str, Any]:
        mark = self._floor.mark(symbol)
        spot = self._floor.host.books.get(InstrumentKey(Market.SPOT, symbol))
        index = f"{spot.last if spot is not None else mark.mark:.8f}"
        return {
            "symbol": symbol,
            "markPrice": f"{mark.mark:.8f}",
            "indexPrice": index,
            "estimatedSettlePrice": index,
            "lastFundingRate": f"{mark.funding_rate:.8f}",
            "interestRate": INTEREST_RATE,
            "nextFundingTime": mark.funding_time,
            "time": mark.ts,
        }

    def _book_ticker(self, symbol: str, out: Print) -> dict[str, Any]:
        book = self._floor.book(Market.FUT, symbol)
        return {
            "symbol": symbol,
            "bidPrice": out.price(book.bid),
            "bidQty": out.qty(book.bids[0][1]),
            "askPrice": out.price(book.ask),
            "askQty": out.qty(book.asks[0][1]),
            "time": book.ts,
        }

    def _price(self, symbol: str, out: Print) -> dict[str, Any]:
        book = self._floor.book(Market.FUT, symbol)
        return {"symbol": symbol, "price": out.price(book.last), "time": book.ts}

    def _day(self, symbol: str, out: Print) -> dict[str, Any]:
        book = self._floor.book(Market.FUT, symbol)
        key = InstrumentKey(Market.FUT, symbol)
        now_ms = self._floor.clock.now_ms()
        hours = self._floor.tape.candles(key, "1h", start_ms=None, end_ms=None, limit=24, now_ms=now_ms)
        trades = self._floor.tape.trades(key)
        first, last = hours[0].open, float(book.last)
        volume = sum(hour.volume for hour in hours)
        turnover = sum(hour.quote_volume for hour in hours)
        return {
            "symbol": symbol,
            "priceChange": out.rate(last - first),
            "priceChangePercent": f"{(last / first - 1) * 100:.3f}",
            "weightedAvgPrice": out.rate(turnover / volume if volume else last),
            "lastPrice": out.price(book.last),
            "lastQty": out.qty(trades[-1].qty),
            "openPrice": out.rate(first),
            "highPrice": out.rate(max(hour.high for hour in hours)),
            "lowPrice": out.rate(min(hour.low for hour in hours)),
            "volume": out.volume(volume),
            "quoteVolume": f"{turnover:.2f}",
            "openTime": hours[0].open_ms,
            "closeTime": now_ms,
            "firstId": max(0, trades[-1].trade_id - sum(hour.trades for hour in hours) + 1),
            "lastId": trades[-1].trade_id,
            "count": sum(hour.trades for hour in hours),
        }

    def _settled(self, symbol: str, from_ms: int, until_ms: int) -> list[FundingRate]:
        """Settlements within both, ends included. Days that were asked for are kept: making one again costs a walk."""
        self._floor.instrument(Market.FUT, symbol)
        known_from_ms, known_until_ms = self._funded_ms.get(symbol, (until_ms + 1, until_ms))
        feed, kept = self._floor.host.feed, self._fundings.setdefault(symbol, [])
        if from_ms < known_from_ms:
            kept[:0] = feed.fundings(symbol, from_ms, known_from_ms)
            known_from_ms = from_ms
        if until_ms > known_until_ms:
            kept += feed.fundings(symbol, known_until_ms + 1, until_ms + 1)
            known_until_ms = until_ms
        self._funded_ms[symbol] = known_from_ms, known_until_ms
        return [rate for rate in kept if from_ms <= rate.ts <= until_ms]

    def _mark_at(self, symbol: str, ts: int) -> str:
        key = InstrumentKey(Market.FUT, symbol)
        before = self._floor.host.feed.klines(key, "1h", ts - HOUR_MS, ts)
        return f"{before[-1].close:.8f}" if before else ""

    def _symbol(self, instrument: Instrument) -> dict[str, Any]:
        out = self._prints.of(instrument.symbol)
        tick, step = instrument.tick_size, instrument.step_size
        return {
            "symbol": instrument.symbol,
            "pair": instrument.symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": FOREVER_MS,
            "onboardDate": ONBOARD_MS,
            "status": instrument.status,
            "maintMarginPercent": "2.5000",
            "requiredMarginPercent": "5.0000",
            "baseAsset": instrument.base_asset,
            "quoteAsset": instrument.quote_asset,
            "marginAsset": instrument.quote_asset,
            "pricePrecision": out.price_places,
            "quantityPrecision": out.qty_places,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "underlyingSubType": [],
            "triggerProtect": "0.0500",
            "liquidationFee": f"{instrument.liquidation_fee_ratio:.6f}",
            "marketTakeBound": format(self._floor.host.rules.market_take_bound, "f"),
            "maxMoveOrderLimit": 10_000,
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": out.price(tick),
                    "maxPrice": bare(tick * PRICE_TICKS_MAX),
                    "tickSize": out.price(tick),
                },
                {
                    "filterType": "LOT_SIZE",
                    "minQty": bare(instrument.min_qty),
                    "maxQty": bare(instrument.max_qty),
                    "stepSize": out.qty(step),
                },
                {
                    "filterType": "MARKET_LOT_SIZE",
                    "minQty": bare(instrument.min_qty),
                    "maxQty": bare(instrument.market_max_qty),
                    "stepSize": bare(instrument.market_step),
                },
                {"filterType": "MAX_NUM_ORDERS", "limit": self._floor.host.rules.open_orders_max},
                {"filterType": "MIN_NOTIONAL", "notional": bare(instrument.min_notional)},
                {
                    "filterType": "PERCENT_PRICE",
                    "multiplierUp": f"{instrument.percent_up:.4f}",
                    "multiplierDown": f"{instrument.percent_down:.4f}",
                    "multiplierDecimal": "4",
                },
                {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
            ],
            "orderTypes": ORDER_TYPES,
            "timeInForce": TIMES_IN_FORCE,
            "permissionSets": ["GRID", "COPY", "DCA", "PSB"],
        }


def _rate_limit(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}
