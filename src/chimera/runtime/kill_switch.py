"""Whether the kill switch is pulled, as whoever opens positions must see it.

Owns how the key, the document and the file are weighed: ON in any of them wins, and silence is ON. The document is the
truth, the key its fast copy, the file a person's last resort. Writes nothing; S12 pulls and releases.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from chimera.contracts.collections import system_state
from chimera.contracts.documents import KillSwitchState
from chimera.contracts.enums import Switch
from chimera.contracts.keys import KILL_SWITCH
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots

KILL_SWITCH_STATE = system_state(KillSwitchState)
DOCUMENT_KEY = "kill_switch"

DOCUMENT_TRUSTED_MS = 1_000
"""An answer of the document holds this long, whatever it was. Source: CONTRACTS 1.2."""


def is_pulled(state: KillSwitchState | None, now_ms: int) -> bool:
    """What the document says. None: it was never written, so nobody ever pulled it."""
    if state is None or state.state is Switch.OFF:
        return False
    return state.until is None or now_ms < state.until


def no_file() -> bool:
    """For services that watch no kill file."""
    return False


@dataclass(slots=True, kw_only=True)
class KillSwitch:
    """Ask before every decision and every send: the key is read each time, the document once a second.

    `file_present` tells whether a kill file lies in the data folder; it is asked each time, so keep it cheap.
    """

    snapshots: Snapshots
    documents: Documents
    clock: Clock
    env: str
    file_present: Callable[[], bool] = no_file
    _document_on: bool = field(default=True, init=False)
    _ask_again_at_ms: int = field(default=0, init=False)

    async def is_on(self) -> bool:
        """True: no new entry. Never raises; what cannot be read counts as ON, except the key, which the document
        stands in for."""
        if self.file_present():
            return True
        try:
            if await self.snapshots.get(KILL_SWITCH.name(self.env)) == Switch.ON.value:
                return True
        except DependencyDown:
            pass
        now_ms = self.clock.now_ms()
        if now_ms >= self._ask_again_at_ms:
            self._document_on = await self._ask_document(now_ms)
            self._ask_again_at_ms = now_ms + self.clock.work_ms(DOCUMENT_TRUSTED_MS)
        return self._document_on

    async def _ask_document(self, now_ms: int) -> bool:
        try:
            return is_pulled(await self.documents.get(KILL_SWITCH_STATE, DOCUMENT_KEY), now_ms)
        except DependencyDown:
            return True
