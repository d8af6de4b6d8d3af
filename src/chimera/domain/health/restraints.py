"""What a health level forbids and lessens, in one table that S3, S4 and S6 read. Exits, stops and cancels are never
restrained.

    level    entries  adds  maker  finer slices  size  maker wait
    GREEN    yes      yes   yes    no            1     whole
    YELLOW   yes      no    yes    no            less  cut
    ORANGE   yes      no    no     yes           less  cut
    RED      no       no    no     yes           0     cut

Sources: SERVICES S11 (levels), S6 (adds in GREEN only), S4 (ib_rate ORANGE: no new SPOT entries).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from chimera.contracts.enums import Grade, HealthLevel
from chimera.contracts.flags import HealthActions

IB_RATE = "ib_rate"
"""The grade of spot refusals for lack of balance, in `health:rolling`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restraint:
    """For new entries. `size_mult` multiplies the size, `maker_wait_cut_ms` is taken off the maker wait.

    `adds`: whether an open position may grow. `finer_slices`: what is not offered as maker goes in more parts.
    `spot_entries`: whether spot may be bought; futures are not affected by what spot runs short of.
    """

    new_entries: bool
    adds: bool
    maker: bool
    finer_slices: bool
    spot_entries: bool
    size_mult: float
    maker_wait_cut_ms: int


def restraint(level: HealthLevel, actions: HealthActions, grades: Mapping[str, Grade] | None = None) -> Restraint:
    """`grades` by metric, as far as they are known: spot is halted by one of them alone."""
    spot = (grades or {}).get(IB_RATE) not in (Grade.ORANGE, Grade.RED)
    match level:
        case HealthLevel.GREEN:
            return Restraint(
                new_entries=True,
                adds=True,
                maker=True,
                finer_slices=False,
                spot_entries=spot,
                size_mult=1.0,
                maker_wait_cut_ms=0,
            )
        case HealthLevel.YELLOW:
            return Restraint(
                new_entries=True,
                adds=False,
                maker=True,
                finer_slices=False,
                spot_entries=spot,
                size_mult=actions.yellow_size_mult,
                maker_wait_cut_ms=actions.yellow_maker_wait_cut_ms,
            )
        case HealthLevel.ORANGE:
            return Restraint(
                new_entries=True,
                adds=False,
                maker=False,
                finer_slices=True,
                spot_entries=spot,
                size_mult=actions.orange_size_mult,
                maker_wait_cut_ms=actions.yellow_maker_wait_cut_ms,
            )
        case HealthLevel.RED:
            return Restraint(
                new_entries=False,
                adds=False,
                maker=False,
                finer_slices=True,
                spot_entries=False,
                size_mult=0.0,
                maker_wait_cut_ms=actions.yellow_maker_wait_cut_ms,
            )
