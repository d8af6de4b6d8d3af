"""Why a decision fell as it did, in one sentence with its figures.

Owns the words for the codes of a stored decision: reason, detail, gates, rules. The page, a replay and whoever else
shows a decision say the same. It reads the trail as it is stored, plain JSON values, and makes do with what is there:
earlier versions stored less. Pure.

    sentence        why it was opened or refused
    gate_sentence   what one gate found, against its limit
    gate_figures    the same as two figures with their unit
    leaf_words, action_words   what a rule asked and does
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from chimera.domain.decision.model import BANDS, INVALID, MODEL_TIMEOUT, NO_MODEL, NOT_ASKED, Band


def _band_words(band: Band, above: Band | None) -> str:
    if band.outcome.skip:
        return f"below {above.from_p:g}: refused" if above is not None else "refused"
    return f"{'above' if band.excluded else 'from'} {band.from_p:g}: size × {band.outcome.size_mult:g}"


OPEN = "open"
"""`Action.OPEN` as it is stored."""

WHY = {
    "KILL_SWITCH": "the kill switch is pulled",
    "PAUSED": "entries are paused by a person",
    "WINDOW": "outside the trading window",
    "HEALTH": "health is RED or too old",
    "HALT": "a halt is in force",
    "NOT_RECONCILED": "not reconciled with the exchange yet",
    "STALE": "figures are too old to decide on",
    "FACTOR_MISSING": "a factor of an enabled rule cannot be read",
    "FUNDING": "funding is too high",
    "SPREAD": "the spread is too wide",
    "DEPTH": "too little depth at the touch",
    "SLIPPAGE": "too much slippage expected",
    "OPEN_POSITION": "a position is open already",
    "UNFINISHED_INTENT": "an entry is still being worked",
    "MAX_ENTRIES": "today's entries are used up",
    "COOLDOWN": "cooling down after a stop-out",
    "SPOT_SINGLE": "another spot symbol is held",
    "BUDGET": "the budget is used up",
    "CONCURRENCY": "too many positions at once",
    "OVER_BUDGET": "it would exceed the budget",
    "OVER_CONCURRENCY": "too many positions at once",
    "DAILY_LOSS": "the day's loss limit is reached",
    "DRAWDOWN": "the drawdown limit is reached",
    "NO_SIGNAL": "no signal, so no side to take",
    "SPOT_BUY_ONLY": "spot only buys, the signal sells",
    "NO_ENABLED_RULE": "no rule is enabled here",
    "NOT_TRADED": "watched, not traded",
    "LOCKED": "another decision on it is under way",
    "SIZE_ZERO": "the size came to nothing",
    "MIN_NOTIONAL": "smaller than the exchange allows",
    "STOP_TOO_CLOSE": "the stop would be too near",
    "STOP_BELOW_ZERO": "the stop would lie below zero",
    "STOP_BEYOND_LIQUIDATION": "the stop would lie beyond liquidation",
    "P_TOO_LOW": "the model is not sure enough",
    "MODEL_INVALID": "the model answered no probability",
    "UNDELIVERED": "opened, but the order was never delivered",
}
"""By the code behind the reason, where there is no figure to tell."""

NOTES = {
    NO_MODEL: "no model could be asked: size unchanged",
    MODEL_TIMEOUT: "it did not answer in time: size unchanged",
    NOT_ASKED: "not asked: it ended before",
    INVALID.note: "no probability: refused",
    **{band.outcome.note: _band_words(band, above) for band, above in zip(BANDS, (None, *BANDS), strict=False)},
}
"""What the bands of the model mean."""

BEHIND = {
    "MIN_NOTIONAL": ("qty", "notional"),
    "BUDGET": ("reserve", "free_budget"),
    "STOP_TOO_CLOSE": ("stop_distance",),
    "STOP_BELOW_ZERO": ("stop_price",),
    "STOP_BEYOND_LIQUIDATION": ("stop_price", "liquidation_price"),
}
"""Which steps of the sizing a refusal of it is about."""

Bound = Literal["above the limit", "below the minimum", "has reached the limit"]


@dataclass(frozen=True, slots=True)
class Measured:
    """A gate that compares a figure: what it is called, its unit, and how a refused figure stands to its limit."""

    name: str
    unit: str
    refused: Bound
    scale: float = 1.0


_ABOVE: Bound = "above the limit"
_BELOW: Bound = "below the minimum"
_REACHED: Bound = "has reached the limit"

MEASURED = {
    "STALE": Measured("age of the features", "ms", _ABOVE),
    "FUNDING": Measured("funding rate, either way", "%", _ABOVE, 100.0),
    "SPREAD": Measured("spread", "bps", _ABOVE),
    "DEPTH": Measured("depth at the touch", "USDT", _BELOW),
    "SLIPPAGE": Measured("expected slippage", "bps", _ABOVE),
    "MAX_ENTRIES": Measured("entries of the signal's day", "", _REACHED),
    "COOLDOWN": Measured("time since the last stop-out", "min", _BELOW),
    "BUDGET": Measured("budget in use", "USDT", _REACHED),
    "CONCURRENCY": Measured("positions open or opening", "", _REACHED),
    "DAILY_LOSS": Measured("loss of the day", "USDT", _REACHED),
    "DRAWDOWN": Measured("drawdown from the peak", "%", _REACHED, 100.0),
}
STATES = {
    "KILL_SWITCH": ("kill switch", "not pulled", "pulled"),
    "PAUSED": ("pause", "not paused", "paused"),
    "WINDOW": ("trading window", "closed", "open"),
    "NOT_RECONCILED": ("books and exchange", "not reconciled", "reconciled"),
    "OPEN_POSITION": ("open position", "none", "one is open"),
    "SPOT_SINGLE": ("other spot symbol", "none held", "another is held"),
}
"""Gates that know two states: their name, and what 0 and 1 mean."""
COUNTS = {
    "HALT": "halts in force",
    "FACTOR_MISSING": "unreadable factors of enabled rules",
    "UNFINISHED_INTENT": "unfinished entries",
}
"""Gates that let nothing pass but 0."""
HEALTH_RANKS = ("GREEN", "YELLOW", "ORANGE", "RED")

ACTIONS = {
    "size_mult": "size",
    "tp_mult": "target",
    "sl_mult": "stop distance",
}


def sentence(action: str, reason: str, detail: str, trail: Mapping[str, Any] | None) -> str:
    """Why, with the figures that decided. `action`, `reason` and `detail` as in a stored decision, `trail` its own."""
    trail = trail or {}
    if action == OPEN:
        return WHY[detail] if detail == "UNDELIVERED" else _opened(trail)
    gate = refusing_gate(detail, trail)
    if gate is not None:
        return gate_sentence(gate, _names(trail.get("missing")))
    rule = _by_code(trail.get("rules"), "rule_id", detail)
    if reason == "RULE" and rule is not None:
        return f"rule {detail} says no{_because(rule)}"
    told = WHY.get(detail)
    if told is None:
        return f"rule {detail} says no" if reason == "RULE" else (detail or reason).replace("_", " ").lower()
    return told + _figures_behind(reason, detail, trail)


def refusing_gate(detail: str, trail: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The gate that a refusal names, if it is a gate that refused."""
    gate = _by_code((trail or {}).get("gates"), "code", detail)
    return gate if gate is not None and not gate.get("passed") else None


