"""How a figure, a time and an instrument are written, and what the header calls a system.

Why a decision fell as it did is told by `domain.decision.telling`.

Signs as well as colours say profit or loss, so that nobody has to tell blue from orange. Pure.
"""

import math
from datetime import UTC, datetime
from decimal import Decimal

Figure = float | int | Decimal
NOTHING = "–"

NO_MONEY = {
    "sim": ("SIMULATED", "A simulated exchange: no real money"),
    "paper": ("PAPER", "Real prices, simulated fills: no real money"),
    "testnet": ("TESTNET", "The exchange's testnet: no real money"),
    "local": ("LOCAL", "An exchange's server on this machine: no real money"),
}
"""What the header calls a system that does not trade with real money, and why."""


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
