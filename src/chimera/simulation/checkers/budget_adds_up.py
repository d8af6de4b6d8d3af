"""I4: when nothing is in motion, what is reserved is what is in flight plus what is open.

The reservations themselves live in the services' fast state. `check` holds what they are healed from, the documents,
against what the exchange holds; `reserved_is_used` holds the reservations against the documents.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

from chimera.contracts.collections import INSTRUMENT_REGISTRY, INTENTS, TRADES
from chimera.contracts.documents import IntentRecord, Trade
from chimera.contracts.enums import Market, Purpose, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.positions.budget import futures_usage, spot_reservation, spot_usage
from chimera.ports.state import Reservation
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.strangers import shares_of, unshared

_ZERO = Decimal(0)


def check(evidence: Evidence) -> list[str]:
    """Open trades on file are the exchange's positions, but for what somebody else holds of them, and each order is
    shared between the two as the exchange's fills say."""
    on_file: dict[str, Decimal] = defaultdict(Decimal)
    for trade in _open_trades(evidence):
        if trade.market is Market.FUT:
            on_file[trade.symbol] += trade.side.sign * trade.qty_open
    there: dict[str, Decimal] = defaultdict(Decimal)
    for position in evidence.positions:
        there[position.symbol] += position.qty
    for symbol, found in shares_of(evidence).items():
        there[symbol] -= found.theirs
    return unshared(evidence) + [
        f"{symbol}: open trades hold {on_file.get(symbol, _ZERO)}, the exchange {there.get(symbol, _ZERO)}"
        for symbol in sorted({*on_file, *there})
        if on_file.get(symbol, _ZERO) != there.get(symbol, _ZERO)
    ]


def reserved_is_used(evidence: Evidence, reserved: Mapping[str, Decimal]) -> list[str]:
    """`reserved`: intent id to USDT, as the system says."""
    used = used_usdt(evidence)
    return [
        f"{intent_id}: {reserved.get(intent_id, _ZERO)} USDT is reserved and {used.get(intent_id, _ZERO)} is used"
        for intent_id in sorted({*used, *reserved})
        if reserved.get(intent_id) != used.get(intent_id)
    ]


def sums_up(reserved: Iterable[Reservation], used: Mapping[Market, Decimal]) -> list[str]:
    """`used`: USDT by market, as the system says beside its reservations."""
    sums: dict[Market, Decimal] = defaultdict(Decimal)
    for record in reserved:
        sums[record.key.market] += record.amount_usdt
    return [
        f"{market}: {used[market]} USDT are counted as used, the reservations make {sums[market]}"
        for market in used
        if used[market] != sums[market]
    ]


def used_usdt(evidence: Evidence) -> dict[str, Decimal]:
    """Intent id to what it uses of the budget by the documents: in flight as planned, open as filled."""
    fees = {
        InstrumentKey(each.market, each.symbol): each.taker_fee_ratio or _ZERO
        for each in evidence.on_file(INSTRUMENT_REGISTRY)
    }
    used = {
        record.intent_id: _in_flight(record, fees[record.intent.instrument])
        for record in evidence.on_file(INTENTS)
        if record.purpose is Purpose.ENTRY and not record.state.is_final
    }
    for trade in _open_trades(evidence):
        if trade.qty_open > 0:
            used[trade.trade_id] = _open(trade, fees[InstrumentKey(trade.market, trade.symbol)])
    return used


def _in_flight(record: IntentRecord, fee_ratio: Decimal) -> Decimal:
    intent = record.intent
    price = intent.entry_ref_price or record.avg_price or _ZERO
    if record.market is Market.FUT:
        return futures_usage(qty=intent.qty, entry_price=price, leverage=intent.leverage or 1, fee_ratio=fee_ratio)
    return spot_reservation(qty=intent.qty, price=price, fee_ratio=fee_ratio)


def _open(trade: Trade, fee_ratio: Decimal) -> Decimal:
    if trade.market is Market.FUT:
        return futures_usage(
            qty=trade.qty_open, entry_price=trade.entry_price_avg, leverage=trade.leverage, fee_ratio=fee_ratio
        )
    return spot_usage(qty=trade.qty_open, wac=trade.entry_price_avg)


def _open_trades(evidence: Evidence) -> Iterable[Trade]:
    return (trade for trade in evidence.on_file(TRADES) if trade.status is not TradeStatus.CLOSED)
