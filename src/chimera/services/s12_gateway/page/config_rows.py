"""A configuration as small tables: its flags with what they mean, its rules in words, and what differs. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, get_args

from pydantic.fields import FieldInfo

from chimera.contracts.base import Contract
from chimera.contracts.documents import ConfigBundle, Factor, Instrument, StrategyRule
from chimera.contracts.enums import BundleStatus, EntryStatus
from chimera.contracts.flags import Flags
from chimera.contracts.http.config import BundleAnswer, BundleDiff, LintFinding
from chimera.contracts.option_rows import flag_row, flag_unit
from chimera.domain.config.bundle import default_bundle
from chimera.domain.config.words import rule_in_words
from chimera.domain.decision.telling import figure, plain
from chimera.services.s12_gateway.page.rows import Column, Row, Section, cell, row
from chimera.services.s12_gateway.page.words import NOTHING, at, instrument_name

BUNDLES = (Column("Rev"), Column("State"), Column("Made", "", "UTC"), Column("By", "rare"))
FLAGS = (
    Column("Flag", "wrap"),
    Column("Value", "num wrap"),
    Column("Unit", "dim"),
    Column("Default", "num wrap rare", "shown where the value is another"),
    Column("Range", "dim wrap rare"),
    Column("What it is", "wrap dim rare"),
)
RULES = (Column("Rule"), Column("Order", "num", "smaller comes first"), Column("State"), Column("What it does", "wrap"))
FACTORS = (Column("Factor"), Column("State"), Column("Definition", "code wrap"), Column("Range", "dim rare"))
INSTRUMENTS = (Column("Instrument"), Column("State"), Column("Spread limit", "num"), Column("Depth minimum", "num"))
CHANGES = (Column("What changes", "wrap"), Column("Before", "num wrap"), Column("After", "num wrap"))
FINDINGS = (
    Column("Line", "num"),
    Column("Where", "wrap"),
    Column("What stands there", "wrap"),
    Column("Remedy", "wrap"),
)
STATUS_TONES = {
    BundleStatus.ACTIVE: "good",
    BundleStatus.STAGED: "strong",
    BundleStatus.REJECTED: "bad",
    BundleStatus.RETIRED: "dim",
}
STATUS_WORDS = {
    BundleStatus.ACTIVE: "in force",
    BundleStatus.STAGED: "staged",
    BundleStatus.LINTED: "draft, checked",
    BundleStatus.DRAFT: "draft",
    BundleStatus.RETIRED: "was in force",
    BundleStatus.REJECTED: "rejected",
}
SHARES = ("fraction", "fraction of margin")
_DEFAULTS = default_bundle(0).flags
"""What the system starts with."""


def bundle_rows(bundles: Sequence[BundleAnswer]) -> list[Row]:
    return [
        row(
            each.bundle_id,
            cell(NOTHING if each.rev is None else str(each.rev), "strong"),
            cell(STATUS_WORDS[each.status], STATUS_TONES.get(each.status, "")),
            cell(at(each.created_at, "%m-%d %H:%M"), "dim"),
            cell(each.created_by or NOTHING, "dim"),
        )
        for each in bundles
    ]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One flag: its dotted path within its group, its value, and what its model says of it."""

    path: str
    value: Any
    default: Any
    about: FieldInfo

    @property
    def is_changed(self) -> bool:
        return bool(self.value != self.default)


def leaves(value: Contract, default: Contract, prefix: str = "") -> Iterator[Leaf]:
    """Every flag under `value`, in the order of its model. Each row of a table, such as the stop tiers, is one."""
    for name, about in type(value).model_fields.items():
        here, usual = getattr(value, name), getattr(default, name)
        path = f"{prefix}{about.serialization_alias or name}"
        if isinstance(here, Contract) and isinstance(usual, Contract):
            yield from leaves(here, usual, f"{path}.")
        elif _is_table(here):
            for place, member in enumerate(here):
                yield Leaf(f"{path}[{place}]", member, usual[place] if place < len(usual) else None, about)
            for place in range(len(here), len(usual)):
                yield Leaf(f"{path}[{place}]", None, usual[place], about)
        else:
            yield Leaf(path, here, usual, about)


