"""Rules that can be used, and yet do not do what their writer must have meant.

Owns the warnings about rules: what never or always holds, what changes nothing, what another rule makes idle. Nothing
here keeps a bundle from coming into force; each warning is exact in the sense of `reach`, so that people go on reading
them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from chimera.contracts.documents.config import Factor, StrategyRule
from chimera.contracts.flags import Flags
from chimera.domain.config.reach import Effort, Range, TooMuch, always, never, space_of
from chimera.domain.config.words import condition as in_words
from chimera.domain.decision.condition import Condition, Finding, Join, Not, leaves
from chimera.domain.decision.rules import MULT_RANGES, Rule, parse_rule
from chimera.domain.features.registered import values_of
from chimera.domain.features.registry import FACTORS

STEPS_MAX = 1_200_000
"""Of looking through one draft, in the sense of `reach.Effort`: about half a second, in which the process answers
others late. Eighty rules with a few comparisons each take less; what needs more is not looked through, and said."""
_NAMED_MAX = 5
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
    factors: frozenset[str]

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


@dataclass(frozen=True, slots=True)
class _Look:
    """What everybody looks with: the bundle's flags, the ranges, and how much looking is left."""

    flags: Flags
    ranges: Mapping[str, Range]
    effort: Effort
    known: dict[tuple[int, bool], bool] = field(default_factory=dict)
    """Of a rule by its place, whether it never, or always, holds: asked once however many it is held against."""

    def never(self, told: _Told) -> bool:
        key = told.place, False
        if key not in self.known:
            self.known[key] = never(told.rule.condition, self.ranges, self.effort)
        return self.known[key]

    def always(self, told: _Told) -> bool:
        key = told.place, True
        if key not in self.known:
            self.known[key] = always(told.rule.condition, self.ranges, self.effort)
        return self.known[key]

    def implied(self, one: Condition, other: Condition) -> bool:
        """Whether wherever `one` holds `other` holds, as far as that can be said."""
        return never(Join("allOf", (one, Not(other))), self.ranges, self.effort)


def nonsense(flags: Flags, rules: Sequence[StrategyRule], factors: Sequence[Factor]) -> tuple[Finding, ...]:
    """Warnings about rules in which nothing is wrong; where there is too much to look through, that is one of them."""
    look = _Look(flags, ranges_of(factors), Effort(STEPS_MAX))
    told = []
    for place, body in enumerate(rules):
        rule = parse_rule(body.to_dict())
        told.append(_Told(place, body, rule, frozenset(rule.factors)))
    found = [*_redefined(factors)]
    unseen: list[str] = []
    for each in told:
        try:
            found += _condition(each, look)
        except TooMuch:
            unseen.append(each.path)
        found += _use(each, flags)
    try:
        acting = [each for each in told if each.rule.enabled and _acts(each, look)]
        # One by one, so that what is found before the effort ends is told.
        for check in (_twice, _after_a_refusal, _cut):
            for finding in check(acting, look):
                found.append(finding)
    except TooMuch:
        unseen.append("how the rules bear on each other")
    if unseen:
        named = (
            ", ".join([*unseen[: _NAMED_MAX - 1], f"{len(unseen) - _NAMED_MAX} more", unseen[-1]])
            if len(unseen) > _NAMED_MAX
            else ", ".join(unseen)
        )
        found.append(
            Finding(
                "rules",
                f"{len(rules)} rules",
                f"too much to compare: not looked through whether these make sense: {named}. Fewer rules, or fewer"
                " comparisons in one",
            )
        )
    return tuple(found)


def _acts(told: _Told, look: _Look) -> bool:
    look.effort.spend(len(look.flags.strategy.markets))
    return any(told.rule.applies_to(symbol, _READER) for symbol in look.flags.strategy.markets)


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


def _condition(told: _Told, look: _Look) -> Iterator[Finding]:
    """What one rule asks, whatever the others are."""
    rule, path, ranges, words = told.rule, f"{told.path}.when", look.ranges, in_words(told.body.when)
    if never(rule.condition, {}, look.effort):
        yield Finding(
            path, words, f"it contradicts itself and never holds{_unlimited(rule)}: mend it, or drop the rule"
        )
    elif look.never(told):
        yield Finding(path, words, f"it never holds{_unlimited(rule)}: {_limits(rule.condition, ranges)}")
    elif look.always(told):
        if told.skips:
            yield Finding(path, words, f"it always holds: nothing is opened {_where(rule)}")
        else:
            yield Finding(path, words, f"it always holds: the rule acts on every entry {_where(rule)}")
    else:
        yield from _parts(rule.condition, told.body.when, path, look)


