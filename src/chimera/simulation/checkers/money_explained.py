"""I10: a wallet's change is what our documents say of fills, fees and funding, plus transfers, to 1e-8.

Balances, transfers, what the exchange's insurance fund paid or took, and what somebody else traded come from the
exchange's rows; everything else from the documents. The trades must tell the same sums once more.
"""

from collections import defaultdict
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, FUNDING_RECORDS, ORDERS, TRADES
from chimera.contracts.documents import Fill, FundingRecord, Trade
from chimera.contracts.enums import Market
from chimera.domain.execution.orders import VenueFill
from chimera.domain.matching.records import Flow
from chimera.domain.positions.trade_book import part_of
from chimera.simulation.checkers.evidence import Evidence, WalletKey
from chimera.simulation.checkers.strangers import fills_of_strangers, shares_of

TOLERANCE = Decimal("1e-8")
_ZERO = Decimal(0)
_FUT_USDT: WalletKey = (Market.FUT, "USDT")
_SPOT_USDT: WalletKey = (Market.SPOT, "USDT")


def check(evidence: Evidence) -> list[str]:
    explained: dict[WalletKey, Decimal] = defaultdict(Decimal)
    for fill in evidence.on_file(FILLS):
        fee, fee_asset = fill.fee_qty or _ZERO, fill.fee_asset or "USDT"
        _move(explained, fill, fee=fee, fee_asset=fee_asset)
    for theirs in fills_of_strangers(evidence):
        _move(explained, theirs, fee=theirs.fee, fee_asset=theirs.fee_asset)
    for funding in evidence.on_file(FUNDING_RECORDS):
        explained[_FUT_USDT] += funding.amount_usdt
    for transfer in evidence.transfers:
        explained[transfer.source, transfer.asset] -= transfer.amount
        explained[transfer.target, transfer.asset] += transfer.amount
    findings = []
    for key in sorted({*explained, *evidence.balances}):
        flows = evidence.flows.get(key, {})
        expected = explained[key] + flows.get(Flow.INSURANCE_CLEAR, _ZERO)
        moved = flows.get(Flow.DEPOSIT, _ZERO) + flows.get(Flow.WITHDRAW, _ZERO)
        changed = evidence.balances.get(key, _ZERO) - moved
        if abs(changed - expected) > TOLERANCE:
            market, asset = key
            findings.append(f"{market} {asset} changed by {changed} and the documents explain {expected}")
    return findings + _trades(evidence)


def _move(explained: dict[WalletKey, Decimal], fill: Fill | VenueFill, *, fee: Decimal, fee_asset: str) -> None:
    """What one fill did to the wallets."""
    assert fill.side is not None, f"a fill of {fill.symbol} has no side"
    explained[fill.market, fee_asset] -= fee
    if fill.market is Market.FUT:
        explained[_FUT_USDT] += fill.realized_pnl_usdt or _ZERO
    else:
        explained[_SPOT_USDT] -= fill.side.sign * fill.price * fill.qty
        explained[Market.SPOT, fill.symbol.removesuffix("USDT")] += fill.side.sign * fill.qty


def _trades(evidence: Evidence) -> list[str]:
    """Every futures fill and every settlement belongs to one trade; of strangers' fills, what they closed of it."""
    orders = {order.order_id: order for order in evidence.on_file(ORDERS)}
    trades = [trade for trade in evidence.on_file(TRADES) if trade.market is Market.FUT]
    all_fills = {fill.fill_id: fill for fill in evidence.on_file(FILLS) if fill.market is Market.FUT}
    parts = {fill_id: qty for each in shares_of(evidence).values() for fill_id, qty in each.trades.items()}
    fills = []
    for fill in all_fills.values():
        order = orders[fill.order_id]
        if ids.is_of_the_exchange(order.order_id):
            # It closes the position, whoever holds it.
            if qty := parts.get(fill.fill_id, fill.qty):
                fills.append(part_of(fill, qty))
        elif not order.is_strangers:
            fills.append(fill)
    for order in orders.values():
        if order.market is Market.FUT:
            fills += [part_of(all_fills[fill_id], qty) for fill_id, qty in (order.closed_by or {}).items()]
    meddled = {fill.symbol for fill in fills_of_strangers(evidence) if fill.market is Market.FUT}
    settled = [
        record
        for record in evidence.on_file(FUNDING_RECORDS)
        if record.symbol not in meddled or any(_is_of(record, trade) for trade in trades)
    ]
    rows = (
        ("PnL", [t.realized_pnl_usdt for t in trades], [f.realized_pnl_usdt or _ZERO for f in fills]),
        ("fees", [t.fees_usdt for t in trades], [f.fee_usdt or _ZERO for f in fills]),
        ("funding", [t.funding_usdt for t in trades], [each.amount_usdt for each in settled]),
    )
    return [
        f"futures trades sum up {name} of {sum(told, _ZERO)}, the records of it say {sum(true, _ZERO)}"
        for name, told, true in rows
        if abs(sum(told, _ZERO) - sum(true, _ZERO)) > TOLERANCE
    ]


def _is_of(record: FundingRecord, trade: Trade) -> bool:
    ended = trade.closed_at is not None and trade.closed_at < record.funding_time
    return trade.symbol == record.symbol and trade.opened_at <= record.funding_time and not ended
