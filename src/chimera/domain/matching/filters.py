"""Whether a request keeps the instrument's rules, before anybody looks at money or at the book.

Futures and spot check nearly the same things and say them differently, in their own order.
"""

import re
from collections.abc import Callable
from decimal import Decimal

from chimera.contracts.enums import Market, OrderType, Side, TimeInForce
from chimera.domain.execution.orders import CONDITIONAL_FUT, CONDITIONAL_LIMIT_FUT, ListLeg, NewOrder, NewOrderList
from chimera.domain.market.instrument import Instrument
from chimera.domain.matching import refusals
from chimera.domain.matching.money import floor8
from chimera.domain.matching.records import PRICED, STOP_LIKE, TRIGGERED_TYPES
from chimera.domain.matching.refusals import Refusal

CLIENT_ID = re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}")

FUT_TYPES = frozenset({OrderType.MARKET, OrderType.LIMIT}) | CONDITIONAL_FUT | CONDITIONAL_LIMIT_FUT
CALLBACK_MIN, CALLBACK_MAX = Decimal("0.001"), Decimal("0.2")
"""callbackRate 0.1 to 20 per cent. Source: the change log, 2026-10-23."""
SPOT_TYPES = frozenset(
    {
        OrderType.MARKET,
        OrderType.LIMIT,
        OrderType.LIMIT_MAKER,
        OrderType.STOP_LOSS,
        OrderType.STOP_LOSS_LIMIT,
        OrderType.TAKE_PROFIT,
        OrderType.TAKE_PROFIT_LIMIT,
    }
)


LIST_TYPES = SPOT_TYPES & TRIGGERED_TYPES | {OrderType.LIMIT_MAKER}


CLOSE_ONLY = frozenset({"CANCEL_ONLY", "CLOSE_ONLY"})
"""A perpetual whose positions may only shrink, by a rule of the exchange."""

ENDING = frozenset({"PRE_DELIVERING", "PRE_SETTLE"})
"""A perpetual about to be delisted: it trades, and nothing is opened."""


def trades(instrument: Instrument) -> bool:
    """Whether orders are matched at all."""
    status = instrument.status
    return status == "TRADING" or (instrument.market is Market.FUT and status in CLOSE_ONLY | ENDING)


def check_futures_status(instrument: Instrument, *, closing: bool) -> None:
    if not trades(instrument):
        raise refusals.closed(Market.FUT)
    if instrument.status in CLOSE_ONLY and not closing:
        raise refusals.closing_only()
    if instrument.status in ENDING and not closing:
        raise refusals.no_opening()


def check_spot_status(instrument: Instrument) -> None:
    if instrument.status == "CANCEL_ONLY":
        raise refusals.cancel_only()
    if instrument.status != "TRADING":
        raise refusals.closed(Market.SPOT)


def check_client_id(market: Market, client_id: str) -> None:
    if not CLIENT_ID.fullmatch(client_id):
        raise refusals.bad_client_id(market)


def check_futures(
    instrument: Instrument,
    new: NewOrder,
    reference: Decimal | None,
    too_small: Callable[[Decimal], Refusal] = refusals.notional_too_small,
) -> None:
    """`reference` is the mark (or the mid before the first mark); None skips what is measured against it."""
    check_client_id(Market.FUT, new.client_order_id)
    if new.type not in FUT_TYPES:
        raise refusals.bad_type()
    check_futures_status(instrument, closing=new.reduce_only or new.close_position)
    if new.close_position:
        _check_close_position(new)
    else:
        _check_futures_qty(instrument, new)
    if new.quote_qty is not None:
        raise refusals.not_required("quoteOrderQty")
    if new.callback_ratio is not None:
        _check_trailing(instrument, new)
    elif new.activate_price is not None:
        raise refusals.not_required("activatePrice")
    elif new.type in TRIGGERED_TYPES:
        if new.stop_price is None:
            raise refusals.missing("triggerPrice")
        if new.stop_price <= 0:
            raise refusals.stop_price_not_positive()
        if not instrument.price_on_tick(new.stop_price):
            raise refusals.price_off_tick()
    if new.type in PRICED:
        _check_futures_price(instrument, new, reference)
    if not new.reduce_only and not new.close_position:
        price = new.price if new.type in PRICED else reference
        if price is not None and price * new.qty < instrument.min_notional:
            raise too_small(instrument.min_notional)


