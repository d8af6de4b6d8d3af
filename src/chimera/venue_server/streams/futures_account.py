"""Account changes in the words of the futures user stream.

Owns the order of what one request or one tick causes. Recordings of 2022, 2024 and 2026 agree on it: TRADE_LITE is
faster than everything, an order is NEW before it trades, and ACCOUNT_UPDATE comes before the trade that caused it.

    conditional    ALGO_UPDATE NEW … TRIGGERING, TRIGGERED, then the regular order's own events, then FINISHED
    balances       only when the wallet itself changed: margin that an open order keeps back is no news there
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from chimera.contracts import ids
from chimera.contracts.enums import Market, OrderStatus, Side
from chimera.domain.execution.orders import (
    AccountChange,
    AccountConfigured,
    Balance,
    BalancesChanged,
    FundingSettled,
    MarginCalled,
    OrderUpdated,
    PositionChanged,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from chimera.venue_server.floor import Floor
from chimera.venue_server.futures.prints import Prints
from chimera.venue_server.futures.words import (
    actual_order_id,
    algo_status_of,
    algo_type_of,
    bare,
    original_type_of,
    status_of,
    stp_of,
    type_of,
)

ZERO = Decimal(0)
EIGHT = Decimal("0.00000001")

Event = dict[str, Any]

EXPIRY = {
    "EXPIRED_IN_MATCH": "1",
    "UNFILLED_IOC_QUANTITY_EXPIRED": "2",
    "UNFILLED_FOK_ORDER_EXPIRED": "2",
    "REDUCE_ONLY_REJECT": "4",
    "LIQUIDATION": "5",
    "INSUFFICIENT_LIQUIDITY": "9",
}
"""`er`; 0 is none. Source: the exchange's page of ORDER_TRADE_UPDATE."""

REJECTIONS = {
    "REDUCE_ONLY_REJECT": "ReduceOnly Order is rejected.",
    "INSUFFICIENT_MARGIN": "Margin is insufficient.",
}
"""`rm` of a conditional whose order the matching refused."""


@dataclass(slots=True)
class _Money:
    """What becomes one ACCOUNT_UPDATE; `at` is where among the events it belongs."""

    cause: str
    ts: int
    at: int
    balances: dict[str, Balance] = field(default_factory=dict)
    positions: dict[str, VenuePosition | None] = field(default_factory=dict)


