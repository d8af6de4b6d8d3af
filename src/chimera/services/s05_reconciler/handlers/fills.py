"""Fills that the exchange has and we have not: fetched with their true time, through the router's own books."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, ORDERS
from chimera.contracts.documents import Trade
from chimera.contracts.http import LookupRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import VenueFill
from chimera.ports.documents import Documents
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.venue import Venue
from chimera.services.s05_reconciler.findings import CannotCompare, Findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    documents: Documents
    venue: Venue
    peers: Peers

    async def book_missing(self, key: InstrumentKey, since_ms: int, findings: Findings) -> None:
        """Have every order booked that filled since `since_ms` and whose fill is not on file."""
        missing: dict[str, VenueFill] = {}
        for fill in await self.venue.fills(key, since_ms):
            known = await self._is_on_file(fill)
            ours = known or await self._is_ours(fill)
            if ours:
                findings.agree(known)
            if ours and not known:
                missing[fill.client_order_id] = fill
        for client_order_id, fill in missing.items():
            await self.look_up(key, client_order_id)
            if not await self._is_on_file(fill):
                raise CannotCompare(f"fill {fill.trade_id} of {client_order_id} could not be booked")
            await findings.fixed("FILL_BOOKED", key, client_order_id, before=None, after=float(fill.qty))

    async def adopt_exits(self, trade: Trade, qty: Decimal, findings: Findings) -> bool:
        """Take on file what somebody else closed of a trade of ours, `qty` or a little more: the newest orders, since
        what a person sold before was the person's own. True when there was something."""
        key = InstrumentKey(trade.market, trade.symbol)
        # What was there before its first fill is not the trade's to close, be it of the same millisecond.
        first = min(ids.fill_order(fill.ts, fill.fill_id) for fill in trade.entries)
        strangers: dict[str, Decimal] = {}
        for fill in reversed(await self.venue.fills(key, trade.opened_at)):
            since = ids.fill_order(fill.ts, _id_of(fill)) > first
            if since and fill.side is trade.side.opposite and not await self._is_on_file(fill):
                strangers[fill.client_order_id] = strangers.get(fill.client_order_id, Decimal(0)) + fill.qty
        adopted = Decimal(0)
        for client_order_id, sold in strangers.items():
            if adopted >= qty:
                break
            await self.look_up(key, client_order_id, adopt=True)
            if await self.documents.get(ORDERS, client_order_id) is not None:
                adopted += sold
                await findings.fixed("MANUAL_EXIT_ADOPTED", key, client_order_id, before=None, after=float(sold))
        return adopted > 0

    async def look_up(self, key: InstrumentKey, client_order_id: str, *, adopt: bool = False) -> None:
        """Have S4 ask for one order. That it is nobody's is an answer.

        Raises:
            CannotCompare: S4 could not ask.
        """
        request = LookupRequest(market=key.market, symbol=key.symbol, client_order_id=client_order_id, adopt=adopt)
        answer = await self.peers.call(PeerCall("s4", "POST", "/orders/lookup", body=request, actor="s5"))
        if not answer.ok and answer.status != 404:
            raise CannotCompare(f"s4 could not look {client_order_id} up: {answer.body}")

    async def _is_on_file(self, fill: VenueFill) -> bool:
        return await self.documents.get(FILLS, _id_of(fill)) is not None

    async def _is_ours(self, fill: VenueFill) -> bool:
        if ids.is_of_the_exchange(fill.client_order_id):
            return True
        return await self.documents.get(ORDERS, fill.client_order_id) is not None


def _id_of(fill: VenueFill) -> str:
    return ids.fill_id(fill.key, fill.trade_id, fill.side)
