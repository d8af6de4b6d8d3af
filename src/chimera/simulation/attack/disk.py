"""Documents on a disk that may lose what was not synced.

Owns what has reached the disk. A write to a `synced` collection takes everything before it along, as a log does; what
came after the last of them stands in the machine's care and is gone after a power cut.
"""

from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from chimera.adapters.sqlite.documents import Observer, SqliteDocuments
from chimera.contracts.base import Document
from chimera.contracts.collections import COLLECTIONS, Collection
from chimera.ports.documents import Put

D = TypeVar("D", bound=Document)

UNSYNCED_MAX = 1_000
"""Writes that can be lost at most: a machine flushes by itself after a while."""


class Disk(SqliteDocuments):
    """Use `in_loop`. `bodies` is collection to key to JSON: what is on file now."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.bodies: dict[str, dict[str, str]] = {}
        self._told_of = self._observe
        self._observe = self._written
        self._before: deque[tuple[str, str, str]] = deque(maxlen=UNSYNCED_MAX)
        """(collection, key, JSON) that stood where something unsynced was written, oldest first; empty: nothing."""

    @classmethod
    def empty(cls, observe: Observer | None = None) -> "Disk":
        disk = cls.in_loop(observe=observe)
        assert isinstance(disk, Disk)
        return disk

    def lose(self) -> int:
        """The power is cut: everything unsynced is as it was. Returns how many writes went."""
        lost = list(self._before)
        for name, key, before in reversed(lost):
            collection: Collection[Any] = COLLECTIONS[name]
            if before:
                _at_once(self.put(collection, collection.document.model_validate_json(before)))
            else:
                _at_once(self.remove(collection, key))
        self._before.clear()
        return len(lost)

    def _written(self, collection: str, key: str, body: str) -> None:
        kept = self.bodies.setdefault(collection, {})
        if COLLECTIONS[collection].synced:
            self._before.clear()
        else:
            self._before.append((collection, key, kept.get(key, "")))
        if body:
            kept[key] = body
        else:
            kept.pop(key, None)
        if self._told_of is not None:
            self._told_of(collection, key, body)

    async def put_many(self, puts: Sequence[Put[Any]]) -> None:
        """One by one, as the port promises their order and no more: who dies in between has written some."""
        for put in puts:
            stands = put.doc.doc_key() in self.bodies.get(put.collection.name, {})
            if not (put.unless_exists and stands):
                await super().put_many([put])


def _at_once(work: Coroutine[Any, Any, Any]) -> None:
    """In the loop nothing of SQLite ever waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("a write to documents in memory waited")