def check_spot(instrument: Instrument, new: NewOrder, last: Decimal | None) -> None:
    """`last` is the last trade's price; None skips what is measured against it."""
    check_client_id(Market.SPOT, new.client_order_id)
    if new.type not in SPOT_TYPES:
        raise refusals.bad_type()
    check_spot_status(instrument)
    if new.reduce_only:
        raise refusals.not_required("reduceOnly")
    if new.close_position:
        raise refusals.not_required("closePosition")
    if new.callback_ratio is not None:
        raise refusals.not_required("callbackRate")
    if new.activate_price is not None:
        raise refusals.not_required("activatePrice")
    if new.time_in_force is TimeInForce.GTX:
        raise refusals.bad_time_in_force()
    price = new.price if new.type in PRICED else None
    if new.type in PRICED:
        if price is None:
            raise refusals.missing("price")
        check_spot_price(instrument, new.side, price, last)
    if new.type in TRIGGERED_TYPES:
        if new.stop_price is None:
            raise refusals.missing("stopPrice")
        check_spot_stop_price(instrument, new.stop_price)
        price = price or new.stop_price
    if new.quote_qty is not None:
        _check_quote_qty(instrument, new)
        return
    check_spot_qty(instrument, new.qty, market=new.type is OrderType.MARKET)
    check_spot_notional(instrument, new.qty, price or last)


def check_spot_list(instrument: Instrument, new: NewOrderList, last: Decimal | None) -> None:
    legs = (("above", new.above), ("below", new.below))
    for client_id in (new.list_client_id, *(leg.client_order_id for _, leg in legs)):
        check_client_id(Market.SPOT, client_id)
    check_spot_status(instrument)
    _check_leg_types(new)
    for name, leg in legs:
        _check_leg(instrument, new.side, name, leg, last)
    check_spot_qty(instrument, new.qty, market=False)
    for _, leg in legs:
        check_spot_notional(instrument, new.qty, leg.price or leg.stop_price)


def check_spot_price(instrument: Instrument, side: Side, price: Decimal, last: Decimal | None) -> None:
    if price <= 0 or not instrument.price_on_tick(price):
        raise refusals.filter_failed("PRICE_FILTER")
    if last is not None and not last * instrument.percent_down <= price <= last * instrument.percent_up:
        raise refusals.filter_failed("PERCENT_PRICE_BY_SIDE")


def check_spot_stop_price(instrument: Instrument, stop_price: Decimal) -> None:
    if stop_price <= 0 or not instrument.price_on_tick(stop_price):
        raise refusals.filter_failed("PRICE_FILTER")


def check_spot_qty(instrument: Instrument, qty: Decimal, *, market: bool) -> None:
    if not instrument.min_qty <= qty <= instrument.max_qty or qty <= 0 or not instrument.qty_on_step(qty):
        raise refusals.filter_failed("LOT_SIZE")
    if market and (qty > instrument.market_max_qty or qty % instrument.market_step != 0):
        raise refusals.filter_failed("MARKET_LOT_SIZE")


def _check_quote_qty(instrument: Instrument, new: NewOrder) -> None:
    quote_qty = new.quote_qty
    assert quote_qty is not None
    if new.type is not OrderType.MARKET:
        raise refusals.not_required("quoteOrderQty")
    if new.qty != 0:
        raise refusals.bad_combination()
    if quote_qty != floor8(quote_qty):
        raise refusals.qty_too_precise()
    if quote_qty <= 0 or quote_qty < instrument.min_notional:
        raise refusals.filter_failed("NOTIONAL")


def _check_leg_types(new: NewOrderList) -> None:
    for leg in (new.above, new.below):
        if leg.type not in LIST_TYPES:
            raise refusals.not_in_a_list()
    if new.above.type is new.below.type is OrderType.LIMIT_MAKER:
        raise refusals.both_legs_limit()
    profit, loss = (new.above, new.below) if new.side is Side.SELL else (new.below, new.above)
    if loss.type is OrderType.LIMIT_MAKER:
        raise refusals.limit_leg_misplaced(new.side)
    if profit.type in STOP_LIKE:
        raise refusals.stop_leg_misplaced(new.side)
    if loss.type not in STOP_LIKE:
        raise refusals.profit_leg_misplaced(new.side)


