"""How well the system is, as one word.

Owns the grade. Today it knows dependencies only: GREEN unless one is down. Graded metrics come with their own samples
and limits later.
"""

from collections.abc import Mapping

from chimera.contracts.enums import Grade, HealthLevel

BACKTEST_GUARD = "backtest_guard"
"""The guard's name among the grades: ORANGE while it is over its limits, RED once it has been for `halt_after_d`."""


def level_of(grades: Mapping[str, Grade]) -> HealthLevel:
    """A dependency that is down leaves nothing to be careful with: any RED is RED."""
    return HealthLevel.RED if Grade.RED in grades.values() else HealthLevel.GREEN
