"""What the simulated exchange lists: instrument rules like those of Binance in 2026, for any USDT symbol.

Owns the rules that a simulation starts from; a real exchange tells its own. Facts: exchangeInfo and leverage brackets
as published in July 2026, the brackets simplified to eight tiers.
"""

from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.instrument import Bracket, Instrument

D = Decimal

_TIERS: tuple[tuple[str, int, str], ...] = (
    ("300000", 125, "0.004"),
    ("800000", 100, "0.005"),
    ("3000000", 75, "0.0065"),
    ("12000000", 50, "0.01"),
    ("70000000", 25, "0.02"),
    ("100000000", 20, "0.025"),
    ("230000000", 10, "0.05"),
    ("1800000000", 2, "0.25"),
)
"""(notional cap in USDT, leverage, maintenance margin ratio); `cum` follows, so that the margin has no steps."""

_FUT_GRID = {
    "BTCUSDT": ("0.10", "0.001", "50"),
    "ETHUSDT": ("0.01", "0.001", "20"),
    "SOLUSDT": ("0.01", "0.01", "5"),
    "BNBUSDT": ("0.01", "0.01", "5"),
    "XRPUSDT": ("0.0001", "0.1", "5"),
}
_SPOT_GRID = {"BTCUSDT": ("0.01", "0.00001"), "ETHUSDT": ("0.01", "0.0001")}
_OTHER_GRID = ("0.0001", "0.1", "5")
"""(tick, step, minimum notional) of a symbol that is not named above."""


def brackets() -> tuple[Bracket, ...]:
    made: list[Bracket] = []
    floor, cum, ratio_before = D(0), D(0), D(0)
    for number, (cap, leverage, ratio) in enumerate(_TIERS, start=1):
        if made:
            cum += floor * (D(ratio) - ratio_before)
        made.append(
            Bracket(
                bracket=number,
                initial_leverage=leverage,
                notional_floor=floor,
                notional_cap=D(cap),
                maint_margin_ratio=D(ratio),
                cum=cum,
            )
        )
        floor, ratio_before = D(cap), D(ratio)
    return tuple(made)


def listed(key: InstrumentKey) -> Instrument:
    """The rules of `key`. Any symbol that ends in USDT can be listed.

    Raises:
        ValueError: no symbol, or another quote asset.
    """
    if not key.symbol.isascii() or not key.symbol.isalnum() or key.symbol != key.symbol.upper():
        raise ValueError(f"symbol {key.symbol!r} must be letters and digits alone; write it like BTCUSDT")
    base = key.symbol.removesuffix("USDT")
    if base == key.symbol or not base:
        raise ValueError(f"symbol {key.symbol!r} is not quoted in USDT; use one like BTCUSDT")
    return _futures(key.symbol, base) if key.market is Market.FUT else _spot(key.symbol, base)


def _futures(symbol: str, base: str) -> Instrument:
    tick, step, min_notional = _FUT_GRID.get(symbol, _OTHER_GRID)
    return Instrument(
        market=Market.FUT,
        symbol=symbol,
        base_asset=base,
        quote_asset="USDT",
        tick_size=D(tick),
        step_size=D(step),
        min_qty=D(step),
        max_qty=D(1_000_000) * D(step),
        market_step=D(step),
        market_max_qty=D(120_000) * D(step),
        min_notional=D(min_notional),
        percent_up=D("1.05"),
        percent_down=D("0.95"),
        max_leverage=_TIERS[0][1],
        brackets=brackets(),
        liquidation_fee_ratio=D("0.0125"),
    )


def _spot(symbol: str, base: str) -> Instrument:
    tick, step = _SPOT_GRID.get(symbol, _OTHER_GRID[:2])
    return Instrument(
        market=Market.SPOT,
        symbol=symbol,
        base_asset=base,
        quote_asset="USDT",
        tick_size=D(tick),
        step_size=D(step),
        min_qty=D(step),
        max_qty=D(900_000_000) * D(step),
        market_step=D(step),
        market_max_qty=D(10_000_000) * D(step),
        min_notional=D(5),
        percent_up=D(2),
        percent_down=D("0.5"),
    )
