"""What a person does from the page: close, move a stop, flatten, cancel, pause, and allow large entries.

Owns the dialogs: each says what will happen before it happens. The calls are the gateway's own, made by the frame.
"""

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from chimera.contracts.documents import Order
from chimera.contracts.http.positions import PositionView
from chimera.contracts.instrument_key import InstrumentKey
from chimera.services.s12_gateway.page import act_words, rows
from chimera.services.s12_gateway.page.data import PageData
from chimera.services.s12_gateway.page.elements import Choice, Text, box
from chimera.services.s12_gateway.page.frame import Frame, show_if
from chimera.services.s12_gateway.page.words import instrument_name, quantity

OVER_BUDGET = "over-loss-budget"
PROTECTS = "protects-a-position"


class Acts:
    """For one browser's page; `places` are of each instrument's price."""

    def __init__(self, frame: Frame, data: PageData) -> None:
        self._frame = frame
        self._data = data

    @property
    def may_work(self) -> bool:
        return self._frame.may("/flatten", {"confirm": True})

    async def on_position(self, key: str, act: str) -> None:
        """A button in a position's row."""
        seen = self._data.seen
        position = next((each for each in seen.positions if rows.position_key(each) == key), None)
        if position is None:
            ui.notify("This position is no longer open.", type="info")
        elif act == rows.CLOSE:
            await self.close(position)
        else:
            await self.move_stop(position)

    async def close(self, position: PositionView) -> None:
        name = act_words.name_of(position)
        places = self._frame.places_of(InstrumentKey(position.market, position.symbol))
        why = await self._frame.ask(
            f"Close {name} at market?", act_words.close_text(position, places), "Close the position"
        )
        if why is None:
            return
        told = await self._frame.carry_out(_path(position, "close"), _with_reason({}, why))
        if told is not None and not told.problem:
            left = told.body.get("qty_open", 0)
            ui.notify(f"{name} is closed." if not left else f"{name} is being closed.", type="positive")

    async def move_stop(self, position: PositionView) -> None:
        name = act_words.name_of(position)
        places = self._frame.places_of(InstrumentKey(position.market, position.symbol))
        budget = act_words.loss_budget(position, self._data.seen.open_trades)
        form = _StopForm(position, budget, places)
        why = await self._frame.ask(
            f"Move the stop of {name}",
            act_words.stop_now_text(position, budget, places),
            "Move the stop",
            build=form.build,
        )
        if why is None:
            return
        if form.preview.price is None:
            ui.notify(form.preview.text, type="warning")
            return
        body = _with_reason({"price": float(form.preview.price), "confirm": form.is_confirmed}, why)
        told = await self._frame.carry_out(_path(position, "stop"), body, asks=OVER_BUDGET)
        if told is not None and told.problem == OVER_BUDGET:
            again = await self._frame.ask("Lose more than was allowed?", f"{told.why}.", "Move it all the same")
            if again is not None:
                told = await self._frame.carry_out(_path(position, "stop"), {**body, "confirm": True})
        if told is not None and not told.problem:
            ui.notify(f"The stop of {name} moves; the old one rests until the new one is listed.", type="positive")

    async def flatten(self) -> None:
        typed: list[ui.input] = []

        def build() -> None:
            label = f"Type {act_words.FLATTEN_WORD} to go on"
            typed.append(ui.input(label).props(f'outlined dense maxlength=20 aria-label="{label}"'))

        why = await self._frame.ask(
            "Flatten everything?", act_words.flatten_text(self._data.seen.positions), "Flatten", build=build
        )
        if why is None:
            return
        if str(typed[0].value or "").strip() != act_words.FLATTEN_WORD:
            ui.notify(f"Nothing was done: type {act_words.FLATTEN_WORD} to go on.", type="warning")
            return
        told = await self._frame.carry_out("/flatten", _with_reason({"confirm": True}, why))
        if told is None or told.problem:
            return
        if told.body.get("kill_switch") != "ON":
            ui.notify("The kill switch could not be pulled: pull it by hand.", type="negative", timeout=0)
        ui.notify("Flat." if told.body.get("flat") else "Everything is being closed.", type="positive")

    async def cancel(self, order: Order) -> None:
        name = instrument_name(str(InstrumentKey(order.market, order.symbol)))
        means = act_words.cancel_text(order)
        purpose = order.purpose.value.lower() if order.purpose else "order"
        why = await self._frame.ask(f"Cancel {quantity(order.quantity)} {name}, {purpose}?", means, "Cancel the order")
        if why is None:
            return
        body = _with_reason({"confirm": order.protects}, why)
        told = await self._frame.carry_out(f"/orders/{order.order_id}/cancel", body)
        if told is not None and not told.problem:
            gone = ", ".join(told.body.get("canceled_ids", ())) or "nothing was left to cancel"
            ui.notify(f"Canceled: {gone}", type="positive")

    async def pause(self, keys: tuple[InstrumentKey, ...]) -> None:
        scopes = [("ALL", "everything"), ("FUT", "futures"), ("SPOT", "spot")]
        scopes += [(str(key), instrument_name(str(key))) for key in keys]
        chosen: list[Choice] = []

        def build() -> None:
            chosen.append(Choice(scopes, "ALL", lambda _: None, "What to pause"))

        why = await self._frame.ask(
            "Pause new entries?",
            "What is open is managed and closed as always; it stays paused until somebody resumes.",
            "Pause",
            is_calm=True,
            build=build,
        )
        if why is not None:
            await self._frame.carry_out("/pause", {"scope": chosen[0].chosen, "reason": why or None})

    async def decide_approval(self, key: str, act: str) -> None:
        """A button in an approval's row."""
        approves = act == "approve"
        question = "Allow this large entry?" if approves else "Take this approval back?"
        means = "Its token may be used once, until its time ends." if approves else "Its token opens nothing any more."
        why = await self._frame.ask(question, means, "Allow" if approves else "Revoke", is_calm=not approves)
        if why is not None:
            await self._frame.carry_out(f"/approvals/{key}/{act}", {"reason": why or None})

    async def ask_approval(self, keys: tuple[InstrumentKey, ...]) -> None:
        form = _ApprovalForm(keys)
        why = await self._frame.ask(
            "Ask for an approval",
            "For one entry above the limit. An admin other than you allows it; then its token stands in this list.",
            "Ask",
            is_calm=True,
            build=form.build,
        )
        if why is None:
            return
        if not why:
            ui.notify("Say why: who allows it reads that.", type="warning")
            return
        await self._frame.carry_out("/approvals", {**form.wanted, "reason": why})


