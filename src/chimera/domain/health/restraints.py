"""What a health level forbids and lessens. Exits, stops and cancels are never restrained."""

from dataclasses import dataclass

from chimera.contracts.enums import HealthLevel
from chimera.contracts.flags import HealthActions


@dataclass(frozen=True, slots=True, kw_only=True)
class Restraint:
    """For new entries. `size_mult` multiplies the size, `maker_wait_cut_ms` is taken off the maker wait."""

    new_entries: bool
    maker: bool
    size_mult: float
    maker_wait_cut_ms: int


def restraint(level: HealthLevel, actions: HealthActions) -> Restraint:
    """Source: SERVICES S11. RED opens nothing, so its size is 0."""
    match level:
        case HealthLevel.GREEN:
            return Restraint(new_entries=True, maker=True, size_mult=1.0, maker_wait_cut_ms=0)
        case HealthLevel.YELLOW:
            return Restraint(
                new_entries=True,
                maker=True,
                size_mult=actions.yellow_size_mult,
                maker_wait_cut_ms=actions.yellow_maker_wait_cut_ms,
            )
        case HealthLevel.ORANGE:
            return Restraint(
                new_entries=True,
                maker=False,
                size_mult=actions.orange_size_mult,
                maker_wait_cut_ms=actions.yellow_maker_wait_cut_ms,
            )
        case HealthLevel.RED:
            return Restraint(
                new_entries=False,
                maker=False,
                size_mult=0.0,
                maker_wait_cut_ms=actions.yellow_maker_wait_cut_ms,
            )
