"""A configuration in plain words: what a rule asks and does, and one sentence for each difference.

Owns the sentences. Which differences there are is `diff`'s.
"""

from collections.abc import Callable, Mapping
from typing import Any

from chimera.contracts.option_rows import flag_unit
from chimera.contracts.units import unit_of
from chimera.domain.config.diff import GONE, Difference

_OPERATORS = {
    "<": "below",
    "<=": "at most",
    ">": "above",
    ">=": "at least",
    "==": "exactly",
    "!=": "not",
    "in": "one of",
    "notIn": "none of",
}
_EFFECTS: dict[str, Callable[[Any], str]] = {
    "size_mult": lambda value: f"multiplies the size by {_plain(value)}",
    "tp_mult": lambda value: f"multiplies the target by {_plain(value)}",
    "sl_mult": lambda value: f"multiplies the stop distance by {_plain(value)}",
    "skip_entry": lambda value: "refuses the entry" if value is True else "refuses nothing",
    "max_adds_override": lambda value: f"allows {_plain(value)} adds",
}
_UNSAID = ("", "count", "factor", "fraction", "fraction of margin", "probability")
"""Units that a sentence need not repeat after a number."""


def sentence(change: Difference) -> str:
    """`R-001 fires above 1.5 bps, before 2 bps`."""
    part, *rest = change.steps
    if not rest:
        return _value_changed(str(part), unit_of(str(part)), change)
    name, inner = str(rest[0]), rest[1:]
    match part:
        case "rules":
            return _rule(name, inner, change)
        case "factors" | "instruments":
            return _entry("factor" if part == "factors" else "instrument", name, inner, change)
        case _:
            path = change.path.removeprefix("flags.")
            return _value_changed(path, flag_unit(path), change)


def rule_in_words(rule: Mapping[str, Any]) -> str:
    """`fires where spread_bps above 1.5 bps, multiplies the size by 0.8, everywhere`."""
    off = "" if rule.get("status") == "ENABLED" else " (switched off)"
    return f"fires where {condition(rule.get('when'))}, {_effect(rule.get('action'))}, {_where(rule)}{off}"


def condition(node: Any) -> str:
    """A rule's `when` as one phrase; a part that is no condition is shown as it stands."""
    if not isinstance(node, Mapping):
        return repr(node)
    if "f" in node:
        return f"{node['f']} {_comparison(node)}"
    if "not" in node:
        return f"not ({condition(node['not'])})"
    for join, word in (("allOf", " and "), ("anyOf", " or ")):
        if isinstance(node.get(join), list | tuple):
            return word.join(_grouped(part) for part in node[join])
    return repr(dict(node))


def _grouped(node: Any) -> str:
    text = condition(node)
    joins = isinstance(node, Mapping) and any(len(node.get(join, ())) > 1 for join in ("allOf", "anyOf"))
    return f"({text})" if joins else text


def _comparison(leaf: Mapping[str, Any]) -> str:
    value = leaf.get("v")
    return f"{_OPERATORS.get(str(leaf.get('op')), leaf.get('op'))} {_with_unit(value, unit_of(str(leaf.get('f'))))}"


def _effect(action: Any) -> str:
    kind = action.get("type") if isinstance(action, Mapping) else None
    effect = _EFFECTS.get(str(kind))
    return f"does {action!r}" if effect is None else effect(action.get("value"))


def _where(rule: Mapping[str, Any]) -> str:
    symbols = (rule.get("applies") or {}).get("symbols") or ()
    return f"for {', '.join(map(str, symbols))}" if symbols else "everywhere"


def _rule(name: str, inner: list[Any], change: Difference) -> str:
    if not inner:
        if change.before is GONE:
            return f"{name} is new: it {rule_in_words(change.after)}"
        return f"{name} is gone: it {rule_in_words(change.before)}" if change.after is GONE else f"{name} is another"
    match inner:
        case ["when", "v"]:
            now = _comparison(change.beside)
            return f"{name} fires at {change.beside['f']} {now}, before {_plain(change.before)}"
        case ["when", *_, "v"]:
            return f"{name} asks {condition(change.beside)}, before {_plain(change.before)}"
        case ["when", *_] if GONE not in (change.before, change.after):
            return f"{name} fires where {condition(change.after)}, before where {condition(change.before)}"
        case ["status"]:
            return f"{name} is switched {'on' if change.after == 'ENABLED' else 'off'}"
        case ["action", "value"]:
            return f"{name} {_effect(change.beside)}, before {_plain(change.before)}"
        case ["applies", "symbols"]:
            return f"{name} applies to {_plain(change.after) or 'every symbol'}, before to " + (
                _plain(change.before) or "every symbol"
            )
    return _value_changed(f"{name}: {'.'.join(map(str, inner))}", unit_of(str(inner[-1])), change)


def _entry(kind: str, name: str, inner: list[Any], change: Difference) -> str:
    if not inner:
        state = "new" if change.before is GONE else "gone" if change.after is GONE else "another"
        return f"{kind} {name} is {state}"
    if inner == ["status"]:
        return f"{kind} {name} is switched {'on' if change.after == 'ENABLED' else 'off'}"
    return _value_changed(f"{kind} {name}: {'.'.join(map(str, inner))}", unit_of(str(inner[-1])), change)


def _value_changed(what: str, unit: str, change: Difference) -> str:
    if change.before is GONE:
        return f"{what} is {_with_unit(change.after, unit)}, before not told"
    if change.after is GONE:
        return f"{what} is not told any more, before {_with_unit(change.before, unit)}"
    return f"{what} is {_with_unit(change.after, unit)}, before {_with_unit(change.before, unit)}"


def _with_unit(value: Any, unit: str) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{_plain(value)} {unit}" if number and unit not in _UNSAID else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(each) for each in value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} {_plain(each)}" for name, each in value.items()) + "}"
    return "nothing" if value is None else str(value)
