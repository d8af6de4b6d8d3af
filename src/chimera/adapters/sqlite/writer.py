"""Who writes to the database: a thread that commits in groups, or the caller's own turn.

Owns transactions, and whether writing works right now. A write is a function of a cursor; its refusals (a duplicate,
a conflict) are its own affair, while an error of the database ends the whole transaction, and every write of it is told
to try again.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from chimera.ports.documents import DocumentsUnavailable

T = TypeVar("T")

BATCH_MAX = 1_000
"""Writes in one transaction; more would only make the first of them wait."""

COMMIT_EVERY = 2_000
"""Writes in the loop between commits, so that the log beside a file stays small."""

PROOF_WAIT_S = 2.0
"""A write that waits longer counts as refused: who asks whether all is well must not hang with the disk."""


def connect(path: str, *, uri: bool = False) -> sqlite3.Connection:
    """A connection that leaves transactions to us and keeps every statement prepared."""
    return sqlite3.connect(path, uri=uri, isolation_level=None, check_same_thread=False, cached_statements=1_024)


def is_down(error: sqlite3.Error) -> bool:
    """Whether the database is to blame (full, locked, damaged, closed) and not the statement."""
    return type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError, sqlite3.InternalError) or (
        isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error)
    )


class InLoop:
    """Runs each write at once, in one long transaction that is committed now and then: nobody else reads the file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        self._cursor = connection.cursor()
        self._uncommitted = 0
        self._lost = ""

    async def run(self, write: Callable[[sqlite3.Cursor], T], synced: bool) -> T:
        self.check()
        try:
            result = write(self._cursor)
            self._uncommitted += 1
            if self._uncommitted >= COMMIT_EVERY:
                self._commit()
        except sqlite3.Error as error:
            if not is_down(error):
                raise
            if not self._connection.in_transaction:
                # SQLite gave up the transaction, and with it writes that we called durable: going on would be a lie.
                self._lost = f"it lost what was not committed yet: {error}"
            raise DocumentsUnavailable(str(error)) from error
        return result

    def check(self) -> None:
        """
        Raises:
            DocumentsUnavailable: nothing is written any more.
        """
        if self._lost:
            raise DocumentsUnavailable(self._lost)

    async def prove(self, write: Callable[[sqlite3.Cursor], object]) -> None:
        """
        Raises:
            DocumentsUnavailable: nothing is written any more. In the caller's turn a lost write is known at once.
        """
        self.check()

    def copy_to(self, target: sqlite3.Connection) -> None:
        self._connection.execute("COMMIT")
        try:
            self._connection.backup(target)
        finally:
            self._connection.execute("BEGIN")

    def close(self, close_reader: Callable[[], None]) -> None:
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")
        self._lost = "it is closed"
        close_reader()

    def _commit(self) -> None:
        self._uncommitted = 0
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")


@dataclass(slots=True)
class _Job:
    write: Callable[[sqlite3.Cursor], Any]
    synced: bool
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class WriterThread:
    """Takes all writes that wait, commits them together, then answers them together."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._synchronous = ""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._refused = ""
        self._proof: asyncio.Future[Any] | None = None
        self._thread = threading.Thread(target=self._serve, name="documents-writer", daemon=True)
        self._thread.start()

    async def run(self, write: Callable[[sqlite3.Cursor], T], synced: bool) -> T:
        result: T = await self._enqueue(write, synced)
        return result

    def check(self) -> None:
        """
        Raises:
            DocumentsUnavailable: nothing is written any more.
        """
        if self._closed or not self._thread.is_alive():
            raise DocumentsUnavailable("it is closed")

    async def prove(self, write: Callable[[sqlite3.Cursor], object]) -> None:
        """Commit `write`, which changes nothing: a store that nobody writes to finds out as well. One at a time; after
        a refusal the answer comes at once, and the next proof goes on behind it.

        Raises:
            DocumentsUnavailable: the last commit failed, or this one does, or it waits.
        """
        self.check()
        if self._proof is None or self._proof.done():
            self._proof = self._enqueue(write, False)
            self._proof.add_done_callback(_heard)
        if self._refused:
            raise DocumentsUnavailable(self._refused)
        try:
            async with asyncio.timeout(PROOF_WAIT_S):
                await asyncio.shield(self._proof)
        except TimeoutError:
            self._refused = f"a write has waited for more than {PROOF_WAIT_S:g} s"
            raise DocumentsUnavailable(self._refused) from None

    def copy_to(self, target: sqlite3.Connection) -> None:
        raise RuntimeError("a database with a writer thread is a file already; copy it with the thread's world stopped")

    def close(self, close_reader: Callable[[], None]) -> None:
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        close_reader()
        # The last connection to close folds the log into the file; it must be one that may write.
        self._connection.close()

    def _enqueue(self, write: Callable[[sqlite3.Cursor], Any], synced: bool) -> asyncio.Future[Any]:
        self.check()
        loop = asyncio.get_running_loop()
        job = _Job(write, synced, loop, loop.create_future())
        self._jobs.put(job)
        return job.done

    def _serve(self) -> None:
        going_on = True
        while going_on:
            job = self._jobs.get()
            batch: list[_Job] = []
            while job is not None:
                batch.append(job)
                if len(batch) == BATCH_MAX:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            going_on = job is not None
            if batch:
                self._commit(batch)
                self._answer(batch)

    def _commit(self, batch: list[_Job]) -> None:
        try:
            self._choose_durability(any(job.synced for job in batch))
            self._cursor.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._apply(job)
            self._cursor.execute("COMMIT")
            self._refused = ""
        except Exception as error:
            self._refused = str(error) or repr(error)
            failure = DocumentsUnavailable(str(error)) if isinstance(error, sqlite3.Error) else error
            with contextlib.suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            for job in batch:
                job.error = failure

    def _apply(self, job: _Job) -> None:
        try:
            job.result = job.write(self._cursor)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and is_down(error):
                raise
            job.error = error

    def _choose_durability(self, synced: bool) -> None:
        """FULL waits for the disk at the commit, and with it for everything that was committed before."""
        wanted = "FULL" if synced else "NORMAL"
        if wanted != self._synchronous:
            self._cursor.execute(f"PRAGMA synchronous={wanted}")
            self._synchronous = wanted

    def _answer(self, batch: list[_Job]) -> None:
        # One call into the loop for the whole batch: waking it costs more than many of the writes.
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            batch[0].loop.call_soon_threadsafe(_resolve, batch)


def _heard(proof: asyncio.Future[Any]) -> None:
    """Its error is remembered elsewhere, so that a proof nobody waited for is none that was overlooked."""
    if not proof.cancelled():
        proof.exception()


def _resolve(batch: list[_Job]) -> None:
    for job in batch:
        if job.done.done():
            continue
        if job.error is not None:
            job.done.set_exception(job.error)
        else:
            job.done.set_result(job.result)
