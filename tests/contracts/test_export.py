"""The exported schemas say what the spec's schemas say, and nothing narrower; two exports are the same bytes."""

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chimera.contracts.collections import COLLECTIONS
from chimera.contracts.export import asyncapi, export
from chimera.contracts.messages import MESSAGES
from chimera.contracts.streams import STREAMS
from tests.contracts import spec

Schema = dict[str, Any]

FILES = export()

JSON_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}


def exported(name: str) -> Schema:
    loaded: Schema = json.loads(FILES[f"{name}.json"])
    return loaded


def resolved(schema: Schema, root: Schema) -> Schema:
    """The schema that a reference means."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def types(schema: Schema, root: Schema) -> set[str]:
    """The JSON types that a schema allows; empty for any."""
    schema = resolved(schema, root)
    if "anyOf" in schema:
        return set().union(*(types(option, root) for option in schema["anyOf"]))
    if "type" in schema:
        return {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    words = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return {JSON_TYPES[type(word)] for word in words}


def words(schema: Schema, root: Schema) -> set[Any] | None:
    schema = resolved(schema, root)
    if "const" in schema:
        return {schema["const"]}
    return set(schema["enum"]) if "enum" in schema else None


def differences(name: str, path: str, theirs: Schema, ours: Schema, root: Schema) -> list[str]:
    """What the spec says at `path` and we do not."""
    ours = resolved(ours, root)
    found: list[str] = []
    if types(theirs, theirs) and types(theirs, theirs) != types(ours, root):
        found.append(f"{path}: type {types(theirs, theirs)} became {types(ours, root)}")
    their_words = words(theirs, theirs)
    if their_words is not None and words(ours, root) != their_words | set(spec.WIDENED.get((name, path), ())):
        found.append(f"{path}: words {sorted(map(str, their_words))} became {words(ours, root)}")
    for bound in ("minItems", "maxItems", "minimum", "maximum"):
        if bound in theirs and ours.get(bound) != theirs[bound]:
            found.append(f"{path}: {bound} {theirs[bound]} became {ours.get(bound)}")
    missing = set(theirs.get("required", ())) - set(ours.get("required", ())) - set(spec.SILENT.get((name, path), ()))
    if missing:
        found.append(f"{path}: {sorted(missing)} are not required any more")
    for inner, below in theirs.get("properties", {}).items():
        where = f"{path}.{inner}".removeprefix(".")
        if inner not in ours.get("properties", {}):
            found.append(f"{where}: is gone")
        else:
            found.extend(differences(name, where, below, ours["properties"][inner], root))
    for inner in ("items", "additionalProperties"):
        if isinstance(theirs.get(inner), dict):
            found.extend(differences(name, f"{path}[]", theirs[inner], ours.get(inner, {}), root))
    return found


def test_every_schema_of_the_spec_is_compared() -> None:
    assert set(spec.folder_names()) <= set(spec.NAMES)


@pytest.mark.parametrize("name", spec.NAMES)
def test_an_exported_schema_keeps_what_the_spec_says(name: str) -> None:
    ours = exported(name)

    assert differences(name, "", spec.schema(name), ours, ours) == []


@pytest.mark.parametrize("name", spec.NAMES)
def test_no_field_of_ours_that_the_spec_forbids_to_be_null_may_be_null(name: str) -> None:
    theirs = spec.schema(name)
    ours = exported(name)

    nullable = {field for field, below in ours["properties"].items() if "null" in types(below, ours)}

    assert nullable == {field for field, below in theirs["properties"].items() if "null" in types(below, theirs)}


@pytest.mark.parametrize("path", [path for path in FILES if path != "asyncapi.json"])
def test_every_exported_schema_is_a_schema(path: str) -> None:
    Draft202012Validator.check_schema(json.loads(FILES[path]))


def test_there_is_a_file_for_every_collection_and_payload() -> None:
    assert {path for path in FILES if path.startswith("documents/")} == {
        f"documents/{name}.json" for name in (*COLLECTIONS, "config_flags")
    }
    assert {path for path in FILES if path.startswith("events/")} == {f"events/{name}.json" for name in MESSAGES}


def test_defaults_leave_as_json_numbers() -> None:
    fees = exported("documents/config_flags")["$defs"]["FeeFlags"]["properties"]

    assert (fees["maker_bp"]["default"], fees["taker_bp"]["default"]) == (1.0, 5.0)


def test_asyncapi_tells_every_stream_its_writers_and_readers() -> None:
    document = asyncapi()
    operations = document["operations"]

    assert document["asyncapi"].startswith("3.")
    assert len(document["channels"]) == len(STREAMS)
    assert "s4-router.receive.ord_cmd" in operations
    assert {name for name in operations if name.endswith(".send.ord_cmd")} == {
        "s3-strategy.send.ord_cmd",
        "s5-reconciler.send.ord_cmd",
        "s6-positions.send.ord_cmd",
    }


def test_every_reference_in_asyncapi_leads_somewhere() -> None:
    document = json.loads(FILES["asyncapi.json"])

    def reached(pointer: str) -> Any:
        place = document
        for part in pointer.removeprefix("#/").split("/"):
            place = place[part]
        return place

    for channel in document["channels"].values():
        for message in channel["messages"].values():
            assert reached(message["$ref"])
        assert set(channel["parameters"]) == {part.split("}")[0] for part in channel["address"].split("{")[1:]}
    for operation in document["operations"].values():
        assert reached(operation["channel"]["$ref"])


DIGEST = """
import hashlib
from chimera.contracts.export import export
print(hashlib.sha256(repr(export()).encode()).hexdigest())
"""


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_two_exports_are_the_same_bytes_whatever_the_hash_seed(hash_seed: str) -> None:
    ours = hashlib.sha256(repr(export()).encode()).hexdigest()

    theirs = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )

    assert theirs.stdout.strip() == ours
