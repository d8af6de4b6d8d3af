"""Whether the invariants of the system hold, asked of the exchange's own ledger and of the documents alone.

Every checker returns sentences about what is wrong; none of them means that the invariant holds. They may look at a
folder while somebody trades in it: what is in motion then counts as found, so whoever asks waits until it is quiet.

    I1   orders_once       one order per name, one entry per intent
    I2   stops_listed      no position without a stop
         spot_stops       the same on spot: a pair, a guard, or an exit
    I3   pairs_exclusive   of a pair one leg fills
    I4   budget_adds_up    reserved = in flight + open
    I5   books_agree       documents = ledger
    I6   entries_allowed   no entry while entries are forbidden; needs to be told when they were
    I7   slices_add_up     slices sum up to their parent
    I9   one_outcome       every open ends once
    I10  money_explained   every balance is explained
    I13  results_told      published = documents; needs to be told what was published
    I14  explained_once    one record for every change
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from chimera.simulation.checkers import (
    books_agree,
    budget_adds_up,
    explained_once,
    money_explained,
    one_outcome,
    orders_once,
    pairs_exclusive,
    slices_add_up,
    spot_stops,
    stops_listed,
)
from chimera.simulation.checkers.evidence import Evidence

CHECKS: Mapping[str, Callable[[Evidence], list[str]]] = {
    "I1": orders_once.check,
    "I2": stops_listed.check,
    "I2 spot": spot_stops.check,
    "I3": pairs_exclusive.check,
    "I4": budget_adds_up.check,
    "I5": books_agree.check,
    "I7": slices_add_up.check,
    "I9": one_outcome.check,
    "I10": money_explained.check,
    "I14": explained_once.check,
}


def check_evidence(evidence: Evidence) -> dict[str, list[str]]:
    """Invariant to findings, for every invariant that needs nothing but the evidence."""
    return {name: check(evidence) for name, check in CHECKS.items()}


def check_folder(data: Path) -> dict[str, list[str]]:
    """The same of a data folder, stopped or running; nothing in it is changed.

    Raises:
        sqlite3.Error: a file of the folder is missing or damaged.
    """
    return check_evidence(Evidence.of_folder(data))
