"""What a service's routes promise, as an OpenAPI 3.1 document.

Owns its form. Pure: the same routes give the same document, whatever the hash seed. A service's own card is its
description, the models of `contracts.http` are its components, and every refusal is a problem document.
"""

import re
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from chimera import __version__
from chimera.contracts.base import Contract
from chimera.contracts.export import WrittenForm
from chimera.contracts.http import PROBLEM_MEDIA_TYPE
from chimera.contracts.http import Problem as ProblemDocument
from chimera.contracts.services import BY_ID
from chimera.runtime.service import Route, Service

OPENAPI_VERSION = "3.1.0"
COMPONENTS = "#/components/schemas/"

MEANINGS = {
    400: "The body or a query parameter cannot be read; field, value and remedy are named.",
    401: "Nobody known asks.",
    403: "Not allowed.",
    404: "There is no such thing.",
    409: "It cannot be now; `type` and `detail` say why.",
    415: "The body is in another language than this call reads.",
    422: "Well spelt, and against a rule.",
    503: "Something needed is down or not ready yet. Ask again.",
}


def openapi_of(service: Service, routes: Sequence[Route]) -> dict[str, Any]:
    """The document of `routes`, which are all of the service's, the common ones included."""
    name = BY_ID[service.id]
    paths: dict[str, Any] = {}
    for route in sorted(routes, key=lambda each: (each.path, each.method)):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": f"Chimera {name.id}: {name.title}",
            "version": __version__,
            "description": service.card.strip(),
        },
        "paths": paths,
        "components": {"schemas": _components(routes)},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.method.lower() + re.sub(r"\W+", "_", route.path).rstrip("_"),
        "summary": route.summary,
        "responses": _responses(route),
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    if route.query is not None:
        parameters += _query_parameters(route.query)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None or route.parse is not None:
        operation["requestBody"] = {"content": _content(route.body), "required": True}
        if route.read is not None:
            operation["requestBody"]["content"]["application/yaml"] = {"schema": _schema(route.body)}
    return operation


def _responses(route: Route) -> dict[str, Any]:
    refusals = {*route.errors, *((400,) if route.body or route.parse or route.query else ())}
    responses: dict[str, Any] = {"200": {"description": "OK"}}
    if route.answer is not None:
        responses["200"]["content"] = _content(route.answer)
    for status in sorted(refusals):
        responses[str(status)] = _refusal(MEANINGS.get(status, "Refused."))
    for status in route.answer_also:
        responses[str(status)] = {"description": MEANINGS.get(status, "As told."), "content": _content(route.answer)}
    responses["default"] = _refusal("Any other refusal, or a bug of ours.")
    return responses


def _refusal(description: str) -> dict[str, Any]:
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": _ref(ProblemDocument)}}}


def _content(model: type[Contract] | None) -> dict[str, Any]:
    return {"application/json": {"schema": _schema(model)}}


def _schema(model: type[Contract] | None) -> dict[str, str]:
    return {} if model is None else _ref(model)


def _ref(model: type[Contract]) -> dict[str, str]:
    return {"$ref": COMPONENTS + model.__name__}


def _query_parameters(model: type[Contract]) -> list[dict[str, Any]]:
    schema = model.model_json_schema(by_alias=True, mode="serialization", schema_generator=WrittenForm)
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": below}
        for name, below in schema["properties"].items()
    ]


def _components(routes: Sequence[Route]) -> dict[str, Any]:
    models = {model.__name__: model for route in routes for model in (route.body, route.answer) if model is not None}
    models[ProblemDocument.__name__] = ProblemDocument
    _, written = models_json_schema(
        [(models[name], "serialization") for name in sorted(models)],
        by_alias=True,
        ref_template=COMPONENTS + "{model}",
        schema_generator=WrittenForm,
    )
    return dict(sorted(written["$defs"].items()))
