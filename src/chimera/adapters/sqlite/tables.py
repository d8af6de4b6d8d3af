"""How a collection lies in SQLite: one table, its columns, indexes and statements.

A row is key, revision, the document's JSON, and one plain column for each field that an index or the TTL reads. The
columns are filled from the document itself: SQLite's own reading of the JSON for each index would cost several times
the write. They are derived, so a new index fills its columns from the documents that stand there.
"""

import sqlite3
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from typing import Any, get_args

from chimera.contracts.base import Contract, Document
from chimera.contracts.collections import Collection, Index, Ttl
from chimera.ports.documents import Query

_META = "chimera_meta"


class Table:
    def __init__(self, collection: Collection[Any]) -> None:
        self.name = collection.name
        self.document: type[Document] = collection.document
        self.synced = collection.synced
        self.ttl: Ttl | None = collection.ttl
        self.indexes = {index.name: index for index in collection.indexes}
        fields = dict.fromkeys(field for index in collection.indexes for field in index.fields)
        if self.ttl is not None:
            fields[self.ttl.field] = None
        self.fields = tuple(fields)
        self._readers = tuple(_reader(collection.document, field) for field in self.fields)
        self._finds: dict[tuple[Any, ...], str] = {}

        name = _quoted(self.name)
        columns = ["key", "rev", "body", *(_column(field) for field in self.fields)]
        self.insert_sql = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({_marks(len(columns))})"
        changes = ", ".join(f"{column}=excluded.{column}" for column in columns[1:])
        self.put_sql = f"{self.insert_sql} ON CONFLICT (key) DO UPDATE SET {changes}"
        self.put_new_sql = f"{self.insert_sql} ON CONFLICT (key) DO NOTHING"
        self.replace_sql = (
            f"UPDATE {name} SET {', '.join(f'{column}=?' for column in columns[1:])} WHERE key=? AND rev=?"
        )
        self.get_sql = f"SELECT body, rev FROM {name} WHERE key=?"
        self.remove_sql = f"DELETE FROM {name} WHERE key=?"
        self.count_sql = f"SELECT COUNT(*) FROM {name}"
        self.expire_sql = f"DELETE FROM {name} WHERE {_column(self.ttl.field)} <= ?" if self.ttl else ""

    def get_many_sql(self, count: int, *, bodies: bool) -> str:
        """Key, and body where asked for, of `count` keys."""
        return f"SELECT key{', body' if bodies else ''} FROM {_quoted(self.name)} WHERE key IN ({_marks(count)})"

    def row(self, doc: Document, rev: int) -> tuple[Any, ...]:
        """The values of `insert_sql`, in its order."""
        return (doc.doc_key(), rev, doc.to_json(), *[plain(read(doc)) for read in self._readers])

    def derived(self, doc: Document) -> list[Any]:
        """The values of the columns that belong to `fields`."""
        return [plain(read(doc)) for read in self._readers]

    def find(self, query: Query[Any]) -> tuple[str, list[Any]]:
        """The statement for `query`, forced onto its index, and its values.

        Raises:
            ValueError: the query does not fit the index that it names.
        """
        absent = tuple(value is None for _, value in query.equal)
        names = tuple(field for field, _ in query.equal)
        shape = (
            query.index,
            names,
            absent,
            query.at_least is None,
            query.below is None,
            query.descending,
            query.limit is None,
        )
        sql = self._finds.get(shape)
        if sql is None:
            sql = self._finds[shape] = self._find_sql(query)
        values = [plain(value) for _, value in query.equal if value is not None]
        values += [plain(bound) for bound in (query.at_least, query.below) if bound is not None]
        if query.limit is not None:
            values.append(query.limit)
        return sql, values

    def _find_sql(self, query: Query[Any]) -> str:
        index = self.indexes.get(query.index)
        if index is None:
            raise ValueError(
                f"{self.name} declares no index {query.index!r}; it has {', '.join(self.indexes) or 'none'}"
            )
        leading = tuple(field for field, _ in query.equal)
        if leading != index.fields[: len(leading)]:
            raise ValueError(
                f"a query of {self.name}.{index.name} must be equal on the first of {index.fields} in this order, "
                f"not on {leading}"
            )
        following = index.fields[len(leading)] if len(leading) < len(index.fields) else None
        bounded = query.at_least is not None or query.below is not None
        if bounded and following is None:
            raise ValueError(f"{self.name}.{index.name} has no field after {leading} that a range could be over")
        terms: list[str] = []
        for field, value in query.equal:
            if value is None and index.sparse:
                raise ValueError(f"{self.name}.{index.name} is sparse: it does not know documents without {field}")
            terms.append(f"{_column(field)} IS NULL" if value is None else f"{_column(field)}=?")
        if following is not None:
            if query.at_least is not None:
                terms.append(f"{_column(following)}>=?")
            if query.below is not None:
                terms.append(f"{_column(following)}<?")
        if index.sparse:
            # Spelled out, or SQLite would not see that the partial index holds every document asked for.
            terms += [f"{_column(field)} IS NOT NULL" for field in index.fields]
        sql = f"SELECT body FROM {_quoted(self.name)} INDEXED BY {_index_name(self, index.name)}"
        if terms:
            sql += f" WHERE {' AND '.join(terms)}"
        if following is not None:
            sql += f" ORDER BY {_column(following)}{' DESC' if query.descending else ''}"
        return sql if query.limit is None else f"{sql} LIMIT ?"

    def index_statements(self) -> dict[str, str]:
        """CREATE INDEX by the index's name in the database."""
        made = {_index_name(self, index.name): self._create(index) for index in self.indexes.values()}
        if self.ttl is not None:
            name = _index_name(self, "ttl")
            made[name] = f"CREATE INDEX {name} ON {_quoted(self.name)} ({_column(self.ttl.field)})"
        return made

    def _create(self, index: Index) -> str:
        columns = [_column(field) for field in index.fields]
        sql = (
            f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {_index_name(self, index.name)} "
            f"ON {_quoted(self.name)} ({', '.join(columns)})"
        )
        return sql + (f" WHERE {' AND '.join(f'{column} IS NOT NULL' for column in columns)}" if index.sparse else "")


