"""Since when a position has gone nowhere, and when that is said."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class StagnationParams:
    """The bundle's `position.stagnation`: |ROE| below `roe_abs_max` for `for_ms` without a break."""

    roe_abs_max: Decimal = Decimal("0.02")
    for_ms: int = 86_400_000


def still_since(before_ms: int | None, roe: float, now_ms: int, params: StagnationParams) -> int | None:
    """Since when the ROE has been within the limit; None: it is not."""
    if abs(roe) >= params.roe_abs_max:
        return None
    return now_ms if before_ms is None else before_ms


def is_due(since_ms: int | None, now_ms: int, params: StagnationParams) -> bool:
    return since_ms is not None and now_ms - since_ms >= params.for_ms
