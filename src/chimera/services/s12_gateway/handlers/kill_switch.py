"""Pulling and releasing the kill switch, and keeping its copies in step.

The document is written first, then the key; each is tried even when the other is down, because ON in either stops new
entries. What could not be written or told is owed and tried again until it is. Releasing needs the document: while it
cannot be written the switch stays ON.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from chimera.contracts.documents import KillSwitchState
from chimera.contracts.enums import EventKind, Severity, Switch
from chimera.contracts.http.gateway import KillSwitchAnswer, KillSwitchRequest
from chimera.contracts.keys import KILL_SWITCH
from chimera.contracts.messages import AlertEvent
from chimera.contracts.streams import ALERTS
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots
from chimera.runtime.kill_switch import DOCUMENT_KEY, KILL_SWITCH_STATE, is_pulled, no_file
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.telling import Teller

OWED_MAX = 200
SELF = "s12"

KILL_FILE_SAYS = "a file named KILL lies in the data folder"

log = structlog.get_logger(__name__)

Tell = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Owed:
    """What this process still has to write or tell, oldest first, and the lock that keeps changes in one order."""

    document: KillSwitchState | None = None
    key_off: bool = False
    """A release reached the document and not the key: ON in the key means nothing any more."""
    tells: deque[tuple[str, Tell]] = field(default_factory=lambda: deque(maxlen=OWED_MAX))
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnKillSwitch:
    documents: Documents
    snapshots: Snapshots
    bus: Bus
    clock: Clock
    teller: Teller
    env: str
    file_present: Callable[[], bool] = no_file
    owed: Owed = field(default_factory=Owed)

    async def show(self, request: Request) -> Reply:
        """GET /kill-switch: what holds, counting a time limit that has passed as OFF."""
        if self.owed.document is not None:
            return Reply(_answer(self.owed.document, on=True))
        now_ms = self.clock.now_ms()
        if self.file_present():
            return Reply(KillSwitchAnswer(state=Switch.ON, reason=KILL_FILE_SAYS, actor="file", updated_at=now_ms))
        state = await self.documents.get(KILL_SWITCH_STATE, DOCUMENT_KEY)
        if state is None:
            return Reply(KillSwitchAnswer(state=Switch.OFF, updated_at=now_ms))
        return Reply(_answer(state, on=is_pulled(state, now_ms)))

    async def turn(self, request: Request) -> Reply:
        """POST /kill-switch. Who may release is the gateway's check, before this."""
        wanted: KillSwitchRequest = request.body
        now_ms = self.clock.now_ms()
        until = None if wanted.ttl_s is None else now_ms + self.clock.work_ms(wanted.ttl_s * 1_000)
        state = KillSwitchState(
            state=wanted.state,
            reason=wanted.reason,
            actor=request.actor or SELF,
            updated_at=now_ms,
            until=until if wanted.state is Switch.ON else None,
        )
        async with self.owed.changing:
            if state.state is Switch.ON:
                await self._pull(state)
            else:
                await self._release(state)
            await self._tell(state)
        return Reply(_answer(state, on=state.state is Switch.ON))

    async def _pull(self, state: KillSwitchState) -> None:
        in_document = await self._write(state)
        in_key = await self._set_key(Switch.ON)
        self.owed.key_off = False
        self.owed.document = None if in_document else state
        if not in_document and not in_key:
            raise Problem(
                503,
                "kill-switch-not-written",
                "neither the document store nor the state store took it; S12 goes on trying. "
                "New entries are refused while both are silent. To be sure, put a file named KILL into the data "
                "folder.",
            )

    async def _release(self, state: KillSwitchState) -> None:
        if self.file_present():
            raise Problem(409, "kill-file-present", f"{KILL_FILE_SAYS}; remove it, then release the switch")
        if not await self._write(state):
            raise Problem(
                503, "kill-switch-still-on", "the document store did not take the release: it stays ON. Try again."
            )
        self.owed.document = None
        # ON in a key that could not be written holds until `keep_in_step` reaches it.
        self.owed.key_off = not await self._set_key(Switch.OFF)

    async def keep_in_step(self) -> None:
        """At start and each few seconds: pay what is owed, end what has a time limit, make both copies say the same."""
        async with self.owed.changing:
            if self.owed.document is not None and await self._write(self.owed.document):
                self.owed.document = None
            await self._pay_tells()
            if self.owed.document is None:
                await self._mend()

    async def _mend(self) -> None:
        now_ms = self.clock.now_ms()
        name = KILL_SWITCH.name(self.env)
        state = await self.documents.get(KILL_SWITCH_STATE, DOCUMENT_KEY)
        key = await self.snapshots.get(name)
        if state is not None and state.state is Switch.ON and not is_pulled(state, now_ms):
            state = KillSwitchState(state=Switch.OFF, reason="its time limit ended", actor=SELF, updated_at=now_ms)
            await self.documents.put(KILL_SWITCH_STATE, state)
            self.owed.key_off = True
            await self._tell(state)
        elif key == Switch.ON and not is_pulled(state, now_ms) and not self.owed.key_off:
            # Somebody pulled it while the document could not be written, and did not live to write it later.
            state = KillSwitchState(state=Switch.ON, reason="the key said ON", actor=SELF, updated_at=now_ms)
            await self.documents.put(KILL_SWITCH_STATE, state)
            await self._tell(state)
        holds = Switch.ON if is_pulled(state, now_ms) else Switch.OFF
        if key != holds:
            await self.snapshots.set(name, holds.value)
        self.owed.key_off = False

    async def _write(self, state: KillSwitchState) -> bool:
        try:
            await self.documents.put(KILL_SWITCH_STATE, state)
        except DependencyDown as down:
            log.error("the kill switch's document could not be written", why=str(down))
            return False
        return True

    async def _set_key(self, value: Switch) -> bool:
        try:
            await self.snapshots.set(KILL_SWITCH.name(self.env), value.value)
        except DependencyDown as down:
            log.error("the kill switch's key could not be written", why=str(down))
            return False
        return True

    async def _tell(self, state: KillSwitchState) -> None:
        """Audit, event and alert; one that cannot be told now is told later, and never stops the switch."""
        said = state.to_dict()
        on = state.state is Switch.ON

        async def audit() -> None:
            await self.teller.audit(state.actor, "KILL_SWITCH", DOCUMENT_KEY, after=said)

        async def event() -> None:
            await self.teller.event(
                EventKind.KILL_SWITCH,
                None,
                state.state.value,
                actor=state.actor,
                reason=state.reason,
                until=state.until,
            )

        async def alert() -> None:
            await self.bus.publish(
                ALERTS.name(self.env),
                AlertEvent(
                    ts=state.updated_at,
                    severity=Severity.WARN,
                    source=SELF,
                    message=f"kill switch {state.state.value} by {state.actor}"
                    + (f": {state.reason}" if state.reason else "")
                    + (". No new entries." if on else ". Entries are possible again."),
                    tags={"kill_switch": state.state.value},
                ),
            )

        self.owed.tells.extend((("audit", audit), ("event", event), ("alert", alert)))
        await self._pay_tells()

    async def _pay_tells(self) -> None:
        for _ in range(len(self.owed.tells)):
            what, tell = self.owed.tells.popleft()
            try:
                await tell()
            except DependencyDown as down:
                log.warning("told later", what=what, why=str(down))
                self.owed.tells.append((what, tell))


def _answer(state: KillSwitchState, *, on: bool) -> KillSwitchAnswer:
    return KillSwitchAnswer(
        state=Switch.ON if on else Switch.OFF,
        reason=state.reason,
        actor=state.actor,
        updated_at=state.updated_at,
        until=state.until if on else None,
    )
