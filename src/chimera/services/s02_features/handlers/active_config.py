"""Which configuration the features are marked with, and what of it shapes them.

Owns `rev`, `min_move` and the factors of a person's own as S2 knows them. Looks when a `cfg:events` entry says so, and
every five seconds when a feature is about to be told: a lost entry is repaired, and a quiet market costs nothing.
"""

from dataclasses import dataclass, field

from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.enums import Severity
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.contracts.keys import CFG_ACTIVE_REV
from chimera.contracts.messages import CfgEvent
from chimera.contracts.metrics import AlertCode
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.derived import DefinitionError
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.registered import registered
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.state import Snapshots
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import Changed

LOOK_EVERY_MS = 5_000
"""A decision may lag a switch by 5 s; so may the revision that its features are marked with."""


@dataclass(slots=True, kw_only=True)
class ActiveConfig:
    """`derived_changed` is told when the bundle enables other factors of a person's own."""

    env: str
    snapshots: Snapshots
    documents: Documents
    clock: Clock
    cross: CrossMarket
    teller: Teller
    rev: int = 0
    """0: nothing was ever active."""
    derived: tuple[FactorSpec, ...] = ()
    derived_changed: Changed = field(default_factory=Changed)
    _seq: int = -1
    _look_at_ms: int = 0
    _rev_key: str = field(init=False)

    def __post_init__(self) -> None:
        self._rev_key = CFG_ACTIVE_REV.name(self.env)

    async def start(self) -> None:
        """What the documents say: the key is a copy and may be gone."""
        await self._load()

    async def on_cfg_event(self, event: CfgEvent) -> None:
        """Entries come late or out of order: the document says what holds."""
        await self._load()

    async def look(self, now_ms: int) -> None:
        if now_ms < self._look_at_ms:
            return
        self._look_at_ms = now_ms + self.clock.work_ms(LOOK_EVERY_MS)
        text = await self.snapshots.get(self._rev_key)
        if text is not None and text != str(self.rev):
            await self._load()

    async def _load(self) -> None:
        active = await self.documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        if active is None or active.seq == self._seq:
            return
        bundle = await self.documents.get(CONFIG_BUNDLES, active.bundle_id)
        if bundle is None:
            return
        self.cross.set_min_move(bundle.flags.strategy.min_move)
        self.rev, self._seq = active.rev, active.seq
        try:
            derived = registered(bundle.factors)
        except DefinitionError as error:
            # Those that were computed before stay; a rule that reads the new one finds it missing and refuses.
            await self.teller.alert(
                AlertCode.FACTOR_MISSING, Severity.ERROR, f"config rev {active.rev}: {error}", rev=str(active.rev)
            )
            return
        if derived != self.derived:
            self.derived = derived
            self.derived_changed.tell()
