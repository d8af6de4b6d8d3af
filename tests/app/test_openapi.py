"""Every running service says in OpenAPI what its routes promise, and the document holds together."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chimera.app.openapi import everything
from chimera.app.registry import SERVICES
from chimera.contracts.http import PROBLEM_MEDIA_TYPE

FILES = everything()
DOCUMENTS: dict[str, Any] = {
    path.removeprefix("openapi/").removesuffix(".json"): json.loads(text)
    for path, text in FILES.items()
    if path.startswith("openapi/")
}

OPERATIONS = [
    pytest.param(service, path, method, id=f"{service} {method.upper()} {path}")
    for service, document in DOCUMENTS.items()
    for path, methods in document["paths"].items()
    for method in methods
]


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for below in value.values() for ref in references(below)]
    return [ref for below in value for ref in references(below)] if isinstance(value, list) else []


def test_services_that_run_have_a_document_and_the_others_none() -> None:
    assert set(DOCUMENTS) == set(SERVICES)
    assert not {"s7", "s8", "s9"} & set(DOCUMENTS)


def test_the_contracts_own_files_are_there_as_well() -> None:
    assert {"asyncapi.json", "documents/orders.json", "events/OrderCmd.json"} <= set(FILES)
    assert list(FILES) == sorted(FILES)


@pytest.mark.parametrize("service", DOCUMENTS)
def test_every_reference_leads_to_a_schema_and_every_schema_is_one(service: str) -> None:
    schemas = DOCUMENTS[service]["components"]["schemas"]

    assert {ref.removeprefix("#/components/schemas/") for ref in references(DOCUMENTS[service])} <= set(schemas)
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("service", DOCUMENTS)
def test_operations_are_told_apart_by_name(service: str) -> None:
    names = [operation["operationId"] for path in DOCUMENTS[service]["paths"].values() for operation in path.values()]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(("service", "path", "method"), OPERATIONS)
def test_an_operation_says_what_it_takes_and_how_it_refuses(service: str, path: str, method: str) -> None:
    operation = DOCUMENTS[service]["paths"][path][method]

    in_path = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"]
    assert all(f"{{{name}}}" in path for name in in_path)
    assert len(in_path) == path.count("{")
    assert operation["summary"]
    refusals = {status: told for status, told in operation["responses"].items() if status not in ("200",)}
    assert "default" in refusals
    if "requestBody" in operation:
        assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert "400" in refusals
    for status, told in refusals.items():
        wanted = "application/json" if (path, status) == ("/ready", "503") else PROBLEM_MEDIA_TYPE
        assert list(told["content"]) == [wanted]


def body_of(service: str, path: str) -> str:
    schema = DOCUMENTS[service]["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return str(schema["$ref"]).removeprefix("#/components/schemas/")


def test_bodies_with_several_spellings_show_the_one_of_the_contracts() -> None:
    assert body_of("s4", "/orders") == "OrderIntent"
    assert body_of("s10", "/bundles") == "BundleDraft"


def test_a_query_parameter_is_told_with_its_range() -> None:
    [limit] = DOCUMENTS["s11"]["paths"]["/alerts"]["get"]["parameters"]

    assert (limit["name"], limit["in"], limit["required"]) == ("limit", "query", False)
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"], limit["schema"]["default"]) == (1, 1_000, 100)


def test_amounts_are_numbers_in_requests_and_answers() -> None:
    schemas = DOCUMENTS["s4"]["components"]["schemas"]

    assert schemas["OrderIntent"]["properties"]["qty"]["type"] == "number"
    assert schemas["OrderAnswer"]["properties"]["avg_price"]["type"] == "number"
