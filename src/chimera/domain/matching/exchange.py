"""The simulated exchange: one account, both markets. The face of the matching.

Owns nothing but the desks and the order of what happens: a new outside book or mark is shown to its desk, a request
goes to its desk, and every operation ends with the changes it caused, in the order they happened. A refused request
changes nothing. Pure and exact: the same calls give the same ids, fills and balances.

    on_book, on_mark            the market moves; () when nothing of ours reacts
    place, place_oco, cancel…   requests; raise Refusal with the exchange's own code and text
    order, fills, balances…     questions
    drain_rows                  what a journal must store after each operation, in one transaction
    export_state, restore       the whole state, exactly; restore also takes the tables gathered from drained rows
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from chimera.contracts.enums import Market, OrderStatus, Side
from chimera.domain.execution.orders import (
    AccountChange,
    AccountConfigured,
    Balance,
    Income,
    IncomeKind,
    MarginChange,
    NewOco,
    NewOrder,
    NewOrderList,
    Transfer,
    VenueFill,
    VenueOrder,
    VenueOrderList,
    VenuePosition,
)
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import BookTop, MarkPrice
from chimera.domain.matching import refusals
from chimera.domain.matching.account import Account, State, StateRow
from chimera.domain.matching.desk import Desk
from chimera.domain.matching.futures import FuturesDesk
from chimera.domain.matching.records import EndReason, Flow, ListRecord, OrderRecord
from chimera.domain.matching.rules import ExchangeRules
from chimera.domain.matching.spot import SpotDesk

Changes = tuple[AccountChange, ...]

NOTHING: Changes = ()

NEVER_MS = 2**63


class Exchange:
    def __init__(
        self,
        rules: ExchangeRules,
        *,
        spot_balances: Mapping[str, Decimal] | None = None,
        fut_balances: Mapping[str, Decimal] | None = None,
    ) -> None:
        """A new account holding the given free balances."""
        self._rules = rules
        self._account = Account()
        self._alarm_ms = NEVER_MS
        self._open_desks()
        for market, balances in ((Market.SPOT, spot_balances), (Market.FUT, fut_balances)):
            for asset in sorted(balances or {}):
                amount = (balances or {})[asset]
                self._account.post(self._account.wallet(market, asset), Flow.DEPOSIT, amount)
        self._account.tell_balances("DEPOSIT", 0)
        self._account.take_changes()  # what was there from the start is not news

    @classmethod
    def restore(cls, rules: ExchangeRules, state: State) -> "Exchange":
        """The exchange that wrote `state`. Without the table `book` it has no prices until the next tick."""
        exchange = cls(rules)
        exchange._account = account = Account()
        account.restore(state)
        exchange._open_desks()
        for position in account.positions.values():
            instrument = exchange._futures[position.symbol].instrument
            account.wallet(Market.FUT, instrument.quote_asset).isolated += position.isolated_usdt
        for record in account.open.values():
            exchange._desk(record.market, record.symbol).adopt(record)
        for (market, symbol), desk in exchange._desks.items():
            row = state.get("book", {}).get(f"{market}:{symbol}")
            if row is not None:
                desk.book.restore(market, symbol, row)
            desk.refresh()
        exchange._set_alarm()
        return exchange

    def _open_desks(self) -> None:
        self._futures: dict[str, FuturesDesk] = {}
        self._spot: dict[str, SpotDesk] = {}
        self._desks: dict[tuple[Market, str], Desk] = {}
        for instrument in self._rules.instruments:
            if instrument.market is Market.FUT:
                futures = FuturesDesk(instrument, self._rules, self._account)
                self._futures[instrument.symbol] = self._desks[Market.FUT, instrument.symbol] = futures
            else:
                spot = SpotDesk(instrument, self._rules, self._account)
                self._spot[instrument.symbol] = self._desks[Market.SPOT, instrument.symbol] = spot

    # --- time and the market

    def on_time(self, now_ms: int) -> Changes:
        """What is due by the clock alone: countdowns. A book or a mark does the same before it is looked at."""
        if now_ms < self._alarm_ms:
            return NOTHING
        for desk in self._futures.values():
            if 0 < desk.contract.countdown_at_ms <= now_ms:
                desk.end_countdown(now_ms)
        self._set_alarm()
        return self._account.take_changes()

    def on_book(self, top: BookTop, now_ms: int) -> Changes:
        """The outside book is now `top`: what rests may fill, what listens to the last price may trigger.

        Raises:
            KeyError: the exchange does not list this instrument.
        """
        if now_ms >= self._alarm_ms:
            return (*self.on_time(now_ms), *self.on_book(top, now_ms))
        desk = self._desks[top.market, top.symbol]
        if not desk.show(top):
            return NOTHING
        desk.react(now_ms)
        return self._finish(desk, "ORDER", now_ms)

    def on_mark(self, mark: MarkPrice, now_ms: int) -> Changes:
        """The mark is now `mark`: funding when its time has come, then triggers, then liquidation.

        Raises:
            KeyError: the exchange does not list this perpetual.
        """
        if now_ms >= self._alarm_ms:
            return (*self.on_time(now_ms), *self.on_mark(mark, now_ms))
        desk = self._futures[mark.symbol]
        if not desk.show_mark(mark, now_ms):
            return NOTHING
        desk.react_to_mark(mark, now_ms)
        return self._account.take_changes()

    # --- requests

    def place(self, order: NewOrder, now_ms: int) -> tuple[VenueOrder, Changes]:
        """The order as it stands after everything it caused at once.

        Raises:
            Refusal: nothing was placed.
        """
        desk = self._desk(order.market, order.symbol)
        record = desk.place(order, now_ms)
        changes = self._finish(desk, "ORDER", now_ms)
        return record.view(), changes

    def check(self, order: NewOrder, now_ms: int) -> None:
        """Whether `place` would take the order now; nothing is placed.

        Raises:
            Refusal: what `place` would say.
        """
        self._desk(order.market, order.symbol).check(order)

    def place_oco(self, oco: NewOco, now_ms: int) -> tuple[tuple[VenueOrder, VenueOrder], Changes]:
        """A spot order list: the target leg and the stop leg.

        Raises:
            Refusal: nothing was placed.
        """
        placed, changes = self.place_list(oco.as_list(), now_ms)
        return placed.orders, changes

    def place_list(self, new: NewOrderList, now_ms: int) -> tuple[VenueOrderList, Changes]:
        """A spot order list of two legs, of whichever types.

        Raises:
            Refusal: nothing was placed.
        """
        desk = self._spot_desk(new.symbol)
        record = desk.place_list(new, now_ms)
        changes = self._finish(desk, "ORDER", now_ms)
        return self._account.list_view(record), changes

    def amend(
        self,
        symbol: str,
        now_ms: int,
        *,
        side: Side,
        qty: Decimal,
        price: Decimal,
        venue_order_id: str | None = None,
        client_order_id: str | None = None,
    ) -> tuple[VenueOrder, Changes]:
        """Change an open futures limit order; the venue's number wins over the client id.

        Raises:
            Refusal: -2013 not in the regular book, -5027 nothing changes, and whatever `place` refuses.
        """
        desk = self._futures_desk(symbol)
        if venue_order_id is not None:
            record = self._numbered(Market.FUT, symbol, venue_order_id)
        else:
            record = self._account.open.get((Market.FUT, symbol, client_order_id or ""))
        if record is None or record.status.is_final or _in_algo_book(record):
            raise refusals.unknown_order()
        desk.amend(record, side, qty, price, now_ms)
        changes = self._finish(desk, "ORDER", now_ms)
        return record.view(), changes

    def cancel(
        self, market: Market, symbol: str, client_order_id: str, now_ms: int, *, conditional: bool = False
    ) -> tuple[VenueOrder, Changes]:
        """Cancel one open order, of the algo book when `conditional`. A leg of an OCO takes the other with it.

        Raises:
            Refusal: -2011, it is not open there: final, never known, or triggered meanwhile.
        """
        desk = self._desk(market, symbol)
        return self._cancel(desk, self._account.open.get((market, symbol, client_order_id)), conditional, now_ms)

    def cancel_number(
        self, market: Market, symbol: str, venue_order_id: str, now_ms: int
    ) -> tuple[VenueOrder, Changes]:
        """As `cancel` in the regular book, by the exchange's number."""
        desk = self._desk(market, symbol)
        return self._cancel(desk, self._numbered(market, symbol, venue_order_id), False, now_ms)

    def cancel_algo(self, symbol: str, venue_algo_id: str, now_ms: int) -> tuple[VenueOrder, Changes]:
        """As `cancel` in the algo book, by the exchange's number."""
        desk = self._futures_desk(symbol)
        return self._cancel(desk, self._algo_numbered(symbol, venue_algo_id), True, now_ms)

    def cancel_all(self, market: Market, symbol: str, now_ms: int, *, conditional: bool = False) -> Changes:
        """Cancel every open order of the symbol in one of the two books; the other book is not touched."""
        desk = self._desk(market, symbol)
        for record in self._open_records(market, symbol):
            if not record.status.is_final and _in_algo_book(record) is conditional:
                desk.end(record, OrderStatus.CANCELED, EndReason.USER, now_ms)
        return self._finish(desk, "ORDER", now_ms)

    def cancel_list(self, symbol: str, list_client_id: str, now_ms: int) -> tuple[tuple[VenueOrder, ...], Changes]:
        """The legs of `cancel_order_list`."""
        canceled, changes = self.cancel_order_list(symbol, now_ms, list_client_id=list_client_id)
        return canceled.orders, changes

    def cancel_order_list(
        self, symbol: str, now_ms: int, *, list_id: str | None = None, list_client_id: str | None = None
    ) -> tuple[VenueOrderList, Changes]:
        """Cancel what is open of a list; the exchange's number wins over the client id.

        Raises:
            Refusal: -2011, no such list has a leg open.
        """
        desk = self._spot_desk(symbol)
        pair = self._list(list_id, list_client_id)
        if pair is None or pair.symbol != symbol:
            raise refusals.unknown_to_cancel()
        legs = [self._account.orders[number] for number in (pair.target_no, pair.stop_no)]
        if all(leg.status.is_final for leg in legs):
            raise refusals.unknown_to_cancel()
        for leg in legs:
            if not leg.status.is_final:
                desk.end(leg, OrderStatus.CANCELED, EndReason.USER, now_ms)
        changes = self._finish(desk, "ORDER", now_ms)
        return self._account.list_view(pair), changes

    def set_leverage(self, symbol: str, leverage: int, now_ms: int) -> Changes:
        """For later fills and resting orders; an open position keeps its isolated wallet.

        Raises:
            Refusal: -4028 not allowed, -4161 lower with an open position, -2027, -2019.
        """
        self._futures_desk(symbol).set_leverage(leverage, now_ms)
        return self._account.take_changes()

    def set_margin_type(self, symbol: str, *, isolated: bool, now_ms: int = 0) -> Changes:
        """A crossed symbol opens nothing here: only isolated margin is modelled.

        Raises:
            Refusal: -4046 when asked for what already is, -4047 with open orders, -4048 with a position, -4168 isolated
                in multi-assets mode.
        """
        self._futures_desk(symbol).set_isolated(isolated)
        self._account.tell(AccountConfigured(now_ms, symbol, isolated=isolated))
        return self._account.take_changes()

    def set_dual_side(self, dual_side: bool, now_ms: int) -> Changes:
        """While an account holds two sides of a symbol apart, every order is refused: positions are one-way here.

        Raises:
            Refusal: -4059 when it already is so, -4067 with open orders, -4068 with a position.
        """
        settings = self._account.settings
        if dual_side is settings.dual_side:
            raise refusals.dual_side_unchanged()
        if any(desk.has_open_orders for desk in self._futures.values()):
            raise refusals.dual_side_with_orders()
        if self._account.positions:
            raise refusals.dual_side_with_position()
        settings.dual_side = dual_side
        return self._configured(AccountConfigured(now_ms, dual_side=dual_side))

    def set_multi_assets(self, multi_assets: bool, now_ms: int) -> Changes:
        """Multi-assets mode crosses every symbol.

        Raises:
            Refusal: -4171 when it already is so, -4167 while an isolated symbol has an order or a position.
        """
        settings = self._account.settings
        if multi_assets is settings.multi_assets:
            raise refusals.multi_assets_unchanged()
        if any(desk.isolated and (desk.has_open_orders or desk.position) for desk in self._futures.values()):
            raise refusals.isolated_in_the_way()
        settings.multi_assets = multi_assets
        return self._configured(AccountConfigured(now_ms, multi_assets=multi_assets))

    def change_margin(self, symbol: str, amount: Decimal, now_ms: int) -> Changes:
        """Add free balance to the isolated wallet of a position; a negative amount takes it back.

        Raises:
            Refusal: -4054 no position, -4050 not free, -4051 more than may be taken back, -4055 nothing asked, -4049.
        """
        self._futures_desk(symbol).change_margin(amount, now_ms)
        return self._account.take_changes()

    def set_countdown(self, symbol: str, countdown_ms: int, now_ms: int) -> None:
        """Cancel the symbol's regular orders in `countdown_ms` unless asked again; 0 stops it. Conditionals stay.

        Raises:
            Refusal: -1130 for a negative time.
        """
        self._futures_desk(symbol).count_down(countdown_ms, now_ms)
        self._set_alarm()

    def deposit(self, market: Market, asset: str, amount: Decimal, now_ms: int) -> Changes:
        """Money from outside, or to it where `amount` is negative: what whoever runs the exchange does.

        The futures ledger names it TRANSFER, as it does whatever reaches that wallet.

        Raises:
            Refusal: -5013 when what leaves is not free, -1130 for nothing.
        """
        if amount == 0:
            raise refusals.bad_parameter("amount")
        account = self._account
        wallet = account.wallet(market, asset)
        if amount < 0 and wallet.free < -amount:
            raise refusals.transfer_short()
        flow = Flow.DEPOSIT if amount > 0 else Flow.WITHDRAW
        if market is Market.FUT:
            account.earn(wallet, IncomeKind.TRANSFER, amount, symbol="", now_ms=now_ms, detail=flow.value)
        else:
            account.post(wallet, flow, amount)
        account.tell_balances(flow.value, now_ms)
        return account.take_changes()

    def transfer(
        self, source: Market, target: Market, asset: str, amount: Decimal, now_ms: int
    ) -> tuple[Transfer, Changes]:
        """Move a free amount between the two wallets. Not idempotent: asking twice moves twice.

        Raises:
            Refusal: -5013 when it is not free, -1130 for a senseless amount or direction.
        """
        if amount <= 0 or source is target:
            raise refusals.bad_parameter("amount" if amount <= 0 else "type")
        account = self._account
        if account.wallet(source, asset).free < amount:
            raise refusals.transfer_short()
        tran_id = account.number("tran")
        for market, signed in ((source, -amount), (target, amount)):
            wallet = account.wallet(market, asset)
            if market is Market.FUT:
                account.earn(wallet, IncomeKind.TRANSFER, signed, symbol="", now_ms=now_ms, detail=str(tran_id))
            else:
                account.post(wallet, Flow.TRANSFER, signed)
        transfer = Transfer(tran_id=tran_id, source=source, target=target, asset=asset, amount=amount, ts=now_ms)
        account.add_transfer(transfer)
        account.tell_balances("TRANSFER", now_ms)
        return transfer, account.take_changes()

    def replace_instrument(self, instrument: Instrument) -> None:
        """Other rules for one symbol from now on: what whoever runs the exchange does. They are not part of its state.

        TRADING is open; a perpetual in CLOSE_ONLY or CANCEL_ONLY only shrinks positions; whatever other status it has,
        nothing is placed and nothing matched. Cancels always pass.

        Raises:
            KeyError: it is not listed.
            ValueError: it would be another instrument, or one that cannot be traded.
        """
        desk = self._desks[instrument.market, instrument.symbol]
        old = desk.instrument
        if (instrument.base_asset, instrument.quote_asset) != (old.base_asset, old.quote_asset):
            raise ValueError(f"{instrument.key} cannot become {instrument.base_asset} in {instrument.quote_asset}")
        listed = tuple(instrument if each.key == old.key else each for each in self._rules.instruments)
        self._rules = replace(self._rules, instruments=listed)
        desk.replace_instrument(instrument)

    # --- questions

    def instrument(self, market: Market, symbol: str) -> Instrument:
        """Its rules as they are now.

        Raises:
            Refusal: -1121, it is not listed.
        """
        return self._desk(market, symbol).instrument

    def instruments(self) -> tuple[Instrument, ...]:
        return self._rules.instruments

    def order(self, market: Market, symbol: str, client_order_id: str) -> VenueOrder | None:
        """The newest order under this id; a final one may have been followed by another with the same id."""
        record = self._account.newest.get((market, symbol, client_order_id))
        return _view(record)

    def regular_order(self, market: Market, symbol: str, client_order_id: str) -> VenueOrder | None:
        """The newest of the regular book under this id, as it is spelt on the wire: ADL orders share one. A conditional
        that has not triggered does not hide it."""
        return _view(self._account.newest_regular.get((market, symbol, client_order_id)))

    def order_by_number(self, market: Market, symbol: str, venue_order_id: str) -> VenueOrder | None:
        """By the number in the regular book, which a conditional has only once it has triggered."""
        return _view(self._numbered(market, symbol, venue_order_id))

    def order_by_algo_id(self, symbol: str, venue_algo_id: str) -> VenueOrder | None:
        return _view(self._algo_numbered(symbol, venue_algo_id))

    def algo_order(self, symbol: str, client_algo_id: str) -> VenueOrder | None:
        """The newest conditional under this client id, triggered or not; regular orders do not hide it."""
        return _view(self._account.newest_algo.get((symbol, client_algo_id)))

    def fills_of(self, market: Market, symbol: str, venue_order_id: str) -> tuple[VenueFill, ...]:
        """The trades of one order, oldest first."""
        if self._numbered(market, symbol, venue_order_id) is None:
            return ()
        return tuple(self._account.fills_of.get(venue_order_id, ()))

    def open_orders(self, market: Market, symbol: str | None = None) -> tuple[VenueOrder, ...]:
        """The regular book (spot: waiting stops too), oldest first."""
        return tuple(record.view() for record in self._open_records(market, symbol) if not _in_algo_book(record))

    def open_conditional(self, symbol: str | None = None) -> tuple[VenueOrder, ...]:
        """The futures algo book: what has not triggered yet, oldest first."""
        return tuple(record.view() for record in self._open_records(Market.FUT, symbol) if _in_algo_book(record))

    def booked_orders(self, symbol: str | None, since_ms: int) -> tuple[VenueOrder, ...]:
        """Those of futures that came into the regular book, or became what they are there, at or after `since_ms`."""
        return tuple(
            record.view()
            for record in self._account.orders.values()
            if record.market is Market.FUT
            and (symbol is None or record.symbol == symbol)
            and max(record.created_at_ms, record.triggered_at_ms) >= since_ms
        )

    def orders(self, market: Market, symbol: str | None = None, since_ms: int = 0) -> tuple[VenueOrder, ...]:
        """Every order ever accepted and created at or after `since_ms`, oldest first."""
        if symbol is not None:
            return tuple(record.view() for record in self._account.orders_from(market, symbol, since_ms))
        return tuple(
            record.view()
            for record in self._account.orders.values()
            if record.market is market and record.created_at_ms >= since_ms
        )

    def order_lists(self, symbol: str | None = None) -> tuple[VenueOrderList, ...]:
        """Every OCO, oldest first, open or not."""
        return tuple(
            self._account.list_view(record)
            for record in self._account.lists.values()
            if symbol is None or record.symbol == symbol
        )

    def open_order_lists(self) -> tuple[VenueOrderList, ...]:
        """Those of which an order is open, oldest first."""
        numbers = {int(each.order_list_id) for each in self._open_records(Market.SPOT, None) if each.order_list_id}
        lists = (self._account.lists[number] for number in sorted(numbers))
        return tuple(self._account.list_view(record) for record in lists if not record.done)

    def order_list(self, *, list_id: str | None = None, list_client_id: str | None = None) -> VenueOrderList | None:
        """By the exchange's number, or the newest under the list's own client id."""
        record = self._list(list_id, list_client_id)
        return self._account.list_view(record) if record is not None else None

    def fills(self, market: Market, symbol: str, since_ms: int = 0, from_id: int = 0) -> tuple[VenueFill, ...]:
        """Trades of ours, oldest first; `from_id` (inclusive) wins over `since_ms`."""
        return self._account.fills_from(market, symbol, since_ms, from_id)

    def balances(self, market: Market | None = None) -> tuple[Balance, ...]:
        """Every wallet that was ever used, ordered by market and asset."""
        wallets = self._account.wallets
        return tuple(
            wallets[key].view()
            for key in sorted(wallets)
            if (market is None or key[0] is market) and wallets[key].flows
        )

    def positions(self) -> tuple[VenuePosition, ...]:
        """Open positions by symbol, valued at the last mark."""
        views = (self._futures[symbol].position_view() for symbol in sorted(self._account.positions))
        return tuple(view for view in views if view is not None)

    def income(self, since_ms: int = 0) -> tuple[Income, ...]:
        return self._account.incomes_from(since_ms)

    def transfers(self, since_ms: int = 0) -> tuple[Transfer, ...]:
        return self._account.transfers_from(since_ms)

    def leverage(self, symbol: str) -> int:
        return self._futures_desk(symbol).contract.leverage

    def isolated(self, symbol: str) -> bool:
        return self._futures_desk(symbol).isolated

    @property
    def dual_side(self) -> bool:
        return self._account.settings.dual_side

    @property
    def multi_assets(self) -> bool:
        return self._account.settings.multi_assets

    def margin_changes(self, symbol: str, since_ms: int = 0) -> tuple[MarginChange, ...]:
        """What `change_margin` moved, oldest first."""
        return tuple(
            change for change in self._account.margin_changes if change.symbol == symbol and change.ts >= since_ms
        )

    def flows(self, market: Market, asset: str) -> dict[Flow, Decimal]:
        """Everything that ever moved this wallet, by kind; the sum is free + locked, to the last digit."""
        return dict(self._account.wallet(market, asset).flows)

    # --- storing

    def drain_rows(self) -> tuple[StateRow, ...]:
        """What changed since the last call. Prices are not among it: the market is not the account's."""
        return self._account.drain()

    def export_state(self) -> State:
        """Everything, as JSON values; the last outside books included."""
        books = {f"{market}:{symbol}": desk.book.export() for (market, symbol), desk in self._desks.items()}
        return {**self._account.export(), "book": {key: row for key, row in books.items() if row is not None}}

    # --- inside

    def _finish(self, desk: Desk, cause: str, now_ms: int) -> Changes:
        desk.tell_money(cause, now_ms)
        return self._account.take_changes()

    def _configured(self, change: AccountConfigured) -> Changes:
        self._account.mark_dirty("settings", "account")
        self._account.tell(change)
        return self._account.take_changes()

    def _set_alarm(self) -> None:
        """Nothing is due by the clock before this."""
        due = (desk.contract.countdown_at_ms for desk in self._futures.values())
        self._alarm_ms = min((at_ms for at_ms in due if at_ms), default=NEVER_MS)

    def _cancel(
        self, desk: Desk, record: OrderRecord | None, conditional: bool, now_ms: int
    ) -> tuple[VenueOrder, Changes]:
        if record is None or record.status.is_final or _in_algo_book(record) is not conditional:
            raise refusals.unknown_to_cancel()
        desk.end(record, OrderStatus.CANCELED, EndReason.USER, now_ms)
        changes = self._finish(desk, "ORDER", now_ms)
        return record.view(), changes

    def _open_records(self, market: Market, symbol: str | None) -> list[OrderRecord]:
        return [
            record
            for record in self._account.open.values()
            if record.market is market and (symbol is None or record.symbol == symbol)
        ]

    def _numbered(self, market: Market, symbol: str, venue_order_id: str) -> OrderRecord | None:
        record = self._account.by_venue_id.get(venue_order_id)
        return record if record is not None and (record.market, record.symbol) == (market, symbol) else None

    def _list(self, list_id: str | None, list_client_id: str | None) -> ListRecord | None:
        if list_id is not None:
            return self._account.lists.get(int(list_id)) if list_id.isdecimal() else None
        return self._account.newest_list.get(list_client_id or "")

    def _algo_numbered(self, symbol: str, venue_algo_id: str) -> OrderRecord | None:
        record = self._account.by_algo_id.get(venue_algo_id)
        return record if record is not None and record.symbol == symbol else None

    def _desk(self, market: Market, symbol: str) -> FuturesDesk | SpotDesk:
        return self._futures_desk(symbol) if market is Market.FUT else self._spot_desk(symbol)

    def _futures_desk(self, symbol: str) -> FuturesDesk:
        if symbol not in self._futures:
            raise refusals.bad_symbol()
        return self._futures[symbol]

    def _spot_desk(self, symbol: str) -> SpotDesk:
        if symbol not in self._spot:
            raise refusals.bad_symbol()
        return self._spot[symbol]


def _view(record: OrderRecord | None) -> VenueOrder | None:
    return record.view() if record is not None else None


def _in_algo_book(record: OrderRecord) -> bool:
    return record.conditional and not record.triggered
