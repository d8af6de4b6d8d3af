"""What is numbered from 1 without a gap, and however many there are.

Owns how the last of them is found: by doubling and halving, so that the thousandth costs twenty looks, not a thousand.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def last_of(get: Callable[[int], Awaitable[T | None]]) -> tuple[int, T | None]:
    """The highest number that has something, and that; 0 and None where there is nothing."""
    found: T | None = None
    low, high = 0, 1
    while (present := await get(high)) is not None:
        low, high, found = high, high * 2, present
    while high - low > 1:
        middle = (low + high) // 2
        present = await get(middle)
        if present is None:
            high = middle
        else:
            low, found = middle, present
    return low, found
