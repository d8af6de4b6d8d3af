"""When a value is late, and why one of a column is missing: as small numbers, 0 fresh, else a word of `DataQuality`."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from chimera.contracts.enums import DataQuality
from chimera.domain.market.bars import Floats

Codes = NDArray[np.int8]
Column = tuple[Floats, Codes]
"""Values, NaN where stale, and the code of each: 0 exactly where the value is not NaN."""

KLINE_GRACE_MS = 90_000
"""A kline stream that has been silent for this long is reopened (S1); until then its bars are on time."""

QUALITIES: tuple[DataQuality, ...] = tuple(DataQuality)

FRESH: Final = 0
WARMING: Final = 1 + QUALITIES.index(DataQuality.WARMING)
SILENT: Final = 1 + QUALITIES.index(DataQuality.SILENT)
CROSSED: Final = 1 + QUALITIES.index(DataQuality.CROSSED)
OUTLIER: Final = 1 + QUALITIES.index(DataQuality.OUTLIER)
GAP: Final = 1 + QUALITIES.index(DataQuality.GAP)
RANGE: Final = 1 + QUALITIES.index(DataQuality.RANGE)


def quality_of(code: int) -> DataQuality | None:
    """None for a fresh value."""
    return QUALITIES[code - 1] if code else None


def fresh(length: int) -> Codes:
    return np.zeros(length, dtype=np.int8)


def masked(values: Floats, codes: Codes) -> Column:
    """NaN wherever a code says why."""
    return np.where(codes == FRESH, values, np.nan), codes
