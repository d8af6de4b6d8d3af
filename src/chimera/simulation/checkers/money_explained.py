"""I10: a wallet's change is what our documents say of fills, fees and funding, plus transfers, to 1e-8.

Balances, transfers and what the exchange's insurance fund paid or took come from the exchange's rows; everything else
from the documents. The trades must tell the same sums once more.
"""

from collections import defaultdict
from decimal import Decimal

from chimera.contracts.collections import FILLS, FUNDING_RECORDS, TRADES
from chimera.contracts.enums import Market
from chimera.domain.matching.records import Flow
from chimera.simulation.checkers.evidence import Evidence, WalletKey

TOLERANCE = Decimal("1e-8")
_ZERO = Decimal(0)
_FUT_USDT: WalletKey = (Market.FUT, "USDT")
_SPOT_USDT: WalletKey = (Market.SPOT, "USDT")


def check(evidence: Evidence) -> list[str]:
    explained: dict[WalletKey, Decimal] = defaultdict(Decimal)
    for fill in evidence.on_file(FILLS):
        assert fill.side is not None, f"fill {fill.fill_id} has no side"
        fee, fee_asset = fill.fee_qty or _ZERO, fill.fee_asset or "USDT"
        explained[fill.market, fee_asset] -= fee
        if fill.market is Market.FUT:
            explained[_FUT_USDT] += fill.realized_pnl_usdt or _ZERO
        else:
            explained[_SPOT_USDT] -= fill.side.sign * fill.price * fill.qty
            explained[Market.SPOT, fill.symbol.removesuffix("USDT")] += fill.side.sign * fill.qty
    for funding in evidence.on_file(FUNDING_RECORDS):
        explained[_FUT_USDT] += funding.amount_usdt
    for transfer in evidence.transfers:
        explained[transfer.source, transfer.asset] -= transfer.amount
        explained[transfer.target, transfer.asset] += transfer.amount
    findings = []
    for key in sorted({*explained, *evidence.balances}):
        flows = evidence.flows.get(key, {})
        expected = explained[key] + flows.get(Flow.INSURANCE_CLEAR, _ZERO)
        changed = evidence.balances.get(key, _ZERO) - flows.get(Flow.DEPOSIT, _ZERO)
        if abs(changed - expected) > TOLERANCE:
            market, asset = key
            findings.append(f"{market} {asset} changed by {changed} and the documents explain {expected}")
    return findings + _trades(evidence)


def _trades(evidence: Evidence) -> list[str]:
    """Every futures fill and every settlement belongs to one trade."""
    fills = [fill for fill in evidence.on_file(FILLS) if fill.market is Market.FUT]
    trades = [trade for trade in evidence.on_file(TRADES) if trade.market is Market.FUT]
    rows = (
        ("PnL", [t.realized_pnl_usdt for t in trades], [f.realized_pnl_usdt or _ZERO for f in fills]),
        ("fees", [t.fees_usdt for t in trades], [f.fee_usdt or _ZERO for f in fills]),
        ("funding", [t.funding_usdt for t in trades], [r.amount_usdt for r in evidence.on_file(FUNDING_RECORDS)]),
    )
    return [
        f"futures trades sum up {name} of {sum(told, _ZERO)}, the records of it say {sum(true, _ZERO)}"
        for name, told, true in rows
        if abs(sum(told, _ZERO) - sum(true, _ZERO)) > TOLERANCE
    ]
