"""From an entry's orders and fills to the trade they make, and to what the keeper of positions looks at. Pure.

Everything is derived from documents that S4 wrote, so any trigger at any time leads to the same trade: the stop that
holds is the tightest that the exchange ever listed, the rung is how many targets have filled, the reason is what the
last exit was for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
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
from chimera.domain.positions.adds import target_of_whole
from chimera.domain.positions.liquidation import liquidation_price
from chimera.domain.positions.manage import PERSON, Effect, ManageParams, ReduceAtMarket, TakeBackEntry, TradeView
from chimera.domain.positions.roe import roe
from chimera.domain.positions.spot_count import is_dust
from chimera.domain.positions.stops import first_stop, is_tighter, tier_price
from chimera.domain.positions.trade_book import BookExit, BookFill, TradeBook, book_of

TIER_MAX = 10_000
"""A stop that secures 500 times the margin: beyond it only a broken price would count on."""

NETTED = "NETTED"
"""All that the entry bought closed what somebody else held."""
DUST = "DUST"
"""All that the entry bought is less than the exchange lets anybody sell."""
BY_A_PERSON = "EXIT"
"""A person left it through us."""
STRANGERS_STOP = "STRANGERS_STOP"
"""The stop of what a person held on the same instrument closed some of ours."""
FOREIGN = (LIQUIDATION, MANUAL)
"""`orders.reason` of what nobody here ordered: the exchange closed the position, or a person did by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything on file about one entry. `fee_ratio` is the taker's; `adds` are the intents that made it grow, or were
    to, by number; `max_adds` None: no fired rule said how many there may be."""

    record: IntentRecord
    orders: tuple[Order, ...]
    fills: tuple[Fill, ...]
    instrument: Instrument
    params: ManageParams
    fee_ratio: Decimal
    leverage: int
    adds: tuple[IntentRecord, ...] = ()
    max_adds: int | None = None

    @property
    def adds_under_way(self) -> tuple[IntentRecord, ...]:
        return tuple(record for record in self.adds if not record.state.is_final)

    @property
    def adds_done(self) -> tuple[IntentRecord, ...]:
        """Those that ended with a fill."""
        filled = {order.intent_id for order in self.orders if order.purpose is Purpose.ADD and order.filled_qty}
        return tuple(record for record in self.adds if record.state.is_final and record.intent_id in filled)

    @property
    def keepers_orders(self) -> tuple[Order, ...]:
        """Those that S6 leads: what an add under way has ordered is the router's until it ends."""
        under_way = {record.intent_id for record in self.adds_under_way}
        return tuple(order for order in self.own_orders if order.intent_id not in under_way)

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
    """Nothing is left that could be sold: below one step, or on SPOT what S4 calls dust too, which stays in the
    wallet's own account. What an open order still sells is none, but for a target alone: the exchange took the stop
    from beside it, and so little can have no other."""
    instrument = facts.instrument
    if book.qty_open < instrument.step_size:
        return True
    dust = facts.record.market is Market.SPOT and is_dust(book.qty_open, book.entry_price_avg, instrument)
    return dust and not any(is_open(order) and order.purpose is not Purpose.TP for order in facts.own_orders)


def trade_of(facts: Facts, *, before: Trade | None, funding_usdt: Decimal, now_ms: int) -> Trade | None:
    """The trade as the documents tell it; None before its first fill. `before` is asked whether it had ended, and for
    what no order says: what a person told us, and whether it stagnates."""
    leave = None if before is None else before.persons_leave
    put = None if before is None else before.persons_stop
    book = book_of_facts(facts)
    if book is None:
        return None
    record = facts.record
    by_id = {order.order_id: order for order in facts.orders}
    # What a SPOT entry bought may be dust from the first: nothing will ever leave it.
    bought_dust = record.market is Market.SPOT and record.state.is_final
    flat = is_flat(facts, book) and (bool(book.exits or book.netted_qty) or bought_dust)
    ended = flat and record.state.is_final and not facts.adds_under_way
    grown_at = max((add.updated_at for add in facts.adds_done), default=0)
    was_closed = before is not None and before.status is TradeStatus.CLOSED
    closed = ended and (was_closed or not any(is_open(order) for order in facts.own_orders))
    stop_price = stop_price_of(facts, put)
    stops = [order for order in open_stops(facts.keepers_orders) if order.stop_price == stop_price]
    targets = [order for order in facts.keepers_orders if order.purpose is Purpose.TP and is_open(order)]
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
        exits=tuple(_trade_exit(exit, by_id[exit.order_id], facts, book, leave) for exit in book.exits),
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
        first_loss_usdt=_first_loss(facts),
        add_on_count=len(facts.adds_done),
        # What a person put on hold ends with an add: the tiers of the whole begin anew.
        tier=max(tier_of(facts, book, stop_price), put.tier if put is not None and put.at >= grown_at else 0),
        rung=rungs_filled(facts.own_orders) if record.market is Market.FUT else 0,
        opened_at=book.opened_at,
        closed_at=book.last_fill_at if closed else None,
        reason=_end_reason(book, by_id, facts, leave) if flat else None,
        signal_id=record.intent.signal_id,
        persons_stop=put,
        persons_leave=leave,
        still_since=None if before is None else before.still_since,
        stagnated_at=None if before is None else before.stagnated_at,
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


