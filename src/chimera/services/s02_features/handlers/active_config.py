"""Which configuration the features are marked with, and what of it shapes them.

Owns `rev`, `min_move` and the factors of a person's own as S2 knows them. Looks when a `cfg:events` entry says so, and
every five seconds when a feature is about to be told: a lost entry is repaired, and a quiet market costs nothing.
"""

from dataclasses import dataclass, field

from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.documents import ConfigBundle
from chimera.contracts.enums import Severity
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.contracts.keys import CFG_ACTIVE_REV
from chimera.contracts.messages import CfgEvent
from chimera.contracts.metrics import AlertCode
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.derived import DefinitionError, plan
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.registered import registered
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.state import Snapshots
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import Changed

LOOK_EVERY_MS = 5_000
"""A decision may lag a switch by 5 s; so may the revision that its features are marked with."""

READ_EVERY_MS = 60_000


@dataclass(slots=True, kw_only=True)
class ActiveConfig:
    """`derived_changed` is told when what is in force enables other factors of a person's own."""

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
    _read_at_ms: int = 0
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
        """The key tells of another revision; of a canary that came or went only the document does."""
        if now_ms < self._look_at_ms:
            return
        self._look_at_ms = now_ms + self.clock.work_ms(LOOK_EVERY_MS)
        text = await self.snapshots.get(self._rev_key)
        if (text is not None and text != str(self.rev)) or now_ms >= self._read_at_ms:
            await self._load()

    async def _load(self) -> None:
        self._read_at_ms = self.clock.now_ms() + self.clock.work_ms(READ_EVERY_MS)
        active = await self.documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        if active is None or active.seq == self._seq:
            return
        bundle = await self.documents.get(CONFIG_BUNDLES, active.bundle_id)
        canary = await self.documents.get(CONFIG_BUNDLES, active.canary.bundle_id) if active.canary else None
        if bundle is None:
            return
        self.cross.set_min_move(bundle.flags.strategy.min_move)
        self.rev, self._seq = active.rev, active.seq
        derived = await self._computable(bundle)
        if derived is None:
            return
        if canary is not None:
            derived = await self._with_canary(derived, canary)
        if derived != self.derived:
            self.derived = derived
            self.derived_changed.tell()

    async def _computable(self, bundle: ConfigBundle) -> tuple[FactorSpec, ...] | None:
        """None: one of them is not. Those that were computed before stay then, and a rule that reads the new one finds
        it missing and refuses."""
        try:
            return registered(bundle.factors)
        except DefinitionError as error:
            await self._tell_missing(bundle, str(error))
            return None

    async def _with_canary(self, derived: tuple[FactorSpec, ...], canary: ConfigBundle) -> tuple[FactorSpec, ...]:
        """A canary reads the same features; a name means one thing, and then what the stable bundle means by it."""
        known = {spec.factor_id: spec for spec in derived}
        more = await self._computable(canary) or ()
        both = (*derived, *(spec for spec in more if spec.factor_id not in known))
        twice = [spec.factor_id for spec in more if known.get(spec.factor_id, spec).definition != spec.definition]
        try:
            plan(both)
        except DefinitionError as error:
            twice, both = [str(error)], derived
        if twice:
            await self._tell_missing(canary, f"not computed beside the stable bundle's: {', '.join(twice)}")
        return both

    async def _tell_missing(self, bundle: ConfigBundle, why: str) -> None:
        await self.teller.alert(
            AlertCode.FACTOR_MISSING, Severity.ERROR, f"config rev {bundle.rev}: {why}", rev=str(bundle.rev)
        )
