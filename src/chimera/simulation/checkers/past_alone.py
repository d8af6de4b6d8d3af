"""I12: no feature uses the future: what is said of the last hour follows from bars that had closed by then.

Owns a reckoning of `ret_1h` by hand, from the market's own bars. One that came late, or not at all, may leave an older
value standing, never a newer one.
"""

from collections.abc import Callable, Collection
from math import isclose

from chimera.contracts.collections import SIGNALS
from chimera.contracts.instrument_key import InstrumentKey
from chimera.simulation.checkers.evidence import Evidence

FACTOR = "ret_1h"
MINUTE_MS = 60_000
HOUR_MINUTES = 60
LATE_MINUTES_MAX = 10

Closes = Callable[[InstrumentKey, int], Collection[float]]
"""What the bar of a minute (epoch minutes) closed at: as it was told, and as the history has it, where these differ."""


def check(evidence: Evidence, closes: Closes, *, since_ms: int = 0) -> list[str]:
    findings = []
    for signal in evidence.on_file(SIGNALS):
        told = signal.features.get(FACTOR)
        if not isinstance(told, float) or FACTOR in signal.stale or signal.t0 < since_ms:
            continue
        key = InstrumentKey(signal.market, signal.symbol)
        newest = signal.t0 // MINUTE_MS - 1
        if not any(_is(told, closes(key, m), closes(key, m - HOUR_MINUTES)) for m in _minutes(newest)):
            findings.append(f"{signal.signal_id} says {FACTOR} {told}, which no bar that had closed says")
    return findings


def _minutes(newest: int) -> range:
    return range(newest, newest - LATE_MINUTES_MAX, -1)


def _is(told: float, last: Collection[float], before: Collection[float]) -> bool:
    return any(isclose(told, now / then - 1.0, rel_tol=1e-9, abs_tol=1e-12) for now in last for then in before)
