"""From an entry's orders and fills to the trade they make, and to what the keeper of positions looks at. Pure.

Everything is derived from documents that S4 wrote, so any trigger at any time leads to the same trade: the stop that
holds is the tightest that the exchange ever listed, the rung is how many targets have filled, the reason is what the
last exit was for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.documents import (
    LIQUIDATION,
    MANUAL,
    Fill,
    IntentRecord,
    Order,
    PersonsLeave,
    PersonsStop,
    Trade,
    TradeExit,
    TradeFill,
)
from chimera.contracts.enums import Market, OrderType, Purpose, Side, TradeStatus
from chimera.domain.exact import average, money
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.liquidation import liquidation_price
from chimera.domain.positions.manage import PERSON, Effect, ManageParams, ReduceAtMarket, TakeBackEntry, TradeView
from chimera.domain.positions.stops import first_stop, is_tighter, tier_price
from chimera.domain.positions.trade_book import BookExit, BookFill, TradeBook, book_of

TIER_MAX = 10_000
"""A stop that secures 500 times the margin: beyond it only a broken price would count on."""

NETTED = "NETTED"
"""All that the entry bought closed what somebody else held."""
BY_A_PERSON = "EXIT"
"""A person left it through us."""
STRANGERS_STOP = "STRANGERS_STOP"
"""The stop of what a person held on the same instrument closed some of ours."""
FOREIGN = (LIQUIDATION, MANUAL)
"""`orders.reason` of what nobody here ordered: the exchange closed the position, or a person did by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything on file about one entry. `fee_ratio` is the taker's."""

    record: IntentRecord
    orders: tuple[Order, ...]
    fills: tuple[Fill, ...]
    instrument: Instrument
    params: ManageParams
    fee_ratio: Decimal
    leverage: int

    @property
    def own_orders(self) -> tuple[Order, ...]:
        """Those that were ordered for this trade: only they are its stop and its target, and nobody else's is
        canceled."""
        return tuple(order for order in self.orders if order.reason not in FOREIGN and not order.is_nobodys_stop)


def opens_a_trade(record: IntentRecord) -> bool:
    return record.purpose in (Purpose.ENTRY, Purpose.HEDGE)


def is_open(order: Order) -> bool:
    return not order.status.is_final


def open_stops(orders: Iterable[Order]) -> list[Order]:
    """Stops that the exchange lists now, in the order in which they were made."""
    stops = (order for order in orders if order.purpose is Purpose.SL and is_open(order) and order.is_listed)
    return sorted(stops, key=lambda order: (order.created_at, order.order_id))


def book_of_facts(facts: Facts) -> TradeBook | None:
    base = facts.instrument.base_asset if facts.record.market is Market.SPOT else None
    # Of an entry the earliest fills closed somebody else's: what they held was there first.
    foreign = {order.order_id: order.foreign_qty or Decimal(0) for order in facts.orders}
    fills = []
    for fill in sorted(facts.fills, key=lambda fill: ids.fill_order(fill.timestamp, fill.fill_id)):
        part = min(fill.qty, foreign.get(fill.order_id, Decimal(0)))
        foreign[fill.order_id] = foreign.get(fill.order_id, Decimal(0)) - part
        fills.append(_book_fill(fill, base, part))
    return book_of(facts.record.market, facts.record.intent.side, fills)


def _book_fill(fill: Fill, base_asset: str | None, foreign_qty: Decimal) -> BookFill:
    assert fill.side is not None, f"fill {fill.fill_id} has no side"
    in_base = base_asset is not None and fill.fee_asset == base_asset and fill.side is Side.BUY
    return BookFill(
        fill_id=fill.fill_id,
        order_id=fill.order_id,
        side=fill.side,
        price=fill.price,
        qty=fill.qty,
        fee_usdt=fill.fee_usdt or Decimal(0),
        fee_base_qty=(fill.fee_qty or Decimal(0)) if in_base else Decimal(0),
        told_pnl_usdt=fill.realized_pnl_usdt,
        foreign_qty=foreign_qty,
        ts=fill.timestamp,
    )


def is_flat(facts: Facts, book: TradeBook) -> bool:
    """Nothing is left that could be sold: below one step it is dust, which stays in the wallet's own account."""
    return book.qty_open < facts.instrument.step_size


