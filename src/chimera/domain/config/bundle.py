"""What a config bundle is worth by itself: its hash, and the one that the system starts with.

Owns how a bundle is identified and what revision 1 holds. Which bundle is in force is S10's business; what may stand in
one is `lint`'s.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from chimera.contracts import ids
from chimera.contracts.documents import Applies, ConfigBundle, Factor, Instrument, RuleAction, StrategyRule
from chimera.contracts.enums import ActionType, BundleStatus, EntryStatus
from chimera.contracts.flags import Flags, RiskFlags
from chimera.domain.features.registry import FACTORS

FIRST_REV = 1

FIRST_CONCURRENCY = 2
"""Entries of one market at a time. Source: v3.0 section 12.1."""

R_023 = StrategyRule(
    rule_id="R-023",
    priority=50,
    applies=Applies(symbols=("BTCUSDT",), services=("s3-strategy",)),
    when={
        "allOf": [
            {"f": "rv_pctile_30d", "op": "<", "v": 0.25},
            {"f": "rho_usdttwd_14", "op": "<", "v": -0.3},
        ]
    },
    action=RuleAction(type=ActionType.SIZE_MULT, value=1.2),
    explain="Low volatility and a strong negative correlation: a larger first size.",
    # Its factors need thirty days; a rule whose factor is missing refuses every entry.
    status=EntryStatus.DISABLED,
)
"""The spec's own example (v3.0 section 12.2)."""

R_001 = StrategyRule(
    rule_id="R-001",
    priority=10,
    applies=Applies(symbols=(), services=("s3-strategy",)),
    when={"f": "spread_bps", "op": ">", "v": 1.5},
    action=RuleAction(type=ActionType.SIZE_MULT, value=0.8),
    explain="A wide spread costs at entry and at exit: a smaller first size.",
    status=EntryStatus.ENABLED,
)
"""Without an ENABLED rule nothing is ever opened; this one reads a factor that is warm with the first tick."""


def content_hash(
    flags: Flags,
    rules: Sequence[StrategyRule],
    factors: Sequence[Factor],
    instruments: Sequence[Instrument],
) -> str:
    """sha256 of the canonical JSON (sorted names, no spaces) of all that decides. Order within a list counts."""
    body = {
        "flags": flags.to_dict(),
        "rules": [rule.to_dict() for rule in rules],
        "factors": [factor.to_dict() for factor in factors],
        "instruments": [instrument.to_dict() for instrument in instruments],
    }
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted names, no spaces, 1.0 written as 1. NaN and infinity raise ValueError."""
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _canonical(value: Any) -> Any:
    # A store may hand a whole float back as an integer; the content is the same, so the hash must be.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _canonical(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


def flags_digest(flags: Flags) -> str:
    return ids.digest(json.dumps(flags.to_dict(), sort_keys=True, separators=(",", ":")))


def hash_of(bundle: ConfigBundle) -> str:
    return content_hash(bundle.flags, bundle.rules, bundle.factors, bundle.instruments)


def known_factors() -> tuple[Factor, ...]:
    """Every factor that S2 computes, ENABLED."""
    return tuple(
        Factor(
            factor_id=spec.factor_id,
            family=spec.family,
            version=spec.version,
            freq=spec.freq,
            lag_ms=spec.lag_ms,
            definition=spec.definition,
            deps=spec.deps,
            range=spec.range,
            owner=spec.owner,
            status=EntryStatus.ENABLED,
        )
        for spec in FACTORS
    )


def default_bundle(now_ms: int) -> ConfigBundle:
    """Revision 1: the flags' own defaults (v3.0 section 12.1 and v3.2 1.2, 1.3), every factor there is, two rules. The
    one number that the flags leave to the environment where nobody says it is said here.

    It names no instrument: gates without a limit of the instrument's own use the flags'.
    """
    flags = Flags(risk=RiskFlags(concurrent_entries_per_market=FIRST_CONCURRENCY))
    rules, factors = (R_001, R_023), known_factors()
    digest = content_hash(flags, rules, factors, ())
    return ConfigBundle(
        bundle_id=ids.bundle_id(now_ms, digest),
        rev=FIRST_REV,
        status=BundleStatus.STAGED,
        flags=flags,
        rules=rules,
        factors=factors,
        instruments=(),
        hash=digest,
        created_at=now_ms,
        created_by="s10",
        note="what the system starts with",
    )
