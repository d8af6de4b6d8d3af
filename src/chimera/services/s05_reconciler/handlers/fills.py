"""Fills that the exchange has and we have not: fetched with their true time, through the router's own books.

Owns what is believed of a list of fills: whose they are, which are missing, and which the exchange's own doing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, ORDERS
from chimera.contracts.documents import is_strangers_order
from chimera.contracts.enums import Severity
from chimera.contracts.http import LookupRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.orders import VenueFill
from chimera.domain.reconcile.fixes import Fix, close_by_exchange, sentence_of
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.venue import Venue
from chimera.runtime.telling import Teller
from chimera.services.s05_reconciler.findings import CannotCompare, Findings
from chimera.services.s05_reconciler.settings import Settings

log = structlog.get_logger(__name__)


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
    teller: Teller

    async def book_missing(self, key: InstrumentKey, since_ms: int, findings: Findings) -> Seen:
        """Have every order booked that filled since `since_ms` and whose fill is not on file."""
        fills = await self.venue.fills(key, since_ms)
        names = [fill.fill_id for fill in fills]
        on_file = await self.documents.get_values(FILLS, names, ())
        orders: Mapping[str, tuple[Any, ...]] = await self.documents.get_values(
            ORDERS,
            dict.fromkeys(fill.client_order_id for fill in fills),
            ("intent_id", "parent_id", "reason", "filled_qty"),
        )
        missing: dict[str, list[VenueFill]] = {}
        strangers, newest_ms = False, 0
        for fill, name in zip(fills, names, strict=True):
            newest_ms = max(newest_ms, fill.ts)
            known, order = name in on_file, orders.get(fill.client_order_id)
            ours = known or order is not None or ids.is_of_the_exchange(fill.client_order_id)
            strangers = strangers or not ours or (order is not None and is_strangers_order(*order[:3]))
            if ours:
                findings.agree(known)
            if ours and not known:
                missing.setdefault(fill.client_order_id, []).append(fill)
        for client_order_id, lacking in missing.items():
            order = orders.get(client_order_id)
            filled_qty = Decimal(str(order[3])) if order is not None and order[3] is not None else Decimal(0)
            await self._book(key, client_order_id, filled_qty, lacking, findings)
        await self._check_booked([fill for lacking in missing.values() for fill in lacking])
        await self._recognise(key, fills, findings)
        return Seen(strangers=strangers, newest_ms=newest_ms)

    async def _book(
        self,
        key: InstrumentKey,
        client_order_id: str,
        filled_qty: Decimal,
        lacking: Sequence[VenueFill],
        findings: Findings,
    ) -> None:
        noted = await findings.note(
            Fix.FILL_BOOKED,
            key,
            client_order_id,
            at_ms=lacking[0].ts,
            before=float(filled_qty),
            after=float(filled_qty + sum((fill.qty for fill in lacking), Decimal(0))),
        )
        await self.look_up(key, client_order_id)
        findings.done(noted)

    async def _check_booked(self, fills: Sequence[VenueFill]) -> None:
        """
        Raises:
            CannotCompare: S4 was asked, and yet one is not on file.
        """
        on_file = await self.documents.get_values(FILLS, (fill.fill_id for fill in fills), ())
        for fill in fills:
            if fill.fill_id not in on_file:
                raise CannotCompare(f"fill {fill.trade_id} of {fill.client_order_id} could not be booked")

    async def _recognise(self, key: InstrumentKey, fills: Sequence[VenueFill], findings: Findings) -> None:
        """What the exchange itself closed is told once, and to a person, be it booked by this run or by the account's
        stream before: nobody else may have heard of it."""
        for client_order_id in dict.fromkeys(fill.client_order_id for fill in fills):
            fix = close_by_exchange(client_order_id)
            if fix is None:
                continue
            # All of the order's, whatever part of it the list begins with.
            where = Query(collection=FILLS, index="by_order", equal=(("order_id", client_order_id),))
            parts = await self.documents.find(where)
            if not parts and await self.look_up(key, client_order_id):
                # They stood under the name that all such orders had in older versions.
                parts = await self.documents.find(where)
            if not parts:
                log.warning("an order of the exchange's own has no fills on file", order=client_order_id)
                continue
            held = sum((-part.side.sign * part.qty for part in parts if part.side is not None), Decimal(0))
            noted = await findings.note(
                fix,
                key,
                client_order_id,
                at_ms=parts[0].timestamp,
                before={"held": float(held)},
                after={"held": 0.0, "price": float(parts[-1].price)},
            )
            if not noted.fresh:
                continue
            try:
                await self.teller.alert(
                    AlertCode.LIQUIDATION,
                    Severity.FATAL,
                    f"{key}: {sentence_of(fix, client_order_id)}; {abs(held)} of it went at {parts[-1].price}",
                    symbol=key.symbol,
                    order_id=client_order_id,
                )
            except DependencyDown:
                # The next run sees it for the first time again, and tells it.
                await findings.withdraw(noted)
                raise
            findings.done(noted)

    def is_young(self, ts: int) -> bool:
        """Whether what the exchange says of a position may be from before a fill at `ts`."""
        return self.clock.now_ms() - ts < self.clock.work_ms(self.settings.lookup_lag_ms)

    async def look_up(self, key: InstrumentKey, client_order_id: str, *, conditional: bool = False) -> bool:
        """Have S4 ask for one order. False: the exchange does not know it, or it is nobody's here; that is an answer.

        Raises:
            CannotCompare: S4 could not ask.
        """
        request = LookupRequest(
            market=key.market, symbol=key.symbol, client_order_id=client_order_id, conditional=conditional
        )
        answer = await self.peers.call(PeerCall("s4", "POST", "/orders/lookup", body=request, actor="s5"))
        if not answer.ok and answer.status != 404:
            raise CannotCompare(f"s4 could not look {client_order_id} up: {answer.body}")
        return answer.ok
