"""The steps of a flow, as the columns of the coverage table.

Owns which call is which step. A call's name is what `process.duty_of` says.
"""

from enum import StrEnum


class Point(StrEnum):
    IDLE = "idle"
    """Nothing was done for a while."""
    ACCEPT = "accept"
    MARGIN = "margin"
    SEND_ENTRY = "entry"
    SEND_STOP = "stop"
    SEND_TARGET = "target"
    PAIR = "pair"
    CANCEL = "cancel"
    EXIT = "exit"
    BOOK_FILL = "book fill"
    BOOK_TRADE = "book trade"
    WRITE = "write"
    """An order's or an intent's state."""
    END = "end"


def point_of(call: str) -> Point:
    """The step of a call by its name, with or without the word whether it is before or after it."""
    name = call.removeprefix("before ").removeprefix("after ")
    if name.startswith("venue."):
        return _sent(name)
    if name.startswith("documents.insert intents"):
        return Point.ACCEPT
    if "fills" in name:
        return Point.BOOK_FILL
    if "trades" in name:
        return Point.BOOK_TRADE
    return Point.END if "DONE" in name or "FAILED" in name or "CANCELED" in name else Point.WRITE


def _sent(name: str) -> Point:
    words = name.split()
    match words[0]:
        case "venue.place_oco":
            return Point.PAIR
        case "venue.cancel":
            return Point.CANCEL
        case "venue.place":
            pass
        case _:
            return Point.MARGIN
    if "STOP_MARKET" in words:
        return Point.SEND_STOP
    if "TAKE_PROFIT_MARKET" in words:
        return Point.SEND_TARGET
    leaves = "reduce-only" in words or ("SPOT" in words and "SELL" in words)
    return Point.EXIT if leaves else Point.SEND_ENTRY
