"""Whether a stop may be where a person wants it.

Owns the limits of a person's hand: towards profit always, away from it within what the first stop allowed to lose,
further only confirmed, and never so near to the liquidation that the exchange might be faster.
"""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.enums import Side
from chimera.domain.exact import money
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.liquidation import inside_buffer
from chimera.domain.positions.stops import is_tighter, would_trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class StopNow:
    """An open position and where its stop is. `qty` without sign; `loss_usdt_max` None: nobody named one, so that every
    looser stop wants a confirmation; `liquidation_price` None: it is never reached."""

    instrument: Instrument
    side: Side
    entry_price: Decimal
    qty: Decimal
    mark: Decimal
    stop_price: Decimal
    loss_usdt_max: Decimal | None
    liquidation_price: Decimal | None
    liquidation_buffer_min: Decimal


@dataclass(frozen=True, slots=True)
class StopRefusal:
    kind: str
    why: str


def loss_at(side: Side, entry_price: Decimal, qty: Decimal, stop_price: Decimal) -> Decimal:
    """Price loss of `qty` that is closed at `stop_price`, before fees; below 0 it is a gain."""
    return money(side.sign * (entry_price - stop_price) * qty)


def refusal_of(now: StopNow, price: Decimal, *, confirmed: bool) -> StopRefusal | None:
    """Why the stop may not be at `price`, with the remedy; None where it may."""
    if not now.instrument.price_on_tick(price):
        nearest = now.instrument.round_price(price)
        return StopRefusal(
            "price-off-tick", f"price {price} is not a multiple of {now.instrument.tick_size}; nearest is {nearest}"
        )
    if would_trigger(now.side, price, now.mark):
        return StopRefusal(
            "stop-would-trigger", f"a stop at {price} would trigger at once: the price is {now.mark}; close it instead"
        )
    if not is_tighter(now.side, now.stop_price, price):
        return None
    if now.liquidation_price is not None and inside_buffer(
        price=price,
        entry_price=now.entry_price,
        liquidation=now.liquidation_price,
        ratio=now.liquidation_buffer_min,
    ):
        way = (now.entry_price - now.liquidation_price) * now.liquidation_buffer_min
        return StopRefusal(
            "too-near-liquidation",
            f"a stop at {price} is too near to the liquidation at {now.liquidation_price}:"
            f" the furthest is {now.liquidation_price + way}",
        )
    loss = loss_at(now.side, now.entry_price, now.qty, price)
    if not confirmed and (now.loss_usdt_max is None or loss > now.loss_usdt_max):
        allowed = (
            "nobody said how much may be lost" if now.loss_usdt_max is None else f"{now.loss_usdt_max} may be lost"
        )
        return StopRefusal(
            "over-loss-budget", f"at {price} {loss} USDT would be lost, and {allowed}; repeat with confirm to allow it"
        )
    return None
