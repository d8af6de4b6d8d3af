"""One perpetual on the simulated exchange: isolated margin, one-way positions, conditionals, funding, liquidation.

Owns what a futures order may do and what its fills do to money. Choices where the exchange is richer:

    order margin   a resting order that is not reduce-only locks its whole initial margin and entry fee, also where it
                   would only close: closing orders should say reduce_only, which locks nothing
    reduce-only    capped by the position when placed, shrunk or expired when the position shrinks
    a loss beyond  the isolated wallet is taken from what is free, then from the insurance fund (INSURANCE_CLEAR), so
                   no balance falls below zero; at a liquidation nothing but the isolated wallet pays
    liquidation    the whole position at the mark, its open orders canceled; conditionals stay, as orphans do there
"""

from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce, WorkingType
from chimera.domain.execution.orders import (
    AccountConfigured,
    FundingSettled,
    IncomeKind,
    MarginCalled,
    NewOrder,
    PositionChanged,
    VenuePosition,
)
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Level, MarkPrice
from chimera.domain.matching import refusals
from chimera.domain.matching.account import Account
from chimera.domain.matching.desk import NEVER_ABOVE, NEVER_BELOW, Desk
from chimera.domain.matching.filters import check_futures, trades
from chimera.domain.matching.margin import (
    WHOLE,
    initial_margin,
    isolated_liquidation_price,
    maintenance_margin,
    notional_max,
)
from chimera.domain.matching.money import ZERO, average, ceil8, floor8
from chimera.domain.matching.records import (
    STOP_LIKE,
    ContractRecord,
    EndReason,
    OrderRecord,
    PositionRecord,
    Wallet,
)
from chimera.domain.matching.refusals import Refusal
from chimera.domain.matching.rules import ExchangeRules

HOUR_MS = 3_600_000


