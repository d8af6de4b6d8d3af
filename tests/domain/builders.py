"""Instruments that most tests of the domain trade on."""

from dataclasses import replace
from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.domain.market.instrument import Bracket, Instrument

BTC_FUT = Instrument(
    market=Market.FUT,
    symbol="BTCUSDT",
    base_asset="BTC",
    quote_asset="USDT",
    tick_size=Decimal("0.1"),
    step_size=Decimal("0.001"),
    min_qty=Decimal("0.001"),
    max_qty=Decimal(1000),
    market_step=Decimal("0.001"),
    market_max_qty=Decimal(120),
    min_notional=Decimal(50),
    percent_up=Decimal("1.05"),
    percent_down=Decimal("0.95"),
    max_leverage=125,
    brackets=(
        Bracket(
            bracket=1,
            initial_leverage=125,
            notional_floor=Decimal(0),
            notional_cap=Decimal(50_000),
            maint_margin_ratio=Decimal("0.004"),
            cum=Decimal(0),
        ),
        Bracket(
            bracket=2,
            initial_leverage=10,
            notional_floor=Decimal(50_000),
            notional_cap=Decimal(10_000_000),
            maint_margin_ratio=Decimal("0.05"),
            cum=Decimal(2_300),
        ),
    ),
)
BTC_SPOT = replace(
    BTC_FUT,
    market=Market.SPOT,
    tick_size=Decimal("0.01"),
    step_size=Decimal("0.00001"),
    min_qty=Decimal("0.00001"),
    market_step=Decimal("0.00001"),
    min_notional=Decimal(5),
    max_leverage=1,
    brackets=(),
)
