"""What spot holdings cost: weighted average cost, with the buyer's fee taken in the base asset.

Owns the four lines of SERVICES S4 and no more: S4 applies them to each fill, in order of time, once.

    buy     Qty' = Qty + buy - fee_qty;  WAC' = (WAC*Qty + price*(buy - fee_qty)) / Qty';  fee_usdt = fee_qty*price
    sell    PnL = (price - WAC)*qty - fees;  Qty' = Qty - qty;  Qty' = 0 -> WAC 0
"""

from dataclasses import dataclass
from decimal import Decimal

from chimera.domain.exact import average, money


@dataclass(frozen=True, slots=True)
class Holding:
    """`qty` in base asset, `wac` in USDT per unit, 0 when nothing is held."""

    qty: Decimal = Decimal(0)
    wac: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Booked:
    """A fill's effect. `pnl_usdt` is net of this fill's own fee: a buy's is -fee."""

    holding: Holding
    pnl_usdt: Decimal
    fee_usdt: Decimal


def buy(
    holding: Holding,
    *,
    price: Decimal,
    qty: Decimal,
    fee_qty: Decimal,
    fee_usdt: Decimal | None = None,
) -> Booked:
    """Book a buy. The fee is expensed now, never capitalised.

    Args:
        qty: bought, before the fee.
        fee_qty: fee taken in the base asset, so that much less is held; 0 when it was paid in another asset.
        fee_usdt: the fee's worth when it was paid in another asset; None: fee_qty * price.
    """
    received = qty - fee_qty
    held = holding.qty + received
    wac = (holding.wac * holding.qty + price * received) / held if held > 0 else Decimal(0)
    fee = money(fee_qty * price) if fee_usdt is None else fee_usdt
    return Booked(Holding(held, average(wac)), -fee, fee)


def sell(holding: Holding, *, price: Decimal, qty: Decimal, fee_usdt: Decimal) -> Booked:
    """Book a sale of `qty` <= what is held.

    Raises:
        ValueError: more is sold than is held. The ledger is wrong upstream: a fill is missing.
    """
    if qty > holding.qty:
        raise ValueError(f"sold {qty} of {holding.qty} held")
    left = holding.qty - qty
    pnl = money((price - holding.wac) * qty - fee_usdt)
    return Booked(Holding(left, holding.wac if left > 0 else Decimal(0)), pnl, fee_usdt)
