"""Whose a futures position is, where a person trades on the same account: the exchange has one for all.

Owns the convention. An entry of ours closes what somebody else holds on the other side first, and opens the rest. An
exit of ours closes the trade's own first. What somebody else does closes their own first, then ours, and opens the
rest. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

_ZERO = Decimal(0)


class Whose(StrEnum):
    ENTRY = "ENTRY"
    EXIT = "EXIT"
    """Of the trade; the exchange's own close counts as one."""
    STRANGERS = "STRANGERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One fill, `qty` > 0 where it bought."""

    fill_id: str
    whose: Whose
    qty: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """`ours` and `theirs` make up the position, signed. By fill, without sign: `trades` is what it opened or closed of
    ours, and the rest of it was somebody else's."""

    ours: Decimal
    theirs: Decimal
    trades: Mapping[str, Decimal]


def shares(theirs: Decimal, fills: Iterable[Moved]) -> Shares:
    """From what strangers held before the first of `fills`, when nothing was ours; in the exchange's order."""
    ours = _ZERO
    trades: dict[str, Decimal] = {}
    for fill in fills:
        by_ours, by_theirs = _split(fill, ours, theirs)
        ours += by_ours
        theirs += by_theirs
        trades[fill.fill_id] = abs(by_ours)
    return Shares(ours=ours, theirs=theirs, trades=trades)


def _split(fill: Moved, ours: Decimal, theirs: Decimal) -> tuple[Decimal, Decimal]:
    if fill.whose is Whose.ENTRY:
        closed = _closing(fill.qty, theirs)
        return fill.qty - closed, closed
    if fill.whose is Whose.EXIT:
        closed = _closing(fill.qty, ours)
        return closed, fill.qty - closed
    closed = _closing(fill.qty, theirs)
    of_ours = _closing(fill.qty - closed, ours)
    return of_ours, fill.qty - of_ours


def _closing(qty: Decimal, held: Decimal) -> Decimal:
    """The part of `qty` that makes `held` smaller, signed like `qty`."""
    if qty * held >= 0:
        return _ZERO
    return qty if abs(qty) <= abs(held) else -held
