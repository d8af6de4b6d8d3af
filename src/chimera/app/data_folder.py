"""The folder in which one system keeps its state, and the rule that only one process uses it.

Owns the names in it and the clear refusals: not writable, in use, from a newer version, half of a system.
"""

import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

VERSION = 1
VERSION_NAME = "version.json"
DOCUMENTS_NAME = "documents.sqlite"
EXCHANGE_NAMES = ("venue.sqlite", "venue.clock")
"""What the simulated exchange's journal cannot do without."""
KILL_NAME = "KILL"
LOCK_NAME = "lock"
RUN_NAME = "run.json"
"""Written at every start: the process that has the folder, and where it listens."""
EXCHANGE_NAME = "exchange.json"
"""Which exchange the documents are of."""
API_TOKEN_NAME = "api-token"
WARM_UP_NAME = "warm-up"
"""In which the warm-up makes a system; its documents leave it last."""


class DataFolderProblem(Exception):
    """The folder cannot be used; the text says why and what to do."""


@dataclass(slots=True)
class DataFolder:
    """An open data folder. `close` lets another process use it."""

    path: Path
    _lock: IO[str]
    _made: bool
    _claimed: bool = False
    """By this process, now."""

    @property
    def documents(self) -> Path:
        return self.path / DOCUMENTS_NAME

    @property
    def venue(self) -> Path:
        return self.path / "venue"

    @property
    def objects(self) -> Path:
        return self.path / "objects"

    @property
    def web(self) -> Path:
        """Where the page keeps its own files."""
        return self.path / "web"

    @property
    def kill_file(self) -> Path:
        """A file of this name stops new entries, whoever made it and however."""
        return self.path / KILL_NAME

    @property
    def is_new(self) -> bool:
        return not self.documents.exists()

    def claim(self, venue: str, *, exchange_inside: bool) -> None:
        """Keep the folder for this exchange, or find that it is.

        Raises:
            DataFolderProblem: it holds the documents of another account, or half of a system.
        """
        path = self.path / EXCHANGE_NAME
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))["venue"]
        else:
            kept = venue if self.is_new else "sim"  # before there were others, nobody wrote it down
        if kept != venue:
            raise DataFolderProblem(
                f"data folder {self.path} belongs to --venue {kept}, not {venue}: its orders are another account's."
                f" Use --venue {kept}, or choose another --data."
            )
        if exchange_inside:
            self.refuse_half()
        if not path.exists():
            self.write_json(EXCHANGE_NAME, {"venue": venue})
            self._claimed = True

    def forget(self) -> None:
        """A start with new documents was refused before they held anything: the folder is as it was found."""
        for path in self.path.glob(f"{DOCUMENTS_NAME}*"):
            path.unlink()
        if self._claimed:
            (self.path / EXCHANGE_NAME).unlink()

    def refuse_half(self) -> None:
        """
        Raises:
            DataFolderProblem: the exchange without the documents would be simulated over, and its open positions with
                it; the documents without the exchange have nothing to trade on.
        """
        exchange = [self.venue / name for name in EXCHANGE_NAMES]
        there = [path for path in exchange if path.exists()]
        if self.is_new:
            # An interrupted hand-over: what was moved already is made again, for nobody has traded on it.
            half = bool(there) and not (self.path / WARM_UP_NAME / DOCUMENTS_NAME).exists()
            lost = [self.documents] if half else []
        else:
            lost = [path for path in exchange if path not in there]
        if lost:
            names = ", ".join(str(path.relative_to(self.path)) for path in lost)
            raise DataFolderProblem(
                f"data folder {self.path} holds half of a system: {names} is missing. Put it back where it was,"
                " restore a copy of the whole folder, or choose another --data."
            )

    def write_json(self, name: str, value: Any) -> None:
        """Whole or not at all."""
        part = self.path / f"{name}.part"
        part.write_text(json.dumps(value), encoding="utf-8")
        os.replace(part, self.path / name)

    def close(self) -> None:
        self._lock.close()

    def close_unused(self) -> None:
        """For a start that was refused: a folder that this one made is gone again."""
        if self._made:
            shutil.rmtree(self.path)
        self.close()


def open_folder(path: Path) -> DataFolder:
    """Make or open the folder and take it for this process.

    Raises:
        DataFolderProblem: naming the folder, the cause and the remedy.
    """
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (path / LOCK_NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise DataFolderProblem(
            f"data folder {path} cannot be written: {error.strerror}. Choose another with --data, or mend its rights."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise DataFolderProblem(
            f"data folder {path} is in use by another process. Stop it, or choose another folder with --data."
        ) from error
    folder = DataFolder(path, lock, made)
    try:
        _check_version(folder)
        for each in (folder.venue, folder.objects, folder.web):
            each.mkdir(exist_ok=True)
    except BaseException:
        folder.close()
        raise
    return folder


def version_of(path: Path) -> int | None:
    """The version of what lies in the folder `path`; None where nothing was kept there yet.

    Raises:
        DataFolderProblem: the stamp is damaged.
    """
    stamp = path / VERSION_NAME
    if not stamp.exists():
        return None
    try:
        return int(json.loads(stamp.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFolderProblem(f"{stamp} is not readable: {error}. Restore it, or choose another --data.") from error


def refuse_newer(path: Path) -> None:
    """
    Raises:
        DataFolderProblem: a newer program has written the folder, or nobody can say which.
    """
    version = version_of(path)
    if version is not None and version > VERSION:
        raise DataFolderProblem(
            f"data folder {path} has the newer version {version} (known here: {VERSION})."
            " Use that program, or another --data."
        )


def _check_version(folder: DataFolder) -> None:
    refuse_newer(folder.path)
    if version_of(folder.path) is None:
        folder.write_json(VERSION_NAME, {"version": VERSION})
