"""Looking up the model that a bundle names, before the bundle comes into force.

Owns the way from the name to what `lint_model` judges: the document and the hash of the file. Opening and asking it is
S3's.
"""

import hashlib
from dataclasses import dataclass

from chimera.contracts import ids
from chimera.contracts.collections import MODELS
from chimera.contracts.documents import ConfigBundle, Model
from chimera.contracts.enums import EntryStatus
from chimera.domain.config.model_lint import check_model, lint_model
from chimera.domain.decision.condition import Finding
from chimera.domain.decision.model import CONSTANT
from chimera.ports.compute import Compute
from chimera.ports.documents import Documents
from chimera.ports.objects import NoSuchObject, Objects


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    documents: Documents
    objects: Objects
    compute: Compute

    async def lint(self, bundle: ConfigBundle) -> tuple[Finding, ...]:
        """What about its model keeps `bundle` from coming into force: it is not there, its file is another one, or it
        reads factors that the bundle does not enable.

        Raises:
            DependencyDown: documents or objects did not answer.
        """
        flags = bundle.flags.model
        if flags.name == CONSTANT:
            return ()
        enabled = [factor.factor_id for factor in bundle.factors if factor.status is EntryStatus.ENABLED]
        model = await self.documents.get(MODELS, flags.name)
        return lint_model(flags, enabled, model, None if model is None else await self._sha256(model))

    async def _sha256(self, model: Model) -> str | None:
        if check_model(model):
            # What is no hash names no object; the document's own findings say enough.
            return None
        try:
            body = await self.objects.get(ids.model_object(model.hash))
        except NoSuchObject:
            return None
        return await self.compute.run(lambda: hashlib.sha256(body).hexdigest())
