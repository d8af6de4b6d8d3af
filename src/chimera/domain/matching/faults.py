"""What can go wrong at an exchange on purpose: the words, what each may be told, and when it happens.

Owns the plan: which faults are armed, what each waits for, what it has hit. Whoever runs an exchange (in process, or as
a server) asks the plan at each call, event and instant, and does what the fault means there. Pure: time and chance are
passed in, so a plan drawn from a seed is the same plan again.

    CALL      bends the answer to one call, or the exchange just before it
    EXCHANGE  is done to the exchange or the account at one instant, some for a while
    EVENTS    bends what the account streams say
    MARKET    bends what the market streams say
    SOCKETS   is done to the streams themselves

A fault waits for its `nth` occasion at or after `at_ms`: a call for CALL (and for EXCHANGE and SOCKETS when `calls` is
given), an event for EVENTS and MARKET, else just the instant.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from enum import Enum, StrEnum, auto
from fnmatch import fnmatchcase
from math import log
from types import MappingProxyType
from typing import Any

from chimera.contracts.enums import Market, Side

Param = int | str
Chance = Callable[[], float]
"""In [0, 1)."""

SECOND_MS = 1_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000


class FaultKind(StrEnum):
    """Named by what the client meets; `SPECS` says the rest."""

    ANSWER_LOST = "ANSWER_LOST"
    ANSWER_LOST_FILLED = "ANSWER_LOST_FILLED"
    REQUEST_LOST = "REQUEST_LOST"
    ANSWER_5XX = "ANSWER_5XX"
    HTML_BODY = "HTML_BODY"
    REFUSED_503 = "REFUSED_503"
    LATE = "LATE"
    RATE_429 = "RATE_429"
    BAN_418 = "BAN_418"
    CLOCK_OFFSET = "CLOCK_OFFSET"
    ENGINE_TOO_LATE = "ENGINE_TOO_LATE"
    KEY_REVOKED = "KEY_REVOKED"
    IP_CHANGED = "IP_CHANGED"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    NO_FUNDS = "NO_FUNDS"
    FILTERS_CHANGED = "FILTERS_CHANGED"
    POST_ONLY_TAKES = "POST_ONLY_TAKES"
    UNFILLABLE = "UNFILLABLE"
    SELF_TRADE = "SELF_TRADE"
    DUPLICATE_ID = "DUPLICATE_ID"
    CANCEL_TOO_LATE = "CANCEL_TOO_LATE"
    CANCEL_ANSWER_LOST = "CANCEL_ANSWER_LOST"
    STOP_TRIGGERING = "STOP_TRIGGERING"
    ALGO_LOOKUP_LAG = "ALGO_LOOKUP_LAG"
    STOP_REFUSED = "STOP_REFUSED"
    STOP_CANCELED_BY_HUMAN = "STOP_CANCELED_BY_HUMAN"
    STOP_ORDER_REJECTED = "STOP_ORDER_REJECTED"
    GAP_OVER_STOP_LIMIT = "GAP_OVER_STOP_LIMIT"
    LEVERAGE_CHANGED = "LEVERAGE_CHANGED"
    PARTIAL_BATCH = "PARTIAL_BATCH"
    TRANSFER_ANSWER_LOST = "TRANSFER_ANSWER_LOST"
    PARTIAL_FILLS = "PARTIAL_FILLS"
    FILL_DURING_CANCEL = "FILL_DURING_CANCEL"
    EVENTS_DOUBLED = "EVENTS_DOUBLED"
    EVENTS_SHUFFLED = "EVENTS_SHUFFLED"
    EVENTS_LOST = "EVENTS_LOST"
    LISTEN_KEY_EXPIRED = "LISTEN_KEY_EXPIRED"
    STREAM_STALLED = "STREAM_STALLED"
    STREAM_CLOSED = "STREAM_CLOSED"
    DEPTH_GAP = "DEPTH_GAP"
    BAD_DATA = "BAD_DATA"
    MARK_DIVERGES = "MARK_DIVERGES"
    KLINE_LATE = "KLINE_LATE"
    LIQUIDATION = "LIQUIDATION"
    FUNDING = "FUNDING"
    SYMBOL_HALTED = "SYMBOL_HALTED"
    OPENING_FORBIDDEN = "OPENING_FORBIDDEN"
    OUTAGE = "OUTAGE"
    HUMAN_ORDER = "HUMAN_ORDER"


class Reach(Enum):
    CALL = auto()
    EXCHANGE = auto()
    EVENTS = auto()
    MARKET = auto()
    SOCKETS = auto()


class Trait(Enum):
    """What a call is like, whatever it is named."""

    SIGNED = auto()
    CHANGES = auto()
    """It asks for something to be done; its outcome may be unknown."""
    OPENS = auto()
    """A new order that is neither reduce-only nor closes the position."""
    REDUCES = auto()
    """A cancel, a reduce-only or a close-position order: exempt from the exchange's protection of itself."""
    POST_ONLY = auto()
    IMMEDIATE = auto()
    """A new order that never rests: market, IOC, FOK."""
    RESTS = auto()
    STOP = auto()
    """A new order that waits for its price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call as faults see it. `name` is the route's, e.g. `order.place`, `algo.cancel`, `depth`; the rest is what of
    an order it names."""

    name: str
    market: Market | None = None
    symbol: str = ""
    traits: frozenset[Trait] = frozenset()
    client_order_id: str = ""
    venue_order_id: str = ""
    side: Side | None = None
    qty: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number. `drawn` is what chance chooses from, where that is less than what is allowed."""

    default: int
    low: int
    high: int
    drawn: tuple[int, int] | None = None

    def draw(self, chance: Chance) -> int:
        low, high = self.drawn or (self.low, self.high)
        return low + int(chance() * (high - low + 1))

    def refusal(self, value: object) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high:
            return None
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class Word:
    """One of some words; the first is the default."""

    words: tuple[str, ...]

    @property
    def default(self) -> str:
        return self.words[0]

    def draw(self, chance: Chance) -> str:
        return self.words[int(chance() * len(self.words))]

    def refusal(self, value: object) -> str | None:
        return None if value in self.words else "one of " + ", ".join(self.words)


def _nothing() -> Mapping[str, Whole | Word]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """`numbers` are the fault's in the reliability table; `calls` is what it waits for unless told otherwise.

    `lasts` is how long it goes on, in market time. Without a duration CALL, EVENTS and MARKET hit `count` occasions;
    EXCHANGE and SOCKETS go on until they are disarmed, or are one instant where `once`. `in_process` is whether it
    means anything behind the venue port, where there are no sockets and no bytes. `draws` False: it would end an
    account's day, so that chance chooses it only when asked for by name.
    """

    numbers: tuple[int, ...]
    reach: Reach
    calls: str = ""
    needs: frozenset[Trait] = frozenset()
    spares: frozenset[Trait] = frozenset()
    lasts: Whole = Whole(0, 0, 3 * 24 * HOUR_MS, drawn=(0, 0))
    params: Mapping[str, Whole | Word] = field(default_factory=_nothing)
    once: bool = False
    in_process: bool = True
    draws: bool = True


def _lasts(default_s: int, low_s: int, high_s: int) -> Whole:
    return Whole(default_s * SECOND_MS, 0, 3 * 24 * HOUR_MS, drawn=(low_s * SECOND_MS, high_s * SECOND_MS))


_CHANGES = frozenset({Trait.CHANGES})
_SIGNED = frozenset({Trait.SIGNED})
_STOP = frozenset({Trait.STOP})
_BPS = Whole(-600, -9_000, 9_000, drawn=(-900, 900))
_HOW = Word(("silence", "reset"))

SPECS: Mapping[FaultKind, Spec] = MappingProxyType(
    {
        FaultKind.ANSWER_LOST: Spec(numbers=(1,), reach=Reach.CALL, calls="*", needs=_CHANGES, params={"how": _HOW}),
        FaultKind.ANSWER_LOST_FILLED: Spec(
            numbers=(1, 15), reach=Reach.CALL, calls="order.place", needs=_CHANGES, params={"how": _HOW}
        ),
        FaultKind.REQUEST_LOST: Spec(numbers=(2,), reach=Reach.CALL, calls="*", params={"how": _HOW}),
        FaultKind.ANSWER_5XX: Spec(
            numbers=(3,),
            reach=Reach.CALL,
            calls="*",
            needs=_CHANGES,
            params={"answer": Word(("503_unknown", "502_html", "504_html", "408_timeout", "500_bus"))},
        ),
        FaultKind.HTML_BODY: Spec(numbers=(3, 34), reach=Reach.CALL, calls="*"),
        FaultKind.REFUSED_503: Spec(
            numbers=(4,),
            reach=Reach.CALL,
            calls="order.place",
            spares=frozenset({Trait.REDUCES}),
            lasts=_lasts(0, 0, 30),
            params={"answer": Word(("unavailable", "throttled"))},
        ),
        FaultKind.LATE: Spec(
            numbers=(5,),
            reach=Reach.CALL,
            calls="*",
            params={"delay_ms": Whole(1_000, 1, 600_000, drawn=(100, 10_000))},
        ),
        FaultKind.RATE_429: Spec(
            numbers=(6,), reach=Reach.CALL, calls="*", params={"retry_after_s": Whole(2, 1, 600, drawn=(1, 10))}
        ),
        FaultKind.BAN_418: Spec(
            numbers=(7,), reach=Reach.CALL, calls="*", params={"ban_s": Whole(120, 1, 259_200, drawn=(5, 30))}
        ),
        FaultKind.CLOCK_OFFSET: Spec(
            numbers=(8,),
            reach=Reach.EXCHANGE,
            lasts=_lasts(0, 5, 120),
            params={"offset_ms": Whole(1_300, -HOUR_MS, HOUR_MS, drawn=(-1_300, 1_300))},
        ),
        FaultKind.ENGINE_TOO_LATE: Spec(numbers=(8,), reach=Reach.CALL, calls="order.place"),
        FaultKind.KEY_REVOKED: Spec(
            numbers=(9,), reach=Reach.CALL, calls="*", needs=_SIGNED, lasts=_lasts(0, 5, 60), draws=False
        ),
        FaultKind.IP_CHANGED: Spec(
            numbers=(9,), reach=Reach.CALL, calls="*", needs=_SIGNED, lasts=_lasts(0, 5, 60), draws=False
        ),
        FaultKind.BAD_SIGNATURE: Spec(numbers=(9,), reach=Reach.CALL, calls="*", needs=_SIGNED),
        FaultKind.NO_FUNDS: Spec(numbers=(10,), reach=Reach.EXCHANGE, calls="order.place", lasts=_lasts(0, 5, 60)),
        FaultKind.FILTERS_CHANGED: Spec(
            numbers=(11,),
            reach=Reach.EXCHANGE,
            lasts=_lasts(0, 60, 3_600),
            params={"tick_mult": Whole(10, 1, 100, drawn=(2, 10)), "step_mult": Whole(10, 1, 100, drawn=(2, 5))},
        ),
        FaultKind.POST_ONLY_TAKES: Spec(
            numbers=(12,), reach=Reach.CALL, calls="order.place", needs=frozenset({Trait.POST_ONLY})
        ),
        FaultKind.UNFILLABLE: Spec(
            numbers=(13,), reach=Reach.CALL, calls="order.place", needs=frozenset({Trait.IMMEDIATE})
        ),
        FaultKind.SELF_TRADE: Spec(numbers=(13,), reach=Reach.EXCHANGE, once=True),
        FaultKind.DUPLICATE_ID: Spec(numbers=(14,), reach=Reach.CALL, calls="*.place", needs=frozenset({Trait.RESTS})),
        FaultKind.CANCEL_TOO_LATE: Spec(numbers=(16,), reach=Reach.CALL, calls="order.cancel"),
        FaultKind.CANCEL_ANSWER_LOST: Spec(numbers=(17,), reach=Reach.CALL, calls="*.cancel*", params={"how": _HOW}),
        FaultKind.STOP_TRIGGERING: Spec(numbers=(17,), reach=Reach.CALL, calls="algo.cancel"),
        FaultKind.ALGO_LOOKUP_LAG: Spec(
            numbers=(18,),
            reach=Reach.EXCHANGE,
            lasts=_lasts(0, 60, 600),
            params={
                "placed_ms": Whole(1_500, 0, 60_000, drawn=(500, 1_500)),
                "canceled_ms": Whole(1_200, 0, 60_000, drawn=(500, 1_200)),
            },
        ),
        FaultKind.STOP_REFUSED: Spec(
            numbers=(19,),
            reach=Reach.CALL,
            calls="*.place",
            needs=_STOP,
            params={"reason": Word(("would_trigger", "too_many", "not_here"))},
        ),
        FaultKind.STOP_CANCELED_BY_HUMAN: Spec(numbers=(20,), reach=Reach.EXCHANGE, once=True),
        FaultKind.STOP_ORDER_REJECTED: Spec(numbers=(21,), reach=Reach.EXCHANGE, once=True),
        FaultKind.GAP_OVER_STOP_LIMIT: Spec(
            numbers=(22,),
            reach=Reach.EXCHANGE,
            lasts=_lasts(60, 10, 300),
            params={"past_bps": Whole(100, 1, 5_000, drawn=(50, 300))},
        ),
        FaultKind.LEVERAGE_CHANGED: Spec(
            numbers=(23,),
            reach=Reach.EXCHANGE,
            once=True,
            params={"what": Word(("leverage", "crossed")), "leverage": Whole(3, 1, 125, drawn=(2, 20))},
        ),
        FaultKind.PARTIAL_BATCH: Spec(numbers=(24,), reach=Reach.CALL, calls="batch*.place", in_process=False),
        FaultKind.TRANSFER_ANSWER_LOST: Spec(numbers=(25,), reach=Reach.CALL, calls="transfer", params={"how": _HOW}),
        FaultKind.PARTIAL_FILLS: Spec(
            numbers=(26,),
            reach=Reach.CALL,
            calls="order.place",
            needs=_CHANGES,
            params={"pieces": Whole(4, 2, 100, drawn=(2, 10))},
        ),
        FaultKind.FILL_DURING_CANCEL: Spec(numbers=(26,), reach=Reach.CALL, calls="order.cancel"),
        FaultKind.EVENTS_DOUBLED: Spec(
            numbers=(27,), reach=Reach.EVENTS, calls="*", params={"last": Whole(1, 1, 50, drawn=(1, 10))}
        ),
        FaultKind.EVENTS_SHUFFLED: Spec(
            numbers=(28,),
            reach=Reach.EVENTS,
            calls="*",
            lasts=_lasts(0, 1, 30),
            params={"window_ms": Whole(200, 1, 10_000, drawn=(50, 200))},
        ),
        FaultKind.EVENTS_LOST: Spec(numbers=(29,), reach=Reach.EVENTS, calls="*", lasts=_lasts(0, 0, 10)),
        FaultKind.LISTEN_KEY_EXPIRED: Spec(numbers=(30,), reach=Reach.SOCKETS, once=True),
        FaultKind.STREAM_STALLED: Spec(
            numbers=(31,),
            reach=Reach.SOCKETS,
            lasts=_lasts(60, 5, 120),
            params={"streams": Word(("all", "market", "account"))},
        ),
        FaultKind.STREAM_CLOSED: Spec(
            numbers=(32,),
            reach=Reach.SOCKETS,
            once=True,
            lasts=_lasts(0, 0, 20),
            params={"streams": Word(("all", "market", "account")), "how": Word(("close", "abort"))},
        ),
        FaultKind.DEPTH_GAP: Spec(
            numbers=(33,),
            reach=Reach.MARKET,
            calls="depth",
            params={"how": Word(("gap", "crossed", "stale"))},
            in_process=False,
        ),
        FaultKind.BAD_DATA: Spec(
            numbers=(34,),
            reach=Reach.MARKET,
            calls="*",
            params={
                "what": Word(("x10", "nan", "zero", "negative", "scientific", "missing", "extra", "unknown", "broken"))
            },
        ),
        FaultKind.MARK_DIVERGES: Spec(
            numbers=(35,), reach=Reach.EXCHANGE, lasts=_lasts(60, 5, 60), params={"bps": _BPS}
        ),
        FaultKind.KLINE_LATE: Spec(
            numbers=(36,),
            reach=Reach.MARKET,
            calls="kline",
            params={"delay_ms": Whole(5_000, 1, 600_000, drawn=(1_000, 20_000)), "how": Word(("late", "lost"))},
        ),
        FaultKind.LIQUIDATION: Spec(numbers=(37,), reach=Reach.EXCHANGE, once=True, draws=False),
        FaultKind.FUNDING: Spec(
            numbers=(38,),
            reach=Reach.EXCHANGE,
            once=True,
            params={
                "rate_ppm": Whole(100, -30_000, 30_000, drawn=(-3_000, 3_000)),
                "jitter_ms": Whole(2, 0, 1_000, drawn=(0, 10)),
            },
        ),
        FaultKind.SYMBOL_HALTED: Spec(
            numbers=(39,),
            reach=Reach.EXCHANGE,
            lasts=_lasts(0, 30, 300),
            params={"status": Word(("BREAK", "CANCEL_ONLY", "SETTLING"))},
        ),
        FaultKind.OPENING_FORBIDDEN: Spec(
            numbers=(39,),
            reach=Reach.CALL,
            calls="*.place",
            needs=frozenset({Trait.OPENS}),
            lasts=_lasts(0, 10, 120),
            params={"reason": Word(("cooling_off", "quantitative_rules"))},
        ),
        FaultKind.OUTAGE: Spec(
            numbers=(40,),
            reach=Reach.EXCHANGE,
            lasts=_lasts(600, 10, 600),
            params={"bps": Whole(0, -9_000, 9_000, drawn=(-300, 300)), "how": Word(("closed", "gateway"))},
        ),
        FaultKind.HUMAN_ORDER: Spec(
            numbers=(41,),
            reach=Reach.EXCHANGE,
            once=True,
            params={
                "what": Word(("market", "limit")),
                "side": Word(("BUY", "SELL")),
                "notional_usdt": Whole(200, 1, 1_000_000, drawn=(100, 300)),
            },
        ),
    }
)

NUMBERS: Mapping[FaultKind, tuple[int, ...]] = MappingProxyType({kind: spec.numbers for kind, spec in SPECS.items()})
"""Which faults of the reliability table a kind stands for."""

SPENT_KEPT = 1_000
"""Faults that are over and can still be read one by one; of those before, only the hits are counted."""

DRAWN = tuple(kind for kind, spec in SPECS.items() if spec.draws)
DRAWN_IN_PROCESS = tuple(kind for kind in DRAWN if SPECS[kind].in_process)


class FaultError(ValueError):
    """A fault that cannot be armed: which field, what it was, what it should be."""

    def __init__(self, field_name: str, value: object, remedy: str) -> None:
        super().__init__(f"{field_name}: {value!r} is not {remedy}")
        self.field = field_name
        self.value = value
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`calls` is a pattern (`*` for anything) over names of calls, or of events for EVENTS and MARKET; empty: what the
    kind's spec says. `market` and `symbol` empty: any. `duration_ms` (market time) wins over `count`.

    Raises:
        FaultError: a field that this kind does not take.
    """

    kind: FaultKind
    calls: str = ""
    nth: int = 1
    count: int = 1
    at_ms: int = 0
    duration_ms: int = 0
    market: str = ""
    symbol: str = ""
    params: Mapping[str, Param] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        spec = SPECS[self.kind]
        for name, low in (("nth", 1), ("count", 1), ("at_ms", 0), ("duration_ms", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise FaultError(name, value, f"a whole number from {low}")
        if self.market not in ("", *Market):
            raise FaultError("market", self.market, "one of " + ", ".join(Market) + ", or empty")
        for name, value in self.params.items():
            if name not in spec.params:
                raise FaultError(f"params.{name}", value, f"known to {self.kind}: {', '.join(spec.params) or 'none'}")
            remedy = spec.params[name].refusal(value)
            if remedy is not None:
                raise FaultError(f"params.{name}", value, remedy)

    @property
    def spec(self) -> Spec:
        return SPECS[self.kind]

    @property
    def pattern(self) -> str:
        return self.calls or self.spec.calls

    @property
    def lasts_ms(self) -> int:
        return self.duration_ms or self.spec.lasts.default

    def whole(self, name: str) -> int:
        return int(self.params.get(name, self.spec.params[name].default))

    def word(self, name: str) -> str:
        return str(self.params.get(name, self.spec.params[name].default))

    def applies(self, market: Market | None, symbol: str) -> bool:
        return self.market in ("", market) and self.symbol in ("", symbol)

    def to_json(self) -> dict[str, Any]:
        row = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**row, "kind": self.kind.value, "params": dict(self.params)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Fault":
        """
        Raises:
            FaultError: it names the field, its value and what it should be.
        """
        names = {each.name for each in fields(cls)}
        for name, value in row.items():
            if name not in names:
                raise FaultError(name, value, "a field of a fault: " + ", ".join(sorted(names)))
        kind = row.get("kind")
        if kind not in list(FaultKind):
            raise FaultError("kind", kind, "one of " + ", ".join(FaultKind))
        for name in ("calls", "market", "symbol"):
            if not isinstance(row.get(name, ""), str):
                raise FaultError(name, row[name], "a text")
        if not isinstance(row.get("params", {}), Mapping):
            raise FaultError("params", row["params"], "an object")
        return cls(**{**row, "kind": FaultKind(kind)})


@dataclass(slots=True, kw_only=True)
class Armed:
    """A fault in the plan and what has come of it. `began_ms` None: it still waits."""

    number: int
    fault: Fault
    seen: int = 0
    hits: int = 0
    began_ms: int | None = None
    over: bool = False

    @property
    def ends_ms(self) -> int | None:
        """None while it has not begun, or where it ends by its count or by being disarmed."""
        if self.began_ms is None or not self.fault.lasts_ms:
            return None
        return self.began_ms + self.fault.lasts_ms

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.number,
            **self.fault.to_json(),
            "seen": self.seen,
            "hits": self.hits,
            "began_ms": self.began_ms,
            "over": self.over,
        }


@dataclass(frozen=True, slots=True)
class Turn:
    """A fault of EXCHANGE or SOCKETS begins, or ends; one instant never ends. `asked` is the call it began with."""

    number: int
    fault: Fault
    begins: bool
    asked: Asked | None = None


class FaultPlan:
    """
    Args:
        faults: armed from the start; `at_ms` is market time.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._armed: dict[int, Armed] = {}
        self._spent: dict[int, Armed] = {}
        self._forgotten: dict[FaultKind, int] = {}
        self._number = 0
        self._turns: list[Turn] = []
        self.changed: list[Callable[[], None]] = []
        """Called when something was armed or disarmed: whoever waits for an instant looks again."""
        for fault in faults:
            self._add(fault)

    @property
    def armed(self) -> tuple[Armed, ...]:
        """In the order of arming; of what is over, the last `SPENT_KEPT`."""
        return tuple(sorted((*self._spent.values(), *self._armed.values()), key=lambda armed: armed.number))

    @property
    def idle(self) -> bool:
        """True when nothing can happen any more."""
        return not self._turns and not self._armed

    def arm(self, *faults: Fault) -> tuple[int, ...]:
        numbers = tuple(self._add(fault) for fault in faults)
        self._tell()
        return numbers

    def disarm(self, number: int | None = None) -> int:
        """Forget one, or all; those under way end. Returns how many there were."""
        gone = [armed for armed in self.armed if number in (None, armed.number)]
        for armed in gone:
            self._armed.pop(armed.number, None)
            self._spent.pop(armed.number, None)
            if armed.began_ms is not None and not armed.over:
                self._turns.append(Turn(armed.number, armed.fault, begins=False))
        self._tell()
        return len(gone)

    def hits(self) -> dict[FaultKind, int]:
        counts = dict(self._forgotten)
        for armed in self.armed:
            counts[armed.fault.kind] = counts.get(armed.fault.kind, 0) + armed.hits
        return counts

    # --- occasions

    def on_call(self, asked: Asked, now_ms: int) -> Fault | None:
        """What bends this call; the first armed wins. Ask `turns` after it: the call may have begun something."""
        chosen: Fault | None = None
        for armed in list(self._armed.values()):
            fault = armed.fault
            spec = fault.spec
            if spec.reach in (Reach.EVENTS, Reach.MARKET) or not fault.pattern:
                continue
            if spec.reach is Reach.CALL:
                if chosen is None and self._fits(fault, asked, now_ms) and self._occurs(armed, now_ms):
                    chosen = fault
            elif armed.began_ms is None and self._fits(fault, asked, now_ms):
                armed.seen += 1
                if armed.seen >= fault.nth:
                    self._begin(armed, now_ms, asked)
        return chosen

    def on_event(self, reach: Reach, name: str, market: Market | None, symbol: str, now_ms: int) -> Fault | None:
        """What bends this event of an account or market stream. `name` as the exchange calls it: `ORDER_TRADE_UPDATE`,
        `executionReport`; `depth`, `bookTicker`, `kline`, `markPrice`, `aggTrade`."""
        for armed in list(self._armed.values()):
            fault = armed.fault
            if (
                fault.spec.reach is reach
                and now_ms >= fault.at_ms
                and fnmatchcase(name, fault.pattern)
                and fault.applies(market, symbol)
                and self._occurs(armed, now_ms)
            ):
                return fault
        return None

    def turns(self, now_ms: int) -> tuple[Turn, ...]:
        """What of EXCHANGE and SOCKETS begins or ends by now, each once, in that order."""
        for armed in list(self._armed.values()):
            fault = armed.fault
            if fault.spec.reach not in (Reach.EXCHANGE, Reach.SOCKETS):
                continue
            if armed.began_ms is None and not fault.pattern and now_ms >= fault.at_ms:
                self._begin(armed, now_ms)
            if armed.ends_ms is not None and now_ms >= armed.ends_ms:
                self._spend(armed)
                self._turns.append(Turn(armed.number, fault, begins=False))
        turns = tuple(self._turns)
        self._turns.clear()
        return turns

    def next_ms(self) -> int | None:
        """The next instant at which `turns` has something to say, whatever is called."""
        times = [
            armed.ends_ms if armed.began_ms is not None else armed.fault.at_ms
            for armed in self._armed.values()
            if armed.fault.spec.reach in (Reach.EXCHANGE, Reach.SOCKETS)
            and (armed.began_ms is not None or not armed.fault.pattern)
        ]
        known = [at_ms for at_ms in times if at_ms is not None]
        return 0 if self._turns else min(known, default=None)

    def under_way(self, kind: FaultKind, market: Market | None = None, symbol: str = "") -> Fault | None:
        """The fault of this kind that began and has not ended."""
        for armed in self._armed.values():
            fault = armed.fault
            if fault.kind is kind and armed.began_ms is not None and fault.applies(market, symbol):
                return fault
        return None

    # --- from and to elsewhere

    def to_json(self) -> list[dict[str, Any]]:
        return [armed.fault.to_json() for armed in self.armed]

    @classmethod
    def from_json(cls, rows: Sequence[Mapping[str, Any]]) -> "FaultPlan":
        """
        Raises:
            FaultError: see `Fault.from_json`.
        """
        return cls(Fault.from_json(row) for row in rows)

    @classmethod
    def draw(
        cls,
        chance: Chance,
        *,
        from_ms: int,
        to_ms: int,
        per_hour: float,
        kinds: Sequence[FaultKind] = DRAWN_IN_PROCESS,
        symbols: Sequence[str] = (),
    ) -> "FaultPlan":
        """Faults at random instants, on average `per_hour` of market time, every kind alike. `symbols` empty: whatever
        comes first is hit."""
        plan = cls()
        at_ms = float(from_ms)
        while True:
            at_ms -= log(1.0 - chance()) * HOUR_MS / per_hour
            if at_ms >= to_ms:
                return plan
            kind = kinds[int(chance() * len(kinds))]
            spec = SPECS[kind]
            plan._add(
                Fault(
                    kind=kind,
                    at_ms=int(at_ms),
                    duration_ms=spec.lasts.draw(chance),
                    symbol=symbols[int(chance() * len(symbols))] if symbols and spec.reach is Reach.EXCHANGE else "",
                    params={name: param.draw(chance) for name, param in spec.params.items()},
                )
            )

    # --- inside

    def _add(self, fault: Fault) -> int:
        self._number += 1
        self._armed[self._number] = Armed(number=self._number, fault=fault)
        return self._number

    def _tell(self) -> None:
        for tell in self.changed:
            tell()

    def _fits(self, fault: Fault, asked: Asked, now_ms: int) -> bool:
        spec = fault.spec
        return (
            now_ms >= fault.at_ms
            and fnmatchcase(asked.name, fault.pattern)
            and fault.applies(asked.market, asked.symbol)
            and spec.needs <= asked.traits
            and not spec.spares & asked.traits
        )

    def _occurs(self, armed: Armed, now_ms: int) -> bool:
        """Count an occasion; True when the fault hits it."""
        fault = armed.fault
        armed.seen += 1
        if armed.seen < fault.nth:
            return False
        if armed.began_ms is None:
            armed.began_ms = now_ms
        if fault.lasts_ms:
            if now_ms >= armed.began_ms + fault.lasts_ms:
                self._spend(armed)
                return False
            armed.hits += 1
            return True
        armed.hits += 1
        if armed.seen >= fault.nth + fault.count - 1:
            self._spend(armed)
        return True

    def _begin(self, armed: Armed, now_ms: int, asked: Asked | None = None) -> None:
        armed.began_ms = now_ms
        armed.hits += 1
        self._turns.append(Turn(armed.number, armed.fault, begins=True, asked=asked))
        if armed.fault.spec.once and not armed.fault.lasts_ms:
            self._spend(armed)

    def _spend(self, armed: Armed) -> None:
        """It is over: it stays to be read, and nothing looks at it any more."""
        armed.over = True
        self._spent[armed.number] = self._armed.pop(armed.number)
        if len(self._spent) > SPENT_KEPT:
            oldest = self._spent.pop(next(iter(self._spent)))
            kind = oldest.fault.kind
            self._forgotten[kind] = self._forgotten.get(kind, 0) + oldest.hits
