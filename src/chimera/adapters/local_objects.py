"""Objects as files of one folder.

Owns that a file is whole or absent: it is written beside its place, reaches the disk, and is then renamed.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from chimera.ports.objects import NoSuchObject, ObjectsUnavailable, checked_name

T = TypeVar("T")

_PART = ".part"


class LocalObjects:
    """`in_thread`: keep a big file from holding up the loop. Virtual time has no threads: False there."""

    def __init__(self, folder: Path, *, in_thread: bool) -> None:
        self._folder = folder
        self._in_thread = in_thread

    async def put(self, name: str, body: bytes, content_type: str) -> None:
        """The name's ending is all that is kept of `content_type`."""
        path = self._path(name)
        await self._do(lambda: _write_whole(path, body))

    async def get(self, name: str) -> bytes:
        path = self._path(name)
        return await self._do(lambda: _read(path, name))

    async def list(self, prefix: str) -> Sequence[str]:
        names = await self._do(lambda: _names_in(self._folder))
        return [name for name in names if name.startswith(prefix)]

    async def delete(self, name: str) -> None:
        path = self._path(name)
        await self._do(lambda: path.unlink(missing_ok=True) if path.is_file() else None)

    def _path(self, name: str) -> Path:
        return self._folder / checked_name(name)

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            if self._in_thread:
                return await asyncio.get_running_loop().run_in_executor(None, work)
            return work()
        except OSError as error:
            raise ObjectsUnavailable(str(error)) from error


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise NoSuchObject(f"there is no object {name}") from error


def _write_whole(path: Path, body: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"{error.filename} is an object and cannot be a folder too") from error
    if path.is_dir():
        raise ValueError(f"{path} is a folder and cannot be an object too")
    part = path.with_name(f".{path.name}{_PART}")
    try:
        with part.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _names_in(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
