"""A bundle as a person writes it: YAML or JSON text, read strictly, and the line on which each part of it stands.

Owns what a text may hold. YAML is read as a person means it: `on` and 2026-11-21 are texts, 12:30 is no number, 010 is
refused because half of its readers take it for eight. A name that stands twice is refused with its line, as is
whatever only YAML's machinery could have meant (tags, merges, a second document). Aliases are read, within a bound
that a bomb of them exceeds.

    read_yaml    the value of a text
    read_json    the value of a text; JSON's own words for what is wrong
    lines_of     path to line (1-based), for either
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

import yaml

CHARS_MAX = 200_000
"""A bundle with a hundred rules has a third of it."""
PARTS_MAX = 50_000
"""Parts that a text may unfold to; an alias counts with all that it stands for."""
DEPTH_MAX = 40
"""Deeper than any bundle; a text that holds itself has no bottom."""

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
_FLOAT = re.compile(r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)")
_OTHER_BASE = re.compile(r"[-+]?0[0-9]+|[-+]?0[xXoObB][0-9A-Fa-f]+")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)
_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_WORDS = {"null": None, "~": None, "": None, "true": True, "false": False}
DIGITS_MAX = 40
"""Of a whole number; Python refuses to read a few thousand, and nobody owes so much."""


class SourceError(ValueError):
    """A text that is no bundle; `line` (1-based) where that is known."""

    def __init__(self, line: int | None, why: str) -> None:
        super().__init__(why if line is None else f"line {line}: {why}")
        self.line = line
        self.why = why


def read_yaml(text: str) -> Any:
    """
    Raises:
        SourceError: naming the line, what stands there and what to write instead.
    """
    node = _composed(text)
    return None if node is None else _Reader().value(node, 0)


def read_json(text: str) -> Any:
    """
    Raises:
        SourceError: naming the line, what stands there and what to write instead.
    """
    if len(text) > CHARS_MAX:
        raise SourceError(None, f"the text has {len(text)} characters; at most {CHARS_MAX} are read")
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise SourceError(error.lineno, f"no JSON: {error.msg}") from error
    except RecursionError as error:
        raise SourceError(None, "it is nested too deeply to be read") from error
    except _Twice as twice:
        raise SourceError(_second_line_of(text, twice.name), f"{twice.name!r} stands twice; keep one") from None
    except ValueError as error:
        raise SourceError(None, str(error)) from error


def lines_of(text: str) -> Mapping[str, int]:
    """Where each part of a text that could be read begins: `rules[0].when` to its line. The whole is ``""``."""
    try:
        node = _composed(_as_yaml(text))
    except SourceError:
        return {}
    return {} if node is None else dict(_lines(node, "", 0, [0]))


def _as_yaml(text: str) -> str:
    """JSON is YAML but for tabs between its parts (inside its strings there are none) and halves of characters."""
    return _HALF.sub("?", text.replace("\t", " "))


def line_of(lines: Mapping[str, int], path: str) -> int | None:
    """The line of `path`, or of the nearest part around it that the text has."""
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get("")


class _Twice(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(name)
        found[name] = value
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number that anybody can trade on")


def _second_line_of(text: str, name: str) -> int | None:
    """Where a name stands twice in one object of JSON."""
    try:
        node = _composed(_as_yaml(text))
        if node is not None:
            _Reader().value(node, 0)
    except SourceError as error:
        return error.line if name in error.why else None
    return None


@dataclass(slots=True)
class _Node:
    """One part of the text: a scalar's text, the pairs of a group, or the members of a list."""

    kind: Literal["scalar", "group", "list"]
    line: int
    text: str = ""
    quoted: bool = False
    pairs: list[tuple["_Node", "_Node"]] = field(default_factory=list)
    members: list["_Node"] = field(default_factory=list)
    open_key: "_Node | None" = None

    def take(self, below: "_Node") -> None:
        if self.kind == "list":
            self.members.append(below)
        elif self.open_key is None:
            self.open_key = below
        else:
            self.pairs.append((self.open_key, below))
            self.open_key = None


