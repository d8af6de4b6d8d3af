"""Everything that is wrong with a bundle, before it can do harm.

Owns the checks that need nothing but the bundle and the instruments that are listed: schema, ranges, whitelist, names
that must exist. A bundle without findings can be used as it is; each finding names the path, the value and the remedy.
It reads JSON, so that a draft, a stored bundle and one from elsewhere are held to the same.

    lint        what must not come into force
    cautions    what may, and yet opens nothing or says what nobody can have meant
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from pydantic import ValidationError

from chimera.contracts.base import Contract
from chimera.contracts.documents.config import Factor, Instrument, StrategyRule
from chimera.contracts.enums import EntryStatus
from chimera.contracts.flags import Flags
from chimera.domain.config.bundle import content_hash
from chimera.domain.config.sense import nonsense
from chimera.domain.decision.condition import Finding
from chimera.domain.decision.rules import check_rule, compile_rules, parse_rule
from chimera.domain.features.derived import FORMS, DefinitionError, is_derived, parse
from chimera.domain.features.registered import registered
from chimera.domain.features.registry import FACTOR_IDS

_GOOD_WHEN_HIGH = ("maker_fill_ratio", "model_auc")
_NAMED_MAX = 20

_C = TypeVar("_C", bound=Contract)


def lint(content: Mapping[str, Any], listed: Collection[str] = ()) -> tuple[Finding, ...]:
    """Findings about flags, rules, factors and instruments, and about `hash` where one is given.

    What is left out is as in the defaults. Names that nothing reads are findings: a misspelt limit is no limit.

    Args:
        listed: the registry's instruments, as `FUT-BTCUSDT`; none: it is not known which there are.
    """
    found: list[Finding] = []
    flags = _one(Flags, content.get("flags", {}), "flags", found)
    rules = _many(StrategyRule, content.get("rules", ()), "rules", found)
    factors = _many(Factor, content.get("factors", ()), "factors", found)
    instruments = _many(Instrument, content.get("instruments", ()), "instruments", found)
    if found or flags is None:
        # What does not even have its shape says nothing about what it means.
        return tuple(found)
    enabled = [factor.factor_id for factor in factors if factor.status is EntryStatus.ENABLED]
    symbols = [instrument.symbol for instrument in instruments]
    found += _check_flags(flags)
    found += _check_markets(flags, instruments, listed)
    found += _repeated("factors", [factor.factor_id for factor in factors])
    found += _repeated("instruments", [instrument.doc_key() for instrument in instruments])
    found += _repeated("rules", [rule.rule_id for rule in rules])
    found += _check_factors(factors)
    for i, rule in enumerate(rules):
        found += _check_rule(rule, f"rules[{i}]", enabled, symbols)
    given, computed = content.get("hash"), content_hash(flags, rules, factors, instruments)
    if given is not None and given != computed:
        found.append(Finding("hash", given, f"the content's own hash is {computed}: make the bundle again"))
    return tuple(found)


def cautions(
    flags: Flags, rules: Sequence[StrategyRule], factors: Sequence[Factor], listed: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Why a bundle without findings opens nothing, here or there, and which of its rules make no sense. Somebody may
    want just that.

    Args:
        listed: as for `lint`.
    """
    return _idle(flags, rules, listed) + nonsense(flags, rules, factors)


def _idle(flags: Flags, rules: Sequence[StrategyRule], listed: Collection[str]) -> tuple[Finding, ...]:
    markets = flags.strategy.markets
    traded = [
        symbol
        for symbol, kinds in markets.items()
        if any(not listed or f"{market.value}-{symbol}" in listed for market in kinds)
    ]
    if not traded:
        remedy = "nothing is opened: name a symbol with its markets" + (f"; {_named(listed)}" if listed else "")
        return (Finding("flags.strategy.markets", flags.to_dict()["strategy"]["markets"], remedy),)
    parsed = [parse_rule(rule.to_dict()) for rule in rules]
    ruled = [symbol for symbol in traded if compile_rules(parsed, symbol=symbol).rules]
    if len(ruled) == len(traded):
        return ()
    idle = ", ".join(symbol for symbol in traded if symbol not in ruled)
    enabled = [rule.rule_id for rule in rules if rule.status is EntryStatus.ENABLED]
    return (Finding("rules", enabled, f"nothing is opened in {idle}: enable a rule of S3 that applies there"),)


def unknown_names(raw: Any, known: Any, path: str = "") -> list[Finding]:
    """Names in `raw` that nothing reads: `known` is the same value as its model writes it."""
    if isinstance(raw, Mapping) and isinstance(known, Mapping):
        found = []
        for name, value in raw.items():
            here = f"{path}.{name}" if path else str(name)
            if name not in known:
                found.append(Finding(here, value, f"nothing reads this; known here: {', '.join(sorted(known))}"))
            else:
                found += unknown_names(value, known[name], here)
        return found
    if isinstance(raw, list | tuple) and isinstance(known, list | tuple):
        return [
            finding
            for i, (value, read) in enumerate(zip(raw, known, strict=False))
            for finding in unknown_names(value, read, f"{path}[{i}]")
        ]
    return []


def _one(model: type[_C], body: Any, path: str, found: list[Finding]) -> _C | None:
    try:
        value = model.model_validate(body)
    except ValidationError as error:
        found += [
            Finding(_json_path(path, item["loc"]), item.get("input"), item["msg"])
            for item in error.errors(include_url=False, include_context=False)
        ]
        return None
    # A field that stands at None may be left out of what is written, and yet be named.
    found += unknown_names(body, {**dict.fromkeys(_wire_names(model)), **value.to_dict()}, path)
    return value


def _wire_names(model: type[Contract]) -> tuple[str, ...]:
    return tuple(field.serialization_alias or name for name, field in model.model_fields.items())


