"""How orders work on one instrument, whatever the market: resting, taking, triggering, ending.

Owns the two sides of our own resting orders (price, then time), the orders that wait for a trigger, and the outside
book they meet. What a fill does to money, what an order locks and what it may do is the market's: see `futures` and
`spot`.

    taker    walks the outside book level by level, one fill a level; where it meets an order of its own account, the
             maker expires, or the taker, or both, as the taker asked
    maker    fills whole at its own price when the outside best price trades through it; when the outside price stands
             exactly at ours, a share of the outside quantity reaches us, in time order
    trigger  a waiting order becomes a market or limit order and works at once

Invariant between operations: `buy_max`, `sell_min`, `last_low`, `last_high` bound everything that waits, so a new
picture that stays inside them costs a few comparisons.
"""

from abc import ABC, abstractmethod
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.enums import Market, OrderStatus, Side, TimeInForce, WorkingType
from chimera.domain.execution.orders import NewOrder, SelfTrade, VenueFill
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import BookTop, Level
from chimera.domain.matching import refusals
from chimera.domain.matching.account import Account
from chimera.domain.matching.book import OutsideBook
from chimera.domain.matching.filters import trades
from chimera.domain.matching.money import ZERO
from chimera.domain.matching.records import PRICED, TIMED, TRIGGERED_TYPES, EndReason, OrderRecord, Wallet
from chimera.domain.matching.rules import ExchangeRules

NEVER_BELOW = Decimal(-1)
NEVER_ABOVE = Decimal("Infinity")


