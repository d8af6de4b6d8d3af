"""An order book kept from a snapshot and the differences that follow it.

Owns when a difference belongs to the book and when the book is lost. Pure: whoever holds it fetches the snapshots.

    futures   the first difference spans the snapshot's id (pu <= id <= u), then every pu is the u before
    spot      the first difference spans the id after it (U <= id + 1 <= u), then every U is at most the u before + 1

Futures differences name the one before them, so that the snapshot is bridged by pu: U leaves out the ids in which
nothing of this book changed, and a test of U would fetch again for ever on a quiet book. Source: the exchange's
"How to manage a local order book correctly", spot and USDⓈ-M, with the spot rule as recorded traffic shows it.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto

from chimera.domain.market.quotes import Level

Change = Sequence[str]
"""[price, qty] as on the wire; the qty is absolute and 0 removes the level."""

BUFFERED_MAX = 2_000
"""Differences kept while a snapshot is on its way; older ones are older than any snapshot that comes then."""
RECENT_MAX = 100
"""Differences kept of a book that is ready: another snapshot is always a little older than the book."""
LEVELS_MAX = 6_000
LEVELS_KEPT = 4_000
"""Far levels are never removed by the exchange's differences: the far end of a side is cut back from time to time."""
SMALL_SNAPSHOT = 100
"""A side of the snapshot with fewer levels is the whole side; else there is more beyond its last price."""
INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class DepthSnapshot:
    """The exchange's answer to a depth query, levels as on the wire, best first."""

    last_update_id: int
    bids: Sequence[Change]
    asks: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Diff:
    """What changed in the book between two update ids. `previous` is None on spot."""

    first: int
    last: int
    previous: int | None
    bids: Sequence[Change]
    asks: Sequence[Change]


class Step(Enum):
    """What became of one difference."""

    APPLIED = auto()
    STALE = auto()
    """The book knew already."""
    WAITS = auto()
    """Kept until a snapshot comes."""
    GAP = auto()
    """Something before it is missing: the book is lost and waits for a snapshot."""
    CROSSED = auto()
    """Applied it would have left a bid at or above an ask: the book is lost and waits for a snapshot."""


class BadLevel(ValueError):
    """A price or quantity that cannot be one."""


class _Side:
    """One side by price. Prices are looked up as floats, which tell apart every two prices the exchange can write."""

    __slots__ = ("beyond", "levels", "prices")

    def __init__(self) -> None:
        self.prices: list[float] = []
        """Ascending on both sides."""
        self.levels: dict[float, Change] = {}
        self.beyond: float | None = None
        """The snapshot's last price, where there is more behind it that it did not show."""

    def fill(self, levels: "list[_Parsed]") -> None:
        self.levels = {}
        self.prices = []
        self.apply(levels)
        self.beyond = levels[-1][0] if len(levels) >= SMALL_SNAPSHOT else None

    def apply(self, changes: "list[_Parsed]") -> None:
        levels, prices = self.levels, self.prices
        for price, qty, change in changes:
            if qty:
                if price not in levels:
                    insort(prices, price)
                levels[price] = change
            elif levels.pop(price, None) is not None:
                del prices[bisect_left(prices, price)]

    def forget(self, prices: Iterable[float]) -> None:
        for price in prices:
            del self.levels[price]


_Parsed = tuple[float, float, Change]


def _parse(changes: Iterable[Change]) -> list[_Parsed]:
    """
    Raises:
        BadLevel: one of them cannot be a level.
    """
    parsed: list[_Parsed] = []
    try:
        for change in changes:
            price, qty = float(change[0]), float(change[1])
            if not (0.0 < price < INFINITY and 0.0 <= qty < INFINITY):
                raise BadLevel(f"level {change!r}")
            parsed.append((price, qty, change))
    except (TypeError, ValueError, IndexError) as error:
        raise BadLevel(str(error)) from error
    return parsed