def gate_sentence(gate: Mapping[str, Any], missing: Sequence[str] = ()) -> str:
    """`spread 4.1 bps above the limit 3 bps`; a gate without a figure of its own says its state."""
    code, value = str(gate.get("code")), _number(gate.get("value"))
    measured = MEASURED.get(code)
    passed = bool(gate.get("passed"))
    which = f": {', '.join(missing)}" if missing and code in ("STALE", "FACTOR_MISSING") and not passed else ""
    if code == "STALE" and value is None and not passed:
        return f"{WHY[code] if not which else 'stale or not warm yet'}{which}"
    if measured is not None:
        found, limit, unit = gate_figures(gate)
        if value is None:
            return f"{measured.name}: {found}"
        unit = f" {unit}" if unit else ""
        if not limit:
            return f"{measured.name} {found}{unit}"
        if measured.refused == _REACHED and not passed:
            return f"{measured.name}: {found}{unit}, the limit {limit}{unit} is reached"
        how = _within(measured.refused) if passed else measured.refused
        return f"{measured.name} {found}{unit} {how} {limit}{unit}"
    if passed:
        return f"{gate_name(code)}: {gate_figures(gate)[0]}"
    if code == "HEALTH" and value is not None:
        return f"health is {gate_figures(gate)[0]}, or was not told for too long"
    if value is None:
        return f"{gate_name(code)}: not known, so no entry"
    return WHY.get(code, gate_name(code)) + which


def gate_name(code: str) -> str:
    """What a gate looks at, in words."""
    if code in MEASURED:
        return MEASURED[code].name
    if code in STATES:
        return STATES[code][0]
    return COUNTS.get(code, code.replace("_", " ").lower())


