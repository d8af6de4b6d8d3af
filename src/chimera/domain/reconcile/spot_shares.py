"""Whose coins are sold, where a person sells by hand what a wallet holds: it has one balance for everybody.

Owns the convention on SPOT. A trade's own orders buy and sell what is the trade's; what an exit sells beyond it was
dust. What somebody else sells is their own first, with the dust of earlier trades that is nobody's, then the trades',
the oldest first. What is on file as closed of a trade stays so: coins that come later, by a deposit say, are not the
trade's. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotMoved:
    """One fill, `qty` > 0 where it bought, net of a fee in the base asset.

    `trade_id` is the open trade whose order it was of. `strangers`: nobody here ordered it. Neither: of a trade of ours
    that has ended.
    """

    fill_id: str
    qty: Decimal
    trade_id: str | None = None
    strangers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotShares:
    """`held` is what is left of each trade; `closed_by`, of each trade, what strangers' fills sold of it, by fill; and
    `others` what the wallet holds besides."""

    held: Mapping[str, Decimal]
    closed_by: Mapping[str, Mapping[str, Decimal]]
    others: Decimal


def spot_shares(
    before: Decimal, fills: Iterable[SpotMoved], on_file: Mapping[str, Mapping[str, Decimal]]
) -> SpotShares:
    """From what the wallet held of others before the first of `fills`, in the exchange's order.

    Args:
        on_file: every open trade, the oldest first, with what was closed of it by strangers' fills before, by fill.
    """
    others = max(_ZERO, before)
    held = dict.fromkeys(on_file, _ZERO)
    closed_by: dict[str, dict[str, Decimal]] = {trade_id: {} for trade_id in on_file}
    for fill in fills:
        if fill.trade_id is not None:
            part = max(fill.qty, -held[fill.trade_id])
            held[fill.trade_id] += part
            others = max(_ZERO, others + fill.qty - part)
            continue
        if fill.qty >= 0 or not fill.strangers:
            others = max(_ZERO, others + fill.qty)
            continue
        parts = {
            trade_id: min(known, held[trade_id])
            for trade_id, closed in on_file.items()
            if (known := closed.get(fill.fill_id, _ZERO)) > 0
        }
        rest = -fill.qty - sum(parts.values(), _ZERO)
        theirs = min(max(_ZERO, rest), others)
        others -= theirs
        rest -= theirs
        for trade_id, qty in held.items():
            part = min(max(_ZERO, rest), qty - parts.get(trade_id, _ZERO))
            rest -= part
            parts[trade_id] = parts.get(trade_id, _ZERO) + part
        for trade_id, part in parts.items():
            held[trade_id] -= part
            if part > 0:
                closed_by[trade_id][fill.fill_id] = part
    return SpotShares(held=held, closed_by=closed_by, others=others)
