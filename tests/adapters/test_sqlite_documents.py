"""What SQLite adds to the port: no scans, durability of a kill, and clear words about a data folder it cannot use."""

import asyncio
import resource
import signal as signals
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chimera.adapters.sqlite.documents import DATA_VERSION, DataFolderError, SqliteDocuments
from chimera.contracts.collections import COLLECTIONS, ORDERS, SIGNALS, Collection, Index
from chimera.ports.documents import DocumentsUnavailable, Put, Query
from chimera.simulation.loop import run_virtual
from tests.ports.test_documents import keys, order, signal


def shapes() -> Iterator[Any]:
    """A query of every shape that every declared index can serve."""
    for collection in COLLECTIONS.values():
        for index in collection.indexes:
            for length in range(len(index.fields) + 1):
                equal = tuple((field, 1) for field in index.fields[:length])
                name = f"{collection.name}.{index.name}:{length}"
                yield pytest.param(
                    Query(collection=collection, index=index.name, equal=equal, descending=True, limit=3), id=name
                )
                if length < len(index.fields):
                    yield pytest.param(
                        Query(collection=collection, index=index.name, equal=equal, at_least=1, below=2),
                        id=f"{name}-range",
                    )


@pytest.fixture(scope="module")
def empty() -> SqliteDocuments:
    return SqliteDocuments.in_loop()


@pytest.mark.parametrize("query", shapes())
def test_every_declared_index_is_used_without_scan_or_sort(empty: SqliteDocuments, query: Query[Any]) -> None:
    (step,) = empty.explain(query)

    assert f"USING INDEX {query.collection.name}.{query.index}" in step
    if query.equal or query.at_least is not None:
        assert step.startswith("SEARCH")


def test_expiry_walks_an_index(tmp_path: Path) -> None:
    run_virtual(SqliteDocuments.in_loop(tmp_path / "chimera.db").close())

    with sqlite3.connect(tmp_path / "chimera.db") as database:
        plan = database.execute('EXPLAIN QUERY PLAN DELETE FROM "orders" WHERE "f_created_at_sec" <= 1').fetchall()

    assert "orders.ttl" in plan[0][3]


