"""One spot pair on the simulated exchange: two assets change hands, and order lists of two legs.

Owns what a spot order may do and what its fills do to the two wallets. The fee is taken from what is received: base
for a BUY, quote for a SELL, cut to eight places. A BUY locks quote, a SELL base; a waiting market stop that buys locks
its quantity at the stop price and expires what it cannot pay when it triggers. The two legs of an OCO lock once, on
the target leg, the dearer of both; the first fill or trigger of one ends the other.
"""

from decimal import Decimal

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce
from chimera.domain.execution.orders import ListLeg, ListUpdated, NewOrder, NewOrderList
from chimera.domain.market.instrument import Instrument
from chimera.domain.matching import refusals
from chimera.domain.matching.account import Account
from chimera.domain.matching.desk import Desk
from chimera.domain.matching.filters import check_spot, check_spot_list, check_spot_qty
from chimera.domain.matching.money import ZERO, ceil8, floor8
from chimera.domain.matching.records import (
    STOP_LIKE,
    TRIGGERED_TYPES,
    EndReason,
    Flow,
    ListRecord,
    OrderRecord,
    Wallet,
)
from chimera.domain.matching.rules import ExchangeRules


class SpotDesk(Desk):
    def __init__(self, instrument: Instrument, rules: ExchangeRules, account: Account) -> None:
        super().__init__(instrument, rules, account)
        self.fees = rules.fees[Market.SPOT]
        self.base = account.wallet(Market.SPOT, instrument.base_asset)
        self.quote = account.wallet(Market.SPOT, instrument.quote_asset)

    @property
    def last(self) -> Decimal | None:
        return self.book.top.last if self.book.top is not None else None

    # --- orders

    def place(self, new: NewOrder, now_ms: int) -> OrderRecord:
        record = self.book_order(new, self.check(new), now_ms)
        if new.type in TRIGGERED_TYPES:
            self.wait(record)
        else:
            self.work(record, now_ms)
        return record

    def check(self, new: NewOrder) -> Decimal:
        check_spot(self.instrument, new, self.last)
        self.refuse_duplicate(Market.SPOT, new.client_order_id)
        if new.type in TRIGGERED_TYPES:
            self._check_stop(new)
            return new.qty
        if new.quote_qty is not None:
            return self._check_quote_qty(new.side, new.quote_qty)
        if new.type is not OrderType.MARKET:
            self._check_count(1)
        if new.type is OrderType.LIMIT_MAKER and new.price is not None and self.would_take(new.side, new.price):
            raise refusals.would_take(Market.SPOT)
        limit = None if new.type is OrderType.MARKET else new.price
        plan = self.book.plan(new.side, new.qty, limit)
        rest = new.qty - sum((part for _, part in plan), ZERO)
        rests = limit is not None and (new.type is OrderType.LIMIT_MAKER or new.time_in_force is TimeInForce.GTC)
        cost = sum((price * qty for price, qty in plan), ZERO)
        if rests and limit is not None:
            cost += ceil8(limit * rest)
        self._check_funds(new.side, new.qty, ceil8(cost))
        # Unlike futures, spot accepts a fill-or-kill order that cannot fill, and expires it.
        return new.qty

    def place_list(self, new: NewOrderList, now_ms: int) -> ListRecord:
        """
        Raises:
            Refusal: nothing of the list was placed.
        """
        check_spot_list(self.instrument, new, self.last)
        legs = (new.above, new.below)
        for leg in legs:
            self.refuse_duplicate(Market.SPOT, leg.client_order_id)
        lists = self.open_lists()
        if new.above.client_order_id == new.below.client_order_id or any(
            record.list_client_id == new.list_client_id for record in lists
        ):
            raise refusals.duplicate(Market.SPOT)
        if len(lists) >= self.rules.spot_lists_max:
            raise refusals.filter_failed("MAX_NUM_ORDER_LISTS")
        self._check_count(2)
        self._check_stop_count(sum(leg.type in TRIGGERED_TYPES for leg in legs))
        last = self.last
        highest, lowest = max(_prices_of(new.below)), min(_prices_of(new.above))
        if highest >= lowest or (last is not None and not highest < last < lowest):
            raise refusals.price_relation()
        for leg in legs:
            if leg.type is OrderType.LIMIT_MAKER and leg.price is not None and self.would_take(new.side, leg.price):
                raise refusals.would_take(Market.SPOT)
        self._check_funds(new.side, new.qty, ceil8(new.qty * max(_cost_price(leg) for leg in legs)))
        return self._book_list(new, now_ms)

    def open_lists(self) -> list[ListRecord]:
        """The symbol's lists with a leg still open, oldest first."""
        numbers = {
            int(record.order_list_id) for record in [*self.buys, *self.sells, *self.stops] if record.order_list_id
        }
        return [self.account.lists[number] for number in sorted(numbers)]

    def _book_list(self, new: NewOrderList, now_ms: int) -> ListRecord:
        list_id = self.account.number("list")
        legs = (new.above, new.below) if new.side is Side.SELL else (new.below, new.above)
        target, stop = (
            self.book_order(
                NewOrder(
                    client_order_id=leg.client_order_id,
                    market=Market.SPOT,
                    symbol=new.symbol,
                    side=new.side,
                    type=leg.type,
                    qty=new.qty,
                    price=leg.price,
                    stop_price=leg.stop_price,
                    time_in_force=leg.time_in_force,
                    stp=new.stp,
                ),
                new.qty,
                now_ms,
                str(list_id),
            )
            for leg in legs
        )
        record = ListRecord(
            list_id=list_id,
            list_client_id=new.list_client_id,
            symbol=new.symbol,
            target_no=target.no,
            stop_no=stop.no,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        self.account.add_list(record)
        for leg in (target, stop):
            if leg.waiting:
                self.wait(leg)
            else:
                self.rest(leg)
        self.account.tell(ListUpdated(now_ms, self.account.list_view(record)))
        return record

    def _check_quote_qty(self, side: Side, quote_qty: Decimal) -> Decimal:
        qty = self.book.qty_worth(side, quote_qty)
        if self.book.best(side) is not None:  # without a book it expires as any market order does
            check_spot_qty(self.instrument, qty, market=True)
        self._check_funds(side, qty, quote_qty)
        return qty

    def _check_stop(self, new: NewOrder) -> None:
        self._check_count(1)
        self._check_stop_count(1)
        last = self.last
        if last is not None and new.stop_price is not None:
            upwards = (new.side is Side.BUY) == (new.type in STOP_LIKE)
            if last >= new.stop_price if upwards else last <= new.stop_price:
                raise refusals.would_trigger(Market.SPOT)
        price = new.price if new.price is not None else new.stop_price
        assert price is not None
        self._check_funds(new.side, new.qty, ceil8(new.qty * price))

    def _check_count(self, more: int) -> None:
        if len(self.buys) + len(self.sells) + len(self.stops) + more > self.rules.open_orders_max:
            raise refusals.filter_failed("MAX_NUM_ORDERS")

    def _check_stop_count(self, more: int) -> None:
        if len(self.stops) + more > self.rules.spot_stops_max:
            raise refusals.filter_failed("MAX_NUM_ALGO_ORDERS")

    def _check_funds(self, side: Side, qty: Decimal, cost: Decimal) -> None:
        if (cost if side is Side.BUY else qty) > self.payer(side).free:
            raise refusals.no_funds(Market.SPOT)

    # --- what the desk asks

    def payer(self, side: Side) -> Wallet:
        return self.quote if side is Side.BUY else self.base

    def lock_for(self, record: OrderRecord) -> Decimal:
        sibling = self._sibling(record)
        if sibling is None:
            return _need(record)
        if record.no > sibling.no:
            return ZERO  # the target leg, which was booked first, locks for both
        return max(_need(record), _need(sibling))

    def take_limit(self, side: Side) -> Decimal | None:
        return None

    def affordable(self, record: OrderRecord, price: Decimal, qty: Decimal) -> Decimal:
        if record.side is Side.SELL:
            return min(qty, self.instrument.floor_qty(self.base.free))
        return min(qty, self.instrument.floor_qty(self.quote.free / price))

    def shortage(self, record: OrderRecord) -> EndReason:
        return EndReason.BALANCE

    def settle(
        self, record: OrderRecord, price: Decimal, qty: Decimal, maker: bool, now_ms: int
    ) -> tuple[Decimal, str, Decimal]:
        ratio = self.fees.maker if maker else self.fees.taker
        value = floor8(price * qty)
        buying = record.side is Side.BUY
        received, paid = (self.base, self.quote) if buying else (self.quote, self.base)
        gross = qty if buying else value
        fee = floor8(gross * ratio)
        self.account.post(paid, Flow.TRADE, -(value if buying else qty))
        self.account.post(received, Flow.TRADE, gross)
        self.account.post(received, Flow.COMMISSION, -fee)
        return fee, received.asset, ZERO

    def trigger(self, record: OrderRecord, now_ms: int) -> None:
        """The order keeps its id; from now on it works. Its sibling gives way first."""
        sibling = self._sibling(record)
        self.stops.remove(record)
        record.triggered = True
        record.triggered_at_ms = record.updated_at_ms = now_ms
        self.account.tell_order(record)
        if sibling is not None:
            self.end(sibling, OrderStatus.CANCELED, EndReason.OCO_TRIGGER, now_ms)
        self.account.lock(self.payer(record.side), record, ZERO)
        self.work(record, now_ms)

    def after_fill(self, record: OrderRecord, now_ms: int) -> None:
        sibling = self._sibling(record)
        if sibling is not None:
            self.end(sibling, OrderStatus.CANCELED, EndReason.OCO_TRIGGER, now_ms)
            if not record.status.is_final:
                self.relock(record)

    def after_end(self, record: OrderRecord, reason: EndReason, now_ms: int) -> None:
        """A leg that ends for its own reason takes the other with it."""
        sibling = self._sibling(record)
        if sibling is not None and reason is not EndReason.OCO_TRIGGER:
            self.end(sibling, OrderStatus.CANCELED, reason, now_ms)
        if record.order_list_id is not None:
            self._finish_list(self.account.lists[int(record.order_list_id)], now_ms)

    def _finish_list(self, pair: ListRecord, now_ms: int) -> None:
        if not pair.done:
            pair.done, pair.updated_at_ms = True, now_ms
            self.account.mark_dirty("list", str(pair.list_id))
            self.account.tell(ListUpdated(now_ms, self.account.list_view(pair)))

    def _sibling(self, record: OrderRecord) -> OrderRecord | None:
        """The other leg while it is open."""
        if record.order_list_id is None:
            return None
        pair = self.account.lists.get(int(record.order_list_id))
        if pair is None:
            return None
        other = self.account.orders[pair.stop_no if record.no == pair.target_no else pair.target_no]
        return None if other.status.is_final else other


def _need(record: OrderRecord) -> Decimal:
    if record.side is Side.SELL:
        return record.left
    price = record.price if record.price is not None else record.stop_price
    return ceil8(record.left * price) if price is not None else ZERO


def _prices_of(leg: ListLeg) -> list[Decimal]:
    """What must lie on the leg's side of the last price: of a stop-loss only where it triggers."""
    limit = None if leg.type in STOP_LIKE else leg.price
    return [price for price in (leg.stop_price, limit) if price is not None]


def _cost_price(leg: ListLeg) -> Decimal:
    price = leg.price if leg.price is not None else leg.stop_price
    assert price is not None
    return price
