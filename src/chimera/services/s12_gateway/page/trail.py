"""One decision, whole: gates, rules, multipliers, model, size, stop and target, features, each as a small table.

Reads the trail as it is stored; what an earlier version did not store is left out. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chimera.contracts.documents import Signal
from chimera.contracts.enums import Action, DataQuality
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.decision.telling import (
    NOTES,
    action_words,
    figure,
    gate_figures,
    gate_name,
    leaf_words,
    plain,
    sentence,
)
from chimera.services.s12_gateway.page.rows import Cell, Column, Row, Section, cell, row
from chimera.services.s12_gateway.page.words import NOTHING, at, instrument_name, percent

GATES = (
    Column("Gate", "wrap"),
    Column("Value", "num"),
    Column("Limit", "num"),
    Column("Unit", "dim"),
)
RULES = (Column("Rule"), Column("Fired"), Column("What it does"), Column("Because", "wrap"))
MULTIPLIERS = (
    Column("Multiplier"),
    Column("Before", "num", "what rules, model and health make of it"),
    Column("Used", "num", "after clamping"),
    Column("Range", "num dim"),
)
STEPS = (Column("Step"), Column("Value", "num"), Column("Unit", "dim"), Column("How", "wrap dim"))
FEATURES = (Column("Feature"), Column("Value", "num"), Column("Quality", "wrap"))
FACTS = (Column(""), Column("", "wrap"))

QUALITY = {
    DataQuality.WARMING: "too little history yet",
    DataQuality.SILENT: "its source is silent",
    DataQuality.CROSSED: "bid above ask",
    DataQuality.OUTLIER: "too far from the last hour",
    DataQuality.GAP: "a bar is missing",
    DataQuality.RANGE: "cannot be",
}
SIGNS = {"<=": "≤", ">=": "≥", "<": "<"}
SIDE_FROM = {"hint": "asked for by a person", "signal": "the direction of xmkt_signal"}
PLAN = {
    "qty": ("quantity", "base asset", ""),
    "leverage": ("leverage", "×", ""),
    "margin_usdt": ("margin", "USDT", "of the rounded quantity"),
    "reserve_usdt": ("reserved", "USDT", "margin and entry fee"),
    "stop_distance": ("stop distance", "USDT", "kept when the average fill is known"),
    "stop_price": ("stop", "USDT", "entry and stop distance, rounded to a tick"),
    "tp_price": ("target", "USDT", "nets the target's share after both fees"),
    "target_ratio": ("target's share", "of margin", ""),
    "first_loss_usdt": ("loss at the stop", "USDT", "before fees"),
}


def sections(signal: Signal) -> list[Section]:
    """Everything that is on file of it; what decided comes first."""
    trail: Mapping[str, Any] = signal.decision.trail or {}
    made = (
        _facts(signal, trail),
        _gates(trail),
        _rules(signal, trail),
        _multipliers(signal, trail),
        _sizing(trail),
        _plan(trail),
        _features(signal),
    )
    return [section for section in made if section.rows or section.empty]


def _facts(signal: Signal, trail: Mapping[str, Any]) -> Section:
    decision = signal.decision
    opened = decision.action is Action.OPEN
    why = sentence(decision.action.value, decision.reason or "", decision.detail or "", trail)
    key = InstrumentKey(signal.market, signal.symbol)
    code = "OPEN" if opened else f"{decision.reason or NOTHING} · {decision.detail or NOTHING}"
    lines: list[tuple[str, Cell]] = [
        ("Decision", cell(code, "open" if opened else "skip")),
        ("Why", cell(why, "said")),
        ("Instrument", cell(instrument_name(str(key)))),
        ("Features of", cell(at(signal.t0, "%Y-%m-%d %H:%M:%S UTC"))),
    ]
    if trail.get("side"):
        source = SIDE_FROM.get(str(trail.get("side_from")), "")
        lines.append(("Side", cell("▲ buy" if trail["side"] == "BUY" else "▼ sell", sub=source)))
    lines += _market(trail)
    lines += _model(signal, trail)
    if trail.get("max_adds_override") is not None:
        lines.append(("Adds", cell(action_words("max_adds_override", trail["max_adds_override"]))))
    if trail.get("finer_slices"):
        lines.append(("Slices", cell("finer: the expected slippage is above slip_bp_max")))
    lines.append(("Configuration", cell(f"rev {signal.config_rev}", a=f"/ui/config?rev={signal.config_rev}")))
    if decision.intent_id:
        lines.append(("Intent", cell(decision.intent_id, "code")))
    lines.append(("Signal", cell(signal.signal_id, "code")))
    return Section("", FACTS, [row(name, cell(name, "dim"), content) for name, content in lines])


def _market(trail: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    quote = trail.get("quote")
    if isinstance(quote, Mapping):
        fee = quote.get("taker_fee_ratio")
        text = f"bid {plain_price(quote.get('bid'))} · ask {plain_price(quote.get('ask'))}"
        yield "Market", cell(text, sub="" if fee is None else f"taker fee {percent(fee, 3)}")


def _model(signal: Signal, trail: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    model = trail.get("model")
    told = model if isinstance(model, Mapping) else {}
    probability = told.get("p", signal.decision.model_p)
    note = str(told.get("note") or "")
    if probability is not None or note:
        found = "no answer" if probability is None else f"p {plain(probability)}"
        yield "Model", cell(found, sub=NOTES.get(note, note))


def _gates(trail: Mapping[str, Any]) -> Section:
    """Those that refused first, each half in its own order."""
    gates = sorted(_objects(trail.get("gates")), key=lambda gate: bool(gate.get("passed")))
    failed = sum(not gate.get("passed") for gate in gates)
    note = f"{failed} of {len(gates)} refused" if failed else f"all {len(gates)} passed"
    missing = trail.get("missing")
    rows = [_gate_row(gate) for gate in gates]
    if isinstance(missing, list | tuple) and missing:
        rows.append(
            row(
                "missing",
                cell("cannot be read", "bad"),
                cell(", ".join(map(str, missing)), "bad wrap"),
                cell(""),
                cell(""),
            )
        )
    return Section("Gates", GATES, rows, note if gates else "")


def _gate_row(gate: Mapping[str, Any]) -> Row:
    code, passed = str(gate.get("code")), bool(gate.get("passed"))
    found, limit, unit = gate_figures(gate)
    return row(
        code,
        cell(f"{'✓' if passed else '✕'} {gate_name(code)}", "" if passed else "bad strong", hint=code),
        cell(found, "" if passed else "bad strong"),
        cell(f"{SIGNS.get(str(gate.get('how')), '')} {limit}".strip() if limit else ""),
        cell(unit),
        tone="" if passed else "refused",
    )


def _rules(signal: Signal, trail: Mapping[str, Any]) -> Section:
    rules = list(_objects(trail.get("rules")))
    if rules:
        fired = sum(bool(rule.get("fired")) for rule in rules)
        return Section("Rules", RULES, [_rule_row(rule) for rule in rules], f"{fired} of {len(rules)} fired")
    names = signal.decision.rules_fired
    rows = [row(name, cell(name, "strong"), cell("yes"), cell(""), cell("")) for name in names]
    return Section("Rules", RULES, rows)


def _rule_row(rule: Mapping[str, Any]) -> Row:
    fired = bool(rule.get("fired"))
    said = "yes" if fired else "no" if rule.get("asked", True) else "not asked"
    action = rule.get("action")
    done = action_words(str(action.get("type")), action.get("value")) if isinstance(action, Mapping) else ""
    because = [
        f"{'✓' if leaf.get('holds') else '✕'} {leaf_words(str(leaf.get('f')), str(leaf.get('op')), leaf.get('v'))}, "
        f"found {plain(leaf.get('value'))}"
        for leaf in _objects(rule.get("because"))
    ]
    return row(
        str(rule.get("rule_id")),
        cell(str(rule.get("rule_id")), "strong", hint=f"priority {plain(rule.get('priority'))}"),
        cell(said, "strong" if fired else "dim"),
        cell(done, "" if fired else "dim"),
        cell("; ".join(because)),
    )


def _multipliers(signal: Signal, trail: Mapping[str, Any]) -> Section:
    told = trail.get("multipliers")
    if not isinstance(told, Mapping) and "multipliers" in trail:
        # It ended before anything was multiplied.
        return Section("Multipliers", MULTIPLIERS, [])
    if not isinstance(told, Mapping):
        decision = signal.decision
        plain_ones = [("size", decision.size_mult), ("target", decision.tp_mult), ("stop distance", decision.sl_mult)]
        rows = [
            row(name, cell(name), cell(""), _factor(value), cell("")) for name, value in plain_ones if value is not None
        ]
        return Section("Multipliers", MULTIPLIERS, rows)
    rows = []
    size = told.get("size")
    if isinstance(size, Mapping):
        if "rules" in size:
            rows.append(
                row("rules", cell("size by rules"), _factor(size.get("rules_raw")), _factor(size["rules"]), cell(""))
            )
        for name in ("model", "health"):
            if name in size:
                rows.append(row(name, cell(f"size by {name}"), cell(""), _factor(size[name]), cell("")))
    for name, title in (("size", "size in all"), ("tp", "target"), ("sl", "stop distance")):
        each = told.get(name)
        if isinstance(each, Mapping):
            clamped = each.get("raw") != each.get("value")
            rows.append(
                row(
                    title,
                    cell(title, "strong"),
                    _factor(each.get("raw")),
                    _factor(each.get("value"), "warn strong" if clamped else "strong"),
                    cell(_range(each.get("range"))),
                )
            )
    return Section("Multipliers", MULTIPLIERS, rows)


def _factor(value: Any, tone: str = "") -> Cell:
    return cell("" if value is None else f"× {plain(value)}", tone)


def _range(value: Any) -> str:
    return f"{plain(value[0])} to {plain(value[1])}" if isinstance(value, list | tuple) and len(value) == 2 else ""


def _sizing(trail: Mapping[str, Any]) -> Section:
    rows = [
        row(
            f"{number}",
            cell(str(step.get("step")).replace("_", " ")),
            cell(plain_price(step.get("value"))),
            cell(str(step.get("unit") or "")),
            cell(str(step.get("how") or "")),
        )
        for number, step in enumerate(_objects(trail.get("sizing")))
    ]
    return Section("Size, stop and target, step by step", STEPS, rows)


def _plan(trail: Mapping[str, Any]) -> Section:
    plan = trail.get("plan")
    if not isinstance(plan, Mapping):
        return Section("Plan", STEPS, [])
    rows = []
    reference = trail.get("entry_ref_price")
    if reference is not None:
        rows.append(
            row("entry", cell("entry expected at"), cell(plain_price(reference)), cell("USDT"), cell("the touch"))
        )
    for name, value in plan.items():
        title, unit, how = PLAN.get(name, (name.replace("_", " "), "", ""))
        rows.append(row(name, cell(title), cell(plain_price(value)), cell(unit), cell(how)))
    return Section("Plan", STEPS, rows)


def plain_price(value: Any) -> str:
    """A price or quantity with all its digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value)
    text = f"{value:,.8f}".rstrip("0").rstrip(".")
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _features(signal: Signal) -> Section:
    """What was decided on: where features were repaired since, what was told first."""
    told = signal.told
    stale = set(told.stale)
    names = sorted(told.features.keys() | stale, key=lambda name: (name not in stale, name))
    rows = [
        row(
            name,
            cell(name),
            cell(_feature(told.features.get(name)), "dim" if name in stale else ""),
            cell(_quality(told.flags, name), "warn") if name in stale else cell("good", "dim"),
        )
        for name in names
    ]
    note = f"{len(stale)} of {len(names)} stale" if stale else ""
    return Section("Features", FEATURES, rows, note)


def _quality(flags: Mapping[str, DataQuality] | None, name: str) -> str:
    """Why a feature must not decide. Earlier versions did not say."""
    flag = (flags or {}).get(name)
    return "stale" if flag is None else f"{flag.value}: {QUALITY[flag]}"


def _feature(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return figure(value, 6)
    return NOTHING if value is None else plain(value)


def _objects(parts: Any) -> Sequence[Mapping[str, Any]]:
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list | tuple) else []