@contextmanager
def file_size_max(size_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond `size_bytes`, as on a disk that is full."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signals.signal(signals.SIGXFSZ, signals.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signals.signal(signals.SIGXFSZ, handler)


async def test_a_full_disk_refuses_writes_and_recovers_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    documents = SqliteDocuments.in_thread(path)
    await documents.insert(ORDERS, order("before"))
    size_bytes = (tmp_path / "chimera.db-wal").stat().st_size

    with file_size_max(size_bytes):
        with pytest.raises(DocumentsUnavailable):
            await documents.insert(ORDERS, order("during", reason="x" * 100_000))
        assert await documents.get(ORDERS, "before") is not None
    await documents.insert(ORDERS, order("after"))

    assert keys(await documents.find(Query(collection=ORDERS, index="by_time"))) == ["before", "after"]
    await documents.close()


async def answer_of_ping(documents: SqliteDocuments) -> str:
    try:
        await documents.ping()
    except DocumentsUnavailable as down:
        return str(down)
    return "well"


async def test_a_full_disk_is_noticed_though_nobody_writes(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    documents = SqliteDocuments.in_thread(path)
    await documents.insert(ORDERS, order("before"))

    with file_size_max((tmp_path / "chimera.db-wal").stat().st_size):
        assert await answer_of_ping(documents) != "well"

    await documents.insert(ORDERS, order("after"))
    assert await answer_of_ping(documents) == "well"
    await documents.close()


async def test_a_file_that_somebody_else_holds_is_down_until_it_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chimera.adapters.sqlite.writer.PROOF_WAIT_S", 0.1)
    path = tmp_path / "chimera.db"
    documents = SqliteDocuments.in_thread(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    held = [await answer_of_ping(documents) for _ in range(3)]
    other.execute("ROLLBACK")
    await documents.insert(ORDERS, order("after"))

    assert all("a write has waited for more than 0.1 s" in answer for answer in held)
    assert await answer_of_ping(documents) == "well"
    other.close()
    await documents.close()


def test_a_newer_data_folder_is_refused_with_version_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version={DATA_VERSION + 1}")

    with pytest.raises(DataFolderError, match=rf"data version {DATA_VERSION + 1}.*--data"):
        SqliteDocuments.in_thread(path)


def test_a_damaged_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    path.write_bytes(b"this is no database" * 1_000)

    with pytest.raises(DataFolderError, match=r"is damaged.*backup.*--data"):
        SqliteDocuments.in_thread(path)


def test_a_folder_that_is_not_there_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="cannot be opened for writing"):
        SqliteDocuments.in_thread(tmp_path / "missing" / "chimera.db")


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    for documents in (SqliteDocuments.in_thread(tmp_path / "a.db"), SqliteDocuments.in_loop(tmp_path / "b.db")):
        await documents.close()

        with pytest.raises(DocumentsUnavailable):
            await documents.put(ORDERS, order("o1"))
        with pytest.raises(DocumentsUnavailable):
            await documents.get(ORDERS, "o1")
        with pytest.raises(DocumentsUnavailable):
            await documents.ping()


async def test_an_undeclared_collection_is_a_bug_of_the_caller(tmp_path: Path) -> None:
    documents = SqliteDocuments.in_loop(collections=[SIGNALS])

    with pytest.raises(ValueError, match="orders"):
        await documents.get(ORDERS, "o1")


@pytest.mark.parametrize("mode", ["in_thread", "in_loop"])
async def test_documents_and_revisions_outlive_the_process(tmp_path: Path, mode: str) -> None:
    documents: SqliteDocuments = getattr(SqliteDocuments, mode)(tmp_path / "chimera.db")
    rev = await documents.insert(ORDERS, order("o1"))
    await documents.close()

    documents = getattr(SqliteDocuments, mode)(tmp_path / "chimera.db")

    newer = await documents.replace(ORDERS, order("o1", reason="later"), rev=rev)
    assert int(newer) > int(rev)
    await documents.close()


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import ORDERS, SIGNALS
from tests.ports.test_documents import order, signal as make_signal

async def main():
    documents = SqliteDocuments.in_thread(Path(sys.argv[1]))
    for number in range(20):
        await documents.insert(ORDERS, order(f"o{number}"))
        await documents.put(SIGNALS, make_signal(number))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"

    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=Path(__file__).parents[2], check=False)

    assert killed.returncode == -signals.SIGKILL
    documents = SqliteDocuments.in_thread(path)
    assert (await documents.count(ORDERS), await documents.count(SIGNALS)) == (20, 20)
    await documents.close()


async def test_writes_that_wait_together_are_committed_together(tmp_path: Path) -> None:
    """A commit of a synced collection waits for the disk; 500 of them one by one would write 500 times the log."""
    path = tmp_path / "chimera.db"
    documents = SqliteDocuments.in_thread(path)

    await asyncio.gather(*(documents.insert(ORDERS, order(f"o{number}")) for number in range(500)))

    assert (tmp_path / "chimera.db-wal").stat().st_size < 500 * 4_096
    await documents.close()


async def test_a_cancelled_writer_harms_nobody_else(tmp_path: Path) -> None:
    documents = SqliteDocuments.in_thread(tmp_path / "chimera.db")
    doomed = asyncio.create_task(documents.insert(ORDERS, order("o1")))
    other = asyncio.create_task(documents.insert(ORDERS, order("o2")))
    await asyncio.sleep(0)
    doomed.cancel()

    await other

    assert await documents.get(ORDERS, "o2") is not None
    await documents.close()


def test_an_index_declared_later_finds_what_stood_before(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    bare = replace(ORDERS, indexes=())

    async def write_then_declare() -> list[str]:
        before = SqliteDocuments.in_loop(path, collections=[bare])
        await before.put_many([Put(bare, order(f"o{number}", symbol=f"S{number}USDT")) for number in range(3)])
        await before.close()
        after = SqliteDocuments.in_loop(path, collections=[ORDERS])
        found = await after.find(Query(collection=ORDERS, index="by_sym_time", equal=(("symbol", "S1USDT"),)))
        await after.close()
        return keys(found)

    assert run_virtual(write_then_declare()) == ["o1"]


def test_an_index_declared_otherwise_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    old: Collection[Any] = replace(ORDERS, indexes=(Index("by_time", ("symbol",)), Index("by_old", ("status",))))

    async def reopen() -> tuple[list[str], list[str]]:
        before = SqliteDocuments.in_loop(path, collections=[old])
        await before.put(old, order("o1", 7))
        await before.close()
        after = SqliteDocuments.in_loop(path, collections=[ORDERS])
        query = Query(collection=ORDERS, index="by_time", at_least=7)
        found = keys(await after.find(query)), list(after.explain(query))
        await after.close()
        return found

    found, (step,) = run_virtual(reopen())

    assert found == ["o1"]
    assert "f_created_at>?" in step
    with sqlite3.connect(path) as database:
        assert not database.execute("SELECT 1 FROM sqlite_master WHERE name='orders.by_old'").fetchall()


def test_a_field_of_a_newer_writer_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"

    async def write() -> None:
        documents = SqliteDocuments.in_loop(path)
        await documents.put(ORDERS, order("o1"))
        await documents.close()

    async def read() -> Any:
        documents = SqliteDocuments.in_loop(path)
        found = await documents.get(ORDERS, "o1")
        await documents.close()
        return found

    run_virtual(write())
    with sqlite3.connect(path) as database:
        database.execute("UPDATE orders SET body=json_set(body, '$.from_the_future', 1)")

    assert run_virtual(read()) == order("o1")


def test_a_world_in_memory_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"

    async def warm_up() -> str:
        documents = SqliteDocuments.in_loop()
        rev = await documents.insert(ORDERS, order("o1"))
        await documents.backup_to(path)
        await documents.insert(ORDERS, order("o2"))
        await documents.close()
        return rev

    async def go_on(rev: str) -> list[str]:
        documents = SqliteDocuments.in_thread(path)
        await documents.replace(ORDERS, order("o1", reason="went on"), rev=rev)
        found = keys(await documents.find(Query(collection=ORDERS, index="by_time")))
        await documents.close()
        return found

    rev = run_virtual(warm_up())

    assert asyncio.run(go_on(rev)) == ["o1"]
    assert [part.name for part in tmp_path.iterdir()] == ["chimera.db"]


def test_a_copy_to_nowhere_is_refused_and_the_world_goes_on(tmp_path: Path) -> None:
    async def go() -> int:
        documents = SqliteDocuments.in_loop()
        with pytest.raises(DataFolderError):
            await documents.backup_to(tmp_path / "missing" / "chimera.db")
        await documents.insert(ORDERS, order("o1"))
        return await documents.count(ORDERS)

    assert run_virtual(go()) == 1


def test_the_observer_hears_of_every_write_in_order() -> None:
    heard: list[tuple[str, str, str]] = []

    async def go() -> None:
        documents = SqliteDocuments.in_loop(observe=lambda *written: heard.append(written))
        await documents.insert(ORDERS, order("o1"))
        await documents.put_many([Put(SIGNALS, signal(1)), Put(ORDERS, order("o2"))])
        await documents.remove(ORDERS, "o1")

    run_virtual(go())

    assert heard == [
        ("orders", "o1", order("o1").to_json()),
        ("signals", signal(1).signal_id, signal(1).to_json()),
        ("orders", "o2", order("o2").to_json()),
        ("orders", "o1", ""),
    ]
