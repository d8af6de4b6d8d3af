"""`risk_gate_miss_rate` is 0: a million random sets of facts, judged by `decide` and by somebody who read only the
specification.

Facts are drawn where mistakes live: at a limit, one representable number beside it, a little and far beyond it, unknown
in every way in which something can be unknown. Both must say the same about every single gate, name the same reason,
and everything that all gates let through and that can be traded must open.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from chimera.contracts.enums import HealthLevel, Reason, Side
from chimera.domain.decision.decide import Decision, DecisionConfig, decide
from chimera.domain.decision.facts import Controls, Exposure, Facts, Quote
from chimera.domain.decision.gates import Limits
from chimera.domain.decision.rules import compile_rules
from tests.domain.builders import BTC_FUT, BTC_SPOT
from tests.domain.decision.gate_checker import GREEN, NO, RED, REFUSALS, UNKNOWN, YES, Bounds, Rows, judge_rows
from tests.domain.decision.worlds import parsed, rule

SETS = 1_000_000
CHUNKS = 8
BLOCK = 1_000
"""Sets that share one configuration."""

CODES = {
    "kill switch": "KILL_SWITCH",
    "paused": "PAUSED",
    "window": "WINDOW",
    "health": "HEALTH",
    "halts": "HALT",
    "reconciled": "NOT_RECONCILED",
    "stale": "STALE",
    "rule factor": "FACTOR_MISSING",
    "funding": "FUNDING",
    "spread": "SPREAD",
    "depth": "DEPTH",
    "slippage": "SLIPPAGE",
    "open position": "OPEN_POSITION",
    "unfinished intent": "UNFINISHED_INTENT",
    "entries per signal": "MAX_ENTRIES",
    "cooldown": "COOLDOWN",
    "other symbol held": "SPOT_SINGLE",
    "budget": "BUDGET",
    "concurrency": "CONCURRENCY",
    "daily loss": "DAILY_LOSS",
    "drawdown": "DRAWDOWN",
}
"""What the checker calls a gate, and what the decision calls it."""
LEVELS = (HealthLevel.GREEN, HealthLevel.YELLOW, HealthLevel.ORANGE, HealthLevel.RED, None)
TRUTHS = {UNKNOWN: None, NO: False, YES: True}
READ_BY_STALE = frozenset({"FUNDING", "SPREAD", "DEPTH", "SLIPPAGE"})
"""The gates whose factor STALE has read before them."""
ABSENT = object()
UNREADABLE = (np.nan, np.inf, -np.inf, ABSENT)
PASSED_ALL_MIN = 0.2
"""Of all sets. Where nearly everything is refused, a missed gate would be hidden behind another."""

Column = NDArray[Any]


@dataclass
class Sample:
    """One block. `kept` are the values as the facts hold them, the checker's columns are made from them."""

    rng: Generator
    spoilt: Column
    kept: dict[str, list[Any]] = field(default_factory=dict)
    next_gate: int = 0

    def draw(self, name: str, fine: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
        """For each set one of `fine`, or one of `bad` where this column is spoilt."""
        size = self.spoilt.shape[1]
        good, wrong = self.rng.integers(len(fine), size=size), self.rng.integers(len(bad), size=size)
        spoilt = self.spoilt[self.next_gate]
        self.next_gate += 1
        self.kept[name] = [
            bad[other] if is_bad else fine[one]
            for is_bad, one, other in zip(spoilt.tolist(), good.tolist(), wrong.tolist(), strict=True)
        ]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """What cannot be known is NaN."""
        return np.array(
            [np.nan if value is ABSENT or value is None else float(value) for value in self.kept[name]], dtype=float
        )

    def truths(self, name: str) -> NDArray[np.int8]:
        return np.array([UNKNOWN if value is None else int(value) for value in self.kept[name]], dtype=np.int8)


COLUMNS = 24


def at_most(limit: float, *fine: Any, unknown: tuple[Any, ...] = UNREADABLE) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Values that a limit from above lets through, and values that it must not: dense where the two meet."""
    inside = (limit, np.nextafter(limit, -np.inf), limit * (1 - 1e-9), limit / 2)
    outside = (np.nextafter(limit, np.inf), limit * (1 + 1e-9), limit * 1.01, limit * 1e6)
    return (*map(float, inside), *fine), (*map(float, outside), *unknown)


def below(limit: float, *fine: Any, unknown: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    inside = (np.nextafter(limit, -np.inf), limit * (1 - 1e-9), limit / 2)
    outside = (limit, np.nextafter(limit, np.inf), limit * (1 + 1e-9), limit * 1e6)
    return (*map(float, inside), *fine), (*map(float, outside), *unknown)


def at_least(
    limit: float, *fine: Any, unknown: tuple[Any, ...] = UNREADABLE
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    inside = (limit, np.nextafter(limit, np.inf), limit * (1 + 1e-9), limit * 100)
    outside = (np.nextafter(limit, -np.inf), limit * (1 - 1e-9), limit / 2, 0.0, -limit)
    return (*map(float, inside), *fine), (*map(float, outside), *unknown)


def draw_bounds(rng: Generator) -> Bounds:
    """Half the time the specification's numbers, else others. Bases of daily loss and drawdown add up without rounding:
    what is tested is the gate, not the last bit of a sum."""
    if rng.random() < 0.5:
        return Bounds()
    pick = rng.choice
    return Bounds(
        max_feature_age_ms=int(pick([0, 1_000, 5_000, 25_000])),
        max_funding_abs=float(pick([0.0001, 0.0005, 0.003])),
        spread_bp_limit=float(pick([0.5, 3.0, 60.0])),
        depth_top1_usdt_min=float(pick([50.0, 200.0, 20_000.0])),
        slip_bp_hard=float(pick([8.0, 24.0])),
        max_entries_per_signal=int(pick([1, 2, 5])),
        cooldown_min=float(pick([0.5, 60.0, 1_440.0])),
        spot_multi_symbols=bool(pick([True, False])),
        budget_usdt_max=float(pick([100.0, 600.0, 2_000.0])),
        concurrent_entries_per_market=int(pick([1, 2, 7])),
        daily_loss_usdt_max=float(pick([1.0, 6.0, 32.0])),
        drawdown_pct_max=float(pick([0.0625, 0.125, 0.25])),
    )


def draw(rng: Generator, bounds: Bounds, futures: bool, rule_factor: bool) -> Sample:
    """A block of sets: four in ten are drawn to pass, in four in ten one fact is spoilt, in the rest many are."""
    style = rng.random(BLOCK)
    spoilt = np.zeros((COLUMNS, BLOCK), dtype=bool)
    one = (style >= 0.4) & (style < 0.8)
    spoilt[rng.integers(COLUMNS, size=BLOCK)[one], np.flatnonzero(one)] = True
    many = style >= 0.8
    spoilt[:, many] = rng.random((COLUMNS, int(many.sum()))) < 0.3
    sample = Sample(rng, spoilt)
    for name in ("kill_switch_on", "paused", "open_position"):
        sample.draw(name, (False,), (True, None))
    for name in ("window_open", "reconciled"):
        sample.draw(name, (True,), (False, None))
    sample.draw("health_level", (0, 1, 2), (RED, 4))
    age = int(bounds.health_age_ms_max)
    sample.draw("health_age_ms", (0, 1_000, age - 1, age), (age + 1, 10 * age, None))
    sample.draw("halts", ((),), (("daily_loss",), ("drawdown", "backtest_guard"), None))
    age = int(bounds.max_feature_age_ms)
    sample.draw("feature_age_ms", (0, age // 2, age), (age + 1, 100 * age + 7, None))
    fine, bad = at_most(bounds.max_funding_abs, 0.0)
    sample.draw("funding_next", (*fine, *(-value for value in fine)), (*bad, *(-v for v in bad if v is not ABSENT)))
    # Slippage is half the spread where the book is deep: the hard limit has its own neighbourhood.
    hard = tuple(s for s in at_most(2 * bounds.slip_bp_hard, unknown=())[0] if s <= bounds.spread_bp_limit)
    sample.draw("spread_bps", *at_most(bounds.spread_bp_limit, 0.0, 0.0153, *hard))
    sample.draw("depth_top1_usdt", *at_least(bounds.depth_top1_usdt_min, 1e7))
    sample.draw("mid", (65_399.95,), UNREADABLE)
    sample.draw("atr_14", (60.0, 350.0, 1_200.0), (*UNREADABLE, -5.0, 0.0))
    sample.draw("rule_value", (0.0, 0.5, -1e9), UNREADABLE)
    sample.draw("unfinished_intents", (0,), (1, 2, None))
    sample.draw("other_spot_symbol_held", (False,), (True, None))
    most = int(bounds.max_entries_per_signal)
    sample.draw("entries_this_signal_day", (0, most - 1), (most, most + 1, None))
    sample.draw(
        "minutes_since_stop_out",
        (None, None, *at_least(bounds.cooldown_min)[0]),
        (np.nan, *at_least(bounds.cooldown_min, unknown=())[1]),
    )
    sample.draw("cooldown_known", (True,), (False,))
    limit = Decimal(str(bounds.budget_usdt_max))
    cent = Decimal("1e-8")
    sample.draw(
        "budget_used_usdt", (Decimal(0), limit / 2, limit - 30, limit - cent), (limit, limit + cent, limit * 3, None)
    )
    most = int(bounds.concurrent_entries_per_market)
    sample.draw("concurrency", (0, most - 1), (most, most + 1, None))
    fine, bad = below(bounds.daily_loss_usdt_max, 0.0, -50.0, unknown=(None, np.nan, np.inf))
    sample.draw("daily_loss_usdt", fine, bad)
    fine, bad = below(bounds.drawdown_pct_max, 0.0, -0.01, unknown=(None, np.nan, np.inf))
    sample.draw("drawdown_ratio", fine, bad)
    # And a part of the sets from no pool at all.
    for row in np.flatnonzero(rng.random(BLOCK) < 0.15).tolist():
        sample.kept["spread_bps"][row] = float(10 ** rng.uniform(-3, 3))
        sample.kept["depth_top1_usdt"][row] = float(10 ** rng.uniform(0, 8))
        sample.kept["funding_next"][row] = float(rng.normal(0, bounds.max_funding_abs))
        sample.kept["atr_14"][row] = float(10 ** rng.uniform(-2, 4))
    # Not spoilt: which side, and what a person has released before.
    sample.kept["side_hint"] = rng.choice(np.array([None, None, Side.BUY, Side.SELL], dtype=object), BLOCK).tolist()
    sample.kept["xmkt_signal"] = rng.choice([1.0, 1.0, -1.0, 0.0], BLOCK).tolist()
    for name, released in (("daily_loss", (0.0, 0.0, 0.5, 64.0)), ("drawdown", (0.0, 0.0, 0.0625, 0.25))):
        bases = rng.choice(released, BLOCK)
        key = "daily_loss_usdt" if name == "daily_loss" else "drawdown_ratio"
        for row in np.flatnonzero(bases):
            lost = sample.kept[key][row]
            # A base shifts the limit; only a sum that is exact says which side of the limit was meant.
            if lost is None or lost + bases[row] - bases[row] != lost:
                bases[row] = 0.0
            else:
                sample.kept[key][row] = lost + float(bases[row])
        sample.kept[f"{name}_base"] = bases.tolist()
    return sample


def rows_of(sample: Sample, futures: bool, rule_factor: bool) -> Rows:
    numbers, truths = sample.numbers, sample.truths
    halts = sample.kept["halts"]
    missing = ~np.isfinite(numbers("rule_value"))
    none = np.full(BLOCK, np.nan)
    return Rows(
        futures=np.full(BLOCK, futures),
        hinted=np.array([hint is not None for hint in sample.kept["side_hint"]]),
        kill_switch_on=truths("kill_switch_on"),
        paused=truths("paused"),
        window_open=truths("window_open"),
        health_level=np.array(
            [UNKNOWN if rank > RED else GREEN + rank for rank in sample.kept["health_level"]], np.int8
        ),
        health_age_ms=numbers("health_age_ms"),
        halted=np.array([UNKNOWN if each is None else int(bool(each)) for each in halts], dtype=np.int8),
        reconciled=truths("reconciled"),
        feature_age_ms=numbers("feature_age_ms"),
        funding_next=numbers("funding_next"),
        spread_bps=numbers("spread_bps"),
        depth_top1_usdt=numbers("depth_top1_usdt"),
        mid=numbers("mid"),
        atr_14=numbers("atr_14"),
        instrument_spread_limit=none,
        instrument_depth_limit=none,
        open_position=truths("open_position"),
        unfinished_intents=numbers("unfinished_intents"),
        other_symbol_held=truths("other_spot_symbol_held"),
        entries_this_signal_day=numbers("entries_this_signal_day"),
        ever_stopped_out=np.array([minutes is not None for minutes in sample.kept["minutes_since_stop_out"]]),
        minutes_since_stop_out=numbers("minutes_since_stop_out"),
        cooldown_known=np.array(sample.kept["cooldown_known"]),
        budget_used_usdt=numbers("budget_used_usdt"),
        concurrency=numbers("concurrency"),
        daily_loss_usdt=numbers("daily_loss_usdt"),
        daily_loss_base_usdt=numbers("daily_loss_base"),
        drawdown_ratio=numbers("drawdown_ratio"),
        drawdown_base_ratio=numbers("drawdown_base"),
        rule_factors_missing=missing if rule_factor else np.zeros(BLOCK, dtype=bool),
    )


FEATURES = ("funding_next", "spread_bps", "depth_top1_usdt", "mid", "atr_14", "rule_value", "xmkt_signal")
FACT_NAMES = (
    "kill_switch_on",
    "paused",
    "window_open",
    "health_level",
    "health_age_ms",
    "halts",
    "reconciled",
    "open_position",
    "unfinished_intents",
    "entries_this_signal_day",
    "minutes_since_stop_out",
    "cooldown_known",
    "other_spot_symbol_held",
    "budget_used_usdt",
    "concurrency",
    "daily_loss_usdt",
    "drawdown_ratio",
    "daily_loss_base",
    "drawdown_base",
    "feature_age_ms",
    "side_hint",
)


def facts_of(sample: Sample, row: int, futures: bool) -> Facts:
    kept = sample.kept
    of = {name: kept[name][row] for name in FACT_NAMES}
    features = {name: kept[name][row] for name in FEATURES}
    return Facts(
        instrument=BTC_FUT if futures else BTC_SPOT,
        t0=1_700_000_000_000,
        controls=Controls(
            kill_switch_on=of["kill_switch_on"],
            paused=of["paused"],
            window_open=of["window_open"],
            health_level=LEVELS[of["health_level"]],
            health_age_ms=of["health_age_ms"],
            health_size_mult=1.0,
            halts=of["halts"],
            reconciled=of["reconciled"],
        ),
        exposure=Exposure(
            open_position=of["open_position"],
            unfinished_intents=of["unfinished_intents"],
            entries_this_signal_day=of["entries_this_signal_day"],
            minutes_since_stop_out=of["minutes_since_stop_out"],
            cooldown_known=of["cooldown_known"],
            other_spot_symbol_held=of["other_spot_symbol_held"],
            budget_used_usdt=of["budget_used_usdt"],
            concurrency=of["concurrency"],
            daily_loss_usdt=of["daily_loss_usdt"],
            drawdown_ratio=of["drawdown_ratio"],
            daily_loss_base_usdt=of["daily_loss_base"],
            drawdown_base_ratio=of["drawdown_base"],
        ),
        quote=Quote(
            bid=Decimal("65399.9"),
            ask=Decimal(65_400),
            features={name: value for name, value in features.items() if value is not ABSENT},
            feature_age_ms=of["feature_age_ms"],
        ),
        taker_fee_ratio=Decimal("0.0005"),
        side_hint=of["side_hint"],
        model_p=0.65,
    )


def config_of(bounds: Bounds, futures: bool, rule_factor: bool) -> DecisionConfig:
    limits = replace(
        Limits(),
        max_feature_age_ms=int(bounds.max_feature_age_ms),
        max_funding_abs=bounds.max_funding_abs,
        spread_bp_limit=bounds.spread_bp_limit,
        depth_top1_usdt_min=bounds.depth_top1_usdt_min,
        slip_bp_max=bounds.slip_bp_max,
        slip_bp_hard=bounds.slip_bp_hard,
        max_entries_per_signal=int(bounds.max_entries_per_signal),
        cooldown_min=bounds.cooldown_min,
        spot_multi_symbols=bounds.spot_multi_symbols,
        budget_usdt_max=Decimal(str(bounds.budget_usdt_max)),
        concurrent_entries_per_market=int(bounds.concurrent_entries_per_market),
        daily_loss_usdt_max=bounds.daily_loss_usdt_max,
        drawdown_pct_max=bounds.drawdown_pct_max,
        planned_notional_usdt=bounds.planned_notional_usdt,
    )
    read = "rule_value" if rule_factor else "xmkt_signal"
    body = rule(when={"f": read, "op": ">=", "v": -1e12})
    return DecisionConfig(limits=limits, rules=compile_rules(parsed(body), symbol="BTCUSDT"), rev=7)


def expected_to_open(sample: Sample, row: int, bounds: Bounds, futures: bool) -> bool:
    """Of a set that passes every gate: it has a side that may be taken, and nothing that sizing must refuse."""
    hint, signal = sample.kept["side_hint"][row], sample.kept["xmkt_signal"][row]
    buys = hint is Side.BUY or (hint is None and signal > 0)
    sells = hint is Side.SELL or (hint is None and signal < 0)
    free = Decimal(str(bounds.budget_usdt_max)) - sample.kept["budget_used_usdt"][row]
    sane_atr = sample.kept["atr_14"][row] > 10
    return (buys or (sells and futures)) and sane_atr and free >= (Decimal(25) if futures else Decimal(51))


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_gate_is_missed_and_none_refuses_without_cause(chunk: int) -> None:
    rng = np.random.default_rng(chunk)
    named: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    passed = opened = 0
    for _ in range(SETS // CHUNKS // BLOCK):
        futures, rule_factor = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
        bounds = draw_bounds(rng)
        sample = draw(rng, bounds, futures, rule_factor)
        verdict = judge_rows(rows_of(sample, futures, rule_factor), bounds)
        config = config_of(bounds, futures, rule_factor)
        wanted = np.stack([verdict.refused[name] for name in REFUSALS], axis=1).tolist()
        first = verdict.named.tolist()
        finer = verdict.finer_slices.tolist()
        for row in range(BLOCK):
            facts = facts_of(sample, row, futures)
            found = decide(facts, config)
            expected = {CODES[name] for name, refuses in zip(REFUSALS, wanted[row], strict=True) if refuses}
            refused = {gate.code for gate in found.gates if not gate.passed}
            # An infinite factor makes STALE refuse; whether the gate that reads it also calls it beyond its limit is
            # left to the gate.
            by_infinity = READ_BY_STALE if "STALE" in refused and "STALE" in expected else frozenset()
            assert refused ^ expected <= by_infinity, _story(facts, bounds, found)
            if expected:
                code = CODES[REFUSALS[first[row]]]
                reason = Reason.RISK_BUDGET if code in ("BUDGET", "CONCURRENCY") else Reason.GATE
                assert (found.opens, found.detail, found.reason) == (False, code, reason), _story(facts, bounds, found)
                named[code] += 1
                alone[code] += len(expected) == 1
                continue
            passed += 1
            opened += found.opens
            if expected_to_open(sample, row, bounds, futures):
                assert found.opens, _story(facts, bounds, found)
                assert (found.slices > 1) is finer[row], _story(facts, bounds, found)
    report = f"{passed} passed, {opened} opened; refused by {dict(named)}; alone {dict(alone)}"
    print(report)
    assert passed >= PASSED_ALL_MIN * SETS / CHUNKS, report
    assert opened >= passed / 3, report
    # A gate that never was the only one to refuse would not be missed if it were gone.
    assert set(alone) == set(CODES.values()), report
    assert min(alone.values()) >= 50, report


def _story(facts: Facts, bounds: Bounds, found: Decision) -> str:
    return f"{facts}\n{bounds}\n{found}"
