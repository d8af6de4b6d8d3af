"""What a bundle would have done of late, beside another: a dry run over stored signals.

Owns the columns that signals become, the figures that two policies are compared by, and the limits that they must keep
(v3.0 section 2.3). The account is neutral: flat, with its whole budget, nothing halted, at every moment. So "opened"
means: would have, had nothing been open; and one signal day with one entry counts each of its minutes.

    Columns     signals, taken one by one
    replay      both policies over one instrument
    summed_up   all instruments, and whether the limits are kept
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from chimera.contracts.documents import Signal
from chimera.contracts.enums import Reason
from chimera.contracts.flags import TradingWindow
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.decision.condition import Bools, Floats
from chimera.domain.decision.decide import DecisionConfig
from chimera.domain.decision.gates import needed_factors
from chimera.domain.decision.table import DecisionTable, SignalTable, decide_table
from chimera.domain.market.instrument import Instrument

Ints = NDArray[np.int64]

DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_DAY_MINUTES = 1_440
_EPOCH_ISO_WEEKDAY = 4  # 1970-01-01 was a Thursday.
_SIDE_FACTORS = ("xmkt_signal",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one bundle decides on one instrument. `config` None: it does not trade it.

    `constant_p` is what its model answers; None: what the model that was in force then answered counts.
    """

    config: DecisionConfig | None
    windows: tuple[TradingWindow, ...]
    taker_fee_ratio: Decimal
    constant_p: float | None


def factors_read(instrument: InstrumentKey, policies: Sequence[Policy]) -> tuple[str, ...]:
    """All that these policies look at, each once."""
    read = [*needed_factors(instrument.market), *_SIDE_FACTORS]
    for policy in policies:
        if policy.config is not None:
            read += (*policy.config.rules.factors, *policy.config.model_factors)
    return tuple(dict.fromkeys(read))


class Columns:
    """The signals of one instrument, as they come, becoming columns. Only the factors that somebody reads are kept."""

    def __init__(self, instrument: Instrument, factors: Sequence[str]) -> None:
        self.instrument = instrument
        self._factors = tuple(factors)
        self._t0: list[NDArray[np.int64]] = []
        self._values: list[Floats] = []
        self._p: list[Floats] = []

    def take(self, signals: Sequence[Signal]) -> None:
        """Some more, as they were told, whatever was repaired since. A factor that was stale then, is no number or was
        not there is NaN."""
        width = len(self._factors)
        values = np.full((len(signals), width), np.nan)
        p = np.full(len(signals), np.nan)
        for row, signal in enumerate(signals):
            told = signal.features_told or signal
            features, stale = told.features, told.stale
            values[row] = [
                float(value) if isinstance(value := features.get(name), int | float) and name not in stale else np.nan
                for name in self._factors
            ]
            if signal.decision.model_p is not None:
                p[row] = signal.decision.model_p
        self._t0.append(np.fromiter((signal.t0 for signal in signals), dtype=np.int64, count=len(signals)))
        self._values.append(values)
        self._p.append(p)

    def table(self) -> SignalTable:
        """All that was taken. Bid and ask are reckoned back from mid and spread, onto the tick."""
        values = np.concatenate(self._values) if self._values else np.empty((0, len(self._factors)))
        columns = {name: np.ascontiguousarray(values[:, place]) for place, name in enumerate(self._factors)}
        mid, half = columns["mid"], columns["spread_bps"] / 20_000.0
        return SignalTable(
            t0=np.concatenate(self._t0) if self._t0 else np.empty(0, dtype=np.int64),
            columns=columns,
            bid=on_tick(mid * (1.0 - half), self.instrument.tick_size),
            ask=on_tick(mid * (1.0 + half), self.instrument.tick_size),
            model_p=np.concatenate(self._p) if self._p else np.empty(0),
        )


def on_tick(prices: Floats, tick_size: Decimal) -> Floats:
    """Each to the nearest tick, and to the double that its decimal spelling reads as."""
    exponent = min(int(tick_size.normalize().as_tuple().exponent), 0)
    scale = 10**-exponent
    steps = np.rint(prices / float(tick_size))
    ticked: Floats = steps * float(tick_size * scale) / float(scale)
    return ticked