def _trade_exit(exit: BookExit, order: Order, facts: Facts, book: TradeBook, leave: PersonsLeave | None) -> TradeExit:
    return TradeExit(
        ts=exit.ts,
        qty=money(exit.qty),
        price=exit.price,
        pnl_usdt=money(exit.pnl_usdt),
        fee_usdt=money(exit.fee_usdt),
        purpose=order.purpose or Purpose.EXIT,
        order_id=exit.order_id,
        reason=_reason(order, facts, book, leave),
    )


def _end_reason(book: TradeBook, by_id: dict[str, Order], facts: Facts, leave: PersonsLeave | None) -> str:
    if not book.exits:
        return NETTED if book.netted_qty else DUST
    last = book.exits[-1]
    return _reason(by_id[last.order_id], facts, book, leave)


def _reason(order: Order, facts: Facts, book: TradeBook, leave: PersonsLeave | None) -> str:
    record, adds = facts.record, facts.adds
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
    by_router = next((each for each in (record, *adds) if order.intent_id == each.intent_id), None)
    if by_router is not None:
        # The router closed what it could not protect, and said why at the intent's end.
        return by_router.reason or "EXIT"
    # The keeper leaves at market for nothing else: a stop that was passed or cannot be placed, a liquidation near.
    by_keeper = (order.intent_id or "").startswith(f"{record.intent_id}-{Purpose.EXIT.value}-")
    if not by_keeper or (leave is not None and order.created_at >= leave.at):
        return BY_A_PERSON
    return "FORCED_EXIT"


def stop_price_of(facts: Facts, put: PersonsStop | None = None) -> Decimal | None:
    """Where the stop belongs: the tightest that was ever listed, else where the entry wanted it. Where a person put it,
    it belongs there, or at the tightest that was ordered since."""
    side = facts.record.intent.side
    best = None if put is None else put.price
    for order in facts.keepers_orders:
        if put is not None and order.order_id in put.instead_of:
            continue
        if order.purpose is Purpose.SL and order.is_listed and order.stop_price is not None:
            best = order.stop_price if best is None or is_tighter(side, order.stop_price, best) else best
    return first_stop_price(facts) if best is None else best


def first_book(facts: Facts) -> TradeBook | None:
    """What the entry alone opened, before anything was added to it or left it. None before its first fill."""
    own = {order.order_id for order in facts.orders if order.intent_id == facts.record.intent_id and order.is_entry}
    return book_of_facts(replace(facts, fills=tuple(fill for fill in facts.fills if fill.order_id in own)))


def first_stop_price(facts: Facts) -> Decimal | None:
    """The entry's own wish, kept from its average fill where it was told as a distance."""
    wish = facts.record.intent.sl
    if wish is None or (wish.price is None and wish.distance is None):
        return None
    if wish.price is not None:
        return wish.price
    assert wish.distance is not None
    book = first_book(facts)
    if book is None:
        return None
    return first_stop(facts.instrument, facts.record.intent.side, book.entry_price_avg, wish.distance)


def _first_loss(facts: Facts) -> Decimal | None:
    price, book = first_stop_price(facts), first_book(facts)
    return None if price is None or book is None else money(abs(book.entry_price_avg - price) * book.qty_opened)


def target_ratio(facts: Facts, first: TradeBook, first_target_price: Decimal | None) -> Decimal | None:
    """What share of the first entry's margin its target stands for; None where it had none."""
    wish = facts.record.intent.tp
    if wish is not None and wish.ratio is not None:
        return wish.ratio
    if wish is not None and wish.price is None and wish.value is not None:
        return wish.value * facts.leverage / (first.qty_opened * first.entry_price_avg)
    if first_target_price is None:
        return None
    return roe(
        side=facts.record.intent.side,
        entry_price=first.entry_price_avg,
        mark=first_target_price,
        leverage=facts.leverage,
        fee_ratio=facts.fee_ratio,
    )


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


