"""Which configuration a service decides by, swapped whole while it runs.

Owns the reading side of a switch: `config_active` names the bundle, the bundle is checked, and one immutable snapshot
replaces the last. Whoever decides takes one snapshot and uses that to the end: `of(signal_id)`, for a canary decides
its share of the signals, or `current()` where no signal is meant. A bundle that fails its check is refused with an
alert and the old one stays, a canary that fails it leaves everything to the stable one; `seq` never goes back. Who
switches is S10's business.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.documents import ConfigActive, ConfigBundle, ConfigCanary, Factor, Instrument, StrategyRule
from chimera.contracts.enums import EventKind, Severity
from chimera.contracts.flags import Flags
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.contracts.messages import CfgEvent
from chimera.contracts.metrics import AlertCode
from chimera.contracts.streams import CFG_EVENTS
from chimera.domain.config.cohort import in_canary
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.world import World
from chimera.runtime.service import Every, On
from chimera.runtime.telling import Teller

POLL_MS = 5_000
"""Repairs a lost `cfg:events` entry within the 5 s that a decision may lag behind. S3_CONFIG_POLL_SEC changes it."""

POLL_LEAD = 20
"""This part of the interval is left for reading, linting and swapping: a twentieth, 250 ms of 5 s."""

Check = Callable[[Mapping[str, Any]], Sequence[object]]
"""Everything that keeps this service from using a bundle (as JSON), each finding readable as text; empty: use it."""


class ConfigUnavailable(DependencyDown):
    """There is no configuration to decide by yet: S10 has not made one, or the active one failed its check."""

    def __init__(self, why: str) -> None:
        super().__init__("the configuration", why)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSnapshot:
    """One configuration, whole. Two snapshots with the same `seq` and `rev` are the same."""

    rev: int
    seq: int
    bundle_id: str
    hash: str
    activated_at: int
    flags: Flags
    rules: tuple[StrategyRule, ...]
    factors: tuple[Factor, ...]
    instruments: tuple[Instrument, ...]


@dataclass(frozen=True, slots=True)
class Cohorts:
    """What is in force, whole: the stable configuration, and beside it perhaps a canary for a share of the signals."""

    stable: ConfigSnapshot
    canary: ConfigSnapshot | None = None
    share: float = 0.0

    def of(self, signal_id: str) -> ConfigSnapshot:
        """The one that decides this signal; always the same while neither canary nor share changes."""
        if self.canary is not None and in_canary(signal_id, self.share):
            return self.canary
        return self.stable

    def snapshots(self) -> tuple[ConfigSnapshot, ...]:
        return (self.stable,) if self.canary is None else (self.stable, self.canary)


def _snapshot(active: ConfigActive, bundle: ConfigBundle, rev: int) -> ConfigSnapshot:
    return ConfigSnapshot(
        rev=rev,
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
        self._in_force: Cohorts | None = None
        self._refused_seq = -1
        self._untold: _Refusal | None = None
        self._when_swapped: list[Callable[[], None]] = []

    def in_force(self) -> Cohorts:
        """
        Raises:
            ConfigUnavailable: nothing was loaded yet.
        """
        if self._in_force is None:
            raise ConfigUnavailable("no bundle was loaded yet")
        return self._in_force

    def current(self) -> ConfigSnapshot:
        """The stable one.

        Raises:
            ConfigUnavailable: nothing was loaded yet.
        """
        return self.in_force().stable

    def of(self, signal_id: str) -> ConfigSnapshot:
        """The one that decides this signal.

        Raises:
            ConfigUnavailable: nothing was loaded yet.
        """
        return self.in_force().of(signal_id)

    @property
    def loaded(self) -> bool:
        return self._in_force is not None

    def when_swapped(self, then: Callable[[], None]) -> None:
        """Call `then` whenever another configuration has come into force, the first one too."""
        self._when_swapped.append(then)

    async def start(self) -> None:
        """
        Raises:
            ConfigUnavailable: nothing is active, or it failed its check: try again, the service cannot run without.
        """
        await self.poll()
        self.current()

    async def on_cfg_event(self, event: CfgEvent) -> None:
        """The event only says that it is time to look; the document says what holds."""
        if event.seq is None or self._in_force is None or event.seq > self._in_force.stable.seq:
            await self.poll()

    async def poll(self) -> None:
        """Read what is active and swap to it where it is newer than ours."""
        # First the switch: it waits for no bus that does not take an alert.
        await self._look()
        await self._tell_refusal()

    async def _look(self) -> None:
        active = await self._documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        if active is None or not self._is_news(active):
            return
        bundle, findings = await self._judged(active.bundle_id, active.hash, "active")
        canary: ConfigBundle | None = None
        canary_findings: Sequence[object] = ()
        if active.canary is not None and bundle is not None and not findings:
            canary, canary_findings = await self._judged(active.canary.bundle_id, active.canary.hash, "a canary")
        # Another reader of ours may have swapped while this one waited for the store.
        if not self._is_news(active):
            return
        if bundle is None or findings:
            kept = f"rev {self._in_force.stable.rev} stays" if self._in_force else "there is none to stay with"
            self._untold = _Refusal(active.rev, active.seq, kept, findings)
            if bundle is not None:
                # One that was found is judged once; one that is missing may still turn up.
                self._refused_seq = active.seq
            return
        before, self._in_force = self._in_force, _cohorts(active, bundle, None if canary_findings else canary)
        for then in self._when_swapped:
            then()
        if before is not None:
            # What was active before we came says nothing about how fast we follow.
            self._metrics.gauge("config_lag_ms", (self._clock.now_ms() - active.activated_at) / self._clock.speed)
        if active.canary is not None and canary_findings:
            self._untold = _Refusal(active.canary.rev, active.seq, f"rev {active.rev} decides all", canary_findings)
        if before is not None:
            in_force = self._in_force
            shared: dict[str, Any] = (
                {} if in_force.canary is None else {"canary_rev": in_force.canary.rev, "share": in_force.share}
            )
            await self._teller.event(
                EventKind.CONFIG_HOTLOAD,
                None,
                f"{self._service}-{active.seq}",
                service=self._service,
                rev=active.rev,
                seq=active.seq,
                before_rev=before.stable.rev,
                **shared,
            )

    def consume(self) -> On:
        return On(streams=(CFG_EVENTS.name(self._env),), payload=CfgEvent, handle=self.on_cfg_event, broadcast=True)

    def every(self) -> Every:
        """A little more often than the interval says: what a look finds is in force when the interval ends."""
        return Every(name="config-poll", interval_ms=self._poll_ms - self._poll_ms // POLL_LEAD, run=self.poll)

    def _is_news(self, active: ConfigActive) -> bool:
        return active.seq > max(self._in_force.stable.seq if self._in_force else -1, self._refused_seq)

    async def _judged(
        self, bundle_id: str, expected_hash: str | None, what: str
    ) -> tuple[ConfigBundle | None, Sequence[object]]:
        """The bundle, and what keeps it from being used."""
        bundle = await self._documents.get(CONFIG_BUNDLES, bundle_id)
        if bundle is None:
            return None, (f"bundle {bundle_id} is {what} and cannot be found",)
        if expected_hash is not None and bundle.hash != expected_hash:
            return bundle, (f"bundle {bundle_id} has another hash than the one that was made {what}",)
        return bundle, self._check(bundle.to_dict())

    async def _tell_refusal(self) -> None:
        """What the bus does not take is told again at the next poll."""
        refusal, self._untold = self._untold, None
        if refusal is None:
            return
        try:
            await self._teller.alert(
                AlertCode.CONFIG_REV_MISMATCH,
                Severity.ERROR,
                f"{self._service} refuses config rev {refusal.rev}, {refusal.kept}: "
                + "; ".join(map(str, refusal.findings)),
                rev=str(refusal.rev),
                seq=str(refusal.seq),
            )
        except BaseException:
            self._untold = self._untold or refusal
            raise


@dataclass(frozen=True, slots=True)
class _Refusal:
    rev: int
    seq: int
    kept: str
    findings: Sequence[object]


def _cohorts(active: ConfigActive, bundle: ConfigBundle, canary: ConfigBundle | None) -> Cohorts:
    stable = _snapshot(active, bundle, active.rev)
    wanted: ConfigCanary | None = active.canary
    if wanted is None or canary is None:
        return Cohorts(stable)
    return Cohorts(stable, _snapshot(active, canary, wanted.rev), wanted.share)