class FuturesWords:
    """Remembers what was told before, so that only changes are told."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        exchange = floor.exchange
        self._prints = Prints(floor)
        self._taker = floor.fees(Market.FUT).taker
        self._wallets = {balance.asset: balance.free + balance.locked for balance in exchange.balances(Market.FUT)}
        self._realized: dict[str, tuple[Decimal, int]] = {}
        self._resting: dict[str, tuple[Side, Decimal]] = {}
        self._sums: dict[tuple[str, Side], Decimal] = {}
        self._known: set[str] = set()
        """Regular orders that are open and of which NEW was told."""
        for order in exchange.open_orders(Market.FUT):
            self._known.add(order.venue_order_id)
            self._weigh(order)

    def of(self, changes: Sequence[AccountChange]) -> list[Event]:
        """The events of one request or tick, in the order in which they leave."""
        now_ms = self._floor.now_ms()
        fast: list[Event] = []
        events: list[Event] = []
        money: _Money | None = None
        traded_at: int | None = None
        funded = ""
        for change in changes:
            if money is not None and not isinstance(change, PositionChanged):
                self._place(events, money, funded, now_ms)
                money, traded_at, funded = None, None, ""
            match change:
                case OrderUpdated(order=order, fill=fill):
                    if order.market is not Market.FUT:
                        continue
                    if fill is not None:
                        fast.append(self._lite(order, fill, now_ms))
                        traded_at = len(events) if traded_at is None else traded_at
                    events += self._order(change, now_ms)
                case BalancesChanged(ts=ts, cause=cause, balances=balances):
                    mine = {balance.asset: balance for balance in balances if balance.market is Market.FUT}
                    if mine:
                        money = _Money(cause, ts, len(events) if traded_at is None else traded_at, mine)
                case PositionChanged(ts=ts, symbol=symbol, position=position):
                    if money is None:
                        money = _Money("ORDER", ts, len(events) if traded_at is None else traded_at)
                    money.positions[symbol] = position
                case FundingSettled(income=income):
                    funded = income.symbol
                case MarginCalled():
                    events.append(self._margin_call(change, now_ms))
                case AccountConfigured():
                    events += self._configured(change, now_ms)
        if money is not None:
            self._place(events, money, funded, now_ms)
        return fast + events

    # --- orders

    def _order(self, change: OrderUpdated, now_ms: int) -> Iterator[Event]:
        order = change.order
        if order.conditional and not order.triggered:
            yield self._algo(order, algo_status_of(order), now_ms)
            return
        known = order.venue_order_id in self._known
        if order.conditional and not known:
            yield self._algo(order, "TRIGGERING", now_ms)
            if order.status is OrderStatus.REJECTED:
                yield self._algo(order, "REJECTED", now_ms)
                return
            yield self._algo(order, "TRIGGERED", now_ms)
        self._weigh(order)
        yield self._report(change, known, now_ms)
        if not order.status.is_final:
            self._known.add(order.venue_order_id)
            return
        self._known.discard(order.venue_order_id)
        if order.conditional:
            yield self._algo(order, "FINISHED", now_ms)

    def _weigh(self, order: VenueOrder) -> None:
        """Keep the notional of a symbol's open bids and asks."""
        side, before = self._resting.pop(order.venue_order_id, (order.side, ZERO))
        now = ZERO if order.status.is_final or order.price is None else order.price * (order.qty - order.filled_qty)
        if now:
            self._resting[order.venue_order_id] = (side, now)
        if now != before:
            key = (order.symbol, side)
            self._sums[key] = self._sums.get(key, ZERO) + now - before

    def _report(self, change: OrderUpdated, known: bool, now_ms: int) -> Event:
        order, fill = change.order, change.fill
        status = status_of(order)
        regular = type_of(order)
        average = order.filled_quote / order.filled_qty if order.filled_qty else ZERO
        return {
            "e": "ORDER_TRADE_UPDATE",
            "T": order.updated_at_ms,
            "E": now_ms,
            "o": {
                "s": order.symbol,
                "c": ids.as_told(order.client_order_id, order.venue_order_id),
                "S": order.side.value,
                "o": regular,
                "f": order.time_in_force.value,
                "q": bare(order.qty),
                "p": bare(order.price or ZERO),
                "ap": bare(average.quantize(EIGHT)),
                "sp": bare(order.stop_price or ZERO),
                "x": _execution(change, status, known),
                "X": status,
                "i": int(order.venue_order_id),
                "l": bare(fill.qty) if fill else "0",
                "z": bare(order.filled_qty),
                "L": bare(fill.price) if fill else "0",
                "n": bare(fill.fee) if fill else "0",
                "N": fill.fee_asset if fill else "USDT",
                "T": order.updated_at_ms,
                "t": fill.trade_id if fill else 0,
                "b": bare(self._sums.get((order.symbol, Side.BUY), ZERO)),
                "a": bare(self._sums.get((order.symbol, Side.SELL), ZERO)),
                "m": fill.maker if fill else False,
                "R": order.reduce_only,
                "wt": order.working_type.value if order.conditional else "CONTRACT_PRICE",
                "ot": original_type_of(order),
                "ps": "BOTH",
                "cp": order.close_position,
                "rp": bare(fill.realized_pnl_usdt) if fill else "0",
                "pP": False,
                "si": 0,
                "ss": 0,
                "V": stp_of(order),
                "pm": "NONE",
                "gtd": 0,
                "er": EXPIRY.get(order.reason or "", "0"),
            },
        }

    def _lite(self, order: VenueOrder, fill: VenueFill, now_ms: int) -> Event:
        out = self._prints.of(order.symbol)
        return {
            "e": "TRADE_LITE",
            "E": now_ms,
            "T": fill.ts,
            "s": order.symbol,
            "q": out.qty(order.qty),
            "p": out.price(order.price),
            "m": fill.maker,
            "c": ids.as_told(order.client_order_id, order.venue_order_id),
            "S": order.side.value,
            "L": out.price(fill.price),
            "l": out.qty(fill.qty),
            "t": fill.trade_id,
            "i": int(order.venue_order_id),
        }

    def _algo(self, order: VenueOrder, status: str, now_ms: int) -> Event:
        """`ap`, `aq`, `act` exist once the order is in the regular book, `rm` where it was refused there."""
        actual: Event = {}
        if status in ("TRIGGERED", "FINISHED"):
            average = order.filled_quote / order.filled_qty if order.filled_qty else ZERO
            actual = {"ap": bare(average.quantize(EIGHT)), "aq": bare(order.filled_qty), "act": type_of(order)}
        told: Event = {
            "caid": order.client_order_id,
            "aid": int(order.venue_algo_id or 0),
            "at": "CONDITIONAL",
            "o": algo_type_of(order),
            "s": order.symbol,
            "S": order.side.value,
            "ps": "BOTH",
            "f": "GTE_GTC" if order.close_position else order.time_in_force.value,
            "q": "0" if order.close_position else bare(order.qty),
            "X": status,
            "ai": actual_order_id(order) if actual else "",
            **actual,
            "tp": bare(order.stop_price or ZERO),
            "p": bare(order.price or ZERO),
            "V": stp_of(order),
            "wt": order.working_type.value,
            "pm": "NONE",
            "cp": order.close_position,
            "pP": False,
            "R": order.reduce_only,
            "tt": order.triggered_at_ms,
            "gtd": 0,
        }
        if status == "REJECTED":
            told["rm"] = REJECTIONS.get(order.reason or "", order.reason or "")
        if order.callback_ratio is not None:
            told["AP"] = bare(order.activate_price or ZERO)
            told["cr"] = bare(order.callback_ratio * 100)
        told["ia"] = order.trailing_active
        return {"e": "ALGO_UPDATE", "T": order.updated_at_ms, "E": now_ms, "o": told}

    # --- money

    def _place(self, events: list[Event], money: _Money, funded: str, now_ms: int) -> None:
        event = self._account(money, funded, now_ms)
        if event is not None:
            events.insert(money.at, event)

    def _account(self, money: _Money, funded: str, now_ms: int) -> Event | None:
        """None where neither a wallet nor a position is another than was told."""
        isolated = sum((each.isolated_wallet_usdt for each in self._floor.exchange.positions()), ZERO)
        rows, moved = [], ZERO
        for asset, balance in money.balances.items():
            wallet = balance.free + balance.locked
            change = wallet - self._wallets.get(asset, ZERO)
            self._wallets[asset] = wallet
            if change or money.positions:
                moved += change
                crossed = wallet - (isolated if asset == "USDT" else ZERO)
                told = ZERO if money.cause in ("ORDER", "LIQUIDATION") else change
                rows.append({"a": asset, "wb": bare(wallet), "cw": bare(crossed), "bc": bare(told)})
        if not rows and not money.positions:
            return None
        positions = [self._position(symbol, position) for symbol, position in money.positions.items()]
        update: Event = {"B": rows, "P": positions, "m": _reason(money.cause, moved)}
        if funded:
            update["S"] = funded
        return {"e": "ACCOUNT_UPDATE", "T": money.ts, "E": now_ms, "a": update}

    def _position(self, symbol: str, position: VenuePosition | None) -> Event:
        """Break-even is the entry and the fee of closing it."""
        if position is None:
            amount = entry = even = profit = wallet = ZERO
        else:
            amount, entry, profit = position.qty, position.entry_price, position.unrealized_pnl_usdt
            wallet = position.isolated_wallet_usdt
            even = entry * (1 + self._taker if amount > 0 else 1 - self._taker)
        return {
            "s": symbol,
            "pa": bare(amount),
            "ep": bare(entry.quantize(EIGHT)),
            "cr": bare(self._accumulated(symbol)),
            "up": bare(profit),
            "mt": "isolated",
            "iw": bare(wallet),
            "ps": "BOTH",
            "ma": "USDT",
            "bep": bare(even.quantize(EIGHT)),
        }

    def _accumulated(self, symbol: str) -> Decimal:
        """Realised by every trade of the symbol so far, before fees."""
        total, last_id = self._realized.get(symbol, (ZERO, 0))
        for fill in self._floor.exchange.fills(Market.FUT, symbol, from_id=last_id + 1):
            total += fill.realized_pnl_usdt
            last_id = fill.trade_id
        self._realized[symbol] = (total, last_id)
        return total

    def _margin_call(self, called: MarginCalled, now_ms: int) -> Event:
        position = called.position
        return {
            "e": "MARGIN_CALL",
            "E": now_ms,
            "p": [
                {
                    "s": position.symbol,
                    "ps": "BOTH",
                    "pa": bare(position.qty),
                    "mt": "ISOLATED",
                    "iw": bare(position.isolated_wallet_usdt),
                    "mp": bare(position.mark_price),
                    "up": bare(position.unrealized_pnl_usdt),
                    "mm": bare(called.maint_margin_usdt.quantize(EIGHT)),
                }
            ],
        }

    def _configured(self, changed: AccountConfigured, now_ms: int) -> Iterator[Event]:
        """Leverage and multi-assets mode are told, margin types and position mode are not."""
        head = {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": changed.ts}
        if changed.leverage is not None:
            yield {**head, "ac": {"s": changed.symbol, "l": changed.leverage}}
        if changed.multi_assets is not None:
            yield {**head, "ai": {"j": changed.multi_assets}}


def _execution(change: OrderUpdated, status: str, known: bool) -> str:
    if change.fill is not None:
        return "TRADE"
    if status in ("CANCELED", "REJECTED"):
        return status
    if status.startswith("EXPIRED"):
        return "EXPIRED"
    return "AMENDMENT" if change.amended or known else "NEW"


def _reason(cause: str, moved: Decimal) -> str:
    if cause == "TRANSFER":
        return "DEPOSIT" if moved > 0 else "WITHDRAW"
    return "ORDER" if cause == "LIQUIDATION" else cause
