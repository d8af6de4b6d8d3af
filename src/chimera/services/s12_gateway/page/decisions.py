"""Stored decisions, newest first, a page at a time.

Owns which index answers which wish, and how far one look goes: a rare wish is looked for in portions, and the page says
how far it came. What is kept of a signal is one line.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from chimera.contracts.collections import SIGNALS
from chimera.contracts.documents import Signal
from chimera.contracts.enums import Action, Reason
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.decision.telling import sentence
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.services.s12_gateway.page.history import DAY_MS, let_others_run

LINES = 50
"""Decisions of one page."""
PORTION = 60
"""Signals of the first read of an index; later ones are larger."""
GROWTH = 3
LOOKED_AT_MAX = 4_000
"""Signals looked through for one page; who wants more goes on from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asks for; None means any. `code` is a reason or the code behind it, `day_ms` a UTC midnight."""

    instrument: InstrumentKey | None = None
    action: Action | None = None
    code: str | None = None
    day_ms: int | None = None

    def takes(self, signal: Signal) -> bool:
        decision = signal.decision
        if self.instrument is not None and (signal.market, signal.symbol) != (
            self.instrument.market,
            self.instrument.symbol,
        ):
            return False
        if self.action is not None and decision.action is not self.action:
            return False
        return self.code is None or self.code.upper() in (decision.reason, decision.detail)


@dataclass(frozen=True, slots=True)
class Line:
    signal_id: str
    t0: int
    instrument: InstrumentKey
    action: Action
    reason: str
    detail: str
    sentence: str
    side: str | None
    size_mult: float | None
    config_rev: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """`next` is before which moment the next page begins; None: nothing is older. `looked_at` signals were read."""

    lines: tuple[Line, ...]
    next: int | None
    looked_at: int


@dataclass(slots=True)
class DecisionBook:
    """`keys` are the instruments that the system watches. `lines` are of one page, and for it at most
    `looked_at_max` signals are read, but those of one moment together."""

    documents: Documents
    clock: Clock
    keys: Sequence[InstrumentKey]
    lines: int = LINES
    looked_at_max: int = LOOKED_AT_MAX
    portion: int = PORTION

    async def page(self, wanted: Wanted, below_ms: int | None = None) -> Portion:
        """What was decided before `below_ms`. All of one moment is on one page: instruments share their bars' times.

        Raises:
            DependencyDown: the documents do not answer.
        """
        sources = [_Source(self.documents, query) for query in self._queries(wanted, below_ms)]
        lines: list[Line] = []
        looked_at = 0
        last: int | None = None
        while (signal := await _newest(sources)) is not None:
            is_enough = len(lines) >= self.lines or looked_at >= self.looked_at_max
            if is_enough and signal.t0 != last:
                return Portion(lines=tuple(lines), next=last, looked_at=looked_at)
            last = signal.t0
            looked_at += 1
            if wanted.takes(signal):
                lines.append(line_of(signal))
            if looked_at % PORTION == 0:
                await let_others_run(self.clock)
        return Portion(lines=tuple(lines), next=None, looked_at=looked_at)

    def _queries(self, wanted: Wanted, below_ms: int | None) -> list[Query[Signal]]:
        """Opens by instrument, everything else by reason: neither reads what nobody decided on."""
        ends = [wanted.day_ms + DAY_MS] if wanted.day_ms is not None else []
        ends += [below_ms] if below_ms is not None else []

        def query(index: str, *equal: tuple[str, str]) -> Query[Signal]:
            return Query(
                collection=SIGNALS,
                index=index,
                equal=equal,
                at_least=wanted.day_ms,
                below=min(ends, default=None),
                descending=True,
                limit=self.portion,
            )

        if wanted.action is Action.OPEN:
            keys = self.keys if wanted.instrument is None else (wanted.instrument,)
            opened = ("decision.action", Action.OPEN.value)
            return [
                query("by_instr_action", ("market", key.market.value), ("symbol", key.symbol), opened) for key in keys
            ]
        named = [reason for reason in Reason if wanted.code is not None and reason.value == wanted.code.upper()]
        return [query("by_reason", ("decision.reason", reason.value)) for reason in named or Reason]


@dataclass(slots=True)
class _Source:
    """The signals of one query, newest first, read on in portions."""

    documents: Documents
    query: Query[Signal]
    _held: list[Signal] = field(default_factory=list)
    """Read and not yet taken, the newest last."""
    _below: int | None = None
    _is_read: bool = False

    async def head(self) -> Signal | None:
        """The newest that is left; None: nothing is."""
        if not self._held and not self._is_read:
            await self._read_on()
        return self._held[-1] if self._held else None

    def take(self) -> None:
        self._held.pop()

    async def _read_on(self) -> None:
        """Whole moments only: within one the store has no order that a next portion could begin after."""
        limit = self.query.limit
        assert limit is not None, "a portion has its size"
        query = self.query if self._below is None else replace(self.query, below=self._below, limit=limit * GROWTH)
        while not self._is_read and not self._held:
            found = await self.documents.find(query)
            assert query.limit is not None
            if len(found) < query.limit:
                self._is_read = True
                self._held = _oldest_first(found)
                return
            oldest = found[-1].t0
            self._held = _oldest_first(signal for signal in found if signal.t0 != oldest)
            self._below = oldest + 1
            query = replace(query, limit=query.limit * 2)


def _oldest_first(signals: Iterable[Signal]) -> list[Signal]:
    return sorted(signals, key=lambda signal: (-signal.t0, signal.signal_id))[::-1]


async def _newest(sources: Sequence[_Source]) -> Signal | None:
    """Take the newest of all that is left; of one time the one whose id comes first."""
    best: tuple[int, str] | None = None
    chosen: tuple[_Source, Signal] | None = None
    for source in sources:
        head = await source.head()
        if head is not None and (best is None or (-head.t0, head.signal_id) < best):
            best, chosen = (-head.t0, head.signal_id), (source, head)
    if chosen is None:
        return None
    chosen[0].take()
    return chosen[1]


def line_of(signal: Signal) -> Line:
    decision = signal.decision
    trail = decision.trail or {}
    side = trail.get("side")
    return Line(
        signal_id=signal.signal_id,
        t0=signal.t0,
        instrument=InstrumentKey(signal.market, signal.symbol),
        action=decision.action,
        reason=decision.reason or "",
        detail=decision.detail or "",
        sentence=sentence(decision.action.value, decision.reason or "", decision.detail or "", trail),
        side=side if isinstance(side, str) else None,
        size_mult=decision.size_mult,
        config_rev=signal.config_rev,
    )
