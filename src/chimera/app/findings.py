"""What somebody who looks for trouble found: the thing, what it is like, the remedy, how bad it is."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    INFO = "info"
    WARN = "warn"
    BAD = "bad"


MARKS = {
    Level.OK: "[green]✓[/]",
    Level.INFO: "[dim]·[/]",
    Level.WARN: "[yellow]![/]",
    Level.BAD: "[bold red]✗[/]",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` is a command where there is one; empty where nothing is to be done."""

    what: str
    found: str
    remedy: str = ""
    level: Level = Level.OK

    @property
    def mark(self) -> str:
        """For the terminal."""
        return MARKS[self.level]

    @property
    def bad(self) -> bool:
        """The system would not start, or not do what it was told."""
        return self.level is Level.BAD

    def to_json(self) -> dict[str, str]:
        return {"what": self.what, "found": self.found, "remedy": self.remedy, "level": self.level.value}
