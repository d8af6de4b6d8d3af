"""Documents in one SQLite database: a file with a writer thread for the real world, or in the loop for virtual time.

Owns the file, its data version, when a write counts as durable, and how an error of SQLite reads in the port's words.
The SQL of a collection is in `tables`, the writer thread in `writer`.

    in_thread   WAL; one thread commits what waits in one transaction, `synced` collections with an fsync. Reads run in
                the loop on a connection of their own: a keyed read is shorter than the way to a thread and back.
    in_loop     everything at once in the caller's turn, for a loop in virtual time, where a thread has no place.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json

from chimera.adapters.sqlite.tables import Table, prepare_schema
from chimera.adapters.sqlite.writer import InLoop, WriterThread, connect, is_down
from chimera.contracts.base import Document
from chimera.contracts.collections import COLLECTIONS, Collection
from chimera.ports.documents import DocumentsUnavailable, DuplicateKey, Put, Query, RevisionConflict, Stored

DATA_VERSION = 1
"""Grows when older code could no longer read what newer code writes. Fields and indexes come and go without that."""

_REVS_OF_ONE_OPENING = 1 << 32

KEYS_AT_ONCE = 500
"""Of one statement: below every limit that SQLite was ever built with."""

D = TypeVar("D", bound=Document)

Observer = Callable[[str, str, str], None]
"""Told (collection, key, JSON) of each document that was written, JSON empty where it was removed."""


class DataFolderError(Exception):
    """The data folder cannot be used as it is. The message says why and what to do."""


class SqliteDocuments:
    """Use `in_thread` or `in_loop`. A cancelled write may still take effect."""

    def __init__(
        self,
        writer: WriterThread | InLoop,
        reader: sqlite3.Connection,
        tables: dict[str, Table],
        opening: int,
        observe: Observer | None,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._reader.text_factory = bytes
        self._tables = tables
        self._rev = opening * _REVS_OF_ONE_OPENING
        self._observe = observe

    @classmethod
    def in_thread(
        cls,
        path: Path,
        *,
        collections: Iterable[Collection[Any]] = COLLECTIONS.values(),
        observe: Observer | None = None,
    ) -> "SqliteDocuments":
        """
        Raises:
            DataFolderError: the file cannot be opened, read, written or understood.
        """
        connection, tables, opening = _open(str(path), collections)
        reader = connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        return cls(WriterThread(connection), reader, tables, opening, observe)

    @classmethod
    def in_loop(
        cls,
        path: Path | None = None,
        *,
        collections: Iterable[Collection[Any]] = COLLECTIONS.values(),
        observe: Observer | None = None,
    ) -> "SqliteDocuments":
        """In memory, or in a file that is only whole after `close`.

        Raises:
            DataFolderError: the file cannot be opened, read, written or understood.
        """
        connection, tables, opening = _open(":memory:" if path is None else str(path), collections)
        return cls(InLoop(connection), connection, tables, opening, observe)

    async def get(self, collection: Collection[D], key: str) -> D | None:
        row = self._read_one(self._table(collection).get_sql, (key,))
        return None if row is None else collection.document.model_validate_json(row[0])

    async def get_stored(self, collection: Collection[D], key: str) -> Stored[D] | None:
        row = self._read_one(self._table(collection).get_sql, (key,))
        return None if row is None else Stored(collection.document.model_validate_json(row[0]), str(row[1]))

    async def insert(self, collection: Collection[D], doc: D) -> str:
        table = self._table(collection)
        row = table.row(doc, self._next_rev())

        def write(cursor: sqlite3.Cursor) -> None:
            _run(table, cursor, table.insert_sql, row)

        await self._writer.run(write, table.synced)
        self._told(table, row)
        return str(row[1])

    async def put(self, collection: Collection[D], doc: D) -> str:
        table = self._table(collection)
        row = table.row(doc, self._next_rev())

        def write(cursor: sqlite3.Cursor) -> None:
            _run(table, cursor, table.put_sql, row)

        await self._writer.run(write, table.synced)
        self._told(table, row)
        return str(row[1])

    async def replace(self, collection: Collection[D], doc: D, *, rev: str) -> str:
        table = self._table(collection)
        row = table.row(doc, self._next_rev())
        key, *changed = row
        wanted = int(rev) if rev.isdecimal() else -1

        def write(cursor: sqlite3.Cursor) -> None:
            _run(table, cursor, table.replace_sql, (*changed, key, wanted))
            if cursor.rowcount != 1:
                raise RevisionConflict(f"{table.name}/{key} is gone or no longer has revision {rev}")

        await self._writer.run(write, table.synced)
        self._told(table, row)
        return str(row[1])

    async def put_many(self, puts: Sequence[Put[Any]]) -> None:
        """Of an `unless_exists` put the observer is told whether the document stood there already or not."""
        batches: list[tuple[Table, str, list[tuple[Any, ...]]]] = []
        for (_, unless_exists), same in groupby(puts, key=lambda put: (put.collection.name, put.unless_exists)):
            alike = list(same)
            table = self._table(alike[0].collection)
            rows = [table.row(put.doc, self._next_rev()) for put in alike]
            batches.append((table, table.put_new_sql if unless_exists else table.put_sql, rows))

        def write(cursor: sqlite3.Cursor) -> None:
            for table, sql, rows in batches:
                try:
                    cursor.executemany(sql, rows)
                except sqlite3.IntegrityError as error:
                    raise DuplicateKey(f"{table.name}: one of {len(rows)} documents: {error}") from error

        if batches:
            await self._writer.run(write, any(table.synced for table, _, _ in batches))
        for table, _, rows in batches:
            for row in rows:
                self._told(table, row)

    async def find(self, query: Query[D]) -> Sequence[D]:
        sql, values = self._table(query.collection).find(query)
        parse = query.collection.document.model_validate_json
        try:
            return [parse(body) for (body,) in self._reader.execute(sql, values).fetchall()]
        except sqlite3.Error as error:
            raise _meaning(error) from error

    async def find_values(self, query: Query[D], fields: Sequence[str]) -> Sequence[tuple[Any, ...]]:
        sql, values = self._table(query.collection).find(query)
        try:
            bodies = [body for (body,) in self._reader.execute(sql, values).fetchall()]
        except sqlite3.Error as error:
            raise _meaning(error) from error
        # Read as one array: a call of the parser costs as much as a small document.
        found = from_json(b"[" + b",".join(bodies) + b"]", cache_strings="keys")
        return [tuple([doc.get(field) for field in fields]) for doc in found]

    async def get_values(
        self, collection: Collection[D], keys: Iterable[str], fields: Sequence[str]
    ) -> Mapping[str, tuple[Any, ...]]:
        table = self._table(collection)
        found: dict[str, tuple[Any, ...]] = {}
        for some in _batched(keys, KEYS_AT_ONCE):
            try:
                rows = self._reader.execute(table.get_many_sql(len(some), bodies=bool(fields)), some).fetchall()
            except sqlite3.Error as error:
                raise _meaning(error) from error
            names = [_text(row[0]) for row in rows]
            if not fields:
                found.update(dict.fromkeys(names, ()))
                continue
            docs = from_json(b"[" + b",".join(row[1] for row in rows) + b"]", cache_strings="keys")
            found.update(
                (name, tuple([doc.get(field) for field in fields])) for name, doc in zip(names, docs, strict=True)
            )
        return found

    async def count_of(self, query: Query[D]) -> int:
        sql, values = self._table(query.collection).find(query)
        row = self._read_one(f"SELECT COUNT(*) FROM ({sql.replace('SELECT body', 'SELECT 1', 1)})", tuple(values))
        return int(row[0])

    async def remove(self, collection: Collection[D], key: str) -> bool:
        table = self._table(collection)

        def write(cursor: sqlite3.Cursor) -> bool:
            cursor.execute(table.remove_sql, (key,))
            return cursor.rowcount > 0

        removed = await self._writer.run(write, table.synced)
        if removed and self._observe is not None:
            self._observe(table.name, key, "")
        return removed

    async def remove_expired(self, now_sec: int) -> int:
        mortal = [
            (table.expire_sql, now_sec - table.ttl.expire_after_s) for table in self._tables.values() if table.ttl
        ]

        def write(cursor: sqlite3.Cursor) -> int:
            gone = 0
            for sql, born_sec_max in mortal:
                cursor.execute(sql, (born_sec_max,))
                gone += cursor.rowcount
            return gone

        return await self._writer.run(write, False)

    async def count(self, collection: Collection[D]) -> int:
        row = self._read_one(self._table(collection).count_sql, ())
        return int(row[0]) if row is not None else 0

    async def ping(self) -> None:
        """Reads and writes work: a file that can only be read takes no order."""
        await self._writer.prove(_stamp_version)
        self._read_one("SELECT 1", ())

    async def backup_to(self, path: Path) -> None:
        """Write all that stands here into a new file, whole or not at all. Only in the loop.

        Raises:
            DataFolderError: the file cannot be written.
        """
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        try:
            target = connect(str(part))
            try:
                self._writer.copy_to(target)
                target.execute("PRAGMA journal_mode=WAL")
            finally:
                target.close()
            os.replace(part, path)
        except (sqlite3.Error, OSError) as error:
            part.unlink(missing_ok=True)
            raise DataFolderError(_unusable(str(path), error)) from error

    async def close(self) -> None:
        """Let what waits be written, then let go of the file. Nothing works afterwards."""
        self._writer.close(self._reader.close)

    def explain(self, query: Query[Any]) -> Sequence[str]:
        """How SQLite would walk `query`, one step a line."""
        sql, values = self._table(query.collection).find(query)
        return [bytes(row[3]).decode() for row in self._reader.execute(f"EXPLAIN QUERY PLAN {sql}", values)]

    def _table(self, collection: Collection[Any]) -> Table:
        table = self._tables.get(collection.name)
        if table is None:
            raise ValueError(f"collection {collection.name!r} was not declared when this database was opened")
        return table

    def _next_rev(self) -> int:
        # Unique over all documents and openings: a document that is removed and written anew never gets an old
        # revision back, which a number of its own starting at 1 would.
        self._rev += 1
        return self._rev

    def _read_one(self, sql: str, values: tuple[Any, ...]) -> Any:
        try:
            return self._reader.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise _meaning(error) from error

    def _told(self, table: Table, row: tuple[Any, ...]) -> None:
        if self._observe is not None:
            self._observe(table.name, row[0], row[2])


def _run(table: Table, cursor: sqlite3.Cursor, sql: str, row: tuple[Any, ...]) -> None:
    try:
        cursor.execute(sql, row)
    except sqlite3.IntegrityError as error:
        raise DuplicateKey(f"{table.name}: {error}") from error


def _batched(keys: Iterable[str], size: int) -> Iterable[list[str]]:
    every = iter(keys)
    while some := list(islice(every, size)):
        yield some


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _stamp_version(cursor: sqlite3.Cursor) -> None:
    """One page of the file, written whether or not it says so already."""
    cursor.execute(f"PRAGMA user_version={DATA_VERSION}")


def _meaning(error: sqlite3.Error) -> Exception:
    """Our own word for an error while reading; a bug of ours stays what it is."""
    return DocumentsUnavailable(str(error)) if is_down(error) else error


def _open(path: str, collections: Iterable[Collection[Any]]) -> tuple[sqlite3.Connection, dict[str, Table], int]:
    tables = {collection.name: Table(collection) for collection in collections}
    try:
        connection = connect(path)
    except sqlite3.Error as error:
        raise DataFolderError(_unusable(path, error)) from error
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > DATA_VERSION:
            raise DataFolderError(
                f"{path} was written by a newer Chimera (data version {version}; this one reads up to {DATA_VERSION}). "
                "Install that version or a later one, or start with another folder (--data)."
            )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        opening = prepare_schema(connection, tables.values())
        _stamp_version(connection.cursor())
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        connection.close()
        raise DataFolderError(_unusable(path, error)) from error
    except BaseException:
        connection.close()
        raise
    return connection, tables, opening


def _unusable(path: str, error: Exception) -> str:
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return (
            f"{path} is damaged or is no database of Chimera ({text}). Restore it from a backup, or choose another "
            "folder (--data)."
        )
    return (
        f"{path} cannot be opened for writing ({text}). Make the folder exist and writable, with space on its disk, or "
        "choose another (--data)."
    )
