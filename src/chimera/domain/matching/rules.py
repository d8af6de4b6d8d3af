"""What one simulated exchange is like: its instruments, fees, limits and how its outside book treats us."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType

from chimera.contracts.enums import Market
from chimera.domain.market.instrument import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """Ratios of the traded amount, not negative: rebates are not modelled."""

    maker: Decimal
    taker: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRules:
    """Everything about the exchange that no operation changes.

    `touch_ratio` is the share of the outside quantity that reaches our resting order when the opposite best price
    stands exactly at ours (0: only a trade-through fills). `synthetic_levels` continue the book behind the visible
    ones: same step, the last quantity; a market order that eats them too expires the rest. `market_take_bound` is how
    far from the mark a futures market order may trade. `margin_call_ratio` is the share of a position's balance that
    its maintenance margin reaches when it is called. `isolated_default` is how a perpetual nobody has set is margined;
    only isolated margin is modelled, so that a crossed one opens nothing.
    """

    instruments: tuple[Instrument, ...]
    fees: Mapping[Market, Fees] = field(
        default_factory=lambda: MappingProxyType(
            {
                Market.FUT: Fees(maker=Decimal("0.0002"), taker=Decimal("0.0005")),
                Market.SPOT: Fees(maker=Decimal("0.001"), taker=Decimal("0.001")),
            }
        )
    )
    touch_ratio: Decimal = Decimal("0.25")
    synthetic_levels: int = 20
    market_take_bound: Decimal = Decimal("0.05")
    open_orders_max: int = 200
    conditionals_max: int = 200
    spot_stops_max: int = 5
    spot_lists_max: int = 20
    leverage_default: int = 20
    isolated_default: bool = True
    margin_call_ratio: Decimal = Decimal("0.8")

    def __post_init__(self) -> None:
        for instrument in self.instruments:
            if instrument.market is Market.FUT and not instrument.brackets:
                raise ValueError(f"FUT:{instrument.symbol} has no leverage brackets: liquidation needs them")
            if any(tier.maint_margin_ratio >= self.margin_call_ratio for tier in instrument.brackets):
                raise ValueError(f"FUT:{instrument.symbol} has a tier that margin_call_ratio would call at any price")
        if any(fee < 0 for fees in self.fees.values() for fee in (fees.maker, fees.taker)):
            raise ValueError("a negative fee (rebate) is not modelled")
