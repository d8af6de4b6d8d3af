"""Telling the features of one instrument: when, and what is written before.

Owns the distance of two events, the signal on file behind a bar's close and a change of `xmkt_signal`, and `feat:last`.

    a tick            at once, or at the end of `emit_ms` since the last event
    a tick of a new   waits, `emit_ms` at most, for the bar that has just closed: both are then told as one, and no
    minute            decision is made on a minute whose bar is on its way
    a bar's close     at once, with a signal on file
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic_core import to_json

from chimera.contracts.collections import SIGNALS
from chimera.contracts.documents import Decision, Signal
from chimera.contracts.enums import Action, DataQuality
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FEAT_LAST
from chimera.contracts.messages import FeatureEvent
from chimera.contracts.messages.features import PENDING
from chimera.contracts.streams import FEAT_EVENTS
from chimera.domain.features.feature_book import FeatureSnapshot
from chimera.domain.features.xmkt_signal import SPEC as XMKT
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Put
from chimera.ports.metrics import Metrics
from chimera.ports.state import Snapshots
from chimera.runtime.later import Later
from chimera.services.s02_features.desk import Desk
from chimera.services.s02_features.handlers.active_config import ActiveConfig

MINUTE_MS = 60_000
_PENDING = Decision(action=Action.SKIP, reason=PENDING.reason)


@dataclass(slots=True, kw_only=True)
class StaleFactors:
    """Which factors are stale for any instrument: the gauge has no room for instruments."""

    metrics: Metrics
    _by_key: dict[InstrumentKey, tuple[str, ...]] = field(default_factory=dict)

    def set(self, key: InstrumentKey, stale: tuple[str, ...]) -> None:
        before = self._by_key.get(key, ())
        self._by_key[key] = stale
        for feature in sorted({*before, *stale}):
            is_stale = any(feature in names for names in self._by_key.values())
            self.metrics.gauge("feature_stale", float(is_stale), feature=feature)


@dataclass(slots=True, kw_only=True)
class Emitter:
    """One for each instrument, beside its book."""

    env: str
    desk: Desk
    config: ActiveConfig
    emit_ms: int
    age_ms_max: int
    bus: Bus
    snapshots: Snapshots
    documents: Documents
    clock: Clock
    later: Later[InstrumentKey]
    stale_factors: StaleFactors
    bar_closed_ms: int = 0
    """Close time of the newest bar in the book; 0: none yet."""
    _next_ms: int = 0
    _xmkt: float | None = None
    _stale: tuple[str, ...] | None = None
    _flags: Mapping[str, DataQuality] | None = None
    _stale_json: str = "[]"
    _flags_json: str = "{}"
    _stream: str = field(init=False)
    _last_key: str = field(init=False)
    _doc_key: str = field(init=False)

    def __post_init__(self) -> None:
        self._stream = FEAT_EVENTS.name(self.env, self.desk.key)
        self._last_key = FEAT_LAST.name(self.env, self.desk.key)
        self._doc_key = self.desk.key.doc_key

    async def on_tick(self) -> None:
        now_ms = self.clock.now_ms()
        due_ms = self._next_ms
        minute_ms = now_ms - now_ms % MINUTE_MS
        if 0 < self.bar_closed_ms < minute_ms:
            due_ms = max(due_ms, minute_ms + self.emit_ms)
        if now_ms < due_ms:
            self.later.at(self.desk.key, due_ms)
        else:
            await self.emit(now_ms)

    async def on_due(self) -> None:
        """What waited: a bar that is still on its way has had its time."""
        now_ms = self.clock.now_ms()
        if now_ms >= self._next_ms:
            await self.emit(now_ms)

    async def on_close(self) -> None:
        """A bar has closed and is in the book."""
        self.later.forget(self.desk.key)
        await self.emit(self.clock.now_ms(), signal=True)

    async def emit(self, t0: int, *, signal: bool = False) -> None:
        self._next_ms = t0 + self.emit_ms
        await self.config.look(t0)
        snapshot = self._snapshot(t0)
        if snapshot.flags != self._flags:
            # In words only when they change: most of the time the same ones are stale, or none.
            self._flags = snapshot.flags
            self._flags_json = json.dumps(snapshot.flags)
            if snapshot.stale != self._stale:
                self._stale = snapshot.stale
                self._stale_json = json.dumps(snapshot.stale)
                self.stale_factors.set(self.desk.key, snapshot.stale)
        xmkt = snapshot.values.get(XMKT.factor_id)
        changed = xmkt is not None and self._xmkt is not None and xmkt != self._xmkt
        # The same spelling as `ids.signal_id`, which is too general for every tick.
        signal_id = f"SIG-{t0}-{self._doc_key}"
        if signal or changed:
            await self._file(signal_id, snapshot)
        if xmkt is not None:
            self._xmkt = xmkt
        await self.snapshots.set_hash(
            self._last_key,
            {
                "features": to_json(snapshot.values).decode(),
                "t0": str(t0),
                "signal_id": signal_id,
                "stale": self._stale_json,
                "flags": self._flags_json,
            },
        )
        await self.bus.publish(
            self._stream,
            FeatureEvent(
                ts=t0,
                market=self.desk.key.market,
                symbol=self.desk.key.symbol,
                features=snapshot.values,
                signal_id=signal_id,
                t0=t0,
                config_rev=self.config.rev,
                stale=snapshot.stale,
                flags=dict(snapshot.flags) if snapshot.flags else None,
            ),
        )

    def _snapshot(self, t0: int) -> FeatureSnapshot:
        snapshot = self.desk.book.snapshot(t0, self.age_ms_max)
        missing = [name for name in self.desk.awaited if name not in snapshot.values and name not in snapshot.flags]
        if not missing:
            return snapshot
        # A new bundle's factors, until the book that computes them has taken its place.
        flags = {**snapshot.flags, **dict.fromkeys(missing, DataQuality.WARMING)}
        return FeatureSnapshot(snapshot.values, tuple(flags), t0, flags)

    async def _file(self, signal_id: str, snapshot: FeatureSnapshot) -> None:
        """S3 may have judged this moment before us, on an event that was told twice: its decision stays."""
        await self.documents.put_many(
            [
                Put(
                    SIGNALS,
                    Signal(
                        signal_id=signal_id,
                        t0=snapshot.t0,
                        market=self.desk.key.market,
                        symbol=self.desk.key.symbol,
                        features=snapshot.values,
                        decision=_PENDING,
                        config_rev=self.config.rev,
                        created_at=snapshot.t0,
                        stale=snapshot.stale,
                        flags=dict(snapshot.flags) if snapshot.flags else None,
                    ),
                    unless_exists=True,
                )
            ]
        )
