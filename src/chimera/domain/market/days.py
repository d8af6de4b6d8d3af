"""Days as a person writes them."""

from datetime import UTC, datetime


def day_ms(text: str) -> int:
    """Where the UTC day `2025-05-04` begins, epoch ms.

    Raises:
        ValueError: it is written in another way, or is no day.
    """
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        day = None
    if day is None or day.strftime("%Y-%m-%d") != text:
        raise ValueError(f"{text!r} is no day; write it as 2025-05-04")
    return int(day.timestamp()) * 1_000
