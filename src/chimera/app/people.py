"""People of a system that is not running: the password that must stand before others can reach it.

Owns the way to `users` from the command line. What a good password is, and how it is kept, is S12's.
"""

import re
from pathlib import Path

from chimera.adapters.clocks import LoopClock, wall_ms
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import DOCUMENTS_NAME, DataFolderProblem, open_folder
from chimera.services.s12_gateway.passwords import Passwords, refuse_weak

USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class PeopleProblem(Exception):
    """The user cannot be changed; the text says why and what to do."""


async def set_password(data: Path, name: str, password: str) -> None:
    """Create the user or change the password. Nothing is made or changed where it is refused.

    Raises:
        PeopleProblem: no name, or no system to have users.
        WeakPassword: too short, too plain, or one of those that are tried first.
        DataFolderProblem: in use by the running system, not writable, from a newer version.
        DataFolderError: its documents cannot be opened.
    """
    if not USER_NAME.fullmatch(name):
        raise PeopleProblem(f"{name!r} is no user name; use 1 to 32 letters, digits, dots, dashes or underscores")
    refuse_weak(name, password)
    if not (data / DOCUMENTS_NAME).exists():
        # A folder with documents counts as warmed up, so none may be made here.
        raise PeopleProblem(
            f"there is no system in {data} yet. Start it once on this machine alone: chimera up --data {data};"
            " stop it when it trades, then set the password"
        )
    try:
        folder = open_folder(data)
    except DataFolderProblem as problem:
        raise DataFolderProblem(f"{problem} A password is set while the system does not run.") from problem
    try:
        documents = SqliteDocuments.in_thread(folder.documents)
        try:
            await Passwords(documents, LoopClock(wall_ms())).set(name, password)
        finally:
            await documents.close()
    finally:
        folder.close()
