"""Pausing and resuming entries, and releasing a halt.

Each changes one document of `system_state` by compare and set, so that two people at once lose nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from chimera.contracts.collections import system_state
from chimera.contracts.documents import HaltsState, Pause, PausesState, SystemState
from chimera.contracts.enums import Market
from chimera.contracts.http.gateway import HaltReleaseAnswer, HaltReleaseRequest, PauseAnswer, PauseRequest
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, RevisionConflict
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.telling import Teller

S = TypeVar("S", bound=SystemState)

PAUSES_STATE = system_state(PausesState)
HALTS_STATE = system_state(HaltsState)
PAUSES_KEY = "pauses"
HALTS_KEY = "halts"
EVERYTHING = "ALL"
TRIES = 10


def scope_of(text: str) -> str:
    """`ALL`, a market, or an instrument such as `FUT:BTCUSDT`.

    Raises:
        Problem: 400, it is none of these.
    """
    if text == EVERYTHING or text in Market.__members__:
        return text
    market, colon, symbol = text.partition(":")
    if colon and market in Market.__members__ and symbol.isalnum() and symbol == symbol.upper():
        return f"{market}:{symbol}"
    raise Problem(400, "malformed-body", f"scope {text!r} is none of ALL, FUT, SPOT, or an instrument as FUT:BTCUSDT")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRestraints:
    documents: Documents
    clock: Clock
    teller: Teller

    async def pause(self, request: Request) -> Reply:
        """POST /pause."""
        wanted: PauseRequest = request.body
        scope = scope_of(wanted.scope)
        now_ms = self.clock.now_ms()
        until = None if wanted.ttl_s is None else now_ms + self.clock.work_ms(wanted.ttl_s * 1_000)
        pause = Pause(at=now_ms, actor=request.actor or "s12", reason=wanted.reason, until=until)
        before, after = await self._change_pauses(lambda pauses: {**pauses, scope: pause})
        await self.teller.audit(pause.actor, "PAUSE", scope, _plain(before.get(scope)), pause.to_dict())
        return Reply(PauseAnswer(paused=tuple(sorted(after))))

    async def resume(self, request: Request) -> Reply:
        """POST /resume. Ends the pause of exactly this scope: resuming FUT leaves a pause of ALL in force."""
        wanted: PauseRequest = request.body
        scope = scope_of(wanted.scope)
        before, after = await self._change_pauses(
            lambda pauses: {name: pause for name, pause in pauses.items() if name != scope}
        )
        if scope not in before:
            raise Problem(
                404, "not-paused", f"{scope} is not paused; paused now: {', '.join(sorted(before)) or 'nothing'}"
            )
        await self.teller.audit(request.actor or "s12", "RESUME", scope, _plain(before[scope]), None)
        return Reply(PauseAnswer(paused=tuple(sorted(after))))

    async def paused(self, request: Request) -> Reply:
        """GET /pause."""
        state = await self.documents.get(PAUSES_STATE, PAUSES_KEY)
        return Reply(PauseAnswer(paused=tuple(sorted(self._living(state.pauses if state else {})))))

    async def release_halt(self, request: Request) -> Reply:
        """POST /halts/{name}/release. A halt is final until a person releases it; who may is the gateway's check."""
        name = request.path["name"]
        wanted: HaltReleaseRequest = request.body
        for _ in range(TRIES):
            stored = await self.documents.get_stored(HALTS_STATE, HALTS_KEY)
            halts = stored.doc.halts if stored else {}
            if stored is None or name not in halts:
                raise Problem(
                    404, "no-such-halt", f"{name} is not halted; halts now: {', '.join(sorted(halts)) or 'none'}"
                )
            rest = {other: halt for other, halt in halts.items() if other != name}
            try:
                await self.documents.replace(
                    HALTS_STATE, HaltsState(halts=rest, updated_at=self.clock.now_ms()), rev=stored.rev
                )
            except RevisionConflict:
                continue
            await self.teller.audit(
                request.actor or "s12", "HALT_RELEASE", name, halts[name].to_dict(), {"reason": wanted.reason}
            )
            return Reply(HaltReleaseAnswer(name=name, released=True))
        raise _contended("halts")

    async def _change_pauses(
        self, change: Callable[[dict[str, Pause]], dict[str, Pause]]
    ) -> tuple[dict[str, Pause], dict[str, Pause]]:
        """Returns: the pauses in force before and after."""
        for _ in range(TRIES):
            stored = await self.documents.get_stored(PAUSES_STATE, PAUSES_KEY)
            before = self._living(stored.doc.pauses if stored else {})
            state = PausesState(pauses=change(before), updated_at=self.clock.now_ms())
            try:
                if stored is None:
                    await self.documents.insert(PAUSES_STATE, state)
                else:
                    await self.documents.replace(PAUSES_STATE, state, rev=stored.rev)
            except (RevisionConflict, DuplicateKey):
                continue
            return before, state.pauses
        raise _contended("pauses")

    def _living(self, pauses: dict[str, Pause]) -> dict[str, Pause]:
        now_ms = self.clock.now_ms()
        return {name: pause for name, pause in pauses.items() if pause.until is None or now_ms < pause.until}


def _plain(pause: Pause | None) -> object:
    return None if pause is None else pause.to_dict()


def _contended(what: str) -> Problem:
    return Problem(409, "changed-meanwhile", f"others change the {what} at the same time; try again")
