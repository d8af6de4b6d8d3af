"""Chance, asked for by name so that one seed repeats a run whatever else draws."""

from typing import Protocol


class Randomness(Protocol):
    def fork(self, name: str) -> "Randomness":
        """An independent stream of chance that depends on our seed and `name` only."""
        ...

    def uniform(self) -> float:
        """In [0, 1)."""
        ...

    def token_hex(self, size_bytes: int) -> str:
        """Unguessable in a world with real users; repeatable in a simulated one."""
        ...
