"""The market as S4 last saw it: from the snapshot that S1 keeps, or from the exchange where that is missing."""

import json
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.documents import BookRow
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import MKT_SNAP
from chimera.domain.execution.machine.flow import Touch
from chimera.ports.state import Snapshots
from chimera.services.s04_router.ledger import Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    env: str
    snapshots: Snapshots

    async def seen(self, key: InstrumentKey) -> Sent:
        """Mid and top of book now; empty where S1 has said nothing yet."""
        snap = await self.snapshots.get_hash(MKT_SNAP.name(self.env, key))
        if not snap:
            return Sent(mid=None, book=())
        return Sent(mid=Decimal(snap["mid"]), book=rows_of(snap.get("top3", "")))

    async def touch(self, key: InstrumentKey) -> Touch | None:
        """Top of book now; None where S1 has said nothing lately."""
        snap = await self.snapshots.get_hash(MKT_SNAP.name(self.env, key))
        if not snap or not {"bid", "ask", "spread_bps"} <= snap.keys():
            return None
        depth = snap.get("depth_top1_usdt")
        return Touch(
            bid=Decimal(snap["bid"]),
            ask=Decimal(snap["ask"]),
            spread_bps=float(snap["spread_bps"]),
            depth_top1_usdt=None if depth is None else float(depth),
        )

    async def mid(self, key: InstrumentKey) -> Decimal | None:
        """Without the book: a look before an order need not read its rows."""
        mid = (await self.snapshots.get_hash(MKT_SNAP.name(self.env, key))).get("mid")
        return None if mid is None else Decimal(mid)


def rows_of(top3: str) -> tuple[BookRow, ...]:
    """`{"bids": [[price, qty], …], "asks": […]}` as rows of both sides."""
    if not top3:
        return ()
    book = json.loads(top3, parse_float=Decimal, parse_int=Decimal)
    bids, asks = book.get("bids", []), book.get("asks", [])
    return tuple(
        BookRow(
            bid_price=bids[level][0] if level < len(bids) else None,
            bid_qty=bids[level][1] if level < len(bids) else None,
            ask_price=asks[level][0] if level < len(asks) else None,
            ask_qty=asks[level][1] if level < len(asks) else None,
        )
        for level in range(max(len(bids), len(asks)))
    )
