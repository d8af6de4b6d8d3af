"""What of a futures position is ours by our own books."""

from decimal import Decimal

from chimera.contracts.collections import TRADES
from chimera.contracts.documents import Trade
from chimera.contracts.enums import OPEN_TRADES
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import VenuePosition
from chimera.ports.documents import Documents, Query


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
