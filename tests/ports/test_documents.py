"""What every document store promises: keys, unique fields, revisions, queries by declared index, expiry."""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.contracts.collections import (
    CONFIG_BUNDLES,
    FILLS,
    ORDERS,
    SESSIONS,
    SIGNALS,
    SYSTEM_STATE,
    system_state,
)
from chimera.contracts.documents import Decision, Fill, KillSwitchState, Order, Session, Signal
from chimera.contracts.enums import Action, Market, OrderStatus, OrderType, Role, Side, Switch
from chimera.ports.documents import Documents, DuplicateKey, Put, Query, RevisionConflict

from .conftest import sqlite_file_in_loop, sqlite_file_in_thread, sqlite_in_memory


def order(name: str, created_at: int = 1_000, **changes: Any) -> Order:
    given = {
        "order_id": name,
        "client_order_id": name,
        "market": Market.FUT,
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "type": OrderType.MARKET,
        "quantity": Decimal("0.01"),
        "status": OrderStatus.NEW,
        "rcu_rev": 1,
        "created_at": created_at,
        "intent_id": f"intent-{name}",
    }
    return Order(**(given | changes))


def signal(t0: int, symbol: str = "BTCUSDT", action: Action = Action.SKIP) -> Signal:
    return Signal(
        signal_id=f"SIG-{t0}-FUT-{symbol}",
        t0=t0,
        market=Market.FUT,
        symbol=symbol,
        features={"atr_14": 12.5, "regime": "NORMAL", "ready": True},
        decision=Decision(action=action, reason="PENDING"),
        config_rev=1,
    )


def session(name: str, expires_at: int) -> Session:
    return Session(
        session_hash=name, user="ann", role=Role.VIEWER, csrf_token="t", created_at=1_000, expires_at=expires_at
    )


async def test_a_document_is_read_back_as_it_was_written(documents: Documents) -> None:
    written = order("o1", price=Decimal("65400.1"), fee_usdt=Decimal("0.12345678"))
    await documents.insert(ORDERS, written)

    assert await documents.get(ORDERS, "o1") == written
    assert await documents.get(ORDERS, "o2") is None


async def test_a_key_is_taken_once(documents: Documents) -> None:
    await documents.insert(ORDERS, order("o1"))

    with pytest.raises(DuplicateKey):
        await documents.insert(ORDERS, order("o1", status=OrderStatus.FILLED))

    kept = await documents.get(ORDERS, "o1")
    assert kept is not None
    assert kept.status is OrderStatus.NEW


async def test_a_unique_field_is_taken_once(documents: Documents) -> None:
    await documents.insert(ORDERS, order("o1"))

    with pytest.raises(DuplicateKey):
        await documents.insert(ORDERS, order("o2", client_order_id="o1"))
    with pytest.raises(DuplicateKey):
        await documents.put(ORDERS, order("o2", client_order_id="o1"))

    assert await documents.count(ORDERS) == 1


async def test_a_sparse_unique_field_may_be_absent_many_times(documents: Documents) -> None:
    await documents.insert(ORDERS, order("o1", client_order_id=None))
    await documents.insert(ORDERS, order("o2", client_order_id=None))

    assert await documents.count(ORDERS) == 2


async def test_putting_replaces_the_whole_document(documents: Documents) -> None:
    await documents.put(ORDERS, order("o1", reason="first"))
    await documents.put(ORDERS, order("o1", status=OrderStatus.FILLED))

    assert await documents.get(ORDERS, "o1") == order("o1", status=OrderStatus.FILLED)


async def test_a_put_moves_the_document_within_its_indexes(documents: Documents) -> None:
    await documents.put(ORDERS, order("o1"))
    await documents.put(ORDERS, order("o1", status=OrderStatus.FILLED))

    assert await documents.find(by_status(OrderStatus.NEW)) == []
    assert keys(await documents.find(by_status(OrderStatus.FILLED))) == ["o1"]


async def test_replacing_needs_the_revision_that_was_read(documents: Documents) -> None:
    await documents.insert(ORDERS, order("o1"))
    stored = await documents.get_stored(ORDERS, "o1")
    assert stored is not None

    rev = await documents.replace(ORDERS, order("o1", reason="mine"), rev=stored.rev)

    with pytest.raises(RevisionConflict):
        await documents.replace(ORDERS, order("o1", reason="late"), rev=stored.rev)
    again = await documents.get_stored(ORDERS, "o1")
    assert again is not None
    assert (again.doc.reason, again.rev) == ("mine", rev)


async def test_every_way_of_writing_gives_a_revision_to_go_on_with(documents: Documents) -> None:
    rev = await documents.insert(ORDERS, order("o1"))
    rev = await documents.replace(ORDERS, order("o1", reason="2"), rev=rev)
    rev = await documents.put(ORDERS, order("o1", reason="3"))

    assert await documents.replace(ORDERS, order("o1", reason="4"), rev=rev) != rev


