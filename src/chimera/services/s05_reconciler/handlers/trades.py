"""What of a position or a wallet is ours by our own books, whether those say all of it, and what we took back."""

from collections.abc import Sequence
from decimal import Decimal

from chimera.contracts.collections import INTENTS, STRATEGY_EVENTS, TRADES
from chimera.contracts.documents import Order, Trade
from chimera.contracts.enums import OPEN_INTENTS, OPEN_TRADES, EventKind, TradeStatus
from chimera.contracts.http import ManageRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import VenuePosition
from chimera.ports.documents import Documents, Query
from chimera.ports.peers import PeerCall, Peers
from chimera.services.s05_reconciler.findings import CannotCompare

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


async def entry_unfinished(documents: Documents, key: InstrumentKey, since_ms: int) -> bool:
    """Whether an entry there that was accepted after `since_ms` is still the router's affair."""
    for state in OPEN_INTENTS:
        for record in await documents.find(
            Query(
                collection=INTENTS,
                index="by_instr",
                equal=(("market", key.market.value), ("symbol", key.symbol), ("state", state.value)),
            )
        ):
            if record.purpose.is_new_entry and record.created_at > since_ms:
                return True
    return False


async def ask_s6(peers: Peers, key: InstrumentKey) -> None:
    """
    Raises:
        CannotCompare: S6 did not look.
    """
    wanted = ManageRequest(market=key.market, symbol=key.symbol)
    answer = await peers.call(PeerCall("s6", "POST", "/positions/manage", body=wanted, actor="s5"))
    if not answer.ok:
        raise CannotCompare(f"s6 did not read {key} anew: {answer.body}")
