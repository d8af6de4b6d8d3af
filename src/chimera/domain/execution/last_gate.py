"""Right before the exchange: what must not leave, whatever the layers above believe.

Owns the caps that come from the environment alone, out of reach of any bundle, and what a number must be to be one. In
2012 a broker lost 460 million dollars within 45 minutes because nothing stood behind the code that sent orders (SEC
34-70694, Knight Capital). So this stands behind ours, and believes nothing of what it is told but the market's mid:

    nonsense   an order no exchange could mean: not a number, not above zero, an id that no restart could find again
    LastGate   orders a second, worth of one entry and of a day's, distance of an entry's price from the mid

What reduces or protects is stopped by nonsense alone, and counts. Pure. Source: SERVICES S4, 001 and 003 section 6.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from chimera.contracts.base import NUMBER_ABS_MAX
from chimera.contracts.enums import Market, OrderType, Side
from chimera.domain.execution.orders import NewOco, NewOrder

LAST_GATE = "LAST_GATE"
"""Begins each of its reasons."""
DAY_MS = 86_400_000
SECOND_MS = 1_000
_ID = re.compile(r"[.A-Za-z0-9:_-]{1,36}")
_SMALLEST_EXPONENT = -18
"""Of a price or quantity: no exchange's grid is finer."""
_NEEDS_PRICE = frozenset(
    {OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT}
)
_NEEDS_TRIGGER = frozenset(
    {
        OrderType.STOP_MARKET,
        OrderType.TAKE_PROFIT_MARKET,
        OrderType.STOP_LOSS,
        OrderType.TAKE_PROFIT,
        OrderType.STOP_LOSS_LIMIT,
        OrderType.TAKE_PROFIT_LIMIT,
    }
)


class Numbers(NamedTuple):
    """Name, value, and whether it must be there."""

    name: str
    value: Decimal | None
    needed: bool


def opens(order: NewOrder) -> bool:
    """Whether it may make what we hold larger, by the order itself: the exchange does not read our purposes."""
    if order.market is Market.SPOT:
        return order.side is Side.BUY
    return not order.reduce_only and not order.close_position


def nonsense(order: NewOrder) -> str | None:
    """Which field of an order is none, or None."""
    by_quote = order.market is Market.SPOT and order.type is OrderType.MARKET and order.quote_qty is not None
    unsized = order.qty.is_zero() and (order.close_position or by_quote)
    trails = order.callback_ratio is not None
    numbers = (
        Numbers("qty", None if unsized else order.qty, not unsized),
        Numbers("quote_qty", order.quote_qty, False),
        Numbers("price", order.price, order.type in _NEEDS_PRICE),
        Numbers("stop_price", order.stop_price, order.type in _NEEDS_TRIGGER and not trails),
        Numbers("callback_ratio", order.callback_ratio, False),
        Numbers("activate_price", order.activate_price, False),
    )
    return _bad_id(order.client_order_id) or _bad_number(numbers)


def nonsense_pair(oco: NewOco) -> str | None:
    """The same of a pair."""
    numbers = (
        Numbers("qty", oco.qty, True),
        Numbers("target_price", oco.target_price, True),
        Numbers("stop_price", oco.stop_price, True),
        Numbers("stop_limit_price", oco.stop_limit_price, False),
    )
    names = (oco.list_client_id, oco.target_client_id, oco.stop_client_id)
    bad = next((found for name in names if (found := _bad_id(name)) is not None), None)
    if bad is None and len(set(names)) < len(names):
        bad = f"ids {', '.join(names)}: an order could not be told from another"
    bad = bad or _bad_number(numbers)
    if bad is None and oco.side.sign * (oco.target_price - oco.stop_price) >= 0:
        bad = f"target_price {oco.target_price} is on the losing side of stop_price {oco.stop_price}"
    return bad


@dataclass(slots=True)
class LastGate:
    """Counts the orders of the last second and the worth of the UTC day's entries, those from before a restart included
    (`remember`). Exits are counted and never stopped."""

    order_notional_usdt_max: Decimal
    day_notional_usdt_max: Decimal
    orders_per_second_max: int
    mid_distance_max: float
    _sent_ms: deque[int] = field(default_factory=deque)
    """When the last orders left, no more of them than may leave in a second."""
    _day: int = 0
    _notional: Decimal = Decimal(0)

    def remember(self, sent_ms: int, notional_usdt: Decimal) -> None:
        """An entry order that left at `sent_ms`, by whatever process."""
        if sent_ms // DAY_MS > self._day:
            self._day, self._notional = sent_ms // DAY_MS, Decimal(0)
        if sent_ms // DAY_MS == self._day:
            self._notional += notional_usdt

    def count(self, now_ms: int) -> None:
        """An order leaves that is not to be stopped: an exit, a stop, a target."""
        self._sent_ms.append(now_ms)
        while len(self._sent_ms) > self.orders_per_second_max:
            self._sent_ms.popleft()

    def far(self, price: Decimal, mid: Decimal) -> bool:
        """Whether `price` is no price that an entry can have been made for now."""
        return not abs(price - mid) <= Decimal(repr(self.mid_distance_max)) * price

    def refuses(self, now_ms: int, qty: Decimal, mid: Decimal, believed: Decimal | None) -> str | None:
        """Count one entry order of `qty`; the reason if it must not leave, and then it is not counted.

        Args:
            believed: the price that it names or was made for, above 0; None: it names none.
        """
        self.remember(now_ms, Decimal(0))
        if not (mid.is_finite() and mid > 0):
            return f"{LAST_GATE} a mid of {mid} is no price"
        notional_usdt = qty * max(mid, believed or mid)
        if believed is not None and self.far(believed, mid):
            return (
                f"{LAST_GATE} made for a price of {believed}, further than {self.mid_distance_max:g} from the mid {mid}"
            )
        if notional_usdt > self.order_notional_usdt_max:
            return f"{LAST_GATE} order of {notional_usdt:.2f} USDT exceeds {self.order_notional_usdt_max}"
        if self._notional + notional_usdt > self.day_notional_usdt_max:
            return f"{LAST_GATE} entries of the day would exceed {self.day_notional_usdt_max} USDT"
        if len(self._sent_ms) >= self.orders_per_second_max and now_ms - self._sent_ms[0] < SECOND_MS:
            return f"{LAST_GATE} more than {self.orders_per_second_max} orders in a second"
        self.count(now_ms)
        self._notional += notional_usdt
        return None


def _bad_id(name: str) -> str | None:
    if _ID.fullmatch(name):
        return None
    return f"id {name[:80]!r} is longer than 36 or outside [.A-Za-z0-9:_-]"


def _bad_number(numbers: tuple[Numbers, ...]) -> str | None:
    for name, value, needed in numbers:
        if value is None:
            if needed:
                return f"{name} is missing"
            continue
        if not value.is_finite() or not 0 < value <= NUMBER_ABS_MAX:
            return f"{name} {_shown(value)} is no number above 0 and up to {NUMBER_ABS_MAX:f}"
        if value.adjusted() < _SMALLEST_EXPONENT:
            return f"{name} {_shown(value)} is below every exchange's grid"
        if name == "callback_ratio" and value >= 1:
            return f"{name} {_shown(value)} is no fraction of the price"
    return None


def _shown(value: Decimal) -> str:
    return str(value)[:40]