def _check_leg(instrument: Instrument, side: Side, name: str, leg: ListLeg, last: Decimal | None) -> None:
    if (leg.price is None) is (leg.type in PRICED):
        raise refusals.missing(f"{name}Price") if leg.price is None else refusals.not_required(f"{name}Price")
    if (leg.stop_price is None) is (leg.type in TRIGGERED_TYPES):
        named = f"{name}StopPrice"
        raise refusals.missing(named) if leg.stop_price is None else refusals.not_required(named)
    if leg.time_in_force is TimeInForce.GTX:
        raise refusals.bad_time_in_force()
    if leg.price is not None:
        check_spot_price(instrument, side, leg.price, last)
    if leg.stop_price is not None:
        check_spot_stop_price(instrument, leg.stop_price)


def check_spot_notional(instrument: Instrument, qty: Decimal, price: Decimal | None) -> None:
    if price is not None and price * qty < instrument.min_notional:
        raise refusals.filter_failed("NOTIONAL")


def _check_close_position(new: NewOrder) -> None:
    if new.type not in CONDITIONAL_FUT or new.callback_ratio is not None:
        raise refusals.close_position_by(_futures_name(new))
    if new.qty != 0:
        raise refusals.qty_with_close_position()
    if new.reduce_only:
        raise refusals.reduce_only_with_close_position()


def _check_futures_qty(instrument: Instrument, new: NewOrder) -> None:
    market = new.type not in PRICED
    if new.qty <= 0:
        raise refusals.qty_not_positive()
    step = instrument.market_step if market else instrument.step_size
    if new.qty % step != 0:
        raise refusals.qty_too_precise() if _places(new.qty) > _places(step) else refusals.qty_off_step()
    if new.qty < instrument.min_qty:
        raise refusals.qty_too_small()
    if new.qty > (instrument.market_max_qty if market else instrument.max_qty):
        raise refusals.qty_too_large()


def _check_futures_price(instrument: Instrument, new: NewOrder, reference: Decimal | None) -> None:
    if new.price is None:
        raise refusals.missing("price")
    if new.price <= 0:
        raise refusals.price_not_positive()
    if not instrument.price_on_tick(new.price):
        raise refusals.price_off_tick()
    too_high, too_low = refusals.price_too_high, refusals.price_too_low
    if new.conditional:
        reference, too_high, too_low = new.stop_price, refusals.price_above_stop, refusals.price_below_stop
    if reference is None:
        return
    if new.side is Side.BUY and new.price > reference * instrument.percent_up:
        raise too_high(instrument.floor_price(reference * instrument.percent_up))
    if new.side is Side.SELL and new.price < reference * instrument.percent_down:
        raise too_low(instrument.ceil_price(reference * instrument.percent_down))


def _check_trailing(instrument: Instrument, new: NewOrder) -> None:
    assert new.callback_ratio is not None
    if new.type is not OrderType.STOP_MARKET:
        raise refusals.not_required("callbackRate")
    if new.stop_price is not None:
        raise refusals.would_trigger(Market.FUT)  # its answer to a triggerPrice here
    if not CALLBACK_MIN <= new.callback_ratio <= CALLBACK_MAX:
        raise refusals.bad_parameter("callbackRate")
    if new.activate_price is not None:
        if new.activate_price <= 0:
            raise refusals.bad_activation_price()
        if not instrument.price_on_tick(new.activate_price):
            raise refusals.price_off_tick()


def _futures_name(new: NewOrder) -> str:
    """What the exchange calls the type."""
    if new.callback_ratio is not None:
        return "TRAILING_STOP_MARKET"
    return {OrderType.STOP_LOSS_LIMIT: "STOP", OrderType.TAKE_PROFIT_LIMIT: "TAKE_PROFIT"}.get(new.type, new.type.value)


def _places(number: Decimal) -> int:
    """Digits behind the point that are not trailing zeros."""
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
