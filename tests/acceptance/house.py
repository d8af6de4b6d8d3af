"""What the acceptance tests share: the seeds' own fixtures, and the schemas that we publish."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from chimera.contracts.export import export
from chimera.runtime.openapi import openapi_of
from chimera.runtime.runner import Runner

DATA = Path(__file__).parents[1] / "data" / "seed_000_g"


FILES = export()
"""What `chimera contracts export` writes."""


def seed_g(name: str) -> Any:
    """A fixture of `000` section G, as the seed writes it."""
    return json.loads((DATA / f"{name}.json").read_text())


def valid_answer(runner: Runner, method: str, path: str, body: Any) -> None:
    """`body` is what the service's published OpenAPI document promises of this call.

    Raises:
        ValidationError: it is not.
    """
    document = openapi_of(runner.service, runner.all_routes())
    told = document["paths"][path][method.lower()]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**told, "components": document["components"]}).validate(body)


def valid_event(name: str, body: Any) -> None:
    """`body` is what the exported schema of this payload promises."""
    Draft202012Validator(json.loads(FILES[f"events/{name}.json"])).validate(body)


def valid_document(collection: str, body: Any) -> None:
    Draft202012Validator(json.loads(FILES[f"documents/{collection}.json"])).validate(body)
