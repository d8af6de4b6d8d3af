"""What is known about a factor before it has a value: its definition, source, unit and legal range."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorSpec:
    """The registration record of one factor; `factor_registry` stores these fields.

    `lag_ms` is how long after the newest event it reads the value may first be used. `range` bounds legal values: a
    value outside it is stale, never clipped.
    """

    factor_id: str
    family: str
    version: str
    freq: str
    lag_ms: int
    definition: str
    deps: tuple[str, ...]
    range: tuple[float, float]
    owner: str = "s2-features"

    def in_range(self, value: float) -> bool:
        """False for NaN and infinity too."""
        return self.range[0] <= value <= self.range[1]
