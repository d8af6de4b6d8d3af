"""What whoever runs the simulated exchange, and the human who owns its account, may do to it while it runs.

Owns interventions and how they are taken back: prices bent for everybody, symbols halted, filters changed, money moved,
orders placed, canceled or filled behind the client's back. What it does to the account is durable and told like any
other change, and so is where prices stand after outages; all else that it does to prices and instruments ends with the
process.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal

import structlog

from chimera.adapters.simulated_venue.feed import MarketFeed, OpenSide, Tick
from chimera.adapters.simulated_venue.host import ExchangeHost
from chimera.adapters.simulated_venue.journal import JournalError
from chimera.contracts.enums import Market, OrderType, Side, TimeInForce, WorkingType
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import AccountChange, NewOrder, VenueOrder
from chimera.domain.market.generator import FundingRate
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Bar, BookTop, Level, MarkPrice
from chimera.domain.matching.refusals import Refusal

Bend = Callable[[Tick], Tick]

log = structlog.get_logger(__name__)

BPS = Decimal(10_000)
WHOLE_BOOK = Decimal("0.2")
"""So far from the mark nothing that is bound to it trades."""

LASTING = "lasting"
LASTING_RATIOS = (Decimal("0.1"), Decimal(10))
"""How far outages may move the market in all, so that no price comes near nothing."""

SHIFTS_KEPT = 100
"""Shifts that are over and that bars still show; older bars lose theirs."""


@dataclass(frozen=True, slots=True)
class _Shift:
    """`until_ms` None: it goes on."""

    name: str
    market: str
    symbol: str
    ratio: float
    since_ms: int
    until_ms: int | None = None

    def holds(self, bar: Bar) -> bool:
        ended = self.until_ms is not None and bar.close_time > self.until_ms
        return bar.close_time > self.since_ms and not ended and _is(bar, self.market, self.symbol)


class _ShiftedFeed:
    """The market's own history, with the shifts that held when each bar closed."""

    def __init__(self, feed: MarketFeed, shifts: list[_Shift]) -> None:
        self._feed = feed
        self._shifts = shifts

    @property
    def tick_interval_ms(self) -> int:
        return self._feed.tick_interval_ms

    def next_after(self, ts: int, open_side: OpenSide) -> Tick | None:
        return self._feed.next_after(ts, open_side)

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        bars = []
        for bar in self._feed.klines(key, interval, start_ms, end_ms):
            for shift in self._shifts:
                if shift.holds(bar):
                    bar = _shifted_bar(bar, shift.ratio)
            bars.append(bar)
        return bars

    def factor_bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return self._feed.factor_bars(interval, start_ms, end_ms)

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> Sequence[FundingRate]:
        return self._feed.fundings(symbol, start_ms, end_ms)