def trade_of(facts: Facts, *, before: Trade | None, funding_usdt: Decimal, now_ms: int) -> Trade | None:
    """The trade as the documents tell it; None before its first fill. `before` is only asked whether it had ended, and
    for what a person told us to do with it."""
    leave = None if before is None else before.persons_leave
    put = None if before is None else before.persons_stop
    book = book_of_facts(facts)
    if book is None:
        return None
    record = facts.record
    by_id = {order.order_id: order for order in facts.orders}
    flat = is_flat(facts, book) and bool(book.exits or book.netted_qty)
    ended = flat and record.state.is_final
    was_closed = before is not None and before.status is TradeStatus.CLOSED
    closed = ended and (was_closed or not any(is_open(order) for order in facts.own_orders))
    stop_price = stop_price_of(facts, book, put)
    stops = [order for order in open_stops(facts.own_orders) if order.stop_price == stop_price]
    targets = [order for order in facts.own_orders if order.purpose is Purpose.TP and is_open(order)]
    return Trade(
        trade_id=record.intent_id,
        market=record.market,
        symbol=record.symbol,
        side=record.intent.side,
        status=TradeStatus.CLOSED if closed else TradeStatus.PENDING_CLOSING if flat else TradeStatus.ACTIVE,
        qty_opened=money(book.qty_opened),
        qty_open=money(book.qty_open),
        entry_price_avg=book.entry_price_avg,
        entries=tuple(_trade_fill(fill, by_id.get(fill.order_id)) for fill in book.entries),
        exits=tuple(_trade_exit(exit, by_id[exit.order_id], record, book, leave) for exit in book.exits),
        realized_pnl_usdt=money(book.realized_pnl_usdt),
        fees_usdt=money(book.fees_usdt),
        entry_fees_usdt=money(book.entry_fees_usdt),
        funding_usdt=money(funding_usdt),
        config_rev=record.intent.risk.rcu_rev or 0,
        leverage=facts.leverage,
        stop_price=stop_price,
        stop_order_id=stops[-1].order_id if stops else None,
        tp_price=(targets[-1].stop_price or targets[-1].price) if targets else None,
        tp_order_id=targets[-1].order_id if targets else None,
        first_loss_usdt=_first_loss(facts, book),
        tier=max(tier_of(facts, book, stop_price), put.tier if put is not None else 0),
        rung=rungs_filled(facts.own_orders) if record.market is Market.FUT else 0,
        opened_at=book.opened_at,
        closed_at=book.last_fill_at if closed else None,
        reason=_end_reason(book, by_id, record, leave) if flat else None,
        signal_id=record.intent.signal_id,
        persons_stop=put,
        persons_leave=leave,
        updated_at=now_ms,
    )


def _trade_fill(fill: BookFill, order: Order | None) -> TradeFill:
    return TradeFill(
        fill_id=fill.fill_id,
        order_id=fill.order_id,
        price=fill.price,
        qty=money(fill.qty),
        fee_usdt=money(fill.fee_usdt),
        ts=fill.ts,
        purpose=order.purpose if order else None,
    )


def _trade_exit(
    exit: BookExit, order: Order, record: IntentRecord, book: TradeBook, leave: PersonsLeave | None
) -> TradeExit:
    return TradeExit(
        ts=exit.ts,
        qty=money(exit.qty),
        price=exit.price,
        pnl_usdt=money(exit.pnl_usdt),
        fee_usdt=money(exit.fee_usdt),
        purpose=order.purpose or Purpose.EXIT,
        order_id=exit.order_id,
        reason=_reason(order, record, book, leave),
    )


def _end_reason(book: TradeBook, by_id: dict[str, Order], record: IntentRecord, leave: PersonsLeave | None) -> str:
    if not book.exits:
        return NETTED
    last = book.exits[-1]
    return _reason(by_id[last.order_id], record, book, leave)


def _reason(order: Order, record: IntentRecord, book: TradeBook, leave: PersonsLeave | None) -> str:
    if order.reason in FOREIGN:
        return str(order.reason)
    if order.is_nobodys_stop:
        return STRANGERS_STOP
    if order.purpose is Purpose.SL:
        secured = order.stop_price is not None and not is_tighter(
            record.intent.side, book.entry_price_avg, order.stop_price
        )
        return "STOP_LOCKED" if secured else "STOP_LOSS"
    if order.purpose is Purpose.TP:
        return "TAKE_PROFIT"
    if order.intent_id == record.intent_id:
        # The router closed what it could not protect, and said why at the intent's end.
        return record.reason or "EXIT"
    # The keeper leaves at market for nothing else: a stop that was passed or cannot be placed, a liquidation near.
    by_keeper = (order.intent_id or "").startswith(f"{record.intent_id}-{Purpose.EXIT.value}-")
    if not by_keeper or (leave is not None and order.created_at >= leave.at):
        return BY_A_PERSON
    return "FORCED_EXIT"


def stop_price_of(facts: Facts, book: TradeBook, put: PersonsStop | None = None) -> Decimal | None:
    """Where the stop belongs: the tightest that was ever listed, else where the entry wanted it. Where a person put it,
    it belongs there, or at the tightest that was ordered since."""
    side = facts.record.intent.side
    best = None if put is None else put.price
    for order in facts.own_orders:
        if put is not None and order.order_id in put.instead_of:
            continue
        if order.purpose is Purpose.SL and order.is_listed and order.stop_price is not None:
            best = order.stop_price if best is None or is_tighter(side, order.stop_price, best) else best
    return first_stop_price(facts, book) if best is None else best


def first_stop_price(facts: Facts, book: TradeBook) -> Decimal | None:
    """The entry's own wish, kept from the average fill where it was told as a distance."""
    wish = facts.record.intent.sl
    if wish is None or (wish.price is None and wish.distance is None):
        return None
    if wish.price is not None:
        return wish.price
    assert wish.distance is not None
    return first_stop(facts.instrument, facts.record.intent.side, book.entry_price_avg, wish.distance)


