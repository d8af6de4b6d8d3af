"""Fills that the exchange has and we have not: fetched with their true time, through the router's own books."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, ORDERS
from chimera.contracts.documents import MANUAL, Order, Trade
from chimera.contracts.http import LookupRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import VenueFill
from chimera.domain.reconcile.shares import Moved, Shares, Whose, shares
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.venue import Venue
from chimera.services.s05_reconciler.findings import CannotCompare, Findings
from chimera.services.s05_reconciler.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    settings: Settings
    documents: Documents
    venue: Venue
    peers: Peers
    clock: Clock

    async def book_missing(self, key: InstrumentKey, since_ms: int, findings: Findings) -> bool:
        """Have every order booked that filled since `since_ms` and whose fill is not on file. True where a stranger's
        was among them."""
        missing: dict[str, VenueFill] = {}
        strangers = False
        for fill in await self.venue.fills(key, since_ms):
            known = await self._is_on_file(fill)
            ours = known or await self._is_ours(fill)
            strangers = strangers or not ours
            if ours:
                findings.agree(known)
            if ours and not known:
                missing[fill.client_order_id] = fill
        for client_order_id, fill in missing.items():
            await self.look_up(key, client_order_id)
            if not await self._is_on_file(fill):
                raise CannotCompare(f"fill {fill.trade_id} of {client_order_id} could not be booked")
            await findings.fixed("FILL_BOOKED", key, client_order_id, before=None, after=float(fill.qty))
        return strangers

    async def shares_of(self, trade: Trade) -> Shares | None:
        """Whose the position is, by the exchange's own fills since the trade's first. None while it may be moving:
        position and fills are two questions, and what the exchange says of one may be behind the other."""
        key = InstrumentKey(trade.market, trade.symbol)
        first = min(ids.fill_order(fill.ts, fill.fill_id) for fill in trade.entries)
        fills = await self._since(key, trade, first)
        position = next((each.qty for each in await self.venue.positions() if each.symbol == key.symbol), Decimal(0))
        young_ms = self.clock.work_ms(self.settings.lookup_lag_ms)
        if not fills or self.clock.now_ms() - fills[-1].ts < young_ms or fills != await self._since(key, trade, first):
            return None
        if not {fill.fill_id for fill in trade.entries} <= {_id_of(fill) for fill in fills}:
            return None
        moved = [
            Moved(
                order_id=fill.client_order_id,
                whose=await self._whose(fill, trade),
                qty=fill.side.sign * fill.qty,
            )
            for fill in fills
        ]
        return shares(position - sum((each.qty for each in moved), Decimal(0)), moved)

    async def _since(self, key: InstrumentKey, trade: Trade, first: tuple[int, int, str]) -> list[VenueFill]:
        """In the exchange's order. What was there before the trade's first fill is not among them, be it of the same
        millisecond."""
        fills = await self.venue.fills(key, trade.opened_at)
        return [fill for fill in sorted(fills, key=_place) if _place(fill) >= first]

    async def _whose(self, fill: VenueFill, trade: Trade) -> Whose:
        order = await self.documents.get(ORDERS, fill.client_order_id)
        if order is None:
            if ids.is_of_the_exchange(fill.client_order_id) or ids.is_ours(
                fill.client_order_id, self.settings.id_prefix
            ):
                raise CannotCompare(f"fill {fill.trade_id} of {fill.client_order_id} is not booked yet")
            return Whose.STRANGERS
        if is_strangers(order):
            return Whose.STRANGERS
        return Whose.ENTRY if order.purpose is not None and order.purpose.is_new_entry else Whose.EXIT

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
        return await self.documents.get(FILLS, _id_of(fill)) is not None

    async def _is_ours(self, fill: VenueFill) -> bool:
        if ids.is_of_the_exchange(fill.client_order_id):
            return True
        return await self.documents.get(ORDERS, fill.client_order_id) is not None


def _id_of(fill: VenueFill) -> str:
    return ids.fill_id(fill.key, fill.trade_id, fill.side)


def _place(fill: VenueFill) -> tuple[int, int, str]:
    return ids.fill_order(fill.ts, _id_of(fill))


def is_strangers(order: Order) -> bool:
    """On file, and yet what a person did, or the stop of what a person holds."""
    return order.is_nobodys_stop or order.reason == MANUAL
