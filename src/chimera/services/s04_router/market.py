"""The market as S4 last saw it: from the snapshot that S1 keeps, or from the exchange where that is missing."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

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

    async def touch(self, key: InstrumentKey, *, oldest_ms: int = 0) -> Touch | None:
        """Top of book now; None where S1 has said nothing since `oldest_ms`, or no price."""
        return touch_of(await self.snapshots.get_hash(MKT_SNAP.name(self.env, key)), oldest_ms=oldest_ms)

    async def mid(self, key: InstrumentKey) -> Decimal | None:
        """Without the book: a look before an order need not read its rows."""
        mid = (await self.snapshots.get_hash(MKT_SNAP.name(self.env, key))).get("mid")
        return None if mid is None else Decimal(mid)


def touch_of(snap: Mapping[str, str], *, oldest_ms: int = 0) -> Touch | None:
    """`mkt:snap:INSTR` read; None where it is absent, older than `oldest_ms`, or says no price on either side."""
    bid, ask = _price(snap.get("bid")), _price(snap.get("ask"))
    spread_bps, ts = _figure(snap.get("spread_bps")), _figure(snap.get("ts"))
    if bid is None or ask is None or spread_bps is None or (oldest_ms and (ts is None or ts < oldest_ms)):
        return None
    return Touch(bid=bid, ask=ask, spread_bps=spread_bps, depth_top1_usdt=_figure(snap.get("depth_top1_usdt")))


def _price(text: str | None) -> Decimal | None:
    try:
        price = Decimal(text or "")
    except InvalidOperation:
        return None
    return price if price.is_finite() and price > 0 else None


def _figure(text: str | None) -> float | None:
    try:
        figure = float(text or "")
    except ValueError:
        return None
    return figure if math.isfinite(figure) else None


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
