"""An order made to fit the exchange's rules as they are now: what was right when it was made may not be any more.

Quantities are cut, never raised, but those of reduce-only orders: the exchange cuts these to the position, and what was
left of it would have no stop. A limit price moves away from the market, so that nothing is paid beyond what was
asked for; the trigger of a stop moves towards profit, any other to the nearest tick. Pure.
"""

from dataclasses import replace
from decimal import Decimal

from chimera.contracts.enums import Market, OrderType, Side
from chimera.domain.execution.orders import NewOco, NewOrder
from chimera.domain.market.instrument import Instrument

BROKEN_RULES = frozenset({-1013, -1111, -4003, -4004, -4005, -4014, -4023, -4164})
"""What the exchange answers to a price or quantity off its grid. Source: its error tables; -1013 is spot's for all."""


def fitted(order: NewOrder, instrument: Instrument) -> NewOrder:
    """`order` on the instrument's grid; the same object where it was already."""
    found = replace(
        order,
        qty=_qty(order, instrument),
        price=_limit(order.price, order.side, instrument),
        stop_price=_trigger(order, instrument),
    )
    return order if found == order else found


def fitted_pair(pair: NewOco, instrument: Instrument) -> NewOco:
    target = _limit(pair.target_price, pair.side, instrument)
    assert target is not None
    found = replace(
        pair,
        qty=instrument.floor_qty(pair.qty),
        target_price=target,
        stop_price=instrument.round_price(pair.stop_price),
        stop_limit_price=_limit(pair.stop_limit_price, pair.side, instrument),
    )
    return pair if found == pair else found


def _qty(order: NewOrder, instrument: Instrument) -> Decimal:
    if order.close_position:
        return order.qty
    covers = order.market is Market.FUT and order.reduce_only
    return instrument.ceil_qty(order.qty) if covers else instrument.floor_qty(order.qty)


def _trigger(order: NewOrder, instrument: Instrument) -> Decimal | None:
    if order.stop_price is None:
        return None
    if not order.reduce_only or order.type is not OrderType.STOP_MARKET:
        return instrument.round_price(order.stop_price)
    return (
        instrument.ceil_price(order.stop_price) if order.side is Side.SELL else instrument.floor_price(order.stop_price)
    )


def _limit(price: Decimal | None, side: Side, instrument: Instrument) -> Decimal | None:
    if price is None:
        return None
    return instrument.floor_price(price) if side is Side.BUY else instrument.ceil_price(price)
