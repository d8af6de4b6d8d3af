"""What stands on every page: name, way between the pages, market time, kill switch, halts, and who looks.

Owns one browser's course: built once, shown anew each second while somebody looks, and ended with the session. What
a page is about stands in its own file: `overview_view`, `decisions_view`, `config_view`. The server decides who may
press what; the browser only shows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nicegui import ui

from chimera.contracts.enums import HealthLevel, Switch
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.errors import DependencyDown
from chimera.services.s12_gateway import roles
from chimera.services.s12_gateway.access import Identity
from chimera.services.s12_gateway.page.data import Overview, PageData, Told
from chimera.services.s12_gateway.page.elements import LinkState, Text, box, press
from chimera.services.s12_gateway.page.settings import PageSettings
from chimera.services.s12_gateway.page.words import NO_MONEY, NOTHING, at
from chimera.services.s12_gateway.web import UI, Web

REFRESH_S = 1.0
SESSION_EACH = 10
"""The session is looked at in every so many refreshes, and before every change."""
HEALTH_TONES = {
    HealthLevel.GREEN: "good",
    HealthLevel.YELLOW: "warn",
    HealthLevel.ORANGE: "warn",
    HealthLevel.RED: "bad",
}
PAGES = (("Overview", "/"), ("Orders", "/orders"), ("Decisions", "/decisions"), ("Configuration", "/config"))
"""Names and paths below the mount."""


@dataclass(frozen=True, slots=True)
class Here:
    """What every page of this process is made with."""

    web: Web
    data: PageData
    settings: PageSettings


class Frame(ABC):
    """One browser's page. `name` is its entry in `PAGES`, `layout` the class of its main element."""

    name = ""
    layout = "house"

    def __init__(self, here: Here, identity: Identity) -> None:
        self._web = here.web
        self._data = here.data
        self._settings = here.settings
        self._identity = identity
        self._places: Mapping[InstrumentKey, int] = {}
        self._looked_at = True
        self._ticks = 0
        self._held_shown: list[tuple[str, str, str]] = []

    @abstractmethod
    async def build(self) -> None:
        """Make what stands below the header."""

    @abstractmethod
    async def show(self, seen: Overview) -> None:
        """Bring it up to date."""

    async def look(self) -> Overview:
        """What a refresh reads."""
        return await self._data.standing()

    async def open(self) -> None:
        self._places = await self._known_places()
        seen = await self.look()
        with box("top", "header"):
            self._build_header()
            self._build_bars()
        with box(self.layout, "main"):
            await self.build()
        await self._show(seen)
        ui.timer(REFRESH_S, self._refresh, immediate=False)

    async def _known_places(self) -> Mapping[InstrumentKey, int]:
        try:
            return await self._data.decimals()
        except DependencyDown:
            return {}

    # What stands where.

    def _build_header(self) -> None:
        settings = self._settings
        with box("top-line"):
            Text("brand", "CHIMERA")
            with box("pages", "nav").props('aria-label="Pages"'):
                for name, path in PAGES:
                    current = " aria-current=page" if name == self.name else ""
                    with box("", "a").props(f"href={UI}{path}{current}"):
                        Text("", name)
            if settings.is_live:
                Text("pill live", "LIVE").props('title="Real orders, real money"')
            else:
                name, means = NO_MONEY[settings.venue]
                Text("pill simulated", name).props(f'title="{means}"')
            self._time = Text("time").props('title="Market time"')
            Text("pill", f"{settings.speed:g}×").props('title="Market time runs this much faster than yours"')
            with box("fact"):
                Text("label", "health")
                self._health = Text("light")
            with box("fact"):
                Text("", "rev")
                self._rev = Text("strong")
            box("space")
            Text("dim", f"{self._identity.user} · {self._identity.role.value}")
            press("◐", "quiet", lambda: None).on("click", js_handler="() => window.chimeraTheme.toggle()").props(
                'aria-label="dark or light" title="Dark or light"'
            )
            with box("kill", "button").props("type=button").on("click", self._press_kill) as self._kill:
                self._kill_name = Text("", "KILL SWITCH")

    def _build_bars(self) -> None:
        self._link = LinkState(self._seen)
        with box("bar kill-bar hidden").props("role=alert") as self._kill_bar:
            Text("", "KILL SWITCH ON", "b")
            self._kill_text = Text()
            box("space")
            if self._may_turn(Switch.OFF):
                press("Release", "", self._ask_release)
        with box("bar held-bar hidden").props("role=status") as self._held_bar:
            self._held = box("held")
            box("space")
            with box("hidden") as self._halts_release:
                press("Release", "", self._ask_halts_release)
            with box("hidden") as self._pauses_end:
                press("Resume", "", self._ask_resume)

    # What each second changes.

    async def _refresh(self) -> None:
        if not self._looked_at:
            return
        self._ticks += 1
        if self._ticks % SESSION_EACH == 0 and not await self._is_known():
            return
        if len(self._places) < len(self._settings.keys):
            self._places = await self._known_places()
        await self._show(await self.look())
        self._link.beat()

    async def _seen(self, looked_at: bool) -> None:
        self._looked_at = looked_at
        await self._refresh()

    async def _show(self, seen: Overview) -> None:
        self._show_header(seen)
        self._show_bars(seen)
        await self.show(seen)

    async def _is_known(self) -> bool:
        """Whether the session still stands; who is out goes to the login."""
        if not self._identity.by_cookie:
            return True
        try:
            identity = await self._web.access.renew(self._identity.session_hash)
        except DependencyDown:
            return self._identity.expires_at > self._data.world.clock.now_ms()
        if identity is None:
            ui.navigate.to("/login")
            return False
        self._identity = identity
        return True

    def _show_header(self, seen: Overview) -> None:
        self._time.show(at(seen.now_ms, "%Y-%m-%d %H:%M:%S UTC"))
        if seen.health is None:
            self._health.show("not judged yet", "dim")
        else:
            old = " (too old)" if seen.health_is_old else ""
            self._health.show(seen.health.value + old, "bad" if seen.health_is_old else HEALTH_TONES[seen.health])
        self._rev.show(NOTHING if seen.config_rev is None else str(seen.config_rev))

    def _show_bars(self, seen: Overview) -> None:
        show_if(self._kill_bar, seen.kill_is_on)
        self._kill_name.show("KILL SWITCH: ON" if seen.kill_is_on else "KILL SWITCH")
        self._kill.classes(add="on" if seen.kill_is_on else "", remove="" if seen.kill_is_on else "on")
        if seen.kill is not None and seen.kill_is_on:
            reason = f": {seen.kill.reason}" if seen.kill.reason else ""
            until = f", until {at(seen.kill.until, '%m-%d %H:%M:%S')}" if seen.kill.until else ""
            since = at(seen.kill.updated_at, "%m-%d %H:%M:%S")
            self._kill_text.show(
                f"No new entries. Stops and exits go on. Pulled by {seen.kill.actor} at {since} UTC{until}{reason}"
            )
        held = held_lines(seen)
        show_if(self._held_bar, bool(held))
        show_if(self._halts_release, any(self.may(halt_release(name), {}) for name in seen.halts))
        show_if(self._pauses_end, bool(seen.pauses) and self.may("/resume", {}))
        if held != self._held_shown:
            self._held_shown = held
            self._held.clear()
            with self._held:
                for name, why, remedy in held:
                    with box("why", "p"):
                        Text("", name, "b")
                        Text("", why)
                        Text("dim", remedy)

    def places_of(self, key: InstrumentKey) -> int:
        """How many places a price of it has."""
        return self._places.get(key, 2)

    # What a person does.

    def may(self, path: str, body: Mapping[str, object]) -> bool:
        return roles.has(self._identity.role, roles.needed("s12", "POST", path, body))

    def _may_turn(self, state: Switch) -> bool:
        return self.may("/kill-switch", {"state": state.value})

    async def _press_kill(self) -> None:
        if not self._data.seen.kill_is_on:
            await self._ask_kill()
        elif self._may_turn(Switch.OFF):
            await self._ask_release()
        else:
            ui.notify("Releasing is an admin's. Stops and exits go on meanwhile.", type="info")

    async def _ask_kill(self) -> None:
        why = await self.ask(
            "Stop all new entries?",
            "Nothing new is opened until an admin releases it. Open positions keep their stops, exits go on.",
            "Pull the kill switch",
        )
        if why is not None:
            await self._turn(Switch.ON, why)

    async def _ask_release(self) -> None:
        why = await self.ask(
            "Allow entries again?", "The strategy may open positions from now on.", "Release", is_calm=True
        )
        if why is not None:
            await self._turn(Switch.OFF, why)

    async def _ask_halts_release(self) -> None:
        halts = self._data.seen.halts
        why = await self.ask(
            f"Release {', '.join(halts)}?",
            f"{'; '.join(halts.values())}. The strategy may open positions from now on, and lose as much again.",
            "Release the halt",
            is_calm=True,
        )
        if why is None:
            return
        if not why:
            ui.notify("A halt is released for a reason: say why.", type="warning")
            return
        for name in halts:
            await self.carry_out(halt_release(name), {"reason": why})

    async def _ask_resume(self) -> None:
        pauses = self._data.seen.pauses
        why = await self.ask(
            f"Resume {', '.join(pauses)}?", "The strategy may open positions there from now on.", "Resume", is_calm=True
        )
        if why is None:
            return
        for scope in pauses:
            await self.carry_out("/resume", {"scope": scope, "reason": why or None})

    async def ask(
        self,
        question: str,
        meaning: str,
        yes: str,
        *,
        is_calm: bool = False,
        build: Callable[[], object] | None = None,
    ) -> str | None:
        """The reason given, perhaps empty; None: not agreed, or the tab was closed, and the dialog went with it.

        `build` puts more below the question: what would change.
        """
        with ui.dialog() as dialog, box("ask wide" if build else "ask"):
            Text("", question, "h2")
            Text("", meaning, "p")
            if build is not None:
                build()
            why = ui.input("Why (kept in the audit trail)").props("outlined dense autofocus maxlength=200")
            with box("choices"):
                press("Cancel", "quiet", lambda: dialog.submit(False))
                press(yes, "do calm" if is_calm else "do", lambda: dialog.submit(True))
        agreed = await dialog
        reason = str(why.value or "").strip()
        if not dialog.is_deleted:
            dialog.delete()
        return reason if agreed else None

    async def _turn(self, state: Switch, reason: str) -> None:
        await self.carry_out("/kill-switch", {"state": state.value, "reason": reason or None})

    async def carry_out(self, path: str, body: Mapping[str, object], *, asks: str = "") -> Told | None:
        """A call of the gateway. Who asks is looked at again now: the page may have stood open for hours.

        Args:
            asks: the word of a refusal that the caller answers by asking the person; any other is shown.

        Returns: None where it was not even asked for.
        """
        if not await self._is_known():
            return None
        if not self.may(path, body):
            ui.notify(f"Your role is {self._identity.role.value}: ask an admin.", type="negative")
            return None
        told = await self._data.post(path, body, self._identity.user)
        if told.problem and told.problem != asks:
            ui.notify(told.why, type="negative", timeout=0, close_button="OK")
        await self._show(await self.look())
        return told


