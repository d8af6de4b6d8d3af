"""The factors that S2 computes, on file, so that rules may name them.

Owns everything in `factor_registry` of our own factors but whether a person has disabled one.
"""

from dataclasses import dataclass

from chimera.contracts.collections import FACTOR_REGISTRY
from chimera.contracts.documents import Factor
from chimera.contracts.enums import EntryStatus
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.registry import FACTORS
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

    async def register(self) -> None:
        for spec in FACTORS:
            known = await self.documents.get(FACTOR_REGISTRY, spec.factor_id)
            document = document_of(spec, known, self.clock.now_ms())
            if known is None or known.but(updated_at=document.updated_at) != document:
                await self.documents.put(FACTOR_REGISTRY, document)
