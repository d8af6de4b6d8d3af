"""GET /restraints: everything that keeps the system from entering now, why, and what a person can do about it.

Owns the words. Each source is asked by itself and only for a moment, so that one that is silent hides none of the
others; silence is a restraint of its own, because whoever decides counts it against the entry as well.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chimera.contracts.collections import system_state
from chimera.contracts.documents import HaltsState, PausesState, StrangersState
from chimera.contracts.enums import HealthLevel, Switch
from chimera.contracts.http.gateway import RestraintsAnswer, RestraintView
from chimera.contracts.keys import CLOCK_OFFSET, HEALTH_ROLLING, HEALTH_STATE, ROUTER_BREAKER
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerCall, PeerUnavailable
from chimera.ports.world import World
from chimera.runtime.restraints import CLOCK_OFFSET_MAX_MS, HEALTH_OLD_MS
from chimera.runtime.service import Reply, Request
from chimera.runtime.waiting import DeadlinePassed, until
from chimera.services.s12_gateway.handlers.kill_switch import TurnKillSwitch

ASK_MS = 1_500
"""Of our own work: a page that is shown each second does not wait longer for one service."""
BREAKER_EACH_NS = 5_000_000_000
ME = "s12"
CLOSED = "CLOSED"

PAUSES = system_state(PausesState)
HALTS = system_state(HaltsState)
STRANGERS = system_state(StrangersState)

Views = tuple[RestraintView, ...]


@dataclass(slots=True, kw_only=True)
class TellRestraints:
    world: World
    kill_switch: TurnKillSwitch
    env: str
    _breaker_told: tuple[str, int] | None = None
    """What S4 said of its breaker last, and when on the process's own clock, ns."""

    async def show(self, request: Request) -> Reply:
        return Reply(RestraintsAnswer(restraints=await self.now(), ts=self.world.clock.now_ms()))

    async def now(self) -> Views:
        """The most final first. Never raises: what cannot be asked is named."""
        sources: tuple[tuple[str, Callable[[], Awaitable[Views]]], ...] = (
            ("the kill switch", self._kill_switch),
            ("the halts", self._halts),
            ("the pauses", self._pauses),
            ("S5, the reconciler", self._reconciler),
            ("S4, the order router", self._breaker),
            ("health", self._health),
            ("the clock's offset", self._clock),
            ("positions of others", self._strangers),
        )
        views: list[RestraintView] = []
        for what, ask in sources:
            deadline_ms = self.world.clock.now_ms() + self.world.clock.work_ms(ASK_MS)
            try:
                views += await until(self.world.clock, deadline_ms, ask())
            except DeadlinePassed:
                views.append(_silent(what, f"no answer within {ASK_MS / 1_000:g} s"))
            except DependencyDown as down:
                views.append(_silent(what, str(down)))
        return tuple(views)

    async def _kill_switch(self) -> Views:
        told: Any = (await self.kill_switch.show(Request(body=None))).body
        if told.state is Switch.OFF:
            return ()
        return (
            RestraintView(
                name="KILL_SWITCH",
                why=f"pulled by {told.actor}" + (f": {told.reason}" if told.reason else ""),
                remedy="An admin releases it: the button above, or chimera kill-switch off.",
                page="kill-switch",
                by=told.actor,
                since=told.updated_at,
                until=told.until,
            ),
        )

    async def _halts(self) -> Views:
        state = await self.world.documents.get(HALTS, "halts")
        return tuple(
            RestraintView(
                name="HALT",
                scope=name,
                why=halt.reason,
                remedy="Understand the losses, then an admin releases it with a reason: Release, or POST"
                f" /halts/{name}/release.",
                page="risk-halt",
                since=halt.at,
            )
            for name, halt in sorted((state.halts if state else {}).items())
        )

    async def _pauses(self) -> Views:
        state = await self.world.documents.get(PAUSES, "pauses")
        now_ms = self.world.clock.now_ms()
        return tuple(
            RestraintView(
                name="PAUSE",
                scope=scope,
                why=f"{pause.actor} paused new entries" + (f": {pause.reason}" if pause.reason else ""),
                remedy=f"Resume, or chimera resume {scope}.",
                by=pause.actor,
                since=pause.at,
                until=pause.until,
            )
            for scope, pause in sorted((state.pauses if state else {}).items())
            if pause.until is None or now_ms < pause.until
        )

    async def _reconciler(self) -> Views:
        told = await self._body("s5", "/status")
        if told.get("reconciled"):
            return ()
        detail = told.get("detail")
        return (
            RestraintView(
                name="NOT_RECONCILED",
                why=detail or "the records have not been compared with the exchange yet",
                remedy="It tries again by itself. Mend what is named here; POST /api/s5/reconcile compares now.",
                page="recon-failed",
                since=told.get("last_run_ts"),
            ),
        )

    async def _breaker(self) -> Views:
        """As S4 keeps it in its key; where there is none, as S4 says of itself, which asks the exchange each time."""
        kept = await self.world.snapshots.get_hash(ROUTER_BREAKER.name(self.env))
        state = kept.get("state") or await self._breaker_by_health()
        if state == CLOSED:
            return ()
        rate = f" ({float(kept['error_rate']):.0%} of the calls)" if kept.get("error_rate") else ""
        tries = ". It tries a few calls now, and closes when they succeed" if state.startswith("HALF") else ""
        return (
            RestraintView(
                name="BREAKER",
                scope=state,
                why=f"the exchange failed too often{rate}, or somebody opened it by hand{tries}",
                since=int(float(kept["opened_at"])) if kept.get("opened_at") else None,
                remedy="Wait: it closes by itself after good probes. Opened by hand it is closed by hand, by an admin:"
                " POST /api/s4/breaker/close.",
                page="cb-open",
            ),
        )

    async def _breaker_by_health(self) -> str:
        now_ns = self.world.clock.perf_ns()
        if self._breaker_told is None or now_ns - self._breaker_told[1] >= BREAKER_EACH_NS:
            checks = (await self._body("s4", "/health")).get("checks") or {}
            self._breaker_told = str(checks.get("cb_state", CLOSED)), now_ns
        return self._breaker_told[0]

    async def _health(self) -> Views:
        snapshots, clock = self.world.snapshots, self.world.clock
        level = await snapshots.get(HEALTH_STATE.name(self.env))
        rolling = await snapshots.get_hash(HEALTH_ROLLING.name(self.env))
        updated_at = rolling.get("updated_at")
        if level is None or updated_at is None:
            return (_health_view("nobody has judged it yet", "The first judgement comes within a minute."),)
        age_ms = clock.now_ms() - int(updated_at)
        if age_ms > clock.work_ms(HEALTH_OLD_MS):
            why = f"the last judgement ({level}) is too old, which counts as RED"
            return (_health_view(why, "Look at S11 under Services; restart the system if it stays."),)
        if HealthLevel(level) is not HealthLevel.RED:
            return ()
        grades: Mapping[str, str] = json.loads(rolling.get("grades", "{}"))
        bad = ", ".join(f"{name} {grade}" for name, grade in sorted(grades.items()) if grade not in ("GREEN", "NONE"))
        return (_health_view(f"RED: {bad or 'see Services'}", "Mend what is named; a grade improves by itself."),)

    async def _clock(self) -> Views:
        text = await self.world.snapshots.get(CLOCK_OFFSET.name(self.env))
        if text is None:
            return ()
        clock = self.world.clock
        offset_ms = float(text)
        if abs(offset_ms) <= clock.work_ms(CLOCK_OFFSET_MAX_MS):
            return ()
        return (
            RestraintView(
                name="CLOCK_SKEW",
                why=f"our clock and the exchange's differ by {offset_ms / clock.speed:+.0f} ms",
                remedy="Synchronise this machine's clock; where it is ahead, restart the system afterwards.",
                page="clock-skew",
            ),
        )

    async def _strangers(self) -> Views:
        state = await self.world.documents.get(STRANGERS, "strangers")
        return tuple(
            RestraintView(
                name="STRANGER",
                scope=key,
                why=f"somebody else holds {qty} of it on this account",
                remedy="Close it by hand, or leave it to its stop: nothing is entered beside it.",
                page="recon-fixed",
            )
            for key, qty in sorted((state.held if state else {}).items())
            if qty
        )

    async def _body(self, service: str, path: str) -> Mapping[str, Any]:
        told = await self.world.peers.call(PeerCall(service, "GET", path, actor=ME))
        body = told.body if isinstance(told.body, Mapping) else {}
        if not told.ok and "checks" not in body:
            raise PeerUnavailable(service, str(body.get("detail", told.status)))
        return body


def _health_view(why: str, remedy: str) -> RestraintView:
    return RestraintView(name="HEALTH", why=why, remedy=remedy)


def _silent(what: str, why: str) -> RestraintView:
    return RestraintView(
        name="UNKNOWN",
        scope=what,
        why=f"{what} cannot be asked: {why}",
        remedy="What is unknown counts against an entry. Look at Services; restart the system if it stays.",
        page="restart",
    )
