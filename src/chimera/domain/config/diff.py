"""What differs between two configurations, by meaning and not by place.

Owns how two bundles are compared: flags by their dotted path; rules, factors and instruments by their own name, so that
a list in another order differs in nothing (rules go by priority). A value is compared as JSON: 1.0 is 1, and true is
not. `words` says a difference in a sentence.

    differences   from one content to another, in the order of the parts and then by name
    applied       the first content with the differences put in: the second
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.config.bundle import canonical_json

PARTS = ("flags", "rules", "factors", "instruments")
NAMED = {"rules": "rule_id", "factors": "factor_id", "instruments": ""}
"""Lists whose members have a name; an instrument's is its market and symbol."""


class Gone(Enum):
    """Stands where a side has nothing at all; null is a value."""

    GONE = "GONE"


GONE = Gone.GONE
Step = str | int


@dataclass(frozen=True, slots=True)
class Difference:
    """One place at which two contents differ. `before` or `after` is GONE where that side has nothing there.

    `beside` is what the second content has around the place: a number alone says little.
    """

    steps: tuple[Step, ...]
    before: Any
    after: Any
    beside: Any = field(default=None, compare=False, repr=False)

    @property
    def path(self) -> str:
        """`flags.risk.slip_bp_max`, `rules[R-001].when.v`, `instruments[FUT-BTCUSDT].spread_bp_limit`."""
        text = ""
        for depth, step in enumerate(self.steps):
            of_a_list = isinstance(step, int) or (depth == 1 and self.steps[0] in NAMED)
            text += f"[{step}]" if of_a_list else f".{step}" if text else str(step)
        return text

    @property
    def mirrored(self) -> "Difference":
        return Difference(self.steps, self.after, self.before)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """From `before` to `after`, each a bundle or a draft as JSON. What is neither flags nor a list is not compared."""
    one, other = _by_name(before), _by_name(after)
    return tuple(found for part in PARTS for found in _between((part,), one[part], other[part]))


def applied(content: Mapping[str, Any], changes: Sequence[Difference]) -> dict[str, Any]:
    """`content` with `changes` put in. Lists with names come out sorted by name.

    Raises:
        ValueError: a change says another value than stands there: it was made for another content.
    """
    whole = _by_name(content)
    for change in changes:
        whole = _with(whole, change.steps, change)
    return {part: _listed(whole[part]) if part in NAMED else whole[part] for part in PARTS}


def same(one: Any, other: Any) -> bool:
    """Equal as JSON."""
    if one is GONE or other is GONE:
        return one is other
    return canonical_json(one) == canonical_json(other)


def _by_name(content: Mapping[str, Any]) -> dict[str, Any]:
    flags = content.get("flags", {})
    return {"flags": flags} | {part: _named(part, content.get(part, ())) for part in NAMED}


def _named(part: str, members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for member in members:
        name = (
            str(member[NAMED[part]])
            if NAMED[part]
            else InstrumentKey(Market(member["market"]), member["symbol"]).doc_key
        )
        # A draft may name a thing twice; lint says so, and both are shown.
        count = sum(key == name or key.startswith(f"{name}#") for key in found)
        found[name if count == 0 else f"{name}#{count + 1}"] = member
    return found


def _listed(members: Mapping[str, Any]) -> list[Any]:
    return [members[name] for name in sorted(members)]


def _between(steps: tuple[Step, ...], before: Any, after: Any, beside: Any = None) -> Iterator[Difference]:
    if same(before, after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping) and not _other_condition(steps, before, after):
        for name in sorted({*before, *after}):
            yield from _between((*steps, name), before.get(name, GONE), after.get(name, GONE), after)
        return
    if _alike(before, after):
        # Of a table such as the tiers each row has its place; a list that grew or shrank is told whole.
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _between((*steps, place), old, new, new)
        return
    yield Difference(steps, before, after, beside)


def _alike(before: Any, after: Any) -> bool:
    return (
        isinstance(before, list | tuple)
        and isinstance(after, list | tuple)
        and len(before) == len(after)
        and all(isinstance(each, Mapping) for each in (*before, *after))
    )


def _other_condition(steps: tuple[Step, ...], before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a part of a rule's `when` asks something else, not only with another number."""
    if len(steps) < 3 or steps[0] != "rules" or steps[2] != "when":
        return False
    if set(before) != set(after):
        return True
    asked = ("f", "op")
    return any(before.get(name) != after.get(name) for name in asked)


def _with(whole: Any, steps: tuple[Step, ...], change: Difference) -> Any:
    if not steps:
        if not same(whole, change.before):
            raise ValueError(f"{change.path} is {whole!r} here and {change.before!r} in the change")
        return change.after
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        return [_with(each, rest, change) if place == step else each for place, each in enumerate(whole)]
    below = _with(whole.get(step, GONE), rest, change)
    return {**{name: each for name, each in whole.items() if name != step}, **({} if below is GONE else {step: below})}