class Operator:
    def __init__(self, host: ExchangeHost) -> None:
        self._host = host
        self._bends: dict[str, Bend] = {}
        self._books: dict[InstrumentKey, BookTop] = {}
        self._marks: dict[str, MarkPrice] = {}
        self._shifts: list[_Shift] = []
        self._orders = 0
        self._lasting = Decimal(1)
        self._go_on()

    # --- prices, for everybody

    def bend(self, name: str, bend: Bend) -> None:
        """From now on every tick goes through `bend`, until `unbend` of the same name; the market is shown at once."""
        if not self._bends:
            self._books, self._marks = dict(self._host.books), dict(self._host.marks)
            self._host.shape = self._shape
        self._bends[name] = bend
        self.show()

    def unbend(self, name: str) -> None:
        if self._bends.pop(name, None) is None:
            return
        self._end_shift(name)
        if name == LASTING:
            self._lasting = Decimal(1)
            self._keep_lasting()
        self.show()
        if not self._bends:
            self._host.shape = None

    @property
    def bends(self) -> tuple[str, ...]:
        return tuple(self._bends)

    def show(self) -> None:
        """The market as it is, once more, and now."""
        now_ms = self._host.clock.now_ms()
        bent = bool(self._bends) or self._host.shape is not None
        books, marks = (self._books, self._marks) if bent else (self._host.books, self._host.marks)
        self._host.apply(
            Tick(
                now_ms,
                tuple(replace(book, ts=now_ms) for book in books.values()),
                tuple(replace(mark, ts=now_ms) for mark in marks.values()),
                (),
            )
        )

    def shift(self, name: str, bps: int, *, market: str = "", symbol: str = "") -> None:
        """Everything `bps` higher: books, marks, and the bars that close from now on, wherever they are asked for."""
        self._shift(name, 1 + Decimal(bps) / BPS, market, symbol)

    def shift_lastingly(self, bps: int) -> None:
        """Everything `bps` higher than it is, from now on and after a restart, until `unbend(LASTING)`."""
        if not bps:
            return
        low, high = LASTING_RATIOS
        self._lasting = min(high, max(low, self._lasting * (1 + Decimal(bps) / BPS)))
        self._shift(LASTING, self._lasting)
        self._keep_lasting()

    def _shift(self, name: str, ratio: Decimal, market: str = "", symbol: str = "") -> None:
        self._end_shift(name)
        self._shifts.append(_Shift(name, market, symbol, float(ratio), self._host.clock.now_ms()))
        self._show_bars_shifted()
        self.bend(name, self._shifting(ratio, market, symbol))

    def _shifting(self, ratio: Decimal, market: str = "", symbol: str = "") -> Bend:
        def bent(tick: Tick) -> Tick:
            return Tick(
                tick.ts,
                tuple(self._shifted(book, ratio) if _is(book, market, symbol) else book for book in tick.books),
                tuple(self._shifted_mark(mark, ratio) if _marks(mark, market, symbol) else mark for mark in tick.marks),
                tuple(_shifted_bar(bar, float(ratio)) if _is(bar, market, symbol) else bar for bar in tick.bars),
            )

        return bent

    def set_mark(self, name: str, symbol: str, *, bps: int = 0, price: Decimal | None = None) -> None:
        """The mark alone: at `price`, or `bps` away from where it would be."""
        ratio = 1 + Decimal(bps) / BPS

        def bent(tick: Tick) -> Tick:
            return replace(
                tick,
                marks=tuple(
                    mark
                    if symbol not in ("", mark.symbol)
                    else replace(mark, mark=price)
                    if price is not None
                    else self._shifted_mark(mark, ratio)
                    for mark in tick.marks
                ),
            )

        self.bend(name, bent)

    def freeze(self, name: str, *, market: str = "", symbol: str = "") -> None:
        """Nothing trades and nothing triggers, and no price is told: the engine stands still."""

        def bent(tick: Tick) -> Tick:
            return Tick(
                tick.ts,
                tuple(book for book in tick.books if not _is(book, market, symbol)),
                tuple(mark for mark in tick.marks if not _marks(mark, market, symbol)),
                tuple(bar for bar in tick.bars if not _is(bar, market, symbol)),
            )

        self.bend(name, bent)

    # --- prices, for one operation of the exchange: nobody else sees them

    def fill(self, order: VenueOrder, qty: Decimal | None = None) -> None:
        """Let a resting order fill now at its own price: all of it, or about `qty` of it."""
        book = self._host.books.get(order.key)
        if book is None or order.price is None:
            return
        instrument = self.instrument(order.market, order.symbol)
        tick = instrument.tick_size
        if qty is None:
            level = (order.price - order.side.sign * tick, Decimal(1))
        else:
            # Somebody stands exactly at our price: a share of what they offer reaches us.
            level = (order.price, max(qty, instrument.step_size) / self._host.rules.touch_ratio)
        self._show_only(_with_best(book, order.side, level, tick))
        self._show_only(book)

    def empty(self, market: Market, symbol: str, side: Side, limit: Decimal | None) -> None:
        """Nearly nothing is offered to a taker on `side` until the next tick; nothing at all within `limit`."""
        book = self._host.books.get(InstrumentKey(market, symbol))
        if book is None:
            return
        instrument = self.instrument(market, symbol)
        price = book.ask if side is Side.BUY else book.bid
        if limit is not None and (limit - price) * side.sign >= 0:
            price = limit + side.sign * instrument.tick_size
        self._show_only(_with_best(book, side, (price, instrument.step_size), instrument.tick_size))

    def slice(self, market: Market, symbol: str, side: Side, qty: Decimal, pieces: int) -> None:
        """A taker of `qty` on `side` finds it in so many pieces, until the next tick."""
        book = self._host.books.get(InstrumentKey(market, symbol))
        if book is None:
            return
        instrument = self.instrument(market, symbol)
        step = instrument.step_size
        part = max(step, -(-(qty / pieces) // step) * step)
        best, tick = (book.ask if side is Side.BUY else book.bid), instrument.tick_size
        levels = tuple((best + side.sign * tick * number, part) for number in range(pieces))
        self._show_only(replace(book, asks=levels) if side is Side.BUY else replace(book, bids=levels))

    def meet(self, market: Market, symbol: str, side: Side, price: Decimal) -> None:
        """The other side of the book stands at `price`: an order on `side` there would take. Until the next tick."""
        book = self._host.books.get(InstrumentKey(market, symbol))
        if book is not None:
            tick = self.instrument(market, symbol).tick_size
            self._show_only(_with_best(book, side, (price, Decimal(1)), tick))

    def restore_book(self, market: Market, symbol: str) -> None:
        """What `empty`, `slice` and `meet` did ends."""
        book = self._host.books.get(InstrumentKey(market, symbol))
        if book is not None:
            self._show_only(book)

    def fail_stop(self, order: VenueOrder) -> None:
        """Trigger a waiting futures order while nobody trades within its bounds: what it becomes expires unfilled."""
        book, mark = self._host.books.get(order.key), self._host.marks.get(order.symbol)
        if book is None or mark is None or order.stop_price is None:
            return
        tick = self.instrument(order.market, order.symbol).tick_size
        far = order.stop_price * (1 + order.side.sign * WHOLE_BOOK)
        away = _with_best(book, order.side, ((far // tick) * tick, Decimal(1)), tick)
        by_mark = order.working_type is WorkingType.MARK_PRICE
        self._show_only(away if by_mark else replace(away, last=order.stop_price))
        if by_mark:
            self._mark_only(replace(mark, mark=order.stop_price))
        self._show_only(book)
        self._mark_only(mark)

    def liquidate(self, symbol: str) -> bool:
        """Show a mark beyond the liquidation price of the position in `symbol`, once; False where there is none."""
        mark = self._host.marks.get(symbol)
        for position in self._host.exchange.positions():
            if position.symbol == symbol and mark is not None:
                tick = self.instrument(Market.FUT, symbol).tick_size
                beyond = position.liquidation_price // tick * tick + (-tick if position.qty > 0 else 2 * tick)
                now_ms = self._host.clock.now_ms()
                self._host.apply(Tick(now_ms, (), (replace(mark, ts=now_ms, mark=max(beyond, tick)),), ()))
                return True
        return False

    # --- what is listed

    def replace_instrument(self, instrument: Instrument) -> None:
        """Other rules for one symbol, from now on and for everybody: filters, status.

        Raises:
            KeyError: the exchange does not list it.
        """
        old = self.instrument(instrument.market, instrument.symbol)
        self._host.exchange.replace_instrument(instrument)
        listed = tuple(instrument if each is old else each for each in self._host.rules.instruments)
        self._host.rules = replace(self._host.rules, instruments=listed)

    # --- the account

    def place(
        self, market: Market, symbol: str, side: Side, *, qty: Decimal, price: Decimal | None = None, ioc: bool = False
    ) -> VenueOrder:
        """A human's own order, from the exchange's web page.

        Raises:
            Refusal: as for anybody.
        """
        self._orders += 1
        now_ms = self._host.clock.now_ms()
        placed, changes = self._host.exchange.place(
            NewOrder(
                client_order_id=f"web_{now_ms:x}{self._orders:x}",
                market=market,
                symbol=symbol,
                side=side,
                type=OrderType.MARKET if price is None else OrderType.LIMIT,
                qty=qty,
                price=price,
                time_in_force=TimeInForce.IOC if ioc else TimeInForce.GTC,
            ),
            now_ms,
        )
        self._host.settle(changes)
        return placed

    def order_for(self, market: Market, symbol: str, side: Side, notional_usdt: Decimal, *, rests: bool) -> VenueOrder:
        """A human's order of about this size, at the market or 3 % away from it.

        Raises:
            Refusal: as for anybody.
        """
        book = self._host.books[InstrumentKey(market, symbol)]
        instrument = self.instrument(market, symbol)
        wanted = max(notional_usdt, instrument.min_notional * Decimal("1.1"))
        qty = max(instrument.min_qty, instrument.floor_qty(wanted / book.mid))
        away = instrument.round_price(book.mid * (1 - side.sign * Decimal("0.03")))
        return self.place(market, symbol, side, qty=qty, price=away if rests else None)

    def cancel(self, order: VenueOrder) -> None:
        """A human cancels it; gone already is success."""
        try:
            _, changes = self._host.exchange.cancel(
                order.market,
                order.symbol,
                order.client_order_id,
                self._host.clock.now_ms(),
                conditional=order.conditional and not order.triggered,
            )
        except Refusal:
            return
        self._host.settle(changes)

    def cross(self, order: VenueOrder) -> None:
        """A human trades against our own resting order: the exchange prevents it, and ours expires."""
        if order.price is None:
            return
        side = Side.SELL if order.side is Side.BUY else Side.BUY
        self.empty(order.market, order.symbol, side, order.price)
        try:
            self.place(order.market, order.symbol, side, qty=order.qty - order.filled_qty, price=order.price, ioc=True)
        finally:
            self.restore_book(order.market, order.symbol)

    def set_leverage(self, symbol: str, leverage: int) -> None:
        """
        Raises:
            Refusal: as for anybody.
        """
        self._host.settle(self._host.exchange.set_leverage(symbol, leverage, self._host.clock.now_ms()))

    def set_crossed(self, symbol: str) -> None:
        """
        Raises:
            Refusal: as for anybody.
        """
        now_ms = self._host.clock.now_ms()
        self._host.settle(self._host.exchange.set_margin_type(symbol, isolated=False, now_ms=now_ms))

    def settle_funding(self, symbol: str, rate: float, *, jitter_ms: int = 0) -> None:
        """A funding settlement out of turn; it carries a time some ms later than it should."""
        now_ms = self._host.clock.now_ms()
        mark = self._host.marks.get(symbol)
        if mark is None:
            return
        # An announced time that has come is a settlement; an interval of 0 lets the regular one follow soon after.
        due = replace(mark, funding_rate=rate, funding_time=now_ms, interval_h=0)
        self._mark_only(due)
        self._settle(self._host.exchange.on_mark(due, now_ms + jitter_ms))
        self._mark_only(replace(mark, interval_h=0))

    def drain(self, market: Market) -> Decimal:
        """A human moves everything that is free to the other wallet; returns how much."""
        free_usdt = self.free_usdt(market)
        if free_usdt > 0:
            self.move(market, free_usdt)
        return free_usdt

    def free_usdt(self, market: Market) -> Decimal:
        balances = self._host.exchange.balances(market)
        return sum((balance.free for balance in balances if balance.asset == "USDT"), Decimal(0))

    def move(self, source: Market, amount_usdt: Decimal) -> None:
        """A human's transfer out of `source`.

        Raises:
            Refusal: as for anybody.
        """
        target = Market.SPOT if source is Market.FUT else Market.FUT
        _, changes = self._host.exchange.transfer(source, target, "USDT", amount_usdt, self._host.clock.now_ms())
        self._host.settle(changes)

    # --- what is there

    def instrument(self, market: Market, symbol: str) -> Instrument:
        """
        Raises:
            KeyError: the exchange does not list it.
        """
        for instrument in self._host.rules.instruments:
            if instrument.market is market and instrument.symbol == symbol:
                return instrument
        raise KeyError(f"{market}:{symbol}")

    def listed(self, market: str = "", symbol: str = "") -> tuple[Instrument, ...]:
        return tuple(instrument for instrument in self._host.rules.instruments if _is(instrument, market, symbol))

    def resting(self, market: str = "", symbol: str = "") -> tuple[VenueOrder, ...]:
        """Open orders of the regular books that stand at a price, newest first."""
        found = [
            order
            for each in (Market.FUT, Market.SPOT)
            if market in ("", each)
            for order in self._host.exchange.open_orders(each)
            if order.price is not None and order.stop_price is None and symbol in ("", order.symbol)
        ]
        return tuple(sorted(found, key=lambda order: -order.created_at_ms))

    def stops(self, market: str = "", symbol: str = "") -> tuple[VenueOrder, ...]:
        """Orders that wait for their price, newest first."""
        found = [
            order
            for order in (*self._host.exchange.open_conditional(), *self._host.exchange.open_orders(Market.SPOT))
            if order.stop_price is not None and market in ("", order.market) and symbol in ("", order.symbol)
        ]
        return tuple(sorted(found, key=lambda order: -order.created_at_ms))

    # --- inside

    def _go_on(self) -> None:
        """The market stands where outages before the restart left it."""
        kept = self._host.journal.meta(LASTING)
        if kept is None:
            return
        self._shifts += [_Shift(**row) for row in kept["shifts"]]
        self._show_bars_shifted()
        self._lasting = Decimal(kept["ratio"])
        if self._lasting != 1:
            self._host.shape = self._shape
            self._bends[LASTING] = self._shifting(self._lasting)

    def _keep_lasting(self) -> None:
        shifts = [asdict(shift) for shift in self._shifts if shift.name == LASTING]
        try:
            self._host.journal.set_meta({LASTING: {"ratio": str(self._lasting), "shifts": shifts}})
        except JournalError as error:
            log.error("where prices stand after an outage is not kept over a restart", why=str(error))

    def _show_bars_shifted(self) -> None:
        if not isinstance(self._host.feed, _ShiftedFeed):
            self._host.feed = _ShiftedFeed(self._host.feed, self._shifts)

    def _end_shift(self, name: str) -> None:
        for index, shift in enumerate(self._shifts):
            if shift.name == name and shift.until_ms is None:
                self._shifts[index] = replace(shift, until_ms=self._host.clock.now_ms())
        over = [shift for shift in self._shifts if shift.until_ms is not None]
        for shift in over[:-SHIFTS_KEPT]:
            self._shifts.remove(shift)

    def _shape(self, tick: Tick) -> Tick:
        for book in tick.books:
            self._books[book.key] = book
        for mark in tick.marks:
            self._marks[mark.symbol] = mark
        for bend in self._bends.values():
            tick = bend(tick)
        return tick

    def _show_only(self, book: BookTop) -> None:
        self._settle(self._host.exchange.on_book(book, self._host.clock.now_ms()))

    def _mark_only(self, mark: MarkPrice) -> None:
        self._settle(self._host.exchange.on_mark(mark, self._host.clock.now_ms()))

    def _settle(self, changes: tuple[AccountChange, ...]) -> None:
        if changes:
            self._host.settle(changes)

    def _shifted(self, book: BookTop, ratio: Decimal) -> BookTop:
        instrument = self.instrument(book.market, book.symbol)
        return replace(
            book,
            bids=_distinct([(instrument.floor_price(price * ratio), qty) for price, qty in book.bids]),
            asks=_distinct([(instrument.ceil_price(price * ratio), qty) for price, qty in book.asks]),
            last=instrument.round_price(book.last * ratio),
        )

    def _shifted_mark(self, mark: MarkPrice, ratio: Decimal) -> MarkPrice:
        instrument = self.instrument(Market.FUT, mark.symbol)
        return replace(mark, mark=max(instrument.tick_size, instrument.round_price(mark.mark * ratio)))


def _is(thing: BookTop | Bar | Instrument, market: str, symbol: str) -> bool:
    return market in ("", thing.market) and symbol in ("", thing.symbol)


def _marks(mark: MarkPrice, market: str, symbol: str) -> bool:
    return market in ("", Market.FUT) and symbol in ("", mark.symbol)


def _shifted_bar(bar: Bar, ratio: float) -> Bar:
    return replace(bar, open=bar.open * ratio, high=bar.high * ratio, low=bar.low * ratio, close=bar.close * ratio)


def _distinct(levels: list[Level]) -> tuple[Level, ...]:
    """Rounding may put two levels on one price."""
    kept: dict[Decimal, Decimal] = {}
    for price, qty in levels:
        if price > 0:
            kept[price] = kept.get(price, Decimal(0)) + qty
    return tuple(kept.items())


def _with_best(book: BookTop, side: Side, level: Level, tick: Decimal) -> BookTop:
    """The book with `level` alone on the side that a taker on `side` eats; the other side keeps clear of it."""
    price = level[0]
    if side is Side.BUY:
        bids = tuple(each for each in book.bids if each[0] < price) or ((price - tick, book.bids[0][1]),)
        return replace(book, asks=(level,), bids=bids)
    asks = tuple(each for each in book.asks if each[0] > price) or ((price + tick, book.asks[0][1]),)
    return replace(book, bids=(level,), asks=asks)
