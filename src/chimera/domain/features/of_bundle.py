"""The factors of a person's own: which of a bundle's factors S2 computes beyond the built-in ones.

Owns how a registered factor becomes a specification. Whether a definition can be computed says `derived`.
"""

from collections.abc import Iterable

from chimera.contracts.documents.config import Factor
from chimera.contracts.enums import EntryStatus
from chimera.domain.features.derived import is_derived, plan
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.registry import FACTOR_IDS
from chimera.domain.features.windows import SAMPLE_ABS_MAX


def derived_of(factors: Iterable[Factor]) -> tuple[FactorSpec, ...]:
    """Those that are ENABLED, are not built in, and whose definition has the form of a derived one.

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
    """Where no range is given, any value that a window can hold is legal."""
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
