"""Fills that the exchange has and we have not: fetched with their true time, through the router's own books."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, ORDERS
from chimera.contracts.documents import Trade
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
class Seen:
    """Fills that were looked at: whether a stranger's was among them, and when the newest was, 0 without any."""

    strangers: bool
    newest_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """Whose the position is that a trade is a part of, `fills` since the trade's first, `whose` by fill id."""

    shares: Shares
    fills: tuple[VenueFill, ...]
    whose: Mapping[str, Whose]


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What strangers held when a trade began, as it was first read `at_ms`; `sure` when it was read again later."""

    trade_id: str
    qty: Decimal
    at_ms: int
    sure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    settings: Settings
    documents: Documents
    venue: Venue
    peers: Peers
    clock: Clock
    _before: dict[str, Before] = field(default_factory=dict)
    """By symbol, of the trade that is open there."""

    async def book_missing(self, key: InstrumentKey, since_ms: int, findings: Findings) -> Seen:
        """Have every order booked that filled since `since_ms` and whose fill is not on file."""
        missing: dict[str, VenueFill] = {}
        strangers, newest_ms = False, 0
        for fill in await self.venue.fills(key, since_ms):
            newest_ms = max(newest_ms, fill.ts)
            known = await self._is_on_file(fill)
            ours = known or await self._is_ours(fill)
            strangers = strangers or not ours or await self._is_adopted(fill)
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

    async def owned(self, trade: Trade) -> Owned | None:
        """By the exchange's own fills. None while it may be moving: what strangers held at the trade's beginning comes
        from the position of now, and either of the two may be behind the other. Once it was read alike twice, as far
        apart as they may lag, the fills are enough, as long as they go on explaining the position."""
        key = InstrumentKey(trade.market, trade.symbol)
        held = next((each.qty for each in await self.venue.positions() if each.symbol == key.symbol), Decimal(0))
        fills = await self._since(key, trade)
        if not {fill.fill_id for fill in trade.entries} <= {id_of(fill) for fill in fills}:
            return None
        before = self._read_before(trade, held - sum((fill.side.sign * fill.qty for fill in fills), Decimal(0)), fills)
        if before is None:
            return None
        whose = {id_of(fill): await self._whose(fill, trade) for fill in fills}
        moved = (Moved(fill_id=id_of(fill), whose=whose[id_of(fill)], qty=fill.side.sign * fill.qty) for fill in fills)
        return Owned(shares=shares(before, moved), fills=tuple(fills), whose=whose)

    def _read_before(self, trade: Trade, qty: Decimal, fills: Sequence[VenueFill]) -> Decimal | None:
        """`qty` is what it seems to have been by what was just read. None: not sure yet."""
        known = self._before.get(trade.symbol)
        young = self.is_young(fills[-1].ts)
        if known is None or known.trade_id != trade.trade_id or (known.qty != qty and not (known.sure and young)):
            known = Before(trade_id=trade.trade_id, qty=qty, at_ms=self.clock.now_ms())
        known = replace(known, sure=known.sure or not (young or self.is_young(known.at_ms)))
        self._before[trade.symbol] = known
        return known.qty if known.sure else None

    async def _since(self, key: InstrumentKey, trade: Trade) -> list[VenueFill]:
        """In the exchange's order. What was there before the trade's first fill is not among them, be it of the same
        millisecond."""
        first = min(ids.fill_order(fill.ts, fill.fill_id) for fill in trade.entries)
        fills = await self.venue.fills(key, trade.opened_at)
        return [fill for fill in sorted(fills, key=_place) if _place(fill) >= first]

    async def _whose(self, fill: VenueFill, trade: Trade) -> Whose:
        name = fill.client_order_id
        order = await self.documents.get(ORDERS, name)
        if order is None and (ids.is_of_the_exchange(name) or ids.is_ours(name, self.settings.id_prefix)):
            await self.look_up(fill.key, name)
            order = await self.documents.get(ORDERS, name)
        if order is None or order.is_strangers:
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
        return await self.documents.get(FILLS, id_of(fill)) is not None

    async def _is_adopted(self, fill: VenueFill) -> bool:
        order = await self.documents.get(ORDERS, fill.client_order_id)
        return order is not None and order.is_strangers

    async def _is_ours(self, fill: VenueFill) -> bool:
        if ids.is_of_the_exchange(fill.client_order_id):
            return True
        return await self.documents.get(ORDERS, fill.client_order_id) is not None


def id_of(fill: VenueFill) -> str:
    return ids.fill_id(fill.key, fill.trade_id, fill.side)


def _place(fill: VenueFill) -> tuple[int, int, str]:
    return ids.fill_order(fill.ts, id_of(fill))
