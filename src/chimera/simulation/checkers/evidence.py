"""What the checkers look at: the exchange's own rows, and the documents. Nothing of a running service's memory.

Owns reading both, from a data folder (stopped or running, never written to) or from what a simulation holds. Rules
about what should be there stand in the checkers.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from chimera.contracts.base import Document
from chimera.contracts.collections import (
    FILLS,
    FUNDING_RECORDS,
    INSTRUMENT_REGISTRY,
    INTENTS,
    ORDERS,
    SIGNALS,
    TRADES,
    Collection,
)
from chimera.contracts.enums import Market
from chimera.domain.execution.orders import Income, Transfer, VenueFill
from chimera.domain.matching.account import State
from chimera.domain.matching.codec import from_row
from chimera.domain.matching.records import Flow, OrderRecord, PositionRecord

D = TypeVar("D", bound=Document)

READ: tuple[Collection[Any], ...] = (
    SIGNALS,
    INTENTS,
    ORDERS,
    FILLS,
    TRADES,
    FUNDING_RECORDS,
    INSTRUMENT_REGISTRY,
)
"""The collections that the checkers speak of."""

Bodies = Mapping[str, Mapping[str, str]]
"""Collection name to document key to JSON."""

WalletKey = tuple[Market, str]
"""Market and asset."""


class Read:
    """Documents by collection and key, each read once for as long as it says the same."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str], tuple[str, Any]] = {}

    def document(self, collection: Collection[Any], key: str, body: str) -> Any:
        known = self._read.get((collection.name, key))
        if known is not None and known[0] == body:
            return known[1]
        document = collection.document.model_validate_json(body)
        self._read[collection.name, key] = body, document
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One moment of the exchange's books and of ours. Tuples are in the exchange's own order.

    `flows` is everything that ever moved a wallet, by kind; `now_ms` the exchange's clock.
    """

    now_ms: int
    orders: tuple[OrderRecord, ...]
    fills: tuple[VenueFill, ...]
    incomes: tuple[Income, ...]
    transfers: tuple[Transfer, ...]
    positions: tuple[PositionRecord, ...]
    balances: Mapping[WalletKey, Decimal]
    flows: Mapping[WalletKey, Mapping[Flow, Decimal]]
    documents: Mapping[str, tuple[Any, ...]]

    @classmethod
    def of(cls, state: State, bodies: Bodies, now_ms: int, read: "Read | None" = None) -> "Evidence":
        """From `Exchange.export_state` (or the journal's tables) and documents as JSON. `read` remembers what was read
        before, for whoever looks often."""
        read = read or Read()
        wallets = {(Market(key.partition(":")[0]), key.partition(":")[2]): row for key, row in _rows(state, "wallet")}
        return cls(
            now_ms=now_ms,
            orders=tuple(from_row(OrderRecord, row) for _, row in _numbered(state, "order")),
            fills=tuple(from_row(VenueFill, row) for _, row in _numbered(state, "fill")),
            incomes=tuple(from_row(Income, row) for _, row in _numbered(state, "income")),
            transfers=tuple(from_row(Transfer, row) for _, row in _numbered(state, "transfer")),
            positions=tuple(from_row(PositionRecord, row) for _, row in _rows(state, "position")),
            balances={key: Decimal(row["balance"]) for key, row in wallets.items()},
            flows={
                key: {Flow(flow): Decimal(amount) for flow, amount in row["flows"].items()}
                for key, row in wallets.items()
            },
            documents={
                each.name: tuple(
                    read.document(each, key, body) for key, body in sorted(bodies.get(each.name, {}).items())
                )
                for each in READ
            },
        )

    @classmethod
    def of_folder(cls, data: Path, venue: Path | None = None) -> "Evidence":
        """From a data folder; the exchange's files lie in `venue`, or inside. Our own files are read first: where
        somebody trades meanwhile, the exchange is ahead.

        Raises:
            sqlite3.Error: a file is missing or damaged.
        """
        venue = data / "venue" if venue is None else venue
        bodies = _documents(data / "documents.sqlite")
        stamp = (venue / "venue.clock").read_bytes()
        return cls.of(_journal(venue / "venue.sqlite"), bodies, int.from_bytes(stamp[:8], "big"))

    def on_file(self, collection: Collection[D]) -> tuple[D, ...]:
        """Every document of the collection, by key."""
        found: tuple[D, ...] = self.documents[collection.name]
        return found


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _journal(path: Path) -> State:
    connection = _read_only(path)
    try:
        state: State = {}
        for table, key, row in connection.execute("SELECT tbl, key, row FROM rows"):
            state.setdefault(table, {})[key] = json.loads(row)
        return state
    finally:
        connection.close()


def _documents(path: Path) -> Bodies:
    connection = _read_only(path)
    try:
        # One transaction: every collection is seen as it was at the same moment.
        connection.execute("BEGIN")
        return {
            each.name: {
                key: body if isinstance(body, str) else bytes(body).decode()
                for key, body in connection.execute(f'SELECT key, body FROM "{each.name}"')
            }
            for each in READ
        }
    finally:
        connection.close()


def _rows(state: State, table: str) -> list[tuple[str, Any]]:
    rows = state.get(table, {})
    return [(key, rows[key]) for key in sorted(rows)]


def _numbered(state: State, table: str) -> list[tuple[int, Any]]:
    rows = state.get(table, {})
    return [(int(key), rows[key]) for key in sorted(rows, key=int)]
