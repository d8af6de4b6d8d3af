"""Blobs by name: reports, models, archives.

A name is parts with slashes between; a part is made of letters, digits, `.`, `_`, `-`, `=` and begins with no dot, so
that no name leaves the place it belongs to. No name is also the folder of another.

ObjectsError
├── ObjectsUnavailable   wait, then try again
└── NoSuchObject         the name holds nothing
"""

import re
from collections.abc import Sequence
from typing import Protocol

from chimera.ports.errors import DependencyDown

_NAME = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]*(/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*")
_NAME_MAX = 512


class ObjectsError(Exception):
    pass


class ObjectsUnavailable(ObjectsError, DependencyDown):
    def __init__(self, why: str) -> None:
        DependencyDown.__init__(self, "the object store", why)


class NoSuchObject(ObjectsError):
    pass


def checked_name(name: str) -> str:
    """
    Raises:
        ValueError: naming what is allowed.
    """
    if len(name) > _NAME_MAX or not _NAME.fullmatch(name):
        raise ValueError(
            f"object name {name[:80]!r} must be parts of letters, digits and ._=- that begin with no dot, "
            f"with single slashes between, at most {_NAME_MAX} characters"
        )
    return name


class Objects(Protocol):
    """Every method raises ValueError for a name that breaks the rules above."""

    async def put(self, name: str, body: bytes, content_type: str) -> None:
        """Whole or not at all; an existing object is replaced."""
        ...

    async def get(self, name: str) -> bytes:
        """
        Raises:
            NoSuchObject
        """
        ...

    async def list(self, prefix: str) -> Sequence[str]:
        """Every name that begins with `prefix` (any text, "" for all), sorted."""
        ...

    async def delete(self, name: str) -> None:
        """Harmless where nothing has the name."""
        ...
