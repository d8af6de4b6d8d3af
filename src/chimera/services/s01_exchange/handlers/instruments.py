"""The exchange's rules of our instruments, on file.

Owns everything in `instrument_registry` but what a person sets there: our own gates, and whether it is enabled.
"""

from dataclasses import dataclass
from decimal import Decimal

import structlog

from chimera.contracts.collections import INSTRUMENT_REGISTRY
from chimera.contracts.documents import Instrument as InstrumentDoc
from chimera.contracts.documents import LeverageBracket
from chimera.contracts.enums import EntryStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.venue import Venue, VenueUnavailable

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fees:
    """The account's own rates in one market, as ratios of the traded amount."""

    taker: Decimal
    maker: Decimal


class UnknownInstrument(Exception):
    """The exchange does not list an instrument that we are to watch."""


def document_of(instrument: Instrument, known: InstrumentDoc | None, now_ms: int, fees: Fees) -> InstrumentDoc:
    """Whether it is enabled is a person's word and stays; whether it trades is the exchange's."""
    return InstrumentDoc(
        market=instrument.market,
        symbol=instrument.symbol,
        tick_size=instrument.tick_size,
        step_size=instrument.step_size,
        min_notional=instrument.min_notional,
        leverage_bracket=tuple(
            LeverageBracket(
                bracket=bracket.bracket,
                notional_floor_usdt=bracket.notional_floor,
                notional_cap_usdt=bracket.notional_cap,
                leverage_max=bracket.initial_leverage,
                maint_margin_ratio=bracket.maint_margin_ratio,
                cum_usdt=bracket.cum,
            )
            for bracket in instrument.brackets
        )
        or None,
        spread_bp_limit=known.spread_bp_limit if known else instrument.spread_bp_limit,
        depth_top1_usdt_min=known.depth_top1_usdt_min if known else instrument.depth_top1_usdt_min,
        status=known.status if known else EntryStatus.ENABLED,
        trading=instrument.status == "TRADING",
        venue_status=instrument.status,
        delivers_at=instrument.delivers_at_ms,
        updated_at=now_ms,
        contract_size=instrument.contract_size,
        min_qty=instrument.min_qty,
        max_qty=instrument.max_qty,
        market_step=instrument.market_step,
        market_max_qty=instrument.market_max_qty,
        max_leverage=instrument.max_leverage,
        base_asset=instrument.base_asset,
        quote_asset=instrument.quote_asset,
        taker_fee_ratio=fees.taker,
        maker_fee_ratio=fees.maker,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    keys: tuple[InstrumentKey, ...]
    venue: Venue
    documents: Documents
    clock: Clock

    async def renew(self) -> None:
        """The exchange changes its rules while we run. One that does not tell leaves what is on file; an instrument
        that it lists no more is not traded there."""
        try:
            listed = await self._listed()
            for key in self.keys:
                if key in listed:
                    await self._write(listed[key])
                else:
                    await self._delist(key)
        except VenueUnavailable as why:
            log.warning("the exchange's rules were not renewed", why=str(why))

    async def register(self) -> None:
        """
        Raises:
            UnknownInstrument: naming what the exchange lacks.
        """
        listed = await self._listed()
        missing = [str(key) for key in self.keys if key not in listed]
        if missing:
            raise UnknownInstrument(f"{self.venue.name} does not list {', '.join(missing)}; choose other symbols")
        for key in self.keys:
            await self._write(listed[key])

    async def _listed(self) -> dict[InstrumentKey, Instrument]:
        return {instrument.key: instrument for instrument in await self.venue.instruments()}

    async def _write(self, instrument: Instrument) -> None:
        key = instrument.key
        known = await self.documents.get(INSTRUMENT_REGISTRY, key.doc_key)
        fees = Fees(await self.venue.taker_fee_ratio(key.market), await self.venue.maker_fee_ratio(key.market))
        document = document_of(instrument, known, self.clock.now_ms(), fees)
        if known is None or known.but(updated_at=document.updated_at) != document:
            await self.documents.put(INSTRUMENT_REGISTRY, document)

    async def _delist(self, key: InstrumentKey) -> None:
        known = await self.documents.get(INSTRUMENT_REGISTRY, key.doc_key)
        if known is not None and known.trading:
            log.warning("the exchange does not list an instrument any more", key=str(key))
            await self.documents.put(
                INSTRUMENT_REGISTRY, known.but(trading=False, venue_status=None, updated_at=self.clock.now_ms())
            )
