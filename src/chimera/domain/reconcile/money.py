"""Why a wallet holds what it holds: what changed since it was last understood, and who did it.

Owns the arithmetic of one comparison of balances: what our own fills and settlements did, what others' did, what is
left. A wallet is named as `FUT USDT`. Pure.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from chimera.contracts.enums import Market, Side

_ZERO = Decimal(0)


class Cause(StrEnum):
    """What moved money, besides ourselves."""

    STRANGERS_FILLS = "STRANGERS_FILLS"
    OTHER_SYMBOLS = "OTHER_SYMBOLS"
    TRANSFER = "TRANSFER"
    INSURANCE = "INSURANCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One movement, signed: into the wallet is positive. `cause` None: ours."""

    wallet: str
    amount: Decimal
    cause: Cause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One wallet since it was last understood. `expected` is what our own doings make of `before`; `causes` what others
    did, and `unexplained` what is left, signed."""

    wallet: str
    before: Decimal
    after: Decimal
    expected: Decimal
    unexplained: Decimal
    causes: Mapping[Cause, Decimal] = field(default_factory=dict)


def wallet_name(market: Market, asset: str) -> str:
    return f"{market.value} {asset}"


def moved_by_fill(
    market: Market,
    side: Side,
    price: Decimal,
    qty: Decimal,
    fee: Decimal,
    fee_asset: str,
    realized_pnl: Decimal,
    base_asset: str,
    quote_asset: str,
    cause: Cause | None = None,
) -> list[Moved]:
    """What one fill did to the wallets: futures book the profit of what it closed, spot moves both assets."""
    moved = [Moved(wallet=wallet_name(market, fee_asset), amount=-fee, cause=cause)]
    if market is Market.FUT:
        moved.append(Moved(wallet=wallet_name(market, quote_asset), amount=realized_pnl, cause=cause))
    else:
        moved.append(Moved(wallet=wallet_name(market, quote_asset), amount=-side.sign * price * qty, cause=cause))
        moved.append(Moved(wallet=wallet_name(market, base_asset), amount=side.sign * qty, cause=cause))
    return moved


def changes(
    before: Mapping[str, Decimal], after: Mapping[str, Decimal], moved: Iterable[Moved], *, least: Decimal
) -> list[Change]:
    """Wallets that changed by other than our own doing, by more than `least` in units of the asset, sorted by name.

    A wallet that is only in one of the two held nothing in the other.
    """
    ours: dict[str, Decimal] = defaultdict(Decimal)
    theirs: dict[str, dict[Cause, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for each in moved:
        if each.cause is None:
            ours[each.wallet] += each.amount
        else:
            theirs[each.wallet][each.cause] += each.amount
    found = []
    for wallet in sorted({*before, *after, *ours, *theirs}):
        expected = before.get(wallet, _ZERO) + ours[wallet]
        causes = {cause: amount for cause, amount in sorted(theirs[wallet].items()) if amount}
        unexplained = after.get(wallet, _ZERO) - expected - sum(causes.values(), _ZERO)
        if causes or abs(unexplained) > least:
            found.append(
                Change(
                    wallet=wallet,
                    before=before.get(wallet, _ZERO),
                    after=after.get(wallet, _ZERO),
                    expected=expected,
                    unexplained=unexplained,
                    causes=causes,
                )
            )
    return found