@pytest.mark.parametrize("rev", [pytest.param("1", id="a number"), pytest.param("_x-y", id="of another store")])
async def test_replacing_what_is_not_there_is_a_conflict(documents: Documents, rev: str) -> None:
    with pytest.raises(RevisionConflict):
        await documents.replace(ORDERS, order("o1"), rev=rev)


async def test_a_document_made_anew_has_none_of_its_old_revisions(documents: Documents) -> None:
    old = await documents.insert(ORDERS, order("o1"))
    await documents.remove(ORDERS, "o1")
    await documents.insert(ORDERS, order("o1"))

    with pytest.raises(RevisionConflict):
        await documents.replace(ORDERS, order("o1", reason="late"), rev=old)


async def test_of_many_that_replace_at_once_one_succeeds(documents: Documents) -> None:
    rev = await documents.insert(ORDERS, order("o1"))
    rivals = [documents.replace(ORDERS, order("o1", reason=str(number)), rev=rev) for number in range(10)]

    outcomes = await asyncio.gather(*rivals, return_exceptions=True)

    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, RevisionConflict) for outcome in outcomes) == 9


async def test_many_documents_are_written_with_one_wait(documents: Documents) -> None:
    await documents.put(ORDERS, order("o1", reason="stood"))
    await documents.put_many(
        [
            Put(SIGNALS, signal(1)),
            Put(ORDERS, order("o1", reason="new"), unless_exists=True),
            Put(ORDERS, order("o2"), unless_exists=True),
            Put(SIGNALS, signal(1, action=Action.OPEN)),
        ]
    )
    await documents.put_many([])

    first = await documents.get(ORDERS, "o1")
    assert first is not None
    assert first.reason == "stood"
    assert await documents.get(ORDERS, "o2") == order("o2")
    assert await documents.get(SIGNALS, signal(1).signal_id) == signal(1, action=Action.OPEN)


async def test_a_duplicate_among_many_is_told(documents: Documents) -> None:
    await documents.put(ORDERS, order("o1"))

    with pytest.raises(DuplicateKey):
        await documents.put_many([Put(ORDERS, order("o2", client_order_id="o1"))])


async def test_writes_of_many_tasks_all_arrive(documents: Documents) -> None:
    await asyncio.gather(*(documents.insert(ORDERS, order(f"o{number}", number)) for number in range(200)))

    assert await documents.count(ORDERS) == 200


async def test_a_refused_write_harms_none_that_came_with_it(documents: Documents) -> None:
    await documents.insert(ORDERS, order("o1"))
    writes = [documents.insert(ORDERS, order(name)) for name in ("o0", "o1", "o2")]

    outcomes = await asyncio.gather(*writes, return_exceptions=True)

    assert [isinstance(outcome, DuplicateKey) for outcome in outcomes] == [False, True, False]
    assert await documents.count(ORDERS) == 3


async def test_what_is_removed_is_gone(documents: Documents) -> None:
    await documents.insert(ORDERS, order("o1"))

    assert await documents.remove(ORDERS, "o1")
    assert not await documents.remove(ORDERS, "o1")
    assert await documents.get(ORDERS, "o1") is None
    assert await documents.find(by_status(OrderStatus.NEW)) == []


async def test_documents_of_one_collection_may_have_types_of_their_own(documents: Documents) -> None:
    switch = KillSwitchState(updated_at=5, state=Switch.ON, actor="ann", reason="storm")
    mine = system_state(KillSwitchState)

    await documents.put(mine, switch)

    assert await documents.get(mine, "kill_switch") == switch
    assert await documents.count(SYSTEM_STATE) == 1


async def test_ping_answers(documents: Documents) -> None:
    await documents.ping()


# Queries


def by_status(status: OrderStatus, **more: Any) -> Query[Order]:
    return Query(collection=ORDERS, index="by_status", equal=(("status", status),), **more)


def keys(found: Sequence[Any]) -> list[str]:
    return [document.doc_key() for document in found]


@pytest.fixture
async def filled(documents: Documents) -> Documents:
    for number in (3, 1, 4, 2, 5):
        await documents.insert(ORDERS, order(f"o{number}", number * 10))
    await documents.insert(ORDERS, order("f1", 10, status=OrderStatus.FILLED))
    return documents


