"""Counting and timing. Names are those of the contracts; an unknown name is a bug and fails at once."""

from typing import Protocol


class Metrics(Protocol):
    def count(self, name: str, by: float = 1, **labels: str) -> None: ...

    def gauge(self, name: str, value: float, **labels: str) -> None: ...

    def observe_ms(self, name: str, value_ms: float, **labels: str) -> None: ...

    def observe_bps(self, name: str, value_bps: float, **labels: str) -> None: ...

    def render(self) -> str:
        """Prometheus text format."""
        ...