def windows_open(windows: Sequence[TradingWindow], t0: Ints) -> Bools:
    """`decision.windows.window_open` over many moments."""
    if not windows:
        return np.ones(len(t0), dtype=np.bool_)
    days, minute = np.divmod(t0 // _MINUTE_MS, _DAY_MINUTES)
    today = (days + _EPOCH_ISO_WEEKDAY - 1) % 7 + 1
    yesterday = (today + 5) % 7 + 1
    held = np.zeros(len(t0), dtype=np.bool_)
    for window in windows:
        start, end = window.from_minute, window.to_minute
        begun_today = np.isin(today, window.days) & (minute >= start)
        if start < end:
            held |= begun_today & (minute < end)
        else:
            held |= begun_today | (np.isin(yesterday, window.days) & (minute < end))
    return held


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """What one policy said of an instrument's signals, counted. `asked`: the rules were reached; `skipped`: a rule
    refused; `sized_up`: of those asked and not refused by a rule, the size is above its base. `by_model`: rows
    of those asked and not refused by a rule, if the policy has a trained model, which is asked next."""

    asked: int
    skipped: int
    sized_up: int
    fired: Mapping[str, int]
    outcomes: Mapping[str, int]
    opens: Bools
    by_model: Bools

    @property
    def opened(self) -> int:
        return int(self.opens.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCount:
    """One UTC day, by its number since 1970."""

    day: int
    signals: int
    opened: int
    opened_by_reference: int
    opened_by_both: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Both policies over the signals of one instrument. `unknown`: factors that stand in none of the signals.

    `model_asked`: signals of which either asks a trained model; `without_p`: those of them for which no answer of a
    model is on file, so that they are decided as if it had nothing against them.
    """

    key: InstrumentKey
    signals: int
    model_asked: int
    without_p: int
    unknown: tuple[str, ...]
    candidate: Verdict
    reference: Verdict
    days: tuple[DayCount, ...]

    @property
    def opened_by_both(self) -> int:
        return int((self.candidate.opens & self.reference.opens).sum())


def replay(table: SignalTable, instrument: Instrument, candidate: Policy, reference: Policy) -> Replayed:
    """What each says of every row."""
    one, other = _verdict(table, instrument, candidate), _verdict(table, instrument, reference)
    by_model = one.by_model | other.by_model
    p = table.model_p
    without_p = by_model & np.isnan(np.nan if p is None else p)
    return Replayed(
        key=instrument.key,
        signals=len(table),
        model_asked=int(by_model.sum()),
        without_p=int(without_p.sum()),
        unknown=tuple(name for name, column in table.columns.items() if len(table) and np.isnan(column).all()),
        candidate=one,
        reference=other,
        days=_days(table.t0, one.opens, other.opens),
    )


def _verdict(table: SignalTable, instrument: Instrument, policy: Policy) -> Verdict:
    n = len(table)
    if policy.config is None or n == 0:
        outcomes = {"NOT_TRADED": n} if n else {}
        nothing = np.zeros(n, dtype=np.bool_)
        return Verdict(asked=0, skipped=0, sized_up=0, fired={}, outcomes=outcomes, opens=nothing, by_model=nothing)
    account: dict[str, Floats] = {}
    if policy.windows:
        account["WINDOW"] = windows_open(policy.windows, table.t0).astype(np.float64)
    told = decide_table(
        replace(
            table,
            account=account,
            model_p=table.model_p if policy.constant_p is None else policy.constant_p,
        ),
        policy.config,
        instrument,
        policy.taker_fee_ratio,
    )
    refused_by_rule = _refused_by_rule(told, policy.config)
    return Verdict(
        asked=int(told.asked.sum()),
        skipped=int(refused_by_rule.sum()),
        sized_up=int((told.asked & ~refused_by_rule & (told.size_mult > 1.0)).sum()),
        fired={rule_id: int(fired.sum()) for rule_id, fired in told.rule_fired.items()},
        outcomes={_spelt(reason, detail): count for (reason, detail), count in told.count().items()},
        opens=told.opens,
        by_model=told.asked & ~refused_by_rule if policy.constant_p is None else np.zeros(n, dtype=np.bool_),
    )


def _refused_by_rule(told: DecisionTable, config: DecisionConfig) -> Bools:
    refused = np.zeros(len(told.code), dtype=np.bool_)
    for rule in config.rules.rules:
        if rule.action == "skip_entry" and rule.value:
            refused |= told.rule_fired[rule.rule_id]
    return refused


def _spelt(reason: Reason, detail: str) -> str:
    return detail if reason.value == detail else f"{reason.value}:{detail}"


def _days(t0: Ints, one: Bools, other: Bools) -> tuple[DayCount, ...]:
    if len(t0) == 0:
        return ()
    days = t0 // DAY_MS
    first = int(days.min())
    width = int(days.max()) - first + 1
    place = days - first

    def counted(where: Bools | None) -> list[int]:
        chosen = place if where is None else place[where]
        counts: list[int] = np.bincount(chosen, minlength=width).tolist()
        return counts

    rows = zip(counted(None), counted(one), counted(other), counted(one & other), strict=True)
    return tuple(
        DayCount(day=first + number, signals=signals, opened=mine, opened_by_reference=theirs, opened_by_both=both)
        for number, (signals, mine, theirs, both) in enumerate(rows)
        if signals
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunLimits:
    """v3.0 section 2.3. `asked_min`: of fewer signals that reached the rules nothing can be said.

    `without_p_ratio_max` is our own: of a model that is hardly heard nothing can be said either.
    """

    skip_entry_ratio_max: float = 0.60
    size_up_ratio_max: float = 0.50
    jaccard_min: float = 0.35
    asked_min: int = 500
    without_p_ratio_max: float = 0.50


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitKept:
    name: str
    value: float
    limit: float
    passed: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Sums over instruments. Ratios are 0 where nothing was asked; `jaccard` is 1 where neither opened anything."""

    signals: int = 0
    asked: int = 0
    skipped: int = 0
    sized_up: int = 0
    opened: int = 0
    opened_by_reference: int = 0
    opened_by_both: int = 0
    model_asked: int = 0
    without_p: int = 0

    @property
    def without_p_ratio(self) -> float:
        return self.without_p / self.model_asked if self.model_asked else 0.0

    @property
    def skip_entry_ratio(self) -> float:
        return self.skipped / self.asked if self.asked else 0.0

    @property
    def size_up_ratio(self) -> float:
        return self.sized_up / self.asked if self.asked else 0.0

    @property
    def jaccard(self) -> float:
        either = self.opened + self.opened_by_reference - self.opened_by_both
        return self.opened_by_both / either if either else 1.0

    def plus(self, other: "Figures") -> "Figures":
        return Figures(
            signals=self.signals + other.signals,
            asked=self.asked + other.asked,
            skipped=self.skipped + other.skipped,
            sized_up=self.sized_up + other.sized_up,
            opened=self.opened + other.opened,
            opened_by_reference=self.opened_by_reference + other.opened_by_reference,
            opened_by_both=self.opened_by_both + other.opened_by_both,
            model_asked=self.model_asked + other.model_asked,
            without_p=self.without_p + other.without_p,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """The whole of it. `rules`: how often each fired, candidate then reference. `unknown`: factors that somebody reads
    and that no signal of an instrument holds, with these instruments."""

    total: Figures
    instruments: tuple[tuple[InstrumentKey, Figures], ...]
    rules: Mapping[str, tuple[int, int]]
    outcomes: Mapping[str, tuple[int, int]]
    days: tuple[DayCount, ...]
    limits: tuple[LimitKept, ...]
    unknown: Mapping[str, tuple[InstrumentKey, ...]]

    @property
    def passed(self) -> bool:
        return all(limit.passed for limit in self.limits)


def figures_of(replayed: Replayed) -> Figures:
    mine = replayed.candidate
    return Figures(
        signals=replayed.signals,
        asked=mine.asked,
        skipped=mine.skipped,
        sized_up=mine.sized_up,
        opened=mine.opened,
        opened_by_reference=replayed.reference.opened,
        opened_by_both=replayed.opened_by_both,
        model_asked=replayed.model_asked,
        without_p=replayed.without_p,
    )


def summed_up(replays: Sequence[Replayed], limits: DryRunLimits) -> DryRun:
    """All instruments together."""
    each = tuple((replayed.key, figures_of(replayed)) for replayed in replays)
    total = Figures()
    for _, figures in each:
        total = total.plus(figures)
    return DryRun(
        total=total,
        instruments=each,
        rules=_both([(replayed.candidate.fired, replayed.reference.fired) for replayed in replays]),
        outcomes=_both([(replayed.candidate.outcomes, replayed.reference.outcomes) for replayed in replays]),
        days=_summed_days(replays),
        limits=judged(total, limits),
        unknown={
            name: tuple(replayed.key for replayed in replays if name in replayed.unknown)
            for name in dict.fromkeys(name for replayed in replays for name in replayed.unknown)
        },
    )


def judged(total: Figures, limits: DryRunLimits) -> tuple[LimitKept, ...]:
    """Each limit with what was found; the model's only where one was asked."""
    kept = (
        LimitKept(
            name="asked",
            value=total.asked,
            limit=limits.asked_min,
            passed=total.asked >= limits.asked_min,
            # A check that saw next to nothing has not passed, or an empty store would let everything in.
            words=f"{total.asked} signals reached the rules; below {limits.asked_min} nothing can be said",
        ),
        LimitKept(
            name="skip_entry_ratio",
            value=total.skip_entry_ratio,
            limit=limits.skip_entry_ratio_max,
            passed=total.skip_entry_ratio <= limits.skip_entry_ratio_max,
            words=f"rules refuse {total.skip_entry_ratio:.1%} of them, at most {limits.skip_entry_ratio_max:.0%}",
        ),
        LimitKept(
            name="size_up_ratio",
            value=total.size_up_ratio,
            limit=limits.size_up_ratio_max,
            passed=total.size_up_ratio <= limits.size_up_ratio_max,
            words=f"{total.size_up_ratio:.1%} get a size above the base, at most {limits.size_up_ratio_max:.0%}",
        ),
        LimitKept(
            name="jaccard",
            value=total.jaccard,
            limit=limits.jaccard_min,
            passed=total.jaccard >= limits.jaccard_min,
            words=f"what both open is {total.jaccard:.1%} of what either opens, at least {limits.jaccard_min:.0%}",
        ),
    )
    if not total.model_asked:
        return kept
    silent = LimitKept(
        name="without_p_ratio",
        value=total.without_p_ratio,
        limit=limits.without_p_ratio_max,
        passed=total.without_p_ratio <= limits.without_p_ratio_max,
        words=f"of {total.without_p_ratio:.1%} no model's answer is on file, at most {limits.without_p_ratio_max:.0%}",
    )
    return (*kept, silent)


def _both(pairs: Sequence[tuple[Mapping[str, int], Mapping[str, int]]]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for mine, theirs in pairs:
        for name in dict.fromkeys((*mine, *theirs)):
            one, other = found.get(name, (0, 0))
            found[name] = (one + mine.get(name, 0), other + theirs.get(name, 0))
    return {name: found[name] for name in sorted(found)}


def _summed_days(replays: Sequence[Replayed]) -> tuple[DayCount, ...]:
    by_day: dict[int, DayCount] = {}
    for count in (count for replayed in replays for count in replayed.days):
        before = by_day.get(count.day)
        by_day[count.day] = count if before is None else _plus(before, count)
    return tuple(by_day[day] for day in sorted(by_day))


def _plus(one: DayCount, other: DayCount) -> DayCount:
    return DayCount(
        day=one.day,
        signals=one.signals + other.signals,
        opened=one.opened + other.opened,
        opened_by_reference=one.opened_by_reference + other.opened_by_reference,
        opened_by_both=one.opened_by_both + other.opened_by_both,
    )


def day_name(day: int) -> str:
    """`2026-11-21` of a day's number."""
    return str(np.datetime64(day, "D"))