def _is_table(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(each, Contract) for each in value)


def sections(bundle: ConfigBundle, *, only_changed: bool = False) -> list[Section]:
    """The whole of it; `only_changed` leaves out flags that stand as in the defaults."""
    made = [_rules(bundle.rules), *_flags(bundle.flags, only_changed=only_changed)]
    if not only_changed:
        made += [_factors(bundle.factors), _instruments(bundle.instruments)]
    elif len(made) == 1:
        made.append(Section("Flags", FLAGS, [], empty="Every flag stands as in the defaults."))
    return made


def _rules(rules: Sequence[StrategyRule]) -> Section:
    ordered = sorted(rules, key=lambda rule: (rule.priority, rule.rule_id))
    enabled = sum(rule.status is EntryStatus.ENABLED for rule in rules)
    rows = [
        row(
            rule.rule_id,
            cell(rule.rule_id, "strong"),
            cell(str(rule.priority), "dim"),
            _status(rule.status),
            cell(
                rule_in_words(rule.to_dict()), "" if rule.status is EntryStatus.ENABLED else "dim", rule.explain or ""
            ),
        )
        for rule in ordered
    ]
    return Section("Rules", RULES, rows, f"{enabled} of {len(rules)} on", "No rule: nothing is ever opened.")


def _status(status: EntryStatus) -> dict[str, Any]:
    is_on = status is EntryStatus.ENABLED
    return cell("on" if is_on else "off", "good" if is_on else "dim")


def _flags(flags: Flags, *, only_changed: bool) -> Iterator[Section]:
    for name, about in Flags.model_fields.items():
        found = list(leaves(getattr(flags, name), getattr(_DEFAULTS, name)))
        changed = sum(leaf.is_changed for leaf in found)
        rows = [_flag_row(name, leaf) for leaf in found if leaf.is_changed or not only_changed]
        note = about.description or ""
        if rows:
            said = f"{note} {changed} changed." if changed else note
            yield Section(name.replace("_", " ").capitalize(), FLAGS, rows, said, style="flags")


def _flag_row(part: str, leaf: Leaf) -> Row:
    group, _, name = leaf.path.rpartition(".")
    path = f"{part}.{leaf.path}"
    unit, known = flag_unit(path), flag_row(path)
    text, sub = value_text(leaf.value, unit)
    return row(
        leaf.path,
        cell(name, sub=group, hint=leaf.path),
        cell(text, "strong" if leaf.is_changed else "", sub),
        cell("" if unit in ("count", *SHARES) else unit),
        cell(value_text(leaf.default, unit)[0] if leaf.is_changed else "", "warn"),
        cell(range_text(leaf.about, leaf.value)),
        cell(leaf.about.description or "" if known is None else known.reason),
        tone="changed" if leaf.is_changed else "",
    )


def value_text(value: Any, unit: str = "") -> tuple[str, str]:
    """The value as it is written, and beside it what a share is in per cent."""
    if value is None:
        return "not told", ""
    if isinstance(value, Enum):
        return str(value.value), ""
    if isinstance(value, bool):
        return ("yes" if value else "no"), ""
    if isinstance(value, int | float | Decimal):
        number = float(value)
        # What is written must be what is set: all digits, unlike a measured figure.
        text = f"{number:,.10g}".replace("-", "−", 1)
        return text, f"{figure(number * 100)} %" if unit in SHARES and number else ""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {value_text(each)[0]}" for name, each in value.items()) or "none", ""
    if isinstance(value, Contract):
        fields = ((name, getattr(value, name)) for name in type(value).model_fields)
        return " · ".join(f"{name} {value_text(each)[0]}" for name, each in fields), ""
    if isinstance(value, list | tuple):
        parts = [value_text(each)[0] for each in value]
        is_nested = any(isinstance(each, Contract) for each in value)
        return ("; " if is_nested else ", ").join(parts) or "none", ""
    return plain(value), ""