@pytest.mark.parametrize(
    ("more", "found"),
    [
        pytest.param({}, ["o1", "o2", "o3", "o4", "o5"], id="sorted by the field after the equal ones"),
        pytest.param({"descending": True}, ["o5", "o4", "o3", "o2", "o1"], id="descending"),
        pytest.param({"at_least": 20, "below": 40}, ["o2", "o3"], id="from inclusive, to exclusive"),
        pytest.param({"at_least": 40}, ["o4", "o5"], id="open above"),
        pytest.param({"below": 20}, ["o1"], id="open below"),
        pytest.param({"limit": 2}, ["o1", "o2"], id="the first two"),
        pytest.param({"limit": 2, "descending": True}, ["o5", "o4"], id="the last two"),
        pytest.param({"at_least": 99}, [], id="nothing there"),
    ],
)
async def test_a_query_walks_its_index(filled: Documents, more: dict[str, Any], found: list[str]) -> None:
    assert keys(await filled.find(by_status(OrderStatus.NEW, **more))) == found


async def test_a_query_without_equal_fields_walks_the_whole_index(filled: Documents) -> None:
    newest = Query(collection=ORDERS, index="by_time", descending=True, limit=2)

    assert keys(await filled.find(newest)) == ["o5", "o4"]


async def test_a_query_reaches_into_the_document(documents: Documents) -> None:
    for t0 in (1, 2, 3):
        await documents.put(SIGNALS, signal(t0, action=Action.OPEN if t0 == 2 else Action.SKIP))

    opened = Query(
        collection=SIGNALS,
        index="by_instr_action",
        equal=(("market", Market.FUT), ("symbol", "BTCUSDT"), ("decision.action", Action.OPEN)),
    )

    assert [found.t0 for found in await documents.find(opened)] == [2]


async def test_a_sparse_index_leaves_out_documents_without_its_fields(documents: Documents) -> None:
    await documents.put(ORDERS, order("o1", venue_order_id="7"))
    await documents.put(ORDERS, order("o2"))

    placed = Query(collection=ORDERS, index="by_venue", equal=(("market", Market.FUT), ("symbol", "BTCUSDT")))

    assert keys(await documents.find(placed)) == ["o1"]


async def test_documents_without_a_field_are_found_as_such(documents: Documents) -> None:
    await documents.put(ORDERS, order("o1", intent_id=None))
    await documents.put(ORDERS, order("o2"))

    orphans = Query(collection=ORDERS, index="by_intent", equal=(("intent_id", None),))

    assert keys(await documents.find(orphans)) == ["o1"]


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(Query(collection=ORDERS, index="by_magic"), id="no such index"),
        pytest.param(
            Query(collection=ORDERS, index="by_status", equal=(("created_at", 1),)), id="not the leading field"
        ),
        pytest.param(
            Query(collection=ORDERS, index="by_intent", equal=(("intent_id", "x"),), at_least=1),
            id="a range over nothing",
        ),
        pytest.param(
            Query(collection=CONFIG_BUNDLES, index="by_rev", equal=(("rev", None),)),
            id="a sparse index asked for documents it leaves out",
        ),
    ],
)
async def test_a_query_that_fits_no_index_is_a_bug_of_the_caller(documents: Documents, query: Query[Any]) -> None:
    with pytest.raises(ValueError, match=query.collection.name):
        await documents.find(query)


# Expiry


async def test_a_document_goes_when_its_time_is_over_and_no_sooner(documents: Documents) -> None:
    await documents.put(SESSIONS, session("old", 100_000))
    await documents.put(SESSIONS, session("new", 200_000))

    early = await documents.remove_expired(99)
    due = await documents.remove_expired(100)

    assert (early, due) == (0, 1)
    assert await documents.get(SESSIONS, "old") is None
    assert await documents.get(SESSIONS, "new") is not None


async def test_expiry_counts_from_the_collections_own_field(documents: Documents) -> None:
    year_and_a_bit_sec = 400 * 86_400
    fill = Fill(
        fill_id="f1",
        order_id="o1",
        market=Market.FUT,
        symbol="BTCUSDT",
        price=Decimal(1),
        qty=Decimal(1),
        timestamp=7_000,
    )
    await documents.put(FILLS, fill)

    assert await documents.remove_expired(year_and_a_bit_sec + 6) == 0
    assert await documents.remove_expired(year_and_a_bit_sec + 7) == 1


# Against a dictionary

_names = st.sampled_from(["a", "b", "c", "d"])
_steps = st.lists(
    st.tuples(
        st.sampled_from(["insert", "put", "put_new", "replace", "stale", "remove"]),
        _names,
        st.integers(0, 5),
        st.sampled_from([OrderStatus.NEW, OrderStatus.FILLED]),
    ),
    max_size=25,
)