def gate_figures(gate: Mapping[str, Any]) -> tuple[str, str, str]:
    """Value, limit and unit as text. A value of null that passed was infinite: it never happened.

    Where value and limit differ their texts do, however close they are.
    """
    code = str(gate.get("code"))
    value, limit = _number(gate.get("value")), _number(gate.get("limit"))
    if code in STATES:
        _, off, on = STATES[code]
        states = {None: "not known", 0.0: off}
        return states.get(value, on), "", ""
    if code == "HEALTH":
        found = "not known" if value is None else HEALTH_RANKS[min(max(int(value), 0), 3)]
        return found, HEALTH_RANKS[3], ""
    measured = MEASURED.get(code)
    unit, scale = (measured.unit, measured.scale) if measured is not None else ("", 1.0)
    shown_limit = "" if limit is None else figure(limit * scale)
    if value is None:
        return ("never" if gate.get("passed") else "not known"), shown_limit, unit
    if limit is None:
        return figure(value * scale), "", unit
    return *apart(value * scale, limit * scale), unit


def figure(value: float, digits: int = 4) -> str:
    """At most `digits` significant digits, whole where it is large; a minus is a minus sign."""
    value += 0.0  # a zero has no sign
    whole = abs(value) >= 10 ** (digits - 1)
    text = f"{value:,.0f}" if whole else f"{value:,.{digits}g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def apart(one: float, other: float) -> tuple[str, str]:
    """Both as figures, with as many digits as it takes to tell them apart."""
    if one == other:
        return figure(one), figure(other)
    for digits in range(4, 18):
        texts = figure(one, digits), figure(other, digits)
        if texts[0] != texts[1]:
            return texts
    return repr(one), repr(other)


def leaf_words(factor: str, op: str, limit: Any) -> str:
    signs = {"<=": "≤", ">=": "≥", "==": "=", "!=": "≠", "in": "is one of", "notIn": "is none of"}
    return f"{factor} {signs.get(op, op)} {plain(limit)}"


def action_words(kind: str, value: Any) -> str:
    """`size × 0.8`, `no entry`, `at most 1 add`."""
    if kind in ACTIONS:
        return f"{ACTIONS[kind]} × {plain(value)}"
    if kind == "skip_entry":
        return "no entry" if value else "nothing (skip_entry is false)"
    if kind == "max_adds_override":
        return f"at most {plain(value)} add{'' if value == 1 else 's'}"
    return f"{kind} {plain(value)}"


def plain(value: Any) -> str:
    """A JSON value as text."""
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        text = f"{value:,.6g}"
        return text.replace("-", "−", 1) if text.startswith("-") else text
    if isinstance(value, list | tuple):
        return ", ".join(plain(each) for each in value)
    return str(value)


def _opened(trail: Mapping[str, Any]) -> str:
    parts = ["all gates passed"]
    fired = _names(trail.get("rules_fired"))
    if fired:
        parts.append(f"{', '.join(fired)} fired")
    size_mult = _number(trail.get("size_mult"))
    if size_mult is not None:
        parts.append(f"size × {figure(size_mult)}")
    return ", ".join(parts)


def _because(rule: Mapping[str, Any]) -> str:
    """The conditions that held, with what was found."""
    held = [leaf for leaf in _objects(rule.get("because")) if leaf.get("holds")]
    texts = [
        f"{leaf_words(str(leaf.get('f')), str(leaf.get('op')), leaf.get('v'))} ({plain(leaf.get('value'))})"
        for leaf in held
    ]
    return f": {' and '.join(texts)}" if texts else ""


def _figures_behind(reason: str, detail: str, trail: Mapping[str, Any]) -> str:
    """What stood behind a refusal that no gate made: the model's answer, or the last step of the sizing."""
    model = trail.get("model")
    probability = _number(model.get("p")) if isinstance(model, Mapping) else None
    if reason == "MODEL" and probability is not None:
        return f": p {figure(probability)}, {NOTES.get(detail, detail)}"
    told = [step for step in _objects(trail.get("sizing")) if step.get("step") in BEHIND.get(detail, ())]
    texts = [
        f"{str(step.get('step')).replace('_', ' ')} {plain(step.get('value'))} {step.get('unit') or ''}".rstrip()
        for step in told
    ]
    return f": {', '.join(texts)}" if texts else ""


def _within(refused: Bound) -> str:
    return "at or above the minimum" if refused == _BELOW else "within the limit"


def _by_code(parts: Any, name: str, code: str) -> Mapping[str, Any] | None:
    return next((part for part in _objects(parts) if part.get(name) == code), None)


def _objects(parts: Any) -> Iterator[Mapping[str, Any]]:
    return (part for part in parts if isinstance(part, Mapping)) if isinstance(parts, list | tuple) else iter(())


def _names(parts: Any) -> tuple[str, ...]:
    return tuple(map(str, parts)) if isinstance(parts, list | tuple) else ()


def _number(value: Any) -> float | None:
    """None for what is no finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)
