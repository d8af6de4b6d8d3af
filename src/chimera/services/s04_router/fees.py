"""What fees taken in a third asset (BNB) are worth, for the ledger.

Owns the prices of such assets: from S1's snapshot of the spot pair, else from the exchange's book, kept for a minute.
The ledger asks without waiting while it books; `learn` before it makes that possible. What is not known then is booked
without its worth and `mended` later, at the price of the minute in which it was paid.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from chimera.contracts.collections import FILLS
from chimera.contracts.documents import Fill
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import MKT_SNAP
from chimera.domain.exact import exact
from chimera.domain.execution.fees import fee_usdt, is_third
from chimera.domain.execution.orders import VenueFill
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import INTERVAL_MS
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots
from chimera.ports.venue import Refused, Venue
from chimera.runtime.waiting import DeadlinePassed, until
from chimera.services.s04_router.market import touch_of

KEPT_MS = 60_000
"""Market time. A fee is a few hundredths of a percent: what its asset moved within a minute does not matter."""
LEARN_MS = 300
"""Of our own work: a position may be naked for 2 s, and its fill is booked first."""
MINUTE = "1m"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    price: Decimal | None
    at_ms: int


@dataclass(slots=True, kw_only=True)
class Fees:
    env: str
    venue: Venue
    documents: Documents
    snapshots: Snapshots
    clock: Clock
    instruments: Mapping[InstrumentKey, Instrument]
    _seen: dict[str, _Seen] = field(default_factory=dict)

    async def learn(self, fills: Iterable[VenueFill]) -> None:
        """Make the prices known that booking `fills` needs, as far as they can be had now. Never raises for a
        dependency that is down: a fill must be booked whatever its fee was worth."""
        for asset in sorted({fill.fee_asset for fill in fills if fill.fee and self._is_third(fill)}):
            seen = self._seen.get(asset)
            if seen is None or self.clock.now_ms() - seen.at_ms >= KEPT_MS:
                deadline_ms = self.clock.now_ms() + self.clock.work_ms(LEARN_MS)
                try:
                    price = await until(self.clock, deadline_ms, self._price_now(asset))
                except DeadlinePassed:
                    price = None
                self._keep(asset, price)

    async def renew(self) -> None:
        """Each minute or sooner: prices that were needed once are known before they are needed again."""
        for asset in sorted(self._seen):
            self._keep(asset, await self._price_now(asset))

    def _keep(self, asset: str, price: Decimal | None) -> None:
        """What cannot be had does not end what is known: `usdt` sees for itself when that is too old."""
        known = self._seen.get(asset)
        if price is not None or known is None or known.price is None:
            self._seen[asset] = _Seen(price, self.clock.now_ms())

    def usdt(self, fill: VenueFill) -> Decimal | None:
        """Of this fill's fee, by what is known now. None: write it down without, and have it `mended`."""
        seen = self._seen.get(fill.fee_asset)
        fresh = seen is not None and self.clock.now_ms() - seen.at_ms < 2 * KEPT_MS
        return fee_usdt(
            fill.fee,
            fill.fee_asset,
            price=fill.price,
            instrument=self.instruments[fill.key],
            asset_usdt=seen.price if seen is not None and fresh else None,
        )

    async def unknown(self, since_ms: int) -> Sequence[Fill]:
        """Fills on file from `since_ms` on whose fee has no worth yet, oldest first.

        Raises:
            DependencyDown: the documents do not answer.
        """
        found = await self.documents.find(Query(collection=FILLS, index="by_time", at_least=since_ms))
        return [fill for fill in found if fill.fee_usdt is None and fill.fee_qty and fill.fee_asset]

    async def mended(self, fill: Fill) -> Fill | None:
        """The same fill with its fee's worth, at the price of the minute in which it was paid, so that it is the same
        whenever it is mended. None: it cannot be told yet, or ever: the exchange has no such pair."""
        assert fill.fee_asset is not None
        assert fill.fee_qty is not None
        asset_usdt = await self._price_at(fill.fee_asset, fill.timestamp)
        instrument = self.instruments[InstrumentKey(fill.market, fill.symbol)]
        worth = fee_usdt(fill.fee_qty, fill.fee_asset, price=fill.price, instrument=instrument, asset_usdt=asset_usdt)
        return None if worth is None else fill.but(fee_usdt=worth)

    def _is_third(self, fill: VenueFill) -> bool:
        # Of an instrument that is not ours nothing is booked.
        instrument = self.instruments.get(fill.key)
        return instrument is not None and is_third(fill.fee_asset, instrument)

    async def _price_now(self, asset: str) -> Decimal | None:
        pair = pair_of(asset)
        if pair is None:
            return None
        try:
            snap = await self.snapshots.get_hash(MKT_SNAP.name(self.env, pair))
        except DependencyDown:
            snap = {}
        touch = touch_of(snap, oldest_ms=self.clock.now_ms() - KEPT_MS)
        if touch is not None:
            return touch.mid
        try:
            book = await self.venue.book(pair)
        except (DependencyDown, Refused) as why:
            log.warning("what a fee was worth is not known yet", asset=asset, why=str(why))
            return None
        return (book.bids[0][0] + book.asks[0][0]) / 2 if book.bids and book.asks else None

    async def _price_at(self, asset: str, ts: int) -> Decimal | None:
        pair = pair_of(asset)
        if pair is None:
            return None
        minute_ms = INTERVAL_MS[MINUTE]
        begin_ms = ts - ts % minute_ms
        try:
            bars = await self.venue.klines(pair, MINUTE, begin_ms, begin_ms + minute_ms)
        except (DependencyDown, Refused) as why:
            log.warning("what a fee was worth cannot be learned", asset=asset, why=str(why))
            return None
        return exact(bars[0].close) if bars and bars[0].close > 0 else None


def pair_of(asset: str) -> InstrumentKey | None:
    """The spot pair that tells what `asset` is worth. None: no symbol is named so."""
    if not asset or not asset.isascii() or not asset.isalnum() or asset != asset.upper() or asset == "USDT":
        return None
    return InstrumentKey(Market.SPOT, f"{asset}USDT")
