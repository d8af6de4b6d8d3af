"""What a futures position has earned on its margin, and the price at which it earns a given share.

Owns both directions of one formula: net of the entry fee and of the exit fee that is still to come.

    roe            (mark PnL of the open qty - its entry fee - its exit fee) / (open qty * entry_avg / leverage)
    exit_price     the price at which closing nets a given amount per unit
"""

from decimal import Decimal

from chimera.contracts.enums import Side


def roe(
    *,
    side: Side,
    entry_price: Decimal,
    mark: Decimal,
    leverage: int,
    fee_ratio: Decimal,
) -> Decimal:
    """Return on the margin of what is open; 0.1 = 10 %. Quantity cancels out. `fee_ratio` is the taker rate."""
    net = side.sign * (mark - entry_price) - fee_ratio * (entry_price + mark)
    return net * leverage / entry_price


def exit_price(*, side: Side, entry_price: Decimal, fee_ratio: Decimal, net_per_unit: Decimal) -> Decimal:
    """The price at which closing leaves `net_per_unit` after entry and exit fee, not rounded.

    long (net + entry*(1+fee)) / (1-fee); short (entry*(1-fee) - net) / (1+fee). A target of several units divides by
    the quantity first: target / qty is the net per unit. Round up for a long, down for a short.
    """
    if side is Side.BUY:
        return (net_per_unit + entry_price * (1 + fee_ratio)) / (1 - fee_ratio)
    return (entry_price * (1 - fee_ratio) - net_per_unit) / (1 + fee_ratio)


def price_at_roe(*, side: Side, entry_price: Decimal, leverage: int, fee_ratio: Decimal, roe: Decimal) -> Decimal:
    """Where `roe` would be reached, not rounded: the inverse of `roe`."""
    return exit_price(
        side=side,
        entry_price=entry_price,
        fee_ratio=fee_ratio,
        net_per_unit=roe * entry_price / leverage,
    )