def _first_loss(facts: Facts, book: TradeBook) -> Decimal | None:
    price = first_stop_price(facts, book)
    return None if price is None else money(abs(book.entry_price_avg - price) * book.qty_opened)


def tier_of(facts: Facts, book: TradeBook, stop_price: Decimal | None) -> int:
    """The highest tier whose stop is no tighter than `stop_price`."""
    side = facts.record.intent.side
    if facts.record.market is not Market.FUT or stop_price is None:
        return 0
    for tier in range(1, TIER_MAX):
        price = tier_price(
            facts.instrument,
            side=side,
            entry_price=book.entry_price_avg,
            leverage=facts.leverage,
            fee_ratio=facts.fee_ratio,
            tier=tier,
            params=facts.params.tiers,
        )
        if is_tighter(side, price, stop_price):
            return tier - 1
    return TIER_MAX


def rungs_filled(orders: Iterable[Order]) -> int:
    return sum(1 for order in orders if order.purpose is Purpose.TP and not is_open(order) and order.filled_qty)


def covering_stop(trade: Trade, instrument: Instrument, orders: Sequence[Order]) -> Order | None:
    """The listed stop that covers exactly what is open, at the stop's own price: others are surplus. What is off the
    grid is covered by the next step above it."""
    exactly = (trade.qty_open, instrument.ceil_qty(trade.qty_open))
    for order in reversed(open_stops(orders)):
        if order.stop_price == trade.stop_price and _rest(order) in exactly:
            return order
    return None


def _rest(order: Order) -> Decimal:
    return (order.quantity or Decimal(0)) - (order.filled_qty or Decimal(0))


def is_held(trade: Trade) -> bool:
    return trade.status is TradeStatus.ACTIVE


def margin_of(trade: Trade) -> Decimal:
    """What the exchange took for what is open: a part that closes takes its share back."""
    return money(trade.qty_open * trade.entry_price_avg / trade.leverage) if is_held(trade) else Decimal(0)


def liquidation_of(facts: Facts, trade: Trade) -> Decimal | None:
    """Estimated from the isolated margin; None for SPOT, or where it is never reached."""
    if trade.market is not Market.FUT or not is_held(trade):
        return None
    bracket = facts.instrument.bracket_for(trade.qty_open * trade.entry_price_avg)
    price = liquidation_price(
        side=trade.side,
        qty=trade.qty_open,
        entry_price=trade.entry_price_avg,
        wallet_usdt=margin_of(trade),
        maint_margin_ratio=bracket.maint_margin_ratio,
        cum=bracket.cum,
    )
    return average(price) if price > 0 else None


def exit_pending(orders: Iterable[Order]) -> bool:
    return any(
        order.type is OrderType.MARKET and order.purpose in (Purpose.EXIT, Purpose.TP) and is_open(order)
        for order in orders
    )


def spot_effects(facts: Facts, trade: Trade) -> tuple[Effect, ...]:
    """A spot trade lives by its pair or guard, which are the router's, until a person wants it to end."""
    if trade.persons_leave is None or not is_held(trade) or exit_pending(facts.own_orders):
        return ()
    if not facts.record.state.is_final:
        return (TakeBackEntry(),)
    return (ReduceAtMarket(facts.instrument.floor_qty(trade.qty_open), PERSON),)


def view_of(facts: Facts, trade: Trade) -> TradeView:
    """What `manage` looks at. Needs a stop price: a futures entry without one is never accepted."""
    assert trade.stop_price is not None, f"trade {trade.trade_id} has no stop price"
    orders = facts.own_orders
    listed = [order for order in open_stops(orders) if order.stop_price == trade.stop_price]
    covering = covering_stop(trade, facts.instrument, orders)
    first_targets = [
        order.stop_price for order in orders if order.purpose is Purpose.TP and order.intent_id == trade.trade_id
    ]
    targets = [order for order in orders if order.purpose is Purpose.TP and is_open(order)]
    return TradeView(
        instrument=facts.instrument,
        side=trade.side,
        entry_price=trade.entry_price_avg,
        open_qty=trade.qty_open if is_held(trade) else Decimal(0),
        leverage=trade.leverage,
        fee_ratio=facts.fee_ratio,
        entry_final=facts.record.state.is_final,
        closed=trade.status is TradeStatus.CLOSED and not any(map(is_open, orders)),
        tier=trade.tier,
        stop_price=trade.stop_price,
        stop_qty=trade.qty_open if covering is not None else _rest(listed[-1]) if listed else Decimal(0),
        stop_pending=any(order.purpose is Purpose.SL and is_open(order) and not order.is_listed for order in orders),
        rungs_filled=trade.rung,
        target_rests=any(order.is_listed for order in targets),
        target_pending=any(not order.is_listed for order in targets),
        first_target_price=next((price for price in first_targets if price is not None), None),
        exit_pending=exit_pending(orders),
        orders_resting=sum(map(is_open, orders)),
        liquidation_price=liquidation_of(facts, trade),
        leaving=trade.persons_leave is not None,
    )
