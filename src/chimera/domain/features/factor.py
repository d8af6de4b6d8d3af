"""What is known about a factor before it has a value: its definition, source, unit and legal range."""

from dataclasses import dataclass

import numpy as np

from chimera.domain.features.quality import FRESH, RANGE, Codes, Column
from chimera.domain.market.bars import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorSpec:
    """The registration record of one factor; `factor_registry` stores these fields.

    `freq` says what the factor moves with: `tick`, the close of a bar of `1m` or `1h`, or the UTC day, `1d`. `unit`
    says what one of it is. `lag_ms` is how long after the newest event it reads the value may first be used. `range`
    bounds legal values: a value outside it is stale, never clipped.
    """

    factor_id: str
    family: str
    version: str
    freq: str
    lag_ms: int
    definition: str
    unit: str
    deps: tuple[str, ...]
    range: tuple[float, float]
    owner: str = "s2-features"

    def in_range(self, value: float) -> bool:
        """False for NaN and infinity too."""
        return self.range[0] <= value <= self.range[1]

    def column_in_range(self, values: Floats, codes: Codes) -> Column:
        """`values` where `codes` has no objection, with what is undefined or out of range marked too."""
        low, high = self.range
        # NaN fails both comparisons.
        codes = np.where((codes == FRESH) & ~((values >= low) & (values <= high)), RANGE, codes).astype(np.int8)
        return np.where(codes == FRESH, values, np.nan), codes
