"""Rules that can be used, and yet do not do what their writer must have meant.

Owns the warnings about rules: what never or always holds, what changes nothing, what another rule makes idle. Nothing
here keeps a bundle from coming into force; each warning is exact in the sense of `reach`, so that people go on reading
them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from chimera.contracts.documents.config import Factor, StrategyRule
from chimera.contracts.flags import Flags
from chimera.domain.config.reach import Range, always, never, space_of
from chimera.domain.config.words import condition as in_words
from chimera.domain.decision.condition import Condition, Finding, Join, Not, leaves
from chimera.domain.decision.rules import MULT_RANGES, Rule, parse_rule
from chimera.domain.features.registered import values_of
from chimera.domain.features.registry import FACTORS

_NO_EFFECT = 1.0
_READER = "s3"
"""Who acts by rules."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class _Told:
    """A rule as it is told, with what it means."""

    place: int
    body: StrategyRule
    rule: Rule

    @property
    def path(self) -> str:
        return f"rules[{self.place}]"

    @property
    def skips(self) -> bool:
        return self.rule.action == "skip_entry" and bool(self.rule.value)


def ranges_of(factors: Sequence[Factor]) -> dict[str, Range]:
    """Least and greatest value of each factor that S2 computes. Of its own factors its own range holds, whatever a
    bundle says."""
    known = {factor.factor_id: values for factor in factors if (values := values_of(factor)) is not None}
    return known | {spec.factor_id: spec.range for spec in FACTORS}


def nonsense(flags: Flags, rules: Sequence[StrategyRule], factors: Sequence[Factor]) -> tuple[Finding, ...]:
    """Warnings about rules in which nothing is wrong."""
    ranges = ranges_of(factors)
    told = [_Told(place, body, parse_rule(body.to_dict())) for place, body in enumerate(rules)]
    acting = [
        each
        for each in told
        if each.rule.enabled and any(each.rule.applies_to(symbol, _READER) for symbol in flags.strategy.markets)
    ]
    found = [*_redefined(factors)]
    found += [finding for each in told for finding in _alone(each, flags, ranges)]
    found += _twice(acting, ranges)
    found += _after_a_refusal(acting, flags, ranges)
    found += _cut(acting, flags, ranges)
    return tuple(found)


def _redefined(factors: Sequence[Factor]) -> Iterator[Finding]:
    """A factor of S2's own with another definition or range: S2 goes on by its own."""
    for place, factor in enumerate(factors):
        spec = next((spec for spec in FACTORS if spec.factor_id == factor.factor_id), None)
        if spec is None:
            continue
        own = f"S2 computes {spec.factor_id} by its own"
        another = "give another id to a factor of yours"
        if factor.definition != spec.definition:
            yield Finding(
                f"factors[{place}].definition", factor.definition, f"{own} definition, {spec.definition}: {another}"
            )
        if factor.range is not None and factor.range != spec.range:
            yield Finding(
                f"factors[{place}].range",
                list(factor.range),
                f"{own} range, {spec.range[0]:g} to {spec.range[1]:g}: {another}",
            )


def _alone(told: _Told, flags: Flags, ranges: Mapping[str, Range]) -> Iterator[Finding]:
    """About one rule, whatever the others are."""
    rule, path, words = told.rule, f"{told.path}.when", in_words(told.body.when)
    if never(rule.condition, {}):
        yield Finding(
            path, words, f"it contradicts itself and never holds{_unlimited(rule)}: mend it, or drop the rule"
        )
    elif never(rule.condition, ranges):
        yield Finding(path, words, f"it never holds{_unlimited(rule)}: {_limits(rule.condition, ranges)}")
    elif always(rule.condition, ranges):
        if told.skips:
            yield Finding(path, words, f"it always holds: nothing is opened {_where(rule)}")
        else:
            yield Finding(path, words, f"it always holds: the rule acts on every entry {_where(rule)}")
    else:
        yield from _parts(rule.condition, told.body.when, path, ranges)
    if not rule.enabled:
        return  # It may wait for what is not there yet.
    if (rule.action in MULT_RANGES and rule.value == _NO_EFFECT) or (rule.action == "skip_entry" and not rule.value):
        yield Finding(f"{told.path}.action.value", told.body.action.value, f"{rule.action} of this value does nothing")
    if rule.services and _READER not in rule.services:
        services = ", ".join(told.body.applies.services)
        yield Finding(f"{told.path}.applies.services", services, "only s3-strategy acts by rules: name it")
    for place, symbol in enumerate(rule.symbols):
        if not flags.strategy.markets.get(symbol):
            yield Finding(
                f"{told.path}.applies.symbols[{place}]", symbol, "not traded: flags.strategy.markets names no market"
            )


def _unlimited(rule: Rule) -> str:
    return ", so that it limits no adds" if rule.action == "max_adds_override" else ""


