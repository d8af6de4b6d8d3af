"""An instrument as the registry keeps it, turned into the rules that rounding and sizing use, and back.

S1 writes the registry from the exchange; everybody else reads it from there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts.collections import INSTRUMENT_REGISTRY
from chimera.contracts.documents import Instrument as Listed
from chimera.contracts.enums import EntryStatus, Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.instrument import Bracket, Instrument
from chimera.ports.documents import Documents
from chimera.ports.errors import DependencyDown

UNBOUNDED = Decimal("1e12")


def instrument_of(listed: Listed) -> Instrument:
    """Limits that the registry leaves out do not bind here: the exchange still enforces its own."""
    return Instrument(
        market=listed.market,
        symbol=listed.symbol,
        base_asset=listed.base_asset or listed.symbol.removesuffix("USDT"),
        quote_asset=listed.quote_asset or "USDT",
        tick_size=listed.tick_size,
        step_size=listed.step_size,
        min_qty=listed.min_qty if listed.min_qty is not None else listed.step_size,
        max_qty=listed.max_qty if listed.max_qty is not None else UNBOUNDED,
        market_step=listed.market_step if listed.market_step is not None else listed.step_size,
        market_max_qty=listed.market_max_qty if listed.market_max_qty is not None else UNBOUNDED,
        min_notional=listed.min_notional,
        percent_up=UNBOUNDED,
        percent_down=Decimal(0),
        contract_size=listed.contract_size,
        max_leverage=listed.max_leverage or 1,
        brackets=tuple(
            Bracket(
                bracket=each.bracket,
                initial_leverage=each.leverage_max,
                notional_floor=each.notional_floor_usdt,
                notional_cap=each.notional_cap_usdt,
                maint_margin_ratio=each.maint_margin_ratio,
                cum=each.cum_usdt,
            )
            for each in listed.leverage_bracket or ()
        ),
        status="TRADING" if listed.status is EntryStatus.ENABLED and listed.trading is not False else "DISABLED",
        spread_bp_limit=listed.spread_bp_limit,
        depth_top1_usdt_min=listed.depth_top1_usdt_min,
    )


class NotListed(DependencyDown):
    """S1 has not registered an instrument yet: whoever needs its rules waits."""

    def __init__(self, key: InstrumentKey) -> None:
        super().__init__("the instrument registry", f"{key} is not registered yet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The instruments of a service, as they stand on file. The two mappings are shared with all who round and reckon by
    them, and changed in place: an exchange changes its rules while we run.

    `fee_default` is what a taker pays where the registry does not say.
    """

    keys: tuple[InstrumentKey, ...]
    documents: Documents
    fee_default: Callable[[], Decimal]
    instruments: dict[InstrumentKey, Instrument] = field(default_factory=dict)
    taker_fee_ratios: dict[Market, Decimal] = field(default_factory=dict)

    async def load(self) -> None:
        """
        Raises:
            NotListed: one is not there yet.
        """
        for key in self.keys:
            listed = await self.documents.get(INSTRUMENT_REGISTRY, key.doc_key)
            if listed is None:
                raise NotListed(key)
            self.instruments[key] = instrument_of(listed)
            self.taker_fee_ratios[key.market] = listed.taker_fee_ratio or self.fee_default()
