"""Stop and target of a fill, derived anew from its average price.

Owns what S4 places behind an entry. The plan was made on a quote; the fill is what is owed. The stop keeps its distance
and the target its share of the margin; a price that somebody gave is used as it is. The target is solved for the whole
filled quantity and then placed for the first rung's.
"""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.enums import Side
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.ladder import rung_qty
from chimera.domain.positions.roe import exit_price
from chimera.domain.positions.stops import first_stop


@dataclass(frozen=True, slots=True)
class AtPrice:
    """A stop or target that was given, used as it is."""

    price: Decimal


@dataclass(frozen=True, slots=True)
class AtDistance:
    """A stop this far from the average fill, price loss per unit before fees, > 0."""

    distance: Decimal


@dataclass(frozen=True, slots=True)
class NetRatio:
    """A target that nets this share of the filled margin (SPOT: of the filled cost) after both fees."""

    ratio: Decimal


@dataclass(frozen=True, slots=True)
class NetProfit:
    """A target that nets this many USDT on the whole filled quantity after both fees."""

    usdt: Decimal


StopWish = AtPrice | AtDistance
TargetWish = AtPrice | NetRatio | NetProfit


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """What to place. `target_price` None: no target was wished."""

    stop_price: Decimal
    stop_qty: Decimal
    target_price: Decimal | None
    target_qty: Decimal


def protect_futures(
    instrument: Instrument,
    *,
    side: Side,
    avg_price: Decimal,
    filled_qty: Decimal,
    leverage: int,
    fee_ratio: Decimal,
    stop: StopWish,
    target: TargetWish | None,
    first_rung_share: Decimal | None,
) -> Protection:
    """The stop for all that filled, the target for the first rung; no rung, no target. `side` is the entry's,
    `fee_ratio` the taker's."""
    return Protection(
        stop_price=_stop_price(instrument, side, avg_price, stop),
        stop_qty=filled_qty,
        target_price=_target_price(
            instrument,
            side=side,
            avg_price=avg_price,
            qty=filled_qty,
            margin_usdt=filled_qty * avg_price / leverage,
            fee_ratio=fee_ratio,
            target=None if first_rung_share is None else target,
        ),
        target_qty=Decimal(0) if first_rung_share is None else rung_qty(instrument, filled_qty, first_rung_share),
    )


def protect_spot(
    instrument: Instrument,
    *,
    avg_price: Decimal,
    bought_qty: Decimal,
    fee_qty: Decimal,
    fee_usdt: Decimal,
    fee_ratio: Decimal,
    stop: StopWish,
    target: TargetWish | None,
) -> Protection:
    """Both legs for what may be sold: bought less the fee taken in the base asset, floored to step.

    The entry fee is charged to what is sold, so the target is net of it whatever asset it was paid in. `fee_usdt` is
    its worth. A `target_qty` of 0 means that nothing sellable arrived.
    """
    sellable = instrument.floor_qty(bought_qty - fee_qty)
    if sellable <= 0:
        return Protection(
            stop_price=_stop_price(instrument, Side.BUY, avg_price, stop),
            stop_qty=Decimal(0),
            target_price=None,
            target_qty=Decimal(0),
        )
    price: Decimal | None = None
    if isinstance(target, AtPrice):
        price = target.price
    elif target is not None:
        net = target.ratio * bought_qty * avg_price if isinstance(target, NetRatio) else target.usdt
        price = instrument.ceil_price((net + fee_usdt + sellable * avg_price) / (sellable * (1 - fee_ratio)))
    return Protection(
        stop_price=_stop_price(instrument, Side.BUY, avg_price, stop),
        stop_qty=sellable,
        target_price=price,
        target_qty=sellable,
    )


def _stop_price(instrument: Instrument, side: Side, avg_price: Decimal, stop: StopWish) -> Decimal:
    if isinstance(stop, AtPrice):
        return stop.price
    return first_stop(instrument, side, avg_price, stop.distance)


def _target_price(
    instrument: Instrument,
    *,
    side: Side,
    avg_price: Decimal,
    qty: Decimal,
    margin_usdt: Decimal,
    fee_ratio: Decimal,
    target: TargetWish | None,
) -> Decimal | None:
    if target is None or isinstance(target, AtPrice):
        return None if target is None else target.price
    net = target.ratio * margin_usdt if isinstance(target, NetRatio) else target.usdt
    price = exit_price(side=side, entry_price=avg_price, fee_ratio=fee_ratio, net_per_unit=net / qty)
    return instrument.ceil_price(price) if side is Side.BUY else instrument.floor_price(price)
