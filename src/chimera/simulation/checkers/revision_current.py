"""I8: a decision later than a switch of the configuration by 5 s carries the new revision, and `seq` never goes back.

A switch is a write of `config_active`; when it came the exchange's clock says. While a canary is in force a decision
may carry either revision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chimera.contracts.collections import SIGNALS
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.stops_listed import Downtime, downtime_of

WITHIN_MS = 5_000
"""Source: SERVICES, I8."""

PENDING = "PENDING"
"""Of a signal that nobody has decided on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """`revs`: those in force from `ts` on."""

    ts: int
    seq: int
    revs: frozenset[int]


def check(evidence: Evidence, switches: Sequence[Switched], excused: Sequence[Downtime] = ()) -> list[str]:
    """`excused`: times in which a service could not hear of a switch."""
    findings = [
        f"seq {later.seq} came after {earlier.seq}" for earlier, later in pairwise(switches) if later.seq <= earlier.seq
    ]
    for signal in evidence.on_file(SIGNALS):
        decided_ms = signal.updated_at or signal.created_at or signal.t0
        if signal.decision.reason in (None, PENDING) or not switches:
            continue
        allowed = _allowed(decided_ms, switches, excused)
        if allowed and signal.config_rev not in allowed:
            findings.append(
                f"{signal.signal_id} was decided by rev {signal.config_rev}, in force was {sorted(allowed)}"
            )
    return findings


def mixed(evidence: Evidence, slip_bp_hard: Mapping[int, float]) -> list[str]:
    """Decisions that carry one revision and were made by the limits of another. `slip_bp_hard`: that limit, by
    revision; it stands for all of a bundle, as no decision reads one twice."""
    findings = []
    for signal in evidence.on_file(SIGNALS):
        limit = slip_bp_hard.get(signal.config_rev)
        for gate in (signal.decision.trail or {}).get("gates", ()):
            if gate["code"] == "SLIPPAGE" and limit is not None and gate["limit"] != limit:
                findings.append(
                    f"{signal.signal_id} carries rev {signal.config_rev}, whose slippage limit is {limit}, and was"
                    f" decided by one of {gate['limit']}"
                )
    return findings


def _allowed(at_ms: int, switches: Sequence[Switched], excused: Sequence[Downtime]) -> frozenset[int]:
    """What may have decided at that moment: what is in force, and what was until a short while ago."""
    allowed: frozenset[int] = frozenset()
    for position in range(len(switches) - 1, -1, -1):
        switch = switches[position]
        if switch.ts > at_ms:
            continue
        allowed |= switch.revs
        if at_ms - switch.ts - downtime_of(switch.ts, at_ms, excused) > WITHIN_MS:
            break
    return allowed
