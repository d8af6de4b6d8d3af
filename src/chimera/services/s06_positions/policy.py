"""How a position is led, by the configuration that opened it: a switch while it is open changes nothing for it."""

from dataclasses import dataclass, field

from chimera.contracts.flags import PositionFlags
from chimera.domain.positions.adds import AddParams
from chimera.domain.positions.ladder import rungs_of
from chimera.domain.positions.manage import ManageParams
from chimera.domain.positions.stagnation import StagnationParams
from chimera.domain.positions.stops import Tier, TierParams
from chimera.ports.documents import Documents
from chimera.runtime.config_watch import ConfigWatch, bundle_of

HOUR_MS = 3_600_000
KEPT_MAX = 16
"""Revisions kept at hand; one that open trades still need is read again."""


def params_of(flags: PositionFlags) -> ManageParams:
    return ManageParams(
        tiers=TierParams(
            tiers=tuple(Tier(tier.roe_min, tier.lock_roe) for tier in flags.tiers), tier_step_roe=flags.tier_step_roe
        ),
        ladder=rungs_of(flags),
        liquidation_buffer_min=flags.liquidation_buffer_min,
        stagnation=StagnationParams(roe_abs_max=flags.stagnation.roe_abs_max, for_ms=flags.stagnation.hours * HOUR_MS),
        adds=AddParams(roe_min=flags.adds.roe_min, size_ratio=flags.adds.size_ratio, max_adds=flags.adds.max_adds),
    )


@dataclass(slots=True, kw_only=True)
class Policies:
    documents: Documents
    watch: ConfigWatch
    _by_rev: dict[int, ManageParams] = field(default_factory=dict)

    async def of(self, rev: int) -> ManageParams:
        """Of the revision that opened the trade; an order that named none lives by the present one.

        Raises:
            ConfigUnavailable: there is no configuration at all yet.
        """
        current = self.watch.current()
        if rev in (0, current.rev):
            rev = current.rev
            self._by_rev.setdefault(rev, params_of(current.flags.position))
        if rev not in self._by_rev:
            self._by_rev[rev] = params_of((await bundle_of(self.documents, rev) or current).flags.position)
        params = self._by_rev[rev]
        while len(self._by_rev) > KEPT_MAX:
            del self._by_rev[next(iter(self._by_rev))]
        return params
