"""What is ours by our own books: open trades, and stops that we took back ourselves."""

from collections.abc import Sequence
from decimal import Decimal

from chimera.contracts.collections import STRATEGY_EVENTS, TRADES
from chimera.contracts.documents import Order, Trade
from chimera.contracts.enums import OPEN_TRADES, EventKind, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import VenuePosition
from chimera.ports.documents import Documents, Query

TOLD_WITHIN_MS = 60_000
"""A cancel of ours is on file at most so long after the exchange did it."""


async def open_trade(documents: Documents, key: InstrumentKey) -> Trade | None:
    """There is one at most on a futures instrument."""
    for status in OPEN_TRADES:
        found = await documents.find(
            Query(
                collection=TRADES,
                index="by_instr",
                equal=(("market", key.market.value), ("symbol", key.symbol), ("status", status.value)),
                limit=1,
            )
        )
        if found:
            return found[0]
    return None


def beyond(trade: Trade | None, position: VenuePosition) -> Decimal:
    """How much of the position is not the trade's, without sign."""
    if trade is None or trade.side.sign * position.qty < 0:
        return abs(position.qty)
    return max(Decimal(0), abs(position.qty) - trade.qty_open)


async def held_trades(documents: Documents, key: InstrumentKey) -> list[Trade]:
    """Of a spot instrument there may be several, the oldest first."""
    found = await documents.find(
        Query(
            collection=TRADES,
            index="by_instr",
            equal=(("market", key.market.value), ("symbol", key.symbol), ("status", TradeStatus.ACTIVE.value)),
        )
    )
    return sorted(found, key=lambda trade: (trade.opened_at, trade.trade_id))


async def asked_to_go_of(documents: Documents, stops: Sequence[Order]) -> frozenset[str]:
    """Those that we canceled: each such cancel is on file."""
    asked: set[str] = set()
    for stop in stops:
        gone_at = stop.updated_at or stop.created_at
        for event in await documents.find(
            Query(
                collection=STRATEGY_EVENTS,
                index="by_kind",
                equal=(("kind", EventKind.CANCEL.value),),
                at_least=gone_at - TOLD_WITHIN_MS,
                below=gone_at + TOLD_WITHIN_MS,
            )
        ):
            if (event.detail or {}).get("subject") == stop.order_id:
                asked.add(stop.order_id)
    return frozenset(asked)
