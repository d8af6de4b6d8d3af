"""Work that would hold the loop up: a dry run over a million signals, a table of features.

What is handed over reads values and gives a value back. It touches no port, for it runs beside the loop.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Compute(Protocol):
    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` beside the loop, one piece after the other in the order in which they came.

        Whoever is cancelled while he waits leaves a piece that has begun to its end.
        """
        ...
