"""When trading is allowed: `risk.windows`, UTC. No window at all means always."""

from collections.abc import Sequence

from chimera.contracts.flags import TradingWindow

_MINUTE_MS = 60_000
_DAY_MINUTES = 1440
_EPOCH_ISO_WEEKDAY = 4  # 1970-01-01 was a Thursday.


def window_open(windows: Sequence[TradingWindow], now_ms: int) -> bool:
    """True inside any of `windows`, [from, to). One that runs over midnight belongs to the day it begins on."""
    if not windows:
        return True
    days, minute = divmod(now_ms // _MINUTE_MS, _DAY_MINUTES)
    today = (days + _EPOCH_ISO_WEEKDAY - 1) % 7 + 1
    yesterday = (today + 5) % 7 + 1
    for window in windows:
        start, end = window.from_minute, window.to_minute
        if start < end:
            inside = today in window.days and start <= minute < end
        else:
            inside = (today in window.days and minute >= start) or (yesterday in window.days and minute < end)
        if inside:
            return True
    return False
