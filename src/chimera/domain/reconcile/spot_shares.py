"""Whose coins are sold, where a person sells by hand what a wallet holds: it has one balance for everybody.

Owns the convention on SPOT. A trade's own orders buy and sell what is the trade's; what an exit sells beyond it was
dust. What somebody else sells is their own first, with the dust of earlier trades that is nobody's, then the trades',
the oldest first. What is on file as closed of a trade stays so: coins that come later, by a deposit say, are not the
trade's. And what was settled as somebody else's own stays theirs: coins that leave later, by a withdrawal say, make no
sale of then one of ours. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.documents import SpotSettled

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotMoved:
    """One fill, `qty` > 0 where it bought, net of a fee in the base asset.

    `trade_id` is the open trade whose order it was of. `strangers`: nobody here ordered it. Neither: of a trade of ours
    that has ended. `settled`: an earlier look has said whose it was.
    """

    fill_id: str
    qty: Decimal
    trade_id: str | None = None
    strangers: bool = False
    settled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotShares:
    """`held` is what is left of each trade; `closed_by`, of each trade, what strangers' fills sold of it, by fill;
    `others` what the wallet holds besides; and `short` what of all that the wallet has not: it left without a fill."""

    held: Mapping[str, Decimal]
    closed_by: Mapping[str, Mapping[str, Decimal]]
    others: Decimal
    short: Decimal


def spot_shares(
    before: Decimal,
    fills: Iterable[SpotMoved],
    on_file: Mapping[str, Mapping[str, Decimal]],
    settled: SpotSettled | None = None,
) -> SpotShares:
    """From what the wallet held of others before the first of `fills`, in the exchange's order, if nothing had come or
    left but by fills.

    Args:
        on_file: every open trade, the oldest first, with what was closed of it by strangers' fills before, by fill.
        settled: what an earlier look made of those of `fills` that say so; these begin the list.
    """
    moves = tuple(fills)
    wallet = before + sum((fill.qty for fill in moves), _ZERO)
    if settled is None:
        return _replayed(max(_ZERO, before), moves, on_file, wallet)
    old = tuple(fill for fill in moves if fill.settled)
    held = sum(_replayed(_ZERO, old, on_file, _ZERO).held.values(), _ZERO)
    # Its exit is among the fills that follow, as nobody's.
    ended = sum((qty for trade_id, qty in settled.held.items() if trade_id not in on_file), _ZERO)
    known = held + ended + settled.others - settled.short
    came = before + sum((fill.qty for fill in old), _ZERO) - known
    if came >= 0:
        # What was missing is back first; a deposit may have been sold at once, so that the rest was there before.
        others = settled.others + max(_ZERO, came - settled.short)
        return _replayed(others + ended, moves, on_file, wallet)
    # Nobody tells when it left. Where the wallet has what the trades have, no sale has to have been of theirs.
    last = _replayed(settled.others + ended, moves, on_file, wallet, left=-came)
    if sum(last.held.values(), _ZERO) <= wallet:
        return last
    return _replayed(max(_ZERO, settled.others + came) + ended, moves, on_file, wallet)


def _replayed(
    others: Decimal,
    fills: Iterable[SpotMoved],
    on_file: Mapping[str, Mapping[str, Decimal]],
    wallet: Decimal,
    *,
    left: Decimal = _ZERO,
) -> SpotShares:
    """
    Args:
        others: what others held before the first fill that is not settled.
        wallet: what it holds after the last.
        left: what went out of the wallet after the last, otherwise than by a fill.
    """
    held = dict.fromkeys(on_file, _ZERO)
    closed_by: dict[str, dict[str, Decimal]] = {trade_id: {} for trade_id in on_file}
    for fill in fills:
        if fill.trade_id is not None:
            part = max(fill.qty, -held[fill.trade_id])
            held[fill.trade_id] += part
            theirs = fill.qty - part
        elif fill.qty >= 0 or not fill.strangers:
            theirs = fill.qty
        else:
            parts = {
                trade_id: min(known, held[trade_id])
                for trade_id, closed in on_file.items()
                if (known := closed.get(fill.fill_id, _ZERO)) > 0
            }
            rest = max(_ZERO, -fill.qty - sum(parts.values(), _ZERO))
            theirs = -(rest if fill.settled else min(rest, others))
            rest += theirs
            for trade_id, qty in held.items():
                part = min(rest, qty - parts.get(trade_id, _ZERO))
                rest -= part
                parts[trade_id] = parts.get(trade_id, _ZERO) + part
            for trade_id, part in parts.items():
                held[trade_id] -= part
                if part > 0:
                    closed_by[trade_id][fill.fill_id] = part
        if not fill.settled:
            others = max(_ZERO, others + theirs)
    others = max(_ZERO, others - left)
    short = max(_ZERO, sum(held.values(), _ZERO) + others - wallet)
    return SpotShares(held=held, closed_by=closed_by, others=others, short=short)