@pytest.mark.parametrize(
    "open_in",
    [
        pytest.param(sqlite_in_memory, id="sqlite-memory"),
        pytest.param(sqlite_file_in_loop, id="sqlite-file-in-loop"),
        pytest.param(sqlite_file_in_thread, id="sqlite-file-in-thread"),
    ],
)
@settings(max_examples=25, deadline=None)
@given(steps=_steps)
def test_documents_behave_as_a_dictionary_does(
    open_in: Callable[[Path], Documents], steps: list[tuple[str, str, int, OrderStatus]]
) -> None:
    async def walk(documents: Any) -> None:
        model: dict[str, tuple[Order, str]] = {}
        for kind, name, created_at, status in steps:
            doc = order(name, created_at, status=status)
            if kind == "insert" and name in model:
                with pytest.raises(DuplicateKey):
                    await documents.insert(ORDERS, doc)
            elif kind == "insert":
                model[name] = doc, await documents.insert(ORDERS, doc)
            elif kind == "put":
                model[name] = doc, await documents.put(ORDERS, doc)
            elif kind == "put_new":
                await documents.put_many([Put(ORDERS, doc, unless_exists=True)])
                stored = await documents.get_stored(ORDERS, name)
                model.setdefault(name, (doc, stored.rev))
            elif kind == "replace" and name in model:
                model[name] = doc, await documents.replace(ORDERS, doc, rev=model[name][1])
            elif kind == "stale" and name in model:
                newer = await documents.put(ORDERS, model[name][0])
                with pytest.raises(RevisionConflict):
                    await documents.replace(ORDERS, doc, rev=model[name][1])
                model[name] = model[name][0], newer
            elif kind == "remove":
                assert await documents.remove(ORDERS, name) == (model.pop(name, None) is not None)
        assert await documents.count(ORDERS) == len(model)
        for name in "abcd":
            stored = await documents.get_stored(ORDERS, name)
            assert (stored and (stored.doc, stored.rev)) == model.get(name)
        for status in (OrderStatus.NEW, OrderStatus.FILLED):
            found = await documents.find(by_status(status, at_least=1, below=5))
            wanted = [doc for doc, _ in model.values() if doc.status is status and 1 <= doc.created_at < 5]
            assert sorted(keys(found)) == sorted(keys(wanted))
            assert [doc.created_at for doc in found] == sorted(doc.created_at for doc in wanted)
        await documents.close()

    with TemporaryDirectory() as folder:
        opened = open_in(Path(folder))
        asyncio.run(walk(opened))


async def test_values_are_those_of_the_documents_that_a_query_finds(documents: Documents) -> None:
    for at in (3_000, 1_000, 2_000):
        await documents.put(ORDERS, order(f"o{at}", at, price=Decimal("65400.1") if at > 1_000 else None))
    query = Query(
        collection=ORDERS, index="by_sym_time", equal=(("symbol", "BTCUSDT"),), at_least=1_000, below=3_000, limit=5
    )

    rows = await documents.find_values(query, ("created_at", "price", "market", "no_such_field"))

    assert rows == [(1_000, None, "FUT", None), (2_000, 65400.1, "FUT", None)]
    assert [row[0] for row in rows] == [found.created_at for found in await documents.find(query)]
    none = Query(collection=ORDERS, index="by_sym_time", equal=(("symbol", "NONE"),))
    assert list(await documents.find_values(none, ("created_at",))) == []


async def test_documents_are_counted_as_they_would_be_found(documents: Documents) -> None:
    for at in range(1_000, 6_000, 1_000):
        await documents.put(ORDERS, order(f"o{at}", at))

    async def count(**bounds: int) -> int:
        return await documents.count_of(
            Query(collection=ORDERS, index="by_sym_time", equal=(("symbol", "BTCUSDT"),), **bounds)
        )

    assert await count() == 5
    assert await count(at_least=2_000, below=4_000) == 2
    assert await count(at_least=2_000, limit=3) == 3
    assert await count(at_least=9_000) == 0
    with pytest.raises(ValueError, match="declares no index"):
        await documents.count_of(Query(collection=ORDERS, index="nope"))


async def test_many_are_read_by_key_at_once(documents: Documents) -> None:
    names = [f"o{number}" for number in range(1_203)]
    await documents.put_many([Put(ORDERS, order(name, created_at=number)) for number, name in enumerate(names)])

    found = await documents.get_values(ORDERS, [*names, "none", "o7"], ("created_at", "status", "price"))

    assert found == {name: (number, "NEW", None) for number, name in enumerate(names)}


async def test_which_of_many_keys_have_a_document(documents: Documents) -> None:
    await documents.put_many([Put(ORDERS, order(name)) for name in ("o1", "o2")])

    assert dict(await documents.get_values(ORDERS, ("o2", "o3", "o1"), ())) == {"o1": (), "o2": ()}
    assert dict(await documents.get_values(ORDERS, (), ("status",))) == {}
