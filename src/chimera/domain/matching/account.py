"""One account's records at the exchange, and what of them changed.

Owns wallets, orders, fills, incomes, transfers, positions and contracts; numbers them; remembers which rows a journal
has not stored yet and which changes nobody has been told. Knows no trading rule.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chimera.contracts import ids
from chimera.contracts.enums import Market
from chimera.domain.execution.orders import (
    AccountChange,
    BalancesChanged,
    Income,
    IncomeKind,
    MarginChange,
    OrderUpdated,
    Transfer,
    VenueFill,
    VenueOrderList,
)
from chimera.domain.matching.codec import Row, from_row, to_row
from chimera.domain.matching.money import ZERO
from chimera.domain.matching.records import (
    ContractRecord,
    Flow,
    ListRecord,
    OrderRecord,
    PositionRecord,
    SettingsRecord,
    Wallet,
)

State = dict[str, dict[str, Any]]
"""Table name to key to row; JSON values only."""

OrderKey = tuple[Market, str, str]
"""Market, symbol, client order id."""


@dataclass(frozen=True, slots=True)
class StateRow:
    """One row to store: `row` replaces what `table` holds under `key`; None removes it."""

    table: str
    key: str
    row: Row | None


class Account:
    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.wallets: dict[tuple[Market, str], Wallet] = {}
        self.orders: dict[int, OrderRecord] = {}
        self.orders_of: dict[tuple[Market, str], list[OrderRecord]] = {}
        self.newest: dict[OrderKey, OrderRecord] = {}
        self.open: dict[OrderKey, OrderRecord] = {}
        self.by_venue_id: dict[str, OrderRecord] = {}
        self.by_algo_id: dict[str, OrderRecord] = {}
        self.newest_algo: dict[tuple[str, str], OrderRecord] = {}
        self.newest_regular: dict[OrderKey, OrderRecord] = {}
        self.lists: dict[int, ListRecord] = {}
        self.newest_list: dict[str, ListRecord] = {}
        self.fills: dict[tuple[Market, str], list[VenueFill]] = {}
        self.fills_of: dict[str, list[VenueFill]] = {}
        self.incomes: list[Income] = []
        self.transfers: list[Transfer] = []
        self.positions: dict[str, PositionRecord] = {}
        self.contracts: dict[str, ContractRecord] = {}
        self.settings = SettingsRecord()
        self.margin_changes: list[MarginChange] = []
        self._changes: list[AccountChange] = []
        self._touched: dict[tuple[Market, str], Wallet] = {}
        self._dirty: dict[tuple[str, str], None] = {}
        self._new_rows: dict[tuple[str, str], Row] = {}

    # --- numbers and rows

    def number(self, name: str) -> int:
        """The next number of a sequence, from 1."""
        value = self.counters.get(name, 0) + 1
        self.counters[name] = value
        self._dirty["counter", name] = None
        return value

    def mark_dirty(self, table: str, key: str) -> None:
        self._dirty[table, key] = None

    # --- money

    def wallet(self, market: Market, asset: str) -> Wallet:
        wallet = self.wallets.get((market, asset))
        if wallet is None:
            wallet = self.wallets[market, asset] = Wallet(market, asset)
        return wallet

    def post(self, wallet: Wallet, flow: Flow, amount: Decimal) -> None:
        """Book `amount` (received +, paid -)."""
        if amount:
            wallet.balance += amount
            wallet.flows[flow] = wallet.flows.get(flow, ZERO) + amount
            self.touch(wallet)
            self._dirty["wallet", f"{wallet.market}:{wallet.asset}"] = None

    def touch(self, wallet: Wallet) -> None:
        self._touched[wallet.market, wallet.asset] = wallet

    def lock(self, wallet: Wallet, record: OrderRecord, amount: Decimal) -> None:
        """Set what `record` keeps back of `wallet`."""
        change = amount - record.locked
        if change:
            wallet.order_lock += change
            record.locked = amount
            self.touch(wallet)
            self._dirty["order", str(record.no)] = None

    def earn(
        self, wallet: Wallet, kind: IncomeKind, amount: Decimal, *, symbol: str, now_ms: int, detail: str = ""
    ) -> Income:
        """Book a futures ledger line."""
        income = Income(
            tran_id=self.number("tran"),
            symbol=symbol,
            kind=kind,
            asset=wallet.asset,
            amount=amount,
            ts=now_ms,
            detail=detail,
        )
        self.post(wallet, Flow(kind.value), amount)
        self.incomes.append(income)
        self._dirty["income", str(income.tran_id)] = None
        self._new_rows["income", str(income.tran_id)] = to_row(income)
        return income

    # --- orders and fills

    def add_order(self, record: OrderRecord) -> None:
        key = (record.market, record.symbol, record.client_order_id)
        self.orders[record.no] = record
        self.orders_of.setdefault((record.market, record.symbol), []).append(record)
        self.newest[key] = self.newest[_as_told(record)] = record
        if record.venue_order_id:
            self._number(record)
        if record.venue_algo_id is not None:
            self.by_algo_id[record.venue_algo_id] = record
            self.newest_algo[record.symbol, record.client_order_id] = record
        if not record.status.is_final:
            self.open[key] = record

    def renumber(self, record: OrderRecord, venue_order_id: str) -> None:
        """A triggered algo order enters the regular book under a number of its own."""
        record.venue_order_id = venue_order_id
        self._number(record)

    def _number(self, record: OrderRecord) -> None:
        self.by_venue_id[record.venue_order_id] = record
        self.newest_regular[_as_told(record)] = record

    def close_order(self, record: OrderRecord) -> None:
        self.open.pop((record.market, record.symbol, record.client_order_id), None)

    def add_fill(self, fill: VenueFill) -> None:
        self._index_fill(fill)
        self._dirty["fill", str(fill.trade_id)] = None
        self._new_rows["fill", str(fill.trade_id)] = to_row(fill)

    def _index_fill(self, fill: VenueFill) -> None:
        self.fills.setdefault((fill.market, fill.symbol), []).append(fill)
        self.fills_of.setdefault(fill.venue_order_id, []).append(fill)

    def add_transfer(self, transfer: Transfer) -> None:
        self.transfers.append(transfer)
        self._dirty["transfer", str(transfer.tran_id)] = None
        self._new_rows["transfer", str(transfer.tran_id)] = to_row(transfer)

    def add_margin_change(self, symbol: str, wallet: Wallet, amount: Decimal, now_ms: int) -> None:
        number = self.number("margin")
        change = MarginChange(number=number, symbol=symbol, asset=wallet.asset, amount=amount, ts=now_ms)
        self.margin_changes.append(change)
        self._dirty["margin", str(number)] = None
        self._new_rows["margin", str(number)] = to_row(change)

    def add_list(self, record: ListRecord) -> None:
        self.lists[record.list_id] = self.newest_list[record.list_client_id] = record
        self._dirty["list", str(record.list_id)] = None

    def list_view(self, record: ListRecord) -> VenueOrderList:
        return VenueOrderList(
            list_id=str(record.list_id),
            list_client_id=record.list_client_id,
            symbol=record.symbol,
            status="ALL_DONE" if record.done else "EXEC_STARTED",
            created_at_ms=record.created_at_ms,
            updated_at_ms=record.updated_at_ms,
            orders=(self.orders[record.target_no].view(), self.orders[record.stop_no].view()),
        )

    def orders_from(self, market: Market, symbol: str, since_ms: int) -> list[OrderRecord]:
        orders = self.orders_of.get((market, symbol), [])
        return orders[bisect_left(orders, since_ms, key=_created_at_ms) :]

    def fills_from(self, market: Market, symbol: str, since_ms: int, from_id: int) -> tuple[VenueFill, ...]:
        fills = self.fills.get((market, symbol), [])
        first = bisect_left(fills, from_id, key=_trade_id) if from_id else bisect_left(fills, since_ms, key=_ts)
        return tuple(fills[first:])

    def incomes_from(self, since_ms: int) -> tuple[Income, ...]:
        return tuple(self.incomes[bisect_left(self.incomes, since_ms, key=_ts) :])

    def transfers_from(self, since_ms: int) -> tuple[Transfer, ...]:
        return tuple(self.transfers[bisect_left(self.transfers, since_ms, key=_ts) :])

    # --- telling

    def tell(self, change: AccountChange) -> None:
        self._changes.append(change)

    def tell_order(self, record: OrderRecord, fill: VenueFill | None = None, *, amended: bool = False) -> None:
        self._dirty["order", str(record.no)] = None
        self._changes.append(OrderUpdated(record.updated_at_ms, record.view(), fill, amended))

    def tell_balances(self, cause: str, now_ms: int) -> None:
        """Report the wallets touched since the last call, if any."""
        if self._touched:
            views = tuple(self._touched[key].view() for key in sorted(self._touched))
            self._touched.clear()
            self._changes.append(BalancesChanged(now_ms, cause, views))

    def take_changes(self) -> tuple[AccountChange, ...]:
        changes = tuple(self._changes)
        self._changes.clear()
        return changes

    # --- storing

    def drain(self) -> tuple[StateRow, ...]:
        rows = tuple(StateRow(table, key, self._row(table, key)) for table, key in self._dirty)
        self._dirty.clear()
        self._new_rows.clear()
        return rows

    def export(self) -> State:
        return {
            "counter": {name: {"value": self.counters[name]} for name in sorted(self.counters)},
            "wallet": {
                f"{market}:{asset}": _wallet_row(self.wallets[market, asset])
                for market, asset in sorted(self.wallets)
                if self.wallets[market, asset].flows
            },
            "order": {str(no): to_row(record) for no, record in self.orders.items()},
            "list": {str(number): to_row(record) for number, record in self.lists.items()},
            "fill": {
                str(fill.trade_id): to_row(fill)
                for fill in sorted((fill for fills in self.fills.values() for fill in fills), key=_trade_id)
            },
            "income": {str(income.tran_id): to_row(income) for income in self.incomes},
            "transfer": {str(transfer.tran_id): to_row(transfer) for transfer in self.transfers},
            "position": {symbol: to_row(self.positions[symbol]) for symbol in sorted(self.positions)},
            "contract": {symbol: to_row(self.contracts[symbol]) for symbol in sorted(self.contracts)},
            "settings": {"account": to_row(self.settings)},
            "margin": {str(change.number): to_row(change) for change in self.margin_changes},
        }

    def restore(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what `export` wrote, or the same tables gathered from drained rows. Locks are set by the caller."""
        self.counters = {name: state["counter"][name]["value"] for name in sorted(state.get("counter", {}))}
        for key, row in state.get("wallet", {}).items():
            market, _, asset = key.partition(":")
            wallet = self.wallet(Market(market), asset)
            wallet.flows = {Flow(flow): Decimal(amount) for flow, amount in row["flows"].items()}
            wallet.balance = Decimal(row["balance"])
        for row in _by_number(state, "order"):
            self.add_order(from_row(OrderRecord, row))
        for row in _by_number(state, "list"):
            record = from_row(ListRecord, row)
            self.lists[record.list_id] = self.newest_list[record.list_client_id] = record
            if "done" not in row:  # written before it was kept
                legs = (self.orders[record.target_no], self.orders[record.stop_no])
                ended_ms = [leg.updated_at_ms for leg in legs if leg.status.is_final]
                record.done = bool(ended_ms)
                record.updated_at_ms = min(ended_ms, default=record.created_at_ms)
        for row in _by_number(state, "fill"):
            self._index_fill(from_row(VenueFill, row))
        for number, row in state.get("order", {}).items():
            if "filled_quote" not in row:  # written before it was kept
                order = self.orders[int(number)]
                fills = self.fills_of.get(order.venue_order_id, ())
                order.filled_quote = sum((fill.price * fill.qty for fill in fills), ZERO)
        self.incomes = [from_row(Income, row) for row in _by_number(state, "income")]
        self.transfers = [from_row(Transfer, row) for row in _by_number(state, "transfer")]
        for symbol in sorted(state.get("position", {})):
            self.positions[symbol] = from_row(PositionRecord, state["position"][symbol])
        for symbol in sorted(state.get("contract", {})):
            self.contracts[symbol] = from_row(ContractRecord, state["contract"][symbol])
        self.settings = from_row(SettingsRecord, state.get("settings", {}).get("account", {}))
        self.margin_changes = [from_row(MarginChange, row) for row in _by_number(state, "margin")]

    def _row(self, table: str, key: str) -> Row | None:
        if table == "order":
            return to_row(self.orders[int(key)])
        if table in ("fill", "income", "transfer", "margin"):
            return self._new_rows[table, key]
        if table == "wallet":
            market, _, asset = key.partition(":")
            return _wallet_row(self.wallets[Market(market), asset])
        if table == "counter":
            return {"value": self.counters[key]}
        if table == "list":
            return to_row(self.lists[int(key)])
        if table == "contract":
            return to_row(self.contracts[key])
        if table == "settings":
            return to_row(self.settings)
        return to_row(self.positions[key]) if key in self.positions else None


def _wallet_row(wallet: Wallet) -> Row:
    return {
        "balance": str(wallet.balance),
        "flows": {flow.value: str(wallet.flows[flow]) for flow in Flow if flow in wallet.flows},
    }


def _by_number(state: Mapping[str, Mapping[str, Any]], table: str) -> list[Any]:
    rows = state.get(table, {})
    return [rows[key] for key in sorted(rows, key=int)]


def _trade_id(fill: VenueFill) -> int:
    return fill.trade_id


def _as_told(record: OrderRecord) -> tuple[Market, str, str]:
    """The order's name on the wire, where it may be that of others too."""
    return record.market, record.symbol, ids.as_told(record.client_order_id, record.venue_order_id)


def _created_at_ms(record: OrderRecord) -> int:
    return record.created_at_ms


def _ts(line: VenueFill | Income | Transfer) -> int:
    return line.ts
