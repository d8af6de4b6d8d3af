"""What is to be said of a bundle: against itself, the instruments that are listed, and the model that it names."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from chimera.contracts.collections import INSTRUMENT_REGISTRY
from chimera.contracts.documents import ConfigBundle
from chimera.contracts.http.config import LintFinding
from chimera.domain.config.lint import cautions, lint
from chimera.domain.decision.condition import Finding
from chimera.ports.compute import Compute
from chimera.ports.documents import Documents, Query
from chimera.runtime.model_files import ModelFiles


@dataclass(frozen=True, slots=True)
class Judgement:
    """`faults` keep a bundle from coming into force; `cautions` are only told."""

    faults: tuple[Finding, ...]
    cautions: tuple[Finding, ...]

    def record(self, now_ms: int) -> dict[str, Any]:
        """How a bundle remembers it."""
        told = [_told("error", each) for each in self.faults] + [_told("warning", each) for each in self.cautions]
        return {"at": now_ms, "findings": [finding.to_dict() for finding in told]}


def _told(level: Literal["error", "warning"], finding: Finding) -> LintFinding:
    return LintFinding(level=level, path=finding.path, message=f"{finding.value!r:.200}", remedy=finding.remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    documents: Documents
    models: ModelFiles
    compute: Compute

    async def faults(self, bundle: ConfigBundle) -> tuple[Finding, ...]:
        """What keeps it from coming into force."""
        return await self._faults(bundle, await self._listed())

    async def judge(self, bundle: ConfigBundle) -> Judgement:
        listed = await self._listed()
        faults = await self._faults(bundle, listed)
        if faults:
            # Rules that are wrong say nothing about what they do.
            return Judgement(faults, ())
        # Of a hundred rules each is held against each other: beside the loop.
        work = partial(cautions, bundle.flags, bundle.rules, bundle.factors, listed)
        return Judgement((), await self.compute.run(work))

    async def _listed(self) -> tuple[str, ...]:
        """What S1 found at the exchange."""
        found = await self.documents.find(Query(collection=INSTRUMENT_REGISTRY, index="by_instr"))
        return tuple(each.doc_key() for each in found)

    async def _faults(self, bundle: ConfigBundle, listed: tuple[str, ...]) -> tuple[Finding, ...]:
        return lint(bundle.to_dict(), listed) + await self.models.lint(bundle)
