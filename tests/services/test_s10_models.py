"""A bundle comes into force with the model that it names, or not at all."""

from chimera.contracts import ids
from chimera.contracts.collections import MODELS
from chimera.contracts.documents import Model
from tests.ports.model_files import logistic, sha256
from tests.services.config_desk import Config

BODY = logistic([0.1, 0.2])
MODEL = Model(name="m1", hash=sha256(BODY), features=("atr_14", "spread_bps"), created_at=1)


async def test_a_bundle_waits_for_its_model_and_is_staged_when_it_is_there() -> None:
    config = await Config().start()
    made = await config.ask("POST", "/bundles", {"flags": {"model": {"name": "m1"}}})
    bundle_id = made.body["bundle_id"]

    without = await config.ask("POST", f"/bundles/{bundle_id}/stage")
    await config.here.documents.put(MODELS, MODEL)
    without_file = await config.ask("POST", f"/bundles/{bundle_id}/lint")
    await config.here.world.objects.put(ids.model_object(MODEL.hash), BODY, "application/octet-stream")
    staged = await config.ask("POST", f"/bundles/{bundle_id}/stage")

    assert without.status == 422
    assert [each["field"] for each in without.body["errors"]] == ["flags.model.name"]
    assert "no such model" in without.body["detail"]
    assert "object store" in without_file.body["findings"][0]["remedy"]
    assert (staged.status, staged.body["rev"]) == (200, 2)
    assert (await config.promote(bundle_id)).ok


async def test_a_model_that_was_lost_since_keeps_a_staged_bundle_out() -> None:
    config = await Config().start()
    await config.here.documents.put(MODELS, MODEL)
    await config.here.world.objects.put(ids.model_object(MODEL.hash), BODY, "application/octet-stream")
    made = await config.ask("POST", "/bundles", {"flags": {"model": {"name": "m1"}}})
    bundle_id = made.body["bundle_id"]
    assert (await config.ask("POST", f"/bundles/{bundle_id}/stage")).ok

    await config.here.world.objects.put(ids.model_object(MODEL.hash), b"something else", "application/octet-stream")
    refused = await config.promote(bundle_id)

    assert refused.status == 422, refused.body
    assert "sha256" in refused.body["detail"]