def halt_release(name: str) -> str:
    return f"/halts/{name}/release"


def held_lines(seen: Overview) -> list[tuple[str, str, str]]:
    """What keeps the system from entering, but the kill switch, which has a bar of its own: name, why, what to do."""
    lines = [
        (f"{_HELD_NAMES.get(each.name, each.name)} {each.scope or ''}".rstrip(), each.why, each.remedy)
        for each in seen.restraints
        if each.name != "KILL_SWITCH"
    ]
    return lines + [("Not up to date", problem, "") for problem in seen.problems]


_HELD_NAMES = {
    "PAUSE": "PAUSED",
    "NOT_RECONCILED": "NOT RECONCILED",
    "CLOCK_SKEW": "CLOCK",
    "STRANGER": "HELD BY SOMEBODY ELSE",
    "UNKNOWN": "CANNOT BE ASKED:",
}


def show_if(element: ui.element, is_shown: bool) -> None:
    element.classes(remove="hidden" if is_shown else "", add="" if is_shown else "hidden")


def draw(chart: ui.echart, patch: Mapping[str, object]) -> None:
    """Into the options that stand: the browser merges them, and a zoom stays."""
    for name, value in patch.items():
        if isinstance(value, Mapping):
            chart.options[name].update(value)
        else:
            chart.options[name] = value
    chart.update()
