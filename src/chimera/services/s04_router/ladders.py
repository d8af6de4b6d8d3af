"""How much of a position its first target closes, by the configuration that opened it: S6 goes by the same."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.domain.positions.ladder import DEFAULT_RUNGS, Rung, rungs_of
from chimera.ports.documents import Documents
from chimera.runtime.config_watch import bundle_of


@dataclass(slots=True, kw_only=True)
class Ladders:
    documents: Documents
    _last: tuple[int, tuple[Rung, ...]] | None = None
    """Of the revision that was asked for last: a stop waits for this, so it is read once."""
    _last_active: tuple[str, tuple[Rung, ...]] | None = None
    """By the bundle that was active last: one that is active is never changed."""

    async def first_share(self, rev: int) -> Decimal | None:
        """Of the first rung; None: there is none. 0, or a revision that nobody knows, is the active one."""
        if self._last is None or self._last[0] != rev:
            bundle = await bundle_of(self.documents, rev) if rev else None
            if bundle is None:
                return _first(await self._active())
            self._last = (rev, rungs_of(bundle.flags.position))
        return _first(self._last[1])

    async def _active(self) -> tuple[Rung, ...]:
        active = await self.documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        if active is None:
            return DEFAULT_RUNGS
        if self._last_active is None or self._last_active[0] != active.bundle_id:
            bundle = await self.documents.get(CONFIG_BUNDLES, active.bundle_id)
            if bundle is None:
                return DEFAULT_RUNGS
            self._last_active = (active.bundle_id, rungs_of(bundle.flags.position))
        return self._last_active[1]


def _first(ladder: tuple[Rung, ...]) -> Decimal | None:
    return ladder[0].share if ladder else None
