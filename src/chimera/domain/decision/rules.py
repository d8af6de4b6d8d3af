"""The rules: what a person may write, and what those that fire do to an entry.

Owns parsing, checking and evaluating rules; the `when` of one is `condition`'s. Reads no bundle and knows no factor's
meaning: which factors are ENABLED is told. A rule is checked once, compiled once per revision, and evaluated in a
microsecond or less.

    check_rule      every finding about one rule, for lint
    parse_rule      the rule, or RuleError
    compile_rules   the rules that apply to one symbol and service, in order
    evaluate        multipliers, skip, adds; which fired; which factors are missing
    explain         each rule with whether and why it fired

Order: smaller `priority` first, then `rule_id`. Source: v3.0 section 2, SERVICES S3 L1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from chimera.contracts import services
from chimera.domain.decision.condition import (
    Condition,
    Features,
    Finding,
    Leaf,
    Test,
    check_condition,
    closure,
    is_number,
    leaves,
    parse_condition,
)

ActionType = Literal["size_mult", "tp_mult", "sl_mult", "skip_entry", "max_adds_override"]

SIZE_MULT_RANGE = (0.5, 1.2)
TP_MULT_RANGE = (0.5, 1.5)
SL_MULT_RANGE = (0.8, 2.5)
MULT_RANGES: dict[str, tuple[float, float]] = {
    "size_mult": SIZE_MULT_RANGE,
    "tp_mult": TP_MULT_RANGE,
    "sl_mult": SL_MULT_RANGE,
}
MAX_ADDS = (0, 1, 2)
ACTION_TYPES = (*MULT_RANGES, "skip_entry", "max_adds_override")


class RuleError(ValueError):
    """A rule that cannot be used; `findings` says all of why."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("; ".join(str(finding) for finding in findings))
        self.findings = findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A checked rule. `when` as read and as compiled; `factors` are all that it reads, in that order, each once."""

    rule_id: str
    priority: int
    symbols: tuple[str, ...]
    services: tuple[str, ...]
    condition: Condition
    when: Test
    factors: tuple[str, ...]
    action: ActionType
    value: float
    enabled: bool

    def applies_to(self, symbol: str, service: str) -> bool:
        """`service` is an id such as s3. An empty list means all."""
        return (not self.services or service in self.services) and (not self.symbols or symbol in self.symbols)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The ENABLED rules of one symbol and service, in order. `disabled_factors` are read but not ENABLED."""

    rules: tuple[Rule, ...]
    factors: tuple[str, ...]
    disabled_factors: tuple[str, ...]

    def missing(self, features: Features) -> tuple[str, ...]:
        """Factors that these rules read and that cannot be read: not ENABLED, absent (stale, not warm), not finite."""
        return self.disabled_factors + tuple(f for f in self.factors if not readable(features.get(f)))


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What the rules say. `fired` in order of evaluation; None: no rule limits the adds. Multipliers are clamped; what
    they were before is `_raw`."""

    size_mult: float = 1.0
    tp_mult: float = 1.0
    sl_mult: float = 1.0
    size_mult_raw: float = 1.0
    tp_mult_raw: float = 1.0
    sl_mult_raw: float = 1.0
    skip: bool = False
    max_adds_override: int | None = None
    fired: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    no_enabled_rule: bool = False


def check_rule(body: Mapping[str, Any], path: str = "") -> tuple[Finding, ...]:
    """Everything that is wrong with a rule as it is stored (`strategy_rules`). Empty: it can be parsed."""
    at = f"{path}." if path else ""
    found: list[Finding] = []
    if not _name(body.get("rule_id")):
        found.append(Finding(f"{at}rule_id", body.get("rule_id"), "give the rule a name of its own"))
    if not _integer(body.get("priority")):
        found.append(Finding(f"{at}priority", body.get("priority"), "give a whole number; smaller is evaluated first"))
    if body.get("status") not in ("ENABLED", "DISABLED"):
        found.append(Finding(f"{at}status", body.get("status"), "use ENABLED or DISABLED"))
    found += _check_applies(body.get("applies"), f"{at}applies")
    found += check_condition(body.get("when"), f"{at}when")
    found += _check_action(body.get("action"), f"{at}action")
    return tuple(found)


def parse_rule(body: Mapping[str, Any]) -> Rule:
    """The rule that `body` describes.

    Raises:
        RuleError: with every finding of `check_rule`.
    """
    found = check_rule(body)
    if found:
        raise RuleError(found)
    condition = parse_condition(body["when"])
    return Rule(
        rule_id=body["rule_id"],
        priority=body["priority"],
        symbols=tuple(body["applies"]["symbols"]),
        services=tuple(services.service_id(name) for name in body["applies"]["services"]),
        condition=condition,
        when=closure(condition),
        factors=tuple(dict.fromkeys(leaf.factor for leaf in leaves(condition))),
        action=body["action"]["type"],
        value=float(body["action"]["value"]),
        enabled=body["status"] == "ENABLED",
    )


def compile_rules(
    rules: Iterable[Rule], *, symbol: str, service: str = "s3", enabled_factors: Iterable[str] | None = None
) -> RuleSet:
    """The rules that apply, in order of evaluation. `enabled_factors` None: every factor counts as ENABLED."""
    chosen = tuple(
        sorted(
            (rule for rule in rules if rule.enabled and rule.applies_to(symbol, service)),
            key=lambda rule: (rule.priority, rule.rule_id),
        )
    )
    factors = tuple(dict.fromkeys(f for rule in chosen for f in rule.factors))
    legal = factors if enabled_factors is None else tuple(enabled_factors)
    return RuleSet(chosen, tuple(f for f in factors if f in legal), tuple(f for f in factors if f not in legal))


def evaluate(rule_set: RuleSet, features: Features) -> RuleOutcome:
    """Apply the rules in order. A missing factor or an empty set says so and multiplies nothing."""
    if not rule_set.rules:
        return RuleOutcome(no_enabled_rule=True)
    missing = rule_set.missing(features)
    if missing:
        return RuleOutcome(missing=missing)
    size = tp = sl = 1.0
    adds: int | None = None
    skip = False
    fired: list[str] = []
    for rule in rule_set.rules:
        if not rule.when(features):
            continue
        fired.append(rule.rule_id)
        match rule.action:
            case "size_mult":
                size *= rule.value
            case "tp_mult":
                tp *= rule.value
            case "sl_mult":
                sl *= rule.value
            case "max_adds_override":
                adds = int(rule.value) if adds is None else min(adds, int(rule.value))
            case "skip_entry":
                if rule.value:
                    skip = True
                    break
    return RuleOutcome(
        size_mult=clamp(size, SIZE_MULT_RANGE),
        tp_mult=clamp(tp, TP_MULT_RANGE),
        sl_mult=clamp(sl, SL_MULT_RANGE),
        size_mult_raw=size,
        tp_mult_raw=tp,
        sl_mult_raw=sl,
        skip=skip,
        max_adds_override=adds,
        fired=tuple(fired),
    )


@dataclass(frozen=True, slots=True)
class RuleReading:
    """One rule as one decision read it. `asked` False: an earlier rule had ended the evaluation. Each leaf with the
    factor's value, None where it could not be read, and whether the comparison holds."""

    rule: Rule
    asked: bool
    fired: bool
    because: tuple[tuple[Leaf, Any, bool], ...]