def _composed(text: str) -> _Node | None:
    """The one document of `text` as nodes; None where it holds nothing.

    Built from events, without recursion: libyaml's own composer ends the process where brackets are nested too deeply.
    """
    if len(text) > CHARS_MAX:
        raise SourceError(None, f"the text has {len(text)} characters; at most {CHARS_MAX} are read")
    try:
        return _compose(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it cannot be read"
        # What is missing at the end is missed on the line after it.
        line = None if mark is None else min(mark.line + 1, text.rstrip().count("\n") + 1)
        raise SourceError(line, f"no YAML: {problem}") from error
    except yaml.YAMLError as error:
        raise SourceError(None, f"no YAML: {str(error).splitlines()[0]}") from error


def _compose(events: Iterable[Any]) -> _Node | None:
    root: _Node | None = None
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    documents = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise SourceError(line, "a second document begins; send one")
            continue
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            stack.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        node = _node(event, line, anchors, stack)
        if stack:
            stack[-1].take(node)
        else:
            root = node
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append(node)
            if len(stack) > DEPTH_MAX:
                raise SourceError(line, f"it is nested deeper than {DEPTH_MAX}; write less")
    return root


def _node(event: Any, line: int, anchors: dict[str, _Node], stack: Sequence[_Node]) -> _Node:
    if isinstance(event, yaml.AliasEvent):
        known = anchors.get(str(event.anchor))
        if known is None:
            raise SourceError(line, f"nothing is named &{event.anchor}")
        if any(each is known for each in stack):
            raise SourceError(line, f"*{event.anchor} stands inside of what it names")
        return known
    if event.tag is not None:
        raise SourceError(line, f"the tag {event.tag!r} means nothing here; leave it out")
    if isinstance(event, yaml.ScalarEvent):
        node = _Node("scalar", line, text=str(event.value), quoted=bool(event.style))
    else:
        node = _Node("group" if isinstance(event, yaml.MappingStartEvent) else "list", line)
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Only its events are used; what a scalar means is decided here."""


class _Reader:
    """Nodes to values, counting what aliases unfold to."""

    def __init__(self) -> None:
        self._parts = 0

    def value(self, node: _Node, depth: int) -> Any:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise SourceError(None, f"it unfolds to more than {PARTS_MAX} parts: write fewer aliases")
        if depth > DEPTH_MAX:
            raise SourceError(node.line, f"it is nested deeper than {DEPTH_MAX}; write less")
        if node.kind == "scalar":
            return _scalar(node)
        if node.kind == "list":
            return [self.value(each, depth + 1) for each in node.members]
        found: dict[str, Any] = {}
        for key, value in node.pairs:
            if key.kind != "scalar":
                raise SourceError(key.line, "a name is a text, not a list or a group")
            if key.text == "<<" and not key.quoted:
                raise SourceError(
                    key.line, "groups are not merged (<<); write the fields out, or alias the whole value"
                )
            if key.text in found:
                raise SourceError(key.line, f"{key.text!r} stands twice; keep one")
            found[key.text] = self.value(value, depth + 1)
        return found


def _scalar(node: _Node) -> Any:
    text = node.text
    if node.quoted:
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _OTHER_BASE.fullmatch(text):
        raise SourceError(node.line, f"{text} is one number to some and another to others; write it plainly")
    if _INT.fullmatch(text):
        if len(text) > DIGITS_MAX:
            raise SourceError(node.line, f"{text[:DIGITS_MAX]}… is larger than any number that can be read")
        return int(text)
    if _NO_NUMBER.fullmatch(text):
        raise SourceError(node.line, f"{text} is not a number that anybody can trade on")
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not isfinite(number):
            raise SourceError(node.line, f"{text} is larger than any number that can be read")
        return number
    return text


def _lines(node: _Node, path: str, depth: int, parts: list[int]) -> Iterator[tuple[str, int]]:
    parts[0] += 1
    if depth > DEPTH_MAX or parts[0] > PARTS_MAX:
        return
    yield path, node.line
    for key, value in node.pairs:
        here = f"{path}.{key.text}" if path else key.text
        yield from _lines(value, here, depth + 1, parts)
        # A person looks for the name, which stands before its value.
        yield here, key.line
    for place, each in enumerate(node.members):
        yield from _lines(each, f"{path}[{place}]", depth + 1, parts)