class Desk(ABC):
    def __init__(self, instrument: Instrument, rules: ExchangeRules, account: Account) -> None:
        self.instrument = instrument
        self.rules = rules
        self.account = account
        self.book = OutsideBook(instrument, rules.synthetic_levels)
        self.buys: list[OrderRecord] = []
        self.sells: list[OrderRecord] = []
        self.stops: list[OrderRecord] = []
        self.buy_max = NEVER_BELOW
        self.sell_min = NEVER_ABOVE
        self.last_low = NEVER_BELOW
        self.last_high = NEVER_ABOVE

    # --- what the market decides

    @abstractmethod
    def payer(self, side: Side) -> Wallet:
        """The wallet that an order on `side` keeps back from."""

    @abstractmethod
    def lock_for(self, record: OrderRecord) -> Decimal:
        """What an open order must keep back now."""

    @abstractmethod
    def settle(
        self, record: OrderRecord, price: Decimal, qty: Decimal, maker: bool, now_ms: int
    ) -> tuple[Decimal, str, Decimal]:
        """Book one fill; returns fee, its asset and the realised PnL in USDT."""

    @abstractmethod
    def affordable(self, record: OrderRecord, price: Decimal, qty: Decimal) -> Decimal:
        """How much of `qty` a taker may trade at `price` in one fill; it is asked again for the rest, 0 ends it."""

    @abstractmethod
    def shortage(self, record: OrderRecord) -> EndReason:
        """What `affordable` 0 means."""

    @abstractmethod
    def take_limit(self, side: Side) -> Decimal | None:
        """The worst price at which a market order may trade."""

    @abstractmethod
    def trigger(self, record: OrderRecord, now_ms: int) -> None:
        """The price of a waiting order was reached."""

    @abstractmethod
    def after_fill(self, record: OrderRecord, now_ms: int) -> None:
        """What one fill means for the other orders."""

    @abstractmethod
    def after_end(self, record: OrderRecord, reason: EndReason, now_ms: int) -> None:
        """What the end of an order means for the other orders."""

    def tell_money(self, cause: str, now_ms: int) -> None:
        """Report what the operation did to balances and position."""
        self.account.tell_balances(cause, now_ms)

    def replace_instrument(self, instrument: Instrument) -> None:
        """Other rules from now on; what rests or waits stands as it is, also where it would be refused now."""
        self.instrument = instrument
        self.book.measure_by(instrument)

    # --- market data

    def show(self, top: BookTop) -> bool:
        """Take the new outside book; True when something of ours may react to it."""
        self.book.refill(top)
        return not (
            top.asks[0][0] > self.buy_max
            and top.bids[0][0] < self.sell_min
            and self.last_low < top.last < self.last_high
        )

    def react(self, now_ms: int) -> None:
        """Fill what the outside book reaches, then trigger what its last price reaches. A halted book does neither."""
        if not trades(self.instrument):
            return
        top = self.book.top
        assert top is not None
        self._match(Side.BUY, top.asks[0], now_ms)
        self._match(Side.SELL, top.bids[0], now_ms)
        self.fire(WorkingType.CONTRACT_PRICE, top.last, now_ms)

    def fire(self, source: WorkingType, price: Decimal, now_ms: int) -> None:
        """Trigger every waiting order that `price` of this source reaches, oldest first."""
        due = [record for record in self.stops if record.working_type is source and record.triggered_by(price)]
        for record in due:
            if record.waiting and not record.status.is_final:
                self.trigger(record, now_ms)

    def refresh(self) -> None:
        """Recompute the bounds inside which nothing of ours reacts."""
        self.buy_max = _price(self.buys[0]) if self.buys else NEVER_BELOW
        self.sell_min = _price(self.sells[0]) if self.sells else NEVER_ABOVE
        self.last_low, self.last_high = self.trigger_bounds(WorkingType.CONTRACT_PRICE)

    def trigger_bounds(self, source: WorkingType) -> tuple[Decimal, Decimal]:
        """The price may move strictly between these without triggering anything that listens to `source`."""
        low, high = NEVER_BELOW, NEVER_ABOVE
        for record in self.stops:
            if record.working_type is source:
                low, high = record.within(low, high)
        return low, high

    # --- orders

    @abstractmethod
    def check(self, new: NewOrder) -> Decimal:
        """The quantity with which `new` would be accepted.

        Raises:
            Refusal: it would not.
        """

    def opposing(self, side: Side) -> list[OrderRecord]:
        return self.sells if side is Side.BUY else self.buys

    def would_take(self, side: Side, price: Decimal) -> bool:
        """True when an order at `price` meets the outside book or our own."""
        best = self.book.best(side)
        if best is not None and not _beyond(side, best, price):
            return True
        own = self.opposing(side)
        return bool(own) and not _beyond(side, _price(own[0]), price)

    def book_order(self, new: NewOrder, qty: Decimal, now_ms: int, order_list_id: str | None = None) -> OrderRecord:
        """Accept: number the order, remember it, tell of it."""
        conditional = new.conditional
        no = self.account.number("record")
        venue_order_id = "" if conditional else str(self.account.number("order"))
        is_futures = new.market is Market.FUT
        record = OrderRecord(
            no=no,
            client_order_id=ids.told_apart(new.client_order_id, venue_order_id) if is_futures else new.client_order_id,
            market=new.market,
            symbol=new.symbol,
            side=new.side,
            type=new.type,
            qty=qty,
            price=new.price if new.type in PRICED else None,
            stop_price=new.stop_price if new.type in TRIGGERED_TYPES else None,
            time_in_force=new.time_in_force if new.type in TIMED else TimeInForce.GTC,
            reduce_only=new.reduce_only,
            close_position=new.close_position,
            conditional=conditional,
            working_type=new.working_type if is_futures else WorkingType.CONTRACT_PRICE,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
            venue_order_id=venue_order_id,
            venue_algo_id=str(self.account.number("algo")) if conditional else None,
            order_list_id=order_list_id,
            callback_ratio=new.callback_ratio,
            activate_price=new.activate_price,
            quote_qty=new.quote_qty,
            stp=new.stp,
        )
        self.account.add_order(record)
        self.account.tell_order(record)
        return record

    def wait(self, record: OrderRecord) -> None:
        """Keep the order until its trigger."""
        self.stops.append(record)
        self.relock(record)
        self.refresh()

    def work(self, record: OrderRecord, now_ms: int) -> None:
        """Take what the outside book offers within the order's limit; the rest rests or expires."""
        limit = record.price if record.price is not None else self.take_limit(record.side)
        plan = self.book.plan(record.side, record.left, limit)
        if record.time_in_force is TimeInForce.FOK and sum((qty for _, qty in plan), ZERO) < record.left:
            self.end(record, OrderStatus.CANCELED, EndReason.FOK, now_ms)
            return
        met = None
        if record.stp in (SelfTrade.EXPIRE_TAKER, SelfTrade.EXPIRE_BOTH):
            own = self._in_the_way(record, plan, limit)
            if own:
                met = own[0]
                plan = tuple(level for level in plan if _beyond(record.side, _price(met), level[0]))
        else:
            for maker in self._in_the_way(record, plan, limit):
                if not maker.status.is_final:
                    self.end(maker, OrderStatus.CANCELED, EndReason.SELF_TRADE, now_ms)
        for price, offered in plan:
            wanted = min(offered, record.left)
            while wanted > 0:
                qty = self.affordable(record, price, wanted)
                if qty == 0:
                    self.end(record, OrderStatus.CANCELED, self.shortage(record), now_ms)
                    return
                self.book.consume(record.side, price, qty)
                self.fill(record, price, qty, maker=False, now_ms=now_ms)
                wanted -= qty
        if record.status.is_final:
            return
        if met is not None:
            if record.stp is SelfTrade.EXPIRE_BOTH and not met.status.is_final:
                self.end(met, OrderStatus.CANCELED, EndReason.SELF_TRADE, now_ms)
            self.end(record, OrderStatus.CANCELED, EndReason.SELF_TRADE, now_ms)
            return
        if not record.rests:
            self.end(record, OrderStatus.CANCELED, _expiry(record), now_ms)
        elif self.lock_for(record) > self.payer(record.side).free:
            self.end(record, OrderStatus.CANCELED, self.shortage(record), now_ms)
        else:
            self.rest(record)

    def rest(self, record: OrderRecord) -> None:
        """Stand in the book with what is left."""
        self._stand(record)
        self.relock(record)
        self.refresh()

    def fill(self, record: OrderRecord, price: Decimal, qty: Decimal, *, maker: bool, now_ms: int) -> None:
        record.filled_qty += qty
        record.filled_quote += price * qty
        record.updated_at_ms = now_ms
        record.status = OrderStatus.PARTIALLY_FILLED if record.left > 0 else OrderStatus.FILLED
        if record.status.is_final:
            self._detach(record)
        if maker or record.status.is_final:
            self.relock(record)  # a taker at work locks nothing yet: its rest does, once it stands in the book
        fee, fee_asset, realized = self.settle(record, price, qty, maker, now_ms)
        fill = VenueFill(
            market=record.market,
            symbol=record.symbol,
            side=record.side,
            trade_id=self.account.number("trade"),
            client_order_id=record.client_order_id,
            venue_order_id=record.venue_order_id,
            price=price,
            qty=qty,
            fee=fee,
            fee_asset=fee_asset,
            maker=maker,
            realized_pnl_usdt=realized,
            ts=now_ms,
        )
        self.account.add_fill(fill)
        self.account.tell_order(record, fill)
        self.after_fill(record, now_ms)
        self.refresh()

    def end(self, record: OrderRecord, status: OrderStatus, reason: EndReason, now_ms: int) -> None:
        record.status = status
        record.reason = reason.value
        record.updated_at_ms = now_ms
        self._detach(record)
        self.relock(record)
        self.account.tell_order(record)
        self.after_end(record, reason, now_ms)
        self.refresh()

    def relock(self, record: OrderRecord) -> None:
        """Keep back what the order needs now: nothing once it is final."""
        amount = ZERO if record.status.is_final else self.lock_for(record)
        self.account.lock(self.payer(record.side), record, amount)

    def adopt(self, record: OrderRecord) -> None:
        """Put an open order back where it stood, after a restart. Its lock is already in the record."""
        self.payer(record.side).order_lock += record.locked
        if record.waiting:
            self.stops.append(record)
        else:
            self._stand(record)

    # --- inside

    def _stand(self, record: OrderRecord) -> None:
        """Best price first, then whose turn it is."""
        if record.side is Side.BUY:
            self.buys.append(record)
            self.buys.sort(key=lambda other: (-_price(other), other.turn))
        else:
            self.sells.append(record)
            self.sells.sort(key=lambda other: (_price(other), other.turn))

    def _match(self, side: Side, outside: Level, now_ms: int) -> None:
        """Fill our resting orders on `side` against the best outside price of the other side."""
        price, offered = outside
        at_touch = self.instrument.floor_qty(offered * self.rules.touch_ratio)
        for record in list(self.buys if side is Side.BUY else self.sells):
            if record.status.is_final:
                continue  # an earlier fill of this round ended it
            own = _price(record)
            if _beyond(side, price, own):
                return
            qty = record.left
            if own == price:
                qty = min(qty, at_touch)
                at_touch -= qty
            if qty > 0:
                if own == price:
                    self.book.consume(side, price, qty)
                self.fill(record, own, qty, maker=True, now_ms=now_ms)

    def _in_the_way(self, record: OrderRecord, plan: tuple[Level, ...], limit: Decimal | None) -> list[OrderRecord]:
        """Orders of our own that a taker would meet before it has what it plans; at one price ours comes first."""
        opposing = self.opposing(record.side)
        if not opposing:
            return []
        planned = sum((qty for _, qty in plan), ZERO)
        reach = plan[-1][0] if plan and planned >= record.left else limit
        return [own for own in opposing if reach is None or not _beyond(record.side, _price(own), reach)]

    def _detach(self, record: OrderRecord) -> None:
        self.account.close_order(record)
        for orders in (self.buys, self.sells, self.stops):
            if record in orders:
                orders.remove(record)

    def refuse_duplicate(self, market: Market, client_order_id: str) -> None:
        """A client id is unique among open orders only, on both books: a final one may come again, as it may there."""
        if (market, self.instrument.symbol, client_order_id) in self.account.open:
            raise refusals.duplicate(market)


def _price(record: OrderRecord) -> Decimal:
    assert record.price is not None, f"{record.client_order_id} rests without a price"
    return record.price


def _beyond(side: Side, price: Decimal, limit: Decimal) -> bool:
    """True when a taker on `side` with `limit` does not reach `price`."""
    return price > limit if side is Side.BUY else price < limit


def _expiry(record: OrderRecord) -> EndReason:
    return EndReason.LIQUIDITY if record.price is None else EndReason.IOC