def _limits(condition: Condition, ranges: Mapping[str, Range]) -> str:
    factors = dict.fromkeys(leaf.factor for leaf in leaves(condition))
    return "; ".join(
        f"{factor} is from {ranges[factor][0]:g} to {ranges[factor][1]:g}" for factor in factors if factor in ranges
    )


def _where(rule: Rule) -> str:
    return f"in {', '.join(rule.symbols)}" if rule.symbols else "anywhere"


def _parts(condition: Condition, node: Any, path: str, ranges: Mapping[str, Range]) -> Iterator[Finding]:
    """Parts of a condition that decide nothing in it; `node` is the condition as it is told."""
    if isinstance(condition, Not):
        yield from _parts(condition.part, node["not"], f"{path}.not", ranges)
    if not isinstance(condition, Join):
        return
    kept: list[Condition] = []
    for place, part in enumerate(condition.parts):
        here = f"{path}.{condition.kind}[{place}]"
        words = in_words(node[condition.kind][place])
        others = (*kept, *condition.parts[place + 1 :])
        if condition.kind == "anyOf" and never(part, ranges):
            yield Finding(here, words, f"this part never holds: leave it out; {_limits(part, ranges)}")
        elif condition.kind == "allOf" and always(part, ranges):
            yield Finding(here, words, f"this part always holds: leave it out; {_limits(part, ranges)}")
        elif condition.kind == "anyOf" and others and _implied(part, Join("anyOf", others), ranges):
            yield Finding(here, words, "where this part holds another one holds as well: leave it out")
        else:
            kept.append(part)
            yield from _parts(part, node[condition.kind][place], here, ranges)


def _implied(one: Condition, other: Condition, ranges: Mapping[str, Range]) -> bool:
    """Whether wherever `one` holds `other` holds, as far as that can be said."""
    return never(Join("allOf", (one, Not(other))), ranges)


def _overlap(one: Rule, other: Rule) -> bool:
    return not one.symbols or not other.symbols or bool(set(one.symbols) & set(other.symbols))


def _twice(acting: Sequence[_Told], ranges: Mapping[str, Range]) -> Iterator[Finding]:
    """Two rules that ask the same and do the same kind of thing. Two that do different things need two rules."""
    for first, second in combinations(acting, 2):
        one, other = first.rule, second.rule
        if one.action != other.action or set(one.factors) != set(other.factors) or not _overlap(one, other):
            continue
        if never(other.condition, ranges):
            continue  # Said of the rule itself.
        if _implied(one.condition, other.condition, ranges) and _implied(other.condition, one.condition, ranges):
            yield Finding(
                f"{second.path}.when",
                in_words(second.body.when),
                f"it asks the same as {one.rule_id}, and both change {one.action}: make one rule of them",
            )


def _after_a_refusal(acting: Sequence[_Told], flags: Flags, ranges: Mapping[str, Range]) -> Iterator[Finding]:
    """A rule that is never asked, because one before it refuses wherever it holds."""
    ordered = sorted(acting, key=lambda each: (each.rule.priority, each.rule.rule_id))
    for place, later in enumerate(ordered):
        for earlier in ordered[:place]:
            if not earlier.skips or not _covers(earlier.rule, later.rule, flags):
                continue
            if never(later.rule.condition, ranges) or always(earlier.rule.condition, ranges):
                continue  # Said of the rule itself.
            if _implied(later.rule.condition, earlier.rule.condition, ranges):
                remedy = f"it never acts: {earlier.rule.rule_id} comes before it and refuses wherever it holds"
                yield Finding(f"{later.path}.when", in_words(later.body.when), remedy)
                break


def _covers(one: Rule, other: Rule, flags: Flags) -> bool:
    """Whether `one` applies wherever `other` does."""
    return all(
        one.applies_to(symbol, _READER) for symbol in flags.strategy.markets if other.applies_to(symbol, _READER)
    )


def _cut(acting: Sequence[_Told], flags: Flags, ranges: Mapping[str, Range]) -> Iterator[Finding]:
    """A multiplier that is cut off whenever it is used: together with the others it leaves the range."""
    said: set[int] = set()
    for symbol in flags.strategy.markets:
        for action, (low, high) in MULT_RANGES.items():
            here = [each for each in acting if each.rule.action == action and each.rule.applies_to(symbol, _READER)]
            space = space_of((each.rule.condition for each in here), ranges) if len(here) > 1 else None
            if space is None:
                continue
            fired = [space.where(each.rule.condition) for each in here]
            product = np.ones(fired[0].shape)
            for each, where in zip(here, fired, strict=True):
                product = np.where(where, product * each.rule.value, product)
            outside = (product < low - _ROUNDING) | (product > high + _ROUNDING)
            for each, where in zip(here, fired, strict=True):
                if each.place not in said and where.any() and bool(outside[where].all()):
                    said.add(each.place)
                    yield Finding(
                        f"{each.path}.action.value",
                        each.rule.value,
                        f"whenever it acts in {symbol}, the rules together leave {low} to {high} and are cut: another"
                        " value, or one rule less",
                    )
