"""At which price the exchange takes an isolated position away.

Owns the formula and nothing of what is done about it. Source: Binance's liquidation protocol,
LP = (WB + cum - side*qty*EP) / (qty*MMR - side*qty), and in cross margin + other positions' PnL - their maintenance.
"""

from decimal import Decimal

from chimera.contracts.enums import Side
from chimera.domain.market.instrument import Instrument


def liquidation_price(
    *,
    side: Side,
    qty: Decimal,
    entry_price: Decimal,
    wallet_usdt: Decimal,
    maint_margin_ratio: Decimal,
    cum: Decimal,
    other_pnl_usdt: Decimal = Decimal(0),
    other_maint_margin_usdt: Decimal = Decimal(0),
) -> Decimal:
    """The mark price at which the balance meets the maintenance margin; below zero means never (a long over-backed).

    Args:
        side: BUY for a long.
        qty: unsigned, > 0.
        wallet_usdt: isolated wallet (WB), or the whole wallet in cross margin.
        maint_margin_ratio: of the bracket that holds the notional; `cum` its maintenance amount.
        other_pnl_usdt: unrealised PnL of the account's other cross positions; 0 when isolated.
        other_maint_margin_usdt: their maintenance margin; 0 when isolated.
    """
    signed = side.sign * qty
    backing = wallet_usdt - other_maint_margin_usdt + other_pnl_usdt + cum
    return (backing - signed * entry_price) / (qty * maint_margin_ratio - signed)


def isolated_liquidation_price(
    instrument: Instrument, *, side: Side, qty: Decimal, entry_price: Decimal, leverage: int
) -> Decimal:
    """Of a position with a margin of its own, as it was opened: no fees, no funding, no margin added."""
    bracket = instrument.bracket_for(qty * entry_price)
    return liquidation_price(
        side=side,
        qty=qty,
        entry_price=entry_price,
        wallet_usdt=qty * entry_price / leverage,
        maint_margin_ratio=bracket.maint_margin_ratio,
        cum=bracket.cum,
    )


def inside_buffer(*, price: Decimal, entry_price: Decimal, liquidation: Decimal, ratio: Decimal) -> bool:
    """True when `price` has left less than `ratio` of the way from liquidation to entry: (price-liq)/(entry-liq)."""
    way = entry_price - liquidation
    return way == 0 or (price - liquidation) / way < ratio