def range_text(about: FieldInfo, value: Any) -> str:
    """What may stand there, as its model says: `0 to 1,000`, `above 0`, or the words of a choice."""
    choices = next((kind for kind in (about.annotation, *get_args(about.annotation)) if _is_choice(kind)), None)
    if choices is not None and not isinstance(value, Mapping):
        return ", ".join(str(each.value) for each in choices)
    bounds = {name: getattr(rule, name) for rule in about.metadata for name in _BOUNDS if hasattr(rule, name)}
    low = _bound(bounds, "ge", "from ", "gt", "above ")
    high = _bound(bounds, "le", "to ", "lt", "below ")
    return " ".join(part for part in (low, high) if part)


_BOUNDS = ("ge", "gt", "le", "lt")


def _is_choice(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _bound(bounds: Mapping[str, Any], closed: str, closed_word: str, opened: str, opened_word: str) -> str:
    for name, word in ((closed, closed_word), (opened, opened_word)):
        if bounds.get(name) is not None:
            return word + value_text(bounds[name])[0]
    return ""


def _factors(factors: Sequence[Factor]) -> Section:
    enabled = sum(factor.status is EntryStatus.ENABLED for factor in factors)
    rows = [
        row(
            factor.factor_id,
            cell(factor.factor_id),
            _status(factor.status),
            cell(factor.definition),
            cell(" to ".join(value_text(edge)[0] for edge in factor.range) if factor.range else ""),
        )
        for factor in factors
    ]
    return Section("Factors", FACTORS, rows, f"{enabled} of {len(factors)} on", "No factor: no rule can read anything.")


def _instruments(instruments: Sequence[Instrument]) -> Section:
    rows = [
        row(
            each.doc_key(),
            cell(instrument_name(f"{each.market.value}:{each.symbol}")),
            _status(each.status),
            cell("the usual" if each.spread_bp_limit is None else f"{plain(each.spread_bp_limit)} bps"),
            cell("the usual" if each.depth_top1_usdt_min is None else f"{plain(each.depth_top1_usdt_min)} USDT"),
        )
        for each in instruments
    ]
    return Section(
        "Instruments", INSTRUMENTS, rows, empty="None named: those that the exchange lists, with the usual limits."
    )


def change_sections(diff: BundleDiff) -> list[Section]:
    """What changes, by part of the bundle, each change in words and with both values."""
    parts: dict[str, list[Row]] = {}
    for each in diff.differences:
        part = each.path.partition(".")[0].partition("[")[0]
        unit = flag_unit(each.path.removeprefix("flags."))
        before, after = (_side(value, unit) for value in (each.before, each.after))
        parts.setdefault(part, []).append(
            row(
                each.path,
                cell(each.words, hint=each.path),
                cell("not there" if each.kind == "ADDED" else before, "dim"),
                cell("not there" if each.kind == "REMOVED" else after, "strong"),
            )
        )
    if not parts:
        return [Section("", CHANGES, [], empty="Nothing: both say the same.")]
    return [
        Section(part.capitalize(), CHANGES, rows, _counted(len(rows), "change"), style="changes")
        for part, rows in parts.items()
    ]


def _side(value: Any, unit: str) -> str:
    """A whole rule or factor is told in words already."""
    if isinstance(value, Mapping) and len(value) > 3:
        return "all of it"
    return "nothing" if value is None else value_text(value, unit)[0]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def finding_rows(findings: Sequence[LintFinding]) -> list[Row]:
    """Errors first, each half by line; the key begins with the line, so that picking a row finds it."""
    ordered = sorted(findings, key=lambda each: (each.level != "error", each.line or 0, each.path))
    return [
        row(
            f"{each.line or 0}#{number}",
            cell(NOTHING if each.line is None else str(each.line), "strong"),
            cell(each.path or "the text", "bad" if each.level == "error" else "warn"),
            cell(each.message),
            cell(each.remedy or ""),
        )
        for number, each in enumerate(ordered)
    ]


def findings_text(findings: Sequence[LintFinding]) -> tuple[str, str]:
    """How many, and in which tone."""
    errors = sum(each.level == "error" for each in findings)
    warnings = len(findings) - errors
    if not findings:
        return "No finding: it may be staged.", "good"
    parts = [_counted(errors, "error")] if errors else []
    parts += [_counted(warnings, "warning")] if warnings else []
    return ", ".join(parts) + ("." if errors else ": it may be staged."), "bad" if errors else "warn"
