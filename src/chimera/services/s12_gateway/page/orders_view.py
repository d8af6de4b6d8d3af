"""What rests at the exchange, every intent with its whole life, and approvals, in one browser."""

from collections.abc import Sequence

from pydantic import ValidationError

from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.http import ApprovalsAnswer, IntentAnswer
from chimera.ports.errors import DependencyDown
from chimera.services.s12_gateway.access import Identity
from chimera.services.s12_gateway.page import order_rows
from chimera.services.s12_gateway.page.acts import Acts
from chimera.services.s12_gateway.page.data import Overview
from chimera.services.s12_gateway.page.elements import LiveTable, Sheet, Text, box, enable, press
from chimera.services.s12_gateway.page.frame import Frame, Here, show_if

CHOOSE = "Choose an intent to see its whole life: how it was planned, sent, filled, protected, and why it ended."
EACH_TICKS = 5
"""Read again this often, whatever the router told."""


class OrdersPage(Frame):
    """`intent_id` is the one that the address names."""

    name = "Orders"
    layout = "house pair"

    def __init__(self, here: Here, identity: Identity, intent_id: str | None = None) -> None:
        super().__init__(here, identity)
        self._acts = Acts(self, here.data)
        self._picked = intent_id
        self._resting: Sequence[Order] = ()
        self._intents: Sequence[IntentRecord] = ()
        self._starts: list[int | None] = [None]
        """Before which moment each page up to the present one begins."""
        self._told: tuple[str, ...] = ()
        self._shown = 0
        self._is_over = False
        """The intent that is shown has ended, so nothing about it changes any more."""

    async def build(self) -> None:
        with box("card list", "section").props('aria-label="Orders"'):
            with box("head"):
                Text("title", "Resting at the exchange")
                self._resting_note = Text("note")
            self._resting_table = LiveTable("resting orders", order_rows.RESTING_COLUMNS, on_act=self._cancel)
            with box("head"):
                Text("title", "Intents")
                Text("note", "the newest first; choose one for its life")
            self._table = LiveTable("intents", order_rows.INTENT_COLUMNS, on_pick=self._pick)
            with box("foot"):
                self._older = press("Older", "quiet", self._go_older)
                self._newer = press("Newer", "quiet", self._go_newer)
            with box("approvals hidden") as self._approvals_part:
                with box("head"):
                    Text("title", "Approvals of large entries")
                    self._approvals_note = Text("note")
                    box("space")
                    with box("hidden") as self._approval_ask:
                        press("Ask for one", "quiet", lambda: self._acts.ask_approval(self._settings.keys))
                self._approvals = LiveTable("approvals", order_rows.APPROVAL_COLUMNS, on_act=self._acts.decide_approval)
        with box("card whole life", "section").props('aria-label="Intent"') as self._whole:
            with box("head"):
                self._back = press("‹ Back to the list", "quiet back", self._put_back)
                Text("title", "The life of an intent")
            self._none = Text("lt-empty", CHOOSE, "p")
            self._sheet = Sheet("life")
        await self._read()
        if self._picked is not None:
            await self._pick(self._picked)

    async def show(self, seen: Overview) -> None:
        try:
            told = await self._data.told_results()
        except DependencyDown:
            return
        self._shown += 1
        if told != self._told or self._shown % EACH_TICKS == 0:
            self._told = told
            await self._read()
            if self._picked is not None and not self._is_over:
                await self._show_life(self._picked)

    async def _read(self) -> None:
        now_ms = self._data.world.clock.now_ms()
        try:
            self._resting = await self._data.resting()
            self._intents = await self._data.intents(self._starts[-1])
        except DependencyDown as down:
            self._resting_note.show(str(down), "bad")
            return
        count = len(self._resting)
        self._resting_note.show(f"{count} order{'' if count == 1 else 's'}" if count else "")
        may_act = self._acts.may_work
        self._resting_table.show(
            order_rows.resting_rows(self._resting, now_ms, self._places, may_act=may_act), "Nothing rests."
        )
        self._table.show(order_rows.intent_rows(self._intents, now_ms), "Nothing was ordered yet.")
        enable(self._older, bool(self._intents))
        enable(self._newer, len(self._starts) > 1)
        await self._read_approvals(now_ms)

    async def _read_approvals(self, now_ms: int) -> None:
        """Told for who looks: only they see their own tokens."""
        told = await self._data.get("s12", "/approvals", self._identity.user)
        if told.problem:
            return
        answer = ApprovalsAnswer.model_validate(told.body)
        show_if(self._approvals_part, answer.enabled or bool(answer.approvals))
        show_if(self._approval_ask, answer.enabled and self.may("/approvals", {}))
        self._approvals_note.show(order_rows.approvals_text(answer))
        self._approvals.show(
            order_rows.approval_rows(
                answer,
                now_ms,
                may_approve=self.may("/approvals/x/approve", {}),
                may_revoke=self.may("/approvals/x/revoke", {}),
            ),
            "Nobody asked for one yet.",
        )

    async def _cancel(self, key: str, act: str) -> None:
        order = next((each for each in self._resting if each.order_id == key), None)
        if order is not None:
            await self._acts.cancel(order)

    async def _go_older(self) -> None:
        if self._intents:
            self._starts.append(self._intents[-1].created_at)
            await self._read()

    async def _go_newer(self) -> None:
        if len(self._starts) > 1:
            self._starts.pop()
            await self._read()

    async def _pick(self, intent_id: str) -> None:
        self._picked = intent_id
        self._table.pick(intent_id)
        self._whole.classes(add="open")
        await self._show_life(intent_id)

    async def _show_life(self, intent_id: str) -> None:
        told = await self._data.get("s4", f"/orders/{intent_id}")
        if told.problem:
            self._say(told.why)
            return
        try:
            answer = IntentAnswer.model_validate(told.body)
        except ValidationError as error:
            self._say(f"S4 answered something that this page cannot read: {error.error_count()} fields differ")
            return
        self._is_over = answer.state.is_final
        show_if(self._none, False)
        self._sheet.show(order_rows.life_sections(answer, self._places))

    def _say(self, text: str) -> None:
        self._none.show(text)
        show_if(self._none, True)
        self._sheet.show([])

    async def _put_back(self) -> None:
        self._table.pick("")
        self._picked = None
        self._whole.classes(remove="open")
        self._say(CHOOSE)
