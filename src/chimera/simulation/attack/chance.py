"""What a seed decides, in the words that drawing takes. The draws themselves are `adapters.chance`'s."""

from collections.abc import Sequence
from math import log
from typing import TypeVar

from chimera.adapters.chance import SeededRandomness

T = TypeVar("T")


class Chance:
    """The same name gives the same draws."""

    def __init__(self, name: str) -> None:
        self._randomness = SeededRandomness(name)

    def random(self) -> float:
        """In [0, 1)."""
        return self._randomness.uniform()

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def between(self, low: int, high: int) -> int:
        """Both included."""
        return low + int(self.random() * (high - low + 1))

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self.random() * len(options))]

    def weighted(self, options: Sequence[tuple[T, float]]) -> T:
        """Each as often as its weight is of all."""
        left = self.random() * sum(weight for _, weight in options)
        for option, weight in options:
            left -= weight
            if left < 0:
                return option
        return options[-1][0]

    def wait(self, per_hour: float) -> float:
        """Hours until the next of what comes so often at random."""
        return -log(1.0 - self.random()) / per_hour
