"""A bundle whose model is not the one that was meant does not come into force; each reason by its field."""

from typing import Any

import pytest

from chimera.contracts import ids
from chimera.contracts.collections import MODELS
from chimera.contracts.documents import ConfigBundle, Model
from chimera.contracts.enums import EntryStatus
from chimera.contracts.flags import Flags, ModelFlags
from chimera.domain.config.bundle import default_bundle
from chimera.ports.documents import DocumentsUnavailable
from chimera.runtime.model_files import ModelFiles
from tests.ports.model_files import logistic, sha256
from tests.services.small_world import SmallWorld, small_world

BODY = logistic([0.1, 0.2])


def files_of(here: SmallWorld) -> ModelFiles:
    return ModelFiles(documents=here.world.documents, objects=here.world.objects, compute=here.world.compute)


def bundle_with(name: str, **changes: Any) -> ConfigBundle:
    return default_bundle(1).but(flags=Flags(model=ModelFlags(name=name)), **changes)


async def keep(here: SmallWorld, body: bytes | None = BODY, **changes: Any) -> Model:
    model = Model(
        **{"name": "m1", "hash": sha256(BODY), "features": ("atr_14", "spread_bps"), "created_at": 1, **changes}
    )
    await here.documents.put(MODELS, model)
    if body is not None:
        await here.world.objects.put(ids.model_object(model.hash), body, "application/octet-stream")
    return model


async def test_a_model_that_is_there_and_reads_what_is_enabled_is_no_finding() -> None:
    here = small_world()
    await keep(here)

    assert await files_of(here).lint(bundle_with("m1")) == ()


async def test_the_constant_model_needs_neither_document_nor_file() -> None:
    here = small_world()
    here.documents.down = True

    assert await files_of(here).lint(default_bundle(1)) == ()


@pytest.mark.parametrize(
    ("body", "changes", "says"),
    [
        pytest.param(None, {"name": "another"}, "no such model", id="not on file"),
        pytest.param(None, {}, "not in the object store", id="no file"),
        pytest.param(b"another file", {}, f"its file's sha256 is {sha256(b'another file')}", id="another file"),
        pytest.param(None, {"hash": "../up"}, "64 hex digits", id="no hash"),
        pytest.param(BODY, {"features": ()}, "name 1 to 1000 features", id="no feature"),
        pytest.param(BODY, {"calibration": {"method": "beta"}}, "calibration.method", id="no calibration"),
        pytest.param(BODY, {"features": ("atr_14", "mood")}, "it reads mood: enable", id="a factor nobody knows"),
    ],
)
async def test_what_is_wrong_with_the_model_is_found_before_it_decides(
    body: bytes | None, changes: dict[str, Any], says: str
) -> None:
    here = small_world()
    await keep(here, body, **changes)

    (finding,) = await files_of(here).lint(bundle_with("m1"))

    assert finding.path == "flags.model.name"
    assert says in str(finding)


async def test_a_factor_that_the_bundle_disables_is_found() -> None:
    here = small_world()
    await keep(here)
    factors = tuple(
        each.but(status=EntryStatus.DISABLED) if each.factor_id == "atr_14" else each
        for each in default_bundle(1).factors
    )

    (finding,) = await files_of(here).lint(bundle_with("m1", factors=factors))

    assert "it reads atr_14: enable this factor" in str(finding)


async def test_a_store_that_is_away_is_no_finding_about_the_bundle() -> None:
    here = small_world()
    await keep(here)
    here.documents.down = True

    with pytest.raises(DocumentsUnavailable):
        await files_of(here).lint(bundle_with("m1"))
