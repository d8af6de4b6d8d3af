"""What is in force, what could be, and the way from one to the other, in one browser.

Every change is S10's, asked for in the name of who is logged in; what it would change is shown before it is asked for.
"""

from collections.abc import Awaitable, Callable, Sequence

from nicegui import ui

from chimera.contracts.documents import ConfigBundle
from chimera.contracts.http.config import (
    ActiveAnswer,
    BundleAnswer,
    BundleDiff,
    DryRunAnswer,
    LintFinding,
    PromoteAnswer,
)
from chimera.services.s12_gateway import roles
from chimera.services.s12_gateway.access import Identity
from chimera.services.s12_gateway.page import config_rows, dry_run
from chimera.services.s12_gateway.page.configuration import Configuration, Refusal, text_of
from chimera.services.s12_gateway.page.data import Overview
from chimera.services.s12_gateway.page.elements import (
    Choice,
    Figure,
    LiveTable,
    Sheet,
    Tabs,
    Text,
    YamlEditor,
    box,
    enable,
    press,
)
from chimera.services.s12_gateway.page.frame import Frame, Here, draw, show_if
from chimera.services.s12_gateway.page.rows import Section
from chimera.services.s12_gateway.page.words import at

LIST_EACH = 5
"""The list of bundles is read again in every so many refreshes, and at once when the revision in force changed."""
ACTIVE = "active"
READ, CHANGES, DRY_RUN, EDIT = "read", "changes", "dry-run", "edit"
PANELS = ((READ, "Read"), (CHANGES, "Changes"), (DRY_RUN, "Dry run"), (EDIT, "Edit"))
SWITCHED = "Nothing was changed: {why}. The page shows what is in force now; look at it and decide again."


