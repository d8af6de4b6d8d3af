"""The factors that S2 computes, on file, so that rules may name them.

Owns everything in `factor_registry` of our own factors but whether a person has disabled one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chimera.contracts.collections import FACTOR_REGISTRY
from chimera.contracts.documents import Factor
from chimera.contracts.enums import EntryStatus
from chimera.domain.features.factor import FactorSpec
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents


def document_of(spec: FactorSpec, known: Factor | None, now_ms: int) -> Factor:
    return Factor(
        factor_id=spec.factor_id,
        family=spec.family,
        version=spec.version,
        freq=spec.freq,
        lag_ms=spec.lag_ms,
        definition=spec.definition,
        unit=spec.unit,
        deps=spec.deps,
        range=spec.range,
        owner=spec.owner,
        status=known.status if known else EntryStatus.ENABLED,
        updated_at=now_ms,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    documents: Documents
    clock: Clock

    async def register(self, specs: Sequence[FactorSpec]) -> None:
        """When S2 begins to compute them: the built-in ones at start, a bundle's own when it comes into force."""
        for spec in specs:
            known = await self.documents.get(FACTOR_REGISTRY, spec.factor_id)
            document = document_of(spec, known, self.clock.now_ms())
            if known is None or known.but(updated_at=document.updated_at) != document:
                await self.documents.put(FACTOR_REGISTRY, document)
