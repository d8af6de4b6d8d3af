"""What forbids a new entry right now, gathered once for whoever decides or sends.

Owns how the pieces are read and how silence is judged: a piece that cannot be read counts against the entry. Decides
nothing: S3's gates and S4's last look weigh what stands here.
"""

from dataclasses import dataclass, field

from chimera.contracts.collections import system_state
from chimera.contracts.documents import HaltsState, PausesState
from chimera.contracts.enums import HealthLevel
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import CLOCK_OFFSET, HEALTH_ROLLING, HEALTH_STATE, RECON_LAST_RUN
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.state import Snapshots
from chimera.runtime.kill_switch import KillSwitch

HEALTH_OLD_MS = 180_000
"""A health level nobody has confirmed for so long counts as RED. Source: CONTRACTS 1.2."""

RECONCILED_OLD_MS = 180_000
"""A reconciliation older than this does not count. Source: SERVICES S5."""

CLOCK_OFFSET_MAX_MS = 1_000
"""Of our own work. Source: SERVICES S1."""

PAUSES = system_state(PausesState)
HALTS = system_state(HaltsState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`health` None: unknown. `halted_by` names the first halt. Pauses are asked per instrument: `paused_by`."""

    kill_switch_on: bool
    health: HealthLevel | None
    pauses: tuple[str, ...]
    halted_by: str | None
    reconciled: bool
    clock_offset_ms: int | None
    clock_offset_max_ms: int
    """As the offset, in market time."""

    def paused_by(self, key: InstrumentKey) -> str | None:
        """The pause that holds for `key`: everything, its market, or itself."""
        for name in ("ALL", key.market.value, str(key)):
            if name in self.pauses:
                return name
        return None


@dataclass(slots=True, kw_only=True)
class Restraints:
    """Nothing is kept from one call to the next: who was told that a pause holds sees no entry sent after it."""

    env: str
    snapshots: Snapshots
    documents: Documents
    clock: Clock
    kill_switch: KillSwitch
    _keys: tuple[str, ...] = field(init=False)
    _rolling: str = field(init=False)

    def __post_init__(self) -> None:
        self._keys = tuple(key.name(self.env) for key in (HEALTH_STATE, RECON_LAST_RUN, CLOCK_OFFSET))
        self._rolling = HEALTH_ROLLING.name(self.env)

    async def standing(self) -> Standing:
        """
        Raises:
            DependencyDown: the state or document store did not answer; then nothing new may be entered.
        """
        level, reconciled_at, offset = await self.snapshots.get_many(self._keys)
        rolling = await self.snapshots.get_hash(self._rolling)
        pauses = await self.documents.get(PAUSES, "pauses")
        halts = await self.documents.get(HALTS, "halts")
        kill_switch_on = await self.kill_switch.is_on()
        now_ms = self.clock.now_ms()
        return Standing(
            kill_switch_on=kill_switch_on,
            health=self._health(level, rolling.get("updated_at"), now_ms),
            pauses=_in_force(pauses, now_ms),
            halted_by=min(halts.halts, default=None) if halts else None,
            reconciled=reconciled_at is not None
            and now_ms - int(reconciled_at) <= self.clock.work_ms(RECONCILED_OLD_MS),
            clock_offset_ms=None if offset is None else int(float(offset)),
            clock_offset_max_ms=self.clock.work_ms(CLOCK_OFFSET_MAX_MS),
        )

    def _health(self, level: str | None, updated_at: str | None, now_ms: int) -> HealthLevel | None:
        if level is None or updated_at is None or now_ms - int(updated_at) > self.clock.work_ms(HEALTH_OLD_MS):
            return None
        return HealthLevel(level)


def _in_force(pauses: PausesState | None, now_ms: int) -> tuple[str, ...]:
    if pauses is None:
        return ()
    return tuple(name for name, pause in sorted(pauses.pauses.items()) if pause.until is None or now_ms < pause.until)
