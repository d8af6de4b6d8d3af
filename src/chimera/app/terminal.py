"""What every command shares: where it writes, how it refuses, the options that many have.

Owns exit codes: 0 done, 1 the answer is no, 2 refused before anything was changed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

out = Console(width=None if sys.stdout.isatty() else 140)
err = Console(stderr=True, width=None if sys.stderr.isatty() else 140)

Data = Annotated[Path, typer.Option("--data", help="The folder in which the system keeps its state.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object as the last line, for programs.")]
DEFAULT_DATA = Path("var")


def say(text: str) -> None:
    """One line as it is, for programs and for files: neither wrapped nor coloured."""
    sys.stdout.write(text + "\n")


def refuse(text: str) -> NoReturn:
    """Say what is wrong and what to do, and end with 2: nothing was changed."""
    err.print(f"[bold red]chimera:[/] {escape(text)}", highlight=False, soft_wrap=True)
    raise typer.Exit(2)


@contextmanager
def asking() -> Iterator[None]:
    """For commands that only ask the running system: they need none of what a start needs, and answer at once."""
    from chimera.app.client import NotRunning

    try:
        yield
    except NotRunning as why:
        refuse(str(why))
