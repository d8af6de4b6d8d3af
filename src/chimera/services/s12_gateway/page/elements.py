"""The few elements that the page is made of, each of which changes only where its content does."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import GenericEventArguments

from chimera.services.s12_gateway.page.rows import Column, Row


class LiveTable(Element, component="live_table.js"):
    """A table whose rows are sent when they changed. `on_open` gives what stands in an opened row."""

    def __init__(
        self,
        label: str,
        columns: Sequence[Column],
        *,
        on_open: Callable[[str], Awaitable[list[dict[str, Any]]]] | None = None,
    ) -> None:
        super().__init__()
        self._props["label"] = label
        self._props["columns"] = [column.to_dict() for column in columns]
        self._props["rows"] = []
        self._props["empty"] = ""
        self._props["expandable"] = on_open is not None
        if on_open is not None:
            self._on_open = on_open
            self.on("opened", self._opened)

    def show(self, rows: list[Row], empty: str) -> None:
        if rows != self._props["rows"] or empty != self._props["empty"]:
            self._props["rows"] = rows
            self._props["empty"] = empty
            self.update()

    async def _opened(self, event: GenericEventArguments) -> None:
        key = str(event.args)
        self.run_method("show_detail", key, await self._on_open(key))


class LinkState(Element, component="link_state.js"):
    """Watches in the browser that figures keep coming."""

    def __init__(self, on_seen: Callable[[bool], Awaitable[None]]) -> None:
        super().__init__()
        self._props["beat"] = 0
        self._on_seen = on_seen
        self.on("seen", self._seen)

    def beat(self) -> None:
        self._props["beat"] += 1
        self.update()

    async def _seen(self, event: GenericEventArguments) -> None:
        await self._on_seen(bool(event.args))


class Text(TextElement):
    """A piece of text with a tone."""

    def __init__(self, classes: str = "", text: str = "", tag: str = "span") -> None:
        super().__init__(tag=tag, text=text)
        self.classes(classes)
        self._tone = ""

    def show(self, text: str, tone: str = "") -> None:
        self.set_text(text)
        if tone != self._tone:
            self.classes(remove=self._tone, add=tone)
            self._tone = tone


def box(classes: str, tag: str = "div") -> ui.element:
    return ui.element(tag).classes(classes)


def press(text: str, classes: str, act: Callable[[], Any]) -> ui.element:
    """A plain button."""
    with box(classes, "button").props("type=button").on("click", act) as button:
        Text("", text)
    return button


class Tabs:
    """One of several; `choose` is told which."""

    def __init__(self, names: Sequence[tuple[str, str]], chosen: str, choose: Callable[[str], Any], label: str) -> None:
        self.chosen = chosen
        self._choose = choose
        self._buttons: dict[str, ui.element] = {}
        self.notes: dict[str, Text] = {}
        with box("tabs").props(f'role=group aria-label="{label}"'):
            for key, name in names:
                with box("", "button").props("type=button").on("click", lambda key=key: self.take(key)) as button:
                    Text("", name)
                    self.notes[key] = Text("")
                self._buttons[key] = button
        self._mark()

    async def take(self, key: str) -> None:
        self.chosen = key
        self._mark()
        await self._choose(key)

    def _mark(self) -> None:
        for key, button in self._buttons.items():
            button.props(f"aria-pressed={'true' if key == self.chosen else 'false'}")


class Figure:
    """A name, a value, and what stands below it."""

    def __init__(self, name: str, hint: str = "") -> None:
        with box("figure").props(f'title="{hint}"' if hint else ""):
            Text("name", name, "div")
            self.value = Text("value", "", "div")
            self.sub = Text("sub", "", "div")

    def show(self, value: str, sub: str = "", tone: str = "") -> None:
        self.value.show(value, tone)
        self.sub.show(sub)
