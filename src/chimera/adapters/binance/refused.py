"""Events that could not be believed: counted by stream and reason, and logged; many of one kind ever more rarely."""

from collections import Counter
from typing import Any

import structlog

SHOWN_CHARS = 300

log = structlog.get_logger(__name__)


class BadEvent(ValueError):
    """An event that says something impossible, or too little. `reason` is one of few: it is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What reading a foreign event may raise; `BadEvent` is one of them."""


class RefusedEvents:
    """`counts` by (stream, reason)."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def note(self, stream: str, error: Exception | str, event: Any) -> None:
        reason = error if isinstance(error, str) else _reason(error)
        self.counts[stream, reason] += 1
        count = self.counts[stream, reason]
        if count & (count - 1) == 0:
            log.warning("an event was refused", stream=stream, why=reason, count=count, said=repr(event)[:SHOWN_CHARS])


def _reason(error: Exception) -> str:
    if isinstance(error, BadEvent):
        return error.reason
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return f"unreadable: {type(error).__name__}"
