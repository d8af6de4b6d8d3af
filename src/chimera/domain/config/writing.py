"""A configuration written out for a person to change: YAML that `source_lines.read_yaml` reads back to the same.

Owns the look of the text: groups in blocks, what is small on one line, and no text that two readers would take for two
things. Nothing is left out and nothing is added.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

ON_ONE_LINE_CHARS = 72
"""A condition, a rule's action, a row of a table: small parts are easier to read on one line."""
BLOCKS = 2
"""Groups of the first levels are blocks, however small."""
WHOLE_BELOW = 1e15
"""A whole number is written without a point, up to where a float knows each of them."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./() -]*[A-Za-z0-9_)]|[A-Za-z_]")
_MEANT_OTHERWISE = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def write_yaml(content: Mapping[str, Any]) -> str:
    """`content` is plain JSON, its names in the order in which they shall stand."""
    return "".join(f"{line}\n" for line in _block(content, 0)) if content else "{}\n"


def _block(value: Any, depth: int) -> Iterator[str]:
    """Lines of a group or list that is not empty."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _headed(f"{_text(str(name))}:", part, depth)
    else:
        for part in value:
            lines = [_one_line(part)] if _is_small(part, depth) else list(_block(part, depth + 1))
            yield f"- {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])


def _headed(head: str, part: Any, depth: int) -> Iterator[str]:
    if _is_small(part, depth):
        yield f"{head} {_one_line(part)}"
    else:
        yield head
        yield from (f"  {line}" for line in _block(part, depth + 1))


def _is_small(part: Any, depth: int) -> bool:
    if not isinstance(part, Mapping | list | tuple) or not part:
        return True
    if depth < BLOCKS and any(isinstance(each, Mapping) for each in (part, *part)):
        return False
    return len(_one_line(part)) <= ON_ONE_LINE_CHARS


def _one_line(part: Any) -> str:
    if isinstance(part, Mapping):
        return "{" + ", ".join(f"{_text(str(name))}: {_one_line(each)}" for name, each in part.items()) + "}"
    if isinstance(part, list | tuple):
        return "[" + ", ".join(_one_line(each) for each in part) + "]"
    if part is None:
        return "null"
    if isinstance(part, bool):
        return "true" if part else "false"
    if isinstance(part, float) and part.is_integer() and abs(part) < WHOLE_BELOW:
        return str(int(part))
    return repr(part) if isinstance(part, int | float) else _text(str(part))


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and "  " not in text and text.lower() not in _MEANT_OTHERWISE:
        return text
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if char.isprintable():
        return char
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
