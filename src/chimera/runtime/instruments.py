"""An instrument as the registry keeps it, turned into the rules that rounding and sizing use, and back.

S1 writes the registry from the exchange; everybody else reads it from there.
"""

from decimal import Decimal

from chimera.contracts.documents import Instrument as Listed
from chimera.contracts.enums import EntryStatus
from chimera.domain.market.instrument import Bracket, Instrument

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
        status="TRADING" if listed.status is EntryStatus.ENABLED else "DISABLED",
        spread_bp_limit=listed.spread_bp_limit,
        depth_top1_usdt_min=listed.depth_top1_usdt_min,
    )