def to_cover_qty(facts: Facts, trade: Trade) -> Decimal:
    """What S6 keeps a stop for: all that is open, less what an add under way has filled and not lost again."""
    under_way = {record.intent_id for record in facts.adds_under_way}
    routers = sum(
        (
            order.filled_qty if order.purpose is Purpose.ADD else -order.filled_qty
            for order in facts.own_orders
            if order.intent_id in under_way and order.filled_qty
        ),
        Decimal(0),
    )
    return max(Decimal(0), trade.qty_open - max(Decimal(0), routers))


def covering_stop(facts: Facts, trade: Trade) -> Order | None:
    """The listed stop that covers exactly what is to be covered, at the stop's own price: others are surplus. What is
    off the grid is covered by the next step above it."""
    qty = to_cover_qty(facts, trade)
    exactly = (qty, facts.instrument.ceil_qty(qty))
    for order in reversed(open_stops(facts.keepers_orders)):
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
    leave = trade.persons_leave
    if leave is None or leave.given_up_at is not None or not is_held(trade) or exit_pending(facts.own_orders):
        return ()
    if not facts.record.state.is_final:
        return (TakeBackEntry(),)
    return (ReduceAtMarket(facts.instrument.floor_qty(trade.qty_open), PERSON),)


def view_of(facts: Facts, trade: Trade) -> TradeView:
    """What `manage` looks at. Needs a stop price: a futures entry without one is never accepted."""
    assert trade.stop_price is not None, f"trade {trade.trade_id} has no stop price"
    orders, side = facts.keepers_orders, trade.side
    cover_qty = to_cover_qty(facts, trade)
    listed = [order for order in open_stops(orders) if order.stop_price == trade.stop_price]
    covering = covering_stop(facts, trade)
    targets = [order for order in orders if order.purpose is Purpose.TP and is_open(order)]
    first = first_book(facts)
    put, grown_at = trade.persons_stop, max((add.updated_at for add in facts.adds_done), default=None)
    return TradeView(
        instrument=facts.instrument,
        side=side,
        entry_price=trade.entry_price_avg,
        open_qty=trade.qty_open if is_held(trade) else Decimal(0),
        leverage=trade.leverage,
        fee_ratio=facts.fee_ratio,
        entry_final=facts.record.state.is_final,
        closed=trade.status is TradeStatus.CLOSED and not any(map(is_open, facts.own_orders)),
        tier=trade.tier,
        stop_price=trade.stop_price,
        stop_qty=cover_qty if covering is not None else _rest(listed[-1]) if listed else Decimal(0),
        stop_pending=any(order.purpose is Purpose.SL and is_open(order) and not order.is_listed for order in orders),
        rungs_filled=trade.rung,
        target_rests=any(order.is_listed for order in targets),
        target_pending=any(not order.is_listed for order in targets),
        first_target_price=_first_target(facts, trade, first),
        exit_pending=exit_pending(orders),
        orders_resting=sum(map(is_open, facts.own_orders)),
        liquidation_price=liquidation_of(facts, trade),
        leaving=trade.persons_leave is not None,
        first_qty=first.qty_opened if first is not None else Decimal(0),
        first_loss_usdt=trade.first_loss_usdt,
        adds_max=facts.params.adds.max_adds if facts.max_adds is None else facts.max_adds,
        adds_done=trade.add_on_count,
        add_pending=bool(facts.adds_under_way),
        to_cover_qty=cover_qty,
        target_stale=grown_at is not None and any(order.created_at < grown_at for order in targets),
        loss_freed=put is not None and put.at >= (grown_at or 0),
    )


def _first_target(facts: Facts, trade: Trade, first: TradeBook | None) -> Decimal | None:
    """Where the router put rung 1; after an add, where the whole nets the same share of its margin."""
    own = (
        order.stop_price
        for order in facts.own_orders
        if order.purpose is Purpose.TP and order.intent_id == trade.trade_id
    )
    placed = next((price for price in own if price is not None), None)
    if not trade.add_on_count or first is None:
        return placed
    ratio = target_ratio(facts, first, placed)
    if ratio is None:
        return None
    return target_of_whole(
        facts.instrument,
        side=trade.side,
        entry_price=trade.entry_price_avg,
        leverage=trade.leverage,
        fee_ratio=facts.fee_ratio,
        ratio=ratio,
    )
