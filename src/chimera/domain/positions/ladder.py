"""How much of a position each profit rung closes.

Owns the split only. Rung 1 is the resting take-profit that the router places with the fill; rung 2 is placed by the
position manager after rung 1 has filled; what is left follows the stop tiers.
"""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.flags import PositionFlags
from chimera.domain.market.instrument import Instrument


@dataclass(frozen=True, slots=True)
class Rung:
    """At `roe` close `share` of what is open then."""

    roe: Decimal
    share: Decimal


DEFAULT_RUNGS = (
    Rung(Decimal("0.10"), Decimal("0.5")),
    Rung(Decimal("0.20"), Decimal("0.5")),
)
"""`position.ladder`: 10 % closes half, 20 % closes half of the rest."""


def rungs_of(flags: PositionFlags) -> tuple[Rung, ...]:
    """The ladder of one configuration. Empty: no profit is taken by rungs, all of it follows the tiers."""
    return tuple(Rung(rung.roe_min, rung.close_ratio) for rung in flags.ladder)


def rung_qty(instrument: Instrument, open_qty: Decimal, share: Decimal) -> Decimal:
    """`share` of `open_qty`, floored to step; all of it where a part would be below one step."""
    part = instrument.floor_qty(open_qty * share)
    # A part of nothing closes nothing, and a rest below a step can never be closed by itself.
    if part < instrument.step_size or open_qty - part < instrument.step_size:
        return open_qty
    return part
