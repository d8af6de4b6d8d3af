"""The factors of a person's own: what a bundle registers beyond the built-in ones.

Owns how an entry of a bundle becomes what S2 computes by. Whether a definition can be computed is `derived`'s.
"""

from collections.abc import Iterable

from chimera.contracts.documents import Factor
from chimera.contracts.enums import EntryStatus
from chimera.domain.features.derived import Absolute, DefinitionError, Placed, is_derived, parse, plan
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.registry import FACTOR_IDS
from chimera.domain.features.windows import SAMPLE_ABS_MAX, WindowKind


def registered(factors: Iterable[Factor]) -> tuple[FactorSpec, ...]:
    """The factors beyond the built-in ones that are ENABLED and whose definition S2 can compute.

    Raises:
        DefinitionError: one of them has the form, and cannot be computed.
    """
    specs = tuple(
        spec_of(factor)
        for factor in factors
        if factor.status is EntryStatus.ENABLED and factor.factor_id not in FACTOR_IDS and is_derived(factor.definition)
    )
    plan(specs)
    return specs


def spec_of(factor: Factor) -> FactorSpec:
    low, high = factor.range or (-SAMPLE_ABS_MAX, SAMPLE_ABS_MAX)
    return FactorSpec(
        factor_id=factor.factor_id,
        family=factor.family or "derived",
        version=factor.version,
        freq=factor.freq,
        lag_ms=factor.lag_ms or 0,
        definition=factor.definition,
        unit=factor.unit or "",
        deps=factor.deps or (),
        range=(low, high),
        owner=factor.owner or "",
    )


def values_of(factor: Factor) -> tuple[float, float] | None:
    """Least and greatest value that such a factor may have, by its definition and by its own range; None where it has
    no form that S2 computes, or no value at all."""
    try:
        expression = parse(factor.definition, factor_id=factor.factor_id)
    except DefinitionError:
        return None
    low, high = factor.range or (-SAMPLE_ABS_MAX, SAMPLE_ABS_MAX)
    match expression:
        case Absolute():
            low = max(low, 0.0)
        case Placed(kind=WindowKind.PCTILE):
            low, high = max(low, 0.0), min(high, 1.0)
    return (low, high) if low <= high else None
