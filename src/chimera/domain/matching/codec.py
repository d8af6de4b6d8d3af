"""How the matching's records become JSON values and come back exactly: decimals as strings, enums as their words."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Row = dict[str, Any]
"""One record as JSON values."""

_PLAIN = frozenset({str, int, bool, float, type(None)})
"""Exactly these types are JSON values already; most fields of an order are."""

# What a dataclass looks like never changes while the program runs; asking typing again costs a hundred times more.
_NAMES: dict[type[Any], tuple[str, ...]] = {}
_READERS: dict[type[Any], dict[str, Callable[[Any], Any]]] = {}


def to_row(record: Any) -> Row:
    """Every field of a dataclass, by name."""
    return {
        name: value if type(value := getattr(record, name)) in _PLAIN else _encode(value)
        for name in _names(type(record))
    }


def from_row(kind: type[T], row: Mapping[str, Any]) -> T:
    """The record that `to_row` wrote. A name that an older writer did not know keeps its default."""
    return kind(**{name: read(row[name]) for name, read in _readers(kind).items() if name in row})


def _encode(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    return value.value if isinstance(value, Enum) else value


def _names(kind: type[Any]) -> tuple[str, ...]:
    if kind not in _NAMES:
        _NAMES[kind] = tuple(field.name for field in fields(kind))
    return _NAMES[kind]


def _readers(kind: type[Any]) -> dict[str, Callable[[Any], Any]]:
    if kind not in _READERS:
        hints = get_type_hints(kind)
        _READERS[kind] = {name: _reader(hints[name]) for name in _names(kind)}
    return _READERS[kind]


def _reader(hint: Any) -> Callable[[Any], Any]:
    if get_origin(hint) in (Union, UnionType):
        (inner,) = [arg for arg in get_args(hint) if arg is not type(None)]
        read = _reader(inner)
        return lambda value: None if value is None else read(value)
    if isinstance(hint, type) and issubclass(hint, (Decimal, Enum)):
        return hint
    return _same


def _same(value: Any) -> Any:
    return value
