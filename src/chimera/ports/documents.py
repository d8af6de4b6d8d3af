"""Documents: the durable truth after the exchange.

DocumentsError
├── DocumentsUnavailable   wait, then try again; of a write, its answer may be lost and the document on file
├── DuplicateKey           another document has this key or unique field: it was written before, read it
└── RevisionConflict       somebody changed it since it was read: read again, decide again

Queries name one declared index, so that every adapter can serve them without a scan.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from chimera.contracts.base import Document
from chimera.contracts.collections import Collection
from chimera.ports.errors import DependencyDown

D = TypeVar("D", bound=Document)


class DocumentsError(Exception):
    pass


class DocumentsUnavailable(DocumentsError, DependencyDown):
    def __init__(self, why: str) -> None:
        DependencyDown.__init__(self, "the document store", why)


class DuplicateKey(DocumentsError):
    pass


class RevisionConflict(DocumentsError):
    pass


@dataclass(frozen=True, slots=True)
class Stored(Generic[D]):
    doc: D
    rev: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Generic[D]):
    """Documents of one index: equal on its leading fields, optionally a range on the next one.

    `equal` lists (field, value) in the index's own order. `at_least` is inclusive, `below` exclusive; both speak of the
    field that follows the equal ones, which is also what the answer is sorted by.
    """

    collection: Collection[D]
    index: str
    equal: tuple[tuple[str, Any], ...] = ()
    at_least: Any = None
    below: Any = None
    descending: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Put(Generic[D]):
    """One document to write whole, over whatever has its key."""

    collection: Collection[D]
    doc: D
    unless_exists: bool = field(default=False)
    """Leave an existing document as it is."""


class Documents(Protocol):
    """Durable when a write returns. Collections declared `synced` have reached the disk, the others the process's
    care: they survive `kill -9`, and may lose the last moments to a power cut."""

    async def get(self, collection: Collection[D], key: str) -> D | None: ...

    async def get_stored(self, collection: Collection[D], key: str) -> Stored[D] | None: ...

    async def insert(self, collection: Collection[D], doc: D) -> str:
        """
        Returns: the new revision.

        Raises:
            DuplicateKey: the key or a unique field is taken.
        """
        ...

    async def put(self, collection: Collection[D], doc: D) -> str:
        """Insert or replace whole."""
        ...

    async def replace(self, collection: Collection[D], doc: D, *, rev: str) -> str:
        """Compare and set.

        Raises:
            RevisionConflict: the document is gone or has another revision.
        """
        ...

    async def put_many(self, puts: Sequence[Put[Any]]) -> None:
        """Several documents, one wait. Order is kept; atomicity is not promised."""
        ...

    async def find(self, query: Query[D]) -> Sequence[D]:
        """
        Raises:
            ValueError: the query does not fit a declared index.
        """
        ...

    async def find_values(self, query: Query[D], fields: Sequence[str]) -> Sequence[tuple[Any, ...]]:
        """The same documents as `find`, of each only these top-level fields, in the wire's spelling and as plain JSON
        values; None where a document has none. Nothing is validated: for long series of what we wrote ourselves.

        Raises:
            ValueError: the query does not fit a declared index.
        """
        ...

    async def get_values(
        self, collection: Collection[D], keys: Iterable[str], fields: Sequence[str]
    ) -> Mapping[str, tuple[Any, ...]]:
        """Of the documents under `keys`, however many, these top-level fields, as `find_values` gives them. Keys that
        have no document are left out; without `fields` it only says which have one."""
        ...

    async def count_of(self, query: Query[D]) -> int:
        """How many documents `find` would find, from the index alone.

        Raises:
            ValueError: the query does not fit a declared index.
        """
        ...

    async def remove(self, collection: Collection[D], key: str) -> bool: ...

    async def remove_expired(self, now_sec: int) -> int:
        """Apply every collection's TTL; returns how many documents went."""
        ...

    async def count(self, collection: Collection[D]) -> int: ...

    async def ping(self) -> None:
        """
        Raises:
            DocumentsUnavailable
        """
        ...
