"""The features of stored signals once more, from stored bars, and compared bit for bit with what stands there.

Owns what of a signal can be computed again (whatever follows from bars and days) and what cannot (whatever follows from
ticks, which nobody keeps); which bars a moment knew; and the repair. A decision is never touched, and what it
was made on stays on file (`features_told`).

    a bar told within its minute       counts from when it was filed, as it did live
    a bar that was filled in later     counts from its close: what was wrong without it is put right
    a bar of USDT/TWD                  counts from when it was filed, however late: the strategy waits for it each day
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from chimera.contracts.collections import SIGNALS
from chimera.contracts.enums import DataQuality, EventKind
from chimera.contracts.http.features import RecomputeAnswer
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.derived import DefinitionError, Source, plan
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.feature_book import FeatureBook
from chimera.domain.features.registered import registered
from chimera.domain.features.registry import PLAIN
from chimera.domain.market.quotes import Bar
from chimera.ports.clock import Clock
from chimera.ports.compute import Compute
from chimera.ports.documents import Documents, RevisionConflict
from chimera.runtime.config_watch import bundle_of
from chimera.runtime.telling import Teller
from chimera.services.s02_features.handlers.bars import DAY_MS, HOUR_MS, MINUTE_MS, Walk, lookback
from chimera.services.s02_features.handlers.history import Filed, History
from chimera.services.s02_features.settings import Settings

STEP = 240
"""Signals of one piece of work beside the loop: four hours, some milliseconds."""

_FIELDS = ("signal_id", "features", "stale", "flags", "config_rev")


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a configuration shapes the features."""

    min_move: float
    derived: tuple[FactorSpec, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """A signal's features as they stand on file."""

    signal_id: str
    t0: int
    features: Mapping[str, Any]
    stale: tuple[str, ...]
    flags: Mapping[str, str] | None

    def agrees(self, found: "Found") -> bool:
        """Bit for bit. Whoever filed no reasons is not asked for them."""
        names = {*found.values, *found.flags}
        return (
            {name: value for name, value in self.features.items() if name in names} == found.values
            and {name for name in self.stale if name in names} == set(found.flags)
            and (
                self.flags is None
                or {name: why for name, why in self.flags.items() if name in names} == dict(found.flags)
            )
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What follows from the bars at the moment of a signal."""

    values: Mapping[str, float]
    flags: Mapping[str, DataQuality]


@dataclass(slots=True, kw_only=True)
class Past:
    """One instrument's book, led once more through the bars as they came. Touches no port."""

    book: FeatureBook
    cross: CrossMarket
    quick: frozenset[str]
    """Factors that move with ticks."""
    waiting: deque[tuple[int, Bar]] = field(default_factory=deque)
    """Bars of the instrument, in order, each with when it became known."""
    lead_waiting: deque[tuple[int, Bar]] = field(default_factory=deque)
    factor_waiting: deque[tuple[int, Bar]] = field(default_factory=deque)

    def find(self, moments: Sequence[int]) -> list[Found]:
        """At each of `moments`, which ascend."""
        return [self._at(t0) for t0 in moments]

    def _at(self, t0: int) -> Found:
        for waiting, take in (
            (self.factor_waiting, self.cross.on_usdttwd),
            (self.lead_waiting, self.cross.on_btc),
            (self.waiting, self.book.on_bar),
        ):
            while waiting and waiting[0][0] <= t0:
                take(waiting.popleft()[1])
        snapshot = self.book.snapshot(t0, 0)
        return Found(
            {name: value for name, value in snapshot.values.items() if name not in self.quick},
            {name: why for name, why in snapshot.flags.items() if name not in self.quick},
        )


@dataclass(slots=True, kw_only=True)
class Way:
    """How far the files were read for one past."""

    past: Past
    minutes_ms: int
    hours_ms: int
    lead_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recompute:
    settings: Settings
    history: History
    documents: Documents
    compute: Compute
    clock: Clock
    teller: Teller

    async def run(self, symbol: str, from_ms: int, to_ms: int) -> RecomputeAnswer:
        """Signals with t0 in [from, to) of every instrument of the symbol. Doing it twice changes nothing more.

        Raises:
            DependencyDown: some may be repaired already; ask again.
        """
        signals = changed = 0
        for key in self.settings.keys:
            if key.symbol == symbol:
                count, repaired = await self._instrument(key, from_ms, to_ms)
                signals += count
                changed += repaired
        return RecomputeAnswer(symbol=symbol, signals=signals, changed=changed)

    async def _instrument(self, key: InstrumentKey, from_ms: int, to_ms: int) -> tuple[int, int]:
        shapes: dict[int, Shape] = {}
        ways: dict[Shape, Way] = {}
        count = 0
        before: Counter[str] = Counter()
        after: Counter[str] = Counter()
        repaired: Counter[str] = Counter()
        changed = 0
        async for page in self._standing(key, from_ms, to_ms, shapes):
            for shape, standing in page.items():
                if shape not in ways:
                    ways[shape] = await self._begin(key, shape, standing[0].t0)
                found = await self._find(key, ways[shape], standing)
                for was, now in zip(standing, found, strict=True):
                    count += 1
                    names = {*now.values, *now.flags}
                    before["fresh"] += sum(name in names for name in was.features)
                    before["stale"] += sum(name in names for name in was.stale)
                    after["fresh"] += len(now.values)
                    after["stale"] += len(now.flags)
                    if not was.agrees(now):
                        changed += 1
                        repaired.update(_differing(was, now))
                        await self._repair(was.signal_id, now)
        await self.teller.event(
            EventKind.FEATURE_RECOMPUTE,
            key,
            f"{key}-{from_ms}-{to_ms}",
            from_ms=from_ms,
            to_ms=to_ms,
            signals=count,
            changed=changed,
            before=dict(before),
            after=dict(after),
            factors=dict(sorted(repaired.items())),
        )
        return count, changed

    async def _standing(
        self, key: InstrumentKey, from_ms: int, to_ms: int, shapes: dict[int, Shape]
    ) -> AsyncIterator[dict[Shape, list[Standing]]]:
        """The instrument's signals, a step at a time, by what shaped them."""
        async for rows in self.history.signals(key.symbol, from_ms, to_ms, _FIELDS):
            own = [row for row in rows if row[1] == key.market]
            for at in range(0, len(own), STEP):
                page: dict[Shape, list[Standing]] = {}
                for t0, _, signal_id, features, stale, flags, rev in own[at : at + STEP]:
                    if rev not in shapes:
                        shapes[rev] = await self._shape(rev)
                    standing = Standing(signal_id, t0, features, tuple(stale or ()), flags)
                    page.setdefault(shapes[rev], []).append(standing)
                yield page

    async def _shape(self, rev: int) -> Shape:
        bundle = await bundle_of(self.documents, rev)
        if bundle is None:
            return Shape(self.settings.min_move, ())
        try:
            derived = registered(bundle.factors)
        except DefinitionError:
            # It was not computed then either.
            derived = ()
        return Shape(bundle.flags.strategy.min_move, derived)

    async def _begin(self, key: InstrumentKey, shape: Shape, t0: int) -> Way:
        """A book that knows what was on file a minute before `t0`."""
        settings = self.settings
        cross = CrossMarket(min_move=shape.min_move)
        book = FeatureBook(key.market, cross, shape.derived, outlier_sigmas=settings.outlier_sigma)
        needed = lookback(shape.derived)
        end_ms = t0 - t0 % MINUTE_MS - MINUTE_MS
        hours_since_ms = end_ms - max(settings.hour_days * DAY_MS, needed.hours_ms)
        past = Past(
            book=book,
            cross=cross,
            quick=frozenset(
                [spec.factor_id for spec in PLAIN if spec.freq == Source.TICK.value]
                + [step.name for step in plan(shape.derived) if step.source is Source.TICK]
            ),
        )
        async for filed in self.history.factor_filed(settings.factor_key, end_ms - settings.factor_days * DAY_MS):
            past.factor_waiting.extend(_as_known(filed, past.factor_waiting))
        for walked, has_book in ((settings.lead_key, False), (key, True)):
            walk = Walk(
                key=walked,
                book=book if has_book else None,
                cross=None if has_book else cross,
                history=self.history,
                hours_since_ms=max(0, hours_since_ms),
                minutes_since_ms=max(0, end_ms - max(settings.minute_days * DAY_MS, needed.minutes_ms)),
            )
            await walk.to(end_ms)
        hours_ms = end_ms - end_ms % HOUR_MS
        return Way(past=past, minutes_ms=end_ms, hours_ms=hours_ms, lead_ms=end_ms)

    async def _find(self, key: InstrumentKey, way: Way, standing: Sequence[Standing]) -> list[Found]:
        end_ms, past = standing[-1].t0, way.past
        bars: list[Filed] = []
        async for filed in self.history.filed(key, "1m", way.minutes_ms, end_ms):
            bars += filed
            way.minutes_ms = filed[-1][1].close_time
        async for filed in self.history.filed(key, "1h", way.hours_ms, end_ms):
            bars += filed
            way.hours_ms = filed[-1][1].close_time
        # Of one moment the minute comes first, as it did live: it makes the hour.
        bars.sort(key=lambda filed: (filed[1].close_time, -filed[1].open_time))
        past.waiting.extend(_as_known(_filled(bars), past.waiting))
        async for filed in self.history.filed(self.settings.lead_key, "1m", way.lead_ms, end_ms):
            past.lead_waiting.extend(_as_known(_filled(filed), past.lead_waiting))
            way.lead_ms = filed[-1][1].close_time
        return await self.compute.run(partial(past.find, [signal.t0 for signal in standing]))

    async def _repair(self, signal_id: str, found: Found) -> None:
        """The features only; what was told first stays beside them. S3 may write its decision meanwhile: then it is
        read again."""
        while True:
            stored = await self.documents.get_stored(SIGNALS, signal_id)
            if stored is None:
                return
            signal = stored.doc
            names = {*found.values, *found.flags}
            flags = {name: why for name, why in (signal.flags or {}).items() if name not in names} | dict(found.flags)
            repaired = signal.but(
                features={name: value for name, value in signal.features.items() if name not in names}
                | dict(found.values),
                stale=(*(name for name in signal.stale if name not in names), *found.flags),
                flags=flags or None,
                features_told=signal.told,
            )
            try:
                await self.documents.replace(SIGNALS, repaired, rev=stored.rev)
            except RevisionConflict:
                continue
            return


def _filled(filed: Sequence[Filed]) -> list[Filed]:
    """When each bar counts: told within its minute, from then on; filled in later, from its close."""
    return [(ts if bar.close_time < ts < bar.close_time + MINUTE_MS else bar.close_time, bar) for ts, bar in filed]


def _as_known(filed: Sequence[Filed], after: Sequence[Filed]) -> list[Filed]:
    """Bars come in order: behind a late one the next waits."""
    known_ms = after[-1][0] if after else 0
    in_order = []
    for ts, bar in filed:
        known_ms = max(known_ms, ts, bar.close_time)
        in_order.append((known_ms, bar))
    return in_order


def _differing(was: Standing, now: Found) -> list[str]:
    return [
        name
        for name in (*now.values, *now.flags)
        if was.features.get(name) != now.values.get(name)
        or (name in was.stale) != (name in now.flags)
        or (was.flags is not None and was.flags.get(name) != now.flags.get(name))
    ]
