"""The `when` of a rule: what a person may write, and the three ways to ask whether it holds.

Owns conditions alone; what follows from one that holds is `rules`'. One tree, read once, gives

    closure    a function over one set of factors, for live decisions
    columns    an array over many sets at once, for research and dry runs
    leaves     each comparison with its value and whether it holds, for whoever asks why

All three say the same of the same values: numbers are compared as doubles. Source: v3.0 section 2.2.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Features = Mapping[str, Any]
Test = Callable[[Features], bool]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Scalar = float | str

_ORDERED: dict[str, Callable[[Any, Any], Any]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_EQUAL: dict[str, Callable[[Any, Any], Any]] = {"==": eq, "!=": ne}
_SETS = ("in", "notIn")
OPERATORS = (*_ORDERED, *_EQUAL, *_SETS)

JOINS = ("allOf", "anyOf")

DEPTH_MAX = 16
"""A condition deeper than this is a mistake, and recursion must end somewhere."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where (`when.allOf[0].op`), what stands there, and what to do."""

    path: str
    value: Any
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.value!r}: {self.remedy}"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One comparison. `value` is a double or a text, for `in` and `notIn` a tuple of them."""

    factor: str
    op: str
    value: Scalar | tuple[Scalar, ...]

    def holds(self, value: Any) -> bool:
        """Whether it holds for this value of the factor."""
        return _leaf_test(self)({self.factor: value})


@dataclass(frozen=True, slots=True)
class Join:
    """All of `parts`, or any of them; never without a part."""

    kind: Literal["allOf", "anyOf"]
    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Condition"


Condition = Leaf | Join | Not


def check_condition(node: object, path: str, depth: int = 0) -> list[Finding]:
    """Everything that is wrong with a condition as it is stored. Empty: `parse_condition` can read it."""
    if depth > DEPTH_MAX:
        return [Finding(path, "…", f"nest at most {DEPTH_MAX} deep")]
    if not isinstance(node, Mapping):
        return [Finding(path, node, "give allOf, anyOf, not, or a leaf {f, op, v}")]
    keys = sorted(str(key) for key in node)
    if len(keys) == 1 and keys[0] in JOINS:
        parts = node[keys[0]]
        if not isinstance(parts, list | tuple) or not parts:
            return [Finding(f"{path}.{keys[0]}", parts, "list at least one condition")]
        return [
            finding
            for i, part in enumerate(parts)
            for finding in check_condition(part, f"{path}.{keys[0]}[{i}]", depth + 1)
        ]
    if keys == ["not"]:
        return check_condition(node["not"], f"{path}.not", depth + 1)
    if keys == ["f", "op", "v"]:
        return _check_leaf(node, path)
    return [Finding(path, keys, "give exactly one of allOf, anyOf, not, or exactly f, op and v")]


def parse_condition(node: Mapping[str, Any]) -> Condition:
    """The tree of a condition that `check_condition` found nothing wrong with."""
    if "f" in node:
        value = node["v"]
        return Leaf(node["f"], node["op"], tuple(map(_scalar, value)) if node["op"] in _SETS else _scalar(value))
    if "not" in node:
        return Not(parse_condition(node["not"]))
    if "allOf" in node:
        return Join("allOf", tuple(map(parse_condition, node["allOf"])))
    return Join("anyOf", tuple(map(parse_condition, node["anyOf"])))


def leaves(node: Condition) -> Iterator[Leaf]:
    """Every comparison, in the order of writing."""
    if isinstance(node, Leaf):
        yield node
    elif isinstance(node, Not):
        yield from leaves(node.part)
    else:
        for part in node.parts:
            yield from leaves(part)


def closure(node: Condition) -> Test:
    """A function that says whether the condition holds. Every factor that it reads must be there."""
    if isinstance(node, Leaf):
        return _leaf_test(node)
    if isinstance(node, Not):
        inner = closure(node.part)
        return lambda features: not inner(features)
    # Two by two from the end: a pair of calls costs less than a loop over them.
    held = closure(node.parts[-1])
    for part in reversed(node.parts[:-1]):
        held = _both(closure(part), held) if node.kind == "allOf" else _either(closure(part), held)
    return held


def columns(node: Condition, table: Mapping[str, Floats]) -> Bools:
    """Where the condition holds, for columns of equal length. A row that lacks a factor (NaN) says nothing: whoever
    asks leaves it out."""
    if isinstance(node, Leaf):
        return _leaf_columns(node, table[node.factor])
    if isinstance(node, Not):
        return ~columns(node.part, table)
    held = columns(node.parts[0], table)
    for part in node.parts[1:]:
        other = columns(part, table)
        held = held & other if node.kind == "allOf" else held | other
    return held


def _scalar(value: Any) -> Scalar:
    # Numbers are compared as doubles everywhere, or a column would disagree with a closure about 2**53 + 1.
    return value if isinstance(value, str) else float(value)


def _both(first: Test, second: Test) -> Test:
    return lambda features: first(features) and second(features)


def _either(first: Test, second: Test) -> Test:
    return lambda features: first(features) or second(features)


def _leaf_test(leaf: Leaf) -> Test:
    factor, value = leaf.factor, leaf.value
    if isinstance(value, tuple):
        members = value
        if leaf.op == "in":
            return lambda features: features[factor] in members
        return lambda features: features[factor] not in members
    if leaf.op in _EQUAL:
        same = _EQUAL[leaf.op]
        return lambda features: bool(same(features[factor], value))
    ordered = _ORDERED[leaf.op]
    # A text is neither below nor above a number: such a leaf is false, as `==` between them is.
    return lambda features: not isinstance(features[factor], str) and ordered(features[factor], value)


def _leaf_columns(leaf: Leaf, column: Floats) -> Bools:
    value = leaf.value
    if isinstance(value, tuple):
        numbers = [each for each in value if not isinstance(each, str)]
        held = np.isin(column, numbers)
        return held if leaf.op == "in" else ~held
    if isinstance(value, str):
        # A column holds numbers, and no number is a text.
        return np.full(len(column), leaf.op == "!=")
    compared: Bools = (_EQUAL.get(leaf.op) or _ORDERED[leaf.op])(column, value)
    return compared


def is_number(value: object) -> bool:
    """A finite number that fits a double; True and False are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return isfinite(value)
    except OverflowError:
        return False


def _text_or_number(value: object) -> bool:
    return isinstance(value, str | bool) or is_number(value)


def _check_leaf(leaf: Mapping[str, Any], path: str) -> list[Finding]:
    found = []
    factor, op, value = leaf["f"], leaf["op"], leaf["v"]
    if not isinstance(factor, str) or factor == "":
        found.append(Finding(f"{path}.f", factor, "name a factor"))
    if not isinstance(op, str) or op not in OPERATORS:
        found.append(Finding(f"{path}.op", op, f"use one of {' '.join(OPERATORS)}"))
    elif op in _ORDERED and not is_number(value):
        found.append(Finding(f"{path}.v", value, f"{op} compares with a finite number"))
    elif op in _EQUAL and not _text_or_number(value):
        found.append(Finding(f"{path}.v", value, f"{op} compares with a number, a text, true or false"))
    elif op in _SETS and (
        not isinstance(value, list | tuple) or not value or not all(_text_or_number(item) for item in value)
    ):
        found.append(Finding(f"{path}.v", value, f"{op} takes a list of at least one number or text"))
    return found
