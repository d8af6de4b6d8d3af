"""When a winning position grows, by how much, and where stop and target of the whole belong.

Owns the sums of an add. Whether the market, the health and the budget allow one is asked by whoever orders it.

    add_for              what to add now, and the stop of the whole that goes with it
    stop_of_whole        where the whole loses what the first entry was allowed to lose
    target_of_whole      where the whole nets the share of its margin that the first target stood for
    within_hedge         what spot held leaves of a long add
"""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from chimera.contracts.enums import Side
from chimera.domain.exact import average
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.roe import price_at_roe
from chimera.domain.positions.stops import is_tighter, protective, would_trigger

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddParams:
    """The bundle's `position.adds`. `max_adds` is what holds where no fired rule said another number."""

    roe_min: Decimal = Decimal("0.05")
    size_ratio: Decimal = Decimal("0.5")
    max_adds: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    """A position that might grow. Quantities without sign; `first_loss_usdt` > 0 is the price loss that the first stop
    allowed; `stop_price` the present one."""

    instrument: Instrument
    side: Side
    entry_price: Decimal
    open_qty: Decimal
    first_qty: Decimal
    first_loss_usdt: Decimal
    stop_price: Decimal


@dataclass(frozen=True, slots=True)
class Addition:
    """Buy (or sell short) `qty` more; with it the stop of the whole is at `stop_price`."""

    qty: Decimal
    stop_price: Decimal


def stop_of_whole(
    instrument: Instrument, *, side: Side, entry_price: Decimal, qty: Decimal, first_loss_usdt: Decimal
) -> Decimal:
    """Where `qty` at the average `entry_price` loses `first_loss_usdt`, before fees, rounded so that it loses less."""
    return protective(instrument, side, entry_price - side.sign * first_loss_usdt / qty)


def tighter(side: Side, one: Decimal, other: Decimal) -> Decimal:
    """The stop that is nearer to profit."""
    return one if is_tighter(side, one, other) else other


def target_of_whole(
    instrument: Instrument, *, side: Side, entry_price: Decimal, leverage: int, fee_ratio: Decimal, ratio: Decimal
) -> Decimal:
    """Where closing at the average `entry_price` nets `ratio` of the margin after both fees, rounded so that it is
    at least that."""
    price = price_at_roe(side=side, entry_price=entry_price, leverage=leverage, fee_ratio=fee_ratio, roe=ratio)
    return instrument.ceil_price(price) if side is Side.BUY else instrument.floor_price(price)


def add_for(position: Growing, mark: Decimal, params: AddParams) -> Addition | None:
    """What to add at `mark`; None where a part of the first size is nothing that the exchange takes, or where the stop
    of the whole would trigger at once."""
    return sized(position, mark, position.instrument.floor_qty(position.first_qty * params.size_ratio))


def sized(position: Growing, mark: Decimal, qty: Decimal) -> Addition | None:
    """An add of `qty`, which is on the step, or of what one stop at market can still cover."""
    instrument = position.instrument
    qty = min(qty, instrument.floor_qty(instrument.market_max_qty) - position.open_qty)
    if qty < max(instrument.min_qty, instrument.step_size) or qty * mark < instrument.min_notional:
        return None
    whole = position.open_qty + qty
    entry_price = average((position.open_qty * position.entry_price + qty * mark) / whole)
    stop_price = tighter(
        position.side,
        position.stop_price,
        stop_of_whole(
            instrument,
            side=position.side,
            entry_price=entry_price,
            qty=whole,
            first_loss_usdt=position.first_loss_usdt,
        ),
    )
    return None if would_trigger(position.side, stop_price, mark) else Addition(qty, stop_price)


def net_delta(*, fut_qty: Decimal, contract_size: Decimal, spot_qty: Decimal) -> Decimal:
    """How much more is held in futures than in spot, base asset; `fut_qty` signed. Source: 004, v3.2 1.5."""
    return fut_qty * contract_size - spot_qty


def exposure(*, fut_qty: Decimal, contract_size: Decimal, spot_qty: Decimal) -> Decimal:
    """What a move of the price moves, base asset, signed like `fut_qty`. Source: SERVICES S6."""
    return fut_qty * contract_size + spot_qty


def within_hedge(qty: Decimal, *, side: Side, gap_qty: Decimal, contract_size: Decimal, step_size: Decimal) -> Decimal:
    """A long add no larger than the gap that spot leaves (`net_delta`, base asset), on the step; a short one whole."""
    if side is Side.SELL:
        return qty
    contracts = (max(_ZERO, gap_qty) / contract_size / step_size).to_integral_value(ROUND_FLOOR) * step_size
    return min(qty, contracts)
