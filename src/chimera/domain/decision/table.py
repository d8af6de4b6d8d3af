"""The decision over many moments at once: what `decide` says of each, for dry runs, backtests and parity.

Owns the column form of the question and of the answer. Gates, rules, model and sizes are the same, in the same order;
a property test holds both equal row by row. What an account adds (a position that is open, what a day has lost) is a
column like any other, and where nobody gives it, the account is neutral: nothing open, nothing used, nothing forbidden.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from chimera.contracts.enums import Market, Reason, SideMode
from chimera.domain.decision.condition import Bools, Floats, columns
from chimera.domain.decision.decide import SIZE_MULT_TOTAL_RANGE, DecisionConfig
from chimera.domain.decision.facts import UNEXPOSED, UNRESTRAINED, Facts, Quote
from chimera.domain.decision.gates import AT_LEAST, AT_MOST, BELOW, LEAST, gates, needed_factors, reason_of
from chimera.domain.decision.model import BANDS, INVALID
from chimera.domain.decision.rules import MULT_RANGES, RuleSet
from chimera.domain.decision.sizing_table import REFUSALS, Asks, Ints, Plans, size_table
from chimera.domain.execution.slippage import estimate_bps_of_columns
from chimera.domain.market.instrument import Instrument

Codes = NDArray[np.int16]
Signs = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignalTable:
    """Moments of one instrument, as columns of equal length.

    `columns` holds each factor, NaN where it was missing or stale; a factor without a column was missing throughout.
    `bid` and `ask` are on the instrument's tick. Of `account` each key is a gate's code and each column its value, NaN
    where it could not be found out. `model_p`: NaN where there was no answer; None: the same number, or no answer, for
    all. `hint` is +1, -1 or 0 for none.
    """

    t0: Ints
    columns: Mapping[str, Floats]
    bid: Floats
    ask: Floats
    account: Mapping[str, Floats] = field(default_factory=dict)
    health_size_mult: Floats | None = None
    feature_age_ms: Floats | None = None
    model_p: Floats | float | None = None
    hint: Signs | None = None

    def __len__(self) -> int:
        return len(self.t0)

    def column(self, factor: str) -> Floats:
        found = self.columns.get(factor)
        return np.full(len(self.t0), np.nan) if found is None else found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecisionTable:
    """One row for each moment. `code` is an index into `codes`: (reason, detail) as in a Decision.

    `side` is +1, -1, or 0 where none had been chosen. `rule_fired` says where each rule fired. Multipliers are 1 where
    the rules were not asked.
    """

    code: Codes
    codes: tuple[tuple[Reason, str], ...]
    opens: Bools
    side: Signs
    size_mult: Floats
    tp_mult: Floats
    sl_mult: Floats
    rule_fired: Mapping[str, Bools]
    plans: Plans | None
    opened_at: Ints
    """The rows that were sized; `plans` has a row for each of them."""
    asked: Bools
    """Where the rules were asked: every gate passed and there was a side."""

    def detail(self, i: int) -> str:
        return self.codes[int(self.code[i])][1]

    def reason(self, i: int) -> Reason:
        return self.codes[int(self.code[i])][0]

    def count(self) -> dict[tuple[Reason, str], int]:
        """How many rows ended in each code, those that none did left out."""
        counted = np.bincount(self.code, minlength=len(self.codes)).tolist()
        return {code: n for code, n in zip(self.codes, counted, strict=True) if n}


def decide_table(
    table: SignalTable, config: DecisionConfig, instrument: Instrument, taker_fee_ratio: Decimal
) -> DecisionTable:
    """What `decide` says of every row.

    Raises:
        ValueError: a column of `table.account` whose gate this market does not have.
    """
    work = _Deciding(table, config, instrument)
    work.gate()
    work.choose_side()
    work.rules()
    work.model()
    return work.sizes(taker_fee_ratio)


class _Deciding:
    """The columns on their way. A row that has its code is done; the first code that it gets stays."""

    def __init__(self, table: SignalTable, config: DecisionConfig, instrument: Instrument) -> None:
        n = len(table)
        self.table, self.config, self.instrument = table, config, instrument
        self.codes: list[tuple[Reason, str]] = []
        self.code = np.full(n, -1, dtype=np.int16)
        self.undecided = np.ones(n, dtype=np.bool_)
        self.side = np.zeros(n, dtype=np.int8)
        self.size_mult, self.tp_mult, self.sl_mult = np.ones(n), np.ones(n), np.ones(n)
        self.fired: dict[str, Bools] = {}
        self.asked = np.zeros(n, dtype=np.bool_)

    def refuse(self, where: Bools, reason: Reason, detail: str) -> None:
        where = where & self.undecided
        self.codes.append((reason, detail))
        self.code[where] = len(self.codes) - 1
        self.undecided &= ~where

    def gate(self) -> None:
        values = _market_gates(self.table, self.config, self.instrument.market)
        neutrals = gates(_neutral(self.instrument), self.config.limits, 0)
        known = [neutral.code for neutral in neutrals if neutral.code not in values]
        for code in self.table.account:
            if code not in known:
                raise ValueError(f"account: {code!r} is no gate of {self.instrument.market.value}: {', '.join(known)}")
        for neutral in neutrals:
            value = values.get(neutral.code)
            if value is None:
                value = self.table.account.get(neutral.code)
            if value is None:
                continue
            self.refuse(~_holds(value, neutral.how, neutral.limit), reason_of(neutral), neutral.code)

    def choose_side(self) -> None:
        signal = self.table.column("xmkt_signal")
        if self.config.side_mode is SideMode.FADE:
            signal = -signal
        side = np.where(signal > 0.0, 1, np.where(signal < 0.0, -1, 0)).astype(np.int8)
        if self.table.hint is not None:
            side = np.where(self.table.hint != 0, self.table.hint, side).astype(np.int8)
        self.side[self.undecided] = side[self.undecided]
        self.refuse(side == 0, Reason.RULE, "NO_SIGNAL")
        if self.instrument.market is Market.SPOT:
            self.refuse(side < 0, Reason.RULE, "SPOT_BUY_ONLY")

    def rules(self) -> None:
        rule_set: RuleSet = self.config.rules
        everywhere = np.ones(len(self.table), dtype=np.bool_)
        if not rule_set.rules:
            self.refuse(everywhere, Reason.RULE, "NO_ENABLED_RULE")
            return
        self.asked = self.undecided.copy()
        raw = {"size_mult": self.size_mult, "tp_mult": self.tp_mult, "sl_mult": self.sl_mult}
        for rule in rule_set.rules:
            factors = {name: self.table.column(name) for name in rule.factors}
            # A rule that skips ends the evaluation of its rows: they are decided, and no later rule is asked there.
            fired = columns(rule.condition, factors) & self.undecided
            self.fired[rule.rule_id] = fired
            if rule.action in raw:
                raw[rule.action][fired] *= rule.value
            elif rule.action == "skip_entry" and rule.value:
                self.refuse(fired, Reason.RULE, rule.rule_id)
        for name, values in raw.items():
            np.clip(values, *MULT_RANGES[name], out=values)

    def model(self) -> None:
        table, n = self.table, len(self.table)
        p = table.model_p
        given = np.full(n, np.nan if p is None else p) if p is None or isinstance(p, float) else p
        answered = ~np.isnan(given)
        valid = answered & (given >= 0.0) & (given <= 1.0)
        mult = np.ones(n)
        skipped: list[tuple[Bools, str]] = [(answered & ~valid, INVALID.note)]
        above = np.zeros(n, dtype=np.bool_)
        for band in BANDS:
            here = valid & ~above & (given > band.from_p if band.excluded else given >= band.from_p)
            above |= here
            mult[here] = band.outcome.size_mult
            if band.outcome.skip:
                skipped.append((here, band.outcome.note))
        health = 1.0 if table.health_size_mult is None else table.health_size_mult
        # The order of multiplication is `decide`'s: doubles do not commute to the last bit.
        total = self.size_mult * np.where(answered & ~valid, INVALID.size_mult, mult) * health
        total = np.minimum(np.maximum(total, SIZE_MULT_TOTAL_RANGE[0]), SIZE_MULT_TOTAL_RANGE[1])
        self.size_mult = np.where(self.asked, total, self.size_mult)
        for where, note in skipped:
            self.refuse(where, Reason.MODEL, note)
        self.refuse(~(self.size_mult > 0.0), Reason.GATE, "SIZE_ZERO")

    def sizes(self, taker_fee_ratio: Decimal) -> DecisionTable:
        rows = np.flatnonzero(self.undecided)
        table, limits = self.table, self.config.limits
        used = table.account.get("BUDGET")
        free = (
            np.full(len(table), float(limits.budget_usdt_max)) if used is None else float(limits.budget_usdt_max) - used
        )
        plans = None
        if len(rows):
            plans = size_table(
                Asks(
                    is_buy=self.side[rows] > 0,
                    bid=table.bid[rows],
                    ask=table.ask[rows],
                    atr=table.column("atr_14")[rows],
                    size_mult=self.size_mult[rows],
                    tp_mult=self.tp_mult[rows],
                    sl_mult=self.sl_mult[rows],
                    free_budget_usdt=free[rows],
                ),
                self.instrument,
                taker_fee_ratio,
                self.config.sizing,
            )
            for number, refusal in enumerate(REFUSALS):
                refused = np.zeros(len(table), dtype=np.bool_)
                refused[rows] = plans.refusal == number
                self.refuse(refused, refusal.reason, refusal.detail)
        opens = self.undecided.copy()
        self.codes.append((Reason.OK, "OK"))
        self.code[opens] = len(self.codes) - 1
        return DecisionTable(
            code=self.code,
            codes=tuple(self.codes),
            opens=opens,
            side=self.side,
            size_mult=self.size_mult,
            tp_mult=self.tp_mult,
            sl_mult=self.sl_mult,
            rule_fired=self.fired,
            plans=plans,
            opened_at=rows,
            asked=self.asked,
        )


def _market_gates(table: SignalTable, config: DecisionConfig, market: Market) -> dict[str, Floats]:
    """The values of the gates that read the market; NaN where one cannot be found out."""
    n, limits = len(table), config.limits
    age = np.zeros(n) if table.feature_age_ms is None else table.feature_age_ms
    # As `gates` has it: each figure from its least value on, a market with two sides, features not from the future.
    readable = (table.bid > 0.0) & (table.bid <= table.ask) & np.isfinite(table.ask)
    readable &= ~(age < -limits.max_feature_age_ms)
    figures = {}
    for factor in needed_factors(market):
        column = table.column(factor)
        known = (column >= LEAST[factor]) & (column < np.inf)
        figures[factor] = np.where(known, column, np.nan)
        readable &= known
    read = dict.fromkeys((*config.rules.factors, *config.model_factors))
    missing = np.full(n, float(len(config.rules.disabled_factors)))
    for factor in read:
        missing += ~np.isfinite(table.column(factor))
    spread, depth = figures["spread_bps"], figures["depth_top1_usdt"]
    return {
        "STALE": np.where(readable, age, np.nan),
        "FACTOR_MISSING": missing,
        "FUNDING": np.abs(figures.get("funding_next", np.zeros(n))),
        "SPREAD": spread,
        "DEPTH": depth,
        "SLIPPAGE": estimate_bps_of_columns(
            spread_bps=spread, depth_top1_usdt=depth, notional_usdt=limits.planned_notional_usdt
        ),
    }


def _holds(value: Floats, how: str, limit: float) -> Bools:
    # NaN compares false with everything: what cannot be found out refuses.
    held: Bools
    if how == AT_MOST:
        held = (value > -np.inf) & (value <= limit)
    elif how == BELOW:
        held = (value > -np.inf) & (value < limit)
    elif how == AT_LEAST:
        held = value >= limit
    else:
        held = value == limit
    return held


def _neutral(instrument: Instrument) -> Facts:
    """An account that forbids nothing: its gates name the codes, in order, and the limits."""
    return Facts(
        instrument=instrument,
        t0=0,
        controls=UNRESTRAINED,
        exposure=UNEXPOSED,
        quote=Quote(bid=Decimal(0), ask=Decimal(0), features={}, feature_age_ms=0),
        taker_fee_ratio=Decimal(0),
    )
