"""What may stand in a bundle, as a JSON Schema that an editor completes and checks by.

Owns what the contracts cannot say of themselves: which names a condition and an action have, that no other name means
anything, and the unit of each number. Only what can be checked without the exchange is in it; the rest is lint's.
"""

from typing import Any

from pydantic_core import core_schema

from chimera.contracts import services
from chimera.contracts.export import DIALECT, WrittenForm
from chimera.contracts.http.config import BundleDraft
from chimera.contracts.units import unit_of
from chimera.domain.decision.condition import OPERATORS
from chimera.domain.decision.rules import MAX_ADDS, MULT_RANGES
from chimera.domain.features.registry import FACTORS

TITLE = "Chimera configuration bundle"
_CONDITION = {"$ref": "#/$defs/Condition"}
_SCALAR = {"type": ["number", "string", "boolean"]}


class _DraftForm(WrittenForm):
    """What a person writes: everything has a default, and no name is passed over."""

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        written = super(WrittenForm, self).model_schema(schema)
        if "properties" in written:
            written["additionalProperties"] = False
            for name, field in written["properties"].items():
                _add_unit(name, field)
        return written


def draft_schema() -> dict[str, Any]:
    """The schema of `POST /bundles`, the same value each time."""
    written = BundleDraft.model_json_schema(by_alias=True, mode="serialization", schema_generator=_DraftForm)
    defs = written["$defs"]
    rule, applies, factor = defs["StrategyRule"], defs["Applies"], defs["Factor"]
    rule["properties"]["when"] = {**_CONDITION, "description": "When the rule acts: allOf, anyOf, not, or a leaf."}
    rule["properties"]["action"] = {"$ref": "#/$defs/Action"}
    rule["properties"]["priority"]["description"] = "Smaller is asked first, then by rule_id."
    applies["properties"]["services"]["items"] = {"enum": list(services.LEGAL_NAMES)}
    applies["properties"]["services"]["description"] = "Who acts by it; none means all. S3 alone acts by rules."
    applies["properties"]["symbols"]["description"] = "Such as BTCUSDT; none means every traded symbol."
    factor["properties"]["factor_id"]["examples"] = [spec.factor_id for spec in FACTORS]
    defs.pop("RuleAction", None)
    defs |= {"Condition": _condition(), "Leaf": _leaf(), "Action": _action()}
    written["properties"]["$schema"] = {"type": "string", "description": "Where the editor finds this schema."}
    for part, why in _PARTS.items():
        written["properties"][part]["description"] = why
    return {"$schema": DIALECT, **written, "title": TITLE}


_PARTS = {
    "flags": "Everything that a person changes at run time. What is not told has its default.",
    "rules": "What changes or refuses an entry. Not told: the rules of the first bundle.",
    "factors": "Which factors may decide. Not told: every factor that S2 computes.",
    "instruments": "The exchange's rules and our own gates of an instrument. None: the registry's hold.",
    "note": "Why this bundle; for whoever reads it later.",
}


def _add_unit(name: str, field: dict[str, Any]) -> None:
    unit = unit_of(name)
    if unit and field.get("type") in ("number", "integer"):
        field["x-unit"] = unit
        field["description"] = f"{field.get('description', '')} [{unit}]".strip()


def _condition() -> dict[str, Any]:
    some = {"type": "array", "minItems": 1, "items": _CONDITION}
    return {
        "oneOf": [
            _only({"allOf": {**some, "description": "All of these."}}),
            _only({"anyOf": {**some, "description": "At least one of these."}}),
            _only({"not": _CONDITION}),
            {"$ref": "#/$defs/Leaf"},
        ]
    }


def _only(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _leaf() -> dict[str, Any]:
    return _only(
        {
            "f": {
                "type": "string",
                "minLength": 1,
                "description": "A factor that is ENABLED in this bundle.",
                "examples": [spec.factor_id for spec in FACTORS],
            },
            "op": {"enum": list(OPERATORS)},
            "v": {
                "anyOf": [_SCALAR, {"type": "array", "minItems": 1, "items": _SCALAR}],
                "description": "A number for < <= > >=; a number, text, true or false for == !=; a list for in, notIn.",
            },
        }
    )


def _action() -> dict[str, Any]:
    kinds = [
        _only(
            {
                "type": {"const": kind},
                "value": {"type": "number", "minimum": low, "maximum": high, "x-unit": "factor"},
            }
        )
        for kind, (low, high) in MULT_RANGES.items()
    ]
    return {
        "description": "What the rule does to an entry.",
        "oneOf": [
            *kinds,
            _only({"type": {"const": "skip_entry"}, "value": {"type": "boolean"}}),
            _only({"type": {"const": "max_adds_override"}, "value": {"enum": list(MAX_ADDS)}}),
        ],
    }
