"""Everything that may be set, one row each: for the page of flags, and for whoever shows an option to a person.

Owns how a field's unit, range and default read. The fields themselves are in `flags` and `settings`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import annotated_types as bounds
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from chimera.contracts.base import Contract
from chimera.contracts.flags import Flags
from chimera.contracts.settings import SETTINGS, Settings
from chimera.contracts.units import unit_of


@dataclass(frozen=True, slots=True)
class OptionRow:
    """One thing that may be set. `path` is dotted, `[]` stands for each row of a list; `also` names a shared variable
    behind one of a service's own."""

    path: str
    unit: str
    range: str
    default: str
    reason: str
    also: str = ""


_PLACE = re.compile(r"\[\d+\]")


def flag_rows() -> tuple[OptionRow, ...]:
    """Every flag of a bundle, in the order of the contract."""
    return tuple(_flags(Flags, "", Flags(), ""))


@cache
def _flag_rows_by_path() -> dict[str, OptionRow]:
    return {row.path: row for row in flag_rows()}


def flag_row(path: str) -> OptionRow | None:
    """The row of one flag by its dotted path, such as `position.tiers[0].lock_roe`; None where there is none."""
    return _flag_rows_by_path().get(_PLACE.sub("[]", path))


def flag_unit(path: str) -> str:
    """The unit of a flag by its path; of anything else by its name."""
    row = flag_row(path)
    return unit_of(path.rpartition(".")[2]) if row is None else row.unit


def variable_rows() -> dict[str, tuple[OptionRow, ...]]:
    """Every environment variable by service id, in the order of the contract."""
    return {service: _variables(settings) for service, settings in SETTINGS.items()}


def _flags(model: type[Contract], path: str, given: Contract | None, why: str) -> Iterator[OptionRow]:
    """`given` is what stands there by default, `why` the reason of the group around it."""
    for name, info in model.model_fields.items():
        here = f"{path}.{info.serialization_alias or name}".lstrip(".")
        group = _model_of(info.annotation)
        default = info.get_default() if given is None else getattr(given, name)
        reason = info.description or ""
        if group is not None and get_origin(info.annotation) is None:
            yield from _flags(group, here, default, reason)
            continue
        unit = unit_of(name)
        if given is not None and info.is_required():
            # A limit that many groups have: what it is a limit of only the group says.
            unit, reason = unit or unit_of(path.rpartition(".")[2]), f"{reason} {why}"
        yield OptionRow(here, unit, range_of(info), shown(default), reason)
        if group is not None:
            yield from _flags(group, f"{here}[]", None, reason)


def _variables(settings: type[Settings]) -> tuple[OptionRow, ...]:
    return tuple(
        OptionRow(
            path=variable.name,
            unit=unit_of(variable.field),
            range=range_of(settings.model_fields[variable.field]),
            default="" if variable.secret else shown(variable.default),
            reason=variable.reason,
            also=variable.shared or "",
        )
        for variable in settings.variables()
    )


def _model_of(annotation: Any) -> type[Contract] | None:
    """The model that a field holds, or that the members of its list are."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, Contract):
            return each
    return None


def range_of(info: FieldInfo) -> str:
    """`0 … 1000`, `> 0`, `DIRECT, AFTER_CANCEL`; empty where nothing bounds it."""
    told = _choices(info.annotation)
    if told:
        return ", ".join(told)
    low = next((_edge(each) for each in info.metadata if isinstance(each, bounds.Ge | bounds.Gt)), None)
    high = next((_edge(each) for each in info.metadata if isinstance(each, bounds.Le | bounds.Lt)), None)
    if low and high and low[0] == "≥" and high[0] == "≤":
        return f"{low[1]} … {high[1]}"
    if low or high:
        return ", ".join(f"{sign} {value}" for sign, value in filter(None, (low, high)))
    pattern = next((each.pattern for each in info.metadata if getattr(each, "pattern", None)), None)
    return f"`{pattern}`" if pattern else ""


def _edge(bound: bounds.Ge | bounds.Gt | bounds.Le | bounds.Lt) -> tuple[str, str]:
    match bound:
        case bounds.Ge():
            return "≥", shown(bound.ge)
        case bounds.Gt():
            return ">", shown(bound.gt)
        case bounds.Le():
            return "≤", shown(bound.le)
        case _:
            return "<", shown(bound.lt)


def _choices(annotation: Any) -> tuple[str, ...]:
    if annotation is bool:
        return ("true", "false")
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(str(each.value) for each in annotation)
    return ()


def shown(value: Any) -> str:
    """A value as a person writes it into a bundle or a variable."""
    match value:
        case bool():
            return "true" if value else "false"
        case NoneType():
            return ""
        case Enum():
            return str(value.value)
        case Decimal() | float() | int():
            # Not in powers of ten: 20000 and not 2e+04.
            return f"{Decimal(str(value)):f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"
        case SecretStr():
            return ""
        case Contract():
            return "{" + ", ".join(f"{name}: {shown(each)}" for name, each in value.to_dict().items()) + "}"
        case dict():
            return "{" + ", ".join(f"{name}: {shown(each)}" for name, each in value.items()) + "}"
        case tuple() | list():
            return "[" + ", ".join(map(shown, value)) + "]"
        case _:
            # A field without a default: a row of a list gives it.
            return "" if repr(value) == "PydanticUndefined" else str(value)
