"""How far a price travels in an hour (`atr_14`, quote currency), also before S2 has told it.

Owns where S5 takes it from: S2's word, else the hours on file, else the exchange's own. At a start S5 compares before
S2 has read its bars, and in one process what S2 told is gone with the process.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chimera.contracts.collections import KLINES
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FEAT_LAST
from chimera.domain.features.atr_14 import Atr14
from chimera.domain.market.quotes import INTERVAL_MS
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots
from chimera.ports.venue import Venue, VenueError
from chimera.runtime.waiting import DeadlinePassed, until

HOUR = "1h"
HOURS = 100
"""What came before weighs less than a millionth."""

OLD_MS = 3 * INTERVAL_MS[HOUR]
"""Hours on file that end so long ago are not the market of now: it is asked first."""

ASK_MS = 500
"""Of our own work. What is naked may be so for 2 s, and its stop waits for this answer."""

Row = tuple[int, float, float, float]
"""Opened (epoch ms), high, low, close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Atr:
    env: str
    documents: Documents
    snapshots: Snapshots
    venue: Venue
    clock: Clock

    async def of(self, key: InstrumentKey) -> float | None:
        """None: nobody knows it, or the price has never moved."""
        last = await self.snapshots.get_hash(FEAT_LAST.name(self.env, key))
        told = json.loads(last["features"]).get("atr_14") if "features" in last else None
        if isinstance(told, int | float) and told > 0:
            return float(told)
        filed = await self._on_file(key)
        young = bool(filed) and self.clock.now_ms() - filed[-1][0] < OLD_MS
        known = None if young else _reckoned(await self._at_exchange(key))
        return known or _reckoned(filed)

    async def _on_file(self, key: InstrumentKey) -> list[Row]:
        now_ms = self.clock.now_ms()
        query: Query[Any] = Query(
            collection=KLINES,
            index="by_instr_time",
            equal=(("market", key.market.value), ("symbol", key.symbol), ("interval", HOUR)),
            at_least=max(0, now_ms - HOURS * INTERVAL_MS[HOUR]),
            below=max(0, now_ms - INTERVAL_MS[HOUR] + 1),
        )
        rows = await self.documents.find_values(query, ("open_time", "high", "low", "close"))
        return [(opened_ms, float(high), float(low), float(close)) for opened_ms, high, low, close in rows]

    async def _at_exchange(self, key: InstrumentKey) -> list[Row]:
        now_ms = self.clock.now_ms()
        hours = self.venue.klines(key, HOUR, max(0, now_ms - HOURS * INTERVAL_MS[HOUR]), now_ms)
        try:
            bars = await until(self.clock, now_ms + self.clock.work_ms(ASK_MS), hours)
        except (VenueError, DependencyDown, DeadlinePassed):
            return []
        return [(bar.open_time, bar.high, bar.low, bar.close) for bar in bars]


def _reckoned(rows: Iterable[Row]) -> float | None:
    """As S2 reckons it."""
    atr = Atr14()
    for _, high, low, close in rows:
        atr.add(high, low, close)
    return atr.value or None
