"""Whose a futures position is, where somebody else trades on the instrument of a trade of ours, and that written down,
of SPOT trades as well (`spot_held` says what is theirs).

Owns when the exchange's view is believed. The convention is `domain/reconcile/shares`; why: ADR 0032.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS, ORDERS
from chimera.contracts.documents import Trade
from chimera.contracts.http import ShareRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import VenueFill
from chimera.domain.reconcile.fixes import Fix
from chimera.domain.reconcile.shares import Moved, Shares, Whose, shares
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.venue import Venue
from chimera.services.s05_reconciler.findings import CannotCompare, Findings, Noted
from chimera.services.s05_reconciler.handlers.fills import Fills
from chimera.services.s05_reconciler.settings import Settings

log = structlog.get_logger(__name__)


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
class Sharing:
    settings: Settings
    documents: Documents
    venue: Venue
    peers: Peers
    fills: Fills
    clock: Clock
    _before: dict[str, Before] = field(default_factory=dict)
    """By symbol, of the trade that is open there."""

    async def owned(self, trade: Trade) -> Owned | None:
        """By the exchange's own fills. None while it may be moving: what strangers held at the trade's beginning comes
        from the position of now, and either of the two may be behind the other. Once it was read alike twice, as far
        apart as they may lag, the fills are enough, as long as they go on explaining the position."""
        key = InstrumentKey(trade.market, trade.symbol)
        held = next((each.qty for each in await self.venue.positions() if each.symbol == key.symbol), Decimal(0))
        fills = await self._since(key, trade)
        if not {fill.fill_id for fill in trade.entries} <= {fill.fill_id for fill in fills}:
            return None
        before = self._read_before(trade, held - sum((fill.side.sign * fill.qty for fill in fills), Decimal(0)), fills)
        if before is None:
            return None
        whose = {fill.fill_id: await self._whose(fill) for fill in fills}
        moved = (
            Moved(fill_id=fill.fill_id, whose=whose[fill.fill_id], qty=fill.side.sign * fill.qty) for fill in fills
        )
        return Owned(shares=shares(before, moved), fills=tuple(fills), whose=whose)

    def _read_before(self, trade: Trade, qty: Decimal, fills: Sequence[VenueFill]) -> Decimal | None:
        """`qty` is what it seems to have been by what was just read. None: not sure yet."""
        seen = Before(trade_id=trade.trade_id, qty=qty, at_ms=self.clock.now_ms())
        known = read_again(self._before.get(trade.symbol), seen, fills[-1].ts, self.fills)
        self._before[trade.symbol] = known
        return known.qty if known.sure else None

    async def _since(self, key: InstrumentKey, trade: Trade) -> list[VenueFill]:
        """In the exchange's order. What was there before the trade's first fill is not among them, be it of the same
        millisecond."""
        first = min(ids.fill_order(fill.ts, fill.fill_id) for fill in trade.entries)
        fills = await self.venue.fills(key, trade.opened_at)
        return [fill for fill in sorted(fills, key=place_of) if place_of(fill) >= first]

    async def _whose(self, fill: VenueFill) -> Whose:
        name = fill.client_order_id
        order = await self.documents.get(ORDERS, name)
        if order is None and (ids.is_of_the_exchange(name) or ids.is_ours(name, self.settings.id_prefix)):
            await self.fills.look_up(fill.key, name)
            order = await self.documents.get(ORDERS, name)
        if order is None or order.is_strangers:
            return Whose.STRANGERS
        return Whose.ENTRY if order.is_entry else Whose.EXIT

    async def write(self, trade: Trade, owned: Owned, findings: Findings) -> bool:
        """Have the router note what of it all was the trade's. True where something was not on file so."""
        key = InstrumentKey(trade.market, trade.symbol)
        foreign: dict[str, Decimal] = {}
        closed_by: dict[str, Decimal] = {}
        adopted: list[str] = []
        last_of: dict[str, int] = {}
        """When the newest fill was that a subject speaks of."""
        for fill in owned.fills:
            part = owned.shares.trades[fill.fill_id]
            last_of[fill.fill_id] = last_of[fill.client_order_id] = fill.ts
            if owned.whose[fill.fill_id] is Whose.ENTRY:
                foreign[fill.client_order_id] = foreign.get(fill.client_order_id, Decimal(0)) + fill.qty - part
            elif owned.whose[fill.fill_id] is Whose.STRANGERS and part > 0:
                closed_by[fill.fill_id] = part
                adopted.append(fill.client_order_id)
        on_file = {name: order for name in foreign if (order := await self.documents.get(ORDERS, name)) is not None}
        foreign_on_file = {name: order.foreign_qty or Decimal(0) for name, order in on_file.items()}
        closed_on_file: dict[str, Decimal] = {}
        for order in on_file.values():
            closed_on_file |= order.closed_by or {}
        if (foreign, closed_by) == (foreign_on_file, closed_on_file):
            return False
        share = ShareRequest(
            intent_id=trade.trade_id, foreign=foreign, closed_by=closed_by, orders=tuple(dict.fromkeys(adopted))
        )
        noted = [
            *await _note(findings, Fix.ENTRY_NETTED, key, foreign_on_file, foreign, last_of),
            *await _note(findings, Fix.MANUAL_EXIT_ADOPTED, key, closed_on_file, closed_by, last_of),
        ]
        return await self._send(share, noted, findings)

    async def write_spot(
        self, trade: Trade, closed_by: Mapping[str, Decimal], fills: Sequence[VenueFill], findings: Findings
    ) -> bool:
        """The same of a SPOT trade, of which strangers can only sell. True where something was not on file so."""
        before = await self.closed_on_file(trade)
        if before == closed_by:
            return False
        theirs = [fill for fill in fills if fill.fill_id in closed_by]
        share = ShareRequest(
            intent_id=trade.trade_id,
            foreign={},
            closed_by=dict(closed_by),
            orders=tuple(dict.fromkeys(fill.client_order_id for fill in theirs)),
        )
        key = InstrumentKey(trade.market, trade.symbol)
        last_of = {fill.fill_id: fill.ts for fill in theirs}
        noted = await _note(findings, Fix.MANUAL_EXIT_ADOPTED, key, before, closed_by, last_of)
        return await self._send(share, noted, findings)

    async def closed_on_file(self, trade: Trade) -> dict[str, Decimal]:
        """What strangers' fills closed of the trade as far as that is on file, by fill."""
        record = await self.documents.get(INTENTS, trade.trade_id)
        entry = None if record is None else await self.documents.get(ORDERS, record.intent.client_order_id)
        return dict(entry.closed_by or {}) if entry is not None else {}

    async def _send(self, share: ShareRequest, noted: Sequence[Noted], findings: Findings) -> bool:
        """
        Raises:
            CannotCompare: S4 could not write it.
        """
        answer = await self.peers.call(PeerCall("s4", "POST", "/orders/share", body=share, actor="s5"))
        if answer.status == 404:
            # One that nobody can find any more must not keep the others from being seen to.
            log.error("what strangers did cannot be shared out", trade=share.intent_id, why=answer.body)
            for each in noted:
                await findings.withdraw(each)
            return False
        if not answer.ok:
            raise CannotCompare(f"s4 could not share {share.intent_id} out: {answer.body}")
        for each in noted:
            findings.done(each)
        return True


