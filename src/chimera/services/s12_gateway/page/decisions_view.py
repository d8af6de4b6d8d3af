"""Why each entry was opened or skipped, in one browser: the stored decisions, and one of them whole."""

from chimera.contracts.enums import Action
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.decision.telling import WHY
from chimera.domain.market.days import day_ms
from chimera.ports.errors import DependencyDown
from chimera.services.s12_gateway.access import Identity
from chimera.services.s12_gateway.page import trail
from chimera.services.s12_gateway.page.data import Overview
from chimera.services.s12_gateway.page.decision_rows import LINE_COLUMNS, line_rows, looked_text, nothing_text
from chimera.services.s12_gateway.page.decisions import DecisionBook, Portion, Wanted
from chimera.services.s12_gateway.page.elements import Choice, Entry, LiveTable, Sheet, Text, box, enable, press
from chimera.services.s12_gateway.page.frame import Frame, Here, show_if
from chimera.services.s12_gateway.page.words import instrument_name

ANY = ""
GONE = "This decision is no longer on file."
CHOOSE = "Choose a decision to see every gate, rule and figure behind it."


class DecisionsPage(Frame):
    """`signal_id` is the decision that the address names."""

    name = "Decisions"
    layout = "house pair"

    def __init__(self, here: Here, identity: Identity, signal_id: str | None = None) -> None:
        super().__init__(here, identity)
        self._book = DecisionBook(self._data.world.documents, self._data.world.clock, self._settings.keys)
        self._picked = signal_id
        self._starts: list[int | None] = [None]
        """Before which moment each page up to the present one begins."""
        self._portion = Portion(lines=(), next=None, looked_at=0)
        self._told: tuple[str, ...] = ()

    async def build(self) -> None:
        with box("card list", "section").props('aria-label="Decisions"'):
            self._build_filters()
            self._table = LiveTable("decisions", LINE_COLUMNS, on_pick=self._pick)
            with box("foot"):
                self._older = press("Older", "quiet", self._go_older)
                self._newer = press("Newer", "quiet", self._go_newer)
                self._looked = Text("note")
        with box("card whole", "section").props('aria-label="Decision"') as self._whole:
            with box("head"):
                self._back = press("‹ Back to the list", "quiet back", self._put_back)
                Text("title", "The way to the decision")
            self._none = Text("lt-empty", CHOOSE, "p")
            self._sheet = Sheet("trail")
        await self._read()
        if self._picked is not None:
            await self._pick(self._picked)

    def _build_filters(self) -> None:
        instruments = [
            (ANY, "all instruments"),
            *((str(key), instrument_name(str(key))) for key in self._settings.keys),
        ]
        actions = [(ANY, "opened and skipped"), (Action.OPEN.value, "opened"), (Action.SKIP.value, "skipped")]
        with box("head filters"):
            self._instrument = Choice(instruments, ANY, self._start_anew, "Instrument")
            self._action = Choice(actions, ANY, self._start_anew, "Action")
            self._code = Entry("search", self._start_anew, "Reason or rule", sorted(WHY))
            self._day = Entry("date", self._start_anew, "UTC day")
            box("space")
            self._fresh = press("Show newer", "quiet fresh", self._start_anew)

    async def show(self, seen: Overview) -> None:
        """The list stands still while it is read; that there are newer ones is only said."""
        try:
            told = await self._data.told_decisions()
        except DependencyDown:
            return
        self._fresh.classes(add="waits" if told != self._told else "", remove="" if told != self._told else "waits")
        if not self._portion.lines and told != self._told and len(self._starts) == 1:
            await self._read()

    @property
    def _wanted(self) -> Wanted:
        """
        Raises:
            ValueError: a day that is none.
        """
        return Wanted(
            instrument=InstrumentKey.parse(self._instrument.chosen) if self._instrument.chosen else None,
            action=Action(self._action.chosen) if self._action.chosen else None,
            code=self._code.text or None,
            day_ms=day_ms(self._day.text) if self._day.text else None,
        )

    async def _read(self) -> None:
        try:
            wanted = self._wanted
            told = await self._data.told_decisions()
            portion = await self._book.page(wanted, self._starts[-1])
        except (DependencyDown, ValueError) as problem:
            self._looked.show(str(problem), "bad")
            return
        self._portion, self._told = portion, told
        now_ms = self._data.world.clock.now_ms()
        self._table.show(line_rows(portion, now_ms), nothing_text(portion, is_filtered=wanted != Wanted()))
        self._looked.show(looked_text(portion) if portion.lines else "")
        self._fresh.classes(remove="waits")
        enable(self._older, portion.next is not None)
        enable(self._newer, len(self._starts) > 1)

    async def _start_anew(self, _: object = None) -> None:
        self._starts = [None]
        await self._read()

    async def _go_older(self) -> None:
        if self._portion.next is not None:
            self._starts.append(self._portion.next)
            await self._read()

    async def _go_newer(self) -> None:
        if len(self._starts) > 1:
            self._starts.pop()
            await self._read()

    async def _pick(self, signal_id: str) -> None:
        try:
            signal = await self._data.signal(signal_id)
        except DependencyDown as down:
            self._say(str(down))
            return
        self._picked = signal_id
        self._table.pick(signal_id)
        self._whole.classes(add="open")
        if signal is None:
            self._say(GONE)
            return
        show_if(self._none, False)
        self._sheet.show(trail.sections(signal))

    def _say(self, text: str) -> None:
        self._none.show(text)
        show_if(self._none, True)
        self._sheet.show([])

    async def _put_back(self) -> None:
        self._table.pick("")
        self._picked = None
        self._whole.classes(remove="open")
        self._say(CHOOSE)
