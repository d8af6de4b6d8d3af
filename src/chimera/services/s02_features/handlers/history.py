"""Bars that are on file, oldest first, a page at a time.

Owns how stored bars become the domain's, without a model a document: a month of minutes is 45,000 of them. Between two
pages the loop turns, so that a start of many instruments never holds it for longer than a page takes.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chimera.contracts.collections import FACTOR_BARS, KLINES, SIGNALS
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.quotes import INTERVAL_MS, Bar
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query

PAGE = 500
"""Bars of one page: some 2 ms to read, and 5 to take into a book."""

MINUTE_MS = 60_000
AT_CLOSE_MS = 5_000
"""A signal told so soon after a minute stands for its close: as old as a price may be that decides."""

SOURCE = "MAX"
Filed = tuple[int, Bar]
"""When it was filed (epoch ms), and the bar."""

_FIELDS = ("open_time", "open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    documents: Documents
    clock: Clock

    async def bars(self, key: InstrumentKey, interval: str, since_ms: int, end_ms: int) -> AsyncIterator[Sequence[Bar]]:
        """Bars that open at `since_ms` or later and had closed by `end_ms`."""
        async for rows in self._pages(_klines(key, interval, since_ms, end_ms), _FIELDS):
            yield [_bar(key, interval, row) for row in rows]

    async def factor_bars(self, key: InstrumentKey, since_ms: int) -> AsyncIterator[Sequence[Bar]]:
        """The hours of a market that is a factor only, up to the newest."""
        async for rows in self._pages(_factor_bars(key, since_ms), _FIELDS):
            yield [_bar(key, "1h", row) for row in rows]

    async def filed(
        self, key: InstrumentKey, interval: str, since_ms: int, end_ms: int
    ) -> AsyncIterator[Sequence[Filed]]:
        """As `bars`, with when each was filed."""
        async for rows in self._pages(_klines(key, interval, since_ms, end_ms), (*_FIELDS, "ts")):
            yield [(row[-1], _bar(key, interval, row[:-1])) for row in rows]

    async def factor_filed(self, key: InstrumentKey, since_ms: int) -> AsyncIterator[Sequence[Filed]]:
        async for rows in self._pages(_factor_bars(key, since_ms), (*_FIELDS, "ts")):
            yield [(row[-1], _bar(key, "1h", row[:-1])) for row in rows]

    async def count(self, key: InstrumentKey, interval: str, since_ms: int, end_ms: int) -> int:
        """How many bars `bars` would give."""
        return await self.documents.count_of(_klines(key, interval, since_ms, end_ms))

    async def signals(
        self, symbol: str, since_ms: int, end_ms: int, fields: tuple[str, ...]
    ) -> AsyncIterator[Sequence[tuple[Any, ...]]]:
        """(t0, market, *fields) of the symbol's signals with t0 in [since, end), of both markets, oldest first."""
        query: Query[Any] = Query(
            collection=SIGNALS,
            index="by_t0_sym",
            equal=(("symbol", symbol),),
            at_least=max(0, since_ms),
            below=max(0, end_ms),
        )
        # Both markets may have a signal of one moment, on two pages.
        seen: set[tuple[int, str]] = set()
        async for rows in self._pages(query, ("t0", "market", *fields), again=True):
            fresh = [row for row in rows if row[:2] not in seen]
            seen = {row[:2] for row in rows if row[0] == rows[-1][0]}
            if fresh:
                yield fresh

    async def told(
        self, key: InstrumentKey, factor_id: str, since_ms: int, end_ms: int
    ) -> AsyncIterator[Sequence[tuple[int, float]]]:
        """What a factor was at the closes of minutes in [since, end), from the signals that stand at them: (the
        minute's close, value), oldest first. A signal that came late stands for no close."""
        async for rows in self.signals(key.symbol, since_ms, end_ms, ("features",)):
            yield [
                (t0 - t0 % MINUTE_MS, float(features[factor_id]))
                for t0, market, features in rows
                if market == key.market and factor_id in features and t0 % MINUTE_MS <= AT_CLOSE_MS
            ]

    async def _pages(
        self, query: Query[Any], fields: tuple[str, ...], *, again: bool = False
    ) -> AsyncIterator[Sequence[tuple[Any, ...]]]:
        """The first field is the one by which the rows are ordered. `again`: several rows may have the same, so the
        last ones of a page come once more."""
        while True:
            rows = await self.documents.find_values(replace(query, limit=PAGE), fields)
            if rows:
                yield rows
            if len(rows) < PAGE:
                return
            query = replace(query, at_least=rows[-1][0] + (0 if again else 1))
            await self.clock.sleep_until_ms(self.clock.now_ms())


def _bar(key: InstrumentKey, interval: str, row: tuple[Any, ...]) -> Bar:
    opened, first, high, low, last, volume = row
    # float(): a store may hand a whole number back as an integer.
    return Bar(
        key.market, key.symbol, interval, opened, float(first), float(high), float(low), float(last), float(volume)
    )


def _klines(key: InstrumentKey, interval: str, since_ms: int, end_ms: int) -> Query[Any]:
    return Query(
        collection=KLINES,
        index="by_instr_time",
        equal=(("market", key.market.value), ("symbol", key.symbol), ("interval", interval)),
        at_least=max(0, since_ms),
        below=max(0, end_ms - INTERVAL_MS[interval] + 1),
    )


def _factor_bars(key: InstrumentKey, since_ms: int) -> Query[Any]:
    return Query(
        collection=FACTOR_BARS,
        index="by_sym_time",
        equal=(("source", SOURCE), ("symbol", key.symbol), ("interval", "1h")),
        at_least=max(0, since_ms),
    )