def prepare_schema(connection: sqlite3.Connection, tables: Iterable[Table]) -> int:
    """Make what is missing, mend indexes that were declared otherwise, and count this opening of the database.

    Returns: how often the database was opened, this time included.
    """
    connection.execute(f"CREATE TABLE IF NOT EXISTS {_META} (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
    standing: dict[str, str] = {
        _quoted(name): sql
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    }
    for table in tables:
        name = _quoted(table.name)
        if name not in standing:
            columns = "".join(f", {_column(field)}" for field in table.fields)
            connection.execute(f"CREATE TABLE {name} (key TEXT PRIMARY KEY, rev INTEGER, body TEXT{columns})")
        else:
            _add_columns(connection, table)
        wanted = table.index_statements()
        prefix = _index_name(table, "")[:-1]
        for index in standing:
            if index.startswith(prefix) and wanted.get(index) != standing[index]:
                connection.execute(f"DROP INDEX {index}")
        for index, sql in wanted.items():
            if standing.get(index) != sql:
                connection.execute(sql)
    connection.execute(f"INSERT INTO {_META} VALUES ('openings', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1")
    return int(connection.execute(f"SELECT value FROM {_META} WHERE name='openings'").fetchone()[0])


def _add_columns(connection: sqlite3.Connection, table: Table) -> None:
    name = _quoted(table.name)
    present = {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
    missing = [field for field in table.fields if _column(field).strip('"') not in present]
    if not missing:
        return
    for field in missing:
        connection.execute(f"ALTER TABLE {name} ADD COLUMN {_column(field)}")
    sets = ", ".join(f"{_column(field)}=?" for field in table.fields)
    filled = [
        (*table.derived(table.document.model_validate_json(body)), key)
        for key, body in connection.execute(f"SELECT key, body FROM {name}")
    ]
    connection.executemany(f"UPDATE {name} SET {sets} WHERE key=?", filled)


def plain(value: Any) -> Any:
    """`value` as SQLite keeps it in an index: what its JSON form would be."""
    kind = type(value)
    if kind is str or kind is int or kind is float or value is None:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bool):
        return int(value)
    raise TypeError(f"{value!r} cannot be indexed: text, numbers and booleans can")


def _reader(document: type[Document], field: str) -> Callable[[Any], Any]:
    """How to get `field` (its wire spelling, dots reaching into the document) from a document."""
    path: list[str] = []
    model: type[Contract] | None = document
    for part in field.split("."):
        if model is None:
            raise ValueError(f"{document.__name__} has no field {field!r} to index: {part!r} is inside no model")
        name = next(
            (name for name, info in model.model_fields.items() if part in (name, info.serialization_alias, info.alias)),
            None,
        )
        if name is None:
            raise ValueError(f"{document.__name__} has no field {field!r} to index")
        path.append(name)
        model = _model_in(model.model_fields[name].annotation)
    if len(path) == 1:
        return attrgetter(path[0])

    def read(doc: Any) -> Any:
        value = doc
        for name in path:
            if value is None:
                return None
            value = getattr(value, name)
        return value

    return read


def _model_in(annotation: Any) -> type[Contract] | None:
    """The model of a field that may also be absent."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Contract):
            return candidate
    return None


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _column(field: str) -> str:
    return _quoted(f"f_{field}")


def _index_name(table: Table, index: str) -> str:
    return _quoted(f"{table.name}.{index}")
