"""Stored decisions, newest first, a page at a time.

Owns which index answers which wish, and how far one look goes: a rare wish is looked for in portions, and the page says
how far it came. What is kept of a signal is one line.
"""

from collections.abc import Sequence
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
READ_ON = 200
READ_FIRST = 60
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
class Cursor:
    """Where a page ended: before `t0`, and at it all but `shown`. Instruments share their bars' times."""

    t0: int
    shown: frozenset[str]


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
    """`next` None: nothing older. `looked_at` signals were read, the oldest of `reached_ms`."""

    lines: tuple[Line, ...]
    next: Cursor | None
    looked_at: int
    reached_ms: int | None


@dataclass(slots=True)
class DecisionBook:
    """`keys` are the instruments that the system watches."""

    documents: Documents
    clock: Clock
    keys: Sequence[InstrumentKey]

    async def page(self, wanted: Wanted, cursor: Cursor | None = None) -> Portion:
        """
        Raises:
            DependencyDown: the documents do not answer.
        """
        sources = [_Source(self.documents, query) for query in self._queries(wanted, cursor)]
        shown = cursor.shown if cursor is not None else frozenset()
        lines: list[Line] = []
        looked_at = 0
        last: int | None = None
        at_last: set[str] = set()
        while True:
            signal = await _newest(sources)
            if signal is None:
                return Portion(lines=tuple(lines), next=None, looked_at=looked_at, reached_ms=last)
            is_enough = len(lines) >= LINES or looked_at >= LOOKED_AT_MAX
            if is_enough and signal.t0 != last:
                assert last is not None
                seen_there = frozenset(at_last | (shown if cursor is not None and cursor.t0 == last else frozenset()))
                return Portion(lines=tuple(lines), next=Cursor(last, seen_there), looked_at=looked_at, reached_ms=last)
            if signal.t0 != last:
                last, at_last = signal.t0, set()
            at_last.add(signal.signal_id)
            looked_at += 1
            if signal.signal_id not in shown and wanted.takes(signal):
                lines.append(line_of(signal))
            if looked_at % READ_ON == 0:
                await let_others_run(self.clock)

    def _queries(self, wanted: Wanted, cursor: Cursor | None) -> list[Query[Signal]]:
        """Opens by instrument, everything else by reason: neither reads what nobody decided on."""
        ends = [wanted.day_ms + DAY_MS] if wanted.day_ms is not None else []
        ends += [cursor.t0 + 1] if cursor is not None else []

        def query(index: str, *equal: tuple[str, str]) -> Query[Signal]:
            return Query(
                collection=SIGNALS,
                index=index,
                equal=equal,
                at_least=wanted.day_ms,
                below=min(ends, default=None),
                descending=True,
                limit=READ_FIRST,
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
    _at: int | None = None
    _taken_at: set[str] = field(default_factory=set)
    """What was read of the oldest time so far: the next portion begins with it again."""
    _is_read: bool = False

    async def head(self) -> Signal | None:
        """The newest that is left; None: nothing is."""
        if not self._held and not self._is_read:
            await self._read_on()
        return self._held[-1] if self._held else None

    def take(self) -> None:
        self._held.pop()

    async def _read_on(self) -> None:
        query = self.query if self._at is None else replace(self.query, below=self._at + 1, limit=READ_ON)
        found = await self.documents.find(query)
        assert query.limit is not None
        self._is_read = len(found) < query.limit
        new = [signal for signal in found if signal.signal_id not in self._taken_at]
        if found:
            oldest = found[-1].t0
            if oldest != self._at:
                self._taken_at = set()
            self._at = oldest
            self._taken_at |= {signal.signal_id for signal in found if signal.t0 == oldest}
        self._held = new[::-1]


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
