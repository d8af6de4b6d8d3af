"""How alike two views of the same account are, and what should happen to an order that only the exchange has.

Owns the figures and the verdict; who mends is S5. Pure.
"""

from collections.abc import Collection
from decimal import Decimal
from enum import StrEnum


def jaccard(ours: Collection[object], theirs: Collection[object]) -> float:
    """Intersection / union of two collections of distinct things; two empty ones are alike."""
    here, there = set(ours), set(theirs)
    union = len(here | there)
    return len(here & there) / union if union else 1.0


def agreement(agreeing: int, compared: int) -> float:
    """Share of what was compared that agreed; nothing compared is nothing amiss."""
    return agreeing / compared if compared else 1.0


class Verdict(StrEnum):
    KNOWN = "KNOWN"
    """On file as open."""
    IN_HAND = "IN_HAND"
    """Its intent is unfinished: the router is at it."""
    KEEP = "KEEP"
    """It protects a position that nothing else protects: it goes when another stop is listed."""
    CANCEL = "CANCEL"
    FOREIGN = "FOREIGN"
    """Somebody else's: leave it alone and say so."""


def verdict(
    *, on_file_open: bool, ours: bool, intent_unfinished: bool, protects: bool, otherwise_covered: bool
) -> Verdict:
    """What becomes of an order that rests at the exchange.

    Args:
        ours: it is on file, or its name begins as ours do.
        protects: reduce-only, against a position that is open.
        otherwise_covered: other listed stops of ours cover that position without it.
    """
    if on_file_open:
        return Verdict.KNOWN
    if not ours:
        return Verdict.FOREIGN
    if intent_unfinished:
        return Verdict.IN_HAND
    return Verdict.KEEP if protects and not otherwise_covered else Verdict.CANCEL


def uncovered_qty(position_qty: Decimal, stop_qtys: Collection[Decimal]) -> Decimal:
    """How much of a position (signed) no listed stop against it covers; 0 or more."""
    return max(Decimal(0), abs(position_qty) - sum(stop_qtys, Decimal(0)))
