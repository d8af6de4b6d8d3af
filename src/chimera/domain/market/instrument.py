"""What the exchange allows on one instrument, and the only place where a price or quantity is rounded to it."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """One leverage tier. Maintenance margin = notional * maint_margin_ratio - cum."""

    bracket: int
    initial_leverage: int
    notional_floor: Decimal
    notional_cap: Decimal
    maint_margin_ratio: Decimal
    cum: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """Rules of one symbol in one market. Prices and quantities off the grid are refused by the exchange.

    `percent_up` and `percent_down` bound a limit price against the mark (FUT) or last (SPOT) price: 1.05 and 0.95 mean
    5 % either way. `stop_loss_market`: SPOT takes stops that become market orders. `brackets` are sorted by
    notional_floor and empty for SPOT.
    """

    market: Market
    symbol: str
    base_asset: str
    quote_asset: str
    tick_size: Decimal
    step_size: Decimal
    min_qty: Decimal
    max_qty: Decimal
    market_step: Decimal
    market_max_qty: Decimal
    min_notional: Decimal
    percent_up: Decimal
    percent_down: Decimal
    contract_size: Decimal = Decimal(1)
    max_leverage: int = 1
    brackets: tuple[Bracket, ...] = ()
    liquidation_fee_ratio: Decimal = Decimal(0)
    funding_interval_h: int = 8
    status: str = "TRADING"
    stop_loss_market: bool = True
    delivers_at_ms: int | None = None
    """When the exchange settles it for good, where that is decided."""
    spread_bp_limit: float | None = None
    depth_top1_usdt_min: float | None = None

    @property
    def key(self) -> InstrumentKey:
        return InstrumentKey(self.market, self.symbol)

    def round_price(self, price: Decimal) -> Decimal:
        """To the nearest tick, half to even."""
        return (price / self.tick_size).to_integral_value(ROUND_HALF_EVEN) * self.tick_size

    def floor_price(self, price: Decimal) -> Decimal:
        return (price / self.tick_size).to_integral_value(ROUND_FLOOR) * self.tick_size

    def ceil_price(self, price: Decimal) -> Decimal:
        return (price / self.tick_size).to_integral_value(ROUND_CEILING) * self.tick_size

    def floor_qty(self, qty: Decimal) -> Decimal:
        return qty // self.step_size * self.step_size

    def ceil_qty(self, qty: Decimal) -> Decimal:
        """Only for reduce-only orders, which the exchange cuts to the position: dust can be covered and closed."""
        return (qty / self.step_size).to_integral_value(ROUND_CEILING) * self.step_size

    def nearest_qty(self, qty: Decimal) -> Decimal:
        """To the nearest step, half to even: only sizing may round up, an exit never does."""
        return (qty / self.step_size).to_integral_value(ROUND_HALF_EVEN) * self.step_size

    def price_on_tick(self, price: Decimal) -> bool:
        return price % self.tick_size == 0

    def qty_on_step(self, qty: Decimal) -> bool:
        return qty % self.step_size == 0

    def bracket_for(self, notional_usdt: Decimal) -> Bracket:
        """The tier that holds `notional_usdt`; the last one above every cap.

        Raises:
            ValueError: the instrument has no brackets (SPOT).
        """
        if not self.brackets:
            raise ValueError(f"{self.market}:{self.symbol} has no leverage brackets")
        for bracket in self.brackets:
            if notional_usdt <= bracket.notional_cap:
                return bracket
        return self.brackets[-1]
