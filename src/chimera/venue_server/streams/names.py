"""Stream names and what they ask for: read once, at the subscription.

Owns which streams exist in which group. A name that is none, or that belongs to another group, is no error at the
exchange: it is acknowledged, listed, and stays silent.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from chimera.venue_server.tape import LENGTH_MS


class Group(Enum):
    """Which of the exchange's sockets a stream belongs to."""

    SPOT = auto()
    PUBLIC = auto()
    MARKET = auto()
    PRIVATE = auto()
    API = auto()
    """Spot's WebSocket API, which carries the spot account's events."""


class Kind(Enum):
    BOOK_TICKER = auto()
    DEPTH = auto()
    PARTIAL_DEPTH = auto()
    AGG_TRADE = auto()
    TRADE = auto()
    KLINE = auto()
    MARK_PRICE = auto()
    TICKER = auto()
    MINI_TICKER = auto()
    FORCE_ORDER = auto()
    CONTRACT_INFO = auto()


@dataclass(frozen=True, slots=True)
class Wanted:
    """`symbol` None: every symbol at once. `every_ms` is the pace in market time, 0: as it happens. `continuous` is the
    spelling of bars that outlive a contract: a perpetual's are the same by either."""

    kind: Kind
    symbol: str | None
    every_ms: int = 0
    levels: int = 0
    interval: str = ""
    continuous: bool = False
    array: bool = False


PUBLIC = frozenset({Kind.BOOK_TICKER, Kind.DEPTH, Kind.PARTIAL_DEPTH, Kind.TRADE})
"""Futures `@trade` is in no document; a mature connector asks for it there, beside the books."""

_SECOND_MS = 1_000
_SIMPLE = {
    "aggTrade": (Kind.AGG_TRADE, 0),
    "bookTicker": (Kind.BOOK_TICKER, 0),
    "forceOrder": (Kind.FORCE_ORDER, 0),
    "markPrice": (Kind.MARK_PRICE, 3 * _SECOND_MS),
    "markPrice@1s": (Kind.MARK_PRICE, _SECOND_MS),
    "miniTicker": (Kind.MINI_TICKER, _SECOND_MS),
    "ticker": (Kind.TICKER, _SECOND_MS),
    "trade": (Kind.TRADE, 0),
}
_ALL = {
    "!contractInfo": (Kind.CONTRACT_INFO, 0, False),
    "!bookTicker": (Kind.BOOK_TICKER, 5 * _SECOND_MS, False),
    "!forceOrder@arr": (Kind.FORCE_ORDER, 0, False),
    "!markPrice@arr": (Kind.MARK_PRICE, 3 * _SECOND_MS, True),
    "!markPrice@arr@1s": (Kind.MARK_PRICE, _SECOND_MS, True),
    "!miniTicker@arr": (Kind.MINI_TICKER, _SECOND_MS, True),
    "!ticker@arr": (Kind.TICKER, _SECOND_MS, True),
}
_NAME = re.compile(r"([a-z0-9]{1,20})@(\S{1,40})")
_DEPTH = re.compile(r"depth(5|10|20)?(?:@([0-9]{1,4})ms)?")
_KLINE = re.compile(r"kline_([0-9]{1,2}[mhdwM])")
_CONTINUOUS = re.compile(r"([a-z0-9]{1,20})_perpetual@continuousKline_([0-9]{1,2}[mhdwM])")
_FUTURES_PACES = frozenset({0, 100, 250, 500})
_FUTURES_ONLY = frozenset({"forceOrder", "markPrice", "markPrice@1s"})
_SPOT_ALL = frozenset({"!miniTicker@arr"})
"""`!ticker@arr` was retired on 2026-03-26; `!bookTicker` long before."""


def wanted(group: Group, name: str) -> Wanted | None:
    """None: nothing of that name in this group."""
    found = _all(group, name) if name.startswith("!") else _one(group, name)
    if found is None or group is Group.SPOT:
        return found
    return found if (found.kind in PUBLIC) is (group is Group.PUBLIC) else None


def _all(group: Group, name: str) -> Wanted | None:
    row = _ALL.get(name)
    if row is None or (group is Group.SPOT and name not in _SPOT_ALL):
        return None
    kind, every_ms, array = row
    return Wanted(kind, None, every_ms=every_ms, array=array)


def _one(group: Group, name: str) -> Wanted | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None if group is Group.SPOT else _continuous(name)
    symbol, what = match[1].upper(), match[2]
    simple = _SIMPLE.get(what)
    if simple is not None:
        if group is Group.SPOT and what in _FUTURES_ONLY:
            return None
        return Wanted(simple[0], symbol, every_ms=simple[1])
    kline = _KLINE.fullmatch(what)
    if kline is not None:
        return Wanted(Kind.KLINE, symbol, interval=kline[1]) if kline[1] in LENGTH_MS else None
    depth = _DEPTH.fullmatch(what)
    if depth is None:
        return None
    pace_ms = _pace_ms(group, depth[2])
    if pace_ms is None:
        return None
    if depth[1] is None:
        return Wanted(Kind.DEPTH, symbol, every_ms=pace_ms)
    return Wanted(Kind.PARTIAL_DEPTH, symbol, every_ms=pace_ms, levels=int(depth[1]))


def _continuous(name: str) -> Wanted | None:
    match = _CONTINUOUS.fullmatch(name)
    if match is None or match[2] not in LENGTH_MS:
        return None
    return Wanted(Kind.KLINE, match[1].upper(), interval=match[2], continuous=True)


def _pace_ms(group: Group, text: str | None) -> int | None:
    if group is Group.SPOT:
        return _SECOND_MS if text is None else 100 if text == "100" else None
    pace_ms = 250 if text is None else int(text)
    return pace_ms if pace_ms in _FUTURES_PACES else None