class _StopForm:
    """A price, what it would mean while it is written, and a box to tick beyond the budget."""

    def __init__(self, position: PositionView, budget: Any, places: int) -> None:
        self._position = position
        self._budget = budget
        self._places = places
        self.preview = act_words.Preview("")

    def build(self) -> None:
        now = self._position.stop_price
        text = "" if now is None else f"{now:.{self._places}f}"
        self._price = ui.input("New stop price, USDT", value=text, on_change=self._changed).props(
            'outlined dense inputmode=decimal maxlength=30 aria-label="New stop price, USDT"'
        )
        self._said = Text("", "", "p")
        self._confirm = ui.checkbox("I allow a larger loss than the first stop did")
        self._changed()

    @property
    def is_confirmed(self) -> bool:
        return self.preview.needs_confirm and bool(self._confirm.value)

    def _changed(self, _: object = None) -> None:
        self.preview = act_words.stop_preview(self._position, str(self._price.value or ""), self._budget, self._places)
        self._said.show(self.preview.text, self.preview.tone)
        show_if(self._confirm, self.preview.needs_confirm)


class _ApprovalForm:
    def __init__(self, keys: tuple[InstrumentKey, ...]) -> None:
        self._keys = keys

    def build(self) -> None:
        names = [(str(key), instrument_name(str(key))) for key in self._keys]
        with box("choices"):
            self._instrument = Choice(names, names[0][0], lambda _: None, "Instrument")
            self._side = Choice([("BUY", "buy"), ("SELL", "sell")], "BUY", lambda _: None, "Side")
        self._worth = ui.number("Worth at most, USDT", min=0).props('outlined dense aria-label="Worth at most, USDT"')

    @property
    def wanted(self) -> Mapping[str, object]:
        key = InstrumentKey.parse(self._instrument.chosen)
        return {
            "market": key.market.value,
            "symbol": key.symbol,
            "side": self._side.chosen,
            "notional_usdt_max": self._worth.value,
        }


def _path(position: PositionView, what: str) -> str:
    return f"/positions/{position.market.value}:{position.symbol}/{what}"


def _with_reason(body: dict[str, object], why: str) -> dict[str, object]:
    return {**body, "reason": why} if why else body
