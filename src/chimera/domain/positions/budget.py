"""What an entry in flight and an open position take from the risk budget.

Owns the amounts; who adds them up atomically is the state port. Healing recomputes with the same functions, so that a
budget told by events and one counted afresh are the same number.
"""

from decimal import Decimal

from chimera.domain.exact import money_up


def futures_usage(*, qty: Decimal, entry_price: Decimal, leverage: int, fee_ratio: Decimal) -> Decimal:
    """Margin plus entry fee of `qty`: an intent's reservation (planned price) or an open position (average price)."""
    notional = qty * entry_price
    return money_up(notional / leverage + notional * fee_ratio)


def spot_reservation(*, qty: Decimal, price: Decimal, fee_ratio: Decimal) -> Decimal:
    """What a spot buy in flight may cost: its quote and the fee."""
    return money_up(qty * price * (1 + fee_ratio))


def spot_usage(*, qty: Decimal, wac: Decimal) -> Decimal:
    """What is held counts at its cost."""
    return money_up(qty * wac)