class LocalBook:
    """The book of one instrument. Not ready at first, after a gap, and after `lose`."""

    __slots__ = ("_asks", "_bids", "_recent", "last_id", "ready")

    def __init__(self) -> None:
        self._bids = _Side()
        self._asks = _Side()
        self._recent: deque[Diff] = deque(maxlen=BUFFERED_MAX)
        self.ready = False
        self.last_id = 0

    @property
    def wants_snapshot(self) -> bool:
        """Not ready, and a difference is at hand that a snapshot asked for now can be compared with."""
        return not self.ready and bool(self._recent)

    def lose(self) -> None:
        """Whatever was heard before belongs to a connection that has ended."""
        self.ready = False
        self._recent.clear()

    def diff(self, diff: Diff) -> Step:
        """Take one difference in.

        Raises:
            BadLevel: nothing was applied and the book is lost.
        """
        recent = self._recent
        if not self.ready:
            recent.append(diff)
            return Step.WAITS
        if diff.last <= self.last_id:
            return Step.STALE
        recent.append(diff)
        if len(recent) > RECENT_MAX:
            recent.popleft()
        return self._take(diff)

    def _take(self, diff: Diff) -> Step:
        if diff.last <= self.last_id:
            return Step.STALE
        if not self._follows(diff):
            return self._restart_from(diff, Step.GAP)
        try:
            self._apply(diff)
        except BadLevel:
            self.lose()
            raise
        return self._restart_from(diff, Step.CROSSED) if self._crossed else Step.APPLIED

    def snapshot(self, snapshot: DepthSnapshot) -> bool:
        """Start anew from a snapshot. False: what followed it is not at hand; the book is lost, ask for another.

        Raises:
            BadLevel: it cannot be a book.
        """
        parsed_bids, parsed_asks = _parse(snapshot.bids), _parse(snapshot.asks)
        self._bids.fill(parsed_bids)
        self._asks.fill(parsed_asks)
        self.last_id = snapshot.last_update_id
        self.ready = not self._crossed
        recent = list(self._recent)
        for at, diff in enumerate(recent):
            if not self.ready:
                break
            if self._take(diff) in (Step.GAP, Step.CROSSED):
                self._recent.extend(recent[at + 1 :])
        return self.ready

    def bids(self, count: int) -> tuple[Level, ...]:
        """The best `count` bids, best first."""
        side = self._bids
        return tuple([_level(side.levels[price]) for price in side.prices[: -count - 1 : -1]])

    def asks(self, count: int) -> tuple[Level, ...]:
        """The best `count` asks, best first."""
        side = self._asks
        return tuple([_level(side.levels[price]) for price in side.prices[:count]])

    def thin(self, count: int) -> bool:
        """True when the market moved so far that `count` levels of a side reach beyond what the snapshot showed."""
        bids, asks = self._bids, self._asks
        if bids.beyond is not None and (len(bids.prices) < count or bids.prices[-count] < bids.beyond):
            return True
        return asks.beyond is not None and (len(asks.prices) < count or asks.prices[count - 1] > asks.beyond)

    @property
    def _crossed(self) -> bool:
        bids, asks = self._bids.prices, self._asks.prices
        return bool(bids) and bool(asks) and bids[-1] >= asks[0]

    def _follows(self, diff: Diff) -> bool:
        # At most: ids that a snapshot already holds may come again in the first difference after it.
        return diff.first <= self.last_id + 1 if diff.previous is None else diff.previous <= self.last_id

    def _restart_from(self, diff: Diff, step: Step) -> Step:
        self.lose()
        self._recent.append(diff)
        return step

    def _apply(self, diff: Diff) -> None:
        parsed_bids, parsed_asks = _parse(diff.bids), _parse(diff.asks)
        bids, asks = self._bids, self._asks
        bids.apply(parsed_bids)
        asks.apply(parsed_asks)
        self.last_id = diff.last
        if len(bids.prices) > LEVELS_MAX:
            cut = len(bids.prices) - LEVELS_KEPT
            bids.forget(bids.prices[:cut])
            del bids.prices[:cut]
            bids.beyond = max(bids.beyond or 0.0, bids.prices[0])
        if len(asks.prices) > LEVELS_MAX:
            asks.forget(asks.prices[LEVELS_KEPT:])
            del asks.prices[LEVELS_KEPT:]
            asks.beyond = min(asks.beyond or INFINITY, asks.prices[-1])


def _level(change: Change) -> Level:
    return Decimal(change[0]), Decimal(change[1])
