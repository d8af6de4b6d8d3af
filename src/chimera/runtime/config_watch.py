"""Which configuration a service decides by, swapped whole while it runs.

Owns the reading side of a switch: `config_active` names the bundle, the bundle is checked, and one immutable snapshot
replaces the last. Whoever decides takes `current()` once and uses that to the end. A bundle that fails its check is
refused with an alert and the old one stays; `seq` never goes back. Who switches is S10's business.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.documents import ConfigActive, ConfigBundle, Factor, Instrument, StrategyRule
from chimera.contracts.enums import EventKind, Severity
from chimera.contracts.flags import Flags
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.contracts.messages import CfgEvent
from chimera.contracts.metrics import AlertCode
from chimera.contracts.streams import CFG_EVENTS
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.world import World
from chimera.runtime.service import Every, On
from chimera.runtime.telling import Teller

POLL_MS = 5_000
"""Repairs a lost `cfg:events` entry within the 5 s that a decision may lag behind. S3_CONFIG_POLL_SEC changes it."""

Check = Callable[[Mapping[str, Any]], Sequence[object]]
"""Everything that keeps this service from using a bundle (as JSON), each finding readable as text; empty: use it."""


class ConfigUnavailable(DependencyDown):
    """There is no configuration to decide by yet: S10 has not made one, or the active one failed its check."""

    def __init__(self, why: str) -> None:
        super().__init__("the configuration", why)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSnapshot:
    """One configuration, whole. Two snapshots with the same `seq` are the same."""

    rev: int
    seq: int
    bundle_id: str
    hash: str
    activated_at: int
    flags: Flags
    rules: tuple[StrategyRule, ...]
    factors: tuple[Factor, ...]
    instruments: tuple[Instrument, ...]


def snapshot_of(active: ConfigActive, bundle: ConfigBundle) -> ConfigSnapshot:
    return ConfigSnapshot(
        rev=active.rev,
        seq=active.seq,
        bundle_id=bundle.bundle_id,
        hash=bundle.hash,
        activated_at=active.activated_at,
        flags=bundle.flags,
        rules=bundle.rules,
        factors=bundle.factors,
        instruments=bundle.instruments,
    )


async def bundle_of(documents: Documents, rev: int) -> ConfigBundle | None:
    """The bundle that is, or once was, this revision."""
    found = await documents.find(Query(collection=CONFIG_BUNDLES, index="by_rev", equal=(("rev", rev),)))
    return found[0] if found else None


class ConfigWatch:
    """The configuration of one service. `start` before anything is decided, `consume` and `every` keep it current."""

    def __init__(self, world: World, env: str, *, service: str, check: Check, poll_ms: int = POLL_MS) -> None:
        self._documents: Documents = world.documents
        self._clock: Clock = world.clock
        self._metrics: Metrics = world.metrics
        self._teller = Teller(source=service, env=env, bus=world.bus, documents=world.documents, clock=world.clock)
        self._service = service
        self._env = env
        self._check = check
        self._poll_ms = poll_ms
        self._current: ConfigSnapshot | None = None
        self._refused_seq = -1

    def current(self) -> ConfigSnapshot:
        """
        Raises:
            ConfigUnavailable: nothing was loaded yet.
        """
        if self._current is None:
            raise ConfigUnavailable("no bundle was loaded yet")
        return self._current

    @property
    def loaded(self) -> bool:
        return self._current is not None

    async def start(self) -> None:
        """
        Raises:
            ConfigUnavailable: nothing is active, or it failed its check: try again, the service cannot run without.
        """
        await self.poll()
        self.current()

    async def on_cfg_event(self, event: CfgEvent) -> None:
        """The event only says that it is time to look; the document says what holds."""
        if event.seq is None or self._current is None or event.seq > self._current.seq:
            await self.poll()

    async def poll(self) -> None:
        """Read what is active and swap to it where it is newer than ours."""
        active = await self._documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        if active is None or not self._is_news(active):
            return
        bundle = await self._documents.get(CONFIG_BUNDLES, active.bundle_id)
        findings: Sequence[object] = (
            (f"bundle {active.bundle_id} is active and cannot be found",)
            if bundle is None
            else (f"bundle {active.bundle_id} has another hash than the one that was made active",)
            if active.hash is not None and bundle.hash != active.hash
            else self._check(bundle.to_dict())
        )
        # Another reader of ours may have swapped while this one waited for the store.
        if not self._is_news(active):
            return
        if bundle is None or findings:
            await self._refuse(active, findings, found=bundle is not None)
            return
        before, self._current = self._current, snapshot_of(active, bundle)
        if before is not None:
            # What was active before we came says nothing about how fast we follow.
            self._metrics.gauge("config_lag_ms", (self._clock.now_ms() - active.activated_at) / self._clock.speed)
            await self._teller.event(
                EventKind.CONFIG_HOTLOAD,
                None,
                f"{self._service}-{active.seq}",
                service=self._service,
                rev=active.rev,
                seq=active.seq,
                before_rev=before.rev,
            )

    def consume(self) -> On:
        return On(streams=(CFG_EVENTS.name(self._env),), payload=CfgEvent, handle=self.on_cfg_event, broadcast=True)

    def every(self) -> Every:
        return Every(name="config-poll", interval_ms=self._poll_ms, run=self.poll)

    def _is_news(self, active: ConfigActive) -> bool:
        return active.seq > max(self._current.seq if self._current else -1, self._refused_seq)

    async def _refuse(self, active: ConfigActive, findings: Sequence[object], *, found: bool) -> None:
        """A bundle that was found is judged once; one that is missing may still turn up."""
        kept = f"rev {self._current.rev} stays" if self._current else "there is none to stay with"
        await self._teller.alert(
            AlertCode.CONFIG_REV_MISMATCH,
            Severity.ERROR,
            f"{self._service} refuses config rev {active.rev}, {kept}: " + "; ".join(map(str, findings)),
            rev=str(active.rev),
            seq=str(active.seq),
        )
        if found:
            # Only now: an alert that the bus did not take is told again at the next poll.
            self._refused_seq = active.seq
