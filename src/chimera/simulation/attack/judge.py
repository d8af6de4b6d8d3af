"""Whether a run kept the invariants, by what stands outside: the exchange's books, the documents, what was published.

Owns what a blow excuses, and nothing else is excused: while the exchange serves nobody, or who guards is dead, no stop
can be placed, so that time does not count for I2.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.contracts.messages import OrderResult
from chimera.ports.state import Reservation
from chimera.simulation.attack.restrained import Restrained
from chimera.simulation.checkers import check_evidence, past_alone, revision_current
from chimera.simulation.checkers.budget_adds_up import reserved_is_used, sums_up
from chimera.simulation.checkers.entries_allowed import forbidden_entries
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.results_told import untold, untrue
from chimera.simulation.checkers.revision_current import Switched
from chimera.simulation.checkers.spot_stops import watched_in_time
from chimera.simulation.checkers.stops_listed import stops_in_time

ENDED_SHORT = " ended with "
"""Of a slice, in the words of I7's checker."""

UNDER_WAY_MS = 1_000
"""A request may be on its way when entries become forbidden."""

Span = tuple[int, int]
Findings = dict[str, list[str]]


def findings_now(
    evidence: Evidence,
    *,
    reserved: Sequence[Reservation],
    used: Mapping[Market, Decimal],
    unread: Sequence[str],
    coarser: bool,
) -> Findings:
    """What does not hold at this moment; in motion something always does not.

    `reserved`, `used`: the reservations and their sums in USDT, as the state says. `unread`: what groups did not
    acknowledge in time. `coarser`: the exchange's rules were so for a while, which keeps the rest of a slice that is
    less than a step from being ordered.
    """
    found = check_evidence(evidence)
    if coarser:
        found["I7"] = [each for each in found["I7"] if ENDED_SHORT not in each]
    found["I4"] = [
        *found["I4"],
        *reserved_is_used(evidence, {each.intent_id: each.amount_usdt for each in reserved}),
        *sums_up(reserved, used),
    ]
    found["I11"] = list(unread)
    return {name: sentences for name, sentences in found.items() if sentences}


def findings_ever(
    evidence: Evidence,
    *,
    excused: Sequence[Span],
    restrained: Restrained,
    results: Sequence[OrderResult],
    told_since_ms: int,
    switches: Sequence[Switched],
    limits: Mapping[int, float],
    locks: Sequence[str],
    closes: past_alone.Closes,
) -> Findings:
    """What did not hold at some moment. `excused`: the times in which nobody could place a stop, or hear of a switch.
    `told_since_ms`: what came on file since then must have been published. `limits`:
    the hard slippage limit of each revision. `locks`: what was amiss with them."""
    spans = merged(excused)
    forbidden = [(why, from_ms + UNDER_WAY_MS, to_ms) for why, from_ms, to_ms in restrained.so_far()]
    found = {
        "I2 over time": stops_in_time(evidence, spans),
        "I2 spot over time": watched_in_time(evidence, spans),
        "I6": forbidden_entries(evidence, forbidden),
        "I8": [*revision_current.check(evidence, switches, spans), *revision_current.mixed(evidence, limits)],
        "I12": past_alone.check(evidence, closes),
        "a lock": list(locks),
        "I13": untrue(evidence, results),
        "I13 untold": untold(evidence, results, since_ms=told_since_ms),
    }
    return {name: each for name, each in found.items() if each}


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time, no part of it twice."""
    whole: list[Span] = []
    for from_ms, to_ms in sorted(spans):
        if whole and from_ms <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(whole[-1][1], to_ms))
        else:
            whole.append((from_ms, to_ms))
    return whole
