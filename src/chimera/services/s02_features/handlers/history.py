"""Bars that are on file, oldest first, a page at a time.

Owns how stored bars become the domain's, without a model a document: a month of minutes is 45,000 of them. Between two
pages the loop turns, so that a start of many instruments never holds it for longer than a page takes.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from chimera.contracts.collections import FACTOR_BARS, KLINES
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.quotes import INTERVAL_MS, Bar
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query

PAGE = 1_000
"""Bars of one page: some 3 ms to read and as much to take into a book."""

SOURCE = "MAX"
_FIELDS = ("open_time", "open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    documents: Documents
    clock: Clock

    def bars(self, key: InstrumentKey, interval: str, since_ms: int, end_ms: int) -> AsyncIterator[Sequence[Bar]]:
        """Bars that open at `since_ms` or later and had closed by `end_ms`."""
        below_ms = end_ms - INTERVAL_MS[interval] + 1
        return self._pages(_klines(key, interval, since_ms, below_ms), key, interval)

    def factor_bars(self, key: InstrumentKey, since_ms: int) -> AsyncIterator[Sequence[Bar]]:
        """The hours of a market that is a factor only, up to the newest."""
        query: Query[Any] = Query(
            collection=FACTOR_BARS,
            index="by_sym_time",
            equal=(("source", SOURCE), ("symbol", key.symbol), ("interval", "1h")),
            at_least=max(0, since_ms),
        )
        return self._pages(query, InstrumentKey(Market.SPOT, key.symbol), "1h")

    async def count(self, key: InstrumentKey, interval: str, since_ms: int, end_ms: int) -> int:
        """How many bars `bars` would give."""
        return await self.documents.count_of(_klines(key, interval, since_ms, end_ms - INTERVAL_MS[interval] + 1))

    async def _pages(self, query: Query[Any], key: InstrumentKey, interval: str) -> AsyncIterator[Sequence[Bar]]:
        since_ms = query.at_least
        while True:
            found = await self.documents.find_values(
                Query(
                    collection=query.collection,
                    index=query.index,
                    equal=query.equal,
                    at_least=since_ms,
                    below=query.below,
                    limit=PAGE,
                ),
                _FIELDS,
            )
            if found:
                market, symbol = key.market, key.symbol
                # float(): a store may hand a whole number back as an integer.
                yield [
                    Bar(market, symbol, interval, opened, float(o), float(h), float(low), float(c), float(v))
                    for opened, o, h, low, c, v in found
                ]
            if len(found) < PAGE:
                return
            since_ms = found[-1][0] + 1
            await self.clock.sleep_until_ms(self.clock.now_ms())


def _klines(key: InstrumentKey, interval: str, since_ms: int, below_ms: int) -> Query[Any]:
    return Query(
        collection=KLINES,
        index="by_instr_time",
        equal=(("market", key.market.value), ("symbol", key.symbol), ("interval", interval)),
        at_least=max(0, since_ms),
        below=max(0, below_ms),
    )
