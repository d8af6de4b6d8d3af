"""The few elements that the page is made of, each of which changes only where its content does."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import GenericEventArguments

from chimera.services.s12_gateway.page.rows import Column, Row, Section


class LiveTable(Element, component="live_table.js"):
    """A table whose rows are sent when they changed.

    `on_open` gives what stands in an opened row; `on_pick` is told which row was chosen, and `pick` marks it; `on_act`
    is told of which row which button was pressed.
    """

    def __init__(
        self,
        label: str,
        columns: Sequence[Column],
        *,
        on_open: Callable[[str], Awaitable[list[dict[str, Any]]]] | None = None,
        on_pick: Callable[[str], Awaitable[None]] | None = None,
        on_act: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self._props["label"] = label
        self._props["columns"] = [column.to_dict() for column in columns]
        self._props["rows"] = []
        self._props["empty"] = ""
        self._props["expandable"] = on_open is not None
        self._props["pickable"] = on_pick is not None
        self._props["picked"] = ""
        if on_open is not None:
            self._on_open = on_open
            self.on("opened", self._opened)
        if on_pick is not None:
            self._on_pick = on_pick
            self.on("picks", self._picks)
        if on_act is not None:
            self._on_act = on_act
            self.on("acts", self._acts)

    def show(self, rows: list[Row], empty: str) -> None:
        if rows != self._props["rows"] or empty != self._props["empty"]:
            self._props["rows"] = rows
            self._props["empty"] = empty
            self.update()

    async def _opened(self, event: GenericEventArguments) -> None:
        key = str(event.args)
        self.run_method("show_detail", key, await self._on_open(key))

    def pick(self, key: str) -> None:
        if key != self._props["picked"]:
            self._props["picked"] = key
            self.update()

    async def _picks(self, event: GenericEventArguments) -> None:
        await self._on_pick(str(event.args))

    async def _acts(self, event: GenericEventArguments) -> None:
        key, act = event.args
        await self._on_act(str(key), str(act))


class Sheet(Element, component="sheet.js"):
    """Sections of small tables below one another, all of them text."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._props["label"] = label
        self._props["sections"] = []

    def show(self, sections: Sequence[Section]) -> None:
        plain = [section.to_dict() for section in sections]
        if plain != self._props["sections"]:
            self._props["sections"] = plain
            self.update()


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


def enable(button: ui.element, is_enabled: bool) -> None:
    """A button that cannot be pressed now stays where it is."""
    if is_enabled:
        button.props(remove="disabled")
    else:
        button.props("disabled")


class Tabs:
    """One of several; `choose` is told which."""

    def __init__(self, names: Sequence[tuple[str, str]], chosen: str, choose: Callable[[str], Any], label: str) -> None:
        self.chosen = chosen
        self._choose = choose
        self._buttons: dict[str, ui.element] = {}
        self.notes: dict[str, Text] = {}
        with box("tabs").props(f'role=group aria-label="{label}"') as self.element:
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


class ThemeWatch(Element, component="theme_watch.js"):
    """Tells `on_theme` `dark` or `light`, at once and at every change."""

    def __init__(self, on_theme: Callable[[str], None]) -> None:
        super().__init__()
        self._on_theme = on_theme
        self.on("theme", self._told)

    def _told(self, event: GenericEventArguments) -> None:
        self._on_theme(str(event.args))


class YamlEditor:
    """A text to write, with marks at lines, in the colours of the page's theme."""

    def __init__(self, label: str) -> None:
        with box("editor").props(f'role=group aria-label="{label}"'):
            ThemeWatch(self._take_theme)
            self._editor = ui.codemirror(language="YAML", theme="githubLight", indent="  ")

    def _take_theme(self, theme: str) -> None:
        self._editor.theme = "githubDark" if theme == "dark" else "githubLight"

    @property
    def text(self) -> str:
        return str(self._editor.value)

    def fill(self, text: str) -> None:
        """Another text, without any mark."""
        self._editor.decorations = []
        self._editor.line_tooltips = {}
        self._editor.set_value(text)

    def mark(self, lines: Sequence[tuple[int, str, str]]) -> None:
        """(line from 1, `error` or `warning`, what is said there). Marks move with their text."""
        count = self.text.count("\n") + 1
        there = [(line, level, said) for line, level, said in lines if 1 <= line <= count]
        said_at: dict[int, list[str]] = {}
        for line, _, said in there:
            said_at.setdefault(line, []).append(said)
        worst = {line: level for line, level, _ in sorted(there, key=lambda each: each[1] == "error")}
        self._editor.line_tooltips = {line: "\n".join(texts) for line, texts in said_at.items()}
        self._editor.decorations = [
            {"kind": "line", "line": line, "class": f"found-{level}"} for line, level in sorted(worst.items())
        ]

    def go_to(self, line: int) -> None:
        self._editor.reveal_line(line)


class Choice:
    """One of several in a list that opens; `choose` is told which."""

    def __init__(self, names: Sequence[tuple[str, str]], chosen: str, choose: Callable[[str], Any], label: str) -> None:
        self.chosen = chosen
        self._choose = choose
        with box("choice", "select").props(f'aria-label="{label}"') as self.element:
            for key, name in names:
                with box("", "option").props(f'value="{key}"' + (" selected" if key == chosen else "")):
                    Text("", name)
        self.element.on("change", self._changed, js_handler="(event) => emit(event.target.value)")

    async def _changed(self, event: GenericEventArguments) -> None:
        self.chosen = str(event.args)
        await self._choose(self.chosen)


class Entry:
    """A line to write in. `choose` is told what stands there when it was left or Enter was pressed."""

    def __init__(self, kind: str, choose: Callable[[str], Any], label: str, known: Sequence[str] = ()) -> None:
        self.text = ""
        self._choose = choose
        list_id = f"known-{label.replace(' ', '-')}"
        suggests = f" list={list_id}" if known else ""
        with box("choice", "input").props(
            f'type={kind} aria-label="{label}" placeholder="{label}"{suggests}'
        ) as element:
            pass
        element.on("change", self._changed, js_handler="(event) => emit(event.target.value)")
        if known:
            with box("", "datalist").props(f"id={list_id}"):
                for name in known:
                    box("", "option").props(f'value="{name}"')

    async def _changed(self, event: GenericEventArguments) -> None:
        self.text = str(event.args or "").strip()
        await self._choose(self.text)


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
