"""Fills that the exchange has and we have not: fetched with their true time, through the router's own books."""

from dataclasses import dataclass

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, ORDERS
from chimera.contracts.http import LookupRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import VenueFill
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.venue import Venue
from chimera.services.s05_reconciler.findings import CannotCompare, Findings
from chimera.services.s05_reconciler.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Fills that were looked at: whether a stranger's was among them, and when the newest was, 0 without any."""

    strangers: bool
    newest_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    settings: Settings
    documents: Documents
    venue: Venue
    peers: Peers
    clock: Clock

    async def book_missing(self, key: InstrumentKey, since_ms: int, findings: Findings) -> Seen:
        """Have every order booked that filled since `since_ms` and whose fill is not on file."""
        missing: dict[str, VenueFill] = {}
        strangers, newest_ms = False, 0
        for fill in await self.venue.fills(key, since_ms):
            newest_ms = max(newest_ms, fill.ts)
            known = await self._is_on_file(fill)
            order = await self.documents.get(ORDERS, fill.client_order_id)
            ours = known or order is not None or ids.is_of_the_exchange(fill.client_order_id)
            strangers = strangers or not ours or (order is not None and order.is_strangers)
            if ours:
                findings.agree(known)
            if ours and not known:
                missing[fill.client_order_id] = fill
        for client_order_id, fill in missing.items():
            await self.look_up(key, client_order_id)
            if not await self._is_on_file(fill):
                raise CannotCompare(f"fill {fill.trade_id} of {client_order_id} could not be booked")
            await findings.fixed("FILL_BOOKED", key, client_order_id, before=None, after=float(fill.qty))
        return Seen(strangers=strangers, newest_ms=newest_ms)

    def is_young(self, ts: int) -> bool:
        """Whether what the exchange says of a position may be from before a fill at `ts`."""
        return self.clock.now_ms() - ts < self.clock.work_ms(self.settings.lookup_lag_ms)

    async def look_up(self, key: InstrumentKey, client_order_id: str) -> None:
        """Have S4 ask for one order. That it is nobody's is an answer.

        Raises:
            CannotCompare: S4 could not ask.
        """
        request = LookupRequest(market=key.market, symbol=key.symbol, client_order_id=client_order_id)
        answer = await self.peers.call(PeerCall("s4", "POST", "/orders/lookup", body=request, actor="s5"))
        if not answer.ok and answer.status != 404:
            raise CannotCompare(f"s4 could not look {client_order_id} up: {answer.body}")

    async def _is_on_file(self, fill: VenueFill) -> bool:
        return await self.documents.get(FILLS, fill.fill_id) is not None
