"""Whether the protection that an entry asks for can work at all. Pure: facts in, a Problem raised or nothing.

What arithmetic shows to be impossible is refused before anything is sent; found out afterwards it costs a round of
fees, or a position that the exchange takes away before its stop is reached.
"""

from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.liquidation import liquidation_price
from chimera.runtime.service import Problem

TICKS_MIN = 2
"""A stop nearer to the price than this is reached by the spread alone."""


def check_protection(intent: OrderIntent, instrument: Instrument, price: Decimal | None, *, leverage_max: int) -> None:
    """Of a new entry whose shape is right. `price` is the present mid; None: what needs it is left to the exchange.

    Raises:
        Problem: 422, naming field, value and remedy.
    """
    if intent.market is Market.SPOT:
        _check_spot(intent)
        return
    if intent.leverage is not None and intent.leverage > leverage_max:
        raise Problem(422, "leverage-too-high", f"leverage {intent.leverage} exceeds {leverage_max}; give that or less")
    if price is None:
        return
    stop = _check_stop(intent, instrument, price)
    _check_liquidation(intent, instrument, price, stop, intent.leverage or leverage_max)
    target = intent.tp.price if intent.tp is not None else None
    if target is not None and intent.side.sign * (target - price) <= 0:
        raise Problem(422, "target-on-wrong-side", f"tp.price {target} would trigger at once: the price is {price}")


def _check_spot(intent: OrderIntent) -> None:
    oco, guard, wish = intent.exec_policy.oco, intent.guard_stop, intent.sl
    if oco is not None and oco.enabled:
        return
    if guard is None or not guard.enable:
        raise Problem(
            422,
            "entry-without-stop",
            "a spot entry needs its pair: give exec_policy.oco with the prices tp and sl, or enable guard_stop",
        )
    if guard.price is None and (wish is None or (wish.price is None and wish.distance is None)):
        raise Problem(
            422, "entry-without-stop", "guard_stop has no price; give guard_stop.price, sl.price or sl.distance"
        )


def _check_stop(intent: OrderIntent, instrument: Instrument, price: Decimal) -> Decimal:
    assert intent.sl is not None
    if intent.sl.price is not None and intent.sl.distance is not None:
        raise Problem(422, "stop-told-twice", "sl.price and sl.distance exclude each other; give one of them")
    sign = intent.side.sign
    if intent.sl.price is not None:
        return intent.sl.price
    assert intent.sl.distance is not None
    stop = instrument.round_price(price - sign * intent.sl.distance)
    if stop <= 0 or sign * (price - stop) < TICKS_MIN * instrument.tick_size:
        raise Problem(
            422,
            "stop-cannot-work",
            f"sl.distance {intent.sl.distance} puts the stop at {stop} while the price is {price};"
            f" it must stay above 0 and {TICKS_MIN} ticks of {instrument.tick_size} away",
        )
    return stop


def _check_liquidation(
    intent: OrderIntent, instrument: Instrument, price: Decimal, stop: Decimal, leverage: int
) -> None:
    bracket = instrument.bracket_for(intent.qty * price)
    liquidation = liquidation_price(
        side=intent.side,
        qty=intent.qty,
        entry_price=price,
        wallet_usdt=intent.qty * price / min(leverage, bracket.initial_leverage),
        maint_margin_ratio=bracket.maint_margin_ratio,
        cum=bracket.cum,
    )
    if intent.side.sign * (stop - liquidation) <= 0:
        raise Problem(
            422,
            "stop-beyond-liquidation",
            f"the stop at {stop} lies beyond the liquidation at about {instrument.round_price(liquidation)};"
            " give a nearer stop or a smaller leverage",
        )