def read_again(known: Before | None, seen: Before, newest_ms: int, fills: Fills, *, only_fills: bool = True) -> Before:
    """What is known of it after it was read as `seen`, while the newest fill was of `newest_ms`. Sure once it was read
    alike twice, as far apart as the exchange's queries may lag. Where `only_fills` can move what was read, what is sure
    is not doubted for a young one."""
    young = fills.is_young(newest_ms)
    believed = known is not None and known.sure and young and only_fills
    if known is None or known.trade_id != seen.trade_id or (known.qty != seen.qty and not believed):
        known = seen
    return replace(known, sure=known.sure or not (young or fills.is_young(known.at_ms)))


async def _note(
    findings: Findings,
    fix: Fix,
    key: InstrumentKey,
    before: Mapping[str, Decimal],
    after: Mapping[str, Decimal],
    last_of: Mapping[str, int],
) -> list[Noted]:
    return [
        await findings.note(
            fix,
            key,
            subject,
            at_ms=last_of[subject],
            before=float(before.get(subject, Decimal(0))),
            after=float(after[subject]),
        )
        for subject in sorted(after)
        if after[subject] != before.get(subject, Decimal(0))
    ]


def place_of(fill: VenueFill) -> tuple[int, int, str]:
    return ids.fill_order(fill.ts, fill.fill_id)
