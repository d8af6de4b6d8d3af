"""The exchange's own memory: every change of its account, durable before anybody hears of it.

An exchange keeps its state when a client dies, so this file belongs to the exchange and to nobody else. Rows replace
each other by table and key; the clock's position lies beside them, because the exchange's time stands still while its
process is down.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from chimera.domain.matching.account import State, StateRow

VERSION = 1
RESUME_MARGIN_MS = 200
"""Our own stamps may be ahead of the last written clock position by as much real time; the clock resumes after it."""


class JournalError(Exception):
    """The exchange's file cannot be used; the text names the remedy."""


class Journal(Protocol):
    def commit(self, rows: Sequence[StateRow]) -> None: ...

    def mark_time(self, now_ms: int) -> None: ...

    def mark_tick(self, ts: int) -> None: ...

    def meta(self, key: str) -> Any: ...

    def set_meta(self, values: Mapping[str, Any]) -> None: ...


class NoJournal:
    """For worlds that end with their process: nothing is kept."""

    def commit(self, rows: Sequence[StateRow]) -> None:
        pass

    def mark_time(self, now_ms: int) -> None:
        pass

    def mark_tick(self, ts: int) -> None:
        pass

    def meta(self, key: str) -> Any:
        return None

    def set_meta(self, values: Mapping[str, Any]) -> None:
        pass


class FileJournal:
    """`venue.sqlite` and `venue.clock` in one folder. Survives `kill -9` at any moment; a power cut may cost the last
    moments, as on any exchange that is not yours."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "venue.sqlite"
        self._clock = os.open(folder / "venue.clock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Two exchanges on one account would give the same numbers to different orders.
            fcntl.flock(self._clock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._clock)
            raise JournalError(
                f"the exchange in {folder} is in use by another process. Stop it, or choose another folder."
            ) from error
        try:
            self._open()
        except BaseException:
            os.close(self._clock)
            raise
        self._owed: list[StateRow] = []

    def _open(self) -> None:
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            raise JournalError(
                f"{self._path} cannot be opened: {error}. Restore it from a copy of the whole folder, or choose another"
                " --data."
            ) from error
        if version > VERSION:
            raise JournalError(
                f"{self._path} has the newer version {version} (known: {VERSION}). Use that program, or another --data."
            )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS rows (tbl TEXT NOT NULL, key TEXT NOT NULL, row TEXT NOT NULL,"
            " PRIMARY KEY (tbl, key)) WITHOUT ROWID"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        self._db.execute(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        self._db.close()
        os.close(self._clock)

    def commit(self, rows: Sequence[StateRow]) -> None:
        """All rows of one operation, or none. Rows that could not be written come first the next time: the exchange
        goes on from what they say.

        Raises:
            JournalError: they are not durable.
        """
        self._owed += rows
        if not self._owed:
            return
        with self._transaction():
            for row in self._owed:
                if row.row is None:
                    self._db.execute("DELETE FROM rows WHERE tbl=? AND key=?", (row.table, row.key))
                else:
                    self._db.execute(
                        "INSERT INTO rows VALUES (?,?,?) ON CONFLICT DO UPDATE SET row=excluded.row",
                        (row.table, row.key, json.dumps(row.row, separators=(",", ":"))),
                    )
        self._owed.clear()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise JournalError(f"{self._path} cannot be written: {error}. Make room on its disk.") from error

    def mark_time(self, now_ms: int) -> None:
        """
        Raises:
            JournalError: it is not written.
        """
        self._mark(now_ms, 0)

    def mark_tick(self, ts: int) -> None:
        """The market was shown up to `ts`.

        Raises:
            JournalError: it is not written.
        """
        self._mark(ts, 8)

    def _mark(self, ts: int, offset: int) -> None:
        try:
            os.pwrite(self._clock, ts.to_bytes(8, "big"), offset)
        except OSError as error:
            raise JournalError(f"{self._path.parent} cannot be written: {error}. Make room on its disk.") from error

    def times_ms(self) -> tuple[int, int]:
        """Where the clock stood, and the last tick that was shown.

        Raises:
            JournalError: they were never marked: this is no exchange that ever ran.
        """
        stored = os.pread(self._clock, 16, 0)
        if len(stored) != 16:
            raise JournalError(
                f"{self._path.parent} holds no exchange that ever ran. Restore it from a copy of the whole folder, or"
                " choose another --data."
            )
        return int.from_bytes(stored[:8], "big"), int.from_bytes(stored[8:], "big")

    def state(self) -> State:
        """Every table, as `Exchange.restore` takes it; empty for a new exchange."""
        tables: State = {}
        for table, key, row in self._db.execute("SELECT tbl, key, row FROM rows"):
            tables.setdefault(table, {})[key] = json.loads(row)
        return tables

    def write_state(self, state: State) -> None:
        """The whole state at once: the hand-over from a warm-up that ran in memory."""
        self.commit([StateRow(table, key, row) for table, rows in state.items() for key, row in rows.items()])

    def meta(self, key: str) -> Any:
        found = self._db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return json.loads(found[0]) if found else None

    def set_meta(self, values: Mapping[str, Any]) -> None:
        """
        Raises:
            JournalError: they are not durable.
        """
        with self._transaction():
            for key, value in values.items():
                self._db.execute(
                    "INSERT INTO meta VALUES (?,?) ON CONFLICT DO UPDATE SET value=excluded.value",
                    (key, json.dumps(value, separators=(",", ":"))),
                )
