"""The base of everything that crosses a border: frozen models and exact numbers.

Owns how a value is written as JSON and read back. Knows no message and no document by name.
"""

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    ValidationInfo,
)
from pydantic_core import CoreSchema

NUMBER_ABS_MAX = Decimal("1e15")
"""Nothing that we owe is larger; beyond it a float loses whole units and JSON silently says null."""


class _LedgerRange:
    """Bounds every amount. Not a `Field(ge=…)`: pydantic would let it win over the narrower bound of a field."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        assert schema["type"] == "decimal", f"an amount is a Decimal, not {schema['type']}"
        return {"ge": -NUMBER_ABS_MAX, "le": NUMBER_ABS_MAX, **schema, "allow_inf_nan": False}


Number = Annotated[Decimal, _LedgerRange(), PlainSerializer(float, return_type=float, when_used="json")]
"""An exact amount that leaves as a JSON number. Quantise before storing: 15 digits survive, 17 do not."""

Estimate = Annotated[float, Field(allow_inf_nan=False)]
"""A measured or guessed figure (volatility, bps, a probability). NaN and infinity are refused."""

EpochMs = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
"""Milliseconds since 1970 UTC, up to the year 9999."""

EpochSec = Annotated[int, Field(ge=0, le=253_402_300_799)]
"""Seconds since 1970 UTC: the twin that a TTL index reads."""

Json = Any
"""A JSON value whose shape the contracts leave open."""

JsonObject = dict[str, Any]
"""A JSON object whose shape the contracts leave open."""

PriceQty = Annotated[tuple[Number, ...], Field(min_length=2, max_length=2)]
"""`[price, qty]`: one level of a book."""


def _or_null(schema: dict[str, Any]) -> None:
    schema["type"] = [schema["type"], "null"]


NullableNumber = Annotated[Number | None, Field(json_schema_extra=_or_null)]
"""A number that the spec's schema lets a writer spell as null. We leave it out instead and read both."""

NullableStr = Annotated[str | None, Field(json_schema_extra=_or_null)]
"""A string that the spec's schema lets a writer spell as null. We leave it out instead and read both."""

TWIN: int = Field(default=0, validate_default=True)
"""Default of a TTL twin: whatever is given, the twin is computed from its source, so the two cannot disagree."""


def seconds_of(field: str) -> BeforeValidator:
    """Fill a `*_sec` twin from `field` (epoch ms, declared before the twin), which may be absent."""

    def read(_given: object, info: ValidationInfo) -> int:
        return (info.data.get(field) or 0) // 1000

    return BeforeValidator(read)


class Contract(BaseModel):
    """A frozen value with the wire's own spelling. Unknown fields are ignored, so old readers survive new writers.

    One rule for absence: a field that is None is left out when written. Few of the spec's schemas allow null, all of
    them allow a missing optional field, and a reader of ours takes either.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        ser_json_inf_nan="null",
        allow_inf_nan=False,
    )

    def to_json(self) -> str:
        """The wire form: aliases, numbers as JSON numbers, no field that is None."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

    def to_dict(self) -> dict[str, Any]:
        """The wire form as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def but(self, **changes: Any) -> Self:
        """A validated copy with `changes`. (`model_copy(update=…)` does not validate.)"""
        return type(self).model_validate({**self.__dict__, **changes})


class Message(Contract):
    """Something told on a stream. The class name is the envelope's `type`."""


class Document(Contract):
    """Something kept in a collection. `_key` and `_rev` belong to the store, see `collections`."""

    key_field: ClassVar[str] = ""
    """The field whose value is `_key`; empty where `doc_key` composes it of several."""

    def doc_key(self) -> str:
        """The document's `_key`: derived from its content, so that writing twice is writing once."""
        return str(getattr(self, self.key_field))
