"""What is held of one spot instrument, what it cost, and whose it is: counted from its fills, in the exchange's order.

Owns the meaning of dust: what is held that no entry means to sell, because earlier exits could not sell it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.documents import Fill
from chimera.contracts.enums import Side
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.wac import Holding, buy, sell

ENDED_KEPT = 1_000
"""Of so many intents that sold what they bought it is known that what they still sell is dust."""

ZERO = Decimal(0)


@dataclass(slots=True)
class SpotCount:
    """Grows with what is held, not with what was traded.

    `left` is what each intent bought and has not sold, from one step on; `ended` the same below a step.
    """

    holding: Holding = field(default_factory=Holding)
    left: dict[str, Decimal] = field(default_factory=dict)
    ended: OrderedDict[str, Decimal] = field(default_factory=OrderedDict)
    _last: tuple[int, int, str] | None = None

    def add(self, fill: Fill, instrument: Instrument) -> bool:
        """False: not counted, as it is not later than the last one. All fills have to be counted anew then."""
        order = ids.fill_order(fill.timestamp, fill.fill_id)
        if self._last is not None and order <= self._last:
            return False
        self._last = order
        if fill.side is Side.BUY:
            self._buy(fill, instrument)
        else:
            self._sell(fill, instrument.step_size)
        return True

    def dust(self, instrument: Instrument, *, intent_id: str, asked: Mapping[str, Decimal]) -> Decimal:
        """What is held that neither `intent_id` bought nor another entry still has to sell.

        An entry has to sell what is left of it from one step on, and whatever its open orders say (`asked`).
        """
        own = self.left.get(intent_id) or self.ended.get(intent_id, ZERO)
        claims = {each: qty for each, qty in self.left.items() if each != intent_id and qty >= instrument.step_size}
        for whose, qty in asked.items():
            if whose != intent_id:
                claims[whose] = max(qty, claims.get(whose, ZERO))
        return max(ZERO, self.holding.qty - own - sum(claims.values()))

    def _buy(self, fill: Fill, instrument: Instrument) -> None:
        qty = received(fill, instrument.base_asset)
        self.holding = buy(
            self.holding, price=fill.price, qty=fill.qty, fee_qty=fill.qty - qty, fee_usdt=fill.fee_usdt
        ).holding
        self._set(_owner(fill), qty, instrument.step_size)

    def _sell(self, fill: Fill, step_size: Decimal) -> None:
        # More than we know of may be sold: a person bought some by hand. What we know of is gone then.
        known = min(fill.qty, self.holding.qty)
        self.holding = sell(self.holding, price=fill.price, qty=known, fee_usdt=fill.fee_usdt or ZERO).holding
        whose = _owner(fill)
        # An exit under a name of its own ends what was bought first; what an entry sells beyond its own was dust.
        sellers = [whose] if whose in self.left or whose in self.ended else list(self.left)
        sold = fill.qty
        for each in sellers:
            part = min(sold, self.left.get(each, ZERO) or self.ended.get(each, ZERO))
            self._set(each, -part, step_size)
            sold -= part

    def _set(self, whose: str, change: Decimal, step_size: Decimal) -> None:
        qty = (self.left.get(whose) or self.ended.pop(whose, ZERO)) + change
        if qty >= step_size:
            self.left[whose] = qty
            return
        self.left.pop(whose, None)
        self.ended[whose] = qty
        if len(self.ended) > ENDED_KEPT:
            self.ended.popitem(last=False)


def is_dust(qty: Decimal, cost_price: Decimal, instrument: Instrument) -> bool:
    """Whether so little of a trade is left (base asset) that no order would be taken for it at what it cost. Nobody
    watches dust, and it takes neither budget nor place.

    By the average cost, which never moves: a price would call the same coins dust at one moment and a trade at the
    next, and whoever looks a second later would see the other.
    """
    sellable = instrument.floor_qty(qty)
    return sellable <= 0 or sellable < instrument.min_qty or sellable * cost_price < instrument.min_notional


def received(fill: Fill, base_asset: str) -> Decimal:
    """What a buy put into the wallet, net of a fee taken in the base asset."""
    return fill.qty - (fill.fee_qty or ZERO if fill.fee_asset == base_asset else ZERO)


def _owner(fill: Fill) -> str:
    return fill.intent_id or fill.order_id