def _use(told: _Told, flags: Flags) -> Iterator[Finding]:
    """What one rule does, and where."""
    rule = told.rule
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


def _parts(condition: Condition, node: Any, path: str, look: _Look) -> Iterator[Finding]:
    """Parts of a condition that decide nothing in it; `node` is the condition as it is told."""
    ranges, effort = look.ranges, look.effort
    if isinstance(condition, Not):
        yield from _parts(condition.part, node["not"], f"{path}.not", look)
    if not isinstance(condition, Join):
        return
    kept: list[Condition] = []
    for place, part in enumerate(condition.parts):
        here = f"{path}.{condition.kind}[{place}]"
        words = in_words(node[condition.kind][place])
        others = (*kept, *condition.parts[place + 1 :])
        if condition.kind == "anyOf" and never(part, ranges, effort):
            yield Finding(here, words, f"this part never holds: leave it out; {_limits(part, ranges)}")
        elif condition.kind == "allOf" and always(part, ranges, effort):
            yield Finding(here, words, f"this part always holds: leave it out; {_limits(part, ranges)}")
        elif condition.kind == "anyOf" and others and look.implied(part, Join("anyOf", others)):
            yield Finding(here, words, "where this part holds another one holds as well: leave it out")
        else:
            kept.append(part)
            yield from _parts(part, node[condition.kind][place], here, look)


def _overlap(one: Rule, other: Rule) -> bool:
    return not one.symbols or not other.symbols or bool(set(one.symbols) & set(other.symbols))


def _twice(acting: Sequence[_Told], look: _Look) -> Iterator[Finding]:
    """Two rules that ask the same and do the same kind of thing. Two that do different things need two rules."""
    alike: dict[tuple[str, frozenset[str]], list[_Told]] = {}
    for each in acting:
        alike.setdefault((each.rule.action, each.factors), []).append(each)
    for group in alike.values():
        for first, second in combinations(group, 2):
            one, other = first.rule, second.rule
            look.effort.spend(1 + len(one.symbols) + len(other.symbols))
            if not _overlap(one, other) or look.never(second):
                continue  # What never holds is said of the rule itself.
            if look.implied(one.condition, other.condition) and look.implied(other.condition, one.condition):
                yield Finding(
                    f"{second.path}.when",
                    in_words(second.body.when),
                    f"it asks the same as {one.rule_id}, and both change {one.action}: make one rule of them",
                )


def _after_a_refusal(acting: Sequence[_Told], look: _Look) -> Iterator[Finding]:
    """A rule that is never asked, because one before it refuses wherever it holds."""
    refusing: list[_Told] = []
    for later in sorted(acting, key=lambda each: (each.rule.priority, each.rule.rule_id)):
        for earlier in refusing:
            look.effort.spend(1 + len(look.flags.strategy.markets))
            if not earlier.factors & later.factors or not _covers(earlier.rule, later.rule, look.flags):
                continue  # What one asks says nothing about what the other asks.
            if look.never(later) or look.always(earlier):
                continue  # Said of the rule itself.
            if look.implied(later.rule.condition, earlier.rule.condition):
                remedy = f"it never acts: {earlier.rule.rule_id} comes before it and refuses wherever it holds"
                yield Finding(f"{later.path}.when", in_words(later.body.when), remedy)
                break
        if later.skips:
            refusing.append(later)


def _covers(one: Rule, other: Rule, flags: Flags) -> bool:
    """Whether `one` applies wherever `other` does."""
    return all(
        one.applies_to(symbol, _READER) for symbol in flags.strategy.markets if other.applies_to(symbol, _READER)
    )


def _cut(acting: Sequence[_Told], look: _Look) -> Iterator[Finding]:
    """A multiplier that is cut off whenever it is used: together with the others it leaves the range."""
    said: set[int] = set()
    for symbol in look.flags.strategy.markets:
        look.effort.spend(1 + len(MULT_RANGES) * len(acting))
        for action, (low, high) in MULT_RANGES.items():
            here = [each for each in acting if each.rule.action == action and each.rule.applies_to(symbol, _READER)]
            space = (
                space_of((each.rule.condition for each in here), look.ranges, look.effort) if len(here) > 1 else None
            )
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