def explain(rule_set: RuleSet, features: Features) -> tuple[RuleReading, ...]:
    """What `evaluate` saw, rule by rule. With a factor missing no rule was asked."""
    asked = not rule_set.missing(features)
    readings = []
    for rule in rule_set.rules:
        fired = asked and rule.when(features)
        because = tuple((leaf, features.get(leaf.factor), _holds(leaf, features)) for leaf in leaves(rule.condition))
        readings.append(RuleReading(rule, asked, fired, because))
        if fired and rule.action == "skip_entry" and rule.value:
            asked = False
    return tuple(readings)


def _holds(leaf: Leaf, features: Features) -> bool:
    return readable(features.get(leaf.factor)) and leaf.holds(features[leaf.factor])


def clamp(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])


def readable(value: object) -> bool:
    """False for an absent factor and for a number that is none."""
    return value is not None and (not isinstance(value, float) or isfinite(value))


def _name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(_name(item) for item in value)


def _check_applies(applies: object, path: str) -> list[Finding]:
    if not isinstance(applies, Mapping):
        return [Finding(path, applies, "give symbols and services")]
    found = []
    if not _names(applies.get("symbols")):
        found.append(Finding(f"{path}.symbols", applies.get("symbols"), "list symbols such as BTCUSDT; none means all"))
    names = applies.get("services")
    if not isinstance(names, list | tuple) or not _names(names):
        found.append(Finding(f"{path}.services", names, "list services such as s3-strategy; none means all"))
    else:
        found += [
            Finding(f"{path}.services[{i}]", name, f"use one of {', '.join(services.LEGAL_NAMES)}")
            for i, name in enumerate(names)
            if name not in services.LEGAL_NAMES
        ]
    return found


def _check_action(action: object, path: str) -> list[Finding]:
    if not isinstance(action, Mapping):
        return [Finding(path, action, "give type and value")]
    kind, value = action.get("type"), action.get("value")
    if not isinstance(kind, str) or kind not in ACTION_TYPES:
        return [Finding(f"{path}.type", kind, f"use one of {', '.join(ACTION_TYPES)}")]
    if kind in MULT_RANGES:
        low, high = MULT_RANGES[kind]
        if not isinstance(value, int | float) or not is_number(value) or not low <= value <= high:
            return [Finding(f"{path}.value", value, f"{kind} is a number from {low} to {high}")]
    elif kind == "skip_entry" and not isinstance(value, bool):
        return [Finding(f"{path}.value", value, "skip_entry is true or false")]
    elif kind == "max_adds_override" and (isinstance(value, bool) or value not in MAX_ADDS):
        return [Finding(f"{path}.value", value, "max_adds_override is 0, 1 or 2")]
    return []
