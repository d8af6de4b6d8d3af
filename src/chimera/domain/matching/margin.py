"""Margin arithmetic of a one-way USDT perpetual: initial and maintenance margin, and where liquidation stands.

Pure formulas without rounding; whoever books or locks the result rounds it. Quantities are signed: positive is long.
The liquidation formula within one tier is `positions/liquidation`; here stands which tier holds.
"""

from collections.abc import Sequence
from decimal import Decimal

from chimera.contracts.enums import Side
from chimera.domain.market.instrument import Bracket
from chimera.domain.matching.money import ZERO
from chimera.domain.positions.liquidation import liquidation_price

WHOLE = Decimal(1)


def initial_margin(notional_usdt: Decimal, leverage: int) -> Decimal:
    return notional_usdt / leverage


def bracket_at(brackets: Sequence[Bracket], notional_usdt: Decimal) -> Bracket:
    """The tier of `notional_usdt`; the last one above every cap. `brackets` is sorted and not empty."""
    for bracket in brackets:
        if notional_usdt <= bracket.notional_cap:
            return bracket
    return brackets[-1]


def maintenance_margin(notional_usdt: Decimal, brackets: Sequence[Bracket]) -> Decimal:
    tier = bracket_at(brackets, notional_usdt)
    return notional_usdt * tier.maint_margin_ratio - tier.cum


def notional_max(brackets: Sequence[Bracket], leverage: int) -> Decimal:
    """The largest position that `leverage` may carry; 0 when no tier allows that leverage."""
    return max((tier.notional_cap for tier in brackets if tier.initial_leverage >= leverage), default=ZERO)


def isolated_liquidation_price(
    *,
    wallet_usdt: Decimal,
    qty: Decimal,
    cost_usdt: Decimal,
    brackets: Sequence[Bracket],
    share: Decimal = WHOLE,
) -> Decimal:
    """Where an isolated position is liquidated, in the tier that holds there; 0 when no positive price does it.

    With a `share` below 1, where its maintenance margin is that share of its balance: the margin call before it.
    The balance over maintenance is continuous in the mark (that is what `cum` is for), so exactly one tier contains
    its own solution; past the last cap the last tier decides.
    """
    side, size = (Side.BUY if qty > 0 else Side.SELL), abs(qty)
    price = ZERO
    for tier in brackets:
        price = liquidation_price(
            side=side,
            qty=size,
            entry_price=cost_usdt / size,
            wallet_usdt=wallet_usdt,
            maint_margin_ratio=tier.maint_margin_ratio / share,
            cum=tier.cum / share,
        )
        if price * size <= tier.notional_cap:
            break
    return max(price, ZERO)
