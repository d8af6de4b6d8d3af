"""Codes in words: why not, what a gate measures, how a figure is written.

Signs as well as colours say profit or loss, so that nobody has to tell blue from orange. Pure.
"""

import math
from datetime import UTC, datetime
from decimal import Decimal

from chimera.contracts.enums import Action

Figure = float | int | Decimal
NOTHING = "–"

NO_MONEY = {
    "sim": ("SIMULATED", "A simulated exchange: no real money"),
    "paper": ("PAPER", "Real prices, simulated fills: no real money"),
    "testnet": ("TESTNET", "The exchange's testnet: no real money"),
    "local": ("LOCAL", "An exchange's server on this machine: no real money"),
}
"""What the header calls a system that does not trade with real money, and why."""

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
    "UNFINISHED_INTENT": "an order is still being worked",
    "MAX_ENTRIES": "today's entries are used up",
    "COOLDOWN": "cooling down after a stop",
    "SPOT_SINGLE": "another spot symbol is held",
    "BUDGET": "the budget is used up",
    "CONCURRENCY": "too many positions at once",
    "OVER_BUDGET": "it would exceed the budget",
    "OVER_CONCURRENCY": "too many positions at once",
    "DAILY_LOSS": "the day's loss limit is reached",
    "DRAWDOWN": "the drawdown limit is reached",
    "NO_SIGNAL": "no signal",
    "SPOT_BUY_ONLY": "spot only buys, the signal sells",
    "NO_ENABLED_RULE": "no rule is enabled",
    "NOT_TRADED": "watched, not traded",
    "LOCKED": "another decision is under way",
    "SIZE_ZERO": "the size came to nothing",
    "MIN_NOTIONAL": "smaller than the exchange allows",
    "STOP_TOO_NEAR": "the stop would be too near",
    "STOP_BEYOND_LIQUIDATION": "the stop would lie beyond liquidation",
}

GATE_UNITS = {
    "SPREAD": " bps",
    "SLIPPAGE": " bps",
    "DEPTH": " USDT",
    "BUDGET": " USDT",
    "DAILY_LOSS": " USDT",
    "STALE": " ms",
    "COOLDOWN": " min",
}
GATES_IN_PERCENT = ("FUNDING", "DRAWDOWN")
GATES_AT_LEAST = ("DEPTH", "COOLDOWN")
GATE_STATES = {
    "KILL_SWITCH": ("not pulled", "pulled"),
    "PAUSED": ("not paused", "paused"),
    "WINDOW": ("closed", "open"),
    "NOT_RECONCILED": ("not reconciled", "reconciled"),
    "OPEN_POSITION": ("none open", "one is open"),
    "SPOT_SINGLE": ("none held", "another is held"),
}
"""Gates that know two states: what 0 and 1 mean."""
HEALTH_RANKS = ("GREEN", "YELLOW", "ORANGE", "RED")


def why(action: Action, reason: str, detail: str) -> str:
    """In words, why it was opened or not. A detail that is no code of ours is the rule that said no."""
    if action is Action.OPEN:
        return "all gates passed"
    if detail in WHY:
        return WHY[detail]
    return {"RULE": "this rule says no", "MODEL": "the model says no"}.get(reason, reason.replace("_", " ").lower())


def gate_text(code: str, value: float | None, limit: float | None, *, passed: bool) -> str:
    """What was found and where the limit stands. A value of null that passed was infinite: it never happened."""
    if value is None:
        found = "never" if passed else "not known"
    else:
        found = _gate_figure(code, value)
    if code in GATE_STATES or code == "HEALTH" or limit is None:
        return found
    return f"{found} ({'min' if code in GATES_AT_LEAST else 'max'} {_gate_figure(code, limit)})"


def _gate_figure(code: str, value: float) -> str:
    if code in GATE_STATES:
        return GATE_STATES[code][value != 0]
    if code == "HEALTH":
        return HEALTH_RANKS[min(max(int(value), 0), 3)]
    if code in GATES_IN_PERCENT:
        return f"{value * 100:.4g} %"
    return short(value) + GATE_UNITS.get(code, "")


def short(value: float) -> str:
    """At most four significant digits, whole where it is large."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def number(value: Figure | None, places: int) -> str:
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:,.{places}f}".replace("-", "−")


def signed(value: Figure | None, places: int = 2) -> str:
    """With its sign; a zero after rounding has none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:+,.{places}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def signed_percent(ratio: Figure | None, places: int = 2) -> str:
    return NOTHING if ratio is None else f"{signed(float(ratio) * 100, places)} %"


def percent(ratio: Figure | None, places: int = 2) -> str:
    return NOTHING if ratio is None else f"{number(float(ratio) * 100, places)} %"


def quantity(value: Figure | None) -> str:
    if value is None:
        return NOTHING
    text = f"{Decimal(str(value)):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def tone(value: Figure | None) -> str:
    """`up`, `down`, or nothing for a zero."""
    if value is None or value == 0:
        return ""
    return "up" if value > 0 else "down"


def arrow(value: Figure | None) -> str:
    return {"up": "▲ ", "down": "▼ "}.get(tone(value), "")


def age(duration_ms: int) -> str:
    """The two largest units: `3d 4h`, `5h 12m`, `12m 30s`, `9s`."""
    rest = max(0, duration_ms) // 1_000
    parts: list[str] = []
    for name, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count}{name}")
    return " ".join(parts[:2]) or "0s"


def at(ts: int | None, form: str) -> str:
    """`ts` in UTC."""
    return NOTHING if ts is None else datetime.fromtimestamp(ts / 1_000, UTC).strftime(form)


def clock_time(ts: int | None, now_ms: int) -> str:
    """The time of today, or the day and time of another day."""
    if ts is None:
        return NOTHING
    same_day = ts // 86_400_000 == now_ms // 86_400_000
    return at(ts, "%H:%M:%S" if same_day else "%m-%d %H:%M")


def instrument_name(text: str) -> str:
    """`FUT:BTCUSDT` as `BTC FUT`."""
    market, _, symbol = text.partition(":")
    return f"{symbol.removesuffix('USDT')} {market}"