class FuturesDesk(Desk):
    def __init__(self, instrument: Instrument, rules: ExchangeRules, account: Account) -> None:
        super().__init__(instrument, rules, account)
        symbol = instrument.symbol
        if symbol not in account.contracts:
            account.contracts[symbol] = ContractRecord(
                symbol=symbol,
                leverage=min(rules.leverage_default, instrument.brackets[0].initial_leverage),
                isolated=rules.isolated_default,
            )
        self.contract = account.contracts[symbol]
        self.fees = rules.fees[Market.FUT]
        self.wallet = account.wallet(Market.FUT, instrument.quote_asset)
        self.mark_low = NEVER_BELOW
        self.mark_high = NEVER_ABOVE
        self._position_touched = False
        self._fatal: tuple[tuple[Decimal, Decimal, Decimal], tuple[Decimal, Decimal]] | None = None

    # --- questions

    @property
    def isolated(self) -> bool:
        """How an order here is margined; the account's multi-assets mode crosses every symbol."""
        return self.contract.isolated and not self.account.settings.multi_assets

    @property
    def has_open_orders(self) -> bool:
        """In either book."""
        return bool(self.buys or self.sells or self.stops)

    @property
    def position(self) -> PositionRecord | None:
        return self.account.positions.get(self.instrument.symbol)

    @property
    def signed_qty(self) -> Decimal:
        position = self.position
        return position.qty if position is not None else ZERO

    @property
    def reference(self) -> Decimal | None:
        """The mark; before the first one the middle of the book."""
        if self.contract.mark is not None:
            return self.contract.mark
        return self.book.top.mid if self.book.top is not None else None

    def closable(self, side: Side) -> Decimal:
        """How much of the position an order on `side` can close."""
        return max(ZERO, -side.sign * self.signed_qty)

    def position_view(self) -> VenuePosition | None:
        position = self.position
        if position is None:
            return None
        size = abs(position.qty)
        mark = self.reference or average(position.cost_usdt, size)
        return VenuePosition(
            symbol=position.symbol,
            qty=position.qty,
            entry_price=average(position.cost_usdt, size),
            mark_price=mark,
            unrealized_pnl_usdt=floor8(_pnl(position, mark)),
            isolated_wallet_usdt=position.isolated_usdt,
            leverage=self.contract.leverage,
            liquidation_price=ceil8(self._fatal_prices(position)[0]),
        )

    # --- orders

    def place(self, new: NewOrder, now_ms: int) -> OrderRecord:
        self._check_rules(new)
        # A late mark must not charge what is opened after the funding was due.
        self._settle_due_funding(now_ms)
        record = self.book_order(new, self._check_account(new), now_ms)
        if new.conditional:
            price = self._watched(new.working_type)
            if record.callback_ratio is not None and price is not None and record.trail(price):
                self.account.tell_order(record)
            self.wait(record)
        else:
            self.work(record, now_ms)
        return record

    def check(self, new: NewOrder) -> Decimal:
        self._check_rules(new)
        return self._check_account(new)

    def amend(self, record: OrderRecord, side: Side, qty: Decimal, price: Decimal, now_ms: int) -> None:
        """Change price and quantity of a resting order. It keeps its turn only where nothing but its quantity falls.

        As there, an amendment ends the order when the new quantity is filled already, and when the order is post-only
        and would take at the new price.

        Raises:
            Refusal: the order stands as it was.
        """
        if record.type is not OrderType.LIMIT:
            raise refusals.limit_only()
        if self.instrument.status != "TRADING":
            raise refusals.not_amendable()
        if side is not record.side:
            raise refusals.bad_parameter("side")
        asked = NewOrder(
            client_order_id=record.client_order_id,
            market=Market.FUT,
            symbol=record.symbol,
            side=side,
            type=OrderType.LIMIT,
            qty=qty,
            price=price,
            reduce_only=record.reduce_only,
        )
        check_futures(self.instrument, asked, self.reference, refusals.amended_too_small)
        if record.reduce_only:
            qty = min(qty, record.filled_qty + self.closable(side))
        if (price, qty) == (record.price, record.qty):
            raise refusals.nothing_to_amend()
        if qty <= record.filled_qty:
            self.end(record, OrderStatus.CANCELED, EndReason.USER, now_ms)
            return
        if price == record.price and qty < record.qty:
            record.qty = qty
            record.updated_at_ms = now_ms
            self.relock(record)
            self.account.tell_order(record, amended=True)
            return
        if record.time_in_force is TimeInForce.GTX and self.would_take(side, price):
            self.end(record, OrderStatus.CANCELED, EndReason.POST_ONLY, now_ms)
            return
        self._settle_due_funding(now_ms)
        if not record.reduce_only:
            left = qty - record.filled_qty
            plan = self.book.plan(side, left, price)
            self._check_margin(side, plan, left - sum((part for _, part in plan), ZERO), price, instead_of=record)
        own_side = self.buys if side is Side.BUY else self.sells
        own_side.remove(record)
        self.account.lock(self.wallet, record, ZERO)
        record.qty, record.price = qty, price
        record.requeued_no = self.account.number("record")
        record.updated_at_ms = now_ms
        self.account.tell_order(record, amended=True)
        self.work(record, now_ms)

    def set_leverage(self, leverage: int, now_ms: int) -> None:
        if not 1 <= leverage <= self.instrument.brackets[0].initial_leverage:
            raise refusals.bad_leverage(leverage)
        contract = self.contract
        position = self.position
        if position is not None and leverage < contract.leverage:
            raise refusals.leverage_fixed()
        cap = notional_max(self.instrument.brackets, leverage)
        if position is not None and abs(position.qty) * (self.reference or ZERO) > cap:
            raise refusals.position_too_large()
        resting = [record for record in self.buys + self.sells if not record.reduce_only]
        need = sum((self._margin_and_fee(record.left, record.price, leverage) for record in resting), ZERO)
        if need - sum((record.locked for record in resting), ZERO) > self.wallet.free:
            raise refusals.no_funds(Market.FUT)
        contract.leverage = leverage
        self.account.mark_dirty("contract", contract.symbol)
        for record in resting:
            self.relock(record)
        self.tell_money("ORDER", now_ms)
        self.account.tell(AccountConfigured(now_ms, contract.symbol, leverage=leverage))

    def change_margin(self, amount: Decimal, now_ms: int) -> None:
        """Move `amount` of the free balance into the position's isolated wallet; negative takes it back.

        What stays, its unrealised profit or loss counted, is at least its initial margin at the mark.
        """
        if amount == 0:
            raise refusals.amount_not_positive()
        if amount != floor8(amount):
            raise refusals.qty_too_precise()
        if not self.isolated:
            raise refusals.margin_of_crossed()
        position = self.position
        if position is None:
            raise refusals.margin_of_nothing()
        if amount > self.wallet.free:
            raise refusals.margin_beyond_free()
        mark = self.reference or average(position.cost_usdt, abs(position.qty))
        spare = _pnl(position, mark) - initial_margin(abs(position.qty) * mark, self.contract.leverage)
        if amount < 0 and -amount > position.isolated_usdt + min(ZERO, spare):
            raise refusals.margin_beyond_isolated()
        self._move_to_isolated(position, amount)
        self._touch_position()
        self.account.add_margin_change(position.symbol, self.wallet, amount, now_ms)
        self.refresh()
        self.tell_money("MARGIN_TRANSFER", now_ms)

    def set_isolated(self, isolated: bool) -> None:
        if isolated and self.account.settings.multi_assets:
            raise refusals.isolated_in_multi_assets()
        if isolated is self.isolated:
            raise refusals.margin_type_unchanged()
        if self.has_open_orders:
            raise refusals.margin_type_with_orders()
        if self.position is not None:
            raise refusals.margin_type_with_position()
        self.contract.isolated = isolated
        self.account.mark_dirty("contract", self.contract.symbol)

    def count_down(self, countdown_ms: int, now_ms: int) -> None:
        """Cancel the regular orders in `countdown_ms` unless asked again before; 0 stops it."""
        if countdown_ms < 0:
            raise refusals.bad_parameter("countdownTime")
        self.contract.countdown_at_ms = now_ms + countdown_ms if countdown_ms else 0
        self.account.mark_dirty("contract", self.contract.symbol)

    def end_countdown(self, now_ms: int) -> None:
        self.contract.countdown_at_ms = 0
        self.account.mark_dirty("contract", self.contract.symbol)
        for record in [*self.buys, *self.sells]:
            if not record.status.is_final:
                self.end(record, OrderStatus.CANCELED, EndReason.COUNTDOWN, now_ms)
        self.tell_money("ORDER", now_ms)

    def _check_rules(self, new: NewOrder) -> None:
        check_futures(self.instrument, new, self.reference)
        if self.account.settings.dual_side:
            raise refusals.position_side()
        if not self.isolated and not new.reduce_only and not new.close_position:
            raise refusals.crossed_not_offered()
        self.refuse_duplicate(Market.FUT, new.client_order_id)

    def _check_account(self, new: NewOrder) -> Decimal:
        return self._check_conditional(new) if new.conditional else self._check_regular(new)

    def _check_regular(self, new: NewOrder) -> Decimal:
        qty = new.qty
        if new.reduce_only:
            qty = min(qty, self.closable(new.side))
            if qty == 0:
                raise refusals.nothing_to_reduce()
        if new.type is OrderType.LIMIT and len(self.buys) + len(self.sells) >= self.rules.open_orders_max:
            raise refusals.too_many_orders()
        limit = new.price if new.type is OrderType.LIMIT else self._market_limit(new.side)
        post_only = new.type is OrderType.LIMIT and new.time_in_force is TimeInForce.GTX
        if post_only and new.price is not None and self.would_take(new.side, new.price):
            raise refusals.would_take(Market.FUT)
        plan = self.book.plan(new.side, qty, limit)
        rest = qty - sum((part for _, part in plan), ZERO)
        if new.time_in_force is TimeInForce.FOK and new.type is OrderType.LIMIT and rest > 0:
            raise refusals.fok_unfillable()
        if not new.reduce_only:
            rests = new.type is OrderType.LIMIT and new.time_in_force in (TimeInForce.GTC, TimeInForce.GTX)
            self._check_margin(new.side, plan, rest if rests else ZERO, new.price)
        return qty

    def _market_limit(self, side: Side) -> Decimal | None:
        best = self.book.best(side)
        limit = self.take_limit(side)
        if best is not None and limit is not None and (best > limit if side is Side.BUY else best < limit):
            raise refusals.counterparty_too_far()
        return limit

    def _watched(self, source: WorkingType) -> Decimal | None:
        """The price that a conditional of this source listens to."""
        if source is WorkingType.MARK_PRICE:
            return self.reference
        return self.book.top.last if self.book.top is not None else None

    def _check_conditional(self, new: NewOrder) -> Decimal:
        """No margin is asked for until it triggers, and nothing must be there to reduce yet."""
        waiting = sum(1 for record in self.account.open.values() if record.conditional)
        if waiting >= self.rules.conditionals_max:
            raise refusals.too_many_conditionals()
        if new.close_position and any(
            record.close_position and record.side is new.side and record.type is new.type for record in self.stops
        ):
            raise refusals.second_close_position()
        price = self._watched(new.working_type)
        if price is not None and new.stop_price is not None:
            upwards = (new.side is Side.BUY) == (new.type in STOP_LIKE)
            if price >= new.stop_price if upwards else price <= new.stop_price:
                raise refusals.would_trigger(Market.FUT)
        if price is not None and new.activate_price is not None:
            falling = new.side is Side.BUY
            if price <= new.activate_price if falling else price >= new.activate_price:
                raise refusals.would_trigger(Market.FUT)
        return new.qty

    def _check_margin(
        self,
        side: Side,
        plan: tuple[Level, ...],
        rest: Decimal,
        price: Decimal | None,
        instead_of: OrderRecord | None = None,
    ) -> None:
        """Refuse what free margin cannot carry: the opening part's margin, fee and loss at the mark.

        What is resting `instead_of` which this comes is free again.

        Raises:
            Refusal: -2019, or -2027 above the largest position of this leverage.
        """
        closing = self.closable(side)
        parts: list[Level] = []
        for level_price, qty in plan:
            closed = min(closing, qty)
            closing -= closed
            parts.append((level_price, qty - closed))
        if rest and price is not None:
            parts.append((price, rest))  # a rest locks its whole margin, see the module
        opened = sum((qty for _, qty in parts), ZERO)
        notional = sum((level_price * qty for level_price, qty in parts), ZERO)
        mark = self.reference
        open_loss = ZERO
        if mark is not None:
            open_loss = sum((max(ZERO, side.sign * (level_price - mark)) * qty for level_price, qty in parts), ZERO)
        leverage = self.contract.leverage
        need = ceil8(initial_margin(notional, leverage)) + ceil8(notional * self._fee_max) + ceil8(open_loss)
        if need > self.wallet.free + (instead_of.locked if instead_of is not None else ZERO):
            raise refusals.no_funds(Market.FUT)
        if opened > 0 and mark is not None:
            same_side = self.buys if side is Side.BUY else self.sells
            others = (record for record in same_side if not record.reduce_only and record is not instead_of)
            resting = sum((record.left for record in others), ZERO)
            size = opened + resting + max(ZERO, side.sign * self.signed_qty)
            if size * mark > notional_max(self.instrument.brackets, leverage):
                raise refusals.position_too_large()

    # --- what the desk asks

    def payer(self, side: Side) -> Wallet:
        return self.wallet

    def lock_for(self, record: OrderRecord) -> Decimal:
        if record.reduce_only or record.waiting or record.price is None or not record.rests:
            return ZERO
        return self._margin_and_fee(record.left, record.price, self.contract.leverage)

    def take_limit(self, side: Side) -> Decimal | None:
        mark = self.contract.mark
        if mark is None:
            return None
        bound = mark * (1 + side.sign * self.rules.market_take_bound)
        return self.instrument.floor_price(bound) if side is Side.BUY else self.instrument.ceil_price(bound)

    def affordable(self, record: OrderRecord, price: Decimal, qty: Decimal) -> Decimal:
        """First what closes, on its own; then what opens, whole or not at all."""
        closable = self.closable(record.side)
        if closable > 0 or record.reduce_only or record.close_position:
            return min(qty, closable)
        notional = qty * price
        need = floor8(initial_margin(notional, self.contract.leverage)) + floor8(notional * self.fees.taker)
        return qty if need <= self.wallet.free else ZERO

    def shortage(self, record: OrderRecord) -> EndReason:
        return EndReason.REDUCE_ONLY if record.reduce_only or record.close_position else EndReason.MARGIN

    def settle(
        self, record: OrderRecord, price: Decimal, qty: Decimal, maker: bool, now_ms: int
    ) -> tuple[Decimal, str, Decimal]:
        closed = min(qty, self.closable(record.side))
        realized = self._close(closed, price) if closed else ZERO
        if qty > closed:
            self._open(record.side, qty - closed, price)
        fee = floor8(qty * price * (self.fees.maker if maker else self.fees.taker))
        symbol, detail = self.instrument.symbol, record.client_order_id
        if closed:
            self.account.earn(
                self.wallet, IncomeKind.REALIZED_PNL, realized, symbol=symbol, now_ms=now_ms, detail=detail
            )
        self.account.earn(self.wallet, IncomeKind.COMMISSION, -fee, symbol=symbol, now_ms=now_ms, detail=detail)
        self._cover(now_ms)
        self._touch_position()
        return fee, self.wallet.asset, realized

    def trigger(self, record: OrderRecord, now_ms: int) -> None:
        """The algo order becomes a new market or limit order: new venue id, same client id."""
        self.stops.remove(record)
        record.triggered = True
        record.triggered_at_ms = now_ms
        self.account.renumber(record, str(self.account.number("order")))
        record.updated_at_ms = now_ms
        if record.reduce_only or record.close_position:
            closable = self.closable(record.side)
            if closable == 0:
                self.end(record, OrderStatus.REJECTED, EndReason.REDUCE_ONLY, now_ms)
                return
            record.qty = closable if record.close_position else min(record.qty, closable)
        else:
            limit = record.price if record.price is not None else self.take_limit(record.side)
            plan = self.book.plan(record.side, record.qty, limit)
            rest = record.qty - sum((part for _, part in plan), ZERO) if record.rests else ZERO
            try:
                self._check_margin(record.side, plan, rest, record.price)
            except Refusal:
                self.end(record, OrderStatus.REJECTED, EndReason.MARGIN, now_ms)
                return
        post_only = record.time_in_force is TimeInForce.GTX
        if post_only and record.price is not None and self.would_take(record.side, record.price):
            self.end(record, OrderStatus.REJECTED, EndReason.POST_ONLY, now_ms)
            return
        self.account.tell_order(record)
        self.work(record, now_ms)

    def after_fill(self, record: OrderRecord, now_ms: int) -> None:
        """Resting reduce-only orders never exceed the position."""
        for other in [*self.buys, *self.sells]:
            if other.reduce_only and other.status is not OrderStatus.FILLED:
                closable = self.closable(other.side)
                if closable == 0:
                    self.end(other, OrderStatus.CANCELED, EndReason.REDUCE_ONLY, now_ms)
                elif other.left > closable:
                    other.qty = other.filled_qty + closable
                    other.updated_at_ms = now_ms
                    self.account.tell_order(other)

    def after_end(self, record: OrderRecord, reason: EndReason, now_ms: int) -> None:
        """Futures orders end alone."""

    def fire(self, source: WorkingType, price: Decimal, now_ms: int) -> None:
        moved = False
        for record in self.stops:
            if record.callback_ratio is not None and record.working_type is source:
                seen = record.extreme
                if record.trail(price):
                    record.updated_at_ms = now_ms
                    self.account.tell_order(record)
                elif record.extreme != seen:
                    self.account.mark_dirty("order", str(record.no))
                moved = moved or record.extreme != seen
        if moved:
            self.refresh()
        super().fire(source, price, now_ms)

    def replace_instrument(self, instrument: Instrument) -> None:
        super().replace_instrument(instrument)
        self._fatal = None
        self.refresh()

    def refresh(self) -> None:
        super().refresh()
        self.mark_low, self.mark_high = self.trigger_bounds(WorkingType.MARK_PRICE)
        position = self.position
        if position is not None:
            end, call = self._fatal_prices(position)
            if position.qty > 0:
                self.mark_low = max(self.mark_low, ceil8(end))
            else:
                self.mark_high = min(self.mark_high, floor8(end))
            # Not called yet, the mark may not fall there (long); called, it may not get out of there unnoticed.
            if (position.qty > 0) is position.margin_called:
                self.mark_high = min(self.mark_high, floor8(call))
            else:
                self.mark_low = max(self.mark_low, ceil8(call))

    # --- the mark

    def show_mark(self, mark: MarkPrice, now_ms: int) -> bool:
        """Take the new mark; False when nothing reacts to it."""
        contract = self.contract
        if now_ms < contract.funding_at_ms == mark.funding_time and self.mark_low < mark.mark < self.mark_high:
            contract.mark = mark.mark
            contract.funding_rate = mark.funding_rate
            return False
        return True

    def react_to_mark(self, mark: MarkPrice, now_ms: int) -> None:
        """Funding, then triggers, then liquidation: a stop lies nearer than the liquidation price on any path."""
        contract = self.contract
        contract.mark = mark.mark
        self._settle_due_funding(now_ms)
        contract.funding_rate = mark.funding_rate
        # Some ms of jitter in an announced time must not make a second settlement of the same one.
        fresh = mark.funding_time > contract.funding_done_ms + mark.interval_h * HOUR_MS // 2
        if fresh and mark.funding_time != contract.funding_at_ms:
            contract.funding_at_ms = mark.funding_time
            self.account.mark_dirty("contract", contract.symbol)
        if not trades(self.instrument):
            return
        self.fire(WorkingType.MARK_PRICE, mark.mark, now_ms)
        self.tell_money("ORDER", now_ms)
        self._liquidate_if_due(now_ms)
        self.tell_money("LIQUIDATION", now_ms)
        self._call_margin_if_due(now_ms)

    def tell_money(self, cause: str, now_ms: int) -> None:
        self.account.tell_balances(cause, now_ms)
        if self._position_touched:
            self._position_touched = False
            self.account.tell(PositionChanged(now_ms, self.instrument.symbol, self.position_view()))

    def _settle_due_funding(self, now_ms: int) -> None:
        if 0 < self.contract.funding_at_ms <= now_ms:
            self._settle_funding(now_ms)

    def _settle_funding(self, now_ms: int) -> None:
        """Pay -qty * mark * rate once for the announced time, and once more for each interval a gap skipped."""
        contract = self.contract
        interval_ms = self.instrument.funding_interval_h * HOUR_MS
        due_ms, contract.funding_at_ms = contract.funding_at_ms, 0
        rate = Decimal(repr(contract.funding_rate))
        while due_ms <= now_ms:
            contract.funding_done_ms = due_ms
            position = self.position
            if position is not None and contract.mark is not None and rate:
                amount = floor8(-position.qty * contract.mark * rate)
                income = self.account.earn(
                    self.wallet,
                    IncomeKind.FUNDING_FEE,
                    amount,
                    symbol=contract.symbol,
                    now_ms=now_ms,
                    detail=str(due_ms),
                )
                self._move_to_isolated(position, max(amount, -position.isolated_usdt))
                self._cover(now_ms)
                self._touch_position()
                self.account.tell(FundingSettled(now_ms, income, contract.funding_rate))
            due_ms += interval_ms
        self.account.mark_dirty("contract", contract.symbol)
        self.refresh()
        self.tell_money("FUNDING_FEE", now_ms)

    def _call_margin_if_due(self, now_ms: int) -> None:
        position, mark = self.position, self.contract.mark
        if position is None or mark is None:
            return
        needed = maintenance_margin(abs(position.qty) * mark, self.instrument.brackets)
        due = needed >= self.rules.margin_call_ratio * (position.isolated_usdt + _pnl(position, mark))
        if due is position.margin_called:
            return
        position.margin_called = due
        self.account.mark_dirty("position", position.symbol)
        self.refresh()
        view = self.position_view()
        if due and view is not None:
            self.account.tell(MarginCalled(now_ms, view, needed))

    def _liquidate_if_due(self, now_ms: int) -> None:
        position, mark = self.position, self.contract.mark
        if position is None or mark is None:
            return
        balance = position.isolated_usdt + _pnl(position, mark)
        if balance > maintenance_margin(abs(position.qty) * mark, self.instrument.brackets):
            return
        for record in [*self.buys, *self.sells]:
            if not record.status.is_final:
                self.end(record, OrderStatus.CANCELED, EndReason.LIQUIDATION, now_ms)
        side = Side.SELL if position.qty > 0 else Side.BUY
        size = abs(position.qty)
        price = self.instrument.floor_price(mark) if side is Side.SELL else self.instrument.ceil_price(mark)
        price = max(price, self.instrument.tick_size)
        left = position.isolated_usdt + floor8(_pnl(position, price)) - floor8(size * price * self.fees.taker)
        if left < 0:
            # The fund steps in first, so that the loss never reaches the free balance.
            self._insure(-left, now_ms)
        order = NewOrder(
            client_order_id=f"{ids.LIQUIDATION_PREFIX}{self.account.number('autoclose')}",
            market=Market.FUT,
            symbol=self.instrument.symbol,
            side=side,
            type=OrderType.MARKET,
            qty=size,
            reduce_only=True,
        )
        self.fill(self.book_order(order, size, now_ms), price, size, maker=False, now_ms=now_ms)
        fee = min(left, floor8(size * price * self.instrument.liquidation_fee_ratio))
        if fee > 0:
            self._insure(-fee, now_ms)

    # --- positions

    @property
    def _fee_max(self) -> Decimal:
        return max(self.fees.maker, self.fees.taker)

    def _margin_and_fee(self, qty: Decimal, price: Decimal | None, leverage: int) -> Decimal:
        assert price is not None
        notional = qty * price
        return ceil8(initial_margin(notional, leverage)) + ceil8(notional * self._fee_max)

    def _open(self, side: Side, qty: Decimal, price: Decimal) -> None:
        symbol = self.instrument.symbol
        position = self.position
        if position is None:
            position = PositionRecord(symbol=symbol, qty=ZERO, cost_usdt=ZERO, isolated_usdt=ZERO)
            self.account.positions[symbol] = position
        position.qty += side.sign * qty
        position.cost_usdt += qty * price
        self._move_to_isolated(position, floor8(initial_margin(qty * price, self.contract.leverage)))

    def _close(self, qty: Decimal, price: Decimal) -> Decimal:
        """Take `qty` off the position and its share of the isolated wallet back; returns the realised PnL.

        A loss beyond that share is taken from the rest of the isolated wallet first.
        """
        position = self.position
        assert position is not None
        size = abs(position.qty)
        whole = qty == size
        cost = position.cost_usdt if whole else floor8(position.cost_usdt * qty / size)
        share = position.isolated_usdt if whole else floor8(position.isolated_usdt * qty / size)
        realized = floor8(qty * price - cost if position.qty > 0 else cost - qty * price)
        shortfall = max(ZERO, -(share + realized))
        position.qty -= qty if position.qty > 0 else -qty
        position.cost_usdt -= cost
        self._move_to_isolated(position, -min(position.isolated_usdt, share + shortfall))
        if whole:
            del self.account.positions[position.symbol]
        return realized

    def _move_to_isolated(self, position: PositionRecord, amount: Decimal) -> None:
        position.isolated_usdt += amount
        self.wallet.isolated += amount
        self.account.touch(self.wallet)

    def _cover(self, now_ms: int) -> None:
        """The insurance fund pays what neither the position nor the free balance can."""
        if self.wallet.free < 0:
            self._insure(-self.wallet.free, now_ms)

    def _insure(self, amount: Decimal, now_ms: int) -> None:
        """From the insurance fund to the account; negative is the liquidation fee, to the fund."""
        self.account.earn(
            self.wallet,
            IncomeKind.INSURANCE_CLEAR,
            amount,
            symbol=self.instrument.symbol,
            now_ms=now_ms,
        )

    def _touch_position(self) -> None:
        self._position_touched = True
        self.account.mark_dirty("position", self.instrument.symbol)

    def _fatal_prices(self, position: PositionRecord) -> tuple[Decimal, Decimal]:
        """Where the position is liquidated, and where its margin is called before; kept until it changes."""
        key = (position.isolated_usdt, position.qty, position.cost_usdt)
        if self._fatal is None or self._fatal[0] != key:
            end, call = (
                isolated_liquidation_price(
                    wallet_usdt=position.isolated_usdt,
                    qty=position.qty,
                    cost_usdt=position.cost_usdt,
                    brackets=self.instrument.brackets,
                    share=share,
                )
                for share in (WHOLE, self.rules.margin_call_ratio)
            )
            self._fatal = key, (end, call)
        return self._fatal[1]


def _pnl(position: PositionRecord, price: Decimal) -> Decimal:
    value = abs(position.qty) * price
    return value - position.cost_usdt if position.qty > 0 else position.cost_usdt - value
