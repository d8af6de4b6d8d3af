"""Builds any contract from its own fields, so that a new field is tested the day it is added."""

from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from chimera.contracts.base import Contract

WORDS = st.text(max_size=12)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e12, 1e12) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)

JSON_OBJECTS = st.dictionaries(WORDS, JSON, max_size=3)


def instances(contract: type[Contract]) -> st.SearchStrategy[Contract]:
    """Valid values of `contract`; an optional field is told or left out."""
    needed = {name: _field(info) for name, info in contract.model_fields.items() if info.is_required()}
    optional = {name: _field(info) for name, info in contract.model_fields.items() if not info.is_required()}
    return st.fixed_dictionaries(needed, optional=optional).map(contract.model_validate)


def _field(info: FieldInfo) -> st.SearchStrategy[Any]:
    return _values(info.annotation, tuple(_flat(info.metadata)))


def _flat(metadata: Any) -> Iterator[Any]:
    """Bounds may hide in a nested `Field(...)`."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _flat(item.metadata)
        else:
            yield item


def _values(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(args[0], (*_flat(args[1:]), *metadata))
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, UnionType):
        return st.one_of([_values(arg, metadata) for arg in args if arg is not NoneType])
    if origin is tuple:
        return st.lists(_values(args[0], ()), min_size=_min_len(metadata), max_size=_max_len(metadata)).map(tuple)
    if origin is dict:
        value = JSON if args[1] is Any else _values(args[1], ())
        return st.dictionaries(_values(args[0], ()), value, max_size=3)
    if annotation is Any:
        return JSON
    return _plain(annotation, metadata)


def _plain(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    low, high = _bounds(metadata)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(int(max(low, -(2**53))), int(min(high, 2**53)))
    if annotation is float:
        return st.floats(float(low), float(high), allow_nan=False, allow_infinity=False)
    if annotation is Decimal:
        # Eight places and a million: what survives the way through a JSON number exactly.
        return st.decimals(max(low, Decimal(-1_000_000)), min(high, Decimal(1_000_000)), places=8)
    if annotation is str:
        return st.text(min_size=_min_len(metadata), max_size=20)
    if annotation is SecretStr:
        return WORDS.map(SecretStr)
    if issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    assert issubclass(annotation, Contract), f"no strategy for {annotation}"
    return instances(annotation)


def _bounds(metadata: tuple[Any, ...]) -> tuple[Decimal, Decimal]:
    low, high, least = Decimal("-1e15"), Decimal("1e15"), Decimal("0.0001")
    for item in metadata:
        match item:
            case Ge(bound):
                low = max(low, Decimal(str(bound)))
            case Gt(bound):
                low = max(low, Decimal(str(bound)) + least)
            case Le(bound):
                high = min(high, Decimal(str(bound)))
            case Lt(bound):
                high = min(high, Decimal(str(bound)) - least)
    return low, high


def _min_len(metadata: tuple[Any, ...]) -> int:
    return max((item.min_length for item in metadata if isinstance(item, MinLen)), default=0)


def _max_len(metadata: tuple[Any, ...]) -> int:
    return min((item.max_length for item in metadata if isinstance(item, MaxLen)), default=3)