class ConfigPage(Frame):
    """`rev` is the revision that the address names; without it the one in force is opened."""

    name = "Configuration"
    layout = "house config"

    def __init__(self, here: Here, identity: Identity, rev: int | None = None) -> None:
        super().__init__(here, identity)
        self._config = Configuration(self._data.world.peers)
        self._wanted = ACTIVE if rev is None else str(rev)
        self._opened: ConfigBundle | None = None
        self._active: ActiveAnswer | None = None
        self._bundles: Sequence[BundleAnswer] = ()
        self._only_changed = False
        self._filled = ""
        """What the editor was given."""
        self._shown_rev: int | None = None
        self._list_reads = 0

    # What stands where.

    async def build(self) -> None:
        with box("figures few", "section").props('aria-label="In force"'):
            self._rev_now = Figure("In force", "the revision that decides")
            self._since = Figure("Since", "UTC")
            self._seq = Figure("Switch", "grows by one at every switch; a change names the one it was looked at")
            self._hash = Figure("Content", "of flags, rules, factors and instruments")
        with box("card list", "section").props('aria-label="Bundles"'):
            with box("head"):
                Text("title", "Bundles")
                Text("note", "newest first")
            self._table = LiveTable("bundles", config_rows.BUNDLES, on_pick=self._pick)
        with box("card whole", "section").props('aria-label="Bundle"'):
            with box("head"):
                self._title = Text("title")
                self._status = Text("pill")
                self._about = Text("note")
                box("space")
                self._stage = press("Stage", "quiet", self._press_stage)
                self._activate = press("Activate…", "quiet go", self._press_activate)
                self._roll_back = press("Roll back…", "quiet warn-line", self._press_roll_back)
            with box("head"):
                self._panels = Tabs(PANELS, READ, self._choose_panel, "panel")
                self._all_or_changed = Tabs(
                    (("all", "all flags"), ("changed", "changed from the defaults")), "all", self._choose_flags, "flags"
                )
            with box("panel") as self._read_panel:
                self._sheet = Sheet("configuration")
            with box("panel hidden") as self._changes_panel:
                self._build_changes()
            with box("panel hidden") as self._dry_run_panel:
                self._build_dry_run()
            with box("panel hidden") as self._edit_panel:
                self._build_editor()
        await self._read_list()
        await self._open_bundle(self._wanted)

    def _build_changes(self) -> None:
        with box("tools"):
            Text("dim", "against")
            self._against = box("against")
        self._changes = Sheet("changes")

    def _build_dry_run(self) -> None:
        with box("tools"):
            self._run = press("Run on stored signals", "quiet", self._press_dry_run)
            self._run_note = Text(
                "note", "Decides the last days' signals again, with this bundle and with the one in force."
            )
        self._rates = ui.echart(dry_run.rate_options()).classes("rates-chart hidden")
        self._days = ui.echart(dry_run.day_options()).classes("days-chart hidden")
        self._run_sheet = Sheet("dry run")

    def _build_editor(self) -> None:
        may_write = self._may_ask("POST", "/bundles")
        with box("tools"):
            self._check = press("Check", "quiet", self._press_check)
            self._save = press("Save as draft", "quiet go", self._press_save)
            press("Start over", "quiet", self._fill_editor)
            self._found = Text("note", "" if may_write else "Your role looks only: an operator may check and save.")
        for button in (self._check, self._save):
            enable(button, may_write)
        self._editor = YamlEditor("configuration as YAML")
        self._findings = LiveTable("findings", config_rows.FINDINGS, on_pick=self._go_to_line)

    # What each second changes.

    async def show(self, seen: Overview) -> None:
        self._list_reads += 1
        if seen.config_rev != self._shown_rev or self._list_reads % LIST_EACH == 0:
            self._shown_rev = seen.config_rev
            await self._read_list()

    async def _read_list(self) -> None:
        bundles, active = await self._config.bundles(), await self._config.active()
        if isinstance(bundles, Refusal) or isinstance(active, Refusal):
            return
        self._bundles = bundles.bundles
        if active != self._active:
            self._active = active
            self._rev_now.show(f"rev {active.rev}", active.bundle_id)
            self._since.show(at(active.activated_at, "%m-%d %H:%M:%S"), at(active.activated_at, "%Y, UTC"))
            self._seq.show(str(active.seq), "counted from the first start")
            self._hash.show(active.hash[:8], "sha256")
        self._table.show(config_rows.bundle_rows(self._bundles), "No bundle yet: S10 makes the first one at its start.")
        if self._opened is not None:
            current = next((each for each in self._bundles if each.bundle_id == self._opened.bundle_id), None)
            if current is not None and (current.status, current.rev) != (self._opened.status, self._opened.rev):
                self._opened = self._opened.but(status=current.status, rev=current.rev)
            self._show_head()

    def _show_head(self) -> None:
        bundle = self._opened
        if bundle is None:
            return
        self._title.show("Draft" if bundle.rev is None else f"Revision {bundle.rev}")
        self._status.show(config_rows.STATUS_WORDS[bundle.status], config_rows.STATUS_TONES.get(bundle.status, ""))
        note = f" · {bundle.note}" if bundle.note else ""
        self._about.show(f"{bundle.bundle_id} · by {bundle.created_by} {at(bundle.created_at, '%m-%d %H:%M')}{note}")
        is_active = self._active is not None and self._active.bundle_id == bundle.bundle_id
        is_staged = bundle.rev is not None and not is_active
        way_back = self._active.way_back if self._active is not None else ()
        goes_back = bool(way_back) if is_active else bundle.rev in way_back
        show_if(self._stage, bundle.rev is None and self._may_ask("POST", f"/bundles/{bundle.bundle_id}/stage"))
        show_if(self._activate, is_staged and not goes_back and self._may_ask("POST", "/promote"))
        show_if(self._roll_back, goes_back and self._may_ask("POST", "/rollback"))

    # What a person looks at.

    async def _pick(self, bundle_id: str) -> None:
        await self._open_bundle(bundle_id)

    async def _open_bundle(self, reference: str) -> None:
        bundle = await self._config.bundle(reference)
        if isinstance(bundle, Refusal):
            self._title.show(bundle.why)
            return
        self._opened = bundle
        self._table.pick(bundle.bundle_id)
        self._show_head()
        self._show_flags()
        self._keep_or_fill_editor()
        self._clear_dry_run()
        self._offer_others()
        await self._show_panel()

    async def _choose_panel(self, _: str) -> None:
        await self._show_panel()

    async def _choose_flags(self, chosen: str) -> None:
        self._only_changed = chosen == "changed"
        self._show_flags()

    def _show_flags(self) -> None:
        if self._opened is not None:
            self._sheet.show(config_rows.sections(self._opened, only_changed=self._only_changed))

    async def _show_panel(self) -> None:
        panels = {
            READ: self._read_panel,
            CHANGES: self._changes_panel,
            DRY_RUN: self._dry_run_panel,
            EDIT: self._edit_panel,
        }
        for name, panel in panels.items():
            show_if(panel, name == self._panels.chosen)
        show_if(self._all_or_changed.element, self._panels.chosen == READ)
        if self._panels.chosen == CHANGES and self._opened is not None:
            await self._show_changes(self._other.chosen)

    def _offer_others(self) -> None:
        """What the opened bundle may be compared with."""
        assert self._opened is not None
        others = [
            (
                each.bundle_id,
                f"rev {each.rev}" if each.rev is not None else f"draft of {at(each.created_at, '%m-%d %H:%M')}",
            )
            for each in self._bundles
            if each.bundle_id != self._opened.bundle_id
        ]
        self._against.clear()
        with self._against:
            self._other = Choice([(ACTIVE, "what is in force"), *others], ACTIVE, self._show_changes, "compared with")

    async def _show_changes(self, against: str) -> None:
        if self._opened is None:
            return
        told = await self._config.diff(self._opened.bundle_id, against)
        self._changes.show(_told_sections(told))

    # What a person does.

    def _may_ask(self, method: str, path: str) -> bool:
        return roles.has(self._identity.role, roles.needed("s10", method, path, None))

    async def _may_change(self, path: str) -> bool:
        """Who asks is looked at again now: the page may have stood open for hours."""
        if not await self._is_known():
            return False
        if not self._may_ask("POST", path):
            ui.notify(f"Your role is {self._identity.role.value}: ask somebody who may.", type="negative")
            return False
        return True

    def _keep_or_fill_editor(self) -> None:
        """What somebody has begun to write is not thrown away because he looks at another bundle."""
        if self._editor.text == self._filled:
            self._fill_editor()
        else:
            self._found.show("This is still what you wrote. Start over takes the opened bundle's text.", "warn")

    def _fill_editor(self) -> None:
        if self._opened is not None:
            self._filled = text_of(self._opened.but(note=None))
            self._editor.fill(self._filled)
            self._findings.show([], "")
            self._found.show("")

    async def _press_check(self) -> None:
        if await self._may_change("/lint"):
            told = await self._config.check(self._editor.text, self._identity.user)
            self._show_findings(told.findings, told.why if isinstance(told, Refusal) else None)

    async def _press_save(self) -> None:
        if not await self._may_change("/bundles"):
            return
        told = await self._config.save(self._editor.text, self._identity.user)
        if isinstance(told, Refusal):
            self._show_findings(told.findings, told.why)
            return
        await self._read_list()
        findings = told.findings
        self._filled = self._editor.text
        await self._open_bundle(told.bundle_id)
        self._show_findings(findings, None)
        ui.notify(f"Saved as draft {told.bundle_id}. Nothing is in force by that.", type="positive")

    def _show_findings(self, findings: Sequence[LintFinding], why: str | None) -> None:
        text, tone = config_rows.findings_text(findings)
        if why is not None:
            text, tone = text if findings else why, "bad"
        self._found.show(text, tone)
        self._findings.show(config_rows.finding_rows(findings), "")
        self._editor.mark(
            [(each.line, each.level, each.remedy or each.message) for each in findings if each.line is not None]
        )
        if findings:
            first = min((each.line for each in findings if each.line is not None), default=None)
            if first is not None:
                self._editor.go_to(first)

    async def _go_to_line(self, key: str) -> None:
        line = int(key.partition("#")[0])
        self._findings.pick(key)
        if line > 0:
            self._editor.go_to(line)

    async def _press_stage(self) -> None:
        bundle = self._opened
        if bundle is None or not await self._may_change(f"/bundles/{bundle.bundle_id}/stage"):
            return
        told = await self._config.stage(bundle.bundle_id, self._identity.user)
        if isinstance(told, Refusal):
            _say_refused(told)
            return
        await self._read_list()
        await self._open_bundle(bundle.bundle_id)
        ui.notify(f"Staged as revision {told.rev}. It is not in force yet.", type="positive")

    async def _press_activate(self) -> None:
        bundle = self._opened
        if bundle is None or bundle.rev is None:
            return

        async def promote(seq: int, why: str) -> PromoteAnswer | Refusal:
            return await self._config.promote(bundle.bundle_id, seq, why, self._identity.user)

        await self._switch(
            "/promote", f"Put revision {bundle.rev} in force?", f"Activate revision {bundle.rev}", promote
        )

    async def _press_roll_back(self) -> None:
        """To the revision that is opened; from the one in force to what was before it."""
        bundle, active = self._opened, self._active
        if bundle is None or active is None:
            return
        is_active = bundle.bundle_id == active.bundle_id
        to_rev = next(iter(active.way_back), None) if is_active else bundle.rev
        if to_rev is None:
            return
        if to_rev != bundle.rev:
            await self._open_bundle(str(to_rev))

        async def roll_back(seq: int, why: str) -> PromoteAnswer | Refusal:
            return await self._config.roll_back(to_rev, seq, why, self._identity.user)

        await self._switch(
            "/rollback", f"Roll back to revision {to_rev}?", f"Roll back to revision {to_rev}", roll_back
        )

    async def _switch(
        self,
        path: str,
        question: str,
        yes: str,
        carry_out: Callable[[int, str], Awaitable[PromoteAnswer | Refusal]],
    ) -> None:
        """Show what would change, ask, and switch only if nobody else has switched since."""
        bundle = self._opened
        if bundle is None or not await self._may_change(path):
            return
        active = await self._config.active()
        diff = await self._config.diff(bundle.bundle_id, ACTIVE)
        refused = next((each for each in (active, diff) if isinstance(each, Refusal)), None)
        if refused is not None or isinstance(active, Refusal) or isinstance(diff, Refusal):
            _say_refused(refused)
            return
        count = len(diff.differences)
        meaning = (
            f"Revision {active.rev} is in force (switch {active.seq}). Every decision from now on follows the other. "
            f"Open positions keep the revision that opened them. Asked by {self._identity.user}. "
            f"{count} thing{'' if count == 1 else 's'} change{'s' if count == 1 else ''}:"
        )
        why = await self.ask(question, meaning, yes, build=lambda: _list_changes(diff))
        if why is None or not await self._may_change(path):
            return
        told = await carry_out(active.seq, why)
        if isinstance(told, Refusal):
            _say_refused(told)
        else:
            ui.notify(f"Revision {told.to_rev} is in force (switch {told.seq}).", type="positive")
        await self._read_list()
        await self._open_bundle(bundle.bundle_id)

    async def _press_dry_run(self) -> None:
        bundle = self._opened
        if bundle is None or not await self._may_change(f"/bundles/{bundle.bundle_id}/dry-run"):
            return
        enable(self._run, False)
        self._run_note.show("Deciding again …")
        told = await self._config.dry_run(bundle.bundle_id, self._identity.user)
        enable(self._run, True)
        if isinstance(told, Refusal):
            self._run_note.show(told.why, "bad")
            return
        self._show_dry_run(told)

    def _show_dry_run(self, told: DryRunAnswer) -> None:
        self._run_note.show(*dry_run.verdict(told))
        draw(self._rates, dry_run.rate_patch(told))
        draw(self._days, dry_run.day_patch(told))
        show_if(self._rates, told.signals > 0)
        show_if(self._days, bool(dry_run.has_days(told)))
        self._run_sheet.show(dry_run.sections(told))

    def _clear_dry_run(self) -> None:
        self._run_note.show("Decides the last days' signals again, with this bundle and with the one in force.")
        show_if(self._rates, False)
        show_if(self._days, False)
        self._run_sheet.show([])
        bundle = self._opened
        if bundle is not None:
            enable(self._run, self._may_ask("POST", f"/bundles/{bundle.bundle_id}/dry-run"))


def _told_sections(told: BundleDiff | Refusal) -> list[Section]:
    if isinstance(told, Refusal):
        return [Section("", config_rows.CHANGES, [], empty=told.why)]
    return config_rows.change_sections(told)


def _list_changes(diff: BundleDiff) -> None:
    with box("changes"):
        sheet = Sheet("changes to confirm")
        sheet.show(config_rows.change_sections(diff))


def _say_refused(refused: Refusal | None) -> None:
    if refused is None:
        return
    said = [refused.why, *(f"{each.path}: {each.remedy or each.message}" for each in refused.findings)]
    text = "; ".join(said)
    ui.notify(
        SWITCHED.format(why=text) if refused.is_switched else text,
        type="negative",
        timeout=0,
        close_button="OK",
        multi_line=True,
    )