def _many(model: type[_C], bodies: Any, path: str, found: list[Finding]) -> tuple[_C, ...]:
    if not isinstance(bodies, list | tuple):
        found.append(Finding(path, bodies, "give a list"))
        return ()
    values = [_one(model, body, f"{path}[{i}]", found) for i, body in enumerate(bodies)]
    return tuple(value for value in values if value is not None)


def _json_path(path: str, loc: Sequence[int | str]) -> str:
    return path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)


def _check_factors(factors: Sequence[Factor]) -> list[Finding]:
    """One that is ENABLED is one that S2 computes, or is made of others in a form that it computes."""
    found = []
    for i, factor in enumerate(factors):
        if factor.status is not EntryStatus.ENABLED or factor.factor_id in FACTOR_IDS:
            continue
        if not is_derived(factor.definition):
            remedy = f"disable it, use one of {', '.join(FACTOR_IDS)}, or define it as {FORMS}"
            found.append(Finding(f"factors[{i}].factor_id", factor.factor_id, remedy))
            continue
        try:
            parse(factor.definition, factor_id=factor.factor_id)
        except DefinitionError as error:
            found.append(Finding(f"factors[{i}].definition", factor.definition, str(error)))
    if found:
        return found
    try:
        registered(factors)
    except DefinitionError as error:
        # What is wrong between several is told of the one that the error names.
        named = [i for i, factor in enumerate(factors) if str(error).startswith(f"factor {factor.factor_id}:")]
        place = named[0] if named else 0
        found.append(Finding(f"factors[{place}].definition", factors[place].definition, str(error)))
    return found


def _check_rule(rule: StrategyRule, path: str, enabled: Sequence[str], symbols: Sequence[str]) -> list[Finding]:
    body = rule.to_dict()
    found = list(check_rule(body, path))
    if found:
        return found
    if symbols:
        found += [
            Finding(f"{path}.applies.symbols[{i}]", symbol, "no instrument of this bundle has that symbol")
            for i, symbol in enumerate(rule.applies.symbols)
            if symbol not in symbols
        ]
    if rule.status is EntryStatus.ENABLED:
        # A DISABLED rule refuses nothing, so it may wait for its factors.
        found += [
            Finding(f"{path}.when", factor, "enable this factor in the bundle, or disable the rule")
            for factor in parse_rule(body).factors
            if factor not in enabled
        ]
    return found


def _check_markets(flags: Flags, instruments: Sequence[Instrument], listed: Collection[str]) -> list[Finding]:
    """A bundle that names no instrument at all leaves it to the registry which there are."""
    # A system that lists less than the default trades is not to mend what nobody wrote.
    usual = Flags().strategy.markets
    own = [instrument.doc_key() for instrument in instruments]
    found = []
    for symbol, markets in flags.strategy.markets.items():
        for market in markets:
            path, key = f"flags.strategy.markets.{symbol}", f"{market.value}-{symbol}"
            if listed and key not in listed and market not in usual.get(symbol, ()):
                found.append(Finding(path, market.value, f"{key} is not listed; {_named(listed)}"))
            elif own and key not in own:
                found.append(Finding(path, market.value, f"add the instrument {key}"))
    return found


def _named(listed: Collection[str]) -> str:
    names = sorted(listed)
    return f"listed: {', '.join(names[:_NAMED_MAX])}" + (", …" if len(names) > _NAMED_MAX else "")


def _check_flags(flags: Flags) -> list[Finding]:
    """What no field can say about itself: order between fields."""
    found: list[Finding] = []
    risk, position = flags.risk, flags.position
    if risk.slip_bp_hard < risk.slip_bp_max:
        found.append(Finding("flags.risk.slip_bp_hard", risk.slip_bp_hard, f"at least slip_bp_max {risk.slip_bp_max}"))
    found += [
        Finding(f"flags.risk.windows[{i}]", window.to_dict(), "a window holds at least one minute of one day")
        for i, window in enumerate(risk.windows)
        if window.from_minute == window.to_minute or not window.days
    ]
    edges = [float(edge) for bucket in flags.execution.routing.twap.buckets for edge in bucket.range]
    if not edges or edges != sorted(edges):
        found.append(Finding("flags.execution.routing.twap.buckets", edges, "at least one bucket; ranges rise"))
    thresholds = flags.health_guard.thresholds
    for name in type(thresholds).model_fields:
        limits = getattr(thresholds, name)
        steps = [limits.yellow, limits.orange, limits.red]
        if steps != sorted(steps, reverse=name in _GOOD_WHEN_HIGH):
            remedy = f"yellow, orange, red {'fall' if name in _GOOD_WHEN_HIGH else 'rise'}"
            found.append(Finding(f"flags.health_guard.thresholds.{name}", steps, remedy))
    tiers = [[float(tier.roe_min), float(tier.lock_roe)] for tier in position.tiers]
    if not tiers or any(b[0] <= a[0] or b[1] < a[1] for a, b in pairwise(tiers)):
        found.append(Finding("flags.position.tiers", tiers, "at least one tier; roe_min and lock_roe rise"))
    if any(lock >= roe for roe, lock in tiers):
        found.append(Finding("flags.position.tiers", tiers, "lock less than what has been reached"))
    rungs = [[float(rung.roe_min), float(rung.close_ratio)] for rung in position.ladder]
    if any(b[0] <= a[0] for a, b in pairwise(rungs)):
        found.append(Finding("flags.position.ladder", rungs, "roe_min rises"))
    return found


def _repeated(path: str, names: Sequence[str]) -> list[Finding]:
    return [Finding(f"{path}[{i}]", name, "named twice; keep one") for i, name in enumerate(names) if name in names[:i]]
