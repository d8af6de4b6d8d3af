"""The futures account over REST: money, positions, the ledger, trades, and the settings of account and symbols.

Choices where the exchange has more: margin is isolated, so nothing of a position counts as cross; a break-even price
adds the fee of opening; auto-add-margin, fee discounts and trading rules are off.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chimera.contracts.enums import Market, OrderType, Side
from chimera.domain.execution.orders import Balance, BalancesChanged, Income, IncomeKind, PositionChanged, VenuePosition
from chimera.domain.market.instrument import Instrument
from chimera.domain.matching import refusals
from chimera.domain.matching.margin import initial_margin, maintenance_margin, notional_max
from chimera.domain.matching.money import ZERO, average
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Route, Security
from chimera.venue_server.floor import Floor
from chimera.venue_server.futures import reading
from chimera.venue_server.futures.listen_keys import ListenKeys
from chimera.venue_server.futures.prints import Prints
from chimera.venue_server.futures.reading import one_or_all, route
from chimera.venue_server.futures.words import bare, bare_money, money

FUT = Market.FUT
ALIAS = "SgsRuXqX"
MARGIN_TYPES = {"ISOLATED": True, "CROSSED": False}
ADD, REDUCE = 1, 2
INCOMES_DEFAULT = 100
MONTH_MS = 30 * reading.DAY_MS
SUCCESS = {"code": 200, "msg": "success"}


def account_routes(floor: Floor, prints: Prints, listen_keys: ListenKeys) -> list[Route]:
    account = FuturesAccount(floor, prints)
    settings = FuturesSettings(floor, prints)
    streams = FuturesStreams(floor, listen_keys)
    trade, key = Security.TRADE, Security.KEY
    return [
        route("GET", "/fapi/v2/account", account.account_v2, "account", 5),
        route("GET", "/fapi/v3/account", account.account_v3, "account", 5),
        route("GET", "/fapi/v2/balance", account.balance, "balance", 5),
        route("GET", "/fapi/v3/balance", account.balance, "balance", 5),
        route("GET", "/fapi/v2/positionRisk", account.positions_v2, "positionRisk", 5),
        route("GET", "/fapi/v3/positionRisk", account.positions_v3, "positionRisk", 5),
        route("GET", "/fapi/v1/income", account.income, "income", 30),
        route("GET", "/fapi/v1/userTrades", account.trades, "userTrades", 5),
        route("GET", "/fapi/v1/commissionRate", account.commission_rate, "commissionRate", 20),
        route("GET", "/fapi/v1/apiTradingStatus", account.trading_status, "apiTradingStatus", one_or_all(1, 10)),
        route("GET", "/fapi/v1/rateLimit/order", account.order_limits, "rateLimit"),
        route("GET", "/fapi/v1/feeBurn", account.fee_burn, "feeBurn", 30),
        route("POST", "/fapi/v1/leverage", settings.set_leverage, "leverage.set", security=trade),
        route("POST", "/fapi/v1/marginType", settings.set_margin_type, "marginType.set", security=trade),
        route("GET", "/fapi/v1/positionSide/dual", settings.dual_side, "positionSide", 30),
        route("POST", "/fapi/v1/positionSide/dual", settings.set_dual_side, "positionSide.set", security=trade),
        route("GET", "/fapi/v1/multiAssetsMargin", settings.multi_assets, "multiAssets", 30),
        route("POST", "/fapi/v1/multiAssetsMargin", settings.set_multi_assets, "multiAssets.set", security=trade),
        route("POST", "/fapi/v1/positionMargin", settings.change_margin, "positionMargin.set", security=trade),
        route("GET", "/fapi/v1/positionMargin/history", settings.margin_history, "positionMargin", security=trade),
        route("GET", "/fapi/v1/leverageBracket", settings.brackets, "leverageBracket"),
        route("GET", "/fapi/v1/symbolConfig", settings.symbol_config, "symbolConfig", 5),
        route("GET", "/fapi/v1/accountConfig", settings.account_config, "accountConfig", 5),
        route("POST", "/fapi/v1/listenKey", streams.create, "listenKey.create", security=key),
        route("PUT", "/fapi/v1/listenKey", streams.keep, "listenKey.keep", security=key),
        route("DELETE", "/fapi/v1/listenKey", streams.close, "listenKey.close", security=key),
    ]


@dataclass(frozen=True, slots=True)
class _Standing:
    """One symbol of the account: its position, if any, and what rests in its regular book."""

    instrument: Instrument
    position: VenuePosition | None
    leverage: int
    isolated: bool
    bid_notional: Decimal
    ask_notional: Decimal
    updated_at_ms: int

    @property
    def qty(self) -> Decimal:
        return self.position.qty if self.position is not None else ZERO

    @property
    def notional(self) -> Decimal:
        return self.position.qty * self.position.mark_price if self.position is not None else ZERO

    @property
    def unrealized(self) -> Decimal:
        return self.position.unrealized_pnl_usdt if self.position is not None else ZERO

    @property
    def wallet(self) -> Decimal:
        return self.position.isolated_wallet_usdt if self.position is not None else ZERO

    @property
    def position_margin(self) -> Decimal:
        return initial_margin(abs(self.notional), self.leverage)

    @property
    def order_margin(self) -> Decimal:
        return initial_margin(self.bid_notional + self.ask_notional, self.leverage)

    @property
    def maint_margin(self) -> Decimal:
        return maintenance_margin(abs(self.notional), self.instrument.brackets) if self.position is not None else ZERO

    @property
    def notional_max(self) -> str:
        return bare(notional_max(self.instrument.brackets, self.leverage))


class FuturesAccount:
    def __init__(self, floor: Floor, prints: Prints) -> None:
        self._floor = floor
        self._prints = prints
        self._asset_ms: dict[str, int] = {}
        self._position_ms: dict[str, int] = {}
        self._trade_ids: dict[int, int] = {}
        self._booked: dict[str, int] = {}
        self._incomes_seen = 0
        floor.host.on_changes.append(self._on_changes)

    # --- money and positions

    def account_v2(self, call: Call) -> Any:
        standings = self._standings()
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "feeBurn": False,
            "tradeGroupId": -1,
            "updateTime": 0,
            "multiAssetsMargin": self._floor.exchange.multi_assets,
            **self._totals(standings),
            "assets": [
                {**self._asset(balance, standings), "marginAvailable": True, "updateTime": self._asset_at(balance)}
                for balance in self._balances()
            ],
            "positions": [self._position_of_v2(standing) for standing in standings],
        }

    def account_v3(self, call: Call) -> Any:
        standings = self._standings()
        return {
            **self._totals(standings),
            "assets": [
                {**self._asset(balance, standings), "updateTime": self._asset_at(balance)}
                for balance in self._balances()
            ],
            "positions": [self._position_of_v3(standing) for standing in standings if _stands(standing)],
        }

    def balance(self, call: Call) -> Any:
        standings = self._standings()
        rows = []
        for balance in self._balances():
            asset = self._asset(balance, standings)
            rows.append(
                {
                    "accountAlias": ALIAS,
                    "asset": balance.asset,
                    "balance": asset["walletBalance"],
                    "crossWalletBalance": asset["crossWalletBalance"],
                    "crossUnPnl": asset["crossUnPnl"],
                    "availableBalance": asset["availableBalance"],
                    "maxWithdrawAmount": asset["maxWithdrawAmount"],
                    "marginAvailable": True,
                    "updateTime": self._asset_at(balance),
                }
            )
        return rows

    def positions_v2(self, call: Call) -> Any:
        return [
            {
                **self._position_head(standing),
                "leverage": str(standing.leverage),
                "maxNotionalValue": standing.notional_max,
                "marginType": "isolated" if standing.isolated else "cross",
                "isolatedMargin": money(standing.wallet + standing.unrealized),
                "isAutoAddMargin": "false",
                "positionSide": "BOTH",
                "notional": bare_money(standing.notional),
                "isolatedWallet": bare_money(standing.wallet),
                "updateTime": standing.updated_at_ms,
                "isolated": standing.isolated,
                "adlQuantile": 1 if standing.qty else 0,
            }
            for standing in self._standings(call.maybe("symbol"))
        ]

    def positions_v3(self, call: Call) -> Any:
        rows = []
        for standing in self._standings(call.maybe("symbol")):
            if _stands(standing):
                row = self._position_head(standing)
                rows.append(
                    {
                        "symbol": row.pop("symbol"),
                        "positionSide": "BOTH",
                        **row,
                        "isolatedMargin": bare_money(standing.wallet + standing.unrealized),
                        "notional": bare_money(standing.notional),
                        "marginAsset": standing.instrument.quote_asset,
                        "isolatedWallet": bare_money(standing.wallet),
                        "initialMargin": bare_money(standing.position_margin + standing.order_margin),
                        "maintMargin": bare_money(standing.maint_margin),
                        "positionInitialMargin": bare_money(standing.position_margin),
                        "openOrderInitialMargin": bare_money(standing.order_margin),
                        "adl": 1 if standing.qty else 0,
                        "bidNotional": bare_money(standing.bid_notional),
                        "askNotional": bare_money(standing.ask_notional),
                        "updateTime": standing.updated_at_ms,
                    }
                )
        return rows

    # --- what happened

    def income(self, call: Call) -> Any:
        limit = reading.page_size(call, INCOMES_DEFAULT)
        page = call.whole("page", 1)
        if page < 1:
            raise refusals.bad_parameter("page")
        symbol, kind = call.maybe("symbol"), call.maybe("incomeType")
        now_ms = self._floor.clock.now_ms()
        start_ms, end_ms = call.maybe_whole("startTime"), call.maybe_whole("endTime")
        from_ms = now_ms - reading.WEEK_MS if start_ms is None and end_ms is None else start_ms or 0
        self._learn_trade_ids()
        found = [
            income
            for income in self._floor.exchange.income(from_ms)
            if (end_ms is None or income.ts <= end_ms)
            and (symbol is None or income.symbol == symbol)
            and (kind is None or income.kind.value == kind)
        ]
        if start_ms is None:  # the newest page is the first
            last = max(0, len(found) - (page - 1) * limit)
            chosen = found[max(0, last - limit) : last]
        else:
            chosen = found[(page - 1) * limit : page * limit]
        return [
            {
                "symbol": income.symbol,
                "incomeType": income.kind.value,
                "income": money(income.amount),
                "asset": income.asset,
                "time": income.ts,
                "info": income.kind.value,
                "tranId": income.tran_id,
                "tradeId": str(self._trade_ids.get(income.tran_id, "")),
            }
            for income in chosen
        ]

    def trades(self, call: Call) -> Any:
        symbol = call.text("symbol")
        out = self._prints.of(symbol)
        limit = reading.page_size(call)
        order_id, from_id = call.maybe("orderId"), call.maybe_whole("fromId")
        exchange = self._floor.exchange
        if from_id is not None:
            if call.maybe("startTime") or call.maybe("endTime"):
                raise Refusal(-1128, "Combination of optional parameters invalid.")
            found = list(exchange.fills(FUT, symbol, from_id=max(1, from_id)))
        else:
            start_ms, end_ms = reading.week(call, self._floor.clock.now_ms())
            found = [fill for fill in exchange.fills(FUT, symbol, start_ms) if fill.ts <= end_ms]
        if order_id is not None:
            found = [fill for fill in found if fill.venue_order_id == order_id]
        forwards = from_id is not None or call.maybe("startTime") is not None
        return [
            {
                "symbol": symbol,
                "id": fill.trade_id,
                "orderId": int(fill.venue_order_id),
                "side": fill.side.value,
                "price": out.price(fill.price),
                "qty": out.qty(fill.qty),
                "realizedPnl": bare_money(fill.realized_pnl_usdt),
                "quoteQty": out.quote(fill.price * fill.qty),
                "commission": money(fill.fee),
                "commissionAsset": fill.fee_asset,
                "time": fill.ts,
                "positionSide": "BOTH",
                "buyer": fill.side is Side.BUY,
                "maker": fill.maker,
            }
            for fill in (found[:limit] if forwards else found[-limit:])
        ]

    # --- terms

    def commission_rate(self, call: Call) -> Any:
        symbol = call.text("symbol")
        self._prints.of(symbol)
        fees = self._floor.fees(FUT)
        return {
            "symbol": symbol,
            "makerCommissionRate": f"{fees.maker:.6f}",
            "takerCommissionRate": f"{fees.taker:.6f}",
            "rpiCommissionRate": f"{fees.maker:.6f}",
        }

    def trading_status(self, call: Call) -> Any:
        return {"indicators": {}, "updateTime": self._floor.now_ms()}

    def order_limits(self, call: Call) -> Any:
        rules = self._floor.limits.rules
        return [
            {"rateLimitType": "ORDERS", "interval": interval, "intervalNum": count, "limit": limit * rules.scale}
            for interval, count, limit in (
                ("SECOND", 10, rules.futures_orders_10s),
                ("MINUTE", 1, rules.futures_orders_minute),
            )
        ]

    def fee_burn(self, call: Call) -> Any:
        return {"feeBurn": False}

    # --- inside

    def _on_changes(self, changes: Any) -> None:
        for change in changes:
            if isinstance(change, BalancesChanged):
                for balance in change.balances:
                    if balance.market is FUT:
                        self._asset_ms[balance.asset] = change.ts
            elif isinstance(change, PositionChanged):
                self._position_ms[change.symbol] = change.ts

    def _balances(self) -> tuple[Balance, ...]:
        return self._floor.exchange.balances(FUT)

    def _asset_at(self, balance: Balance) -> int:
        return self._asset_ms.get(balance.asset, 0)

    def _standings(self, symbol: str | None = None) -> list[_Standing]:
        """Every symbol, or the one asked for.

        Raises:
            Refusal: -1121.
        """
        exchange = self._floor.exchange
        if symbol is not None:
            instruments: tuple[Instrument, ...] = (self._floor.instrument(FUT, symbol),)
        else:
            instruments = self._floor.instruments(FUT)
        positions = {position.symbol: position for position in exchange.positions()}
        resting: dict[tuple[str, Side], Decimal] = {}
        for order in exchange.open_orders(FUT, symbol):
            if order.type is OrderType.LIMIT or order.price is not None:
                place = order.symbol, order.side
                left = (order.qty - order.filled_qty) * (order.price or ZERO)
                resting[place] = resting.get(place, ZERO) + (ZERO if order.reduce_only else left)
        return [
            _Standing(
                instrument,
                positions.get(instrument.symbol),
                exchange.leverage(instrument.symbol),
                exchange.isolated(instrument.symbol),
                resting.get((instrument.symbol, Side.BUY), ZERO),
                resting.get((instrument.symbol, Side.SELL), ZERO),
                self._position_ms.get(instrument.symbol, 0),
            )
            for instrument in instruments
        ]

    def _totals(self, standings: list[_Standing]) -> dict[str, Any]:
        """In USDT: no other asset margins anything here."""
        usdt = next((balance for balance in self._balances() if balance.asset == "USDT"), None)
        asset = self._asset(usdt or Balance(market=FUT, asset="USDT", free=ZERO, locked=ZERO), standings)
        return {
            "totalInitialMargin": asset["initialMargin"],
            "totalMaintMargin": asset["maintMargin"],
            "totalWalletBalance": asset["walletBalance"],
            "totalUnrealizedProfit": asset["unrealizedProfit"],
            "totalMarginBalance": asset["marginBalance"],
            "totalPositionInitialMargin": asset["positionInitialMargin"],
            "totalOpenOrderInitialMargin": asset["openOrderInitialMargin"],
            "totalCrossWalletBalance": asset["crossWalletBalance"],
            "totalCrossUnPnl": asset["crossUnPnl"],
            "availableBalance": asset["availableBalance"],
            "maxWithdrawAmount": asset["maxWithdrawAmount"],
        }

    def _asset(self, balance: Balance, standings: list[_Standing]) -> dict[str, Any]:
        mine = [standing for standing in standings if standing.instrument.quote_asset == balance.asset]
        wallet = balance.free + balance.locked
        isolated = sum((standing.wallet for standing in mine), ZERO)
        unrealized = sum((standing.unrealized for standing in mine), ZERO)
        position_margin = sum((standing.position_margin for standing in mine), ZERO)
        order_margin = balance.locked - isolated
        return {
            "asset": balance.asset,
            "walletBalance": money(wallet),
            "unrealizedProfit": money(unrealized),
            "marginBalance": money(wallet + unrealized),
            "maintMargin": money(sum((standing.maint_margin for standing in mine), ZERO)),
            "initialMargin": money(position_margin + order_margin),
            "positionInitialMargin": money(position_margin),
            "openOrderInitialMargin": money(order_margin),
            "maxWithdrawAmount": money(balance.free),
            "crossWalletBalance": money(wallet - isolated),
            "crossUnPnl": money(ZERO),
            "availableBalance": money(balance.free),
        }

    def _position_head(self, standing: _Standing) -> dict[str, Any]:
        position = standing.position
        return {
            "symbol": standing.instrument.symbol,
            "positionAmt": self._prints.of(standing.instrument.symbol).qty(standing.qty),
            "entryPrice": bare(position.entry_price) if position is not None else "0.0",
            "breakEvenPrice": self._break_even(position),
            "markPrice": money(position.mark_price if position is not None else ZERO),
            "unRealizedProfit": money(standing.unrealized),
            "liquidationPrice": bare_money(position.liquidation_price) if position is not None else "0",
        }

    def _break_even(self, position: VenuePosition | None) -> str:
        if position is None:
            return "0.0"
        fee = self._floor.fees(FUT).taker * (1 if position.qty > 0 else -1)
        return bare(average(position.entry_price * (1 + fee), Decimal(1)))

    def _position_of_v2(self, standing: _Standing) -> dict[str, Any]:
        return {
            "symbol": standing.instrument.symbol,
            "initialMargin": bare_money(standing.position_margin + standing.order_margin),
            "maintMargin": bare_money(standing.maint_margin),
            "unrealizedProfit": money(standing.unrealized),
            "positionInitialMargin": bare_money(standing.position_margin),
            "openOrderInitialMargin": bare_money(standing.order_margin),
            "leverage": str(standing.leverage),
            "isolated": standing.isolated,
            "entryPrice": bare(standing.position.entry_price) if standing.position is not None else "0.0",
            "breakEvenPrice": self._break_even(standing.position),
            "maxNotional": standing.notional_max,
            "positionSide": "BOTH",
            "positionAmt": self._prints.of(standing.instrument.symbol).qty(standing.qty),
            "notional": bare_money(standing.notional),
            "isolatedWallet": bare_money(standing.wallet),
            "updateTime": standing.updated_at_ms,
            "bidNotional": bare_money(standing.bid_notional),
            "askNotional": bare_money(standing.ask_notional),
        }

    def _position_of_v3(self, standing: _Standing) -> dict[str, Any]:
        return {
            "symbol": standing.instrument.symbol,
            "positionSide": "BOTH",
            "positionAmt": self._prints.of(standing.instrument.symbol).qty(standing.qty),
            "unrealizedProfit": money(standing.unrealized),
            "isolatedMargin": money(standing.wallet + standing.unrealized),
            "notional": bare_money(standing.notional),
            "isolatedWallet": bare_money(standing.wallet),
            "initialMargin": bare_money(standing.position_margin + standing.order_margin),
            "maintMargin": bare_money(standing.maint_margin),
            "updateTime": standing.updated_at_ms,
        }

    def _learn_trade_ids(self) -> None:
        """Which trade booked a line: each trade of a symbol books one COMMISSION, and its REALIZED_PNL just before."""
        fresh: tuple[Income, ...] = self._floor.exchange.income()[self._incomes_seen :]
        self._incomes_seen += len(fresh)
        for symbol in {income.symbol for income in fresh if income.kind is IncomeKind.COMMISSION}:
            fills = self._floor.exchange.fills(FUT, symbol)
            booked = self._booked.get(symbol, 0)
            for income in fresh:
                if income.symbol == symbol and income.kind in (IncomeKind.REALIZED_PNL, IncomeKind.COMMISSION):
                    self._trade_ids[income.tran_id] = fills[booked].trade_id
                    booked += income.kind is IncomeKind.COMMISSION
            self._booked[symbol] = booked


def _stands(standing: _Standing) -> bool:
    return bool(standing.qty or standing.bid_notional or standing.ask_notional)


class FuturesSettings:
    def __init__(self, floor: Floor, prints: Prints) -> None:
        self._floor = floor
        self._prints = prints

    def set_leverage(self, call: Call) -> Any:
        symbol = call.text("symbol")
        instrument = self._floor.instrument(FUT, symbol)
        leverage = call.whole("leverage")
        self._floor.settle(self._floor.exchange.set_leverage(symbol, leverage, self._floor.clock.now_ms()))
        return {
            "symbol": symbol,
            "leverage": leverage,
            "maxNotionalValue": bare(notional_max(instrument.brackets, leverage)),
        }

    def set_margin_type(self, call: Call) -> Any:
        symbol = call.text("symbol")
        self._prints.of(symbol)
        isolated = MARGIN_TYPES.get(call.text("marginType"))
        if isolated is None:
            raise refusals.bad_parameter("marginType")
        exchange, now_ms = self._floor.exchange, self._floor.clock.now_ms()
        self._floor.settle(exchange.set_margin_type(symbol, isolated=isolated, now_ms=now_ms))
        return SUCCESS

    def dual_side(self, call: Call) -> Any:
        return {"dualSidePosition": self._floor.exchange.dual_side}

    def set_dual_side(self, call: Call) -> Any:
        call.text("dualSidePosition")
        dual_side = call.flag("dualSidePosition")
        self._floor.settle(self._floor.exchange.set_dual_side(dual_side, self._floor.clock.now_ms()))
        return SUCCESS

    def multi_assets(self, call: Call) -> Any:
        return {"multiAssetsMargin": self._floor.exchange.multi_assets}

    def set_multi_assets(self, call: Call) -> Any:
        call.text("multiAssetsMargin")
        multi_assets = call.flag("multiAssetsMargin")
        self._floor.settle(self._floor.exchange.set_multi_assets(multi_assets, self._floor.clock.now_ms()))
        return SUCCESS

    def change_margin(self, call: Call) -> Any:
        symbol = call.text("symbol")
        self._prints.of(symbol)
        reading.refuse_two_sided(call)
        amount, kind = call.number("amount"), call.whole("type")
        if kind not in (ADD, REDUCE):
            raise refusals.bad_parameter("type")
        if amount <= 0:
            raise Refusal(-4055, "Amount must be positive.")
        signed = amount if kind == ADD else -amount
        self._floor.settle(self._floor.exchange.change_margin(symbol, signed, self._floor.clock.now_ms()))
        return {"code": 200, "msg": "Successfully modify position margin.", "amount": float(amount), "type": kind}

    def margin_history(self, call: Call) -> Any:
        symbol = call.text("symbol")
        instrument = self._floor.instrument(FUT, symbol)
        limit = reading.page_size(call)
        kind = call.maybe_whole("type")
        now_ms = self._floor.clock.now_ms()
        start_ms = call.whole("startTime", now_ms - MONTH_MS)
        end_ms = call.whole("endTime", now_ms)
        return [
            {
                "symbol": symbol,
                "type": ADD if change.amount > 0 else REDUCE,
                "deltaType": "USER_ADJUST",
                "amount": money(abs(change.amount)),
                "asset": instrument.quote_asset,
                "time": change.ts,
                "positionSide": "BOTH",
            }
            for change in self._floor.exchange.margin_changes(symbol, start_ms)
            if change.ts <= end_ms and (kind is None or kind == (ADD if change.amount > 0 else REDUCE))
        ][-limit:]

    def brackets(self, call: Call) -> Any:
        return [
            {
                "symbol": instrument.symbol,
                "brackets": [
                    {
                        "bracket": tier.bracket,
                        "initialLeverage": tier.initial_leverage,
                        "notionalCap": int(tier.notional_cap),
                        "notionalFloor": int(tier.notional_floor),
                        "maintMarginRatio": float(tier.maint_margin_ratio),
                        "cum": float(tier.cum),
                    }
                    for tier in instrument.brackets
                ],
            }
            for instrument in self._asked(call)
        ]

    def symbol_config(self, call: Call) -> Any:
        exchange = self._floor.exchange
        return [
            {
                "symbol": instrument.symbol,
                "marginType": "ISOLATED" if exchange.isolated(instrument.symbol) else "CROSSED",
                "isAutoAddMargin": False,
                "leverage": exchange.leverage(instrument.symbol),
                "maxNotionalValue": bare(notional_max(instrument.brackets, exchange.leverage(instrument.symbol))),
            }
            for instrument in self._asked(call)
        ]

    def account_config(self, call: Call) -> Any:
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "dualSidePosition": self._floor.exchange.dual_side,
            "updateTime": 0,
            "multiAssetsMargin": self._floor.exchange.multi_assets,
            "tradeGroupId": -1,
        }

    def _asked(self, call: Call) -> tuple[Instrument, ...]:
        symbol = call.maybe("symbol")
        return self._floor.instruments(FUT) if symbol is None else (self._floor.instrument(FUT, symbol),)


class FuturesStreams:
    """The keys to the private streams, which need the API key alone and no signature."""

    def __init__(self, floor: Floor, listen_keys: ListenKeys) -> None:
        self._floor = floor
        self._listen_keys = listen_keys

    def create(self, call: Call) -> Any:
        name = call.headers.get("x-mbx-apikey", "")
        key = self._floor.keys.known(name, call.address)
        secret = key.secret or key.public_key
        return {"listenKey": self._listen_keys.create(name, secret, self._floor.real_ms())}

    def keep(self, call: Call) -> Any:
        return {"listenKey": self._listen_keys.keep(call.headers.get("x-mbx-apikey", ""), self._floor.real_ms())}

    def close(self, call: Call) -> Any:
        self._listen_keys.close(call.headers.get("x-mbx-apikey", ""))
        return {}
