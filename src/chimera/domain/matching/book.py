"""The outside book of one instrument: what everybody else offers, and what our takers have eaten of it.

Behind the visible levels the book goes on with synthetic ones: the average gap between the visible levels (at least
one tick) and the quantity of the last one, `synthetic_levels` times. What a taker of ours consumes is gone until the
next BookTop refills it. Quantities are cut to the instrument's step, so that every fill is on it.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from chimera.contracts.enums import Market, Side
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import BookTop, Level
from chimera.domain.matching.money import ZERO


class OutsideBook:
    __slots__ = ("_asks", "_asks_eaten", "_bids", "_bids_eaten", "_instrument", "_synthetic_levels", "top")

    def __init__(self, instrument: Instrument, synthetic_levels: int) -> None:
        self._instrument = instrument
        self._synthetic_levels = synthetic_levels
        self.top: BookTop | None = None
        self._bids: list[Level] | None = None
        self._asks: list[Level] | None = None
        self._asks_eaten = self._bids_eaten = False

    def refill(self, top: BookTop) -> None:
        """A new picture replaces the old one, eaten levels included."""
        self.top = top
        if self._asks is not None or self._bids is not None:
            self._bids = self._asks = None
            self._asks_eaten = self._bids_eaten = False

    def measure_by(self, instrument: Instrument) -> None:
        """Other ticks and steps, from the next picture on."""
        self._instrument = instrument

    def best(self, side: Side) -> Decimal | None:
        """The best price a taker on `side` would meet; None when nothing is left."""
        top = self.top
        if top is None:
            return None
        eaten = self._asks if side is Side.BUY else self._bids
        if eaten is None:
            return top.ask if side is Side.BUY else top.bid
        return eaten[0][0] if eaten else None

    def plan(self, side: Side, qty: Decimal, limit: Decimal | None) -> tuple[Level, ...]:
        """What a taker would get, best first, no worse than `limit`; less than `qty` when the book ends before."""
        best = self.best(side)
        if best is None or (limit is not None and _worse(side, best, limit)):
            return ()
        parts: list[Level] = []
        left = qty
        for price, offered in self._levels(side):
            if left <= 0 or (limit is not None and _worse(side, price, limit)):
                break
            taken = min(left, offered)
            parts.append((price, taken))
            left -= taken
        return tuple(parts)

    def qty_worth(self, side: Side, quote: Decimal) -> Decimal:
        """How much a taker gets or gives for at most `quote`, on the step; less when the book ends before."""
        instrument = self._instrument
        qty = ZERO
        for price, offered in self._levels(side) if self.top is not None else ():
            taken = min(offered, instrument.floor_qty(quote / price))
            if taken * price > quote:  # the quotient was rounded up onto a step
                taken -= instrument.step_size
            qty += taken
            quote -= taken * price
            if taken < offered:
                break
        return qty

    def consume(self, side: Side, price: Decimal, qty: Decimal) -> None:
        """Take up to `qty` away from the level at `price`, which a plan named."""
        if side is Side.BUY:
            self._asks_eaten = True
        else:
            self._bids_eaten = True
        levels = self._levels(side)
        for index, (level_price, offered) in enumerate(levels):
            if level_price == price:
                if offered > qty:
                    levels[index] = (price, offered - qty)
                else:
                    del levels[index]
                return

    def export(self) -> dict[str, Any] | None:
        if self.top is None:
            return None
        top = self.top
        return {
            "ts": top.ts,
            "last": str(top.last),
            "bids": _written(top.bids),
            "asks": _written(top.asks),
            # Levels that were only looked at unfold again the same way.
            "bids_left": _written(self._bids) if self._bids_eaten and self._bids is not None else None,
            "asks_left": _written(self._asks) if self._asks_eaten and self._asks is not None else None,
        }

    def restore(self, market: Market, symbol: str, row: dict[str, Any]) -> None:
        self.top = BookTop(
            row["ts"], market, symbol, tuple(_read(row["bids"])), tuple(_read(row["asks"])), Decimal(row["last"])
        )
        self._bids = None if row["bids_left"] is None else _read(row["bids_left"])
        self._asks = None if row["asks_left"] is None else _read(row["asks_left"])
        self._bids_eaten, self._asks_eaten = self._bids is not None, self._asks is not None

    def _levels(self, side: Side) -> list[Level]:
        """The side that a taker on `side` eats; unfolded only when somebody takes, which is rare."""
        if side is Side.BUY:
            if self._asks is None:
                self._asks = self._unfold(self.top.asks if self.top else (), 1)
            return self._asks
        if self._bids is None:
            self._bids = self._unfold(self.top.bids if self.top else (), -1)
        return self._bids

    def _unfold(self, visible: Sequence[Level], direction: int) -> list[Level]:
        if not visible:
            return []
        instrument = self._instrument
        levels = [(price, instrument.floor_qty(qty)) for price, qty in visible]
        price, qty = levels[-1]
        gap = instrument.tick_size
        if len(visible) > 1:
            gap = max(gap, instrument.ceil_price(abs(price - visible[0][0]) / (len(visible) - 1)))
        levels += [(price + direction * gap * step, qty) for step in range(1, self._synthetic_levels + 1)]
        return [(price, qty) for price, qty in levels if qty > 0 and price > 0]


def _worse(side: Side, price: Decimal, limit: Decimal) -> bool:
    return price > limit if side is Side.BUY else price < limit


def _written(levels: Sequence[Level]) -> list[list[str]]:
    return [[str(price), str(qty)] for price, qty in levels]


def _read(levels: Sequence[Sequence[str]]) -> list[Level]:
    return [(Decimal(price), Decimal(qty)) for price, qty in levels]
