"""Where a protective stop belongs.

Owns the stop price of a position: the first one, and every ratchet after it.
Pure. S6 asks for a price, S4 places the order, the exchange holds it.

    first_stop    entry, less the distance that sizing chose
    ratchet       the next stop as ROE grows; it never moves away from profit
"""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from chimera.contracts.enums import Side
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.roe import price_at_roe


@dataclass(frozen=True, slots=True)
class Tier:
    """From `roe_min` on the stop secures `lock_roe`, both net of fees; 0 is break-even."""

    roe_min: Decimal
    lock_roe: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class TierParams:
    """`position.tiers`, by rising ROE, at least one; above the last each `tier_step_roe` more locks as much more."""

    tiers: tuple[Tier, ...] = (Tier(Decimal("0.05"), Decimal(0)), Tier(Decimal("0.10"), Decimal("0.05")))
    tier_step_roe: Decimal = Decimal("0.05")

    def reached(self, roe: Decimal) -> int:
        """How many tiers `roe` has reached; 0 is none."""
        last = self.tiers[-1]
        if roe < last.roe_min:
            return sum(roe >= tier.roe_min for tier in self.tiers)
        beyond = ((roe - last.roe_min) / self.tier_step_roe).to_integral_value(ROUND_FLOOR)
        return len(self.tiers) + int(beyond)

    def lock_roe(self, tier: int) -> Decimal:
        """What tier `tier` >= 1 secures."""
        if tier <= len(self.tiers):
            return self.tiers[tier - 1].lock_roe
        return self.tiers[-1].lock_roe + self.tier_step_roe * (tier - len(self.tiers))


def protective(instrument: Instrument, side: Side, price: Decimal) -> Decimal:
    """Round a stop towards profit: up for a long, down for a short. It may only lose less than was meant."""
    return instrument.ceil_price(price) if side is Side.BUY else instrument.floor_price(price)


def first_stop(instrument: Instrument, side: Side, entry_price: Decimal, stop_distance: Decimal) -> Decimal:
    """The stop that follows the fill. `stop_distance` > 0 is the price loss allowed per unit, before fees."""
    return protective(instrument, side, entry_price - side.sign * stop_distance)


def tier_price(
    instrument: Instrument,
    *,
    side: Side,
    entry_price: Decimal,
    leverage: int,
    fee_ratio: Decimal,
    tier: int,
    params: TierParams,
) -> Decimal:
    """The stop of tier `tier` >= 1: where closing secures what the tier locks, after both fees."""
    price = price_at_roe(
        side=side, entry_price=entry_price, leverage=leverage, fee_ratio=fee_ratio, roe=params.lock_roe(tier)
    )
    return protective(instrument, side, price)


def is_tighter(side: Side, price: Decimal, than: Decimal) -> bool:
    """True when `price` is nearer to profit than `than`."""
    return side.sign * (price - than) > 0


def would_trigger(side: Side, stop_price: Decimal, mark: Decimal) -> bool:
    """True when the exchange would refuse the stop of a `side` position because it triggers at once (-2021)."""
    return side.sign * (mark - stop_price) <= 0


def ratchet(
    instrument: Instrument,
    *,
    side: Side,
    entry_price: Decimal,
    leverage: int,
    fee_ratio: Decimal,
    roe: Decimal,
    mark: Decimal,
    stop_price: Decimal,
    tier: int,
    params: TierParams,
) -> tuple[int, Decimal]:
    """The tier and stop that `roe` has earned; the present ones where it has earned nothing better.

    `tier` and `stop_price` are the present ones. A stop that the mark has already reached is not proposed.
    """
    earned = params.reached(roe)
    if earned <= tier:
        return tier, stop_price
    price = tier_price(
        instrument,
        side=side,
        entry_price=entry_price,
        leverage=leverage,
        fee_ratio=fee_ratio,
        tier=earned,
        params=params,
    )
    if not is_tighter(side, price, stop_price) or would_trigger(side, price, mark):
        return tier, stop_price
    return earned, price
