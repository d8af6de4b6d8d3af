"""The contracts as files for others: JSON Schemas and an AsyncAPI document.

Owns which files there are and that two exports are the same bytes: keys are sorted, nothing depends on hash order.
Pure: the caller writes the files. OpenAPI is the services' own, because only they know their routes.

    documents/<collection>.json, documents/config_flags.json    what lies in a collection
    events/<Payload>.json                                       what travels on a stream
    asyncapi.json                                               which stream carries it, who writes, who reads
"""

import json
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from chimera.contracts import services
from chimera.contracts.base import NUMBER_ABS_MAX, Contract
from chimera.contracts.collections import COLLECTIONS, Collection
from chimera.contracts.documents import SYSTEM_STATES, LeaseState, SystemState
from chimera.contracts.flags import Flags
from chimera.contracts.messages import MESSAGES
from chimera.contracts.streams import STREAMS, Stream

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI_VERSION = "3.0.0"
CONTRACT_VERSION = "1.0.0"

BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


class WrittenForm(GenerateJsonSchema):
    """The schema of what we write. An optional field is absent or a value, never null, so null is no part of it.

    (Fields whose spec schema allows null say so themselves: `base.NullableNumber`, `base.NullableStr`.)
    """

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        written = super().generate_inner(schema)
        if schema["type"] != "decimal":
            return written
        # The generator forgets a Decimal's bounds because it leaves as a float. The one that all have is no news.
        bounds = {
            name: float(schema[key])
            for key, name in BOUNDS.items()
            if abs(schema.get(key, NUMBER_ABS_MAX)) < NUMBER_ABS_MAX
        }
        return {**written, **bounds}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        if written.get("default", "") is None:
            del written["default"]
        return written

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        written = super().model_schema(schema)
        promised = getattr(schema["cls"], "spec_required", ())
        if promised:
            required = written.get("required", [])
            written["required"] = [*required, *(name for name in promised if name not in required)]
        return written

    def encode_default(self, dft: Any) -> Any:
        return _numbers(dft)


def _numbers(value: Any) -> Any:
    """`value` as JSON, with amounts as numbers as they leave us (the generator's own way makes them text)."""
    match value:
        case Contract():
            return value.to_dict()
        case Decimal():
            return float(value)
        case dict():
            return {key: _numbers(item) for key, item in value.items()}
        case tuple() | list():
            return [_numbers(item) for item in value]
        case _:
            return value


def schema_of(contract: type[Contract], title: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of the wire form of `contract`."""
    return {"$schema": DIALECT, **_written(contract), "title": title}


def _written(contract: type[Contract]) -> dict[str, Any]:
    return contract.model_json_schema(by_alias=True, mode="serialization", schema_generator=WrittenForm)


def _system_state_schema(title: str) -> dict[str, Any]:
    """One of the states, told apart by key."""
    adapter: TypeAdapter[Any] = TypeAdapter(_union())
    return {
        "$schema": DIALECT,
        **adapter.json_schema(by_alias=True, mode="serialization", schema_generator=WrittenForm),
        "title": title,
    }


def _union() -> Any:
    union: Any = LeaseState
    for state in SYSTEM_STATES.values():
        union = union | state
    return union


def _document_schema(collection: Collection[Any]) -> dict[str, Any]:
    if collection.document is SystemState:
        return _system_state_schema(collection.name)
    return schema_of(collection.document, collection.name)


def _channel_id(stream: Stream) -> str:
    """`mkt:ticker:INSTR` as `mkt_ticker`: ids in AsyncAPI hold letters, digits, - and _."""
    return stream.base.strip(":").replace(":", "_")


def _channel(stream: Stream) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": "{env}:" + stream.base + ("{instr}" if stream.per_instrument else "{service}" * stream.per_service),
        "messages": {stream.payload.__name__: {"$ref": f"#/components/messages/{stream.payload.__name__}"}},
        "parameters": {"env": {"enum": ["prod", "stg", "dev"], "default": "dev"}},
        "description": (stream.payload.__doc__ or "").split("\n")[0],
        "x-broadcast": stream.broadcast,
        "x-maxlen": stream.maxlen,
        "x-readers": [services.group(reader) for reader in stream.readers],
        "x-writers": [services.group(writer) for writer in stream.writers],
    }
    if stream.per_instrument:
        channel["parameters"]["instr"] = {"description": "Hash tag with its braces: {FUT:BTCUSDT} or {SPOT:BTCUSDT}"}
    if stream.per_service:
        channel["parameters"]["service"] = {"enum": list(services.IDS)}
    return channel


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for stream in STREAMS.values():
        channel = _channel_id(stream)
        for action, ids in (("send", stream.writers), ("receive", stream.readers)):
            for service in ids:
                operations[f"{services.group(service)}.{action}.{channel}"] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{channel}"},
                }
    return operations


def asyncapi() -> dict[str, Any]:
    """Every stream as an AsyncAPI 3.0 document; payload schemas are carried inside it."""
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "Project Chimera",
            "version": CONTRACT_VERSION,
            "description": "An entry has the fields payload (JSON), type, v (1) and seq. Delivery is at least once.",
        },
        "defaultContentType": "application/json",
        "channels": {_channel_id(stream): _channel(stream) for stream in STREAMS.values()},
        "operations": _operations(),
        "components": {
            "messages": {
                name: {
                    "name": name,
                    "payload": {"schemaFormat": f"application/schema+json;version={DIALECT}", "schema": _inline(name)},
                }
                for name in MESSAGES
            }
        },
    }


def _inline(name: str) -> dict[str, Any]:
    """A message's schema with its own `$id`, so that references inside it stay inside it."""
    return {"$id": f"urn:chimera:event:{name}", **schema_of(MESSAGES[name], name)}


def as_text(value: dict[str, Any]) -> str:
    """The same bytes for the same value, whatever order it was made in."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def export() -> dict[str, str]:
    """Path to text of every file, paths relative to the export's folder and sorted."""
    files = {f"documents/{name}.json": _document_schema(collection) for name, collection in COLLECTIONS.items()}
    files["documents/config_flags.json"] = schema_of(Flags, "config_flags")
    files |= {f"events/{name}.json": schema_of(message, name) for name, message in MESSAGES.items()}
    files["asyncapi.json"] = asyncapi()
    return {path: as_text(files[path]) for path in sorted(files)}
